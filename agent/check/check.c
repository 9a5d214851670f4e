/*
 * check.c
 *		--check: the configuration and what it can reach, one line for each thing.
 *
 * Everything that the configuration names is opened or tried, as the present user. That must be the user of the
 * agent.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/check/alerts.h"
#include "agent/check/arbiter.h"
#include "agent/check/backup.h"
#include "agent/check/check.h"
#include "agent/check/pooler.h"
#include "agent/check/postgres.h"
#include "agent/check/say.h"
#include "agent/check/tls.h"
#include "agent/core/address.h"
#include "agent/core/alloc.h"
#include "agent/core/call.h"
#include "agent/core/config.h"
#include "agent/core/configread.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/route/drivers.h"
#include "agent/http/listen.h"

#define STATE_BYTES_MIN (16 << 20)	/* jobs, tokens, the node's own files during a rebuild */

static void
check_user(void)
{
	struct passwd *entry = getpwuid(geteuid());

	if (geteuid() == 0)
		check_warn("checked as root, who may read everything: run this as the user of the agent");
	else
		check_say(true, "checked as user %s", entry ? entry->pw_name : "without a name");
}

/* ---- state_dir ---- */

/* A running agent holds the lock of its folder. */
static bool
agent_runs(const AgentConfig *config)
{
	char	   *path = xasprintf("%s/lock", config->state_dir);
	int			fd = open(path, O_RDWR | O_CLOEXEC);
	bool		held = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;

	if (fd >= 0)
		close(fd);
	free(path);
	return held;
}

/* As a job is written: a new file, fsync, rename, fsync of the folder. */
static void
check_state_write(const AgentConfig *config)
{
	char	   *path = xasprintf("%s/check.%d", config->state_dir, (int) getpid());
	int			rc = file_write_atomic(path, "check\n", 6, 0600, true);

	check_say(rc == 0, "state_dir %s can be written%s%s", config->state_dir, rc ? ": " : "",
			  rc ? strerror(errno) : "");
	unlink(path);
	free(path);
}

static void
check_state_room(const AgentConfig *config)
{
	struct statvfs fs;
	unsigned long long room;

	if (statvfs(config->state_dir, &fs) < 0)
		return;
	room = (unsigned long long) fs.f_bavail * fs.f_frsize;
	check_say(room >= STATE_BYTES_MIN && (fs.f_files == 0 || fs.f_favail > 100), "state_dir %s has room (%llu MB)",
			  config->state_dir, room >> 20);
}

static void
check_state(const AgentConfig *config)
{
	struct stat st;
	char	   *parent = xstrdup(config->state_dir);

	if (stat(config->state_dir, &st) < 0 && errno == ENOENT)
		check_say(access(dirname(parent), W_OK | X_OK) == 0, "state_dir %s does not exist, and can be made",
				  config->state_dir);
	else if (stat(config->state_dir, &st) < 0 || !S_ISDIR(st.st_mode))
		check_say(false, "state_dir %s is a folder", config->state_dir);
	else
	{
		check_say(st.st_uid == geteuid(), "state_dir %s belongs to this user", config->state_dir);
		check_say((st.st_mode & 022) == 0, "state_dir %s is writable by its owner alone", config->state_dir);
		check_state_write(config);
		check_state_room(config);
	}
	free(parent);
}

/* ---- listen ---- */

static void
check_listen_address(const AgentConfig *config, const char *option, const char *text, bool tls)
{
	ListenAddress address;
	int			fd;
	int			why;

	listen_parse(text, &address);
	fd = listen_open(&address);
	why = errno;
	if (fd >= 0)
		check_say(true, "%s %s%s", option, text, tls ? " with TLS" : "");
	else if (why == EADDRINUSE && agent_runs(config))
		check_say(true, "%s %s: by the agent that runs", option, text);
	else
		check_say(false, "%s %s: %s", option, text, strerror(why));
	if (fd >= 0)
		close(fd);
	if (fd >= 0 && address.address.any.sa_family == AF_UNIX)
		unlink(address.address.unix_.sun_path);
}

/* ---- metrics and the status page ---- */

static void
check_monitoring(const AgentConfig *config)
{
	if (config->monitor_token_file)
		check_say(true, "monitor_token_file %s", config->monitor_token_file);	/* was read, too */
	for (char *const *open = config->without_credentials; open && *open; open++)
		check_warn("without_credentials: %s can be seen by whoever reaches %s", *open, config->listen);
	if (!config->monitor_token_file && !config_is_open(config, OPEN_PAGE) && !config->tls_client_ca)
		check_say(true, "no browser can log in to the status page: there is no monitor_token_file");
}

/* ---- hooks ---- */

/* A user that can change a hook can do what the agent can. */
static void
check_hook(const HookConfig *hook)
{
	char	   *copy = xstrdup(hook->argv[0]);
	struct stat st;
	struct stat folder;
	bool		found = stat(hook->argv[0], &st) == 0;

	check_say(found && S_ISREG(st.st_mode) && access(hook->argv[0], X_OK) == 0, "hook %s: %s can be executed",
			  hook->name, hook->argv[0]);
	if (found && stat(dirname(copy), &folder) == 0)
		check_say((st.st_uid == 0 || st.st_uid == geteuid()) && (st.st_mode & 022) == 0 &&
				  (folder.st_uid == 0 || folder.st_uid == geteuid()) && (folder.st_mode & 022) == 0,
				  "hook %s: %s can be changed by root or this user alone", hook->name, hook->argv[0]);
	free(copy);
}

int
check_run(const char *path)
{
	char		error[512];
	AgentConfig *config = config_read(path, error, sizeof(error));

	call_startup();
	check_user();
	check_say(config != NULL, "configuration %s%s%s", path, config ? "" : ": ", config ? "" : error);
	if (!config)
		return 1;
	log_set_level(LOG_LEVEL_ERROR);
	if (config->token_file)
		check_say(true, "token_file %s", config->token_file);	/* was read, or the configuration would have failed */
	check_monitoring(config);
	check_tls(config);
	check_state(config);
	check_listen_address(config, "listen", config->listen, config->tls_cert != NULL);
	if (config->health_listen)
		check_listen_address(config, "health_listen", config->health_listen, false);
	check_postgres(config);
	for (int i = 0; i < config->n_bouncers; i++)
		check_bouncer(&config->bouncers[i]);
	for (int i = 0; i < config->n_sections; i++)
	{
		const RouteDriver *driver = driver_find(config->sections[i].kind);

		if (driver && driver->check)
			driver->check(&config->sections[i], check_say);
	}
	check_alerts(config);
	check_arbiter(config);
	check_backup(config);
	for (int i = 0; i < config->n_hooks; i++)
		check_hook(&config->hooks[i]);
	config_free(config);
	return check_failures ? 1 : 0;
}
