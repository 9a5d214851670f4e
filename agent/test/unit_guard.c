/*
 * unit_guard.c
 *		The guard at boot: what each answer is worth, every combination of words, and who is named.
 */
#include <stdio.h>
#include <string.h>

#include "agent/test/unit.h"
#include "common/guard.h"

#define SERVER(...) \
	{.kind = GUARD_POSTGRES, .answered = true, .named = true, .system = GUARD_SYSTEM_SAME, __VA_ARGS__}
#define AGENT(...) {.kind = GUARD_ROUTER, .answered = true, .named = true, __VA_ARGS__}

static const GuardSelf self = {.timeline = 3, .epoch = 7, .epoch_sure = true};

static const struct
{
	const char *what;
	GuardPeer	peer;
	GuardWord	word;
} answers[] = {
	{"no answer", {.kind = GUARD_POSTGRES}, GUARD_SAYS_NOTHING},
	{"an agent of another name", {.kind = GUARD_POSTGRES, .answered = true, .role = GUARD_ROLE_STANDBY, .timeline = 3,
	.system = GUARD_SYSTEM_SAME}, GUARD_SAYS_UNSURE},
	{"the same, with a newer timeline", {.kind = GUARD_POSTGRES, .answered = true, .role = GUARD_ROLE_PRIMARY,
	.timeline = 4, .system = GUARD_SYSTEM_SAME}, GUARD_SAYS_UNSURE},
	{"a standby of ours", SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 3, .history = 3), GUARD_SAYS_CLEAN},
	{"a standby that is behind a promotion", SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 2, .history = 2),
	GUARD_SAYS_CLEAN},
	{"a standby whose agent has lost its memory", SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 3, .epoch = 0),
	GUARD_SAYS_CLEAN},
	{"a standby of another primary", SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 4, .history = 4),
	GUARD_SAYS_TIMELINE},
	{"a standby that may be further than it tells", SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 3, .history = 4),
	GUARD_SAYS_UNSURE},
	{"the same, but it streams", SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 3, .history = 4, .streaming = true),
	GUARD_SAYS_CLEAN},
	{"a standby that does not tell its timeline", SERVER(.role = GUARD_ROLE_STANDBY), GUARD_SAYS_UNSURE},
	{"a standby of an unknown system", {.kind = GUARD_POSTGRES, .answered = true, .named = true,
	.role = GUARD_ROLE_STANDBY, .timeline = 3}, GUARD_SAYS_UNSURE},
	{"a standby of another system", {.kind = GUARD_POSTGRES, .answered = true, .named = true,
	.system = GUARD_SYSTEM_OTHER, .role = GUARD_ROLE_STANDBY, .timeline = 9}, GUARD_SAYS_UNSURE},
	{"one that an upgrade has left behind", {.kind = GUARD_POSTGRES, .answered = true, .named = true,
	.system = GUARD_SYSTEM_FOREIGN, .role = GUARD_ROLE_STANDBY, .timeline = 9}, GUARD_SAYS_CLEAN},
	{"the same, as a primary", {.kind = GUARD_POSTGRES, .answered = true, .named = true,
	.system = GUARD_SYSTEM_FOREIGN, .role = GUARD_ROLE_PRIMARY, .timeline = 9}, GUARD_SAYS_UNSURE},
	{"a newer primary", SERVER(.role = GUARD_ROLE_PRIMARY, .timeline = 4), GUARD_SAYS_TIMELINE},
	{"a newer primary that is guarded", SERVER(.role = GUARD_ROLE_GUARDED, .timeline = 4), GUARD_SAYS_TIMELINE},
	{"a newer primary that is sealed", SERVER(.role = GUARD_ROLE_SEALED, .timeline = 4), GUARD_SAYS_TIMELINE},
	{"a newer primary that is down", SERVER(.role = GUARD_ROLE_DOWN, .timeline = 4), GUARD_SAYS_TIMELINE},
	{"another primary on this timeline", SERVER(.role = GUARD_ROLE_PRIMARY, .timeline = 3), GUARD_SAYS_SECOND},
	{"one that asks as well", SERVER(.role = GUARD_ROLE_GUARDED, .timeline = 3), GUARD_SAYS_UNSURE},
	{"one that was sealed to make way", SERVER(.role = GUARD_ROLE_SEALED, .timeline = 3), GUARD_SAYS_CLEAN},
	{"the same, down", SERVER(.role = GUARD_ROLE_DOWN, .timeline = 3, .sealed = true), GUARD_SAYS_CLEAN},
	{"the old primary, still there", SERVER(.role = GUARD_ROLE_PRIMARY, .timeline = 2), GUARD_SAYS_CLEAN},
	{"the old primary, sealed", SERVER(.role = GUARD_ROLE_SEALED, .timeline = 2), GUARD_SAYS_CLEAN},
	{"a standby that is down", SERVER(.role = GUARD_ROLE_DOWN, .timeline = 3, .standby = true), GUARD_SAYS_CLEAN},
	{"a standby that is down, and saw a newer timeline", SERVER(.role = GUARD_ROLE_DOWN, .timeline = 3, .history = 4,
	.standby = true), GUARD_SAYS_UNSURE},
	{"a server that is down, and no standby for certain", SERVER(.role = GUARD_ROLE_DOWN, .timeline = 3),
	GUARD_SAYS_UNSURE},
	{"the old primary, down", SERVER(.role = GUARD_ROLE_DOWN, .timeline = 2), GUARD_SAYS_CLEAN},
	{"a server that is down, and its directory is unreadable", SERVER(.role = GUARD_ROLE_DOWN), GUARD_SAYS_UNSURE},
	{"an agent that does not know", SERVER(.role = GUARD_ROLE_UNKNOWN, .timeline = 3), GUARD_SAYS_UNSURE},
	{"an agent without its server", SERVER(.role = GUARD_ROLE_NONE, .timeline = 3), GUARD_SAYS_UNSURE},
	{"a standby whose agent knows a newer epoch", SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 3, .epoch = 8),
	GUARD_SAYS_EPOCH},
	{"the same, and a newer timeline", SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 4, .epoch = 8),
	GUARD_SAYS_TIMELINE},
	{"an agent that knows no more than its newer epoch", SERVER(.role = GUARD_ROLE_UNKNOWN, .epoch = 8),
	GUARD_SAYS_EPOCH},
	{"the own agent", {.kind = GUARD_SELF, .answered = true, .named = true, .epoch = 7, .system = GUARD_SYSTEM_SAME,
	.role = GUARD_ROLE_GUARDED, .timeline = 3}, GUARD_SAYS_CLEAN},
	{"the own agent, which does not see its server yet", {.kind = GUARD_SELF, .answered = true, .named = true,
	.epoch = 7, .role = GUARD_ROLE_DOWN}, GUARD_SAYS_CLEAN},
	{"the own agent, beside another primary", {.kind = GUARD_SELF, .answered = true, .named = true, .epoch = 7,
	.system = GUARD_SYSTEM_SAME, .role = GUARD_ROLE_PRIMARY, .timeline = 3}, GUARD_SAYS_SECOND},
	{"the same on a newer timeline", {.kind = GUARD_SELF, .answered = true, .named = true, .epoch = 7,
	.system = GUARD_SYSTEM_SAME, .role = GUARD_ROLE_PRIMARY, .timeline = 4}, GUARD_SAYS_TIMELINE},
	{"a router's agent", AGENT(.epoch = 7), GUARD_SAYS_CLEAN},
	{"a router's agent that missed the last epoch", AGENT(.epoch = 6), GUARD_SAYS_CLEAN},
	{"a router's agent that forgot", AGENT(.epoch = 0), GUARD_SAYS_UNSURE},
	{"a router's agent with a newer epoch", AGENT(.epoch = 8), GUARD_SAYS_EPOCH},
};

