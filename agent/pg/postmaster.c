/*
 * postmaster.c
 *		The process that serves a data directory, with proof.
 *
 * A postmaster changes to its data directory and stays there, runs the program "postgres", and belongs to the owner
 * of the directory. Its children share all three, but not its number, which is in postmaster.pid. So the process with
 * that number, that program and that directory is the postmaster. Any other process with that number has come later.
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/pidfd.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/pg/postmaster.h"

#define LINES 8					/* pid, data directory, start, port, socket, address, shared memory, status */

PidFile
pidfile_read(const char *data)
{
	PidFile		file = {.memory_id = -1};
	char	   *path = xasprintf("%s/postmaster.pid", data);
	char	   *text = file_read(path, 4096, NULL);
	char	   *rest = text;
	char	   *line[LINES] = {NULL};

	file.unreadable = !text && errno != ENOENT && errno != ENOTDIR;
	for (int i = 0; rest && i < LINES; i++)
		line[i] = strsep(&rest, "\n");
	/* a number below zero is that of a single-user server */
	if (line[0])
		file.pid = (pid_t) labs(strtol(line[0], NULL, 10));
	if (line[3])
		file.port = atoi(line[3]);
	if (line[4])
		snprintf(file.socket, sizeof(file.socket), "%s", line[4]);
	if (line[6])
		(void) sscanf(line[6], "%*u %d", &file.memory_id);
	if (line[7])
		snprintf(file.status, sizeof(file.status), "%.*s", (int) strcspn(line[7], " "), line[7]);
	free(text);
	free(path);
	return file;
}

static bool
runs_postgres(pid_t pid)
{
	char		path[64];
	char		program[PATH_MAX];
	ssize_t		len;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int) pid);
	len = readlink(path, program, sizeof(program) - 1);
	if (len < 0)
		return false;			/* gone, a zombie, or of another user: not our postmaster */
	program[len] = '\0';
	/* "postgres (deleted)" after an update of the package */
	return strncmp(basename(program), "postgres", 8) == 0;
}

static bool
works_in(pid_t pid, const char *data)
{
	char		path[64];
	struct stat its;
	struct stat ours;

	snprintf(path, sizeof(path), "/proc/%d/cwd", (int) pid);
	return stat(path, &its) == 0 && stat(data, &ours) == 0 && its.st_dev == ours.st_dev && its.st_ino == ours.st_ino;
}

int
postmaster_open(const char *data)
{
	PidFile		file = pidfile_read(data);
	int			fd = file.pid > 1 ? pidfd_open(file.pid, 0) : -1;

	/* opened first, then looked at: from here on the number cannot become another's under us */
	if (fd >= 0 && !(runs_postgres(file.pid) && works_in(file.pid, data)))
	{
		close(fd);
		fd = -1;
	}
	return fd;
}

char **
postmaster_options(const char *data)
{
	char	   *path = xasprintf("%s/postmaster.opts", data);
	char	   *text = file_read(path, 64 * 1024, NULL);
	char	  **words = NULL;
	char	  **options = NULL;

	if (text)
		text[strcspn(text, "\r\n")] = '\0';
	words = text ? text_split_words(text) : NULL;
	for (int i = 1; words && words[0] && words[i]; i++)
	{
		if (strcmp(words[i], "-D") == 0 && words[i + 1])
			i++;
		else if (strcmp(words[i], "-c") == 0 && words[i + 1] && strcmp(words[i + 1], OUR_SYNC_OPTION) == 0)
			i++;
		else if (strncmp(words[i], "-D", 2) != 0)
			text_append(&options, xstrdup(words[i]));
	}
	text_free_list(words);
	free(text);
	free(path);
	return options;
}

pid_t
postmaster_pid(const char *data)
{
	PidFile		file = pidfile_read(data);
	int			fd = postmaster_open(data);

	if (fd < 0)
		return 0;
	close(fd);
	return file.pid;
}

