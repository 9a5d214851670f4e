/*
 * guard.c - the guard at boot: asks the agents that the file pingpong.peers names, and ends the state GATE_GUARDED.
 *
 * All are asked at once, in rounds. Only answers of one round are put together: an older one may not be true by now.
 * Each agent looks at its server when it is asked. Nothing is written here but the seal, and no table is needed, but
 * for the one case in which only epochs speak against this server: the file may be older than its last promotion.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "common/sqlstate.h"
#include "gate/guard.h"
#include "gate/peers.h"
#include "gate/state.h"
#include "worker/agents.h"
#include "worker/baton.h"
#include "worker/clock.h"
#include "worker/db.h"
#include "worker/guard.h"
#include "worker/mailbox.h"
#include "worker/settings.h"

#define TRANCHE			"pg_pingpong guard"
#define ANSWER_MS		4000	/* the agent's own look may take 2.5 s */
#define AGAIN_MS		500		/* between two rounds */
#define AGAIN_LATE_MS	1000	/* the same, when the time is up */
#define LOOK_MS			100		/* while answers are waited for: their sockets wake the loop before */

typedef struct GuardShared
{
	LWLock	   *lock;			/* guards all of it. The worker writes, any backend reads */
	GuardNews	news;
} GuardShared;

static GuardShared *shared;

/* of the worker */
static PeersFile *file;			/* NULL: not read yet */
static AgentCall *calls[PEERS_MAX];
static GuardPeer peers[GUARD_LINES];
static GuardLine lines[GUARD_LINES];
static int64 due;				/* now_us(); of the next round */
static bool asking;
static int64 table_epoch = -1;	/* as looked up; -1: not yet */
static int64 baton_epoch;		/* of a failover to this server that has no row yet; 0: there is none */
static char own_runs[2][128];	/* runs whose target this server is: of the file, of the table; "": none */
static GuardVerdict verdict;	/* of the last round that has ended */

/* ---- shared memory ---- */

void
guard_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(GuardShared)));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

