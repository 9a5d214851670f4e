-- The built-in rules of alerts: a function each, which gives a row for each subject for which its condition is true.
-- What cannot be known gives no row: pingpong.health_check() and the agents tell of silence.

INSERT INTO pingpong.alert_rule (builtin, name, severity, threshold, unit, raise_after, clear_after, on_standby,
                                 comment)
VALUES
    (true, 'lag_seconds',       'warning',           30, 's',     '30 s',   '30 s',  false,
     'a standby replays later than this'),
    (true, 'lag_bytes',         'warning',   1073741824, 'bytes', '30 s',   '30 s',  false,
     'a standby has more than this to replay'),
    (true, 'standby_missing',   'critical',        NULL, NULL,    '30 s',   '0',     false,
     'a registered standby of this primary, which is not away on purpose, does not stream'),
    (true, 'slot_retention',    'warning',  10737418240, 'bytes', '1 min',  '1 min', true,
     'a slot keeps more WAL than this'),
    (true, 'slot_time_to_full', 'critical',       14400, 's',     '1 min',  '5 min', true,
     'at the present rate a slot is lost, or the disk of pg_wal is full, within this time'),
    (true, 'slot_inactive',     'warning',         NULL, NULL,    '15 min', '0',     true,
     'nobody uses a slot; those of nodes that are away on purpose are left out'),
    (true, 'slot_lost',         'critical',        NULL, NULL,    '0',      '0',     true,
     'the WAL that a slot needs is gone'),
    (true, 'archiver_failing',  'critical',        NULL, NULL,    '1 min',  '0',     false,
     'the last try of archive_command failed'),
    (true, 'run_stuck',         'critical',        NULL, NULL,    '0',      '0',     false,
     'the last run is stuck'),
    (true, 'setting_relaxed',   'warning',          900, 's',     '0',      '0',     false,
     'a setting is relaxed since a run, for longer than this'),
    (true, 'artefact_age',      'warning',      1209600, 's',     '0',      '0',     false,
     'an old data directory or a snapshot of an upgrade is kept for longer than this'),
    (true, 'artefact_growth',   'warning',  10737418240, 'bytes', '0',      '0',     false,
     'what an old data directory or a snapshot holds has grown by more than this'),
    (true, 'route_drift',       'warning',         3600, 's',     '0',      '0',     false,
     'a router was seen to point elsewhere than the routing table says, at most this long ago'),
    (true, 'guard_unanswered',  'critical',        NULL, NULL,    '0',      '0',     false,
     'this server was opened at its start without the word of all other nodes that nobody has replaced it');

