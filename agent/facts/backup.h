/*
 * backup.h
 *		The last good base backup, and the archived WAL, as pgBackRest or a command of the site tells.
 */
#ifndef PINGPONG_AGENT_FACTS_BACKUP_H
#define PINGPONG_AGENT_FACTS_BACKUP_H

#include "agent/core/config.h"
#include "agent/facts/attempt.h"

/* What an attempt is begun with: [backup] as JSON; a new reference. NULL: there is no such section. */
extern json_t *facts_backup_params(const AgentConfig *config);

/*
 * {"tool", "label", "type", "last_ms", "full_ms", "wal"}; what is not known is left out. {"error": ...}, also where
 * there is no backup.
 */
extern json_t *facts_backup(const PgInstance *pg, json_t *params);

/* The same from what `pgbackrest info --output=json` has printed; pure. */
extern json_t *facts_backup_of_info(const json_t *info, const char *stanza);

#endif							/* PINGPONG_AGENT_FACTS_BACKUP_H */
