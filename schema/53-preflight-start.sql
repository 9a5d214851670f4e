-- Preflight, continued: what the next start of each server takes, what new sessions get, and which worker goes on
-- after the promotion. The facts "next" are what the configuration files (and the command line) say now, "effective"
-- what counts for sessions now; both are told by the agent of each node, of the source too.

CREATE FUNCTION pingpong_check.check_restore_command(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- a promotion calls it some five times, one after the other: for the next segment, and for the next timelines
    SELECT finding(n.name, CASE WHEN r -> 'set' = 'false' THEN true WHEN status IS NOT NULL
                   THEN status BETWEEN 0 AND 125 AND ms <= 200 END,
                   CASE WHEN status > 125 OR (n.name = $1
                                              AND (status < 0 OR 5 * ms > preflight_ms($2, 'max_blackout_ms', 10000)))
                                              THEN 'fail' ELSE 'warn' END,
                   CASE WHEN r -> 'set' = 'false' THEN 'restore_command is not set'
                        WHEN status < 0 THEN format('restore_command does not end within %s ms '
                                                    'when the file is not there', round(ms))
                        WHEN status > 125 THEN format('restore_command ended with status %s', status)
                        ELSE format('restore_command takes %s ms when the file is not there', round(ms)) END,
                   CASE WHEN status > 125 THEN 'PostgreSQL takes that for a fatal error, and would end while it is '
                                               'promoted or started: see whether the command can be run, or reset it.'
                        WHEN n.is_source THEN 'It is asked when this server comes back as a '
                                              'standby: make it answer quickly.'
                        ELSE 'The target asks it some five times while it is promoted, in the blackout: make it '
                             'answer quickly, or reset it for the move.' END,
                   'restore')
    FROM preflight_node n, LATERAL (SELECT n.facts -> 'restore') f (r),
         LATERAL (SELECT (r ->> 'status')::integer, (r ->> 'ms')::numeric) m (status, ms)
    WHERE n.kind = 'postgres' AND (n.name = $1 OR n.is_source)
$$;

CREATE FUNCTION pingpong_check.check_relaxed_settings(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(r.node, 'warn', format('%s of "%s" is relaxed since %s (run %s)', r.name, r.node,
                                      r.since::timestamptz(0), r.run),
               format('It becomes %s when a standby streams that satisfies it; until then '
                      'commits there wait for none.',
                      CASE WHEN r.wanted IS NULL THEN 'what the files say' ELSE quote_literal(r.wanted) END))::finding
    FROM relaxed r WHERE r.node IN ($1, node_name())
    UNION ALL
    SELECT finding(node_name(), true, 'warn', 'none', NULL, 'postgres')
        WHERE NOT EXISTS (SELECT FROM relaxed r WHERE r.node IN ($1, node_name()))
$$;

CREATE FUNCTION pingpong_check.check_hot_standby(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- a primary runs with either value; what counts is its next start, which is one as a standby
    SELECT finding(n.name, coming = 'on' AND (n.is_source OR now = 'on'), 'fail',
                   CASE WHEN coming = 'on' AND (n.is_source OR now = 'on') THEN 'hot_standby is on'
                       ELSE format('hot_standby is %s now, and %s from the next start on', now, coming) END,
                   'As a standby it would accept no connections, so it would not be known whether it is back: set '
                   'hot_standby = on in its configuration, or on its command line.',
                   'postgres', 'next')
    FROM preflight_node n, LATERAL (SELECT n.pg #>> '{effective,hot_standby}',
                                    next_setting(n.facts, 'hot_standby')) h (now, coming)
    WHERE n.kind = 'postgres' AND (n.name = $1 OR n.is_source)
$$;

-- What the server of a node gives to new sessions: as another node's agent found it in a walsender of that server,
-- where nothing was set for the session; or else as its own agent tells.
CREATE FUNCTION pingpong_check.session_default(node text, name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT coalesce((SELECT c.answer ->> $2 FROM preflight_connection c
                     WHERE c.node = $1 AND c.kind = 'replication' AND c.ok AND c.answer ? $2 LIMIT 1),
                    (SELECT n.pg #>> ARRAY['effective', $2] FROM preflight_answer n WHERE n.name = $1))
$$;

CREATE FUNCTION pingpong_check.check_session_defaults(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- clients come with their own defaults: those of the server, of the database, of their role
    SELECT finding(CASE WHEN theirs IS NULL OR here IS NOT NULL THEN $1 ELSE coalesce(s.name, $1) END,
                   there = 'off' AND here = 'off', CASE WHEN here = 'off' THEN 'fail' ELSE 'warn' END,
                   CASE WHEN there = 'off' AND here = 'off' THEN 'sessions may write by default'
                        ELSE format('default_transaction_read_only is %s on the target%s, %s here', theirs,
                                    CASE WHEN theirs <> there THEN format(' (%s after a reload)', there) END,
                                    here) END,
                   CASE WHEN here = 'off' THEN 'No client that does not set it itself could write after the move: '
                                               'ALTER SYSTEM RESET default_transaction_read_only there, or take it '
                                               'out of its files, and reload.'
                        ELSE 'After the move the value of the target counts; make them agree, or make '
                             'sure that this is meant.' END, 'postgres', 'effective')
    FROM preflight_node n LEFT JOIN preflight_node s ON s.is_source,
         LATERAL (SELECT session_default(n.name, 'default_transaction_read_only'),
                  n.pg #>> '{next,default_transaction_read_only}',
                         session_default(s.name, 'default_transaction_read_only')) v (theirs, coming, here),
         LATERAL (SELECT CASE WHEN 'on' IN (theirs, coming) THEN 'on' ELSE theirs END) w (there)
    WHERE n.name = $1
    UNION ALL
    SELECT ROW($1, CASE WHEN there = here THEN 'info' ELSE 'warn' END,
               format('%s is "%s" on the target, "%s" here', g, there, here),
               CASE WHEN there <> here THEN 'After the move the value of the target counts; make them agree, or make '
                                            'sure that this is meant.' END)::finding
    FROM preflight_node n LEFT JOIN preflight_node s ON s.is_source,
        unnest(ARRAY['default_transaction_isolation', 'default_transaction_deferrable']) g,
         LATERAL (SELECT session_default(n.name, g), session_default(s.name, g)) v (there, here)
    WHERE n.name = $1 AND (there <> here OR there NOT IN ('read committed', 'off'))
    UNION ALL
    -- these travel with the data: nothing changes by the move, but a test whether clients can write may be misled
    SELECT ROW(node_name(), CASE WHEN c LIKE 'default_transaction_read_only=%' THEN 'warn' ELSE 'info' END,
               format('%s%s', c, concat(' for role ' || quote_ident(r.rolname),
                                        CASE WHEN r.rolname IS NULL THEN ' for all roles' END,
                                        ' in database ' || quote_ident(d.datname))),
               'Set by ALTER ROLE or ALTER DATABASE; it stays so on the new primary.')::finding
    FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT
        JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c
    WHERE c ~* '^default_transaction_read_only=(on|tr?u?e?|ye?s?|1)$'
        OR (c ~* '^default_transaction_isolation=' AND c !~* '=read (un)?committed$')
$$;

CREATE FUNCTION pingpong_check.check_command_line(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- with pg_ctl the agent gives the server what it was started with; with the other means it is started as it
    -- always was
    SELECT finding(n.name, given = '[]' OR kept, 'info',
                   CASE WHEN given = '[]' THEN 'none' ELSE format(CASE WHEN kept THEN 'kept by the agent: %s'
                                                                  ELSE 'given on its command line: %s' END,
                                                                  names) END,
                   format('They stay as long as %s starts the server with them.', method), 'postgres', 'command_line')
    FROM preflight_node n,
         LATERAL (SELECT n.pg #> '{command_line,rows}', n.facts #>> '{service,method}',
                  coalesce((n.facts #>> '{service,keeps_command_line}')::boolean, false)) f (given, method, kept),
         LATERAL (SELECT string_agg(x, ', ' ORDER BY x) FROM jsonb_array_elements_text(given) x) l (names)
    WHERE n.kind = 'postgres' AND (n.name = $1 OR n.is_source)
    UNION ALL
    -- what a run sets with ALTER SYSTEM has no effect against a command line; the other standbys are told whom to
    -- follow, too
    SELECT ROW(n.name, 'fail', format('given on its command line: %s', names), 'A run has to change it, and could '
               'not: put it into the configuration files, and start the server without it.')::finding
    FROM preflight_node n,
         LATERAL (SELECT string_agg(x, ', ' ORDER BY x)
                  FROM jsonb_array_elements_text(n.pg #> '{command_line,rows}') x
                  WHERE x IN ('primary_conninfo', 'primary_slot_name', 'synchronous_standby_names')) l (names)
    WHERE n.kind = 'postgres' AND names IS NOT NULL
$$;

-- The worker of the target goes on after the promotion: it has to find the run in its database.
CREATE FUNCTION pingpong_check.check_target_worker(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT required($1, CASE WHEN jsonb_typeof(p) = 'object' THEN problem IS NULL END, 'fail',
                    coalesce(problem, format('worker %s is attached to "%s", version %s', p ->> 'worker_pid',
                                             p ->> 'worker_database', p ->> 'version')),
                    hint, 'postgres', 'pingpong')
    FROM preflight_node n, LATERAL (SELECT n.pg -> 'pingpong') f (p),
         LATERAL (SELECT CASE
             WHEN p ->> 'database' IS NULL THEN ARRAY['pg_pingpong is not loaded there', 'Add pg_pingpong to '
                                                      'shared_preload_libraries of the target, and restart it.']
             WHEN p ->> 'database' <> current_setting('pingpong.database')
             THEN ARRAY[format('pingpong.database is "%s" there, "%s" here', p ->> 'database',
                               current_setting('pingpong.database')),
                        'Its worker would not find the run: set pingpong.database on the target as it '
                        'is here, and restart it.']
             WHEN next_setting(n.facts, 'pingpong.database') <> current_setting('pingpong.database')
             THEN ARRAY[format('pingpong.database will be "%s" there from the next start on, it is "%s" here',
                               next_setting(n.facts, 'pingpong.database'), current_setting('pingpong.database')),
                        'Its worker would not find the run: set pingpong.database in its '
                        'configuration files as it is here.']
             WHEN p ->> 'version' IS DISTINCT FROM current_setting('pingpong.version')
             THEN ARRAY[format('pg_pingpong there is of version %s, here %s', coalesce(p ->> 'version', 'unknown'),
                               current_setting('pingpong.version')),
                        'Install the same release on both, and restart the one that was older.']
             WHEN p ->> 'worker_pid' IS NULL THEN ARRAY['its worker does not run', 'Look into the log of the target '
                                                        'why the pg_pingpong worker ends; it is started each second.']
             WHEN p ->> 'worker_database' <> current_database()
             THEN ARRAY[format('its worker is attached to "%s", the extension lives in "%s"', p ->> 'worker_database',
                               current_database()), 'Set pingpong.database on both, and restart them.']
             WHEN p ->> 'error' IS NOT NULL THEN ARRAY[format('its agent cannot connect to database "%s" there: %s',
                                                              p ->> 'database', p ->> 'error'),
                                                              'Let the superuser of the agent in (pg_hba.conf).']
             WHEN p ->> 'extension' IS NULL THEN ARRAY[format('the extension is not in database "%s" there',
                                                              p ->> 'database'), 'Wait until the target has '
                                                                  'replayed CREATE EXTENSION.']
             WHEN p ->> 'problem' <> ''
             THEN ARRAY['its worker could not go on: ' || (p ->> 'problem'),
                        'See to pingpong.agent_token_file, pingpong.agent_ca_file and the other settings of '
                        'pg_pingpong on the target, and to its way to the agents.']
             END) c (c), LATERAL (SELECT c[1], c[2]) d (problem, hint)
    WHERE n.name = $1
    UNION ALL
    SELECT ROW(n.name, 'warn', format('pingpong.database will be "%s" here from the next start on, which the '
                                      'move brings; it is "%s" now', coming, current_setting('pingpong.database')),
               'As a standby this server would be no target for the way back: correct '
               'its configuration files.')::finding
    FROM preflight_node n, LATERAL (SELECT next_setting(n.facts, 'pingpong.database')) s (coming)
    WHERE n.is_source AND coming <> current_setting('pingpong.database')
$$;

-- A seal is enforced by the module: a sealed server that starts without it is open.
CREATE FUNCTION pingpong_check.check_seal_enforced(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(n.name, 'pg_pingpong' = ANY (libraries), 'fail',
                   CASE WHEN 'pg_pingpong' = ANY (libraries) THEN 'the next start loads pg_pingpong'
                       ELSE format('the next start loads "%s", without pg_pingpong', coming) END,
                   'Its seal would not be enforced after a restart: put pg_pingpong into shared_preload_libraries '
                   'where it is set last (SELECT * FROM pg_file_settings).',
                   'postgres', 'next')
    FROM preflight_node n, LATERAL (SELECT next_setting(n.facts, 'shared_preload_libraries')) v (coming),
         LATERAL (SELECT CASE WHEN coming IS NOT NULL THEN
                      ARRAY(SELECT regexp_replace(btrim(x, E' \t"'), E'^(\\$libdir/|.*/)?(pg_pingpong)(\\.so)?$',
                                                  E'\\2') FROM regexp_split_to_table(coming,
                                                      ',') x) END) l (libraries)
    WHERE n.kind = 'postgres' AND (n.name = $1 OR n.is_source)
$$;
