/*
 * artefact.h
 *		What an upgrade, or the way back, has left behind on this host, and what space finalize would free.
 */
#ifndef PINGPONG_AGENT_UPGRADE_ARTEFACT_H
#define PINGPONG_AGENT_UPGRADE_ARTEFACT_H

#include "agent/facts/attempt.h"
#include "agent/upgrade/record.h"

typedef struct ArtefactLook
{
	UpgradeRecord record;
	json_t	   *answer;			/* complete, or without what `measure` will tell */
	Attempt    *measure;		/* NULL: nothing is measured now */
} ArtefactLook;

/*
 * A part of the facts, in two steps, since a folder is measured at the same time as the rest is asked. {"rows":
 * [{"run", "mode", "kind": "data directory" or "snapshot", "name", "since_ms", "way_back"}]}, or {"error"}. A row
 * of a folder has "bytes", "measured_ms", "first_bytes", "first_ms", too, where they are known: what is not linked to
 * the server that serves. A folder is measured once in ten minutes, by a walk that may outlive the request.
 */
extern void artefact_begin(ActionContext *ctx, ArtefactLook *look);
extern json_t *artefact_end(ArtefactLook *look, double deadline_ms);

#endif							/* PINGPONG_AGENT_UPGRADE_ARTEFACT_H */
