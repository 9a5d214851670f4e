-- Preflight: what must be true before a primary is moved, one row for each finding.
--
-- The worker asks the agent of every node for its `facts` and stores the answers in node_fact. A check is a function
-- check_NAME(target, options) that compares those answers with the local catalogs. It can be called alone. The table
-- preflight_check lists the checks, and a site may add rows and functions of its own. preflight_checks() runs them
-- all. A check that ends with an error is a fail, and the others still run.
--
-- status is ok, info (for the report), warn, or fail (stops a switchover). What could not be looked at is never an
-- ok, but a warn that says why: the verdict is a boolean that finding() takes as null then. What must be known before
-- a promotion (role, cluster and timeline of the target) is a fail in that case: required().

CREATE TABLE pingpong.preflight_check
(
    number  integer NOT NULL,
    name    text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,56}$'),
    topic   text NOT NULL,
    builtin boolean NOT NULL DEFAULT false,
    comment text NOT NULL,
    runbooks text[] CHECK (cardinality(runbooks) > 0)
);
COMMENT ON COLUMN pingpong.preflight_check.runbooks IS
    'the runbooks for which the check is meant; switchover, or null: all that move the primary';
COMMENT ON TABLE pingpong.preflight_check IS
    'the checks of preflight; each is the function pingpong_check.check_NAME(target text, options jsonb)';

INSERT INTO pingpong.preflight_check (number, name, topic, builtin, comment)
VALUES
    ( 2, 'roles',                     'identity',  true, 'the source is the only primary, the target a standby'),
    ( 1, 'same_system_identifier',    'identity',  true, 'all nodes are copies of one cluster'),
    ( 3, 'same_timeline',             'identity',  true, 'the target receives the timeline that is written here'),
    ( 4, 'target_streaming',          'identity',  true, 'the target streams from this primary'),
    ( 5, 'same_major_version',        'identity',  true,
     'one major version, and no older minor release on the target'),
    ( 5, 'same_build',                'identity',  true, 'block and segment sizes and processor architecture agree'),
    ( 6, 'unique_names',              'identity',  true, 'node names and application_name are unique'),
    ( 6, 'standby_names',             'identity',  true,
     'standbys stream under the name and with the slot that they are registered with'),
    ( 7, 'standbys_can_follow',       'identity',  true, 'the other standbys can follow the new primary'),
    ( 8, 'clock_skew',                'hosts',     true, 'the clocks of the hosts agree'),
    ( 9, 'agent_reachable',           'hosts',     true,
     'each agent answers, is the right one, and can control its PostgreSQL'),
    ( 9, 'agent_actions',             'hosts',     true, 'each agent knows what the run will order from it'),
    (10, 'no_other_ha_manager',       'hosts',     true, 'nobody else promotes or restarts servers'),
    (11, 'replay_lag',                'lag',       true, 'what the target has still to replay fits the blackout'),
    (12, 'replay_not_paused',         'lag',       true, 'WAL replay is not paused'),
    (13, 'no_apply_delay',            'lag',       true, 'recovery_min_apply_delay is off on the target'),
    (14, 'standby_queries',           'lag',       true, 'no query on the target holds up its replay'),
    (15, 'replay_keeps_up',           'lag',       true, 'the target replays at least as fast as WAL is written'),
    (16, 'recovery_settings',         'lag',       true, 'no recovery target is set on either side'),
    (16, 'restore_command',           'lag',       true, 'restore_command answers quickly (tried for real)'),
    (17, 'sync_satisfiable',          'lag',       true, 'synchronous_standby_names can be satisfied after the move'),
    (17, 'no_commit_waits',           'lag',       true, 'no commit hangs for a synchronous standby'),
    (17, 'relaxed_settings',          'lag',       true, 'no setting is still relaxed since an earlier run'),
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
    (37, 'hot_standby_settings',      'capacity',  true,
     'settings that a standby needs as large as its primary, both ways'),
    (37, 'hot_standby',               'capacity',  true, 'source and target accept connections as standbys'),
    (38, 'setting_drift',             'capacity',  true, 'settings that differ between source and target'),
    (38, 'session_defaults',          'capacity',  true, 'new sessions may write, and see what was committed'),
    (38, 'command_line',              'capacity',  true, 'no settings that the next start would lose'),
    (38, 'pending_restart',           'capacity',  true, 'settings that wait for a restart'),
    (38, 'configuration_files',       'capacity',  true, 'configuration files and pg_hba.conf have no errors'),
    (39, 'preload_libraries',         'capacity',  true, 'shared_preload_libraries agree and the files are there'),
    (40, 'replication_login',         'capacity',  true,
     'the future standbys can log in to the target (tried for real)'),
    (40, 'same_hba_rules',            'capacity',  true, 'clients that may connect here may connect to the target'),
    (41, 'target_reachable',          'capacity',  true, 'the routers reach the target (tried for real)'),
    (42, 'connections',               'capacity',  true, 'the target has room for the sessions that are here'),
    (43, 'replication_role',          'capacity',  true, 'connection limit and expiry of the replication role'),
    (44, 'senders_and_slots',         'capacity',  true, 'free walsenders and replication slots on the target'),
    (45, 'disk_space',                'capacity',  true, 'room on the disks of target and source'),
    (51, 'rewind_possible',           'capacity',  true, 'pg_rewind could bring a node back'),
    (52, 'layout',                    'capacity',  true,
     'folders that a rewind or a base backup has to change can be changed'),
    (53, 'rewind_login',              'capacity',  true,
     'pg_rewind can log in to the target and read it (tried for real)'),
    (54, 'slots_healthy',             'slots',     true, 'no replication slot has lost its WAL'),
    (55, 'inactive_slots',            'slots',     true, 'slots that nobody uses and that keep WAL'),
    (56, 'logical_slots',             'slots',     true, 'logical slots exist on the target too'),
    (59, 'routes_observed',           'routes',    true,
     'each router answers, points where the table says, and can be edited'),
    (60, 'pooler_settings',           'routes',    true,
     'timeouts, pooling mode and state of each pooler suit the move'),
    (71, 'no_other_run',              'safety',    true, 'no other run, and no agent has seen a newer epoch'),
    (71, 'target_worker',             'safety',    true,
     'the target''s worker is where it finds the run and goes on with it'),
    (72, 'seal_enforced',             'safety',    true,
     'no server would start without pg_pingpong, which enforces the seal');

