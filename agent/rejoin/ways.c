/*
 * ways.c
 *		The methods to make a server a standby (direct, rewind, base backup), each costlier than the one before.
 */
#include <string.h>

#include "agent/core/clock.h"
#include "agent/core/log.h"
#include "agent/job/action.h"
#include "agent/pg/standby.h"
#include "agent/rejoin/basebackup.h"
#include "agent/rejoin/restart.h"
#include "agent/rejoin/rewind.h"
#include "agent/rejoin/rule.h"
#include "agent/rejoin/ways.h"

static int
by_direct(Rejoin *rejoin)
{
	if (rejoin_stop_server(rejoin) < 0)
		return -1;
	return standby_configure_offline(rejoin->ctx, rejoin->pg->data, &rejoin->upstream);
}

static int
by_rewind(Rejoin *rejoin)
{
	return rejoin_stop_server(rejoin) < 0 ? -1 : rejoin_by_rewind(rejoin);
}

static int
by_basebackup(Rejoin *rejoin)
{
	return rejoin_by_basebackup(rejoin, rejoin_stop_server);
}

static int
try_way(Rejoin *rejoin, WayNumber way)
{
	static int	(*const prepare[]) (Rejoin *rejoin) = {by_direct, by_rewind, by_basebackup};

	json_array_append_new(rejoin->tried, json_string(way_name(way)));
	rejoin->no_more = false;
	if (prepare[way] (rejoin) < 0 || rejoin_start_and_stream(rejoin) < 0)
		return -1;
	json_object_set_new(rejoin->result, "method", json_string(way_name(way)));
	return 0;
}

/* Why it was not enough, for the report; and the error is that of the next one. */
static void
note_fallback(Rejoin *rejoin, WayNumber way)
{
	const char *why = action_error_message(rejoin->ctx);

	log_warning("rejoin: %s failed: %s", way_name(way), why);
	action_output(rejoin->ctx, why, strlen(why));
	action_output(rejoin->ctx, "\n", 1);
	json_array_append_new(rejoin->fallbacks, json_sprintf("%s: %s", way_name(way), why));
	action_forget_error(rejoin->ctx);
}

/* From the first way that can work, one after the other, each costlier than the one before. */
int
rejoin_try_ways(Rejoin *rejoin)
{
	int			rc = -1;

	for (int way = rejoin->rule.first; rc < 0 && way <= (int) rejoin->rule.last; way++)
	{
		if (way == WAY_REWIND && !rejoin->rule.with_rewind)
			continue;
		rc = try_way(rejoin, (WayNumber) way);
		if (rc < 0 && (rejoin->no_more || action_cancelled(rejoin->ctx) || clock_monotonic_ms() > rejoin->deadline))
			break;
		if (rc < 0 && way < (int) rejoin->rule.last)
			note_fallback(rejoin, (WayNumber) way);
	}
	return rc;
}

/* What the ways need is looked at while the server is still up; a way that cannot work is left out. */
int
rejoin_check_ways(Rejoin *rejoin)
{
	RejoinRule *rule = &rejoin->rule;

	if (rejoin->facts.primary && rejoin->facts.sealed && rejoin->facts.method == METHOD_AUTO)
		return 0;				/* it serves nobody; what can be tried is tried */
	if (rule->first == WAY_REWIND && rule->last == WAY_REWIND)
		return rewind_feasible(rejoin);
	if (rule->last != WAY_BASEBACKUP || basebackup_feasible(rejoin) == 0)
		return 0;
	if (rule->first == WAY_BASEBACKUP)
		return -1;
	note_fallback(rejoin, WAY_BASEBACKUP);
	rule->last = rule->with_rewind ? WAY_REWIND : WAY_DIRECT;
	return 0;
}
