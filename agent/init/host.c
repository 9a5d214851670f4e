/*
 * host.c
 *		What is on this host: a PostgreSQL cluster, PgBouncer, the user of the agent.
 *
 * Clusters are those of Debian (/etc/postgresql/VERSION/NAME, as pg_lsclusters reads it) and those whose postmaster
 * runs. Of several one must be named: a guess would give the agent the wrong server to stop.
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/init/host.h"
#include "agent/init/say.h"
#include "agent/pg/formats.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/rights.h"
#include "agent/route/bouncerini.h"

#define DEBIAN_CLUSTERS "/etc/postgresql"
#define DEBIAN_BOUNCER "/etc/pgbouncer/pgbouncer.ini"
#define SOCKETS "/var/run/postgresql"
#define CONF_MAX (4 * 1024 * 1024)
#define FOUND_MAX 16

typedef struct Found
{
	PgInstance	clusters[FOUND_MAX];
	int			n;
} Found;

static bool
systemd_runs(void)
{
	return access("/run/systemd/system", F_OK) == 0;
}

static void
add_cluster(Found *found, const PgInstance *cluster)
{
	for (int i = 0; i < found->n; i++)
		if (strcmp(found->clusters[i].data, cluster->data) == 0)
			return;
	if (found->n < FOUND_MAX)
		found->clusters[found->n++] = *cluster;
}

/* ---- Debian's clusters ---- */

static void
add_debian(Found *found, const char *version, const char *name)
{
	char	   *path = xasprintf(DEBIAN_CLUSTERS "/%s/%s/postgresql.conf", version, name);
	char	   *text = file_read(path, CONF_MAX, NULL);
	char	   *port = text ? conf_value(text, "port") : NULL;
	char	   *socket = text ? conf_value(text, "unix_socket_directories") : NULL;
	PgInstance	pg = {.name = "", .section = "postgresql", .control = PG_CONTROL_PG_CTLCLUSTER};

	if (text)
	{
		pg.data = conf_value(text, "data_directory");
		if (!pg.data)
			pg.data = xasprintf("/var/lib/postgresql/%s/%s", version, name);
		pg.port = port ? atoi(port) : INIT_PG_PORT;
		if (socket)
			socket[strcspn(socket, ",")] = '\0';
		pg.socket = xstrdup(socket && *socket ? socket : SOCKETS);
		pg.bin = xasprintf("/usr/lib/postgresql/%s/bin", version);
		pg.cluster = xasprintf("%s/%s", version, name);
		if (systemd_runs() && !strchr(name, '-'))
		{
			pg.control = PG_CONTROL_SYSTEMCTL;
			pg.unit = xasprintf("postgresql@%s-%s", version, name);
		}
		add_cluster(found, &pg);
	}
	free(socket);
	free(port);
	free(text);
	free(path);
}

static void
find_debian(Found *found)
{
	DIR		   *versions = opendir(DEBIAN_CLUSTERS);
	struct dirent *version;
	struct dirent *name;

	while (versions && (version = readdir(versions)))
	{
		char	   *path = xasprintf(DEBIAN_CLUSTERS "/%s", version->d_name);
		DIR		   *names = version->d_name[0] != '.' ? opendir(path) : NULL;

		while (names && (name = readdir(names)))
			if (name->d_name[0] != '.')
				add_debian(found, version->d_name, name->d_name);
		if (names)
			closedir(names);
		free(path);
	}
	if (versions)
		closedir(versions);
}

/* ---- servers that run ---- */

/* The folder of the program of a process, malloc'd; NULL: not known. */
static char *
program_folder(pid_t pid)
{
	char	   *link = xasprintf("/proc/%d/exe", (int) pid);
	char		path[PATH_MAX];
	ssize_t		len = readlink(link, path, sizeof(path) - 1);

	free(link);
	if (len < 0)
		return NULL;
	path[len] = '\0';
	return xstrdup(dirname(path));
}

/* Fills in what a postmaster tells of itself. */
static void
ask_postmaster(PgInstance *pg)
{
	PidFile		file = pidfile_read(pg->data);
	pid_t		pid = postmaster_pid(pg->data);
	char	   *unit;

	if (pid == 0)
		return;
	if (file.port)
		pg->port = file.port;
	if (*file.socket)
		pg->socket = xstrdup(file.socket);
	if (!pg->bin)
		pg->bin = program_folder(pid);
	unit = pg->control == PG_CONTROL_PG_CTL && systemd_runs() ? rights_unit_of(pid) : NULL;
	if (unit && strncmp(unit, "user@", 5) != 0 && strcmp(unit, "pingpong-agent.service") != 0)
	{
		pg->control = PG_CONTROL_SYSTEMCTL;
		pg->unit = unit;
	}
}

