/*
 * fence.c
 *		pg.fence, pg.unfence, epoch.claim, epoch.release.
 *
 * The fence is the seal of the write gate: the one mark that a start of the server respects, by whatever means it is
 * started. A server that answers is not fenced: it may be in use. One that runs and does not answer (it hangs, or it
 * recovers after a crash) is stopped first. Something may start it between the stop and the seal (systemd does): so
 * it is looked at again when the seal is there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/action/fence.h"
#include "agent/action/grant.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/job/claim.h"
#include "agent/job/epoch.h"
#include "agent/job/params.h"
#include "agent/pg/control.h"
#include "agent/pg/datadir.h"
#include "agent/pg/pg.h"
#include "agent/pg/seal.h"
#include "agent/pg/stop.h"
#include "common/sqlstate.h"

#define ANSWER_MS 2000
#define STOP_MS 30000
#define CLAIM_MS 5000
#define TRIES 3
#define TTL_MAX_MS 3600000

/* 0: nothing answers, or it is sealed by this run, so it may be stopped */
static int
check_dead(ActionContext *ctx)
{
	PGconn	   *conn = pg_local(ctx->pg, NULL, ANSWER_MS, NULL, 0);
	char		run[80] = "";
	unsigned long long lsn;
	bool		fenced;

	if (!conn)
		return 0;
	fenced = server_seal(ctx->pg, conn, run, sizeof(run), &lsn) && strcmp(run, ctx->run) == 0;
	PQfinish(conn);
	if (fenced)
		return 0;
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the server of \"%s\" answers", ctx->config->node);
	action_hint(ctx, "A primary that can be reached is moved with pingpong.switchover().");
	return -1;
}

/* Down, and nothing of it is left. */
static int
put_down(ActionContext *ctx, json_t *result)
{
	bool		running = control_running(ctx->pg);

	if (running && check_dead(ctx) < 0)
		return -1;
	if (running)
		json_object_set_new(result, "stopped", json_true());
	return server_stop(ctx, false, 0, clock_monotonic_ms() + STOP_MS, result);
}

static int
seal_it(ActionContext *ctx, json_t *params, json_t *result)
{
	DataDir		dir = datadir_look(ctx->pg->data);
	SealFence	fence = {ctx->epoch, ctx->run, param_string(params, "target", "")};

	if (!dir.known && !dir.startable)
		return 0;				/* nothing that a server could be started from */
	if (seal_fence(ctx->pg->data, &dir, &fence) < 0)
		return action_fail(ctx, STATE_IO_ERROR, "could not seal \"%s\": %s", ctx->pg->data,
						   errno == EINVAL ? "it does not tell its cluster" : strerror(errno));
	json_object_set_new(result, "sealed", json_true());
	return 0;
}

/* Of a server that runs: does it hold the seal of this run? *known false: it does not tell. */
static bool
holds_seal(ActionContext *ctx, bool *known)
{
	PGconn	   *conn = control_running(ctx->pg) ? pg_local(ctx->pg, NULL, ANSWER_MS, NULL, 0) : NULL;
	char		run[80] = "";
	unsigned long long lsn;
	bool		sealed;

	*known = !control_running(ctx->pg);
	if (!conn)
		return false;
	sealed = server_seal_told(ctx->pg, conn, run, sizeof(run), &lsn, known);
	PQfinish(conn);
	return sealed && strcmp(run, ctx->run) == 0;
}

/*
 * The seal file of this run. A server that runs and was not sealed by it has no need of it: it would be sealed at its
 * next start, for a failover that came to nothing. One that was started with it holds the seal in its memory.
 */
static int
take_back(ActionContext *ctx)
{
	bool		known;
	bool		sealed = holds_seal(ctx, &known);

	if (sealed || !known)
	{
		action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the server of \"%s\" runs, and %s sealed",
					ctx->config->node, known ? "is" : "may be");
		action_hint(ctx, "See pingpong.gate there; pingpong.resume() lifts the seal.");
		return -1;
	}
	if (seal_unfence(ctx->pg->data, ctx->run) < 0)
		return action_fail(ctx, STATE_IO_ERROR, "could not take the seal of \"%s\" back: %s", ctx->pg->data,
						   strerror(errno));
	return 0;
}

/* It failed behind its seal. Its own reason is what is told, unless the seal is left. */
static void
take_back_after_failure(ActionContext *ctx, json_t *result)
{
	bool		known;

	if (!holds_seal(ctx, &known) && known && seal_unfence(ctx->pg->data, ctx->run) == 0)
		json_object_set_new(result, "sealed", json_false());
}

int
action_pg_fence(ActionContext *ctx, json_t *params, json_t *result)
{
	int			rc;

	if (server_claim_wait(ctx, ctx->pg->data, CLAIM_MS) < 0)
		return -1;
	json_object_set_new(result, "stopped", json_false());
	json_object_set_new(result, "sealed", json_false());
	rc = put_down(ctx, result);
	if (rc == 0 && action_cancelled(ctx))	/* the stop takes its time: nobody wants the seal by now */
		rc = action_fail(ctx, STATE_CANCELED, "the fence was cancelled before the seal");
	if (rc == 0)
		rc = seal_it(ctx, params, result);
	/* started before the seal was there: once more */
	for (int i = 0; rc == 0 && control_running(ctx->pg); i++)
		rc = i < TRIES ? put_down(ctx, result) :
			action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "something starts the server again and again");
	if (rc < 0)
		take_back_after_failure(ctx, result);
	server_release(ctx->pg->data);
	return rc;
}

int
action_pg_unfence(ActionContext *ctx, json_t *params, json_t *result)
{
	int			rc;

	(void) params;
	(void) result;
	if (server_claim_wait(ctx, ctx->pg->data, CLAIM_MS) < 0)
		return -1;
	rc = take_back(ctx);
	server_release(ctx->pg->data);
	return rc;
}

/* ---- the claim ---- */

int
action_epoch_claim(ActionContext *ctx, json_t *params, json_t *result)
{
	int64_t		ttl_ms = param_int(params, "ttl_ms", 60000);

	if (ttl_ms <= 0 || ttl_ms > TTL_MAX_MS)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"ttl_ms\" must be between 1 and %d", TTL_MAX_MS);
	/* the order is not older than what was proved, but it may be as old: that primary is another one's already */
	if (ctx->epoch <= epoch_current())
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "epoch %lld was proved here already",
						   (long long) epoch_current());
	if (claim_set(ctx->config, ctx->run, ctx->epoch, ttl_ms) < 0)
		return errno == EEXIST ?
			action_fail(ctx, STATE_OBJECT_IN_USE, "another failover has made its claim here") :
			action_fail(ctx, STATE_IO_ERROR, "could not write the claim: %s", strerror(errno));
	if (param_bool(params, "arbiter", false) && grant_claim(ctx, ttl_ms) < 0)
	{
		claim_release(ctx->config, ctx->run);
		return -1;
	}
	json_object_set_new(result, "claimed", json_integer(ctx->epoch));
	return 0;
}

int
action_epoch_release(ActionContext *ctx, json_t *params, json_t *result)
{
	(void) result;
	if (param_bool(params, "arbiter", false))
		grant_release(ctx);
	if (claim_release(ctx->config, ctx->run) < 0)
		return action_fail(ctx, STATE_IO_ERROR, "could not remove the claim: %s", strerror(errno));
	return 0;
}
