-- What the worker asks when it makes a run: the places of a row of a runbook, and what can be restored.

-- The nodes or routes at which a step is made. Raises 22023 for a place that is none.
CREATE FUNCTION pingpong.step_places(step pingpong.runbook_step, source text, target text) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    CASE step.node
        WHEN 'source' THEN
            RETURN NEXT source;
        WHEN 'target' THEN
            RETURN NEXT target;
        WHEN 'siblings' THEN
            RETURN QUERY SELECT n.name FROM pingpong.node n
                         WHERE n.kind = 'postgres' AND n.name NOT IN (source, target) AND n.away_since IS NULL
                           AND (n.upstream IS NULL OR n.upstream = source);
        WHEN 'rw_routes', 'ro_routes' THEN
            RETURN QUERY SELECT r.name FROM pingpong.route r WHERE r.kind = left(step.node, 2);
        WHEN 'source_routes' THEN
            RETURN QUERY SELECT r.name FROM pingpong.route r WHERE r.kind = 'ro' AND r.node = source;
        WHEN 'relaxed' THEN
            RETURN QUERY SELECT d.node FROM pingpong.relaxed_due() d WHERE d.name = step.params ->> 'setting';
        ELSE
            PERFORM pingpong.fail('22023', format('runbook "%s" names an unknown place "%s"', step.runbook, step.node));
    END CASE;
END
$$;
COMMENT ON FUNCTION pingpong.step_places(pingpong.runbook_step, text, text) IS 'internal: the nodes or routes at which a step of a runbook is made';

-- Whether commits that waited for these names would find enough of them streaming now.
CREATE FUNCTION pingpong.sync_satisfiable(setting text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT count(DISTINCT r.pid) >= w.needed
    FROM pingpong.sync_standbys(setting) w
         LEFT JOIN pg_stat_replication r ON r.state = 'streaming' AND (lower(r.application_name) = ANY (w.names) OR '*' = ANY (w.names))
    GROUP BY w.needed
$$;
COMMENT ON FUNCTION pingpong.sync_satisfiable(text) IS 'internal: whether enough of the named standbys stream from this server';

-- What was relaxed and can be restored now: on this server at once, but for names that nobody would answer to; on another
-- one when it is there.
CREATE FUNCTION pingpong.relaxed_due() RETURNS SETOF pingpong.relaxed
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT x.* FROM pingpong.relaxed x
    WHERE CASE WHEN x.node <> pingpong.node_name() THEN EXISTS (SELECT FROM pingpong.standby_rows() s WHERE s.name = x.node AND s.state = 'streaming')
               WHEN x.name = 'synchronous_standby_names' THEN pingpong.sync_satisfiable(x.wanted)
               ELSE true END
$$;
COMMENT ON FUNCTION pingpong.relaxed_due() IS 'internal: the settings that the idle worker can restore now';
