-- What an installation still lacks, in the order in which a person would mend it.
--
-- What only this server tells is looked at here. What agents tell is asked of them now (the request `facts`, as for
-- preflight), and judged by the checks of preflight that are about an installation and not about a moment.

CREATE TYPE pingpong_internal.setup_row AS (what text, status text, detail text, fix text);
COMMENT ON TYPE pingpong_internal.setup_row IS 'a row of check_setup(), without its number';

CREATE FUNCTION pingpong_internal.setup_library() RETURNS SETOF pingpong_internal.setup_row
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'library', CASE WHEN loaded THEN 'ok' ELSE 'missing' END,
           CASE WHEN loaded THEN 'pg_pingpong is loaded when the server starts'
                WHEN configured
                THEN 'pg_pingpong is in shared_preload_libraries, and the server was not restarted since'
                ELSE 'pg_pingpong is not in shared_preload_libraries: there is neither gate nor worker' END,
           CASE WHEN loaded THEN NULL
                WHEN configured THEN 'Restart the server.'
                ELSE format('ALTER SYSTEM SET shared_preload_libraries = %s; then restart the server.',
                            concat_ws(', ', 'pg_pingpong',
                                      nullif(current_setting('shared_preload_libraries'), ''))) END
    FROM (SELECT current_setting('shared_preload_libraries') ~ E'\\ypg_pingpong\\y',
                 EXISTS (SELECT FROM pg_file_settings
                         WHERE name = 'shared_preload_libraries' AND setting ~ E'\\ypg_pingpong\\y')
         ) s (loaded, configured)
$$;
COMMENT ON FUNCTION pingpong_internal.setup_library() IS
    'a row of check_setup(): whether the module is loaded as it must be';

-- Only where the module is loaded: otherwise its settings are unknown.
CREATE FUNCTION pingpong_internal.setup_database() RETURNS SETOF pingpong_internal.setup_row
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'database', CASE WHEN fine THEN 'ok' ELSE 'missing' END,
           CASE WHEN fine THEN format('the worker works in this database, "%s"', here)
                ELSE format('the worker works in database "%s", this is "%s"', wanted, here) END,
           CASE WHEN NOT fine AND there
                THEN format('Connect to database "%s"; or ALTER SYSTEM SET pingpong.database = %L on all nodes, and '
                            'restart them.', wanted, here)
                WHEN NOT fine
                THEN format('ALTER SYSTEM SET pingpong.database = %L on all nodes; then restart them.', here) END
    FROM (SELECT current_database()::text, current_setting('pingpong.database', true),
                 current_database() = current_setting('pingpong.database', true),
                 EXISTS (SELECT FROM pg_database WHERE datname = current_setting('pingpong.database', true))
         ) d (here, wanted, fine, there)
    UNION ALL
    SELECT 'worker', CASE WHEN pid IS NULL THEN 'missing' ELSE 'ok' END,
           CASE WHEN pid IS NULL THEN 'the worker does not run' ELSE 'the worker runs' END,
           CASE WHEN pid IS NULL THEN 'See the server''s log: the worker is started again each second.' END
    FROM pingpong.worker_pid() w (pid)
$$;
COMMENT ON FUNCTION pingpong_internal.setup_database() IS
    'rows of check_setup(): whether the worker runs, and in this database';

