/*
 * writers - paced writers that see a switchover as its clients see it.
 *
 * N threads insert rows (run, writer, seq) into a table "ledger", each at its
 * own beat (open loop: a beat that was missed is skipped, not made up for).
 * Every attempt ends as one of
 *
 *   acked      the server said that the row is committed
 *   error      a definite no: the server said so, or COMMIT was never sent
 *   ambiguous  the connection was lost after the statement (or the COMMIT)
 *              was sent, without a verdict
 *
 * and "verify" holds that against what is in the table. The process is led by
 * lines on its standard input; each is answered by one line of JSON:
 *
 *   go / pause           the writers begin to write / rest (they stay connected)
 *   mark NAME            a window begins
 *   watch NODE DSN       note when NODE streams from the server at DSN
 *   end                  the window ends; waits for the watch first
 *   verify DSN           acknowledged rows that are missing, and the reverse
 *   stop                 no more writes; totals
 *
 * Times are milliseconds of CLOCK_MONOTONIC, so other processes of this host
 * can compare them with their own.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define MAX_WRITERS 256
#define RETRY_MS 2.0			/* between two attempts to connect */
#define WATCH_POLL_MS 5.0
#define WATCH_LIMIT_MS 60000.0
#define STOP_LIMIT_MS 10000.0	/* a statement still out then is ambiguous */

typedef enum
{
	FATE_NONE,					/* not sent yet, or on its way */
	FATE_ACKED,
	FATE_ERROR,
	FATE_AMBIGUOUS
} Fate;

/* What happened in a window, or in all. Under "lock". */
typedef struct
{
	char		name[64];
	double		begin_ms;
	long		acked,
				errors,
				ambiguous,
				connect_failures;
	long		disconnects[MAX_WRITERS];
	double		gap_ms,			/* the longest time between two acks */
				gap_begin_ms,
				gap_end_ms;
	char		sample[300];	/* the first error or loss */
} Tally;

typedef struct
{
	int			number;
	pthread_t	thread;
	PGconn	   *conn;
	bool		was_connected;	/* so that losing it is a disconnect */
	int64_t		seq;			/* the last one used */
	uint8_t    *fate;			/* by seq; read by others under "lock" */
	int64_t		room;
	bool		resting;		/* under "lock" */
} Writer;

typedef struct
{
	pthread_t	thread;
	bool		started;
	char	   *node;
	PGconn	   *conn;
	volatile bool give_up;
	double		streaming_ms;	/* 0: not seen */
} Watch;

static const char *dsn;
static const char *run_name;
static int	n_writers = 8;
static double rate = 800;
static bool in_txn = false;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool writing = false;	/* under lock */
static bool stopping = false;	/* under lock */
static double stop_limit_ms = 0;
static double last_ack_ms = 0;
static Tally window,
			total;
