/*
 * guard.c
 *		The decisions of the guard at boot.
 *
 * A server is replaced when another one of its system is on a newer timeline, or when a newer epoch was proved.  It
 * may open when each other node with a server says that neither is so.  All between is not known.
 */
#include <string.h>

#include "common/guard.h"

static bool
has_newer_epoch(const GuardPeer *peer, const GuardSelf *self)
{
	return peer->epoch > self->epoch;
}

/*
 * Its server does not run, or does not answer.  A directory that is neither a standby's for certain nor sealed may be
 * that of a primary that cannot take sessions this moment; on an older timeline it does not matter what it is.
 */
static bool
directory_is_clean(const GuardPeer *peer, const GuardSelf *self)
{
	return peer->standby || peer->sealed || peer->timeline < self->timeline;
}

/*
 * A history file that is newer than the timeline in use is left by a promotion that was not finished, or is the first
 * sign of one: a standby that has lost its stream may be further than it tells.
 */
static GuardWord
word_of_server(const GuardPeer *peer, const GuardSelf *self)
{
	if (peer->system == GUARD_SYSTEM_FOREIGN)
		return peer->role == GUARD_ROLE_PRIMARY ? GUARD_SAYS_UNSURE : GUARD_SAYS_CLEAN;
	if (peer->system != GUARD_SYSTEM_SAME)
		return GUARD_SAYS_UNSURE;
	if (peer->timeline > self->timeline)
		return GUARD_SAYS_TIMELINE;
	if (peer->role == GUARD_ROLE_PRIMARY && peer->timeline == self->timeline)
		return GUARD_SAYS_SECOND;
	if (peer->timeline == 0 || (peer->history > self->timeline && !peer->streaming))
		return GUARD_SAYS_UNSURE;
	switch (peer->role)
	{
		case GUARD_ROLE_STANDBY:
			return GUARD_SAYS_CLEAN;
		case GUARD_ROLE_SEALED:

			/*
			 * On the same timeline: it has made way for a target that crashed inside its promotion, which may be
			 * this server.  Another target answers for itself.
			 */
			return GUARD_SAYS_CLEAN;
		case GUARD_ROLE_DOWN:
			return directory_is_clean(peer, self) ? GUARD_SAYS_CLEAN : GUARD_SAYS_UNSURE;
		case GUARD_ROLE_PRIMARY:
		case GUARD_ROLE_GUARDED:
			return peer->timeline < self->timeline ? GUARD_SAYS_CLEAN : GUARD_SAYS_UNSURE;
		default:
			return GUARD_SAYS_UNSURE;
	}
}

/* An agent without a server knows moves by their epochs; one that knows none has lost its memory, or is new. */
static GuardWord
word_of_memory(const GuardPeer *peer, const GuardSelf *self)
{
	return peer->epoch == 0 && self->epoch > 0 ? GUARD_SAYS_UNSURE : GUARD_SAYS_CLEAN;
}

/*
 * This server is guarded, so it is seen as guarded. If the agent sees a primary, that is another server: this one was
 * started from a copy of its data directory.
 */
static GuardWord
word_of_self(const GuardPeer *peer, const GuardSelf *self)
{
	if (peer->system == GUARD_SYSTEM_SAME && peer->role == GUARD_ROLE_PRIMARY && peer->timeline >= self->timeline)
		return peer->timeline > self->timeline ? GUARD_SAYS_TIMELINE : GUARD_SAYS_SECOND;
	return word_of_memory(peer, self);
}

GuardWord
guard_word(const GuardPeer *peer, const GuardSelf *self)
{
	GuardWord	word;

	if (!peer->answered)
		return GUARD_SAYS_NOTHING;
	if (!peer->named)
		return GUARD_SAYS_UNSURE;
	word = peer->kind == GUARD_POSTGRES ? word_of_server(peer, self) :
		peer->kind == GUARD_SELF ? word_of_self(peer, self) : word_of_memory(peer, self);
	return word < GUARD_SAYS_EPOCH && has_newer_epoch(peer, self) ? GUARD_SAYS_EPOCH : word;
}

