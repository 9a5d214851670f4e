-- What the worker asks when it makes a run: the places of a row of a runbook, and what can be restored.

-- The nodes or routes at which a step is made. Raises 22023 for a place that is none.
CREATE FUNCTION pingpong_internal.step_places(step pingpong.runbook_step, source text, target text,
                                              options jsonb DEFAULT '{}') RETURNS SETOF text
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
        WHEN 'witnesses' THEN
            RETURN QUERY SELECT n.name FROM pingpong.node n WHERE n.name <> source AND n.away_since IS NULL;
        WHEN 'rw_routes', 'ro_routes' THEN
            RETURN QUERY SELECT e.name FROM pingpong.route_endpoint e JOIN pingpong.route r ON r.name = e.route
                WHERE r.kind = left(step.node, 2);
        WHEN 'source_routes' THEN
            RETURN QUERY SELECT e.name FROM pingpong.route_endpoint e JOIN pingpong.route r ON r.name = e.route
                WHERE r.kind = 'ro' AND r.node = source;
        WHEN 'the_route' THEN
            RETURN QUERY SELECT e.name FROM pingpong.route_endpoint e WHERE e.route = options ->> 'route';
        WHEN 'drifted_routes' THEN
            RETURN QUERY SELECT e.name FROM pingpong.route_endpoint e JOIN pingpong.route r ON r.name = e.route
                WHERE e.repair_due AND e.drift_since IS NOT NULL AND r.drift = 'repair'
                  AND NOT e.observed ? 'error' AND e.repair_at IS DISTINCT FROM 'infinity';
        WHEN 'relaxed' THEN
            RETURN QUERY SELECT d.node FROM pingpong_internal.relaxed_due() d
                         WHERE d.name = step.params ->> 'setting';
        ELSE
            PERFORM pingpong_internal.fail('22023', format('runbook "%s" names an unknown place "%s"', step.runbook,
                                                           step.node));
    END CASE;
END
$$;
COMMENT ON FUNCTION pingpong_internal.step_places(pingpong.runbook_step, text, text, jsonb) IS
    'the nodes or routes at which a step of a runbook is made';

