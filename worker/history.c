/*
 * history.c - keeps a sample in a table once in pingpong.history_interval, and forgets old ones.
 *
 * Only a primary can; its standbys have the same rows. A sample that is lost in a crash is no loss, so its commit is
 * not waited for.
 */
#include "postgres.h"

#include "worker/clock.h"
#include "worker/db.h"
#include "worker/history.h"
#include "worker/settings.h"

#define OFF_NAP_MS		60000

long
history_advance(void)
{
	static int64 due = 0;		/* now_us() */
	int64		interval = worker_history_interval * INT64CONST(1000);
	int64		now = now_us();

	if (interval == 0)
		return OFF_NAP_MS;
	if (due == 0 || due > now + interval)	/* at first; or the interval has become shorter */
		due = now + interval;
	if (now >= due)
	{
		due = now + interval;	/* also if this raises an error */
		db_begin();
		db_exec("SELECT pg_catalog.set_config('synchronous_commit', 'off', true)", 0);
		db_exec("SELECT pingpong_internal.keep_sample()", 0);
		db_end();
	}
	return (long) ((due - now) / 1000 + 1);
}
