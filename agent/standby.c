/*
 * standby.c
 *		An upstream and how a standby gets to it; pg.follow.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/standby.h"
#include "agent/text.h"

#define SILENCE_MS 500
#define POLL_MS 2
#define QUERY_TIMEOUT_MS 5000
#define FOLLOW_TIMEOUT_MS 30000
#define AUTO_CONF_MAX (1024 * 1024)

static bool
plain_word(const char *text)
{
	return *text && strlen(text) < 256 && !strpbrk(text, " '\"\\\r\n\t=,");
}

int
upstream_read(ActionContext *ctx, json_t *params, Upstream *upstream)
{
	int64_t		port = param_int(params, "port", 0);

	upstream->host = param_string(params, "host", "");
	upstream->slot = param_string(params, "slot", NULL);
	upstream->name = param_string(params, "name", ctx->config->node);
	if (!plain_word(upstream->host) || port < 1 || port > 65535)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"host\" and \"port\" must name the upstream server");
	if (upstream->slot && !*upstream->slot)
		upstream->slot = NULL;
	if (upstream->slot && strspn(upstream->slot, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(upstream->slot))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"slot\" is not the name of a slot");
	if (!plain_word(upstream->name))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"name\" is not a name");
	upstream->port_number = (int) port;
	snprintf(upstream->port, sizeof(upstream->port), "%d", (int) port);
	return 0;
}

bool
standby_streams(PGconn *conn, const Upstream *upstream)
{
	static const char sql[] =
		"SELECT 1 FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming' "
		"AND sender_host = $1 AND sender_port = $2::int AND pg_catalog.pg_is_in_recovery()";
	const char *values[] = {upstream->host, upstream->port};
	PGresult   *res = pg_query(conn, NULL, 0, sql, 2, values);
	bool		streams = res && PQntuples(res) == 1;

	PQclear(res);
	return streams;
}

/*
 * A receiver calls itself streaming as soon as its order was accepted; that the WAL is no
 * longer there comes a moment later. The first message tells (until then both times are
 * that of the start), or, where nothing is written, that it stays so for a while.
 */
static bool
standby_heard(PGconn *conn)
{
	char	   *value = pg_value(conn, "SELECT last_msg_send_time <> last_msg_receipt_time FROM pg_catalog.pg_stat_wal_receiver");
	bool		heard = value && strcmp(value, "t") == 0;

	free(value);
	return heard;
}

double
standby_wait_streaming(ActionContext *ctx, PGconn *conn, const Upstream *upstream, double deadline)
{
	double		since = 0;

	while (clock_monotonic_ms() < deadline)
	{
		if (!standby_streams(conn, upstream))
			since = 0;
		else if (since == 0)
			since = clock_monotonic_ms();
		if (since != 0 && (standby_heard(conn) || clock_monotonic_ms() > since + SILENCE_MS))
			return clock_realtime_ms();
		if (PQstatus(conn) != CONNECTION_OK || action_cancelled(ctx))
			return 0;
		sleep_ms(POLL_MS);
	}
	return 0;
}

/*
 * What the standby has keeps its own parameters (sslmode, passfile, ...); without one
 * the agent's configuration is the base.
 */
static char *
new_conninfo(const AgentConfig *config, const char *existing, const Upstream *upstream)
{
	const char *base = existing && *existing ? existing : config->pg.replication;
	char	   *merged = conninfo_merge(base, NULL, upstream->host, upstream->port, upstream->name);

	return merged ? merged : conninfo_merge(config->pg.replication, NULL, upstream->host, upstream->port, upstream->name);
}

static int
alter_system(ActionContext *ctx, PGconn *conn, const char *name, const char *value)
{
	char	   *literal = sql_literal(value);
	char	   *sql = xasprintf("ALTER SYSTEM SET %s = %s", name, literal);
	PGresult   *res = pg_query_or_fail(ctx, conn, sql, 0, NULL);
	int			rc = res ? 0 : -1;

	PQclear(res);
	free(sql);
	free(literal);
	return rc;
}

