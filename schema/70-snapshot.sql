-- What an agent shows of its server (GET /metrics, GET /v1/snapshot, the status page), in one answer.

CREATE FUNCTION pingpong_internal.epoch_ms(moment timestamptz) RETURNS double precision
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT round(extract(epoch FROM moment) * 1000, 3)::float8
$$;
COMMENT ON FUNCTION pingpong_internal.epoch_ms(timestamptz) IS 'a moment as ms since 1970';

-- The parts: a query each, which gives one value. `needs`: the relation without which there is no such part.
-- `journal`: it reads tables that runs write. The first reader of a fresh row sets its hint bits, which is WAL where
-- there are checksums: behind a seal it would cost the old primary a pg_rewind.
CREATE FUNCTION pingpong_internal.snapshot_parts(OUT part text, OUT needs text, OUT journal boolean, OUT query text)
    RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $parts$
    VALUES
    ('server', 'pingpong.gate', false, $$
        SELECT jsonb_build_object(
            'node', pingpong.node_name(), 'version', current_setting('server_version'),
            'in_recovery', pg_is_in_recovery(), 'timeline', (SELECT c.timeline_id FROM pg_control_checkpoint() c),
            'started_ms', pingpong_internal.epoch_ms(pg_postmaster_start_time()), 'lsn', here.lsn::text,
            'lsn_bytes', here.lsn - '0/0', 'worker', pingpong.worker_pid() IS NOT NULL,
            'not_replayed_bytes', CASE WHEN pg_is_in_recovery() THEN
                greatest(here.lsn - pg_last_wal_replay_lsn(), 0) END,
            'upstream', (SELECT jsonb_build_object('host', w.sender_host, 'port', w.sender_port, 'status', w.status,
                                                   'told_ms', pingpong_internal.epoch_ms(w.last_msg_receipt_time))
                         FROM pg_stat_wal_receiver w))
        FROM (SELECT CASE WHEN pg_is_in_recovery()
                          THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                          ELSE pg_current_wal_lsn() END) here (lsn)$$),
    ('gate', 'pingpong.gate', false, $$
        SELECT jsonb_build_object('state', g.state, 'since_ms', pingpong_internal.epoch_ms(g.since),
                                  'reason', g.reason, 'held', g.held, 'target', g.target,
                                  'deadline_ms', pingpong_internal.epoch_ms(g.deadline))
        FROM pingpong.gate g$$),
    ('primary', 'pingpong.run', true, $$
        SELECT jsonb_build_object('name', p.name, 'host', p.host, 'port', p.port,
                                  'since_ms', pingpong_internal.epoch_ms(p.since))
        FROM pingpong.where_is_primary() p$$),
    ('nodes', 'pingpong.node', false, $$
        SELECT jsonb_agg(jsonb_build_object('name', n.name, 'kind', n.kind, 'host', n.host, 'port', n.port,
                                            'upstream', n.upstream,
                                            'away_since_ms', pingpong_internal.epoch_ms(n.away_since))
                         ORDER BY n.name)
        FROM pingpong.node n$$),
    ('standbys', 'pingpong.standby', false, $$
        SELECT jsonb_agg(jsonb_build_object('name', s.name, 'state', s.state, 'sync_state', s.sync_state,
                                            'behind_bytes', s.behind_bytes,
                                            'replay_lag_ms', extract(epoch FROM s.replay_lag) * 1000,
                                            'away_since_ms', pingpong_internal.epoch_ms(s.away_since))
                         ORDER BY s.name)
        FROM pingpong.standby s$$),
    ('slots', 'pingpong.slots', false, $$
        SELECT jsonb_agg(jsonb_build_object('name', s.slot_name, 'type', s.slot_type, 'node', s.node,
                                            'active', s.active, 'wal_status', s.wal_status,
                                            'retained_bytes', s.retained_bytes,
                                            'growth_bytes_per_s', s.growth_bytes_per_s,
                                            'safe_bytes', s.safe_wal_size,
                                            'limit_s', extract(epoch FROM s.limit_in),
                                            'disk_full_s', extract(epoch FROM s.disk_full_in),
                                            'advice', s.advice)
                         ORDER BY s.slot_name)
        FROM pingpong.slots s$$),
    -- of "databases" the names only: the rest are connection settings
    ('routes', 'pingpong.route', true, $$
        SELECT jsonb_agg(jsonb_build_object(
            'name', r.name, 'kind', r.kind, 'driver', r.driver, 'node', r.node,
            'databases', (SELECT jsonb_agg(d.name ORDER BY d.name) FROM jsonb_object_keys(r.databases) d (name)),
            'endpoints', (SELECT jsonb_agg(jsonb_build_object(
                                     'name', e.name, 'router', e.router, 'endpoint', e.endpoint,
                                     'observed', e.observed,
                                     'observed_ms', pingpong_internal.epoch_ms(e.observed_at)) ORDER BY e.name)
                          FROM pingpong.route_endpoint e WHERE e.route = r.name)) ORDER BY r.name)
        FROM pingpong.route r$$),
    -- what the other worker did is in the journal only
    ('run', 'pingpong.progress', false, $$
        SELECT jsonb_build_object(
            'id', p.run, 'state', max(p.run_state), 'sentence', max(p.sentence),
            'steps', jsonb_agg(jsonb_build_object(
                'ordinal', p.ordinal, 'action', p.action, 'node', p.node, 'state', p.state,
                'started_ms', pingpong_internal.epoch_ms(coalesce(p.started_at, j.started_at)),
                'duration_ms', coalesce(p.duration_ms, j.duration_ms),
                'message', p.message,
                'mark', (SELECT min(s.mark) FROM pingpong.runbook_step s
                         WHERE s.ordinal = p.ordinal AND s.action = p.action))
                ORDER BY p.ordinal, coalesce(p.started_at, j.started_at), p.action, p.node))
        FROM pingpong.progress p
             LEFT JOIN pingpong.step j ON j.run = p.run AND j.ordinal = p.ordinal AND j.action = p.action
                                          AND j.node = p.node AND p.started_at IS NULL
                                          AND (SELECT g.state NOT IN ('sealing', 'sealed') FROM pingpong.gate g)
        GROUP BY p.run$$),
    ('runs', 'pingpong.run', true, $$
        SELECT jsonb_agg(jsonb_build_object(
            'id', r.id, 'runbook', r.runbook, 'source', r.source, 'target', r.target, 'state', r.state,
            'started_ms', pingpong_internal.epoch_ms(r.started_at),
            'ended_ms', pingpong_internal.epoch_ms(r.ended_at),
            'blackout_ms', r.blackout_ms, 'sentence', r.sentence) ORDER BY r.id DESC)
        FROM (SELECT * FROM pingpong.run ORDER BY id DESC LIMIT 30) r$$),
    ('alerts', 'pingpong.alerts', true, $$SELECT jsonb_agg(to_jsonb(x)) FROM pingpong.alerts x$$),
    ('readiness', 'pingpong.readiness', true, $$SELECT jsonb_agg(to_jsonb(x)) FROM pingpong.readiness x$$),
    ('redundancy', 'pingpong.redundancy', true, $$SELECT jsonb_agg(to_jsonb(x)) FROM pingpong.redundancy x$$)
