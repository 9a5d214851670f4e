-- The state of everything as text, and the list of what can be called. ASCII: a database may have any encoding.

CREATE FUNCTION pingpong_internal.in_words(span interval) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s double precision := extract(epoch FROM span);
BEGIN
    RETURN CASE WHEN s < 10 THEN round(s::numeric, 1) || ' s' WHEN s < 120 THEN round(s) || ' s'
                WHEN s < 7200 THEN round(s / 60) || ' min' WHEN s < 172800 THEN round(s / 3600) || ' h'
                ELSE round(s / 86400) || ' days' END;
END
$$;
COMMENT ON FUNCTION pingpong_internal.in_words(interval) IS 'a span of time, roughly';

-- A node in one line, behind its name.
CREATE FUNCTION pingpong_internal.node_in_words(s pingpong.status) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN concat_ws(', ',
        s.role || ' (' || s.site || ')', CASE WHEN s.site IS NULL THEN s.role END,
        CASE WHEN s.role IN ('primary', 'sealed', 'guarded')
             THEN concat_ws(', ', 'timeline ' || s.timeline, s.lsn::text) END,
        CASE WHEN s.takes_over IS NOT NULL THEN concat_ws(' ', coalesce(s.state, 'does not stream'),
                                                          nullif(s.sync_state, 'async')) END,
        pg_size_pretty(s.replay_lag_bytes) || ' behind'
            || CASE WHEN s.replay_lag_bytes > 0 AND s.replay_lag IS NOT NULL
                    THEN ' (' || pingpong_internal.in_words(s.replay_lag) || ')' ELSE '' END,
        'PostgreSQL ' || s.version,
        CASE WHEN s.away_since IS NOT NULL
             THEN 'away on purpose for ' || pingpong_internal.in_words(clock_timestamp() - s.away_since) END,
        CASE WHEN s.role = 'unknown' THEN coalesce('heard of ' || pingpong_internal.in_words(s.age) || ' ago',
                                                   'never heard of') END,
        CASE WHEN s.silent_since IS NOT NULL
             THEN format('agent silent for %s: %s', pingpong_internal.in_words(clock_timestamp() - s.silent_since),
                         s.agent_error)
             WHEN s.agent = 'not asked' THEN 'agent not asked yet' END);
END
$$;
COMMENT ON FUNCTION pingpong_internal.node_in_words(pingpong.status) IS 'what is known of a node, in one line';

-- A node and those that stream from it, each level further to the right.
CREATE FUNCTION pingpong_internal.tree_in_words() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        WITH RECURSIVE s AS MATERIALIZED (
            SELECT x.node, x.kind, x.role, x.takes_over, coalesce(x.upstream, p.name) AS upstream,
                   pingpong_internal.node_in_words(x) AS said
            FROM pingpong.status x,
                 (SELECT min(y.node) FROM pingpong.status y WHERE y.role = 'primary') p (name)),
        tree (node, depth, path, said) AS (
            SELECT s.node, 0, ARRAY[CASE s.kind WHEN 'router' THEN '2' ELSE '0' END, s.node], s.said
            FROM s WHERE s.role IN ('primary', 'sealed', 'guarded') OR s.kind = 'router'
            UNION ALL
            SELECT s.node, t.depth + 1, t.path || s.node, s.said
            FROM tree t JOIN s ON s.takes_over IS NOT NULL AND t.depth < 8 AND t.node = s.upstream)
        SELECT string_agg(format('%-22s %s', repeat('    ', x.depth - 1)
                                 || CASE WHEN x.depth > 0 THEN ' +- ' ELSE '' END || x.node, x.said),
                          E'\n' ORDER BY x.path)
        FROM (SELECT t.depth, t.node, t.path, t.said FROM tree t
              UNION ALL
              SELECT 0, s.node, ARRAY['1', s.node], s.said FROM s
              WHERE s.node NOT IN (SELECT t.node FROM tree t)) x);
END
$$;
COMMENT ON FUNCTION pingpong_internal.tree_in_words() IS
    'the nodes: the primary, below it its standbys, then routers';

CREATE FUNCTION pingpong_internal.routes_in_words() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT string_agg(format('%-12s %s -> %s, at %s: %s', r.name, r.kind,
                                     coalesce(r.node, 'not set yet'), r.router,
                                     CASE WHEN r.last_error IS NOT NULL THEN r.last_error
                                          WHEN r.observed_node IS NULL THEN 'not seen since the last move'
                                          ELSE format('seen %s ago at %s', pingpong_internal.in_words(r.age),
                                                      r.observed_node) END),
                              E'\n' ORDER BY r.name, r.router, r.endpoint)
            FROM pingpong.routes r);
END
$$;
COMMENT ON FUNCTION pingpong_internal.routes_in_words() IS 'where each route points; null: none';

