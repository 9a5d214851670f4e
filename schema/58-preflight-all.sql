-- Preflight, the end: the safety net, and all checks together.

CREATE FUNCTION pingpong.check_no_other_run(target text, options jsonb) RETURNS SETOF pingpong.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pg_temp AS $$
    SELECT finding(node_name(), count(*) = 0, 'fail',
                   coalesce(string_agg(format('run %s (%s to %s) is %s', r.id, r.runbook, r.target, r.state), '; '), 'none'),
                   'Wait for it, or cancel it; a stuck run tells in pingpong.run what to do.', 'postgres')
    FROM run r WHERE r.state NOT IN ('succeeded', 'rolled_back')
    UNION ALL
    SELECT finding(n.name, (n.facts ->> 'epoch')::bigint <= greatest(c.epoch, (SELECT max(r.epoch) FROM run r)), 'fail',
                   format('its agent has seen epoch %s, this cluster is at %s', n.facts ->> 'epoch', c.epoch),
                   'A run that this server does not know moved the primary: find out which server is the right one.', 'epoch')
    FROM preflight_node n, cluster c
$$;

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
    PERFORM validate_options('switchover', options);
    FOR c IN SELECT * FROM preflight_check p
             WHERE NOT nonsense OR p.name = 'roles' OR (p.name = 'target_streaming' AND NOT pg_is_in_recovery())
             ORDER BY p.number, p.name
    LOOP
        -- what is not known to be harmless is not: an error, or a status that nobody knows
        BEGIN
            RETURN QUERY EXECUTE format(
                'SELECT $3, $4, f.node, CASE WHEN s.known THEN f.status ELSE ''fail'' END,
                        CASE WHEN s.known THEN f.detail
                             ELSE format(''the check gave the status %%L: %%s'', f.status, f.detail) END, f.hint
                 FROM pingpong.%I($1, $2) f, LATERAL (SELECT coalesce(f.status IN (''ok'', ''info'', ''warn'', ''fail''), false)) s (known)',
                'check_' || c.name)
                USING target, options, c.number, c.name;
        EXCEPTION WHEN OTHERS THEN
            RETURN QUERY SELECT c.number, c.name, node_name(), 'fail',
                format('the check could not be made: %s (SQLSTATE %s)', SQLERRM, SQLSTATE),
                CASE WHEN c.builtin THEN 'This is an error of pg_pingpong, or of a privilege that was taken from it: see the server''s log.'
                     ELSE format('Mend the function pingpong.check_%s(), or delete its row in pingpong.preflight_check.', c.name) END;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pingpong.preflight_checks(text, jsonb) IS
    'the checks over the facts that are in node_fact now; pingpong.preflight() has them gathered first';

SELECT pg_extension_config_dump('pingpong.preflight_check', 'WHERE NOT builtin');
