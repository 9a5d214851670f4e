-- Start closed: nothing for PUBLIC; pg_monitor reads, pingpong_operator acts.
DO $$
DECLARE
    f record;
BEGIN
    FOR f IN SELECT p.oid::regprocedure AS signature, p.proname FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pingpong'::pg_catalog.regnamespace
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
        IF f.proname NOT IN ('seal', 'wake') THEN
            EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO pingpong_operator', f.signature);
        END IF;
        IF f.proname IN ('fail', 'progress_rows', 'node_name', 'worker_pid', 'where_is_primary', 'plan', 'report', 'check_node', 'gate_status', 'wait_lag_zero') THEN
            EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO pg_monitor', f.signature);
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON ALL TABLES IN SCHEMA pingpong FROM PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA pingpong TO pg_monitor, pingpong_operator;
GRANT INSERT, UPDATE, DELETE ON pingpong.node, pingpong.route TO pingpong_operator;
