/*
 * judge.h
 *		What is on this host, may it be made a standby, and why not.
 */
#ifndef PINGPONG_AGENT_REJOIN_JUDGE_H
#define PINGPONG_AGENT_REJOIN_JUDGE_H

#include <libpq-fe.h>

#include "agent/rejoin/rejoin.h"

#define RISK_WORDS "its own writes are lost"

/* All that the rule wants to know. `conn`: of a running server, NULL if it does not run or does not answer. */
extern void rejoin_look(Rejoin *rejoin, PGconn *conn);

/* Looks, and has the rule decide; fails the job where it refuses. */
extern int	rejoin_judge(Rejoin *rejoin, PGconn *conn);

/* Fails the job with what stands against it, which rejoin->rule says. */
extern int	rejoin_refuse(Rejoin *rejoin);

#endif							/* PINGPONG_AGENT_REJOIN_JUDGE_H */