-- The settings of this server. A slot and a walsender for each standby, two more for a base backup.
CREATE FUNCTION pingpong_internal.setup_settings() RETURNS SETOF pingpong_internal.setup_row
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH n AS (
        SELECT count(*) FILTER (WHERE kind = 'postgres' AND name IS DISTINCT FROM pingpong.node_name()) AS standbys,
               coalesce(bool_or(host !~ E'^(/|localhost$|127\\.|::1$)') FILTER (WHERE kind = 'postgres'),
                        false) AS far,
               coalesce(bool_or(agent_url ~ '^https:'), false) AS tls, count(*) AS nodes
        FROM pingpong.node
    ), wanted (name, fine, value, detail) AS (
        SELECT 'wal_level', current_setting('wal_level') <> 'minimal', 'replica', NULL FROM n
        UNION ALL SELECT 'hot_standby', current_setting('hot_standby') = 'on', 'on', NULL
        UNION ALL SELECT 'max_wal_senders', current_setting('max_wal_senders')::integer >= standbys + 2,
                         (standbys + 8)::text, format('%s standbys, and a base backup', standbys) FROM n
        UNION ALL SELECT 'max_replication_slots', current_setting('max_replication_slots')::integer > standbys,
                         (standbys + 8)::text, format('%s standbys', standbys) FROM n
        UNION ALL SELECT 'wal_log_hints', current_setting('wal_log_hints') = 'on'
                         OR current_setting('data_checksums') = 'on', 'on', 'needed by pg_rewind without checksums'
        UNION ALL SELECT 'listen_addresses', NOT far
                         OR current_setting('listen_addresses') !~ E'^(|localhost|127\\.[0-9.]+|::1)$', '*',
                         'other hosts cannot connect' FROM n
    )
    SELECT w.name, CASE WHEN w.fine THEN 'ok' ELSE 'missing' END,
           concat_ws('; ', coalesce(nullif(current_setting(w.name), ''), 'empty'),
                     CASE WHEN NOT w.fine THEN w.detail END),
           CASE WHEN NOT w.fine
                THEN format('ALTER SYSTEM SET %s = %L; then restart the server.', w.name, w.value) END
    FROM wanted w
    UNION ALL
    SELECT 'node name', CASE WHEN here.name <> '' THEN 'ok' ELSE 'missing' END,
           CASE WHEN here.name <> '' THEN format('"%s"', here.name)
                ELSE 'this server has no name: neither pingpong.node_name nor cluster_name is set' END,
           CASE WHEN here.name <> '' THEN NULL
                ELSE 'ALTER SYSTEM SET pingpong.node_name = ''...''; SELECT pg_reload_conf();' END
    FROM (SELECT coalesce(pingpong.node_name(), '')) here (name)
    UNION ALL
    SELECT 'login at agents', CASE WHEN fine THEN 'ok' ELSE 'missing' END,
           CASE WHEN fine THEN 'by token or certificate'
                ELSE 'neither pingpong.agent_token_file nor pingpong.agent_cert_file is set' END,
           CASE WHEN NOT fine
                THEN 'ALTER SYSTEM SET pingpong.agent_token_file = ''/etc/pingpong-agent/token''; '
                     'SELECT pg_reload_conf();' END
    FROM (SELECT current_setting('pingpong.agent_token_file', true) <> ''
                 OR current_setting('pingpong.agent_cert_file', true) <> '') t (fine)
    UNION ALL
    SELECT 'authority of agents', CASE WHEN fine THEN 'ok' ELSE 'missing' END,
           CASE WHEN NOT tls THEN 'not needed: no agent has an https address'
                WHEN fine THEN 'pingpong.agent_ca_file is set'
                ELSE 'the certificates of agents are checked against those of the operating system' END,
           CASE WHEN NOT fine
                THEN 'ALTER SYSTEM SET pingpong.agent_ca_file = ''/etc/pingpong-agent/ca.crt''; '
                     'SELECT pg_reload_conf();' END
    FROM n, LATERAL (SELECT NOT tls OR current_setting('pingpong.agent_ca_file', true) <> '') c (fine)
    UNION ALL
    SELECT 'restart', CASE WHEN names IS NULL THEN 'ok' ELSE 'warn' END,
           CASE WHEN names IS NULL THEN 'no setting waits for one' ELSE 'settings wait for a restart: ' || names END,
           CASE WHEN names IS NOT NULL THEN 'Restart the server.' END
    FROM (SELECT string_agg(name, ', ' ORDER BY name) FROM pg_settings WHERE pending_restart) p (names)
$$;
COMMENT ON FUNCTION pingpong_internal.setup_settings() IS 'rows of check_setup(): settings of this server';

