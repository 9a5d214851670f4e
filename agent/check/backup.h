/*
 * backup.h
 *		--check: where backups are asked for.
 */
#ifndef PINGPONG_AGENT_CHECK_BACKUP_H
#define PINGPONG_AGENT_CHECK_BACKUP_H

#include "agent/core/config.h"

extern void check_backup(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_CHECK_BACKUP_H */
