/*
 * promote.c
 *		token.arm, token.burn, pg.promote.
 *
 * token.c decides what happens to a token, tokenfile.c stores it. A decision is made from facts that were gathered
 * without a lock, because a server that hangs must not block questions about it. So the token is read again under the
 * lock and must be the one that the facts were gathered for. "promoting" is on disk before the server gets the order,
 * so a later token.burn sees it.
 *
 * The connection for the promotion is opened when the token is armed. In the blackout there is no time for it, and
 * the server may be out of connections then.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/action/grant.h"
#include "agent/action/promote.h"
#include "agent/action/token.h"
#include "agent/action/tokenfile.h"
#include "agent/arbiter/arbiter.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/memory.h"
#include "agent/job/claim.h"
#include "agent/job/epoch.h"
#include "agent/job/job.h"
#include "agent/job/params.h"
#include "agent/pg/datadir.h"
#include "agent/pg/formats.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/stop.h"
#include "common/names.h"
#include "common/sqlstate.h"

#define QUERY_TIMEOUT_MS 2000
#define HASTE_MS 1500			/* for an answer on the connection that is open: then another one is tried */
#define PROBE_TIMEOUT_MS 10000
#define POLL_MS 1
#define RECONNECT_MS 5
#define PROMOTE_TIMEOUT_MS 30000
#define DECIDE_TRIES 20
#define TTL_MAX_MS 3600000
#define BATON_MAX (256 * 1024)

/* NULL on a standby: pg_walfile_name() is an error there. */
#define WRITTEN_FILE \
	"CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL " \
	"ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END"
#define PROMOTED_SQL "SELECT " WRITTEN_FILE

#define FACTS_SQL \
	"SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_last_wal_replay_lsn(), " \
	"(SELECT system_identifier FROM pg_catalog.pg_control_system()), " \
	"extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text, " WRITTEN_FILE

/*
 * The time to live once more, by the server itself: this process may have been stopped between its own check and the
 * promotion.
 */
#define ORDER_SQL \
	"SELECT CASE WHEN extract(epoch FROM pg_catalog.clock_timestamp()) * 1000 < $1::pg_catalog.numeric " \
	"THEN pg_catalog.pg_promote(false) END"

/* Its part of the way is over: the WAL is here, or it will not come to a standby. */
#define REPLAYED_SQL \
	"SELECT NOT pg_catalog.pg_is_in_recovery() OR pg_catalog.pg_last_wal_replay_lsn() >= $1::pg_catalog.pg_lsn"

static PGconn *warm;			/* opened by token.arm; the thread that takes it out owns it */
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

/* ---- facts ---- */

static unsigned
timeline_of_file(const char *name)
{
	char		text[9] = "";

	snprintf(text, sizeof(text), "%s", name);
	return (unsigned) strtoul(text, NULL, 16);
}

/* Opens the connection when there is none, or one that was open gives no answer; NULL: no answer. */
static PGresult *
ask_facts(ActionContext *ctx, PGconn **conn)
{
	int			attempts = *conn ? 2 : 1;
	PGresult   *res = NULL;

	for (int attempt = 0; attempt < attempts && !res; attempt++)
	{
		if (*conn && PQstatus(*conn) != CONNECTION_OK)
		{
			PQfinish(*conn);
			*conn = NULL;
		}
		if (!*conn)
			*conn = pg_local(ctx->pg, NULL, QUERY_TIMEOUT_MS, NULL, 0);
		if (*conn)
			res = pg_query(*conn, NULL, 0, FACTS_SQL, 0, NULL);
	}
	return res;
}

