/*
 * unit_status.c
 *		Tests of what pingpong-agent status says of jobs, and how it is drawn.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/status/draw.h"
#include "agent/status/rows.h"
#include "agent/test/unit.h"

static char *
duration(double ms)
{
	char		text[32];

	draw_duration(text, sizeof(text), ms);
	return xstrdup(text);
}

static void
test_durations(void)
{
	is(duration(-1), "", "a duration: not known");
	is(duration(0.3), "0 ms", "a duration: next to nothing");
	is(duration(34.2), "34 ms", "a duration: milliseconds");
	is(duration(4709.7), "4.7 s", "a duration: seconds");
	is(duration(190400), "3 min 10 s", "a duration: minutes");
	is(duration(7500000), "2 h 05 min", "a duration: hours");
}

static char *
cut(const char *text, int width)
{
	Text		to = {0};

	text_add(&to, "", 0);
	draw_cut(&to, text, width);
	return to.data;
}

static char *
plain(const char *text)
{
	Text		to = {0};

	text_add(&to, "", 0);
	draw_plain(&to, text);
	return to.data;
}

static void
test_text(void)
{
	is(cut("abcdef\nab\n", 3), "abc\nab\n", "each line is cut");
	is(cut("gr\303\266\303\237er", 4), "gr\303\266\303\237", "never in the middle of a character");
	is(plain("a\033[2Jb\nc\177"), "a [2Jb c ", "nothing moves the cursor of a terminal");
	is(plain("a\302\2332Jb \303\266"), "a 2Jb \303\266", "nor do the control characters of Latin-1; letters stay");
	is(plain("a\302"), "a\302", "a broken end is the end");
}

/* Before: a whole upgrade. Now: one whose second action runs, and one that has not begun. */
static const char *const example =
	"[{'run':'a','number':1,'step':'9.x.chicago','received_ms':100,'elapsed_ms':50,'clock_ms':5000,"
	"'state':'succeeded','actions':[{'step':'9.x.chicago','action':'up','state':'succeeded','took_ms':4700},"
	"{'step':'9.y.chicago','action':'down','state':'failed','took_ms':1,'error':{'message':'no'}}]},"
	"{'run':'facts','step':'f1','received_ms':150,'state':'succeeded','actions':[{'action':'facts'}]},"
	"{'run':'b','number':2,'step':'by-hand','received_ms':200,'elapsed_ms':800,'clock_ms':5000,"
	"'state':'running','progress':{'text':'copying','percent':42},'actions':["
	"{'action':'hook','state':'succeeded','took_ms':34},"
	"{'step':'12.up.dallas:2','action':'up','state':'running','began_ms':4000},"
	"{'step':'13.down.dallas','action':'down','state':'pending'}]},"
	"{'run':'b','number':2,'step':'verdict:1:2','received_ms':300,'state':'failed','actions':[{'action':'note'}]}]";

/* JSON with single quotes. */
static json_t *
jobs_of(const char *quoted)
{
	char	   *text = xstrdup(quoted);
	json_t	   *jobs;

	for (char *p = text; *p; p++)
		if (*p == '\'')
			*p = '"';
	jobs = json_loads(text, 0, NULL);
	free(text);
	if (!jobs)
		abort();
	return jobs;
}

static json_t *
example_jobs(void)
{
	return jobs_of(example);
}

static char *
pick(json_t *jobs, const char *wanted)
{
	char		error[512] = "";
	const char *run = rows_pick(jobs, wanted, error, sizeof(error));

	return xstrdup(run ? run : error);
}

static void
test_pick(void)
{
	json_t	   *jobs = example_jobs();
	json_t	   *none = json_array();

	is(pick(jobs, NULL), "b", "a run: the latest; questions are none");
	is(pick(jobs, "1"), "a", "a run: by its number");
	is(pick(jobs, "a"), "a", "a run: by its key");
	is(pick(jobs, "facts"), "run \"facts\" has ordered nothing here; the latest one that has is 2 (b)",
	   "no run: questions");
	is(pick(jobs, "02"), "run \"02\" has ordered nothing here; the latest one that has is 2 (b)",
	   "no run: not known");
	is(pick(none, NULL), "no run has ordered anything here", "no run: none at all");
	json_object_set_new(json_array_get(jobs, 0), "number", json_integer(2));
	is(pick(jobs, "2"), "more than one run 2 has ordered something here: give its key, such as a or b",
	   "no run: two of that number");
	json_decref(none);
	json_decref(jobs);
}

static json_t *
of_run(json_t *all, const char *run)
{
	json_t	   *jobs = json_array();
	json_t	   *job;
	size_t		i;

	json_array_foreach(all, i, job)
		if (strcmp(json_string_value(json_object_get(job, "run")), run) == 0)
			json_array_append(jobs, job);
	return jobs;
}