int
standby_redirect(ActionContext *ctx, PGconn *conn, const Upstream *upstream)
{
	char	   *existing = pg_value(conn, "SELECT pg_catalog.current_setting('primary_conninfo')");
	char	   *conninfo = new_conninfo(ctx->config, existing, upstream);
	PGresult   *res = NULL;
	int			rc = alter_system(ctx, conn, "primary_conninfo", conninfo);

	if (rc == 0)
		rc = alter_system(ctx, conn, "primary_slot_name", upstream->slot ? upstream->slot : "");
	if (rc == 0)
		res = pg_query_or_fail(ctx, conn, "SELECT pg_catalog.pg_reload_conf()", 0, NULL);
	if (!res)
		rc = -1;
	PQclear(res);
	free(conninfo);
	free(existing);
	return rc;
}

/* The order matters: with standby.signal and the old settings it would follow the wrong server. */
int
standby_configure_offline(ActionContext *ctx, const char *data, const Upstream *upstream)
{
	char	   *path = xasprintf("%s/postgresql.auto.conf", data);
	char	   *signal_path = xasprintf("%s/standby.signal", data);
	char	   *text = file_read(path, AUTO_CONF_MAX, NULL);
	char	   *existing = text ? conf_value(text, "primary_conninfo") : NULL;
	char	   *conninfo = new_conninfo(ctx->config, existing, upstream);
	ConfSetting settings[] = {
		{"primary_conninfo", conninfo},
		{"primary_slot_name", upstream->slot ? upstream->slot : ""},
		{"recovery_target_timeline", "latest"},
	};
	char	   *changed = conf_rewrite(text ? text : "", settings, 3);
	int			rc = 0;

	if (!text && errno != ENOENT)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not read \"%s\": %s", path, strerror(errno));
	else if (file_write_atomic(path, changed, strlen(changed), 0600, true) < 0 ||
			 file_write_atomic(signal_path, "", 0, 0600, true) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path, strerror(errno));
	free(changed);
	free(conninfo);
	free(existing);
	free(text);
	free(signal_path);
	free(path);
	return rc;
}

/* ---- pg.follow ---- */

static int
follow(ActionContext *ctx, PGconn *conn, const Upstream *upstream, double deadline, json_t *result)
{
	char	   *recovery = pg_value(conn, "SELECT pg_catalog.pg_is_in_recovery()");
	bool		standby = recovery && strcmp(recovery, "t") == 0;
	double		streaming;

	free(recovery);
	if (!standby)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "this server is not a standby");
	if (standby_redirect(ctx, conn, upstream) < 0)
		return -1;
	action_progress(ctx, -1, "waiting for WAL from %s:%s", upstream->host, upstream->port);
	streaming = standby_wait_streaming(ctx, conn, upstream, deadline);
	if (streaming > 0)
	{
		json_object_set_new(result, "streaming_ms", json_real(streaming));
		return 0;
	}
	if (action_cancelled(ctx))
		return action_fail(ctx, STATE_CANCELED, "the job was cancelled");
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the standby does not stream from %s:%s", upstream->host,
				upstream->port);
	action_hint(ctx, "See the standby's log; it can be rebuilt.");
	return -1;
}

int
action_pg_follow(ActionContext *ctx, json_t *params, json_t *result)
{
	double		deadline = clock_monotonic_ms() + param_int(params, "timeout_ms", FOLLOW_TIMEOUT_MS);
	Upstream	upstream;
	PGconn	   *conn;
	int			rc;

	if (upstream_read(ctx, params, &upstream) < 0)
		return -1;
	conn = pg_local_or_fail(ctx, NULL, QUERY_TIMEOUT_MS);
	if (!conn)
		return -1;
	rc = follow(ctx, conn, &upstream, deadline, result);
	PQfinish(conn);
	return rc;
}
