-- Start closed: nothing for PUBLIC; pg_monitor reads, pingpong_operator acts. Registering stays with superusers: a
-- node's address decides who gets the agents' token and from which server a standby is built, a route what a pooler
-- does.
DO $$
DECLARE
    f record;
BEGIN
    FOR f IN SELECT p.oid::regprocedure AS signature, p.proname
             FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname IN ('pingpong', 'pingpong_check', 'pingpong_internal')
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
        IF f.proname NOT IN ('seal', 'wake', 'probe', 'become_rehearsal', 'add_node', 'add_router', 'drop_node',
                             'add_route', 'alter_route', 'route_changes', 'route_seen', 'route_note', 'adopt_routes',
                             'place_routes', 'note_drift', 'note_withheld', 'reconcile', 'drop_route',
                             'add_endpoint', 'drop_endpoint', 'check_router',
                             'copy_runbook', 'keep_sample', 'renew_check', 'renew_readiness', 'end_round',
                             'alert_rule_again', 'alert_raise', 'alert_clear', 'alert_rules', 'alert_apply',
                             'alert_broken') THEN
            EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO pingpong_operator', f.signature);
        END IF;
        IF f.proname IN ('fail', 'progress_rows', 'standby_rows', 'node_name', 'worker_pid',
                         'where_is_primary', 'plan', 'report', 'check_node', 'check_primary',
                         'check_registered', 'check_target', 'gate_status', 'wait_lag_zero', 'guard_holds',
                         'step_places', 'run_steps',
                         'imagined_run', 'run_actions', 'relaxed_due', 'sync_satisfiable', 'sync_standbys',
                         'sample_trends', 'slot_trends', 'slot_room', 'slot_advice', 'rollback_loss', 'agent_news',
                         'copies_news', 'agent_rows', 'newest_lsn', 'bytes_behind', 'own_state', 'status_rows',
                         'replication_rows', 'written_timeline', 'switchover_estimate', 'status_text', 'help',
                         'in_words', 'node_in_words', 'tree_in_words', 'routes_in_words', 'slots_in_words',
                         'run_in_words', 'alerts_in_words', 'alerts_evaluated_at', 'alert_json', 'alert_symptoms',
                         'addresses', 'endpoint_state', 'health_self', 'health_rows', 'health_check', 'guard_lines',
                         'guard_state')
            OR (f.proname LIKE 'alert\_%' AND f.signature::text LIKE 'pingpong\_check.%') THEN
            EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO pg_monitor', f.signature);
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON ALL TABLES IN SCHEMA pingpong, pingpong_check FROM PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA pingpong, pingpong_check TO pg_monitor, pingpong_operator;

-- pg_dump reads what survives a dump, and the owner of the database may dump it.
DO $$
DECLARE
    t regclass;
BEGIN
    GRANT USAGE ON SCHEMA pingpong TO pg_database_owner;
    FOR t IN SELECT pg_catalog.unnest(e.extconfig) FROM pg_catalog.pg_extension e WHERE e.extname = 'pg_pingpong'
    LOOP
        EXECUTE pg_catalog.format('GRANT SELECT ON %s TO pg_database_owner', t);
    END LOOP;
END
$$;