$parts$;
COMMENT ON FUNCTION pingpong_internal.snapshot_parts() IS 'the parts of pingpong.snapshot(), and how each is read';

-- A part that fails is told as an error, and the others are there: this is looked at when something is wrong.
CREATE FUNCTION pingpong.snapshot() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    sealed   boolean := (SELECT g.state IN ('sealing', 'sealed') FROM pingpong.gate g);
    snapshot jsonb := jsonb_build_object('at_ms', pingpong_internal.epoch_ms(clock_timestamp()), 'sealed', sealed);
    one      record;
    value    jsonb;
BEGIN
    FOR one IN SELECT p.part, p.query FROM pingpong_internal.snapshot_parts() p
               WHERE to_regclass(p.needs) IS NOT NULL AND NOT (p.journal AND sealed)
    LOOP
        BEGIN
            EXECUTE one.query INTO value;
        EXCEPTION WHEN OTHERS THEN
            value := jsonb_build_object('error', SQLERRM);
        END;
        snapshot := snapshot || jsonb_build_object(one.part, value);
    END LOOP;
    RETURN snapshot;
END
$$;
COMMENT ON FUNCTION pingpong.snapshot() IS
    'everything that the status page shows, as this server knows it now: moments in ms since 1970, sizes in bytes; '
    'a part that is null is empty, one that is missing is not known here, or the server is sealed';

GRANT EXECUTE ON FUNCTION pingpong_internal.epoch_ms(timestamptz), pingpong_internal.snapshot_parts(),
    pingpong.snapshot() TO pg_monitor;
