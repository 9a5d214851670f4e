/*
 * promote.c
 *		token.arm, token.burn, pg.promote.
 *
 * The token is a file, state_dir/token/RUN.json; token.c decides what it becomes.  One
 * lock covers "decide, write, call pg_promote()", so that a burn and an order can never
 * cross.  The connection for the promotion is opened when the token is armed: in the
 * blackout there is no time for it, and the server may be out of connections then.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/jobs.h"
#include "agent/pg.h"
#include "agent/text.h"
#include "agent/token.h"

#define QUERY_TIMEOUT_MS 2000
#define POLL_MS 1
#define RECONNECT_MS 5
#define PROMOTE_TIMEOUT_MS 30000
#define LOCK_TIMEOUT_S 3

/* Column 1 is NULL on a standby: pg_walfile_name() is an error there. */
#define PROMOTED_SQL \
	"SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL " \
	"ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END"

#define FACTS_SQL \
	"SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_last_wal_replay_lsn(), " \
	"(SELECT system_identifier FROM pg_catalog.pg_control_system()), " \
	"extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text"

static pthread_mutex_t token_lock = PTHREAD_MUTEX_INITIALIZER;
static PGconn *warm;			/* opened by token.arm; whoever takes it out owns it */
static pthread_mutex_t warm_lock = PTHREAD_MUTEX_INITIALIZER;

static void
warm_put(PGconn *conn)
{
	PGconn	   *old;

	pthread_mutex_lock(&warm_lock);
	old = warm;
	warm = conn;
	pthread_mutex_unlock(&warm_lock);
	PQfinish(old);
}

static PGconn *
warm_take(void)
{
	PGconn	   *conn;

	pthread_mutex_lock(&warm_lock);
	conn = warm;
	warm = NULL;
	pthread_mutex_unlock(&warm_lock);
	return conn;
}

/* ---- the token's file ---- */

static char *
token_path(ActionContext *ctx)
{
	return xasprintf("%s/token/%s.json", ctx->config->state_dir, ctx->run);
}

/* A file that cannot be read is not "never armed": the caller must not go on. */
static int
token_read(ActionContext *ctx, Token *token)
{
	char	   *path = token_path(ctx);
	bool		exists = file_exists(path);
	char	   *text = exists ? file_read(path, 4096, NULL) : NULL;
	json_t	   *record = text ? json_loads(text, 0, NULL) : NULL;
	const char *state = param_string(record, "state", "");

	memset(token, 0, sizeof(*token));
	for (TokenState i = TOKEN_ARMED; i <= TOKEN_BURNED; i++)
		if (strcmp(state, token_state_name(i)) == 0)
			token->state = i;
	token->epoch = param_int(record, "epoch", 0);
	token->deadline_ms = json_number_value(json_object_get(record, "deadline_ms"));
	token->ordered_ms = json_number_value(json_object_get(record, "ordered_ms"));
	snprintf(token->system_identifier, TOKEN_TEXT_MAX, "%s", param_string(record, "system_identifier", ""));
	snprintf(token->server_start, TOKEN_TEXT_MAX, "%s", param_string(record, "server_start", ""));
	json_decref(record);
	free(text);
	free(path);
	if (exists && token->state == TOKEN_NONE)
		return action_fail(ctx, STATE_IO_ERROR, "the promote token of run \"%s\" cannot be read", ctx->run);
	return 0;
}

static int
token_write(ActionContext *ctx, const Token *token)
{
	char	   *path = token_path(ctx);
	char	   *directory = xasprintf("%s/token", ctx->config->state_dir);
	json_t	   *record = json_pack("{s:s, s:s, s:I, s:f, s:f, s:s, s:s}", "run", ctx->run,
								   "state", token_state_name(token->state), "epoch", (json_int_t) token->epoch,
								   "deadline_ms", token->deadline_ms, "ordered_ms", token->ordered_ms,
								   "system_identifier", token->system_identifier,
								   "server_start", token->server_start);
	char	   *text = json_dumps(record, JSON_COMPACT);
	int			rc = 0;

	if (!file_exists(directory))
		rc = make_directory(directory, 0700) < 0 || file_fsync_path(ctx->config->state_dir) < 0 ? -1 : 0;
	if (rc == 0)
		rc = file_write_atomic(path, text, strlen(text), 0600, true);
	if (rc < 0)
		action_fail(ctx, STATE_IO_ERROR, "could not write the promote token: %s", strerror(errno));
	json_decref(record);
	free(text);
	free(directory);
	free(path);
	return rc;
}