-- An upgrade seals this server and stops it, too: these hold for both.
UPDATE pingpong.preflight_check SET runbooks = '{switchover,upgrade}'
WHERE name IN ('clock_skew', 'agent_reachable', 'agent_actions', 'relaxed_settings', 'no_commit_waits',
               'long_transactions', 'idle_in_transaction', 'maintenance_running', 'no_base_backup', 'listeners',
               'temporary_tables', 'checkpoint_cost', 'pending_restart', 'configuration_files', 'routes_observed',
               'pooler_settings', 'no_other_run', 'seal_enforced');

-- One finding of a check. preflight_checks() adds number and name.
CREATE TYPE pingpong_check.finding AS (node text, status text, detail text, hint text);

-- All nodes with their facts; facts and pg are null where there are none.
CREATE VIEW pingpong_check.preflight_answer AS
SELECT n.name, n.kind, n.host, n.port, n.slot, n.upstream, n.away_since, n.name = pingpong.node_name() AS is_source,
       f.at, coalesce(f.ok, false) AS ok, f.error,
       CASE WHEN f.ok THEN f.facts END AS facts,
       CASE WHEN f.ok AND jsonb_typeof(f.facts -> 'postgres') = 'object' THEN f.facts -> 'postgres' END AS pg
FROM pingpong.node n LEFT JOIN pingpong.node_fact f ON f.node = n.name;
COMMENT ON VIEW pingpong_check.preflight_answer IS 'nodes with what their agents last told';

-- The nodes that a move needs: without those that are away on purpose.
CREATE VIEW pingpong_check.preflight_node AS
SELECT * FROM pingpong_check.preflight_answer WHERE away_since IS NULL OR is_source;
COMMENT ON VIEW pingpong_check.preflight_node IS 'nodes that a move counts on, with what their agents last told';

-- Connections that agents tried for real, with the node that is registered there.
CREATE VIEW pingpong_check.preflight_connection AS
SELECT n.name AS by_node, t.name AS node, x ->> 'kind' AS kind, (x ->> 'ok')::boolean AS ok,
    btrim(x ->> 'error', E' \n') AS error, x AS answer
FROM pingpong_check.preflight_answer n
     CROSS JOIN LATERAL jsonb_array_elements(n.facts -> 'connect') x
     JOIN pingpong.node t ON t.host = x ->> 'host' AND t.port::text = x ->> 'port';
COMMENT ON VIEW pingpong_check.preflight_connection IS
    'connections that agents tried for real, with the node that is registered at that address';