static Writer writers[MAX_WRITERS];
static Watch watch;

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void
sleep_until(double ms)
{
	struct timespec t = {.tv_sec = (time_t) (ms / 1e3)};

	t.tv_nsec = (long) ((ms - t.tv_sec * 1e3) * 1e6);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static void
die(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	fputs("writers: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static void
print_json_string(const char *s)
{
	putchar('"');
	for (; *s; s++)
	{
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char) *s < ' ')
			putchar(' ');
		else
			putchar(*s);
	}
	putchar('"');
}

/* ---- tallies ---------------------------------------------------------- */

static void
tally_gap(Tally *t, double from, double to)
{
	if (to - from > t->gap_ms)
	{
		t->gap_ms = to - from;
		t->gap_begin_ms = from;
		t->gap_end_ms = to;
	}
}

/* The clock is read under the lock: acks are in the order of their times. */
static void
tally_ack(void)
{
	double		now = now_ms();

	window.acked++;
	total.acked++;
	if (last_ack_ms > 0)
	{
		tally_gap(&window, last_ack_ms, now);
		tally_gap(&total, last_ack_ms, now);
	}
	last_ack_ms = now;
}

static void
tally_sample(const char *what, const char *message)
{
	Tally	   *both[] = {&window, &total};

	for (int i = 0; i < 2; i++)
		if (!both[i]->sample[0])
			snprintf(both[i]->sample, sizeof(both[i]->sample), "%s: %s", what, message ? message : "");
}

static void
tally_print(Tally *t, bool with_watch)
{
	long		sum = 0,
				most = 0;
	double		now = now_ms();
	Tally		open = *t;

	for (int i = 0; i < n_writers; i++)
	{
		sum += t->disconnects[i];
		if (t->disconnects[i] > most)
			most = t->disconnects[i];
	}
	if (writing && last_ack_ms > 0)
		tally_gap(&open, last_ack_ms, now);
	printf("{\"name\":");
	print_json_string(t->name);
	printf(",\"length_ms\":%.1f,\"acked\":%ld,\"errors\":%ld,\"ambiguous\":%ld,\"disconnects\":%ld,"
		   "\"disconnects_max\":%ld,\"connect_failures\":%ld,"
		   "\"gap_ms\":%.2f,\"gap_begin_ms\":%.2f,\"gap_end_ms\":%.2f",
		   now - t->begin_ms, t->acked, t->errors, t->ambiguous, sum, most, t->connect_failures,
		   open.gap_ms, open.gap_begin_ms, open.gap_end_ms);
	if (with_watch && watch.streaming_ms > 0)
		printf(",\"streaming_ms\":%.2f,\"rejoin_ms\":%.2f", watch.streaming_ms,
			   watch.streaming_ms > open.gap_end_ms ? watch.streaming_ms - open.gap_end_ms : 0.0);
	else if (with_watch)
		printf(",\"streaming_ms\":null,\"rejoin_ms\":null");
	if (t->sample[0])
	{
		printf(",\"sample\":");
		print_json_string(t->sample);
	}
	printf("}\n");
}

/* ---- one attempt ------------------------------------------------------ */

/*
 * An error report is a definite no, but for the pooler's: PgBouncer reports
 * the loss of a server as 08P01 whether or not a statement was under way, so
 * only those of its messages that come before a server was given count.
 */
static bool
is_definite(const char *sqlstate, const char *message)
{
	static const char *const before_sent[] = {
		"query_wait_timeout", "login", "cannot connect", "connect failed", "no such database",
		"no more connections", "does not exist", "shutting down", "too many", NULL
	};

	if (strncmp(sqlstate, "08", 2) != 0)
		return true;
	for (int i = 0; before_sent[i]; i++)
		if (message && strstr(message, before_sent[i]))
			return true;
	return false;
}

/* Waits for the whole answer; false when there will be none. */
static bool
answer_is_complete(PGconn *conn)
{
	while (PQisBusy(conn))
	{
		struct pollfd p = {.fd = PQsocket(conn), .events = POLLIN};

		if (p.fd < 0)
			return false;
		poll(&p, 1, 200);
		if (p.revents && !PQconsumeInput(conn))
			return true;		/* libpq makes a result out of the loss */
		if (stop_limit_ms > 0 && now_ms() > stop_limit_ms)
			return false;
	}
	return true;
}

/*
 * Sends one statement. The first report that carries an SQLSTATE decides:
 * what follows it is only the connection that goes away.
 */
static Fate
execute(Writer *w, const char *sql, bool commits)
{
	Fate		fate = FATE_NONE;
	char		sample[300] = "";

	if (!PQsendQuery(w->conn, sql))
	{
		/* libpq knew that the connection was gone: nothing was sent */
		snprintf(sample, sizeof(sample), "not sent: %s", PQerrorMessage(w->conn));
		fate = FATE_ERROR;
	}
	while (fate != FATE_ERROR || PQstatus(w->conn) == CONNECTION_OK)
	{
		PGresult   *r;
		const char *sqlstate;

		if (!answer_is_complete(w->conn))
		{
			fate = commits ? FATE_AMBIGUOUS : FATE_ERROR;
			snprintf(sample, sizeof(sample), "no answer");
			break;
		}
		if (!(r = PQgetResult(w->conn)))
			break;
		sqlstate = PQresultErrorField(r, PG_DIAG_SQLSTATE);
		if (PQresultStatus(r) == PGRES_COMMAND_OK)
		{
			/* COMMIT of a failed transaction answers ROLLBACK */
			if (fate == FATE_NONE)
				fate = strcmp(PQcmdStatus(r), "ROLLBACK") == 0 ? FATE_ERROR : FATE_ACKED;
		}
		else if (fate == FATE_NONE)
		{
			const char *message = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);

			if (sqlstate)
				fate = is_definite(sqlstate, message) || !commits ? FATE_ERROR : FATE_AMBIGUOUS;
			else
				fate = commits ? FATE_AMBIGUOUS : FATE_ERROR;
			snprintf(sample, sizeof(sample), "%s %s", sqlstate ? sqlstate : "lost",
					 message ? message : PQresultErrorMessage(r));
		}
		PQclear(r);
	}
	if (fate == FATE_NONE)
		fate = commits ? FATE_AMBIGUOUS : FATE_ERROR;
	if (fate != FATE_ACKED)
	{
		pthread_mutex_lock(&lock);
		tally_sample(fate == FATE_ERROR ? "error" : "ambiguous", sample);
		pthread_mutex_unlock(&lock);
	}
	return fate;
}

