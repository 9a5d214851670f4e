/*
 * config.h
 *		The configuration.
 *
 * It is an immutable snapshot. A reload (SIGHUP) makes a new one. A running job keeps a reference to the one that it
 * began with.
 */
#ifndef PINGPONG_AGENT_CORE_CONFIG_H
#define PINGPONG_AGENT_CORE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

typedef enum PgControl
{
	PG_CONTROL_PG_CTL,			/* we signal the postmaster ourselves, pg_ctl starts it */
	PG_CONTROL_PG_CTLCLUSTER,	/* Debian's wrapper, needs "cluster" */
	PG_CONTROL_SYSTEMCTL,		/* needs "unit" */
	PG_CONTROL_COMMAND			/* needs "start_command" and "stop_command" */
} PgControl;

/*
 * A server of this host: [postgresql] is the main one, the node's own; [postgresql.NAME] is a further one, as an
 * upgrade in place has it. Strings are NULL when not set and without a default.
 */
typedef struct PgInstance
{
	char	   *name;			/* "": the main one */
	char	   *section;		/* of the file, for people: postgresql, postgresql.NAME */
	char	   *settings_dir;	/* what its settings were: in state_dir, one's own for each instance */
	const char *state_dir;		/* the agent's */
	int			major;			/* of its binaries; 0: not known. Others ask version_major() */

	char	   *data;			/* PGDATA, without a slash at its end */
	char	   *bin;			/* folder of pg_ctl, pg_rewind, ... */
	char	   *socket;			/* folder of the unix socket */
	int			port;
	char	   *superuser;
	char	   *database;
	PgControl	control;
	char	   *log;			/* for pg_ctl -l */
	char	   *cluster;		/* VERSION/NAME; by Debian's unit, where that is */
	char	   *unit;
	char	  **start_command;	/* argv, NULL-terminated */
	char	  **stop_command;
	char	   *replication;	/* conninfo without host and port; may hold secrets */
	char	   *rewind;			/* the same, for pg_rewind; has a dbname */
	char	  **keep;			/* more files in PGDATA that belong to the node */
	char	   *max_rate;		/* of a base backup, as pg_basebackup takes it: kB/s, or with M; NULL: any */
	char	  **snapshot;		/* driver and its words, agent/snapshot; NULL: none */
	char	   *rehearsal;		/* of a successor: a folder for a clone; NULL: none */
	char	   *successor;		/* "yes": what the main one becomes by an upgrade (succession.h); else NULL */
} PgInstance;

#define FORMER_NAME "former"	/* the main instance of before an upgrade: succession.h */
#define INSTANCE_NAME_MAX 37	/* a letter, and at most 36 more */

/*
 * The cluster of a unit that Debian's template makes, postgresql@VERSION-NAME(.service): VERSION/NAME, malloc'd.
 * NULL: it is a unit of the site's own, or one that the template cannot start (systemd takes a dash in NAME for a
 * slash).
 */
extern char *config_cluster_of_unit(const char *unit);

/* [pgbouncer.NAME] */
typedef struct BouncerConfig
{
	char	   *name;
	char	   *admin;			/* conninfo of the admin console; may hold secrets */
	char	   *file;			/* the included file that is ours */
	char	   *smoke;			/* conninfo of a client, for smoke tests; NULL: none; may hold secrets */
	int			query_timeout_ms;
} BouncerConfig;

/* a line of [hooks] */
typedef struct HookConfig
{
	char	   *name;
	char	  **argv;			/* NULL-terminated, argv[0] is an absolute path */
} HookConfig;

/* [KIND.NAME] of a kind that a higher floor has made known: its options as they are in the file */
typedef struct ConfigSection
{
	char	   *kind;
	char	   *name;
	int			n;
	char	  **keys;
	char	  **values;
} ConfigSection;

/* A kind of sections: false, with a sentence: one of them cannot be used. */
typedef struct ConfigKind
{
	const char *name;
	bool		single;			/* there is one of it at most */
	bool		(*valid) (const ConfigSection *section, char *error, size_t error_size);
} ConfigKind;

/* Prints a line of --check: whether it is fine, and what was looked at. */
typedef void (*CheckSay) (bool fine, const char *format,...);