-- Slots of which something is to be said: advice, or more than a GB, or a time at which they reach a limit.
CREATE FUNCTION pingpong_internal.slots_in_words() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT string_agg(concat_ws(', ', format('%-22s keeps %s', s.slot_name, coalesce(
                                            pg_size_pretty(s.retained_bytes), 'nothing')),
                                        'its limit is reached in ' || pingpong_internal.in_words(s.limit_in),
                                        'the disk is full in ' || pingpong_internal.in_words(s.disk_full_in))
                              || coalesce('. ' || s.advice, ''), E'\n' ORDER BY s.slot_name)
            FROM pingpong.slots s
            WHERE s.advice IS NOT NULL OR s.retained_bytes > 1e9 OR s.limit_in IS NOT NULL
               OR s.disk_full_in < interval '7 days');
END
$$;
COMMENT ON FUNCTION pingpong_internal.slots_in_words() IS 'the slots of which something is to be said; null: none';

-- The run that goes on, from shared memory; else the last one.
CREATE FUNCTION pingpong_internal.run_in_words() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT format('%s: %s of %s, %s', r.run, r.runbook, r.target, r.state)
                || CASE WHEN r.ended_at IS NULL
                        THEN coalesce((SELECT '; ' || string_agg(format('%s of %s for %s ms', p.action, p.node,
                                                                        round(p.duration_ms)), ', ')
                                       FROM pingpong.progress p WHERE p.run = r.run AND p.state = 'running'), '')
                        ELSE format(' %s ago%s%s', pingpong_internal.in_words(clock_timestamp() - r.ended_at),
                                    ', blackout ' || round(r.blackout_ms) || ' ms',
                                    CASE WHEN r.state <> 'succeeded' THEN ': ' || r.sentence END) END
            FROM pingpong.runs r ORDER BY r.ended_at IS NULL DESC, r.run DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION pingpong_internal.run_in_words() IS 'the present or last run; null: none';

-- Alerts are a later part of the schema.
CREATE FUNCTION pingpong_internal.alerts_in_words() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said    text;
BEGIN
    IF to_regclass('pingpong.alerts') IS NOT NULL THEN
        EXECUTE $q$SELECT string_agg(format('%s for %s: %s', a.severity,
                                            pingpong_internal.in_words(clock_timestamp() - a.since), a.sentence),
                                     E'\n') FROM pingpong.alerts a$q$ INTO said;
    END IF;
    RETURN said;
END
$$;
COMMENT ON FUNCTION pingpong_internal.alerts_in_words() IS 'the open alerts; null: none';

CREATE FUNCTION pingpong.status_text() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    RETURN format(E'as %s sees it, %s\n\n%s\n', coalesce(pingpong.node_name(), 'this server'),
                  to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS TZ'),
                  coalesce(pingpong_internal.tree_in_words(), 'no node is registered: see pingpong.add_node()'))
        || (SELECT format(E'\ncopies    %s could take over, for %s%s', r.copies,
                          pingpong_internal.in_words(clock_timestamp() - r.since), ', not: ' || r.others)
            FROM pingpong.redundancy r)
        || (SELECT coalesce(string_agg(format(E'\n%-10s%s', x.title, replace(x.said, E'\n', E'\n          ')),
                                       '' ORDER BY x.n), '')
            FROM (VALUES (1, 'routes', pingpong_internal.routes_in_words()),
                         (2, 'slots', pingpong_internal.slots_in_words()),
                         (3, 'run', pingpong_internal.run_in_words()),
                         (4, 'alerts', pingpong_internal.alerts_in_words())) x (n, title, said)
            WHERE x.said IS NOT NULL);
END
$$;
COMMENT ON FUNCTION pingpong.status_text() IS
    'a picture of the nodes, routes, slots that keep much, the present or last run, and alerts; for people';

-- The comments of the functions are the help, so that nothing is said twice. The first sentence does.
CREATE FUNCTION pingpong.help(OUT verb text, OUT what text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT format('pingpong.%s(%s)', p.proname,
                  (SELECT string_agg(a.name, ', ' ORDER BY a.n)
                   FROM unnest(p.proargnames) WITH ORDINALITY a (name, n)
                   WHERE a.n <= p.pronargs AND a.n <= p.pronargs - p.pronargdefaults)),
           split_part(obj_description(p.oid, 'pg_proc'), ';', 1)
    FROM pg_proc p
    WHERE p.pronamespace = 'pingpong'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NOT NULL
    UNION ALL
    SELECT 'pingpong.' || c.relname, split_part(obj_description(c.oid, 'pg_class'), ';', 1)
    FROM pg_class c
    WHERE c.relnamespace = 'pingpong'::regnamespace AND c.relkind = 'v'
    ORDER BY 1;
END
$$;
COMMENT ON FUNCTION pingpong.help() IS
    'what can be called, with the parameters that it needs, and the views that can be read';
