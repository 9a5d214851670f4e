/*
 * metrics.c
 *		The metrics of an agent. docs/monitoring.md has the list.
 *
 * What is not known has no sample: a lag of yesterday, or a 0, would be taken for the present one.
 */
#include <stdio.h>
#include <string.h>

#include "agent/core/tally.h"
#include "agent/monitor/metrics.h"
#include "common/names.h"

#define LABELS(...) (const char *const[]) {__VA_ARGS__, NULL}

/* ---- small things ---- */

static const char *
text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* A number, or a boolean as 0 and 1. */
static bool
number_of(const json_t *object, const char *key, double *value)
{
	const json_t *found = json_object_get(object, key);

	if (json_is_boolean(found))
		*value = json_is_true(found);
	else if (json_is_number(found))
		*value = json_number_value(found);
	else
		return false;
	return true;
}

static void
one(MetricsText *to, const char *name, const char *unit, const char *help, double value)
{
	metric_family(to, METRIC_GAUGE, name, unit, help);
	metric_sample(to, METRIC_GAUGE, name, NULL, value);
}

static void
maybe(MetricsText *to, const char *name, const char *unit, const char *help, const json_t *object, const char *key,
	  double scale)
{
	double		value;

	if (number_of(object, key, &value))
		one(to, name, unit, help, value * scale);
}

/* A sample for each thing that it could be, 1 for the one that it is; "" ends the list. */
static void
states(MetricsText *to, const char *name, const char *help, const char *const *names, const char *present)
{
	metric_family(to, METRIC_GAUGE, name, NULL, help);
	for (; *names; names++)
		metric_sample(to, METRIC_GAUGE, name, LABELS("state", *names), present && strcmp(present, *names) == 0);
}

/* ---- of the agent ---- */

static void
counted(MetricsText *to, const char *name, const char *help, const char *label, const char *const *values,
		const long *numbers)
{
	metric_family(to, METRIC_COUNTER, name, NULL, help);
	for (int i = 0; values[i]; i++)
		metric_sample(to, METRIC_COUNTER, name, LABELS(label, values[i]), numbers[i]);
}

static void
add_agent(MetricsText *to, const MetricsInput *in)
{
	metric_family(to, METRIC_GAUGE, "pingpong_agent_info", NULL, "The agent and the node that it belongs to.");
	metric_sample(to, METRIC_GAUGE, "pingpong_agent_info",
				  LABELS("node", in->node, "version", PINGPONG_AGENT_VERSION), 1);
	counted(to, "pingpong_agent_requests", "Requests that the agent has answered.", "answer",
			(const char *const[]) {"good", "refused", "failed", NULL},
			(long[]) {tally_get(TALLY_ANSWERED), tally_get(TALLY_REFUSED), tally_get(TALLY_FAILED)});
	counted(to, "pingpong_agent_jobs", "Jobs that have ended on this host.", "state",
			(const char *const[]) {"succeeded", "failed", NULL},
			(long[]) {tally_get(TALLY_JOB_SUCCEEDED), tally_get(TALLY_JOB_FAILED)});
	counted(to, "pingpong_snapshot_reads", "Looks at the server for these metrics.", "result",
			(const char *const[]) {"succeeded", "failed", NULL}, (long[]) {in->news.reads, in->news.failures});
	one(to, "process_start_time_seconds", "seconds", "Start of the agent, since 1970.", in->started_ms / 1000);
	one(to, "process_resident_memory_bytes", "bytes", "Memory of the agent.", in->memory_bytes);
	metric_family(to, METRIC_COUNTER, "process_cpu_seconds", "seconds", "Processor time of the agent.");
	metric_sample(to, METRIC_COUNTER, "process_cpu_seconds", NULL, in->cpu_seconds);
}

static void
add_node_state(MetricsText *to, const MetricsInput *in)
{
	static const char *const roles[] = {"unknown", "none", "down", "primary", "sealed", "standby", "guarded", NULL};
	NodeRole	role = in->state.role;

	one(to, "pingpong_up", NULL, "Whether the server of this node answers.",
		role == ROLE_PRIMARY || role == ROLE_SEALED || role == ROLE_STANDBY || role == ROLE_GUARDED);
	states(to, "pingpong_role", "What the server of this node is.", roles, nodestate_role_name(role));
	if (in->state.seen_ms > 0)
		one(to, "pingpong_role_seen_timestamp_seconds", "seconds", "When the agent looked last, since 1970.",
			in->state.seen_ms / 1000);
	if (in->picture)
	{
		one(to, "pingpong_snapshot_timestamp_seconds", "seconds",
			"When the server was last read for these metrics, since 1970.", in->picture->seen_ms / 1000);
		one(to, "pingpong_snapshot_duration_seconds", "seconds", "How long that took.", in->picture->took_ms / 1000);
	}
	one(to, "pingpong_snapshot_fresh", NULL,
		"Whether the metrics of the server are of now; if not, there are none.", in->news.fresh);
}

