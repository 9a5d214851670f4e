/*
 * configcheck.c
 *		The rules of a configuration: what it needs, and what does not go together.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/core/address.h"
#include "agent/core/alloc.h"
#include "agent/core/configcheck.h"
#include "agent/core/conninfo.h"

int
config_refuse(ConfigError *error, const char *format, const char *a, const char *b)
{
	if (!error->text[0])
		snprintf(error->text, error->size, format, a, b);
	return 0;
}

static int
require(ConfigError *error, const char *value, const char *section, const char *name)
{
	return value ? 1 : config_refuse(error, "[%s] needs the option \"%s\"", section, name);
}

static int
require_conninfo(ConfigError *error, const char *value, const char *name)
{
	char	   *merged = conninfo_merge(value, NULL, NULL, NULL, NULL);
	int			ok = merged != NULL;

	free(merged);				/* the value itself may hold a password */
	return ok ? 1 : config_refuse(error, "option \"%s\" is not a connection string%s", name, "");
}

/* What is kept is removed from a new copy and restored: it must be the node's, and in the data directory. */
static bool
may_be_kept(const char *name)
{
	static const char *const servers[] = {
		"base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_multixact", "pg_notify", "pg_replslot",
		"pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal",
		"pg_xact", "PG_VERSION", "backup_label", "backup_manifest", "tablespace_map", "postmaster.pid",
		"standby.signal", "recovery.signal", NULL
	};
	size_t		first = strcspn(name, "/");

	for (int i = 0; servers[i]; i++)
		if (strlen(servers[i]) == first && strncmp(servers[i], name, first) == 0)
			return false;
	for (const char *part = name;; part += strcspn(part, "/") + 1)
	{
		size_t		len = strcspn(part, "/");

		/* absolute, doubled or last slash, this folder, the one above */
		if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && strncmp(part, "..", 2) == 0))
			return false;
		if (!part[len])
			return strncmp(name, "pingpong.", 9) != 0;
	}
}

static int
check_keep(ConfigError *error, const PgInstance *pg)
{
	for (int i = 0; pg->keep && pg->keep[i]; i++)
		if (!may_be_kept(pg->keep[i]))
			return config_refuse(error, "option \"%s\" cannot name \"%s\": only files of the node itself in the data "
								 "directory", "keep", pg->keep[i]);
	return 1;
}

/*
 * Sockets are in a folder below it, and their addresses have 107 bytes; it is the clone's host in pingpong.node,
 * which takes these letters only.
 */
#define REHEARSAL_MAX 64
#define REHEARSAL_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-/"

static int
check_rehearsal(ConfigError *error, const PgInstance *pg)
{
	if (!pg->successor)
		return config_refuse(error, "[%s] cannot have the option \"%s\": it is no successor", pg->section,
							 "rehearsal");
	if (pg->rehearsal[0] == '/' && strlen(pg->rehearsal) <= REHEARSAL_MAX &&
		strspn(pg->rehearsal, REHEARSAL_LETTERS) == strlen(pg->rehearsal))
		return 1;
	return config_refuse(error, "option \"%s\" must be an absolute path of at most 64 letters, digits, _, . and "
						 "-: \"%s\"", "rehearsal", pg->rehearsal);
}

#define RATE_MIN_KB 32
#define RATE_MAX_KB (1024 * 1024)

/* What pg_basebackup takes, which else would refuse it in the middle of a run. */
static int
check_rate(ConfigError *error, const PgInstance *pg)
{
	char	   *unit;
	long		kb = strtol(pg->max_rate, &unit, 10);

	long		factor = *unit == 'M' ? 1024 : 1;
	bool		is_number = pg->max_rate[0] >= '0' && pg->max_rate[0] <= '9' &&
		(*unit == '\0' || strcmp(unit, "k") == 0 || strcmp(unit, "M") == 0);

	if (is_number && kb <= RATE_MAX_KB / factor && kb * factor >= RATE_MIN_KB)
		return 1;
	return config_refuse(error, "option \"%s\" must be 32k to 1024M (kB/s or MB/s): \"%s\"", "max_rate",
						 pg->max_rate);
}

