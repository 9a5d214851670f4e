/*
 * restart.c
 *		Stopping the server for a rejoin, and starting it as a standby.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/job/action.h"
#include "agent/job/epoch.h"
#include "agent/pg/control.h"
#include "agent/pg/datadir.h"
#include "agent/pg/formats.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/serverlog.h"
#include "agent/pg/standby.h"
#include "agent/pg/stop.h"
#include "agent/rejoin/judge.h"
#include "agent/rejoin/restart.h"
#include "agent/rejoin/rule.h"
#include "agent/rejoin/source.h"
#include "common/sqlstate.h"

#define QUERY_TIMEOUT_MS 10000
#define JUDGED_LIMIT_MS 200		/* a judgement is believed that long, and the blackout's rejoin judges once */

int
rejoin_check_epoch(Rejoin *rejoin)
{
	if (rejoin->ctx->epoch >= epoch_current())
		return 0;
	return action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the primary has moved since this job was made");
}

/*
 * What was judged is as old as the copy that was made meanwhile, or the wait for WAL. A standby may be a primary by
 * now, a primary may take writes again, a person may have started what was down: they are not stopped by what was
 * true before.
 */
static int
confirm(Rejoin *rejoin)
{
	RejoinFacts facts = rejoin->facts;
	RejoinRule	rule = rejoin->rule;
	PGconn	   *conn = pg_local(rejoin->pg, NULL, QUERY_TIMEOUT_MS, NULL, 0);
	int			rc = rejoin_check_epoch(rejoin);

	if (rc == 0)
	{
		rejoin_look(rejoin, conn);
		rejoin->facts.running = true;
		rejoin->rule = rejoin_rule(&rejoin->facts);
		if (!facts.running)
			rc = action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the server of %s was started meanwhile",
							 rejoin->who);
		else if (rejoin->facts.primary && !facts.primary)
			rc = action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "%s was promoted meanwhile", rejoin->who);
		else if (rejoin->facts.primary && rejoin->rule.verdict != REJOIN_ALLOWED)
			rc = rejoin_refuse(rejoin);
	}
	PQfinish(conn);
	rejoin->facts = facts;
	rejoin->rule = rule;
	return rc;
}

/* Down afterwards, whatever it was. */
int
rejoin_stop_server(Rejoin *rejoin)
{
	/* a server that must not be, or cannot be stopped, must not be by another way either */
	rejoin->no_more = true;
	if (clock_monotonic_ms() - rejoin->judged_ms > JUDGED_LIMIT_MS && control_running(rejoin->pg) &&
		confirm(rejoin) < 0)
		return -1;
	if (server_stop(rejoin->ctx, rejoin->facts.primary, rejoin->readers_grace_ms, rejoin->deadline,
					rejoin->result) < 0)
		return -1;
	if (rejoin->heir && rejoin->heir->make_way(rejoin->heir->argument) < 0)
		return -1;
	rejoin->no_more = false;
	rejoin->facts.running = false;
	return 0;
}

/* The seal has done its work when the server is a standby for certain: started as one, in recovery. */
void
rejoin_remove_seal(Rejoin *rejoin)
{
	char	   *path = data_path(rejoin->pg, "pingpong.seal");

	if (unlink(path) == 0)
		file_fsync_path(rejoin->pg->data);
	free(path);
}

/*
 * It runs and does not stream. Only if the source has not the WAL that it needs, a costlier way helps; a password or
 * a network that is wrong would be as wrong for that, and intact data would be copied again.
 */
static int
no_stream(Rejoin *rejoin, PGconn *conn)
{
	char	   *lsn = pg_value(conn, "SELECT greatest(pg_catalog.pg_last_wal_receive_lsn(), "
							   "pg_catalog.pg_last_wal_replay_lsn())");
	unsigned long long from = 0;
	DataDir		dir = datadir_look(rejoin->pg->data);
	char	   *why = serverlog_last_words(rejoin->pg);

	if (lsn_parse(lsn, &from) && source_can_serve(rejoin->ctx, &rejoin->source, dir.timeline, from))
		rejoin->no_more = true;
	free(lsn);
	action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the server does not stream from %s:%s%s%s",
				rejoin->upstream.host, rejoin->upstream.port, why ? ": " : "", why ? why : "");
	if (rejoin->no_more)
		action_hint(rejoin->ctx, "The WAL that it needs is there: see primary_conninfo, "
					"pg_hba.conf and the passwords.");
	free(why);
	return -1;
}

int
rejoin_start_and_stream(Rejoin *rejoin)
{
	double		streaming = 0;
	PGconn	   *conn;
	int			rc = 0;

	action_progress(rejoin->ctx, -1, "starting");
	rejoin->no_more = true;		/* a start command that fails says nothing about the data */
	if (control_start(rejoin->ctx) < 0)
		return -1;
	rejoin->facts.running = true;
	/* crash recovery of a large server takes its time: only the streaming has the short limit */
	conn = control_wait_ready(rejoin->ctx, rejoin->deadline);
	/* what it says about data is a reason to go on; all else is about settings, ports, rights */
	rejoin->no_more = !conn && !serverlog_blames_data(rejoin->pg);
	if (!conn)
		return -1;
	action_progress(rejoin->ctx, -1, "waiting for WAL from %s:%s", rejoin->upstream.host, rejoin->upstream.port);
	if (pg_is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()"))
		streaming = standby_wait_streaming(rejoin->ctx, conn, &rejoin->upstream, &rejoin->goal,
										   clock_earlier(rejoin->deadline, clock_monotonic_ms() + STREAM_LIMIT_MS),
										   rejoin->deadline);
	if (streaming == 0)
		rc = no_stream(rejoin, conn);
	PQfinish(conn);
	if (rc < 0)
		return -1;
	json_object_set_new(rejoin->result, "streaming_ms", json_real(streaming));
	rejoin_remove_seal(rejoin);
	return 0;
}
