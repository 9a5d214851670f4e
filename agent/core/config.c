/*
 * config.c
 *		The ini file: reading, defaults, required options, and which thread uses which version.
 *
 * The options are a table. An unknown section or option is an error: a misspelt "tls_cert" must not leave an agent
 * without TLS.
 */
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/address.h"
#include "agent/core/alloc.h"
#include "agent/core/config.h"
#include "agent/core/conninfo.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "common/names.h"

typedef struct ConfigOption
{
	const char *name;
	enum
	{
		OPTION_STRING, OPTION_INT, OPTION_WORDS, OPTION_LIST, OPTION_CONTROL, OPTION_LEVEL
	}			type;
	size_t		offset;
} ConfigOption;

static const ConfigOption agent_options[] = {
	{"node", OPTION_STRING, offsetof(AgentConfig, node)},
	{"listen", OPTION_STRING, offsetof(AgentConfig, listen)},
	{"token_file", OPTION_STRING, offsetof(AgentConfig, token_file)},
	{"monitor_token_file", OPTION_STRING, offsetof(AgentConfig, monitor_token_file)},
	{"sample_interval_ms", OPTION_INT, offsetof(AgentConfig, sample_interval_ms)},
	{"state_dir", OPTION_STRING, offsetof(AgentConfig, state_dir)},
	{"tls_cert", OPTION_STRING, offsetof(AgentConfig, tls_cert)},
	{"tls_key", OPTION_STRING, offsetof(AgentConfig, tls_key)},
	{"tls_client_ca", OPTION_STRING, offsetof(AgentConfig, tls_client_ca)},
	{"tls_client_names", OPTION_LIST, offsetof(AgentConfig, tls_client_names)},
	{"log_level", OPTION_LEVEL, offsetof(AgentConfig, log_level)},
	{NULL}
};

static const ConfigOption pg_options[] = {
	{"data", OPTION_STRING, offsetof(PgInstance, data)},
	{"bin", OPTION_STRING, offsetof(PgInstance, bin)},
	{"socket", OPTION_STRING, offsetof(PgInstance, socket)},
	{"port", OPTION_INT, offsetof(PgInstance, port)},
	{"superuser", OPTION_STRING, offsetof(PgInstance, superuser)},
	{"database", OPTION_STRING, offsetof(PgInstance, database)},
	{"control", OPTION_CONTROL, offsetof(PgInstance, control)},
	{"log", OPTION_STRING, offsetof(PgInstance, log)},
	{"cluster", OPTION_STRING, offsetof(PgInstance, cluster)},
	{"unit", OPTION_STRING, offsetof(PgInstance, unit)},
	{"start_command", OPTION_WORDS, offsetof(PgInstance, start_command)},
	{"stop_command", OPTION_WORDS, offsetof(PgInstance, stop_command)},
	{"replication", OPTION_STRING, offsetof(PgInstance, replication)},
	{"rewind", OPTION_STRING, offsetof(PgInstance, rewind)},
	{"keep", OPTION_LIST, offsetof(PgInstance, keep)},
	{NULL}
};

static const ConfigOption bouncer_options[] = {
	{"admin", OPTION_STRING, offsetof(BouncerConfig, admin)},
	{"file", OPTION_STRING, offsetof(BouncerConfig, file)},
	{"smoke", OPTION_STRING, offsetof(BouncerConfig, smoke)},
	{"query_timeout_ms", OPTION_INT, offsetof(BouncerConfig, query_timeout_ms)},
	{NULL}
};

static const char *const control_names[] = {"pg_ctl", "pg_ctlcluster", "systemctl", "command", NULL};
static const char *const level_names[] = {"error", "warning", "info", "debug", NULL};

/* What the callback of inih works on */
typedef struct ConfigParser
{
	FILE	   *file;
	char	   *line;			/* the physical line being handed out */
	size_t		line_size;
	char	   *rest;			/* its part not yet handed out; NULL: none */
	AgentConfig *config;
	char	   *error;
	size_t		error_size;
} ConfigParser;

