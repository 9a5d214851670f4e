/*
 * post.h
 *		HTTP as a client, by libcurl: a message to the receiver, a look at other agents. Limits on everything.
 */
#ifndef PINGPONG_AGENT_ALERT_POST_H
#define PINGPONG_AGENT_ALERT_POST_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/core/config.h"

/*
 * Delivers a body; the receiver has taken it if it answers with a status of 200 to 299. Else the error says why,
 * never with the URL, which may hold a secret. refused: it has answered, with another status.
 */
extern bool post_message(const AlertConfig *alerts, const char *body, bool *refused, char *error, size_t error_size);

/* Connects to the receiver, with TLS where the URL says so, and sends nothing. The error is "" if that succeeded. */
extern bool post_reachable(const AlertConfig *alerts, char *error, size_t error_size);

/* Another agent that is asked for its health. */
typedef struct PeerCall
{
	const char *url;			/* as in pingpong.node */
	bool		answered;		/* with whatever: it is there */
	char		text[32];		/* the first word of what it said: a role */
} PeerCall;

/* Asks all of them at the same time; comes back when all have answered, or after timeout_ms. */
extern void post_ask_peers(const AlertConfig *alerts, PeerCall *calls, int n, int timeout_ms);

#endif							/* PINGPONG_AGENT_ALERT_POST_H */