/* Bounded: a promote that hangs in a stopped server must not make burn hang as well. */
static bool
token_lock_bounded(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LOCK_TIMEOUT_S;
	return pthread_mutex_timedlock(&token_lock, &until) == 0;
}

/* ---- facts ---- */

/* Asks the server; opens the connection when there is none or it is broken. */
static void
gather(ActionContext *ctx, PGconn **conn, json_t *params, TokenFacts *facts)
{
	const char *seal = param_string(params, "seal_lsn", NULL);
	unsigned long long seal_lsn = 0;
	unsigned long long replayed = 0;
	PGresult   *res = NULL;

	memset(facts, 0, sizeof(*facts));
	facts->now_ms = clock_realtime_ms();
	facts->epoch = ctx->epoch;
	for (int attempt = 0; attempt < 2 && !res; attempt++)
	{
		if (*conn && PQstatus(*conn) != CONNECTION_OK)
		{
			PQfinish(*conn);
			*conn = NULL;
		}
		if (!*conn)
			*conn = pg_local(ctx->config, NULL, QUERY_TIMEOUT_MS, NULL, 0);
		if (*conn)
			res = pg_query(*conn, NULL, 0, FACTS_SQL, 0, NULL);
	}
	if (!res)
		return;
	facts->reachable = true;
	facts->in_recovery = strcmp(PQgetvalue(res, 0, 0), "t") == 0;
	lsn_parse(PQgetvalue(res, 0, 1), &replayed);
	facts->replayed = !seal || (lsn_parse(seal, &seal_lsn) && replayed >= seal_lsn);
	snprintf(facts->system_identifier, TOKEN_TEXT_MAX, "%s", PQgetvalue(res, 0, 2));
	snprintf(facts->server_start, TOKEN_TEXT_MAX, "%s", PQgetvalue(res, 0, 3));
	PQclear(res);
}

/* ---- token.arm ---- */

/* The worker of a standby naps long; it must be awake when the baton comes. */
static void
wake_worker(ActionContext *ctx, PGconn *conn, int64_t ttl_ms, json_t *result)
{
	char	   *database = pg_pingpong_database(conn);
	char		error[256] = "the extension is not loaded";
	char		sql[96];
	PGconn	   *there = database ? pg_local(ctx->config, database, QUERY_TIMEOUT_MS, error, sizeof(error)) : NULL;
	PGresult   *res = NULL;

	snprintf(sql, sizeof(sql), "SELECT pingpong.wake(%d)", (int) ttl_ms);
	if (there)
		res = pg_query(there, error, sizeof(error), sql, 0, NULL);
	json_object_set_new(result, "woken", json_boolean(res != NULL));
	if (!res)
		json_object_set_new(result, "wake_error", json_string(error));
	PQclear(res);
	PQfinish(there);
	free(database);
}

