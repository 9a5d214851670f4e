/*
 * agents.h - the worker's HTTP client: calls to agents that never block.
 */
#ifndef PINGPONG_AGENTS_H
#define PINGPONG_AGENTS_H

#include "common/protocol.h"

/*
 * One call. `body` is set when the agent answered with JSON, `error` when the answer is not what was asked
 * for: below HTTP, in the JSON, or a status other than 200. It is a short sentence without secrets.
 */
typedef struct AgentCall
{
	bool		done;
	bool		sent;			/* false, when done: certainly no byte of the request has left this host */
	int			status;			/* HTTP status; 0: there was no answer */
	double		ms;				/* from the request on an open connection to the end of the answer */
	json_t	   *body;			/* owned by the call */
	char		error[256];		/* what went wrong below HTTP, or with the JSON */
	/* private to agents.c */
	bool		has_token;
	void	   *easy;
	void	   *headers;
	char	   *request;
	char	   *answer;
	size_t		answer_len;
	char		curl_error[256];
} AgentCall;

extern void agents_startup(void);
extern AgentCall *agents_get(const char *url, const char *path, int timeout_ms);
extern AgentCall *agents_post(const char *url, const char *path, json_t *body, int timeout_ms);
extern void agents_release(AgentCall *call);
extern void agents_advance(void);
extern void agents_wait(long nap_ms);

#endif
