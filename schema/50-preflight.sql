-- Preflight: what must be true before a primary is moved, one row a finding.
--
-- The worker asks the agent of every node for its `facts` and stores the answers in node_fact. A check is a function
-- check_NAME(target, options) that compares those answers with the local catalogs; it can be called alone. The table
-- preflight_check lists them, and a site may add rows (and functions) of its own. preflight_checks() runs them all, and
-- one that fails with an error becomes a warning and leaves the others alone.
--
-- status is ok, info (for the report), warn, or fail (stops a switchover). What could not be looked at is a warn that
-- says why, never an ok: finding() sees to that by taking the verdict as a boolean that may be null.

CREATE TABLE pingpong.preflight_check
(
    number  integer NOT NULL,
    name    text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,56}$'),
    topic   text NOT NULL,
    builtin boolean NOT NULL DEFAULT false,
    comment text NOT NULL
);
COMMENT ON TABLE pingpong.preflight_check IS 'the checks of preflight; each is the function pingpong.check_NAME(target text, options jsonb)';

INSERT INTO pingpong.preflight_check (number, name, topic, builtin, comment)
VALUES
    ( 2, 'roles',                     'identity',  true, 'the source is the only primary, the target a standby'),
    ( 1, 'same_system_identifier',    'identity',  true, 'all nodes are copies of one cluster'),
    ( 3, 'same_timeline',             'identity',  true, 'the target receives the timeline that is written here'),
    ( 4, 'target_streaming',          'identity',  true, 'the target streams from this primary'),
    ( 5, 'same_major_version',        'identity',  true, 'one major version, and no older minor release on the target'),
    ( 5, 'same_build',                'identity',  true, 'block and segment sizes and processor architecture agree'),
    ( 6, 'unique_names',              'identity',  true, 'cluster_name and application_name are unique'),
    ( 7, 'standbys_can_follow',       'identity',  true, 'the other standbys can follow the new primary'),
    ( 8, 'clock_skew',                'hosts',     true, 'the clocks of the hosts agree'),
    ( 9, 'agent_reachable',           'hosts',     true, 'each agent answers, is the right one, and can control its PostgreSQL'),
    (10, 'no_other_ha_manager',       'hosts',     true, 'nobody else promotes or restarts servers'),
    (11, 'replay_lag',                'lag',       true, 'what the target has still to replay fits the blackout'),
    (12, 'replay_not_paused',         'lag',       true, 'WAL replay is not paused'),
    (13, 'no_apply_delay',            'lag',       true, 'recovery_min_apply_delay is off on the target'),
    (14, 'standby_queries',           'lag',       true, 'no query on the target holds up its replay'),
    (15, 'replay_keeps_up',           'lag',       true, 'the target replays at least as fast as WAL is written'),
    (16, 'recovery_settings',         'lag',       true, 'no recovery target is set on either side'),
    (17, 'sync_satisfiable',          'lag',       true, 'synchronous_standby_names can be satisfied after the move'),
    (17, 'no_commit_waits',           'lag',       true, 'no commit hangs for a synchronous standby'),
    (18, 'long_transactions',         'obstacles', true, 'no writer is older than the grace'),
    (19, 'idle_in_transaction',       'obstacles', true, 'no session sits idle in a transaction'),
    (20, 'prepared_transactions',     'obstacles', true, 'prepared transactions, which survive the move'),
    (21, 'maintenance_running',       'obstacles', true, 'no VACUUM, CREATE INDEX, CLUSTER or COPY is running'),
    (23, 'no_base_backup',            'obstacles', true, 'no base backup is running on the source or the target'),
    (24, 'listeners',                 'obstacles', true, 'listening sessions and session locks, which the move ends'),
    (25, 'temporary_tables',          'obstacles', true, 'temporary tables, which the move ends'),
    (27, 'no_unlogged_relations',     'obstacles', true, 'unlogged relations, which a promotion empties'),
    (28, 'subscriptions',             'obstacles', true, 'subscriptions of this cluster'),
    (31, 'checkpoint_cost',           'shutdown',  true, 'how much the next checkpoint has to write'),
    (32, 'archiver',                  'shutdown',  true, 'WAL archiving works and has no backlog'),
    (34, 'other_walsenders',          'shutdown',  true, 'receivers of WAL that are no node of pg_pingpong'),
    (37, 'hot_standby_settings',      'capacity',  true, 'settings that a standby needs as large as its primary, both ways'),
    (38, 'setting_drift',             'capacity',  true, 'settings that differ between source and target'),
    (38, 'pending_restart',           'capacity',  true, 'settings that wait for a restart'),
    (38, 'configuration_files',       'capacity',  true, 'configuration files and pg_hba.conf have no errors'),
    (39, 'preload_libraries',         'capacity',  true, 'shared_preload_libraries agree and the files are there'),
    (40, 'replication_login',         'capacity',  true, 'the future standbys can log in to the target (tried for real)'),
    (40, 'same_hba_rules',            'capacity',  true, 'clients that may connect here may connect to the target'),
    (41, 'target_reachable',          'capacity',  true, 'the routers reach the target (tried for real)'),
    (43, 'replication_role',          'capacity',  true, 'connection limit and expiry of the replication role'),
    (44, 'senders_and_slots',         'capacity',  true, 'free walsenders and replication slots on the target'),
    (45, 'disk_space',                'capacity',  true, 'room on the disks of target and source'),
    (51, 'rewind_possible',           'capacity',  true, 'pg_rewind could bring a node back'),
    (54, 'slots_healthy',             'slots',     true, 'no replication slot has lost its WAL'),
    (55, 'inactive_slots',            'slots',     true, 'slots that nobody uses and that keep WAL'),
    (56, 'logical_slots',             'slots',     true, 'logical slots exist on the target too'),
    (59, 'routes_observed',           'routes',    true, 'each router answers, points where the table says, and can be edited'),
    (60, 'pooler_settings',           'routes',    true, 'timeouts, pooling mode and state of each pooler suit the move'),
    (71, 'no_other_run',              'safety',    true, 'no other run, and no agent has seen a newer epoch');

-- One finding of a check. preflight_checks() adds number and name.
CREATE TYPE pingpong.finding AS (node text, status text, detail text, hint text);

-- Nodes with their facts; facts and pg are null where there are none.
CREATE VIEW pingpong.preflight_node AS
SELECT n.name, n.kind, n.host, n.port, n.slot, n.upstream, n.name = pingpong.node_name() AS is_source,
       f.at, coalesce(f.ok, false) AS ok, f.error,
       CASE WHEN f.ok THEN f.facts END AS facts,
       CASE WHEN f.ok AND jsonb_typeof(f.facts -> 'postgres') = 'object' THEN f.facts -> 'postgres' END AS pg
FROM pingpong.node n LEFT JOIN pingpong.node_fact f ON f.node = n.name;
COMMENT ON VIEW pingpong.preflight_node IS 'nodes with what their agents last told';

-- Receivers of WAL, with the node each belongs to: by application_name or by the slot that it holds.
CREATE VIEW pingpong.preflight_sender AS
SELECT r.pid, r.usename, r.application_name, r.client_addr, r.state, r.replay_lsn, r.replay_lag, r.sync_state,
       s.slot_name, s.slot_type, n.name AS node
FROM pg_catalog.pg_stat_replication r
     LEFT JOIN pg_catalog.pg_replication_slots s ON s.active_pid = r.pid
     LEFT JOIN pingpong.node n ON n.kind = 'postgres'
          AND CASE WHEN s.slot_name = n.slot THEN true
                   ELSE lower(r.application_name) = n.name END;
COMMENT ON VIEW pingpong.preflight_sender IS 'receivers of WAL with the node each belongs to';

