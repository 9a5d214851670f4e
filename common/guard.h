/*
 * guard.h
 *		May a primary that has just started take writes? A pure function of what the other nodes' agents tell.
 *
 * Free of server headers.  An agent that does not answer, or that cannot know, is no witness: silence opens nothing,
 * unless an operator has said so (GuardUnanswered).
 */
#ifndef PINGPONG_GUARD_H
#define PINGPONG_GUARD_H

#include <stdbool.h>
#include <stdint.h>

/* What pingpong.guard_unanswered says. */
typedef enum GuardUnanswered
{
	GUARD_CLOSED,				/* stays closed until they answer, or an operator opens it */
	GUARD_MAJORITY,				/* opens when more than half of all agents know of nothing newer */
	GUARD_OPENS					/* opens, whatever was not answered */
} GuardUnanswered;

typedef enum GuardKind
{
	GUARD_POSTGRES,				/* another node with a server: it may have become the primary */
	GUARD_ROUTER,				/* an agent that knows of moves only by their epochs */
	GUARD_SELF					/* the agent beside this server: the same, and it sees this server guarded */
} GuardKind;

typedef enum GuardSystem
{
	GUARD_SYSTEM_UNKNOWN,
	GUARD_SYSTEM_SAME,
	GUARD_SYSTEM_OTHER,			/* another cluster, and nobody has said so before */
	GUARD_SYSTEM_FOREIGN		/* the other cluster that this node was known to have: an upgrade has left it */
} GuardSystem;

typedef enum GuardRole
{
	GUARD_ROLE_UNKNOWN,
	GUARD_ROLE_NONE,			/* the agent has no server */
	GUARD_ROLE_DOWN,			/* it does not answer: its data directory was looked at */
	GUARD_ROLE_PRIMARY,
	GUARD_ROLE_GUARDED,			/* out of recovery, and asks as this one does */
	GUARD_ROLE_SEALED,
	GUARD_ROLE_STANDBY
} GuardRole;

/* What is known of one agent, in one round of questions. */
typedef struct GuardPeer
{
	GuardKind	kind;
	bool		asked;			/* the question is out, and has no answer yet */
	bool		answered;		/* it told its state, just looked at */
	bool		named;			/* it calls itself by the name under which it is registered */
	int64_t		epoch;			/* the highest that was proved to it */
	int64_t		claimed;		/* the one that a failover to another server has claimed there; 0: none */
	GuardSystem system;
	GuardRole	role;
	unsigned	timeline;		/* the highest that its server is known to be on; 0: not known */
	unsigned	history;		/* the highest with a history file; 0: none, or not known */
	bool		standby;		/* its data directory is a standby's for certain */
	bool		sealed;			/* its data directory has a seal that counts */
	bool		streaming;		/* it receives WAL of that timeline this moment */
} GuardPeer;

/* The server that asks. */
typedef struct GuardSelf
{
	unsigned	timeline;
	int64_t		epoch;
	bool		epoch_sure;		/* looked up where it cannot be old: only then is a higher one a newer one */
} GuardSelf;

typedef enum GuardWord
{
	GUARD_SAYS_NOTHING,			/* no answer */
	GUARD_SAYS_UNSURE,			/* an answer of somebody who cannot know */
	GUARD_SAYS_CLEAN,			/* nothing newer exists there */
	GUARD_SAYS_SECOND,			/* another primary on the same timeline */
	GUARD_SAYS_EPOCH,			/* a newer epoch was proved to it */
	GUARD_SAYS_TIMELINE			/* a newer timeline is in use there */
} GuardWord;

typedef enum GuardVerdict
{
	GUARD_VERDICT_WAIT,			/* ask again */
	GUARD_VERDICT_LOOK_UP,		/* the own epoch must be looked up first */
	GUARD_VERDICT_STAY,			/* the time is up: closed until somebody answers */
	GUARD_VERDICT_OPEN,			/* nobody has replaced it: proved */
	GUARD_VERDICT_OPEN_MAJORITY,
	GUARD_VERDICT_OPEN_UNANSWERED,
	GUARD_VERDICT_REPLACED
} GuardVerdict;

extern GuardWord guard_word(const GuardPeer *peer, const GuardSelf *self);

/*
 * Has a failover claimed an epoch there that this server must wait for? The same epoch as its own, too: who has begun
 * that failover did not know of the run by which this server has it.
 */
extern bool guard_claims(const GuardPeer *peer, const GuardSelf *self);

/* `late`: pingpong.guard_timeout is over. */
extern GuardVerdict guard_verdict(const GuardPeer *peers, int n, const GuardSelf *self, bool late,
								  GuardUnanswered unanswered);

/* Of `n` peers, the one that tells best who has replaced this server; -1: nobody says so. */
extern int	guard_accuser(const GuardPeer *peers, int n, const GuardSelf *self);

extern const char *guard_word_name(GuardWord word);
extern const char *guard_role_name(GuardRole role);

/* As an agent tells it (GET /v1/state). */
extern GuardRole guard_role_from(const char *name);

#endif							/* PINGPONG_GUARD_H */
