-- What the primary's worker keeps in tables: coarse samples, and preflight of each standby.

CREATE TABLE pingpong.history_sample
(
    id         bigint PRIMARY KEY,
    at         timestamptz NOT NULL,
    lsn        pg_lsn NOT NULL,
    free_bytes bigint,
    standbys   jsonb,
    slots      jsonb
);
COMMENT ON TABLE pingpong.history_sample IS
    'a row for each pingpong.history_interval, kept for pingpong.history_retention and not more than 100000 of them; '
    'read pingpong.history';
COMMENT ON COLUMN pingpong.history_sample.lsn IS 'the end of WAL';
COMMENT ON COLUMN pingpong.history_sample.free_bytes IS 'on the disk of pg_wal; null: not known';
COMMENT ON COLUMN pingpong.history_sample.standbys IS
    '{"node": [bytes behind in replay, ms behind]}; a null in it: not known';
COMMENT ON COLUMN pingpong.history_sample.slots IS '{"slot": bytes of WAL that it keeps}';

-- A few old rows for each new one, so that it is never much at once; more than one, or a shorter retention would have
-- no end.
CREATE FUNCTION pingpong_internal.keep_sample() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    number  bigint := coalesce((SELECT max(h.id) FROM pingpong.history_sample h), 0) + 1;
BEGIN
    INSERT INTO pingpong.history_sample (id, at, lsn, free_bytes, standbys, slots)
    SELECT number, clock_timestamp(), pg_current_wal_lsn(),
           (SELECT t.free_bytes FROM pingpong_internal.sample_trends(1000) t WHERE t.slot_name IS NULL),
           (SELECT jsonb_object_agg(s.node, jsonb_build_array(s.replay_lag_bytes,
                                                              round(extract(epoch FROM s.replay_lag) * 1000)))
            FROM pingpong_internal.status_rows() s WHERE s.takes_over IS NOT NULL),
           (SELECT jsonb_object_agg(s.slot_name, (pg_current_wal_lsn() - s.restart_lsn)::bigint)
            FROM pg_replication_slots s WHERE s.restart_lsn IS NOT NULL AND s.wal_status IS DISTINCT FROM 'lost');
    DELETE FROM pingpong.history_sample h
    WHERE h.id IN (SELECT o.id FROM pingpong.history_sample o ORDER BY o.id LIMIT 100)
      AND (h.id <= number - 100000
           OR h.at < clock_timestamp() - current_setting('pingpong.history_retention')::interval);
END
$$;
COMMENT ON FUNCTION pingpong_internal.keep_sample() IS
    'for the worker of a primary: keeps a sample, and forgets what is too old';

CREATE VIEW pingpong.history AS
    SELECT at, what, name, value
    FROM (SELECT h.at, 'wal_bytes_per_s', NULL,
                 ((h.lsn - lag(h.lsn) OVER w) / nullif(extract(epoch FROM h.at - lag(h.at) OVER w), 0))::float8
          FROM pingpong.history_sample h WINDOW w AS (ORDER BY h.id)
          UNION ALL
          SELECT h.at, 'disk_free_bytes', NULL, h.free_bytes FROM pingpong.history_sample h
          UNION ALL
          SELECT h.at, 'replay_lag_bytes', s.key, (s.value ->> 0)::float8
          FROM pingpong.history_sample h, jsonb_each(h.standbys) s
          UNION ALL
          SELECT h.at, 'replay_lag_ms', s.key, (s.value ->> 1)::float8
          FROM pingpong.history_sample h, jsonb_each(h.standbys) s
          UNION ALL
          SELECT h.at, 'slot_retained_bytes', s.key, s.value::float8
          FROM pingpong.history_sample h, jsonb_each(h.slots) s) x (at, what, name, value)
    ORDER BY at, what, name;
COMMENT ON VIEW pingpong.history IS 'what was, by the samples that the primary''s worker has kept; also on a standby';
COMMENT ON COLUMN pingpong.history.at IS 'when';
COMMENT ON COLUMN pingpong.history.what IS
    'wal_bytes_per_s (since the sample before), disk_free_bytes (of pg_wal), replay_lag_bytes, replay_lag_ms, '
    'slot_retained_bytes; all of the primary of that time';
COMMENT ON COLUMN pingpong.history.name IS 'of the standby or the slot; null: of the primary';
COMMENT ON COLUMN pingpong.history.value IS 'how much; null: it was not known';

-- ---- readiness ----

CREATE TABLE pingpong.readiness_check
(
    target text NOT NULL REFERENCES pingpong.node (name) ON DELETE CASCADE,
    number integer NOT NULL,
    name   text NOT NULL,
    node   text,
    status text NOT NULL,
    detail text,
    hint   text,
    since  timestamptz
);
COMMENT ON TABLE pingpong.readiness_check IS
    'the findings of preflight for each standby, as the primary''s worker makes it now and then; read '
    'pingpong.readiness for what follows, and how old they are';