-- Why something of a node is not known; the part is a path in its facts.
CREATE FUNCTION pingpong.why_unknown(node text, VARIADIC part text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT 'not checked: ' || coalesce(
        (SELECT CASE WHEN f.at IS NULL THEN format('the agent of node "%s" was never asked', $1)
                     WHEN NOT f.ok THEN format('the agent of node "%s" did not answer (%s)', $1, coalesce(f.error, 'no reason given'))
                     WHEN f.facts #>> (part || '{error}') IS NOT NULL
                     THEN format('the agent of node "%s" reports for %s: %s', $1, array_to_string(part, '.'), f.facts #>> (part || '{error}'))
                     WHEN f.facts #>> '{postgres,error}' IS NOT NULL AND part[1] = 'postgres'
                     THEN format('the agent of node "%s" cannot ask its PostgreSQL: %s', $1, f.facts #>> '{postgres,error}')
                     ELSE format('the agent of node "%s" does not report %s', $1, array_to_string(part, '.')) END
         FROM preflight_node f WHERE f.name = $1),
        format('there is no node "%s"', $1))
$$;

-- The verdict of a check: fine, not fine (`bad` tells how bad), or, where the question has no answer, a warning.
CREATE FUNCTION pingpong.finding(node text, fine boolean, bad text, detail text, hint text, VARIADIC part text[])
RETURNS pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT CASE
        WHEN fine THEN ROW(node, 'ok', detail, NULL)::finding
        WHEN NOT fine THEN ROW(node, bad, detail, hint)::finding
        ELSE ROW(node, 'warn', why_unknown(node, VARIADIC part),
                 'Make its agent answer, then repeat preflight; or make sure by hand.')::finding END
$$;

-- A number of milliseconds among the options.
CREATE FUNCTION pingpong.preflight_ms(options jsonb, name text, otherwise double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((options ->> name)::double precision, otherwise)
$$;

-- The timeline that this primary writes (pg_control_checkpoint() shows it only after the next checkpoint).
CREATE FUNCTION pingpong.written_timeline() RETURNS integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
$$;

--
-- Identity and topology
--

CREATE FUNCTION pingpong.check_roles(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(coalesce(node_name(), '(here)'), NOT pg_is_in_recovery(), 'fail',
                   CASE WHEN pg_is_in_recovery() THEN 'this server is a standby' ELSE 'this server is the primary' END,
                   'Run preflight on the primary.', 'postgres')
    UNION ALL
    SELECT finding(coalesce(node_name(), '(here)'), false, 'fail', 'this server is not in pingpong.node',
                   'Set pingpong.node_name to the name it was registered with, or register it with pingpong.add_node().', 'postgres')
    WHERE NOT EXISTS (SELECT FROM node n WHERE n.name = node_name() AND n.kind = 'postgres')
    UNION ALL
    SELECT finding($1, false, 'fail', coalesce('there is no node ' || quote_ident($1), 'no target was named'),
                   'SELECT * FROM pingpong.node shows the nodes.', 'postgres')
    WHERE NOT EXISTS (SELECT FROM node n WHERE n.name = $1)
    UNION ALL
    SELECT finding($1, false, 'fail', 'the target is a router', 'Name a PostgreSQL node.', 'postgres')
    FROM node n WHERE n.name = $1 AND n.kind = 'router'
    UNION ALL
    SELECT finding($1, false, 'fail', 'the target is the primary already', 'Name a standby.', 'postgres')
    WHERE $1 = node_name()
    UNION ALL
    SELECT finding(n.name, (n.pg ->> 'in_recovery')::boolean, 'fail',
                   CASE WHEN (n.pg ->> 'in_recovery')::boolean THEN 'in recovery' ELSE 'not in recovery: a second primary' END,
                   'Stop that server, then pingpong.rebuild() makes it a standby again.', 'postgres')
    FROM preflight_node n WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong.check_same_system_identifier(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(n.name, n.pg ->> 'system_identifier' = c.system_identifier::text, 'fail',
                   format('%s there, %s here', n.pg ->> 'system_identifier', c.system_identifier),
                   'This node belongs to another cluster. Correct its registration, or pingpong.rebuild() it.', 'postgres')
    FROM preflight_node n, pg_control_system() c
    WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong.check_same_timeline(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(n.name, CASE WHEN n.pg #>> '{wal_receiver,status}' = 'none' THEN false
                                ELSE (n.pg #>> '{wal_receiver,received_tli}')::integer = written_timeline() END,
                   CASE WHEN n.name = $1 THEN 'fail' ELSE 'warn' END,
                   CASE WHEN n.pg #>> '{wal_receiver,status}' = 'none' THEN 'it receives nothing' ELSE format('receives timeline %s, this primary writes timeline %s',
                          n.pg #>> '{wal_receiver,received_tli}', written_timeline()) END,
                   'Wait until it follows the newest timeline (recovery_target_timeline = latest), or pingpong.rebuild() it.',
                   'postgres', 'wal_receiver')
    FROM preflight_node n WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong.check_target_streaming(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- as this primary sees it
    SELECT finding($1, coalesce(s.state = 'streaming', false), 'fail',
                   CASE WHEN n.name IS NULL THEN format('there is no PostgreSQL node "%s"', $1)
                        WHEN n.is_source THEN 'the target is this primary'
                        WHEN s.pid IS NULL THEN format('no walsender serves it (looked for application_name "%s" or slot "%s")', $1, n.slot)
                        ELSE format('state %s, slot %s', s.state, coalesce(s.slot_name, 'none')) END,
                   CASE WHEN n.name IS NULL THEN 'SELECT * FROM pingpong.node shows the nodes.'
                        WHEN n.is_source THEN 'Name a standby.'
                        WHEN s.pid IS NULL AND n.pg #>> '{wal_receiver,sender_port}' IS NOT NULL
                        THEN format('It receives from %s:%s; let it stream from this primary (primary_conninfo), or move to that node first.',
                                    n.pg #>> '{wal_receiver,sender_host}', n.pg #>> '{wal_receiver,sender_port}')
                        WHEN s.pid IS NULL THEN 'Look into its log why it does not stream; its primary_conninfo needs application_name = its node name, or pingpong.rebuild() it.'
                        ELSE 'Wait until it has caught up.' END, 'postgres')
    FROM (SELECT) one
         LEFT JOIN preflight_node n ON n.name = $1 AND n.kind = 'postgres'
         LEFT JOIN LATERAL (SELECT * FROM preflight_sender s WHERE s.node = n.name ORDER BY s.state = 'streaming' LIMIT 1) s ON true
    UNION ALL
    -- as it sees itself
    SELECT finding($1, w ->> 'status' = 'streaming', 'fail',
                   format('its WAL receiver: %s from %s:%s', w ->> 'status', w ->> 'sender_host', w ->> 'sender_port'),
                   'Look into its log why it does not stream.', 'postgres', 'wal_receiver')
    FROM preflight_node n, LATERAL (SELECT n.pg -> 'wal_receiver') w (w)
    WHERE n.name = $1 AND n.kind = 'postgres' AND NOT n.is_source
    UNION ALL
    SELECT finding($1, false, 'warn', format('it receives from port %s, this primary listens on port %s',
                   n.pg #>> '{wal_receiver,sender_port}', current_setting('port')),
                   'Make sure that it is not behind a forwarder that will go on to point here.', 'postgres')
    FROM preflight_node n
    WHERE n.name = $1 AND NOT n.is_source AND n.pg #>> '{wal_receiver,sender_port}' <> current_setting('port')
$$;

CREATE FUNCTION pingpong.check_same_major_version(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(n.name, theirs / 10000 = ours / 10000 AND (n.name <> $1 OR theirs >= ours),
                   CASE WHEN theirs / 10000 = ours / 10000 THEN 'warn' ELSE 'fail' END,
                   format('%s.%s there, %s.%s here', theirs / 10000, theirs % 10000, ours / 10000, ours % 10000),
                   CASE WHEN theirs / 10000 = ours / 10000 THEN 'Install the minor release on the standby first.'
                        ELSE 'A standby runs the major version of its primary.' END, 'postgres')
    FROM preflight_node n,
         LATERAL (SELECT (n.pg ->> 'server_version_num')::integer, current_setting('server_version_num')::integer) v (theirs, ours)
    WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong.check_same_build(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    WITH ours AS (SELECT to_jsonb(i) - 'data_page_checksum_version' AS init FROM pg_control_init() i)
    SELECT finding(n.name, theirs = init, 'fail',
                   CASE WHEN theirs = init THEN format('blocks of %s, WAL segments of %s bytes', init ->> 'database_block_size', init ->> 'bytes_per_wal_segment')
                        ELSE (SELECT string_agg(format('%s: %s there, %s here', k, theirs ->> k, init ->> k), '; ' ORDER BY k)
                              FROM jsonb_object_keys(init) k WHERE theirs ->> k IS DISTINCT FROM init ->> k) END,
                   'Both need the same build of PostgreSQL.', 'postgres', 'control')
    FROM preflight_node n, ours, LATERAL (SELECT (n.pg -> 'control') - 'data_page_checksum_version') t (theirs)
    WHERE n.kind = 'postgres' AND NOT n.is_source
    UNION ALL
    SELECT finding(CASE WHEN s.facts #>> '{host,machine}' IS NULL THEN s.name ELSE n.name END,
                   n.facts #>> '{host,machine}' = s.facts #>> '{host,machine}', 'fail',
                   format('%s there, %s here', n.facts #>> '{host,machine}', s.facts #>> '{host,machine}'),
                   'Both need the same processor architecture.', 'host', 'machine')
    FROM preflight_node n LEFT JOIN preflight_node s ON s.is_source
    WHERE n.kind = 'postgres' AND NOT n.is_source
    UNION ALL
    SELECT finding(CASE WHEN s.facts #>> '{host,libc}' IS NULL THEN s.name ELSE n.name END,
                   n.facts #>> '{host,libc}' = s.facts #>> '{host,libc}', 'warn',
                   format('C library %s there, %s here', n.facts #>> '{host,libc}', s.facts #>> '{host,libc}'),
                   'Another C library may sort text differently, which makes indexes wrong; compare collation versions before the move.', 'host', 'libc')
    FROM preflight_node n LEFT JOIN preflight_node s ON s.is_source
    WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong.check_unique_names(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    WITH senders AS (
        SELECT lower(application_name) AS name, count(*) AS times FROM pg_stat_replication
        WHERE state IN ('streaming', 'catchup', 'startup') GROUP BY 1 HAVING count(*) > 1
    ), misnamed AS (
        -- after the move the new primary's worker looks for a run in which it has a part, by its own name
        SELECT n.name, coalesce(nullif(n.pg #>> '{settings,pingpong.node_name}', ''), n.pg #>> '{settings,cluster_name}', '') AS own_name
        FROM preflight_node n
        WHERE n.kind = 'postgres' AND NOT n.is_source AND n.pg #> '{settings,pingpong.node_name}' IS NOT NULL
    ), clusters AS (
        SELECT name, count(*) AS times
        FROM (SELECT n.pg #>> '{settings,cluster_name}' FROM preflight_node n WHERE n.kind = 'postgres' AND NOT n.is_source
              UNION ALL SELECT current_setting('cluster_name')) c (name)
        WHERE name <> '' GROUP BY 1 HAVING count(*) > 1
    )
    SELECT finding(node_name(), false,
                   CASE WHEN lower(current_setting('synchronous_standby_names')) ~ ('(^|\W)' || regexp_replace(name, '\W', '\\\&', 'g') || '(\W|$)')
                        THEN 'fail' ELSE 'warn' END,
                   format('%s standbys call themselves "%s"', times, name),
                   'Give each its own application_name in primary_conninfo (or cluster_name).', 'postgres')
    FROM senders
    UNION ALL
    SELECT finding(node_name(), false, 'warn', format('%s servers have cluster_name "%s"', times, name),
                   'Give each its own cluster_name; it is what a standby calls itself.', 'postgres')
    FROM clusters
    UNION ALL
    SELECT finding(name, false, 'fail', format('registered as "%s", calls itself "%s"', name, own_name),
                   'Set pingpong.node_name there to the registered name.', 'postgres')
    FROM misnamed WHERE name <> own_name
    UNION ALL
    SELECT finding(node_name(), true, 'warn', 'names of standbys and clusters are unique', NULL, 'postgres')
    WHERE NOT EXISTS (SELECT FROM senders) AND NOT EXISTS (SELECT FROM clusters)
$$;

CREATE FUNCTION pingpong.check_standbys_can_follow(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- recovery_target_timeline counts on the source too: it will be a standby
    SELECT finding(n.name, latest = 'latest', CASE WHEN n.is_source THEN 'fail' ELSE 'warn' END,
                   format('recovery_target_timeline is "%s"%s', latest,
                          CASE WHEN n.is_source THEN ''
                               WHEN n.upstream = $1 THEN ', stays with the target'
                               WHEN n.upstream IS NOT NULL THEN format(', stays with "%s"', n.upstream)
                               ELSE ', will follow by reload' END),
                   'Set recovery_target_timeline = latest, or it stays on the old timeline.', 'postgres', 'settings')
    FROM preflight_node n,
         LATERAL (SELECT CASE WHEN n.is_source THEN current_setting('recovery_target_timeline')
                              ELSE n.pg #>> '{settings,recovery_target_timeline}' END) t (latest)
    WHERE n.kind = 'postgres' AND n.name <> $1
    UNION ALL
    -- who streams from the target already
    SELECT finding($1, false, 'warn', format('"%s" streams from the target and is no node of pg_pingpong', r ->> 'application_name'),
                   'It goes on to stream from the target; register it, or make sure that this is meant.', 'postgres')
    FROM preflight_node n, jsonb_array_elements(n.pg #> '{replication,rows}') r
    WHERE n.name = $1
      AND NOT EXISTS (SELECT FROM node m WHERE m.name = lower(r ->> 'application_name') OR m.slot = r ->> 'slot_name')
$$;

--
-- Hosts and agents
--

CREATE FUNCTION pingpong.check_clock_skew(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(n.name, abs(skew) <= 500, 'warn',
                   format('its clock is %s ms %s (travelling time included)', round(abs(skew)), CASE WHEN skew > 0 THEN 'ahead' ELSE 'behind' END),
                   'Let NTP set the clocks of all hosts; deadlines of tokens and journal times depend on them.', 'host', 'clock_ms')
    FROM preflight_node n,
         LATERAL (SELECT (n.facts #>> '{host,clock_ms}')::numeric - extract(epoch FROM n.at) * 1000) s (skew)
$$;

CREATE FUNCTION pingpong.check_agent_reachable(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- nodes that the run needs: source, target, routers; another standby is only left behind
    WITH asked AS (
        SELECT n.*, CASE WHEN n.is_source OR n.name = $1 OR EXISTS (SELECT FROM route r WHERE r.router = n.name)
                         THEN 'fail' ELSE 'warn' END AS bad
        FROM preflight_node n
    )
    SELECT finding(name, ok AND at > clock_timestamp() - interval '1 minute', bad,
                   CASE WHEN at IS NULL THEN 'was never asked'
                        WHEN NOT ok THEN format('did not answer: %s', coalesce(error, 'no reason given'))
                        ELSE format('answered %s s ago', round(extract(epoch FROM clock_timestamp() - at)::numeric, 1)) END,
                   'Start pingpong-agent there; pingpong-agent --check shows what is wrong with its configuration.', 'host')
    FROM asked
    UNION ALL
    SELECT finding(name, false, bad, format('the agent at this node''s agent_url calls itself "%s"', facts ->> 'node'),
                   'Correct agent_url of the node, or the name in the agent''s configuration.', 'host')
    FROM asked WHERE facts ->> 'node' <> name
    UNION ALL
    SELECT finding(name, false, bad, format('the agent controls a server on port %s, the node is registered with port %s', pg #>> '{settings,port}', port),
                   'Correct the port of the node, or the server in the agent''s configuration.', 'postgres')
    FROM asked WHERE kind = 'postgres' AND pg #>> '{settings,port}' <> port::text
    UNION ALL
    SELECT finding(name, (facts #>> '{service,ok}')::boolean, bad,
                   format('controls its PostgreSQL with %s as "%s"%s', facts #>> '{service,method}', facts #>> '{host,os_user}',
                          coalesce(': ' || (facts #>> '{service,detail}'), '')),
                   'The agent must be able to start and stop its server: see "control" in its configuration.', 'service')
    FROM asked WHERE kind = 'postgres' AND ok
    UNION ALL
    SELECT finding(name, NOT (a.facts ->> 'version' <> s.version), bad,
                   format('version %s%s', a.facts ->> 'version', CASE WHEN a.facts ->> 'version' <> s.version THEN format(', %s at this node', s.version) END),
                   'Install the same release of pingpong-agent on all hosts.', 'version')
    FROM asked a, (SELECT (SELECT facts ->> 'version' FROM asked WHERE is_source)) s (version)
    WHERE a.ok
$$;

CREATE FUNCTION pingpong.check_no_other_ha_manager(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    WITH found AS (
        SELECT n.name, m ->> 'name' AS manager, format('%s runs there (pid %s)', m ->> 'name', m ->> 'pid') AS detail
        FROM preflight_node n, jsonb_array_elements(n.facts #> '{ha_managers,rows}') m
        WHERE n.kind = 'postgres'
        UNION ALL
        SELECT node_name(), l, format('shared_preload_libraries has %s', l)
        FROM unnest(ARRAY['repmgr', 'pgautofailover']) l
        WHERE current_setting('shared_preload_libraries') ~ ('\m' || l || '\M')
    ), counted AS (
        SELECT * FROM found
        WHERE NOT coalesce($2 -> 'ha_managers', '[]') @> to_jsonb(manager)
    )
    SELECT finding(name, false, 'fail', string_agg(detail, '; '),
                   'It would promote or restart servers during the move: pause it, then name it in the option "ha_managers" (a list) if it stays.', 'ha_managers')
    FROM counted GROUP BY name
    UNION ALL
    SELECT finding(n.name, CASE WHEN n.facts #> '{ha_managers,rows}' IS NOT NULL THEN true END, 'fail', 'none seen', NULL, 'ha_managers')
    FROM preflight_node n
    WHERE n.kind = 'postgres' AND NOT EXISTS (SELECT FROM counted c WHERE c.name = n.name)
$$;

--
-- Lag, replay, apply
--

CREATE FUNCTION pingpong.check_replay_lag(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- 20 MB/s is what replay on one core of a modest machine does; the option replay_mb_per_s says better
    SELECT CASE WHEN bytes IS NULL THEN ROW($1, 'warn', 'not checked: the target does not stream from here', 'See target_streaming.')::finding ELSE
           finding($1, ms <= 1000 AND waits <= 1000,
                   CASE WHEN greatest(ms, waits) > budget THEN 'fail' ELSE 'warn' END,
                   format('%s behind, about %s ms to drain; last seen %s ms behind; the budget is %s ms',
                          pg_size_pretty(bytes), round(ms), round(waits), budget),
                   'Wait until it has caught up, or move at a quieter time.', 'postgres') END
    FROM (SELECT) one
         LEFT JOIN LATERAL (SELECT greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), s.replay_lsn), 0),
                                   coalesce(extract(epoch FROM s.replay_lag) * 1000, 0)
                            FROM preflight_sender s WHERE s.node = $1 ORDER BY s.replay_lsn LIMIT 1) l (bytes, waits) ON true,
         LATERAL (SELECT bytes / (coalesce(($2 ->> 'replay_mb_per_s')::numeric, 20) * 1048.576), preflight_ms($2, 'max_blackout_ms', 10000)::numeric) e (ms, budget)
$$;

CREATE FUNCTION pingpong.check_replay_not_paused(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(n.name, n.pg ->> 'replay_pause_state' = 'not paused', CASE WHEN n.name = $1 THEN 'fail' ELSE 'warn' END,
                   format('replay: %s', n.pg ->> 'replay_pause_state'),
                   'Run pg_wal_replay_resume() there; if a setting was lowered below the primary''s, raise it and restart that server.', 'postgres')
    FROM preflight_node n WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong.check_no_apply_delay(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding($1, delay = '0', 'fail', format('recovery_min_apply_delay is %s', delay),
                   'Set recovery_min_apply_delay = 0 there and reload, then wait until it has caught up.', 'postgres', 'settings')
    FROM preflight_node n, LATERAL (SELECT n.pg #>> '{settings,recovery_min_apply_delay}') d (delay)
    WHERE n.name = $1
$$;

CREATE FUNCTION pingpong.check_standby_queries(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding($1, CASE WHEN q IS NOT NULL THEN n_long = 0 END, 'warn',
                   CASE WHEN n_long = 0 THEN 'no query on the target runs for more than 5 s'
                        ELSE format('%s quer%s on the target for up to %s s (pids %s); max_standby_streaming_delay is %s, conflicts so far %s', n_long,
                                    CASE n_long WHEN 1 THEN 'y' ELSE 'ies' END, round(oldest), pids,
                                    n.pg #>> '{settings,max_standby_streaming_delay}', n.pg #>> '{conflicts,count}') END,
                   'Replay may have to wait for them. End them there with pg_terminate_backend().', 'postgres', 'readers')
    FROM preflight_node n, LATERAL (SELECT n.pg #> '{readers,rows}') r (q),
         LATERAL (SELECT count(*), max((e ->> 'age_s')::numeric), string_agg(e ->> 'pid', ', ')
                  FROM jsonb_array_elements(q) e WHERE (e ->> 'age_s')::numeric > 5) l (n_long, oldest, pids)
    WHERE n.name = $1
$$;

-- Two looks, a tenth of a second apart.
CREATE FUNCTION pingpong.check_replay_keeps_up(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
DECLARE
    before_at  timestamptz := clock_timestamp();
    before_lsn pg_lsn := pg_current_wal_lsn();
    before_rep pg_lsn := min(s.replay_lsn) FROM preflight_sender s WHERE s.node = $1;
    seconds    numeric;
    written    numeric;
    replayed   numeric;
    behind     numeric;
BEGIN
    PERFORM pg_sleep(0.1);
    written := pg_wal_lsn_diff(pg_current_wal_lsn(), before_lsn);
    SELECT pg_wal_lsn_diff(min(s.replay_lsn), before_rep), pg_wal_lsn_diff(pg_current_wal_lsn(), min(s.replay_lsn))
    INTO replayed, behind FROM preflight_sender s WHERE s.node = $1;
    seconds := extract(epoch FROM clock_timestamp() - before_at);
    IF replayed IS NULL THEN
        RETURN NEXT ROW($1, 'warn', 'not checked: the target does not stream from here', 'See target_streaming.')::finding;
        RETURN;
    END IF;
    -- 1 MB behind is a few milliseconds; that much may come and go with each flush
    RETURN NEXT finding($1, replayed >= written OR behind < 1048576, 'fail',
                        format('written %s/s, replayed %s/s, behind %s', pg_size_pretty(round(written / seconds)),
                               pg_size_pretty(round(replayed / seconds)), pg_size_pretty(greatest(behind, 0))),
                        'The target falls behind; move at a quieter time, or find out what slows its replay.', 'postgres');
END
$$;

CREATE FUNCTION pingpong.check_recovery_settings(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    WITH names (name) AS (VALUES ('recovery_target'), ('recovery_target_lsn'), ('recovery_target_name'), ('recovery_target_time'), ('recovery_target_xid'))
    SELECT finding(n.name, bool_and(value = ''), 'warn',
                   coalesce(string_agg(format('%s = %s', name_, value), ', ') FILTER (WHERE value <> ''), 'no recovery target is set'),
                   'Reset it: recovery would end or pause there.', 'postgres', 'settings')
    FROM preflight_node n, LATERAL (SELECT names.name, CASE WHEN n.is_source THEN current_setting(names.name)
                                                            ELSE n.pg -> 'settings' ->> names.name END FROM names) v (name_, value)
    WHERE n.name = $1 OR n.is_source
    GROUP BY n.name
    UNION ALL
    SELECT finding($1, c IS NOT NULL, 'warn', CASE c WHEN 'true' THEN 'restore_command is set' ELSE 'restore_command is not set' END, NULL, 'postgres', 'settings')
    FROM preflight_node n, LATERAL (SELECT n.pg ->> 'restore_command_set') r (c) WHERE n.name = $1 AND c = 'true'
$$;

-- What synchronous_standby_names asks for: how many, of which names ('*' stands for any).
CREATE FUNCTION pingpong.sync_standbys(setting text, OUT needed integer, OUT names text[])
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN btrim(setting) = '' THEN 0 ELSE coalesce(m[1]::integer, 1) END,
           ARRAY(SELECT lower(btrim(x, E' \t"')) FROM regexp_split_to_table(CASE WHEN m IS NULL THEN setting ELSE m[2] END, ',') x
                 WHERE btrim(x) <> '')
    FROM (SELECT regexp_match(setting, '^\s*(?:(?:first|any)\s+)?(\d+)\s*\((.*)\)\s*$', 'i')) r (m)
$$;

CREATE FUNCTION pingpong.check_sync_satisfiable(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- After the move the standbys are all nodes but the target; the source counts, as it comes back.
    SELECT finding($1, CASE WHEN theirs IS NOT NULL THEN have >= needed AND (theirs <> '' OR ours = '') END,
                   CASE WHEN have < needed THEN 'fail' ELSE 'warn' END,
                   CASE WHEN theirs = '' AND ours = '' THEN 'replication is asynchronous'
                        WHEN theirs = '' THEN format('synchronous_standby_names is "%s" here and empty on the target: commits will not be synchronous', ours)
                        ELSE format('the target''s synchronous_standby_names "%s" needs %s; %s of the remaining nodes match', theirs, needed, have) END,
                   'Set synchronous_standby_names on the target so that it names the nodes that will be its standbys.', 'postgres', 'settings')
    FROM preflight_node n,
         LATERAL (SELECT n.pg #>> '{settings,synchronous_standby_names}', current_setting('synchronous_standby_names')) s (theirs, ours),
         LATERAL sync_standbys(theirs) w,
         LATERAL (SELECT count(*) FROM node m WHERE m.kind = 'postgres' AND m.name <> $1 AND (m.name = ANY (w.names) OR '*' = ANY (w.names))) h (have)
    WHERE n.name = $1
    UNION ALL
    -- and now: too few means that commits hang, and a hanging commit is not drained
    SELECT finding(node_name(), have >= needed, 'fail',
                   CASE needed WHEN 0 THEN 'no synchronous standby is asked for here' ELSE format('%s synchronous standbys asked for here, %s there', needed, have) END,
                   'Bring the synchronous standbys back or relax synchronous_standby_names first.', 'postgres')
    FROM sync_standbys(current_setting('synchronous_standby_names')) w,
         LATERAL (SELECT count(*) FROM pg_stat_replication r WHERE r.sync_state IN ('sync', 'quorum') AND r.state = 'streaming') h (have)
$$;

CREATE FUNCTION pingpong.check_no_commit_waits(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- under load some backend always waits for a moment; one that waits for seconds hangs
    SELECT finding(node_name(), count(*) = 0, 'fail',
                   CASE count(*) WHEN 0 THEN 'none' ELSE format('%s backends have waited for a synchronous standby for up to %s s (pids %s)', count(*),
                                 round(max(extract(epoch FROM clock_timestamp() - coalesce(query_start, state_change)))), string_agg(pid::text, ', ')) END,
                   'Bring the synchronous standby back: commits that wait cannot be sealed.', 'postgres')
    FROM pg_stat_activity
    WHERE wait_event = 'SyncRep' AND coalesce(query_start, state_change) < clock_timestamp() - interval '3 s'
$$;

--
-- What stands in the way of the gate, and what the move ends
--

CREATE FUNCTION pingpong.check_long_transactions(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, coalesce($2 ->> 'on_long_transactions', 'warn'),
                   CASE count(*) WHEN 0 THEN format('no transaction is older than the grace of %s ms', preflight_ms($2, 'grace_ms', 5000))
                        ELSE format('%s older than the grace of %s ms, %s of them have written (oldest %s s; pids %s)', count(*), preflight_ms($2, 'grace_ms', 5000),
                                    count(a.backend_xid), round(max(extract(epoch FROM clock_timestamp() - a.xact_start))),
                                    string_agg(a.pid::text || CASE WHEN a.backend_xid IS NULL THEN '' ELSE ' (writes)' END, ', ')) END,
                   'A transaction that has written is cancelled at the end of the grace; one that has not waits or is ended. Let them end, or give more grace.', 'postgres')
    FROM pg_stat_activity a
    WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
      AND a.xact_start < clock_timestamp() - preflight_ms($2, 'grace_ms', 5000) * interval '1 ms'
$$;

CREATE FUNCTION pingpong.check_idle_in_transaction(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, coalesce($2 ->> 'on_idle_in_transaction', 'warn'),
                   CASE count(*) WHEN 0 THEN 'none for more than a second'
                        ELSE format('%s sessions for up to %s s, %s of them have written (pids %s)', count(*),
                                    round(max(extract(epoch FROM clock_timestamp() - a.state_change))), count(a.backend_xid), string_agg(a.pid::text, ', ')) END,
                   'Those that have written are ended at the end of the grace. Set idle_in_transaction_session_timeout.', 'postgres')
    FROM pg_stat_activity a
    WHERE a.state LIKE 'idle in transaction%' AND a.pid <> pg_backend_pid() AND a.state_change < clock_timestamp() - interval '1 s'
$$;

CREATE FUNCTION pingpong.check_prepared_transactions(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'warn',
                   CASE count(*) WHEN 0 THEN 'none' ELSE format('%s, the oldest since %s s: %s', count(*),
                        round(max(extract(epoch FROM clock_timestamp() - prepared))), string_agg(quote_literal(gid), ', ')) END,
                   'They survive the move and keep their locks; their coordinator must end them on the new primary.', 'postgres')
    FROM pg_prepared_xacts
$$;

CREATE FUNCTION pingpong.check_maintenance_running(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'warn',
                   coalesce(string_agg(format('%s (pid %s)', what, p.pid), ', '), 'none'),
                   'It is cancelled at the end of the grace; let it end first.', 'postgres')
    FROM (SELECT 'VACUUM', pid FROM pg_stat_progress_vacuum
          UNION ALL SELECT 'CREATE INDEX', pid FROM pg_stat_progress_create_index
          UNION ALL SELECT 'CLUSTER or VACUUM FULL', pid FROM pg_stat_progress_cluster
          UNION ALL SELECT 'ANALYZE', pid FROM pg_stat_progress_analyze
          UNION ALL SELECT 'COPY', pid FROM pg_stat_progress_copy) p (what, pid)
         JOIN pg_stat_activity a ON a.pid = p.pid AND a.backend_type = 'client backend'
$$;

CREATE FUNCTION pingpong.check_no_base_backup(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'fail',
                   CASE count(*) WHEN 0 THEN 'none here' ELSE format('%s running here (%s)', count(*), string_agg(phase, ', ')) END,
                   'Wait for it, or end it: the move would spoil it.', 'postgres')
    FROM pg_stat_progress_basebackup
    UNION ALL
    SELECT finding($1, n = 0, 'fail', CASE n WHEN 0 THEN 'none on the target' ELSE format('%s running on the target', n) END,
                   'Wait for it, or end it: a backup taken from a standby breaks off when that is promoted.', 'postgres', 'base_backups')
    FROM preflight_node p, LATERAL (SELECT (p.pg #>> '{base_backups,count}')::integer) b (n) WHERE p.name = $1
$$;

CREATE FUNCTION pingpong.check_listeners(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), listeners + locks = 0, 'info',
                   CASE WHEN listeners + locks = 0 THEN 'none' ELSE format('%s sessions whose last statement was LISTEN, %s advisory locks', listeners, locks) END,
                   'They end with their sessions; clients must listen and lock anew after they reconnect.', 'postgres')
    FROM (SELECT (SELECT count(*) FROM pg_stat_activity WHERE query ~* '^\s*listen\M' AND pid <> pg_backend_pid()),
                 (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid())) c (listeners, locks)
$$;

CREATE FUNCTION pingpong.check_temporary_tables(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'info',
                   CASE count(*) WHEN 0 THEN 'none in this database' ELSE format('%s in this database', count(*)) END,
                   'They end with their sessions.', 'postgres')
    FROM pg_class WHERE relpersistence = 't' AND relkind IN ('r', 'p')
$$;

-- Unlogged relations of all databases: each has a file of its own, the init fork.
CREATE FUNCTION pingpong.unlogged_files() RETURNS TABLE (database oid, files bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.oid, count(*)
    FROM pg_database d, LATERAL (
             SELECT 'base/' || d.oid WHERE d.dattablespace <> 1664
             UNION ALL
             SELECT format('pg_tblspc/%s/%s/%s', t.oid, v, d.oid)
             FROM pg_tablespace t, LATERAL pg_ls_dir('pg_tblspc/' || t.oid, true, false) v
             WHERE t.spcname NOT IN ('pg_default', 'pg_global') AND v LIKE 'PG\_' || (current_setting('server_version_num')::integer / 10000) || '\_%'
         ) dirs (dir),
         LATERAL pg_ls_dir(dir, true, false) f
    WHERE f LIKE '%\_init'
    GROUP BY d.oid
$$;

CREATE FUNCTION pingpong.check_no_unlogged_relations(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, CASE WHEN ($2 ->> 'allow_unlogged')::boolean THEN 'warn' ELSE 'fail' END,
                   coalesce(string_agg(format('%s files in database "%s"%s', u.files, d.datname,
                            CASE WHEN d.datname = current_database()
                                 THEN (SELECT format(' (%s)', string_agg(c.oid::regclass::text, ', '))
                                       FROM (SELECT oid FROM pg_class WHERE relpersistence = 'u' AND relkind IN ('r', 'm') ORDER BY relname LIMIT 10) c) END), '; '), 'none'),
                   'A promotion empties them. ALTER TABLE ... SET LOGGED, or accept it with the option "allow_unlogged": true.', 'postgres')
    FROM unlogged_files() u JOIN pg_database d ON d.oid = u.database
$$;

CREATE FUNCTION pingpong.check_subscriptions(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'info',
                   CASE count(*) WHEN 0 THEN 'none' ELSE format('%s: %s', count(*), string_agg(subname, ', ')) END,
                   'They go on from the new primary; make sure that it reaches the publishers.', 'postgres')
    FROM pg_subscription WHERE subenabled
$$;

--
-- What the stop of the old primary and the archive cost
--

CREATE FUNCTION pingpong.check_checkpoint_cost(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), bytes < 1073741824, 'warn',
                   format('%s of WAL since the last checkpoint began, shared_buffers %s', pg_size_pretty(bytes), current_setting('shared_buffers')),
                   'Run CHECKPOINT beforehand; the run does it too, and takes that much longer before it begins.', 'postgres')
    FROM (SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), redo_lsn) FROM pg_control_checkpoint()) c (bytes)
    UNION ALL
    SELECT finding($1, bytes < 1073741824, 'warn', format('%s of WAL since the target''s last restartpoint', pg_size_pretty(bytes)),
                   'Run CHECKPOINT there beforehand; the run does it too, and takes that much longer before it begins.', 'postgres', 'redo_lsn')
    FROM preflight_node n, LATERAL (SELECT pg_wal_lsn_diff((n.pg ->> 'replay_lsn')::pg_lsn, (n.pg ->> 'redo_lsn')::pg_lsn)) c (bytes)
    WHERE n.name = $1
$$;

CREATE FUNCTION pingpong.check_archiver(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
DECLARE
    a       record;
    waiting bigint;
BEGIN
    IF current_setting('archive_mode') = 'off' THEN
        RETURN NEXT ROW(node_name(), 'ok', 'archive_mode is off', NULL)::finding;
        RETURN;
    END IF;
    SELECT * INTO a FROM pg_stat_archiver;
    RETURN NEXT finding(node_name(), a.last_failed_time IS NULL OR coalesce(a.last_archived_time > a.last_failed_time, false), 'fail',
                        format('%s archived, %s failed, last success %s, last failure %s', a.archived_count, a.failed_count,
                               coalesce(to_char(a.last_archived_time, 'YYYY-MM-DD HH24:MI:SS'), 'never'),
                               coalesce(to_char(a.last_failed_time, 'YYYY-MM-DD HH24:MI:SS'), 'never')),
                        'Repair archive_command (see the server''s log) and wait until a segment has been archived.', 'postgres');
    SELECT count(*) INTO waiting FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready';
    RETURN NEXT finding(node_name(), waiting <= 5, 'warn', format('%s segments wait for the archiver', waiting),
                        'Wait until the backlog is gone: those segments exist only here.', 'postgres');
END
$$;

CREATE FUNCTION pingpong.check_other_walsenders(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'warn',
                   coalesce(string_agg(format('"%s" from %s (%s, %s, pid %s)', s.application_name, coalesce(s.client_addr::text, 'this host'), s.state,
                                              coalesce(s.slot_type, 'no slot'), s.pid), '; '), 'none'),
                   'They are no nodes of pg_pingpong and do not follow the new primary by themselves.', 'postgres')
    FROM preflight_sender s WHERE s.node IS NULL AND s.state <> 'backup'
$$;

--
-- What the new primary must be able to bear
--

CREATE FUNCTION pingpong.check_hot_standby_settings(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- The source becomes a standby of the target, so both must be equal; the other standbys at least as large as either.
    SELECT finding(n.name,
                   bool_and(CASE WHEN n.name = $1 THEN theirs = ours ELSE theirs >= greatest(ours, targets) END),
                   CASE WHEN n.name = $1 THEN 'fail' ELSE 'warn' END,
                   coalesce(string_agg(format('%s: %s there, %s here', g.name, theirs, ours), '; ')
                            FILTER (WHERE CASE WHEN n.name = $1 THEN theirs <> ours ELSE theirs < greatest(ours, targets) END),
                            'as large there as here'),
                   CASE WHEN n.name = $1 THEN 'Set them equal on both (the larger value), and restart the one that was lower.'
                        ELSE 'Raise them there and restart that server, or its replay pauses.' END, 'postgres', 'settings')
    FROM preflight_node n
         LEFT JOIN preflight_node t ON t.name = $1,
         unnest(ARRAY['max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction']) g (name),
         LATERAL (SELECT (n.pg -> 'settings' ->> g.name)::integer, current_setting(g.name)::integer,
                         coalesce((t.pg -> 'settings' ->> g.name)::integer, 0)) v (theirs, ours, targets)
    WHERE n.kind = 'postgres' AND NOT n.is_source
    GROUP BY n.name
$$;

-- Settings that belong to a node and not to the cluster.
CREATE FUNCTION pingpong.is_node_setting(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT name ~ '^(ssl_.*_(file|dir)|log_.*|logging_collector|syslog_.*|debug_.*|recovery_.*|pingpong\..*|unix_socket_.*|cron\.host)$'
        OR name = ANY ('{port,listen_addresses,cluster_name,data_directory,config_file,hba_file,ident_file,external_pid_file,primary_conninfo,
            primary_slot_name,restore_command,archive_cleanup_command,promote_trigger_file,application_name,client_encoding,bonjour_name,
            event_source,krb_server_keyfile,stats_temp_directory,synchronous_standby_names,hot_standby_feedback,wal_init_zero,
            transaction_read_only,default_transaction_read_only,transaction_isolation,transaction_deferrable,in_hot_standby,
            max_connections,max_worker_processes,max_wal_senders,max_prepared_transactions,max_locks_per_transaction,
            shared_preload_libraries,search_path,statement_timeout}'::text[])    -- the last two the agent sets for itself
$$;

CREATE FUNCTION pingpong.check_setting_drift(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- here: boot values too, so that a setting changed only on the target is compared with what counts here
    SELECT finding($1, CASE WHEN theirs IS NOT NULL THEN count(s.name) FILTER (WHERE differs) = 0 END, 'warn',
                   coalesce(string_agg(format('%s: %s there, %s here', s.name, coalesce(there, 'default'), s.setting), '; ' ORDER BY s.name) FILTER (WHERE differs),
                            'settings agree (those that belong to a node are left out)'),
                   'After the move the values of the target count; make them agree, or make sure that this is meant.', 'postgres', 'nondefault')
    FROM preflight_node n
         CROSS JOIN LATERAL (SELECT n.pg #> '{nondefault,rows}') t (theirs)
         LEFT JOIN pg_settings s ON s.context <> 'internal' AND NOT is_node_setting(s.name)
              AND (theirs ? s.name OR s.source NOT IN ('default', 'override', 'client', 'session', 'user', 'database', 'database user'))
         CROSS JOIN LATERAL (SELECT theirs ->> s.name) v (there)
         CROSS JOIN LATERAL (SELECT there IS DISTINCT FROM '***'
                                    AND coalesce(there, s.boot_val) IS DISTINCT FROM CASE WHEN s.source IN ('client', 'session', 'user', 'database', 'database user') THEN s.reset_val ELSE s.setting END) d (differs)
    WHERE n.name = $1
    GROUP BY theirs
$$;

CREATE FUNCTION pingpong.check_pending_restart(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'warn', coalesce(string_agg(name, ', '), 'none'),
                   'The move restarts the old primary, and they take effect then.', 'postgres')
    FROM pg_settings WHERE pending_restart
    UNION ALL
    SELECT finding($1, p = '[]', 'warn', coalesce((SELECT string_agg(x, ', ') FROM jsonb_array_elements_text(p) x), 'none'),
                   'Restart the target before the move: as a primary it would run with the old values.', 'postgres', 'pending_restart')
    FROM preflight_node n, LATERAL (SELECT n.pg #> '{pending_restart,rows}') r (p) WHERE n.name = $1
$$;

CREATE FUNCTION pingpong.check_configuration_files(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- a setting that waits for a restart has an "error" too, and its own check
    SELECT finding(node_name(), count(*) = 0, 'fail', coalesce(string_agg(e, '; '), 'no errors'),
                   'Correct the file; the old primary would not start with it.', 'postgres')
    FROM (SELECT concat_ws(' ', f.name, f.sourcefile, 'line ' || f.sourceline, f.error) FROM pg_file_settings f
          WHERE error IS NOT NULL AND NOT EXISTS (SELECT FROM pg_settings s WHERE s.name = f.name AND s.pending_restart)
          UNION ALL SELECT format('pg_hba.conf line %s: %s', line_number, error) FROM pg_hba_file_rules WHERE error IS NOT NULL) f (e)
    UNION ALL
    SELECT finding(n.name, p = '[]', CASE WHEN n.name = $1 THEN 'fail' ELSE 'warn' END,
                   coalesce((SELECT string_agg(x, '; ') FROM jsonb_array_elements_text(p) x), 'no errors'),
                   'Correct the file there.', 'postgres', 'file_errors')
    FROM preflight_node n, LATERAL (SELECT n.pg #> '{file_errors,rows}') r (p)
    WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong.check_preload_libraries(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    WITH t AS (
        SELECT n.*, n.pg #>> '{settings,shared_preload_libraries}' AS theirs,
               ARRAY(SELECT btrim(x, E' "') FROM regexp_split_to_table(n.pg #>> '{settings,shared_preload_libraries}', ',') x WHERE btrim(x) <> '') AS there,
               ARRAY(SELECT btrim(x, E' "') FROM regexp_split_to_table(current_setting('shared_preload_libraries'), ',') x WHERE btrim(x) <> '') AS here
        FROM preflight_node n WHERE n.kind = 'postgres' AND NOT n.is_source
    )
    SELECT finding(name, CASE WHEN theirs IS NOT NULL THEN there @> here AND here @> there END,
                   CASE WHEN name = $1 THEN 'fail' ELSE 'warn' END,
                   CASE WHEN there @> here AND here @> there THEN coalesce(nullif(theirs, ''), 'none')
                        ELSE format('missing there: %s; only there: %s',
                                    coalesce((SELECT string_agg(x, ', ') FROM unnest(here) x WHERE x <> ALL (there)), 'none'),
                                    coalesce((SELECT string_agg(x, ', ') FROM unnest(there) x WHERE x <> ALL (here)), 'none')) END,
                   'Make shared_preload_libraries agree and restart that standby.', 'postgres', 'settings')
    FROM t
    UNION ALL
    SELECT finding(name, missing IS NULL, CASE WHEN name = $1 THEN 'fail' ELSE 'warn' END,
                   format('no file for %s in %s', missing, pg #>> '{libraries,directory}'),
                   'Install the package there: the server would not start again.', 'postgres', 'libraries')
    FROM t, LATERAL (SELECT string_agg(l ->> 'name', ', ') FROM jsonb_array_elements(pg #> '{libraries,rows}') l WHERE l ->> 'present' = 'false') m (missing)
    WHERE missing IS NOT NULL
    UNION ALL
    SELECT finding(name, NULL, 'warn', NULL, NULL, 'postgres', 'libraries')
    FROM t WHERE name = $1 AND pg #> '{libraries,rows}' IS NULL
$$;

-- What preflight lets the agent of a node try: the connections that it needs when the target is the primary.
CREATE FUNCTION pingpong.facts_params(node text, target text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT CASE WHEN n.name = t.name THEN '{}'::jsonb
                ELSE jsonb_build_object('connect', jsonb_build_array(jsonb_build_object('host', t.host, 'port', t.port,
                         'kind', CASE n.kind WHEN 'postgres' THEN 'replication' ELSE 'tcp' END))) END
    FROM pingpong.node n, pingpong.node t
    WHERE n.name = $1 AND t.name = $2 AND t.kind = 'postgres'
$$;
COMMENT ON FUNCTION pingpong.facts_params(text, text) IS 'parameters of the action "facts" for a node, when a move to the target is considered';

CREATE FUNCTION pingpong.check_replication_login(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(n.name, (c ->> 'ok')::boolean AND c ->> 'system_identifier' = s.system_identifier::text,
                   CASE WHEN n.is_source THEN 'fail' ELSE 'warn' END,
                   CASE WHEN NOT (c ->> 'ok')::boolean THEN format('its replication login at %s:%s fails: %s', t.host, t.port, btrim(c ->> 'error', E' \n'))
                        WHEN c ->> 'system_identifier' <> s.system_identifier::text THEN format('at %s:%s it meets another cluster (%s)', t.host, t.port, c ->> 'system_identifier')
                        ELSE format('replication login at %s:%s works', t.host, t.port) END,
                   'Let pg_hba.conf of the target admit this host for replication, and look at the password and "replication" in the agent''s configuration.', 'connect')
    FROM node t, pg_control_system() s, preflight_node n
         LEFT JOIN LATERAL (SELECT x FROM jsonb_array_elements(n.facts -> 'connect') x, node t
                            WHERE t.name = $1 AND x ->> 'host' = t.host AND x ->> 'port' = t.port::text AND x ->> 'kind' = 'replication' LIMIT 1) k (c) ON true
    WHERE t.name = $1 AND n.kind = 'postgres' AND n.name <> $1 AND (n.is_source OR n.upstream IS NULL)
$$;

CREATE FUNCTION pingpong.check_same_hba_rules(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- a rule of the target for this host's own replication has the other address, so replication is left to replication_login
    WITH ours AS (
        SELECT jsonb_build_object('type', r.type, 'database', r.database, 'user_name', r.user_name, 'address', r.address,
                                  'netmask', r.netmask, 'auth_method', r.auth_method) AS rule
        FROM pg_hba_file_rules r WHERE r.error IS NULL AND NOT 'replication' = ANY (r.database)
    )
    SELECT finding($1, CASE WHEN theirs IS NOT NULL THEN missing = 0 END, 'warn',
                   CASE missing WHEN 0 THEN 'each rule of this server is on the target too'
                        ELSE format('%s rules of this server are not on the target: %s', missing, rules) END,
                   'Add them to pg_hba.conf of the target, or make sure that nobody needs them.', 'postgres', 'hba')
    FROM preflight_node n, LATERAL (SELECT n.pg #> '{hba,rows}') t (theirs),
         LATERAL (SELECT count(*), string_agg(concat_ws(' ', rule ->> 'type', array_to_string(ARRAY(SELECT jsonb_array_elements_text(rule -> 'database')), ','),
                                  array_to_string(ARRAY(SELECT jsonb_array_elements_text(rule -> 'user_name')), ','), rule ->> 'address', rule ->> 'auth_method'), '; ')
                  FROM ours WHERE NOT theirs @> jsonb_build_array(rule)) m (missing, rules)
    WHERE n.name = $1
$$;

CREATE FUNCTION pingpong.check_target_reachable(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(n.name, (c ->> 'ok')::boolean, 'fail',
                   CASE WHEN (c ->> 'ok')::boolean THEN format('reaches %s:%s', t.host, t.port) ELSE format('does not reach %s:%s: %s', t.host, t.port, c ->> 'error') END,
                   'Look at listen_addresses of the target and the firewalls between.', 'connect')
    FROM node t, preflight_node n
         LEFT JOIN LATERAL (SELECT x FROM jsonb_array_elements(n.facts -> 'connect') x, node t
                            WHERE t.name = $1 AND x ->> 'host' = t.host AND x ->> 'port' = t.port::text AND x ->> 'kind' = 'tcp' LIMIT 1) k (c) ON true
    WHERE t.name = $1 AND n.kind = 'router'
$$;

CREATE FUNCTION pingpong.check_replication_role(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- the roles that standbys use now; a standby needs one connection, a base backup two, a rewind one
    WITH used AS (SELECT DISTINCT s.usename FROM preflight_sender s WHERE s.node IS NOT NULL),
         needed AS (SELECT count(*) - 1 + 3 AS connections FROM node WHERE kind = 'postgres')
    SELECT finding(node_name(), r.rolconnlimit = -1 OR r.rolconnlimit >= connections, 'fail',
                   format('role "%s": connection limit %s, needed %s', r.rolname, CASE r.rolconnlimit WHEN -1 THEN 'none' ELSE r.rolconnlimit::text END, connections),
                   format('ALTER ROLE %I CONNECTION LIMIT %s; a rebuild could not connect beside the standbys.', r.rolname, connections), 'postgres')
    FROM used u JOIN pg_roles r ON r.rolname = u.usename, needed
    UNION ALL
    SELECT finding(node_name(), coalesce(r.rolvaliduntil > clock_timestamp() + interval '7 days', true),
                   CASE WHEN r.rolvaliduntil > clock_timestamp() THEN 'warn' ELSE 'fail' END,
                   format('role "%s": password valid until %s', r.rolname, coalesce(r.rolvaliduntil::timestamptz(0)::text, 'ever')),
                   format('ALTER ROLE %I VALID UNTIL ...', r.rolname), 'postgres')
    FROM used u JOIN pg_roles r ON r.rolname = u.usename
    UNION ALL
    SELECT ROW(node_name(), 'warn', 'not checked: no standby streams from here, so the role is not known', 'See target_streaming.')::finding
    WHERE NOT EXISTS (SELECT FROM used)
$$;

CREATE FUNCTION pingpong.check_senders_and_slots(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    WITH t AS (
        SELECT (n.pg #>> '{settings,max_wal_senders}')::integer AS senders, (n.pg #>> '{settings,max_replication_slots}')::integer AS slots,
               jsonb_array_length(n.pg #> '{replication,rows}') AS busy, jsonb_array_length(n.pg #> '{slots,rows}') AS taken,
               -- those that will come, and those of them whose slot is there already
               (SELECT count(*) FROM node m WHERE m.kind = 'postgres' AND m.name <> $1 AND (m.upstream IS NULL OR m.name = node_name())) AS coming,
               (SELECT count(*) FROM node m, jsonb_array_elements(n.pg #> '{slots,rows}') s
                WHERE m.kind = 'postgres' AND m.name <> $1 AND (m.upstream IS NULL OR m.name = node_name()) AND s ->> 'slot_name' = m.slot) AS present
        FROM preflight_node n WHERE n.name = $1
    )
    -- one walsender more: a base backup of one of them takes two
    SELECT finding($1, senders - busy >= coming + 1, 'fail', format('max_wal_senders %s, %s busy, %s standbys will come', senders, busy, coming),
                   'Raise max_wal_senders on all nodes (it needs a restart; standbys first).', 'postgres', 'replication')
    FROM t
    UNION ALL
    SELECT finding($1, slots - taken >= coming - present, 'fail', format('max_replication_slots %s, %s in use, %s more needed', slots, taken, coming - present),
                   'Raise max_replication_slots on the target (it needs a restart), or drop slots there.', 'postgres', 'slots')
    FROM t
$$;

CREATE FUNCTION pingpong.check_disk_space(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- WAL of the time that a rebuild takes (option rebuild_hours), twice; the rate is that since the statistics were
    -- reset, over an hour at least, so that a bulk load just now does not count as the usual rate
    WITH rate AS (
        SELECT w.wal_bytes / greatest(extract(epoch FROM clock_timestamp() - w.stats_reset), 3600) AS per_second FROM pg_stat_wal w
    ), need AS (
        SELECT per_second, greatest(per_second * 3600 * coalesce(($2 ->> 'rebuild_hours')::numeric, 1) * 2, 268435456) AS bytes FROM rate
    )
    SELECT finding(n.name, (d ->> 'free_bytes')::numeric >= CASE WHEN d ->> 'purpose' IN ('data', 'wal') THEN bytes ELSE 268435456 END
                           AND ((d ->> 'total_inodes')::numeric = 0 OR (d ->> 'free_inodes')::numeric >= 10000),
                   CASE WHEN n.name = $1 THEN 'fail' ELSE 'warn' END,
                   format('%s (%s): %s free, %s inodes free; needed %s at %s of WAL/s', d ->> 'purpose', d ->> 'path',
                          pg_size_pretty((d ->> 'free_bytes')::numeric), d ->> 'free_inodes',
                          pg_size_pretty(round(CASE WHEN d ->> 'purpose' IN ('data', 'wal') THEN bytes ELSE 268435456 END)), pg_size_pretty(round(per_second))),
                   'Make room: WAL that a standby has not fetched yet stays on the disk.', 'disks')
    FROM need, preflight_node n LEFT JOIN LATERAL jsonb_array_elements(n.facts #> '{disks,rows}') d ON true
    WHERE n.name = $1 OR n.is_source
$$;

CREATE FUNCTION pingpong.check_rewind_possible(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(n.name, (checksums > 0 OR hints = 'on') AND full_page = 'on' AND level IN ('replica', 'logical'),
                   CASE WHEN level NOT IN ('replica', 'logical') THEN 'fail' ELSE 'warn' END,
                   format('wal_level %s, checksums %s, wal_log_hints %s, full_page_writes %s', level, CASE WHEN checksums > 0 THEN 'on' ELSE 'off' END, hints, full_page),
                   'Set wal_log_hints = on (restart) or enable checksums, and full_page_writes = on; else an old primary that wrote past the fork needs a base backup.',
                   'postgres', 'settings')
    FROM preflight_node n, pg_control_init() c,
         LATERAL (SELECT CASE WHEN n.is_source THEN c.data_page_checksum_version ELSE (n.pg #>> '{control,data_page_checksum_version}')::integer END,
                         CASE WHEN n.is_source THEN current_setting('wal_log_hints') ELSE n.pg #>> '{settings,wal_log_hints}' END,
                         CASE WHEN n.is_source THEN current_setting('full_page_writes') ELSE n.pg #>> '{settings,full_page_writes}' END,
                         CASE WHEN n.is_source THEN current_setting('wal_level') ELSE n.pg #>> '{settings,wal_level}' END) v (checksums, hints, full_page, level)
    WHERE n.name = $1 OR n.is_source
$$;

--
-- Slots
--

CREATE FUNCTION pingpong.check_slots_healthy(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(coalesce(n.name, node_name()), coalesce(s.wal_status IN ('reserved', 'extended'), s.restart_lsn IS NULL),
                   CASE WHEN n.name = $1 THEN 'fail' ELSE 'warn' END,
                   format('slot "%s": %s, %s, keeps %s of WAL%s', s.slot_name, CASE WHEN s.active THEN 'active' ELSE 'inactive' END, coalesce(s.wal_status, 'no WAL reserved'),
                          coalesce(pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)), 'nothing'),
                          coalesce(', ' || pg_size_pretty(s.safe_wal_size) || ' more until it is lost', '')),
                   'Its WAL is gone or soon will be: rebuild the standby, then drop the slot.', 'postgres')
    FROM pg_replication_slots s LEFT JOIN node n ON n.slot = s.slot_name AND n.kind = 'postgres'
    UNION ALL
    SELECT finding($1, CASE WHEN n.pg #> '{slots,rows}' IS NOT NULL THEN bad IS NULL END, 'warn',
                   coalesce('slots on the target that lost their WAL: ' || bad,
                            format('%s slots on the target, none has lost WAL', jsonb_array_length(n.pg #> '{slots,rows}'))),
                   'Drop them there.', 'postgres', 'slots')
    FROM preflight_node n,
         LATERAL (SELECT string_agg(s ->> 'slot_name', ', ') FROM jsonb_array_elements(n.pg #> '{slots,rows}') s
                  WHERE s ->> 'wal_status' IN ('lost', 'unreserved')) b (bad)
    WHERE n.name = $1
$$;

CREATE FUNCTION pingpong.check_inactive_slots(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- inactive_since exists from 17 on
    WITH here AS (
        SELECT node_name() AS node, to_jsonb(s) AS s FROM pg_replication_slots s WHERE NOT s.active AND NOT s.temporary
    ), there AS (
        SELECT n.name AS node, s FROM preflight_node n, jsonb_array_elements(n.pg #> '{slots,rows}') s
        WHERE NOT n.is_source AND s ->> 'active' = 'false' AND NOT coalesce((s ->> 'synced')::boolean, false)
    ), idle AS (SELECT * FROM here UNION ALL SELECT * FROM there)
    SELECT finding(node, false, 'warn',
                   format('slot "%s" (%s) is used by nobody%s', s ->> 'slot_name', s ->> 'slot_type', coalesce(' since ' || left(s ->> 'inactive_since', 19), '')),
                   format('It keeps WAL until the disk is full. If nobody comes back for it: pg_drop_replication_slot(%L) on %s.', s ->> 'slot_name', node), 'postgres')
    FROM idle WHERE s ->> 'restart_lsn' IS NOT NULL
    UNION ALL
    SELECT finding(n.name, CASE WHEN n.is_source OR n.pg #> '{slots,rows}' IS NOT NULL THEN true END, 'warn', 'none', NULL, 'postgres', 'slots')
    FROM preflight_node n
    WHERE n.kind = 'postgres' AND NOT EXISTS (SELECT FROM idle i WHERE i.node = n.name AND i.s ->> 'restart_lsn' IS NOT NULL)
$$;

CREATE FUNCTION pingpong.check_logical_slots(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- 17 and newer: synced by the server; before, pg_failover_slots leaves an inactive copy on the standby
    WITH here AS (SELECT s.slot_name, s.plugin FROM pg_replication_slots s WHERE s.slot_type = 'logical' AND NOT s.temporary)
    SELECT finding($1,
                   CASE WHEN n.pg #> '{slots,rows}' IS NOT NULL
                        THEN coalesce(c ->> 'slot_name' IS NOT NULL AND c ->> 'temporary' = 'false' AND coalesce(c ->> 'synced', 'true') = 'true'
                             AND c ->> 'invalidation_reason' IS NULL AND coalesce(c ->> 'conflicting', 'false') = 'false'
                             AND coalesce(c ->> 'wal_status', '') <> 'lost', false) END,
                   CASE WHEN ($2 ->> 'allow_logical_slot_loss')::boolean THEN 'warn' ELSE 'fail' END,
                   CASE WHEN c IS NULL THEN format('logical slot "%s" is not on the target', h.slot_name)
                        ELSE format('logical slot "%s" on the target: temporary %s, synced %s, invalidated %s', h.slot_name, c ->> 'temporary',
                                    coalesce(c ->> 'synced', 'unknown'), coalesce(c ->> 'invalidation_reason', 'no')) END,
                   'Synchronise it (from 17 on: failover slots with sync_replication_slots; before: pg_failover_slots), or accept the loss with the option "allow_logical_slot_loss": true.',
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

-- Each route with what its router's agent saw; db is null where the pooler does not know the database. A route that no
-- run has set yet: rw belongs to this primary, ro to whatever node it points to.
CREATE VIEW pingpong.preflight_route AS
SELECT r.name, r.kind, r.router, r.endpoint, n.name AS node, d.database, n.host, n.port, e.e AS endpoint_facts, b.db,
       coalesce(b.db ->> 'pool_mode', e.e #>> '{config,pool_mode}') AS pool_mode
FROM pingpong.route r
     CROSS JOIN LATERAL jsonb_object_keys(r.databases) d (database)
     LEFT JOIN pingpong.preflight_node p ON p.name = r.router
     LEFT JOIN LATERAL (SELECT x FROM jsonb_array_elements(p.facts -> 'routers') x WHERE x ->> 'endpoint' = r.endpoint LIMIT 1) e (e) ON true
     LEFT JOIN LATERAL (SELECT x FROM jsonb_array_elements(e.e -> 'databases') x WHERE x ->> 'name' = d.database LIMIT 1) b (db) ON true
     LEFT JOIN LATERAL (SELECT m.* FROM pingpong.node m
                        WHERE m.kind = 'postgres'
                          AND CASE WHEN r.node IS NOT NULL THEN m.name = r.node
                                   WHEN r.kind = 'rw' THEN m.name = pingpong.node_name()
                                   ELSE m.host = b.db ->> 'host' AND m.port::text = b.db ->> 'port' END
                        ORDER BY m.name LIMIT 1) n ON true;
COMMENT ON VIEW pingpong.preflight_route IS 'routes and their databases with what the agent of the router saw';

CREATE FUNCTION pingpong.check_routes_observed(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- the pooler answers
    SELECT finding(r.router, e ->> 'error' IS NULL AND e ->> 'version' IS NOT NULL, 'fail',
                   CASE WHEN e ->> 'error' IS NULL THEN format('endpoint "%s": %s', r.endpoint, e ->> 'version')
                        ELSE format('endpoint "%s" does not answer: %s', r.endpoint, btrim(e ->> 'error', E' \n')) END,
                   'Look at [pgbouncer] in the agent''s configuration: it needs an admin user of the pooler.', 'routers')
    FROM (SELECT DISTINCT router, endpoint, endpoint_facts FROM preflight_route) r, LATERAL (SELECT r.endpoint_facts) x (e)
    WHERE e IS NOT NULL
    UNION ALL
    -- or there is no answer because the agent is silent (a warn: agent_reachable fails) or does not know it (a fail)
    SELECT finding(r.router, CASE WHEN p.facts IS NOT NULL THEN false END, 'fail', format('the agent knows no endpoint "%s"', r.endpoint),
                   format('Add [pgbouncer.%s] to its configuration, or correct the route.', r.endpoint), 'routers')
    FROM (SELECT DISTINCT router, endpoint FROM preflight_route WHERE endpoint_facts IS NULL) r JOIN preflight_node p ON p.name = r.router
    UNION ALL
    -- it points where the table says
    SELECT finding(r.router, coalesce(db ->> 'port' = r.port::text AND db ->> 'host' = r.host, false),
                   CASE WHEN r.kind = 'ro' OR db ->> 'port' = r.port::text THEN 'warn' ELSE 'fail' END,
                   CASE WHEN r.node IS NULL AND db IS NOT NULL
                        THEN format('route "%s", database "%s": points to %s:%s, which is no node', r.name, r.database, coalesce(db ->> 'host', 'local socket'), db ->> 'port')
                        WHEN db IS NULL THEN format('route "%s": the pooler has no database "%s"', r.name, r.database)
                        ELSE format('route "%s", database "%s": points to %s:%s, node "%s" is %s:%s', r.name, r.database,
                                    coalesce(db ->> 'host', 'local socket'), db ->> 'port', r.node, r.host, r.port) END,
                   'Repair the backend file of the pooler, or the table pingpong.route: one of them is wrong.', 'routers')
    FROM preflight_route r WHERE endpoint_facts ->> 'error' IS NULL AND endpoint_facts IS NOT NULL
    UNION ALL
    SELECT finding(r.router, r.node = node_name(), 'fail', format('rw route "%s" belongs to node "%s"', r.name, coalesce(r.node, 'none')),
                   'A rw route belongs to the primary: correct pingpong.route.', 'routers')
    FROM (SELECT DISTINCT name, router, node FROM preflight_route WHERE kind = 'rw') r
    WHERE r.node IS DISTINCT FROM node_name()
    UNION ALL
    -- and it can be changed
    SELECT finding(r.router, (f ->> 'writable')::boolean, 'fail', format('endpoint "%s": %s is %swritable%s', r.endpoint, f ->> 'path',
                   CASE WHEN (f ->> 'writable')::boolean THEN '' ELSE 'not ' END, coalesce(' (' || (f ->> 'error') || ')', '')),
                   'The agent replaces this file: it needs to write to its folder.', 'routers', 'file')
    FROM (SELECT DISTINCT router, endpoint, endpoint_facts FROM preflight_route WHERE endpoint_facts IS NOT NULL) r, LATERAL (SELECT r.endpoint_facts -> 'file') x (f)
    UNION ALL
    SELECT ROW(node_name(), 'info', 'there is no rw route', 'Clients must find the new primary by themselves, or pingpong.add_route() it.')::finding
    WHERE NOT EXISTS (SELECT FROM route WHERE kind = 'rw')
$$;

CREATE FUNCTION pingpong.check_pooler_settings(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- a client that is held must not be thrown out before the blackout may end
    SELECT finding(r.router, seconds = 0 OR seconds * 1000 > preflight_ms($2, 'max_blackout_ms', 10000), 'fail',
                   format('endpoint "%s": %s = %s s, the blackout may last %s ms', r.endpoint, setting, seconds, preflight_ms($2, 'max_blackout_ms', 10000)),
                   format('Raise %s above the blackout, or lower max_blackout.', setting), 'routers', 'config')
    FROM (SELECT DISTINCT router, endpoint, endpoint_facts FROM preflight_route WHERE endpoint_facts -> 'config' IS NOT NULL AND kind = 'rw') r,
         unnest(ARRAY['query_wait_timeout', 'query_timeout']) setting,
         LATERAL (SELECT (r.endpoint_facts -> 'config' ->> setting)::numeric) s (seconds)
    UNION ALL
    SELECT finding(r.router, coalesce(r.db ->> 'paused', '0') = '0' AND coalesce(r.db ->> 'disabled', '0') = '0', 'fail',
                   format('database "%s": %s pooling, paused %s, disabled %s', r.database, r.pool_mode, r.db ->> 'paused', r.db ->> 'disabled'),
                   'RESUME or ENABLE it at the pooler''s console first.', 'routers')
    FROM preflight_route r WHERE r.db IS NOT NULL
    UNION ALL
    SELECT ROW(r.router, 'info', format('database "%s" is in session pooling', r.database),
               'PAUSE cannot return while a session lives, so the sessions are ended after the seal: each client sees one disconnect.')::finding
    FROM preflight_route r WHERE r.db IS NOT NULL AND r.pool_mode = 'session' AND r.kind = 'rw'
    UNION ALL
    SELECT finding(r.router, ttl <= 15, 'warn', format('endpoint "%s": dns_max_ttl = %s s, and the target is known by the name "%s"', r.endpoint, ttl, t.host),
                   'Register nodes by address, or lower dns_max_ttl.', 'routers', 'config')
    FROM (SELECT DISTINCT router, endpoint, endpoint_facts FROM preflight_route WHERE endpoint_facts -> 'config' IS NOT NULL) r
         JOIN node t ON t.name = $1 AND t.host !~ '^([0-9.]+|.*:.*|/.*)$',
         LATERAL (SELECT (r.endpoint_facts -> 'config' ->> 'dns_max_ttl')::numeric) s (ttl)
    UNION ALL
    SELECT CASE WHEN p.error IS NULL THEN finding(p.router, NULL, 'warn', NULL, NULL, 'routers')
                ELSE ROW(p.router, 'warn', format('not checked: endpoint "%s" does not answer', p.endpoint), 'See routes_observed.')::finding END
    FROM (SELECT DISTINCT router, endpoint, endpoint_facts ->> 'error' AS error FROM preflight_route WHERE endpoint_facts -> 'config' IS NULL) p
$$;

--
-- Safety net
--

CREATE FUNCTION pingpong.check_no_other_run(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    -- the option "run" names the run that asks
    SELECT finding(node_name(), count(*) = 0, 'fail',
                   coalesce(string_agg(format('run %s (%s to %s) is %s', r.id, r.runbook, r.target, r.state), '; '), 'none'),
                   'Wait for it, or cancel it; a stuck run tells in pingpong.run what to do.', 'postgres')
    FROM run r WHERE r.state NOT IN ('succeeded', 'rolled_back') AND r.id IS DISTINCT FROM ($2 ->> 'run')::bigint
    UNION ALL
    SELECT finding(n.name, (n.facts ->> 'epoch')::bigint <= greatest(c.epoch, (SELECT max(r.epoch) FROM run r)), 'fail',
                   format('its agent has seen epoch %s, this cluster is at %s', n.facts ->> 'epoch', c.epoch),
                   'A run that this server does not know moved the primary: find out which server is the right one.', 'epoch')
    FROM preflight_node n, cluster c
$$;

--
-- All of them
--

CREATE FUNCTION pingpong.preflight_checks(target text, options jsonb DEFAULT '{}')
RETURNS TABLE (number integer, name text, node text, status text, detail text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pingpong, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    c       pingpong.preflight_check;
    -- without a primary here and a standby there, all the other checks would compare nothing with nothing
    nonsense constant boolean := pg_is_in_recovery() OR target IS NULL OR target = node_name() OR node_name() IS NULL
        OR NOT EXISTS (SELECT FROM node n WHERE n.name = target AND n.kind = 'postgres')
        OR NOT EXISTS (SELECT FROM node n WHERE n.name = node_name() AND n.kind = 'postgres');
BEGIN
    FOR c IN SELECT * FROM preflight_check p
             WHERE NOT nonsense OR p.name = 'roles' OR (p.name = 'target_streaming' AND NOT pg_is_in_recovery())
             ORDER BY p.number, p.name
    LOOP
        BEGIN
            RETURN QUERY EXECUTE format('SELECT $3, $4, f.node, f.status, f.detail, f.hint FROM pingpong.%I($1, $2) f', 'check_' || c.name)
                USING target, coalesce(options, '{}'), c.number, c.name;
        EXCEPTION WHEN OTHERS THEN
            RETURN QUERY SELECT c.number, c.name, node_name(), 'warn',
                format('not checked: %s (SQLSTATE %s)', SQLERRM, SQLSTATE), 'Make sure by hand, and tell the authors of the check.';
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pingpong.preflight_checks(text, jsonb) IS
    'the checks over the facts that are in node_fact now; pingpong.preflight() has them gathered first';

SELECT pg_extension_config_dump('pingpong.preflight_check', 'WHERE NOT builtin');

DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_catalog.pg_proc p
             WHERE p.pronamespace = 'pingpong'::regnamespace
               AND (p.proname LIKE 'check\_%' OR p.proname IN ('preflight_checks', 'facts_params', 'unlogged_files', 'why_unknown', 'finding',
                                                              'preflight_ms', 'written_timeline', 'sync_standbys', 'is_node_setting'))
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END
$$;
GRANT SELECT ON pingpong.preflight_check TO pg_monitor;
