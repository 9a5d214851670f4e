-- Failover: the primary is gone, and an operator puts a standby in its place. It is asked for on a standby, where no
-- table can be written. So what the agents tell is in shared memory (sight()), and the run has no row until the
-- target is promoted. One function finds what is known and what stands against it: failover_plan() shows its rows,
-- and failover() is refused by them.

CREATE FUNCTION pingpong_internal.sight(
    OUT node text, OUT at timestamptz, OUT answered boolean, OUT error text, OUT role text, OUT running boolean,
    OUT timeline integer, OUT system text, OUT received pg_lsn, OUT replayed pg_lsn, OUT replaying boolean,
    OUT streaming boolean, OUT sender text, OUT heard_ms double precision, OUT epoch bigint, OUT claimed bigint,
    OUT fences boolean, OUT sync_names text, OUT reached boolean, OUT arbiter text, OUT arbiter_error text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pingpong_sight' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 4;
COMMENT ON FUNCTION pingpong_internal.sight() IS
    'what each agent told when a failover was asked about last, from shared memory; reached: a server answers it at '
    'the old primary''s address';

-- With the rights of its owner: the connection string of a standby is not for everyone.
CREATE FUNCTION pingpong_internal.failover_source(OUT name text, OUT host text, OUT port integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH upstream (host, port) AS (
        SELECT w.sender_host, w.sender_port::text FROM pg_stat_wal_receiver w
        UNION ALL
        SELECT substring(c.value from $r$(?:^|\s)host\s*=\s*'?([^'\s]+)$r$),
               coalesce(substring(c.value from $r$(?:^|\s)port\s*=\s*'?([0-9]+)$r$), '5432')
        FROM current_setting('primary_conninfo') c (value))
    SELECT n.name, n.host, n.port FROM pingpong.node n
    WHERE n.kind = 'postgres' AND n.name <> pingpong.node_name() AND n.name = coalesce(
        (SELECT p.name FROM upstream u JOIN pingpong.node p ON p.host = u.host AND p.port::text = u.port
         WHERE EXISTS (SELECT FROM pingpong.node s WHERE s.name = pingpong.node_name() AND s.upstream IS NULL)
         ORDER BY p.name LIMIT 1),
        (SELECT r.target FROM pingpong.run r WHERE r.switched_at IS NOT NULL ORDER BY r.switched_at DESC, r.id DESC
         LIMIT 1))
$$;
COMMENT ON FUNCTION pingpong_internal.failover_source() IS
    'the primary that this standby streams from, or did: by its stream, its configuration, the last run; nulls: it '
    'is not known';

-- The best comes first: nothing that a standby has received is lost if it is promoted.
CREATE FUNCTION pingpong_internal.failover_standbys(
    OUT name text, OUT place integer, OUT timeline integer, OUT system text, OUT received pg_lsn, OUT replayed pg_lsn,
    OUT heard_at timestamptz, OUT less_bytes bigint) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.node, row_number() OVER best, s.timeline, s.system, s.received, s.replayed,
           s.at - s.heard_ms * interval '1 millisecond',
           CASE WHEN s.timeline = first_value(s.timeline) OVER best
               THEN (first_value(s.received) OVER best - s.received)::bigint END
    FROM pingpong_internal.sight() s JOIN pingpong.node n ON n.name = s.node
    WHERE n.kind = 'postgres' AND n.away_since IS NULL AND s.answered AND s.role = 'standby'
      AND s.received IS NOT NULL
      AND s.node IS DISTINCT FROM (SELECT p.name FROM pingpong_internal.failover_source() p)
      AND s.system = (SELECT c.system_identifier::text FROM pg_control_system() c)
    WINDOW best AS (ORDER BY s.timeline DESC, s.received DESC, s.node <> pingpong.node_name(),
                    n.upstream IS NOT NULL, s.node)
$$;
COMMENT ON FUNCTION pingpong_internal.failover_standbys() IS
    'the standbys whose agents have answered, that which has received most first; less_bytes: than that one; null: '
    'it is on an older timeline';

-- Each commit that was acknowledged is on `needed` of the named standbys. So if all but needed - 1 of them answer,
-- the best of those has it.
CREATE FUNCTION pingpong_internal.failover_synchronous(source text, OUT names text, OUT known_at timestamptz,
                                                       OUT covered boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT f.facts #>> '{postgres,settings,synchronous_standby_names}', f.facts_at,
           coalesce((SELECT w.needed > 0 AND count(DISTINCT s.name) > max(x.members) - w.needed
                     FROM pingpong_internal.sync_standbys(
                              f.facts #>> '{postgres,settings,synchronous_standby_names}') w
                          CROSS JOIN LATERAL (
                              SELECT CASE WHEN '*' = ANY (w.names)
                                  THEN (SELECT count(*) FROM pingpong.node n
                                        WHERE n.kind = 'postgres' AND n.name <> source)
                                  ELSE cardinality(w.names) END) x (members)
                          LEFT JOIN pingpong_internal.failover_standbys() s
                              ON s.less_bytes IS NOT NULL AND (lower(s.name) = ANY (w.names) OR '*' = ANY (w.names))
                     GROUP BY w.needed), false)
    FROM pingpong.node_fact f WHERE f.node = source
$$;
COMMENT ON FUNCTION pingpong_internal.failover_synchronous(text) IS
    'synchronous_standby_names of the old primary, as it was known last, and whether each commit that waited for '
    'them is on a standby that has answered';

-- The words of a risk, and who may take it. The first is that of every failover.
CREATE FUNCTION pingpong_internal.failover_risks(OUT words text, OUT for_operators boolean) RETURNS SETOF record
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('writes may be lost', true), ('more writes may be lost than need be', false),
           ('two primaries are possible', false)
$$;
COMMENT ON FUNCTION pingpong_internal.failover_risks() IS 'the risks of a failover in words';

CREATE FUNCTION pingpong_internal.failover_taken(risk text) RETURNS SETOF text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT DISTINCT btrim(w) FROM regexp_split_to_table(risk, ',') w WHERE btrim(w) <> ''
$$;
COMMENT ON FUNCTION pingpong_internal.failover_taken(text) IS 'the risks that a text names, separated by commas';

-- Refuses what must not reach the worker: on a primary (55000), words that are none (22023) or not for this role
-- (42501), a target that is none (42704, 22023).
CREATE FUNCTION pingpong_internal.check_failover(target text, options jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    word    text;
BEGIN
    PERFORM pingpong_internal.check_database();
    IF NOT pg_is_in_recovery() THEN
        PERFORM pingpong_internal.fail('55000', 'this server is no standby',
                                       'A failover is begun on a standby of a primary that is gone.',
                                       'A primary that can be reached is moved with pingpong.switchover().');
    END IF;
    PERFORM pingpong_internal.check_registered();
    IF target <> '' AND NOT EXISTS (SELECT FROM pingpong.node n WHERE n.name = target) THEN
        PERFORM pingpong_internal.fail('42704', format('node "%s" does not exist', target), NULL,
                                       'Known nodes: ' || (SELECT string_agg(n.name, ', ' ORDER BY n.name)
                                                           FROM pingpong.node n WHERE n.kind = 'postgres') || '.');
    ELSIF target <> '' AND EXISTS (SELECT FROM pingpong.node n WHERE n.name = target AND n.kind <> 'postgres') THEN
        PERFORM pingpong_internal.fail('22023', format('node "%s" is a router, not a PostgreSQL server', target));
    END IF;
    SELECT t INTO word FROM pingpong_internal.failover_taken(options ->> 'risk') t
    WHERE t NOT IN (SELECT r.words FROM pingpong_internal.failover_risks() r) LIMIT 1;
    IF FOUND THEN
        PERFORM pingpong_internal.fail('22023', '"risk" does not say what is risked',
            format('"%s" is none of: %s.', word,
                   (SELECT string_agg(format('"%s"', r.words), ', ') FROM pingpong_internal.failover_risks() r)),
            'See pingpong.failover_plan(), which says what has to be risked. Several are separated by commas.');
    END IF;
    SELECT t INTO word FROM pingpong_internal.failover_taken(options ->> 'risk') t
        JOIN pingpong_internal.failover_risks() r ON r.words = t WHERE NOT r.for_operators LIMIT 1;
    IF FOUND AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        PERFORM pingpong_internal.fail('42501', format('must be superuser to risk that %s', word));
    END IF;
    IF options ->> 'synchronous' NOT IN ('relax', 'strict') THEN
        PERFORM pingpong_internal.fail('22023', '"synchronous" must be relax or strict');
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.check_failover(text, jsonb) IS
    'refuses a failover that must not reach the worker';

-- status: ok, info, warn; fail: stands against it, whatever is risked; risk: it can be, in the words of the column
-- risk. All by what the agents told last.
CREATE FUNCTION pingpong_internal.failover_rows(wanted text)
    RETURNS TABLE (number integer, item text, node text, status text, detail text, hint text, risk text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    p       record;             -- the old primary
    a       record;             -- what its agent told
    best    record;
    t       record;             -- the target
    sync    record;
    told    record;
BEGIN
    SELECT * INTO p FROM pingpong_internal.failover_source();
    IF p.name IS NULL THEN
        RETURN QUERY VALUES (1, 'old primary', NULL::text, 'fail', 'it is not known which node was the primary',
                             'Its host and port in primary_conninfo must be those of a registered node.',
                             NULL::text);
        RETURN;
    END IF;
    SELECT * INTO a FROM pingpong_internal.sight() s WHERE s.node = p.name;
    RETURN QUERY
    SELECT 1, 'old primary', p.name,
           CASE WHEN NOT coalesce(a.answered, false) OR a.role = 'down' THEN 'ok'
                WHEN a.role = 'unknown' THEN 'warn' ELSE 'fail' END,
           CASE WHEN NOT coalesce(a.answered, false) THEN format('its agent does not answer: %s',
                                                                 coalesce(a.error, 'it was not asked'))
                WHEN a.role = 'down' THEN 'its agent answers: the server is down'
                WHEN a.role = 'unknown' THEN format('its agent answers: the server runs and does not answer (%s)',
                                                    a.error)
                WHEN a.role = 'primary' THEN 'its agent answers: the server runs, and takes writes'
                WHEN a.role = 'sealed' THEN 'its agent answers: the server runs, and is sealed'
                WHEN a.role = 'standby' THEN 'its agent answers: the server is a standby'
                ELSE format('its agent answers: role %s', a.role) END,
           CASE WHEN a.role IN ('primary', 'sealed') THEN 'A primary that can be reached is moved with '
                                                          'pingpong.switchover() there.'
                WHEN a.role = 'standby' THEN 'Another node is the primary: see pingpong.status.' END, NULL::text;
    RETURN QUERY
    SELECT 2, 'old primary', s.node, 'fail',
           CASE WHEN s.reached THEN format('a server answers it at %s:%s', p.host, p.port)
                WHEN s.role = 'primary' THEN 'it is a primary'
                ELSE format('it streams from the primary, of which it heard %s s ago',
                            round((s.heard_ms / 1000)::numeric, 1)) END,
           CASE WHEN s.reached THEN 'A primary that can be reached is moved with pingpong.switchover().'
                WHEN s.role = 'primary' THEN 'See pingpong.status: which one is the right one?'
                ELSE 'If its host is gone, the stream ends after wal_receiver_timeout. Then try again.' END,
           NULL::text
    FROM pingpong_internal.sight() s JOIN pingpong.node n ON n.name = s.node
    WHERE s.node <> p.name AND (s.reached OR s.role = 'primary'
                                OR (s.role = 'standby' AND s.streaming AND n.upstream IS NULL));
    RETURN QUERY
    SELECT 3, 'last contact', p.name, 'info',
           coalesce(format('%s, %s s ago, by %s', max(s.heard_at)::timestamptz(0),
                           round(extract(epoch FROM clock_timestamp() - max(s.heard_at)), 1),
                           (array_agg(s.name ORDER BY s.heard_at DESC NULLS LAST))[1]), 'not known'), NULL, NULL::text
    FROM pingpong_internal.failover_standbys() s WHERE s.heard_at IS NOT NULL;

    SELECT * INTO best FROM pingpong_internal.failover_standbys() s WHERE s.place = 1;
    SELECT * INTO t FROM pingpong_internal.failover_standbys() s WHERE s.name = coalesce(wanted, best.name);
    RETURN QUERY
    SELECT 4, 'standby', n.name,
           CASE WHEN c.name IS NULL AND s.answered AND n.away_since IS NULL THEN 'warn'
                WHEN c.name IS NULL THEN 'warn' WHEN c.less_bytes = 0 THEN 'ok' ELSE 'info' END,
           CASE WHEN n.away_since IS NOT NULL THEN 'it is away on purpose'
                WHEN NOT coalesce(s.answered, false) THEN format('its agent does not answer: %s',
                                                                 coalesce(s.error, 'it was not asked'))
                WHEN c.name IS NULL THEN format('it is no standby of this cluster: role %s%s', s.role,
                                                coalesce(': ' || s.error, ''))
                ELSE format('timeline %s, received %s, replayed %s%s', c.timeline, c.received, c.replayed,
                            CASE WHEN c.less_bytes = 0 THEN ''
                                 WHEN c.less_bytes IS NULL THEN '; an older timeline'
                                 ELSE format('; %s less than "%s"', pg_size_pretty(c.less_bytes), best.name) END) END,
           CASE WHEN NOT coalesce(s.answered, false) AND n.away_since IS NULL
               THEN 'Whether it has more than the others is not known.' END, NULL::text
    FROM pingpong.node n LEFT JOIN pingpong_internal.sight() s ON s.node = n.name
         LEFT JOIN pingpong_internal.failover_standbys() c ON c.name = n.name
    WHERE n.kind = 'postgres' AND n.name <> p.name;
    RETURN QUERY
    SELECT 5, 'target', coalesce(t.name, wanted),
           CASE WHEN t.name IS NULL OR t.less_bytes IS NULL THEN 'fail' WHEN t.less_bytes > 0 THEN 'risk'
                ELSE 'ok' END,
           CASE WHEN t.name IS NULL AND wanted IS NULL THEN 'no standby can be promoted'
                WHEN t.name IS NULL THEN 'it cannot be promoted'
                WHEN t.less_bytes IS NULL THEN format('it is on timeline %s, "%s" on %s', t.timeline, best.name,
                                                      best.timeline)
                WHEN t.less_bytes > 0 THEN format('"%s" has %s more', best.name, pg_size_pretty(t.less_bytes))
                ELSE 'no standby that answers has more' END,
           CASE WHEN t.name IS NULL OR t.less_bytes IS NULL THEN 'See the rows of the standbys.' END,
           CASE WHEN t.less_bytes > 0 THEN 'more writes may be lost than need be' END;
    SELECT s.* INTO sync FROM pingpong_internal.failover_synchronous(p.name) s;
    SELECT n.lsn, n.seen_at INTO told FROM pingpong_internal.agent_news() n
        WHERE n.node = p.name AND n.role = 'primary';
    RETURN QUERY
    SELECT 6, 'loss', p.name, 'risk',
           concat_ws('; ', format('what "%s" committed after %s', p.name, coalesce(t.received::text, 'that')),
                     CASE WHEN told.lsn > t.received
                          THEN format('at least %s of WAL, which its agent told of at %s',
                                      pg_size_pretty(told.lsn - t.received), told.seen_at::timestamptz(0))
                          WHEN told.lsn IS NOT NULL
                          THEN format('its agent had told of %s at %s', told.lsn, told.seen_at::timestamptz(0)) END,
                     CASE WHEN sync.names IS NULL THEN 'whether replication was synchronous is not known'
                          WHEN sync.names = '' THEN format('replication was not synchronous (known at %s)',
                                                           sync.known_at::timestamptz(0))
                          WHEN sync.covered AND t.less_bytes = 0
                          THEN format('no commit that has waited for "%s" (known at %s)', sync.names,
                                      sync.known_at::timestamptz(0))
                          ELSE format('too few of "%s" answer, so also commits that waited for them',
                                      sync.names) END),
           'What is lost is listed when the old primary is rebuilt, and its WAL is kept.', 'writes may be lost';
    RETURN QUERY
    SELECT 7, 'fence', p.name,
           CASE WHEN coalesce(a.answered, false) OR f.by IS NOT NULL THEN 'ok' ELSE 'risk' END,
           CASE WHEN coalesce(a.answered, false) THEN 'its agent keeps the server down and seals it'
                WHEN f.by IS NOT NULL THEN format('by the hook fence_%s of the agent of "%s"', p.name, f.by)
                ELSE format('its agent does not answer, and no agent has a hook fence_%s', p.name) END,
           CASE WHEN NOT coalesce(a.answered, false) AND f.by IS NULL
               THEN 'Make sure that its host is off, or cannot be reached by clients.' END,
           CASE WHEN NOT coalesce(a.answered, false) AND f.by IS NULL THEN 'two primaries are possible' END
    FROM (SELECT min(s.node) FROM pingpong_internal.sight() s WHERE s.fences) f (by);
    RETURN QUERY
    SELECT 8, 'other run', s.node, 'fail', format('a failover has claimed epoch %s there', s.claimed),
           'See pingpong.progress on the other standbys; a claim that nobody needs any more ends by itself.',
           NULL::text
    FROM pingpong_internal.sight() s WHERE s.claimed > 0;
    RETURN QUERY
    SELECT 8, 'arbiter', s.node,
           CASE WHEN s.arbiter IS NOT NULL AND s.arbiter_error IS NULL THEN 'ok' WHEN s.node = t.name THEN 'fail'
                ELSE 'warn' END,
           CASE WHEN s.arbiter IS NULL THEN 'its agent has none, others have one'
                WHEN s.arbiter_error IS NULL THEN format('"%s" answers its agent', s.arbiter)
                ELSE format('"%s" gives its agent no answer: %s', s.arbiter, s.arbiter_error) END,
           CASE WHEN s.arbiter IS NULL OR s.arbiter_error IS NOT NULL
               THEN 'Make etcd answer. If it is gone for good, take the section [etcd.CLUSTER] out of every agent''s '
                    'configuration, and reload them.' END, NULL::text
    FROM pingpong_internal.sight() s
    WHERE s.answered AND EXISTS (SELECT FROM pingpong_internal.sight() o WHERE o.arbiter IS NOT NULL);
    RETURN QUERY
    SELECT 9, CASE WHEN n.kind = 'router' THEN 'router' ELSE 'witness' END, n.name,
           CASE WHEN coalesce(s.answered, false) THEN 'ok' ELSE 'warn' END,
           CASE WHEN coalesce(s.answered, false) THEN format('its agent answers, epoch %s', s.epoch)
                ELSE format('its agent does not answer: %s', coalesce(s.error, 'it was not asked')) END
           || coalesce((SELECT '; routes: ' || string_agg(e.name, ', ' ORDER BY e.name) FROM pingpong.route_endpoint e
                        WHERE e.router = n.name), ''),
           CASE WHEN NOT coalesce(s.answered, false) AND EXISTS (SELECT FROM pingpong.route_endpoint e
                                                                 WHERE e.router = n.name)
               THEN 'Its routes stay as they are until pingpong.repoint() can change them.' END, NULL::text
    FROM pingpong.node n LEFT JOIN pingpong_internal.sight() s ON s.node = n.name
    WHERE n.name <> p.name AND n.away_since IS NULL;
END
$$;
COMMENT ON FUNCTION pingpong_internal.failover_rows(text) IS
    'what is known of a failover and what stands against it, by what the agents told last';

-- What a refusal says; a null message: it may be made.
CREATE FUNCTION pingpong_internal.failover_refusal(wanted text, risk text, OUT message text, OUT detail text,
                                                   OUT hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    needed  text;
BEGIN
    SELECT string_agg(format('%s%s: %s', r.item, ' ("' || r.node || '")', r.detail), E'\n'
                      ORDER BY r.number, r.node),
           (array_agg(r.hint ORDER BY r.number, r.node) FILTER (WHERE r.hint IS NOT NULL))[1]
    INTO detail, hint FROM pingpong_internal.failover_rows(wanted) r WHERE r.status = 'fail';
    IF detail IS NOT NULL THEN
        message := 'this failover cannot be made';
        RETURN;
    END IF;
    SELECT string_agg(DISTINCT r.risk, ', ') INTO needed FROM pingpong_internal.failover_rows(wanted) r
    WHERE r.risk IS NOT NULL;
    IF needed IS NOT NULL AND EXISTS (SELECT FROM pingpong_internal.failover_taken(needed) t
                                      WHERE t NOT IN (SELECT g FROM pingpong_internal.failover_taken(
                                                          coalesce(risk, '')) g)) THEN
        message := 'this failover needs a risk that was not taken';
        SELECT string_agg(format('%s%s: %s', r.item, ' ("' || r.node || '")', r.detail), E'\n'
                          ORDER BY r.number, r.node)
        INTO detail FROM pingpong_internal.failover_rows(wanted) r WHERE r.risk IS NOT NULL;
        hint := format('See pingpong.failover_plan(). To take it, say: risk => %L.', needed);
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.failover_refusal(text, text) IS
    'what stands against a failover with that risk; a null message: nothing';

-- What the run begins with. `notes` is what its steps have to know.
CREATE FUNCTION pingpong_internal.failover_choice(wanted text, OUT target text, OUT epoch bigint, OUT id bigint,
                                                  OUT key text, OUT notes jsonb)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.name,
           greatest(pingpong_internal.known_epoch(), (SELECT max(greatest(s.epoch, s.claimed))
                                                      FROM pingpong_internal.sight() s)) + 1,
           (SELECT coalesce(max(r.id), 0) + 1 FROM pingpong.run r), gen_random_uuid()::text,
           jsonb_build_object(
               'timeline', t.timeline, 'system', t.system, 'received', t.received,
               'heard_at', h.at, 'heard_ms', round(extract(epoch FROM clock_timestamp() - h.at) * 1000),
               'fencer', coalesce((SELECT s.node FROM pingpong_internal.sight() s
                                   WHERE s.node = p.name AND s.answered),
                                  (SELECT min(s.node) FROM pingpong_internal.sight() s WHERE s.fences), ''),
               'silent', coalesce((SELECT jsonb_agg(n.name) FROM pingpong.node n
                                   WHERE NOT EXISTS (SELECT FROM pingpong_internal.sight() s
                                                     WHERE s.node = n.name AND s.answered)), '[]'),
               'standbys', '{}'::jsonb,
               'synchronous_standby_names', coalesce((pingpong_internal.failover_synchronous(p.name)).names, ''))
    FROM pingpong_internal.failover_source() p, pingpong_internal.failover_standbys() t,
         LATERAL (SELECT max(s.heard_at) FROM pingpong_internal.failover_standbys() s) h (at)
    WHERE CASE WHEN wanted IS NULL THEN t.place = 1 ELSE t.name = wanted END
$$;
COMMENT ON FUNCTION pingpong_internal.failover_choice(text) IS
    'the target of a failover, its epoch, and what its steps have to know';

CREATE FUNCTION pingpong.failover_plan(target text DEFAULT NULL)
    RETURNS TABLE (item text, node text, status text, detail text, hint text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    PERFORM r.state FROM pingpong_internal.request('sight', coalesce(target, ''), '{}') r;
    RETURN QUERY SELECT f.item, f.node, f.status, f.detail, f.hint FROM pingpong_internal.failover_rows(target) f
        ORDER BY f.number, f.node;
    RETURN QUERY
    SELECT 'step', s.node, 'info', format('%s %s: %s', s.ordinal, s.action, s.comment),
           CASE WHEN s.mark IS NOT DISTINCT FROM 'no_return' THEN 'The point of no return.' END
    FROM pingpong_internal.failover_choice(target) c, pingpong_internal.failover_source() p,
         LATERAL pingpong_internal.run_steps(jsonb_populate_record(NULL::pingpong.run, jsonb_build_object(
             'runbook', 'failover', 'source', p.name, 'target', c.target,
             'options', '{"synchronous": "relax", "old_primary": "leave"}'::jsonb))) s
    WHERE s.holds ORDER BY s.ordinal, s.action, s.node;
    RETURN QUERY
    SELECT 'answer', c.target, CASE WHEN x.fails > 0 THEN 'fail' ELSE 'info' END,
           CASE WHEN x.fails > 0 THEN format('it is refused: %s rows "fail"', x.fails)
                ELSE format('SELECT * FROM pingpong.failover(%L, risk => %L);', c.target, x.risks) END,
           CASE WHEN x.fails = 0 AND x.risks ~ ',|two|more' THEN 'Superusers only.' END
    FROM (SELECT count(*) FILTER (WHERE f.status = 'fail'), string_agg(DISTINCT f.risk, ', ')
          FROM pingpong_internal.failover_rows(target) f) x (fails, risks)
         LEFT JOIN pingpong_internal.failover_choice(target) c ON true;
END
$$;
COMMENT ON FUNCTION pingpong.failover_plan(text) IS
    'on a standby: what is known of a primary that is gone, what may be lost, what a failover would do and what '
    'stands against it; asks all agents now, changes nothing; null: the standby that has most';

CREATE FUNCTION pingpong.failover(target text DEFAULT NULL, risk text DEFAULT NULL, synchronous text DEFAULT 'relax',
                                  OUT run bigint, OUT state text, OUT without_writes_ms double precision,
                                  OUT new_primary text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    SELECT r.run, r.state, r.blackout_ms, r.new_primary
    INTO failover.run, failover.state, failover.without_writes_ms, failover.new_primary
    FROM pingpong_internal.request('failover', coalesce(target, ''), jsonb_strip_nulls(jsonb_build_object(
        'runbook', 'failover', 'synchronous', synchronous, 'old_primary', 'leave', 'max_blackout_ms', 60000,
        'risk', risk))::text) AS r;
END
$$;
COMMENT ON FUNCTION pingpong.failover(text, text, text) IS
    'on a standby, by an operator: put a standby in the place of a primary that is gone; refused (55000) while that '
    'can be reached; the risk is said in words, see failover_plan(); without_writes_ms: since the last contact';

CREATE VIEW pingpong.lost AS
    SELECT s.run, s.node, s.ended_at AS at, (s.detail #>> '{lost,commits}')::bigint AS transactions,
           (s.detail #>> '{lost,from}')::pg_lsn AS from_lsn, (s.detail #>> '{lost,to}')::pg_lsn AS to_lsn,
           nullif(s.detail #>> '{lost,first_commit}', '')::timestamptz AS first_commit,
           nullif(s.detail #>> '{lost,last_commit}', '')::timestamptz AS last_commit,
           s.detail #> '{lost,relations}' AS relations, (s.detail #>> '{lost,complete}')::boolean AS complete,
           s.detail #>> '{lost,kept}' AS kept, (s.detail #>> '{lost,bytes}')::bigint AS bytes
    FROM pingpong.step s WHERE s.detail ? 'lost' ORDER BY s.run, s.ordinal;
COMMENT ON VIEW pingpong.lost IS
    'what was given up when a node was rebuilt: transactions that only it had, and where their WAL is kept';
COMMENT ON COLUMN pingpong.lost.run IS 'the run that rebuilt it';
COMMENT ON COLUMN pingpong.lost.node IS 'which node';
COMMENT ON COLUMN pingpong.lost.at IS 'when';
COMMENT ON COLUMN pingpong.lost.transactions IS 'that were committed there, and are nowhere else; null: not known';
COMMENT ON COLUMN pingpong.lost.from_lsn IS 'the first WAL record that only this node had';
COMMENT ON COLUMN pingpong.lost.to_lsn IS 'the last one';
COMMENT ON COLUMN pingpong.lost.first_commit IS 'time of the first of the transactions';
COMMENT ON COLUMN pingpong.lost.last_commit IS 'time of the last one';
COMMENT ON COLUMN pingpong.lost.relations IS
    'a list: database, relation, rows inserted, updated and deleted; "file N": it was made past the fork';
COMMENT ON COLUMN pingpong.lost.complete IS 'whether the list has all of it';
COMMENT ON COLUMN pingpong.lost.kept IS
    'the folder on the host of the node that has its WAL; it stays until somebody removes it';
COMMENT ON COLUMN pingpong.lost.bytes IS 'the size of that WAL';
