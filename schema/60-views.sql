-- What will happen, what happens, what happened.

CREATE VIEW pingpong.progress AS
    SELECT run, run_state, ordinal, action, node, state, started_at, duration_ms, attempt, message, sentence
    FROM pingpong_internal.progress_rows();
COMMENT ON VIEW pingpong.progress IS
    'the present or last run that this server''s worker knows of, step by step, from shared memory';
COMMENT ON COLUMN pingpong.progress.run IS 'number of the run';
COMMENT ON COLUMN pingpong.progress.run_state IS 'of the run: running, succeeded, rolled_back or stuck';
COMMENT ON COLUMN pingpong.progress.ordinal IS 'steps of the same ordinal are made at the same time';
COMMENT ON COLUMN pingpong.progress.action IS 'what is done';
COMMENT ON COLUMN pingpong.progress.node IS 'on which node, or on which endpoint of a route';
COMMENT ON COLUMN pingpong.progress.state IS 'pending, running, succeeded, failed, skipped or undone';
COMMENT ON COLUMN pingpong.progress.started_at IS 'when the step began; null: it has not';
COMMENT ON COLUMN pingpong.progress.duration_ms IS 'how long it took, or takes until now, in ms';
COMMENT ON COLUMN pingpong.progress.attempt IS 'how often it was tried';
COMMENT ON COLUMN pingpong.progress.message IS 'what went wrong, or is worth telling';
COMMENT ON COLUMN pingpong.progress.sentence IS 'how the run ended; null: it has not';

