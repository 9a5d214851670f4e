/*
 * rights.c
 *		May this process stop and start the server, as it is managed here?
 *
 * systemd itself is asked: it gets an order for which it first checks the caller's right, with the unit and the verb
 * that a rule of polkit sees, and which it then refuses in any case, because its job mode is for the other verb.
 * (pkcheck does not work for this: polkit takes such details from root only.)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/job/child.h"
#include "agent/pg/paths.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/rights.h"

#define ASK_TIMEOUT_MS 3000		/* the first of them that is over ends the questions */
#define OWN_UNIT "pingpong-agent.service"

static bool
systemd_runs(void)
{
	return access("/run/systemd/system", F_OK) == 0;
}

char *
rights_unit_of(int pid)
{
	char		path[64];
	char		line[1024];
	char	   *unit = NULL;
	FILE	   *file;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	file = fopen(path, "re");
	while (file && !unit && fgets(line, sizeof(line), file))
	{
		char	   *name = strrchr(line, '/');

		/* with cgroup v1, systemd's own hierarchy; with v2, the only one */
		if (!name || (!strstr(line, ":name=systemd:") && strncmp(line, "0::", 3) != 0))
			continue;
		name[strcspn(name, "\n")] = '\0';
		if (strlen(name) > 8 && strcmp(name + strlen(name) - 8, ".service") == 0)
			unit = xstrdup(name + 1);
	}
	if (file)
		fclose(file);
	return unit;
}

static char *
full_unit_name(const char *unit)
{
	return strchr(unit, '.') ? xstrdup(unit) : xasprintf("%s.service", unit);
}

/* The value of NAME=VALUE in lines of "systemctl show", malloc'd; "" without one. */
static char *
property(const char *text, const char *name)
{
	size_t		len = strlen(name);

	for (; text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL)
		if (strncmp(text, name, len) == 0 && text[len] == '=')
			return strndup(text + len + 1, strcspn(text + len + 1, "\n"));
	return xstrdup("");
}

/* The order that cannot be carried out; its refusal tells whether we might have given it. */
static RightsVerdict
ask_systemd(const char *unit, const char *method, const char *impossible_mode, const char *refusal, char *why,
			size_t size)
{
	char	   *argv[] = {"/usr/bin/busctl", "--no-pager", "call", "org.freedesktop.systemd1",
	"/org/freedesktop/systemd1",
	"org.freedesktop.systemd1.Manager", (char *) method, "ss", (char *) unit, (char *) impossible_mode, NULL};
	char		text[1024];
	int			rc = child_run_text(argv, ASK_TIMEOUT_MS, text, sizeof(text));

	text[strcspn(text, "\n")] = '\0';
	if (rc > 0 && strstr(text, refusal))
		return RIGHTS_YES;
	snprintf(why, size, "%s: %s", method, rc < 0 ? "busctl does not answer" : text[0] ? text : "no answer");
	return strstr(text, "ccess denied") || strstr(text, "authentication required") || strstr(text, "not authorized") ?
		RIGHTS_NO : RIGHTS_UNKNOWN;
}

static RightsVerdict
may_manage(const char *unit, char *why, size_t size)
{
	RightsVerdict stop;
	RightsVerdict start;

	stop = ask_systemd(unit, "StopUnit", "isolate", "only valid for start", why, size);
	if (stop != RIGHTS_YES)
		return stop;
	start = ask_systemd(unit, "StartUnit", "triggering", "only valid for stop", why, size);
	if (start == RIGHTS_YES)
		snprintf(why, size, "systemd lets this user stop and start %s", unit);
	return start;
}

