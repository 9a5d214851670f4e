-- The built-in runbooks. `worker` tells who does a step: the old primary's worker up to the promotion, the new one's
-- from there on.

-- `mark` and `fix` belong to what a step does in its runbook: they are set once, after the rows.

INSERT INTO pingpong.runbook_step
    (runbook, ordinal, action, node, worker, impact, guard, undo, requires, timeout, on_failure, comment, mark, fix)
SELECT v.runbook, v.ordinal, v.action, v.node, v.worker, v.impact, v.guard, v.undo, v.requires, v.timeout::interval, v.on_failure, v.comment,
       CASE WHEN v.action = 'promote' THEN 'no_return'
            WHEN v.action IN ('pause', 'hold') THEN 'begins_blackout'
            WHEN v.action = 'repoint' AND v.node = 'rw_routes' AND v.runbook = 'switchover' THEN 'ends_blackout' END,
       CASE WHEN v.action IN ('repoint', 'smoke', 'writable') THEN 'SELECT pingpong.repoint()'
            WHEN v.action IN ('follow', 'rejoin') THEN 'SELECT pingpong.rebuild(%L)' END
FROM (VALUES
    ('switchover', 10, 'checkpoint', 'source', 'source', 'none', NULL, NULL, NULL, '10min', 'continue', 'so that the next checkpoint is small'),
    ('switchover', 10, 'checkpoint', 'target', 'source', 'none', NULL, NULL, NULL, '10min', 'continue', 'a restartpoint, so that the one after the promotion is small'),
    ('switchover', 20, 'slots', 'target', 'source', 'none', NULL, 'drop_slots', NULL, '10s', 'undo', 'slots on the target for all that will stream from it'),
    ('switchover', 20, 'sync_relax', 'target', 'source', 'none', $$r.options->>'synchronous' = 'relax'$$, 'sync_restore', NULL, '10s', 'undo', 'writes on the new primary must not wait for a standby that is not back yet'),
    ('switchover', 20, 'fast_wal', 'target', 'source', 'none', NULL, 'slow_wal', NULL, '10s', 'continue', 'new WAL segments are not filled with zeros while the target is promoted'),
    ('switchover', 20, 'calm_wal', 'source', 'source', 'none', NULL, 'wake_wal', NULL, '10s', 'continue', 'hint bits that readers write after the seal are not flushed, so that the old primary needs no rewind'),
    ('switchover', 20, 'prepare_route', 'rw_routes', 'source', 'none', NULL, 'release', NULL, '10s', 'undo', 'proved that the routers read their file and reload; its next version is on disk, connections are open'),
    ('switchover', 20, 'arm', 'target', 'source', 'none', NULL, 'burn', NULL, '10s', 'undo', 'the promote token (run, epoch, time to live) goes to the target''s agent'),
    ('switchover', 25, 'warm', 'source', 'source', 'none', NULL, NULL, NULL, '10s', 'continue', 'what the rejoin will read on the old primary is read now, with its hint bits'),
    ('switchover', 28, 'wal_align', 'source', 'source', 'none', NULL, NULL, NULL, '5s', 'continue', 'moves the WAL close to the end of its segment, so that the promotion has no segment to copy'),
    ('switchover', 30, 'pause', 'rw_routes', 'source', 'write', NULL, 'release', NULL, '10s', 'undo', 'PAUSE, waited for only where it can return (transaction pooling)'),
    ('switchover', 40, 'hold', 'source', 'source', 'write', NULL, 'open', NULL, '10s', 'undo', 'the gate holds whatever could write'),
    ('switchover', 50, 'seal', 'source', 'source', 'write', NULL, 'unseal', NULL, '1h', 'undo', 'drain, flush, durable seal; the seal LSN'),
    ('switchover', 60, 'lag_zero', 'target', 'source', 'write', NULL, NULL, NULL, '1h', 'undo', 'the target has replayed the seal LSN'),
    ('switchover', 70, 'promote', 'target', 'source', 'write', NULL, NULL, NULL, '1h', 'undo', 'the point of no return'),
    ('switchover', 80, 'repoint', 'rw_routes', 'both', 'write', NULL, NULL, NULL, '60s', 'retry', 'backend file, RELOAD, RESUME; the blackout ends'),
    ('switchover', 80, 'end_sessions', 'source', 'source', 'none', NULL, NULL, NULL, '5s', 'continue', 'idle and held sessions of the old primary get 57P01 and connect again'),
    ('switchover', 85, 'settle', 'target', 'target', 'none', NULL, NULL, NULL, '1s', 'continue', 'the clients come back first'),
    ('switchover', 86, 'repoint', 'source_routes', 'target', 'none', NULL, NULL, NULL, '60s', 'continue', 'RO routes that point to the old primary point to the new one, until the old one is a standby'),
    ('switchover', 87, 'smoke', 'rw_routes', 'target', 'none', 'EXISTS (SELECT FROM pingpong.route WHERE smoke IS NOT NULL)', NULL, NULL, '30s', 'continue', 'the smoke test that a route names'),
    ('switchover', 90, 'follow', 'siblings', 'target', 'none', NULL, NULL, NULL, '5min', 'retry', 'the other standbys stream from the new primary, by reload'),
    ('switchover', 90, 'rejoin', 'source', 'target', 'none', $$coalesce(r.options->>'old_primary', 'rejoin') = 'rejoin'$$, NULL, NULL, NULL, 'retry', 'the old primary becomes a standby: directly, by pg_rewind or by pg_basebackup'),
    ('switchover', 92, 'retire', 'source', 'target', 'none', $$r.options->>'old_primary' = 'leave'$$, NULL, NULL, '60s', 'continue', 'the old primary is stopped and stays sealed; no later run waits for it'),
    ('switchover', 93, 'tidy_slots', 'target', 'target', 'none', $$r.options->>'old_primary' = 'leave'$$, NULL, NULL, '10s', 'continue', 'a slot for it would hold WAL for ever'),
    ('switchover', 95, 'repoint', 'ro_routes', 'target', 'none', NULL, NULL, 'rejoin', '60s', 'continue', 'the RO routes follow the standby'),
    ('switchover', 95, 'tidy_slots', 'source', 'target', 'none', NULL, NULL, 'rejoin', '10s', 'continue', 'slots that the old primary no longer needs are dropped'),
    ('switchover', 95, 'wake_wal', 'source', 'target', 'none', NULL, NULL, 'rejoin', '10s', 'continue', 'wal_writer_delay as it was'),
    ('switchover', 95, 'slow_wal', 'target', 'target', 'none', NULL, NULL, NULL, '10s', 'continue', 'wal_init_zero as it was'),
    ('switchover', 96, 'sync_restore', 'target', 'target', 'none', $$r.options->>'synchronous' = 'relax'$$, NULL, NULL, '60s', 'continue', 'synchronous_standby_names as it was, now that it can be satisfied'),
    ('switchover', 98, 'writable', 'target', 'target', 'none', NULL, NULL, NULL, '10s', 'continue', 'sessions of clients are not read-only'),
    ('switchover', 99, 'verify', 'target', 'target', 'none', NULL, NULL, NULL, '60s', 'continue', 'a write here, the old primary and all others streaming'),
    ('rebuild', 20, 'slots', 'source', 'source', 'none', NULL, 'drop_slots', NULL, '10s', 'undo', 'a slot on the primary for the node'),
    ('rebuild', 90, 'rejoin', 'target', 'source', 'read', NULL, NULL, NULL, '24h', 'undo', 'the node becomes a standby of the primary'),
    ('rebuild', 95, 'repoint', 'ro_routes', 'source', 'none', NULL, NULL, 'rejoin', '60s', 'continue', 'the RO routes that point to the primary follow the standby'),
    ('repoint', 80, 'repoint', 'rw_routes', 'source', 'none', NULL, NULL, NULL, '60s', 'undo', 'backend file, RELOAD, RESUME'),
    ('repoint', 80, 'repoint', 'ro_routes', 'source', 'none', NULL, NULL, NULL, '60s', 'undo', 'RO routes that a run could not repoint: to the node that the table names'),
    ('repoint', 87, 'smoke', 'rw_routes', 'source', 'none', NULL, NULL, NULL, '30s', 'continue', 'the smoke test that a route names'),
    ('repoint', 98, 'writable', 'source', 'source', 'none', NULL, NULL, NULL, '10s', 'continue', 'sessions of clients are not read-only'),
    ('rebuild', 99, 'verify', 'source', 'source', 'none', NULL, NULL, 'rejoin', '60s', 'continue', 'all standbys stream'),
    ('restore', 50, 'sync_restore', 'relaxed', 'source', 'none', NULL, NULL, NULL, '60s', 'continue', 'what an earlier run relaxed: synchronous_standby_names, once standbys satisfy it'),
    ('restore', 50, 'slow_wal', 'relaxed', 'source', 'none', NULL, NULL, NULL, '10s', 'continue', 'wal_init_zero'),
    ('restore', 50, 'wake_wal', 'relaxed', 'source', 'none', NULL, NULL, NULL, '10s', 'continue', 'wal_writer_delay')
    ) v (runbook, ordinal, action, node, worker, impact, guard, undo, requires, timeout, on_failure, comment);

UPDATE pingpong.runbook_step SET params = jsonb_build_object('setting', CASE action WHEN 'sync_restore' THEN 'synchronous_standby_names'
                                                                        WHEN 'slow_wal' THEN 'wal_init_zero' ELSE 'wal_writer_delay' END)
WHERE runbook = 'restore';
