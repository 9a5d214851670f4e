/*
 * source.c
 *		The server that a node is to follow: which one it is, and where its timeline left ours.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/pg/datadir.h"
#include "agent/pg/formats.h"
#include "agent/pg/pg.h"
#include "agent/rejoin/history.h"
#include "agent/rejoin/source.h"
#include "common/sqlstate.h"

#define RETRY_MS 50
#define CONNECT_LIMIT_MS 10000
#define SERVE_MS 1000			/* a missing segment is told at once */
#define HISTORY_MAX (4 * 1024 * 1024)

/* ---- asking ---- */

/* It was promoted a moment ago: the first attempts may come too early. */
static PGconn *
connect_to(ActionContext *ctx, const Source *source, const char *conninfo, bool replication)
{
	const Upstream *upstream = source->upstream;
	double		limit = clock_monotonic_ms() + CONNECT_LIMIT_MS;
	char		error[512] = "";

	while (clock_monotonic_ms() < limit && clock_monotonic_ms() < source->deadline)
	{
		PGconn	   *conn = pg_remote(conninfo, upstream->host, upstream->port_number, replication, error,
									 sizeof(error));

		if (conn)
			return conn;
		if (action_cancelled(ctx))
			break;
		sleep_ms(RETRY_MS);
	}
	action_fail(ctx, STATE_CONNECTION_FAILURE, "could not connect to %s:%s: %s", upstream->host, upstream->port,
				error);
	return NULL;
}

PGconn *
source_connect(ActionContext *ctx, const Source *source)
{
	return connect_to(ctx, source, ctx->pg->rewind, false);
}

static int
ask_history(ActionContext *ctx, Source *source, PGconn *conn)
{
	char		sql[64];
	PGresult   *res;

	snprintf(sql, sizeof(sql), "TIMELINE_HISTORY %u", source->timeline);
	res = pg_query_or_fail(ctx, conn, sql, 0, NULL);
	if (!res)
		return -1;
	source->history = xstrdup(PQgetvalue(res, 0, 1));
	PQclear(res);
	return 0;
}

/* A missing slot would only show as a standby that never streams. */
static int
ask_slot(ActionContext *ctx, const Source *source, PGconn *conn)
{
	const Upstream *upstream = source->upstream;
	char	   *sql;
	PGresult   *res;
	bool		missing;

	if (!upstream->slot)
		return 0;
	sql = xasprintf("READ_REPLICATION_SLOT %s", upstream->slot);
	res = pg_query(conn, NULL, 0, sql, 0, NULL);
	free(sql);
	missing = res && PQntuples(res) == 1 && PQgetisnull(res, 0, 0);
	PQclear(res);
	if (missing)
		return action_fail(ctx, STATE_UNDEFINED_OBJECT, "%s:%s has no replication slot \"%s\"", upstream->host,
						   upstream->port, upstream->slot);
	return 0;
}

int
source_inspect(ActionContext *ctx, Source *source)
{
	PGconn	   *conn = connect_to(ctx, source, ctx->pg->replication, true);
	PGresult   *res = conn ? pg_query_or_fail(ctx, conn, "IDENTIFY_SYSTEM", 0, NULL) : NULL;
	int			rc = res ? 0 : -1;

	if (res)
	{
		snprintf(source->system, sizeof(source->system), "%s", PQgetvalue(res, 0, 0));
		source->timeline = (unsigned) strtoul(PQgetvalue(res, 0, 1), NULL, 10);
		lsn_parse(PQgetvalue(res, 0, 2), &source->lsn);
		source->major = PQserverVersion(conn) / 10000;
		free(source->history);
		source->history = NULL;
		if (source->timeline > 1)
			rc = ask_history(ctx, source, conn);
	}
	if (rc == 0)
		rc = ask_slot(ctx, source, conn);
	PQclear(res);
	PQfinish(conn);
	return rc;
}

/* ---- timelines ---- */

unsigned long long
source_fork(const Source *source, unsigned timeline)
{
	return source->history ? history_left_at(source->history, timeline) : 0;
}

/* The node's own, malloc'd; NULL: it has none. */
static char *
own_history(const char *data, unsigned timeline)
{
	char	   *path = xasprintf("%s/pg_wal/%08X.history", data, timeline);
	char	   *text = file_read(path, HISTORY_MAX, NULL);

	free(path);
	return text;
}

/*
 * Two servers that were promoted apart from each other give their timelines the same number. Only the way that
 * brought there tells them apart; a server that was promoted to a timeline, or has begun to follow it, has its
 * history file.
 */