static pthread_mutex_t config_lock = PTHREAD_MUTEX_INITIALIZER;
static AgentConfig *installed;

static int
refuse(ConfigParser *parser, const char *format, const char *a, const char *b)
{
	if (!parser->error[0])
		snprintf(parser->error, parser->error_size, format, a, b);
	return 0;
}

static int
name_index(const char *const *names, const char *value)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], value) == 0)
			return i;
	return -1;
}

/* A second line for a string is its continuation: inih calls us for each line of a value. */
static void
set_string(char **field, const char *value)
{
	char	   *old = *field;

	*field = old ? xasprintf("%s %s", old, value) : xstrdup(value);
	free(old);
}

static int
set_number(ConfigParser *parser, int *field, const char *name, const char *value)
{
	char	   *end;
	long		number = strtol(value, &end, 10);

	if (end == value || *end || number < 0 || number > 86400000)
		return refuse(parser, "option \"%s\" is not a number: \"%s\"", name, value);
	*field = (int) number;
	return 1;
}

static int
set_option(ConfigParser *parser, const ConfigOption *options, void *base, const char *name, const char *value)
{
	char	   *field;
	int			index;

	while (options->name && strcmp(options->name, name) != 0)
		options++;
	if (!options->name)
		return refuse(parser, "unknown option \"%s\"%s", name, "");
	if (!*value)
		return 1;				/* "option =" leaves the default */
	field = (char *) base + options->offset;
	switch (options->type)
	{
		case OPTION_STRING:
			set_string((char **) field, value);
			return 1;
		case OPTION_INT:
			return set_number(parser, (int *) field, name, value);
		case OPTION_WORDS:
			text_append_list((char ***) field, text_split_words(value));
			return 1;
		case OPTION_LIST:
			text_append_list((char ***) field, text_split_list(value, ','));
			return 1;
		case OPTION_CONTROL:
		case OPTION_LEVEL:
			index = name_index(options->type == OPTION_LEVEL ? level_names : control_names, value);
			if (index < 0)
				return refuse(parser, "option \"%s\" cannot be \"%s\"", name, value);
			*(int *) field = index;
			return 1;
	}
	return 0;
}

/* inih cuts a section's name off after 49 bytes without an error: a name of that length is not allowed. */
static bool
instance_name_valid(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	size_t		len = strlen(name);

	return name[0] >= 'a' && name[0] <= 'z' && len <= INSTANCE_NAME_MAX && strspn(name, letters) == len;
}

/* The main one is the first, wherever it is in the file. */
static PgInstance *
add_instance(AgentConfig *config, const char *name)
{
	PgInstance *pg;

	config->instances = realloc(config->instances, sizeof(PgInstance) * (config->n_instances + 1));
	pg = &config->instances[config->n_instances];
	if (!*name)
	{
		memmove(config->instances + 1, config->instances, sizeof(PgInstance) * config->n_instances);
		pg = config->instances;
	}
	config->n_instances++;
	memset(pg, 0, sizeof(*pg));
	pg->name = xstrdup(name);
	pg->section = *name ? xasprintf("postgresql.%s", name) : xstrdup("postgresql");
	return pg;
}

static int
set_instance(ConfigParser *parser, const char *instance, const char *name, const char *value)
{
	PgInstance *pg = (PgInstance *) config_instance(parser->config, instance);

	return set_option(parser, pg_options, pg ? pg : add_instance(parser->config, instance), name, value);
}

static BouncerConfig *
bouncer_of_section(AgentConfig *config, const char *name)
{
	BouncerConfig *bouncer = (BouncerConfig *) config_bouncer(config, name);

	if (bouncer)
		return bouncer;
	config->bouncers = realloc(config->bouncers, sizeof(BouncerConfig) * (config->n_bouncers + 1));
	bouncer = &config->bouncers[config->n_bouncers++];
	memset(bouncer, 0, sizeof(*bouncer));
	bouncer->name = xstrdup(name);
	return bouncer;
}

