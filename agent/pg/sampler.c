/*
 * sampler.c
 *		Looks at the main instance again and again, so that others need not ask it.
 *
 * One session, kept open: a look costs two short statements.  It goes to the database of the
 * extension, whose gate tells whether the server is sealed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/log.h"
#include "agent/core/nodestate.h"
#include "agent/pg/datadir.h"
#include "agent/pg/pg.h"
#include "agent/pg/sampler.h"
#include "agent/pg/seal.h"
#include "agent/pg/session.h"

#define GOOD_LOOKS 3			/* a state is good until so many further looks have failed to come */

/*
 * Has the upstream said lately how far it is? A receiver that has heard nothing asks for a sign of life at half of
 * its time-out: behind that and some seconds nobody knows how far the upstream has come meanwhile.
 */
#define HEARD_SQL \
	"(SELECT t = interval '0' OR " \
	"w.last_msg_receipt_time > pg_catalog.clock_timestamp() - t * 0.5 - interval '2 seconds' " \
	"FROM (SELECT pg_catalog.current_setting('wal_receiver_timeout')::interval) x(t))"

/* The control file has the timeline of the last checkpoint: behind a promotion that is the old one for a while. */
#define STATE_SQL \
	"SELECT r, CASE WHEN r THEN coalesce(w.received_tli, " \
	"(SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())) " \
	"ELSE ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::int " \
	"END, CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, " \
	"w.received_tli IS NOT NULL, pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1), " \
	"CASE WHEN r AND " HEARD_SQL " THEN greatest(0, pg_catalog.pg_wal_lsn_diff(w.latest_end_lsn, " \
	"pg_catalog.pg_last_wal_replay_lsn())) END, s.system_identifier " \
	"FROM pg_catalog.pg_is_in_recovery() r, pg_catalog.pg_control_system() s " \
	"LEFT JOIN pg_catalog.pg_stat_wal_receiver w ON w.status = 'streaming'"

static OwnSession session = {.timeout_ms = NODESTATE_LOOK_MS};

/*
 * Out of recovery: sealed or not; never "not sealed" without an answer. Where the extension is not, nothing seals,
 * and nothing holds writes.
 */
static NodeRole
role_of_gate(bool *open)
{
	PGresult   *there = pg_query(session.conn, NULL, 0,
								 "SELECT pg_catalog.to_regclass('pingpong.gate') IS NOT NULL", 0, NULL);
	bool		has_gate = there && strcmp(PQgetvalue(there, 0, 0), "t") == 0;
	PGresult   *gate = has_gate ? pg_query(session.conn, NULL, 0, "SELECT state FROM pingpong.gate", 0, NULL) : NULL;
	NodeRole	role = ROLE_PRIMARY;

	if (!there || (has_gate && (!gate || PQntuples(gate) != 1)))
		role = ROLE_UNKNOWN;
	else if (has_gate && strcmp(PQgetvalue(gate, 0, 0), "sealed") == 0)
		role = ROLE_SEALED;
	else if (has_gate && strcmp(PQgetvalue(gate, 0, 0), "guarded") == 0)
		role = ROLE_GUARDED;
	*open = role == ROLE_PRIMARY && (!has_gate || strcmp(PQgetvalue(gate, 0, 0), "open") == 0);
	PQclear(gate);
	PQclear(there);
	return role;
}

static void
look(const PgInstance *pg, NodeState *state)
{
	char		error[256];
	SessionAnswer answer = session_open(&session, pg, error, sizeof(error));
	PGresult   *res = answer == SESSION_OPEN ? pg_query(session.conn, NULL, 0, STATE_SQL, 0, NULL) : NULL;

	state->role = answer == SESSION_ELSEWHERE ? ROLE_UNKNOWN : ROLE_DOWN;
	if (!res || PQntuples(res) != 1)
	{
		PQclear(res);
		session_close(&session);
		state->system = datadir_look(pg->data).system;
		return;
	}
	state->role = strcmp(PQgetvalue(res, 0, 0), "t") == 0 ? ROLE_STANDBY : role_of_gate(&state->takes_writes);
	state->timeline = atoi(PQgetvalue(res, 0, 1));
	snprintf(state->version, sizeof(state->version), "%s", PQgetvalue(res, 0, 4));
	snprintf(state->lsn, sizeof(state->lsn), "%s", PQgetvalue(res, 0, 2));
	state->streaming = strcmp(PQgetvalue(res, 0, 3), "t") == 0;
	state->lag = PQgetisnull(res, 0, 5) ? -1 : atoll(PQgetvalue(res, 0, 5));
	state->system = strtoull(PQgetvalue(res, 0, 6), NULL, 10);
	PQclear(res);
}

/* Behind the question to its server, so that it is never older than the answer: a promotion may come in between. */
static void
look_at_data(const PgInstance *pg, NodeState *state)
{
	DataDir		dir = datadir_look(pg->data);
	char		system[32];
	char		run[80];
	unsigned long long lsn;

	snprintf(system, sizeof(system), "%llu", (unsigned long long) dir.system);
	state->data_known = dir.known && dir.wal_known;
	state->data_system = dir.system;
	state->data_timeline = dir.timeline;
	state->data_history = dir.newest_history;
	state->data_standby = state->data_known && datadir_is_standby_of(pg->data, system, 0);
	state->data_sealed = state->data_known && seal_read(pg->data, &dir, run, sizeof(run), &lsn);
}

/* The configuration of now, each time: it may have been reloaded. */
static int
look_once(void)
{
	AgentConfig *config = config_current();
	int			interval = config->sample_interval_ms;
	const PgInstance *pg = config_instance(config, "");
	bool		closely = nodestate_take_wish();
	NodeState	state = {.role = ROLE_NONE, .lag = -1, .streamed_ms = nodestate_get().streamed_ms,
						 .looked_at = clock_monotonic_ms()};

	if (pg)
		look(pg, &state);
	if (pg && closely)
		look_at_data(pg, &state);
	state.seen_ms = clock_realtime_ms();
	if (state.streaming)
		state.streamed_ms = state.seen_ms;
	state.good_until = clock_monotonic_ms() + GOOD_LOOKS * (interval + NODESTATE_LOOK_MS);
	nodestate_set(&state);
	config_release(config);
	return interval;
}

static void *
sampler_main(void *unused)
{
	for (;;)
		nodestate_await_look(look_once());
	return NULL;
}

void
sampler_start(void)
{
	pthread_t	thread;

	if (pthread_create(&thread, NULL, sampler_main, NULL) != 0)
		log_error("could not start a thread: the state of this node stays unknown");
	else
		pthread_detach(thread);
}