/* Rows are numbered by attempt: what became of a number never changes. */
static Fate
insert_row(Writer *w)
{
	char		sql[200];
	Fate		fate;

	snprintf(sql, sizeof(sql), "INSERT INTO ledger (run, writer, seq) VALUES ('%s', %d, %lld)",
			 run_name, w->number, (long long) w->seq);
	if (!in_txn)
		return execute(w, sql, true);
	fate = execute(w, "BEGIN", false);
	if (fate == FATE_ACKED)
		fate = execute(w, sql, false);
	if (fate == FATE_ACKED)
		return execute(w, "COMMIT", true);
	if (PQstatus(w->conn) == CONNECTION_OK && PQtransactionStatus(w->conn) != PQTRANS_IDLE)
		PQclear(PQexec(w->conn, "ROLLBACK"));
	return fate;
}

/* ---- a writer --------------------------------------------------------- */

static bool
stop_wanted(void)
{
	bool		answer;

	pthread_mutex_lock(&lock);
	answer = stopping;
	pthread_mutex_unlock(&lock);
	return answer;
}

static void
lost_connection(Writer *w)
{
	PQfinish(w->conn);
	w->conn = NULL;
	if (w->was_connected)
	{
		pthread_mutex_lock(&lock);
		window.disconnects[w->number]++;
		total.disconnects[w->number]++;
		pthread_mutex_unlock(&lock);
	}
	w->was_connected = false;
}

static void
ignore_notice(void *arg, const PGresult *result)
{
}

static void
connect_again(Writer *w)
{
	while (!w->conn && !stop_wanted())
	{
		w->conn = PQconnectdb(dsn);
		if (PQstatus(w->conn) == CONNECTION_OK)
		{
			w->was_connected = true;
			PQsetNoticeReceiver(w->conn, ignore_notice, NULL);
			return;
		}
		pthread_mutex_lock(&lock);
		window.connect_failures++;
		total.connect_failures++;
		tally_sample("connect", PQerrorMessage(w->conn));
		pthread_mutex_unlock(&lock);
		lost_connection(w);
		sleep_until(now_ms() + RETRY_MS);
	}
}

static void
remember_room(Writer *w)
{
	if (w->seq + 1 < w->room)
		return;
	pthread_mutex_lock(&lock);
	w->room = w->room ? w->room * 2 : 65536;
	if (!(w->fate = realloc(w->fate, w->room)))
		die("out of memory");
	memset(w->fate + w->room / 2, 0, w->room / 2);
	if (w->room == 65536)
		memset(w->fate, 0, w->room);
	pthread_mutex_unlock(&lock);
}

static void
settle(Writer *w, Fate fate)
{
	pthread_mutex_lock(&lock);
	w->fate[w->seq] = fate;
	if (fate == FATE_ACKED)
		tally_ack();
	else if (fate == FATE_ERROR)
		window.errors++, total.errors++;
	else
		window.ambiguous++, total.ambiguous++;
	pthread_mutex_unlock(&lock);
}

/* Rests until there is something to do; false at the end. */
static bool
await_go(Writer *w, double *due)
{
	bool		rested = false;

	pthread_mutex_lock(&lock);
	while (!writing && !stopping)
	{
		if (!w->resting)
		{
			w->resting = true;
			pthread_cond_broadcast(&changed);
		}
		rested = true;
		pthread_cond_wait(&changed, &lock);
	}
	w->resting = stopping;
	if (stopping)
		pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	if (rested)
		*due = now_ms() + w->number * 1e3 / rate;
	return !w->resting;
}

static void *
writer_main(void *arg)
{
	Writer	   *w = arg;
	double		beat = n_writers * 1e3 / rate;
	double		due = now_ms() + w->number * 1e3 / rate;

	connect_again(w);
	while (await_go(w, &due))
	{
		Fate		fate;
		double		now;

		connect_again(w);
		sleep_until(due);
		if (!w->conn)
			continue;
		remember_room(w);
		w->seq++;
		fate = insert_row(w);
		settle(w, fate);
		if (PQstatus(w->conn) != CONNECTION_OK || fate == FATE_AMBIGUOUS)
			lost_connection(w);
		now = now_ms();
		while (due <= now)
			due += beat;
	}
	if (w->conn)
		PQfinish(w->conn);
	return NULL;
}