static const ConfigKind *known_kinds;

void
config_know(const ConfigKind *kinds)
{
	known_kinds = kinds;
}

/* The kind of the section "KIND.NAME"; NULL: not known. */
static const ConfigKind *
kind_of_section(const char *section)
{
	size_t		len = strcspn(section, ".");

	for (const ConfigKind *kind = known_kinds; kind && kind->name; kind++)
		if (strlen(kind->name) == len && strncmp(kind->name, section, len) == 0 && section[len] == '.' &&
			pingpong_key_valid(section + len + 1))
			return kind;
	return NULL;
}

static ConfigSection *
section_of(AgentConfig *config, const ConfigKind *kind, const char *name)
{
	ConfigSection *section = (ConfigSection *) config_section(config, kind->name, name);

	if (section)
		return section;
	config->sections = realloc(config->sections, sizeof(ConfigSection) * (config->n_sections + 1));
	section = &config->sections[config->n_sections++];
	memset(section, 0, sizeof(*section));
	section->kind = xstrdup(kind->name);
	section->name = xstrdup(name);
	return section;
}

static int
set_value(ConfigSection *section, const char *key, const char *value)
{
	int			i;

	for (i = 0; i < section->n && strcmp(section->keys[i], key) != 0; i++)
		;
	if (i == section->n)
	{
		section->keys = realloc(section->keys, sizeof(char *) * (section->n + 1));
		section->values = realloc(section->values, sizeof(char *) * (section->n + 1));
		section->keys[i] = xstrdup(key);
		section->values[i] = NULL;
		section->n++;
	}
	set_string(&section->values[i], value);
	return 1;
}

static int
set_hook(AgentConfig *config, const char *name, const char *value)
{
	HookConfig *hook = (HookConfig *) config_hook(config, name);

	if (!hook)
	{
		config->hooks = realloc(config->hooks, sizeof(HookConfig) * (config->n_hooks + 1));
		hook = &config->hooks[config->n_hooks++];
		hook->name = xstrdup(name);
		hook->argv = NULL;
	}
	text_append_list(&hook->argv, text_split_words(value));
	return 1;
}

static int
parse_line(void *user, const char *section, const char *name, const char *value)
{
	ConfigParser *parser = user;
	AgentConfig *config = parser->config;

	if (strcmp(section, "agent") == 0)
		return set_option(parser, agent_options, config, name, value);
	if (strcmp(section, "postgresql") == 0)
		return set_instance(parser, "", name, value);
	if (strncmp(section, "postgresql.", 11) == 0)
		return instance_name_valid(section + 11) ? set_instance(parser, section + 11, name, value) :
			refuse(parser, "[%s] does not name an instance: its name is a letter and at most 36 letters, digits or _ "
				   "more, all lower case%s", section, "");
	if (strncmp(section, "pgbouncer.", 10) == 0 && pingpong_key_valid(section + 10))
		return set_option(parser, bouncer_options, bouncer_of_section(config, section + 10), name, value);
	if (strcmp(section, "hooks") == 0)
		return set_hook(config, name, value);
	if (kind_of_section(section))
		return set_value(section_of(config, kind_of_section(section), strchr(section, '.') + 1), name, value);
	return refuse(parser, "unknown section \"%s\"%s", section, "");
}

/*
 * inih as Debian builds it takes lines of 199 bytes; a conninfo is easily longer.  A
 * long line is handed out in parts, split at blanks, each part but the first with a
 * leading blank: that is how inih knows a continuation.
 */