-- What is registered. The statement that mends it holds what is known here, and dots for what is not.
CREATE FUNCTION pingpong_internal.setup_registered() RETURNS SETOF pingpong_internal.setup_row
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'this node', CASE WHEN found THEN 'ok' ELSE 'missing' END,
           CASE WHEN found THEN format('registered as "%s"', here)
                ELSE format('"%s" is not registered', coalesce(here, '')) END,
           CASE WHEN NOT found
                THEN format('SELECT pingpong.add_node(%L, ''HOST'', %s, ''https://HOST:8700'');',
                            coalesce(nullif(here, ''), '...'), current_setting('port')) END
    FROM (SELECT pingpong.node_name(), EXISTS (SELECT FROM pingpong.node n WHERE n.name = pingpong.node_name()
                                               AND n.kind = 'postgres')) t (here, found)
    UNION ALL
    SELECT 'other nodes', CASE WHEN names IS NULL THEN 'missing' ELSE 'ok' END,
           coalesce(names, 'no other node is registered'),
           CASE WHEN names IS NULL
                THEN format('SELECT pingpong.add_node(''...'', ''HOST'', %s, ''https://HOST:8700'');',
                            current_setting('port')) END
    FROM (SELECT string_agg(format('"%s"', name), ', ' ORDER BY name) FROM pingpong.node
          WHERE kind = 'postgres' AND name IS DISTINCT FROM pingpong.node_name()) o (names)
    UNION ALL
    SELECT 'routes', CASE WHEN names IS NULL THEN 'warn' ELSE 'ok' END,
           coalesce(names, 'no route for writers: a run moves no clients, which must find the primary themselves'),
           CASE WHEN names IS NULL
                THEN format('SELECT pingpong.add_router(%s); SELECT pingpong.add_route(%s);',
                            '''pooler1'', ''https://HOST:8700''',
                            '''rw1'', ''rw'', ''pgbouncer'', ''pooler1'', ''main'', ''{"DATABASE": ""}''') END
    FROM (SELECT string_agg(format('"%s"', name), ', ' ORDER BY name) FROM pingpong.route
          WHERE kind = 'rw') r (names)
    UNION ALL
    SELECT 'operator', 'ok',
           coalesce(names || ' may run switchovers',
                    'only superusers may run switchovers; GRANT pingpong_operator TO ... lets others'), NULL
    FROM (SELECT string_agg(format('"%s"', m.rolname), ', ' ORDER BY m.rolname)
          FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member JOIN pg_roles r ON r.oid = a.roleid
          WHERE r.rolname = 'pingpong_operator' AND NOT m.rolsuper) o (names)
$$;
COMMENT ON FUNCTION pingpong_internal.setup_registered() IS 'rows of check_setup(): nodes, routes and roles';

-- A node without data is no failure of its own: it is built by one call.
CREATE FUNCTION pingpong_internal.setup_standby(node text) RETURNS SETOF pingpong_internal.setup_row
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'standby ' || $1, CASE WHEN s.state = 'streaming' THEN 'ok' ELSE 'missing' END,
           CASE WHEN s.state = 'streaming' THEN format('streams, slot "%s"', s.slot_name)
                WHEN foreign_ THEN 'the server there is of another cluster'
                ELSE 'does not stream from this primary' END,
           CASE WHEN s.state = 'streaming' THEN NULL
                WHEN foreign_
                THEN format('Move its data directory away (on a host that was never used: pingpong-agent init --join '
                            'FILE --set-aside); then SELECT * FROM pingpong.rebuild(%L);', $1)
                ELSE format('SELECT * FROM pingpong.rebuild(%L);', $1) END
    FROM (SELECT) one
         LEFT JOIN pingpong.standby s ON s.name = $1
         LEFT JOIN pingpong_check.preflight_answer a ON a.name = $1,
         LATERAL (SELECT coalesce(a.pg ->> 'system_identifier'
                                  <> (SELECT system_identifier::text FROM pg_control_system()), false)) f (foreign_)
$$;
COMMENT ON FUNCTION pingpong_internal.setup_standby(text) IS
    'a row of check_setup(): whether a node is a standby here';