static void
rest_all(void)
{
	pthread_mutex_lock(&lock);
	writing = false;
	for (int i = 0; i < n_writers; i++)
		while (!writers[i].resting)
			pthread_cond_wait(&changed, &lock);
	last_ack_ms = 0;			/* a rest is not a gap */
	pthread_mutex_unlock(&lock);
}

/* ---- the old primary streams again ------------------------------------ */

static void *
watch_main(void *arg)
{
	double		limit = now_ms() + WATCH_LIMIT_MS;
	const char *const values[] = {watch.node};

	while (!watch.give_up && now_ms() < limit)
	{
		double		next = now_ms() + WATCH_POLL_MS;
		PGresult   *r = PQexecParams(watch.conn, "SELECT 1 FROM pg_stat_replication "
									 "WHERE application_name = $1 AND state = 'streaming'",
									 1, NULL, values, NULL, NULL, 0);
		bool		seen = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) > 0;

		PQclear(r);
		if (seen)
		{
			watch.streaming_ms = now_ms();
			break;
		}
		if (PQstatus(watch.conn) != CONNECTION_OK)
			PQreset(watch.conn);
		sleep_until(next);
	}
	return NULL;
}

static void
end_watch(bool give_up)
{
	if (!watch.started)
		return;
	watch.give_up = give_up;
	pthread_join(watch.thread, NULL);
	PQfinish(watch.conn);
	free(watch.node);
	watch.started = false;
}

static void
begin_watch(char *args)
{
	char	   *where = strchr(args, ' ');

	end_watch(true);
	if (!where)
	{
		printf("{\"error\":\"watch NODE DSN\"}\n");
		return;
	}
	*where++ = '\0';
	memset(&watch, 0, sizeof(watch));
	watch.node = strdup(args);
	watch.conn = PQconnectdb(where);
	if (PQstatus(watch.conn) != CONNECTION_OK)
	{
		printf("{\"error\":");
		print_json_string(PQerrorMessage(watch.conn));
		printf("}\n");
		PQfinish(watch.conn);
		free(watch.node);
		return;
	}
	watch.started = true;
	pthread_create(&watch.thread, NULL, watch_main, NULL);
	printf("{\"watch\":\"%s\"}\n", watch.node);
}

/* ---- the table against what clients were told -------------------------- */

static void
verify(const char *where)
{
	PGconn	   *conn;
	PGresult   *r;
	const char *const values[] = {run_name};
	long		lost = 0,
				refused_present = 0,
				ambiguous_present = 0,
				unknown = 0;
	uint8_t    *found[MAX_WRITERS] = {NULL};
	bool		was_writing;

	pthread_mutex_lock(&lock);
	was_writing = writing;
	pthread_mutex_unlock(&lock);
	rest_all();
	conn = PQconnectdb(where);
	r = PQexecParams(conn, "SELECT writer, seq FROM ledger WHERE run = $1", 1, NULL, values, NULL, NULL, 0);
	if (PQresultStatus(r) != PGRES_TUPLES_OK)
	{
		printf("{\"error\":");
		print_json_string(PQerrorMessage(conn));
		printf("}\n");
	}
	else
	{
		for (int i = 0; i < n_writers; i++)
			found[i] = calloc(writers[i].seq + 1, 1);
		for (int i = 0; i < PQntuples(r); i++)
		{
			int			n = atoi(PQgetvalue(r, i, 0));
			int64_t		seq = atoll(PQgetvalue(r, i, 1));

			if (n < 0 || n >= n_writers || seq < 1 || seq > writers[n].seq)
				unknown++;
			else
				found[n][seq] = 1;
		}
		for (int n = 0; n < n_writers; n++)
			for (int64_t seq = 1; seq <= writers[n].seq; seq++)
			{
				Fate		fate = writers[n].fate[seq];

				lost += fate == FATE_ACKED && !found[n][seq];
				refused_present += fate == FATE_ERROR && found[n][seq];
				ambiguous_present += fate == FATE_AMBIGUOUS && found[n][seq];
			}
		printf("{\"acked\":%ld,\"rows\":%d,\"lost\":%ld,\"refused_present\":%ld,\"ambiguous_present\":%ld,"
			   "\"unknown\":%ld}\n", total.acked, PQntuples(r), lost, refused_present, ambiguous_present, unknown);
		for (int i = 0; i < n_writers; i++)
			free(found[i]);
	}
	PQclear(r);
	PQfinish(conn);
	pthread_mutex_lock(&lock);
	writing = was_writing;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

/* ---- orders ------------------------------------------------------------ */

static void
begin_window(const char *name)
{
	end_watch(true);
	watch.streaming_ms = 0;
	pthread_mutex_lock(&lock);
	memset(&window, 0, sizeof(window));
	snprintf(window.name, sizeof(window.name), "%s", name);
	window.begin_ms = now_ms();
	pthread_mutex_unlock(&lock);
	printf("{\"mark\":");
	print_json_string(name);
	printf("}\n");
}

static void
stop_all(void)
{
	if (stopping)
		return;
	end_watch(true);
	pthread_mutex_lock(&lock);
	stop_limit_ms = now_ms() + STOP_LIMIT_MS;
	stopping = true;
	writing = false;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < n_writers; i++)
		pthread_join(writers[i].thread, NULL);
}