/* Ended, and its parent has not asked for it (in a container without an init nobody does). */
static bool
is_zombie(pid_t pid)
{
	char		path[64];
	char		line[256] = "";
	char	   *end;
	FILE	   *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	end = strrchr(line, ')');
	return strstr(line, "(postgres)") && end && end[1] == ' ' && (end[2] == 'Z' || end[2] == 'X');
}

static bool
memory_in_use(const PidFile *file)
{
	struct shmid_ds memory;

	return file->memory_id >= 0 && shmctl(file->memory_id, IPC_STAT, &memory) == 0 && memory.shm_nattch > 0;
}

bool
postmaster_has_remains(const char *data)
{
	PidFile		file = pidfile_read(data);

	return (file.pid > 1 && is_zombie(file.pid)) || memory_in_use(&file);
}

/* The kernel lets everybody see it. */
static bool
is_named_postgres(pid_t pid)
{
	char	   *path = xasprintf("/proc/%d/comm", (int) pid);
	char		name[16] = "";
	FILE	   *file = fopen(path, "re");

	if (file && !fgets(name, sizeof(name), file))
		name[0] = '\0';
	if (file)
		fclose(file);
	free(path);
	return strcmp(name, "postgres\n") == 0;
}

/* A dash stands for an underscore in options. */
static const char *
value_of(const char *option, const char *name)
{
	for (; *name && (*option == *name || (*option == '-' && *name == '_')); name++)
		option++;
	return !*name && *option == '=' ? option + 1 : NULL;
}

const char *
postmaster_option(char *const *options, const char *name)
{
	const char *value = NULL;

	for (int i = 0; options && options[i]; i++)
	{
		const char *option = options[i];
		const char *given;

		if (strcmp(option, "-c") == 0 && options[i + 1])
			option = options[++i];
		else if (strncmp(option, "-c", 2) == 0 || strncmp(option, "--", 2) == 0)
			option += 2;
		given = value_of(option, name);
		value = given ? given : value;
	}
	return value;
}

/* One that cannot be looked into (it has another user, or more rights) may be the postmaster if it has its number. */
static bool
may_work_in(pid_t pid, const char *data, pid_t postmaster)
{
	char		path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/cwd", (int) pid);
	if (stat(path, &st) < 0)
		return pid == postmaster && errno == EACCES && is_named_postgres(pid);
	return works_in(pid, data) && runs_postgres(pid);
}

bool
postmaster_gone(const char *data)
{
	PidFile		file = pidfile_read(data);
	struct dirent *entry;
	DIR		   *dir;
	bool		gone;

	if (access(data, F_OK) < 0)
		return errno == ENOENT;
	dir = opendir("/proc");
	gone = dir != NULL && !file.unreadable && !memory_in_use(&file);
	while (gone && (entry = readdir(dir)))
		gone = atoi(entry->d_name) <= 1 || !may_work_in(atoi(entry->d_name), data, file.pid);
	if (dir)
		closedir(dir);
	return gone;
}

/* The lock of the socket names the same process. */
static void
forget_socket(const PidFile *file)
{
	char	   *path = xasprintf("%s/.s.PGSQL.%d.lock", file->socket, file->port);
	char	   *text = file->socket[0] == '/' ? file_read(path, 4096, NULL) : NULL;

	if (text && atoi(text) == (int) file->pid && unlink(path) < 0 && errno != ENOENT)
		log_warning("could not remove \"%s\": %s", path, strerror(errno));
	free(text);
	free(path);
}

bool
postmaster_forget_stale(const char *data)
{
	PidFile		file = pidfile_read(data);
	char	   *path;
	bool		gone = true;

	if (file.pid <= 1)
		return true;
	if (postmaster_pid(data) != 0 || postmaster_has_remains(data))
		return false;
	path = xasprintf("%s/postmaster.pid", data);
	log_info("\"%s\" is of a server that is gone (process %d is another one, or none)", path, (int) file.pid);
	forget_socket(&file);
	if (unlink(path) < 0 && errno != ENOENT)
	{
		log_warning("could not remove \"%s\": %s", path, strerror(errno));
		gone = false;
	}
	free(path);
	return gone;
}