/* It takes the place of the main one, so it has that one's, and needs only its own folders. */
static int
check_successor(ConfigError *error, const PgInstance *pg)
{
	if (strcmp(pg->successor, "yes") != 0)
		return config_refuse(error, "option \"%s\" cannot be \"%s\"", "successor", pg->successor);
	if (!*pg->name)
		return config_refuse(error, "[%s] cannot have the option \"%s\": it is the main instance", pg->section,
							 "successor");
	return 1;
}

static int
check_pg(ConfigError *error, const PgInstance *pg)
{
	if ((pg->successor && !check_successor(error, pg)) || (pg->rehearsal && !check_rehearsal(error, pg)) ||
		(pg->max_rate && !check_rate(error, pg)))
		return 0;
	if (strcmp(pg->name, FORMER_NAME) == 0)
		return config_refuse(error, "[%s] cannot be used: \"%s\" is the name of the main instance before an upgrade",
							 pg->section, FORMER_NAME);
	if (!require(error, pg->data, pg->section, "data") ||
		!require(error, pg->bin, pg->section, "bin") ||
		!require_conninfo(error, pg->replication, "replication") ||
		!require_conninfo(error, pg->rewind, "rewind"))
		return 0;
	if (pg->data[0] != '/' || pg->bin[0] != '/')
		return config_refuse(error, "options \"%s\" and \"%s\" must be absolute paths", "data", "bin");
	if (pg->port <= 0 || pg->port > 65535)
		return config_refuse(error, "[%s] needs the option \"%s\"", pg->section, "port");
	if (!check_keep(error, pg))
		return 0;
	if (pg->control == PG_CONTROL_PG_CTLCLUSTER)
		return require(error, pg->cluster, pg->section, "cluster");
	if (pg->control == PG_CONTROL_SYSTEMCTL)
		return require(error, pg->unit, pg->section, "unit");
	if (pg->control == PG_CONTROL_COMMAND)
		return require(error, pg->start_command ? "" : NULL, pg->section, "start_command") &&
			require(error, pg->stop_command ? "" : NULL, pg->section, "stop_command");
	return 1;
}

/* Plain HTTP carries the token in clear: only where nobody else can listen. */
static int
check_listen(ConfigError *error, const AgentConfig *config)
{
	ListenAddress address;

	if (listen_parse(config->listen, &address) < 0)
		return config_refuse(error, "option \"%s\" is neither ADDRESS:PORT nor unix:/PATH: \"%s\"", "listen",
							 config->listen);
	if (config->health_listen && listen_parse(config->health_listen, &address) < 0)
		return config_refuse(error, "option \"%s\" is neither ADDRESS:PORT nor unix:/PATH: \"%s\"", "health_listen",
							 config->health_listen);
	if (config->health_listen && strcmp(config->health_listen, config->listen) == 0)
		return config_refuse(error, "options \"%s\" and \"%s\" cannot be the same", "listen", "health_listen");
	listen_parse(config->listen, &address);
	if ((config->tls_cert != NULL) != (config->tls_key != NULL))
		return config_refuse(error, "options \"%s\" and \"%s\" need each other", "tls_cert", "tls_key");
	if (config->tls_client_ca && !config->tls_cert)
		return config_refuse(error, "option \"%s\" needs \"%s\"", "tls_client_ca", "tls_cert");
	if (config->tls_client_names && !config->tls_client_ca)
		return config_refuse(error, "option \"%s\" needs \"%s\"", "tls_client_names", "tls_client_ca");
	if (!address.local && !config->tls_cert)
		return config_refuse(error, "listening on \"%s\" needs TLS (option \"%s\"): plain HTTP is for loopback and "
							 "unix sockets only", config->listen, "tls_cert");
	return 1;
}

static bool
same_file(const char *a, const char *b)
{
	struct stat st_a;
	struct stat st_b;

	if (strcmp(a, b) == 0)
		return true;
	return stat(a, &st_a) == 0 && stat(b, &st_b) == 0 && st_a.st_dev == st_b.st_dev && st_a.st_ino == st_b.st_ino;
}

static bool
begins_with_folder(const char *path, const char *folder)
{
	size_t		len = strlen(folder);

	return strncmp(path, folder, len) == 0 && (path[len] == '/' || !path[len]);
}