static void
obey(char *line)
{
	char	   *args = strchr(line, ' ');

	if (args)
		*args++ = '\0';
	else
		args = line + strlen(line);
	if (strcmp(line, "mark") == 0)
		begin_window(args);
	else if (strcmp(line, "watch") == 0)
		begin_watch(args);
	else if (strcmp(line, "end") == 0)
	{
		bool		watched = watch.started;

		end_watch(false);
		pthread_mutex_lock(&lock);
		tally_print(&window, watched);
		pthread_mutex_unlock(&lock);
	}
	else if (strcmp(line, "go") == 0)
	{
		pthread_mutex_lock(&lock);
		writing = true;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
		printf("{\"go\":true}\n");
	}
	else if (strcmp(line, "pause") == 0)
	{
		rest_all();
		printf("{\"pause\":true}\n");
	}
	else if (strcmp(line, "verify") == 0)
		verify(args);
	else if (strcmp(line, "stop") == 0)
	{
		stop_all();
		tally_print(&total, false);
	}
	else
		printf("{\"error\":\"unknown order\"}\n");
	fflush(stdout);
}

static void
make_table(void)
{
	PGconn	   *conn = PQconnectdb(dsn);
	PGresult   *r;

	if (PQstatus(conn) != CONNECTION_OK)
		die("%s", PQerrorMessage(conn));
	PQsetNoticeReceiver(conn, ignore_notice, NULL);
	/* two writers at the same moment: IF NOT EXISTS alone lets the second one fail */
	r = PQexec(conn, "SELECT pg_advisory_xact_lock(1886413166); "
			   "CREATE TABLE IF NOT EXISTS ledger (writer int, seq bigint, run text, "
			   "at timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (run, writer, seq))");
	if (PQresultStatus(r) != PGRES_COMMAND_OK)
		die("%s", PQerrorMessage(conn));
	PQclear(r);
	PQfinish(conn);
}

static const char usage[] =
"usage: writers [-n WRITERS] [-r ROWS_PER_SECOND] [--txn] [--run NAME] DSN\n"
"Orders are read from standard input: go, pause, mark NAME, watch NODE DSN, end,\n"
"verify DSN, stop. Each is answered by one line of JSON.\n";

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"writers", required_argument, NULL, 'n'}, {"rate", required_argument, NULL, 'r'},
		{"txn", no_argument, NULL, 't'}, {"run", required_argument, NULL, 'R'},
		{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}
	};
	char		name[64];
	char	   *line = NULL;
	size_t		room = 0;
	int			c;

	snprintf(name, sizeof(name), "%ld-%d", (long) time(NULL), (int) getpid());
	run_name = name;
	while ((c = getopt_long(argc, argv, "n:r:th", options, NULL)) != -1)
		switch (c)
		{
			case 'n':
				n_writers = atoi(optarg);
				break;
			case 'r':
				rate = atof(optarg);
				break;
			case 't':
				in_txn = true;
				break;
			case 'R':
				run_name = optarg;
				break;
			case 'h':
				fputs(usage, stdout);
				return 0;
			default:
				fputs(usage, stderr);
				return 2;
		}
	if (optind != argc - 1 || n_writers < 1 || n_writers > MAX_WRITERS || rate <= 0 ||
		strspn(run_name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != strlen(run_name))
	{
		fputs(usage, stderr);
		return 2;
	}
	dsn = argv[optind];
	make_table();
	snprintf(total.name, sizeof(total.name), "total");
	total.begin_ms = window.begin_ms = now_ms();
	for (int i = 0; i < n_writers; i++)
	{
		writers[i].number = i;
		pthread_create(&writers[i].thread, NULL, writer_main, &writers[i]);
	}
	while (getline(&line, &room, stdin) > 0)
	{
		line[strcspn(line, "\r\n")] = '\0';
		if (*line)
			obey(line);
	}
	stop_all();
	return 0;
}
