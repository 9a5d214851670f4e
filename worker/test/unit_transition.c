/*
 * unit_transition.c - tests the table of transitions for every combination of facts that can occur: there is a rule
 * for each, none breaks a promise, and no rule is without use. The table is also compared with transitions.out, which
 * reviewers read. After a change that is meant, agent/test/unit writes the new text to transitions.new.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/test/unit.h"
#include "worker/transition.h"

#define EXPECTED	"worker/test/transitions.out"
#define WRITTEN		"worker/test/transitions.new"
#define RULES_MAX	100

static int	used[RULES_MAX];	/* combinations that a rule decides */

static bool
has(uint32_t facts, uint32_t all)
{
	return (facts & all) == all;
}

/* `this` cannot be without `that`. */
static bool
implies(uint32_t facts, uint32_t this, uint32_t that)
{
	return !has(facts, this) || has(facts, that);
}

/* Can all of that be seen at the same time? */
static bool
can_occur(RunPhase phase, uint32_t facts)
{
	if (phase == RUN_RECOVERING)
		return implies(facts, FACT_TARGET, FACT_FOUND | FACT_MOVES) && implies(facts, FACT_MOVES, FACT_FOUND) &&
			implies(facts, FACT_SEALED, FACT_MOVES) && implies(facts, FACT_OPENED, FACT_MOVES) &&
			implies(facts, FACT_OWN, FACT_FOUND) && implies(facts, FACT_AWAY, FACT_FOUND) &&
			implies(facts, FACT_BROKEN_OFF, FACT_FOUND) && !has(facts, FACT_BROKEN_OFF | FACT_MOVES) &&
			!has(facts, FACT_AWAY | FACT_MOVES) && !has(facts, FACT_OWN | FACT_MOVES) &&
			!has(facts, FACT_TARGET | FACT_SOURCE) && implies(facts, FACT_ORDERED, FACT_STANDBY) &&
		/* a failover that was begun here, on a standby: it seals nothing, and is no target yet */
			implies(facts, FACT_STANDBY, FACT_FOUND | FACT_MOVES) &&
			!(has(facts, FACT_STANDBY) && (facts & (FACT_TARGET | FACT_SEALED | FACT_OPENED | FACT_SOURCE)));
	if (phase == RUN_FORWARD)
		return implies(facts, FACT_TARGET, FACT_MOVES | FACT_MOVED) && implies(facts, FACT_MOVED, FACT_MOVES) &&
			implies(facts, FACT_ORDERED, FACT_MOVES) &&
			implies(facts, FACT_UNANSWERED, FACT_ORDERED | FACT_LEFT | FACT_RUNNING) &&
			!has(facts, FACT_UNANSWERED | FACT_MOVED) && implies(facts, FACT_RUNNING, FACT_LEFT) &&
			implies(facts, FACT_OVERRULED, FACT_MOVES) && !has(facts, FACT_OVERRULED | FACT_TARGET) &&
			implies(facts, FACT_AWAY, FACT_LEFT | FACT_RUNNING) && !has(facts, FACT_AWAY | FACT_MOVES) &&
			implies(facts, FACT_LATE, FACT_MOVES) && implies(facts, FACT_WAITING, FACT_TARGET) &&
		/* the promotion is a step of the old primary's */
			(has(facts, FACT_LEFT) || !has(facts, FACT_MOVES) || has(facts, FACT_MOVED) || has(facts, FACT_FAILED));
	return true;
}

