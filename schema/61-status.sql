-- How everything is: nodes, replication, routes, runs and their steps. The views may be read on the primary and on
-- standbys. They ask nobody: they show what this server sees, and what its worker was told by the agents.

CREATE FUNCTION pingpong_internal.agent_news(OUT node text, OUT asked_at timestamptz, OUT seen_at timestamptz,
                                             OUT silent_since timestamptz, OUT error text, OUT role text,
                                             OUT timeline integer, OUT lsn pg_lsn, OUT streaming boolean,
                                             OUT version text) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pingpong_agent_news' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 4;
COMMENT ON FUNCTION pingpong_internal.agent_news() IS
    'what the agents told this server''s worker last, from shared memory; also where that is old';

CREATE FUNCTION pingpong_internal.copies_news(OUT copies integer, OUT since timestamptz, OUT counted_at timestamptz)
AS 'MODULE_PATHNAME', 'pingpong_copies_news' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION pingpong_internal.copies_news() IS
    'how many nodes could take over, as this server''s worker counted them last, and since when there are so many';

-- A worker that is silent itself makes all news old.
CREATE FUNCTION pingpong_internal.agent_rows(OUT node text, OUT good boolean, OUT seen_at timestamptz,
                                             OUT silent_since timestamptz, OUT error text, OUT role text,
                                             OUT timeline integer, OUT lsn pg_lsn, OUT streaming boolean,
                                             OUT version text) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE ROWS 4 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT n.node, g.good, n.seen_at,
           CASE WHEN NOT g.good THEN coalesce(n.silent_since, n.asked_at) END,
           CASE WHEN n.silent_since IS NOT NULL THEN n.error
                WHEN NOT g.good THEN 'the worker of this server has not asked it since' END,
           CASE WHEN g.good THEN nullif(n.role, 'unknown') END, CASE WHEN g.good THEN n.timeline END,
           CASE WHEN g.good THEN n.lsn END, CASE WHEN g.good THEN n.streaming END,
           CASE WHEN g.good THEN n.version END
    FROM pingpong_internal.agent_news() n,
         LATERAL (SELECT n.silent_since IS NULL AND clock_timestamp() - n.asked_at
                         < 3 * current_setting('pingpong.agent_interval')::interval + interval '5 s') g (good);
END
$$;
COMMENT ON FUNCTION pingpong_internal.agent_rows() IS
    'the same; what is too old to count is null, and it is told since when the agent is silent';

-- The newest WAL that this server knows of: its own, or what its upstream or the primary's agent told.
CREATE FUNCTION pingpong_internal.newest_lsn() RETURNS pg_lsn
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()
                    WHEN streams.lsn IS NULL AND primary_tells.lsn IS NULL THEN NULL
                    ELSE greatest(streams.lsn, primary_tells.lsn, pg_last_wal_receive_lsn()) END
        FROM (SELECT max(w.latest_end_lsn) FROM pg_stat_wal_receiver w WHERE w.status = 'streaming') streams (lsn),
             (SELECT max(a.lsn) FROM pingpong_internal.agent_rows() a WHERE a.role = 'primary') primary_tells (lsn));
END
$$;
COMMENT ON FUNCTION pingpong_internal.newest_lsn() IS
    'the end of WAL on the primary, as far as this server knows; null: a standby that nobody tells';

-- In plpgsql, as the larger ones: a session that reads a view again and again plans its statement once.
CREATE FUNCTION pingpong_internal.bytes_behind(newest pg_lsn, reached pg_lsn) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN greatest(newest - reached, 0);
END
$$;
COMMENT ON FUNCTION pingpong_internal.bytes_behind(pg_lsn, pg_lsn) IS
    'bytes of WAL from the one to the other, not below 0; null: one is not known';

