/*
 * rejoin.c
 *		pg.rejoin: the old primary (or a standby that lost its way) becomes a standby of the new one.
 *
 * Every step looks first at what is there, so that the action can be run again after a
 * crash at any point.  A running primary is only stopped when it is sealed: nothing that
 * a client was promised can be lost then.  The stop is immediate, since a clean one would
 * write a checkpoint record past the fork.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

#include "agent/control.h"
#include "agent/jobs.h"
#include "agent/originals.h"
#include "agent/rejoin.h"
#include "agent/text.h"

#define REJOIN_TIMEOUT_MS 3600000
#define QUERY_TIMEOUT_MS 10000
#define STOP_TIMEOUT_MS 10000
#define REDIRECT_LIMIT_MS 6000	/* more than wal_retrieve_retry_interval */
#define STREAM_LIMIT_MS 20000	/* a directory that can stream does it by then */
#define SESSIONS_GO_MS 300
#define ORPHANS_GO_MS 10000
#define POLL_MS 5

/* Statements that wait at the gate (wait event type Extension) are no readers: they would wait for ever. */
#define OTHER_SESSIONS \
	"FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' " \
	"AND pid <> pg_catalog.pg_backend_pid() AND application_name <> 'pingpong-agent'"
#define BUSY_SESSIONS OTHER_SESSIONS " AND state <> 'idle' AND wait_event_type IS DISTINCT FROM 'Extension'"

static pthread_mutex_t server_lock = PTHREAD_MUTEX_INITIALIZER;

static bool
is_true(PGconn *conn, const char *sql)
{
	char	   *value = pg_value(conn, sql);
	bool		yes = value && strcmp(value, "t") == 0;

	free(value);
	return yes;
}

/* ---- may it be stopped? ---- */

static int
require_seal(Rejoin *rejoin, PGconn *conn)
{
	char	   *database = pg_pingpong_database(conn);
	PGconn	   *there = database ? pg_local(rejoin->config, database, QUERY_TIMEOUT_MS, NULL, 0) : NULL;
	PGresult   *res = there ? pg_query(there, NULL, 0, "SELECT state, epoch FROM pingpong.gate", 0, NULL) : NULL;
	bool		sealed = res && PQntuples(res) == 1 && strcmp(PQgetvalue(res, 0, 0), "sealed") == 0 &&
		strtoll(PQgetvalue(res, 0, 1), NULL, 10) >= rejoin->seal_epoch;

	PQclear(res);
	PQfinish(there);
	free(database);
	if (sealed || rejoin->force)
		return 0;
	action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "this primary is not sealed");
	action_detail(rejoin->ctx, "It may have taken writes that the new primary does not have.");
	return -1;
}

/*
 * pg.warm: reads on the old primary what pg.rejoin will read on it. Each first read may set
 * hint bits in the catalogs, which is WAL; behind the seal that would be WAL past the fork,
 * and cost a rewind.
 */
int
action_pg_warm(ActionContext *ctx, json_t *params, json_t *result)
{
	PGconn	   *conn = pg_local_or_fail(ctx, NULL, QUERY_TIMEOUT_MS);
	char	   *database = conn ? pg_pingpong_database(conn) : NULL;
	PGconn	   *there = database ? pg_local(ctx->config, database, QUERY_TIMEOUT_MS, NULL, 0) : NULL;

	(void) params;
	(void) result;
	if (conn)
	{
		is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()");
		is_true(conn, "SELECT count(*) " BUSY_SESSIONS);
		is_true(conn, "SELECT count(*) " OTHER_SESSIONS);
		is_true(conn, "SELECT pg_catalog.pg_terminate_backend(pid) " OTHER_SESSIONS " AND false");
		is_true(conn, "SELECT pg_catalog.pg_current_wal_insert_lsn()");
	}
	if (there)
		PQclear(pg_query(there, NULL, 0, "SELECT state, epoch FROM pingpong.gate", 0, NULL));
	PQfinish(there);
	PQfinish(conn);
	free(database);
	return conn ? 0 : -1;
}

/*
 * A server that is down and was neither sealed nor a standby may hold the only copy of
 * something.  Asked before the first way: each of them leaves a standby.signal.
 */
static bool
safe_to_overwrite(Rejoin *rejoin)
{
	char	   *seal = data_path(rejoin->config, "pingpong.seal");
	char	   *standby = data_path(rejoin->config, "standby.signal");
	char	   *saved = xasprintf("%s/saved/complete", rejoin->config->state_dir);
	bool		safe = rejoin->force || file_exists(seal) || file_exists(standby) || file_exists(saved);

	free(saved);
	free(standby);
	free(seal);
	return safe;
}

