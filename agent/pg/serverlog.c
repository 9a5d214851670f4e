/*
 * serverlog.c
 *		What the local server has logged since its last start, in any place that it may log to.
 */
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/pg/serverlog.h"

#define TAIL (64 * 1024)
#define FILES_MAX 8
#define NAMES_MAX (16 * 1024)
#define DEBIAN_LOG "/var/log/postgresql/postgresql-%.*s-%s.log"

/* A log as it was right before the start */
typedef struct Seen
{
	char	   *path;
	bool		there;
	struct stat st;
} Seen;

/* The last start of a server. By its data directory: jobs of before and after a reload have different instances. */
typedef struct Mark
{
	struct Mark *next;
	char	   *data;
	Seen		names;			/* DATA/current_logfiles */
	Seen		files[FILES_MAX];
	int			n_files;
} Mark;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Mark *marks;				/* of servers that this process has started */

/* ---- which files ---- */

/* Of a cluster VERSION/NAME, or VERSION: that is "main". malloc'd or NULL */
static char *
debian_log(const PgInstance *pg)
{
	size_t		version = pg->cluster ? strcspn(pg->cluster, "/-") : 0;

	if (version == 0)
		return NULL;
	return xasprintf(DEBIAN_LOG, (int) version, pg->cluster,
					 pg->cluster[version] ? pg->cluster + version + 1 : "main");
}

static int
add_path(char **paths, int n, char *path)
{
	for (int i = 0; path && i < n; i++)
		if (strcmp(paths[i], path) == 0)
		{
			free(path);
			path = NULL;
		}
	if (path && n == FILES_MAX)
	{
		free(path);
		path = NULL;
	}
	if (path)
		paths[n++] = path;
	return n;
}

/* A line a kind of log: "stderr log/postgresql.log", below DATA or from the root. */
static int
add_collected(const PgInstance *pg, char **paths, int n)
{
	char	   *names = xasprintf("%s/current_logfiles", pg->data);
	char	   *text = file_read(names, NAMES_MAX, NULL);
	char	   *rest = text;
	char	   *line;

	while ((line = strsep(&rest, "\n")) != NULL)
	{
		char	   *name = strchr(line, ' ');

		if (name && name[1])
			n = add_path(paths, n, name[1] == '/' ? xstrdup(name + 1) :
						 xasprintf("%s/%s", pg->data, name + 1));
	}
	free(text);
	free(names);
	return n;
}

static int
list_files(const PgInstance *pg, bool collected, char **paths)
{
	int			n = 0;

	if (pg->log)
		n = add_path(paths, n, xstrdup(pg->log));
	n = add_path(paths, n, debian_log(pg));
	return collected ? add_collected(pg, paths, n) : n;
}

/* ---- since when ---- */

static Seen
see(char *path)
{
	Seen		seen = {.path = path};

	seen.there = stat(path, &seen.st) == 0;
	return seen;
}

static void
forget(Mark *mark)
{
	free(mark->names.path);
	for (int i = 0; i < mark->n_files; i++)
		free(mark->files[i].path);
	mark->n_files = 0;
}

/* The lock is held. NULL: this process has not started that server. */
static Mark *
find_mark(const PgInstance *pg)
{
	Mark	   *mark = marks;

	while (mark && strcmp(mark->data, pg->data) != 0)
		mark = mark->next;
	return mark;
}

/* The lock is held. */
static Mark *
new_mark(const PgInstance *pg)
{
	Mark	   *mark = xalloc(sizeof(Mark));

	mark->data = xstrdup(pg->data);
	mark->next = marks;
	marks = mark;
	return mark;
}

void
serverlog_mark(const PgInstance *pg)
{
	char	   *paths[FILES_MAX];
	int			n = list_files(pg, true, paths);
	Mark	   *mark;

	pthread_mutex_lock(&lock);
	mark = find_mark(pg);
	if (mark)
		forget(mark);
	else
		mark = new_mark(pg);
	mark->names = see(xasprintf("%s/current_logfiles", pg->data));
	for (int i = 0; i < n; i++)
		mark->files[mark->n_files++] = see(paths[i]);
	pthread_mutex_unlock(&lock);
}

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The server writes the file at each start. A file of an earlier start names an earlier log. */
static bool
is_collecting(const Mark *mark)
{
	struct stat st;

	if (!mark || !mark->names.there)
		return true;
	return stat(mark->names.path, &st) == 0 &&
		!(same_file(&st, &mark->names.st) && st.st_mtim.tv_sec == mark->names.st.st_mtim.tv_sec &&
		  st.st_mtim.tv_nsec == mark->names.st.st_mtim.tv_nsec);
}

/* What was added since the mark; *since: it is, else the words of a start are to be looked for. */
static char *
read_new(const Mark *mark, const char *path, bool *since)
{
	off_t		from = 0;
	struct stat st;

	*since = false;
	for (int i = 0; mark && i < mark->n_files; i++)
	{
		const Seen *seen = &mark->files[i];

		if (strcmp(seen->path, path) != 0 || stat(path, &st) != 0)
			continue;
		*since = true;
		/* else another file, or emptied: all of it is new */
		if (seen->there && same_file(&st, &seen->st) && st.st_size >= seen->st.st_size)
			from = seen->st.st_size;
	}
	return file_tail(path, from, TAIL);
}

/* ---- words ---- */

