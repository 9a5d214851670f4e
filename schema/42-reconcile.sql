-- What the idle worker of the primary does with the routes (worker/reconcile.c): it notes where each endpoint was
-- seen to point, decides where ro routes belong now, and tells whether something is to be pointed back. The rules are
-- here; the worker asks agents between two calls, and holds no transaction meanwhile.

CREATE FUNCTION pingpong_internal.observed_places(told jsonb, databases jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN told ? 'error' THEN jsonb_build_object('error', told -> 'error')
        ELSE (SELECT jsonb_object_agg(d ->> 'name',
                                      coalesce(p.places, concat_ws(':', d ->> 'host', d ->> 'port')))
              FROM jsonb_array_elements(CASE jsonb_typeof(told -> 'databases') WHEN 'array' THEN told -> 'databases'
                                        ELSE '[]' END) d,
                   LATERAL (SELECT string_agg(a.place, ', ' ORDER BY a.place)
                            FROM jsonb_array_elements(CASE jsonb_typeof(d -> 'places') WHEN 'array' THEN d -> 'places'
                                                      ELSE '[]' END) x,
                                 LATERAL (SELECT concat_ws(':', x ->> 'host', x ->> 'port')) a (place)
                           ) p (places)
              WHERE databases ? (d ->> 'name')) END
$$;
COMMENT ON FUNCTION pingpong_internal.observed_places(jsonb, jsonb) IS
    'of what an agent tells of an endpoint: {"database": "host:port"}, several separated by ", "; or {"error"}';

-- A row that says the same is not written again for a minute: this comes every few seconds.
CREATE FUNCTION pingpong_internal.route_seen(endpoint text, at timestamptz, told jsonb, error text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    UPDATE pingpong.route_endpoint e SET observed = s.observed, observed_at = at
    FROM pingpong.route r,
         LATERAL (SELECT CASE WHEN error IS NOT NULL THEN jsonb_build_object('error', error)
                              ELSE pingpong_internal.observed_places(told, r.databases) END) s (observed)
    WHERE r.name = e.route AND e.name = endpoint AND at > coalesce(e.observed_at, '-infinity')
      AND (e.observed IS DISTINCT FROM s.observed OR e.observed_at IS NULL OR e.observed_at <= r.changed_at
           OR at - e.observed_at > interval '1 min'
           OR e.observed_at <= (SELECT u.ended_at FROM pingpong.run u ORDER BY u.id DESC LIMIT 1));
END
$$;
COMMENT ON FUNCTION pingpong_internal.route_seen(text, timestamptz, jsonb, text) IS
    'where an endpoint was seen to point at that time, or why not';

CREATE FUNCTION pingpong_internal.route_note(severity text, kind text, place text, sentence text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    DELETE FROM pingpong.route_event e WHERE e.at < clock_timestamp() - interval '30 days';
    INSERT INTO pingpong.route_event (severity, kind, place, sentence) VALUES (severity, kind, place, sentence);
END
$$;
COMMENT ON FUNCTION pingpong_internal.route_note(text, text, text, text) IS 'a row of pingpong.route_event';

CREATE FUNCTION pingpong_internal.addresses(nodes text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(a.place, ', ' ORDER BY a.place)
    FROM pingpong.node n, LATERAL (SELECT concat_ws(':', n.host, n.port)) a (place) WHERE n.name = ANY (nodes)
$$;
COMMENT ON FUNCTION pingpong_internal.addresses(text[]) IS 'of nodes, as in route_endpoint.observed';

-- Another server that is a primary on a newer timeline: this one is outdated, and its table with it.
CREATE FUNCTION pingpong_internal.is_outdated() RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM pingpong_internal.agent_news() n
                   WHERE n.role = 'primary' AND n.node <> pingpong.node_name()
                     AND n.timeline > pingpong_internal.written_timeline());
END
$$;
COMMENT ON FUNCTION pingpong_internal.is_outdated() IS
    'whether an agent told of a primary on a newer timeline than that of this server';

-- ---- where an ro route belongs ----

-- What is known of the other nodes, and which are fit for which ro route since when: {"harmless": {"node": boolean},
-- "streams": the same, "certain": all others are harmless, "no_primary": {"node": time}, see places_to_read(),
-- "fit": {"route": {"node": {"fit", "since", "lag"}}}}.
-- `memory`: the same of the last time. For reads a node that was harmless once while this worker lives stays so until
-- it is seen as a primary: it may be down now.
CREATE FUNCTION pingpong_internal.look_at_nodes(memory jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    RETURN (
        WITH place AS MATERIALIZED (
            SELECT p.node, p.streams, p.lag, p.no_primary,
                   p.harmless OR (p.role <> 'primary' AND coalesce((memory #>> ARRAY['harmless', p.node])::boolean,
                                                                   false)) AS harmless
            FROM pingpong_internal.places_to_read() p WHERE NOT p.is_primary)
        SELECT jsonb_build_object(
            'harmless', (SELECT coalesce(jsonb_object_agg(p.node, p.harmless), '{}') FROM place p),
            'streams', (SELECT coalesce(jsonb_object_agg(p.node, p.streams), '{}') FROM place p),
            'certain', (SELECT coalesce(bool_and(p.harmless), true) FROM place p),
            'no_primary', (SELECT coalesce(jsonb_object_agg(p.node, p.no_primary), '{}') FROM place p),
            'fit', coalesce(jsonb_object_agg(n.route, n.nodes), '{}'))
        FROM (SELECT r.name AS route,
                     jsonb_object_agg(p.node, jsonb_build_object('fit', f.fit, 'lag', p.lag, 'since',
                         CASE WHEN (memory #>> ARRAY['fit', r.name, p.node, 'fit'])::boolean = f.fit
                              THEN memory #> ARRAY['fit', r.name, p.node, 'since']
                              ELSE to_jsonb(clock_timestamp()) END)) AS nodes
              FROM pingpong.route r, place p,
                   LATERAL (SELECT p.streams AND (r.max_lag IS NULL OR coalesce(p.lag <= r.max_lag, false))) f (fit)
              WHERE r.kind = 'ro' GROUP BY r.name) n);
END
$$;
COMMENT ON FUNCTION pingpong_internal.look_at_nodes(jsonb) IS
    'whether the other nodes are certainly no primaries, and whether reads may go there';

CREATE FUNCTION pingpong_internal.fitness(memory jsonb, route text, OUT node text, OUT fit boolean,
                                          OUT since timestamptz, OUT lag interval) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT n.key, (n.value ->> 'fit')::boolean, (n.value ->> 'since')::timestamptz, (n.value ->> 'lag')::interval
    FROM jsonb_each(memory #> ARRAY['fit', route]) n
$$;
COMMENT ON FUNCTION pingpong_internal.fitness(jsonb, text) IS 'which nodes are fit for an ro route, and since when';

-- A standby is left when it was not fit in two looks, and chosen when it was for longer: what goes to and fro stays
-- out.
CREATE FUNCTION pingpong_internal.best_nodes(r pingpong.route, memory jsonb) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    looks   interval := current_setting('pingpong.route_interval')::interval;
    leave   timestamptz := clock_timestamp() - 0.9 * looks;
    enter   timestamptz := clock_timestamp() - greatest(3 * looks, interval '10 s');
    present text[] := coalesce(r.nodes, ARRAY[r.node]);
    here    text := pingpong.node_name();
    stays   text[];
    chosen  text[];
BEGIN
    IF r.node = here AND r.home = here THEN
        RETURN ARRAY[here];                     -- by set_route()
    END IF;
    -- where it is, unless that has not been fit for a while; what was forgotten or is no standby any more is not
    SELECT coalesce(array_agg(p.node ORDER BY p.place), '{}') INTO stays
    FROM unnest(present) WITH ORDINALITY p (node, place) JOIN pingpong_internal.fitness(memory, r.name) f
         ON f.node = p.node
    WHERE f.fit OR f.since > leave;
    -- what may be chosen: home first, then the least lag. Where nothing is left, the one that is fit now
    SELECT coalesce(array_agg(f.node ORDER BY f.node IS DISTINCT FROM r.home, f.lag NULLS LAST, f.node), '{}')
    INTO chosen
    FROM pingpong_internal.fitness(memory, r.name) f
    WHERE f.fit AND (f.since <= enter OR (stays = '{}' AND r.node IS DISTINCT FROM here));
    IF r.spread THEN
        stays := stays || (SELECT coalesce(array_agg(c.node ORDER BY c.place), '{}')
                           FROM unnest(chosen) WITH ORDINALITY c (node, place) WHERE c.node <> ALL (stays));
    ELSIF stays = '{}' OR chosen[1] = r.home THEN
        stays := coalesce(nullif(chosen[1:1], '{}'), stays);
    END IF;
    IF stays <> '{}' THEN
        RETURN stays;
    END IF;
    RETURN CASE WHEN r.fallback AND (memory ->> 'certain')::boolean THEN ARRAY[here] ELSE present END;
END
$$;
COMMENT ON FUNCTION pingpong_internal.best_nodes(pingpong.route, jsonb) IS
    'the nodes that an ro route should point to now';

-- A route that nobody has pointed yet belongs where all its routers say, if that is a node; an rw route then only if
-- that is this one.
CREATE FUNCTION pingpong_internal.adopt_routes() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE pingpong.route r SET node = s.node,
                                home = CASE WHEN r.kind = 'ro' AND s.node <> pingpong.node_name() THEN s.node END
    FROM (SELECT e.route, min(n.name) AS node
          FROM pingpong.route_endpoint e
               LEFT JOIN LATERAL jsonb_each_text(e.observed) o ON true
               LEFT JOIN pingpong.node n ON n.kind = 'postgres' AND o.value = concat_ws(':', n.host, n.port)
          GROUP BY e.route HAVING count(*) = count(n.name) AND count(DISTINCT n.name) = 1) s
    WHERE r.node IS NULL AND r.name = s.route AND (r.kind = 'ro' OR s.node = pingpong.node_name());
END
$$;
COMMENT ON FUNCTION pingpong_internal.adopt_routes() IS
    'routes that no run has pointed belong where their routers say that they point';

CREATE FUNCTION pingpong_internal.place_routes(memory jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    r       pingpong.route;
    best    text[];
BEGIN
    FOR r IN SELECT * FROM pingpong.route o WHERE o.kind = 'ro' AND o.drift = 'repair'
             AND (o.node IS NOT NULL OR o.spread) LOOP
        best := pingpong_internal.best_nodes(r, memory);
        CONTINUE WHEN best = coalesce(r.nodes, ARRAY[r.node]) OR best[1] IS NULL;
        UPDATE pingpong.route o SET node = best[1], nodes = CASE WHEN cardinality(best) > 1 THEN best END
        WHERE o.name = r.name;
        PERFORM pingpong_internal.route_note(CASE WHEN best[1] = pingpong.node_name() THEN 'warning' ELSE 'info' END,
            'route moved', r.name, format('ro route "%s" points to %s now, not to %s%s', r.name,
                array_to_string(best, ', '), array_to_string(coalesce(r.nodes, ARRAY[r.node]), ', '),
                CASE WHEN best[1] = pingpong.node_name() THEN ': no standby is fit' ELSE '' END));
    END LOOP;
END
$$;
COMMENT ON FUNCTION pingpong_internal.place_routes(jsonb) IS
    'moves ro routes away from standbys that are not fit, and back';

-- ---- endpoints that point elsewhere ----

-- `told`: it answered since its route was changed. `ours`: it is this server's to say where the route belongs, an rw
-- route that belongs to another one is not. `wanted` is null where nobody has said yet where it belongs.
CREATE FUNCTION pingpong_internal.endpoint_state(
    OUT name text, OUT route text, OUT router text, OUT kind text, OUT drift text, OUT generation bigint,
    OUT changed_at timestamptz, OUT right_at bigint, OUT drift_since timestamptz, OUT repair_at timestamptz,
    OUT nodes text[], OUT wanted text, OUT seen text, OUT seen_nodes text, OUT error text,
    OUT observed_at timestamptz, OUT ours boolean, OUT told boolean, OUT elsewhere boolean) RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 4 SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT e.name, e.route, e.router, r.kind, r.drift, r.generation, r.changed_at, e.right_at, e.drift_since,
           e.repair_at, w.nodes, w.wanted, o.seen, o.nodes, e.observed ->> 'error', e.observed_at,
           r.kind = 'ro' OR r.node = pingpong.node_name(),
           coalesce(e.observed_at > r.changed_at AND NOT e.observed ? 'error', false) AND o.seen IS NOT NULL,
           o.seen IS NOT NULL AND (o.first IS DISTINCT FROM w.wanted OR o.last IS DISTINCT FROM w.wanted)
    FROM pingpong.route_endpoint e JOIN pingpong.route r ON r.name = e.route,
         LATERAL (SELECT coalesce(r.nodes, ARRAY[r.node]),
                         pingpong_internal.addresses(coalesce(r.nodes, ARRAY[r.node]))) w (nodes, wanted),
         LATERAL (SELECT string_agg(DISTINCT v.value, '; '), min(v.value), max(v.value),
                         string_agg(DISTINCT (SELECT string_agg(coalesce(n.name, p.place), ', '
                                                                ORDER BY coalesce(n.name, p.place))
                                              FROM unnest(string_to_array(v.value, ', ')) p (place)
                                                   LEFT JOIN pingpong.node n ON n.kind = 'postgres'
                                                       AND p.place = concat_ws(':', n.host, n.port)), ', ')
                  FROM jsonb_each_text(e.observed) v WHERE r.databases ? v.key) o (seen, first, last, nodes);
END
$$;
COMMENT ON FUNCTION pingpong_internal.endpoint_state() IS
    'of each endpoint: where it should point, where it was seen to point, and what is done about the difference';

CREATE FUNCTION pingpong_internal.note_drift() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s record;
BEGIN
    FOR s IN SELECT * FROM pingpong_internal.endpoint_state() x
             WHERE x.told AND x.ours AND x.wanted IS NOT NULL LOOP
        IF s.elsewhere AND s.drift_since IS NULL THEN
            UPDATE pingpong.route_endpoint e SET drift_since = clock_timestamp(), repairs = 0, repair_at = NULL
            WHERE e.name = s.name;
            PERFORM pingpong_internal.route_note('warning',
                CASE WHEN s.right_at = s.generation THEN 'route drifted' ELSE 'endpoint behind' END, s.name,
                format('endpoint "%s" of "%s" %s %s, and should point to %s (%s)%s', s.name, s.router,
                       CASE WHEN s.right_at = s.generation THEN 'points to' ELSE 'still points to' END, s.seen,
                       array_to_string(s.nodes, ', '), s.wanted,
                       CASE s.drift WHEN 'report' THEN '; the route says that this is only reported' ELSE '' END));
        ELSIF NOT s.elsewhere AND (s.drift_since IS NOT NULL OR s.right_at IS DISTINCT FROM s.generation) THEN
            UPDATE pingpong.route_endpoint e
            SET right_at = s.generation, drift_since = NULL, repairs = 0, repair_at = NULL WHERE e.name = s.name;
            IF s.drift_since IS NOT NULL THEN
                PERFORM pingpong_internal.route_note('info', 'endpoint right again', s.name,
                    format('endpoint "%s" of "%s" points to %s (%s) again', s.name, s.router,
                           array_to_string(s.nodes, ', '), s.wanted));
            END IF;
        END IF;
    END LOOP;
    -- it is not known any more where it belongs
    UPDATE pingpong.route_endpoint e SET drift_since = NULL, repairs = 0, repair_at = NULL
    FROM pingpong_internal.endpoint_state() x
    WHERE x.name = e.name AND (x.wanted IS NULL OR NOT x.ours) AND e.drift_since IS NOT NULL;
END
$$;
COMMENT ON FUNCTION pingpong_internal.note_drift() IS 'notes which endpoints point elsewhere, and which do no more';

-- A server that was away (frozen, or cut off) must not fetch its old clients back: somebody may have promoted another
-- one meanwhile. So an endpoint of an rw route is only taken away from a node that is known to be no primary since
-- the endpoint was seen there; from an address that is no node only if that is so of all nodes. What was known
-- before, and a stream, do not count. One of an ro route is only pointed to what streams from here, or, if no other
-- node can be a primary, to here. Null: no agent was asked since the endpoint was seen there.
CREATE FUNCTION pingpong_internal.may_repair(endpoint text, memory jsonb) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE s.kind WHEN 'ro' THEN
        (SELECT bool_and(CASE WHEN w.node = pingpong.node_name() THEN (memory ->> 'certain')::boolean
                              ELSE coalesce((memory #>> ARRAY['streams', w.node])::boolean, false) END)
         FROM unnest(s.nodes) w (node))
    ELSE
        (SELECT CASE WHEN bool_or(k.known IS NULL) THEN false
                     WHEN bool_and(k.known > s.observed_at) IS NOT FALSE THEN true END
         FROM regexp_split_to_table(s.seen, '[;,] ') p (place)
              LEFT JOIN pingpong.node n ON n.kind = 'postgres' AND p.place = concat_ws(':', n.host, n.port),
              LATERAL (SELECT CASE WHEN n.name IS NOT NULL THEN (memory #>> ARRAY['no_primary', n.name])::timestamptz
                                   WHEN count(*) = count(x.value) THEN coalesce(min(x.value::timestamptz), 'infinity')
                                   END
                       FROM jsonb_each_text(memory -> 'no_primary') x) k (known)
         WHERE p.place <> s.wanted)
    END
    FROM pingpong_internal.endpoint_state() s WHERE s.name = endpoint
$$;
COMMENT ON FUNCTION pingpong_internal.may_repair(text, jsonb) IS
    'whether an endpoint may be pointed back without being asked; null: the next answers of the agents will tell';

CREATE FUNCTION pingpong_internal.note_withheld(memory jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    looks   interval := current_setting('pingpong.route_interval')::interval;
    early   boolean := false;
    s record;
BEGIN
    FOR s IN SELECT x.*, pingpong_internal.may_repair(x.name, memory) AS may
             FROM pingpong_internal.endpoint_state() x
             WHERE x.drift_since IS NOT NULL AND x.drift = 'repair' AND x.error IS NULL AND x.seen IS NOT NULL LOOP
        IF s.may IS NULL THEN
            early := true;
            UPDATE pingpong.route_endpoint e SET repair_at = clock_timestamp() + 0.5 * least(looks, interval '1 s')
            WHERE e.name = s.name AND coalesce(e.repair_at, '-infinity') <= clock_timestamp();
            CONTINUE;
        END IF;
        CONTINUE WHEN s.may = (s.repair_at IS DISTINCT FROM 'infinity');
        UPDATE pingpong.route_endpoint e SET repair_at = CASE WHEN NOT s.may THEN timestamptz 'infinity' END
        WHERE e.name = s.name;
        IF NOT s.may THEN
            PERFORM pingpong_internal.route_note('warning', 'repair withheld', s.name,
                format('endpoint "%s" of "%s" points to %s and is left there: it is not known whether %s', s.name,
                       s.router, coalesce(s.seen_nodes, s.seen),
                       CASE s.kind WHEN 'rw' THEN 'another server is a primary'
                                   ELSE format('"%s" follows this server', array_to_string(s.nodes, ', ')) END));
        END IF;
    END LOOP;
    RETURN early;
END
$$;
COMMENT ON FUNCTION pingpong_internal.note_withheld(jsonb) IS
    'of the endpoints that point elsewhere, which may not be pointed back: their repair_at is infinity; true: of '
    'some it is not known yet, these wait for the next look';

-- After a round of questions. `due`: a run that points endpoints back should begin now. Its pauses grow while it does
-- not help: 1, 2, 4 ... intervals, 10 minutes at most. `early`: the agents have to be asked again before it is known.
CREATE FUNCTION pingpong_internal.reconcile(memory jsonb, OUT memory_now jsonb, OUT due boolean, OUT early boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    looks   interval := current_setting('pingpong.route_interval')::interval;
BEGIN
    memory_now := '{}';
    due := false;
    early := false;
    IF pingpong_internal.is_outdated() OR looks = interval '0' THEN
        RETURN;
    END IF;
    memory_now := pingpong_internal.look_at_nodes(memory);
    PERFORM pingpong_internal.adopt_routes();
    PERFORM pingpong_internal.place_routes(memory_now);
    PERFORM pingpong_internal.note_drift();
    -- what was moved just now has not followed, whatever was seen before
    UPDATE pingpong.route_endpoint e SET drift_since = clock_timestamp(), repairs = 0, repair_at = NULL
    FROM pingpong_internal.endpoint_state() x
    WHERE x.name = e.name AND x.changed_at >= now() AND x.drift = 'repair' AND x.elsewhere AND x.error IS NULL
      AND x.ours AND e.drift_since IS NULL;
    early := pingpong_internal.note_withheld(memory_now);
    -- the run takes these and no other: of one that was not judged now it may be that another server has it
    UPDATE pingpong.route_endpoint e
    SET repair_due = d.due, repairs = e.repairs + d.due::integer,
        repair_at = CASE WHEN NOT d.due THEN e.repair_at
                         ELSE clock_timestamp() + least(looks * 2 ^ least(e.repairs, 20), interval '10 min') END
    FROM pingpong_internal.endpoint_state() x,
         LATERAL (SELECT x.drift_since IS NOT NULL AND x.drift = 'repair' AND x.error IS NULL
                         AND coalesce(x.repair_at, '-infinity') <= clock_timestamp()) d (due)
    WHERE x.name = e.name AND (d.due OR e.repair_due);
    due := EXISTS (SELECT FROM pingpong.route_endpoint e WHERE e.repair_due);
END
$$;
COMMENT ON FUNCTION pingpong_internal.reconcile(jsonb) IS
    'for the worker: where routes belong, which endpoints point elsewhere, and whether they are to be pointed back';

-- For the worker: which endpoints it asks.
CREATE FUNCTION pingpong_internal.endpoints_to_ask(OUT name text, OUT agent_url text, OUT driver text,
                                                   OUT endpoint text, OUT databases jsonb) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.name, n.agent_url, r.driver, e.endpoint, r.databases
    FROM pingpong.route_endpoint e JOIN pingpong.route r ON r.name = e.route JOIN pingpong.node n ON n.name = e.router
    ORDER BY e.name
$$;
COMMENT ON FUNCTION pingpong_internal.endpoints_to_ask() IS 'all endpoints, and how each is asked where it points';
