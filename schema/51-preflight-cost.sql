-- Preflight, continued: what the move meets and what it costs.

-- What stands in the way of the gate, and what the move ends
--

CREATE FUNCTION pingpong_check.check_long_transactions(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, coalesce($2 ->> 'on_long_transactions', 'warn'),
                   CASE count(*) WHEN 0 THEN format('no transaction is older than the grace of %s ms',
                                                    preflight_ms($2, 'grace_ms', 5000))
                        ELSE format('%s older than the grace of %s ms, %s of them have written '
                                    '(oldest %s s; pids %s)', count(*), preflight_ms($2, 'grace_ms', 5000),
                                    count(a.backend_xid),
                                    round(max(extract(epoch FROM clock_timestamp() - a.xact_start))),
                                    string_agg(a.pid::text || CASE WHEN a.backend_xid IS NULL THEN ''
                                               ELSE ' (writes)' END, ', ')) END,
                   'A transaction that has written is cancelled at the end of the grace; one that has not waits or '
                   'is ended. Let them end, or give more grace.', 'postgres')
    FROM pg_stat_activity a
    WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
      AND a.xact_start < clock_timestamp() - preflight_ms($2, 'grace_ms', 5000) * interval '1 ms'
    UNION ALL
    SELECT unseen_sessions()
    UNION ALL
    SELECT ROW(node_name(), 'info', format('the grace of %s ms is not shorter than the permitted blackout of %s ms',
                                           grace, blackout),
               'A writer that does not end is not cancelled: the run is rolled back.')::finding
    FROM (SELECT preflight_ms($2, 'grace_ms', 5000), preflight_ms($2, 'max_blackout_ms', 10000)) m (grace, blackout)
        WHERE grace >= blackout
$$;

CREATE FUNCTION pingpong_check.check_idle_in_transaction(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, coalesce($2 ->> 'on_idle_in_transaction', 'warn'),
                   CASE count(*) WHEN 0 THEN 'none for more than a second'
                        ELSE format('%s sessions for up to %s s, %s of them have written (pids %s)', count(*),
                                    round(max(extract(epoch FROM clock_timestamp() - a.state_change))),
                                    count(a.backend_xid), string_agg(a.pid::text, ', ')) END,
                   'Those that have written are ended at the end of the grace. Set '
                   'idle_in_transaction_session_timeout.', 'postgres')
    FROM pg_stat_activity a
    WHERE a.state LIKE 'idle in transaction%' AND a.pid <> pg_backend_pid()
        AND a.state_change < clock_timestamp() - interval '1 s'
    UNION ALL
    SELECT unseen_sessions()
$$;

CREATE FUNCTION pingpong_check.check_prepared_transactions(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'warn',
                   CASE count(*) WHEN 0 THEN 'none' ELSE format('%s, the oldest since %s s: %s', count(*),
                        round(max(extract(epoch FROM clock_timestamp() - prepared))),
                        string_agg(quote_literal(gid), ', ')) END,
                   'They survive the move and keep their locks; their coordinator must end them on the new primary.',
                   'postgres')
    FROM pg_prepared_xacts
$$;

CREATE FUNCTION pingpong_check.check_maintenance_running(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'warn',
                   coalesce(string_agg(format('%s (pid %s)', what, p.pid), ', '), 'none'),
                   'It is cancelled at the end of the grace; let it end first.', 'postgres')
    FROM (SELECT 'VACUUM', pid FROM pg_stat_progress_vacuum
          UNION ALL SELECT 'CREATE INDEX', pid FROM pg_stat_progress_create_index
          UNION ALL SELECT 'CLUSTER or VACUUM FULL', pid FROM pg_stat_progress_cluster
          UNION ALL SELECT 'ANALYZE', pid FROM pg_stat_progress_analyze
          UNION ALL SELECT 'COPY', pid FROM pg_stat_progress_copy) p (what, pid)
         JOIN pg_stat_activity a ON a.pid = p.pid AND a.backend_type = 'client backend'
    UNION ALL
    SELECT unseen_sessions()
$$;

