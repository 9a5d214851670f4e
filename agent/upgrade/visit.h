/*
 * visit.h
 *		Questions to each database of a server.
 */
#ifndef PINGPONG_AGENT_UPGRADE_VISIT_H
#define PINGPONG_AGENT_UPGRADE_VISIT_H

#include <jansson.h>
#include <libpq-fe.h>

#include "agent/core/config.h"

/* A statement that gives one row of JSON; or, without one, a function that gives the answer, or {"error"}. */
typedef struct Question
{
	const char *name;
	const char *sql;
	json_t	   *(*ask) (PGconn *conn);
} Question;

/*
 * Puts the questions (the last has no name) to every database that accepts connections, template1, too; `conn` is of
 * any. {"rows": [{"database", and a member for each question}]}; or {"error"}. What could not be asked is {"error"},
 * and so is a database that was not visited by the deadline (clock_monotonic_ms()).
 */
extern json_t *visit_databases(const PgInstance *pg, PGconn *conn, const Question *questions, double deadline_ms);

/* The same in the database of the connection alone, as an object. */
extern json_t *visit_ask(PGconn *conn, const Question *questions, double deadline_ms);

#endif							/* PINGPONG_AGENT_UPGRADE_VISIT_H */