/* What the table must never say. NULL: it keeps its promises. */
static const char *
broken_promise(RunPhase phase, uint32_t facts, const Rule *rule)
{
	bool		undoes = rule->next == RUN_UNDOING || rule->next == RUN_ROLLED_BACK;

	if (phase == RUN_FORWARD && undoes && has(facts, FACT_ORDERED) && !has(facts, FACT_OVERRULED))
		return "undone, though the order may be out";
	if (phase == RUN_FORWARD && undoes && has(facts, FACT_MOVED) && !has(facts, FACT_OVERRULED))
		return "undone after the promotion";
	if (phase == RUN_ASKING && undoes && !(facts & (FACT_OVERRULED | FACT_BURNED | FACT_FOLLOWS)))
		return "a seal lifted by silence";
	if (phase == RUN_ASKING && undoes && has(facts, FACT_PROMOTED) && !has(facts, FACT_OVERRULED))
		return "undone beside a promoted target";
	if (phase == RUN_RECOVERING && undoes && has(facts, FACT_STANDBY | FACT_ORDERED))
		return "a failover undone, though its promotion may have been ordered";
	if (phase == RUN_RECOVERING && undoes && has(facts, FACT_SEALED))
		return "a sealed server undone without a word of the agent";
	if (phase == RUN_TAKING_OVER && rule->next == RUN_FORWARD && !has(facts, FACT_PROMOTED))
		return "a run taken over without the agent's word";
	if (rule->next == RUN_SUCCEEDED && (facts & (FACT_BROKEN | FACT_LEFT)))
		return "success, though something is broken or left";
	if (phase == RUN_UNDOING && rule->next == RUN_ROLLED_BACK && (facts & (FACT_WAITING | FACT_OPENED)))
		return "rolled back, though it is not";
	if (phase == RUN_AWAY && has(facts, FACT_AWAY) && (rule->next != RUN_AWAY || rule->work == WORK_STEPS))
		return "steps while the database may be gone";
	if (rule->next == phase && rule->work == WORK_STEPS && has(facts, FACT_OVERRULED))
		return "steps after a seal that is gone";
	return NULL;
}

/* All subsets of the facts that the phase looks at; the number of those that can occur. */
static int
try_phase(RunPhase phase)
{
	uint32_t	mask = transition_facts(phase);
	uint32_t	facts = 0;
	int			tried = 0;

	do
	{
		const Rule *rule = can_occur(phase, facts) ? transition(phase, facts) : NULL;
		const char *broken;

		if (rule)
		{
			tried++;
			used[rule - transition_rules]++;
			broken = broken_promise(phase, facts, rule);
			if (broken)
				ok(false, broken);
		}
		else if (can_occur(phase, facts))
			ok(false, "a combination without a rule");
		facts = (facts - mask) & mask;
	} while (facts != 0);
	return tried;
}

static void
print_facts(FILE *out, uint32_t yes, uint32_t no)
{
	const char *comma = "";

	for (int bit = 0; bit < FACTS; bit++)
		if ((yes | no) & (1u << bit))
		{
			fprintf(out, "%s%s%s", comma, no & (1u << bit) ? "not " : "", transition_fact_name(bit));
			comma = ", ";
		}
	if (comma[0] == '\0')
		fprintf(out, "else");
}

static void
print_table(FILE *out, const int *tried)
{
	for (int phase = 0; phase < RUN_ENDS; phase++)
	{
		fprintf(out, "%s (%d combinations)\n", transition_phase_name(phase), tried[phase]);
		for (const Rule *rule = transition_rules; rule->why; rule++)
		{
			if ((int) rule->phase != phase)
				continue;
			fprintf(out, "  ");
			print_facts(out, rule->yes, rule->no);
			if (rule->next == rule->phase)
				fprintf(out, "\n    stays, %s", transition_work_name(rule->work));
			else
				fprintf(out, "\n    -> %s", transition_phase_name(rule->next));
			fprintf(out, ": %s (%d)\n", rule->why, used[rule - transition_rules]);
		}
	}
}

static bool
same_files(const char *one, const char *other)
{
	FILE	   *a = fopen(one, "r");
	FILE	   *b = fopen(other, "r");
	int			c = 0;
	bool		same = a && b;

	while (same && c != EOF)
		same = (c = fgetc(a)) == fgetc(b);
	if (a)
		fclose(a);
	if (b)
		fclose(b);
	return same;
}

void
test_transitions(void)
{
	int			tried[RUN_ENDS];
	int			total = 0;
	int			idle = 0;
	FILE	   *out = fopen(WRITTEN, "w");

	for (int phase = 0; phase < RUN_ENDS; phase++)
		total += tried[phase] = try_phase(phase);
	ok(total > 1000, "every combination of facts that can occur has a rule, and none breaks a promise");
	for (const Rule *rule = transition_rules; rule->why; rule++)
		idle += used[rule - transition_rules] == 0;
	ok(idle == 0, "no rule of the transitions is idle");
	if (out == NULL)
	{
		ok(false, "the table of transitions cannot be written");
		return;
	}
	print_table(out, tried);
	fprintf(out, "%d combinations\n", total);
	fclose(out);
	ok(same_files(EXPECTED, WRITTEN), "the table of transitions is the expected one");
	if (same_files(EXPECTED, WRITTEN))
		remove(WRITTEN);
}
