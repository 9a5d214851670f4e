/*
 * lost.c
 *		The transactions that only this node has: listed before they are given up, and kept aside as WAL.
 *
 * pg_rewind and a base backup destroy them. The copy is whole when its list is there: that is written last. It is
 * never removed by us. What the copy is good for: pg_waldump reads it, and so does a server that is restored to that
 * timeline from a backup.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/job/action.h"
#include "agent/job/child.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/rejoin/lost.h"
#include "agent/rejoin/lostlist.h"
#include "agent/rejoin/source.h"
#include "common/sqlstate.h"

#define KEEP_LIST_MS 600000
#define NAME_MS 2000
#define SPARE_BYTES (64ULL * 1024 * 1024)	/* what the copy leaves free */
#define LIST_FILE "lost.json"
#define SEGMENT_NAME 24

/* ---- names ---- */

/* A session in that database of the source; NULL: it cannot be had. `name` gets what it is called. */
static PGconn *
connect_database(const Rejoin *rejoin, PGconn *any, unsigned database, char *name, size_t size)
{
	char		oid[16];
	const char *values[] = {oid};
	PGresult   *res;
	char	   *conninfo;
	PGconn	   *conn = NULL;

	snprintf(oid, sizeof(oid), "%u", database);
	res = pg_query(any, NULL, 0, "SELECT datname, pg_catalog.replace(pg_catalog.replace(datname, '\\', '\\\\'), "
				   "'''', '\\''') FROM pg_catalog.pg_database WHERE oid = $1::pg_catalog.oid", 1, values);
	if (res && PQntuples(res) == 1)
	{
		snprintf(name, size, "%s", PQgetvalue(res, 0, 0));
		conninfo = xasprintf("%s dbname='%s'", rejoin->pg->rewind, PQgetvalue(res, 0, 1));
		conn = pg_remote(conninfo, rejoin->upstream.host, rejoin->upstream.port_number, false, NULL, 0);
		free(conninfo);
	}
	PQclear(res);
	if (conn)
		pg_set_limit(conn, NAME_MS);
	return conn;
}

/* NULL: it is one of the system's, or not known by that number any more: `known` tells. */
static char *
name_relation(PGconn *conn, const LostRelation *relation, bool *known)
{
	char		space[16];
	char		file[16];
	const char *values[] = {space, file};
	PGresult   *res;
	char	   *name = NULL;

	snprintf(space, sizeof(space), "%u", relation->space);
	snprintf(file, sizeof(file), "%u", relation->file);
	res = pg_query(conn, NULL, 0, "SELECT CASE WHEN n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' THEN "
				   "pg_catalog.format('%I.%I', n.nspname, c.relname) END FROM pg_catalog.pg_class c "
				   "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = "
				   "pg_catalog.pg_filenode_relation($1::pg_catalog.oid, $2::pg_catalog.oid)", 2, values);
	*known = res && PQntuples(res) == 1;
	if (*known && !PQgetisnull(res, 0, 0))
		name = xstrdup(PQgetvalue(res, 0, 0));
	PQclear(res);
	return name;
}

static void
add_relation(json_t *relations, const char *database, const char *name, const LostRelation *r)
{
	json_array_append_new(relations, json_pack("{s:s, s:s, s:I, s:I, s:I}", "database", database, "relation", name,
											   "inserted", (json_int_t) r->inserted, "updated",
											   (json_int_t) r->updated, "deleted", (json_int_t) r->deleted));
}

/* Those of one database; of the others' numbers nothing is known here. */
static void
name_relations(const Rejoin *rejoin, PGconn *any, const LostList *list, unsigned database, json_t *relations)
{
	char		name[80] = "";
	PGconn	   *conn = any ? connect_database(rejoin, any, database, name, sizeof(name)) : NULL;

	for (int i = 0; i < list->n; i++)
	{
		const LostRelation *relation = &list->relations[i];
		bool		known = false;
		char	   *text;

		if (relation->database != database)
			continue;
		text = conn ? name_relation(conn, relation, &known) : NULL;
		/* a table that was made past the fork has no name that the source knows; numbers below are the system's */
		if (!known && relation->file >= 16384)
			text = xasprintf("file %u", relation->file);
		if (text)
			add_relation(relations, name[0] ? name : "?", text, relation);
		free(text);
	}
	PQfinish(conn);
}

