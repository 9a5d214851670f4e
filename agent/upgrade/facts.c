/*
 * facts.c
 *		The action "facts", with what preflight wants to know before an upgrade, and what one has left behind.
 *
 * Of a primary the databases are visited; a standby holds the same ones, and tells only what its host has for the new
 * server. As with all facts, what could not be looked at is an object with "error", and the action does not fail.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/core/clock.h"
#include "agent/facts/error.h"
#include "agent/facts/facts.h"
#include "agent/pg/pg.h"
#include "agent/upgrade/artefact.h"
#include "agent/upgrade/contents.h"
#include "agent/upgrade/facts.h"
#include "agent/upgrade/successor.h"
#include "agent/upgrade/upgrade.h"

#define STATEMENT_TIMEOUT_MS 5000
#define MEASURE_MS 1000			/* a large folder is told of by the next answer */
#define VISITS_MS 15000			/* for all databases; the worker waits 30 s for the facts */

/* What would lead libpq elsewhere. Only the names: a value may be a password. */
static json_t *
environment(void)
{
	static const char *const names[] = {"PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGSERVICEFILE", "PGUSER",
	"PGDATABASE", "PGOPTIONS", NULL};
	json_t	   *found = json_array();

	for (int i = 0; names[i]; i++)
		if (getenv(names[i]))
			json_array_append_new(found, json_string(names[i]));
	return found;
}

static void
look(ActionContext *ctx, json_t *params, PGconn *conn, json_t *facts)
{
	bool		standby = pg_is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()");
	Upgrade		upgrade;
	bool		open = upgrade_open(ctx, params, &upgrade) == 0;
	json_t	   *databases = standby ? NULL : contents_look(ctx->pg, conn, clock_monotonic_ms() + VISITS_MS);

	json_object_set_new(facts, "successor", successor_verdict(ctx, open ? 0 : -1));
	if (standby)
		upgrade.mode = UPGRADE_STANDBY;
	else
		json_object_set_new(facts, "databases", databases);
	if (!open)
		return;
	successor_look(&upgrade, conn, facts);
	if (!standby)
		successor_offers(&upgrade, conn, databases, facts);
}

static json_t *
upgrade_facts(ActionContext *ctx, json_t *params)
{
	char		error[512];
	PGconn	   *conn = pg_local(ctx->pg, NULL, STATEMENT_TIMEOUT_MS, error, sizeof(error));
	json_t	   *facts;

	if (!conn)
		return facts_error("%s", error);
	facts = json_object();
	json_object_set(facts, "to_version", json_object_get(params, "to_version"));
	json_object_set(facts, "mode", json_object_get(params, "mode"));
	json_object_set_new(facts, "environment", environment());
	look(ctx, params, conn, facts);
	PQfinish(conn);
	return facts;
}

/* The others come last: among them is the clock, which is compared with the moment of the answer. */
int
action_upgrade_facts(ActionContext *ctx, json_t *params, json_t *result)
{
	json_t	   *wanted = json_object_get(params, "upgrade");
	double		began = clock_monotonic_ms();
	ArtefactLook left;

	artefact_begin(ctx, &left);
	if (json_is_object(wanted) && ctx->pg)
		json_object_set_new(result, "upgrade", upgrade_facts(ctx, wanted));
	json_object_set_new(result, "artefact", artefact_end(&left, began + MEASURE_MS));
	return action_facts(ctx, params, result);
}