int
action_token_arm(ActionContext *ctx, json_t *params, json_t *result)
{
	int64_t		ttl_ms = param_int(params, "ttl_ms", 60000);
	PGconn	   *conn;
	Token		token;
	int			rc;

	if (ttl_ms <= 0 || ttl_ms > 3600000)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"ttl_ms\" must be between 1 and 3600000");
	conn = pg_local_or_fail(ctx, NULL, QUERY_TIMEOUT_MS);
	if (!conn)
		return -1;
	pthread_mutex_lock(&token_lock);
	rc = token_read(ctx, &token);
	if (rc == 0 && token.state > TOKEN_ARMED)
		rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the promote token of this run is already %s",
						 token_state_name(token.state));
	if (rc == 0)
	{
		token.state = TOKEN_ARMED;
		token.epoch = ctx->epoch;
		token.deadline_ms = clock_realtime_ms() + ttl_ms;
		snprintf(token.system_identifier, TOKEN_TEXT_MAX, "%s", param_string(params, "system_identifier", ""));
		rc = token_write(ctx, &token);
	}
	pthread_mutex_unlock(&token_lock);
	if (rc < 0)
	{
		PQfinish(conn);
		return -1;
	}
	wake_worker(ctx, conn, ttl_ms, result);
	PQclear(pg_query(conn, NULL, 0, PROMOTED_SQL, 0, NULL));	/* fill the session's caches */
	warm_put(conn);
	json_object_set_new(result, "state", json_string("armed"));
	return 0;
}

/* ---- token.burn ---- */

static int
burn(ActionContext *ctx, PGconn **conn, json_t *result, TokenState *state)
{
	Token		token;
	TokenFacts	facts;
	TokenDecision decision;
	int			rc;

	*state = TOKEN_PROMOTING;
	if (!token_lock_bounded())
	{
		json_object_set_new(result, "verdict", json_string(VERDICT_PROMOTING));
		return 0;
	}
	rc = token_read(ctx, &token);
	if (rc == 0)
	{
		gather(ctx, conn, NULL, &facts);
		decision = token_on_burn(&token, &facts);
		if (decision.state != token.state)
		{
			token.state = decision.state;
			token.epoch = token.epoch ? token.epoch : ctx->epoch;
			rc = token_write(ctx, &token);
		}
		*state = decision.state;
	}
	pthread_mutex_unlock(&token_lock);
	if (rc == 0)
		json_object_set_new(result, "verdict", json_string(token_verdict(*state)));
	return rc;
}

int
action_token_burn(ActionContext *ctx, json_t *params, json_t *result)
{
	PGconn	   *conn = warm_take();
	TokenState	state;
	int			rc = burn(ctx, &conn, result, &state);

	PQfinish(conn);
	return rc;
}

/* ---- pg.promote ---- */

static int
call_promote(ActionContext *ctx, PGconn *conn)
{
	PGresult   *res = pg_query_or_fail(ctx, conn, "SELECT pg_catalog.pg_promote(false)", 0, NULL);
	bool		sent = res && strcmp(PQgetvalue(res, 0, 0), "t") == 0;

	PQclear(res);
	return sent ? 0 : -1;
}

/* Under the lock: decide, make it durable, and only then give the order. */
static int
order(ActionContext *ctx, PGconn **conn, json_t *params, TokenDecision *decision)
{
	Token		token;
	TokenFacts	facts;
	int			rc;

	if (!token_lock_bounded())
		return action_fail(ctx, STATE_SYSTEM_ERROR, "another promotion is under way");
	rc = token_read(ctx, &token);
	if (rc == 0)
	{
		gather(ctx, conn, params, &facts);
		*decision = token_on_order(&token, &facts);
		if (decision->order || decision->state != token.state)
		{
			token.state = decision->state;
			token.epoch = token.epoch ? token.epoch : ctx->epoch;
			token.ordered_ms = facts.now_ms;
			snprintf(token.server_start, TOKEN_TEXT_MAX, "%s", facts.server_start);
			rc = token_write(ctx, &token);
		}
		if (rc == 0 && decision->order && call_promote(ctx, *conn) < 0)
			action_forget_error(ctx);	/* sent or not is unknown: the server will tell */
	}
	pthread_mutex_unlock(&token_lock);
	return rc;
}

/* Did the server that got the order end before it obeyed?  Its successor does not know of it. */
static bool
order_died(ActionContext *ctx, PGconn **conn)
{
	Token		token;
	TokenFacts	facts;
	bool		died = false;

	pthread_mutex_lock(&token_lock);
	if (token_read(ctx, &token) == 0)
	{
		gather(ctx, conn, NULL, &facts);
		died = token_on_burn(&token, &facts).state == TOKEN_BURNED;
	}
	else
		action_forget_error(ctx);	/* whoever decides reads it again */
	pthread_mutex_unlock(&token_lock);
	return died;
}