void
guard_shmem_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(TRANCHE, sizeof(GuardShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(GuardShared));
		shared->lock = &GetNamedLWLockTranche(TRANCHE)->lock;
		if (gate_raw_state() == GATE_GUARDED)
		{
			shared->news.phase = GUARD_ASKING;
			shared->news.since = gate_shared->since;
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

void
guard_read(GuardNews *to)
{
	LWLockAcquire(shared->lock, LW_SHARED);
	*to = shared->news;
	LWLockRelease(shared->lock);
	/* opened by hand, and the worker has not seen it yet, or there is none */
	if ((to->phase == GUARD_ASKING || to->phase == GUARD_STAYS) && gate_raw_state() != GATE_GUARDED)
		to->phase = GUARD_BY_HAND;
}

/* Those who were asked; behind them the arbiter, of which agents tell. */
static int
voices(void)
{
	return file->n + (peers[file->n].named ? 1 : 0);
}

static void
publish(GuardPhase phase, const char *sentence)
{
	bool		ended = phase != GUARD_ASKING && phase != GUARD_STAYS;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->news.phase = phase;
	if (ended && shared->news.ended_at == 0)
		shared->news.ended_at = GetCurrentTimestamp();
	strlcpy(shared->news.sentence, sentence, sizeof(shared->news.sentence));
	shared->news.n = voices();
	memcpy(shared->news.lines, lines, sizeof(lines));
	LWLockRelease(shared->lock);
}

/* A round begins. */
static void
note_round(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (shared->news.asking_since == 0)
		shared->news.asking_since = now_us();
	shared->news.rounds++;
	LWLockRelease(shared->lock);
}

static bool
is_late(void)
{
	int64		since;

	LWLockAcquire(shared->lock, LW_SHARED);
	since = shared->news.asking_since;
	LWLockRelease(shared->lock);
	return now_us() - since >= worker_guard_timeout * INT64CONST(1000);
}

bool
guard_is_on(void)
{
	return gate_state() == GATE_GUARDED;
}

/* ---- asking ---- */

static void
read_peers(void)
{
	if (file)
		return;
	/* first: what cannot be read is read again in the next round */
	baton_epoch = baton_of_here(own_runs[0], sizeof(own_runs[0]));
	file = MemoryContextAllocZero(TopMemoryContext, sizeof(PeersFile));
	(void) peers_read(file);
}

static void
ask_all(void)
{
	const char *self = peers_self(file);

	note_round();
	memset(peers, 0, sizeof(peers));
	for (int i = 0; i < file->n; i++)
	{
		const Peer *peer = &file->peers[i];

		peers[i].kind = strcmp(peer->node, self) == 0 ? GUARD_SELF : peer->router ? GUARD_ROUTER : GUARD_POSTGRES;
		peers[i].asked = true;
		strlcpy(lines[i].node, peer->node, sizeof(lines[i].node));
		lines[i].kind = peers[i].kind;
		lines[i].asked_at = GetCurrentTimestamp();
		calls[i] = agents_get(peer->url, PROTOCOL_FRESH_STATE_PATH, ANSWER_MS);
	}
	asking = true;
}

static uint64
identifier(json_t *object)
{
	const char *text = json_string_value(json_object_get(object, "system_identifier"));

	return text ? strtoull(text, NULL, 10) : 0;
}

static unsigned
number(json_t *object, const char *name)
{
	return (unsigned) json_integer_value(json_object_get(object, name));
}

static GuardSystem
system_of(uint64 system, uint64 foreign)
{
	if (system == 0)
		return GUARD_SYSTEM_UNKNOWN;
	if (system == GetSystemIdentifier())
		return GUARD_SYSTEM_SAME;
	return system == foreign ? GUARD_SYSTEM_FOREIGN : GUARD_SYSTEM_OTHER;
}

/* An agent of before there was the guard tells nothing of the data directory: it is no witness. */
static void
take_server(GuardPeer *peer, json_t *body, uint64 foreign)
{
	json_t	   *data = json_object_get(body, "data");

	peer->role = json_is_object(data) ? guard_role_from(json_string_value(json_object_get(body, "role"))) :
		GUARD_ROLE_UNKNOWN;
	peer->system = system_of(identifier(data), foreign);
	peer->timeline = Max(number(body, "timeline"), number(data, "timeline"));
	peer->history = number(data, "history");
	peer->standby = json_is_true(json_object_get(data, "standby"));
	peer->sealed = json_is_true(json_object_get(data, "sealed"));
	peer->streaming = json_is_true(json_object_get(body, "streaming"));
}

static void
describe_server(const GuardPeer *peer, char *to, size_t size)
{
	if (peer->system == GUARD_SYSTEM_OTHER || peer->system == GUARD_SYSTEM_FOREIGN)
		snprintf(to, size, "its server (%s) is of another system", guard_role_name(peer->role));
	else if (peer->role == GUARD_ROLE_UNKNOWN || peer->timeline == 0)
		snprintf(to, size, "it does not know the state of its server");
	else if (peer->role == GUARD_ROLE_DOWN)
		snprintf(to, size, "its server is down; the data directory %s, timeline %u", peer->sealed ?
				 "is sealed" : peer->standby ? "is a standby's" : "may be a primary's", peer->timeline);
	else
		snprintf(to, size, "its server is %s, timeline %u%s", guard_role_name(peer->role), peer->timeline,
				 peer->streaming ? ", streaming" : "");
	if (peer->system == GUARD_SYSTEM_SAME && peer->history > peer->timeline)
		snprintf(to + strlen(to), size - strlen(to), ", and has a history file of timeline %u", peer->history);
}

/* A claim of a failover to this server is no claim of another one: it promotes nobody else. */
static void
take_claim(GuardPeer *peer, json_t *body)
{
	const char *by = protocol_text(body, "claimed_by");

	peer->claimed = json_integer_value(json_object_get(body, "claimed"));
	for (int i = 0; i < (int) lengthof(own_runs); i++)
		if (own_runs[i][0] && strcmp(own_runs[i], by) == 0)
			peer->claimed = 0;
}

static void
describe_claim(const GuardPeer *peer, char *to, size_t size)
{
	if (peer->claimed > peer->epoch)
		snprintf(to + strlen(to), size - strlen(to), ", and a failover has claimed epoch " INT64_FORMAT,
				 (int64) peer->claimed);
}

/* Of the agent beside this server: it sees another server than this one. */
static bool
sees_primary(int i)
{
	return peers[i].role == GUARD_ROLE_PRIMARY;
}

/*
 * An agent tells what the arbiter of the cluster has told it. It is a witness like a router's agent; of what several
 * agents tell the worst counts.
 */
static void
take_arbiter(json_t *told)
{
	GuardPeer  *peer = &peers[file->n];
	GuardLine  *line = &lines[file->n];
	GuardPeer	now = {.kind = GUARD_ROUTER, .named = true};

	now.answered = json_is_true(json_object_get(told, "answered"));
	if (!json_is_object(told) || (peer->answered && !now.answered))
		return;
	now.epoch = Max(peer->epoch, json_integer_value(json_object_get(told, "epoch")));
	take_claim(&now, told);
	if (peer->claimed > now.claimed)
		now.claimed = peer->claimed;
	*peer = now;
	snprintf(line->node, sizeof(line->node), "etcd:%s", protocol_text(told, "name"));
	line->kind = GUARD_ROUTER;
	line->asked_at = GetCurrentTimestamp();
	if (!now.answered)
		strlcpy(line->detail, protocol_text(told, "error"), sizeof(line->detail));
	else
		snprintf(line->detail, sizeof(line->detail), "its epoch is " INT64_FORMAT, (int64) now.epoch);
	describe_claim(peer, line->detail, sizeof(line->detail));
}

static void
take_answer(int i)
{
	AgentCall  *call = calls[i];
	GuardPeer  *peer = &peers[i];
	char	   *detail = lines[i].detail;
	size_t		size = sizeof(lines[i].detail);
	const char *name = json_string_value(json_object_get(call->body, "node"));

	peer->asked = false;
	peer->answered = call->body != NULL && call->status == 200;
	if (!peer->answered)
		strlcpy(detail, call->error, size);
	else if (!(peer->named = name && strcmp(name, lines[i].node) == 0))
		snprintf(detail, size, "it calls itself \"%s\"", name ? name : "");
	else
	{
		peer->epoch = json_integer_value(json_object_get(call->body, "epoch"));
		take_claim(peer, call->body);
		snprintf(detail, size, "its epoch is " INT64_FORMAT, (int64) peer->epoch);
		if (peer->kind != GUARD_ROUTER)
			take_server(peer, call->body, file->peers[i].foreign);
		if (peer->kind == GUARD_POSTGRES || sees_primary(i))
			describe_server(peer, detail, size);
		describe_claim(peer, detail, size);
		take_arbiter(json_object_get(call->body, "arbiter"));
	}
	agents_release(call);
	calls[i] = NULL;
}

/* ---- deciding ---- */

/*
 * A server that was promoted since the file was written may not have been able to write its new epoch there, nor
 * into its table: the file of the failover and its own agent, which promoted it, know it. Without that agent's word a
 * newer epoch may be its own, and proves nothing.
 */
static GuardSelf
self_now(void)
{
	GuardSelf	self = {.timeline = gate_present_timeline(), .epoch = Max(file->epoch, table_epoch),
	.epoch_sure = table_epoch >= 0};
	bool		told = false;

	if (file->tli >= self.timeline)
		return self;
	self.epoch = Max(self.epoch, baton_epoch);
	for (int i = 0; i < file->n; i++)
	{
		if (peers[i].kind != GUARD_SELF || !peers[i].answered || !peers[i].named)
			continue;
		self.epoch = Max(self.epoch, peers[i].epoch);
		told = true;
	}
	self.epoch_sure &= told;
	return self;
}

/* What is waited for, or was not waited for any longer. */
static void
describe_missing(const GuardSelf *self, char *to, size_t size)
{
	StringInfoData text;

	initStringInfo(&text);
	if (file->n == 0)
		appendStringInfo(&text, "the file \"%s\" cannot be read, so whom to ask is not known", PEERS_FILE);
	if (file->cut)
		appendStringInfo(&text, "more nodes are registered than are asked (%d)", PEERS_MAX);
	for (int i = 0; i < voices(); i++)
	{
		GuardWord	word = guard_word(&peers[i], self);

		if (!guard_claims(&peers[i], self) &&
			(word == GUARD_SAYS_CLEAN || (peers[i].kind != GUARD_POSTGRES && word < GUARD_SAYS_SECOND)))
			continue;
		appendStringInfo(&text, "%s%s of \"%s\"%s: %s", text.len ? "; " : "", word == GUARD_SAYS_NOTHING ?
						 "no answer of the agent" : "by the word of the agent", lines[i].node,
						 word == GUARD_SAYS_UNSURE ? " it is not certain" : "", lines[i].detail);
	}
	strlcpy(to, text.data, size);
	pfree(text.data);
}

static void
describe_accuser(int i, const GuardSelf *self, char *to, size_t size)
{
	if (guard_word(&peers[i], self) == GUARD_SAYS_EPOCH)
		snprintf(to, size, "%s\"%s\" knew epoch " INT64_FORMAT " and this server only " INT64_FORMAT
				 ": a run has moved the primary since", i < file->n ? "the agent of " : "", lines[i].node,
				 (int64) peers[i].epoch, self->epoch);
	else
		snprintf(to, size, "the server of \"%s\" was %s timeline %u, and this one on timeline %u",
				 lines[i].node, peers[i].role == GUARD_ROLE_PRIMARY ? "the primary, on" :
				 peers[i].role == GUARD_ROLE_STANDBY ? "a standby on" : "on", peers[i].timeline, self->timeline);
}

static void
seal(const GuardSelf *self)
{
	int			i = guard_accuser(peers, voices(), self);
	GateSeal	info = {.epoch = peers[i].epoch};

	describe_accuser(i, self, info.why, sizeof(info.why));
	if (peers[i].role == GUARD_ROLE_PRIMARY)
		strlcpy(info.target, lines[i].node, sizeof(info.target));
	if (gate_guard_seal(&info))
		publish(GUARD_REPLACED, info.why);
}

static void
open_gate(GuardPhase phase, const char *how, const GuardSelf *self)
{
	char		missing[GATE_REASON_LEN];
	bool		proved = phase == GUARD_PROVED;

	describe_missing(self, missing, sizeof(missing));
	if (!gate_guard_open(how))
		return;
	publish(phase, proved ? how : missing);
	if (!proved)
		ereport(WARNING,
				(errmsg("the write gate was opened without the word of all agents"),
				 errdetail("As \"pingpong.guard_unanswered\" says, after %d ms. %s.", worker_guard_timeout, missing),
				 errhint("Make sure that no other server is the primary.")));
}

/* Is what the agents say other than when this was asked last? Their details vary with each round. */
static bool
words_are_new(void)
{
	static int	told[GUARD_LINES];
	static bool ever = false;
	bool		new = !ever;

	for (int i = 0; i < voices(); i++)
	{
		new |= told[i] != (int) lines[i].word;
		told[i] = lines[i].word;
	}
	ever = true;
	return new;
}

/* Told when the time is up, and again when the reason is another one. */
static void
stay(GuardPhase phase, const GuardSelf *self)
{
	char		missing[GATE_REASON_LEN];

	describe_missing(self, missing, sizeof(missing));
	gate_guard_say(missing);
	publish(phase, missing);
	if (phase != GUARD_STAYS || !words_are_new())
		return;
	ereport(LOG,
			(errmsg("this server takes no writes: it is not known whether another one has replaced it as the "
					"primary"),
			 errdetail("%s.", missing),
			 errhint("It opens by itself when the agents answer. If no other server is, or may yet become, the "
					 "primary: SELECT pingpong.resume(risk => 'two primaries are possible').")));
}

/* The verdict by the answers, and by who was not asked. */
static GuardVerdict
weigh(const GuardSelf *self)
{
	bool		late = is_late();
	GuardVerdict by_answers = guard_verdict(peers, voices(), self, late, (GuardUnanswered) worker_guard_unanswered);
	bool		opens = by_answers == GUARD_VERDICT_OPEN || by_answers == GUARD_VERDICT_OPEN_MAJORITY;

	/* the file cannot be read, or has not all nodes: nobody was asked, or not everybody */
	if (opens && (file->n == 0 || file->cut))
		return !late ? GUARD_VERDICT_WAIT : worker_guard_unanswered == GUARD_OPENS ? GUARD_VERDICT_OPEN_UNANSWERED :
			GUARD_VERDICT_STAY;
	/* that was done, and is not enough */
	if (by_answers == GUARD_VERDICT_LOOK_UP && table_epoch >= 0 && late)
		return GUARD_VERDICT_STAY;
	return by_answers;
}

static void
decide(void)
{
	GuardSelf	self = self_now();

	verdict = weigh(&self);
	switch (verdict)
	{
		case GUARD_VERDICT_WAIT:
		case GUARD_VERDICT_LOOK_UP:
			stay(GUARD_ASKING, &self);
			break;
		case GUARD_VERDICT_STAY:
			stay(GUARD_STAYS, &self);
			break;
		case GUARD_VERDICT_OPEN:
			open_gate(GUARD_PROVED, "the agents say that nobody has replaced this server as the primary", &self);
			break;
		case GUARD_VERDICT_OPEN_MAJORITY:
			open_gate(GUARD_BY_MAJORITY, "most agents know of no other primary", &self);
			break;
		case GUARD_VERDICT_OPEN_UNANSWERED:
			open_gate(GUARD_UNPROVED, "it was not answered whether another server is the primary", &self);
			break;
		case GUARD_VERDICT_REPLACED:
			seal(&self);
			break;
	}
}

static void
look_up_epoch(void)
{
	db_begin();
	table_epoch = 0;
	if (db_exec("SELECT epoch FROM pingpong.cluster", 0) == 1)
		table_epoch = strtoll(db_text(0, 1), NULL, 10);
	if (db_exec("SELECT r.key FROM pingpong.run r, pingpong.cluster c WHERE r.target = $1 AND r.epoch = c.epoch "
				"ORDER BY r.id DESC LIMIT 1", 1, peers_self(file)) == 1)
		db_copy(own_runs[1], sizeof(own_runs[1]), 0, 1);
	db_end();
}

/* An operator has opened it, or it is decided. */
static void
leave(void)
{
	GuardNews	news;

	for (int i = 0; i < PEERS_MAX; i++)
		if (calls[i])
		{
			agents_release(calls[i]);
			calls[i] = NULL;
		}
	asking = false;
	if (!file)
		return;
	guard_read(&news);
	if (news.ended_at == 0)
		publish(GUARD_BY_HAND, "it was opened by hand");
	pfree(file);
	file = NULL;
}

/* One look at the answers; true when a round has ended. */
static bool
take_answers(void)
{
	bool		waiting = false;

	for (int i = 0; i < file->n; i++)
	{
		if (calls[i] && calls[i]->done)
			take_answer(i);
		waiting |= calls[i] != NULL;
	}
	for (int i = 0; i < voices(); i++)
	{
		GuardSelf	self = self_now();

		lines[i].word = guard_word(&peers[i], &self);
	}
	asking = waiting;
	return !waiting;
}

long
guard_advance(bool ready)
{
	if (!guard_is_on())
	{
		leave();
		return 0;
	}
	read_peers();
	if (ready && verdict == GUARD_VERDICT_LOOK_UP && table_epoch < 0)
		look_up_epoch();
	if (!asking && now_us() < due)
		return (long) ((due - now_us()) / 1000 + 1);
	if (!asking)
		ask_all();
	if (!take_answers())
		return LOOK_MS;
	decide();
	due = now_us() + (verdict == GUARD_VERDICT_STAY ? AGAIN_LATE_MS : AGAIN_MS) * INT64CONST(1000);
	if (guard_is_on())
		return verdict == GUARD_VERDICT_STAY ? AGAIN_LATE_MS : AGAIN_MS;
	leave();
	return 0;
}

void
guard_before_database(void)
{
	verdict = GUARD_VERDICT_WAIT;
	while (guard_is_on() && verdict == GUARD_VERDICT_WAIT)
	{
		long		nap_ms;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;	/* first, or a second SIGHUP is lost */
			ProcessConfigFile(PGC_SIGHUP);
		}
		agents_advance();
		nap_ms = guard_advance(false);
		if (guard_is_on() && verdict == GUARD_VERDICT_WAIT)
			agents_wait(nap_ms);
	}
}

void
guard_reject(void)
{
	RequestKind kind;
	char		target[PP_NAME_LEN];
	char		options[PP_OPTIONS_LEN];
	char		requested_by[NAMEDATALEN];
	Outcome		none = {0};
	Failure		failure;

	if (!mailbox_take(&kind, target, options, requested_by))
		return;
	failure_set(&failure, STATE_NOT_IN_PREREQUISITE_STATE,
				"it is not known yet whether another server has replaced this one as the primary");
	strlcpy(failure.hint, "See the view pingpong.guard.", sizeof(failure.hint));
	mailbox_answer(&none, &failure, true);
}
