/*
 * smoke.c
 *		smoke: a statement through the pooler, as a client of the site would send it.
 *
 * The statement belongs to the route, so it is a row. The login and the address are in the agent's configuration,
 * where secrets belong. The statement must give one row whose first column is true.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/config.h"
#include "agent/core/conninfo.h"
#include "agent/job/params.h"
#include "agent/pg/pg.h"
#include "agent/route/bouncerini.h"
#include "agent/route/console.h"
#include "agent/route/smoke.h"
#include "common/sqlstate.h"

/* Its login, to another of its databases ("": its own).  The name has no character that means something here. */
static PGconn *
log_in(const BouncerConfig *bouncer, const char *database, char *error, size_t error_size)
{
	char	   *login = *database ? conninfo_without(bouncer->smoke, "dbname") : NULL;
	char	   *name = xasprintf("dbname=%s", database);
	char	   *merged = login ? conninfo_merge(login, name, NULL, NULL, NULL) : NULL;
	PGconn	   *conn = pg_remote(merged ? merged : bouncer->smoke, NULL, 0, false, error, error_size);

	free(merged);
	free(name);
	free(login);
	return conn;
}

int
smoke_test(ActionContext *ctx, const BouncerConfig *bouncer, const char *sql, const char *database, int timeout_ms)
{
	char		error[512] = "";
	PGconn	   *conn;
	PGresult   *res;
	bool		fine;

	if (!bouncer->smoke)
	{
		action_fail(ctx, STATE_UNDEFINED_OBJECT,
					"[pgbouncer.%s] has no connection string \"smoke\" for the smoke test of its route",
					bouncer->name);
		return -1;
	}
	conn = log_in(bouncer, database, error, sizeof(error));
	res = conn ? admin_query(conn, sql, timeout_ms, error, sizeof(error)) : NULL;
	fine = res && PQntuples(res) == 1 && PQnfields(res) > 0 && strcmp(PQgetvalue(res, 0, 0), "t") == 0;
	if (!res)
		action_fail(ctx, STATE_EXTERNAL_ROUTINE, "the smoke test through PgBouncer \"%s\" failed: %s", bouncer->name,
					error);
	else if (!fine)
		action_fail(ctx, STATE_EXTERNAL_ROUTINE, "the smoke test through PgBouncer \"%s\" did not give true",
					bouncer->name);
	PQclear(res);
	PQfinish(conn);
	return fine ? 0 : -1;
}

int
action_pgbouncer_smoke(ActionContext *ctx, json_t *params, json_t *result)
{
	const char *name = param_string(params, "endpoint", "");
	const char *sql = param_string(params, "smoke", "");
	const BouncerConfig *bouncer = config_bouncer(ctx->config, name);

	if (!bouncer)
		return action_fail(ctx, STATE_UNDEFINED_OBJECT, "no PgBouncer \"%s\" is configured", name);
	if (!*sql)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"smoke\" must be a statement");
	if (!bouncer_name_valid(param_string(params, "database", "x")))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"database\" must be the name of one");
	return smoke_test(ctx, bouncer, sql, param_string(params, "database", ""),
					  (int) param_int(params, "timeout_ms", admin_timeout_ms(bouncer)));
}
