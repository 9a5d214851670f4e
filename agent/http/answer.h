/*
 * answer.h
 *		What a request is answered: JSON with a status.
 */
#ifndef PINGPONG_AGENT_HTTP_ANSWER_H
#define PINGPONG_AGENT_HTTP_ANSWER_H

#include <jansson.h>
#include <microhttpd.h>

/* The status, with {"error": ...} as the answer. */
extern unsigned int answer_error(json_t **answer, unsigned int status, const char *code, const char *hint,
								 const char *format,...) __attribute__((format(printf, 5, 6)));

/* Takes the answer over. */
extern enum MHD_Result answer_send(struct MHD_Connection *connection, unsigned int status, json_t *answer);

#endif							/* PINGPONG_AGENT_HTTP_ANSWER_H */
