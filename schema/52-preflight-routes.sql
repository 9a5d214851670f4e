-- Preflight, continued: slots and routes.

-- Slots
--

CREATE FUNCTION pingpong_check.check_slots_healthy(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(coalesce(n.name, node_name()), coalesce(s.wal_status IN ('reserved', 'extended'),
                                                           s.restart_lsn IS NULL),
                   CASE WHEN n.name = $1 THEN 'fail' ELSE 'warn' END,
                   format('slot "%s": %s, %s, keeps %s of WAL%s', s.slot_name,
                          CASE WHEN s.active THEN 'active' ELSE 'inactive' END,
                          coalesce(s.wal_status, 'no WAL reserved'),
                          coalesce(pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)), 'nothing'),
                          coalesce(', ' || pg_size_pretty(s.safe_wal_size) || ' more until it is lost', '')),
                   'Its WAL is gone or soon will be: rebuild the standby, then drop the slot.', 'postgres')
    FROM pg_replication_slots s LEFT JOIN node n ON n.slot = s.slot_name AND n.kind = 'postgres'
    UNION ALL
    SELECT finding($1, CASE WHEN n.pg #> '{slots,rows}' IS NOT NULL THEN bad IS NULL END, 'warn',
                   coalesce('slots on the target that lost their WAL: ' || bad,
                            format('%s slots on the target, none has lost WAL',
                                   jsonb_array_length(n.pg #> '{slots,rows}'))),
                   'Drop them there.', 'postgres', 'slots')
    FROM preflight_node n,
         LATERAL (SELECT string_agg(s ->> 'slot_name', ', ') FROM jsonb_array_elements(n.pg #> '{slots,rows}') s
                  WHERE s ->> 'wal_status' IN ('lost', 'unreserved')) b (bad)
    WHERE n.name = $1
$$;

CREATE FUNCTION pingpong_check.check_inactive_slots(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- inactive_since exists from 17 on
    WITH here AS (
        SELECT node_name() AS node, to_jsonb(s) AS s FROM pg_replication_slots s
            WHERE NOT s.active AND NOT s.temporary
    ), there AS (
        SELECT n.name AS node, s FROM preflight_node n, jsonb_array_elements(n.pg #> '{slots,rows}') s
        WHERE NOT n.is_source AND s ->> 'active' = 'false' AND NOT coalesce((s ->> 'synced')::boolean, false)
    ), idle AS (SELECT * FROM here UNION ALL SELECT * FROM there)
    SELECT finding(node, false, 'warn',
                   format('slot "%s" (%s) is not used%s', s ->> 'slot_name', s ->> 'slot_type',
                          coalesce(' since ' || left(s ->> 'inactive_since', 19), '')),
                   format('It keeps WAL until the disk is full. If no client comes back for it: '
                          'pg_drop_replication_slot(%L) on %s.', s ->> 'slot_name', node), 'postgres')
    FROM idle WHERE s ->> 'restart_lsn' IS NOT NULL
    UNION ALL
    SELECT finding(n.name, CASE WHEN n.is_source OR n.pg #> '{slots,rows}' IS NOT NULL THEN true END, 'warn', 'none',
                   NULL, 'postgres', 'slots')
    FROM preflight_node n
    WHERE n.kind = 'postgres' AND NOT EXISTS (SELECT FROM idle i
                                              WHERE i.node = n.name AND i.s ->> 'restart_lsn' IS NOT NULL)
$$;

CREATE FUNCTION pingpong_check.check_logical_slots(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- 17 and newer: synced by the server; before, pg_failover_slots leaves an inactive copy on the standby
    WITH here AS (SELECT s.slot_name, s.plugin FROM pg_replication_slots s
                  WHERE s.slot_type = 'logical' AND NOT s.temporary)
    SELECT finding($1,
                   CASE WHEN n.pg #> '{slots,rows}' IS NOT NULL
                        THEN coalesce(c ->> 'slot_name' IS NOT NULL AND c ->> 'temporary' = 'false'
                                      AND coalesce(c ->> 'synced', 'true') = 'true'
                             AND c ->> 'invalidation_reason' IS NULL
                                 AND coalesce(c ->> 'conflicting', 'false') = 'false'
                             AND coalesce(c ->> 'wal_status', '') <> 'lost', false) END,
                   CASE WHEN ($2 ->> 'allow_logical_slot_loss')::boolean THEN 'warn' ELSE 'fail' END,
                   CASE WHEN c IS NULL THEN format('logical slot "%s" is not on the target', h.slot_name)
                        ELSE format('logical slot "%s" on the target: temporary %s, synced %s, invalidated %s',
                                    h.slot_name, c ->> 'temporary',
                                    coalesce(c ->> 'synced', 'unknown'),
                                    coalesce(c ->> 'invalidation_reason', 'no')) END,
                   'Synchronise it (from 17 on: failover slots with sync_replication_slots; before: '
                   'pg_failover_slots), or accept the loss with the option "allow_logical_slot_loss": true.',
                   'postgres', 'slots')
    FROM here h JOIN preflight_node n ON n.name = $1
         LEFT JOIN LATERAL (SELECT x FROM jsonb_array_elements(n.pg #> '{slots,rows}') x
                            WHERE x ->> 'slot_name' = h.slot_name AND x ->> 'slot_type' = 'logical') k (c) ON true
    UNION ALL
    SELECT finding(node_name(), true, 'warn', 'no logical slots here', NULL, 'postgres')
    WHERE NOT EXISTS (SELECT FROM here)
$$;

--
-- Routes
--

INSERT INTO pingpong.preflight_check (number, name, topic, builtin, comment)
VALUES
    (59, 'pooler_file',               'routes',    true,
     'each pooler reads the file that its agent changes, and that file can be replaced'),
    (60, 'pooler_databases',          'routes',    true,
     'databases of the poolers that point to this primary and that no route covers'),
    (60, 'pooler_long_reads',         'routes',    true,
     'long reads through a pooler, which are ended after the move');

-- Endpoints with their routes.
CREATE VIEW pingpong_check.preflight_endpoint AS
SELECT e.name AS label, e.route AS name, e.router, e.endpoint, r.kind, r.driver, r.databases, r.node
FROM pingpong.route_endpoint e JOIN pingpong.route r ON r.name = e.route;
COMMENT ON VIEW pingpong_check.preflight_endpoint IS 'the endpoints of routes, each with its route';

-- Each pooler that an agent administers, with a route through it or without. (by_name: with hundreds of databases
-- they are looked up, not searched)
CREATE VIEW pingpong_check.preflight_pooler AS
SELECT p.name AS router, e.e ->> 'endpoint' AS endpoint, coalesce(e.e ->> 'driver', 'pgbouncer') AS driver,
    e.e AS facts,
       (SELECT jsonb_object_agg(d ->> 'name', d) FROM jsonb_array_elements(e.e -> 'databases') d
        WHERE d ->> 'name' IS NOT NULL) AS by_name,
       (SELECT bool_or(r.kind = 'rw') FROM pingpong_check.preflight_endpoint r
        WHERE r.router = p.name AND r.endpoint = e.e ->> 'endpoint'
            AND r.driver = coalesce(e.e ->> 'driver', 'pgbouncer')) AS rw
FROM pingpong_check.preflight_node p CROSS JOIN LATERAL jsonb_array_elements(p.facts -> 'routers') e (e);
COMMENT ON VIEW pingpong_check.preflight_pooler IS
    'routers as their agents saw them; rw: null without a route, else whether a rw route goes through it';

-- What only PgBouncer has.
CREATE VIEW pingpong_check.preflight_bouncer AS SELECT * FROM pingpong_check.preflight_pooler
    WHERE driver = 'pgbouncer';
COMMENT ON VIEW pingpong_check.preflight_bouncer IS 'the routers that are PgBouncers';

-- Each route with what its router's agent saw; db is null where the pooler does not know the database. A route that
-- no run has set yet: rw belongs to this primary, ro to whatever node it points to.
CREATE VIEW pingpong_check.preflight_route AS
WITH pooler AS MATERIALIZED (
    SELECT router, endpoint, driver, by_name, facts #>> '{config,pool_mode}' AS pool_mode, facts ->> 'error' AS error,
        facts -> 'star' AS star
    FROM pingpong_check.preflight_pooler
), seen AS MATERIALIZED (
    SELECT r.name, r.kind, r.router, r.endpoint, r.node AS led, d.database, d.settings, p.router IS NOT NULL AS known,
        p.error, p.star,
           p.pool_mode, p.by_name -> d.database AS db
    FROM pingpong_check.preflight_endpoint r CROSS JOIN LATERAL jsonb_each_text(r.databases) d (database, settings)
         LEFT JOIN pooler p ON p.router = r.router AND p.endpoint = r.endpoint AND p.driver = r.driver
)
SELECT s.name, s.kind, s.router, s.endpoint, n.name AS node, s.database, s.settings, n.host, n.port, s.known, s.error,
    s.star, s.db,
       coalesce(s.db ->> 'pool_mode', s.pool_mode) AS pool_mode
FROM seen s
     LEFT JOIN LATERAL (SELECT m.* FROM pingpong.node m
                        WHERE m.kind = 'postgres'
                          AND CASE WHEN s.led IS NOT NULL THEN m.name = s.led
                                   WHEN s.kind = 'rw' THEN m.name = pingpong.node_name()
                                   ELSE m.host = s.db ->> 'host' AND m.port::text = s.db ->> 'port' END
                        ORDER BY m.name LIMIT 1) n ON true;
COMMENT ON VIEW pingpong_check.preflight_route IS 'routes and their databases with what the agent of the router saw';

CREATE FUNCTION pingpong_check.check_routes_observed(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- the pooler answers
    SELECT finding(r.router, e ->> 'error' IS NULL AND e ->> 'version' IS NOT NULL, 'fail',
                   CASE WHEN e ->> 'error' IS NULL THEN format('endpoint "%s": %s', r.endpoint, e ->> 'version')
                        ELSE format('endpoint "%s" does not answer: %s', r.endpoint,
                                    btrim(e ->> 'error', E' \n')) END,
                   format('Look at [%s.%s] in the agent''s configuration; for PgBouncer, it needs an '
                          'admin user of the pooler.', coalesce(e ->> 'driver', 'pgbouncer'), r.endpoint), 'routers')
    FROM preflight_pooler r, LATERAL (SELECT r.facts) x (e) WHERE r.rw IS NOT NULL
    UNION ALL
    -- or there is no answer because the agent is silent (a warn: agent_reachable fails) or does not know it (a fail)
    SELECT finding(r.router, CASE WHEN p.facts IS NOT NULL THEN false END, 'fail',
                   format('the agent knows no endpoint "%s"', r.endpoint),
                   format('Add [%s.%s] to its configuration, or correct the route.', r.driver, r.endpoint), 'routers')
    FROM (SELECT DISTINCT v.router, v.endpoint, o.driver FROM preflight_route v JOIN route o ON o.name = v.name
          WHERE NOT v.known) r JOIN preflight_node p ON p.name = r.router
    UNION ALL
    -- it points where the table says; a database that only "*" serves is not shown while it is not used
    SELECT finding(r.router, coalesce(db ->> 'port' = r.port::text AND db ->> 'host' = r.host, false),
                   CASE WHEN r.kind = 'ro' OR db ->> 'port' = r.port::text OR (db IS NULL AND r.star IS NOT NULL)
                       THEN 'warn' ELSE 'fail' END,
                   CASE WHEN r.node IS NULL AND db IS NOT NULL
                        THEN format('route "%s", database "%s": points to %s:%s, which is no node', r.name,
                                    r.database, coalesce(db ->> 'host', 'local socket'), db ->> 'port')
                        WHEN db IS NULL THEN format('route "%s": the pooler has no database "%s"%s', r.name,
                                                    r.database,
                                                    CASE WHEN r.star IS NOT NULL THEN ' of its own, only "*"'
                                                        ELSE '' END)
                        ELSE format('route "%s", database "%s": points to %s:%s, node "%s" is %s:%s', r.name,
                                    r.database,
                                    coalesce(db ->> 'host', 'local socket'), db ->> 'port', r.node, r.host,
                                    r.port) END,
                   'Repair the backend file of the pooler, or the table pingpong.route: one of them is wrong.',
                   'routers')
    FROM preflight_route r WHERE r.known AND r.error IS NULL
    UNION ALL
    -- the line in the pooler's file counts, not what the route says of it
    SELECT finding(r.router, false, 'fail',
                   format('route "%s", database "%s": points to the database "%s", the route says "%s"', r.name,
                          r.database, db ->> 'database', said),
                   'What stands in the pooler''s file counts: correct the line there, or the route.', 'routers')
    FROM preflight_route r, LATERAL (SELECT replace(coalesce(m[1], m[2]), $q$''$q$, $q$'$q$)
                                     FROM regexp_match(r.settings,
                                             $q$(?:^|\s)dbname\s*=\s*(?:'((?:[^']|'')*)'|([^'\s]+))$q$) m) x (said)
    WHERE r.db ->> 'database' <> said
    UNION ALL
    SELECT finding(r.router, r.node = node_name(), 'fail',
                   format('rw route "%s" belongs to node "%s"', r.name, coalesce(r.node, 'none')),
                   'A rw route belongs to the primary: pingpong.repoint() points it here.', 'routers')
    FROM (SELECT DISTINCT name, router, node FROM preflight_route WHERE kind = 'rw') r
    WHERE r.node IS DISTINCT FROM node_name()
    UNION ALL
    SELECT ROW(node_name(), 'info', 'there is no rw route',
               'Clients must find the new primary by themselves, or pingpong.add_route() it.')::finding
    WHERE NOT EXISTS (SELECT FROM route WHERE kind = 'rw')
$$;

CREATE FUNCTION pingpong_check.check_pooler_file(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- it can be replaced
    SELECT finding(p.router, (f ->> 'writable')::boolean, 'fail',
                   format('endpoint "%s": %s can %sbe replaced%s', p.endpoint, f ->> 'path',
                          CASE WHEN (f ->> 'writable')::boolean THEN '' ELSE 'not ' END,
                          coalesce(' (' || (f ->> 'error') || ')', '')),
                   'The agent''s user needs to own this file and to write to its folder.', 'routers', 'file')
    FROM preflight_bouncer p, LATERAL (SELECT p.facts -> 'file') x (f) WHERE p.rw IS NOT NULL
    UNION ALL
    -- it is one that the pooler reads: what can be seen, and what was proved last; a run proves it before its
    -- blackout
    SELECT finding(p.router, CASE WHEN p.facts -> 'config' IS NOT NULL THEN
                       NOT coalesce((f ->> 'broken')::boolean, false) AND p.facts #>> '{proof,error}' IS NULL
                       AND (f ->> 'included')::boolean IS NOT FALSE END, 'warn',
                   format('endpoint "%s": %s', p.endpoint,
                          CASE WHEN (f ->> 'broken')::boolean OR (f ->> 'included') = 'false' THEN f ->> 'trouble'
                               WHEN p.facts #>> '{proof,error}' IS NOT NULL
                                   THEN 'at the last run, ' || (p.facts #>> '{proof,error}')
                               WHEN p.facts #>> '{proof,at_ms}' IS NOT NULL
                               THEN 'RELOAD took the file over at '
                                   || to_char(to_timestamp((p.facts #>> '{proof,at_ms}')::float8 / 1000),
                                              'YYYY-MM-DD HH24:MI:SS TZ')
                               WHEN (f ->> 'included')::boolean
                                   THEN format('%s includes the file', p.facts #>> '{config,conffile}')
                               ELSE coalesce(f ->> 'trouble',
                                             'it cannot be seen from here what the pooler reads') END),
                   'A run proves it before its blackout and would end there: fix the pooler''s configuration, '
                   'RELOAD, look into its log.', 'routers', 'config')
    FROM preflight_bouncer p, LATERAL (SELECT p.facts -> 'file') x (f) WHERE p.rw IS NOT NULL
    UNION ALL
    -- its lines count
    SELECT finding(p.router, false, CASE WHEN EXISTS (SELECT FROM preflight_endpoint r
                                                      WHERE r.router = p.router AND r.endpoint = p.endpoint
                                                      AND r.databases ? w.key) THEN 'fail' ELSE 'warn' END,
                   format('endpoint "%s": %s has a line for database "%s" too, which counts '
                          'instead of that in the file', p.endpoint, w.value, w.key),
                   'A database must have one line.', 'routers', 'file')
    FROM preflight_bouncer p, jsonb_each_text(p.facts #> '{file,shadowed}') w WHERE p.rw IS NOT NULL
    UNION ALL
    -- what the next RELOAD will change besides
    SELECT finding(p.router, false, CASE WHEN EXISTS (SELECT FROM preflight_endpoint r
                                                      WHERE r.router = p.router AND r.endpoint = p.endpoint
                                                      AND r.kind = 'rw'
                                                      AND r.databases ? (w ->> 'name')) THEN 'fail' ELSE 'warn' END,
                   format('endpoint "%s": the file points database "%s" to %s:%s, the pooler does not', p.endpoint,
                          w ->> 'name',
                          coalesce(nullif(w ->> 'host', ''), 'its socket'), w ->> 'port'),
                   'A run reloads the pooler, which moves this database: correct the file, or RELOAD now.', 'routers',
                   'file')
    FROM preflight_bouncer p, jsonb_array_elements(p.facts #> '{file,pending}') w WHERE p.rw IS NOT NULL
    UNION ALL
    SELECT finding(r.router, NULL, 'warn', NULL, NULL, 'routers')
    FROM (SELECT DISTINCT router FROM preflight_endpoint WHERE driver = 'pgbouncer') r
        WHERE NOT EXISTS (SELECT FROM preflight_bouncer p WHERE p.router = r.router)
    UNION ALL
    SELECT ROW(node_name(), 'ok', 'there is no route through a PgBouncer', NULL)::finding
        WHERE NOT EXISTS (SELECT FROM route WHERE driver = 'pgbouncer')
$$;

CREATE FUNCTION pingpong_check.check_pooler_databases(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH here AS (
        SELECT n.host, n.port FROM node n WHERE n.name = node_name()
    ), led AS (
        -- by its address, or, under another name of this host, because the pooler holds a session here
        SELECT p.router, p.endpoint, d ->> 'name' AS database
        FROM preflight_pooler p, jsonb_array_elements(p.facts -> 'databases') d, here h
        WHERE (d ->> 'host' = h.host AND d ->> 'port' = h.port::text)
           OR EXISTS (SELECT FROM jsonb_array_elements(p.facts -> 'servers') s
                      JOIN pg_stat_activity a ON a.pid = (s ->> 'pid')::integer
                      WHERE s ->> 'database' = d ->> 'name' AND a.datname = d ->> 'database'
                          AND a.usename = s ->> 'user')
        UNION ALL
        SELECT p.router, p.endpoint, '*' FROM preflight_pooler p, here h
        WHERE p.facts #>> '{star,host}' = h.host AND p.facts #>> '{star,port}' = h.port::text
    ), uncovered AS (
        SELECT l.router, l.endpoint, array_agg(l.database ORDER BY l.database) AS databases
        FROM led l
        WHERE l.database NOT LIKE E'pingpong\\_probe\\_%'
          AND NOT EXISTS (SELECT FROM preflight_endpoint r
                          WHERE r.router = l.router AND r.endpoint = l.endpoint AND r.databases ? l.database)
        GROUP BY 1, 2
    )
    SELECT finding(u.router, false, 'warn',
                   format('endpoint "%s": %s point to this primary and no route covers them', u.endpoint,
                          array_to_string(u.databases[1:20], ', ') || CASE WHEN n > 20
                              THEN format(' and %s more', n - 20) ELSE '' END),
                   'They stay at the old primary, which becomes a standby: add them to a route, or make sure '
                   'that no client writes there.', 'routers')
    FROM uncovered u, LATERAL (SELECT cardinality(u.databases)) c (n)
    UNION ALL
    SELECT finding(p.router, CASE WHEN p.facts -> 'databases' IS NOT NULL THEN true END, 'warn',
                   format('endpoint "%s": all databases that point to this primary are covered', p.endpoint), NULL,
                   'routers')
    FROM preflight_pooler p WHERE NOT EXISTS (SELECT FROM uncovered u
                                              WHERE u.router = p.router AND u.endpoint = p.endpoint)
    UNION ALL
    SELECT finding(n.name, NULL, 'warn', NULL, NULL, 'routers') FROM preflight_node n
        WHERE n.kind = 'router' AND n.facts IS NULL
    UNION ALL
    SELECT ROW(node_name(), 'ok', 'there is no pooler', NULL)::finding
    WHERE NOT EXISTS (SELECT FROM preflight_pooler) AND NOT EXISTS (SELECT FROM node WHERE kind = 'router')
$$;

CREATE FUNCTION pingpong_check.check_pooler_long_reads(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH reads AS (
        SELECT p.router, p.endpoint, s ->> 'database' AS database, a.pid, a.usename, a.application_name,
            clock_timestamp() - a.xact_start AS age
        FROM preflight_bouncer p, jsonb_array_elements(p.facts -> 'servers') s
            JOIN pg_stat_activity a ON a.pid = (s ->> 'pid')::integer
        WHERE (s ->> 'linked')::boolean AND a.usename = s ->> 'user' AND a.backend_xid IS NULL
            AND a.pid <> pg_backend_pid()
          AND a.xact_start < clock_timestamp() - interval '1 s'
          AND EXISTS (SELECT FROM jsonb_array_elements(p.facts -> 'databases') d
                      WHERE d ->> 'name' = s ->> 'database' AND d ->> 'database' = a.datname)
    )
    SELECT finding(r.router, false, 'warn',
                   format('endpoint "%s", database "%s": a read runs for %s s (process %s, '
                          'user %s, application "%s")', r.endpoint, r.database,
                          round(extract(epoch FROM r.age), 1), r.pid, r.usename, r.application_name),
                   'PAUSE does not wait for it. It goes on at the old primary, and is ended there '
                   'when readers_grace is over.', 'routers')
    FROM reads r
    UNION ALL
    SELECT finding(p.router, CASE WHEN p.facts -> 'servers' IS NOT NULL THEN true END, 'warn',
                   format('endpoint "%s": none', p.endpoint), NULL, 'routers')
    FROM preflight_bouncer p WHERE NOT EXISTS (SELECT FROM reads r
                                               WHERE r.router = p.router AND r.endpoint = p.endpoint)
    UNION ALL
    SELECT finding(n.name, NULL, 'warn', NULL, NULL, 'routers') FROM preflight_node n
        WHERE n.kind = 'router' AND n.facts IS NULL
    UNION ALL
    SELECT ROW(node_name(), 'ok', 'there is no pooler', NULL)::finding
    WHERE NOT EXISTS (SELECT FROM preflight_bouncer) AND NOT EXISTS (SELECT FROM node WHERE kind = 'router')
$$;

CREATE FUNCTION pingpong_check.check_pooler_settings(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- a held client must not be disconnected before the blackout can end
    SELECT finding(r.router, seconds = 0 OR seconds * 1000 > preflight_ms($2, 'max_blackout_ms', 10000), 'fail',
                   format('endpoint "%s": %s = %s s, the blackout may last %s ms', r.endpoint, setting, seconds,
                          preflight_ms($2, 'max_blackout_ms', 10000)),
                   format('Raise %s above the blackout, or lower max_blackout.', setting), 'routers', 'config')
    FROM (SELECT router, endpoint, facts -> 'config' AS config FROM preflight_bouncer WHERE rw) r,
         unnest(ARRAY['query_wait_timeout', 'query_timeout']) setting,
         LATERAL (SELECT (r.config ->> setting)::numeric) s (seconds)
    WHERE r.config IS NOT NULL
    UNION ALL
    SELECT finding(r.router, coalesce(r.db ->> 'paused', '0') = '0' AND coalesce(r.db ->> 'disabled', '0') = '0',
                   'fail',
                   format('database "%s": %s pooling, paused %s, disabled %s', r.database, r.pool_mode,
                          r.db ->> 'paused', r.db ->> 'disabled'),
                   'RESUME or ENABLE it at the pooler''s console first.', 'routers')
    FROM preflight_route r WHERE r.db IS NOT NULL
    UNION ALL
    SELECT ROW(r.router, 'info', format('database "%s" is in session pooling', r.database),
               'PAUSE cannot return while a session lives, so the sessions are ended after the seal: each '
               'client sees one disconnect.')::finding
    FROM preflight_route r WHERE r.db IS NOT NULL AND r.pool_mode = 'session' AND r.kind = 'rw'
    UNION ALL
    -- a user's own pool mode
    SELECT ROW(r.router, 'info', format('database "%s": user "%s" is in session pooling, the database is not',
                                        r.database, o ->> 'user'),
               'The clients of this user are not waited for: each sees one disconnect after the seal.')::finding
    FROM preflight_bouncer p CROSS JOIN LATERAL jsonb_array_elements(p.facts -> 'pools') o
         JOIN preflight_route r ON r.router = p.router AND r.endpoint = p.endpoint AND r.database = o ->> 'database'
    WHERE r.kind = 'rw' AND o ->> 'pool_mode' = 'session' AND r.pool_mode <> 'session'
    UNION ALL
    -- at max_client_conn consoles are accepted, but then other clients are not: one for orders, one a route for
    -- PAUSE, one for facts
    SELECT finding(r.router, allowed - clients >= r.routes + 2, 'warn',
                   format('endpoint "%s": max_client_conn = %s, %s clients are there, the run needs %s consoles',
                          r.endpoint, allowed, clients, r.routes + 2),
                   'Raise max_client_conn: while the run is on, new clients could be refused.', 'routers', 'config')
    FROM (SELECT p.router, p.endpoint, (p.facts #>> '{config,max_client_conn}')::integer AS allowed,
                 (SELECT coalesce(sum((o ->> 'cl_active')::integer + (o ->> 'cl_waiting')::integer), 0)
                  FROM jsonb_array_elements(p.facts -> 'pools') o) AS clients,
                 (SELECT count(*) FROM preflight_endpoint x
                  WHERE x.kind = 'rw' AND x.router = p.router AND x.endpoint = p.endpoint) AS routes
          FROM preflight_bouncer p WHERE p.rw AND p.facts -> 'config' IS NOT NULL) r
    UNION ALL
    SELECT ROW(r.router, 'warn', format('endpoint "%s": so_reuseport is on, several PgBouncers may share its port',
                                        r.endpoint),
               'Each is an endpoint of its own, with a route of its own and an "admin" that points to its own unix '
               'socket: else only one of them is moved.')::finding
    FROM preflight_bouncer r WHERE r.rw IS NOT NULL AND r.facts #>> '{config,so_reuseport}' = '1'
    UNION ALL
    SELECT finding(r.router, ttl <= 15, 'warn', format('endpoint "%s": dns_max_ttl = %s s, and the target '
                                                       'is known by the name "%s"', r.endpoint, ttl, t.host),
                   'Register nodes by address, or lower dns_max_ttl.', 'routers', 'config')
    FROM (SELECT router, endpoint, facts -> 'config' AS config FROM preflight_bouncer
          WHERE rw IS NOT NULL AND facts -> 'config' IS NOT NULL) r
         JOIN node t ON t.name = $1 AND t.name <> node_name() AND t.host !~ '^([0-9.]+|.*:.*|/.*)$',
         LATERAL (SELECT (r.config ->> 'dns_max_ttl')::numeric) s (ttl)
    UNION ALL
    SELECT CASE WHEN p.error IS NULL THEN finding(p.router, NULL, 'warn', NULL, NULL, 'routers')
                ELSE ROW(p.router, 'warn', format('not checked: endpoint "%s" does not answer', p.endpoint),
                         'See routes_observed.')::finding END
    FROM (SELECT DISTINCT r.router, r.endpoint, p.facts ->> 'error' AS error
          FROM preflight_endpoint r LEFT JOIN preflight_bouncer p ON p.router = r.router AND p.endpoint = r.endpoint
          WHERE r.driver = 'pgbouncer' AND p.facts -> 'config' IS NULL) p
$$;