/* ---- of the server ---- */

/* A number of each element of a list. */
typedef struct ListMetric
{
	const char *list;
	const char *id;				/* the field that names the element */
	const char *label;
	const char *key;
	double		scale;
	const char *name;
	const char *unit;
	const char *help;
} ListMetric;

static const ListMetric list_metrics[] = {
	{"standbys", "name", "standby", "behind_bytes", 1, "pingpong_standby_replay_lag_bytes", "bytes",
	"WAL that the standby has not replayed."},
	{"standbys", "name", "standby", "replay_lag_ms", 1e-3, "pingpong_standby_replay_lag_seconds", "seconds",
	"Time until the standby has replayed what is written now, as pg_stat_replication has it."},
	{"slots", "name", "slot", "active", 1, "pingpong_slot_active", NULL, "Whether the slot is in use."},
	{"slots", "name", "slot", "retained_bytes", 1, "pingpong_slot_retained_bytes", "bytes",
	"WAL that the slot keeps."},
	{"slots", "name", "slot", "safe_bytes", 1, "pingpong_slot_safe_bytes", "bytes", "WAL until the slot is lost."},
	{"slots", "name", "slot", "growth_bytes_per_s", 1, "pingpong_slot_growth_bytes_per_second", NULL,
	"How fast the WAL grows that the slot keeps."},
	{"slots", "name", "slot", "limit_s", 1, "pingpong_slot_limit_seconds", "seconds",
	"Time until the slot reaches max_slot_wal_keep_size at this rate."},
	{"slots", "name", "slot", "disk_full_s", 1, "pingpong_slot_disk_full_seconds", "seconds",
	"Time until the disk of pg_wal is full at this rate."},
	{"readiness", "node", "node", "ready", 1, "pingpong_ready", NULL,
	"Whether the primary could move to the node now."},
	{"readiness", "node", "node", "blackout_ms", 1e-3, "pingpong_expected_blackout_seconds", "seconds",
	"How long clients could not write if it did."},
	{NULL}
};

static void
add_list(MetricsText *to, const json_t *list, const ListMetric *metric)
{
	const json_t *row;
	size_t		i;
	double		value;

	metric_family(to, METRIC_GAUGE, metric->name, metric->unit, metric->help);
	json_array_foreach((json_t *) list, i, row)
		if (text_of(row, metric->id) && number_of(row, metric->key, &value))
			metric_sample(to, METRIC_GAUGE, metric->name, LABELS(metric->label, text_of(row, metric->id)),
						  value * metric->scale);
}

static bool
text_is(const json_t *row, const char *key, const char *value)
{
	const char *has = text_of(row, key);

	return has && strcmp(has, value) == 0;
}

static bool
is_streaming(const json_t *standby)
{
	return text_is(standby, "state", "streaming");
}

static bool
is_away(const json_t *standby)
{
	return json_is_number(json_object_get(standby, "away_since_ms"));
}

static bool
is_lost(const json_t *slot)
{
	return text_is(slot, "wal_status", "lost");
}

/* Whether something is true of each element. */
static void
add_whether(MetricsText *to, const json_t *list, const char *name, const char *help, const char *label,
			bool (*is) (const json_t *row))
{
	const json_t *row;
	size_t		i;

	metric_family(to, METRIC_GAUGE, name, NULL, help);
	json_array_foreach((json_t *) list, i, row)
		if (text_of(row, "name"))
			metric_sample(to, METRIC_GAUGE, name, LABELS(label, text_of(row, "name")), is(row));
}

/* Only a primary knows who should stream. */
static void
add_standbys(MetricsText *to, const json_t *snapshot)
{
	const json_t *standbys = json_object_get(snapshot, "standbys");
	const json_t *in_recovery = json_object_get(json_object_get(snapshot, "server"), "in_recovery");

	if (!json_is_array(standbys) || !json_is_false(in_recovery))
		return;
	add_whether(to, standbys, "pingpong_standby_streaming", "Whether the standby streams from this primary.",
				"standby", is_streaming);
	add_whether(to, standbys, "pingpong_standby_away", "Whether the standby is let go on purpose.", "standby",
				is_away);
}