-- Receivers of WAL, with the node each belongs to: by application_name or by the slot that it holds.
CREATE VIEW pingpong_check.preflight_sender AS
SELECT r.pid, r.usename, r.application_name, r.client_addr, r.state, r.replay_lsn, r.replay_lag, r.sync_state,
       s.slot_name, s.slot_type, n.name AS node, r.sent_lsn, r.write_lsn, r.flush_lsn, r.write_lag, r.flush_lag,
       r.reply_time, r.backend_start
FROM pg_catalog.pg_stat_replication r
     LEFT JOIN pg_catalog.pg_replication_slots s ON s.active_pid = r.pid
     LEFT JOIN LATERAL (SELECT n.name FROM pingpong.node n
                        WHERE n.kind = 'postgres' AND (n.slot = s.slot_name OR n.name = lower(r.application_name))
                        ORDER BY n.slot IS NOT DISTINCT FROM s.slot_name DESC LIMIT 1) n ON true
WHERE r.application_name <> 'pingpong-agent';       -- an agent that only tries whether it could
COMMENT ON VIEW pingpong_check.preflight_sender IS 'receivers of WAL with the node each belongs to';

-- Why something of a node is not known; the part is a path in its facts.
CREATE FUNCTION pingpong_check.why_unknown(node text, VARIADIC part text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT 'not checked: ' || coalesce(
        (SELECT CASE WHEN f.at IS NULL THEN format('the agent of node "%s" was never asked', $1)
                     WHEN NOT f.ok THEN format('the agent of node "%s" did not answer (%s)', $1,
                                               coalesce(f.error, 'no reason given'))
                     WHEN f.facts #>> (part || '{error}') IS NOT NULL
                     THEN format('the agent of node "%s" reports for %s: %s', $1, array_to_string(part, '.'),
                                 f.facts #>> (part || '{error}'))
                     WHEN f.facts #>> '{postgres,error}' IS NOT NULL AND part[1] = 'postgres'
                     THEN format('the agent of node "%s" cannot ask its PostgreSQL: %s', $1,
                                 f.facts #>> '{postgres,error}')
                     ELSE format('the agent of node "%s" does not report %s', $1, array_to_string(part, '.')) END
         FROM preflight_answer f WHERE f.name = $1),
        format('there is no node "%s"', $1))
$$;

-- The verdict of a check: fine, not fine (`bad` tells how bad), or, where the question has no answer, a warning.
CREATE FUNCTION pingpong_check.finding(node text, fine boolean, bad text, detail text, hint text,
                                       VARIADIC part text[])
RETURNS pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT CASE
        WHEN fine THEN ROW(node, 'ok', detail, NULL)::finding
        WHEN NOT fine THEN ROW(node, bad, detail, hint)::finding
        ELSE ROW(node, 'warn', why_unknown(node, VARIADIC part),
                 'Make its agent answer, then repeat preflight; or make sure by hand.')::finding END
$$;

-- The same for what a move needs in any case: if it is not known, that is as bad as a wrong value.
CREATE FUNCTION pingpong_check.required(node text, fine boolean, bad text, detail text, hint text,
                                        VARIADIC part text[])
RETURNS pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT CASE WHEN fine IS NOT NULL THEN finding(node, fine, bad, detail, hint, VARIADIC part)
                ELSE ROW(node, bad, why_unknown(node, VARIADIC part),
                         'Make its agent answer, then repeat preflight.')::finding END
$$;

-- What the next start of a node takes for a setting: the files, and what is given on the command line.
CREATE FUNCTION pingpong_check.next_setting(facts jsonb, name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT facts #>> ARRAY['postgres', 'next', $2]
$$;

-- A number of milliseconds among the options.
CREATE FUNCTION pingpong_check.preflight_ms(options jsonb, name text, otherwise double precision)
RETURNS double precision
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((options ->> name)::double precision, otherwise)
$$;

-- The timeline that this primary writes (pg_control_checkpoint() shows it only after the next checkpoint).
CREATE FUNCTION pingpong_internal.written_timeline() RETURNS integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
$$;

-- What to say of a node that is no standby. A higher timeline is the newer one, whichever server it is; equal ones
-- tell nothing.
CREATE FUNCTION pingpong_check.second_primary(node text, standby boolean, theirs integer,
                                              OUT detail text, OUT hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT CASE WHEN standby THEN 'in recovery'
                ELSE format('not in recovery: a second primary, on timeline %s; this server is on timeline %s',
                            coalesce(theirs::text, 'unknown'), ours) END,
           CASE WHEN theirs > ours
                THEN format('This server is the older one: let no client write here. On "%s", pingpong.rebuild(%L) '
                            'makes this server its standby.', $1, node_name())
                WHEN theirs < ours
                THEN format('That one is the older: let no client write there, and stop it. pingpong.rebuild(%L), '
                            'here, makes it a standby again, unless it has'
                            ' writes of its own: see then what they are.', $1)
                ELSE 'Which of the two is the newer cannot be told from that. Let no client write on either, and '
                     'find out which one has the data that counts,'
                     ' before anything is rebuilt.' END
    FROM (SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE pingpong_internal.written_timeline() END) o (ours)
$$;

-- With track_activities off a session shows neither its state nor the age of its transaction.
CREATE FUNCTION pingpong_check.unseen_sessions() RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(node_name(), 'warn', format('not checked for %s of %s sessions: track_activities is off for them',
                                           count(*) FILTER (WHERE state = 'disabled'), count(*)),
               'Set track_activities = on, or make sure by hand.')::finding
    FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    HAVING count(*) FILTER (WHERE state = 'disabled') > 0
$$;

--
-- Identity and topology
--

CREATE FUNCTION pingpong_check.check_roles(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(coalesce(node_name(), '(here)'), NOT pg_is_in_recovery(), 'fail',
                   CASE WHEN pg_is_in_recovery() THEN 'this server is a standby'
                       ELSE 'this server is the primary' END,
                   'Run preflight on the primary.', 'postgres')
    UNION ALL
    SELECT finding(coalesce(node_name(), '(here)'), false, 'fail', 'this server is not in pingpong.node',
                   'Set pingpong.node_name to the name it was registered with, or register it '
                   'with pingpong.add_node().', 'postgres')
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
    SELECT finding($1, false, 'fail', format('the target was let go on %s', n.away_since::timestamptz(0)),
                   format('pingpong.rebuild(%L) makes it a standby again.', $1), 'postgres')
    FROM node n WHERE n.name = $1 AND n.away_since IS NOT NULL
    UNION ALL
    SELECT finding(node_name(), false, 'fail', 'this server is sealed: it takes no writes',
                   'It waits for the verdict of its run, see pingpong.gate and pingpong.progress.', 'postgres')
    FROM pingpong_internal.gate_status() g WHERE g.state = 'sealed'
    UNION ALL
    -- another primary: the timelines tell which of the two is the older one. The advice must not lose the newer one
    SELECT CASE WHEN n.name = $1 THEN required(n.name, standby, 'fail', detail, hint, 'postgres')
                ELSE finding(n.name, standby, 'fail', detail, hint, 'postgres') END
    FROM preflight_node n,
         LATERAL (SELECT (n.pg ->> 'in_recovery')::boolean) r (standby),
         LATERAL second_primary(n.name, standby, (n.pg ->> 'wal_timeline')::integer) h (detail, hint)
    WHERE n.kind = 'postgres' AND NOT n.is_source AND NOT pg_is_in_recovery()
    UNION ALL
    SELECT CASE WHEN n.pg #>> '{pingpong,gate}' = 'sealed' OR (n.pg ->> 'in_recovery')::boolean
                THEN ROW(n.name, 'info', format('is away since %s', n.away_since::timestamptz(0)),
                         format('pingpong.rebuild(%L) makes it a standby again.', n.name))::finding
                ELSE ROW(n.name, 'fail', 'is away, and takes writes: ' || h.detail, h.hint)::finding END
    FROM preflight_answer n, LATERAL second_primary(n.name, false, (n.pg ->> 'wal_timeline')::integer) h (detail,
        hint)
    WHERE n.kind = 'postgres' AND n.away_since IS NOT NULL AND NOT n.is_source AND n.pg ? 'in_recovery'
        AND NOT pg_is_in_recovery()
$$;

CREATE FUNCTION pingpong_check.check_same_system_identifier(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT CASE WHEN n.name = $1 THEN required(n.name, same, 'fail', detail, hint, 'postgres')
                ELSE finding(n.name, same, 'fail', detail, hint, 'postgres') END
    FROM preflight_node n, pg_control_system() c,
         LATERAL (SELECT n.pg ->> 'system_identifier' = c.system_identifier::text,
                  format('%s there, %s here', n.pg ->> 'system_identifier', c.system_identifier),
                         'This node belongs to another cluster: correct its registration '
                         '(host, port, agent_url).') d (same, detail, hint)
    WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong_check.check_same_timeline(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT CASE WHEN n.name = $1 THEN required(n.name, theirs = ours, 'fail', detail, hint, 'postgres',
                                               'wal_receiver')
                ELSE finding(n.name, theirs = ours, 'warn', detail, hint, 'postgres', 'wal_receiver') END
    FROM preflight_node n,
         LATERAL (SELECT CASE WHEN n.pg #>> '{wal_receiver,status}' = 'none' THEN 0
                  ELSE (n.pg #>> '{wal_receiver,received_tli}')::integer END,
                         pingpong_internal.written_timeline(), (n.pg ->> 'wal_timeline')::integer)
                         t (theirs, ours, has),
         LATERAL (SELECT CASE WHEN theirs = 0 THEN format('it receives nothing, and has timeline %s; this '
                                                          'primary writes timeline %s',
                                                          coalesce(has::text, 'unknown'), ours)
                              ELSE format('receives timeline %s, this primary writes timeline %s', theirs, ours) END,
                         CASE WHEN greatest(theirs, has) > ours
                              THEN 'It has a newer timeline: another server was promoted after this one, and this '
                                   'one is the older. Find out which, and let no client write here.'
                              WHEN theirs = 0 THEN 'Look into its log why it receives nothing.'
                              ELSE 'Wait until it follows the newest timeline '
                                   '(recovery_target_timeline = latest).' END) d (detail, hint)
    WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong_check.check_target_streaming(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- as this primary sees it: by its slot, or else by its name
    SELECT finding($1, coalesce(s.state = 'streaming', false), 'fail',
                   CASE WHEN n.name IS NULL THEN format('there is no PostgreSQL node "%s"', $1)
                        WHEN n.is_source THEN 'the target is this primary'
                        WHEN s.pid IS NULL THEN format('no walsender serves it (looked for '
                                                       'application_name "%s" or slot "%s")', $1, n.slot)
                        ELSE format('state %s, slot %s', s.state, coalesce(s.slot_name, 'none')) END,
                   CASE WHEN n.name IS NULL THEN 'SELECT * FROM pingpong.node shows the nodes.'
                        WHEN n.is_source THEN 'Name a standby.'
                        WHEN s.pid IS NULL AND n.pg ->> 'in_recovery' = 'false' THEN 'See roles.'
                        WHEN s.pid IS NULL AND n.pg #>> '{wal_receiver,sender_port}' IS NOT NULL
                        THEN format('It receives from %s:%s; let it stream from this primary (primary_conninfo), or '
                                    'move to that node first.',
                                    n.pg #>> '{wal_receiver,sender_host}', n.pg #>> '{wal_receiver,sender_port}')
                        WHEN s.pid IS NULL THEN 'Look into its log why it does not stream; its primary_conninfo '
                                                'needs application_name = its node name, or its '
                                                'slot the registered one.'
                        ELSE 'Wait until it has caught up.' END, 'postgres')
    FROM (SELECT) one
         LEFT JOIN preflight_answer n ON n.name = $1 AND n.kind = 'postgres'
         LEFT JOIN LATERAL (SELECT * FROM preflight_sender s
                            WHERE s.node = n.name ORDER BY s.state = 'streaming' LIMIT 1) s ON true
    UNION ALL
    -- as it sees itself; the first row tells its upstream, not an address, which a forwarder may change
    SELECT finding($1, w ->> 'status' = 'streaming', 'fail',
                   format('its WAL receiver: %s from %s:%s', w ->> 'status', w ->> 'sender_host',
                          w ->> 'sender_port'),
                   'Look into its log why it does not stream.', 'postgres', 'wal_receiver')
    FROM preflight_node n, LATERAL (SELECT n.pg -> 'wal_receiver') w (w)
    WHERE n.name = $1 AND n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong_check.check_same_major_version(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(n.name, theirs / 10000 = ours / 10000 AND (n.name <> $1 OR theirs >= ours),
                   CASE WHEN theirs / 10000 = ours / 10000 THEN 'warn' ELSE 'fail' END,
                   format('%s.%s there, %s.%s here', theirs / 10000, theirs % 10000, ours / 10000, ours % 10000),
                   CASE WHEN theirs / 10000 = ours / 10000 THEN 'Install the minor release on the standby first.'
                        ELSE 'A standby runs the major version of its primary.' END, 'postgres')
    FROM preflight_node n,
         LATERAL (SELECT (n.pg ->> 'server_version_num')::integer,
                  current_setting('server_version_num')::integer) v (theirs, ours)
    WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong_check.check_same_build(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH ours AS (SELECT to_jsonb(i) - 'data_page_checksum_version' AS init FROM pg_control_init() i)
    SELECT finding(n.name, theirs = init, 'fail',
                   CASE WHEN theirs = init THEN format('blocks of %s, WAL segments of %s bytes',
                                                       init ->> 'database_block_size',
                                                       init ->> 'bytes_per_wal_segment')
                        ELSE (SELECT string_agg(format('%s: %s there, %s here', k, theirs ->> k, init ->> k),
                                                '; ' ORDER BY k)
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
                   'Another C library may sort text differently, which makes indexes wrong; compare collation '
                   'versions before the move.', 'host', 'libc')
    FROM preflight_node n LEFT JOIN preflight_node s ON s.is_source
    WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong_check.check_unique_names(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH senders AS (
        SELECT lower(application_name) AS name, count(*) AS times FROM pg_stat_replication
        WHERE state IN ('streaming', 'catchup', 'startup') GROUP BY 1 HAVING count(*) > 1
    ), own AS (
        -- pingpong.node_name, or else cluster_name
        SELECT n.name, n.is_source, coalesce(nullif(n.pg #>> '{settings,pingpong.node_name}', ''),
                                             n.pg #>> '{settings,cluster_name}', '') AS own_name
        FROM preflight_node n WHERE n.kind = 'postgres' AND n.pg #> '{settings,pingpong.node_name}' IS NOT NULL
    ), misnamed AS (
        -- after the move the new primary's worker looks for a run in which it has a part, by its own name
        SELECT * FROM own WHERE NOT is_source AND name <> own_name
    ), shared AS (
        SELECT own_name, string_agg(name, ', ' ORDER BY name) AS nodes FROM own WHERE own_name <> '' GROUP BY 1
            HAVING count(*) > 1
    )
    SELECT finding(node_name(), false,
                   CASE
                       WHEN name = ANY ((pingpong_internal.sync_standbys(
                                             current_setting('synchronous_standby_names'))).names) THEN 'fail'
                       ELSE 'warn' END,
                   format('%s standbys call themselves "%s"', times, name),
                   'Give each its own application_name in primary_conninfo (or cluster_name).', 'postgres')
    FROM senders
    UNION ALL
    SELECT finding(node_name(), false, 'warn', format('nodes %s have the same name "%s"', nodes, own_name),
                   'Set pingpong.node_name of each to its registered name.', 'postgres')
    FROM shared
    UNION ALL
    SELECT finding(name, false, 'fail', format('registered as "%s", calls itself "%s"', name, own_name),
                   'Set pingpong.node_name there to the registered name.', 'postgres')
    FROM misnamed
    UNION ALL
    SELECT finding(node_name(), true, 'warn', 'names of nodes and standbys are unique', NULL, 'postgres')
    WHERE NOT EXISTS (SELECT FROM senders) AND NOT EXISTS (SELECT FROM shared)
$$;

CREATE FUNCTION pingpong_check.check_standby_names(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH s AS (
        SELECT s.node, s.application_name AS app, s.slot_name, n.slot, n.name = $1 AS is_target,
               lower(s.application_name) = ANY (here.names) AS named_here,
               s.node = ANY (here.names) AS node_named_here,
               (SELECT lower(s.application_name) = ANY ((pingpong_internal.sync_standbys(
                           t.pg #>> '{settings,synchronous_standby_names}')).names)
                FROM preflight_node t WHERE t.name = $1) AS named_there
        FROM preflight_sender s JOIN node n ON n.name = s.node,
             LATERAL pingpong_internal.sync_standbys(current_setting('synchronous_standby_names')) here
        WHERE s.state <> 'backup'
    )
    SELECT ROW(node, CASE WHEN named_there OR named_here <> node_named_here THEN 'warn' ELSE 'info' END,
               format('streams under the name "%s"%s', app,
                      CASE WHEN named_there THEN ', which synchronous_standby_names of the target has'
                           WHEN named_here AND NOT node_named_here THEN ', which synchronous_standby_names here has'
                           WHEN node_named_here AND NOT named_here
                               THEN format(', and synchronous_standby_names here has "%s"', node) ELSE '' END),
               'It is known by its slot. With the move each standby takes the name of its node; a run exchanges the '
               'names that it gives to the new primary, but not'
               ' those that stand in the configuration of either side, which must name it so:'
               ' set application_name in its primary_conninfo to the name of the node.')::finding
    FROM s WHERE lower(app) <> node
    UNION ALL
    -- a run neither makes nor drops a slot that no node has
    SELECT ROW(node, 'warn', format('streams with the slot "%s", registered is "%s"', slot_name, slot),
               format('After the move nobody uses "%s" on "%s", and it keeps WAL there until the '
                      'disk is full: drop it then'
                      ' (SELECT pg_drop_replication_slot(%L)), or set primary_slot_name of "%s" to "%s" now.',
                      slot_name, node_name(), slot_name, node, slot))::finding
    FROM s WHERE slot_name <> slot
    UNION ALL
    SELECT ROW(node, 'info', 'streams without a slot', format('With the move it gets the slot "%s".', slot))::finding
    FROM s WHERE slot_name IS NULL
    UNION ALL
    SELECT ROW(node, 'ok', format('streams as "%s" with the slot "%s"', app, slot), NULL)::finding
    FROM s WHERE lower(app) = node AND slot_name = slot
$$;

CREATE FUNCTION pingpong_check.check_standbys_can_follow(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
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
    -- the nodes that stream from the target already
    SELECT finding($1, false, 'warn', format('"%s" streams from the target and is no node of pg_pingpong',
                                             r ->> 'application_name'),
                   'It goes on to stream from the target; register it, or make sure that this is meant.', 'postgres')
    FROM preflight_node n, jsonb_array_elements(n.pg #> '{replication,rows}') r
    WHERE n.name = $1
      AND r ->> 'state' <> 'backup'
      AND NOT EXISTS (SELECT FROM node m WHERE m.name = lower(r ->> 'application_name') OR m.slot = r ->> 'slot_name')
$$;

--
-- Hosts and agents
--

CREATE FUNCTION pingpong_check.check_clock_skew(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(n.name, abs(skew) <= 500, 'warn',
                   format('its clock is %s ms %s (travelling time included)', round(abs(skew)),
                          CASE WHEN skew > 0 THEN 'ahead' ELSE 'behind' END),
                   'Let NTP set the clocks of all hosts; deadlines of tokens and journal times depend on them.',
                   'host', 'clock_ms')
    FROM preflight_node n,
         LATERAL (SELECT (n.facts #>> '{host,clock_ms}')::numeric - extract(epoch FROM n.at) * 1000) s (skew)
$$;

CREATE FUNCTION pingpong_check.check_agent_reachable(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- nodes that the run needs: source, target, routers; without another standby the run goes on
    WITH asked AS (
        SELECT n.*, CASE WHEN n.is_source OR n.name = $1
            OR EXISTS (SELECT FROM route_endpoint e WHERE e.router = n.name)
                         THEN 'fail' ELSE 'warn' END AS bad
        FROM preflight_node n
    )
    SELECT finding(name, ok AND at > clock_timestamp() - interval '1 minute', bad,
                   CASE WHEN at IS NULL THEN 'was never asked'
                        WHEN NOT ok THEN format('did not answer: %s', coalesce(error, 'no reason given'))
                        ELSE format('answered %s s ago',
                                    round(extract(epoch FROM clock_timestamp() - at)::numeric, 1)) END,
                   CASE WHEN error ~ E'could not read the file of "pingpong\\.|must not be accessible to others|^the '
                                     'certificate of "pingpong\\.'
                        THEN 'On this server: fix the setting or the file that it names; the file belongs to the '
                             'user of the server, mode 0600.'
                        WHEN error ~ E'\\(401\\)'
                        THEN 'The token must be the same on all hosts: the file of pingpong.agent_token_file here, '
                             'token_file of the agent there.'
                        WHEN error ~ '^the agent''s certificate'
                        THEN 'Fix its certificate (tls_cert), the agent_url of the node, or '
                             'pingpong.agent_ca_file here.'
                        ELSE 'Start pingpong-agent there; pingpong-agent --check shows what is '
                             'wrong with its configuration.' END, 'host')
    FROM asked
    UNION ALL
    SELECT ROW(name, 'info', format('let go on %s: no run waits for it', away_since::timestamptz(0)),
               format('pingpong.rebuild(%L) makes it a standby again.', name))::finding
    FROM preflight_answer WHERE away_since IS NOT NULL AND NOT is_source
    UNION ALL
    SELECT finding(name, false, bad, format('its agent cannot ask its PostgreSQL: %s', pg ->> 'error'),
                   'Is the server up, and are socket, port, superuser and database in the '
                   'agent''s configuration right?', 'postgres')
    FROM asked WHERE kind = 'postgres' AND pg ? 'error'
    UNION ALL
    SELECT finding(name, false, bad, format('the agent at this node''s agent_url calls itself "%s"',
                                            facts ->> 'node'),
                   'Correct agent_url of the node, or the name in the agent''s configuration.', 'host')
    FROM asked WHERE facts ->> 'node' <> name
    UNION ALL
    -- The server at the registered address is the one that the agent controls: those that connected to it tell by
    -- what it calls itself. Port numbers may differ on the way (a port mapping, a forwarder).
    SELECT CASE WHEN wrong IS NOT NULL
                THEN ROW(name, bad, format('at %s:%s answers another server (%s) than the one '
                                           'that its agent controls (%s)', host, port, wrong, itself),
                         'Correct host and port of the node, the server in the agent''s configuration, or what '
                         'forwards from one to the other.')::finding
                WHEN reached IS NOT NULL
                THEN ROW(name, 'ok', format('at %s:%s answers the server that its agent controls (%s)', host, port,
                                            itself), NULL)::finding
                ELSE finding(name, NOT (pg #>> '{settings,port}' <> port::text), 'warn',
                             CASE WHEN pg #>> '{settings,port}' = port::text
                                 THEN format('its server listens on port %s, as registered', port)
                                  ELSE format('registered at %s:%s, its server listens on port %s, and nobody has '
                                              'tried whether it is the same', host, port, own_port) END,
                             'Make sure that the registered address points to it.', 'postgres', 'settings') END
    FROM asked a,
         LATERAL (SELECT coalesce(nullif(pg #>> '{settings,pingpong.node_name}', ''),
                                  pg #>> '{settings,cluster_name}'), pg #>> '{settings,port}') own (own_name,
                                  own_port),
         LATERAL (SELECT format('"%s", port %s', own_name, own_port)) i (itself),
         LATERAL (SELECT count(*) > 0 OR NULL,
                         min(CASE WHEN coalesce(their_name <> own_name, false)
                             OR coalesce(their_port <> own_port, false)
                                       OR abs((answer ->> 'started_ms')::numeric - (pg ->> 'started_ms')::numeric) > 1
                                  THEN format('"%s", port %s, as "%s" found it', coalesce(their_name, 'unknown'),
                                              coalesce(their_port, 'unknown'), by_node) END)
                  FROM preflight_connection c,
                       LATERAL (SELECT coalesce(nullif(answer ->> 'node_name', ''), answer ->> 'cluster_name'),
                                answer ->> 'server_port') t (their_name, their_port)
                  WHERE c.node = a.name AND c.ok AND c.kind IN ('replication', 'rewind')) c (reached, wrong)
    WHERE kind = 'postgres' AND pg #> '{settings,port}' IS NOT NULL
    UNION ALL
    SELECT finding(name, (facts #>> '{service,ok}')::boolean, bad,
                   format('controls its PostgreSQL with %s as "%s"%s', facts #>> '{service,method}',
                          facts #>> '{host,os_user}',
                          coalesce(': ' || (facts #>> '{service,detail}'), '')),
                   'The agent must be able to start and stop its server: see "control" in its configuration.',
                   'service')
    FROM asked WHERE kind = 'postgres' AND ok
    UNION ALL
    SELECT finding(name, NOT (a.facts ->> 'version' <> s.version), bad,
                   format('version %s%s', a.facts ->> 'version',
                          CASE WHEN a.facts ->> 'version' <> s.version
                          THEN format(', %s at this node', s.version) END),
                   'Install the same release of pingpong-agent on all hosts.', 'version')
    FROM asked a, (SELECT (SELECT facts ->> 'version' FROM asked WHERE is_source)) s (version)
    WHERE a.ok
$$;

CREATE FUNCTION pingpong_check.check_no_other_ha_manager(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH found AS (
        SELECT n.name, m ->> 'name' AS manager, format('%s runs there (pid %s)', m ->> 'name', m ->> 'pid') AS detail
        FROM preflight_node n, jsonb_array_elements(n.facts #> '{ha_managers,rows}') m
        WHERE n.kind = 'postgres'
        UNION ALL
        SELECT node_name(), l, format('shared_preload_libraries has %s', l)
        FROM unnest(ARRAY['repmgr', 'pgautofailover']) l
        WHERE current_setting('shared_preload_libraries') ~ (E'\\m' || l || E'\\M')
    ), counted AS (
        SELECT * FROM found
        WHERE NOT coalesce($2 -> 'ha_managers', '[]') @> to_jsonb(manager)
    )
    SELECT finding(name, false, 'fail', string_agg(detail, '; '),
                   'It would promote or restart servers during the move: pause it, then name it in the option '
                   '"ha_managers" (a list) if it stays.', 'ha_managers')
    FROM counted GROUP BY name
    UNION ALL
    SELECT finding(n.name, CASE WHEN n.facts #> '{ha_managers,rows}' IS NOT NULL THEN true END, 'fail', 'none seen',
                   NULL, 'ha_managers')
    FROM preflight_node n
    WHERE n.kind = 'postgres' AND NOT EXISTS (SELECT FROM counted c WHERE c.name = n.name)
$$;