CREATE FUNCTION pingpong_check.alert_lag_seconds(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.name, round(lag.s, 1), format('%s replays %s s later', s.name, round(lag.s)),
           format('See pingpong.standby; on %s, look for queries that hold up its replay and for a slow disk', s.name)
    FROM pingpong.standby s, LATERAL (SELECT extract(epoch FROM s.replay_lag)) lag (s)
    WHERE lag.s > $1 AND NOT pg_is_in_recovery()
$$;

CREATE FUNCTION pingpong_check.alert_lag_bytes(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.name, s.behind_bytes, format('%s has %s to replay', s.name, pg_size_pretty(s.behind_bytes)),
           format('See pingpong.standby; look for a slow network to %s, or a slow replay there', s.name)
    FROM pingpong.standby s
    WHERE s.behind_bytes > $1 AND NOT pg_is_in_recovery()
$$;

CREATE FUNCTION pingpong_check.alert_standby_missing(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.name, NULL::numeric, format('%s does not stream from %s%s', s.name, pingpong.node_name(),
                                coalesce(' (' || s.state || ')', '')),
           format('Start it; see its log and its agent. SELECT pingpong.rebuild(%L) makes it a standby again', s.name)
    FROM pingpong.standby s JOIN pingpong.node n ON n.name = s.name
    WHERE n.upstream IS NULL AND n.away_since IS NULL AND s.state IS DISTINCT FROM 'streaming'
        AND NOT pg_is_in_recovery()
$$;

CREATE FUNCTION pingpong_check.alert_slot_retention(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.slot_name, s.retained_bytes,
           format('slot %s%s keeps %s of WAL', s.slot_name, coalesce(' of ' || s.node, ''),
                  pg_size_pretty(s.retained_bytes)),
           coalesce(s.advice, 'See pingpong.slots: its consumer is too slow')
    FROM pingpong.slots s
    WHERE s.retained_bytes > $1
$$;

CREATE FUNCTION pingpong_check.alert_slot_time_to_full(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.slot_name, round(left_.s),
           format('at this rate slot %s %s in %s s', s.slot_name,
                  CASE WHEN s.limit_in <= coalesce(s.disk_full_in, s.limit_in) THEN 'is lost'
                       ELSE 'fills the disk of pg_wal' END, round(left_.s)),
           coalesce(s.advice, 'Make its consumer faster, or drop the slot')
    FROM pingpong.slots s, LATERAL (SELECT extract(epoch FROM least(s.limit_in, s.disk_full_in))) left_ (s)
    WHERE left_.s < $1
$$;

CREATE FUNCTION pingpong_check.alert_slot_inactive(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.slot_name, s.retained_bytes,
           format('nobody uses slot %s%s, which keeps %s of WAL', s.slot_name, coalesce(' of ' || s.node, ''),
                  pg_size_pretty(s.retained_bytes)), s.advice
    FROM pingpong.slots s LEFT JOIN pingpong.node n ON n.name = s.node
    WHERE NOT s.active AND s.advice IS NOT NULL AND s.wal_status <> 'lost' AND n.away_since IS NULL
$$;

CREATE FUNCTION pingpong_check.alert_slot_lost(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.slot_name, NULL::numeric,
           format('slot %s%s has lost its WAL', s.slot_name, coalesce(' of ' || s.node, '')), s.advice
    FROM pingpong.slots s
    WHERE s.wal_status = 'lost'
$$;

CREATE FUNCTION pingpong_check.alert_archiver_failing(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '', a.failed_count,
           format('archive_command fails: segment %s, %s; last success %s', a.last_failed_wal,
                  to_char(a.last_failed_time, 'YYYY-MM-DD HH24:MI:SS TZ'),
                  coalesce(to_char(a.last_archived_time, 'YYYY-MM-DD HH24:MI:SS TZ'), 'never')),
           'Repair archive_command (see the server''s log): until then pg_wal grows'
    FROM pg_stat_archiver a
    WHERE current_setting('archive_mode') <> 'off'
        AND a.last_failed_time > coalesce(a.last_archived_time, '-infinity')
        AND NOT pg_is_in_recovery()
$$;

CREATE FUNCTION pingpong_check.alert_run_stuck(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'run ' || r.id, NULL::numeric, format('%s to %s (run %s) is stuck', r.runbook, r.target, r.id), r.sentence
    FROM (SELECT * FROM pingpong.run ORDER BY id DESC LIMIT 1) r
    WHERE r.state = 'stuck' AND NOT pg_is_in_recovery()
$$;

CREATE FUNCTION pingpong_check.alert_setting_relaxed(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('%s of %s', r.name, r.node), round(age.s),
           format('%s of %s is "%s" since run %s, %s s ago, and was %s', r.name, r.node, r.value,
                  coalesce(r.run::text, '?'), round(age.s), coalesce('"' || r.wanted || '"', 'not set')),
           'The worker restores it when a standby is there again: see pingpong.standby. If it never will be, set it '
           'by ALTER SYSTEM'
    FROM pingpong.relaxed r, LATERAL (SELECT extract(epoch FROM clock_timestamp() - r.since)) age (s)
    WHERE age.s > $1 AND NOT pg_is_in_recovery()
$$;

CREATE FUNCTION pingpong_check.alert_artefact_age(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('%s of %s', a.name, a.node), round(age.s),
           format('%s %s of %s is kept since %s%s', a.kind, a.name, a.node, to_char(a.since, 'YYYY-MM-DD'),
                  coalesce(' and holds ' || pg_size_pretty(a.bytes), '')),
           concat(coalesce(a.to_free, 'See pingpong.artefact'), '; then the way back is gone: ' || a.way_back)
    FROM pingpong.artefact a, LATERAL (SELECT extract(epoch FROM clock_timestamp() - a.since)) age (s)
    WHERE age.s > $1 AND NOT pg_is_in_recovery()
$$;

CREATE FUNCTION pingpong_check.alert_artefact_growth(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('%s of %s', a.name, a.node), a.growth_bytes,
           format('%s %s of %s holds %s, %s more than at %s', a.kind, a.name, a.node, pg_size_pretty(a.bytes),
                  pg_size_pretty(a.growth_bytes), to_char(a.growth_since, 'YYYY-MM-DD HH24:MI')),
           concat(coalesce(a.to_free, 'See pingpong.artefact'), '; then the way back is gone: ' || a.way_back)
    FROM pingpong.artefact a
    WHERE a.growth_bytes > $1 AND NOT pg_is_in_recovery()
$$;

-- What was seen before the last run ended says nothing of now.
CREATE FUNCTION pingpong_check.alert_route_drift(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.name, round(max(extract(epoch FROM clock_timestamp() - e.observed_at))),
           format('route %s, endpoint %s of %s: %s; %s is %s:%s (seen at %s)', r.name, e.endpoint, e.router,
                  string_agg(format('%s points to %s', o.key, o.value), ', ' ORDER BY o.key), n.name, n.host, n.port,
                  to_char(max(e.observed_at), 'YYYY-MM-DD HH24:MI:SS TZ')),
           CASE r.drift WHEN 'report' THEN 'The route says that this is only reported: repair the router, or set the '
                                           'route by pingpong.set_route()'
                ELSE 'The worker points it back; pingpong.events tells why it could not' END
    FROM pingpong.route r
         JOIN pingpong.route_endpoint e ON e.route = r.name
         JOIN pingpong.node n ON n.name = CASE r.kind WHEN 'rw' THEN pingpong.node_name() ELSE r.node END
         CROSS JOIN LATERAL jsonb_each_text(CASE WHEN NOT e.observed ? 'error' THEN e.observed END) o
    WHERE e.observed_at > clock_timestamp() - make_interval(secs => $1::float8)
        AND e.observed_at > coalesce((SELECT max(x.ended_at) FROM pingpong.run x), '-infinity')
        AND o.value <> pingpong_internal.addresses(coalesce(r.nodes, ARRAY[n.name])) AND NOT pg_is_in_recovery()
        AND NOT EXISTS (SELECT FROM pingpong.run x WHERE x.state = 'running')
    GROUP BY r.name, e.name, n.name, r.drift
$$;

CREATE FUNCTION pingpong_check.alert_guard_unanswered(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pingpong.node_name(), NULL::numeric,
           format('%s was opened at its start, %s, without the word of all other nodes: %s', pingpong.node_name(),
                  to_char(g.ended_at, 'YYYY-MM-DD HH24:MI:SS TZ'), g.sentence),
           'Make sure that no other server is the primary. It ends when each node is seen to follow this one'
    FROM pingpong_internal.guard_state() g
    WHERE g.state IN ('majority', 'unanswered', 'by hand') AND NOT pg_is_in_recovery()
        AND EXISTS (SELECT FROM pingpong.node n LEFT JOIN pingpong.standby s ON s.name = n.name
                    WHERE n.kind = 'postgres' AND n.away_since IS NULL AND n.name <> pingpong.node_name()
                        AND s.state IS DISTINCT FROM 'streaming')
$$;
