/*
 * configread.c
 *		Reads the ini file: options, defaults, and the tokens in files.
 *
 * An unknown section or option is an error: a misspelt "tls_cert" must not leave an agent without TLS.
 */
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/configcheck.h"
#include "agent/core/configread.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/succession.h"
#include "agent/core/text.h"
#include "common/names.h"

static const char *const level_names[] = {"error", "warning", "info", "debug", NULL};

/* What the callback of inih works on */
typedef struct ConfigParser
{
	FILE	   *file;
	char	   *line;			/* the physical line being handed out */
	size_t		line_size;
	char	   *rest;			/* its part not yet handed out; NULL: none */
	AgentConfig *config;
	ConfigError error;
} ConfigParser;

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
		return config_refuse(&parser->error, "option \"%s\" is not a number: \"%s\"", name, value);
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
		return config_refuse(&parser->error, "unknown option \"%s\"%s", name, "");
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
			index = name_index(options->type == OPTION_LEVEL ? level_names : config_control_names, value);
			if (index < 0)
				return config_refuse(&parser->error, "option \"%s\" cannot be \"%s\"", name, value);
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

	config->instances = xrealloc(config->instances, sizeof(PgInstance) * (config->n_instances + 1));
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

	return set_option(parser, config_pg_options, pg ? pg : add_instance(parser->config, instance), name, value);
}

static BouncerConfig *
bouncer_of_section(AgentConfig *config, const char *name)
{
	BouncerConfig *bouncer = (BouncerConfig *) config_bouncer(config, name);

	if (bouncer)
		return bouncer;
	config->bouncers = xrealloc(config->bouncers, sizeof(BouncerConfig) * (config->n_bouncers + 1));
	bouncer = &config->bouncers[config->n_bouncers++];
	memset(bouncer, 0, sizeof(*bouncer));
	bouncer->name = xstrdup(name);
	return bouncer;
}

