-- Preflight of the runbook upgrade: what pg_upgrade would meet, on each host and in each database, while the server
-- still serves. The agents tell it in the facts "upgrade" (agent/upgrade/facts.c); what is in shared catalogs is read
-- here. pg_upgrade --check, which a run makes behind the preflight, looks at the rest.

INSERT INTO pingpong.preflight_check (number, name, topic, builtin, comment, runbooks)
SELECT v.number, v.name, v.topic, true, v.comment, '{upgrade}'
FROM (VALUES
    ( 2, 'upgrade_node',                  'identity',  'the node is this primary, which is open'),
    (10, 'upgrade_ha_managers',           'hosts',     'nobody else starts or promotes servers meanwhile'),
    (20, 'upgrade_prepared_transactions', 'obstacles', 'no prepared transactions'),
    (28, 'upgrade_subscriptions',         'obstacles', 'no subscriptions, whose position would be lost'),
    (32, 'upgrade_archiver',              'shutdown',  'WAL archiving works: the stop waits for it'),
    (34, 'upgrade_streams',               'shutdown',  'who streams from here is made anew'),
    (70, 'upgrade_rehearsal',             'safety',    'it was rehearsed, and the rehearsal is of now'),
    (73, 'upgrade_successor',             'programs',  'each agent has a successor, with an empty folder'),
    (73, 'upgrade_same_release',          'programs',  'all nodes have the same release of the new major'),
    (73, 'upgrade_minor_release',         'programs',  'the new release is not an older one'),
    (73, 'upgrade_tried_later',           'contents',  'what only pg_upgrade --check finds'),
    (74, 'upgrade_extensions',            'programs',  'the new major has all extensions'),
    (75, 'upgrade_libraries',             'programs',  'the new major has all libraries'),
    (76, 'upgrade_role_names',            'contents',  'no role has a name that the server keeps for itself'),
    (77, 'upgrade_databases',             'contents',  'all databases are whole and accept connections'),
    (78, 'upgrade_column_types',          'contents',  'no column has a type that cannot be carried over'),
    (80, 'upgrade_settings',              'programs',  'settings that the new server does not get'),
    (82, 'upgrade_collations',            'contents',  'collations have the version that indexes were made with'),
    (83, 'upgrade_links',                 'folders',   'files can be linked or cloned into the new folder (tried)'),
    (84, 'upgrade_tablespaces',           'folders',   'tablespaces can be carried over within their locations'),
    (85, 'upgrade_slots',                 'contents',  'replication slots, which an upgrade does not keep'),
    (86, 'upgrade_indexes',               'contents',  'indexes are valid'),
    (87, 'upgrade_objects',               'contents',  'how many objects are to be carried over'),
    (88, 'upgrade_statistics',            'contents',  'extended statistics, which are not carried over'),
    (89, 'upgrade_freeze',                'contents',  'no database is near its wraparound limit'),
    (91, 'upgrade_files',                 'folders',   'files that settings name can be read'),
    (92, 'upgrade_passwords',             'contents',  'passwords with md5 hashes'),
    (93, 'upgrade_synchronous',           'safety',    'commits do not wait for a standby that is still made'),
    (95, 'upgrade_cron',                  'programs',  'pg_cron finds its database'),
    (96, 'upgrade_sockets',               'folders',   'the sockets of pg_upgrade can be made'),
    (96, 'upgrade_environment',           'hosts',     'nothing leads libpq elsewhere'),
    (97, 'upgrade_snapshot',              'safety',    'the snapshot that leads back can be taken'),
    (97, 'upgrade_way_back',              'safety',    'until when the old server can go on'),
    (98, 'upgrade_disk_space',            'folders',   'room for the new server')
    ) v (number, name, topic, comment);

-- The nodes that an upgrade works on, with what their agents told for it.
CREATE FUNCTION pingpong_check.upgrade_nodes(OUT node text, OUT is_source boolean, OUT facts jsonb)
    RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT n.name, n.is_source, CASE WHEN NOT n.facts -> 'upgrade' ? 'error' THEN n.facts -> 'upgrade' END
    FROM preflight_node n WHERE n.kind = 'postgres' ORDER BY n.is_source DESC, n.name
$$;

