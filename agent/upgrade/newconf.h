/*
 * newconf.h
 *		The configuration of the new server: that of the old one, as far as the new major knows it.
 */
#ifndef PINGPONG_AGENT_UPGRADE_NEWCONF_H
#define PINGPONG_AGENT_UPGRADE_NEWCONF_H

#include <libpq-fe.h>

#include "agent/upgrade/upgrade.h"

/*
 * Into the new data directory, which initdb has made: the settings of the old server's files, pg_hba.conf,
 * pg_ident.conf, and files that settings name by a relative path. Settings of ALTER SYSTEM (postgresql.auto.conf)
 * only where params "carry" (a list of names) has them: that file often holds what is true for one server only.
 * The configuration of a cluster of Debian's goes to its own folder (place.h), and initdb's is removed.
 *
 * `result` gets "carried" (their number), "dropped" (the new major does not know them, or they are about the old
 * folders), "left" (those of ALTER SYSTEM that were not carried). Fails the job when the new server would not take
 * the configuration, or would not be what this one is (port, pg_pingpong's own settings): 55000.
 */
extern int	newconf_write(const Upgrade *upgrade, PGconn *conn, json_t *carry, json_t *result);

/*
 * What pg_upgrade's servers have to be told so that they find their configuration: " -c name=value ...", malloc'd; ""
 * where it is in the data directory. Of the old server as it was started (postmaster.opts), which it must still tell.
 */
extern char *newconf_options_of_old(const Upgrade *upgrade);
extern char *newconf_options_of_new(const Upgrade *upgrade);

/*
 * What "dropped" and "left" would be, before there is a cluster: the new major's server is asked in a folder of the
 * agent's own, which is removed again. Fails the job when it could not be asked.
 */
extern int	newconf_look(const Upgrade *upgrade, PGconn *conn, json_t *result);

#endif							/* PINGPONG_AGENT_UPGRADE_NEWCONF_H */
