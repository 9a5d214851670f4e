/*
 * conduct.c
 *		The agent of a rehearsal: what it asks the clone for.
 *
 * It is a client like any other: it calls pingpong.upgrade() and pingpong.rollback(), loses its session with the
 * server, and looks at the journal of the one that comes.
 */
#include <errno.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/files.h"
#include "agent/job/params.h"
#include "agent/pg/pg.h"
#include "agent/rehearse/conduct.h"

#define ORDER_MAX (64 * 1024)
#define CALL_TIMEOUT_MS 86400000
#define LOOK_TIMEOUT_MS 10000
#define WORKER_TIMEOUT_MS 120000
#define POLL_MS 50

static int	status = 1;			/* written before the signal that ends this process */

typedef struct Conductor
{
	char	   *folder;
	char	   *database;		/* the extension's */
	json_t	   *order;
	char		run[24];		/* the number of the upgrade on the clone */
} Conductor;

/* As one line: preflight's details have one for each finding. */
static int
tell_why(const char *prefix, const char *what, const char *why)
{
	char	   *line = xasprintf("%s%s: %s", prefix, what, why);

	for (char *c = line; *c; c++)
		if (*c == '\n')
			*c = ';';
	printf("%s\n", line);
	fflush(stdout);
	free(line);
	return -1;
}

/* It has found something. */
static int
fail(const char *what, const char *why)
{
	return tell_why(REHEARSAL_FAILED, what, why);
}

/* The rehearsal itself did not work. */
static int
broken(const char *what, const char *why)
{
	return tell_why(REHEARSAL_BROKEN, what, why);
}

/* The main server as it is now: an upgrade makes another one of it. */
static PGconn *
connect_main(const Conductor *conductor, int timeout_ms)
{
	AgentConfig *config = config_current();
	PGconn	   *conn = pg_local(&config->instances[0], conductor->database, timeout_ms, NULL, 0);

	config_release(config);
	return conn;
}

/* ---- the order ---- */

static int
read_order(Conductor *conductor)
{
	AgentConfig *config = config_current();
	char	   *path = xstrdup(config->path);
	char	   *file;
	char	   *text;

	config_release(config);
	conductor->folder = xstrdup(dirname(path));
	file = xasprintf("%s/" REHEARSAL_ORDER, conductor->folder);
	text = file_read(file, ORDER_MAX, NULL);
	conductor->order = text ? json_loads(text, 0, NULL) : NULL;
	free(text);
	free(file);
	free(path);
	return conductor->order ? 0 : broken("the order", "it cannot be read");
}

static int
write_result(const Conductor *conductor, const char *text)
{
	char	   *file = xasprintf("%s/" REHEARSAL_RESULT, conductor->folder);
	int			rc = file_write_atomic(file, text, strlen(text), 0600, false);

	free(file);
	return rc < 0 ? broken("the result", strerror(errno)) : 0;
}

/* ---- waiting for facts ---- */

/* Until it is true, seen by a new session each time; the server may be down meanwhile. */
static bool
wait_until(const Conductor *conductor, const char *sql, int timeout_ms)
{
	double		limit = clock_monotonic_ms() + timeout_ms;
	bool		seen = false;

	while (!seen && clock_monotonic_ms() < limit)
	{
		PGconn	   *conn = connect_main(conductor, LOOK_TIMEOUT_MS);

		seen = conn && pg_is_true(conn, sql);
		PQfinish(conn);
		if (!seen)
			sleep_ms(POLL_MS);
	}
	return seen;
}

static char *
look(const Conductor *conductor, const char *sql)
{
	PGconn	   *conn = connect_main(conductor, LOOK_TIMEOUT_MS);
	char	   *value = conn ? pg_value(conn, sql) : NULL;

	PQfinish(conn);
	return value;
}

