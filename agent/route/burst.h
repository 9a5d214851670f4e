/*
 * burst.h
 *		Several statements to PgBouncer's console in one write, without libpq.
 */
#ifndef PINGPONG_AGENT_ROUTE_BURST_H
#define PINGPONG_AGENT_ROUTE_BURST_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/core/config.h"
#include "agent/route/endpoint.h"

typedef struct BurstAnswer
{
	bool		ok;
	char		error[200];
} BurstAnswer;

typedef struct BurstReader
{
	int			answered;		/* statements whose end was read */
	int			shows;			/* those of them that were a SHOW */
	char		error[200];		/* of the one that is being read */
	char		first_error[200];	/* of all */
	void		(*note) (struct BurstReader *reader);	/* at each end; may be NULL */
	BurstAnswer *answers;		/* for note */
	char	   *rest;			/* of a message that is not complete */
	size_t		rest_size;
} BurstReader;

extern bool burst_possible(PGconn *conn);

/* Statements that need not be answered (PAUSE); 0: PgBouncer has executed them all; -1: the connection broke. */
extern int	burst_send(PGconn *conn, char *const *statements, BurstReader *reader, double deadline);
extern int	burst_read(PGconn *conn, BurstReader *reader);	/* what is there, without waiting; -1: it broke */
extern void burst_end(BurstReader *reader);

/* All statements (NULL-terminated) on the control connection, again on a new one if it breaks.  The lock is held. */
extern int	burst_run(Endpoint *endpoint, const BouncerConfig *bouncer, char *const *statements, BurstAnswer *answers,
					  double deadline, char *error, size_t error_size);

#endif							/* PINGPONG_AGENT_ROUTE_BURST_H */
