/*
 * watch.c
 *		Raises the alerts that no database can raise.
 *
 * server_down: the agent beside a server tells of it, nobody else. What a run does on purpose is none: while a job
 * is at work here nothing is raised, and longer than usually after a server that went down during one.
 *
 * node_down, agent_silent: every agent asks all others of the roster for their health. Of one that is silent tells
 * the first by name of those that answer. Two tell when they do not see the same ones (a cut network, an agent that
 * was started in between): under the same key. Whether the server beside a silent agent answers decides which of the
 * two it is.
 */
#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/alert/message.h"
#include "agent/alert/own.h"
#include "agent/alert/post.h"
#include "agent/alert/roster.h"
#include "agent/alert/watch.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/log.h"
#include "agent/core/nodestate.h"
#include "agent/job/table.h"
#include "agent/pg/postmaster.h"

#define NAP_MS 500
#define PEER_LIMIT_MS 1500
#define PEERS_MAX 64
#define AFTER_JOB_MS 60000		/* a server that went down during a job is not missed earlier */

/* ---- jobs ---- */

typedef struct Jobs
{
	bool		running;
	bool		retired;		/* the last one took the server away for good */
} Jobs;

static bool
has_action(const Job *job, const char *name)
{
	json_t	   *action;
	size_t		i;

	json_array_foreach(job->actions, i, action)
	{
		const char *known = json_string_value(json_object_get(action, "action"));

		if (known && strcmp(known, name) == 0)
			return true;
	}
	return false;
}

static Jobs
look_at_jobs(void)
{
	Jobs		jobs = {false, false};

	pthread_mutex_lock(&jobs_lock);
	jobs.retired = job_table && job_table->state == JOB_SUCCEEDED && has_action(job_table, "pg.retire");
	for (Job *job = job_table; job && !jobs.running; job = job->next)
		jobs.running = job->state == JOB_RUNNING;
	pthread_mutex_unlock(&jobs_lock);
	return jobs;
}

/* ---- alerts ---- */

static void
raise_alert(const AgentConfig *config, const char *rule, const char *severity, const char *subject, double since_ms,
			char *sentence, const char *remedy)
{
	json_t	   *message = message_new(rule, severity, config->node, subject, since_ms, clock_realtime_ms());

	json_object_set_new(message, "sentence", json_string(sentence));
	json_object_set_new(message, "remedy", json_string(remedy));
	own_raise(message);
	free(sentence);
}

/* ---- the server of this host ---- */

static struct
{
	double		since;			/* clock_monotonic_ms() of the first look that found it down; 0: it is up */
	double		since_ms;		/* the same, by the clock */
	bool		in_job;			/* a job was at work since */
	bool		was_standby;	/* when it was up last */
} server;

/* It was looked at, and did answer, but not what it is: its extension's database may not be there. */
static bool
is_unclear(const NodeState *state)
{
	return state->role == ROLE_UNKNOWN && clock_monotonic_ms() <= state->good_until;
}

/* One that takes no sessions because hot_standby is off runs all the same. */
static bool
is_up(const AgentConfig *config, const NodeState *state)
{
	if (state->role == ROLE_PRIMARY || state->role == ROLE_SEALED || state->role == ROLE_STANDBY ||
		state->role == ROLE_GUARDED)
		return true;
	return strcmp(pidfile_read(config_instance(config, "")->data).status, "standby") == 0 &&
		postmaster_pid(config_instance(config, "")->data) > 0;
}

static void
look_at_server(const AgentConfig *config)
{
	NodeState	state = nodestate_get();
	Jobs		jobs = look_at_jobs();
	double		now = clock_monotonic_ms();
	double		patience = config->alerts.down_after_ms;

	if (!config_instance(config, "") || state.seen_ms <= 0 || is_unclear(&state))
		return;
	if (is_up(config, &state))
	{
		memset(&server, 0, sizeof(server));
		server.was_standby = state.role == ROLE_STANDBY;
		own_clear("server_down", config->node);
		return;
	}
	if (server.since <= 0 || jobs.running)
	{
		server.since = now;
		server.since_ms = clock_realtime_ms();
		server.in_job = server.in_job || jobs.running;
	}
	if (server.in_job && patience < AFTER_JOB_MS)
		patience = AFTER_JOB_MS;
	if (now - server.since >= patience && !jobs.running && !jobs.retired)
		raise_alert(config, "server_down", server.was_standby ? "warning" : "critical", config->node, server.since_ms,
					xasprintf("the PostgreSQL server of %s does not answer its agent", config->node),
					"See the server's log, and whether it runs; start it");
}

/* ---- the other agents ---- */

typedef struct Peer
{
	char		name[64];
	double		since;			/* clock_monotonic_ms() of the first silence; 0: it has answered */
	double		since_ms;
	bool		was_standby;
	bool		listed;			/* in the roster of this round */
} Peer;

static Peer peers[PEERS_MAX];
static int	n_peers;

static const char *
text_in(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text ? text : "";
}