/* Until the server is out of recovery; false: not in time, or never. */
static bool
wait_promoted(ActionContext *ctx, PGconn **conn, double deadline, json_t *result)
{
	while (clock_monotonic_ms() < deadline)
	{
		PGresult   *res = *conn ? pg_query(*conn, NULL, 0, PROMOTED_SQL, 0, NULL) : NULL;

		if (res && !PQgetisnull(res, 0, 0))
		{
			char		tli[9] = "";

			memcpy(tli, PQgetvalue(res, 0, 0), 8);
			json_object_set_new(result, "promoted_ms", json_real(clock_realtime_ms()));
			json_object_set_new(result, "tli", json_integer(strtol(tli, NULL, 16)));
			PQclear(res);
			return true;
		}
		if (!res)
		{
			PQfinish(*conn);
			sleep_ms(RECONNECT_MS);
			*conn = pg_local(ctx->config, NULL, QUERY_TIMEOUT_MS, NULL, 0);
			if (*conn && order_died(ctx, conn))
				return false;
		}
		else
			sleep_ms(POLL_MS);
		PQclear(res);
	}
	return false;
}

/* The answer does not wait for this write: a "promoting" token and a primary say the same. */
static void
note_promoted(ActionContext *ctx, json_t *params)
{
	Token		token;

	pthread_mutex_lock(&token_lock);
	if (token_read(ctx, &token) == 0 && token.state == TOKEN_PROMOTING)
	{
		token.state = TOKEN_PROMOTED;
		token_write(ctx, &token);
	}
	pthread_mutex_unlock(&token_lock);
}

static int
promote(ActionContext *ctx, PGconn **conn, json_t *params, json_t *result)
{
	double		deadline = clock_monotonic_ms() + param_int(params, "timeout_ms", PROMOTE_TIMEOUT_MS);
	TokenDecision decision = {.state = TOKEN_PROMOTING};
	TokenState	state;

	if (order(ctx, conn, params, &decision) < 0)
		return -1;
	if (decision.state == TOKEN_BURNED)
	{
		json_object_set_new(result, "verdict", json_string(VERDICT_BURNED));
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the promotion was refused: %s", decision.reason);
	}
	if (wait_promoted(ctx, conn, deadline, result))
	{
		json_object_set_new(result, "verdict", json_string(VERDICT_PROMOTED));
		action_afterwards(ctx, note_promoted, NULL);
		return 0;
	}
	if (burn(ctx, conn, result, &state) < 0)
		return -1;
	if (state == TOKEN_PROMOTED)
		return wait_promoted(ctx, conn, clock_monotonic_ms() + QUERY_TIMEOUT_MS, result) ? 0 : -1;
	if (state == TOKEN_BURNED)
		return action_fail(ctx, STATE_TIMED_OUT, "the server was restarted before it was promoted");
	action_fail(ctx, STATE_TIMED_OUT, "the server was not promoted in time");
	if (state == TOKEN_PROMOTING)
		action_hint(ctx, "It may still happen: ask again with token.burn.");
	return -1;
}

int
action_pg_promote(ActionContext *ctx, json_t *params, json_t *result)
{
	const char *seal = param_string(params, "seal_lsn", NULL);
	json_t	   *timeline = json_object_get(params, "timeline");
	unsigned long long lsn;
	PGconn	   *conn;
	int			rc;

	if (seal && !lsn_parse(seal, &lsn))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"seal_lsn\" is not an LSN");
	if (timeline)				/* for the target's worker, which has no other way to learn it */
		json_object_set(result, "timeline", timeline);
	conn = warm_take();
	action_progress(ctx, -1, "promoting");
	rc = promote(ctx, &conn, params, result);
	PQfinish(conn);
	return rc;
}