static void
gather(ActionContext *ctx, PGconn **conn, json_t *params, const Token *token, TokenFacts *facts)
{
	const char *seal = param_string(params, "seal_lsn", NULL);
	unsigned long long seal_lsn = 0;
	unsigned long long replayed = 0;
	PGresult   *res = ask_facts(ctx, conn);

	memset(facts, 0, sizeof(*facts));
	facts->epoch = ctx->epoch;
	facts->proved_epoch = epoch_current();
	if (res)
	{
		facts->reachable = true;
		facts->in_recovery = strcmp(PQgetvalue(res, 0, 0), "t") == 0;
		lsn_parse(PQgetvalue(res, 0, 1), &replayed);
		facts->replayed = !seal || (lsn_parse(seal, &seal_lsn) && replayed >= seal_lsn);
		snprintf(facts->system_identifier, TOKEN_TEXT_MAX, "%s", PQgetvalue(res, 0, 2));
		snprintf(facts->server_start, TOKEN_TEXT_MAX, "%s", PQgetvalue(res, 0, 3));
		facts->timeline = timeline_of_file(PQgetvalue(res, 0, 4));
		PQclear(res);
	}
	else
	{
		facts->stopped = server_is_stopped(ctx->pg);
		facts->standby_on_disk = datadir_is_standby_of(ctx->pg->data, token->system_identifier, token->timeline);
	}
	/* last: asking may have taken its time */
	facts->now_ms = clock_realtime_ms();
	facts->now_boot_ms = clock_boottime_ms();
	host_boot_id(facts->boot_id, TOKEN_TEXT_MAX);
}

/* ---- deciding ---- */

typedef TokenDecision (*TokenRule) (const Token *token, const TokenFacts *facts);

typedef struct Decided
{
	TokenRecord record;			/* as it is on disk now */
	TokenFacts	facts;
	TokenDecision decision;
	bool		first_order;	/* no earlier order can still be obeyed */
} Decided;

/* Under the lock: the facts are this token's. */
static int
decide_now(ActionContext *ctx, json_t *params, TokenRule rule, Decided *d)
{
	Token	   *token = &d->record.token;

	d->decision = rule(token, &d->facts);
	if (!token_changes(token, &d->decision))
		return 0;
	d->first_order = token->state == TOKEN_ARMED || strcmp(token->server_start, d->facts.server_start) != 0;
	token->state = d->decision.state;
	if (d->decision.order)
	{
		token->ordered_ms = d->facts.now_ms;
		snprintf(token->server_start, TOKEN_TEXT_MAX, "%s", d->facts.server_start);
		json_decref(d->record.timeline);
		d->record.timeline = json_incref(json_object_get(params, "timeline"));
	}
	return token_write(ctx, &d->record);
}

/* Facts, then the rule, then the disk. The caller frees d->record in any case. */
static int
decide(ActionContext *ctx, PGconn **conn, json_t *params, TokenRule rule, Decided *d)
{
	memset(d, 0, sizeof(*d));
	for (int i = 0; i < DECIDE_TRIES; i++)
	{
		int64_t		serial;
		bool		same;
		int			rc;

		token_record_free(&d->record);
		if (token_read(ctx, &d->record) < 0)
			return -1;
		serial = d->record.serial;
		gather(ctx, conn, params, &d->record.token, &d->facts);
		token_record_free(&d->record);
		token_lock();
		rc = token_read(ctx, &d->record);
		same = rc == 0 && d->record.serial == serial;
		if (same)
			rc = decide_now(ctx, params, rule, d);
		token_unlock();
		if (same || rc < 0)
			return rc;
	}
	return action_fail(ctx, STATE_SYSTEM_ERROR, "the promote token does not stop changing");
}

/* ---- token.arm ---- */

/*
 * The run goes on without this worker's help after the promotion, or not at all: so its worker is asked now whether
 * it could, by the way that it would go (pingpong_internal.probe). It must also be awake when the baton comes.
 */