/* Its database; and its worker, without which nothing can be asked for. */
static int
find_worker(Conductor *conductor)
{
	PGconn	   *conn = connect_main(conductor, LOOK_TIMEOUT_MS);

	conductor->database = conn ? pg_pingpong_database(conn) : NULL;
	PQfinish(conn);
	if (!conductor->database)
		return broken("the clone", "it does not answer");
	if (!wait_until(conductor, "SELECT pingpong.worker_pid() IS NOT NULL", WORKER_TIMEOUT_MS))
		return broken("the clone", "its worker does not come up");
	return 0;
}

/* ---- a request ---- */

static void
tell(void *argument, const char *message)
{
	(void) argument;
	printf("%s", message);
	fflush(stdout);
}

/*
 * The server goes down in the middle of it, and that is as it should be: how it ended the journal tells. A refusal
 * leaves the session as it is.
 */
static int
call(const Conductor *conductor, const char *sql, int n, const char *const *values)
{
	PGconn	   *conn = connect_main(conductor, CALL_TIMEOUT_MS);
	PGresult   *res;
	int			rc = 0;

	if (!conn)
		return broken("the clone", "it does not answer");
	PQsetNoticeProcessor(conn, tell, NULL);
	res = PQexecParams(conn, sql, n, NULL, values, NULL, NULL, 0);
	if (PQresultStatus(res) != PGRES_TUPLES_OK && PQstatus(conn) == CONNECTION_OK)
	{
		const char *detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
		const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

		rc = fail(primary ? primary : "the clone", detail ? detail : "it has refused");
	}
	PQclear(res);
	PQfinish(conn);
	return rc;
}

static int
upgrade(Conductor *conductor)
{
	char	   *carry = json_dumps(json_object_get(conductor->order, "carry"), JSON_COMPACT);
	char		to[16];
	char		jobs[16];
	const char *values[] = {param_string(conductor->order, "node", ""), to,
	param_string(conductor->order, "mode", ""), jobs, carry};
	int			rc;

	snprintf(to, sizeof(to), "%d", (int) param_int(conductor->order, "to_version", 0));
	snprintf(jobs, sizeof(jobs), "%d", (int) param_int(conductor->order, "jobs", 1));
	rc = call(conductor, "SELECT * FROM pingpong.upgrade($1, to_version => $2::integer, mode => $3, "
			  "jobs => $4::integer, max_window => '30min', "
			  "carry => ARRAY(SELECT pg_catalog.jsonb_array_elements_text($5::jsonb)))", 5, values);
	free(carry);
	return rc;
}

/* ---- how it ended ---- */

static char *
about_run(const Conductor *conductor, const char *expression)
{
	return xasprintf("SELECT %s FROM pingpong.run r WHERE r.id = %s", expression, conductor->run);
}

static int
expect_state(const Conductor *conductor, const char *state, const char *told)
{
	char	   *sql = about_run(conductor, "r.state || ': ' || coalesce(r.sentence, '')");
	char	   *end = look(conductor, sql);
	int			rc = end && strncmp(end, state, strlen(state)) == 0 ? 0 :
		fail(told, end ? end : "it is not known how it ended");

	free(end);
	free(sql);
	return rc;
}

#define WRITERS_WAIT "FILTER (WHERE b.impact <> 'none')"
#define STILL_WRITE \
	"FILTER (WHERE s.ordinal < (SELECT min(f.ordinal) FROM pingpong.runbook_step f WHERE f.runbook = r.runbook " \
	"AND f.impact <> 'none'))"

/*
 * What clients would have waited for: from the end of the last step in which they could write to that of the last one
 * in which they could not. What is between these has no times of its own: while the gate is closed nothing can be
 * written, and the rows of its steps cannot either.
 */
static int
tell_upgrade(const Conductor *conductor)
{
	char	   *sql = about_run(conductor, "(SELECT pg_catalog.jsonb_build_object('window_ms', "
								"coalesce(1000 * extract(epoch FROM max(s.ended_at) " WRITERS_WAIT " - "
								"max(s.ended_at) " STILL_WRITE "), 0), 'steps', "
								"pg_catalog.jsonb_object_agg(s.action, s.duration_ms) FILTER (WHERE s.duration_ms "
								"IS NOT NULL)) FROM pingpong.step s JOIN pingpong.runbook_step b ON b.runbook = "
								"r.runbook AND b.ordinal = s.ordinal AND b.action = s.action WHERE s.run = r.id)");
	char	   *text = look(conductor, sql);
	int			rc = text ? write_result(conductor, text) : broken("the upgrade", "its steps cannot be read");

	free(text);
	free(sql);
	return rc;
}

