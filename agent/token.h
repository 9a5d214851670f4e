/*
 * token.h
 *		The promote token: what may happen to it, as pure functions.
 */
#ifndef PINGPONG_AGENT_TOKEN_H
#define PINGPONG_AGENT_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

typedef enum TokenState
{
	TOKEN_NONE, TOKEN_ARMED, TOKEN_PROMOTING, TOKEN_PROMOTED, TOKEN_BURNED
} TokenState;

#define TOKEN_TEXT_MAX 64

typedef struct Token
{
	TokenState	state;
	int64_t		epoch;
	double		deadline_ms;	/* CLOCK_REALTIME of this host: must outlast the agent and the host */
	double		ordered_ms;
	char		system_identifier[TOKEN_TEXT_MAX];
	char		server_start[TOKEN_TEXT_MAX];	/* the postmaster that got the order */
} Token;

/* What is known at the moment of the decision */
typedef struct TokenFacts
{
	double		now_ms;
	int64_t		epoch;			/* of the job */
	bool		reachable;		/* the server answered; else nothing below is known */
	bool		in_recovery;
	bool		replayed;		/* up to the seal LSN */
	char		system_identifier[TOKEN_TEXT_MAX];
	char		server_start[TOKEN_TEXT_MAX];
} TokenFacts;

typedef struct TokenDecision
{
	TokenState	state;			/* what it becomes, to be made durable before anything else */
	bool		order;			/* and then call pg_promote() */
	const char *reason;			/* of a refusal, for people */
} TokenDecision;

/* pg.promote asks: may the server be promoted? */
extern TokenDecision token_on_order(const Token *token, const TokenFacts *facts);

/* token.burn asks: can it be made certain that the server will not be promoted? */
extern TokenDecision token_on_burn(const Token *token, const TokenFacts *facts);

extern const char *token_state_name(TokenState state);
extern const char *token_verdict(TokenState state);

#endif							/* PINGPONG_AGENT_TOKEN_H */
