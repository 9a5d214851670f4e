/*
 * session.h
 *		A session of one thread at the main instance, kept open: in the database of the extension.
 *
 * Like all sessions of the agent it is no client: nobody waits for it, and it holds up no stop.
 */
#ifndef PINGPONG_AGENT_PG_SESSION_H
#define PINGPONG_AGENT_PG_SESSION_H

#include <libpq-fe.h>
#include <stddef.h>

#include "agent/core/config.h"

typedef struct OwnSession
{
	PGconn	   *conn;			/* NULL: none */
	int			timeout_ms;		/* of each statement */
} OwnSession;

typedef enum SessionAnswer
{
	SESSION_DOWN,				/* the server takes no sessions */
	SESSION_ELSEWHERE,			/* it does, but not in the database of the extension */
	SESSION_OPEN
} SessionAnswer;

/* Opens it, unless it is open and of that server; if not SESSION_OPEN, error says why. */
extern SessionAnswer session_open(OwnSession *session, const PgInstance *pg, char *error, size_t error_size);
extern void session_close(OwnSession *session);

#endif							/* PINGPONG_AGENT_PG_SESSION_H */