static int
prove_baton(ActionContext *ctx, PGconn *conn, json_t *params, int64_t ttl_ms, json_t *result)
{
	/* a failover has no row that the worker could look for */
	bool		unrecorded = param_bool(params, "unrecorded", false);
	const char *values[] = {unrecorded ? PINGPONG_PROBE_FAILOVER : ctx->run, param_string(params, "version", NULL)};
	char	   *database = pg_pingpong_database(conn);
	char		error[512] = "the module pg_pingpong is not loaded";
	char		wake[96] = "";
	char		probe[96];
	PGconn	   *there = database ? pg_local(ctx->pg, database, PROBE_TIMEOUT_MS, error, sizeof(error)) : NULL;
	PGresult   *res = NULL;
	char	   *problem = NULL;

	if (there)
	{
		const char *schema = pg_pingpong_schema(there);

		snprintf(wake, sizeof(wake), "SELECT %s.wake(%d)", schema, (int) ttl_ms);
		snprintf(probe, sizeof(probe), "SELECT %s.probe($1, $2)", schema);
		res = pg_query(there, error, sizeof(error), wake, 0, NULL);
	}
	json_object_set_new(result, "woken", json_boolean(res != NULL));
	PQclear(res);
	if (res)
	{
		res = pg_query(there, error, sizeof(error), probe, 2, values);
		if (res)
			problem = PQgetisnull(res, 0, 0) ? NULL : xstrdup(PQgetvalue(res, 0, 0));
		else
			problem = xstrdup(error);
		PQclear(res);
	}
	else
		problem = xstrdup(error);
	PQfinish(there);
	free(database);
	json_object_set_new(result, "proved", json_boolean(problem == NULL));
	if (!problem)
		return 0;
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the worker of \"%s\" cannot take the run over: %s",
				ctx->config->node, problem);
	action_hint(ctx, "See pingpong.database, pingpong.node_name and pingpong.agent_token_file "
				"there, and its server's log.");
	free(problem);
	return -1;
}

static int
write_armed(ActionContext *ctx, json_t *params, int64_t ttl_ms)
{
	TokenRecord record;
	Token	   *token = &record.token;
	int			rc = token_read(ctx, &record);

	if (rc == 0 && token->state > TOKEN_ARMED)
		rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the promote token of this run is already %s",
						 token_state_name(token->state));
	if (rc == 0)
	{
		token->state = TOKEN_ARMED;
		token->epoch = ctx->epoch;
		record.failover = param_bool(params, "unrecorded", false);
		token->deadline_ms = clock_realtime_ms() + ttl_ms;
		token->deadline_boot_ms = clock_boottime_ms() + ttl_ms;
		token->timeline = (unsigned) param_int(params, "timeline", 0);
		host_boot_id(token->boot_id, TOKEN_TEXT_MAX);
		snprintf(token->system_identifier, TOKEN_TEXT_MAX, "%s", param_string(params, "system_identifier", ""));
		rc = token_write(ctx, &record);
	}
	if (rc == 0)
		/* after the first: on a full disk there is then no armed token that could be used */
		rc = token_reserve(ctx);
	token_record_free(&record);
	return rc;
}

/*
 * The failover that is written down in this server's data directory; a new reference, NULL: none, or nobody can read
 * it.
 */
static json_t *
read_baton(const char *path)
{
	char	   *text = file_read(path, BATON_MAX, NULL);
	json_t	   *baton = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	return baton;
}

/*
 * The failover that this server is the target of, in its data directory: its worker has no other way to learn of it.
 * Before the token is armed, so that there is no promotion without it. The file of another run is one that came to
 * nothing: the server that this run promotes would go on with that. A run that was begun here has its file already.
 */