static ConfigSection *
section_of(AgentConfig *config, const ConfigKind *kind, const char *name)
{
	ConfigSection *section = (ConfigSection *) config_section(config, kind->name, name);

	if (section)
		return section;
	config->sections = xrealloc(config->sections, sizeof(ConfigSection) * (config->n_sections + 1));
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
		section->keys = xrealloc(section->keys, sizeof(char *) * (section->n + 1));
		section->values = xrealloc(section->values, sizeof(char *) * (section->n + 1));
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
		config->hooks = xrealloc(config->hooks, sizeof(HookConfig) * (config->n_hooks + 1));
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
		return set_option(parser, config_agent_options, config, name, value);
	if (strcmp(section, "alerts") == 0)
		return set_option(parser, config_alert_options, &config->alerts, name, value);
	if (strcmp(section, "backup") == 0)
		return set_option(parser, config_backup_options, &config->backup, name, value);
	if (strcmp(section, "postgresql") == 0)
		return set_instance(parser, "", name, value);
	if (strncmp(section, "postgresql.", 11) == 0)
		return instance_name_valid(section + 11) ? set_instance(parser, section + 11, name, value) :
			config_refuse(&parser->error, "[%s] does not name an instance: its name is a letter and at most 36 "
						  "letters, digits or _ more, all lower case%s", section, "");
	if (strncmp(section, "pgbouncer.", 10) == 0 && pingpong_key_valid(section + 10))
		return set_option(parser, config_bouncer_options, bouncer_of_section(config, section + 10), name, value);
	if (strcmp(section, "hooks") == 0)
		return set_hook(config, name, value);
	if (config_kind_of_section(section))
		return set_value(section_of(config, config_kind_of_section(section), strchr(section, '.') + 1), name, value);
	return config_refuse(&parser->error, "unknown section \"%s\"%s", section, "");
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
			config_refuse(&parser->error, "a word of more than %s bytes in one line%s", "190", "");
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

/* A server that systemd runs is what its unit says. */
static void
set_cluster(PgInstance *pg)
{
	char	   *cluster = pg->unit && pg->control == PG_CONTROL_SYSTEMCTL ? config_cluster_of_unit(pg->unit) : NULL;

	if (!cluster)
		return;
	free(pg->cluster);
	pg->cluster = cluster;
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
	set_cluster(pg);
	if (pg->data)
		for (size_t len = strlen(pg->data); len > 1 && pg->data[len - 1] == '/'; len--)
			pg->data[len - 1] = '\0';
	if (state_dir)
		set_places(pg, state_dir);
}

/* Whose agent it is: of the one who reads this, or, if that is root, of the owner of the state folder. */
static uid_t
agent_user(const char *state_dir)
{
	struct stat st;

	return geteuid() == 0 && stat(state_dir, &st) == 0 ? st.st_uid : geteuid();
}

/* A user that can read a token controls the agent, or sees it: only its owner may read it. */
static int
read_token(ConfigParser *parser, const char *path, char **token)
{
	struct stat st;

	if (!path)
		return 1;
	if (stat(path, &st) < 0)
		return config_refuse(&parser->error, "could not read token file \"%s\": %s", path, strerror(errno));
	if (st.st_mode & 077)
		return config_refuse(&parser->error, "token file \"%s\" must have mode 0600%s", path, "");
	if (st.st_uid != agent_user(parser->config->state_dir) && st.st_uid != 0)
		return config_refuse(&parser->error, "token file \"%s\" must belong to the agent's user%s", path, "");
	*token = file_read(path, 4096, NULL);
	if (!*token)
		return config_refuse(&parser->error, "could not read token file \"%s\": %s", path, strerror(errno));
	(*token)[strcspn(*token, "\r\n")] = '\0';
	if (strlen(*token) < 16)
		return config_refuse(&parser->error, "token file \"%s\" holds fewer than 16 characters%s", path, "");
	return 1;
}

/* The token that may look must not be able to act. */
static int
read_tokens(ConfigParser *parser, AgentConfig *config)
{
	if (!read_token(parser, config->token_file, &config->token) ||
		!read_token(parser, config->monitor_token_file, &config->monitor_token) ||
		!read_token(parser, config->alerts.secret_file, &config->alerts.secret))
		return 0;
	if (config->token && config->monitor_token && strcmp(config->token, config->monitor_token) == 0)
		return config_refuse(&parser->error, "\"%s\" and \"%s\" hold the same token", "token_file",
							 "monitor_token_file");
	return 1;
}

AgentConfig *
config_read(const char *path, char *error, size_t error_size)
{
	ConfigParser parser = {.error = {error, error_size}};
	AgentConfig *config = xalloc(sizeof(*config));
	int			line = 0;

	error[0] = '\0';
	config->references = 1;
	config->path = xstrdup(path);
	config->log_level = LOG_LEVEL_INFO;
	config->sample_interval_ms = 1000;
	config->alerts.down_after_ms = 5000;
	config->alerts.timeout_ms = 5000;
	parser.config = config;
	parser.file = fopen(path, "re");
	if (!parser.file)
		config_refuse(&parser.error, "could not open \"%s\": %s", path, strerror(errno));
	else
	{
		line = ini_parse_stream(read_line, &parser, parse_line, &parser);
		fclose(parser.file);
		free(parser.line);
		if (line != 0 && !error[0])
			snprintf(error, error_size, "line %d is not understood", line);
	}
	default_string(&config->alerts.cluster, "main");
	succession_inherit(config);
	for (int i = 0; i < config->n_instances; i++)
		set_defaults(&config->instances[i], config->state_dir);
	if (!error[0] && config_check(config, &parser.error))
		read_tokens(&parser, config);
	if (!error[0] && !succession_apply(config))
		config_refuse(&parser.error, "\"%s/main\" cannot be read, or names no section with \"successor = yes\"%s: "
					  "remove it if [postgresql] is the main server", config->state_dir, "");
	if (!error[0])
		return config;
	config_free(config);
	return NULL;
}
