-- The connection budget: would all clients find room on the new primary, and what do their sessions carry?
--
-- After a move every pool opens its connections anew, all at once, beside the sessions that the standby has already.
-- What poolers and other servers say is what their agents told last (preflight() and check_setup() ask them): the
-- column as_of says when.

-- The servers that may be the primary. Reserved ones are for superusers, and from 16 on for a role of their own.
CREATE VIEW pingpong_check.budget_server AS
SELECT n.name AS node, h.here,
       CASE WHEN h.here THEN current_setting('max_connections')::integer
            ELSE (f.facts #>> '{postgres,settings,max_connections}')::integer END AS max_connections,
       current_setting('superuser_reserved_connections')::integer
       + coalesce(current_setting('reserved_connections', true)::integer, 0) AS reserved,
       CASE WHEN h.here THEN (SELECT count(*) FROM pg_catalog.pg_stat_activity a
                              WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid())
            ELSE (f.facts #>> '{postgres,sessions,clients}')::bigint END AS sessions,
       CASE WHEN h.here THEN clock_timestamp() ELSE f.facts_at END AS as_of
FROM pingpong.node n LEFT JOIN pingpong.node_fact f ON f.node = n.name,
     LATERAL (SELECT coalesce(n.name = pingpong.node_name(), false)) h (here)
WHERE n.kind = 'postgres' AND n.away_since IS NULL;
COMMENT ON VIEW pingpong_check.budget_server IS 'the servers of the connection budget; what others reserve is taken '
    'to be as here';

-- A database of a pooler: a pool for each user that it has seen, one at least. PgBouncer opens pool_size of each, and
-- the reserve when clients wait, but never more than the database's own limit.
CREATE VIEW pingpong_check.budget_pool AS
SELECT r.name AS route, r.kind, r.node, e.router, e.endpoint, b.database, f.facts_at AS as_of,
       p.pools, p.connections, p.clients,
       least(nullif((d.d ->> 'max_connections')::bigint, 0),
             greatest(p.pools, 1) * ((d.d ->> 'pool_size')::bigint
                                     + coalesce(d.d ->> 'reserve_pool_size', d.d ->> 'reserve_pool', '0')::bigint)
            ) AS most,
       (o.o #>> '{config,max_client_conn}')::bigint AS max_clients
FROM pingpong.route r
     JOIN pingpong.route_endpoint e ON e.route = r.name
     CROSS JOIN LATERAL jsonb_object_keys(r.databases) b (database)
     LEFT JOIN pingpong.node_fact f ON f.node = e.router
     LEFT JOIN LATERAL (SELECT o FROM jsonb_array_elements(f.facts -> 'routers') o
                        WHERE o ->> 'endpoint' = e.endpoint LIMIT 1) o ON true
     LEFT JOIN LATERAL (SELECT d FROM jsonb_array_elements(o.o -> 'databases') d
                        WHERE d ->> 'name' = b.database LIMIT 1) d ON true
     CROSS JOIN LATERAL (SELECT count(*) AS pools,
                                coalesce(sum((x ->> 'sv_active')::bigint + (x ->> 'sv_idle')::bigint), 0)::bigint
                                    AS connections,
                                coalesce(sum((x ->> 'cl_active')::bigint + (x ->> 'cl_waiting')::bigint), 0)::bigint
                                    AS clients
                         FROM jsonb_array_elements(o.o -> 'pools') x WHERE x ->> 'database' = b.database) p
WHERE r.driver = 'pgbouncer';
COMMENT ON VIEW pingpong_check.budget_pool IS 'the pools of the connection budget; most is null where the pooler did '
    'not tell';

-- Sessions that no pooler holds: they come back by themselves.
CREATE VIEW pingpong_check.budget_direct AS
SELECT s.node, greatest(s.sessions - coalesce((SELECT sum(p.connections) FROM pingpong_check.budget_pool p
                                               WHERE coalesce(p.node, s.node) = s.node), 0), 0) AS sessions, s.as_of
FROM pingpong_check.budget_server s WHERE s.here;
COMMENT ON VIEW pingpong_check.budget_direct IS 'the sessions of this server that come from no pooler of a route';

CREATE VIEW pingpong.connection_budget AS
WITH claim (rw, direct, unknown) AS (
    SELECT coalesce((SELECT sum(most) FROM pingpong_check.budget_pool WHERE kind = 'rw'), 0)::bigint,
           coalesce((SELECT sum(sessions) FROM pingpong_check.budget_direct), 0)::bigint,
           EXISTS (SELECT FROM pingpong_check.budget_pool WHERE kind = 'rw' AND most IS NULL)
), standby (node, reading) AS (
    -- what readers may open there is there, whoever is the primary
    SELECT s.node, coalesce(sum(p.most), 0)::bigint
    FROM pingpong_check.budget_server s LEFT JOIN pingpong_check.budget_pool p ON p.kind = 'ro' AND p.node = s.node
    GROUP BY s.node
), entry (rank, node, item, name, connections, most, room, as_of, unknown, detail) AS (
    SELECT 1, s.node, 'limit', 'max_connections', s.sessions, s.max_connections - s.reserved, NULL::bigint, s.as_of,
           s.max_connections IS NULL,
           format('max_connections %s, %s of them reserved', s.max_connections, s.reserved)
    FROM pingpong_check.budget_server s
    UNION ALL
    SELECT 2, coalesce(p.node, CASE WHEN p.kind = 'rw' THEN pingpong.node_name() END), 'pool',
           format('%s/%s %s', p.router, p.endpoint, p.database), p.connections, p.most, NULL, p.as_of, p.most IS NULL,
           format('route %s, %s pools, %s clients', p.route, p.pools, p.clients)
    FROM pingpong_check.budget_pool p
    UNION ALL
    SELECT 3, d.node, 'direct', 'sessions that come from no pooler', d.sessions, d.sessions, NULL, d.as_of, false,
           NULL
    FROM pingpong_check.budget_direct d
    UNION ALL
    SELECT w.rank, s.node, 'total', w.name, NULL, c.rw + w.times * c.direct + r.reading,
           s.max_connections - s.reserved, s.as_of, c.unknown OR s.max_connections IS NULL, w.detail
    FROM pingpong_check.budget_server s JOIN standby r ON r.node = s.node, claim c,
         (VALUES (4, 'as the primary', 1, 'all pools of writers and of its readers full, and the direct sessions'),
                 (5, 'as the primary, in a deployment', 2,
                  'the same, with the direct sessions of old and new application servers at once')
         ) w (rank, name, times, detail)
    UNION ALL
    SELECT 6, o.router, 'clients', format('%s/%s in a deployment', o.router, o.endpoint), o.clients, 2 * o.clients,
           o.max_clients, o.as_of, o.max_clients IS NULL,
           format('max_client_conn %s; twice the clients of now', o.max_clients)
    FROM (SELECT p.router, p.endpoint, max(p.max_clients) AS max_clients, min(p.as_of) AS as_of,
                 sum(p.clients)::bigint AS clients
          FROM pingpong_check.budget_pool p GROUP BY p.router, p.endpoint) o
)
SELECT r.node, r.item, r.name, r.connections, r.most, r.room,
       CASE WHEN r.unknown THEN 'unknown' WHEN r.most > r.room THEN 'warn' ELSE 'ok' END AS status,
       CASE WHEN r.unknown AND r.as_of IS NULL THEN 'its agent has not told yet; preflight() and check_setup() ask it'
            WHEN r.unknown THEN 'a part of it is not known; see the rows with status unknown'
            WHEN r.most > r.room AND r.item = 'clients'
            THEN format('%s; raise max_client_conn of the pooler', r.detail)
            WHEN r.most > r.room
            THEN format('%s do not fit: lower pool sizes (or max_db_connections) by %s in all, or raise '
                        'max_connections', r.detail, r.most - r.room)
            ELSE r.detail END AS detail, r.as_of
FROM entry r
ORDER BY r.rank, r.node, r.name;
COMMENT ON VIEW pingpong.connection_budget IS
    'who may open how many connections, and whether all of them would fit on each server if it were the primary';
COMMENT ON COLUMN pingpong.connection_budget.node IS 'the server, or for clients the router, that the row is about';
COMMENT ON COLUMN pingpong.connection_budget.item IS
    'limit: of a server; pool: of a pooler''s database; direct: sessions without a pooler; total: all of them '
    'together against the limit; clients: of a pooler';
COMMENT ON COLUMN pingpong.connection_budget.name IS 'which one';
COMMENT ON COLUMN pingpong.connection_budget.connections IS 'how many there are; null for a total';
COMMENT ON COLUMN pingpong.connection_budget.most IS
    'how many there may be: of a limit without what is reserved; null: not known';
COMMENT ON COLUMN pingpong.connection_budget.room IS 'how many have room; null where the row is no sum';
COMMENT ON COLUMN pingpong.connection_budget.status IS 'ok; warn: more than there is room for; unknown';
COMMENT ON COLUMN pingpong.connection_budget.detail IS 'what it is made of, and what to do';
COMMENT ON COLUMN pingpong.connection_budget.as_of IS 'when this was so: what agents told is as old as that';

-- LISTEN, SET and prepared statements of another session cannot be seen from outside. The last statement of a session
-- may tell of them. Whose a temporary table is, can be told only from 16 on.
CREATE VIEW pingpong.session_state AS
SELECT a.datname AS database, a.application_name, a.usename AS role, count(*) AS sessions,
       count(*) FILTER (WHERE l.pid IS NOT NULL) AS with_advisory_locks,
       count(*) FILTER (WHERE l.in_session) AS idle_with_advisory_locks,
       count(*) FILTER (WHERE a.query ~* E'^\\s*listen\\M') AS last_said_listen,
       count(*) FILTER (WHERE a.query ~* E'^\\s*prepare\\M') AS last_said_prepare,
       count(*) FILTER (WHERE a.query ~* E'^\\s*set\\s+(?!local\\M|transaction\\M|constraints\\M)') AS last_said_set,
       count(*) FILTER (WHERE a.state = 'disabled') AS not_seen
FROM pg_catalog.pg_stat_activity a
     LEFT JOIN LATERAL (SELECT k.pid, a.state = 'idle' AS in_session FROM pg_catalog.pg_locks k
                        WHERE k.pid = a.pid AND k.locktype = 'advisory' AND k.granted LIMIT 1) l ON true
WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
GROUP BY a.datname, a.application_name, a.usename
ORDER BY a.datname, a.application_name, a.usename;
COMMENT ON VIEW pingpong.session_state IS
    'what sessions of each application keep between transactions, as far as it can be seen from outside: with any of '
    'it a pooler may not run in transaction mode. Zero proves nothing for LISTEN, PREPARE, SET: only the last '
    'statement of a session is seen, and a driver''s own prepared statements never';
COMMENT ON COLUMN pingpong.session_state.database IS 'of the sessions';
COMMENT ON COLUMN pingpong.session_state.application_name IS 'as the application has set it';
COMMENT ON COLUMN pingpong.session_state.role IS 'as whom they logged in';
COMMENT ON COLUMN pingpong.session_state.sessions IS 'how many there are';
COMMENT ON COLUMN pingpong.session_state.with_advisory_locks IS 'sessions that hold an advisory lock';
COMMENT ON COLUMN pingpong.session_state.idle_with_advisory_locks IS
    'of these, sessions outside of a transaction: the lock is the session''s, for certain';
COMMENT ON COLUMN pingpong.session_state.last_said_listen IS 'sessions whose last statement was LISTEN';
COMMENT ON COLUMN pingpong.session_state.last_said_prepare IS 'sessions whose last statement was PREPARE';
COMMENT ON COLUMN pingpong.session_state.last_said_set IS
    'sessions whose last statement was SET, but SET LOCAL, SET TRANSACTION and SET CONSTRAINTS';
COMMENT ON COLUMN pingpong.session_state.not_seen IS
    'sessions with track_activities off: of their statements nothing';