static char *
read_line(char *buffer, int size, void *user)
{
	ConfigParser *parser = user;
	char	   *from = parser->rest;
	bool		continued = from != NULL;
	size_t		room = size - 4;
	size_t		len;

	if (!from)
	{
		ssize_t		n = getline(&parser->line, &parser->line_size, parser->file);

		if (n < 0)
			return NULL;
		while (n > 0 && isspace((unsigned char) parser->line[n - 1]))
			parser->line[--n] = '\0';
		from = parser->line;
	}
	len = strlen(from);
	parser->rest = NULL;
	if (len > room)
	{
		for (len = room; len > 1 && from[len] != ' '; len--)
			;
		if (from[len] != ' ')
		{
			refuse(parser, "a word of more than %s bytes in one line%s", "190", "");
			return NULL;
		}
		parser->rest = from + len + strspn(from + len, " ");
	}
	snprintf(buffer, size, "%s%.*s\n", continued ? " " : "", (int) len, from);
	return buffer;
}

static void
default_string(char **field, const char *value)
{
	if (!*field)
		*field = xstrdup(value);
}

/* The main one has the places that it had when there was no other: a newer agent finds the files there. */
static void
set_places(PgInstance *pg, const char *state_dir)
{
	const char *dot = *pg->name ? "." : "";

	pg->state_dir = state_dir;
	pg->settings_dir = xasprintf("%s/settings%s%s", state_dir, dot, pg->name);
	if (!pg->log)
		pg->log = xasprintf("%s/postgresql%s%s.log", state_dir, dot, pg->name);
}

static void
set_defaults(PgInstance *pg, const char *state_dir)
{
	default_string(&pg->superuser, "postgres");
	default_string(&pg->database, "postgres");
	default_string(&pg->socket, "/var/run/postgresql");
	default_string(&pg->replication, "");
	if (!pg->rewind)
		pg->rewind = xasprintf("%s dbname=%s", pg->replication, pg->database);
	if (pg->data)
		for (size_t len = strlen(pg->data); len > 1 && pg->data[len - 1] == '/'; len--)
			pg->data[len - 1] = '\0';
	if (state_dir)
		set_places(pg, state_dir);
}

static int
require(ConfigParser *parser, const char *value, const char *section, const char *name)
{
	return value ? 1 : refuse(parser, "[%s] needs the option \"%s\"", section, name);
}