-- With the rights of its owner: members of pingpong_operator may not read pg_stat_replication, and have to see this.
CREATE FUNCTION pingpong_internal.standby_rows(OUT name text, OUT host text, OUT port integer, OUT state text,
                                               OUT sync_state text, OUT sent_lsn pg_lsn, OUT replay_lsn pg_lsn,
                                               OUT behind_bytes numeric, OUT replay_lag interval, OUT slot_name text,
                                               OUT slot_active boolean, OUT wal_status text,
                                               OUT slot_retains_bytes numeric, OUT application_name text,
                                               OUT away_since timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT n.name, n.host, n.port, s.state, s.sync_state, s.sent_lsn, s.replay_lsn,
           CASE WHEN s.replay_lsn IS NOT NULL THEN greatest(here.lsn - s.replay_lsn, 0) END,
           s.replay_lag, sl.slot_name, sl.active, sl.wal_status,
           CASE WHEN sl.restart_lsn IS NOT NULL THEN greatest(here.lsn - sl.restart_lsn, 0) END, s.application_name,
           n.away_since
    FROM pingpong.node n
         CROSS JOIN LATERAL (SELECT CASE WHEN pg_is_in_recovery()
                                         THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                                         ELSE pg_current_wal_lsn() END) here (lsn)
         LEFT JOIN LATERAL (SELECT * FROM pingpong_check.preflight_sender p
                            WHERE p.node = n.name AND p.state <> 'backup'
                            ORDER BY p.state = 'streaming' DESC LIMIT 1) s ON true
         LEFT JOIN pg_replication_slots sl ON sl.slot_name = CASE WHEN s.pid IS NULL THEN n.slot ELSE s.slot_name END
    WHERE n.kind = 'postgres' AND n.name <> pingpong.node_name()
$$;
COMMENT ON FUNCTION pingpong_internal.standby_rows() IS 'the rows of the view pingpong.standby';

CREATE VIEW pingpong.standby AS
    SELECT name, host, port, state, sync_state, sent_lsn, replay_lsn, behind_bytes, replay_lag, slot_name,
        slot_active, wal_status,
           slot_retains_bytes, application_name, away_since
    FROM pingpong_internal.standby_rows();
COMMENT ON VIEW pingpong.standby IS
    'the registered nodes as this server sees them, by slot or by name: streaming state, lag and slot in bytes';
COMMENT ON COLUMN pingpong.standby.name IS 'of the node';
COMMENT ON COLUMN pingpong.standby.host IS 'address at which it is registered';
COMMENT ON COLUMN pingpong.standby.port IS 'port at which it is registered';
COMMENT ON COLUMN pingpong.standby.sync_state IS 'as in pg_stat_replication, as are sent_lsn and replay_lsn';
COMMENT ON COLUMN pingpong.standby.sent_lsn IS 'what was sent to it';
COMMENT ON COLUMN pingpong.standby.replay_lsn IS 'what it has replayed';
COMMENT ON COLUMN pingpong.standby.replay_lag IS 'as in pg_stat_replication';
COMMENT ON COLUMN pingpong.standby.slot_active IS 'whether the slot is in use';
COMMENT ON COLUMN pingpong.standby.wal_status IS 'of the slot, as in pg_replication_slots';
COMMENT ON COLUMN pingpong.standby.application_name IS 'as in pg_stat_replication';
COMMENT ON COLUMN pingpong.standby.state IS 'as in pg_stat_replication; null: it does not stream from this server';
COMMENT ON COLUMN pingpong.standby.behind_bytes IS 'what this server has and the node has not replayed';
COMMENT ON COLUMN pingpong.standby.slot_name IS
    'the slot that it uses; while it does not stream, the one that it is registered with';
COMMENT ON COLUMN pingpong.standby.slot_retains_bytes IS 'WAL that the slot keeps on this server';
COMMENT ON COLUMN pingpong.standby.away_since IS 'since when it is let go on purpose';

-- What the samples of the last minute (of ten, if they are rarer) say of each slot. The rate needs ten intervals, or
-- the ordinary lag of one second would be one. The worker's silence makes it null: what was sampled long ago says
-- nothing of now. `lasting`: it grew in both halves, or nobody has moved the slot. A logical slot moves in jumps, and
-- between them any would seem to grow without end.
CREATE FUNCTION pingpong_internal.slot_trends(OUT slot_name text, OUT until timestamptz, OUT growth numeric,
                                              OUT lasting boolean, OUT free_bytes bigint) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT x.slot_name, x.until, g.growth,
           g.growth > 0 AND (x.restart_now = x.restart_then
                             OR (kept.half > kept.first AND kept.last > kept.half)), x.free_bytes
    FROM (SELECT current_setting('pingpong.sample_interval')::interval) every (one)
         CROSS JOIN LATERAL pingpong_internal.sample_trends(
             (greatest(60, 20 * extract(epoch FROM every.one)) * 1000)::integer) x
         CROSS JOIN LATERAL (SELECT x.lsn_then - x.restart_then, x.lsn_mid - x.restart_mid,
                                    x.lsn_now - x.restart_now) kept (first, half, last)
         CROSS JOIN LATERAL (SELECT CASE WHEN x.until - x.since >= 9.5 * every.one
                                              AND clock_timestamp() - x.until < 3 * every.one + interval '1 s'
                                         THEN round((kept.last - kept.first)
                                                    / extract(epoch FROM x.until - x.since)) END) g (growth)
    WHERE x.slot_name IS NOT NULL;
END
$$;
COMMENT ON FUNCTION pingpong_internal.slot_trends() IS
    'how fast the WAL grows that each slot keeps, in bytes a second';

-- Bytes until the slot is lost. PostgreSQL's own figure is of a primary only: on a standby it counts from zero. In
-- plpgsql, as is the advice: a session plans it once, and not for each slot.
CREATE FUNCTION pingpong_internal.slot_room(restart_lsn pg_lsn, here pg_lsn) RETURNS numeric
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    segment numeric := pg_size_bytes(current_setting('wal_segment_size'));
BEGIN
    IF current_setting('max_slot_wal_keep_size') = '-1' THEN
        RETURN NULL;
    END IF;
    RETURN (div(restart_lsn - '0/0', segment)
            + div(greatest(pg_size_bytes(current_setting('max_slot_wal_keep_size')),
                           pg_size_bytes(current_setting('wal_keep_size'))), segment) + 1) * segment
        - (here - '0/0');
END
$$;
COMMENT ON FUNCTION pingpong_internal.slot_room(pg_lsn, pg_lsn) IS
    'bytes until max_slot_wal_keep_size is reached; null: there is no limit';

-- What to do about a slot; null: nothing. A standby's copy of a failover slot is idle by design.
CREATE FUNCTION pingpong_internal.slot_advice(slot jsonb, node text, away boolean, streams_from_here boolean)
    RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE
        WHEN coalesce((slot ->> 'synced')::boolean, false) THEN NULL
        WHEN slot ->> 'wal_status' = 'lost' AND streams_from_here
            THEN format('The WAL that %s needs is gone. Copy it anew: SELECT pingpong.rebuild(%L)', node, node)
        WHEN slot ->> 'wal_status' = 'lost'
            THEN format('It is of no use any more: SELECT pg_drop_replication_slot(%L)', slot ->> 'slot_name')
        WHEN (slot ->> 'active')::boolean OR slot ->> 'restart_lsn' IS NULL THEN NULL
        WHEN slot ->> 'slot_type' = 'logical' AND pg_is_in_recovery() THEN NULL
        WHEN streams_from_here AND away
            THEN format('%s was let go on purpose. It needs the slot to come back', node)
        WHEN streams_from_here THEN format('Start %s, or drop the slot and copy it anew later', node)
        ELSE format('Nobody uses it. If nobody will: SELECT pg_drop_replication_slot(%L)', slot ->> 'slot_name')
    END || CASE WHEN slot ->> 'wal_status' <> 'lost' AND current_setting('max_slot_wal_keep_size') = '-1'
                THEN '. Nothing limits what it keeps: max_slot_wal_keep_size is -1' ELSE '' END;
END
$$;
COMMENT ON FUNCTION pingpong_internal.slot_advice(jsonb, text, boolean, boolean) IS 'what to do about a slot';

CREATE VIEW pingpong.slots AS
    SELECT s.slot_name, s.slot_type, n.name AS node, s.active, s.wal_status, kept.bytes AS retained_bytes,
           t.growth AS growth_bytes_per_s, kept.room AS safe_wal_size,
           CASE WHEN t.lasting AND kept.room / t.growth < 3e9
                THEN make_interval(secs => (greatest(kept.room, 0) / t.growth)::float8) END AS limit_in,
           CASE WHEN t.lasting AND t.free_bytes / t.growth < 3e9
                THEN make_interval(secs => (t.free_bytes / t.growth)::float8) END AS disk_full_in,
           t.until AS sampled_at,
           pingpong_internal.slot_advice(to_jsonb(s), n.name, n.away_since IS NOT NULL,
                                         n.name IS NOT NULL AND (NOT pg_is_in_recovery()
                                                                 OR n.upstream = pingpong.node_name())) AS advice
    FROM pg_replication_slots s
         CROSS JOIN LATERAL (SELECT CASE WHEN pg_is_in_recovery()
                                         THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                                         ELSE pg_current_wal_lsn() END) here (lsn)
         CROSS JOIN LATERAL (SELECT CASE WHEN s.wal_status IS DISTINCT FROM 'lost' AND here.lsn IS NOT NULL
                                         THEN greatest(here.lsn - s.restart_lsn, CASE WHEN s.restart_lsn IS NOT NULL
                                                                                      THEN 0 END) END,
                                    CASE WHEN s.wal_status IS DISTINCT FROM 'lost'
                                         THEN pingpong_internal.slot_room(s.restart_lsn, here.lsn) END
                            ) kept (bytes, room)
         LEFT JOIN pingpong.node n ON n.slot = s.slot_name AND n.kind = 'postgres'
         LEFT JOIN pingpong_internal.slot_trends() t ON t.slot_name = s.slot_name
    ORDER BY s.slot_name;
COMMENT ON VIEW pingpong.slots IS
    'the replication slots of this server: what WAL they keep, how fast that grows, and when it reaches a limit';
COMMENT ON COLUMN pingpong.slots.slot_name IS 'as in pg_replication_slots, as are slot_type, active and wal_status';
COMMENT ON COLUMN pingpong.slots.slot_type IS 'physical or logical';
COMMENT ON COLUMN pingpong.slots.active IS 'whether it is in use';
COMMENT ON COLUMN pingpong.slots.wal_status IS 'whether the WAL that it needs is still there';
COMMENT ON COLUMN pingpong.slots.node IS 'the registered node that streams from it; null: it is nobody''s here';
COMMENT ON COLUMN pingpong.slots.retained_bytes IS 'WAL that it keeps';
COMMENT ON COLUMN pingpong.slots.growth_bytes_per_s IS
    'how fast that grows, by the samples of the last minute, ten at least; less than zero: it shrinks; null: there '
    'are not so many, or the worker is silent';
COMMENT ON COLUMN pingpong.slots.safe_wal_size IS
    'bytes until the slot is lost; null: nothing limits it (max_slot_wal_keep_size is -1), or it is lost';
COMMENT ON COLUMN pingpong.slots.limit_in IS
    'when that is reached at this rate; null: it does not grow, or not steadily';
COMMENT ON COLUMN pingpong.slots.disk_full_in IS
    'when the disk of pg_wal is full at this rate, if nothing else writes to it; null: as limit_in';
COMMENT ON COLUMN pingpong.slots.sampled_at IS 'when the worker looked last; null: not since the server started';
COMMENT ON COLUMN pingpong.slots.advice IS 'what to do about it; null: nothing';

-- What agents have told: nothing is seen from here. A standby's old data is of use only where its primary goes back.
CREATE VIEW pingpong.artefact AS
    SELECT u.id AS run, x.node, x.row ->> 'kind' AS kind, coalesce(x.row ->> 'name', x.error) AS name,
           to_timestamp((x.row ->> 'since_ms')::float8 / 1000) AS since, (x.row ->> 'bytes')::bigint AS bytes,
           (x.row ->> 'bytes')::bigint - (x.row ->> 'first_bytes')::bigint AS growth_bytes,
           to_timestamp((x.row ->> 'first_ms')::float8 / 1000) AS growth_since,
           to_timestamp((x.row ->> 'measured_ms')::float8 / 1000) AS measured_at,
           CASE WHEN NOT x.way_back THEN NULL
                WHEN x.row ->> 'mode' <> 'standby'
                    THEN format('SELECT * FROM pingpong.rollback(%s, risk => ''its own writes are lost'')', u.id)
                WHEN bool_or(x.way_back AND x.row ->> 'mode' <> 'standby') OVER ()
                    THEN format('SELECT * FROM pingpong.rebuild(%L), behind the rollback', x.node) END AS way_back,
           format('SELECT * FROM pingpong.finalize(%s)', u.id) AS to_free, x.facts_at AS told_at,
           clock_timestamp() - x.facts_at AS age, x.problem
    FROM (SELECT f.node, r.value AS row, coalesce((r.value ->> 'way_back')::boolean, false) AS way_back,
                 f.facts #>> '{artefact,error}' AS error, f.facts_at, CASE WHEN NOT f.ok THEN f.error END AS problem
          FROM pingpong.node_fact f
               LEFT JOIN LATERAL jsonb_array_elements(f.facts #> '{artefact,rows}') r ON true
          WHERE r.value IS NOT NULL OR f.facts #> '{artefact,error}' IS NOT NULL) x
         LEFT JOIN LATERAL (SELECT r.id FROM pingpong.run r WHERE r.runbook = 'upgrade'
                            ORDER BY r.key IS NOT DISTINCT FROM x.row ->> 'run' DESC, r.id DESC LIMIT 1) u ON true;
COMMENT ON VIEW pingpong.artefact IS
    'what upgrades have left behind on the nodes, and what space it holds, as agents have last told; '
    'pingpong.artefacts() asks them now';
COMMENT ON COLUMN pingpong.artefact.run IS 'the upgrade';
COMMENT ON COLUMN pingpong.artefact.node IS 'where it lies';
COMMENT ON COLUMN pingpong.artefact.kind IS
    '"data directory" (of the server that is not in use any more) or "snapshot"; null: the agent could not tell';
COMMENT ON COLUMN pingpong.artefact.name IS 'the folder; of a snapshot the key of its run; or why nothing was told';
COMMENT ON COLUMN pingpong.artefact.since IS 'since when it is not in use; null: not known';
COMMENT ON COLUMN pingpong.artefact.bytes IS
    'what removing it would free: files that the server in use is linked to do not count; null: not measured yet, or '
    'blocks may be shared, so that nobody can tell';
COMMENT ON COLUMN pingpong.artefact.growth_bytes IS 'how much that has become more since growth_since';
COMMENT ON COLUMN pingpong.artefact.growth_since IS 'when the agent, in its present life, measured it first';
COMMENT ON COLUMN pingpong.artefact.measured_at IS
    'when the agent measured it last, by its clock: at most once in ten minutes';
COMMENT ON COLUMN pingpong.artefact.way_back IS 'the way back that it is kept for; null: there is none by it';
COMMENT ON COLUMN pingpong.artefact.to_free IS 'what to type to be rid of it; then there is no way back';
COMMENT ON COLUMN pingpong.artefact.told_at IS 'when the agent told it: what came later is not known';
COMMENT ON COLUMN pingpong.artefact.age IS 'how long ago that is';
COMMENT ON COLUMN pingpong.artefact.problem IS
    'why the agent did not answer when it was asked last; null: it did';

CREATE FUNCTION pingpong.artefacts() RETURNS SETOF pingpong.artefact
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pingpong_internal.check_isolation('agents cannot be asked');
    PERFORM FROM pingpong_internal.request('facts', pingpong.node_name(), '{}');
    RETURN QUERY SELECT * FROM pingpong.artefact a ORDER BY a.run, a.node, a.kind;
END
$$;
COMMENT ON FUNCTION pingpong.artefacts() IS 'ask all agents now; then the rows of pingpong.artefact';

-- A sealed server is no primary. It knows the new one when the promotion was confirmed to its worker; until then
-- nobody does. A standby that streams from a node without an intermediate one knows best; then the journal, which
-- came with the data.
CREATE FUNCTION pingpong.where_is_primary(OUT name text, OUT host text, OUT port integer, OUT since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT n.name, n.host, n.port, (SELECT max(r.switched_at) FROM pingpong.run r WHERE r.target = n.name)
    FROM pingpong.node n
    WHERE n.name = CASE
        WHEN NOT pg_is_in_recovery() THEN
            (SELECT CASE WHEN g.state NOT IN ('sealed', 'guarded') THEN pingpong.node_name()
                         WHEN EXISTS (SELECT FROM pingpong_internal.progress_rows() p
                                           JOIN pingpong.run r ON r.id = p.run
                                           JOIN pingpong.runbook_step s USING (runbook, ordinal, action)
                                      WHERE r.key = g.run AND s.mark = 'no_return' AND p.state = 'succeeded')
                                      THEN g.target END
             FROM pingpong_internal.gate_status() g)
        ELSE coalesce((SELECT p.name FROM pingpong.node self, pingpong.node p, pg_stat_wal_receiver w
                       WHERE self.name = pingpong.node_name() AND self.upstream IS NULL
                         AND w.status = 'streaming' AND p.host = w.sender_host AND p.port = w.sender_port
                       ORDER BY p.name LIMIT 1),
                      (SELECT r.target FROM pingpong.run r
                       WHERE r.switched_at IS NOT NULL ORDER BY r.switched_at DESC, r.id DESC LIMIT 1))
        END;
$$;
COMMENT ON FUNCTION pingpong.where_is_primary() IS
    'the node that is the primary, as this server knows it; nulls: it does not know (a sealed server, until '
    'the promotion is confirmed)';

-- Whether a step's guard is true for the run. Guards are SQL that only superusers can write.
CREATE FUNCTION pingpong_internal.guard_holds(guard text, run pingpong.run) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    holds boolean;
BEGIN
    IF guard IS NULL THEN
        RETURN true;
    END IF;
    EXECUTE format('SELECT (%s) FROM (SELECT ($1).*) r', guard) INTO holds USING run;
    RETURN coalesce(holds, false);
END
$$;
COMMENT ON FUNCTION pingpong_internal.guard_holds(text, pingpong.run) IS
    'whether a step of a runbook is made in that run';

CREATE FUNCTION pingpong.plan(target text, runbook text DEFAULT 'switchover', options jsonb DEFAULT '{}')
    RETURNS TABLE (ordinal integer, action text, node text, estimate_ms double precision, impact text, undo text,
                   point_of_no_return boolean, comment text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    imagined pingpong.run;
BEGIN
    IF NOT EXISTS (SELECT FROM pingpong.runbook_step s WHERE s.runbook = plan.runbook) THEN
        PERFORM pingpong_internal.fail('42704', format('runbook "%s" does not exist', runbook));
    END IF;
    PERFORM pingpong_internal.check_target(target, runbook);
    imagined := pingpong_internal.imagined_run(target, runbook, options);
    RETURN QUERY
    SELECT s.ordinal, s.action, s.node,
           coalesce((SELECT round((x.steps ->> s.action)::numeric, 1)::float8 FROM pingpong.rehearsal x
                     WHERE plan.runbook = 'upgrade' AND x.node = plan.target AND x.node = s.node
                         AND x.state = 'succeeded' AND x.to_version = (imagined.options ->> 'to_version')::integer
                         AND x.mode = imagined.options ->> 'mode' ORDER BY x.run DESC LIMIT 1),
               (SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY h.duration_ms)::numeric, 1)::float8 FROM
                   (SELECT st.duration_ms FROM pingpong.step st JOIN pingpong.run r ON r.id = st.run
                    WHERE st.action = s.action AND st.state = 'succeeded' AND r.runbook = plan.runbook
                    ORDER BY st.run DESC LIMIT 20) AS h)),
           s.impact, CASE WHEN s.ordinal < coalesce(min(s.ordinal) FILTER (WHERE s.mark = 'no_return') OVER (),
                                                    s.ordinal + 1) THEN s.undo END,
           s.mark IS NOT DISTINCT FROM 'no_return', s.comment
    FROM pingpong_internal.run_steps(imagined) s
    WHERE s.holds
    ORDER BY s.ordinal, s.action, s.node;
END
$$;
COMMENT ON FUNCTION pingpong.plan(text, text, jsonb) IS
    'the steps that a run would make, with the ms that they took in the last rehearsal, else the median of earlier '
    'runs, what undoes them, and the point of no return';

CREATE FUNCTION pingpong.report(run bigint DEFAULT NULL) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    r pingpong.run;
    t text;
BEGIN
    SELECT * INTO r FROM pingpong.run x WHERE x.id = coalesce(report.run, (SELECT max(id) FROM pingpong.run));
    IF NOT FOUND THEN
        PERFORM pingpong_internal.fail('42704', format('run %s does not exist', coalesce(run::text, '(none yet)')));
    END IF;
    t := format(E'%s of run %s: %s -> %s, %s\n', initcap(r.runbook), r.id, coalesce(r.source, '?'), r.target, r.state)
      || format(E'  asked for by %s at %s\n', r.requested_by, to_char(r.started_at, 'YYYY-MM-DD HH24:MI:SS.MS TZ'))
      || format(E'  epoch %s, key %s\n', r.epoch, r.key)
      || coalesce(E'  preflight: ' || (SELECT string_agg(value || ' ' || key, ', ' ORDER BY key)
                                       FROM jsonb_each_text(r.preflight)) || E'\n', '')
      || coalesce(E'  seal LSN ' || r.seal_lsn || E': nothing that a client wrote comes after it\n', '')
      || coalesce(E'  blackout ' || round(r.blackout_ms::numeric, 1) || E' ms\n', '')
      || coalesce(E'  ended at ' || to_char(r.ended_at, 'YYYY-MM-DD HH24:MI:SS.MS TZ') || ' after '
                  || round(extract(epoch FROM r.ended_at - r.started_at), 3) || E' s\n', '')
      || coalesce(E'  ' || r.sentence || E'\n', '')
      || E'\n  at (ms)      took (ms)  step            node          result\n';
    SELECT t || coalesce(string_agg(format(E'  %s  %s  %s%s%s%s',
                                           lpad(coalesce(to_char(extract(epoch FROM s.started_at - r.started_at)
                                                                 * 1000, 'FM9999990.0'), '-'), 9),
                                  lpad(coalesce(round(s.duration_ms::numeric, 1)::text, '-'), 12), rpad(s.action, 16),
                                  rpad(s.node, 14), s.state,
                                  coalesce('  ' || s.message, '')), E'\n' ORDER BY s.ordinal, s.started_at, s.action,
                                  s.node), '')
    INTO t FROM pingpong.step s WHERE s.run = r.id AND (s.state <> 'skipped' OR s.message IS NOT NULL);
    RETURN t;
END
$$;
COMMENT ON FUNCTION pingpong.report(bigint) IS
    'a run as text for a change ticket: timeline, blackout, what was verified; null: the last one';
