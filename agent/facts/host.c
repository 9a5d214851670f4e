/*
 * host.c
 *		Facts about the host: names, clock, memory, disks, other managers of PostgreSQL, and whether this agent could
 *		start and stop its server.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <libgen.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/facts/error.h"
#include "agent/facts/host.h"
#include "agent/pg/layout.h"
#include "agent/pg/paths.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/rights.h"

/* Takes the lines of /proc/meminfo that we name; their values are kB or a count. */
static json_t *
memory(void)
{
	static const char *const names[] = {"MemTotal", "MemAvailable", "HugePages_Total", "HugePages_Free",
										"Hugepagesize"};
	FILE	   *file = fopen("/proc/meminfo", "re");
	json_t	   *object = json_object();
	char		line[256];
	char		name[64];
	long long	value;

	if (!file)
		return object;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63[^:]: %lld", name, &value) == 2)
			for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
				if (strcmp(name, names[i]) == 0)
					json_object_set_new(object, name, json_integer(value));
	fclose(file);
	return object;
}

json_t *
facts_host(void)
{
	struct utsname system = {0};
	struct passwd user;
	struct passwd *found = NULL;
	char		buffer[4096];
	char		uid[32];

	uname(&system);
	snprintf(uid, sizeof(uid), "%u", (unsigned) geteuid());
	getpwuid_r(geteuid(), &user, buffer, sizeof(buffer), &found);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:f}",
					 "hostname", system.nodename, "machine", system.machine, "kernel", system.release,
					 "os_user", found ? found->pw_name : uid,
					 "libc", gnu_get_libc_version(),
					 "memory", memory(),
					 "clock_ms", clock_realtime_ms());
}

static void
add_disk(json_t *rows, const char *purpose, const char *path)
{
	struct statvfs fs;
	struct stat st;
	json_t	   *row = json_pack("{s:s, s:s}", "purpose", purpose, "path", path);

	if (!row)
		return;
	if (statvfs(path, &fs) < 0 || stat(path, &st) < 0)
		json_object_set_new(row, "error", json_string(strerror(errno)));
	else
	{
		json_object_set_new(row, "device", json_integer(st.st_dev));
		json_object_set_new(row, "free_bytes", json_integer((json_int_t) fs.f_bavail * fs.f_frsize));
		json_object_set_new(row, "total_bytes", json_integer((json_int_t) fs.f_blocks * fs.f_frsize));
		json_object_set_new(row, "free_inodes", json_integer(fs.f_favail));
		json_object_set_new(row, "total_inodes", json_integer(fs.f_files));
	}
	json_array_append_new(rows, row);
}

/* PGDATA, pg_wal (which may be a link to elsewhere) and the tablespaces. */
json_t *
facts_disks(const PgInstance *pg)
{
	json_t	   *rows = json_array();
	char	   *folder = xasprintf("%s/pg_tblspc", pg->data);
	char	   *wal = xasprintf("%s/pg_wal", pg->data);
	DIR		   *dir = opendir(folder);
	struct dirent *entry;

	add_disk(rows, "data", pg->data);
	add_disk(rows, "wal", wal);
	while (dir && (entry = readdir(dir)) != NULL)
		if (isdigit((unsigned char) entry->d_name[0]))
		{
			char	   *path = xasprintf("%s/%s", folder, entry->d_name);

			add_disk(rows, "tablespace", path);
			free(path);
		}
	if (dir)
		closedir(dir);
	free(wal);
	free(folder);
	return json_pack("{s:o}", "rows", rows);
}

/* The name that we know a manager by, if this process is one. */
static const char *
manager_name(const char *pid)
{
	static const char *const names[] = {"patroni", "repmgrd", "pg_autoctl", "pacemakerd", "keepalived",
										"stolon-keeper"};
	char		path[64];
	char		command[1024] = "";
	ssize_t		len = -1;
	int			fd;

	snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
	{
		len = read(fd, command, sizeof(command) - 1);
		close(fd);
	}
	if (len <= 0)
		return NULL;
	command[len] = '\0';

	/* the program, or the script that an interpreter runs (patroni) */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		const char *script = command + strlen(command) + 1;

		if (strcmp(basename(command), names[i]) == 0)
			return names[i];
		if (strncmp(basename(command), "python", 6) == 0 && script < command + len &&
			strcmp(basename((char *) script), names[i]) == 0)
			return names[i];
	}
	return NULL;
}

