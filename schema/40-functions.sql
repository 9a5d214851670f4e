-- Registering nodes and routes; runs.

CREATE FUNCTION pingpong_internal.request(kind text, target text, options text,
                                          OUT run bigint, OUT state text, OUT blackout_ms double precision,
                                          OUT seal_lsn pg_lsn, OUT new_primary text)
AS 'MODULE_PATHNAME', 'pingpong_request' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pingpong_internal.request(text, text, text) IS
    'hands a request to the worker and waits for its answer';

CREATE FUNCTION pingpong_internal.fail(sqlstate text, message text, detail text DEFAULT NULL, hint text DEFAULT NULL)
    RETURNS void
AS 'MODULE_PATHNAME', 'pingpong_fail' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pingpong_internal.fail(text, text, text, text) IS 'raises an error';

CREATE FUNCTION pingpong_internal.probe(run text DEFAULT NULL, version text DEFAULT NULL) RETURNS text
AS 'MODULE_PATHNAME', 'pingpong_probe' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pingpong_internal.probe(text, text) IS
    'for the agent: what stands against this server''s worker taking a run over after a promotion; null: '
    'nothing. On a standby too';

CREATE FUNCTION pingpong_internal.wake(ms integer) RETURNS void
AS 'MODULE_PATHNAME', 'pingpong_wake' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pingpong_internal.wake(integer) IS
    'for the agent: the worker of this standby looks for a promotion every 2 ms, for ms milliseconds';

CREATE FUNCTION pingpong.cancel(run bigint) RETURNS void
AS 'MODULE_PATHNAME', 'pingpong_cancel' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pingpong.cancel(bigint) IS
    'give up a run: before the point of no return it is rolled back; after it, what is being repeated is given '
    'up and the run ends stuck';

CREATE FUNCTION pingpong.node_name() RETURNS text
AS 'MODULE_PATHNAME', 'pingpong_node_name' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION pingpong.node_name() IS 'the name of this server: pingpong.node_name, or else cluster_name';

CREATE FUNCTION pingpong.worker_pid() RETURNS integer
AS 'MODULE_PATHNAME', 'pingpong_worker_status' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION pingpong.worker_pid() IS 'process id of the background worker; null when none is running';

CREATE FUNCTION pingpong_internal.progress_rows(OUT run bigint, OUT run_state text, OUT ordinal integer,
                                                OUT action text, OUT node text, OUT state text,
                                                OUT started_at timestamptz, OUT duration_ms double precision,
                                                OUT attempt integer, OUT message text, OUT sentence text)
    RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pingpong_progress' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

CREATE FUNCTION pingpong_internal.sample_trends(window_ms integer, OUT slot_name text, OUT since timestamptz,
                                                OUT until timestamptz, OUT lsn_then pg_lsn, OUT lsn_mid pg_lsn,
                                                OUT lsn_now pg_lsn, OUT restart_then pg_lsn, OUT restart_mid pg_lsn,
                                                OUT restart_now pg_lsn, OUT free_bytes bigint)
    RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pingpong_sample_trends' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION pingpong_internal.sample_trends(integer) IS
    'what changed within that many ms, by the worker''s samples in shared memory: of the WAL (slot_name is null), '
    'and of each slot';

-- Refuses a server that is no primary, before any agent is asked.
CREATE FUNCTION pingpong_internal.check_primary(purpose text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pingpong_internal.check_database();
    IF pg_is_in_recovery() THEN
        PERFORM pingpong_internal.fail('55000', 'this server is a standby',
                                       format('%s %s is begun on the primary.',
                                              CASE WHEN purpose ~ '^[aeiou]' THEN 'An' ELSE 'A' END, purpose),
                                       coalesce((SELECT format('Ask "%s": host %s, port %s.', p.name, p.host, p.port)
                                                 FROM pingpong.where_is_primary() AS p
                                                 WHERE p.name <> pingpong.node_name()),
                            (SELECT format('This standby streams from host %s, port %s.', sender_host, sender_port)
                             FROM pg_stat_wal_receiver WHERE sender_host IS NOT NULL), 'Ask the primary.'));
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.check_primary(text) IS 'refuses a standby (55000), and names the primary';

CREATE FUNCTION pingpong_internal.check_registered() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pingpong.node WHERE name = pingpong.node_name()) THEN
        PERFORM pingpong_internal.fail('55000', 'this server is not registered',
                                       format('Its name is "%s" (pingpong.node_name, or else cluster_name).',
                                              pingpong.node_name()),
                                       'Register it with pingpong.add_node(), or set pingpong.node_name to its '
                                       'registered name.');
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.check_registered() IS 'refuses a server that is no node (55000)';