/* Is `inner` that folder, or in it? One that is not there yet is known by its name, any other by its place, too. */
static bool
lies_in(const char *inner, const char *outer)
{
	char	   *real_inner = realpath(inner, NULL);
	char	   *real_outer = realpath(outer, NULL);
	bool		inside = same_file(inner, outer) || begins_with_folder(inner, outer) ||
		(real_inner && real_outer && begins_with_folder(real_inner, real_outer));

	free(real_outer);
	free(real_inner);
	return inside;
}

static bool
same_text(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

/*
 * What two instances have in common that they must not. An order for one would stop, overwrite or judge the other: a
 * base backup empties a data directory, with all that is in it; a server is stopped by its unit; its log tells why
 * it ended.
 */
static const char *
shared_by(const PgInstance *a, const PgInstance *b)
{
	bool		in_turn = a->successor || b->successor;	/* only one of them runs, in the same place */

	if (lies_in(a->data, b->data) || lies_in(b->data, a->data))
		return "the same data directory (\"data\"), or one lies in the other";
	if ((a->rehearsal && lies_in(a->rehearsal, b->data)) || (b->rehearsal && lies_in(b->rehearsal, a->data)))
		return "a folder (\"rehearsal\") in a data directory";
	if (!in_turn && a->port == b->port && same_file(a->socket, b->socket))
		return "the same \"port\" and the same \"socket\" folder";
	if (a->control == b->control && a->control == PG_CONTROL_SYSTEMCTL && same_text(a->unit, b->unit))
		return "the same \"unit\"";
	if (a->control == b->control && a->control == PG_CONTROL_PG_CTLCLUSTER && same_text(a->cluster, b->cluster))
		return "the same \"cluster\"";
	if (same_file(a->log, b->log) && strncmp(a->log, "/dev/", 5) != 0)	/* nothing is read there */
		return "the same \"log\"";
	return NULL;
}

static int
refuse_shared(ConfigError *error, const PgInstance *a, const PgInstance *b, const char *what)
{
	char	   *both = xasprintf("[%s] and [%s]", a->section, b->section);
	int			rc = config_refuse(error, "%s have %s; each instance needs its own", both, what);

	free(both);
	return rc;
}

/* Token, epoch and facts are about the node's own server: without one a further one would be taken for it. */
static int
check_instances(ConfigError *error, const AgentConfig *config)
{
	if (config->n_instances > 0 && !config_instance(config, ""))
		return config_refuse(error, "[%s] needs a main instance beside it: an agent with one server has it in "
							 "[postgresql]%s", config->instances[0].section, "");
	for (int i = 0; i < config->n_instances; i++)
	{
		const PgInstance *pg = &config->instances[i];

		if (pg->rehearsal && lies_in(pg->rehearsal, pg->data))
			return config_refuse(error, "option \"%s\" cannot be in the data directory: \"%s\"", "rehearsal",
								 pg->rehearsal);
		for (int j = 0; j < i; j++)
		{
			const char *what = shared_by(&config->instances[j], &config->instances[i]);

			if (what)
				return refuse_shared(error, &config->instances[j], &config->instances[i], what);
		}
	}
	return 1;
}

/*
 * Each section has a lock and a next version of its file: with one file, the orders of two would lose each other's
 * lines.
 */
static int
check_files(ConfigError *error, const AgentConfig *config)
{
	for (int i = 0; i < config->n_bouncers; i++)
		for (int j = 0; j < i; j++)
			if (same_file(config->bouncers[i].file, config->bouncers[j].file))
				return config_refuse(error, "[pgbouncer.%s] and [pgbouncer.%s] have the same "
									 "\"file\"; each PgBouncer needs "
									 "one of its own", config->bouncers[j].name, config->bouncers[i].name);
	return 1;
}

static bool
is_first_of_kind(const AgentConfig *config, int section)
{
	for (int i = 0; i < section; i++)
		if (strcmp(config->sections[i].kind, config->sections[section].kind) == 0)
			return false;
	return true;
}

static int
check_sections(ConfigError *error, const AgentConfig *config)
{
	for (int i = 0; i < config->n_sections; i++)
	{
		const ConfigSection *section = &config->sections[i];
		char	   *name = xasprintf("%s.%s", section->kind, section->name);
		const ConfigKind *kind = config_kind_of_section(name);
		char		why[256] = "";
		bool		fine = kind && kind->valid(section, why, sizeof(why));

		if (fine && kind->single && !is_first_of_kind(config, i))
		{
			fine = false;
			snprintf(why, sizeof(why), "is a second one of its kind");
		}
		if (!fine)
			config_refuse(error, "[%s] %s", name, why);
		free(name);
		if (!fine)
			return 0;
	}
	return 1;
}

static int
check_open(ConfigError *error, const AgentConfig *config)
{
	for (char *const *open = config->without_credentials; open && *open; open++)
		if (strcmp(*open, OPEN_METRICS) != 0 && strcmp(*open, OPEN_PAGE) != 0)
			return config_refuse(error, "option \"%s\" cannot name \"%s\": only metrics and page can be open",
								 "without_credentials", *open);
	return 1;
}

static int
check_alerts(ConfigError *error, const AlertConfig *alerts)
{
	if (!alerts->url)
		return alerts->secret_file || alerts->ca_file || alerts->peer_ca_file ?
			require(error, alerts->url, "alerts", "url") : 1;
	if (strncmp(alerts->url, "https://", 8) != 0 && strncmp(alerts->url, "http://", 7) != 0)
		return config_refuse(error, "option \"%s\" of [%s] is no http:// or https:// address", "url", "alerts");
	if (alerts->down_after_ms < 1000)
		return config_refuse(error, "option \"%s\" must be at least %s ms", "down_after_ms", "1000");
	if (alerts->timeout_ms < 100)
		return config_refuse(error, "option \"%s\" must be at least %s ms", "timeout_ms", "100");
	return 1;
}

static int
check_backup(ConfigError *error, const BackupConfig *backup)
{
	char	  **argv = backup->pgbackrest ? backup->pgbackrest : backup->command;

	if (backup->pgbackrest && backup->command)
		return config_refuse(error, "[%s] cannot have both \"pgbackrest\" and \"command\"%s", "backup", "");
	if ((backup->pgbackrest != NULL) != (backup->stanza != NULL))
		return config_refuse(error, "options \"%s\" and \"%s\" need each other", "pgbackrest", "stanza");
	if (argv && argv[0][0] != '/')
		return config_refuse(error, "[%s] does not name an absolute path: \"%s\"", "backup", argv[0]);
	return 1;
}

bool
config_check(const AgentConfig *config, ConfigError *error)
{
	if (!require(error, config->node, "agent", "node") ||
		!require(error, config->listen, "agent", "listen") ||
		!require(error, config->state_dir, "agent", "state_dir") ||
		!check_listen(error, config) || !check_open(error, config))
		return false;
	if (config->sample_interval_ms < 100)
		return config_refuse(error, "option \"%s\" must be at least %s ms", "sample_interval_ms", "100");
	if (config->sample_interval_ms > 60000)
		return config_refuse(error, "option \"%s\" must be at most %s ms", "sample_interval_ms", "60000");
	if (!config->token_file && !config->tls_client_ca)
		return config_refuse(error, "[%s] needs the option \"%s\", or \"tls_client_ca\"", "agent", "token_file");
	for (int i = 0; i < config->n_instances; i++)
		if (!check_pg(error, &config->instances[i]))
			return false;
	if (!check_instances(error, config) || !check_alerts(error, &config->alerts) ||
		!check_backup(error, &config->backup))
		return false;
	for (int i = 0; i < config->n_bouncers; i++)
		if (!require(error, config->bouncers[i].admin, "pgbouncer.*", "admin") ||
			!require_conninfo(error, config->bouncers[i].admin, "admin") ||
			!require(error, config->bouncers[i].file, "pgbouncer.*", "file") ||
			(config->bouncers[i].smoke && !require_conninfo(error, config->bouncers[i].smoke, "smoke")))
			return false;
	if (!check_files(error, config) || !check_sections(error, config))
		return false;
	for (int i = 0; i < config->n_hooks; i++)
		if (!config->hooks[i].argv || config->hooks[i].argv[0][0] != '/')
			return config_refuse(error, "hook \"%s\" is not an absolute path%s", config->hooks[i].name, "");
	return true;
}
