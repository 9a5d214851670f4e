/*
 * postgres.c
 *		Facts about our PostgreSQL: one statement for each part, each with one JSON value as its answer.
 *
 * Whole rows of a view are taken with to_jsonb(), so that columns which only newer majors have are there without
 * asking for the version.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/facts/error.h"
#include "agent/facts/postgres.h"
#include "agent/pg/pg.h"

#define STATEMENT_TIMEOUT_MS 2000

typedef struct PostgresPart
{
	const char *name;			/* NULL: its members go into the object itself */
	const char *sql;
} PostgresPart;

/* Settings whose values may hold a secret */
#define SECRET "'(conninfo|passw|secret|passphrase|token|_key$|_command$)'"

static const PostgresPart parts[] = {
	{NULL,
		"SELECT jsonb_build_object("
		" 'server_version_num', current_setting('server_version_num')::int,"
		" 'system_identifier', s.system_identifier::text,"
		" 'in_recovery', r.r,"
		" 'timeline', c.timeline_id,"	/* of the last checkpoint; that of the newest WAL: */
		" 'wal_timeline', CASE WHEN r.r THEN greatest(c.timeline_id, e.min_recovery_end_timeline,"
		" (SELECT received_tli FROM pg_stat_wal_receiver))"
		" ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,"
		" 'redo_lsn', c.redo_lsn,"
		" 'receive_lsn', CASE WHEN r.r THEN pg_last_wal_receive_lsn() END,"
		" 'replay_lsn', CASE WHEN r.r THEN pg_last_wal_replay_lsn() END,"
		" 'replay_age_ms', CASE WHEN r.r THEN extract(epoch FROM clock_timestamp() - "
		"pg_last_xact_replay_timestamp()) * 1000 END,"
		" 'replay_pause_state', CASE WHEN r.r THEN pg_get_wal_replay_pause_state() ELSE 'not in recovery' END,"
		" 'started_ms', extract(epoch FROM pg_postmaster_start_time()) * 1000,"
		" 'restore_command_set', current_setting('restore_command') <> '',"
		" 'recovery_end_command_set', current_setting('recovery_end_command') <> '')"
	" FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() e, pg_is_in_recovery() r (r)"},
	{"control",
	"SELECT to_jsonb(c) FROM pg_control_init() c"},
	{"wal_receiver",			/* never its conninfo */
		"SELECT coalesce((SELECT jsonb_build_object('status', status, 'sender_host', sender_host, "
		"'sender_port', sender_port::text,"
		" 'received_tli', received_tli, 'slot_name', slot_name) FROM pg_stat_wal_receiver WHERE pid IS NOT NULL),"
	" jsonb_build_object('status', 'none'))"},
	{"settings",
		"SELECT jsonb_object_agg(name, CASE WHEN name ~ " SECRET " AND name !~ '_file$' THEN '***' ELSE setting END)"
		" FROM pg_settings WHERE name ~ '^(pingpong\\.|recovery_target)' OR name IN ("
		"'max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions',"
		" 'max_locks_per_transaction', 'max_replication_slots', 'wal_level', 'wal_log_hints', 'full_page_writes',"
		" 'synchronous_standby_names', 'primary_slot_name', 'recovery_min_apply_delay', 'shared_preload_libraries',"
		" 'hot_standby', 'hot_standby_feedback', 'max_standby_streaming_delay', 'archive_mode', 'listen_addresses',"
		" 'port', 'cluster_name', 'shared_buffers', 'huge_pages', 'wal_keep_size', 'max_slot_wal_keep_size',"
	" 'max_wal_size', 'sync_replication_slots', 'synchronized_standby_slots', "
	"'data_directory', 'config_file', 'ssl')"},
	{"nondefault",				/* what our own session set hides the value for others: left out */
		"SELECT jsonb_build_object('rows', coalesce(jsonb_object_agg(name, CASE WHEN name ~ "
		SECRET " THEN '***' ELSE setting END), '{}'))"
		" FROM pg_settings WHERE source NOT IN ('default', 'override', 'client', 'session', 'user', "
		"'database', 'database user')"
	" AND context <> 'internal'"},
	/*
	 * What sessions of others get now (not ours, which sets some itself), what the next start takes, and what the
	 * files alone say. Reading the files also marks what waits for a restart, for the parts below.
	 */
	{NULL,
		"WITH f AS MATERIALIZED (SELECT DISTINCT ON (lower(name)) lower(name) AS name, setting FROM pg_file_settings"
		" WHERE name IS NOT NULL ORDER BY lower(name), seqno DESC),"
		" v AS (SELECT s.name, s.vartype, u.kind, CASE WHEN kind = 'effective' AND s.source NOT IN ('client', "
		"'session', 'user', 'database', 'database user')"
		" OR kind = 'next' AND s.source = 'command line' THEN s.setting ELSE coalesce(f.setting, "
		"s.boot_val) END AS value"
		" FROM pg_settings s CROSS JOIN unnest(ARRAY['effective', 'next', 'files']) u (kind) LEFT JOIN f "
		"ON f.name = lower(s.name)"
		" WHERE s.name IN ('shared_preload_libraries', 'hot_standby', 'port', "
		"'pingpong.database', 'pingpong.node_name',"
		" 'default_transaction_read_only', 'default_transaction_isolation', "
		"'default_transaction_deferrable', 'max_connections',"
		" 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction',"
		" 'recovery_min_apply_delay')),"
		" w AS (SELECT kind, jsonb_object_agg(name, CASE WHEN vartype <> 'bool' THEN value"
		" WHEN value ~* '^(on|tr?u?e?|ye?s?|1)$' THEN 'on' ELSE 'off' END) AS rows FROM v GROUP BY kind)"
	" SELECT jsonb_object_agg(kind, rows) FROM w"},
	{"command_line",			/* recovery_init_sync_method is our own, from the last start */
		"SELECT jsonb_build_object('rows', coalesce(jsonb_agg(name ORDER BY name), '[]')) FROM pg_settings"
	" WHERE source = 'command line' AND name <> 'recovery_init_sync_method'"},
	{"pending_restart",
	"SELECT jsonb_build_object('rows', coalesce(jsonb_agg(name ORDER BY name), '[]')) FROM "
	"pg_settings WHERE pending_restart"},
	{"file_errors",				/* one that waits for a restart has an "error" too: left out */
		"SELECT jsonb_build_object('rows', coalesce(jsonb_agg(e), '[]')) FROM ("
		"SELECT concat_ws(' ', f.name, f.sourcefile, 'line ' || f.sourceline, f.error) FROM pg_file_settings f"
		" WHERE error IS NOT NULL AND NOT EXISTS (SELECT FROM pg_settings s WHERE s.name = "
		"f.name AND s.pending_restart)"
	" UNION ALL SELECT format('pg_hba.conf line %s: %s', line_number, error) FROM pg_hba_file_rules WHERE "
	"error IS NOT NULL) f (e)"},
	{"hba",						/* not the options: some hold passwords */
		"SELECT jsonb_build_object('rows', coalesce(jsonb_agg(jsonb_build_object('type', type, 'database', database,"
		" 'user_name', user_name, 'address', address, 'netmask', netmask, 'auth_method', auth_method)), '[]'))"
	" FROM pg_hba_file_rules WHERE error IS NULL"},
	{"slots",
	"SELECT jsonb_build_object('rows', coalesce(jsonb_agg(to_jsonb(s)), '[]')) FROM pg_replication_slots s"},
	{"replication",				/* not what other agents are trying just now */
		"SELECT jsonb_build_object('rows', "
		"coalesce(jsonb_agg(jsonb_build_object('application_name', r.application_name,"
		" 'client_addr', r.client_addr, 'state', r.state, 'sync_state', r.sync_state, "
		"'slot_name', s.slot_name)), '[]'))"
	" FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE "
	"r.application_name <> 'pingpong-agent'"},
	{"readers",					/* not their statements */
		"SELECT jsonb_build_object('rows', coalesce((SELECT jsonb_agg(q) FROM (SELECT pid, usename, datname, state,"
		" round(extract(epoch FROM clock_timestamp() - xact_start)::numeric, 1) AS age_s FROM pg_stat_activity"
		" WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start < "
		"clock_timestamp() - interval '1 s'"
	" ORDER BY xact_start LIMIT 20) q), '[]'))"},
	{"sessions",
		"SELECT jsonb_build_object('clients', count(*) FILTER (WHERE backend_type = 'client backend'),"
		" 'active', count(*) FILTER (WHERE backend_type = 'client backend' AND state = 'active'),"
	" 'untracked', count(*) FILTER (WHERE backend_type = 'client backend' AND state = "
	"'disabled')) FROM pg_stat_activity"},
	{"conflicts",
		"SELECT jsonb_build_object('count', coalesce(sum(confl_tablespace + confl_lock + confl_snapshot + "
		"confl_bufferpin + confl_deadlock), 0))"
	" FROM pg_stat_database_conflicts"},
	{"base_backups",
	"SELECT jsonb_build_object('count', count(*)) FROM pg_stat_progress_basebackup"},
	{"libraries",
		"SELECT jsonb_build_object('directory', l.dir, 'rows', "
		"coalesce(jsonb_agg(jsonb_build_object('name', n.name, 'present',"
		" EXISTS (SELECT FROM regexp_split_to_table(CASE WHEN n.name ~ '/' THEN '' ELSE "
		"current_setting('dynamic_library_path') END, ':') p (p),"
		" unnest(ARRAY['', '.so']) suffix,"
		" pg_stat_file(concat_ws('/', nullif(replace(p.p, '$libdir', l.dir), ''), replace(n.name, '$libdir', "
		"l.dir)) || suffix, true) f"
		" WHERE f.size IS NOT NULL))) FILTER (WHERE n.name <> ''), '[]'))"
		" FROM (SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR') l (dir)"
		" LEFT JOIN (SELECT btrim(x, ' \"') FROM regexp_split_to_table(current_setting('shared_preload_libraries'), "
		"',') x) n (name) ON true"
	" GROUP BY l.dir"},
	{"replication_roles",
		"SELECT jsonb_build_object('rows', coalesce(jsonb_agg(jsonb_build_object('name', rolname, "
		"'connection_limit', rolconnlimit,"
	" 'valid_until', rolvaliduntil)), '[]')) FROM pg_roles WHERE rolreplication AND rolcanlogin"},
};

