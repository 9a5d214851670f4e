/*
 * transition.c - the table of transitions, from one phase of a run to the next.
 *
 * The rows contain three rules of the design. Before the order to promote, a run is undone (RUN_UNDOING). When the
 * order may be out, only the target's agent, or the target itself, can say whether there is something to undo
 * (RUN_ASKING). After the promotion everything goes forward, and what does not succeed leaves the run stuck.
 *
 * test/transitions.out shows the table as text. A unit test compares the two.
 */
#include "worker/transition.h"

const Rule transition_rules[] = {
	/* before a run there are facts */
	{RUN_GATHERING, FACT_CANCELLED, 0, RUN_DROPPED, 0, REASON_NOBODY_WAITS,
	 "nobody waits for it, and nothing was begun"},
	{RUN_GATHERING, FACT_WAITING, 0, RUN_GATHERING, WORK_WAIT, REASON_WAIT, "agents have not answered yet"},
	{RUN_GATHERING, FACT_ONLY_ASKED, 0, RUN_TOLD, 0, REASON_ONLY_ASKED, "the facts are stored"},
	{RUN_GATHERING, FACT_REFUSED, 0, RUN_REFUSED, 0, REASON_PREFLIGHT, "preflight found what stands against it"},
	{RUN_GATHERING, 0, 0, RUN_FORWARD, 0, REASON_BEGIN, "preflight passed"},

	/* a worker that begins, on a server that was just promoted, or whose seal was removed */
	{RUN_RECOVERING, 0, FACT_FOUND, RUN_NONE, 0, REASON_NO_RUN, "no run was left"},
	{RUN_RECOVERING, FACT_STANDBY | FACT_ORDERED, 0, RUN_ASKING, 0, REASON_STANDBY,
	 "a failover was begun here, and its promotion may have been ordered"},
	{RUN_RECOVERING, FACT_STANDBY, 0, RUN_UNDOING, 0, REASON_RESTARTED,
	 "the server or its worker was restarted before the promotion was ordered"},
	{RUN_RECOVERING, FACT_TARGET, 0, RUN_TAKING_OVER, 0, REASON_TARGET, "this server is the target of the run"},
	{RUN_RECOVERING, FACT_OWN, FACT_SOURCE, RUN_ROLLED_BACK, 0, REASON_OTHER_PRIMARY,
	 "another primary began it, and this one makes its own"},
	{RUN_RECOVERING, 0, FACT_SOURCE, RUN_STUCK, 0, REASON_OTHER_PRIMARY, "another primary began it"},
	{RUN_RECOVERING, FACT_BROKEN_OFF, 0, RUN_UNDOING, 0, REASON_RESTARTED,
	 "the server was restarted, or its seal removed: it does not begin again by itself"},
	{RUN_RECOVERING, FACT_AWAY, FACT_MOVES, RUN_AWAY, 0, REASON_AWAY,
	 "an agent has a job in which the database was gone"},
	{RUN_RECOVERING, 0, FACT_MOVES, RUN_FORWARD, 0, REASON_RESUME, "the run goes on where it was"},
	{RUN_RECOVERING, FACT_SEALED, 0, RUN_ASKING, 0, REASON_SEALED,
	 "this server is sealed by the run: was the target promoted?"},
	{RUN_RECOVERING, FACT_OPENED, 0, RUN_STUCK, 0, REASON_OPENED,
	 "the run had moved the primary, and this server takes writes"},
	{RUN_RECOVERING, 0, 0, RUN_UNDOING, 0, REASON_RESTARTED,
	 "the server or its worker was restarted before the seal"},

	/* on the target, after its promotion: by its agent's word only */
	{RUN_TAKING_OVER, FACT_PROMOTED, 0, RUN_FORWARD, 0, REASON_PROMOTED,
	 "the agent says that this run promoted this server"},
	{RUN_TAKING_OVER, FACT_NOT_OURS, 0, RUN_STUCK, 0, REASON_NOT_OURS,
	 "this server was promoted, and not by this run"},
	{RUN_TAKING_OVER, FACT_CANCELLED, 0, RUN_STUCK, 0, REASON_UNHEARD,
	 "an operator does not wait for the agent's word"},
	{RUN_TAKING_OVER, FACT_UNHEARD, 0, RUN_STUCK, 0, REASON_UNHEARD, "the agent has not said so for too long"},
	{RUN_TAKING_OVER, 0, 0, RUN_TAKING_OVER, WORK_WAIT, REASON_WAIT, "the agent has not said so yet"},

	/* only the agent knows how far it is; nothing is ordered and nothing is written meanwhile */
	{RUN_AWAY, FACT_AWAY | FACT_CANCELLED, 0, RUN_AWAY, WORK_GIVE_UP, REASON_CANCELLED,
	 "the agent is told to end; what it has done it undoes"},
	{RUN_AWAY, FACT_AWAY, 0, RUN_AWAY, WORK_WAIT, REASON_WAIT, "the job has not ended yet"},
	{RUN_AWAY, 0, 0, RUN_FORWARD, 0, REASON_BACK, "the job has ended, and the journal takes in what it says"},

	/* group by group */
	{RUN_FORWARD, FACT_AWAY, FACT_MOVES, RUN_AWAY, 0, REASON_AWAY, "an agent has a job in which the database may go"},
	{RUN_FORWARD, FACT_OVERRULED, 0, RUN_UNDOING, 0, REASON_OVERRULED,
	 "an operator removed the seal: the order is not given again"},
	{RUN_FORWARD, FACT_UNANSWERED, 0, RUN_ASKING, 0, REASON_UNANSWERED,
	 "the order to promote has no answer: it is revoked if it can be"},
	{RUN_FORWARD, FACT_TARGET | FACT_CANCELLED | FACT_LEFT, 0, RUN_FORWARD, WORK_GIVE_UP, REASON_CANCELLED,
	"what is done stays done; the run ends stuck, and says with what"},
	{RUN_FORWARD, FACT_MOVED | FACT_LEFT, 0, RUN_FORWARD, WORK_STEPS, REASON_WAIT,
	 "after the promotion everything goes forward"},
	{RUN_FORWARD, FACT_FAILED | FACT_ORDERED, FACT_MOVED, RUN_ASKING, 0, REASON_FAILED,
	 "a step failed, and the order to promote may be out"},
	{RUN_FORWARD, FACT_FAILED, FACT_MOVED, RUN_UNDOING, 0, REASON_FAILED,
	 "a step failed before the promotion was ordered"},
	{RUN_FORWARD, FACT_ORDERED | FACT_LEFT, FACT_MOVED, RUN_FORWARD, WORK_STEPS, REASON_WAIT,
	 "the order may be out: its answer decides"},
	{RUN_FORWARD, FACT_CANCELLED | FACT_RUNNING, FACT_MOVED | FACT_MOVES, RUN_FORWARD, WORK_GIVE_UP, REASON_CANCELLED,
	"the agents are told to end; the ends of their jobs are waited for"},
	{RUN_FORWARD, FACT_CANCELLED | FACT_LASTING | FACT_LEFT, FACT_MOVED | FACT_MOVES, RUN_FORWARD, WORK_SKIP,
	REASON_CANCELLED, "something of it cannot be undone: what was not begun is left out"},
	{RUN_FORWARD, FACT_CANCELLED, FACT_MOVED | FACT_ORDERED | FACT_LASTING, RUN_UNDOING, 0, REASON_CANCELLED,
	 "the run was cancelled"},
	{RUN_FORWARD, FACT_CANCELLED | FACT_MOVES, FACT_MOVED | FACT_ORDERED, RUN_UNDOING, 0, REASON_CANCELLED,
	 "the run was cancelled"},
	{RUN_FORWARD, FACT_LATE, FACT_MOVED | FACT_ORDERED, RUN_UNDOING, 0, REASON_LATE,
	 "the permitted blackout is over"},
	{RUN_FORWARD, FACT_LEFT, 0, RUN_FORWARD, WORK_STEPS, REASON_WAIT, "steps are left"},
	{RUN_FORWARD, FACT_MOVES, FACT_TARGET, RUN_HANDING_OVER, 0, REASON_DONE, "the rest is the target's"},
	{RUN_FORWARD, FACT_WAITING, 0, RUN_FORWARD, WORK_FETCH, REASON_WAIT, "the old primary has measured the blackout"},
	{RUN_FORWARD, FACT_BROKEN, 0, RUN_STUCK, 0, REASON_BROKEN, "clients are not served, or a node is no standby"},
	{RUN_FORWARD, 0, 0, RUN_SUCCEEDED, 0, REASON_DONE, "all is done"},

	{RUN_HANDING_OVER, FACT_WAITING, 0, RUN_HANDING_OVER, WORK_WAIT, REASON_WAIT, "the note is on its way"},
	{RUN_HANDING_OVER, 0, 0, RUN_HANDED_OVER, 0, REASON_DONE, "the run goes on at its target"},

	/* the order is out, and its result is not known: silence lifts no seal */
	{RUN_ASKING, FACT_OVERRULED, 0, RUN_UNDOING, 0, REASON_OVERRULED,
	 "an operator removed the seal: the order is not given again"},
	{RUN_ASKING, FACT_NEWER, 0, RUN_LEFT_BEHIND, 0, REASON_NEWER, "the primary has moved on without this server"},
	{RUN_ASKING, FACT_STANDBY | FACT_CANCELLED, FACT_PROMOTED | FACT_BURNED, RUN_STUCK, 0, REASON_UNHEARD,
	 "an operator does not wait for the agent's word"},
	{RUN_ASKING, FACT_PROMOTED, 0, RUN_FORWARD, 0, REASON_PROMOTED, "the target was promoted"},
	{RUN_ASKING, FACT_BURNED, 0, RUN_UNDOING, 0, REASON_BURNED, "the target was not promoted, and will not be"},
	{RUN_ASKING, FACT_FOLLOWS, 0, RUN_UNDOING, 0, REASON_FOLLOWS,
	 "the target still follows this server, after its token's time to live"},
	{RUN_ASKING, 0, 0, RUN_ASKING, WORK_WAIT, REASON_WAIT, "nobody knows yet"},

	{RUN_UNDOING, FACT_WAITING, 0, RUN_UNDOING, WORK_STEPS, REASON_WAIT, "undos are left"},
	{RUN_UNDOING, FACT_OPENED, 0, RUN_STUCK, 0, REASON_OPENED,
	 "the target was promoted, and this server takes writes"},
	{RUN_UNDOING, 0, 0, RUN_ROLLED_BACK, 0, REASON_UNDONE, "all is undone"},
	{0}
};

