/*
 * login.c - sessions that log in at a sealed server, and standbys that log in at a fenced one.
 *
 * The server tells them that it is read-only, so that libpq's target_session_attrs=read-write tries the next host.
 * That must leave no trace when the seal is lifted: the setting returns to the value of the role, the database or the
 * client's options, a client's own SET has priority, and a transaction that began meanwhile may write again.
 *
 * The setting has a source of its own, above the defaults and below SET. So PostgreSQL itself ignores our value where
 * the client has set one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "gate/login.h"
#include "gate/seal.h"
#include "gate/state.h"
#include "pg_compat.h"

#define SETTING		"default_transaction_read_only"
#define OUR_SOURCE	PGC_S_INTERACTIVE

bool		gate_read_only_login = false;

/* This transaction takes it back for good, if it commits. */
static bool taken_back = false;

/*
 * A server that a failover has fenced, or that knows since its start that it was replaced, sends its WAL to nobody.
 * It still writes some when it starts, behind the position that the new primary was promoted at, and may have
 * transactions that no standby had received. A standby that has not been told yet to follow the new primary would
 * fetch all that, and could follow it only by pg_rewind, with the risk that its own writes are lost. A seal of a run
 * is another thing: its target needs the last of the WAL.
 */
static void
refuse_standby(void)
{
	GateSeal	seal;

	if (!am_walsender || am_db_walsender || !gate_get_seal(&seal) || seal.why[0] == '\0')
		return;
	ereport(FATAL,
			(errcode(ERRCODE_CANNOT_CONNECT_NOW),
			 errmsg("this server sends no WAL: another one has replaced it as the primary"),
			 errdetail("Its seal says: %s.", seal.why),
			 errhint("A standby must follow the new primary. There, pingpong.rebuild() makes it do so.")));
}

/* At the end of the transaction that connects a session: all its settings are in place, none is reported yet. */
static void
log_in(void)
{
	static bool looked = false;

	if (looked)
		return;
	looked = true;
	refuse_standby();
	if (MyBackendType != B_BACKEND || MyProcPort == NULL || DefaultXactReadOnly ||
		pg_atomic_read_u32(&gate_shared->state) == GATE_OPEN ||
		(gate_state() != GATE_SEALED && gate_state() != GATE_GUARDED) ||
		(application_name && strcmp(application_name, GATE_AGENT_APPLICATION) == 0))
		return;
	SetConfigOption(SETTING, "on", PGC_USERSET, OUR_SOURCE);
	gate_read_only_login = true;
}

static void
take_back(void)
{
	SetConfigOption(SETTING, NULL, PGC_USERSET, OUR_SOURCE);
}

/* Has the client itself made this transaction read-only? Then its word has a higher source, and ours is ignored. */
static bool
read_only_by_client(void)
{
	return set_config_option("transaction_read_only", "on", PGC_USERSET, OUR_SOURCE, GUC_ACTION_SET, true, 0,
							 false) < 0;
}

/* A serializable one that began to read as read-only keeps no account of conflicts. */
static bool
must_stay_read_only(void)
{
	return (IsolationIsSerializable() && FirstSnapshotSet) || read_only_by_client();
}

/*
 * May run in a subtransaction that is rolled back, and then runs again; what
 * counts is done before the commit.
 */
void
gate_login_writes_again(void)
{
	if (IsInParallelMode() || gate_state() != GATE_OPEN)
		return;
	take_back();
	if (XactReadOnly && !DefaultXactReadOnly && !must_stay_read_only())
		XactReadOnly = false;
}

void
gate_login_commits(void)
{
	log_in();
	if (!gate_read_only_login || gate_state() != GATE_OPEN)
		return;
	take_back();
	taken_back = true;
}

void
gate_login_ended(bool committed)
{
	if (taken_back && committed)
		gate_read_only_login = false;
	taken_back = false;
}
