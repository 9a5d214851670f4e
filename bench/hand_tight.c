/*
 * hand_tight - a switchover by hand, as tight as a careful operator could
 * script it: persistent connections, polls each millisecond, a promotion that
 * is not waited for. Nothing guards it: it is the bar, not a tool.
 *
 * CHECKPOINT on both, PAUSE, wait until the standby has replayed what the primary wrote, promote,
 * edit PgBouncer's backend file, RELOAD, RESUME. Prints the time of each step
 * in ms as a line of JSON.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define LIMIT_MS 30000.0

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "hand_tight: %s: %s\n", what, why);
	exit(1);
}

static PGconn *
connect_to(const char *dsn)
{
	PGconn	   *conn = PQconnectdb(dsn);

	if (PQstatus(conn) != CONNECTION_OK)
		die("connect", PQerrorMessage(conn));
	return conn;
}

/* The first column of the first row; static, until the next call. */
static const char *
ask(PGconn *conn, const char *sql)
{
	static char value[100];
	PGresult   *r = PQexec(conn, sql);

	if (PQresultStatus(r) != PGRES_TUPLES_OK && PQresultStatus(r) != PGRES_COMMAND_OK)
		die(sql, PQerrorMessage(conn));
	snprintf(value, sizeof(value), "%s", PQntuples(r) > 0 ? PQgetvalue(r, 0, 0) : "");
	PQclear(r);
	return value;
}

static void
poll_until(PGconn *conn, const char *sql, const char *wanted)
{
	double		limit = now_ms() + LIMIT_MS;

	while (strcmp(ask(conn, sql), wanted) != 0)
	{
		if (now_ms() > limit)
			die(sql, "waited too long");
		usleep(1000);
	}
}

/* "app = ..." becomes "app = host=127.0.0.1 port=PORT"; the rest stays. */
static void
edit(const char *path, const char *database, const char *port)
{
	char		line[1000],
				tmp[1000];
	FILE	   *in = fopen(path, "r"),
			   *out;
	size_t		n = strlen(database);

	snprintf(tmp, sizeof(tmp), "%s.new", path);
	out = fopen(tmp, "w");
	if (!in || !out)
		die(path, strerror(errno));
	while (fgets(line, sizeof(line), in))
	{
		if (strncmp(line, database, n) == 0 && strchr(" =", line[n]))
			fprintf(out, "%s = host=127.0.0.1 port=%s\n", database, port);
		else
			fputs(line, out);
	}
	fclose(in);
	if (fclose(out) != 0 || rename(tmp, path) != 0)
		die(path, strerror(errno));
}

int
main(int argc, char **argv)
{
	PGconn	   *primary,
			   *target,
			   *pooler;
	char		sql[200];
	double		t[6];

	if (argc != 7)
	{
		fputs("usage: hand_tight PRIMARY_DSN TARGET_DSN PGBOUNCER_DSN FILE DATABASE TARGET_PORT\n", stderr);
		return 2;
	}
	umask(077);
	primary = connect_to(argv[1]);
	target = connect_to(argv[2]);
	pooler = connect_to(argv[3]);
	/* as a careful operator does, so that the recipe is not handicapped by the checkpoint behind a promotion */
	ask(primary, "CHECKPOINT");
	ask(target, "CHECKPOINT");

	t[0] = now_ms();
	snprintf(sql, sizeof(sql), "PAUSE %s", argv[5]);
	ask(pooler, sql);
	t[1] = now_ms();
	snprintf(sql, sizeof(sql), "SELECT pg_last_wal_replay_lsn() >= '%s'",
			 ask(primary, "SELECT pg_current_wal_lsn()"));
	poll_until(target, sql, "t");
	t[2] = now_ms();
	ask(target, "SELECT pg_promote(false)");
	poll_until(target, "SELECT pg_is_in_recovery()", "f");
	t[3] = now_ms();
	edit(argv[4], argv[5], argv[6]);
	ask(pooler, "RELOAD");
	t[4] = now_ms();
	snprintf(sql, sizeof(sql), "RESUME %s", argv[5]);
	ask(pooler, sql);
	t[5] = now_ms();
	printf("{\"pause\":%.2f,\"lag\":%.2f,\"promote\":%.2f,\"reload\":%.2f,\"resume\":%.2f,\"all\":%.2f}\n",
		   t[1] - t[0], t[2] - t[1], t[3] - t[2], t[4] - t[3], t[5] - t[4], t[5] - t[0]);
	PQfinish(primary);
	PQfinish(target);
	PQfinish(pooler);
	return 0;
}
