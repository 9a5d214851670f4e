/*
 * place.c
 *		Where an upgrade is rehearsed.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/processes.h"
#include "agent/pg/control.h"
#include "agent/pg/stop.h"
#include "agent/rehearse/place.h"
#include "common/sqlstate.h"

#define FOLDER "pingpong.rehearsal"
#define REMEMBERED "rehearsal.folder"	/* in state_dir: the folder that was made, until it is removed */
#define KEPT "rehearsal"		/* in state_dir: the logs of the last one */
#define OWNER "owner"			/* of the folder: the agent that has made it */
#define OWNER_MAX 8192
#define CLAIM_TIMEOUT_MS 600000 /* an earlier one may still be removed */
#define SPARED_BYTES (256LL << 20)
#define STOP_TIMEOUT_MS 60000
#define GONE_MS 10000

/* ---- what it is ---- */

static PgInstance
instance(const Rehearsal *rehearsal, const PgInstance *like, const char *name)
{
	PgInstance	pg = *like;
	char	   *log = xasprintf("log/%s.log", name);

	pg.data = rehearsal_path(rehearsal, name);
	pg.log = rehearsal_path(rehearsal, log);
	pg.socket = rehearsal->folder;
	pg.control = PG_CONTROL_PG_CTL;
	free(log);
	return pg;
}

/* Takes over `folder`. */
static int
take_place(Rehearsal *rehearsal, char *folder)
{
	rehearsal->folder = folder;
	rehearsal->old = instance(rehearsal, rehearsal->upgrade.old, "old");
	rehearsal->new = instance(rehearsal, rehearsal->upgrade.new, "new");
	rehearsal->claimed = server_claim_wait(rehearsal->upgrade.ctx, folder, CLAIM_TIMEOUT_MS) == 0;
	return rehearsal->claimed ? 0 : -1;
}

int
rehearsal_open(ActionContext *ctx, json_t *params, Rehearsal *rehearsal)
{
	memset(rehearsal, 0, sizeof(*rehearsal));
	if (upgrade_open(ctx, params, &rehearsal->upgrade) < 0)
		return -1;
	if (rehearsal->upgrade.new->rehearsal)
		return take_place(rehearsal, xasprintf("%s/" FOLDER, rehearsal->upgrade.new->rehearsal));
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the agent of node \"%s\" knows no place for a rehearsal",
				ctx->config->node);
	action_hint(ctx, "Name a folder with room for a copy in its configuration: \"rehearsal\" in [%s].",
				rehearsal->upgrade.new->section);
	return -1;
}

int
rehearsal_open_left(ActionContext *ctx, Rehearsal *rehearsal)
{
	char	   *path = xasprintf("%s/" REMEMBERED, ctx->config->state_dir);
	char	   *folder = file_read(path, PATH_MAX, NULL);
	int			reason = errno;
	int			rc = 0;

	memset(rehearsal, 0, sizeof(*rehearsal));
	rehearsal->upgrade = (Upgrade) {.ctx = ctx,.old = ctx->pg,.new = ctx->pg};
	if (folder)
		rc = take_place(rehearsal, folder);
	else if (reason != ENOENT)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not read \"%s\": %s", path, strerror(reason));
	free(path);
	return rc;
}

void
rehearsal_close(Rehearsal *rehearsal)
{
	PgInstance *both[] = {&rehearsal->old, &rehearsal->new};

	if (rehearsal->claimed)
		server_release(rehearsal->folder);
	for (int i = 0; i < 2; i++)
	{
		free(both[i]->data);
		free(both[i]->log);
	}
	free(rehearsal->folder);
}

char *
rehearsal_path(const Rehearsal *rehearsal, const char *name)
{
	return xasprintf("%s/%s", rehearsal->folder, name);
}

ActionContext
rehearsal_on(const Rehearsal *rehearsal, const PgInstance *pg)
{
	return upgrade_on(&rehearsal->upgrade, pg);
}

/* ---- whose it is ---- */

/* No two agents of a host have one state_dir; hosts may share a disk. */
static char *
owner(const Rehearsal *rehearsal)
{
	const AgentConfig *config = rehearsal->upgrade.ctx->config;

	return xasprintf("%s %s\n", config->node, config->state_dir);
}

static bool
is_others(const Rehearsal *rehearsal)
{
	char	   *path = rehearsal_path(rehearsal, OWNER);
	char	   *told = file_read(path, OWNER_MAX, NULL);
	char	   *own = owner(rehearsal);
	bool		others = told && strcmp(told, own) != 0;

	free(own);
	free(told);
	free(path);
	return others;
}

int
rehearsal_check_own(const Rehearsal *rehearsal)
{
	ActionContext *ctx = rehearsal->upgrade.ctx;

	if (!is_others(rehearsal))
		return 0;
	action_fail(ctx, STATE_OBJECT_IN_USE, "another agent rehearses in \"%s\"", rehearsal->folder);
	action_hint(ctx, "Name another folder in the configuration of one of them, or wait. \"" OWNER "\" in the folder "
				"has its node and its state_dir; if that agent is no more, remove the folder.");
	return -1;
}