/* ---- stopping ---- */

static int
count(PGconn *conn, const char *sql)
{
	char	   *value = pg_value(conn, sql);
	int			n = value ? atoi(value) : 0;

	free(value);
	return n;
}

static void
end_sessions(Rejoin *rejoin, PGconn *conn)
{
	double		grace = clock_monotonic_ms() + rejoin->readers_grace_ms;
	double		gone;

	action_progress(rejoin->ctx, -1, "waiting for readers");
	while (clock_monotonic_ms() < grace && !action_cancelled(rejoin->ctx) &&
		   count(conn, "SELECT count(*) " BUSY_SESSIONS) > 0)
		sleep_ms(POLL_MS);
	/* each is told that it is ended (57P01), which an immediate stop would not do in good order */
	PQclear(pg_query(conn, NULL, 0, "SELECT pg_catalog.pg_terminate_backend(pid) " OTHER_SESSIONS, 0, NULL));
	gone = clock_monotonic_ms() + SESSIONS_GO_MS;
	while (clock_monotonic_ms() < gone && count(conn, "SELECT count(*) " OTHER_SESSIONS) > 0)
		sleep_ms(1);
}

static int
stop_server(Rejoin *rejoin, PGconn *conn, bool primary)
{
	char	   *lsn;

	if (primary)
		end_sessions(rejoin, conn);
	lsn = primary ? pg_value(conn, "SELECT pg_catalog.pg_current_wal_insert_lsn()") : NULL;
	if (lsn)
		json_object_set_new(rejoin->result, "stop_lsn", json_string(lsn));
	free(lsn);
	action_progress(rejoin->ctx, -1, "stopping");
	return control_stop(rejoin->ctx, true, STOP_TIMEOUT_MS);
}

/* ---- starting ---- */

static double
earlier(double a, double b)
{
	return a < b ? a : b;
}

/* The seal has done its work when the server is a standby for certain: started as one, in recovery. */
static void
remove_seal(Rejoin *rejoin)
{
	char	   *path = data_path(rejoin->config, "pingpong.seal");

	if (unlink(path) == 0)
		file_fsync_path(rejoin->config->pg.data);
	free(path);
}

static int
start_and_stream(Rejoin *rejoin)
{
	double		limit = earlier(rejoin->deadline, clock_monotonic_ms() + STREAM_LIMIT_MS);
	double		streaming = 0;
	PGconn	   *conn;

	action_progress(rejoin->ctx, -1, "starting");
	if (control_start(rejoin->ctx) < 0)
		return -1;
	/* crash recovery of a large server takes its time: only the streaming has the short limit */
	conn = control_wait_ready(rejoin->ctx, rejoin->deadline);
	if (!conn)
		return -1;
	action_progress(rejoin->ctx, -1, "waiting for WAL from %s:%s", rejoin->upstream.host, rejoin->upstream.port);
	if (is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()"))
	{
		limit = earlier(rejoin->deadline, clock_monotonic_ms() + STREAM_LIMIT_MS);
		streaming = standby_wait_streaming(rejoin->ctx, conn, &rejoin->upstream, limit);
	}
	PQfinish(conn);
	if (streaming == 0)
		return action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the server does not stream from %s:%s",
						   rejoin->upstream.host, rejoin->upstream.port);
	json_object_set_new(rejoin->result, "streaming_ms", json_real(streaming));
	remove_seal(rejoin);
	return 0;
}

/* ---- the ways ---- */

/*
 * A postmaster that was killed leaves a process that nobody has reaped yet, and children
 * that take a moment to notice. As long as its pid is there, or a child is attached to its
 * shared memory, no server starts in the directory, and the children may still write there.
 * Line 1 of postmaster.pid is the pid, line 7 the key and the number of the memory.
 */