static void
find_running(Found *found)
{
	DIR		   *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
	{
		char	   *link = xasprintf("/proc/%s/cwd", entry->d_name);
		char		path[PATH_MAX];
		ssize_t		len = atoi(entry->d_name) > 0 ? readlink(link, path, sizeof(path) - 1) : -1;

		free(link);
		if (len <= 0)
			continue;
		path[len] = '\0';
		if (postmaster_pid(path) == atoi(entry->d_name))
			add_cluster(found, &(PgInstance) {.name = "", .section = "postgresql", .data = xstrdup(path)});
	}
	if (dir)
		closedir(dir);
}

/* ---- which of them ---- */

static PgInstance *
copy_of(const PgInstance *pg)
{
	PgInstance *copy = xalloc(sizeof(PgInstance));

	*copy = *pg;
	return copy;
}

static PgInstance *
named_cluster(const Found *found, const char *data)
{
	char	   *real = realpath(data, NULL);
	const char *place = real ? real : data;
	PgInstance	pg = {.name = "", .section = "postgresql", .data = xstrdup(data)};

	for (int i = 0; i < found->n; i++)
		if (strcmp(found->clusters[i].data, place) == 0 || strcmp(found->clusters[i].data, data) == 0)
			pg = found->clusters[i];
	free(real);
	return copy_of(&pg);
}

static int
choose_cluster(InitHost *host, const InitOptions *options)
{
	Found		found = {.n = 0};

	find_debian(&found);
	if (options->data)
		host->pg = named_cluster(&found, options->data);
	else
	{
		find_running(&found);
		if (found.n == 1)
			host->pg = copy_of(&found.clusters[0]);
	}
	if (host->pg || found.n == 0)
		return 0;
	init_say(INIT_FAIL, "there are %d PostgreSQL clusters here: name one with --data, or none with --no-postgres",
			 found.n);
	for (int i = 0; i < found.n; i++)
		init_more("--data %s", found.clusters[i].data);
	return -1;
}

static int
complete_cluster(InitHost *host, const InitOptions *options)
{
	PgInstance *pg = host->pg;

	ask_postmaster(pg);
	host->runs = postmaster_pid(pg->data) != 0;
	pg->superuser = options->superuser;
	pg->database = "postgres";
	if (options->bin)
		pg->bin = options->bin;
	if (options->port)
		pg->port = options->port;
	if (options->socket)
		pg->socket = options->socket;
	pg->port = pg->port ? pg->port : INIT_PG_PORT;
	pg->socket = pg->socket ? pg->socket : SOCKETS;
	if (!pg->bin)
	{
		init_say(INIT_FAIL, "the programs of the server in %s are not known: name their folder with --bin", pg->data);
		return -1;
	}
	init_say(INIT_OK, "PostgreSQL in %s, port %d, %s", pg->data, pg->port,
			 host->runs ? "runs" : file_exists_in(pg->data, "PG_VERSION") ? "does not run" : "no data yet");
	return 0;
}

/* ---- PgBouncer ---- */

/* A value of the section [pgbouncer], malloc'd; the last one counts. */
static char *
bouncer_setting(const char *text, const char *key)
{
	BouncerScan scan = {.at = text};
	BouncerToken token;
	char	   *found = NULL;

	while ((token = bouncer_scan(&scan)) != BOUNCER_END && token != BOUNCER_ERROR)
		if (token == BOUNCER_ENTRY && scan.section && scan.section_len == 9 &&
			strncmp(scan.section, "pgbouncer", 9) == 0 && scan.key_len == strlen(key) &&
			strncmp(scan.key, key, scan.key_len) == 0)
		{
			free(found);
			found = xasprintf("%.*s", (int) scan.value_len, scan.value);
		}
	return found;
}

/* Beside a PostgreSQL, a PgBouncer that was not named counts only if it runs: Debian's package makes an ini, too. */
static void
find_bouncer(InitHost *host, const InitOptions *options)
{
	const char *path = options->bouncer ? options->bouncer : DEBIAN_BOUNCER;
	bool		unwanted = options->bouncer && strcmp(options->bouncer, "none") == 0;
	char	   *text = unwanted ? NULL : file_read(path, CONF_MAX, NULL);
	char	   *port = text ? bouncer_setting(text, "listen_port") : NULL;
	char	   *copy = xstrdup(path);

	if (text)
	{
		host->bouncer_ini = xstrdup(path);
		host->bouncer_port = port ? atoi(port) : 6432;
		host->bouncer_socket = bouncer_setting(text, "unix_socket_dir");
		if (!host->bouncer_socket)
			host->bouncer_socket = xstrdup("/tmp");
		host->bouncer_file = xasprintf("%s/pingpong/databases.ini", dirname(copy));
	}
	else if (options->bouncer && !unwanted)
		init_say(INIT_FAIL, "%s: %s", path, strerror(errno));
	free(copy);
	free(port);
	free(text);
}

