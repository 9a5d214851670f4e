/*
 * verify.c - the action that checks whether clients and standbys have what they need.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "executor/spi.h"

#include "common/sqlstate.h"
#include "gate/sealing.h"
#include "worker/action/action.h"
#include "worker/db.h"
#include "worker/wal.h"

/* By this server's own configuration: what databases and roles have of their own came with the data. */
static bool
sessions_are_read_only(void)
{
	bool		yes;

	db_begin();
	yes = db_exec("SELECT FROM pg_catalog.pg_settings WHERE name = "
					   "'default_transaction_read_only' AND reset_val = 'on' "
					   "AND NOT EXISTS (SELECT FROM pg_catalog.pg_db_role_setting, "
					   "pg_catalog.unnest(setconfig) AS c (c) "
					   "WHERE pg_catalog.starts_with(c, 'default_transaction_read_only='))", 0) == 1;
	db_end();
	return yes;
}

/* writable: by their configuration, clients can write here. (The journal's own writes show that the server can.) */
static ActionResult
writable_begin(Run *run, Step *step)
{
	if (sessions_are_read_only())
		return step_fail(step, STATE_READ_ONLY_TRANSACTION,
						 "no client can write: default_transaction_read_only is on");
	return ACTION_DONE;
}

/* verify: every standby has replayed what was written here just now. */
static ActionResult
verify_begin(Run *run, Step *step)
{
	wal_pad(1);
	step->lsn = gate_insert_end();
	XLogFlush(step->lsn);
	return ACTION_WAIT;
}

static ActionResult
verify_advance(Run *run, Step *step)
{
	uint64		missing;
	uint64		given_up = 0;
	char		lsn[32];

	snprintf(lsn, sizeof(lsn), "%X/%X", LSN_FORMAT_ARGS(step->lsn));
	db_begin();
	missing = db_exec("SELECT s.name, s.state FROM pingpong_internal.standby_rows() s "
						   "JOIN pingpong.node n ON n.name = s.name "
						   "WHERE n.upstream IS NULL AND n.away_since IS NULL AND (s.state = 'streaming' AND "
						   "s.replay_lsn >= $1::pg_catalog.pg_lsn) IS NOT TRUE "
						   "ORDER BY s.name", 1, lsn);
	for (uint64 i = 0; i < missing; i++)
		/* will not come while we look */
		given_up += run_find_step(run, ACTION_MAKES_STANDBY, db_text(i, 1), STEP_FAILED) != NULL;
	if (missing > 0)
		snprintf(step->message, sizeof(step->message), "node \"%s\" %s", db_text(0, 1),
				 db_text(0, 2) ? "has not replayed what was written here" : "does not stream");
	db_end();
	if (missing > given_up)
		return ACTION_WAIT;
	if (missing > 0)
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE, "%s", pstrdup(step->message));
	strlcpy(step->message, "all standbys have replayed what was written here", sizeof(step->message));
	return ACTION_DONE;
}

const Action verify_actions[] = {
	{"writable", writable_begin, NULL},
	{"verify", verify_begin, verify_advance},
	{NULL}
};