static int
conduct_upgrade(Conductor *conductor)
{
	char	   *last = look(conductor, "SELECT coalesce(max(id), 0) + 1 FROM pingpong.run");
	char	   *ended;
	int			rc;

	snprintf(conductor->run, sizeof(conductor->run), "%s", last ? last : "0");
	ended = about_run(conductor, "r.state <> 'running'");
	rc = !last ? broken("the clone", "its journal cannot be read") : upgrade(conductor);
	if (rc == 0 && !wait_until(conductor, ended, CALL_TIMEOUT_MS))
		rc = fail("the upgrade", "it does not end");
	if (rc == 0)
		rc = expect_state(conductor, "succeeded", "the upgrade of the clone") < 0 ? -1 : tell_upgrade(conductor);
	free(ended);
	free(last);
	return rc;
}

/* ---- and back ---- */

/* The old server tells of the upgrade that it was taken back, and takes writes; or the new one goes on. */
#define IS_BACK "r.state = 'rolled_back' AND (SELECT state = 'open' FROM pingpong.gate)"
#define IS_GIVEN_UP \
	"EXISTS (SELECT FROM pingpong.run x WHERE x.runbook = 'rollback' AND x.state IN ('rolled_back', 'stuck'))"

static int
await_old(const Conductor *conductor)
{
	char	   *ended = about_run(conductor, "(" IS_BACK ") OR " IS_GIVEN_UP);
	char	   *sentence = about_run(conductor, "CASE WHEN " IS_BACK " THEN '' ELSE (SELECT x.sentence "
									 "FROM pingpong.run x WHERE x.runbook = 'rollback' ORDER BY x.id DESC LIMIT 1) "
									 "END");
	char	   *why = wait_until(conductor, ended, CALL_TIMEOUT_MS) ? look(conductor, sentence) : NULL;
	int			rc = why && !*why ? 0 : fail("the way back", why ? why : "it does not end");

	free(why);
	free(sentence);
	free(ended);
	return rc;
}

static int
conduct_back(Conductor *conductor)
{
	char	   *last = look(conductor, "SELECT max(id) FROM pingpong.run WHERE runbook = 'upgrade'");
	const char *values[] = {conductor->run};
	double		began = clock_monotonic_ms();
	char		text[80];
	int			rc;

	snprintf(conductor->run, sizeof(conductor->run), "%s", last ? last : "0");
	rc = call(conductor, "SELECT * FROM pingpong.rollback($1::bigint, risk => 'its own writes are lost')", 1, values);
	if (rc == 0)
		rc = await_old(conductor);
	snprintf(text, sizeof(text), "{\"rollback_ms\": %.1f}", clock_monotonic_ms() - began);
	free(last);
	return rc < 0 ? -1 : write_result(conductor, text);
}

static void *
conduct(void *argument)
{
	Conductor	conductor = {0};
	int			rc = read_order(&conductor) < 0 || find_worker(&conductor) < 0 ? -1 : 0;

	(void) argument;
	if (rc == 0)
		rc = strcmp(param_string(conductor.order, "what", ""), REHEARSE_BACK) == 0 ? conduct_back(&conductor) :
			conduct_upgrade(&conductor);
	status = rc == 0 ? 0 : 1;
	kill(getpid(), SIGTERM);
	return NULL;
}

void
conduct_start(void)
{
	pthread_t	thread;

	if (pthread_create(&thread, NULL, conduct, NULL) == 0)
		pthread_detach(thread);
	else
		kill(getpid(), SIGTERM);
}

int
conduct_status(void)
{
	return status;
}