static void
test_answers(void)
{
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
	{
		GuardWord	word = guard_word(&answers[i].peer, &self);
		char		what[160];

		snprintf(what, sizeof(what), "guard: %s is \"%s\"", answers[i].what, guard_word_name(answers[i].word));
		ok(word == answers[i].word, what);
	}
}

/* One of each word. */
static const GuardPeer speakers[] = {
	{.kind = GUARD_POSTGRES},
	SERVER(.role = GUARD_ROLE_UNKNOWN),
	SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 3),
	SERVER(.role = GUARD_ROLE_PRIMARY, .timeline = 3),
	SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 3, .epoch = 8),
	SERVER(.role = GUARD_ROLE_PRIMARY, .timeline = 4),
};

#define WORDS 6

static bool
is_open(GuardVerdict verdict)
{
	return verdict == GUARD_VERDICT_OPEN || verdict == GUARD_VERDICT_OPEN_MAJORITY ||
		verdict == GUARD_VERDICT_OPEN_UNANSWERED;
}

/* Whatever two other servers and a router's agent say, late or not, as the setting is: the promises. */
static void
test_combinations(void)
{
	int			broken = 0;
	int			opened = 0;
	int			tried = 0;

	for (int a = 0; a < WORDS; a++)
		for (int b = 0; b < WORDS; b++)
			for (int c = 0; c < WORDS; c++)
				for (int how = 0; how < 2 * 3 * 2; how++)
				{
					GuardPeer	peers[3] = {speakers[a], speakers[b], speakers[c]};
					GuardSelf	asks = self;
					bool		late = how % 2;
					GuardUnanswered unanswered = (GuardUnanswered) (how / 2 % 3);
					GuardWord	most = GUARD_SAYS_NOTHING;
					GuardVerdict verdict;
					bool		clean;

					asks.epoch_sure = how / 6;
					peers[2].kind = GUARD_ROUTER;
					clean = guard_word(&peers[0], &asks) == GUARD_SAYS_CLEAN &&
						guard_word(&peers[1], &asks) == GUARD_SAYS_CLEAN;
					for (int i = 0; i < 3; i++)
						if (guard_word(&peers[i], &asks) > most)
							most = guard_word(&peers[i], &asks);
					verdict = guard_verdict(peers, 3, &asks, late, unanswered);
					tried++;
					opened += is_open(verdict);
					/* never open against a word */
					broken += is_open(verdict) && most >= GUARD_SAYS_SECOND;
					/* sealed by a word only, and by an epoch only when it is certain */
					broken += verdict == GUARD_VERDICT_REPLACED &&
						!(most == GUARD_SAYS_TIMELINE || (most == GUARD_SAYS_EPOCH && asks.epoch_sure));
					broken += most == GUARD_SAYS_TIMELINE && verdict != GUARD_VERDICT_REPLACED;
					/* silence opens nothing, unless the setting says so, and not early */
					broken += is_open(verdict) && !clean && (unanswered == GUARD_CLOSED || !late);
					broken += clean && most < GUARD_SAYS_SECOND && verdict != GUARD_VERDICT_OPEN;
					/* not all answered in this round: nothing is decided */
					peers[1].asked = true;
					broken += guard_verdict(peers, 3, &asks, late, unanswered) != GUARD_VERDICT_WAIT;
					broken += (guard_accuser(peers, 3, &asks) >= 0) != (most >= GUARD_SAYS_EPOCH);
				}
	ok(broken == 0, "guard: no combination of words breaks a promise");
	ok(tried == WORDS * WORDS * WORDS * 12 && opened > 0, "guard: all were tried, and some open");
}