static void
test_rows(bool old)
{
	json_t	   *all = example_jobs();
	json_t	   *jobs = of_run(all, "b");
	RowsEnd		end = rows_end(jobs);
	int			n;
	Row		   *rows = rows_make(jobs, all, old, &n);

	ok(n == 3 && rows_number(jobs) == 2, "rows: one an action, and none of a question");
	ok(strcmp(rows[0].step, "hook") == 0 && strcmp(rows[0].node, "by-hand") == 0 && rows[0].ms == 34 &&
	   rows[0].last_ms < 0, "a row without the key of a step has action and job; it never ran before");
	ok(strcmp(rows[1].step, "up") == 0 && strcmp(rows[1].node, "dallas") == 0 && rows[1].last_ms == 4700,
	   "a row: by the key of its step, and how long it took the last time");
	ok(rows[2].last_ms < 0, "a row: what failed the last time is no estimate");
	if (old)
		ok(strcmp(rows[1].state, "was running") == 0 && rows[1].ms < 0 && !*rows[1].progress &&
		   rows[1].percent < 0, "a row of the journal says nothing of now");
	else
		ok(strcmp(rows[1].state, "running") == 0 && rows[1].ms == 1000 && rows[1].percent == 42 &&
		   strcmp(rows[1].progress, "copying") == 0, "a row that runs: so far, and what it does");
	ok(end.jobs == 1 && end.running == 1 && end.failed == 0, "the end: it still runs");
	free(rows);
	json_decref(jobs);
	json_decref(all);
}

/* The rows of one job, as "STEP NODE STATE, ...". */
static char *
rows_of(const char *quoted, RowsEnd *end)
{
	json_t	   *jobs = jobs_of(quoted);
	Text		text = {0};
	int			n;
	Row		   *rows = rows_make(jobs, jobs, false, &n);

	*end = rows_end(jobs);
	text_add(&text, "", 0);
	for (int i = 0; i < n; i++)
		text_addf(&text, "%s%s %s %s", i > 0 ? ", " : "", rows[i].step, rows[i].node, rows[i].state);
	free(rows);
	json_decref(jobs);
	return text.data;
}

static void
test_jobs(void)
{
	RowsEnd		end;

	is(rows_of("[{'run':'a','step':'1.up.dallas','state':'running','actions':[{'action':'up','state':'succeeded'},"
			   "{'step':'2.down.dallas','action':'down','state':'pending'}]}]", &end),
	   "up dallas succeeded, down dallas pending", "a job between two actions");
	is(rows_of("[{'run':'a','step':'1.up.dallas','state':'running','actions':[{'action':'up','state':'failed',"
			   "'error':{'message':'no'}}]}]", &end),
	   "up dallas failed, (going back) dallas running", "a job that goes back says so");
	ok(end.running == 1 && end.failed == 0, "and has not ended");
	is(rows_of("[{'run':'a','step':'1.up.dallas','state':'running','cancel':true,'actions':[{'action':'up',"
			   "'state':'succeeded'},{'step':'2.down.dallas','action':'down','state':'pending'}]}]", &end),
	   "up dallas succeeded, down dallas pending, (going back) dallas running", "and one that was cancelled");
	is(rows_of("[{'run':'a','step':'1.up.dallas','state':'running','actions':[{'action':'up','state':'pending'}]}]",
			   &end),
	   "up dallas pending, (job) dallas running", "a job that waits for those that it undoes");
	is(rows_of("[{'run':'a','step':'1.up.dallas','state':'failed','error':{'message':'disk'},'actions':["
			   "{'action':'up','state':'succeeded'}]}]", &end),
	   "up dallas succeeded, (job) dallas failed", "an error of the job as a whole");
	ok(end.failed == 1, "and has failed");
	is(rows_of("[{'run':'a','step':'1.up.dallas','state':'cancelled','error':{'message':'undone'},'actions':[]}]",
			   &end), "", "a job that never came is no step");
	ok(end.jobs == 0, "nor is it counted");
}

static void
test_table(void)
{
	json_t	   *all = example_jobs();
	json_t	   *jobs = of_run(all, "b");
	Text		text = {0};
	int			n;
	Row		   *rows = rows_make(jobs, all, false, &n);

	draw_rows(&text, rows, n, 0);
	is(text.data,
	   "  step  node     state         time  last time  now\n"
	   "  hook  by-hand  succeeded    34 ms\n"
	   "  up    dallas   running      1.0 s      4.7 s  42 %  copying\n"
	   "  down  dallas   pending\n", "a table");
	memset(&text, 0, sizeof(text));
	draw_rows(&text, rows, n, 2);
	is(text.data,
	   "  step  node     state         time  last time  now\n"
	   "  (2 more before)\n"
	   "  down  dallas   pending\n", "a table for which there is no room has its end");
	free(rows);
	json_decref(jobs);
	json_decref(all);
}

void
test_status(void)
{
	test_durations();
	test_text();
	test_pick();
	test_rows(false);
	test_rows(true);
	test_jobs();
	test_table();
}