static int
put_baton(ActionContext *ctx, json_t *params)
{
	json_t	   *baton = json_object_get(params, "baton");
	char	   *text = json_is_object(baton) ? json_dumps(baton, JSON_COMPACT | JSON_REAL_PRECISION(16)) : NULL;
	char	   *path = data_path(ctx->pg, PINGPONG_BATON_FILE);
	json_t	   *present = text ? NULL : read_baton(path);
	bool		stale = !text && strcmp(param_string(present, "key", ""), ctx->run) != 0 && file_exists(path);
	int			rc = 0;

	if (text && file_write_atomic(path, text, strlen(text), 0600, true) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path, strerror(errno));
	if (stale && (unlink(path) < 0 || file_fsync_path(ctx->pg->data) < 0))
		rc = action_fail(ctx, STATE_IO_ERROR, "could not remove \"%s\", which another run has left: %s", path,
						 strerror(errno));
	else if (stale)
		log_warning("removed \"%s\", which another run has left", path);
	json_decref(present);
	free(text);
	free(path);
	return rc;
}

/* The run's own goes when it is certain that it promotes nobody. */
static void
remove_baton(ActionContext *ctx)
{
	char	   *path = data_path(ctx->pg, PINGPONG_BATON_FILE);
	json_t	   *baton = read_baton(path);

	/* one that was begun at this server belongs to its worker, which undoes it */
	if (baton && strcmp(param_string(baton, "key", ""), ctx->run) == 0 &&
		strcmp(param_string(baton, "begun_by", ""), ctx->config->node) != 0 && unlink(path) == 0)
		file_fsync_path(ctx->pg->data);
	json_decref(baton);
	free(path);
}

/*
 * One promotion at a time: a failover that has made its claim here, or an order that another run has given, may move
 * the primary this moment. Nor may its file be removed.
 */
static int
check_claim(ActionContext *ctx)
{
	ClaimNow	claim = claim_current(ctx->config);

	if (claim.highest.epoch == 0 || strcmp(claim.highest.run, ctx->run) == 0)
		return 0;
	action_fail(ctx, STATE_OBJECT_IN_USE, "another failover has made its claim here");
	action_hint(ctx, "See pingpong.progress on the standbys; a claim that nobody needs any more ends by itself.");
	return -1;
}

/*
 * Behind the token, which is a claim itself from now on: there was one at any time since the second look at the old
 * primary, so whoever asks here since has to wait. A failover that was stopped in between may be too late.
 */
static int
check_own_claim(ActionContext *ctx)
{
	TokenRecord record;
	int			rc;

	if (claim_holder(ctx->config, ctx->run) == CLAIM_OF_RUN)
		return 0;
	token_lock();
	rc = token_read(ctx, &record);
	if (rc == 0 && record.token.state == TOKEN_ARMED)
	{
		record.token.state = TOKEN_BURNED;
		rc = token_write(ctx, &record);
	}
	token_unlock();
	token_record_free(&record);
	token_release(ctx);
	return rc < 0 ? -1 : action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the claim of this failover is over");
}

/* Only a standby of that cluster can be a target. */
static int
check_standby(ActionContext *ctx, PGconn **conn, json_t *params)
{
	Token		none = {0};
	TokenFacts	facts;
	const char *system = param_string(params, "system_identifier", "");

	gather(ctx, conn, NULL, &none, &facts);
	if (!facts.reachable)
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PostgreSQL does not answer");
	if (!facts.in_recovery)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "this server is not a standby");
	if (*system && strcmp(system, facts.system_identifier) != 0)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "this server is of another cluster");
	return 0;
}

