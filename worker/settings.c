/*
 * settings.c - settings of the module that its worker reads, and the name of this server.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "common/guard.h"
#include "common/protocol.h"
#include "pg_compat.h"
#include "worker/settings.h"

char	   *worker_database;
char	   *worker_node_name;
static char *worker_version;
static int	worker_protocol;
char	   *worker_token_file;
char	   *worker_ca_file;
char	   *worker_cert_file;
char	   *worker_key_file;
char	   *worker_pause_after;
int			worker_sample_interval;
int			worker_agent_interval;
int			worker_history_interval;
static int	worker_history_retention;
int			worker_readiness_interval;
int			worker_alert_interval;
int			worker_route_interval;
int			worker_connect_timeout;
int			worker_rejoin_timeout;
int			worker_guard_timeout;
int			worker_guard_unanswered;

static const struct config_enum_entry unanswered_options[] = {
	{"closed", GUARD_CLOSED, false},
	{"majority", GUARD_MAJORITY, false},
	{"open", GUARD_OPENS, false},
	{NULL, 0, false}
};

/* The name under which this node is registered. */
const char *
worker_self(void)
{
	const char *cluster_name;

	if (worker_node_name && worker_node_name[0])
		return worker_node_name;
	cluster_name = GetConfigOption("cluster_name", true, false);
	return cluster_name ? cluster_name : "";
}

uint32
worker_wait_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = compat_wait_event("PingpongWorkerMain");
	return event;
}

static void
define_string(const char *name, const char *what, char **variable, const char *otherwise, GucContext context,
			  int flags)
{
	DefineCustomStringVariable(name, what, NULL, variable, otherwise, context, flags, NULL, NULL, NULL);
}

static void
define_ms(const char *name, const char *what, int *variable, int otherwise, int least, int most)
{
	DefineCustomIntVariable(name, what, NULL, variable, otherwise, least, most, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL,
							NULL);
}

void
settings_define(void)
{
	define_string("pingpong.database", "Database in which the extension pg_pingpong lives.",
				  &worker_database, "postgres", PGC_POSTMASTER, 0);
	define_string("pingpong.version", "Version of the module pg_pingpong.",
				  &worker_version, PINGPONG_VERSION, PGC_INTERNAL, GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE);
	DefineCustomIntVariable("pingpong.protocol", "Version of the protocol that the worker and agents speak.", NULL,
							&worker_protocol, PINGPONG_PROTOCOL, PINGPONG_PROTOCOL, PINGPONG_PROTOCOL, PGC_INTERNAL,
							GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, NULL, NULL, NULL);
	define_string("pingpong.node_name", "Name under which this server is registered in "
				  "pingpong.node; empty: cluster_name.", &worker_node_name, "", PGC_SIGHUP, 0);
	define_string("pingpong.agent_token_file", "File (mode 0600) with the bearer token for the agents.",
				  &worker_token_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
	define_string("pingpong.agent_ca_file", "Certificates that the agents' certificates are checked against.",
				  &worker_ca_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
	define_string("pingpong.agent_cert_file", "Client certificate for agents that ask for one.",
				  &worker_cert_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
	define_string("pingpong.agent_key_file", "Key of the client certificate.",
				  &worker_key_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY);
	define_string("pingpong.debug_pause_after",
				  "Developer option: the worker stops a run after the action of this name.",
				  &worker_pause_after, "", PGC_SIGHUP, GUC_NOT_IN_SAMPLE | GUC_SUPERUSER_ONLY);
	define_ms("pingpong.agent_connect_timeout", "Longest time to connect to an agent.",
			  &worker_connect_timeout, 2000, 10, 60000);
	define_ms("pingpong.rejoin_timeout", "How long a new primary tries to bring the old one back "
			  "before the run is stuck.", &worker_rejoin_timeout, 10 * 60 * 1000, 1000, INT_MAX);
	define_ms("pingpong.sample_interval", "How often the idle worker looks at its server.",
			  &worker_sample_interval, 1000, 100, 60000);
	define_ms("pingpong.agent_interval", "How often the worker asks the agents how their nodes are.",
			  &worker_agent_interval, 5000, 100, 600000);
	define_ms("pingpong.history_interval", "How often the primary's worker keeps a sample in a table; 0: never.",
			  &worker_history_interval, 60000, 0, 3600000);
	define_ms("pingpong.readiness_interval", "How often the primary's worker makes preflight for each standby; "
			  "0: never.", &worker_readiness_interval, 300000, 0, 24 * 60 * 60 * 1000);
	define_ms("pingpong.guard_timeout", "How long a primary that was started waits for the agents of the other nodes "
			  "before it does what pingpong.guard_unanswered says.", &worker_guard_timeout, 10000, 0, INT_MAX);
	DefineCustomEnumVariable("pingpong.guard_unanswered", "What a primary that was started does when not all agents "
							 "have answered.", NULL, &worker_guard_unanswered, GUARD_CLOSED, unanswered_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("pingpong.history_retention", "How long those samples are kept.", NULL,
							&worker_history_retention, 7 * 24 * 60 * 60, 1, 366 * 24 * 60 * 60, PGC_SIGHUP,
							GUC_UNIT_S, NULL, NULL, NULL);
	define_ms("pingpong.alert_interval", "How often the idle worker of the primary looks at the rules of alerts; 0: "
			  "never.", &worker_alert_interval, 5000, 0, 60 * 60 * 1000);
	define_ms("pingpong.route_interval", "How often the idle worker of the primary looks where the routes point; 0: "
			  "never.", &worker_route_interval, 3000, 0, 60 * 60 * 1000);
}