COMMENT ON COLUMN pingpong.readiness_check.target IS 'the node to which the primary would move';
COMMENT ON COLUMN pingpong.readiness_check.number IS 'as in pingpong.preflight_check, as is name';
COMMENT ON COLUMN pingpong.readiness_check.name IS 'of the check';
COMMENT ON COLUMN pingpong.readiness_check.node IS 'which node, or endpoint of a route, it is about';
COMMENT ON COLUMN pingpong.readiness_check.status IS 'ok, info, warn or fail (which stops a switchover)';
COMMENT ON COLUMN pingpong.readiness_check.detail IS
    'what was found; null if it is ok or info: it may have changed since, and pingpong.preflight() tells it';
COMMENT ON COLUMN pingpong.readiness_check.hint IS 'what to do about it';
COMMENT ON COLUMN pingpong.readiness_check.since IS 'since when it has this status';

CREATE TABLE pingpong.readiness_round
(
    target     text PRIMARY KEY REFERENCES pingpong.node (name) ON DELETE CASCADE,
    source     text NOT NULL,
    checked_at timestamptz NOT NULL,
    fails      integer NOT NULL,
    warnings   integer NOT NULL,
    since      timestamptz NOT NULL
);
COMMENT ON TABLE pingpong.readiness_round IS 'when preflight was made last for each standby, and by which primary';
COMMENT ON COLUMN pingpong.readiness_round.since IS 'since when there are fails, or none';