static char *
csv_complaint(const char *line, const char *severity)
{
	char	   *field = xasprintf(",%s,", severity);
	const char *found = strstr(line, field);
	const char *message = found ? strchr(found + strlen(field), ',') : NULL;	/* after the SQLSTATE */
	char	   *complaint = NULL;

	if (message && message[1] == '"')
		complaint = xasprintf("%s:  %.*s", severity, (int) strcspn(message + 2, "\n"), message + 2);
	for (char *p = complaint ? complaint + strlen(severity) : NULL; p && *p; p++)
	{
		if (p[0] == '"' && p[1] == '"')
			memmove(p, p + 1, strlen(p));
		else if (p[0] == '"')
			*p-- = '\0';		/* the end of the field */
	}
	free(field);
	return complaint;
}

static char *
json_complaint(const char *line, const char *severity)
{
	char	   *field = xasprintf("\"error_severity\":\"%s\"", severity);
	const char *message = strstr(line, field) ? strstr(line, "\"message\":\"") : NULL;
	char	   *complaint = message ? xasprintf("%s:  %s", severity, message + 11) : NULL;

	for (char *p = complaint; p && *p; p++)
	{
		if (p[0] == '\\' && p[1])
			memmove(p, p + 1, strlen(p));
		else if (p[0] == '"')
			*p-- = '\0';
	}
	free(field);
	return complaint;
}

/* csvlog and jsonlog first: their messages may quote the line of another server. */
static char *
complaint_of(const char *line, const char *severity)
{
	char	   *word = xasprintf("%s:", severity);
	const char *found = strstr(line, word);
	char	   *complaint = csv_complaint(line, severity);

	if (!complaint)
		complaint = json_complaint(line, severity);
	if (!complaint && found)
		complaint = xstrdup(found);
	free(word);
	return complaint;
}

/* What a client was told is no word about the server's end. */
static bool
is_to_client(const char *complaint)
{
	static const char *const beginnings[] = {
		"the database system is ", "password authentication failed", "Peer authentication failed",
		"no pg_hba.conf entry", "terminating connection", "connection to client lost", "sorry, too many clients",
		"remaining connection slots", "role \"", "database \"", NULL
	};
	const char *message = complaint + strcspn(complaint, " ");

	message += strspn(message, " ");
	for (int i = 0; beginnings[i]; i++)
		if (strncmp(message, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	return false;
}

char *
serverlog_complaint(const char *line)
{
	char	   *complaint = complaint_of(line, "PANIC");

	if (!complaint)
		complaint = complaint_of(line, "FATAL");
	if (complaint && is_to_client(complaint))
	{
		free(complaint);
		complaint = NULL;
	}
	return complaint;
}

bool
serverlog_is_about_data(const char *complaint)
{
	/* a disk, rights, limits: of these another copy would suffer as well */
	static const char *const of_the_host[] = {
		"No space left on device", "Permission denied", "Too many open files", "Cannot allocate memory",
		"Disk quota exceeded", "Read-only file system", "Operation not permitted", NULL
	};
	static const char *const signs[] = {
		"PANIC:", "requested timeline ", "checkpoint record", "redo location", "before end of online backup",
		"before consistent recovery point", "cannot continue recovering", "has already been removed",
		"is not in this server's history", "is ahead of the WAL flush position", "history file",
		"incorrect checksum in control file", "control file contains invalid",
		"invalid data in file \"backup_label\"", "backup_label contains", "invalid page",
		"could not access status of transaction", "could not open file \"pg_wal/", "could not read file \"pg_wal/",
		"calculated CRC checksum does not match", NULL
	};

	for (int i = 0; of_the_host[i]; i++)
		if (strstr(complaint, of_the_host[i]))
			return false;
	for (int i = 0; signs[i]; i++)
		if (strstr(complaint, signs[i]))
			return true;
	return false;
}

typedef struct Words
{
	char	   *last;
	bool		about_data;
} Words;

/* At the words of a start, those of an earlier life are forgotten. */
static void
read_words(const Mark *mark, const char *path, Words *words)
{
	bool		since;
	char	   *text = read_new(mark, path, &since);
	char	   *start = text;
	char	   *rest;
	char	   *line;

	for (char *found = text; found && (found = strstr(found, "starting PostgreSQL")); found++)
	{
		start = found;
		since = true;
	}
	for (rest = since ? start : NULL; (line = strsep(&rest, "\n")) != NULL;)
	{
		char	   *complaint = serverlog_complaint(line);

		if (!complaint)
			continue;
		words->about_data |= serverlog_is_about_data(complaint);
		free(words->last);
		words->last = complaint;
	}
	free(text);
}

static Words
all_words(const PgInstance *pg)
{
	char	   *paths[FILES_MAX];
	Words		words = {0};
	const Mark *mark;
	int			n;

	pthread_mutex_lock(&lock);
	mark = find_mark(pg);
	n = list_files(pg, is_collecting(mark), paths);
	for (int i = 0; i < n; i++)
	{
		read_words(mark, paths[i], &words);
		free(paths[i]);
	}
	pthread_mutex_unlock(&lock);
	return words;
}

char *
serverlog_last_words(const PgInstance *pg)
{
	return all_words(pg).last;
}

bool
serverlog_blames_data(const PgInstance *pg)
{
	Words		words = all_words(pg);

	free(words.last);
	return words.about_data;
}
