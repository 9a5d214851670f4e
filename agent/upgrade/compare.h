/*
 * compare.h
 *		What the new server holds is compared with what the old one held, while both are sealed.
 *
 * The questions are those of topics.h. What could not be asked is no difference, and is told. In between the answers
 * are in state_dir/upgrade/baseline.json, with the run that they are of.
 */
#ifndef PINGPONG_AGENT_UPGRADE_COMPARE_H
#define PINGPONG_AGENT_UPGRADE_COMPARE_H

#include <libpq-fe.h>

#include "agent/upgrade/upgrade.h"

/*
 * Asks the old server, sealed; `conn` is to it. `result` gets "baseline_ms". Fails the job (58030) where the answers
 * could not be written.
 */
extern int	compare_begin(const Upgrade *upgrade, PGconn *conn, json_t *result);

/*
 * Asks the new server, sealed, the same. Fails the job (XX001) with the differences. `result` gets "compare_ms",
 * "message", and "not_compared", a list of sentences: databases and topics that one of both could not be asked
 * about, or all of it where nothing is known of the old one.
 */
extern int	compare_end(const Upgrade *upgrade, PGconn *conn, json_t *result);

#endif							/* PINGPONG_AGENT_UPGRADE_COMPARE_H */
