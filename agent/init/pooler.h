/*
 * pooler.h
 *		What PgBouncer lacks: a file of the routed databases, which its own one includes.
 */
#ifndef PINGPONG_AGENT_INIT_POOLER_H
#define PINGPONG_AGENT_INIT_POOLER_H

#include "agent/init/host.h"

/* Shown, and made where that was told (--apply).  0 or -1, said. */
extern int	pooler_set_up(const InitHost *host, const InitOptions *options);

#endif							/* PINGPONG_AGENT_INIT_POOLER_H */