const Rule *
transition(RunPhase phase, uint32_t facts)
{
	for (const Rule *rule = transition_rules; rule->why; rule++)
		if (rule->phase == phase && (facts & rule->yes) == rule->yes && (facts & rule->no) == 0)
			return rule;
	return NULL;
}

uint32_t
transition_facts(RunPhase phase)
{
	uint32_t	facts = 0;

	for (const Rule *rule = transition_rules; rule->why; rule++)
		if (rule->phase == phase)
			facts |= rule->yes | rule->no;
	return facts;
}

const char *
transition_phase_name(RunPhase phase)
{
	static const char *const names[] = {
		"gathering", "recovering", "taking over", "going forward", "handing over", "asking", "undoing", "away",
		"none", "dropped", "told", "refused", "handed over", "succeeded", "rolled back", "stuck", "left behind"};

	return names[phase];
}

const char *
transition_fact_name(int bit)
{
	static const char *const names[] = {
		"moves", "target", "source", "found", "sealed", "overruled", "ordered", "unanswered", "moved", "cancelled",
		"late", "failed", "lasting", "broken", "left", "running", "waiting", "only asked", "refused", "promoted",
		"burned", "newer", "follows", "not ours", "unheard", "opened", "own", "away", "broken off", "standby"};

	return names[bit];
}

const char *
transition_work_name(RunWork work)
{
	static const char *const names[] = {"wait", "steps", "give up", "skip", "fetch"};

	return names[work];
}
