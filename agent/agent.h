/*
 * agent.h
 *		What all files of pingpong-agent share: configuration, log, clocks.
 *
 * The configuration is an immutable snapshot.  A reload (SIGHUP) makes a new one;
 * whoever still works with the old one (a running job) holds a reference to it.
 */
#ifndef PINGPONG_AGENT_H
#define PINGPONG_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/names.h"

typedef enum PgControl
{
	PG_CONTROL_PG_CTL,			/* we signal the postmaster ourselves, pg_ctl starts it */
	PG_CONTROL_PG_CTLCLUSTER,	/* Debian's wrapper, needs "cluster" */
	PG_CONTROL_SYSTEMCTL,		/* needs "unit" */
	PG_CONTROL_COMMAND			/* needs "start_command" and "stop_command" */
} PgControl;

/* [postgresql]; strings are NULL when not set and without a default */
typedef struct PgConfig
{
	bool		present;		/* false: an agent beside a router only */
	char	   *data;			/* PGDATA, without a slash at its end */
	char	   *bin;			/* folder of pg_ctl, pg_rewind, ... */
	char	   *socket;			/* folder of the unix socket */
	int			port;
	char	   *superuser;
	char	   *database;
	PgControl	control;
	char	   *log;			/* for pg_ctl -l */
	char	   *cluster;
	char	   *unit;
	char	  **start_command;	/* argv, NULL-terminated */
	char	  **stop_command;
	char	   *replication;	/* conninfo without host and port; may hold secrets */
	char	   *rewind;			/* the same, for pg_rewind; has a dbname */
	char	  **keep;			/* more files in PGDATA that belong to the node */
} PgConfig;

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

typedef struct AgentConfig
{
	int			references;		/* managed by config_current() and config_release() */
	char	   *path;			/* the file this was read from */

	char	   *node;
	char	   *listen;
	char	   *token_file;
	char	   *token;			/* contents of token_file */
	char	   *state_dir;
	char	   *tls_cert;
	char	   *tls_key;
	char	   *tls_client_ca;
	char	  **tls_client_names;	/* whose certificates of that CA may control; NULL: any */
	int			log_level;

	PgConfig	pg;
	BouncerConfig *bouncers;
	int			n_bouncers;
	HookConfig *hooks;
	int			n_hooks;
} AgentConfig;

/* config.c */
extern AgentConfig *config_read(const char *path, char *error, size_t error_size);
extern void config_free(AgentConfig *config);
extern void config_install(AgentConfig *config);	/* makes it the current one */
extern AgentConfig *config_current(void);	/* takes a reference */
extern void config_release(AgentConfig *config);
extern const BouncerConfig *config_bouncer(const AgentConfig *config, const char *name);
extern const HookConfig *config_hook(const AgentConfig *config, const char *name);

/*
 * memory.c: which memory this is. A random name in state_dir/memory, made when there is none: another one after the
 * folder was lost, emptied or not mounted, and on another host. Whoever was promised something by the other memory
 * learns from it that this one does not know.
 */
extern void memory_start(const AgentConfig *config);
extern const char *memory_id(void);

/* leftovers.c: removes what killed agents have left half written. Only before anything else of this agent writes. */
extern void leftovers_remove(const AgentConfig *config);

/* check.c: --check, returns the exit status */
extern int check_run(const char *path);

/* log.c: lines on stderr, each with time and level; never a secret in one */
enum
{
	LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG
};
extern void log_set_level(int level);
extern void log_line(int level, const char *format,...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* util.c: clocks, memory, strings */
extern double clock_realtime_ms(void);	/* a moment, to tell others */
extern double clock_monotonic_ms(void); /* for durations and deadlines */
extern double clock_boottime_ms(void);	/* for deadlines that outlast this process: one life of the host, see below */
extern void host_boot_id(char *to, size_t size);	/* another one after each start of the host; "" if not known */
extern void sleep_ms(int ms);
extern void *xalloc(size_t size);	/* zeroed; out of memory ends the process */
extern char *xstrdup(const char *s);
extern char *xasprintf(const char *format,...) __attribute__((format(printf, 1, 2)));

/* files.c: whole files; all return 0, or -1 with errno set */
extern int	file_write_atomic(const char *path, const char *data, size_t size, int mode, bool durable);

/*
 * Room for a later file_write_reserved(), made now: that one needs no new block on the disk. It takes the reserve and
 * is durable; without a reserve, or for more data than it has room for, it is file_write_atomic().
 */
extern int	file_reserve(const char *reserve, size_t size, int mode);
extern int	file_write_reserved(const char *path, const char *reserve, const char *data, size_t size, int mode);
extern int	file_write_all(int fd, const char *data, size_t size);
/*
 * The whole file, malloc'd, NUL behind it; or NULL with errno, never a part of it. ENOENT: there is none. EFBIG: it
 * has more than `limit` bytes, or is not a file. What else may be is not the same as "there is none".
 */
extern char *file_read(const char *path, size_t limit, size_t *size);
/* Its last bytes, not before `from`, of any size of file; malloc'd or NULL */
extern char *file_tail(const char *path, off_t from, size_t limit);
extern int	file_fsync_path(const char *path);
#define FILE_COPY_MAX (64 * 1024 * 1024)
extern int	file_copy(const char *from, const char *to);
extern int	make_directory(const char *path, int mode);	/* with its parents; existing is fine */
extern int	remove_tree(const char *path);
extern bool file_exists(const char *path);
extern bool file_exists_in(const char *directory, const char *name);

#endif							/* PINGPONG_AGENT_H */