/* Does the unit exist, and is it the one that runs our server? */
static RightsVerdict
look_at_unit(const PgInstance *pg, const char *unit, char *why, size_t size)
{
	char	   *argv[] = {"/usr/bin/systemctl", "show", "--property=LoadState", "--property=Restart", "--",
						  (char *) unit, NULL};
	char		text[512];
	int			rc = child_run_text(argv, ASK_TIMEOUT_MS, text, sizeof(text));
	char	   *load = property(text, "LoadState");
	char	   *restart = property(text, "Restart");
	pid_t		pid = postmaster_pid(pg->data);
	char	   *actual = pid ? rights_unit_of(pid) : NULL;
	RightsVerdict verdict = RIGHTS_NO;

	if (rc != 0 || !*load)
	{
		verdict = RIGHTS_UNKNOWN;
		snprintf(why, size, "systemctl does not answer about %s", unit);
	}
	else if (strcmp(load, "loaded") != 0)
		snprintf(why, size, "the unit %s is %s", unit, load);
	else if (*restart && strcmp(restart, "no") != 0)
		snprintf(why, size, "%s has Restart=%s: systemd would start the server that the agent has stopped", unit,
				 restart);
	else if (pid && actual && strcmp(actual, unit) != 0)
		snprintf(why, size, "the server (pid %d) belongs to %s, not to %s", (int) pid, actual, unit);
	else if (pid && !actual)
		snprintf(why, size, "the server (pid %d) was not started by %s: systemd does not know it", (int) pid, unit);
	else
		verdict = RIGHTS_YES;
	free(load);
	free(restart);
	free(actual);
	return verdict;
}

static RightsVerdict
rights_systemctl(const PgInstance *pg, char *why, size_t size)
{
	char	   *unit = full_unit_name(pg->unit);
	RightsVerdict verdict = RIGHTS_NO;

	if (!systemd_runs())
		snprintf(why, size, "systemd does not run here");
	else if ((verdict = look_at_unit(pg, unit, why, size)) == RIGHTS_YES)
		verdict = may_manage(unit, why, size);
	free(unit);
	return verdict;
}

/* We signal the server ourselves, and the program that starts it does so as this user. */
static RightsVerdict
rights_of_signal(const PgInstance *pg, char *why, size_t size)
{
	pid_t		pid = postmaster_pid(pg->data);
	char	   *unit = pid ? rights_unit_of(pid) : NULL;
	char	   *own = rights_unit_of(getpid());
	struct stat st;
	RightsVerdict verdict = RIGHTS_NO;

	if (stat(pg->data, &st) == 0 && st.st_uid != geteuid())
		snprintf(why, size, "%s belongs to another user", pg->data);
	else if (unit && strcmp(unit, OWN_UNIT) != 0 && (!own || strcmp(unit, own) != 0))
		snprintf(why, size, "the server belongs to systemd's %s, which would lose it: use \"control = systemctl\"",
				 unit);
	else if (pid == 0)
	{
		verdict = RIGHTS_UNKNOWN;
		snprintf(why, size, "the server does not run");
	}
	else
	{
		verdict = RIGHTS_YES;
		snprintf(why, size, "this user may signal the server (pid %d)%s", (int) pid,
				 unit ? "; it runs inside of the agent's unit" : "");
	}
	free(unit);
	free(own);
	return verdict;
}

static RightsVerdict
rights_pg_ctlcluster(const PgInstance *pg, char *why, size_t size)
{
	char	   *name = config_path(pg, "postgresql.conf");
	bool		exists = access(name, F_OK) == 0;

	free(name);
	if (exists)
		return rights_of_signal(pg, why, size);
	snprintf(why, size, "there is no cluster %s in /etc/postgresql%s", pg->cluster,
			 pg->successor ? " yet: an upgrade makes it" : "");
	return pg->successor ? RIGHTS_UNKNOWN : RIGHTS_NO;
}

RightsVerdict
rights_of_control(const PgInstance *pg, char *why, size_t size)
{
	why[0] = '\0';
	switch (pg->control)
	{
		case PG_CONTROL_PG_CTL:
			return rights_of_signal(pg, why, size);
		case PG_CONTROL_PG_CTLCLUSTER:
			return rights_pg_ctlcluster(pg, why, size);
		case PG_CONTROL_SYSTEMCTL:
			return rights_systemctl(pg, why, size);
		case PG_CONTROL_COMMAND:
			break;
	}
	snprintf(why, size, "what the commands do is not known before they are run");
	return RIGHTS_UNKNOWN;
}