-- The steps of a run, made or imagined: a row for each node or route of a row of its runbook. `holds`: its guard is
-- true. Both the worker and plan() expand a runbook by this.
CREATE FUNCTION pingpong_internal.run_steps(r pingpong.run)
    RETURNS TABLE (ordinal integer, action text, node text, worker text, impact text, undo text, timeout_ms bigint,
                   on_failure text,
                   params jsonb, requires text, mark text, fix text, job text, holds boolean, agent text,
                   comment text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.ordinal, s.action, p.name, s.worker, s.impact, s.undo,
           (extract(epoch FROM coalesce(s.timeout,
                                        current_setting('pingpong.rejoin_timeout')::interval)) * 1000)::bigint,
           s.on_failure, s.params, s.requires, s.mark, format(s.fix, p.name), s.job,
           pingpong_internal.guard_holds(s.guard, r),
           CASE WHEN s.node LIKE '%\_routes' OR s.node = 'the_route'
               THEN (SELECT e.router FROM pingpong.route_endpoint e WHERE e.name = p.name) ELSE p.name END,
           s.comment
    FROM pingpong.runbook_step s CROSS JOIN LATERAL pingpong_internal.step_places(s, r.source, r.target,
                                                                                      r.options) p (name)
    WHERE s.runbook = r.runbook
    ORDER BY s.ordinal, s.action, s.node, p.name
$$;
COMMENT ON FUNCTION pingpong_internal.run_steps(pingpong.run) IS
    'the steps of a run, a row for each node or route of a row of its runbook';

-- A run as it would be from here; nothing is stored.
CREATE FUNCTION pingpong_internal.imagined_run(target text, runbook text, options jsonb) RETURNS pingpong.run
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    imagined pingpong.run;
BEGIN
    imagined.runbook := runbook;
    imagined.source := pingpong.node_name();
    imagined.target := target;
    imagined.options := (SELECT coalesce(jsonb_object_agg(o.name, o.otherwise) FILTER (WHERE o.otherwise IS NOT NULL),
                                         '{}')
                         FROM pingpong.run_option o) || options;
    RETURN imagined;
END
$$;
COMMENT ON FUNCTION pingpong_internal.imagined_run(text, text, jsonb) IS 'a run as it would be from here';

CREATE FUNCTION pingpong_internal.run_actions() RETURNS TABLE (action text, orders text[])
AS 'MODULE_PATHNAME', 'pingpong_run_actions' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION pingpong_internal.run_actions() IS
    'the actions of this module, and what each may order from an agent';

-- This finds an order that an agent does not know before the blackout.
CREATE FUNCTION pingpong_check.check_agent_actions(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH wanted (agent, action) AS MATERIALIZED (
        SELECT DISTINCT s.agent, w.action
        FROM pingpong_internal.imagined_run(target, coalesce(options ->> 'runbook', 'switchover'), options) r,
             LATERAL pingpong_internal.run_steps(r) s,
             LATERAL (VALUES (s.action), (s.undo)) a (name)
                     JOIN pingpong_internal.run_actions() o ON o.action = a.name,
             LATERAL unnest(o.orders) w (action)
        WHERE s.holds)
    SELECT finding(n.name, told AND missing IS NULL, 'fail',
                   CASE WHEN NOT told THEN format('its agent speaks protocol %s and does not tell what it can '
                                                  'do; this server speaks %s',
                                                  coalesce(n.facts ->> 'protocol', '1'),
                                                  current_setting('pingpong.protocol'))
                        WHEN missing IS NULL THEN format('protocol %s', n.facts ->> 'protocol')
                        ELSE format('its agent (version %s) does not know: %s', n.facts ->> 'version', missing) END,
                   'Install the release of pingpong-agent that belongs to this server''s '
                   'module, and restart the agent.', 'version')
    FROM preflight_node n,
         LATERAL (SELECT coalesce(jsonb_typeof(n.facts -> 'actions') = 'array', false)) t (told),
         LATERAL (SELECT string_agg(w.action, ', ' ORDER BY w.action) FROM wanted w
                  WHERE w.agent = n.name AND NOT (n.facts -> 'actions') ? w.action) m (missing)
    WHERE n.facts IS NOT NULL
$$;

-- A site's own runbook begins as a copy, with marks and fixes, to which it adds.
CREATE FUNCTION pingpong.copy_runbook(original text, copy text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    n   bigint;
BEGIN
    IF copy IS NULL OR copy !~ '^[a-z][a-z0-9_]{0,40}$' THEN
        PERFORM pingpong_internal.fail('22023',
                              format('invalid name of a runbook "%s"', coalesce(copy, 'NULL')), NULL,
                              'A name has lower-case letters, digits and underscores, begins with a letter and '
                              'has at most 41 characters.');
    END IF;
    IF EXISTS (SELECT FROM pingpong.runbook_step s WHERE s.runbook = copy) THEN
        PERFORM pingpong_internal.fail('42710', format('runbook "%s" exists already', copy), NULL,
                              format('Drop it first with DELETE FROM pingpong.runbook_step WHERE runbook = %L.',
                                     copy));
    END IF;
    INSERT INTO pingpong.runbook_step
    SELECT (jsonb_populate_record(s, jsonb_build_object('runbook', copy))).* FROM pingpong.runbook_step s
        WHERE s.runbook = original;
    GET DIAGNOSTICS n = ROW_COUNT;
    IF n = 0 THEN
        PERFORM pingpong_internal.fail('42704', format('runbook "%s" does not exist', coalesce(original, 'NULL')));
    END IF;
    RETURN n;
END
$$;
COMMENT ON FUNCTION pingpong.copy_runbook(text, text) IS
    'make a runbook of the site from another one; gives the number of its steps. Superusers only';

-- Whether commits that waited for these names would find enough of them streaming now.
CREATE FUNCTION pingpong_internal.sync_satisfiable(setting text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT count(DISTINCT r.pid) >= w.needed
    FROM pingpong_internal.sync_standbys(setting) w
         LEFT JOIN pg_stat_replication r ON r.state = 'streaming'
             AND (lower(r.application_name) = ANY (w.names) OR '*' = ANY (w.names))
    GROUP BY w.needed
$$;
COMMENT ON FUNCTION pingpong_internal.sync_satisfiable(text) IS
    'whether enough of the named standbys stream from this server';

-- What was relaxed and can be restored now: on this server at once, except names that no standby would satisfy; on
-- another one when it is there.
CREATE FUNCTION pingpong_internal.relaxed_due() RETURNS SETOF pingpong.relaxed
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT x.* FROM pingpong.relaxed x
    WHERE CASE WHEN x.node <> pingpong.node_name() THEN EXISTS (SELECT FROM pingpong_internal.standby_rows() s
                                                                WHERE s.name = x.node AND s.state = 'streaming')
               WHEN x.name = 'synchronous_standby_names' THEN pingpong_internal.sync_satisfiable(x.wanted)
               ELSE true END
$$;
COMMENT ON FUNCTION pingpong_internal.relaxed_due() IS 'the settings that the idle worker can restore now';