/* NULL: there are too many. */
static Peer *
peer_of(const char *name)
{
	for (int i = 0; i < n_peers; i++)
		if (strcmp(peers[i].name, name) == 0)
			return &peers[i];
	if (n_peers == PEERS_MAX || strlen(name) >= sizeof(peers[0].name))
		return NULL;
	memset(&peers[n_peers], 0, sizeof(Peer));
	strcpy(peers[n_peers].name, name);
	return &peers[n_peers++];
}

/* Does the server take connections, or say that it does not yet? */
static bool
server_answers(const char *host, int port)
{
	char		digits[16];
	const char *const keys[] = {"host", "port", "connect_timeout", NULL};
	const char *const values[] = {host, digits, "2", NULL};
	PGPing		answer;

	snprintf(digits, sizeof(digits), "%d", port);
	answer = PQpingParams(keys, values, 0);
	return answer == PQPING_OK || answer == PQPING_REJECT;
}

/* A node that is gone stays so until its agent answers: its server may come first. */
static void
tell_silence(const AgentConfig *config, const json_t *row, const Peer *peer)
{
	const char *host = text_in(row, "host");
	int			port = (int) json_integer_value(json_object_get(row, "port"));

	if (own_is_open("node_down", peer->name))
		return;
	if (server_answers(host, port))
	{
		raise_alert(config, "agent_silent", "warning", peer->name, peer->since_ms,
					xasprintf("the agent of %s does not answer; its PostgreSQL server does", peer->name),
					"Start the agent there: until then no run can be made with this node");
		return;
	}
	own_clear("agent_silent", peer->name);
	raise_alert(config, "node_down", peer->was_standby ? "warning" : "critical", peer->name, peer->since_ms,
				xasprintf("%s is gone: neither its agent nor its PostgreSQL server (%s:%d) answers", peer->name, host,
						  port),
				"See whether the host runs and is reached from here; start server and agent");
}

static void
forget_peer(const char *name)
{
	own_clear("node_down", name);
	own_clear("agent_silent", name);
}

/* Of the agents that answer, is this one the first by name? The rows are in that order. */
static bool
is_first(const AgentConfig *config, const json_t *rows, const PeerCall *calls)
{
	json_t	   *row;
	size_t		i;

	json_array_foreach(rows, i, row)
		if (strcmp(text_in(row, "name"), config->node) == 0)
			return true;
		else if (calls[i].answered)
			return false;
	return false;
}

static void
note_peer(const AgentConfig *config, const json_t *row, const PeerCall *call, bool first)
{
	Peer	   *peer = peer_of(text_in(row, "name"));
	double		now = clock_monotonic_ms();

	if (!peer)
		return;
	peer->listed = true;
	if (call->answered)
	{
		peer->since = 0;
		if (strcmp(call->text, "primary") == 0 || strcmp(call->text, "standby") == 0)
			peer->was_standby = strcmp(call->text, "standby") == 0;
		forget_peer(peer->name);
		return;
	}
	if (peer->since <= 0)
	{
		peer->since = now;
		peer->since_ms = clock_realtime_ms();
	}
	if (now - peer->since >= config->alerts.down_after_ms && first)
		tell_silence(config, row, peer);
}

/* Those that are no node any more, or away on purpose. */
static void
drop_unlisted(void)
{
	for (int i = 0; i < n_peers; i++)
	{
		if (!peers[i].listed)
		{
			forget_peer(peers[i].name);
			peers[i].since = 0;
		}
		peers[i].listed = false;
	}
}

static bool
is_watched(const AgentConfig *config, const json_t *row)
{
	return strcmp(text_in(row, "name"), config->node) != 0 && !json_is_true(json_object_get(row, "away"));
}

static void
look_at_peers(const AgentConfig *config)
{
	json_t	   *rows = roster_get();
	PeerCall   *calls = xalloc(sizeof(PeerCall) * (json_array_size(rows) + 1));
	PeerCall   *asked = xalloc(sizeof(PeerCall) * (json_array_size(rows) + 1));
	json_t	   *row;
	size_t		i;
	int			n = 0;
	bool		first;

	json_array_foreach(rows, i, row)
		if (is_watched(config, row))
			asked[n++].url = text_in(row, "agent_url");
	post_ask_peers(&config->alerts, asked, n, PEER_LIMIT_MS);
	n = 0;
	json_array_foreach(rows, i, row)
		if (is_watched(config, row))
			calls[i] = asked[n++];
	first = is_first(config, rows, calls);
	json_array_foreach(rows, i, row)
		if (is_watched(config, row))
			note_peer(config, row, &calls[i], first);
	if (json_array_size(rows) > 0)
		drop_unlisted();
	free(asked);
	free(calls);
	json_decref(rows);
}

/* ---- the thread ---- */

static void *
watch_main(void *unused)
{
	for (;;)
	{
		AgentConfig *config = config_current();

		if (config->alerts.url)
		{
			look_at_server(config);
			look_at_peers(config);
		}
		config_release(config);
		sleep_ms(NAP_MS);
	}
	return NULL;
}

void
watch_start(void)
{
	pthread_t	thread;

	if (pthread_create(&thread, NULL, watch_main, NULL) != 0)
		log_error("could not start a thread: nothing is watched for alerts");
	else
		pthread_detach(thread);
}