static void
await_orphans(Rejoin *rejoin)
{
	double		limit = earlier(rejoin->deadline, clock_monotonic_ms() + ORPHANS_GO_MS);
	char	   *path = data_path(rejoin->config, "postmaster.pid");
	char	   *text = file_read(path, 4096, NULL);
	char	   *line = text;
	struct shmid_ds shared;
	pid_t		pid = text ? (pid_t) atoi(text) : 0;
	int			id = -1;

	for (int i = 1; line && i < 7; i++)
	{
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	if (line)
		(void) sscanf(line, "%*u %d", &id);
	while (((pid > 0 && kill(pid, 0) == 0) || (id >= 0 && shmctl(id, IPC_STAT, &shared) == 0 && shared.shm_nattch > 0)) &&
		   clock_monotonic_ms() < limit && !action_cancelled(rejoin->ctx))
		sleep_ms(POLL_MS);
	free(text);
	free(path);
}

static int
by_direct(Rejoin *rejoin)
{
	return standby_configure_offline(rejoin->ctx, rejoin->config->pg.data, &rejoin->upstream);
}

typedef struct Way
{
	const char *name;
	int			(*prepare) (Rejoin *rejoin);
	bool		overwrites;
} Way;

static const Way ways[] = {
	{"direct", by_direct, false},
	{"rewind", rejoin_by_rewind, true},
	{"basebackup", rejoin_by_basebackup, true},
};

static int
try_way(Rejoin *rejoin, const Way *way)
{
	if (way->overwrites && !rejoin->may_overwrite)
	{
		action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
					"this server is down, has diverged, and was not sealed");
		action_hint(rejoin->ctx, "What it has and the new primary lacks would be lost; force the rebuild if it may.");
		return -1;
	}
	json_array_append_new(rejoin->tried, json_string(way->name));
	if (control_stop(rejoin->ctx, true, STOP_TIMEOUT_MS) < 0)
		return -1;
	await_orphans(rejoin);
	if (way->prepare(rejoin) < 0 || start_and_stream(rejoin) < 0)
		return -1;
	json_object_set_new(rejoin->result, "method", json_string(way->name));
	return 0;
}

/*
 * pg_rewind first runs the server alone, to end its recovery, and that writes a checkpoint
 * behind the WAL that is there. On a standby which has not diverged this would be the first
 * record of its own, on the source's timeline or before the fork, where pg_rewind does not
 * look for it: a damaged copy. So rewind is for what has diverged, or was a primary until now.
 */
static bool
may_rewind(Rejoin *rejoin)
{
	unsigned	tli = local_timeline(rejoin->config->pg.data);

	if (rejoin_half_rewound(rejoin))
		return true;
	return tli != 0 && tli != rejoin->source_tli && (rejoin->was_primary || source_diverged(rejoin, tli));
}

/* From the first way that can work, one after the other, each costlier than the one before. */
static int
try_ways(Rejoin *rejoin, size_t first, size_t last)
{
	int			rc = -1;

	for (size_t i = first; rc < 0 && i <= last; i++)
	{
		if (ways[i].prepare == rejoin_by_rewind && first != last && !may_rewind(rejoin))
			continue;
		if (i > first && json_array_size(rejoin->tried) > 0)
		{
			log_warning("rejoin: %s failed: %s", json_string_value(json_array_get(rejoin->tried, json_array_size(rejoin->tried) - 1)),
						action_error_message(rejoin->ctx));
			action_output(rejoin->ctx, action_error_message(rejoin->ctx), strlen(action_error_message(rejoin->ctx)));
			action_output(rejoin->ctx, "\n", 1);
			action_forget_error(rejoin->ctx);
		}
		rc = try_way(rejoin, &ways[i]);
		if (rc < 0 && (action_cancelled(rejoin->ctx) || clock_monotonic_ms() > rejoin->deadline))
			break;
	}
	return rc;
}

static int
choose_and_try(Rejoin *rejoin)
{
	unsigned	tli = local_timeline(rejoin->config->pg.data);
	bool		half = rejoin_half_rewound(rejoin);

	rejoin->was_primary = local_was_primary(rejoin->config->pg.data);
	rejoin->may_overwrite = safe_to_overwrite(rejoin);
	if (half && strcmp(rejoin->method, "direct") == 0)
		return action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "an earlier pg_rewind did not finish");
	if (strcmp(rejoin->method, "rewind") == 0 && !may_rewind(rejoin))
		return try_ways(rejoin, 0, 0);	/* nothing to rewind: what pg_rewind would leave is what is there */
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (strcmp(rejoin->method, ways[i].name) == 0)
			return try_ways(rejoin, i, i);
	/* auto; without any WAL (an interrupted rewind, an empty folder) there is nothing to start */
	if (half || tli == 0 || source_diverged(rejoin, tli))
		return try_ways(rejoin, 1, 2);
	return try_ways(rejoin, 0, 2);
}

/* ---- a server that runs ---- */

/* A standby may only need a new upstream. */
static bool
redirected(Rejoin *rejoin, PGconn *conn)
{
	double		limit = earlier(rejoin->deadline, clock_monotonic_ms() + REDIRECT_LIMIT_MS);
	double		streaming;
	const char *method = "none";

	if (strcmp(rejoin->method, "auto") != 0 && strcmp(rejoin->method, "direct") != 0)
		return false;
	streaming = standby_streams(conn, &rejoin->upstream) ? clock_realtime_ms() : 0;
	if (streaming == 0)
	{
		method = "follow";
		json_array_append_new(rejoin->tried, json_string(method));
		if (standby_redirect(rejoin->ctx, conn, &rejoin->upstream) == 0)
			streaming = standby_wait_streaming(rejoin->ctx, conn, &rejoin->upstream, limit);
		action_forget_error(rejoin->ctx);
	}
	if (streaming == 0)
		return false;
	json_object_set_new(rejoin->result, "method", json_string(method));
	json_object_set_new(rejoin->result, "streaming_ms", json_real(streaming));
	remove_seal(rejoin);
	return true;
}