/* [alerts] */
typedef struct AlertConfig
{
	char	   *url;			/* of the receiver; may hold a secret; NULL: no alerts are delivered */
	char	   *cluster;		/* the name of the cluster in messages */
	char	   *secret_file;	/* NULL: messages are not signed */
	char	   *secret;			/* its contents */
	char	   *ca_file;		/* for the receiver's certificate; NULL: the CAs of the system */
	char	   *peer_ca_file;	/* for those of other agents; NULL: the CAs of the system */
	int			down_after_ms;
	int			repeat_s;		/* 0: never */
	int			timeout_ms;		/* for one delivery */
} AlertConfig;

/* [backup] */
typedef struct BackupConfig
{
	char	  **pgbackrest;		/* argv of pgBackRest, with its options; NULL: not used */
	char	   *stanza;
	char	  **command;		/* argv of a program that tells the same; NULL: none */
} BackupConfig;

typedef struct AgentConfig
{
	int			references;		/* managed by config_current() and config_release() */
	char	   *path;			/* the file this was read from */

	char	   *node;
	char	   *listen;
	char	   *health_listen;	/* address of a plain socket for health checks only; NULL: none */
	char	   *token_file;
	char	   *token;			/* contents of token_file */
	char	   *monitor_token_file;	/* NULL: none */
	char	   *monitor_token;	/* its contents */
	char	  **without_credentials;	/* OPEN_METRICS, OPEN_PAGE: what anyone may see; NULL: nothing */
	int			sample_interval_ms;
	char	   *state_dir;
	char	   *tls_cert;
	char	   *tls_key;
	char	   *tls_client_ca;
	char	  **tls_client_names;	/* whose certificates of that CA may control; NULL: any */
	int			log_level;

	AlertConfig alerts;
	BackupConfig backup;
	PgInstance *instances;		/* the main one first; none: an agent beside a router only */
	int			n_instances;
	BouncerConfig *bouncers;
	int			n_bouncers;
	HookConfig *hooks;
	int			n_hooks;
	ConfigSection *sections;
	int			n_sections;
} AgentConfig;

/* Words of "without_credentials" */
#define OPEN_METRICS "metrics"
#define OPEN_PAGE "page"

/* An option of the file: where its value is in a struct. A list of them ends with one without a name. */
typedef struct ConfigOption
{
	const char *name;
	enum
	{
		OPTION_STRING, OPTION_INT, OPTION_WORDS, OPTION_LIST, OPTION_CONTROL, OPTION_LEVEL
	}			type;
	size_t		offset;
} ConfigOption;

extern const ConfigOption config_agent_options[];	/* of AgentConfig */
extern const ConfigOption config_alert_options[];	/* of AlertConfig */
extern const ConfigOption config_backup_options[];	/* of BackupConfig */
extern const ConfigOption config_pg_options[];	/* of PgInstance */
extern const ConfigOption config_bouncer_options[];	/* of BouncerConfig */
extern const char *const config_control_names[];	/* by PgControl, as in the file */

/* The entry of that name; NULL: none is configured. "" is the main instance; without it there is no other. */
extern const PgInstance *config_instance(const AgentConfig *config, const char *name);
extern const BouncerConfig *config_bouncer(const AgentConfig *config, const char *name);
extern const ConfigSection *config_section(const AgentConfig *config, const char *kind, const char *name);
extern const char *config_value(const ConfigSection *section, const char *key);	/* NULL: not set */
extern bool config_number(const char *value, int min, int max); /* is it one of these, in digits? */
extern const HookConfig *config_hook(const AgentConfig *config, const char *name);

extern const char *config_control_name(PgControl control);	/* as in the file */
extern bool config_is_open(const AgentConfig *config, const char *word);	/* is it in "without_credentials"? */

/* More kinds of sections; the list ends with one without a name, and stays.  Before anything is read. */
extern void config_know(const ConfigKind *kinds);

/* The kind of the section "KIND.NAME"; NULL: not known. */
extern const ConfigKind *config_kind_of_section(const char *section);

extern void config_free(AgentConfig *config);

extern void config_install(AgentConfig *config);	/* makes it the current one */
extern AgentConfig *config_current(void);	/* takes a reference */
extern void config_release(AgentConfig *config);

/* One more reference to one that the caller has a reference to: for a thread that may outlive the caller. */
extern AgentConfig *config_hold(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_CORE_CONFIG_H */
