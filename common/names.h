/*
 * names.h
 *		What worker and agent both speak: names of actions, states of jobs, limits.
 *
 * Free of server headers, so that it can be used and tested without a server.
 */
#ifndef PINGPONG_NAMES_H
#define PINGPONG_NAMES_H

#include <stdbool.h>
#include <string.h>

#define PINGPONG_VERSION "1.0"			/* of the module: the setting pingpong.version */
#define PINGPONG_AGENT_VERSION PINGPONG_VERSION

/* Limits of the protocol */
#define PINGPONG_KEY_MAX 100			/* length of a run's and of a step's name */
#define PINGPONG_BODY_MAX (64 * 1024)	/* a request larger than this is refused with 413 */
#define PINGPONG_OUTPUT_MAX (16 * 1024) /* what is kept of a job's output: its end */
#define PINGPONG_WAIT_MAX_MS 60000		/* longest long poll */

/* Names of actions */
#define ACTION_FACTS "facts"
#define ACTION_PG_CHECKPOINT "pg.checkpoint"
#define ACTION_PG_WARM "pg.warm"
#define ACTION_PG_SETTING "pg.setting"
#define ACTION_SLOT_ENSURE "slot.ensure"
#define ACTION_SLOT_DROP "slot.drop"
#define ACTION_TOKEN_ARM "token.arm"
#define ACTION_TOKEN_BURN "token.burn"
#define ACTION_PG_PROMOTE "pg.promote"
#define ACTION_PG_FOLLOW "pg.follow"
#define ACTION_PG_REJOIN "pg.rejoin"
#define ACTION_PG_RETIRE "pg.retire"
#define ACTION_PG_LOOK "pg.look"
#define ACTION_PG_FENCE "pg.fence"
#define ACTION_PG_UNFENCE "pg.unfence"
#define ACTION_EPOCH_CLAIM "epoch.claim"
#define ACTION_EPOCH_RELEASE "epoch.release"
#define ACTION_ROUTE_OBSERVE "route.observe"
#define ACTION_ROUTE_PREPARE "route.prepare"
#define ACTION_ROUTE_HOLD "route.hold"
#define ACTION_ROUTE_COMMIT "route.commit"
#define ACTION_ROUTE_RELEASE "route.release"
#define ACTION_ROUTE_SMOKE "route.smoke"
#define ACTION_UPGRADE_PREPARE "upgrade.prepare"
#define ACTION_UPGRADE_DISCARD "upgrade.discard"
#define ACTION_UPGRADE_STOP "upgrade.stop"
#define ACTION_UPGRADE_SERVE "upgrade.serve"
#define ACTION_UPGRADE_RUN "upgrade.run"
#define ACTION_UPGRADE_REVERT "upgrade.revert"
#define ACTION_UPGRADE_START "upgrade.start"
#define ACTION_UPGRADE_HALT "upgrade.halt"
#define ACTION_UPGRADE_STATISTICS "upgrade.statistics"
#define ACTION_UPGRADE_EXTENSIONS "upgrade.extensions"
#define ACTION_UPGRADE_BACK "upgrade.back"
#define ACTION_UPGRADE_KEEP "upgrade.keep"
#define ACTION_UPGRADE_FINALIZE "upgrade.finalize"
#define ACTION_REHEARSE_CLONE "rehearse.clone"
#define ACTION_REHEARSE_RUN "rehearse.run"
#define ACTION_REHEARSE_BACK "rehearse.back"
#define ACTION_REHEARSE_CLEAR "rehearse.clear"
#define ACTION_HOOK "hook"
#define ACTION_NOTE "note"

/* States of a job */
#define JOB_STATE_RUNNING "running"
#define JOB_STATE_SUCCEEDED "succeeded"
#define JOB_STATE_FAILED "failed"
#define JOB_STATE_CANCELLED "cancelled"

/* Verdicts on a promote token */
#define VERDICT_PROMOTED "promoted"
#define VERDICT_PROMOTING "promoting"
#define VERDICT_BURNED "burned"
#define VERDICT_UNKNOWN "unknown"	/* from an agent that cannot know; lifts no seal */

/*
 * In the data directory of a standby: the failover that is being made from there, or that it is the target of, until
 * a primary has its row (worker/baton.c).
 */
#define PINGPONG_BATON_FILE "pingpong.failover"

/*
 * Instead of a run's key, for pingpong_internal.probe(): a failover, of which there is no row. It goes on with those
 * agents that answer, so only the server's own is needed.
 */
#define PINGPONG_PROBE_FAILOVER "-"

/* The hook that makes certain that a node's host is off: fence_NODE */
#define PINGPONG_FENCE_HOOK "fence_"

/* Prefix of the physical slots that belong to us */
#define PINGPONG_SLOT_PREFIX "pingpong_"

/*
 * Is this a valid name of a run or of a step?  It becomes a file name, hence no
 * leading dot: "." and ".." would leave the folder, ".x" would be hidden from it.
 */
static inline bool
pingpong_key_valid(const char *key)
{
	size_t		len = key ? strlen(key) : 0;

	return len > 0 && len <= PINGPONG_KEY_MAX && key[0] != '.' &&
		strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._#:-") == len;
}

#endif							/* PINGPONG_NAMES_H */
