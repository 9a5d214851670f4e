/*
 * database.c
 *		What this host's database says: the nodes of the cluster, and of a primary the alerts to be delivered.
 *
 * What was delivered is noted in the row, which the standbys have soon: the agent of the next primary does not
 * deliver it again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/alert/database.h"
#include "agent/alert/roster.h"
#include "agent/core/clock.h"
#include "agent/core/nodestate.h"
#include "agent/pg/pg.h"

#define LIMIT_MS 2000			/* for a statement */
#define NODES_EVERY_MS 5000
#define PAUSE_MS 10000			/* after an error, which would be a line in the server's log each time */

#define NODES_SQL \
	"SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', name, 'agent_url', agent_url, " \
	"'host', host, 'port', port, 'away', away_since IS NOT NULL) ORDER BY name), '[]') FROM pingpong.node " \
	"WHERE kind = 'postgres'"

/* One that was cleared before anybody heard of it is not told any more. */
#define DUE_SQL \
	"SELECT pingpong_internal.alert_json(a) FROM pingpong.alert a " \
	"WHERE (SELECT state FROM pingpong.gate) = 'open' " \
	"AND CASE WHEN a.cleared_at IS NOT NULL THEN a.sent_state = 'raised' ELSE a.sent_state IS NULL OR " \
	"($1::float8 > 0 AND a.sent_at < pg_catalog.clock_timestamp() " \
	"- pg_catalog.make_interval(secs => $1::float8 / 1000)) END " \
	"ORDER BY a.raised_at, a.id LIMIT 20"

#define SENT_SQL \
	"UPDATE pingpong.alert SET sent_state = $2, sent_at = pg_catalog.clock_timestamp() WHERE id = $1"

static PGconn *session;
static double pause_until;		/* clock_monotonic_ms() */
static double nodes_at;

static void
leave(bool failed)
{
	PQfinish(session);
	session = NULL;
	pause_until = failed ? clock_monotonic_ms() + PAUSE_MS : 0;
}

void
database_leave(void)
{
	leave(false);
}

/* The extension, of this version, is in the database; and no statement of ours waits for a standby. */
static bool
suits(void)
{
	PGresult   *local = pg_query(session, NULL, 0, "SET synchronous_commit = local", 0, NULL);
	bool		fine = local && pg_is_true(session, "SELECT pg_catalog.to_regclass('pingpong.alert') IS NOT NULL");

	PQclear(local);
	return fine;
}

static PGconn *
connect_there(const PgInstance *pg)
{
	PGconn	   *conn = pg_local(pg, NULL, LIMIT_MS, NULL, 0);
	char	   *database = conn ? pg_pingpong_database(conn) : NULL;

	if (database && strcmp(database, PQdb(conn)) != 0)
	{
		PQfinish(conn);
		conn = pg_local(pg, database, LIMIT_MS, NULL, 0);
	}
	free(database);
	return conn;
}

/* The session, while the server has one of these roles; NULL: none can be had now. */
static bool
arrive(const AgentConfig *config, bool standby_too)
{
	const PgInstance *pg = config_instance(config, "");
	NodeRole	role = nodestate_get().role;

	if (!pg || (role != ROLE_PRIMARY && role != ROLE_STANDBY))
	{
		leave(false);
		return false;
	}
	if (role == ROLE_STANDBY && !standby_too)
		return false;
	if (session && atoi(PQport(session)) == pg->port && strcmp(PQhost(session), pg->socket) == 0)
		return true;
	if (clock_monotonic_ms() < pause_until)
		return false;
	leave(false);
	session = connect_there(pg);
	if (!session || !suits())
		leave(true);
	return session != NULL;
}

void
database_read_nodes(const AgentConfig *config)
{
	char	   *text;
	json_t	   *rows;

	if (!arrive(config, true) || clock_monotonic_ms() < nodes_at)
		return;
	nodes_at = clock_monotonic_ms() + NODES_EVERY_MS;
	text = pg_value(session, NODES_SQL);
	rows = text ? json_loads(text, 0, NULL) : NULL;
	free(text);
	if (json_is_array(rows))
		roster_set(rows);
	else
	{
		json_decref(rows);
		leave(true);
	}
}

json_t *
database_due(const AgentConfig *config, double repeat_ms)
{
	json_t	   *due = json_array();
	char		repeat[32];
	const char *values[] = {repeat};
	PGresult   *rows;

	if (!arrive(config, false))
		return due;
	snprintf(repeat, sizeof(repeat), "%.0f", repeat_ms);
	rows = pg_query(session, NULL, 0, DUE_SQL, 1, values);
	if (!rows)
		leave(true);
	for (int i = 0; rows && i < PQntuples(rows); i++)
	{
		json_t	   *message = json_loads(PQgetvalue(rows, i, 0), 0, NULL);

		if (json_is_object(message))
			json_array_append(due, message);
		json_decref(message);
	}
	PQclear(rows);
	return due;
}

bool
database_sent(const json_t *message)
{
	const char *values[] = {json_string_value(json_object_get(message, "id")),
	json_string_value(json_object_get(message, "state"))};
	PGresult   *res = session ? pg_query(session, NULL, 0, SENT_SQL, 2, values) : NULL;
	bool		done = res != NULL;

	PQclear(res);
	if (!done)
		leave(true);
	return done;
}