/* Who listens at PgBouncer's socket; -1: nobody does. */
static uid_t
bouncer_user(const InitHost *host)
{
	char	   *path = xasprintf("%s/.s.PGSQL.%d", host->bouncer_socket, host->bouncer_port);
	struct stat st;
	uid_t		uid = stat(path, &st) == 0 ? st.st_uid : (uid_t) -1;

	free(path);
	return uid;
}

/* ---- whose the agent is ---- */

static int
find_owner(InitHost *host, const InitOptions *options)
{
	struct passwd *entry = NULL;
	struct stat st;
	uid_t		bouncer;

	host->root = geteuid() == 0;
	if (options->owner)
		entry = getpwnam(options->owner);
	else if (host->pg && stat(host->pg->data, &st) == 0)
		entry = getpwuid(st.st_uid);
	else if (!host->pg && host->bouncer_ini && (bouncer = bouncer_user(host)) != (uid_t) -1)
		entry = getpwuid(bouncer);
	else
		entry = host->root ? getpwnam("postgres") : getpwuid(geteuid());
	if (!entry || entry->pw_uid == 0)
	{
		init_say(INIT_FAIL, "the owner of PostgreSQL or PgBouncer is not known, or root: name one with --owner");
		return -1;
	}
	host->owner = xstrdup(entry->pw_name);
	host->uid = entry->pw_uid;
	host->gid = entry->pw_gid;
	if (!host->root && geteuid() != host->uid)
	{
		init_say(INIT_FAIL, "the agent will run as %s: call this as root or as %s", host->owner, host->owner);
		return -1;
	}
	init_say(INIT_OK, "the agent will run as user %s", host->owner);
	return 0;
}

int
host_look(InitHost *host, const InitOptions *options)
{
	memset(host, 0, sizeof(*host));
	if (!options->no_postgres && choose_cluster(host, options) < 0)
		return -1;
	if (host->pg && complete_cluster(host, options) < 0)
		return -1;
	find_bouncer(host, options);
	if (host->bouncer_ini && host->pg && !options->bouncer && bouncer_user(host) == (uid_t) -1)
		host->bouncer_ini = NULL;
	if (host->bouncer_ini)
		init_say(INIT_OK, "PgBouncer with %s, port %d", host->bouncer_ini, host->bouncer_port);
	if (!host->pg && !host->bouncer_ini)
	{
		init_say(INIT_FAIL, "there is neither a PostgreSQL cluster (--data) nor PgBouncer (--pgbouncer) here");
		return -1;
	}
	if (init_failures || find_owner(host, options) < 0)
		return -1;
	if (host->bouncer_ini)
		host->bouncer_of_other = bouncer_user(host) != (uid_t) -1 && bouncer_user(host) != host->uid;
	return 0;
}

/* ---- acting ---- */

void
host_as_owner(const InitHost *host)
{
	if (host->root && (setegid(host->gid) < 0 || seteuid(host->uid) < 0))
		abort();
}

void
host_as_self(const InitHost *host)
{
	if (host->root && (seteuid(0) < 0 || setegid(0) < 0))
		abort();
}

int
host_run(const InitHost *host, bool as_owner, char *const *argv)
{
	pid_t		pid = fork();
	int			status;

	if (pid < 0)
		return 127;
	if (pid == 0)
	{
		if (chdir("/") < 0 || (as_owner && host->root &&
							   (initgroups(host->owner, host->gid) < 0 || setgid(host->gid) < 0 ||
								setuid(host->uid) < 0)))
			_exit(126);
		/* a server that it starts must not hold our output open */
		if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stdout))
			_exit(126);
		execv(argv[0], argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 127;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

char *
host_unit(const PgInstance *pg)
{
	char	   *slash;

	switch (pg->control)
	{
		case PG_CONTROL_SYSTEMCTL:
			return xasprintf("systemctl restart %s", pg->unit);
		case PG_CONTROL_PG_CTLCLUSTER:
			slash = strchr(pg->cluster, '/');
			return xasprintf("pg_ctlcluster %.*s %s restart", (int) (slash - pg->cluster), pg->cluster, slash + 1);
		default:
			return xasprintf("%s/pg_ctl -D %s restart", pg->bin, pg->data);
	}
}
