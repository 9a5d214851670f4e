/*
 * pooler.c
 *		--check: a PgBouncer: its console, its file, a client's way through it.
 */
#include <stdio.h>
#include <string.h>

#include "agent/check/conninfo.h"
#include "agent/check/pooler.h"
#include "agent/check/say.h"
#include "agent/pg/pg.h"
#include "agent/route/bouncerchain.h"
#include "agent/route/bouncerfile.h"
#include "agent/route/console.h"

/* The configuration is looked at as far as we may read it; that RELOAD takes effect is tried by each run. */
static void
check_bouncer_file(const BouncerConfig *bouncer, const char *main_file)
{
	char		why[512];
	BouncerChain chain;
	bool		replaceable = bouncer_file_check(bouncer->file, why, sizeof(why)) == 0;

	check_say(replaceable, "file %s can be replaced%s%s", bouncer->file, replaceable ? "" : ": ",
			  replaceable ? "" : why);
	if (!main_file)
		return;
	bouncer_chain_look(main_file, bouncer->file, &chain);
	if (chain.included || chain.complete || chain.broken)
		check_say(chain.included && !chain.broken, "PgBouncer's %s includes %s%s%s", main_file, bouncer->file,
			   chain.broken || !chain.included ? ": " : "", chain.broken || !chain.included ? chain.trouble : "");
	bouncer_chain_free(&chain);
}

static void
check_smoke(const BouncerConfig *bouncer)
{
	char		error[256];
	PGconn	   *conn = pg_remote(bouncer->smoke, NULL, 0, false, error, sizeof(error));

	check_say(conn != NULL, "connection \"smoke\" through PgBouncer %s%s%s", bouncer->name, conn ? "" : ": ",
			  conn ? "" : error);
	check_conninfo("smoke", bouncer->smoke);
	PQfinish(conn);
}

void
check_bouncer(const BouncerConfig *bouncer)
{
	char		error[256];
	PGconn	   *conn = admin_connect(bouncer, error, sizeof(error));
	PGresult   *res = conn ? admin_query(conn, "SHOW CONFIG", admin_timeout_ms(bouncer), error, sizeof(error)) : NULL;
	char	   *main_file = NULL;

	check_say(res != NULL, "console of PgBouncer %s%s%s", bouncer->name, res ? "" : ": ", res ? "" : error);
	if (!conn)
		printf("     \"admin\" needs a user of PgBouncer's admin_users, or over the unix socket "
			   "user=pgbouncer where the agent "
			   "runs as PgBouncer's own user\n");
	for (int i = 0; res && i < PQntuples(res); i++)
		if (strcmp(PQgetvalue(res, i, 0), "conffile") == 0)
			main_file = PQgetvalue(res, i, 1);
	check_bouncer_file(bouncer, main_file);
	check_conninfo("admin", bouncer->admin);
	if (bouncer->smoke)
		check_smoke(bouncer);
	PQclear(res);
	PQfinish(conn);
}
