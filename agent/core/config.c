/*
 * config.c
 *		The configuration as threads use it: its options, which thread uses which version, and look-ups.
 *
 * The options are a table, for those that read, use and free them. configread.c reads the file, configcheck.c has
 * the rules.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/config.h"
#include "agent/core/text.h"
#include "common/names.h"

const ConfigOption config_agent_options[] = {
	{"node", OPTION_STRING, offsetof(AgentConfig, node)},
	{"listen", OPTION_STRING, offsetof(AgentConfig, listen)},
	{"health_listen", OPTION_STRING, offsetof(AgentConfig, health_listen)},
	{"token_file", OPTION_STRING, offsetof(AgentConfig, token_file)},
	{"monitor_token_file", OPTION_STRING, offsetof(AgentConfig, monitor_token_file)},
	{"without_credentials", OPTION_LIST, offsetof(AgentConfig, without_credentials)},
	{"sample_interval_ms", OPTION_INT, offsetof(AgentConfig, sample_interval_ms)},
	{"state_dir", OPTION_STRING, offsetof(AgentConfig, state_dir)},
	{"tls_cert", OPTION_STRING, offsetof(AgentConfig, tls_cert)},
	{"tls_key", OPTION_STRING, offsetof(AgentConfig, tls_key)},
	{"tls_client_ca", OPTION_STRING, offsetof(AgentConfig, tls_client_ca)},
	{"tls_client_names", OPTION_LIST, offsetof(AgentConfig, tls_client_names)},
	{"log_level", OPTION_LEVEL, offsetof(AgentConfig, log_level)},
	{NULL}
};

const ConfigOption config_alert_options[] = {
	{"url", OPTION_STRING, offsetof(AlertConfig, url)},
	{"cluster", OPTION_STRING, offsetof(AlertConfig, cluster)},
	{"secret_file", OPTION_STRING, offsetof(AlertConfig, secret_file)},
	{"ca_file", OPTION_STRING, offsetof(AlertConfig, ca_file)},
	{"peer_ca_file", OPTION_STRING, offsetof(AlertConfig, peer_ca_file)},
	{"down_after_ms", OPTION_INT, offsetof(AlertConfig, down_after_ms)},
	{"repeat_s", OPTION_INT, offsetof(AlertConfig, repeat_s)},
	{"timeout_ms", OPTION_INT, offsetof(AlertConfig, timeout_ms)},
	{NULL}
};

const ConfigOption config_backup_options[] = {
	{"pgbackrest", OPTION_WORDS, offsetof(BackupConfig, pgbackrest)},
	{"stanza", OPTION_STRING, offsetof(BackupConfig, stanza)},
	{"command", OPTION_WORDS, offsetof(BackupConfig, command)},
	{NULL}
};

const ConfigOption config_pg_options[] = {
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
	{"max_rate", OPTION_STRING, offsetof(PgInstance, max_rate)},
	{"snapshot", OPTION_WORDS, offsetof(PgInstance, snapshot)},
	{"rehearsal", OPTION_STRING, offsetof(PgInstance, rehearsal)},
	{"successor", OPTION_STRING, offsetof(PgInstance, successor)},
	{NULL}
};

const ConfigOption config_bouncer_options[] = {
	{"admin", OPTION_STRING, offsetof(BouncerConfig, admin)},
	{"file", OPTION_STRING, offsetof(BouncerConfig, file)},
	{"smoke", OPTION_STRING, offsetof(BouncerConfig, smoke)},
	{"query_timeout_ms", OPTION_INT, offsetof(BouncerConfig, query_timeout_ms)},
	{NULL}
};

const char *const config_control_names[] = {"pg_ctl", "pg_ctlcluster", "systemctl", "command", NULL};

#define KINDS_MAX 16

static pthread_mutex_t config_lock = PTHREAD_MUTEX_INITIALIZER;
static AgentConfig *installed;
static const ConfigKind *known[KINDS_MAX];
static int	n_known;

void
config_know(const ConfigKind *kinds)
{
	for (; kinds->name && n_known < KINDS_MAX; kinds++)
		known[n_known++] = kinds;
}

const ConfigKind *
config_kind_of_section(const char *section)
{
	size_t		len = strcspn(section, ".");

	for (int i = 0; i < n_known; i++)
		if (strlen(known[i]->name) == len && strncmp(known[i]->name, section, len) == 0 && section[len] == '.' &&
			pingpong_key_valid(section + len + 1))
			return known[i];
	return NULL;
}

char *
config_cluster_of_unit(const char *unit)
{
	static const char prefix[] = "postgresql@";
	static const char suffix[] = ".service";
	const char *version = unit + sizeof(prefix) - 1;
	size_t		digits;
	size_t		name;

	if (strncmp(unit, prefix, sizeof(prefix) - 1) != 0)
		return NULL;
	digits = strspn(version, "0123456789");
	if (digits == 0 || version[digits] != '-')
		return NULL;
	name = strcspn(version + digits + 1, ".-/\\");
	if (name == 0 || (version[digits + 1 + name] && strcmp(version + digits + 1 + name, suffix) != 0))
		return NULL;
	return xasprintf("%.*s/%.*s", (int) digits, version, (int) name, version + digits + 1);
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
	free_strings(config_agent_options, config);
	free_strings(config_alert_options, &config->alerts);
	free(config->alerts.secret);
	free_strings(config_backup_options, &config->backup);
	for (int i = 0; i < config->n_instances; i++)
	{
		free(config->instances[i].name);
		free(config->instances[i].section);
		free(config->instances[i].settings_dir);
		free_strings(config_pg_options, &config->instances[i]);
	}
	free(config->instances);
	for (int i = 0; i < config->n_bouncers; i++)
	{
		free(config->bouncers[i].name);
		free_strings(config_bouncer_options, &config->bouncers[i]);
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
	return config_control_names[control];
}

bool
config_is_open(const AgentConfig *config, const char *word)
{
	for (char *const *open = config->without_credentials; open && *open; open++)
		if (strcmp(*open, word) == 0)
			return true;
	return false;
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

bool
config_number(const char *value, int min, int max)
{
	return *value && strlen(value) <= 9 && strspn(value, "0123456789") == strlen(value) && atoi(value) >= min &&
		atoi(value) <= max;
}

const char *
config_value(const ConfigSection *section, const char *key)
{
	for (int i = 0; i < section->n; i++)
		if (strcmp(section->keys[i], key) == 0)
			return section->values[i];
	return NULL;
}