CREATE FUNCTION pingpong_check.check_no_base_backup(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'fail',
                   CASE count(*) WHEN 0 THEN 'none here'
                       ELSE format('%s running here (%s)', count(*), string_agg(phase, ', ')) END,
                   'Wait for it, or end it: the move would spoil it.', 'postgres')
    FROM pg_stat_progress_basebackup
    UNION ALL
    SELECT finding($1, n = 0, 'fail', CASE n WHEN 0 THEN 'none on the target'
                   ELSE format('%s running on the target', n) END,
                   'Wait for it, or end it: a backup taken from a standby breaks off when that is promoted.',
                   'postgres', 'base_backups')
    FROM preflight_node p, LATERAL (SELECT (p.pg #>> '{base_backups,count}')::integer) b (n)
    WHERE p.name = $1 AND NOT p.is_source
$$;

CREATE FUNCTION pingpong_check.check_listeners(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), listeners + locks = 0, 'info',
                   CASE WHEN listeners + locks = 0 THEN 'none' ELSE format('%s sessions whose last statement was '
                       'LISTEN, %s advisory locks', listeners, locks) END,
                   'They end with their sessions; clients must listen and lock again after they reconnect.',
                   'postgres')
    FROM (SELECT (SELECT count(*) FROM pg_stat_activity WHERE query ~* E'^\\s*listen\\M' AND pid <> pg_backend_pid()),
                 (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
                  AND pid <> pg_backend_pid())) c (listeners, locks)
$$;

CREATE FUNCTION pingpong_check.check_temporary_tables(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'info',
                   CASE count(*) WHEN 0 THEN 'none in this database' ELSE format('%s in this database', count(*)) END,
                   'They end with their sessions.', 'postgres')
    FROM pg_class WHERE relpersistence = 't' AND relkind IN ('r', 'p')
$$;

-- Unlogged relations of all databases: each has a file of its own, the init fork.
CREATE FUNCTION pingpong_check.unlogged_files() RETURNS TABLE (database oid, files bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.oid, count(*)
    FROM pg_database d, LATERAL (
             SELECT 'base/' || d.oid WHERE d.dattablespace <> 1664
             UNION ALL
             SELECT format('pg_tblspc/%s/%s/%s', t.oid, v, d.oid)
             FROM pg_tablespace t, LATERAL pg_ls_dir('pg_tblspc/' || t.oid, true, false) v
             WHERE t.spcname NOT IN ('pg_default', 'pg_global')
                 AND v LIKE E'PG\\_' || (current_setting('server_version_num')::integer / 10000) || E'\\_%'
         ) dirs (dir),
         LATERAL pg_ls_dir(dir, true, false) f
    WHERE f LIKE E'%\\_init'
    GROUP BY d.oid
$$;

CREATE FUNCTION pingpong_check.check_no_unlogged_relations(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, CASE WHEN ($2 ->> 'allow_unlogged')::boolean THEN 'warn'
                   ELSE 'fail' END,
                   coalesce(string_agg(format('%s files in database "%s"%s', u.files, d.datname,
                            CASE WHEN d.datname = current_database()
                                 THEN (SELECT format(' (%s)', string_agg(c.oid::regclass::text, ', '))
                                       FROM (SELECT oid FROM pg_class
                                             WHERE relpersistence = 'u' AND relkind IN ('r', 'm')
                                             ORDER BY relname LIMIT 10) c) END), '; '), 'none'),
                   'A promotion empties them. ALTER TABLE ... SET LOGGED, or accept it with the '
                   'option "allow_unlogged": true.', 'postgres')
    FROM unlogged_files() u JOIN pg_database d ON d.oid = u.database
$$;

CREATE FUNCTION pingpong_check.check_subscriptions(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'info',
                   CASE count(*) WHEN 0 THEN 'none' ELSE format('%s: %s', count(*), string_agg(subname, ', ')) END,
                   'They go on from the new primary; make sure that it reaches the publishers.', 'postgres')
    FROM pg_subscription WHERE subenabled
$$;

--
-- What the stop of the old primary and the archive cost
--

CREATE FUNCTION pingpong_check.check_checkpoint_cost(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), bytes < 1073741824, 'warn',
                   format('%s of WAL since the last checkpoint began, shared_buffers %s', pg_size_pretty(bytes),
                          current_setting('shared_buffers')),
                   'Run CHECKPOINT beforehand; the run does it too, and takes that much longer before it begins.',
                   'postgres')
    FROM (SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), redo_lsn) FROM pg_control_checkpoint()) c (bytes)
    UNION ALL
    SELECT finding($1, bytes < 1073741824, 'warn', format('%s of WAL since the target''s last restartpoint',
                                                          pg_size_pretty(bytes)),
                   'Run CHECKPOINT there beforehand; the run does it too, and takes that much '
                   'longer before it begins.', 'postgres', 'redo_lsn')
    FROM preflight_node n, LATERAL (SELECT pg_wal_lsn_diff((n.pg ->> 'replay_lsn')::pg_lsn,
                                                           (n.pg ->> 'redo_lsn')::pg_lsn)) c (bytes)
    WHERE n.name = $1 AND NOT n.is_source
$$;