static Relation
same_number(const Source *source, const char *data, unsigned timeline, Relation by_number)
{
	const char *history = source->history ? source->history : "";
	char	   *own = timeline > 1 ? own_history(data, timeline) : xstrdup("");
	Relation	relation = by_number;

	if (!own)
		relation = datadir_look(data).was_primary ? RELATION_UNKNOWN : by_number;
	else if (!history_agrees(own, history, timeline))
		relation = RELATION_FORKED;
	free(own);
	return relation;
}

/* Does the node's own history file of `timeline` name the source's timeline as an ancestor? */
static bool
comes_from_source(const Source *source, const char *data, unsigned timeline)
{
	char	   *own = own_history(data, timeline);
	bool		found = own && history_left_at(own, source->timeline) != 0 &&
		history_agrees(own, source->history ? source->history : "", source->timeline);

	free(own);
	return found;
}

static Relation
relation_of(const Source *source, const char *data, unsigned timeline)
{
	if (timeline == source->timeline)
		return same_number(source, data, timeline, RELATION_SAME);
	if (source_fork(source, timeline) != 0)
		return same_number(source, data, timeline, RELATION_ANCESTOR);
	return timeline > source->timeline && comes_from_source(source, data, timeline) ? RELATION_AHEAD :
		RELATION_FORKED;
}

/* A standby's control file may tell an older timeline than the one it has begun to follow. */
Relation
source_relation(const Source *source, const char *data, unsigned timeline, unsigned newest_history)
{
	Relation	relation = relation_of(source, data, timeline);
	Relation	newest;

	if (newest_history <= timeline)
		return relation;
	newest = relation_of(source, data, newest_history);
	return newest == RELATION_AHEAD || newest == RELATION_FORKED ? newest : relation;
}

/* ---- serving ---- */

/* Until the first byte, an error or the limit; true unless there was an error of the server's. */
static bool
wal_comes(PGconn *conn)
{
	double		deadline = clock_monotonic_ms() + SERVE_MS;
	char	   *data = NULL;
	int			n = 0;

	while (n == 0 && clock_monotonic_ms() < deadline)
	{
		struct pollfd fd = {PQsocket(conn), POLLIN, 0};

		n = PQgetCopyData(conn, &data, 1);
		if (n == 0 && (poll(&fd, 1, 100) < 0 || !PQconsumeInput(conn)))
			break;
	}
	if (n > 0)
		PQfreemem(data);
	if (n == -1)
	{
		PGresult   *res = PQgetResult(conn);
		bool		refused = PQresultStatus(res) == PGRES_FATAL_ERROR;

		PQclear(res);
		return !refused;
	}
	return true;
}

bool
source_can_serve(ActionContext *ctx, const Source *source, unsigned timeline, unsigned long long lsn)
{
	PGconn	   *conn = connect_to(ctx, source, ctx->pg->replication, true);
	char		sql[128];
	PGresult   *res;
	bool		serves = true;

	if (!conn)
	{
		action_forget_error(ctx);	/* then that is the trouble, and the server's own attempts tell it */
		return true;
	}
	snprintf(sql, sizeof(sql), "START_REPLICATION PHYSICAL %X/%X TIMELINE %u", (unsigned) (lsn >> 32), (unsigned) lsn,
			 timeline);
	res = pg_query(conn, NULL, 0, sql, 0, NULL);
	if (res)
		serves = wal_comes(conn);
	else
		serves = PQstatus(conn) != CONNECTION_OK;	/* a plain refusal: not in its history, or ahead of its end */
	PQclear(res);
	PQfinish(conn);
	return serves;
}

int
source_checkpoint(ActionContext *ctx, const Source *source)
{
	PGconn	   *conn = source_connect(ctx, source);
	bool		ordered = false;
	int			rc = -1;

	if (!conn)
		return -1;
	action_progress(ctx, -1, "checkpoint on %s:%s", source->upstream->host, source->upstream->port);
	while (rc < 0 && PQstatus(conn) == CONNECTION_OK && clock_monotonic_ms() < source->deadline &&
		   !action_cancelled(ctx))
	{
		char	   *tli = pg_value(conn, "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()");

		if (!tli)
			break;
		if (strtoul(tli, NULL, 10) >= source->timeline)
			rc = 0;
		else if (!ordered)
		{
			/* without the right to do it we wait for the one that every promotion begins */
			pg_set_limit(conn, (int) (source->deadline - clock_monotonic_ms()));
			PQclear(pg_query(conn, NULL, 0, "CHECKPOINT", 0, NULL));
			ordered = true;
		}
		else
			sleep_ms(RETRY_MS);
		free(tli);
	}
	PQfinish(conn);
	return rc == 0 ? 0 :
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "%s:%s has made no checkpoint on its timeline",
									 source->upstream->host, source->upstream->port);
}
