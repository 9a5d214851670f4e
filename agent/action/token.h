/*
 * token.h
 *		The promote token: what may happen to it, as pure functions.
 */
#ifndef PINGPONG_AGENT_ACTION_TOKEN_H
#define PINGPONG_AGENT_ACTION_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

/* UNKNOWN is never the state of a token: it is the answer of an agent that cannot know. */
typedef enum TokenState
{
	TOKEN_NONE, TOKEN_ARMED, TOKEN_PROMOTING, TOKEN_PROMOTED, TOKEN_BURNED, TOKEN_UNKNOWN
} TokenState;

#define TOKEN_TEXT_MAX 64

/*
 * What is on disk. The time to live has two clocks, and ends with whichever comes first: the wall clock may be set,
 * the other one stops at a restart of the host (boot_id).
 */
typedef struct Token
{
	TokenState	state;
	int64_t		epoch;
	double		deadline_ms;	/* CLOCK_REALTIME */
	double		deadline_boot_ms;	/* CLOCK_BOOTTIME */
	char		boot_id[TOKEN_TEXT_MAX];
	double		ordered_ms;		/* CLOCK_REALTIME; 0: this agent never gave the order */
	double		promoted_ms;	/* CLOCK_REALTIME; 0: not seen */
	unsigned	timeline;		/* that the server received when the token was armed; 0: not known */
	char		system_identifier[TOKEN_TEXT_MAX];
	char		server_start[TOKEN_TEXT_MAX];	/* the postmaster that got the order */
} Token;

/* What is known at the moment of the decision */
typedef struct TokenFacts
{
	double		now_ms;			/* CLOCK_REALTIME */
	double		now_boot_ms;	/* CLOCK_BOOTTIME */
	char		boot_id[TOKEN_TEXT_MAX];
	int64_t		epoch;			/* of the job */
	int64_t		proved_epoch;	/* the highest that was proved to this agent */
	bool		reachable;		/* the server answered; else nothing between here and stopped is known */
	bool		in_recovery;
	bool		replayed;		/* up to the seal LSN */
	unsigned	timeline;		/* out of recovery: the one it writes */
	char		system_identifier[TOKEN_TEXT_MAX];
	char		server_start[TOKEN_TEXT_MAX];
	/* not reachable, and proved: no process of it was left, before the directory was looked at */
	bool		stopped;
	/* not reachable: its directory is whole, of the token's system, and a standby's */
	bool		standby_on_disk;
} TokenFacts;

typedef struct TokenDecision
{
	TokenState	state;			/* the answer; what it becomes, to be made durable before anything else */
	bool		order;			/* and then call pg_promote() */
	const char *reason;			/* of a refusal, or of not knowing, for people; may be NULL */
} TokenDecision;

/* pg.promote asks: may the server be promoted? */
extern TokenDecision token_on_order(const Token *token, const TokenFacts *facts);

/* Is the time to live over? Checked again directly before the order. */
extern bool token_expired(const Token *token, const TokenFacts *facts);

/*
 * token.burn asks: can it be made certain that the server will not be promoted by this run? "burned" lifts a seal, so
 * it is said only on evidence; TOKEN_UNKNOWN, and TOKEN_PROMOTED beside a burned token, change nothing on disk.
 */
extern TokenDecision token_on_burn(const Token *token, const TokenFacts *facts);

/*
 * Out of recovery, but on the timeline that it received: the server crashed inside its promotion, when standby.signal
 * was gone and the new timeline not begun, and came back by crash recovery.
 */
extern bool token_same_timeline(const Token *token, const TokenFacts *facts);

/* Must it be written? */
extern bool token_changes(const Token *token, const TokenDecision *decision);

extern const char *token_state_name(TokenState state);

#endif							/* PINGPONG_AGENT_ACTION_TOKEN_H */