-- The n-th check for that target. Its rows are written only if they have changed.
CREATE FUNCTION pingpong_internal.renew_check(c pingpong.preflight_check, target text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    kept    pingpong.readiness_check[] := ARRAY(
        SELECT r FROM pingpong.readiness_check r WHERE r.target = target AND r.name = c.name
        ORDER BY r.node, r.status, r.detail, r.hint);
    fresh   pingpong.readiness_check[] := ARRAY(
        SELECT ROW(target, o.number, o.name, o.node, o.status, o.detail, o.hint,
                   coalesce((SELECT min(k.since) FROM unnest(kept) k
                             WHERE k.node IS NOT DISTINCT FROM o.node AND k.status = o.status), clock_timestamp())
                  )::pingpong.readiness_check
        FROM (SELECT x.number, x.name, x.node, x.status, CASE WHEN x.status IN ('warn', 'fail') THEN x.detail END,
                     CASE WHEN x.status IN ('warn', 'fail') THEN x.hint END
              FROM pingpong_check.one_check(c, target, '{}') x) o (number, name, node, status, detail, hint)
        ORDER BY o.node, o.status, o.detail, o.hint);
BEGIN
    IF fresh IS DISTINCT FROM kept THEN
        DELETE FROM pingpong.readiness_check r WHERE r.target = target AND r.name = c.name;
        INSERT INTO pingpong.readiness_check SELECT f.* FROM unnest(fresh) f;
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.renew_check(pingpong.preflight_check, text) IS
    'makes a check for a move to that target, by the facts that are stored, and keeps what has changed';

CREATE FUNCTION pingpong_internal.end_round(target text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    DELETE FROM pingpong.readiness_check r
    WHERE r.target = target
      AND r.name NOT IN (SELECT c.name FROM pingpong_internal.checks_of(target, 'switchover') c);
    INSERT INTO pingpong.readiness_round AS o (target, source, checked_at, fails, warnings, since)
    SELECT target, pingpong.node_name(), clock_timestamp(), count(*) FILTER (WHERE r.status = 'fail'),
           count(*) FILTER (WHERE r.status = 'warn'), clock_timestamp()
    FROM pingpong.readiness_check r WHERE r.target = target
    ON CONFLICT ON CONSTRAINT readiness_round_pkey DO UPDATE
        SET source = EXCLUDED.source, checked_at = EXCLUDED.checked_at, fails = EXCLUDED.fails,
            warnings = EXCLUDED.warnings,
            since = CASE WHEN (o.fails = 0) = (EXCLUDED.fails = 0) AND o.source = EXCLUDED.source THEN o.since
                         ELSE EXCLUDED.since END;
END
$$;
COMMENT ON FUNCTION pingpong_internal.end_round(text) IS 'all checks for that target were made';

CREATE FUNCTION pingpong_internal.renew_readiness(target text, nth integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    c       pingpong.preflight_check;
BEGIN
    SELECT x.* INTO c FROM pingpong_internal.checks_of(target, 'switchover') x
        ORDER BY x.number, x.name OFFSET nth LIMIT 1;
    IF FOUND THEN
        PERFORM pingpong_internal.renew_check(c, target);
        RETURN nth + 1;
    END IF;
    PERFORM pingpong_internal.end_round(target);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION pingpong_internal.renew_readiness(text, integer) IS
    'for the worker of a primary: makes the check of that number, from 0; gives the number of the next one, null: '
    'that was all';

-- How long clients waited, and how long it took until writes were possible, in earlier runs.
CREATE FUNCTION pingpong_internal.switchover_estimate(target text, OUT blackout_ms double precision,
                                                      OUT takes_ms double precision, OUT runs integer)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY h.blackout_ms)::numeric, 1),
           round(percentile_cont(0.5) WITHIN GROUP (ORDER BY h.ms)::numeric, 1), count(*)
    INTO blackout_ms, takes_ms, runs
    FROM (SELECT r.blackout_ms, extract(epoch FROM r.switched_at - r.started_at)::float8 * 1000 AS ms
          FROM pingpong.run r
          WHERE r.state = 'succeeded' AND r.switched_at IS NOT NULL AND r.blackout_ms IS NOT NULL
            AND EXISTS (SELECT FROM pingpong.runbook_step s WHERE s.runbook = r.runbook AND s.mark = 'no_return')
          ORDER BY r.target = target DESC, r.id DESC LIMIT 20) h;
END
$$;
COMMENT ON FUNCTION pingpong_internal.switchover_estimate(text) IS
    'medians of the last 20 runs that moved the primary, those to that target first; nulls: there was none';

-- What is seen now counts before what was found some minutes ago. What another primary has found is of no use.
CREATE VIEW pingpong.readiness AS
    SELECT s.node,
           CASE WHEN s.obstacle IS NOT NULL THEN false WHEN f.fresh THEN r.fails = 0 END AS ready,
           CASE WHEN s.obstacle IS NOT NULL THEN concat_ws('; ', s.obstacle, f.blocks)
                WHEN f.fresh THEN f.blocks
                WHEN r.target IS NULL THEN 'not checked yet' ELSE 'not checked for too long' END AS blocks,
           CASE WHEN f.fresh THEN r.warnings END AS warnings, e.blackout_ms, e.takes_ms, e.runs AS estimated_from,
           CASE WHEN f.fresh THEN r.since END AS since, r.checked_at, clock_timestamp() - r.checked_at AS age
    FROM (SELECT x.*, max(x.node) FILTER (WHERE x.role = 'primary') OVER () AS primary_node
          FROM pingpong_internal.status_rows() x) s
         LEFT JOIN pingpong.readiness_round r ON r.target = s.node AND r.source = s.primary_node
         CROSS JOIN LATERAL pingpong_internal.switchover_estimate(s.node) e
         CROSS JOIN LATERAL (
             SELECT coalesce(clock_timestamp() - r.checked_at
                             < 3 * nullif(current_setting('pingpong.readiness_interval')::interval, '0')
                               + interval '1 min', false),
                    (SELECT string_agg(concat(c.name, ' (' || c.node || ')', ': ' || c.detail), '; '
                                       ORDER BY c.number, c.name, c.node)
                     FROM pingpong.readiness_check c WHERE c.target = r.target AND c.status = 'fail')
             ) f (fresh, blocks)
    WHERE s.takes_over IS NOT NULL
    ORDER BY s.node;
COMMENT ON VIEW pingpong.readiness IS
    'for each standby: could the primary move there now, and what blocks it; all findings are in '
    'pingpong.readiness_check, and pingpong.preflight() makes them anew';
COMMENT ON COLUMN pingpong.readiness.node IS 'the standby';
COMMENT ON COLUMN pingpong.readiness.ready IS
    'true: the last preflight found nothing against it, and it streams now; false: "blocks" says why not; null: not '
    'known, see blocks';
COMMENT ON COLUMN pingpong.readiness.blocks IS 'what blocks a switchover, or why that is not known; null: nothing';
COMMENT ON COLUMN pingpong.readiness.warnings IS 'how many warnings the last preflight gave';
COMMENT ON COLUMN pingpong.readiness.blackout_ms IS
    'how long clients would wait, in ms: the median of earlier runs, those to this node first; null: there was none';
COMMENT ON COLUMN pingpong.readiness.takes_ms IS
    'how long it would take until writes are possible there, in ms, from the beginning of the run; the same';
COMMENT ON COLUMN pingpong.readiness.estimated_from IS 'of how many runs these are the medians, 20 at most';
COMMENT ON COLUMN pingpong.readiness.since IS 'since when the preflights have found something against it, or nothing';
COMMENT ON COLUMN pingpong.readiness.checked_at IS 'when this primary made preflight for it last; null: never';
COMMENT ON COLUMN pingpong.readiness.age IS 'how long ago that is';