static json_t *
relations_of(Rejoin *rejoin, const LostList *list)
{
	json_t	   *relations = json_array();
	PGconn	   *any = list->n > 0 ? source_connect(rejoin->ctx, &rejoin->source) : NULL;

	if (!any && list->n > 0)
		action_forget_error(rejoin->ctx);
	for (int i = 0; i < list->n; i++)
	{
		bool		first = true;

		for (int before = 0; before < i; before++)
			first &= list->relations[before].database != list->relations[i].database;
		if (first)
			name_relations(rejoin, any, list, list->relations[i].database, relations);
	}
	PQfinish(any);
	return relations;
}

/* ---- the list ---- */

static void
feed(void *list, const char *data, size_t size)
{
	lost_feed(list, data, size);
}

json_t *
lost_list(Rejoin *rejoin, int limit_ms)
{
	unsigned long long fork = source_fork(&rejoin->source, rejoin->timeline);
	char	   *program = bin_path(rejoin->pg, "pg_waldump");
	char	   *wal = xasprintf("%s/pg_wal", rejoin->place);
	char		timeline[16];
	char		start[32];
	char	   *argv[] = {program, "-p", wal, "-t", timeline, "-s", start, NULL};
	LostList   *list = xalloc(sizeof(LostList));
	json_t	   *json = NULL;
	int			rc;

	snprintf(timeline, sizeof(timeline), "%u", rejoin->timeline);
	snprintf(start, sizeof(start), "%X/%X", (unsigned) (fork >> 32), (unsigned) fork);
	rc = child_run_told(argv, limit_ms, feed, list);
	/* the end of WAL is an error to pg_waldump */
	if (list->records > 0)
		json = json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:o, s:b, s:i}", "commits", (json_int_t) list->commits,
						 "records", (json_int_t) list->records, "from", list->first_lsn, "to", list->last_lsn,
						 "first_commit", list->first_commit, "last_commit", list->last_commit, "relations",
						 relations_of(rejoin, list), "complete", rc >= 0 && !list->more && !list->coarse,
						 "timeline", (int) rejoin->timeline);
	else
		log_warning("pg_waldump tells nothing of the WAL behind %s on timeline %s (status %d)", start, timeline, rc);
	lost_free(list);
	free(list);
	free(wal);
	free(program);
	return json;
}

char *
lost_sentence(json_t *list)
{
	Text		text = {0};
	json_t	   *relation;
	size_t		i;
	long		commits = (long) json_integer_value(json_object_get(list, "commits"));

	text_addf(&text, "It has %ld committed transaction%s there, from %s to %s", commits, commits == 1 ? "" : "s",
			 json_string_value(json_object_get(list, "from")), json_string_value(json_object_get(list, "to")));
	if (commits > 0)
		text_addf(&text, " (%s to %s)", json_string_value(json_object_get(list, "first_commit")),
				 json_string_value(json_object_get(list, "last_commit")));
	json_array_foreach(json_object_get(list, "relations"), i, relation)
	{
		if (i == 10)
		{
			text_addf(&text, "; and %zu more relations", json_array_size(json_object_get(list, "relations")) - i);
			break;
		}
		text_addf(&text, "%s%s (%s): %lld inserted, %lld updated, %lld deleted", i ? "; " : ". Rows: ",
				 json_string_value(json_object_get(relation, "relation")),
				 json_string_value(json_object_get(relation, "database")),
				 (long long) json_integer_value(json_object_get(relation, "inserted")),
				 (long long) json_integer_value(json_object_get(relation, "updated")),
				 (long long) json_integer_value(json_object_get(relation, "deleted")));
	}
	text_addf(&text, "%s", json_is_true(json_object_get(list, "complete")) ? "." : ". The list is not complete.");
	return text.data;
}

/* ---- the copy ---- */

/* The part of a segment's name that stands for its place, as a number; false: it is none of that timeline. */
static bool
segment_number(const char *name, unsigned timeline, unsigned long long size, unsigned long long *number)
{
	unsigned	tli,
				high,
				low;

	if (strlen(name) != SEGMENT_NAME || strspn(name, "0123456789ABCDEF") != SEGMENT_NAME ||
		sscanf(name, "%8X%8X%8X", &tli, &high, &low) != 3 || tli != timeline)
		return false;
	*number = high * (0x100000000ULL / size) + low;
	return true;
}

static int
copy_file(const char *from, const char *to)
{
	int			in = open(from, O_RDONLY | O_CLOEXEC);
	int			out = in < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char		buffer[65536];
	ssize_t		n = 0;
	int			rc = out < 0 ? -1 : 0;
	int			reason;

	while (rc == 0 && (n = read(in, buffer, sizeof(buffer))) > 0)
		rc = file_write_all(out, buffer, n);
	if (n < 0 || (rc == 0 && fsync(out) < 0))
		rc = -1;
	reason = errno;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	errno = reason;
	return rc;
}