int
action_token_arm(ActionContext *ctx, json_t *params, json_t *result)
{
	int64_t		ttl_ms = param_int(params, "ttl_ms", 60000);
	PGconn	   *conn;
	int			rc;

	if (ttl_ms <= 0 || ttl_ms > TTL_MAX_MS)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"ttl_ms\" must be between 1 and %d", TTL_MAX_MS);
	/* the rejoin of this server stops it */
	if (!server_claim(ctx->pg->data))
	{
		action_fail(ctx, STATE_OBJECT_IN_USE, "another job makes this server a standby");
		action_hint(ctx, "Wait until it has ended; see \"pingpong-agent status\" on this host.");
		return -1;
	}
	server_release(ctx->pg->data);
	conn = pg_local_or_fail(ctx, NULL, QUERY_TIMEOUT_MS);
	if (!conn)
		return -1;
	rc = check_standby(ctx, &conn, params);
	if (rc == 0 && param_bool(params, "prove", false))
		rc = prove_baton(ctx, conn, params, ttl_ms, result);
	if (rc == 0)
		rc = check_claim(ctx);
	/* not for a failover: its old primary does not know the epoch, and may have to open again */
	if (rc == 0 && !param_bool(params, "unrecorded", false))
		rc = grant_epoch(ctx);
	if (rc == 0)
		rc = put_baton(ctx, params);
	if (rc == 0)
	{
		token_lock();
		token_prune(ctx->config, epoch_current());
		rc = write_armed(ctx, params, ttl_ms);
		token_unlock();
	}
	if (rc == 0 && param_bool(params, "unrecorded", false))
		rc = check_own_claim(ctx);
	if (rc < 0)
	{
		PQfinish(conn);
		return -1;
	}
	PQclear(pg_query(conn, NULL, 0, PROMOTED_SQL, 0, NULL));	/* fill the session's caches */
	pg_set_limit(conn, HASTE_MS);
	warm_put(conn);
	json_object_set_new(result, "state", json_string("armed"));
	json_object_set_new(result, "memory", json_string(memory_id()));
	return 0;
}

/* ---- token.burn ---- */

/* The verdict, with all that the caller needs to believe it. */
static void
put_verdict(const Decided *d, json_t *result)
{
	const Token *token = &d->record.token;

	json_object_set_new(result, "verdict", json_string(token_state_name(d->decision.state)));
	json_object_set_new(result, "memory", json_string(memory_id()));
	json_object_set_new(result, "ordered", json_boolean(token->ordered_ms > 0));
	if (d->decision.reason)
		json_object_set_new(result, "reason", json_string(d->decision.reason));
	if (d->decision.state != TOKEN_PROMOTED)
		return;
	if (d->record.timeline)
		json_object_set(result, "timeline", d->record.timeline);
	if (d->facts.timeline)
		json_object_set_new(result, "tli", json_integer(d->facts.timeline));
	json_object_set_new(result, "ordered_ms", json_real(token->ordered_ms));
	json_object_set_new(result, "promoted_ms", json_real(token->promoted_ms));
	json_object_set_new(result, "same_timeline", json_boolean(token_same_timeline(token, &d->facts)));
}