/* A link leads to what is not ours, and in a folder that others can open they could reach the clone. */
static int
check_closed(const Rehearsal *rehearsal)
{
	ActionContext *ctx = rehearsal->upgrade.ctx;
	struct stat st;

	if (lstat(rehearsal->folder, &st) < 0)
		return errno == ENOENT ? 0 :
			action_fail(ctx, STATE_IO_ERROR, "could not look at \"%s\": %s", rehearsal->folder, strerror(errno));
	if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 0077) == 0)
		return 0;
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "\"%s\" is not a folder that only this agent can open",
				rehearsal->folder);
	action_hint(ctx, "Look at what it is, and remove it.");
	return -1;
}

/* ---- its disk ---- */

const char *
rehearsal_spares(Rehearsal *rehearsal)
{
	struct statvfs disk;

	rehearsal->full |= statvfs(rehearsal->folder, &disk) == 0 &&
		(long long) disk.f_bavail * (long long) disk.f_frsize < SPARED_BYTES;
	return rehearsal->full ? "was ended" : NULL;
}

int
rehearsal_check_full(Rehearsal *rehearsal)
{
	if (!rehearsal->full)
		return 0;
	action_forget_error(rehearsal->upgrade.ctx);
	return action_fail(rehearsal->upgrade.ctx, STATE_DISK_FULL,
					   "the rehearsal was ended: the disk of \"%s\" has less than %lld MB left", rehearsal->folder,
					   SPARED_BYTES >> 20);
}

/* ---- its end ---- */

/* The agent of the rehearsal and the programs that it runs; a person's shell may be there, too. */
static const char *const orderers[] = {"pg_", "psql", "vacuumdb", "initdb", "pingpong-agent", NULL};
static const char *const servers[] = {"postgres", NULL};

typedef struct Programs
{
	const char *folder;
	const char *const *names;	/* what they begin with */
} Programs;

/* All that is started for a rehearsal has its working directory in the folder. */
static bool
works_in(pid_t pid, const void *argument)
{
	const Programs *programs = argument;
	size_t		len = strlen(programs->folder);
	char	   *path = xasprintf("/proc/%d/cwd", (int) pid);
	char		place[PATH_MAX];
	ssize_t		n = readlink(path, place, sizeof(place) - 1);

	free(path);
	place[n > 0 ? n : 0] = '\0';
	return strncmp(place, programs->folder, len) == 0 && (place[len] == '/' || !place[len]) &&
		process_is_named(pid, programs->names);
}

static int
stop_server(Rehearsal *rehearsal, const PgInstance *pg)
{
	ActionContext on = rehearsal_on(rehearsal, pg);

	return file_exists(pg->data) ? control_stop(&on, true, STOP_TIMEOUT_MS) : 0;
}

static int
await_server(Rehearsal *rehearsal, const PgInstance *pg)
{
	ActionContext on = rehearsal_on(rehearsal, pg);

	return file_exists(pg->data) ? server_await_remains(&on, clock_monotonic_ms() + GONE_MS) : 0;
}

static int
end_programs(Rehearsal *rehearsal, const char *folder, const char *const *names)
{
	Programs	programs = {folder, names};

	if (processes_end(works_in, &programs, GONE_MS, "it is of a rehearsal that is over"))
		return 0;
	return action_fail(rehearsal->upgrade.ctx, STATE_NOT_IN_PREREQUISITE_STATE,
					   "processes of a rehearsal do not end");
}

/*
 * The agent of the rehearsal before its servers, which it would start again. These are told to end: a server that is
 * killed leaves its shared memory behind, for ever.
 */
static int
end_all(Rehearsal *rehearsal)
{
	char	   *folder = realpath(rehearsal->folder, NULL);
	int			rc;

	if (!folder)
		return errno == ENOENT ? 0 :
			action_fail(rehearsal->upgrade.ctx, STATE_IO_ERROR, "could not look into \"%s\": %s", rehearsal->folder,
						strerror(errno));
	rc = end_programs(rehearsal, folder, orderers) < 0 || stop_server(rehearsal, &rehearsal->old) < 0 ||
		stop_server(rehearsal, &rehearsal->new) < 0 || end_programs(rehearsal, folder, servers) < 0 ||
		await_server(rehearsal, &rehearsal->old) < 0 || await_server(rehearsal, &rehearsal->new) < 0 ? -1 : 0;
	free(folder);
	return rc;
}

static void
keep_file(const char *from, const char *kept, const char *name)
{
	char	   *to = xasprintf("%s/%s", kept, name);

	if (file_copy(from, to) < 0)
		log_warning("could not keep \"%s\": %s", from, strerror(errno));
	free(to);
}

