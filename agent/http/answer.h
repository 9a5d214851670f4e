/*
 * answer.h
 *		The answer to a request: a status, and JSON or a text of any type.
 */
#ifndef PINGPONG_AGENT_HTTP_ANSWER_H
#define PINGPONG_AGENT_HTTP_ANSWER_H

#include <jansson.h>
#include <microhttpd.h>
#include <stdbool.h>

typedef struct Answer
{
	unsigned int status;		/* 0: not answered yet */
	json_t	   *json;			/* owned; or else: */
	char	   *text;			/* malloc'd */
	const char *fixed;			/* or else: a text that stays, and its size */
	size_t		fixed_size;
	const char *type;			/* content type of the text */
	bool		last;			/* the connection is closed after it */
	bool		password;		/* a refused browser may ask for one */
	const char *policy;			/* Content-Security-Policy; NULL: none */
} Answer;

/* Each takes over its arguments. */
extern void answer_json(Answer *answer, unsigned int status, json_t *json);
extern void answer_text(Answer *answer, unsigned int status, const char *type, char *text);

extern void answer_fixed(Answer *answer, const char *type, const char *text, size_t size, const char *policy);

/* The status, with {"error": ...}. */
extern void answer_error(Answer *answer, unsigned int status, const char *code, const char *hint,
						 const char *format,...)
			__attribute__((format(printf, 5, 6)));

/* Sends it, and frees what it holds. */
extern enum MHD_Result answer_send(struct MHD_Connection *connection, Answer *answer);

#endif							/* PINGPONG_AGENT_HTTP_ANSWER_H */
