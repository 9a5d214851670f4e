-- Preflight, the end: the safety net, and all checks together.

-- The epoch as this database knows it.
CREATE FUNCTION pingpong_internal.known_epoch() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT greatest((SELECT max(epoch) FROM pingpong.cluster), (SELECT max(epoch) FROM pingpong.run), 0)
$$;
COMMENT ON FUNCTION pingpong_internal.known_epoch() IS
    'the epoch of the last run that moved the primary, as this database knows it; 0: none did';

-- The highest epoch that an agent told just now, of itself and of its arbiter; null: none did.
CREATE FUNCTION pingpong_internal.agents_epoch() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT max(greatest((n.facts ->> 'epoch')::bigint, (n.facts #>> '{arbiter,epoch}')::bigint))
    FROM preflight_answer n
        WHERE n.at > clock_timestamp() - interval '1 minute'
$$;
COMMENT ON FUNCTION pingpong_internal.agents_epoch() IS 'the highest epoch that an agent told in the last minute';

-- Is it proved that no other node is, or was after this one, the primary? Each must have told it just now: that it is
-- in recovery and receives the timeline that is written here; and those that are not cascaded stream from here.
-- Silence is no proof. A node that is away on purpose need not answer, but must not contradict.
CREATE FUNCTION pingpong_internal.primary_is_proved() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT NOT pg_is_in_recovery()
       AND count(*) FILTER (WHERE w.streams) > 0
       AND coalesce(bool_and(CASE WHEN n.away_since IS NULL THEN w.streams
                                  ELSE w.streams
                                      OR coalesce((n.pg ->> 'wal_timeline')::integer
                                                  < pingpong_internal.written_timeline(), true) END), false)
    FROM preflight_answer n,
         LATERAL (SELECT coalesce(n.at > clock_timestamp() - interval '1 minute' AND (n.pg ->> 'in_recovery')::boolean
                                  AND n.pg ->> 'system_identifier' = (SELECT system_identifier::text
                                                                      FROM pg_control_system())
                                  AND n.pg #>> '{wal_receiver,status}' = 'streaming'
                                  AND (n.pg #>> '{wal_receiver,received_tli}')::integer
                                      = pingpong_internal.written_timeline()
                                  AND (n.upstream IS NOT NULL
                                       OR EXISTS (SELECT FROM preflight_sender s
                                                  WHERE s.node = n.name AND s.state = 'streaming')),
                                                  false)) w (streams)
    WHERE n.kind = 'postgres' AND NOT n.is_source
$$;
COMMENT ON FUNCTION pingpong_internal.primary_is_proved() IS
    'whether what the agents told just now proves that no other node is, or was after this one, the primary';

-- The epoch that the next run goes on from. A database that was restored, or whose extension was made again, knows an
-- older one than the agents, which would refuse its runs: it takes theirs where it is the right primary for certain.
CREATE FUNCTION pingpong_internal.adopted_epoch() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN agents > known AND pingpong_internal.primary_is_proved() THEN agents ELSE known END
    FROM (SELECT pingpong_internal.known_epoch(), pingpong_internal.agents_epoch()) e (known, agents)
$$;
COMMENT ON FUNCTION pingpong_internal.adopted_epoch() IS
    'the epoch that the next run goes on from: this database''s, or that of the agents if this is the '
    'right primary for certain';

CREATE FUNCTION pingpong_check.check_no_other_run(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH e (known) AS MATERIALIZED (SELECT pingpong_internal.known_epoch())
    SELECT finding(node_name(), count(*) = 0, 'fail',
                   coalesce(string_agg(format('run %s (%s to %s) is %s', r.id, r.runbook, r.target, r.state), '; '),
                            'none'),
                   'Wait for it, or cancel it; a stuck run tells in pingpong.run what to do.', 'postgres')
    FROM run r WHERE r.state NOT IN ('succeeded', 'rolled_back')
    UNION ALL
    SELECT CASE WHEN seen <= known OR seen IS NULL OR pingpong_internal.adopted_epoch() < seen
                THEN finding(n.name, seen <= known, 'fail',
                             format('its agent has seen epoch %s, this database is at %s', seen, known),
                             format('A run that this server does not know moved the primary: find out which server '
                                    'is the newer one. If it is this one (the extension was'
                                    ' made again, or restored), its standbys prove it when all of them stream from '
                                    'it and their agents answer; if there are none, a superuser'
                                    ' sets the epoch: INSERT INTO pingpong.cluster (epoch) VALUES (%s) ON CONFLICT '
                                    '(one) DO UPDATE SET epoch = EXCLUDED.epoch.', seen), 'epoch')
                ELSE ROW(n.name, 'info', format('epoch %s is taken over from its agent, this database is at %s; '
                                                'all nodes stream from here', seen, known), NULL)::finding END
    FROM e, preflight_answer n,
         LATERAL (SELECT greatest((n.facts ->> 'epoch')::bigint, (n.facts #>> '{arbiter,epoch}')::bigint)) f (seen)
    WHERE n.away_since IS NULL OR n.facts IS NOT NULL
$$;

-- What a runbook is, for its checks: those that move the primary have the same ones.
CREATE FUNCTION pingpong_internal.checked_as(runbook text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM pingpong.runbook_step s WHERE s.runbook = $1 AND s.mark = 'no_return')
                THEN 'switchover' ELSE $1 END
$$;
COMMENT ON FUNCTION pingpong_internal.checked_as(text) IS
    'switchover for a runbook that moves the primary, else its own name';

-- The checks of a runbook. Without a primary here and a standby there (an upgrade: itself) all others would compare
-- nothing with nothing, so only those are made that say it.
CREATE FUNCTION pingpong_internal.checks_of(target text, runbook text) RETURNS SETOF pingpong.preflight_check
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    WITH k (kind) AS (SELECT pingpong_internal.checked_as($2)),
    nonsense (is_so) AS (
        SELECT pg_is_in_recovery() OR $1 IS NULL OR node_name() IS NULL
            OR ($1 = node_name()) <> (k.kind = 'upgrade')
            OR NOT EXISTS (SELECT FROM node n WHERE n.name = $1 AND n.kind = 'postgres'
                           AND (n.away_since IS NULL OR k.kind = 'upgrade'))
            OR NOT EXISTS (SELECT FROM node n WHERE n.name = node_name() AND n.kind = 'postgres')
        FROM k)
    SELECT p.* FROM preflight_check p, nonsense, k
    WHERE (NOT is_so OR p.name IN ('roles', 'upgrade_node')
           OR (p.name = 'target_streaming' AND NOT pg_is_in_recovery()))
      AND ($2 = ANY (coalesce(p.runbooks, '{switchover}')) OR k.kind = ANY (coalesce(p.runbooks, '{switchover}')))
    ORDER BY p.number, p.name
$$;
COMMENT ON FUNCTION pingpong_internal.checks_of(text, text) IS
    'the checks that are made before a run of that runbook';

-- An error and an unknown status count as a fail.
CREATE FUNCTION pingpong_check.one_check(c pingpong.preflight_check, target text, options jsonb)
    RETURNS TABLE (number integer, name text, node text, status text, detail text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT $3, $4, f.node, CASE WHEN s.known THEN f.status ELSE ''fail'' END,
                CASE WHEN s.known THEN f.detail
                     ELSE format(''the check gave the status %%L: %%s'', f.status, f.detail) END, f.hint
         FROM pingpong_check.%I($1, $2) f, LATERAL (SELECT coalesce(f.status IN (''ok'', ''info'', ''warn'', '
         '''fail''), false)) s (known)',
        'check_' || c.name)
        USING target, options, c.number, c.name;
EXCEPTION WHEN OTHERS THEN
    RETURN QUERY SELECT c.number, c.name, node_name(), 'fail',
        format('the check could not be made: %s (SQLSTATE %s)', SQLERRM, SQLSTATE),
        CASE WHEN c.builtin THEN 'This is an error of pg_pingpong, or of a privilege that was taken from '
                                 'it: see the server''s log.'
             ELSE format('Fix the function pingpong_check.check_%s(), or delete its row in '
                         'pingpong.preflight_check.', c.name) END;
END
$$;
COMMENT ON FUNCTION pingpong_check.one_check(pingpong.preflight_check, text, jsonb) IS
    'the findings of one check; its errors are findings too';

CREATE FUNCTION pingpong_check.preflight_checks(target text, options jsonb DEFAULT '{}')
RETURNS TABLE (number integer, name text, node text, status text, detail text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp SET jit = off AS $$
#variable_conflict use_variable
DECLARE
    runbook text := coalesce(options ->> 'runbook', 'switchover');
BEGIN
    PERFORM pingpong_internal.validate_options(CASE runbook WHEN 'upgrade' THEN 'run' ELSE 'switchover' END, options);
    RETURN QUERY SELECT o.* FROM pingpong_internal.checks_of(target, runbook) c,
                                 LATERAL pingpong_check.one_check(c, target, options) o;
END
$$;
COMMENT ON FUNCTION pingpong_check.preflight_checks(text, jsonb) IS
    'the checks over the facts that are in node_fact now; pingpong.preflight() has them gathered first';

SELECT pg_extension_config_dump('pingpong.preflight_check', 'WHERE NOT builtin');