-- The databases of this server as its agent found them: one part of each. None: the agent has not told.
CREATE FUNCTION pingpong_check.upgrade_contents(part text, OUT node text, OUT database text, OUT error text,
                                                OUT found jsonb)
    RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT n.node, d ->> 'database', coalesce(d ->> 'error', d -> $1 ->> 'error'),
           CASE WHEN NOT d -> $1 ? 'error' THEN d -> $1 END
    FROM upgrade_nodes() n, jsonb_array_elements(n.facts #> '{databases,rows}') d WHERE n.is_source
$$;

-- A warning for each database that could not be looked at, and one if none could.
CREATE FUNCTION pingpong_check.upgrade_unseen(part text) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(c.node, 'warn', format('database "%s" not checked: %s', c.database, c.error),
               'Make sure by hand; pg_upgrade --check looks, too.')::finding
    FROM upgrade_contents($1) c WHERE c.error IS NOT NULL
    UNION ALL
    SELECT finding(node_name(), NULL, 'warn', NULL, NULL, 'upgrade', 'databases')
    WHERE NOT EXISTS (SELECT FROM upgrade_contents($1))
$$;

-- Of a part that counts and names what it found: a finding for each database that has some.
CREATE FUNCTION pingpong_check.upgrade_found(part text, bad text, what text, hint text)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH c AS MATERIALIZED (
        SELECT d.*, (d.found ->> 'count')::bigint AS n,
               (SELECT string_agg(x, ', ') FROM jsonb_array_elements_text(d.found -> 'names') x) AS names
        FROM upgrade_contents($1) d)
    SELECT ROW(c.node, $2, format('database "%s": %s %s: %s%s', c.database, c.n, $3, c.names,
                                  CASE WHEN c.n > 5 THEN ', ...' ELSE '' END), $4)::finding
    FROM c WHERE c.n > 0
    UNION ALL
    SELECT ROW(min(c.node), 'ok', format('none in %s databases', count(*)), NULL)::finding
    FROM c WHERE c.error IS NULL HAVING count(*) > 0 AND max(c.n) = 0
    UNION ALL
    SELECT upgrade_unseen($1)
$$;

--
-- The server
--

CREATE FUNCTION pingpong_check.check_upgrade_node(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(coalesce(node_name(), '(here)'), CASE WHEN problem IS NULL THEN 'ok' ELSE 'fail' END,
               coalesce(problem, format('this primary, of version %s', current_setting('server_version'))),
               CASE WHEN problem IS NOT NULL THEN 'An upgrade is begun on the primary, and upgrades the primary.' END
               )::finding
    FROM (SELECT CASE WHEN pg_is_in_recovery() THEN 'this server is a standby'
                      WHEN NOT EXISTS (SELECT FROM node n WHERE n.name = node_name() AND n.kind = 'postgres')
                      THEN 'this server is not in pingpong.node'
                      WHEN $1 IS DISTINCT FROM node_name() THEN format('node "%s" is not this server', $1)
                      WHEN EXISTS (SELECT FROM pingpong_internal.gate_status() g WHERE g.state = 'sealed')
                      THEN 'this server is sealed: it takes no writes' END) p (problem)
    UNION ALL
    SELECT ROW(node_name(), 'fail', 'the new version is not told',
               'Add it to the options: {"runbook": "upgrade", "to_version": 18}.')::finding
    WHERE $2 ->> 'to_version' IS NULL
$$;

-- What stops a switchover is told here, but an upgrade moves no primary: the findings of another check as warnings.
CREATE FUNCTION pingpong_check.check_upgrade_ha_managers(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(f.node, CASE f.status WHEN 'fail' THEN 'warn' ELSE f.status END, f.detail,
               CASE f.status WHEN 'ok' THEN NULL
                   ELSE 'It would start or promote servers while this one is down: pause it.' END)::finding
    FROM check_no_other_ha_manager($1, $2) f
$$;

CREATE FUNCTION pingpong_check.check_upgrade_archiver(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(f.node, CASE f.status WHEN 'fail' THEN 'warn' ELSE f.status END, f.detail,
               CASE f.status WHEN 'ok' THEN NULL
                   ELSE 'The old server waits for the archiver when it stops, and the clients with it: repair '
                        'archive_command, and wait until the backlog is gone.' END)::finding
    FROM check_archiver($1, $2) f
$$;

CREATE FUNCTION pingpong_check.check_upgrade_prepared_transactions(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'fail',
                   CASE count(*) WHEN 0 THEN 'none'
                       ELSE format('%s prepared transactions, the oldest since %s s', count(*),
                                   round(max(extract(epoch FROM clock_timestamp() - prepared)))) END,
                   'Commit them or roll them back: see pg_prepared_xacts.', 'postgres')
    FROM pg_prepared_xacts
$$;

CREATE FUNCTION pingpong_check.check_upgrade_subscriptions(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'fail',
                   CASE count(*) WHEN 0 THEN 'none'
                       ELSE format('%s subscriptions would lose their position: %s', count(*),
                                   string_agg(quote_ident(subname), ', ' ORDER BY subname)) END,
                   'Drop them, and make them anew after the upgrade: see pg_subscription.', 'postgres')
    FROM pg_subscription
$$;

-- What follows the old version cannot follow the new one.
CREATE FUNCTION pingpong_check.check_upgrade_streams(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH standby AS (SELECT n.name, n.upstream FROM node n
                     WHERE n.kind = 'postgres' AND n.name <> node_name() AND n.away_since IS NULL),
    stranger AS (SELECT coalesce(nullif(s.application_name, ''), '(without a name)') AS name FROM preflight_sender s
                 WHERE NOT EXISTS (SELECT FROM standby n WHERE n.name = lower(s.application_name)))
    SELECT ROW(node_name(), 'fail', format('"%s" streams from this server, and is none of its registered standbys',
                                           s.name),
               'Stop it: see pg_stat_replication. A standby streams under the name of its node: application_name in '
               'its primary_conninfo.')::finding FROM stranger s
    UNION ALL
    SELECT ROW(n.name, 'fail', format('it streams from "%s", and would be left behind', n.upstream),
               'Only standbys that stream from the primary are made anew. Forget it with pingpong.drop_node(), and '
               'build it anew after the upgrade.')::finding
    FROM standby n WHERE n.upstream <> node_name()
    UNION ALL
    SELECT ROW(node_name(), 'ok', format('%s standbys are made anew', (SELECT count(*) FROM standby)), NULL)::finding
    WHERE NOT EXISTS (SELECT FROM stranger) AND NOT EXISTS (SELECT FROM standby n WHERE n.upstream <> node_name())
$$;

--
-- The new major's programs and folders
--

CREATE FUNCTION pingpong_check.check_upgrade_successor(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT required(n.node, CASE WHEN n.facts ? 'successor' THEN problem IS NULL END, 'fail',
                    coalesce(problem, format('version %s, for the folder "%s"', n.facts ->> 'version', folder)),
                    CASE WHEN NOT (n.facts #>> '{successor,ok}')::boolean
                         THEN 'Name the new server''s folders in the agent''s configuration: a section '
                              '[postgresql.NAME] with "data", "bin" and "successor = yes", and in both "control = '
                              'pg_ctl", or clusters of Debian''s ("pg_ctlcluster", or "systemctl" with its units).'
                         WHEN NOT (n.facts #>> '{programs,ok}')::boolean
                         THEN 'Install the packages of the new version there.'
                         WHEN NOT (n.facts #>> '{place,ok}')::boolean
                         THEN 'The agent makes the new cluster of Debian''s, and its user has to be allowed to, by '
                              'the folders'' modes and, with systemctl, by pingpong-agent.rules. If a package '
                              'has made it already, and nobody uses it: pg_dropcluster, as root.'
                         ELSE 'It is to be the data directory of the new server. Look at what is in it, and empty it.'
                         END, 'upgrade')
    FROM upgrade_nodes() n,
         LATERAL (SELECT n.facts #>> '{folder,path}', n.facts #>> '{folder,state}') f (folder, state),
         LATERAL (SELECT coalesce(n.facts #>> '{successor,problem}', n.facts #>> '{programs,problem}',
                                  n.facts #>> '{place,problem}',
                                  CASE state WHEN 'filled' THEN format('"%s" is not empty', folder)
                                             WHEN 'running' THEN format('a server runs in "%s"', folder) END))
                                             p (problem)
$$;

CREATE FUNCTION pingpong_check.check_upgrade_same_release(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(DISTINCT v) = 1, 'warn',
                   CASE count(DISTINCT v) WHEN 1 THEN format('version %s on all nodes', min(v))
                       ELSE string_agg(format('%s on "%s"', v, n.node), ', ' ORDER BY n.node) END,
                   'Install the same release on all hosts.', 'upgrade', 'version')
    FROM upgrade_nodes() n, LATERAL (SELECT n.facts ->> 'version') x (v) WHERE v IS NOT NULL
    HAVING count(*) > 0
$$;

-- The number of a release among the rounds in which all majors get one; null for majors that came after this table.
CREATE FUNCTION pingpong_check.release_round(major integer, minor integer) RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT minor + CASE major WHEN 15 THEN 0 WHEN 16 THEN 4 WHEN 17 THEN 8 WHEN 18 THEN 14 END
$$;

CREATE FUNCTION pingpong_check.check_upgrade_minor_release(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(n.node, CASE WHEN there < here THEN 'warn' WHEN there >= here THEN 'ok' ELSE 'info' END,
               format('%s.%s here, the new version is %s%s', num / 10000, num % 10000, version,
                      CASE WHEN there < here THEN format(', which is %s release rounds older', here - there)
                           WHEN there IS NULL THEN '; which is the older one is not known' ELSE '' END),
               CASE WHEN there < here THEN 'The older release may refuse what the newer one has stored: install the '
                                           'newest minor release of the new version.' END)::finding
    FROM upgrade_nodes() n,
         LATERAL (SELECT n.facts ->> 'version', current_setting('server_version_num')::integer) v (version, num),
         LATERAL (SELECT regexp_match(version, E'^(\\d+)\\.(\\d+)')) m (m),
         LATERAL (SELECT release_round(num / 10000, num % 10000), release_round(m[1]::integer, m[2]::integer))
             r (here, there)
    WHERE n.is_source AND version IS NOT NULL
$$;

CREATE FUNCTION pingpong_check.check_upgrade_extensions(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH used AS MATERIALIZED (
        SELECT e.key AS name, string_agg(DISTINCT e.value, ', ') AS versions,
               string_agg(quote_ident(c.database), ', ' ORDER BY c.database) AS databases,
               bool_or(e.value IS DISTINCT FROM n.facts #>> ARRAY['available', 'rows', e.key]) AS due,
               min(n.facts #>> ARRAY['available', 'rows', e.key]) AS there
        FROM upgrade_contents('extensions') c CROSS JOIN LATERAL jsonb_each_text(c.found) e
             JOIN upgrade_nodes() n ON n.is_source AND n.facts #> '{available,rows}' IS NOT NULL
        GROUP BY e.key)
    SELECT ROW(node_name(), 'fail', format('the new version has no extension "%s" (in the databases %s)', u.name,
                                           u.databases),
               'Install its package for the new version, or drop the extension.')::finding
    FROM used u WHERE u.there IS NULL
    UNION ALL
    SELECT ROW(node_name(), 'info', format('extension "%s" is of version %s, and %s in the new installation', u.name,
                                           u.versions, u.there),
               format('It stays as it is. After the upgrade: ALTER EXTENSION %I UPDATE, in the databases %s.', u.name,
                      u.databases))::finding
    FROM used u WHERE u.due AND u.there <> ''
    UNION ALL
    SELECT ROW(node_name(), 'ok', format('the new version has all %s extensions', count(*)), NULL)::finding
    FROM used u HAVING count(*) > 0 AND bool_and(u.there IS NOT NULL)
    UNION ALL
    SELECT finding(n.node, NULL, 'warn', NULL, NULL, 'upgrade', 'available') FROM upgrade_nodes() n
    WHERE n.is_source AND n.facts #> '{available,rows}' IS NULL
    UNION ALL
    SELECT upgrade_unseen('extensions')
$$;

CREATE FUNCTION pingpong_check.check_upgrade_libraries(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(n.node, CASE WHEN n.facts #> '{libraries,rows}' IS NOT NULL THEN true END, 'fail',
                   format('the new version has all %s libraries', total), NULL, 'upgrade', 'libraries')
    FROM upgrade_nodes() n,
         LATERAL (SELECT count(*), count(*) FILTER (WHERE l.value = 'false')
                  FROM jsonb_each(n.facts #> '{libraries,rows}') l) x (total, missing)
    WHERE n.is_source AND missing = 0
    UNION ALL
    SELECT ROW(n.node, 'fail', format('the new version has no library "%s"%s', l.key, coalesce(
                   format(', which functions in the databases %s need', users),
                   ', which shared_preload_libraries names')),
               'Install its package for the new version, or drop what uses it.')::finding
    FROM upgrade_nodes() n CROSS JOIN LATERAL jsonb_each(n.facts #> '{libraries,rows}') l,
         LATERAL (SELECT string_agg(quote_ident(c.database), ', ' ORDER BY c.database)
                  FROM upgrade_contents('libraries') c WHERE c.found ? l.key) u (users)
    WHERE n.is_source AND l.value = 'false'
    UNION ALL
    SELECT upgrade_unseen('libraries')
$$;

CREATE FUNCTION pingpong_check.check_upgrade_settings(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT CASE WHEN s -> 'dropped' IS NULL THEN finding(n.node, NULL, 'warn', NULL, NULL, 'upgrade', 'settings')
                WHEN dropped IS NULL AND left_ IS NULL
                THEN ROW(n.node, 'ok', 'the new server gets all settings', NULL)::finding
                ELSE ROW(n.node, 'info', concat_ws('; ',
                             'not known to the new version, or about the old folders: ' || dropped,
                             'set by ALTER SYSTEM and not in "carry": ' || left_),
                         'The new server does not get them.')::finding END
    FROM upgrade_nodes() n, LATERAL (SELECT n.facts -> 'settings') f (s),
         LATERAL (SELECT string_agg(x, ', ') FROM jsonb_array_elements_text(s -> 'dropped') x) d (dropped),
         LATERAL (SELECT string_agg(x, ', ') FROM jsonb_array_elements_text(s -> 'left') x
                  WHERE NOT coalesce($2 -> 'carry', '[]') ? x) l (left_)
    WHERE n.facts ? 'programs'
    UNION ALL
    -- pg_dumpall leaves them out, and pg_upgrade with it
    SELECT ROW(node_name(), 'warn', format('set by ALTER ROLE ALL, which is lost: %s', string_agg(name, ', ')),
               'Set them in postgresql.conf, or again on the new server.')::finding
    FROM pg_db_role_setting s, unnest(s.setconfig) c, LATERAL (SELECT split_part(c, '=', 1)) n (name)
    WHERE s.setrole = 0 AND s.setdatabase = 0
    HAVING count(*) > 0
$$;

CREATE FUNCTION pingpong_check.check_upgrade_links(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(n.node, (n.facts #>> '{links,ok}')::boolean, 'fail',
                   coalesce(n.facts #>> '{links,problem}', 'a file could be taken over'),
                   CASE mode WHEN 'clone' THEN 'The file system must have reflinks (xfs, btrfs); or use mode copy.'
                       ELSE 'Both folders must be on one file system and in one mount; or use mode copy.' END,
                   'upgrade', 'links')
    FROM upgrade_nodes() n, LATERAL (SELECT coalesce($2 ->> 'mode', 'copy')) m (mode)
    WHERE n.is_source AND mode <> 'copy' AND n.facts ? 'programs'
$$;

CREATE FUNCTION pingpong_check.check_upgrade_disk_space(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- a row for each file system
    SELECT finding(n.node, free >= needed, 'fail',
                   format('the new server needs %s in "%s", %s are free', pg_size_pretty(needed), folder,
                          pg_size_pretty(free)),
                   'Make room, or name a folder on another disk; modes link and clone need little on the primary.',
                   'upgrade', 'room')
    FROM upgrade_nodes() n
         LEFT JOIN LATERAL jsonb_to_recordset(n.facts #> '{room,rows}') r (folder text, needed bigint, free bigint)
             ON true
    WHERE n.facts ? 'programs'
$$;

CREATE FUNCTION pingpong_check.check_upgrade_files(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(n.node, r = '[]', 'fail',
                   coalesce((SELECT string_agg(format('%s "%s": %s', x ->> 'name', x ->> 'file', x ->> 'problem'),
                                               '; ') FROM jsonb_array_elements(r) x),
                            'all files that settings name can be read'),
                   'The new server would not start: let the agent''s user read them.', 'upgrade', 'files')
    FROM upgrade_nodes() n, LATERAL (SELECT n.facts #> '{files,rows}') f (r) WHERE n.facts ? 'programs'
$$;

CREATE FUNCTION pingpong_check.check_upgrade_sockets(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(n.node, bytes <= most AND busy IS NULL, 'fail',
                   CASE WHEN bytes > most THEN format('the path of a socket in "%s" has %s bytes, %s are possible',
                                                      n.facts #>> '{socket,folder}', bytes, most)
                        WHEN busy IS NOT NULL THEN format('a server listens in "%s" at port %s',
                                                          n.facts #>> '{socket,folder}', busy)
                        ELSE format('%s of %s bytes, ports 50432 and 50433 are free', bytes, most) END,
                   CASE WHEN bytes > most THEN 'Use a socket folder with a shorter path.'
                        ELSE 'pg_upgrade needs these ports in the socket folder: stop that server.' END,
                   'upgrade', 'socket')
    FROM upgrade_nodes() n,
         LATERAL (SELECT (n.facts #>> '{socket,length}')::integer, (n.facts #>> '{socket,limit}')::integer)
             s (bytes, most),
         LATERAL (SELECT string_agg(x, ' and ') FROM jsonb_array_elements_text(n.facts #> '{socket,busy}') x)
             b (busy)
    WHERE n.is_source AND n.facts ? 'programs'
$$;

CREATE FUNCTION pingpong_check.check_upgrade_environment(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- pg_upgrade does not get them: the agent's programs are started without
    SELECT finding(n.node, e = '[]', 'warn',
                   coalesce((SELECT string_agg(x, ', ') FROM jsonb_array_elements_text(e) x)
                            || ' in the environment of the agent', 'nothing in the environment of the agent'),
                   'Start the agent without: they may lead its own connections elsewhere.', 'upgrade', 'environment')
    FROM upgrade_nodes() n, LATERAL (SELECT n.facts -> 'environment') f (e)
$$;

CREATE FUNCTION pingpong_check.check_upgrade_snapshot(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(n.node, (n.facts #>> '{snapshot,ok}')::boolean, 'fail',
                   coalesce(n.facts #>> '{snapshot,problem}', 'it can be taken by ' || driver,
                            'none is configured: no way back once the new server has been started'),
                   'See the option "snapshot" of the agent''s configuration.', 'upgrade', 'snapshot')
    FROM upgrade_nodes() n, LATERAL (SELECT n.facts #>> '{snapshot,driver}') d (driver)
    WHERE n.is_source AND $2 ->> 'mode' IN ('link', 'swap') AND n.facts ? 'programs'
$$;

CREATE FUNCTION pingpong_check.check_upgrade_way_back(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(node_name(), 'info', format('mode "%s": the old server can go on until %s', mode,
               CASE mode WHEN 'link' THEN 'the new one has been started (step upgrade_start), on the same files'
                   WHEN 'swap' THEN 'its files are moved (step upgrade_run), and then from its snapshot'
                   ELSE 'the new one takes writes (step open_new)' END),
               'What clients write to the new server is not in the old one. Have a base backup.')::finding
    FROM (SELECT coalesce($2 ->> 'mode', 'copy')) m (mode)
$$;

--
-- What the databases hold
--

CREATE FUNCTION pingpong_check.check_upgrade_tried_later(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(node_name(), 'info', 'types, operators, functions and encodings that the new version does not have '
               'any more are found by pg_upgrade --check',
               'The run makes it in its first step, while the server serves.')::finding
$$;

CREATE FUNCTION pingpong_check.check_upgrade_role_names(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'fail',
                   CASE count(*) WHEN 0 THEN 'none' ELSE format('roles with names that begin with "pg_": %s',
                        string_agg(quote_ident(rolname), ', ' ORDER BY rolname)) END,
                   'The new version keeps such names for itself: rename them.', 'postgres')
    FROM pg_roles WHERE rolname ~ '^pg_' AND oid >= 16384
$$;

CREATE FUNCTION pingpong_check.check_upgrade_databases(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) FILTER (WHERE d.datconnlimit = -2) = 0, 'fail',
                   CASE count(*) FILTER (WHERE d.datconnlimit = -2) WHEN 0 THEN format('%s databases', count(*))
                       ELSE format('invalid databases, left by a DROP DATABASE that broke off: %s',
                                   string_agg(quote_ident(d.datname), ', ' ORDER BY d.datname)
                                   FILTER (WHERE d.datconnlimit = -2)) END,
                   'Drop them.', 'postgres')
    FROM pg_database d
    UNION ALL
    SELECT ROW(node_name(), 'fail', format('databases that accept no connections: %s',
                                           string_agg(quote_ident(d.datname), ', ' ORDER BY d.datname)),
               'ALTER DATABASE ... ALLOW_CONNECTIONS true, or drop them.')::finding
    FROM pg_database d WHERE NOT d.datallowconn AND d.datname <> 'template0' AND d.datconnlimit <> -2
    HAVING count(*) > 0
    UNION ALL
    SELECT ROW(node_name(), 'fail', 'template0 accepts connections',
               'ALTER DATABASE template0 ALLOW_CONNECTIONS false.')::finding
    FROM pg_database d WHERE d.datallowconn AND d.datname = 'template0'
$$;

CREATE FUNCTION pingpong_check.check_upgrade_column_types(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT upgrade_found('types', 'fail', 'columns with a type that cannot be carried over',
                         'Change their type (to text, for instance), or drop them.')
$$;

CREATE FUNCTION pingpong_check.check_upgrade_collations(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(node_name(), 'warn', format('database "%s" was made with version %s of its collation, the host has %s',
                                           d.datname, d.datcollversion, actual),
               'Text may be sorted otherwise now, which makes indexes wrong: REINDEX DATABASE, then ALTER DATABASE '
               '... REFRESH COLLATION VERSION.')::finding
    FROM pg_database d, LATERAL (SELECT pg_database_collation_actual_version(d.oid)) a (actual)
    WHERE d.datallowconn AND d.datcollversion <> actual
    UNION ALL
    SELECT upgrade_found('collations', 'warn', 'collations of another version than the host has now',
                         'Text may be sorted otherwise now, which makes indexes wrong: reindex what uses them, then '
                         'ALTER COLLATION ... REFRESH VERSION.')
$$;

CREATE FUNCTION pingpong_check.check_upgrade_tablespaces(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(n.node, 'fail', format('tablespace "%s": %s', s.name, s.problem), s.hint)::finding
    FROM upgrade_nodes() n
         CROSS JOIN LATERAL jsonb_to_recordset(n.facts #> '{spaces,rows}') s (name text, problem text, hint text)
    WHERE s.problem IS NOT NULL
    UNION ALL
    SELECT finding(n.node, CASE WHEN r IS NOT NULL THEN true END, 'fail',
                   CASE jsonb_array_length(r) WHEN 0 THEN 'none'
                       ELSE format('the new version can have its folder in the locations of %s',
                                   jsonb_array_length(r)) END, NULL, 'upgrade', 'spaces')
    FROM upgrade_nodes() n, LATERAL (SELECT n.facts #> '{spaces,rows}') x (r)
    WHERE n.facts ? 'programs' AND NOT coalesce(jsonb_path_exists(r, '$[*].problem'), false)
$$;

-- Those of registered standbys are made anew by the run.
CREATE FUNCTION pingpong_check.check_upgrade_slots(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'fail',
                   CASE count(*) WHEN 0 THEN 'no logical slots' ELSE format('logical slots, which would be lost: %s',
                        string_agg(slot_name, ', ' ORDER BY slot_name)) END,
                   'Drop them: see pg_replication_slots.', 'postgres')
    FROM pg_replication_slots WHERE slot_type = 'logical'
    UNION ALL
    SELECT ROW(node_name(), 'warn', format('physical slots that belong to no node: %s',
                                           string_agg(s.slot_name, ', ' ORDER BY s.slot_name)),
               'They are not on the new server: what uses them has to be made anew.')::finding
    FROM pg_replication_slots s
    WHERE s.slot_type = 'physical' AND NOT s.temporary AND NOT EXISTS (SELECT FROM node n WHERE n.slot = s.slot_name)
    HAVING count(*) > 0
$$;

CREATE FUNCTION pingpong_check.check_upgrade_indexes(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT upgrade_found('indexes', 'warn', 'indexes that are not valid',
                         'They are not used, and stay so: REINDEX INDEX CONCURRENTLY, or drop them.')
$$;

-- Schemas are dumped and restored object by object, in each database by one process.
CREATE FUNCTION pingpong_check.check_upgrade_objects(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(min(c.node), CASE WHEN sum(r) > 100000 OR sum(l) > 1000000 THEN 'warn' ELSE 'info' END,
               format('%s relations and %s large objects in %s databases, in the largest %s and %s', sum(r), sum(l),
                      count(*), max(r), max(l)),
               CASE WHEN sum(r) > 100000 OR sum(l) > 1000000
                    THEN 'The clients wait meanwhile: rehearse it, give more jobs (each takes a database), and '
                         'see that max_window is enough.' END)::finding
    FROM upgrade_contents('objects') c,
         LATERAL (SELECT (c.found ->> 'relations')::bigint, (c.found ->> 'large_objects')::bigint) o (r, l)
    WHERE c.error IS NULL HAVING count(*) > 0
    UNION ALL
    SELECT upgrade_unseen('objects')
$$;

CREATE FUNCTION pingpong_check.check_upgrade_statistics(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(min(c.node), CASE WHEN sum(n) > 0 THEN 'info' ELSE 'ok' END,
               CASE WHEN sum(n) > 0 THEN format('%s extended statistics, in the databases %s', sum(n),
                         string_agg(quote_ident(c.database), ', ' ORDER BY c.database) FILTER (WHERE n > 0))
                   ELSE 'none' END,
               CASE WHEN sum(n) > 0 THEN 'They are empty until the step "analyze" has been made.' END)::finding
    FROM upgrade_contents('objects') c, LATERAL (SELECT (c.found ->> 'statistics')::bigint) o (n)
    WHERE c.error IS NULL HAVING count(*) > 0
$$;

CREATE FUNCTION pingpong_check.check_upgrade_freeze(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), max(age(d.datfrozenxid)) <= 0.8 * most, 'warn',
                   format('the oldest database, "%s", is %s of %s transactions old',
                          (array_agg(d.datname ORDER BY age(d.datfrozenxid) DESC))[1], max(age(d.datfrozenxid)),
                          most),
                   'The new server would soon vacuum all of it: VACUUM FREEZE beforehand, at a quiet time.',
                   'postgres')
    FROM pg_database d, (SELECT current_setting('autovacuum_freeze_max_age')::bigint) s (most) GROUP BY most
$$;

CREATE FUNCTION pingpong_check.check_upgrade_passwords(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'warn',
                   CASE count(*) WHEN 0 THEN 'none' ELSE format('%s roles: %s%s', count(*),
                        string_agg(quote_ident(r.rolname), ', ' ORDER BY r.rolname) FILTER (WHERE place <= 5),
                        CASE WHEN count(*) > 5 THEN ', ...' ELSE '' END) END,
                   'They go on to work, and are deprecated from 18 on: set the passwords anew with '
                   'password_encryption = scram-sha-256.', 'postgres')
    FROM (SELECT a.rolname, row_number() OVER (ORDER BY a.rolname) FROM pg_authid a
          WHERE a.rolpassword ~ '^md5') r (rolname, place)
$$;

-- The standbys of the old version are none of the new one, and a base backup lasts.
CREATE FUNCTION pingpong_check.check_upgrade_synchronous(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(node_name(), setting = '', 'fail',
                   CASE setting WHEN '' THEN 'commits wait for no standby'
                       ELSE format('synchronous_standby_names is "%s"', setting) END,
                   'Every commit on the new server would wait until a standby has been copied. Empty it for the '
                   'upgrade, and set it again when a standby streams.', 'postgres')
    FROM (SELECT current_setting('synchronous_standby_names')) s (setting)
$$;

CREATE FUNCTION pingpong_check.check_upgrade_cron(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(node_name(), CASE WHEN lost THEN 'warn' ELSE 'info' END,
               format('pg_cron works in the database "%s"%s', s.setting,
                      CASE WHEN lost THEN ', which ALTER SYSTEM has set' ELSE '' END),
               CASE WHEN lost THEN 'Name cron.database_name in "carry", or set it in postgresql.conf: on the new '
                                   'server pg_cron would look into another database.' END)::finding
    FROM pg_settings s, LATERAL (SELECT s.sourcefile LIKE '%/postgresql.auto.conf'
                                 AND NOT coalesce($2 -> 'carry', '[]') ? s.name) l (lost)
    WHERE s.name = 'cron.database_name'
    UNION ALL
    SELECT ROW(node_name(), 'ok', 'pg_cron is not loaded', NULL)::finding
    WHERE NOT EXISTS (SELECT FROM pg_settings s WHERE s.name = 'cron.database_name')
$$;

-- The last one of that version and mode counts. One that was cancelled, or had no room, tells nothing of the upgrade.
CREATE FUNCTION pingpong_check.check_upgrade_rehearsal(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH last AS MATERIALIZED (
        SELECT x.* FROM rehearsal x
        WHERE x.node = $1 AND x.to_version = ($2 ->> 'to_version')::integer AND x.mode = $2 ->> 'mode'
            AND (x.state = 'succeeded' OR x.found) ORDER BY x.run DESC LIMIT 1),
    changed AS MATERIALIZED (
        SELECT string_agg(format('%s: %s relations then, %s now', quote_ident(coalesce(c.database, d.name)),
                                 coalesce(d.n, '0'), coalesce(c.found ->> 'relations', '0')), '; '
                          ORDER BY coalesce(c.database, d.name)) AS what
        FROM last l CROSS JOIN LATERAL jsonb_each_text(l.databases) d (name, n)
             FULL JOIN (SELECT * FROM upgrade_contents('objects') u WHERE u.error IS NULL) c ON c.database = d.name
        WHERE d.n IS DISTINCT FROM c.found ->> 'relations'
            AND (d.name IS NULL OR NOT EXISTS (SELECT FROM upgrade_contents('objects') u
                                               WHERE u.database = d.name AND u.error IS NOT NULL)))
    SELECT ROW($1, 'warn', 'it was never rehearsed',
               format('SELECT * FROM pingpong.rehearse(''upgrade'', %L, %L)', $1,
                      jsonb_build_object('to_version', $2 -> 'to_version', 'mode', $2 -> 'mode')))::finding
    WHERE NOT EXISTS (SELECT FROM last)
    UNION ALL
    SELECT CASE WHEN l.found
        THEN ROW($1, 'fail', format('the rehearsal of run %s failed: %s', l.run, l.message),
                 'Mend what it names, and rehearse again.')::finding
        WHEN l.window_ms > ($2 ->> 'max_blackout_ms')::double precision
        THEN ROW($1, 'fail', format('the rehearsal of run %s took %s s, longer than max_window (%s s)', l.run,
                                    round(l.window_ms::numeric / 1000, 1),
                                    round(($2 ->> 'max_blackout_ms')::numeric / 1000, 1)),
                 'Give a longer max_window, or more jobs, or another mode.')::finding
        ELSE ROW($1, CASE WHEN c.what IS NOT NULL OR l.ended_at < now() - interval '30 days'
                          THEN 'warn' ELSE 'ok' END,
                 format('run %s, %s days ago: %s s%s%s', l.run, extract(day FROM now() - l.ended_at),
                        round(l.window_ms::numeric / 1000, 1),
                        coalesce(format(', and back in %s s', round(l.rollback_ms::numeric / 1000, 1)), ''),
                        coalesce('; since then the catalog has changed: ' || left(c.what, 300), '')),
                 CASE WHEN c.what IS NOT NULL OR l.ended_at < now() - interval '30 days'
                     THEN 'Rehearse it again.' END)::finding END
    FROM last l, changed c
$$;