/* The files of all folders below come into one: their names differ. Not the dumps, which have passwords of roles. */
static void
keep_files(const char *folder, const char *kept)
{
	DIR		   *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
	{
		char	   *path = xasprintf("%s/%s", folder, entry->d_name);
		struct stat st;

		if (entry->d_name[0] != '.' && lstat(path, &st) == 0)
		{
			if (S_ISDIR(st.st_mode) && strcmp(entry->d_name, "dump") != 0)
				keep_files(path, kept);
			else if (S_ISREG(st.st_mode))
				keep_file(path, kept, entry->d_name);
		}
		free(path);
	}
	if (dir)
		closedir(dir);
}

/* Those of the servers; and what pg_upgrade has said, as the agent of the rehearsal has kept it, or where it was. */
static void
keep_logs(const Rehearsal *rehearsal)
{
	static const char *const names[] = {"log", "state/upgrade/" UPGRADE_LOGS, "new/" UPGRADE_LOGS, NULL};
	char	   *kept = xasprintf("%s/" KEPT, rehearsal->upgrade.ctx->config->state_dir);
	char	   *logs = rehearsal_path(rehearsal, names[0]);

	if (file_exists(logs) && remove_tree(kept) == 0 && make_directory(kept, 0700) == 0)
		for (int i = 0; names[i]; i++)
		{
			char	   *folder = rehearsal_path(rehearsal, names[i]);

			keep_files(folder, kept);
			free(folder);
		}
	free(logs);
	free(kept);
}

static int
remove_folder(Rehearsal *rehearsal)
{
	if (is_others(rehearsal))
		return 0;				/* so nothing of ours is there */
	if (check_closed(rehearsal) < 0 || end_all(rehearsal) < 0)
		return -1;
	keep_logs(rehearsal);
	if (remove_tree(rehearsal->folder) == 0)
		return 0;
	return action_fail(rehearsal->upgrade.ctx, STATE_IO_ERROR, "could not remove \"%s\": %s", rehearsal->folder,
					   strerror(errno));
}

int
rehearsal_remove(Rehearsal *rehearsal)
{
	char	   *path = xasprintf("%s/" REMEMBERED, rehearsal->upgrade.ctx->config->state_dir);
	int			rc = remove_folder(rehearsal);

	if (rc == 0 && remove_tree(path) < 0)
		rc = action_fail(rehearsal->upgrade.ctx, STATE_IO_ERROR, "could not remove \"%s\": %s", path,
						 strerror(errno));
	free(path);
	return rc;
}

/* Where another folder was configured. */
static int
remove_left(const Rehearsal *rehearsal)
{
	Rehearsal	left;
	int			rc = 0;
	char	   *path = xasprintf("%s/" REMEMBERED, rehearsal->upgrade.ctx->config->state_dir);
	char	   *folder = file_read(path, PATH_MAX, NULL);

	if (folder && strcmp(folder, rehearsal->folder) != 0)
	{
		rc = rehearsal_open_left(rehearsal->upgrade.ctx, &left) < 0 || rehearsal_remove(&left) < 0 ? -1 : 0;
		rehearsal_close(&left);
	}
	free(folder);
	free(path);
	return rc;
}

/* A clear that came before has seen nothing to remove: then this job is cancelled. */
static int
remember(const Rehearsal *rehearsal)
{
	ActionContext *ctx = rehearsal->upgrade.ctx;
	char	   *path = xasprintf("%s/" REMEMBERED, ctx->config->state_dir);
	int			rc = file_write_atomic(path, rehearsal->folder, strlen(rehearsal->folder), 0600, true);

	if (rc < 0)
		action_fail(ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path, strerror(errno));
	else if (action_cancelled(ctx))
		rc = action_fail(ctx, STATE_CANCELED, "the job was cancelled");
	free(path);
	return rc;
}

static int
make_folder(const Rehearsal *rehearsal, const char *path)
{
	if (make_directory(path, 0700) == 0)
		return 0;
	return action_fail(rehearsal->upgrade.ctx, STATE_IO_ERROR, "could not make \"%s\": %s", path, strerror(errno));
}

static int
write_owner(const Rehearsal *rehearsal)
{
	char	   *path = rehearsal_path(rehearsal, OWNER);
	char	   *text = owner(rehearsal);
	int			rc = file_write_atomic(path, text, strlen(text), 0600, false);

	if (rc < 0)
		action_fail(rehearsal->upgrade.ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path, strerror(errno));
	free(text);
	free(path);
	return rc;
}

int
rehearsal_make(Rehearsal *rehearsal)
{
	static const char *const names[] = {"log", "state", "spaces", NULL};
	int			rc = rehearsal_check_own(rehearsal) < 0 || remove_left(rehearsal) < 0 ||
		rehearsal_remove(rehearsal) < 0 || remember(rehearsal) < 0 ||
		make_folder(rehearsal, rehearsal->folder) < 0 || check_closed(rehearsal) < 0 ||
		write_owner(rehearsal) < 0 ? -1 : 0;

	for (int i = 0; rc == 0 && names[i]; i++)
	{
		char	   *path = rehearsal_path(rehearsal, names[i]);

		rc = make_folder(rehearsal, path);
		free(path);
	}
	return rc;
}
