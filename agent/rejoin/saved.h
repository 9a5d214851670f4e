/*
 * saved.h
 *		The node's own files, kept in the work folder while a rewind or a base backup brings the source's.
 */
#ifndef PINGPONG_AGENT_REJOIN_SAVED_H
#define PINGPONG_AGENT_REJOIN_SAVED_H

#include "agent/rejoin/rejoin.h"

/* could they be saved? Fails the job with the reason, while the server runs */
extern int	saved_check(Rejoin *rejoin);
extern int	saved_take(Rejoin *rejoin);
extern int	saved_put_back(Rejoin *rejoin, const char *data);

#endif							/* PINGPONG_AGENT_REJOIN_SAVED_H */
