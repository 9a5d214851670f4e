/*
 * error.h
 *		The answer for a part that could not be looked at.
 *
 * A part never fails. Where it could not look, its object has a member "error", and preflight turns that into a
 * warning. Lists are in "rows", so that an empty list and a list that could not be read look different.
 */
#ifndef PINGPONG_AGENT_FACTS_ERROR_H
#define PINGPONG_AGENT_FACTS_ERROR_H

#include <jansson.h>
#include <libpq-fe.h>

/* {"error": ...} */
extern json_t *facts_error(const char *format,...) __attribute__((format(printf, 1, 2)));

/* The JSON that the statement gives in one row; the error, or that there was no answer. */
extern json_t *facts_ask(PGconn *conn, const char *sql);

#endif							/* PINGPONG_AGENT_FACTS_ERROR_H */