json_t *
facts_ha_managers(void)
{
	json_t	   *rows = json_array();
	DIR		   *dir = opendir("/proc");
	struct dirent *entry;

	if (!dir)
	{
		json_decref(rows);
		return facts_error("could not read /proc: %s", strerror(errno));
	}
	while ((entry = readdir(dir)) != NULL)
		if (isdigit((unsigned char) entry->d_name[0]))
		{
			const char *name = manager_name(entry->d_name);

			if (name)
				json_array_append_new(rows, json_pack("{s:s, s:s}", "name", name, "pid", entry->d_name));
		}
	closedir(dir);
	return json_pack("{s:o}", "rows", rows);
}

/* What postmaster.pid says must be what we are configured for. */
static char *
postmaster_problem(const PgInstance *pg)
{
	PidFile		file = pidfile_read(pg->data);
	pid_t		pid = postmaster_pid(pg->data);
	struct stat st;

	if (stat(pg->data, &st) < 0)
		return xasprintf("could not look at %s: %s", pg->data, strerror(errno));
	if (geteuid() != 0 && st.st_uid != geteuid())
		return xasprintf("%s belongs to another user (uid %u)", pg->data, (unsigned) st.st_uid);
	if (file.pid == 0)
		return xasprintf("could not read %s/postmaster.pid", pg->data);
	if (file.port != pg->port)
		return xasprintf("the server in %s listens on port %d, configured is %d", pg->data, file.port, pg->port);
	/* with a command it may run where we cannot see it */
	if (pid == 0 && pg->control != PG_CONTROL_COMMAND)
		return xasprintf("process %d, which postmaster.pid in %s names, is not its postmaster", (int) file.pid,
						 pg->data);
	if (pid != 0 && kill(pid, 0) < 0)
		return xasprintf("cannot signal the postmaster (pid %d): %s", (int) pid, strerror(errno));
	return NULL;
}

static char *
program_problem(const char *program)
{
	return faccessat(AT_FDCWD, program, X_OK, AT_EACCESS) < 0 ?
		xasprintf("cannot run %s: %s", program, strerror(errno)) : NULL;
}

/* Finds a program in the usual folders, as execvp would. */
static char *
path_problem(const char *program)
{
	static const char *const folders[] = {"/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"};

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
	{
		char	   *path = xasprintf("%s/%s", folders[i], program);
		int			rc = access(path, X_OK);

		free(path);
		if (rc == 0)
			return NULL;
	}
	return xasprintf("there is no %s", program);
}

/* Can we start and stop our server?  Nothing is stopped; the manager is asked whether we might. */
json_t *
facts_service(const PgInstance *pg)
{
	char		why[1024];
	const char *method = "pg_ctl";
	char	   *problem = postmaster_problem(pg);
	json_t	   *object;

	for (int i = 0; !problem && server_programs[i]; i++)
	{
		char	   *path = xasprintf("%s/%s", pg->bin, server_programs[i]);

		problem = program_problem(path);
		free(path);
	}
	switch (pg->control)
	{
		case PG_CONTROL_PG_CTL:
			break;
		case PG_CONTROL_PG_CTLCLUSTER:
			method = "pg_ctlcluster";
			problem = problem ? problem : path_problem("pg_ctlcluster");
			break;
		case PG_CONTROL_SYSTEMCTL:
			method = "systemctl";
			problem = problem ? problem : path_problem("systemctl");
			break;
		case PG_CONTROL_COMMAND:
			method = "a command";
			for (int i = 0; !problem && i < 2; i++)
			{
				char	  **argv = i == 0 ? pg->start_command : pg->stop_command;

				problem = argv[0][0] == '/' ? program_problem(argv[0]) : path_problem(argv[0]);
			}
			break;
	}
	if (!problem && rights_of_control(pg, why, sizeof(why)) == RIGHTS_NO)
		problem = xstrdup(why);
	object = json_pack("{s:s, s:b, s:s?}", "method", method, "ok", problem == NULL, "detail", problem);
	free(problem);
	/* pg.rejoin gives pg_ctl what the server was started with */
	json_object_set_new(object, "keeps_command_line", json_boolean(pg->control == PG_CONTROL_PG_CTL));
	problem = layout_problem(pg);
	json_object_set_new(object, "layout_problem", problem ? json_string(problem) : json_null());
	free(problem);
	return object;
}