static int
burn(ActionContext *ctx, PGconn **conn, json_t *result, TokenState *state)
{
	Decided		d;
	int			rc = decide(ctx, conn, NULL, token_on_burn, &d);

	*state = d.decision.state;
	if (rc == 0)
		put_verdict(&d, result);
	if (rc == 0 && (*state == TOKEN_BURNED || *state == TOKEN_PROMOTED))
		token_release(ctx);
	if (rc == 0 && *state == TOKEN_BURNED)
	{
		remove_baton(ctx);
		if (d.record.failover)
			grant_give_back(ctx);
	}
	token_record_free(&d.record);
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

#define TOO_LATE "the promote token has expired"

/* There is no order; but one that was sent before may still be obeyed, and then nothing is burned. */
static int
burn_unordered(ActionContext *ctx, const Decided *d, const char *why)
{
	int64_t		serial = d->record.serial;
	TokenRecord record;
	int			rc;

	if (!d->first_order)
		return 0;
	token_lock();
	rc = token_read(ctx, &record);
	if (rc == 0 && record.serial == serial)
	{
		record.token.state = TOKEN_BURNED;
		rc = token_write(ctx, &record);
	}
	token_unlock();
	token_record_free(&record);
	if (rc == 0)
		action_fail(ctx, STATE_TIMED_OUT, "the promotion was refused: %s", why);
	return -1;
}

/* "promoting" is on disk. What was sent and not answered may be obeyed: the server will tell. */
static int
call_promote(ActionContext *ctx, PGconn *conn, const Decided *d)
{
	char		deadline[32];
	const char *values[] = {deadline};
	TokenFacts	now = d->facts;
	PGresult   *res;
	bool		refused;

	now.now_ms = clock_realtime_ms();
	now.now_boot_ms = clock_boottime_ms();
	if (token_expired(&d->record.token, &now))
		return burn_unordered(ctx, d, TOO_LATE);
	/* behind "promoting": either its failover sees that in its second look, or its claim is seen here */
	if (claim_holder(ctx->config, ctx->run) == CLAIM_OF_OTHER)
		return burn_unordered(ctx, d, "another failover has made its claim here");
	snprintf(deadline, sizeof(deadline), "%.3f", d->record.token.deadline_ms);
	res = pg_query(conn, NULL, 0, ORDER_SQL, 1, values);
	refused = res && PQgetisnull(res, 0, 0);
	PQclear(res);
	return refused ? burn_unordered(ctx, d, TOO_LATE) : 0;
}

/* Nobody has obeyed the order of the run, and nobody will. */
static bool
order_died(ActionContext *ctx, PGconn **conn)
{
	TokenRecord record;
	TokenFacts	facts;
	bool		died = false;

	if (token_read(ctx, &record) == 0)
	{
		gather(ctx, conn, NULL, &record.token, &facts);
		died = token_on_burn(&record.token, &facts).state == TOKEN_BURNED;
	}
	else
		action_forget_error(ctx);	/* the decision reads it again */
	token_record_free(&record);
	return died;
}

/* As above, for whoever has no job. An order that was given anew meanwhile is another one. */
static bool
order_of_run_died(const AgentConfig *config, const char *run)
{
	JobError	error = {0};
	ActionContext ctx = {.error = &error, .config = config, .pg = config_instance(config, ""), .run = run};
	PGconn	   *conn = NULL;
	TokenRecord before;
	TokenRecord after;
	bool		died;

	if (!ctx.pg)
		return false;
	died = token_read(&ctx, &before) == 0 && order_died(&ctx, &conn) && token_read(&ctx, &after) == 0;
	if (died)
	{
		died = before.serial == after.serial;
		token_record_free(&after);
	}
	token_record_free(&before);
	PQfinish(conn);
	action_forget_error(&ctx);
	return died;
}

int64_t
promote_pending_epoch(const AgentConfig *config, char *run, size_t run_size)
{
	return token_pending_epoch(config, order_of_run_died, run, run_size);
}

static void
put_promoted(const Token *token, const char *walfile, json_t *result)
{
	TokenFacts	facts = {.reachable = true, .timeline = timeline_of_file(walfile)};

	json_object_set_new(result, "promoted_ms", json_real(clock_realtime_ms()));
	json_object_set_new(result, "tli", json_integer(facts.timeline));
	json_object_set_new(result, "same_timeline", json_boolean(token_same_timeline(token, &facts)));
}

/* Until the server is out of recovery; false: not in time, or never. */
static bool
wait_promoted(ActionContext *ctx, PGconn **conn, const Token *token, double deadline, json_t *result)
{
	while (clock_monotonic_ms() < deadline)
	{
		PGresult   *res = *conn ? pg_query(*conn, NULL, 0, PROMOTED_SQL, 0, NULL) : NULL;

		if (res && !PQgetisnull(res, 0, 0))
		{
			put_promoted(token, PQgetvalue(res, 0, 0), result);
			PQclear(res);
			return true;
		}
		if (!res)
		{
			PQfinish(*conn);
			sleep_ms(RECONNECT_MS);
			*conn = pg_local(ctx->pg, NULL, QUERY_TIMEOUT_MS, NULL, 0);
			if (order_died(ctx, conn))
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
note_promoted(ActionContext *ctx, json_t *promoted)
{
	TokenRecord record;

	token_lock();
	if (token_read(ctx, &record) == 0 && record.token.state == TOKEN_PROMOTING)
	{
		record.token.state = TOKEN_PROMOTED;
		record.token.promoted_ms = json_number_value(promoted);
		token_write(ctx, &record);
	}
	token_unlock();
	token_record_free(&record);
	token_release(ctx);
}

/* Not in time: what does the server say now? */
static int
judge_late(ActionContext *ctx, PGconn **conn, const Token *token, json_t *result)
{
	TokenState	state;

	if (burn(ctx, conn, result, &state) < 0)
		return -1;
	if (state == TOKEN_PROMOTED && wait_promoted(ctx, conn, token, clock_monotonic_ms() + QUERY_TIMEOUT_MS, result))
		return 0;
	if (state == TOKEN_BURNED)
		return action_fail(ctx, STATE_TIMED_OUT, "the server ended before it was promoted");
	action_fail(ctx, STATE_TIMED_OUT, "the server was not promoted in time");
	if (state == TOKEN_PROMOTING)
		action_hint(ctx, "It may still happen: ask again with token.burn.");
	return -1;
}

/*
 * The order of a distant primary comes together with the last WAL. The token is still armed meanwhile, and may be
 * burned; what is missing at the end of the wait is a reason to refuse, as always.
 */
static void
wait_for_replay(ActionContext *ctx, PGconn **conn, const char *seal, int64_t limit_ms)
{
	double		deadline = clock_monotonic_ms() + limit_ms;
	bool		waiting = seal && limit_ms > 0;

	if (waiting)
		action_progress(ctx, -1, "waits until the seal LSN is replayed");
	if (waiting && !*conn)
		*conn = pg_local(ctx->pg, NULL, QUERY_TIMEOUT_MS, NULL, 0);
	while (waiting && clock_monotonic_ms() < deadline && !action_cancelled(ctx))
	{
		PGresult   *res = *conn ? pg_query(*conn, NULL, 0, REPLAYED_SQL, 1, &seal) : NULL;

		waiting = res && strcmp(PQgetvalue(res, 0, 0), "t") != 0;
		PQclear(res);
		if (waiting)
			sleep_ms(POLL_MS);
	}
}

static int
promote(ActionContext *ctx, PGconn **conn, json_t *params, json_t *result)
{
	double		deadline = clock_monotonic_ms() + param_int(params, "timeout_ms", PROMOTE_TIMEOUT_MS);
	Decided		d;
	Token	   *token = &d.record.token;
	int			rc = decide(ctx, conn, params, token_on_order, &d);

	if (rc == 0 && !d.decision.order && d.decision.state != TOKEN_PROMOTED)
		rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the promotion was refused: %s", d.decision.reason);
	if (rc == 0 && d.decision.order)
		rc = call_promote(ctx, *conn, &d);
	if (rc == 0 && !wait_promoted(ctx, conn, token, deadline, result))
		rc = judge_late(ctx, conn, token, result);
	if (rc == 0)
	{
		json_object_set_new(result, "verdict", json_string(VERDICT_PROMOTED));
		action_afterwards(ctx, note_promoted, json_object_get(result, "promoted_ms"));
	}
	token_record_free(&d.record);
	return rc;
}

/* Must the arbiter hear of the epoch before the order? What cannot be read fails the job later, with a reason. */
static bool
owes_epoch(ActionContext *ctx)
{
	TokenRecord record;
	bool		failover;

	if (!arbiter_configured(ctx->config))
		return false;			/* before the file is read: a switchover's clients wait */
	failover = token_read(ctx, &record) == 0 && record.failover;

	token_record_free(&record);
	return failover;
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
	wait_for_replay(ctx, &conn, seal, param_int(params, "replay_ms", 0));
	action_progress(ctx, -1, "promoting");
	rc = owes_epoch(ctx) && grant_epoch(ctx) < 0 ? -1 : promote(ctx, &conn, params, result);
	PQfinish(conn);
	return rc;
}