-- The checks of preflight that are about an installation. Of a node that does not stream only one thing is asked:
-- whether its agent answers. The rest follows from the server that is not there.
CREATE FUNCTION pingpong_internal.setup_checks(node text, streams boolean)
    RETURNS SETOF pingpong_internal.setup_row
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    c record;
BEGIN
    FOR c IN SELECT p.name FROM pingpong.preflight_check p
             WHERE p.builtin AND p.name = ANY (CASE WHEN streams
                 THEN ARRAY['agent_reachable', 'agent_actions', 'standby_names', 'preload_libraries', 'target_worker',
                            'replication_login', 'rewind_login', 'rewind_possible', 'hot_standby', 'layout',
                            'routes_observed', 'pooler_file', 'clock_skew']
                 ELSE ARRAY['agent_reachable', 'agent_actions', 'routes_observed', 'pooler_file'] END)
             ORDER BY p.number, p.name
    LOOP
        BEGIN
            RETURN QUERY EXECUTE format(
                'SELECT %L || coalesce('' '' || f.node, ''''), CASE f.status WHEN ''fail'' THEN ''missing'' '
                'WHEN ''info'' THEN ''ok'' ELSE f.status END, f.detail, f.hint '
                'FROM pingpong_check.%I($1, ''{}'') f WHERE $2 OR f.node IS DISTINCT FROM $1 '
                'OR f.detail ~ ''^(answered |did not answer|was never asked)'' ORDER BY 1, 2, 3',
                replace(c.name, '_', ' '), 'check_' || c.name) USING node, streams;
        EXCEPTION WHEN OTHERS THEN
            RETURN QUERY SELECT replace(c.name, '_', ' '), 'unknown', format('could not be checked: %s', SQLERRM),
                                'See the server''s log.';
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pingpong_internal.setup_checks(text, boolean) IS
    'rows of check_setup(): checks of preflight with one of the other nodes as target';

-- Asks the agents; a sentence where that was not possible.
CREATE FUNCTION pingpong_internal.setup_ask(node text) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pingpong_internal.check_isolation('agents cannot be asked');
    PERFORM FROM pingpong_internal.request('facts', node, '{}');
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLERRM;
END
$$;
COMMENT ON FUNCTION pingpong_internal.setup_ask(text) IS
    'has all agents asked, as for a move to the node; null, or why that was not possible';

CREATE FUNCTION pingpong.check_setup()
    RETURNS TABLE (number bigint, what text, status text, detail text, fix text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
DECLARE
    others  text[];
    other   text;
    problem text;
    rows    pingpong_internal.setup_row[];
BEGIN
    SELECT array_agg(r) INTO rows FROM pingpong_internal.setup_library() r;
    IF rows[1].status = 'ok' THEN
        rows := rows || ARRAY(SELECT r FROM pingpong_internal.setup_database() r);
        rows := rows || ARRAY(SELECT r FROM pingpong_internal.setup_settings() r);
    END IF;
    IF rows[1].status = 'ok' AND pg_is_in_recovery() THEN
        rows := rows || ROW('agents', 'unknown', 'this server is a standby, and only the primary asks agents',
                            'SELECT * FROM pingpong.check_setup(); on the primary.')::pingpong_internal.setup_row;
    ELSIF rows[1].status = 'ok' THEN
        rows := rows || ARRAY(SELECT r
                              FROM pingpong_internal.setup_registered() r);
        SELECT array_agg(n.name ORDER BY n.name) INTO others FROM pingpong.node n
        WHERE n.kind = 'postgres' AND n.name IS DISTINCT FROM pingpong.node_name() AND n.away_since IS NULL;
        IF others IS NULL AND EXISTS (SELECT FROM pingpong.node) THEN
            others := ARRAY[pingpong.node_name()];
        END IF;
        FOREACH other IN ARRAY coalesce(others, '{}')
        LOOP
            problem := pingpong_internal.setup_ask(other);
            IF problem IS NOT NULL THEN
                rows := rows || ROW('agents', 'unknown', format('the agents could not be asked: %s', problem),
                                    'Mend what is above, and call it again.')::pingpong_internal.setup_row;
                EXIT;
            END IF;
            IF other IS DISTINCT FROM pingpong.node_name() THEN
                rows := rows || ARRAY(SELECT r
                                      FROM pingpong_internal.setup_standby(other) r);
            END IF;
            rows := rows || ARRAY(SELECT r
                                  FROM pingpong_internal.setup_checks(other, rows[cardinality(rows)].status = 'ok'
                                           AND other IS DISTINCT FROM pingpong.node_name()) r);
        END LOOP;
    END IF;
    -- with several standbys the same is found twice
    RETURN QUERY SELECT row_number() OVER (ORDER BY min(r.at)), r.what, r.status,
                        (array_agg(r.detail ORDER BY r.at))[1], r.fix
                 FROM unnest(rows) WITH ORDINALITY r (what, status, detail, fix, at)
                 GROUP BY r.what, r.status, r.fix ORDER BY 1;
END
$$;
COMMENT ON FUNCTION pingpong.check_setup() IS
    'what this installation lacks, in order: a row for each thing, ok, missing, warn or unknown, with the statement '
    'or command that mends it; asks all agents; raises nothing';
