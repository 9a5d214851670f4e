/*
 * restore.c
 *		How long the server's restore_command takes to say that it has no such file.
 *
 * A standby runs it while it is promoted (for the next segment, for the next timeline). So its time is part of the
 * blackout, and a command that cannot be run ends the server. It is tried as PostgreSQL would run it, by the same
 * user, for a file that cannot exist. recovery_end_command ends the server in the same way, but it must not be run
 * beforehand. So the agent only looks whether its program exists.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/text.h"
#include "agent/facts/error.h"
#include "agent/facts/restore.h"
#include "agent/job/child.h"
#include "agent/pg/pg.h"

#define PATIENCE_MS 3000
#define NO_SUCH_FILE "7FFFFFFE.history"
#define NO_SUCH_RESTART_FILE "000000010000000000000001"

/* The command with its place holders filled in, malloc'd. */
static char *
fill_in(const char *command, const char *target)
{
	Text		out = {0};

	text_add(&out, "", 0);
	for (; *command; command++)
	{
		const char *value = NULL;

		if (command[0] == '%')
			value = command[1] == 'f' ? NO_SUCH_FILE : command[1] == 'p' ? target :
				command[1] == 'r' ? NO_SUCH_RESTART_FILE : command[1] == '%' ? "%" : NULL;
		if (value)
		{
			text_add(&out, value, strlen(value));
			command++;
		}
		else
			text_add(&out, command, 1);
	}
	return out.data;
}

static json_t *
try_command(const PgInstance *pg, const char *setting)
{
	char	   *target = xasprintf("%s/restore-probe.%d", pg->state_dir, (int) getpid());
	char	   *command = fill_in(setting, target);
	char	   *argv[] = {"/bin/sh", "-c", "cd \"$0\" && eval \"$1\"", pg->data, command, NULL};
	double		began = clock_monotonic_ms();
	int			status = child_run_quietly(argv, PATIENCE_MS);
	json_t	   *answer = json_pack("{s:b, s:f, s:i}", "set", 1, "ms", clock_monotonic_ms() - began, "status", status);

	if (file_exists(target))
		unlink(target);
	free(command);
	free(target);
	return answer;
}

/* "none", "found", "missing", or "unknown": the shell makes more of it than a program's name. */
static const char *
end_command(const PgInstance *pg, const char *setting)
{
	char	  **words = text_split_words(setting);
	const char *found = "unknown";

	if (!words || !words[0])
		found = "none";
	else if (!strpbrk(words[0], "$`\"'\\;&|(){}[]<>*?=~!#%"))
	{
		char	   *argv[] = {"/bin/sh", "-c",
		"cd \"$0\" && command -v -- \"$1\" && case $1 in */*) test -x \"$1\" ;; esac",
		pg->data, words[0], NULL};
		int			status = child_run_quietly(argv, PATIENCE_MS);

		found = status == 0 ? "found" : status == 1 || status == 127 ? "missing" : "unknown";
	}
	text_free_list(words);
	return found;
}

json_t *
facts_restore(const PgInstance *pg, json_t *params)
{
	char		error[512];
	PGconn	   *conn;
	char	   *setting;
	char	   *at_end;
	json_t	   *answer;

	(void) params;
	if (!pg)
		return json_pack("{s:b}", "set", 0);
	conn = pg_local(pg, NULL, PATIENCE_MS, error, sizeof(error));
	if (!conn)
		return facts_error("%s", error);
	setting = pg_value(conn, "SELECT pg_catalog.current_setting('restore_command')");
	at_end = pg_value(conn, "SELECT pg_catalog.current_setting('recovery_end_command')");
	PQfinish(conn);
	if (!setting)
		answer = facts_error("no answer");
	else
		answer = *setting ? try_command(pg, setting) : json_pack("{s:b}", "set", 0);
	if (at_end)
		json_object_set_new(answer, "end_command", json_string(end_command(pg, at_end)));
	free(at_end);
	free(setting);
	return answer;
}
