/*
 * settings.h - settings of the module (GUCs) that its worker reads, and the name of this server.
 */
#ifndef PINGPONG_WORKER_SETTINGS_H
#define PINGPONG_WORKER_SETTINGS_H

/* Defined by settings_define(), changed by PostgreSQL's configuration only. Times in ms. */
extern char *worker_database;
extern char *worker_node_name;
extern char *worker_token_file;
extern char *worker_ca_file;
extern char *worker_cert_file;
extern char *worker_key_file;
extern char *worker_pause_after;
extern int	worker_sample_interval;
extern int	worker_agent_interval;
extern int	worker_history_interval;
extern int	worker_readiness_interval;
extern int	worker_alert_interval;
extern int	worker_route_interval;
extern int	worker_connect_timeout;
extern int	worker_rejoin_timeout;
extern int	worker_guard_timeout;
extern int	worker_guard_unanswered;	/* GuardUnanswered */

/* From _PG_init, while shared_preload_libraries is processed. */
extern void settings_define(void);

/* The name under which this server is registered: pingpong.node_name, else cluster_name; "" if neither is set. */
extern const char *worker_self(void);

/* What a wait of ours is called in pg_stat_activity. */
extern uint32 worker_wait_event(void);

#endif