-- Refuses what cannot be a target, before any agent is asked.
CREATE FUNCTION pingpong_internal.check_node(wanted text, purpose text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    n pingpong.node;
BEGIN
    PERFORM pingpong_internal.check_primary(purpose);
    IF wanted IS NULL THEN
        PERFORM pingpong_internal.fail('22004', 'the node must not be null');
    END IF;
    SELECT * INTO n FROM pingpong.node WHERE name = wanted;
    IF NOT FOUND THEN
        PERFORM pingpong_internal.fail('42704', format('node "%s" does not exist', wanted), NULL,
                                       coalesce('Known nodes: '
                                                || (SELECT string_agg(name, ', ' ORDER BY name) FROM pingpong.node
                                                    WHERE kind = 'postgres') || '.',
                            'Register nodes with pingpong.add_node().'));
    END IF;
    IF n.kind <> 'postgres' THEN
        PERFORM pingpong_internal.fail('22023', format('node "%s" is a router, not a PostgreSQL server', wanted));
    END IF;
    IF wanted = pingpong.node_name() THEN
        PERFORM pingpong_internal.fail('22023', format('node "%s" is the primary already', wanted));
    END IF;
    PERFORM pingpong_internal.check_registered();
END
$$;

CREATE FUNCTION pingpong.switchover(target text, grace interval DEFAULT '5s', max_blackout interval DEFAULT '10s',
                                    on_grace_end text DEFAULT 'cancel', readers_grace interval DEFAULT '2s',
                                    synchronous text DEFAULT 'relax', old_primary text DEFAULT 'rejoin',
                                    options jsonb DEFAULT '{}',
                                    OUT run bigint, OUT state text, OUT blackout_ms double precision,
                                    OUT seal_lsn pg_lsn, OUT new_primary text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    twice   text;
BEGIN
    PERFORM pingpong_internal.check_node(target, 'switchover');
    PERFORM pingpong_internal.validate_options('switchover', options);
    SELECT o.argument INTO twice FROM pingpong.run_option o
        WHERE options ? o.name AND o.argument IS NOT NULL ORDER BY o.name LIMIT 1;
    IF FOUND THEN
        PERFORM pingpong_internal.fail('22023', format('"%s" is a parameter of switchover(), not one of its options',
                                                       twice), NULL,
                                       format('For instance: pingpong.switchover(%L, %s => ...).', target, twice));
    END IF;
    SELECT r.run, r.state, r.blackout_ms, r.seal_lsn, r.new_primary
    INTO switchover.run, switchover.state, switchover.blackout_ms, switchover.seal_lsn, switchover.new_primary
    FROM pingpong_internal.request('switchover', target, (options || jsonb_build_object(
        'grace_ms', pingpong_internal.option_ms(grace, 'grace'),
        'max_blackout_ms', pingpong_internal.option_ms(max_blackout, 'max_blackout'),
        'on_grace_end', on_grace_end,
        'readers_grace_ms', pingpong_internal.option_ms(readers_grace, 'readers_grace'),
        'synchronous', synchronous,
        'old_primary', old_primary))::text) AS r;
END
$$;
COMMENT ON FUNCTION pingpong.switchover(text, interval, interval, text, interval, text, text, jsonb) IS
    'move the primary to another node; returns when writes flow there, the old primary comes back by itself';

CREATE FUNCTION pingpong.rebuild(node text, method text DEFAULT 'auto', risk text DEFAULT NULL,
                                 OUT run bigint, OUT state text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM pingpong_internal.check_node(node, 'rebuild');
    SELECT r.run, r.state INTO rebuild.run, rebuild.state
    FROM pingpong_internal.request('run', node, (jsonb_build_object('runbook', 'rebuild', 'method', method)
                                        || CASE WHEN risk IS NULL THEN '{}'
                                            ELSE jsonb_build_object('risk', risk) END)::text) AS r;
END
$$;
COMMENT ON FUNCTION pingpong.rebuild(text, text, text) IS
    'make a node a standby of this primary again: directly, by pg_rewind or by pg_basebackup; what it wrote itself '
    'is only given up for a risk in words, by a superuser';

-- Refuses what cannot be upgraded, before any agent is asked.
CREATE FUNCTION pingpong_internal.check_upgrade(node text, to_version integer) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM pingpong_internal.check_primary('upgrade');
    IF node IS DISTINCT FROM pingpong.node_name() THEN
        PERFORM pingpong_internal.fail('22023', format('node "%s" is not this server', coalesce(node, 'NULL')),
                              'An upgrade is begun on the primary, and upgrades the primary.',
                              format('This server is "%s".', pingpong.node_name()));
    END IF;
    IF to_version IS NULL OR to_version <= current_setting('server_version_num')::integer / 10000 THEN
        PERFORM pingpong_internal.fail('22023', 'the new version must be above the present one',
                                       format('This server is of version %s.',
                                              current_setting('server_version_num')::integer / 10000));
    END IF;
    PERFORM pingpong_internal.check_registered();
END
$$;
COMMENT ON FUNCTION pingpong_internal.check_upgrade(text, integer) IS
    'refuses a node that is not this server, and a version that is not above the present one';

CREATE FUNCTION pingpong.upgrade(node text, to_version integer, mode text DEFAULT 'copy', jobs integer DEFAULT 1,
                                 grace interval DEFAULT '5s', max_window interval DEFAULT '100s',
                                 carry text[] DEFAULT '{}', OUT run bigint, OUT state text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    cascaded text;
BEGIN
    PERFORM pingpong_internal.check_upgrade(node, to_version);
    SELECT string_agg(format('"%s"', n.name), ', ' ORDER BY n.name) INTO cascaded
    FROM pingpong.node n WHERE n.kind = 'postgres' AND n.upstream <> pingpong.node_name() AND n.away_since IS NULL;
    IF cascaded IS NOT NULL THEN
        PERFORM pingpong_internal.fail('0A000', format('node %s would be left behind', cascaded),
                              'It streams from a standby; only those that stream from the primary are made anew.',
                              'Forget it with pingpong.drop_node(), and build it anew after the upgrade.');
    END IF;
    SELECT r.run, r.state INTO upgrade.run, upgrade.state
    FROM pingpong_internal.request('run', node, jsonb_build_object(
        'runbook', 'upgrade', 'to_version', to_version, 'mode', mode, 'jobs', jobs, 'carry', carry,
        'grace_ms', pingpong_internal.option_ms(grace, 'grace'),
        'max_blackout_ms', pingpong_internal.option_ms(max_window, 'max_blackout'))::text) AS r;
END
$$;
COMMENT ON FUNCTION pingpong.upgrade(text, integer, text, integer, interval, interval, text[]) IS
    'upgrade this primary in place to another major version by pg_upgrade, and its standbys by a base backup behind '
    'that; the server goes down meanwhile, and the caller''s session with it; max_window: how long the routers hold '
    'their clients';

-- An upgrade of this server, or an error. `may_be`: its states. Whether it is the last one its agent knows.
CREATE FUNCTION pingpong_internal.upgrade_run(wanted bigint, may_be text[]) RETURNS pingpong.run
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    r pingpong.run;
BEGIN
    PERFORM pingpong_internal.check_primary('rollback');
    SELECT * INTO r FROM pingpong.run u WHERE u.id = wanted AND u.runbook = 'upgrade';
    IF NOT FOUND THEN
        PERFORM pingpong_internal.fail('42704', format('run %s is no upgrade', coalesce(wanted::text, 'NULL')), NULL,
                                       'See pingpong.run: its runbook is "upgrade".');
    END IF;
    IF NOT r.state = ANY (may_be) THEN
        PERFORM pingpong_internal.fail('55000', format('run %s is %s', wanted, r.state));
    END IF;
    IF r.target <> pingpong.node_name() THEN
        PERFORM pingpong_internal.fail('55000', format('run %s has upgraded node "%s"', wanted, r.target),
                                       format('This server is "%s".', pingpong.node_name()),
                                       format('Switch over to "%s" first.', r.target));
    END IF;
    RETURN r;
END
$$;

CREATE FUNCTION pingpong.rollback_loss(OUT database text, OUT relation text, OUT transactions bigint,
                                       OUT inserted bigint, OUT updated bigint, OUT deleted bigint)
    RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.datname::text, NULL, d.xact_commit, d.tup_inserted, d.tup_updated, d.tup_deleted
    FROM pg_stat_database d WHERE d.datname IS NOT NULL AND d.datname NOT IN ('template0', 'template1')
    UNION ALL
    SELECT current_database()::text, format('%I.%I', t.schemaname, t.relname), NULL, t.n_tup_ins, t.n_tup_upd,
           t.n_tup_del
    FROM pg_stat_user_tables t
    WHERE t.schemaname NOT LIKE 'pingpong%' AND t.n_tup_ins + t.n_tup_upd + t.n_tup_del > 0
    ORDER BY 2 NULLS FIRST, 1
$$;
COMMENT ON FUNCTION pingpong.rollback_loss() IS
    'what this server has done since its statistics began, which is since its upgrade, unless it has crashed since: '
    'committed transactions and rows of each database, and rows of each table of this database';

CREATE FUNCTION pingpong.rollback(run bigint, risk text DEFAULT NULL, grace interval DEFAULT '5s',
                                  max_window interval DEFAULT '100s', OUT rollback_run bigint, OUT state text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    u pingpong.run;
BEGIN
    u := pingpong_internal.upgrade_run(run, '{succeeded,stuck}');
    -- its agents refuse the orders of an older epoch, and the old server would be of one
    IF EXISTS (SELECT FROM pingpong.run m WHERE m.id > run AND m.switched_at IS NOT NULL) THEN
        PERFORM pingpong_internal.fail('55000', format('the primary has moved since the upgrade of run %s', run),
                                       'The old server does not know of that, and could not go on from there.');
    END IF;
    IF risk IS NULL THEN
        PERFORM pingpong_internal.fail('55000',
            format('what was written since the upgrade of run %s would be lost', run),
            (SELECT format('Since %s: %s; %s.', u.ended_at::timestamptz(0),
                           pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(),
                                                          (u.notes ->> 'opened_lsn')::pg_lsn)) || ' of WAL',
                           string_agg(format('in database "%s" %s transactions, %s rows', l.database, l.transactions,
                                             l.inserted + l.updated + l.deleted), '; ' ORDER BY l.database))
             FROM pingpong.rollback_loss() l WHERE l.relation IS NULL),
            'See pingpong.rollback_loss(). A superuser may give it up: risk => ''its own writes are lost''.');
    END IF;
    SELECT r.run, r.state INTO rollback.rollback_run, rollback.state
    FROM pingpong_internal.request('run', u.target, jsonb_build_object(
        'runbook', 'rollback', 'of', u.key, 'risk', risk,
        'grace_ms', pingpong_internal.option_ms(grace, 'grace'),
        'max_blackout_ms', pingpong_internal.option_ms(max_window, 'max_blackout'))::text) AS r;
END
$$;
COMMENT ON FUNCTION pingpong.rollback(bigint, text, interval, interval) IS
    'go back to the server of before an upgrade, after the new one was opened; without a risk it only tells what '
    'would be lost (55000); superusers only; 55000 also where there is no way back any more';

-- The old data may be the only other copy.
CREATE FUNCTION pingpong_internal.check_standbys() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    absent  text;
BEGIN
    SELECT string_agg(format('"%s"', s.name), ', ' ORDER BY s.name) INTO absent
    FROM pingpong.standby s WHERE s.state IS DISTINCT FROM 'streaming' AND s.away_since IS NULL;
    IF absent IS NOT NULL THEN
        PERFORM pingpong_internal.fail('55000', format('node %s does not stream', absent),
                              'The old data may be the only other copy.',
                              'Rebuild it with pingpong.rebuild() first.');
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.check_standbys() IS
    'refuses (55000) while a registered standby does not stream';

CREATE FUNCTION pingpong.finalize(run bigint, without_standby boolean DEFAULT false,
                                  OUT finalize_run bigint, OUT state text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    u       pingpong.run;
BEGIN
    u := pingpong_internal.upgrade_run(run, '{succeeded,stuck,rolled_back}');
    PERFORM pingpong_internal.check_standbys();
    IF NOT without_standby AND NOT EXISTS (SELECT FROM pingpong.standby s WHERE s.state = 'streaming') THEN
        PERFORM pingpong_internal.fail('55000', 'there is no standby', 'The old data may be the only other copy.',
                                       'Give without_standby => true if it may go all the same.');
    END IF;
    SELECT r.run, r.state INTO finalize.finalize_run, finalize.state
    FROM pingpong_internal.request('run', u.target,
                                   jsonb_build_object('runbook', 'finalize', 'of', u.key)::text) AS r;
END
$$;
COMMENT ON FUNCTION pingpong.finalize(bigint, boolean) IS
    'empty the data directories that an upgrade, or its rollback, has left behind, on all nodes: after it there '
    'is no way back; 55000 unless all standbys stream';

CREATE FUNCTION pingpong.rehearse(runbook text, node text, options jsonb DEFAULT '{}',
                                  OUT run bigint, OUT state text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    stands  text;
BEGIN
    IF runbook IS DISTINCT FROM 'upgrade' THEN
        PERFORM pingpong_internal.fail('0A000', format('there is no rehearsal of runbook "%s"',
                                                       coalesce(runbook, 'NULL')), NULL,
                                       'Only the runbook "upgrade" can be rehearsed.');
    END IF;
    options := options || '{"runbook": "rehearse"}';
    PERFORM pingpong_internal.validate_options('run', options);
    PERFORM pingpong_internal.check_upgrade(node, (options ->> 'to_version')::integer);
    -- what is known to stand against it need not be copied first
    SELECT string_agg(format('%s (%s): %s', p.name, p.node, p.detail), E'\n' ORDER BY p.number, p.name, p.node)
    INTO stands FROM pingpong.preflight(node, options || '{"runbook": "upgrade"}') p
    WHERE p.status = 'fail' AND p.name <> 'upgrade_rehearsal';
    IF stands IS NOT NULL THEN
        PERFORM pingpong_internal.fail('55000', 'preflight found what stands against this upgrade', stands,
                                       'All checks: SELECT * FROM pingpong.last_preflight.');
    END IF;
    SELECT r.run, r.state INTO rehearse.run, rehearse.state
    FROM pingpong_internal.request('run', node, options::text) AS r;
END
$$;
COMMENT ON FUNCTION pingpong.rehearse(text, text, jsonb) IS
    'make an upgrade of this primary, and its rollback, on a copy that nobody can reach, and remove the copy; '
    'options: to_version, mode, jobs, carry, as for upgrade(); an error tells what stopped it';

-- Called by the agent of this server, on the copy, while the copy runs alone: its worker would go on with the run
-- that the copy holds, at the agents of the real nodes.
CREATE FUNCTION pingpong_internal.become_rehearsal(host text, port integer, agent_url text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF current_setting('listen_addresses') <> '' OR current_setting('max_worker_processes') <> '0'
       OR current_setting('unix_socket_directories') <> host THEN
        PERFORM pingpong_internal.fail('55000', 'this server is no copy for a rehearsal');
    END IF;
    IF NOT EXISTS (SELECT FROM pingpong.node n WHERE n.name = pingpong.node_name() AND n.kind = 'postgres') THEN
        PERFORM pingpong_internal.fail('55000', 'this server is not in pingpong.node');
    END IF;
    DELETE FROM pingpong.run r WHERE r.runbook = 'rehearse';    -- this one; and one that failed would stop it
    UPDATE pingpong.run SET state = 'rolled_back', ended_at = clock_timestamp(), sentence = 'this is a copy'
    WHERE state = 'running';
    DELETE FROM pingpong.relaxed;
    DELETE FROM pingpong.route;
    DELETE FROM pingpong.node WHERE name <> pingpong.node_name();
    UPDATE pingpong.node n SET host = become_rehearsal.host, port = become_rehearsal.port,
                               agent_url = become_rehearsal.agent_url, upstream = NULL, away_since = NULL;
END
$$;
COMMENT ON FUNCTION pingpong_internal.become_rehearsal(text, integer, text) IS
    'on a copy that runs alone: forget all nodes, agents and routes of the original; 55000 on any other server';

CREATE FUNCTION pingpong.repoint(OUT run bigint, OUT state text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT r.run, r.state INTO repoint.run, repoint.state
    FROM pingpong_internal.request('run', pingpong.node_name(), jsonb_build_object('runbook', 'repoint')::text) AS r;
END
$$;
COMMENT ON FUNCTION pingpong.repoint() IS 'point all RW routes to this primary (again), after a run could not';

-- The answers of the agents are read from a table, and an older snapshot would show older ones.
CREATE FUNCTION pingpong_internal.check_isolation(what text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        PERFORM pingpong_internal.fail('25001', format('%s in this transaction', what),
                              format('Its isolation level is "%s": it would show what the '
                                     'agents told before it began.', current_setting('transaction_isolation')),
                              'Call it in READ COMMITTED, for instance after BEGIN ISOLATION LEVEL READ COMMITTED.');
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.check_isolation(text) IS
    'refuses a transaction that would not see what agents tell';

CREATE FUNCTION pingpong.preflight(target text, options jsonb DEFAULT '{}')
    RETURNS TABLE (number integer, name text, node text, status text, detail text, hint text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM pingpong_internal.check_isolation('preflight cannot be made');
    IF options ->> 'runbook' = 'upgrade' THEN
        PERFORM pingpong_internal.validate_options('run', options);
        options := '{"mode": "copy", "max_blackout_ms": 100000}' || options;
        PERFORM FROM pingpong_internal.request('facts', target, jsonb_build_object(
            'runbook', 'upgrade', 'to_version', options -> 'to_version', 'mode', options -> 'mode')::text);
    ELSE
        PERFORM pingpong_internal.check_node(target, 'preflight');
        PERFORM pingpong_internal.validate_options('switchover', options);
        PERFORM FROM pingpong_internal.request('facts', target, '{}');
    END IF;
    RETURN QUERY SELECT c.number, c.name, c.node, c.status, c.detail, c.hint
                 FROM pingpong_check.preflight_checks(target, options) AS c
                 ORDER BY array_position(ARRAY['fail', 'warn', 'info', 'ok'], c.status), c.number, c.node;
END
$$;
COMMENT ON FUNCTION pingpong.preflight(text, jsonb) IS
    'ask all agents and make all checks of a switchover to the node, or of another runbook on it; one row for each, '
    'the worst first';

CREATE FUNCTION pingpong.add_node(name text, host text, port integer, agent_url text,
                                  slot text DEFAULT NULL, upstream text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM pingpong_internal.check_installation();
    IF name IS NULL OR name !~ '^[a-z][a-z0-9_]{0,40}$' THEN
        PERFORM pingpong_internal.fail('22023', format('invalid node name "%s"', coalesce(name, 'NULL')), NULL,
                                       'A name has lower-case letters, digits and underscores, begins with a letter '
                                       'and has at most 41 characters.');
    END IF;
    IF host IS NULL OR host !~ '^[A-Za-z0-9_.:/-]+$' OR port IS NULL OR port NOT BETWEEN 1 AND 65535 THEN
        PERFORM pingpong_internal.fail('22023',
                                       format('node "%s" needs a host and a port between 1 and 65535', name));
    END IF;
    PERFORM pingpong_internal.check_url(agent_url);
    LOCK TABLE pingpong.node IN SHARE ROW EXCLUSIVE MODE;       -- the upstream must not go meanwhile
    IF upstream IS NOT NULL AND NOT EXISTS (SELECT FROM pingpong.node n
                                            WHERE n.name = upstream AND n.kind = 'postgres') THEN
        PERFORM pingpong_internal.fail('42704', format('node "%s" does not exist', upstream), NULL,
                                       'Register the upstream first.');
    END IF;
    IF coalesce(slot, 'pingpong_' || name) !~ '^[a-z0-9_]{1,63}$' THEN
        PERFORM pingpong_internal.fail('22023', format('invalid slot name "%s"', slot));
    END IF;
    IF EXISTS (SELECT FROM pingpong.node n WHERE n.slot = coalesce(add_node.slot, 'pingpong_' || add_node.name)
               AND n.name <> add_node.name) THEN
        PERFORM pingpong_internal.fail('42710', format('another node has the slot "%s" already',
                                                       coalesce(slot, 'pingpong_' || name)));
    END IF;
    INSERT INTO pingpong.node AS n (name, kind, host, port, agent_url, slot, upstream)
    VALUES (add_node.name, 'postgres', add_node.host, add_node.port, add_node.agent_url,
            coalesce(add_node.slot, 'pingpong_' || add_node.name), add_node.upstream);
EXCEPTION WHEN unique_violation THEN
    PERFORM pingpong_internal.fail('42710', format('node "%s" exists already', name), NULL,
                                   'Drop it first with pingpong.drop_node().');
END
$$;
COMMENT ON FUNCTION pingpong.add_node(text, text, integer, text, text, text) IS
    'register a PostgreSQL server and the agent beside it; slot: physical slot that it uses on its upstream';

CREATE FUNCTION pingpong_internal.check_url(url text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF url IS NULL OR (url !~ '^https://[^/@ ]+$' AND url !~ E'^http://(127\\.[0-9.]+|localhost|\\[::1\\]):[0-9]+$'
                       AND url !~ '^unix:/[^ ]+$') THEN
        PERFORM pingpong_internal.fail('22023', format('invalid address of an agent "%s"',
                                                       coalesce(regexp_replace(url, '//[^/]*@', '//...@'), 'NULL')),
                                       NULL, 'Use https://HOST:PORT, http://127.0.0.1:PORT (loopback only) or '
                                             'unix:/PATH.');
    END IF;
END
$$;

CREATE FUNCTION pingpong.add_router(name text, agent_url text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM pingpong_internal.check_installation();
    IF name IS NULL OR name !~ '^[a-z][a-z0-9_]{0,40}$' THEN
        PERFORM pingpong_internal.fail('22023', format('invalid node name "%s"', coalesce(name, 'NULL')), NULL,
                              'A name has lower-case letters, digits and underscores, begins with a letter and '
                              'has at most 41 characters.');
    END IF;
    PERFORM pingpong_internal.check_url(agent_url);
    INSERT INTO pingpong.node AS n (name, kind, agent_url) VALUES (add_router.name, 'router', add_router.agent_url);
EXCEPTION WHEN unique_violation THEN
    PERFORM pingpong_internal.fail('42710', format('node "%s" exists already', name), NULL,
                                   'Drop it first with pingpong.drop_node().');
END
$$;
COMMENT ON FUNCTION pingpong.add_router(text, text) IS 'register an agent beside a router (PgBouncer)';

CREATE FUNCTION pingpong.drop_node(name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    LOCK TABLE pingpong.node IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM pingpong.node n WHERE n.upstream = drop_node.name) THEN
        RAISE foreign_key_violation;
    END IF;
    DELETE FROM pingpong.node n WHERE n.name = drop_node.name;
    IF NOT FOUND THEN
        PERFORM pingpong_internal.fail('42704', format('node "%s" does not exist', coalesce(name, 'NULL')));
    END IF;
EXCEPTION WHEN foreign_key_violation THEN
    PERFORM pingpong_internal.fail('2BP01', format('node "%s" is still used', name),
                          (SELECT string_agg(format('%s "%s"', what, user_), ', ' ORDER BY what DESC, user_)
                           FROM (SELECT DISTINCT 'route', r.name
                                 FROM pingpong.route r JOIN pingpong.route_endpoint e ON e.route = r.name
                                 WHERE drop_node.name IN (e.router, r.node, r.home)
                                 UNION ALL
                                 SELECT 'node', n.name FROM pingpong.node n
                                     WHERE n.upstream = drop_node.name) u (what, user_)),
                          'Drop its routes and the nodes that stream from it first.');
END
$$;
COMMENT ON FUNCTION pingpong.drop_node(text) IS 'forget a node; nothing is done to its host';

CREATE FUNCTION pingpong_internal.check_router(router text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF NOT EXISTS (SELECT FROM pingpong.node n WHERE n.name = router) THEN
        PERFORM pingpong_internal.fail('42704', format('node "%s" does not exist', coalesce(router, 'NULL')), NULL,
                                       'Register it with pingpong.add_router().');
    END IF;
END
$$;

-- An endpoint serves a database for one route only: two could point it to different nodes.
CREATE FUNCTION pingpong_internal.add_endpoint(name text, route text, router text, endpoint text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF EXISTS (SELECT FROM pingpong.route_endpoint e JOIN pingpong.route other ON other.name = e.route,
               pingpong.route mine,
                           jsonb_object_keys(other.databases) AS theirs, jsonb_object_keys(mine.databases) AS ours
               WHERE mine.name = add_endpoint.route AND other.name <> mine.name AND other.driver = mine.driver
                 AND e.router = add_endpoint.router AND e.endpoint = add_endpoint.endpoint AND theirs = ours) THEN
        PERFORM pingpong_internal.fail('42710', 'another route has one of these databases already');
    END IF;
    INSERT INTO pingpong.route_endpoint AS e (name, route, router, endpoint)
    VALUES (add_endpoint.name, add_endpoint.route, add_endpoint.router, add_endpoint.endpoint);
EXCEPTION
    WHEN check_violation THEN
        PERFORM pingpong_internal.fail('22023', format('invalid endpoint "%s"', coalesce(endpoint, 'NULL')));
    WHEN not_null_violation THEN
        PERFORM pingpong_internal.fail('22004', 'the endpoint must not be null');
END
$$;

CREATE FUNCTION pingpong.add_route(name text, kind text, driver text, router text, endpoint text, databases jsonb,
                                   smoke text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM pingpong_internal.check_installation();
    IF name IS NULL OR name !~ '^[a-z][a-z0-9_]{0,40}$' THEN
        PERFORM pingpong_internal.fail('22023', format('invalid route name "%s"', coalesce(name, 'NULL')), NULL,
                              'A name has lower-case letters, digits and underscores, begins with a letter and '
                              'has at most 41 characters.');
    END IF;
    IF kind IS NULL OR kind NOT IN ('rw', 'ro') THEN
        PERFORM pingpong_internal.fail('22023', 'the kind of a route must be "rw" or "ro"');
    END IF;
    IF NOT EXISTS (SELECT FROM pingpong.route_driver d WHERE d.name = add_route.driver) THEN
        PERFORM pingpong_internal.fail('22023', format('unknown driver "%s"', coalesce(driver, 'NULL')), NULL,
            (SELECT format('Known drivers: %s.', string_agg(d.name, ', ' ORDER BY d.name))
             FROM pingpong.route_driver d));
    END IF;
    PERFORM pingpong_internal.check_router(router);
    IF databases IS NULL OR jsonb_typeof(databases) <> 'object' OR databases = '{}'
       OR EXISTS (SELECT FROM jsonb_each(databases) AS d
                  WHERE jsonb_typeof(d.value) <> 'string' OR d.value::text ~ E'\\\\[nr]'
                  OR d.key !~ '^[A-Za-z0-9_.-]{1,63}$')
    THEN
        PERFORM pingpong_internal.fail('22023',
                                       'the databases of a route must be an object of names, each with a string',
                                       NULL, 'For instance: {"app": "", "app_ro": "dbname=app"}.');
    END IF;
    -- the agent takes so many in one order, and an order of 64 kB
    IF (SELECT count(*) FROM jsonb_object_keys(databases)) > 500 OR octet_length(databases::text) > 48000 THEN
        PERFORM pingpong_internal.fail('54000', 'a route has at most 500 databases, in at most 48000 bytes',
            format('This one has %s, in %s bytes.', (SELECT count(*) FROM jsonb_object_keys(databases)),
                   octet_length(databases::text)),
            'Make several routes of them.');
    END IF;
    IF databases ? 'pgbouncer' THEN
        PERFORM pingpong_internal.fail('22023', 'the database "pgbouncer" is the pooler''s console');
    END IF;
    IF EXISTS (SELECT FROM jsonb_each_text(databases) AS d WHERE d.value ~ '[[:cntrl:]"]') THEN
        PERFORM pingpong_internal.fail('22023',
                                       'no double quotes, tabs or other control characters in connection settings',
                                       NULL, 'PgBouncer separates settings by blanks, and quotes '
                                             'values in single quotes.');
    END IF;
    IF EXISTS (SELECT FROM jsonb_each_text(databases) AS d WHERE d.value ~* E'(^|\\s)(host|port)\\s*=') THEN
        PERFORM pingpong_internal.fail('22023', 'host and port of a route are set by runs', NULL,
                                       'Leave them out of the connection settings.');
    END IF;
    IF databases::text ~* 'password' THEN
        PERFORM pingpong_internal.fail('22023', 'no passwords in routes', NULL,
                                       'PgBouncer takes them from its auth_file or auth_query.');
    END IF;
    IF EXISTS (SELECT FROM jsonb_each_text(databases) AS d
               WHERE d.value !~ ('^ *((dbname|pool_size|min_pool_size|reserve_pool|pool_mode|max_db_connections|'
                                 'client_encoding|datestyle|timezone|application_name)'
                                 ' *= *(''([^'']|'''')*''|[^'' ]+)( +|$))*$')) THEN
        PERFORM pingpong_internal.fail('22023', 'these connection settings may not stand in a route', NULL,
            'Allowed are dbname, pool_size, min_pool_size, reserve_pool, pool_mode, max_db_connections, '
            'client_encoding, datestyle, timezone, application_name.');
    END IF;
    INSERT INTO pingpong.route AS r (name, kind, driver, databases, smoke, router, endpoint)
    VALUES (add_route.name, add_route.kind, add_route.driver, add_route.databases,
            nullif(btrim(add_route.smoke), ''), add_route.router, add_route.endpoint);
    PERFORM pingpong_internal.add_endpoint(name, name, router, endpoint);
EXCEPTION WHEN unique_violation THEN
    PERFORM pingpong_internal.fail('42710', format('route "%s" exists already', name), NULL,
                                   'Drop it first with pingpong.drop_route().');
END
$$;
COMMENT ON FUNCTION pingpong.add_route(text, text, text, text, text, jsonb, text) IS
    'register which databases of a router point to the primary (rw) or to a standby (ro); endpoint: section of '
    'the agent''s configuration';

CREATE FUNCTION pingpong.add_endpoint(route text, router text, endpoint text) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    name    text;
BEGIN
    IF NOT EXISTS (SELECT FROM pingpong.route r WHERE r.name = add_endpoint.route) THEN
        PERFORM pingpong_internal.fail('42704', format('route "%s" does not exist', coalesce(route, 'NULL')), NULL,
                                       'Register it, with its first endpoint, by pingpong.add_route().');
    END IF;
    PERFORM pingpong_internal.check_router(router);
    LOCK TABLE pingpong.route_endpoint IN SHARE ROW EXCLUSIVE MODE;     -- for the number
    SELECT format('%s#%s', route, max(coalesce(nullif(split_part(e.name, '#', 2), ''), '1')::integer) + 1) INTO name
    FROM pingpong.route_endpoint e WHERE e.route = add_endpoint.route;
    PERFORM pingpong_internal.add_endpoint(name, route, router, endpoint);
    RETURN name;
EXCEPTION WHEN unique_violation THEN
    PERFORM pingpong_internal.fail('42710', format('route "%s" has the endpoint "%s" of "%s" already', route,
                                                   endpoint, router));
END
$$;
COMMENT ON FUNCTION pingpong.add_endpoint(text, text, text) IS
    'a further router that serves the databases of a route; gives the name under which runs know it';

CREATE FUNCTION pingpong.drop_endpoint(name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF name !~ '#' AND EXISTS (SELECT FROM pingpong.route_endpoint e WHERE e.name = drop_endpoint.name) THEN
        PERFORM pingpong_internal.fail('2BP01', format('"%s" is the first endpoint of its route', name), NULL,
                                       'Drop the route with pingpong.drop_route().');
    END IF;
    DELETE FROM pingpong.route_endpoint e WHERE e.name = drop_endpoint.name;
    IF NOT FOUND THEN
        PERFORM pingpong_internal.fail('42704', format('endpoint "%s" does not exist', coalesce(name, 'NULL')), NULL,
                                       'Their names are in pingpong.route_endpoint.');
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong.drop_endpoint(text) IS
    'forget a further endpoint of a route; the router goes on as it is';

CREATE FUNCTION pingpong.drop_route(name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    DELETE FROM pingpong.route r WHERE r.name = drop_route.name;
    IF NOT FOUND THEN
        PERFORM pingpong_internal.fail('42704', format('route "%s" does not exist', coalesce(name, 'NULL')));
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong.drop_route(text) IS 'forget a route; the router goes on as it is';
