-- Changing a route: its rules (alter_route), and where it points (set_route, a run).

CREATE FUNCTION pingpong_internal.find_route(name text) RETURNS pingpong.route
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    r pingpong.route;
BEGIN
    SELECT * INTO r FROM pingpong.route o WHERE o.name = find_route.name;
    IF NOT FOUND THEN
        PERFORM pingpong_internal.fail('42704', format('route "%s" does not exist', coalesce(name, 'NULL')), NULL,
            coalesce((SELECT format('Known routes: %s.', string_agg(o.name, ', ' ORDER BY o.name))
                      FROM pingpong.route o), 'Register routes with pingpong.add_route().'));
    END IF;
    RETURN r;
END
$$;
COMMENT ON FUNCTION pingpong_internal.find_route(text) IS 'the route of that name, or 42704';

-- What is not given stays. Nothing is done at the routers here: the worker follows within seconds.
CREATE FUNCTION pingpong.alter_route(name text, smoke text DEFAULT NULL, max_lag interval DEFAULT NULL,
                                     fallback boolean DEFAULT NULL, drift text DEFAULT NULL,
                                     spread boolean DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    r pingpong.route := pingpong_internal.find_route(name);
BEGIN
    IF r.kind <> 'ro' AND (max_lag > interval '0' OR spread OR fallback IS NOT NULL) THEN
        PERFORM pingpong_internal.fail('22023', format('route "%s" is "rw": it always points to the primary', name),
                                       NULL, 'max_lag, fallback and spread are for "ro" routes.');
    END IF;
    IF max_lag < interval '0' THEN
        PERFORM pingpong_internal.fail('22023', '"max_lag" must not be negative', NULL, 'With 0 there is no limit.');
    END IF;
    IF drift NOT IN ('repair', 'report') THEN
        PERFORM pingpong_internal.fail('22023', '"drift" must be "repair" or "report"');
    END IF;
    IF spread AND NOT (SELECT d.several FROM pingpong.route_driver d WHERE d.name = r.driver) THEN
        PERFORM pingpong_internal.fail('0A000', format('the route driver "%s" leads to one server at a time',
                                                       r.driver), NULL,
            'Make a route for each standby, or use a driver that knows several: '
            || (SELECT string_agg(d.name, ', ' ORDER BY d.name) FROM pingpong.route_driver d WHERE d.several) || '.');
    END IF;
    UPDATE pingpong.route o
    SET smoke = CASE WHEN alter_route.smoke IS NULL THEN o.smoke ELSE nullif(btrim(alter_route.smoke), '') END,
        max_lag = CASE WHEN alter_route.max_lag IS NULL THEN o.max_lag
                       ELSE nullif(alter_route.max_lag, interval '0') END,
        fallback = coalesce(alter_route.fallback, o.fallback),
        drift = coalesce(alter_route.drift, o.drift),
        spread = coalesce(alter_route.spread, o.spread),
        nodes = CASE WHEN alter_route.spread IS FALSE THEN NULL ELSE o.nodes END
    WHERE o.name = alter_route.name;
END
$$;
COMMENT ON FUNCTION pingpong.alter_route(text, text, interval, boolean, text, boolean) IS
    'change the rules of a route; what is null stays as it is, an empty smoke and a max_lag of 0 remove it. 42704: '
    'no such route; 22023: not for a route of this kind; 0A000: its driver cannot be spread';

-- ---- where it points ----

-- The primary and its standbys, and how far each is behind. The lag is the greater one of what the standby told and
-- of what this server's samples of its own WAL say: a standby that does not replay tells its last, small lag for
-- ever.
CREATE FUNCTION pingpong_internal.wal_age(lsn pg_lsn) RETURNS interval
AS 'MODULE_PATHNAME', 'pingpong_wal_age' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION pingpong_internal.wal_age(pg_lsn) IS
    'for how long at least this server has had WAL beyond that position, by the worker''s samples; 0: it has none';

-- The run that moved the primary here has sealed that node, and nothing has made it a standby since.
CREATE FUNCTION pingpong_internal.is_left_sealed(node text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(bool_or(m.source = $1 AND m.target = pingpong.node_name()
                            AND NOT EXISTS (SELECT FROM pingpong.step s JOIN pingpong.run u ON u.id = s.run
                                            WHERE u.id >= m.id AND s.node = $1 AND s.state = 'succeeded'
                                              AND s.action IN ('rejoin', 'follow'))), false)
    FROM (SELECT * FROM pingpong.run r WHERE r.switched_at IS NOT NULL ORDER BY r.id DESC LIMIT 1) m
$$;
COMMENT ON FUNCTION pingpong_internal.is_left_sealed(text) IS
    'whether it is the old primary of the last move, which came here, and is not back yet';

CREATE FUNCTION pingpong_internal.places_to_read(OUT node text, OUT is_primary boolean, OUT streams boolean,
                                                 OUT lag interval, OUT obstacle text, OUT harmless boolean,
                                                 OUT role text, OUT no_primary timestamptz)
    RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    -- the stream from here is news of now; what an agent told may be of before a move
    SELECT s.node, s.node = pingpong.node_name(),
           s.state = 'streaming' AND (s.sync_state IS NOT NULL OR (s.upstream IS NOT NULL AND s.role = 'standby'))
               AND s.away_since IS NULL,
           CASE WHEN s.replay_lag_bytes = 0 THEN interval '0'
                ELSE greatest(s.replay_lag, pingpong_internal.wal_age(s.lsn)) END,
           CASE WHEN s.away_since IS NOT NULL THEN 'it is away on purpose'
                WHEN s.role <> 'standby' AND s.sync_state IS NULL THEN format('its role is "%s"', s.role)
                WHEN s.state IS DISTINCT FROM 'streaming' OR (s.sync_state IS NULL AND s.upstream IS NULL)
                THEN 'it does not stream' END,
           coalesce(s.node = pingpong.node_name() OR (s.state = 'streaming' AND s.sync_state IS NOT NULL)
                    OR (s.agent = 'ok' AND s.role IN ('standby', 'sealed')) OR s.away_since IS NOT NULL
                    OR pingpong_internal.is_left_sealed(s.node), false), s.role,
           -- a stream may be that of a server which was promoted this moment, and an old answer is of before that
           CASE WHEN s.node = pingpong.node_name() OR s.away_since IS NOT NULL THEN timestamptz 'infinity'
                WHEN told.role = 'primary' AND told.seen_at > moved.at THEN NULL
                WHEN pingpong_internal.is_left_sealed(s.node) THEN timestamptz 'infinity'
                WHEN s.agent = 'ok' AND s.role IN ('standby', 'sealed') THEN told.seen_at END
    FROM pingpong_internal.status_rows() s
         LEFT JOIN pingpong_internal.agent_news() told ON told.node = s.node,
         (SELECT coalesce(max(r.switched_at), '-infinity') FROM pingpong.run r) moved (at)
    WHERE s.kind = 'postgres';
END
$$;
COMMENT ON FUNCTION pingpong_internal.places_to_read() IS
    'on the primary: the nodes that reads could go to, whether each streams, how far behind it is, and whether it is '
    'certainly no primary for reads (harmless); no_primary: the time of which its agent said so, infinity: it is '
    'none until this server says otherwise, null: nobody knows now';

-- Before anything is touched.
CREATE FUNCTION pingpong_internal.check_set_route(route text, node text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    r pingpong.route;
    p record;
BEGIN
    PERFORM pingpong_internal.check_primary('change of a route');
    r := pingpong_internal.find_route(route);
    IF NOT EXISTS (SELECT FROM pingpong.node n WHERE n.name = node AND n.kind = 'postgres') THEN
        PERFORM pingpong_internal.fail('42704', format('node "%s" does not exist', coalesce(node, 'NULL')), NULL,
                                       format('Known nodes: %s.', (SELECT string_agg(n.name, ', ' ORDER BY n.name)
                                               FROM pingpong.node n WHERE n.kind = 'postgres')));
    END IF;
    PERFORM pingpong_internal.check_registered();
    IF r.kind = 'rw' AND node <> pingpong.node_name() THEN
        PERFORM pingpong_internal.fail('55000', format('rw route "%s" cannot point to "%s"', route, node),
                                       format('The primary is "%s".', pingpong.node_name()),
                                       'To move the primary, run pingpong.switchover().');
    END IF;
    IF r.spread THEN
        PERFORM pingpong_internal.fail('55000', format('route "%s" is spread over all standbys that are fit', route),
            NULL, format('First run pingpong.alter_route(%L, spread => false).', route));
    END IF;
    IF r.kind = 'rw' THEN
        RETURN;
    END IF;
    SELECT * INTO p FROM pingpong_internal.places_to_read() o WHERE o.node = check_set_route.node;
    IF p.is_primary AND NOT r.fallback THEN
        PERFORM pingpong_internal.fail('55000', format('ro route "%s" may not point to the primary', route), NULL,
            format('Allow it with pingpong.alter_route(%L, fallback => true).', route));
    ELSIF NOT p.is_primary AND NOT p.streams THEN
        PERFORM pingpong_internal.fail('55000', format('node "%s" cannot serve reads', node),
                                       upper(left(p.obstacle, 1)) || substr(p.obstacle, 2) || '.');
    ELSIF NOT p.is_primary AND r.max_lag IS NOT NULL AND (p.lag > r.max_lag) IS NOT FALSE THEN
        PERFORM pingpong_internal.fail('55000', format('node "%s" is too far behind for route "%s"', node, route),
            format('It is behind by %s; the route permits %s.', coalesce(p.lag::text, 'an unknown time'),
                   r.max_lag), 'Wait, or change max_lag with pingpong.alter_route().');
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.check_set_route(text, text) IS
    'refuses a node that the route may not point to: 42704 unknown, 55000 otherwise';

CREATE FUNCTION pingpong.set_route(name text, node text, OUT run bigint, OUT state text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    SELECT r.run, r.state INTO set_route.run, set_route.state
    FROM pingpong_internal.request('run', pingpong.node_name(), jsonb_build_object(
        'runbook', 'set_route', 'route', coalesce(name, ''), 'node', coalesce(node, ''))::text) AS r;
END
$$;
COMMENT ON FUNCTION pingpong.set_route(text, text) IS
    'point all endpoints of a route to a node: prepared everywhere, then changed everywhere, then looked at through '
    'the route; what was changed is changed back when it is given up. rw: to the primary; ro: to a standby that '
    'streams, within the lag that the route permits, or, where the route allows it, to the primary. 42704, 55000';

INSERT INTO pingpong.run_option (name, type, kinds, argument, builtin, comment)
VALUES
    ('route', 'text', '{run}', 'name', true, 'for set_route(): the route'),
    ('node', 'text', '{run}', 'node', true, 'for set_route(): the node that it is to point to');

INSERT INTO pingpong.runbook_step
    (runbook, ordinal, action, node, worker, impact, undo, timeout, on_failure, comment)
VALUES
    ('set_route', 10, 'prepare_route', 'the_route', 'source', 'none', 'release', '10s', 'undo',
     'each router is reached, and proved to read its file and to reload'),
    ('set_route', 50, 'lead', 'the_route', 'source', 'none', 'lead_back', '20s', 'undo',
     'all endpoints point to the node'),
    ('set_route', 60, 'probe', 'the_route', 'source', 'none', NULL, '20s', 'undo',
     'through the route: the right cluster and role, and, of an rw route, a write'),
    ('set_route', 60, 'smoke', 'the_route', 'source', 'none', NULL, '30s', 'undo', 'the smoke test that it names'),
    ('set_route', 90, 'keep_route', 'source', 'source', 'none', NULL, '10s', 'undo', 'the table says so'),
    ('realign', 50, 'repoint', 'drifted_routes', 'source', 'none', NULL, '6s', 'continue',
     'endpoints that point elsewhere than the table says, each by itself');

-- Nobody has asked for it: what somebody else is about to change at the router is not touched.
UPDATE pingpong.runbook_step SET params = '{"careful": true}' WHERE runbook = 'realign';