CREATE FUNCTION pingpong_check.check_archiver(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
DECLARE
    a       record;
    waiting bigint;
BEGIN
    IF current_setting('archive_mode') = 'off' THEN
        RETURN NEXT ROW(node_name(), 'ok', 'archive_mode is off', NULL)::finding;
        RETURN;
    END IF;
    SELECT * INTO a FROM pg_stat_archiver;
    RETURN NEXT finding(node_name(), a.last_failed_time IS NULL
                        OR coalesce(a.last_archived_time > a.last_failed_time, false),
                        CASE WHEN ($2 ->> 'allow_archiver_failure')::boolean THEN 'warn' ELSE 'fail' END,
                        format('%s archived, %s failed, last success %s, last failure %s', a.archived_count,
                               a.failed_count,
                               coalesce(to_char(a.last_archived_time, 'YYYY-MM-DD HH24:MI:SS'), 'never'),
                               coalesce(to_char(a.last_failed_time, 'YYYY-MM-DD HH24:MI:SS'), 'never')),
                        'Repair archive_command (see the server''s log) and wait until a segment has been archived, '
                        'or accept it with the option "allow_archiver_failure": true.', 'postgres');
    SELECT count(*) INTO waiting FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready';
    RETURN NEXT finding(node_name(), waiting <= 5, 'warn', format('%s segments wait for the archiver', waiting),
                        'Wait until the backlog is gone: those segments exist only here.', 'postgres');
END
$$;

CREATE FUNCTION pingpong_check.check_other_walsenders(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'warn',
                   coalesce(string_agg(format('"%s" from %s (%s, %s, pid %s)', s.application_name,
                                              coalesce(s.client_addr::text, 'this host'), s.state,
                                              coalesce(s.slot_type, 'no slot'), s.pid), '; '), 'none'),
                   'They are no nodes of pg_pingpong and do not follow the new primary by themselves.', 'postgres')
    FROM preflight_sender s WHERE s.node IS NULL AND s.state <> 'backup'
$$;

--
-- What the new primary must be able to bear
--

CREATE FUNCTION pingpong_check.check_hot_standby_settings(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- The source becomes a standby of the target, so both must be equal; the other standbys at least as large as
    -- either.
    SELECT finding(n.name,
                   bool_and(CASE WHEN n.name = $1 THEN theirs = ours ELSE theirs >= greatest(ours, targets) END),
                   CASE WHEN n.name = $1 THEN 'fail' ELSE 'warn' END,
                   coalesce(string_agg(format('%s: %s there, %s here', g.name, theirs, ours), '; ')
                            FILTER (WHERE CASE WHEN n.name = $1 THEN theirs <> ours
                                    ELSE theirs < greatest(ours, targets) END),
                            'as large there as here'),
                   CASE WHEN n.name = $1 THEN 'Set them equal on both (the larger value), and '
                                              'restart the one that was lower.'
                        ELSE 'Raise them there and restart that server, or its replay pauses.' END, 'postgres',
                            'settings')
    FROM preflight_node n
         LEFT JOIN preflight_node t ON t.name = $1,
         unnest(ARRAY['max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions',
                      'max_locks_per_transaction']) g (name),
         LATERAL (SELECT (n.pg -> 'settings' ->> g.name)::integer, current_setting(g.name)::integer,
                         coalesce((t.pg -> 'settings' ->> g.name)::integer, 0)) v (theirs, ours, targets)
    WHERE n.kind = 'postgres' AND NOT n.is_source
    GROUP BY n.name
    UNION ALL
    -- the source is started again as a standby: with what its files say then
    SELECT ROW(n.name, 'fail', string_agg(format('%s will be %s here from the next start on, %s on the target',
                                                 g.name, coming, theirs), '; '),
               'As a standby this server would not start: raise them in its configuration files.')::finding
    FROM preflight_node n JOIN preflight_node t ON t.name = $1,
         unnest(ARRAY['max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions',
                      'max_locks_per_transaction']) g (name),
         LATERAL (SELECT next_setting(n.facts, g.name)::integer, (t.pg -> 'settings' ->> g.name)::integer) v (coming,
             theirs)
    WHERE n.is_source AND coming < theirs
    GROUP BY n.name
$$;

-- Settings that belong to a node and not to the cluster.
CREATE FUNCTION pingpong_check.is_node_setting(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    -- Of pingpong.* these must agree: how long a run waits, and that it does not stop for a developer. Many of the
    -- others have a check of their own; search_path and statement_timeout are set by the agent for itself.
    SELECT (name ~ E'^(ssl_.*_(file|dir)|log_.*|logging_collector|syslog_.*|debug_.*|recovery_.*|'
                   'pingpong\\..*|unix_socket_.*|cron\\.host)$'
            AND name NOT IN ('pingpong.agent_connect_timeout', 'pingpong.rejoin_timeout', 'pingpong.hold_timeout',
                             'pingpong.sample_interval', 'pingpong.debug_pause_after'))
        OR name = ANY ('{port,listen_addresses,cluster_name,data_directory,config_file,hba_file,ident_file,
            external_pid_file,primary_conninfo,primary_slot_name,restore_command,archive_cleanup_command,
            promote_trigger_file,application_name,client_encoding,bonjour_name,event_source,krb_server_keyfile,
            stats_temp_directory,synchronous_standby_names,hot_standby_feedback,wal_init_zero,hot_standby,
            transaction_read_only,transaction_isolation,transaction_deferrable,in_hot_standby,
            default_transaction_read_only,default_transaction_isolation,default_transaction_deferrable,
            max_connections,max_worker_processes,max_wal_senders,max_prepared_transactions,max_locks_per_transaction,
            shared_preload_libraries,search_path,statement_timeout}'::text[])
$$;

CREATE FUNCTION pingpong_check.check_setting_drift(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- here: boot values too, so that a setting changed only on the target is compared with what counts here
    SELECT finding($1, CASE WHEN theirs IS NOT NULL THEN count(s.name) FILTER (WHERE differs) = 0 END, 'warn',
                   coalesce(string_agg(format('%s: %s there, %s here', s.name, coalesce(there, 'default'), s.setting),
                                       '; ' ORDER BY s.name) FILTER (WHERE differs),
                            'settings agree (those that belong to a node are left out)'),
                   'After the move the values of the target count; make them agree, or make sure that this is meant.',
                   'postgres', 'nondefault')
    FROM preflight_node n
         CROSS JOIN LATERAL (SELECT n.pg #> '{nondefault,rows}') t (theirs)
         LEFT JOIN pg_settings s ON s.context <> 'internal'
             AND (theirs ? s.name OR s.source NOT IN ('default', 'override', 'client', 'session', 'user', 'database',
                                                      'database user'))
         CROSS JOIN LATERAL (SELECT theirs ->> s.name) v (there)
         CROSS JOIN LATERAL (SELECT CASE WHEN there IS DISTINCT FROM '***'
                                         AND coalesce(there, s.boot_val) IS DISTINCT FROM CASE
                                             WHEN s.source
                                             IN ('client', 'session', 'user', 'database', 'database user')
                                             THEN s.reset_val ELSE s.setting END
                                         THEN NOT is_node_setting(s.name) ELSE false END) d (differs)
    WHERE n.name = $1
    GROUP BY theirs
$$;

CREATE FUNCTION pingpong_check.check_pending_restart(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- after a restart with another address it would not be found
    SELECT finding(node_name(), count(*) = 0, CASE WHEN bool_or(name
                                                                IN ('port', 'unix_socket_directories',
                                                                    'listen_addresses')) THEN 'fail' ELSE 'warn' END,
                   coalesce(string_agg(name, ', '), 'none'), 'The move restarts the old primary, and they take '
                       'effect then: restart it before, or take them back.', 'postgres')
    FROM pg_settings WHERE pending_restart
    UNION ALL
    SELECT finding($1, p = '[]', 'warn', coalesce((SELECT string_agg(x, ', ') FROM jsonb_array_elements_text(p) x),
                                                  'none'),
                   'Restart the target before the move: as a primary it would run with the old values.', 'postgres',
                   'pending_restart')
    FROM preflight_node n, LATERAL (SELECT n.pg #> '{pending_restart,rows}') r (p)
    WHERE n.name = $1 AND NOT n.is_source
$$;

CREATE FUNCTION pingpong_check.check_configuration_files(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- a setting that waits for a restart has an "error" too, and its own check
    SELECT finding(node_name(), count(*) = 0, 'fail', coalesce(string_agg(e, '; '), 'no errors'),
                   'Correct the file; the old primary would not start with it.', 'postgres')
    FROM (SELECT concat_ws(' ', f.name, f.sourcefile, 'line ' || f.sourceline, f.error) FROM pg_file_settings f
          WHERE error IS NOT NULL AND NOT EXISTS (SELECT FROM pg_settings s
                                                  WHERE s.name = f.name AND s.pending_restart)
          UNION ALL SELECT format('pg_hba.conf line %s: %s', line_number, error) FROM pg_hba_file_rules
              WHERE error IS NOT NULL) f (e)
    UNION ALL
    SELECT finding(n.name, p = '[]', CASE WHEN n.name = $1 THEN 'fail' ELSE 'warn' END,
                   coalesce((SELECT string_agg(x, '; ') FROM jsonb_array_elements_text(p) x), 'no errors'),
                   'Correct the file there.', 'postgres', 'file_errors')
    FROM preflight_node n, LATERAL (SELECT n.pg #> '{file_errors,rows}') r (p)
    WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong_check.check_preload_libraries(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH t AS (
        SELECT n.*, n.pg #>> '{settings,shared_preload_libraries}' AS theirs,
               ARRAY(SELECT btrim(x, E' "') FROM regexp_split_to_table(n.pg #>> '{settings,shared_preload_libraries}',
                                                                       ',') x WHERE btrim(x) <> '') AS there,
               ARRAY(SELECT btrim(x, E' "') FROM regexp_split_to_table(current_setting('shared_preload_libraries'),
                                                                       ',') x WHERE btrim(x) <> '') AS here
        FROM preflight_node n WHERE n.kind = 'postgres' AND NOT n.is_source
    )
    SELECT finding(name, CASE WHEN theirs IS NOT NULL THEN there @> here AND here @> there END,
                   CASE WHEN name = $1 THEN 'fail' ELSE 'warn' END,
                   CASE WHEN there @> here AND here @> there THEN coalesce(nullif(theirs, ''), 'none')
                        ELSE format('missing there: %s; only there: %s',
                                    coalesce((SELECT string_agg(x, ', ') FROM unnest(here) x WHERE x <> ALL (there)),
                                             'none'),
                                    coalesce((SELECT string_agg(x, ', ') FROM unnest(there) x WHERE x <> ALL (here)),
                                             'none')) END,
                   'Make shared_preload_libraries agree and restart that standby.', 'postgres', 'settings')
    FROM t
    UNION ALL
    SELECT finding(name, missing IS NULL, CASE WHEN name = $1 OR is_source THEN 'fail' ELSE 'warn' END,
                   format('no file for %s in %s', missing, pg #>> '{libraries,directory}'),
                   'Install the package there: the server would not start again.', 'postgres', 'libraries')
    FROM preflight_node t, LATERAL (SELECT string_agg(l ->> 'name', ', ')
                                    FROM jsonb_array_elements(pg #> '{libraries,rows}') l
                                    WHERE l ->> 'present' = 'false') m (missing)
    WHERE kind = 'postgres' AND missing IS NOT NULL
    UNION ALL
    SELECT finding(name, NULL, 'warn', NULL, NULL, 'postgres', 'libraries')
    FROM t WHERE name = $1 AND pg #> '{libraries,rows}' IS NULL
$$;

-- What preflight lets the agent of a node try: the connections that will be needed when the target is the primary,
-- and those that tell which server is really at an address.
CREATE FUNCTION pingpong_internal.facts_params(node text, target text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT jsonb_build_object('connect', coalesce(jsonb_agg(jsonb_build_object('host', c.host, 'port', c.port, 'kind',
        c.kind)), '[]'))
    FROM node n, node t, node s,
         LATERAL (
             SELECT t.host, t.port, k FROM unnest(ARRAY['replication', 'rewind']) k
             WHERE n.kind = 'postgres' AND n.name <> t.name AND n.away_since IS NULL
                 AND (n.name = s.name OR n.upstream IS NULL)
             UNION ALL SELECT s.host, s.port, 'replication' WHERE n.name = t.name
             UNION ALL SELECT t.host, t.port, 'tcp' WHERE n.kind = 'router'
             UNION ALL SELECT s.host, s.port, 'tcp' WHERE n.kind = 'router'
                 AND EXISTS (SELECT FROM route r JOIN route_endpoint e ON e.route = r.name
                             WHERE e.router = n.name AND r.kind = 'ro')
         ) c (host, port, kind)
    WHERE n.name = $1 AND t.name = $2 AND t.kind = 'postgres' AND s.name = node_name() AND s.name <> t.name
$$;
COMMENT ON FUNCTION pingpong_internal.facts_params(text, text) IS
    'parameters of the action "facts" for a node, when a move to the target is considered';

CREATE FUNCTION pingpong_check.check_replication_login(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(n.name, c.ok AND c.answer ->> 'system_identifier' = s.system_identifier::text,
                   CASE WHEN n.is_source THEN 'fail' ELSE 'warn' END,
                   CASE WHEN NOT c.ok THEN format('its replication login at %s:%s fails: %s', t.host, t.port, c.error)
                        WHEN c.answer ->> 'system_identifier' <> s.system_identifier::text
                        THEN format('at %s:%s it meets another cluster (%s)', t.host, t.port,
                                    c.answer ->> 'system_identifier')
                        ELSE format('replication login at %s:%s works', t.host, t.port) END,
                   'Let pg_hba.conf of the target admit this host for replication, and look at the password and '
                   '"replication" in the agent''s configuration.', 'connect')
    FROM node t, pg_control_system() s, preflight_node n
         LEFT JOIN LATERAL (SELECT * FROM preflight_connection c
                            WHERE c.by_node = n.name AND c.node = $1 AND c.kind = 'replication' LIMIT 1) c ON true
    WHERE t.name = $1 AND n.kind = 'postgres' AND n.name <> $1 AND (n.is_source OR n.upstream IS NULL)
$$;

CREATE FUNCTION pingpong_check.check_rewind_login(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- without it an old primary that wrote past the fork gets a base backup
    SELECT finding(n.name, c.ok, CASE WHEN n.is_source AND $2 ->> 'method' = 'rewind' THEN 'fail' ELSE 'warn' END,
                   CASE WHEN c.ok THEN format('pg_rewind can log in at %s:%s', t.host, t.port)
                        ELSE format('its login for pg_rewind at %s:%s does not do: %s', t.host, t.port, c.error) END,
                   'Look at "rewind" in the agent''s configuration, the password, and pg_hba.conf of the target; the '
                   'role must be a superuser, or may execute'
                   ' pg_ls_dir, pg_stat_file and pg_read_binary_file. Without it a base backup is made '
                   'where pg_rewind would do.', 'connect')
    FROM node t, preflight_node n
         LEFT JOIN LATERAL (SELECT * FROM preflight_connection c
                            WHERE c.by_node = n.name AND c.node = $1 AND c.kind = 'rewind' LIMIT 1) c ON true
    WHERE t.name = $1 AND n.kind = 'postgres' AND n.name <> $1 AND (n.is_source OR n.upstream IS NULL)
$$;

CREATE FUNCTION pingpong_check.check_layout(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- an old primary without WAL past the fork needs neither
    SELECT finding(n.name, CASE WHEN jsonb_typeof(n.facts #> '{service,layout_problem}') IN ('null', 'string')
                   THEN n.facts #>> '{service,layout_problem}' IS NULL END,
                   CASE WHEN $2 ->> 'method' IN ('rewind', 'basebackup') THEN 'fail' ELSE 'warn' END,
                   coalesce(n.facts #>> '{service,layout_problem}',
                            'the agent may change the data directory, its WAL and its tablespaces'),
                   'Give the folder to the user of the agent and of PostgreSQL. Until then the node could come back '
                   'neither by pg_rewind nor by pg_basebackup.', 'service')
    FROM preflight_node n WHERE n.kind = 'postgres' AND (n.is_source OR n.name = $1)
$$;

-- A rule of pg_hba.conf without what is about replication; null where nothing is left.
CREATE FUNCTION pingpong_check.hba_rule(type text, database jsonb, user_name jsonb, address text, netmask text,
                                        auth_method text) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN database <> '["replication"]'
                THEN jsonb_build_object('type', type, 'database', database - 'replication', 'user_name', user_name,
                                        'address', address,
                                        'netmask', netmask, 'auth_method', auth_method) END
$$;

CREATE FUNCTION pingpong_check.check_same_hba_rules(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- a rule of the target for this host's own replication has the other address, so replication is left to
    -- replication_login; of the others the first that matches counts, so their order does too, and one that refuses
    WITH ours AS (
        SELECT rule, min(line) AS place
        FROM (SELECT hba_rule(r.type, to_jsonb(r.database), to_jsonb(r.user_name), r.address, r.netmask,
                              r.auth_method), line_number
              FROM pg_hba_file_rules r WHERE r.error IS NULL) x (rule, line) WHERE rule IS NOT NULL GROUP BY rule
    ), theirs AS (
        SELECT rule, min(line) AS place
        FROM preflight_node n, jsonb_array_elements(n.pg #> '{hba,rows}') WITH ORDINALITY e (r, line),
             LATERAL hba_rule(r ->> 'type', r -> 'database', r -> 'user_name', r ->> 'address', r ->> 'netmask',
                              r ->> 'auth_method') h (rule)
        WHERE n.name = $1 AND rule IS NOT NULL GROUP BY rule
    ), compared AS (
        SELECT coalesce(o.rule, t.rule) AS rule, o.place AS here,
            t.place AS there FROM ours o FULL JOIN theirs t ON t.rule = o.rule
    ), odd (what, rule) AS (
        SELECT 'not on the target', rule FROM compared WHERE there IS NULL
        UNION ALL SELECT 'only on the target', rule FROM compared
            WHERE here IS NULL AND rule ->> 'auth_method' = 'reject'
        UNION ALL SELECT 'in another order there', c.rule FROM compared c
        WHERE EXISTS (SELECT FROM compared d WHERE d.here > c.here AND d.there < c.there)
    ), said AS (
        SELECT string_agg(format('%s: %s', what, rules), '; ' ORDER BY what DESC) AS words
        FROM (SELECT what, string_agg(concat_ws(' ', rule ->> 'type',
                                                array_to_string(ARRAY(
                                                    SELECT jsonb_array_elements_text(rule -> 'database')), ','),
                                                array_to_string(ARRAY(
                                                    SELECT jsonb_array_elements_text(rule -> 'user_name')), ','),
                                                rule ->> 'address', rule ->> 'auth_method'), '; ' ORDER BY rule::text)
              FROM odd GROUP BY what) w (what, rules)
    )
    SELECT finding($1, CASE WHEN n.pg #> '{hba,rows}' IS NOT NULL THEN words IS NULL END, 'warn',
                   CASE WHEN words IS NULL THEN 'each rule of this server is on the target too'
                       ELSE 'rules of pg_hba.conf ' || words END,
                   'Clients that may connect here could be refused by the target: make pg_hba.conf there agree, or '
                   'make sure that no client needs them.', 'postgres', 'hba')
    FROM preflight_node n, said
    WHERE n.name = $1
$$;

CREATE FUNCTION pingpong_check.check_connections(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- the agent of the target and a run need some; the sessions that are there stay, those that are here come
    SELECT finding($1, there + here <= allowed - reserved AND there + 8 <= allowed,
                   CASE WHEN there + 8 > allowed THEN 'fail' ELSE 'warn' END,
                   format('max_connections %s there, %s sessions there, %s here, %s reserved for superusers', allowed,
                          there, here, reserved),
                   'New clients could be refused after the move: end sessions of the target, or raise '
                   'max_connections (it needs a restart; standbys first).',
                   'postgres', 'sessions')
    FROM preflight_node n,
         LATERAL (SELECT (n.pg #>> '{settings,max_connections}')::integer, (n.pg #>> '{sessions,clients}')::integer,
                         current_setting('superuser_reserved_connections')::integer,
                         (SELECT count(*) FROM pg_stat_activity
                          WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
                          AND application_name <> 'pingpong-agent')
                 ) c (allowed, there, reserved, here)
    WHERE n.name = $1
$$;

CREATE FUNCTION pingpong_check.check_target_reachable(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- the target, and where read-only routes will point: this server
    SELECT finding(n.name, c.ok, CASE WHEN t.name = $1 THEN 'fail' ELSE 'warn' END,
                   CASE WHEN c.ok THEN format('reaches %s:%s', t.host, t.port)
                       ELSE format('does not reach %s:%s: %s', t.host, t.port, c.error) END,
                   format('Look at listen_addresses of "%s" and the firewalls between.', t.name), 'connect')
    FROM preflight_node n
         JOIN node t ON t.name = $1 OR (t.name = node_name()
                                        AND EXISTS (SELECT FROM route r JOIN route_endpoint e ON e.route = r.name
                                                    WHERE e.router = n.name AND r.kind = 'ro'))
         LEFT JOIN LATERAL (SELECT * FROM preflight_connection c
                            WHERE c.by_node = n.name AND c.node = t.name AND c.kind = 'tcp' LIMIT 1) c ON true
    WHERE n.kind = 'router'
$$;

CREATE FUNCTION pingpong_check.check_replication_role(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- the roles that standbys use now; a standby needs one connection, a base backup two, a rewind one
    WITH used AS (SELECT DISTINCT s.usename FROM preflight_sender s WHERE s.node IS NOT NULL),
         needed AS (SELECT count(*) - 1 + 3 AS connections FROM node WHERE kind = 'postgres' AND away_since IS NULL)
    SELECT finding(node_name(), r.rolconnlimit = -1 OR r.rolconnlimit >= connections, 'fail',
                   format('role "%s": connection limit %s, needed %s', r.rolname,
                          CASE r.rolconnlimit WHEN -1 THEN 'none' ELSE r.rolconnlimit::text END, connections),
                   format('ALTER ROLE %I CONNECTION LIMIT %s; a rebuild could not connect beside the standbys.',
                          r.rolname, connections), 'postgres')
    FROM used u JOIN pg_roles r ON r.rolname = u.usename, needed
    UNION ALL
    SELECT finding(node_name(), coalesce(r.rolvaliduntil > clock_timestamp() + interval '7 days', true),
                   CASE WHEN r.rolvaliduntil > clock_timestamp() THEN 'warn' ELSE 'fail' END,
                   format('role "%s": password valid until %s', r.rolname,
                          coalesce(r.rolvaliduntil::timestamptz(0)::text, 'ever')),
                   format('ALTER ROLE %I VALID UNTIL ...', r.rolname), 'postgres')
    FROM used u JOIN pg_roles r ON r.rolname = u.usename
    UNION ALL
    SELECT ROW(node_name(), 'warn', 'not checked: no standby streams from here, so the role is not known',
               'See target_streaming.')::finding
    WHERE NOT EXISTS (SELECT FROM used)
$$;

CREATE FUNCTION pingpong_check.check_senders_and_slots(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH t AS (
        SELECT (n.pg #>> '{settings,max_wal_senders}')::integer AS senders,
            (n.pg #>> '{settings,max_replication_slots}')::integer AS slots,
               jsonb_array_length(n.pg #> '{replication,rows}') AS busy,
               jsonb_array_length(n.pg #> '{slots,rows}') AS taken,
               -- those that will come, and those of them whose slot is there already
               (SELECT count(*) FROM node m WHERE m.kind = 'postgres' AND m.name <> $1 AND m.away_since IS NULL
                AND (m.upstream IS NULL OR m.name = node_name())) AS coming,
               (SELECT count(*) FROM node m, jsonb_array_elements(n.pg #> '{slots,rows}') s
                WHERE m.kind = 'postgres' AND m.name <> $1 AND m.away_since IS NULL
                    AND (m.upstream IS NULL OR m.name = node_name()) AND s ->> 'slot_name' = m.slot) AS present
        FROM preflight_node n WHERE n.name = $1
    )
    -- one walsender more: a base backup of one of them takes two
    SELECT finding($1, senders - busy >= coming + 1, 'fail',
                   format('max_wal_senders %s, %s busy, %s standbys will come', senders, busy, coming),
                   'Raise max_wal_senders on all nodes (it needs a restart; standbys first).', 'postgres',
                   'replication')
    FROM t
    UNION ALL
    SELECT finding($1, slots - taken >= coming - present, 'fail',
                   format('max_replication_slots %s, %s in use, %s more needed', slots, taken, coming - present),
                   'Raise max_replication_slots on the target (it needs a restart), or drop slots there.', 'postgres',
                   'slots')
    FROM t
$$;

CREATE FUNCTION pingpong_check.check_disk_space(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- WAL of the time that a rebuild takes (option rebuild_hours), twice; the rate is that since the statistics were
    -- reset, over an hour at least, so that a bulk load just now does not count as the usual rate
    WITH rate AS (
        SELECT w.wal_bytes / greatest(extract(epoch FROM clock_timestamp() - w.stats_reset), 3600) AS per_second
            FROM pg_stat_wal w
    ), need AS (
        SELECT per_second, greatest(per_second * 3600 * coalesce(($2 ->> 'rebuild_hours')::numeric, 1) * 2, 268435456)
            AS bytes FROM rate
    )
    SELECT finding(n.name, (d ->> 'free_bytes')::numeric >= CASE WHEN d ->> 'purpose' IN ('data', 'wal') THEN bytes
                   ELSE 268435456 END
                           AND ((d ->> 'total_inodes')::numeric = 0 OR (d ->> 'free_inodes')::numeric >= 10000),
                   CASE WHEN n.name = $1 THEN 'fail' ELSE 'warn' END,
                   format('%s (%s): %s free, %s inodes free; needed %s at %s of WAL/s', d ->> 'purpose', d ->> 'path',
                          pg_size_pretty((d ->> 'free_bytes')::numeric), d ->> 'free_inodes',
                          pg_size_pretty(round(CASE WHEN d ->> 'purpose' IN ('data', 'wal') THEN bytes
                                               ELSE 268435456 END)), pg_size_pretty(round(per_second))),
                   'Make room: WAL that a standby has not fetched yet stays on the disk.', 'disks')
    FROM need, preflight_node n LEFT JOIN LATERAL jsonb_array_elements(n.facts #> '{disks,rows}') d ON true
    WHERE n.name = $1 OR n.is_source
$$;

CREATE FUNCTION pingpong_check.check_rewind_possible(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(n.name, (checksums > 0 OR hints = 'on') AND full_page = 'on' AND level IN ('replica', 'logical'),
                   CASE WHEN level NOT IN ('replica', 'logical') THEN 'fail' ELSE 'warn' END,
                   format('wal_level %s, checksums %s, wal_log_hints %s, full_page_writes %s', level,
                          CASE WHEN checksums > 0 THEN 'on' ELSE 'off' END, hints, full_page),
                   'Set wal_log_hints = on (restart) or enable checksums, and full_page_writes = on; else an old '
                   'primary that wrote past the fork needs a base backup.',
                   'postgres', 'settings')
    FROM preflight_node n, pg_control_init() c,
         LATERAL (SELECT CASE WHEN n.is_source THEN c.data_page_checksum_version
                  ELSE (n.pg #>> '{control,data_page_checksum_version}')::integer END,
                         CASE WHEN n.is_source THEN current_setting('wal_log_hints')
                             ELSE n.pg #>> '{settings,wal_log_hints}' END,
                         CASE WHEN n.is_source THEN current_setting('full_page_writes')
                             ELSE n.pg #>> '{settings,full_page_writes}' END,
                         CASE WHEN n.is_source THEN current_setting('wal_level')
                             ELSE n.pg #>> '{settings,wal_level}' END) v (checksums, hints, full_page, level)
    WHERE n.name = $1 OR n.is_source
$$;

--
