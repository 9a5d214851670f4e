/*
 * restart.h
 *		Stopping the server for a rejoin, and starting it as a standby.
 */
#ifndef PINGPONG_AGENT_REJOIN_RESTART_H
#define PINGPONG_AGENT_REJOIN_RESTART_H

#include "agent/rejoin/rejoin.h"

#define STREAM_LIMIT_MS 20000	/* a directory that can stream does it by then */

/* Has the primary moved since the job was made? Then the job fails. */
extern int	rejoin_check_epoch(Rejoin *rejoin);

/* Down afterwards, whatever it was; fails the job, and leaves it, where what was judged holds no more. */
extern int	rejoin_stop_server(Rejoin *rejoin);

/* Up, and streaming from the source; else the job fails, and rejoin->no_more tells whether another way may help. */
extern int	rejoin_start_and_stream(Rejoin *rejoin);

/* The seal has done its work when the server is a standby for certain: started as one, in recovery. */
extern void rejoin_remove_seal(Rejoin *rejoin);

#endif							/* PINGPONG_AGENT_REJOIN_RESTART_H */
