/*
 * leftover.h
 *		Processes of pg_upgrade that outlive it.
 */
#ifndef PINGPONG_AGENT_UPGRADE_LEFTOVER_H
#define PINGPONG_AGENT_UPGRADE_LEFTOVER_H

#include "agent/upgrade/upgrade.h"

/*
 * Ends all that work in the folder of pg_upgrade: with --jobs it copies and links in processes of its own, which the
 * death of the first one does not end. Fails the job (55000) when one does not go.
 */
extern int	leftover_end_all(const Upgrade *upgrade);

#endif							/* PINGPONG_AGENT_UPGRADE_LEFTOVER_H */