-- What this server knows of itself.
CREATE FUNCTION pingpong_internal.own_state(OUT role text, OUT timeline integer, OUT lsn pg_lsn, OUT state text,
                                            OUT write_lsn pg_lsn, OUT flush_lsn pg_lsn, OUT replay_lsn pg_lsn,
                                            OUT replayed_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    SELECT CASE WHEN r.here THEN 'standby' WHEN g.state IN ('sealed', 'guarded') THEN g.state
                ELSE 'primary' END,
           CASE WHEN r.here THEN coalesce(w.received_tli, c.timeline_id)
                ELSE pingpong_internal.written_timeline() END,
           CASE WHEN r.here THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
           w.status, w.written_lsn, CASE WHEN r.here THEN pg_last_wal_receive_lsn() END,
           CASE WHEN r.here THEN pg_last_wal_replay_lsn() END,
           CASE WHEN r.here THEN pg_last_xact_replay_timestamp() END
    INTO role, timeline, lsn, state, write_lsn, flush_lsn, replay_lsn, replayed_at
    FROM pg_is_in_recovery() r (here), pingpong_internal.gate_status() g,
         pg_control_checkpoint() c LEFT JOIN pg_stat_wal_receiver w ON true;
END
$$;
COMMENT ON FUNCTION pingpong_internal.own_state() IS
    'role, timeline and WAL of this server; of a standby: its stream';

-- With the rights of its owner, as standby_rows(). Of each node the best that is known: this server of itself, then
-- the stream from here, then what its agent told. A lag in time is null in pg_stat_replication when nothing happens.
CREATE FUNCTION pingpong_internal.status_rows(
    OUT node text, OUT kind text, OUT role text, OUT site text, OUT version text, OUT timeline integer,
    OUT lsn pg_lsn, OUT upstream text, OUT state text, OUT sync_state text, OUT write_lag_bytes bigint,
    OUT flush_lag_bytes bigint, OUT replay_lag_bytes bigint, OUT write_lag interval, OUT flush_lag interval,
    OUT replay_lag interval, OUT takes_over boolean, OUT obstacle text, OUT agent text, OUT agent_error text,
    OUT silent_since timestamptz, OUT told_at timestamptz, OUT age interval, OUT away_since timestamptz)
    RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH me AS MATERIALIZED (SELECT o.*, pingpong.node_name() AS name, pingpong_internal.newest_lsn() AS newest
                             FROM pingpong_internal.own_state() o),
    news AS MATERIALIZED (SELECT * FROM pingpong_internal.agent_rows()),
    sender AS MATERIALIZED (SELECT DISTINCT ON (p.node) p.* FROM pingpong_check.preflight_sender p
                            WHERE p.node IS NOT NULL AND p.state <> 'backup'
                            ORDER BY p.node, p.state = 'streaming' DESC, p.pid),
    seen AS MATERIALIZED (
        SELECT n.name, n.kind, n.site, n.upstream, n.away_since, n.name = me.name AS is_here, me.newest,
               CASE WHEN n.kind = 'router' THEN 'router' WHEN n.name = me.name THEN me.role
                    WHEN a.role IS NOT NULL THEN a.role WHEN s.state = 'streaming' THEN 'standby'
                    ELSE 'unknown' END AS role,
               CASE WHEN n.name = me.name THEN me.timeline ELSE a.timeline END AS timeline,
               CASE WHEN n.name = me.name THEN me.lsn ELSE coalesce(s.replay_lsn, a.lsn) END AS lsn,
               CASE WHEN n.name = me.name THEN me.state WHEN s.pid IS NOT NULL THEN s.state
                    WHEN a.streaming THEN 'streaming' END AS state, s.sync_state,
               CASE WHEN n.name = me.name THEN me.write_lsn ELSE s.write_lsn END AS write_lsn,
               CASE WHEN n.name = me.name THEN me.flush_lsn ELSE s.flush_lsn END AS flush_lsn,
               CASE WHEN n.name = me.name THEN me.replay_lsn
                    ELSE coalesce(s.replay_lsn, CASE WHEN a.role = 'standby' THEN a.lsn END) END AS replay_lsn,
               s.write_lag, s.flush_lag,
               CASE WHEN n.name = me.name THEN clock_timestamp() - me.replayed_at ELSE s.replay_lag END AS replay_lag,
               CASE WHEN n.name = me.name THEN split_part(current_setting('server_version'), ' ', 1)
                    ELSE a.version END AS version,
               CASE WHEN a.good THEN 'ok' WHEN a.node IS NULL THEN 'not asked' ELSE 'silent' END AS agent,
               a.error, a.silent_since,
               CASE WHEN n.name = me.name THEN clock_timestamp() WHEN a.good THEN a.seen_at
                    WHEN s.pid IS NOT NULL THEN least(s.reply_time, clock_timestamp()) ELSE a.seen_at END AS told_at,
               max(CASE WHEN n.name = me.name THEN CASE WHEN me.role = 'primary' THEN me.timeline END
                        WHEN a.role = 'primary' THEN a.timeline END) OVER () AS primary_timeline,
               n.kind = 'postgres'
                   AND CASE WHEN n.name = me.name THEN me.role ELSE coalesce(a.role, '') END
                       NOT IN ('primary', 'sealed', 'guarded') AS may_stand_by
        FROM me, pingpong.node n LEFT JOIN news a ON a.node = n.name LEFT JOIN sender s ON s.node = n.name)
    SELECT x.name, x.kind, x.role, x.site, x.version, x.timeline, x.lsn, x.upstream, x.state, x.sync_state,
           l.write_bytes, l.flush_bytes, l.replay_bytes,
           CASE WHEN l.write_bytes = 0 THEN interval '0' ELSE x.write_lag END,
           CASE WHEN l.flush_bytes = 0 THEN interval '0' ELSE x.flush_lag END,
           CASE WHEN l.replay_bytes = 0 THEN interval '0' ELSE x.replay_lag END,
           CASE WHEN x.may_stand_by THEN o.obstacle IS NULL END, CASE WHEN x.may_stand_by THEN o.obstacle END,
           x.agent, x.error, x.silent_since, x.told_at, clock_timestamp() - x.told_at, x.away_since
    FROM seen x,
         LATERAL (SELECT pingpong_internal.bytes_behind(x.newest, x.write_lsn),
                         pingpong_internal.bytes_behind(x.newest, x.flush_lsn),
                         pingpong_internal.bytes_behind(x.newest, x.replay_lsn)
                 ) l (write_bytes, flush_bytes, replay_bytes),
         LATERAL (SELECT CASE WHEN x.away_since IS NOT NULL THEN 'away on purpose'
                              WHEN x.agent <> 'ok' THEN 'agent ' || x.agent
                              WHEN x.role <> 'standby' THEN x.role
                              WHEN x.state IS DISTINCT FROM 'streaming' THEN 'does not stream'
                              WHEN x.upstream IS NOT NULL THEN 'streams from ' || x.upstream
                              WHEN x.timeline IS DISTINCT FROM x.primary_timeline
                                  THEN format('timeline %s, the primary %s', coalesce(x.timeline::text, 'not known'),
                                              coalesce(x.primary_timeline::text, 'not known'))
                         END) o (obstacle);
END
$$;
COMMENT ON FUNCTION pingpong_internal.status_rows() IS 'the rows of the view pingpong.status';

CREATE VIEW pingpong.status AS
    SELECT node, kind, role, site, version, timeline, lsn, upstream, state, sync_state, write_lag_bytes,
           flush_lag_bytes, replay_lag_bytes, write_lag, flush_lag, replay_lag, takes_over, obstacle, agent,
           agent_error, silent_since, told_at, age, away_since
    FROM pingpong_internal.status_rows() ORDER BY kind, node;
COMMENT ON VIEW pingpong.status IS
    'a row a node: its role and how far it is, as this server sees it and as the agents told its worker';
COMMENT ON COLUMN pingpong.status.node IS 'its name';
COMMENT ON COLUMN pingpong.status.kind IS 'postgres, or router: a host with poolers and an agent';
COMMENT ON COLUMN pingpong.status.role IS
    'primary; sealed (takes no writes of clients any more); standby; down: its agent says that its PostgreSQL does '
    'not answer; router; unknown: neither its agent nor a stream tells';
COMMENT ON COLUMN pingpong.status.site IS 'where it stands, as registered; null: not told';
COMMENT ON COLUMN pingpong.status.version IS 'of its PostgreSQL; null: not known now';
COMMENT ON COLUMN pingpong.status.timeline IS 'that it writes, or receives; null: not known now';
COMMENT ON COLUMN pingpong.status.lsn IS 'the end of WAL that it has written, or replayed; null: not known now';
COMMENT ON COLUMN pingpong.status.upstream IS 'the standby that it is to stream from; null: the primary';
COMMENT ON COLUMN pingpong.status.state IS
    'of its stream, as in pg_stat_replication or pg_stat_wal_receiver; null: it does not stream, or nobody tells';
COMMENT ON COLUMN pingpong.status.sync_state IS
    'as in pg_stat_replication; null: it does not stream from this server';
COMMENT ON COLUMN pingpong.status.write_lag_bytes IS
    'WAL of the primary that it has not written yet; null: not known now';
COMMENT ON COLUMN pingpong.status.flush_lag_bytes IS 'WAL of the primary that it has not flushed yet';
COMMENT ON COLUMN pingpong.status.replay_lag_bytes IS
    'WAL of the primary that it has not replayed yet; of a node that does not stream from this server by what its '
    'agent told last, so it may be some seconds too much';
COMMENT ON COLUMN pingpong.status.write_lag IS
    'how long ago the primary wrote what it wrote last, as in pg_stat_replication; 0: nothing is to come; '
    'null: not known now';
COMMENT ON COLUMN pingpong.status.flush_lag IS 'the same for what it flushed last';
COMMENT ON COLUMN pingpong.status.replay_lag IS
    'the same for what it replayed last; of this server, if it is a standby: the age of the last commit it replayed';
COMMENT ON COLUMN pingpong.status.takes_over IS
    'whether it could become the primary this moment: it streams from the primary, on its timeline, and its agent '
    'answers; null: it is the primary, or a router';
COMMENT ON COLUMN pingpong.status.obstacle IS 'what stands against that; null: nothing';
COMMENT ON COLUMN pingpong.status.agent IS
    'ok: it answers; silent: see silent_since; not asked: this server''s worker has not asked it yet';
COMMENT ON COLUMN pingpong.status.agent_error IS 'why its agent did not answer; null: it did';
COMMENT ON COLUMN pingpong.status.silent_since IS 'since when its agent does not answer; null: it does';
COMMENT ON COLUMN pingpong.status.told_at IS
    'of when the row is; of an unknown node: when it was heard of last; null: never. Where its agent is silent, by '
    'the clock of the standby that streams';
COMMENT ON COLUMN pingpong.status.age IS 'how long ago that is';
COMMENT ON COLUMN pingpong.status.away_since IS 'since when it is away on purpose; null: it is not';

-- "since" is counted by the worker. What is seen just now and not counted yet is of now.
CREATE VIEW pingpong.redundancy AS
    SELECT x.copies, CASE WHEN n.copies = x.copies THEN n.since ELSE clock_timestamp() END AS since, x.standbys,
           x.others, n.counted_at
    FROM (SELECT count(*) FILTER (WHERE s.takes_over)::integer,
                 string_agg(s.node, ', ' ORDER BY s.node) FILTER (WHERE s.takes_over),
                 string_agg(format('%s (%s)', s.node, s.obstacle), ', ' ORDER BY s.node)
                     FILTER (WHERE NOT s.takes_over)
          FROM pingpong_internal.status_rows() s) x (copies, standbys, others),
         pingpong_internal.copies_news() n;
COMMENT ON VIEW pingpong.redundancy IS
    'how many copies could take over this moment, and since when there are so many';
COMMENT ON COLUMN pingpong.redundancy.copies IS 'their number; see takes_over in pingpong.status';
COMMENT ON COLUMN pingpong.redundancy.since IS
    'since when there are so many, not longer than this server runs, as its worker counted';
COMMENT ON COLUMN pingpong.redundancy.standbys IS 'which; null: none';
COMMENT ON COLUMN pingpong.redundancy.others IS 'which others are registered, and why they could not; null: none';
COMMENT ON COLUMN pingpong.redundancy.counted_at IS
    'when the worker counted last; null: not since the server started';

CREATE FUNCTION pingpong_internal.replication_rows(
    OUT direction text, OUT node text, OUT application_name text, OUT address text, OUT state text,
    OUT sync_state text, OUT slot_name text, OUT sent_lsn pg_lsn, OUT write_lsn pg_lsn, OUT flush_lsn pg_lsn,
    OUT replay_lsn pg_lsn, OUT sent_lag_bytes bigint, OUT write_lag_bytes bigint, OUT flush_lag_bytes bigint,
    OUT replay_lag_bytes bigint, OUT write_lag interval, OUT flush_lag interval, OUT replay_lag interval,
    OUT since timestamptz, OUT told_at timestamptz) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH here (newest, lsn) AS MATERIALIZED (
        SELECT pingpong_internal.newest_lsn(),
               CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                    ELSE pg_current_wal_lsn() END)
    SELECT 'sends', s.node, s.application_name, coalesce(host(s.client_addr), 'local'), s.state, s.sync_state,
           s.slot_name::text, s.sent_lsn, s.write_lsn, s.flush_lsn, s.replay_lsn,
           pingpong_internal.bytes_behind(here.lsn, s.sent_lsn),
           pingpong_internal.bytes_behind(here.lsn, s.write_lsn),
           pingpong_internal.bytes_behind(here.lsn, s.flush_lsn),
           pingpong_internal.bytes_behind(here.lsn, s.replay_lsn),
           s.write_lag, s.flush_lag, s.replay_lag, s.backend_start, s.reply_time
    FROM here, pingpong_check.preflight_sender s
    UNION ALL
    SELECT 'receives', n.name, NULL, concat_ws(':', w.sender_host, w.sender_port), w.status, NULL, w.slot_name, NULL,
           w.written_lsn, w.flushed_lsn, pg_last_wal_replay_lsn(), NULL,
           pingpong_internal.bytes_behind(here.newest, w.written_lsn),
           pingpong_internal.bytes_behind(here.newest, w.flushed_lsn),
           pingpong_internal.bytes_behind(here.newest, pg_last_wal_replay_lsn()), NULL, NULL,
           CASE WHEN here.newest <= pg_last_wal_replay_lsn() THEN interval '0'
                ELSE clock_timestamp() - pg_last_xact_replay_timestamp() END, NULL, w.last_msg_receipt_time
    FROM here, pg_stat_wal_receiver w
         LEFT JOIN pingpong.node n ON n.kind = 'postgres' AND n.host = w.sender_host AND n.port = w.sender_port;
END
$$;
COMMENT ON FUNCTION pingpong_internal.replication_rows() IS 'the rows of the view pingpong.replication';

CREATE VIEW pingpong.replication AS
    SELECT direction, node, application_name, address, state, sync_state, slot_name, sent_lsn, write_lsn, flush_lsn,
           replay_lsn, sent_lag_bytes, write_lag_bytes, flush_lag_bytes, replay_lag_bytes, write_lag, flush_lag,
           replay_lag, since, told_at
    FROM pingpong_internal.replication_rows()
    ORDER BY direction, node NULLS LAST, application_name, slot_name, since;
COMMENT ON VIEW pingpong.replication IS
    'each stream of WAL that leaves this server, and on a standby the one that it receives';
COMMENT ON COLUMN pingpong.replication.direction IS 'sends, or receives';
COMMENT ON COLUMN pingpong.replication.node IS
    'the registered node at the other end; null: none, for instance a backup program';
COMMENT ON COLUMN pingpong.replication.application_name IS 'as in pg_stat_replication; null: this server receives';
COMMENT ON COLUMN pingpong.replication.address IS 'of the other end';
COMMENT ON COLUMN pingpong.replication.state IS 'as in pg_stat_replication, or status of pg_stat_wal_receiver';
COMMENT ON COLUMN pingpong.replication.sync_state IS 'as in pg_stat_replication';
COMMENT ON COLUMN pingpong.replication.slot_name IS 'the slot that it uses; null: none';
COMMENT ON COLUMN pingpong.replication.sent_lsn IS 'as in pg_stat_replication';
COMMENT ON COLUMN pingpong.replication.write_lsn IS 'what the receiver has written';
COMMENT ON COLUMN pingpong.replication.flush_lsn IS 'what the receiver has flushed';
COMMENT ON COLUMN pingpong.replication.replay_lsn IS 'what the receiver has replayed; null: it does not replay';
COMMENT ON COLUMN pingpong.replication.sent_lag_bytes IS 'what this server has and has not sent';
COMMENT ON COLUMN pingpong.replication.write_lag_bytes IS 'what the sender has and the receiver has not written';
COMMENT ON COLUMN pingpong.replication.flush_lag_bytes IS 'what the sender has and the receiver has not flushed';
COMMENT ON COLUMN pingpong.replication.replay_lag_bytes IS 'what the sender has and the receiver has not replayed';
COMMENT ON COLUMN pingpong.replication.write_lag IS
    'as in pg_stat_replication, as are the next two; null: nothing happens, or it is not measured';
COMMENT ON COLUMN pingpong.replication.flush_lag IS 'the same for what is flushed';
COMMENT ON COLUMN pingpong.replication.replay_lag IS
    'the same for what is replayed; where this server receives: the age of the last commit that it replayed, 0 when '
    'nothing is to come';
COMMENT ON COLUMN pingpong.replication.since IS 'since when it is connected; null: this server receives';
COMMENT ON COLUMN pingpong.replication.told_at IS
    'the last message of the other end: by its clock where this server sends';

-- What an agent saw before the last move of its route is no news of where the route points now.
CREATE VIEW pingpong.routes AS
    SELECT r.name, r.kind, r.driver, e.router, e.endpoint, r.node,
           CASE WHEN e.observed_at > coalesce(m.since, '-infinity') THEN x.seen_nodes END AS observed_node, m.since,
           coalesce(e.observed ->> 'error', a.error) AS last_error, e.observed_at,
           clock_timestamp() - e.observed_at AS age, r.generation,
           CASE WHEN e.observed_at IS NULL THEN 'unknown'
                WHEN x.error IS NOT NULL OR a.error IS NOT NULL THEN 'unreachable'
                WHEN x.wanted IS NULL THEN 'not set'
                WHEN NOT x.ours AND NOT pg_is_in_recovery() THEN 'elsewhere'
                WHEN x.told AND x.elsewhere AND r.drift = 'report' THEN 'elsewhere'
                WHEN x.elsewhere OR NOT x.told THEN 'pending'
                WHEN clock_timestamp() - e.observed_at
                     > greatest(4 * current_setting('pingpong.route_interval')::interval, interval '3 min')
                THEN 'unknown'
                ELSE 'ok' END AS health
    FROM pingpong.route r
         JOIN pingpong.route_endpoint e ON e.route = r.name
         JOIN pingpong_internal.endpoint_state() x ON x.name = e.name
         LEFT JOIN LATERAL (SELECT max(s.ended_at) FROM pingpong.step s
                            WHERE s.action IN ('repoint', 'lead') AND s.node = e.name AND s.state = 'succeeded'
                           ) m (since) ON true
         LEFT JOIN pingpong_internal.agent_rows() a ON a.node = e.router
    ORDER BY r.name, e.name;
COMMENT ON VIEW pingpong.routes IS 'where each route is to point, and where its routers were seen to point';
COMMENT ON COLUMN pingpong.routes.name IS 'of the route; it has a row for each endpoint';
COMMENT ON COLUMN pingpong.routes.kind IS 'rw or ro';
COMMENT ON COLUMN pingpong.routes.driver IS 'what it is made of, see pingpong.route_driver';
COMMENT ON COLUMN pingpong.routes.router IS 'the node whose agent speaks with the router';
COMMENT ON COLUMN pingpong.routes.endpoint IS 'the section of that agent''s configuration';
COMMENT ON COLUMN pingpong.routes.node IS
    'the node that it is to point to; null: no run has set it yet, or it points to no node';
COMMENT ON COLUMN pingpong.routes.observed_node IS
    'the node that the router was seen to point to, or addresses that are no node''s; null: not seen since the last '
    'move, or the router does not tell';
COMMENT ON COLUMN pingpong.routes.since IS 'when a run pointed this endpoint there; null: none did';
COMMENT ON COLUMN pingpong.routes.last_error IS
    'why the router, or now its agent, does not tell; null: it does';
COMMENT ON COLUMN pingpong.routes.observed_at IS 'when its agent told it; null: never';
COMMENT ON COLUMN pingpong.routes.age IS 'how long ago that is; what stays the same is noted once a minute';
COMMENT ON COLUMN pingpong.routes.generation IS 'grows with each change of the route';
COMMENT ON COLUMN pingpong.routes.health IS
    'ok; pending: it does not point to the node yet, or not any more; elsewhere: the same, and the route says that '
    'this is only reported, or an rw route belongs to a node that is not this primary; unreachable: its agent or '
    'router does not tell; not set: nobody has said where it belongs; unknown: it was not looked at lately';

CREATE VIEW pingpong.runs AS
    SELECT id AS run, runbook, source, target, state, requested_by, started_at, switched_at, ended_at,
           coalesce(ended_at, clock_timestamp()) - started_at AS took, blackout_ms, sentence
    FROM pingpong.run ORDER BY id DESC;
COMMENT ON VIEW pingpong.runs IS 'what was run, the newest first';
COMMENT ON COLUMN pingpong.runs.run IS 'its number';
COMMENT ON COLUMN pingpong.runs.runbook IS 'switchover, rebuild, upgrade ..., or a runbook of the site';
COMMENT ON COLUMN pingpong.runs.source IS 'the primary that began it';
COMMENT ON COLUMN pingpong.runs.target IS 'the node that it is for';
COMMENT ON COLUMN pingpong.runs.state IS 'running, succeeded, rolled_back or stuck';
COMMENT ON COLUMN pingpong.runs.requested_by IS 'who asked for it';
COMMENT ON COLUMN pingpong.runs.started_at IS 'when it began';
COMMENT ON COLUMN pingpong.runs.switched_at IS
    'when writes were possible on the target; null: it did not move the primary';
COMMENT ON COLUMN pingpong.runs.ended_at IS 'when it ended; null: it has not';
COMMENT ON COLUMN pingpong.runs.took IS 'how long it took, or takes until now';
COMMENT ON COLUMN pingpong.runs.blackout_ms IS
    'how long clients could not write, in ms; null: they could all the time, or it is not known';
COMMENT ON COLUMN pingpong.runs.sentence IS 'how it ended; of a stuck run, what the operator has to do';

CREATE VIEW pingpong.steps AS
    SELECT s.run, s.ordinal, s.action, s.node, s.state, s.started_at, s.ended_at, s.duration_ms,
           (extract(epoch FROM s.started_at - r.started_at) * 1000)::double precision AS at_ms, s.attempt,
           s.message
    FROM pingpong.step s JOIN pingpong.run r ON r.id = s.run
    ORDER BY s.run DESC, s.ordinal, s.started_at NULLS LAST, s.action, s.node;
COMMENT ON VIEW pingpong.steps IS
    'the steps of all runs, the newest run first; those of the present one are fresher in pingpong.progress';
COMMENT ON COLUMN pingpong.steps.run IS 'number of the run';
COMMENT ON COLUMN pingpong.steps.ordinal IS 'steps of the same ordinal are made at the same time';
COMMENT ON COLUMN pingpong.steps.action IS 'what is done';
COMMENT ON COLUMN pingpong.steps.node IS 'on which node, or on which endpoint of a route';
COMMENT ON COLUMN pingpong.steps.state IS 'pending, running, succeeded, failed, skipped or undone';
COMMENT ON COLUMN pingpong.steps.started_at IS 'when it began; null: it has not';
COMMENT ON COLUMN pingpong.steps.ended_at IS 'when it ended; null: it has not';
COMMENT ON COLUMN pingpong.steps.duration_ms IS 'how long it took, in ms';
COMMENT ON COLUMN pingpong.steps.at_ms IS 'when it began, in ms from the beginning of the run';
COMMENT ON COLUMN pingpong.steps.attempt IS 'how often it was tried';
COMMENT ON COLUMN pingpong.steps.message IS 'what went wrong, or is worth telling';

-- Other news of the same shape can be added as a further branch.
CREATE VIEW pingpong.events AS
    SELECT at, severity, kind, node, run, sentence
    FROM (SELECT r.started_at, 'info', 'run began', r.target, r.id,
                 format('%s of %s was asked for by %s', r.runbook, r.target, coalesce(r.requested_by, '?'))
          FROM pingpong.run r
          UNION ALL
          SELECT r.switched_at, 'info', 'primary moved', r.target, r.id,
                 format('%s is the primary; clients could not write for %s ms', r.target,
                        coalesce(round(r.blackout_ms::numeric)::text, '?'))
          FROM pingpong.run r WHERE r.switched_at IS NOT NULL
          UNION ALL
          SELECT r.ended_at, CASE r.state WHEN 'succeeded' THEN 'info' WHEN 'rolled_back' THEN 'warning'
                                          ELSE 'error' END,
                 'run ' || CASE r.state WHEN 'rolled_back' THEN 'rolled back' ELSE r.state END, r.target, r.id,
                 coalesce(r.sentence, format('%s of %s %s', r.runbook, r.target, r.state))
          FROM pingpong.run r WHERE r.ended_at IS NOT NULL
          UNION ALL
          SELECT v.at, v.severity, v.kind, v.place, NULL, v.sentence FROM pingpong.route_event v
          UNION ALL
          SELECT coalesce(s.ended_at, s.started_at), CASE WHEN s.fix IS NULL THEN 'warning' ELSE 'error' END,
                 'step failed', s.node, s.run, format('%s: %s', s.action, coalesce(s.message, 'no reason was told'))
          FROM pingpong.step s WHERE s.state = 'failed') e (at, severity, kind, node, run, sentence)
    ORDER BY at DESC NULLS LAST, run DESC, kind, node;
COMMENT ON VIEW pingpong.events IS 'what happened, the newest first';
COMMENT ON COLUMN pingpong.events.at IS 'when';
COMMENT ON COLUMN pingpong.events.severity IS 'info, warning or error';
COMMENT ON COLUMN pingpong.events.kind IS
    'run began, primary moved, run succeeded, run rolled back, run stuck, step failed; of routes: route moved, route '
    'drifted, endpoint behind, endpoint right again, repair withheld';
COMMENT ON COLUMN pingpong.events.node IS 'which node, or endpoint of a route, it is about';
COMMENT ON COLUMN pingpong.events.run IS 'of which run; null: of none';
COMMENT ON COLUMN pingpong.events.sentence IS 'what';