typedef struct Kept
{
	const char *wal;
	const char *folder;
	unsigned	timeline;
	unsigned long long fork;
	unsigned long long bytes;
} Kept;

/* The segments from that of the fork on; `folder` NULL: only their bytes. */
static int
each_segment(Kept *kept, bool copy)
{
	DIR		   *dir = opendir(kept->wal);
	struct dirent *entry;
	int			rc = dir ? 0 : -1;

	kept->bytes = 0;
	while (rc == 0 && (errno = 0, entry = readdir(dir)))
	{
		char	   *from = xasprintf("%s/%s", kept->wal, entry->d_name);
		char	   *to = xasprintf("%s/%s", kept->folder, entry->d_name);
		unsigned long long number;
		struct stat st;

		if (stat(from, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
			segment_number(entry->d_name, kept->timeline, st.st_size, &number) &&
			number >= kept->fork / (unsigned long long) st.st_size)
		{
			kept->bytes += st.st_size;
			if (copy)
				rc = copy_file(from, to);
		}
		free(to);
		free(from);
	}
	if (rc == 0 && errno != 0)
		rc = -1;
	if (dir)
		closedir(dir);
	return rc;
}

static int
check_room(Rejoin *rejoin, const Kept *kept)
{
	struct statvfs fs;

	if (statvfs(kept->folder, &fs) < 0 || (unsigned long long) fs.f_bavail * fs.f_frsize >= kept->bytes + SPARE_BYTES)
		return 0;
	action_fail(rejoin->ctx, STATE_DISK_FULL, "there is no room in \"%s\" to keep what would be lost", kept->folder);
	action_detail(rejoin->ctx, "The WAL past the fork has %llu MB.", kept->bytes >> 20);
	action_hint(rejoin->ctx, "Make room there, or save what clients wrote and empty the data directory.");
	return -1;
}

static int
write_list(const Kept *kept, json_t *list)
{
	char	   *path = xasprintf("%s/" LIST_FILE, kept->folder);
	char	   *text = json_dumps(list, JSON_INDENT(1));
	int			rc = file_write_atomic(path, text, strlen(text), 0600, true);

	free(text);
	free(path);
	return rc;
}

/* What is kept of this fork already: a new reference, or NULL. */
static json_t *
kept_before(const char *folder)
{
	char	   *path = xasprintf("%s/" LIST_FILE, folder);
	json_t	   *list = json_load_file(path, 0, NULL);

	free(path);
	return list;
}

static json_t *
make_copy(Rejoin *rejoin, Kept *kept)
{
	json_t	   *list;
	int			rc = make_directory(kept->folder, 0700);

	action_progress(rejoin->ctx, -1, "keeping what would be lost");
	if (rc == 0)
		rc = each_segment(kept, false);
	if (rc == 0 && check_room(rejoin, kept) < 0)
		return NULL;
	if (rc == 0)
		rc = each_segment(kept, true);
	list = rc == 0 ? lost_list(rejoin, KEEP_LIST_MS) : NULL;
	if (rc == 0 && !list)		/* kept all the same: somebody may read it by other means */
		list = json_pack("{s:b, s:i}", "complete", 0, "timeline", (int) kept->timeline);
	if (rc == 0)
	{
		json_object_set_new(list, "kept", json_string(kept->folder));
		json_object_set_new(list, "bytes", json_integer((json_int_t) kept->bytes));
		rc = write_list(kept, list);
	}
	if (rc == 0)
		return list;
	json_decref(list);
	action_fail(rejoin->ctx, STATE_IO_ERROR, "could not keep what would be lost in \"%s\": %s", kept->folder,
				strerror(errno));
	return NULL;
}

int
lost_keep(Rejoin *rejoin)
{
	char	   *wal = xasprintf("%s/pg_wal", rejoin->place);
	unsigned long long fork = source_fork(&rejoin->source, rejoin->timeline);
	char	   *folder = xasprintf("%s/lost/%08X-%08X-%08X", rejoin->ctx->config->state_dir, rejoin->timeline,
								   (unsigned) (fork >> 32), (unsigned) fork);
	Kept		kept = {wal, folder, rejoin->timeline, fork, 0};
	json_t	   *list = kept_before(folder);

	if (!list)
		list = make_copy(rejoin, &kept);
	if (list)
		json_object_set_new(rejoin->result, "lost", list);
	free(folder);
	free(wal);
	return list ? 0 : -1;
}