/* What stands against its worker going on after a promotion; "": nothing. */
static json_t *
ask_probe(PGconn *conn)
{
	char		sql[160];

	snprintf(sql, sizeof(sql), "SELECT to_jsonb(coalesce(CASE WHEN pg_is_in_recovery() THEN %s.probe() END, ''))",
			 pg_pingpong_schema(conn));
	return facts_ask(conn, sql);
}

/* The extension as it is in this server's pingpong.database, and the worker. */
static json_t *
pingpong(const PgInstance *pg, PGconn *conn)
{
	char		error[512];
	char	   *database = pg_pingpong_database(conn);
	json_t	   *facts = facts_ask(conn, "SELECT jsonb_build_object("
								  "'database', current_setting('pingpong.database', true),"
								  " 'version', current_setting('pingpong.version', true),"
								  " 'worker_pid', (SELECT min(pid) FROM pg_stat_activity WHERE backend_type "
								  "= 'pg_pingpong worker'),"
								  " 'worker_database', (SELECT min(datname) FROM pg_stat_activity WHERE backend_type "
								  "= 'pg_pingpong worker'))");
	bool		here = database && strcmp(database, PQdb(conn)) == 0;
	PGconn	   *there = here || !database ? conn : pg_local(pg, database, STATEMENT_TIMEOUT_MS, error, sizeof(error));

	if (database && there)
	{
		json_t	   *extension = facts_ask(there, "SELECT jsonb_build_object('extension', max(extversion)) "
										  "FROM pg_extension WHERE extname = 'pg_pingpong'");

		json_object_update(facts, extension);
		if (json_is_string(json_object_get(extension, "extension")))
		{
			json_t	   *problem = ask_probe(there);

			json_object_set_new(facts, "gate", facts_ask(there, "SELECT to_jsonb(state) FROM pingpong.gate"));
			json_object_set(facts, "problem", json_is_object(problem) ? json_object_get(problem, "error") : problem);
			json_decref(problem);
		}
		json_decref(extension);
	}
	else if (database)
		json_object_set_new(facts, "error", json_string(error));
	if (there != conn)
		PQfinish(there);
	free(database);
	return facts;
}

json_t *
facts_postgres(const PgInstance *pg)
{
	char		error[512];
	PGconn	   *conn = pg_local(pg, NULL, STATEMENT_TIMEOUT_MS, error, sizeof(error));
	json_t	   *facts;

	if (!conn)
		return facts_error("%s", error);
	facts = json_object();

	/* the session has an empty search_path, which leaves pg_catalog */
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
	{
		json_t	   *part = facts_ask(conn, parts[i].sql);

		if (parts[i].name)
			json_object_set_new(facts, parts[i].name, part);
		else
		{
			json_object_update(facts, part);
			json_decref(part);
		}
	}
	json_object_set_new(facts, "pingpong", pingpong(pg, conn));
	PQfinish(conn);
	return facts;
}
