/*
 * server.h
 *		What PostgreSQL lacks: settings, roles, lines of pg_hba.conf. Shown, and made where that was told (--apply).
 */
#ifndef PINGPONG_AGENT_INIT_SERVER_H
#define PINGPONG_AGENT_INIT_SERVER_H

#include "agent/init/site.h"

/* *restart: settings wait for a restart of the server.  0 or -1, said. */
extern int	server_set_up(const InitSite *site, const InitHost *host, const InitOptions *options, bool *restart);

#endif							/* PINGPONG_AGENT_INIT_SERVER_H */