static void
add_routes(MetricsText *to, const json_t *routes)
{
	const json_t *row;
	size_t		i;

	metric_family(to, METRIC_GAUGE, "pingpong_route_info", NULL, "The node that a route points to; \"\": none.");
	json_array_foreach((json_t *) routes, i, row)
		metric_sample(to, METRIC_GAUGE, "pingpong_route_info",
					  LABELS("route", text_of(row, "name"), "kind", text_of(row, "kind"), "node",
							 text_of(row, "node")), 1);
}

/* Of the latest run that moved the primary, or tried: a rebuild has no blackout. */
static void
add_runs(MetricsText *to, const json_t *snapshot)
{
	const json_t *row;
	const json_t *present = json_object_get(snapshot, "run");
	const char *state = text_of(present, "state");
	size_t		i;
	double		blackout;

	one(to, "pingpong_run_active", NULL, "Whether a run is under way.", state && strcmp(state, "running") == 0);
	one(to, "pingpong_run_stuck", NULL, "Whether the last run needs a person.", state && strcmp(state, "stuck") == 0);
	json_array_foreach(json_object_get(snapshot, "runs"), i, row)
	{
		if (!number_of(row, "blackout_ms", &blackout))
			continue;
		one(to, "pingpong_last_blackout_seconds", "seconds",
			"How long clients could not write in the last run that has ended a blackout.", blackout / 1000);
		maybe(to, "pingpong_last_blackout_timestamp_seconds", "seconds", "When that run began, since 1970.", row,
			  "started_ms", 1e-3);
		return;
	}
}

static void
add_alerts(MetricsText *to, const json_t *alerts)
{
	const json_t *row;
	size_t		i;

	if (!json_is_array(alerts))
		return;
	metric_family(to, METRIC_GAUGE, "pingpong_alert", NULL, "An alert of pingpong.alerts.");
	json_array_foreach((json_t *) alerts, i, row)
		metric_sample(to, METRIC_GAUGE, "pingpong_alert",
					  LABELS("alert", text_of(row, "rule"), "severity", text_of(row, "severity"), "subject",
							 text_of(row, "subject")), 1);
}

static void
add_server(MetricsText *to, const json_t *snapshot)
{
	static const char *const gates[] = {"open", "hold", "read_only", "guarded", "sealing", "sealed", NULL};
	const json_t *server = json_object_get(snapshot, "server");
	const json_t *gate = json_object_get(snapshot, "gate");

	maybe(to, "pingpong_timeline", NULL, "The server's timeline, of its last checkpoint.", server, "timeline", 1);
	maybe(to, "pingpong_wal_position_bytes", "bytes", "The end of the server's WAL: written, or received.", server,
		  "lsn_bytes", 1);
	maybe(to, "pingpong_not_replayed_bytes", "bytes", "WAL that this standby has and has not replayed.", server,
		  "not_replayed_bytes", 1);
	maybe(to, "pingpong_worker_up", NULL, "Whether the background worker runs.", server, "worker", 1);
	if (text_of(json_object_get(snapshot, "primary"), "name"))
	{
		metric_family(to, METRIC_GAUGE, "pingpong_primary_info", NULL, "The primary, as this server knows it.");
		metric_sample(to, METRIC_GAUGE, "pingpong_primary_info",
					  LABELS("node", text_of(json_object_get(snapshot, "primary"), "name")), 1);
	}
	if (text_of(gate, "state"))
		states(to, "pingpong_gate", "The write gate.", gates, text_of(gate, "state"));
	maybe(to, "pingpong_gate_held_statements", NULL, "Statements that wait at the write gate.", gate, "held", 1);
	add_standbys(to, snapshot);
	for (const ListMetric *metric = list_metrics; metric->list; metric++)
		if (json_is_array(json_object_get(snapshot, metric->list)))
			add_list(to, json_object_get(snapshot, metric->list), metric);
	if (json_is_array(json_object_get(snapshot, "slots")))
		add_whether(to, json_object_get(snapshot, "slots"), "pingpong_slot_lost",
					"Whether WAL that the slot needs is gone.", "slot", is_lost);
	if (json_is_array(json_object_get(snapshot, "routes")))
		add_routes(to, json_object_get(snapshot, "routes"));
	maybe(to, "pingpong_copies", NULL, "How many nodes could take over now.",
		  json_array_get(json_object_get(snapshot, "redundancy"), 0), "copies", 1);
	add_runs(to, snapshot);
	add_alerts(to, json_object_get(snapshot, "alerts"));
}

char *
metrics_text(const MetricsInput *input, bool openmetrics)
{
	MetricsText to = {.open = openmetrics};

	add_agent(&to, input);
	add_node_state(&to, input);
	if (input->picture && input->news.fresh)
		add_server(&to, input->picture->json);
	return metric_end(&to);
}