/* Whoever tells of it, and whatever the setting is: the promotion may happen this moment. */
static void
test_claim(void)
{
	GuardPeer	peers[2] = {SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 3), AGENT(.epoch = 7)};
	GuardSelf	unsure = self;
	int			wrong = 0;

	ok(is_open(guard_verdict(peers, 2, &self, false, GUARD_CLOSED)), "guard: without a claim it opens");
	for (int who = 0; who < 2; who++)
	{
		for (int how = 0; how < 2 * 3; how++)
		{
			bool		late = how % 2;
			GuardUnanswered unanswered = (GuardUnanswered) (how / 2);

			peers[who].claimed = self.epoch + 1;
			wrong += is_open(guard_verdict(peers, 2, &self, late, unanswered));
			peers[who].claimed = self.epoch;
			wrong += is_open(guard_verdict(peers, 2, &self, late, unanswered));
			peers[who].claimed = self.epoch - 1;
			wrong += !is_open(guard_verdict(peers, 2, &self, late, unanswered));
		}
		peers[who].claimed = 0;
	}
	ok(wrong == 0, "guard: the claim of a failover is waited for, also of one's own epoch; an old one is not");
	peers[0].claimed = self.epoch + 1;
	unsure.epoch_sure = false;
	ok(guard_verdict(peers, 2, &unsure, true, GUARD_CLOSED) == GUARD_VERDICT_LOOK_UP,
	   "guard: it looks up whose target it is before it waits for a claim");
}

static void
test_majority(void)
{
	GuardPeer	peers[3] = {{.kind = GUARD_POSTGRES},
		{.kind = GUARD_SELF, .answered = true, .named = true, .epoch = 7}, AGENT(.epoch = 7)};

	ok(guard_verdict(peers, 3, &self, true, GUARD_MAJORITY) == GUARD_VERDICT_OPEN_MAJORITY,
	   "guard: two of three agents are most of them");
	ok(guard_verdict(peers, 2, &self, true, GUARD_MAJORITY) == GUARD_VERDICT_STAY, "guard: one of two is not");
	peers[2].epoch = 0;
	ok(guard_verdict(peers, 3, &self, true, GUARD_MAJORITY) == GUARD_VERDICT_STAY,
	   "guard: one that forgot does not count");
	ok(guard_verdict(peers, 3, &self, true, GUARD_OPENS) == GUARD_VERDICT_OPEN_UNANSWERED,
	   "guard: with \"open\" nobody needs to");
	ok(guard_verdict(peers, 0, &self, false, GUARD_CLOSED) == GUARD_VERDICT_OPEN, "guard: nobody to ask");
	ok(guard_verdict(&peers[1], 2, &self, false, GUARD_CLOSED) == GUARD_VERDICT_OPEN,
	   "guard: where there is no other server, routers need not know");
}

static void
test_names(void)
{
	bool		same = true;

	for (int role = GUARD_ROLE_UNKNOWN; role <= GUARD_ROLE_STANDBY; role++)
		same &= guard_role_from(guard_role_name((GuardRole) role)) == (GuardRole) role;
	ok(same, "guard: roles are read as they are told");
	ok(guard_role_from("leader") == GUARD_ROLE_UNKNOWN && guard_role_from(NULL) == GUARD_ROLE_UNKNOWN,
	   "guard: another word is not known");
}

void
test_guard(void)
{
	GuardPeer	peers[3] = {SERVER(.role = GUARD_ROLE_STANDBY, .timeline = 4), AGENT(.epoch = 9),
	SERVER(.role = GUARD_ROLE_PRIMARY, .timeline = 4)};

	test_answers();
	test_combinations();
	test_claim();
	test_majority();
	ok(guard_accuser(peers, 3, &self) == 2 && guard_accuser(peers, 2, &self) == 0,
	   "guard: the new primary is named rather than its standby, and that rather than an epoch");
	test_names();
}