bool
guard_claims(const GuardPeer *peer, const GuardSelf *self)
{
	return peer->answered && peer->named && peer->claimed > 0 && peer->claimed >= self->epoch;
}

/* A failover may promote another server this moment. Its claim ends by itself, so it is waited for in any setting. */
static bool
is_claimed(const GuardPeer *peers, int n, const GuardSelf *self)
{
	for (int i = 0; i < n; i++)
		if (guard_claims(&peers[i], self))
			return true;
	return false;
}

static int
count(const GuardPeer *peers, int n, const GuardSelf *self, GuardWord word)
{
	int			found = 0;

	for (int i = 0; i < n; i++)
		found += guard_word(&peers[i], self) == word;
	return found;
}

static bool
all_answer_clean(const GuardPeer *peers, int n, const GuardSelf *self)
{
	for (int i = 0; i < n; i++)
		if (peers[i].kind == GUARD_POSTGRES && guard_word(&peers[i], self) != GUARD_SAYS_CLEAN)
			return false;
	return true;
}

static bool
is_asking(const GuardPeer *peers, int n)
{
	for (int i = 0; i < n; i++)
		if (peers[i].asked)
			return true;
	return false;
}

GuardVerdict
guard_verdict(const GuardPeer *peers, int n, const GuardSelf *self, bool late, GuardUnanswered unanswered)
{
	if (is_asking(peers, n))
		return GUARD_VERDICT_WAIT;
	if (count(peers, n, self, GUARD_SAYS_TIMELINE) > 0)
		return GUARD_VERDICT_REPLACED;
	if (count(peers, n, self, GUARD_SAYS_EPOCH) > 0)
		return self->epoch_sure ? GUARD_VERDICT_REPLACED : GUARD_VERDICT_LOOK_UP;
	if (count(peers, n, self, GUARD_SAYS_SECOND) > 0)
		return late ? GUARD_VERDICT_STAY : GUARD_VERDICT_WAIT;
	/* its table may know that it is the target of the failover that has made the claim */
	if (is_claimed(peers, n, self))
		return !self->epoch_sure ? GUARD_VERDICT_LOOK_UP : late ? GUARD_VERDICT_STAY : GUARD_VERDICT_WAIT;
	if (all_answer_clean(peers, n, self))
		return GUARD_VERDICT_OPEN;
	if (!late)
		return GUARD_VERDICT_WAIT;
	if (unanswered == GUARD_MAJORITY && 2 * count(peers, n, self, GUARD_SAYS_CLEAN) > n)
		return GUARD_VERDICT_OPEN_MAJORITY;
	return unanswered == GUARD_OPENS ? GUARD_VERDICT_OPEN_UNANSWERED : GUARD_VERDICT_STAY;
}

/* Rather the new primary itself than somebody who knows of it; rather a timeline than an epoch. */
int
guard_accuser(const GuardPeer *peers, int n, const GuardSelf *self)
{
	int			best = -1;
	int			best_rank = 0;

	for (int i = 0; i < n; i++)
	{
		GuardWord	word = guard_word(&peers[i], self);
		int			rank = word == GUARD_SAYS_TIMELINE ? 2 : word == GUARD_SAYS_EPOCH ? 1 : 0;

		if (rank == 2 && peers[i].role == GUARD_ROLE_PRIMARY)
			rank = 3;
		if (rank > best_rank)
		{
			best = i;
			best_rank = rank;
		}
	}
	return best;
}

const char *
guard_word_name(GuardWord word)
{
	static const char *const names[] = {"silent", "unsure", "nothing newer", "second primary", "newer epoch",
	"newer timeline"};

	return names[word];
}

static const char *const role_names[] = {"unknown", "none", "down", "primary", "guarded", "sealed", "standby"};

const char *
guard_role_name(GuardRole role)
{
	return role_names[role];
}

GuardRole
guard_role_from(const char *name)
{
	for (int i = 0; name && i <= GUARD_ROLE_STANDBY; i++)
		if (strcmp(name, role_names[i]) == 0)
			return (GuardRole) i;
	return GUARD_ROLE_UNKNOWN;
}
