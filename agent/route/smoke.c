/*
 * smoke.c
 *		smoke: a statement through the pooler, as a client of the site would send it.
 *
 * The statement belongs to the route, so it is a row. The login and the address are in the agent's configuration,
 * where secrets belong. The statement must give one row whose first column is true.
 */
#include <string.h>

#include "agent/core/config.h"
#include "agent/job/params.h"
#include "agent/pg/pg.h"
#include "agent/route/console.h"
#include "agent/route/smoke.h"
#include "common/sqlstate.h"

int
smoke_test(ActionContext *ctx, const BouncerConfig *bouncer, const char *sql, int timeout_ms)
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
	conn = pg_remote(bouncer->smoke, NULL, 0, false, error, sizeof(error));
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
	return smoke_test(ctx, bouncer, sql, (int) param_int(params, "timeout_ms", admin_timeout_ms(bouncer)));
}