static int
require_conninfo(ConfigParser *parser, const char *value, const char *name)
{
	char	   *merged = conninfo_merge(value, NULL, NULL, NULL, NULL);
	int			ok = merged != NULL;

	free(merged);				/* the value itself may hold a password */
	return ok ? 1 : refuse(parser, "option \"%s\" is not a connection string%s", name, "");
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
check_keep(ConfigParser *parser, const PgInstance *pg)
{
	for (int i = 0; pg->keep && pg->keep[i]; i++)
		if (!may_be_kept(pg->keep[i]))
			return refuse(parser, "option \"%s\" cannot name \"%s\": only files of the node itself in the data "
						  "directory", "keep", pg->keep[i]);
	return 1;
}

static int
check_pg(ConfigParser *parser, const PgInstance *pg)
{
	if (!require(parser, pg->data, pg->section, "data") ||
		!require(parser, pg->bin, pg->section, "bin") ||
		!require_conninfo(parser, pg->replication, "replication") ||
		!require_conninfo(parser, pg->rewind, "rewind"))
		return 0;
	if (pg->data[0] != '/' || pg->bin[0] != '/')
		return refuse(parser, "options \"%s\" and \"%s\" must be absolute paths", "data", "bin");
	if (pg->port <= 0 || pg->port > 65535)
		return refuse(parser, "[%s] needs the option \"%s\"", pg->section, "port");
	if (!check_keep(parser, pg))
		return 0;
	if (pg->control == PG_CONTROL_PG_CTLCLUSTER)
		return require(parser, pg->cluster, pg->section, "cluster");
	if (pg->control == PG_CONTROL_SYSTEMCTL)
		return require(parser, pg->unit, pg->section, "unit");
	if (pg->control == PG_CONTROL_COMMAND)
		return require(parser, pg->start_command ? "" : NULL, pg->section, "start_command") &&
			require(parser, pg->stop_command ? "" : NULL, pg->section, "stop_command");
	return 1;
}

/* Plain HTTP carries the token in clear: only where nobody else can listen. */
static int
check_listen(ConfigParser *parser, const AgentConfig *config)
{
	ListenAddress address;

	if (listen_parse(config->listen, &address) < 0)
		return refuse(parser, "option \"%s\" is neither ADDRESS:PORT nor unix:/PATH: \"%s\"", "listen",
					  config->listen);
	if ((config->tls_cert != NULL) != (config->tls_key != NULL))
		return refuse(parser, "options \"%s\" and \"%s\" need each other", "tls_cert", "tls_key");
	if (config->tls_client_ca && !config->tls_cert)
		return refuse(parser, "option \"%s\" needs \"%s\"", "tls_client_ca", "tls_cert");
	if (config->tls_client_names && !config->tls_client_ca)
		return refuse(parser, "option \"%s\" needs \"%s\"", "tls_client_names", "tls_client_ca");
	if (!address.local && !config->tls_cert)
		return refuse(parser, "listening on \"%s\" needs TLS (option \"%s\"): plain HTTP is for loopback and unix "
					  "sockets only", config->listen, "tls_cert");
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
	if (lies_in(a->data, b->data) || lies_in(b->data, a->data))
		return "the same data directory (\"data\"), or one lies in the other";
	if (a->port == b->port && same_file(a->socket, b->socket))
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
refuse_shared(ConfigParser *parser, const PgInstance *a, const PgInstance *b, const char *what)
{
	char	   *both = xasprintf("[%s] and [%s]", a->section, b->section);
	int			rc = refuse(parser, "%s have %s; each instance needs its own", both, what);

	free(both);
	return rc;
}

/* Token, epoch and facts are about the node's own server: without one a further one would be taken for it. */
static int
check_instances(ConfigParser *parser, const AgentConfig *config)
{
	if (config->n_instances > 0 && !config_instance(config, ""))
		return refuse(parser, "[%s] needs a main instance beside it: an agent with one server has it in "
					  "[postgresql]%s", config->instances[0].section, "");
	for (int i = 0; i < config->n_instances; i++)
		for (int j = 0; j < i; j++)
		{
			const char *what = shared_by(&config->instances[j], &config->instances[i]);

			if (what)
				return refuse_shared(parser, &config->instances[j], &config->instances[i], what);
		}
	return 1;
}

/*
 * Each section has a lock and a next version of its file: with one file, the orders of two would lose each other's
 * lines.
 */
static int
check_files(ConfigParser *parser, const AgentConfig *config)
{
	for (int i = 0; i < config->n_bouncers; i++)
		for (int j = 0; j < i; j++)
			if (same_file(config->bouncers[i].file, config->bouncers[j].file))
				return refuse(parser, "[pgbouncer.%s] and [pgbouncer.%s] have the same "
							  "\"file\"; each PgBouncer needs "
							  "one of its own", config->bouncers[j].name, config->bouncers[i].name);
	return 1;
}

static int
check_sections(ConfigParser *parser, AgentConfig *config)
{
	for (int i = 0; i < config->n_sections; i++)
	{
		const ConfigSection *section = &config->sections[i];
		char	   *name = xasprintf("%s.%s", section->kind, section->name);
		const ConfigKind *kind = kind_of_section(name);
		char		why[256] = "";
		bool		fine = kind && kind->valid(section, why, sizeof(why));

		if (!fine)
			refuse(parser, "[%s] %s", name, why);
		free(name);
		if (!fine)
			return 0;
	}
	return 1;
}

static int
check_config(ConfigParser *parser, AgentConfig *config)
{
	if (!require(parser, config->node, "agent", "node") ||
		!require(parser, config->listen, "agent", "listen") ||
		!require(parser, config->state_dir, "agent", "state_dir") ||
		!check_listen(parser, config))
		return 0;
	if (config->sample_interval_ms < 100)
		return refuse(parser, "option \"%s\" must be at least %s ms", "sample_interval_ms", "100");
	if (!config->token_file && !config->tls_client_ca)
		return refuse(parser, "[%s] needs the option \"%s\", or \"tls_client_ca\"", "agent", "token_file");
	for (int i = 0; i < config->n_instances; i++)
		if (!check_pg(parser, &config->instances[i]))
			return 0;
	if (!check_instances(parser, config))
		return 0;
	for (int i = 0; i < config->n_bouncers; i++)
		if (!require(parser, config->bouncers[i].admin, "pgbouncer.*", "admin") ||
			!require_conninfo(parser, config->bouncers[i].admin, "admin") ||
			!require(parser, config->bouncers[i].file, "pgbouncer.*", "file") ||
			(config->bouncers[i].smoke && !require_conninfo(parser, config->bouncers[i].smoke, "smoke")))
			return 0;
	if (!check_files(parser, config) || !check_sections(parser, config))
		return 0;
	for (int i = 0; i < config->n_hooks; i++)
		if (!config->hooks[i].argv || config->hooks[i].argv[0][0] != '/')
			return refuse(parser, "hook \"%s\" is not an absolute path%s", config->hooks[i].name, "");
	return 1;
}

/* A user that can read a token controls the agent, or sees it: only its owner may read it. */
static int
read_token(ConfigParser *parser, const char *path, char **token)
{
	struct stat st;

	if (!path)
		return 1;
	if (stat(path, &st) < 0)
		return refuse(parser, "could not read token file \"%s\": %s", path, strerror(errno));
	if (st.st_mode & 077)
		return refuse(parser, "token file \"%s\" must have mode 0600%s", path, "");
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return refuse(parser, "token file \"%s\" must belong to the agent's user%s", path, "");
	*token = file_read(path, 4096, NULL);
	if (!*token)
		return refuse(parser, "could not read token file \"%s\": %s", path, strerror(errno));
	(*token)[strcspn(*token, "\r\n")] = '\0';
	if (strlen(*token) < 16)
		return refuse(parser, "token file \"%s\" holds fewer than 16 characters%s", path, "");
	return 1;
}

/* The token that may look must not be able to act. */
static int
read_tokens(ConfigParser *parser, AgentConfig *config)
{
	if (!read_token(parser, config->token_file, &config->token) ||
		!read_token(parser, config->monitor_token_file, &config->monitor_token))
		return 0;
	if (config->token && config->monitor_token && strcmp(config->token, config->monitor_token) == 0)
		return refuse(parser, "\"%s\" and \"%s\" hold the same token", "token_file", "monitor_token_file");
	return 1;
}

AgentConfig *
config_read(const char *path, char *error, size_t error_size)
{
	ConfigParser parser = {.error = error, .error_size = error_size};
	AgentConfig *config = xalloc(sizeof(*config));
	int			line = 0;

	error[0] = '\0';
	config->references = 1;
	config->path = xstrdup(path);
	config->log_level = LOG_LEVEL_INFO;
	config->sample_interval_ms = 1000;
	parser.config = config;
	parser.file = fopen(path, "re");
	if (!parser.file)
		refuse(&parser, "could not open \"%s\": %s", path, strerror(errno));
	else
	{
		line = ini_parse_stream(read_line, &parser, parse_line, &parser);
		fclose(parser.file);
		free(parser.line);
		if (line != 0 && !error[0])
			snprintf(error, error_size, "line %d is not understood", line);
	}
	for (int i = 0; i < config->n_instances; i++)
		set_defaults(&config->instances[i], config->state_dir);
	if (!error[0] && check_config(&parser, config))
		read_tokens(&parser, config);
	if (!error[0])
		return config;
	config_free(config);
	return NULL;
}

static void
free_strings(const ConfigOption *options, void *base)
{
	for (; options->name; options++)
	{
		void	   *field = (char *) base + options->offset;

		if (options->type == OPTION_STRING)
			free(*(char **) field);
		else if (options->type == OPTION_WORDS || options->type == OPTION_LIST)
			text_free_list(*(char ***) field);
	}
}

static void
free_section(ConfigSection *section)
{
	for (int i = 0; i < section->n; i++)
	{
		free(section->keys[i]);
		free(section->values[i]);
	}
	free(section->keys);
	free(section->values);
	free(section->kind);
	free(section->name);
}

void
config_free(AgentConfig *config)
{
	free_strings(agent_options, config);
	for (int i = 0; i < config->n_instances; i++)
	{
		free(config->instances[i].name);
		free(config->instances[i].section);
		free(config->instances[i].settings_dir);
		free_strings(pg_options, &config->instances[i]);
	}
	free(config->instances);
	for (int i = 0; i < config->n_bouncers; i++)
	{
		free(config->bouncers[i].name);
		free_strings(bouncer_options, &config->bouncers[i]);
	}
	for (int i = 0; i < config->n_hooks; i++)
	{
		free(config->hooks[i].name);
		text_free_list(config->hooks[i].argv);
	}
	free(config->bouncers);
	for (int i = 0; i < config->n_sections; i++)
		free_section(&config->sections[i]);
	free(config->sections);
	free(config->hooks);
	free(config->token);
	free(config->monitor_token);
	free(config->path);
	free(config);
}

void
config_install(AgentConfig *config)
{
	AgentConfig *old;

	pthread_mutex_lock(&config_lock);
	old = installed;
	installed = config;
	pthread_mutex_unlock(&config_lock);
	if (old)
		config_release(old);
}

AgentConfig *
config_current(void)
{
	AgentConfig *config;

	pthread_mutex_lock(&config_lock);
	config = installed;
	config->references++;
	pthread_mutex_unlock(&config_lock);
	return config;
}

AgentConfig *
config_hold(const AgentConfig *config)
{
	AgentConfig *held = (AgentConfig *) config;

	pthread_mutex_lock(&config_lock);
	held->references++;
	pthread_mutex_unlock(&config_lock);
	return held;
}

void
config_release(AgentConfig *config)
{
	bool		last;

	pthread_mutex_lock(&config_lock);
	last = --config->references == 0;
	pthread_mutex_unlock(&config_lock);
	if (last)
		config_free(config);
}

const char *
config_control_name(PgControl control)
{
	return control_names[control];
}

const PgInstance *
config_instance(const AgentConfig *config, const char *name)
{
	for (int i = 0; i < config->n_instances; i++)
		if (strcmp(config->instances[i].name, name) == 0)
			return &config->instances[i];
	return NULL;
}

const BouncerConfig *
config_bouncer(const AgentConfig *config, const char *name)
{
	for (int i = 0; i < config->n_bouncers; i++)
		if (strcmp(config->bouncers[i].name, name) == 0)
			return &config->bouncers[i];
	return NULL;
}

const HookConfig *
config_hook(const AgentConfig *config, const char *name)
{
	for (int i = 0; i < config->n_hooks; i++)
		if (strcmp(config->hooks[i].name, name) == 0)
			return &config->hooks[i];
	return NULL;
}

const ConfigSection *
config_section(const AgentConfig *config, const char *kind, const char *name)
{
	for (int i = 0; i < config->n_sections; i++)
		if (strcmp(config->sections[i].kind, kind) == 0 && strcmp(config->sections[i].name, name) == 0)
			return &config->sections[i];
	return NULL;
}

const char *
config_value(const ConfigSection *section, const char *key)
{
	for (int i = 0; i < section->n; i++)
		if (strcmp(section->keys[i], key) == 0)
			return section->values[i];
	return NULL;
}