/* 1: it streams already; 0: it is stopped now; -1: the job failed */
static int
handle_running(Rejoin *rejoin)
{
	PGconn	   *conn = control_wait_ready(rejoin->ctx, earlier(rejoin->deadline, clock_monotonic_ms() + STREAM_LIMIT_MS));
	char	   *standby_signal;
	bool		primary;
	int			rc;

	if (!conn)
	{
		/* a standby that cannot become consistent accepts nobody; it may be stopped all the same */
		standby_signal = data_path(rejoin->config, "standby.signal");
		rc = file_exists(standby_signal) || control_postmaster(rejoin->config) == 0 ? 0 : -1;
		free(standby_signal);
		if (rc == 0)
			action_forget_error(rejoin->ctx);
		return rc < 0 ? -1 : control_stop(rejoin->ctx, true, STOP_TIMEOUT_MS);
	}
	primary = !is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()");
	if (primary)
		rc = require_seal(rejoin, conn);
	else
		rc = redirected(rejoin, conn) ? 1 : 0;
	if (rc == 0)
		rc = source_inspect(rejoin, local_timeline(rejoin->config->pg.data));
	if (rc == 0)
		rc = stop_server(rejoin, conn, primary);
	if (rc == 0)
		json_object_set_new(rejoin->result, "stopped_ms", json_real(clock_realtime_ms()));
	PQfinish(conn);
	return rc;
}

static int
run_rejoin(Rejoin *rejoin)
{
	int			rc = rejoin_repair_folders(rejoin);

	if (rc == 0 && rejoin_half_rewound(rejoin))
		rc = control_stop(rejoin->ctx, true, STOP_TIMEOUT_MS);
	else if (rc == 0 && control_postmaster(rejoin->config) != 0)
		rc = handle_running(rejoin);
	if (rc != 0)
		return rc;
	if (rejoin->source_tli == 0 && source_inspect(rejoin, local_timeline(rejoin->config->pg.data)) < 0)
		return -1;
	return choose_and_try(rejoin);
}

static bool
method_valid(const char *method)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (strcmp(method, ways[i].name) == 0)
			return true;
	return strcmp(method, "auto") == 0;
}

/* Two at a time would pull the directory from under each other. */
static int
lock_server(Rejoin *rejoin)
{
	while (pthread_mutex_trylock(&server_lock) != 0)
	{
		action_progress(rejoin->ctx, -1, "waiting for another rejoin");
		if (action_cancelled(rejoin->ctx))
			return action_fail(rejoin->ctx, STATE_CANCELED, "the job was cancelled");
		if (clock_monotonic_ms() > rejoin->deadline)
			return action_fail(rejoin->ctx, STATE_TIMED_OUT, "another rejoin is under way");
		sleep_ms(POLL_MS);
	}
	if (rejoin->ctx->epoch >= epoch_current())
		return 0;
	pthread_mutex_unlock(&server_lock);
	return action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the primary has moved since this job was made");
}

int
action_pg_rejoin(ActionContext *ctx, json_t *params, json_t *result)
{
	int			rc;
	Rejoin		rejoin = {
		.ctx = ctx,
		.config = ctx->config,
		.method = param_string(params, "method", "auto"),
		.force = param_bool(params, "force", false),
		.seal_epoch = param_int(params, "epoch", ctx->epoch),
		.readers_grace_ms = (int) param_int(params, "readers_grace_ms", 0),
		.deadline = clock_monotonic_ms() + param_int(params, "timeout_ms", REJOIN_TIMEOUT_MS),
		.result = result,
		.tried = json_array(),
	};

	json_object_set_new(result, "tried", rejoin.tried);
	if (!method_valid(rejoin.method))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"method\" must be auto, direct, rewind or basebackup");
	if (upstream_read(ctx, params, &rejoin.upstream) < 0 || lock_server(&rejoin) < 0)
		return -1;
	rc = run_rejoin(&rejoin);
	if (rc >= 0)
	{
		rejoin_remove_leftovers(&rejoin);
		settings_put_back(ctx);	/* of a run that was about a primary; nobody else may come to do it */
	}
	pthread_mutex_unlock(&server_lock);
	return rc < 0 ? -1 : 0;
}
