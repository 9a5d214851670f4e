/*
 * unit_metrics.c
 *		Tests of the text of metrics: how it is written, and that what is not known is not there.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/monitor/metrics.h"
#include "agent/test/unit.h"

static char *
sample(double value, const char *label)
{
	MetricsText to = {.open = false};
	const char *const labels[] = {"a", label, NULL};

	metric_sample(&to, METRIC_GAUGE, "m", labels, value);
	return metric_end(&to);
}

static char *
family(bool open, MetricType type, const char *name, const char *unit)
{
	MetricsText to = {.open = open};

	metric_family(&to, type, name, unit, "What.");
	metric_sample(&to, type, name, NULL, 1);
	return metric_end(&to);
}

static void
test_writing(void)
{
	is(sample(0.5, "x"), "m{a=\"x\"} 0.5\n", "metrics: a number");
	is(sample(9007199254740991.0, "x"), "m{a=\"x\"} 9007199254740991\n", "metrics: a position keeps its digits");
	is(sample(NAN, "x"), "m{a=\"x\"} NaN\n", "metrics: no number");
	is(sample(-INFINITY, "x"), "m{a=\"x\"} -Inf\n", "metrics: infinity");
	is(sample(1, "a\"b\\c\nd"), "m{a=\"a\\\"b\\\\c\\nd\"} 1\n", "metrics: a label cannot end its quotes");
	is(sample(1, NULL), "m{a=\"\"} 1\n", "metrics: a label without a value");
	is(family(true, METRIC_COUNTER, "m", NULL), "# HELP m What.\n# TYPE m counter\nm_total 1\n# EOF\n",
	   "metrics: a counter in OpenMetrics");
	is(family(false, METRIC_COUNTER, "m", NULL), "# HELP m_total What.\n# TYPE m_total counter\nm_total 1\n",
	   "metrics: and in the older format");
	is(family(true, METRIC_GAUGE, "m_bytes", "bytes"),
	   "# HELP m_bytes What.\n# TYPE m_bytes gauge\n# UNIT m_bytes bytes\nm_bytes 1\n# EOF\n", "metrics: a unit");
}

static bool
has(const char *snapshot, bool fresh, const char *line)
{
	Picture		picture = {.json = json_loads(snapshot, 0, NULL), .seen_ms = 1000};
	MetricsInput input = {.node = "chicago", .state = {.role = ROLE_PRIMARY}, .picture = &picture,
	.news = {.fresh = fresh}};
	char	   *text = metrics_text(&input, true);
	bool		found = strstr(text, line) != NULL;

	free(text);
	json_decref(picture.json);
	return found;
}

static void
test_server(void)
{
	const char *lag = "{\"server\":{\"in_recovery\":false},"
		"\"standbys\":[{\"name\":\"dallas\",\"state\":\"streaming\",\"behind_bytes\":1024,"
		"\"replay_lag_ms\":null},{\"name\":\"austin\",\"state\":null,\"behind_bytes\":null}]}";
	const char *slot = "{\"slots\":[{\"name\":\"s\",\"active\":true,\"wal_status\":\"lost\",\"limit_s\":12.5}]}";

	ok(has(lag, true, "\npingpong_standby_replay_lag_bytes{standby=\"dallas\"} 1024\n"), "metrics: a lag");
	ok(!has(lag, true, "\npingpong_standby_replay_lag_bytes{standby=\"austin\"}"), "metrics: an unknown lag is no 0");
	ok(!has(lag, true, "\npingpong_standby_replay_lag_seconds{"), "metrics: nor is null");
	ok(has(lag, true, "\npingpong_standby_streaming{standby=\"austin\"} 0\n"), "metrics: who does not stream");
	ok(!has(lag, false, "dallas"), "metrics: an old snapshot is not shown");
	ok(has(lag, false, "\npingpong_snapshot_timestamp_seconds 1\n"), "metrics: but of when it is");
	ok(has(slot, true, "\npingpong_slot_active{slot=\"s\"} 1\n"), "metrics: a boolean");
	ok(has(slot, true, "\npingpong_slot_limit_seconds{slot=\"s\"} 12.5\n"), "metrics: a time that is left");
	ok(has(slot, true, "\npingpong_slot_lost{slot=\"s\"} 1\n"), "metrics: a slot that is lost");
	ok(has("{\"readiness\":[{\"node\":\"dallas\",\"ready\":null},{\"node\":\"austin\",\"ready\":false}]}", true,
		   "gauge\npingpong_ready{node=\"austin\"} 0\n"), "metrics: not ready; and what is not known is not said");
	ok(has("{\"alerts\":[{\"severity\":\"critical\",\"rule\":\"lag\",\"subject\":\"dallas\"}]}", true,
		   "\npingpong_alert{alert=\"lag\",severity=\"critical\",subject=\"dallas\"} 1\n"), "metrics: an alert");
	ok(has("{\"standbys\":{\"error\":\"no\"},\"slots\":null}", true, "\npingpong_role{state=\"primary\"} 1\n"),
	   "metrics: a part that could not be read stops none of the others");
	ok(has("{\"runs\":[{\"blackout_ms\":null},{\"blackout_ms\":250,\"started_ms\":2000}]}", true,
		   "\npingpong_last_blackout_seconds 0.25\n"), "metrics: the last blackout, not the last run");
}

void
test_metrics(void)
{
	test_writing();
	test_server();
}
