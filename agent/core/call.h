/*
 * call.h
 *		HTTP as a client, by libcurl: what every call has. Limits on everything.
 */
#ifndef PINGPONG_AGENT_CORE_CALL_H
#define PINGPONG_AGENT_CORE_CALL_H

#include <curl/curl.h>

#include "agent/core/text.h"

/* Once, before there is a second thread. */
extern void call_startup(void);

/*
 * A call of that URL, HTTP or HTTPS only, that follows nobody elsewhere and ends after timeout_ms. ca_file: for the
 * server's certificate; NULL: the CAs of the system. NULL: there is no memory.
 */
extern CURL *call_new(const char *url, const char *ca_file, int timeout_ms);

/* What the server answers; more than `limit` bytes end the call. */
typedef struct CallBody
{
	Text		text;			/* the caller frees text.data */
	size_t		limit;
} CallBody;

extern void call_take_body(CURL *easy, CallBody *body);

#endif							/* PINGPONG_AGENT_CORE_CALL_H */
