/*
 * pgbouncer.c
 *		The route driver for PgBouncer. It holds clients with PAUSE, and points to another server by an included file,
 *		RELOAD and RESUME. Its configuration is [pgbouncer.ENDPOINT], see config.h.
 */
#include "agent/route/bouncercommit.h"
#include "agent/route/bouncerobserve.h"
#include "agent/route/bouncerpause.h"
#include "agent/route/bouncerprepare.h"
#include "agent/route/driver.h"
#include "agent/route/pause.h"
#include "agent/route/smoke.h"

const RouteDriver pgbouncer_driver = {
	.name = "pgbouncer",
	.start = pgbouncer_start,
	.observe = action_pgbouncer_observe,
	.prepare = action_pgbouncer_prepare,
	.hold = action_pgbouncer_pause,
	.commit = action_pgbouncer_commit,
	.release = action_pgbouncer_release,
	.smoke = action_pgbouncer_smoke,
};
