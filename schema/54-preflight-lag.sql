-- Preflight, continued: lag, replay and apply; who must wait for whom.

CREATE FUNCTION pingpong_check.check_replay_lag(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- 20 MB/s is what replay on one core of a modest machine does; the option replay_mb_per_s says better
    SELECT CASE WHEN bytes IS NULL THEN ROW($1, 'warn', 'not checked: the target does not stream from here',
                                            'See target_streaming.')::finding ELSE
           finding($1, ms <= 1000 AND waits <= 1000,
                   CASE WHEN greatest(ms, waits) > budget THEN 'fail' ELSE 'warn' END,
                   format('%s behind, about %s ms to drain; last seen %s ms behind; the budget is %s ms',
                          pg_size_pretty(bytes), round(ms), round(waits), budget),
                   'Wait until it has caught up, or move at a quieter time.', 'postgres') END
    FROM (SELECT) one
         LEFT JOIN LATERAL (SELECT greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), s.replay_lsn), 0),
                                   coalesce(extract(epoch FROM s.replay_lag) * 1000, 0)
                            FROM preflight_sender s WHERE s.node = $1 ORDER BY s.replay_lsn LIMIT 1) l (bytes,
                                waits) ON true,
         LATERAL (SELECT bytes / (coalesce(($2 ->> 'replay_mb_per_s')::numeric, 20) * 1048.576),
                  preflight_ms($2, 'max_blackout_ms', 10000)::numeric) e (ms, budget)
$$;

CREATE FUNCTION pingpong_check.check_replay_not_paused(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding(n.name, n.pg ->> 'replay_pause_state' = 'not paused',
                   CASE WHEN n.name = $1 THEN 'fail' ELSE 'warn' END,
                   format('replay: %s', n.pg ->> 'replay_pause_state'),
                   'Run pg_wal_replay_resume() there; if a setting was lowered below the primary''s, raise it '
                   'and restart that server.', 'postgres')
    FROM preflight_node n WHERE n.kind = 'postgres' AND NOT n.is_source
$$;

CREATE FUNCTION pingpong_check.check_no_apply_delay(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- what the files say counts too: a run reloads them
    SELECT finding($1, delay = '0' AND coming ~ '^[ 0.]+[a-z]*$', 'fail',
                   format('recovery_min_apply_delay is %s', delay) || CASE
                       WHEN delay = '0' AND coming !~ '^[ 0.]+[a-z]*$' THEN format(', and %s after a reload', coming)
                       ELSE '' END,
                   'Set recovery_min_apply_delay = 0 there and reload, then wait until it has caught up.', 'postgres',
                   'settings')
    FROM preflight_node n, LATERAL (SELECT n.pg #>> '{settings,recovery_min_apply_delay}',
                                    next_setting(n.facts, 'recovery_min_apply_delay')) d (delay, coming)
    WHERE n.name = $1
$$;

CREATE FUNCTION pingpong_check.check_standby_queries(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT finding($1, CASE WHEN q IS NOT NULL THEN n_long = 0 END, 'warn',
                   CASE WHEN n_long = 0 THEN 'no query on the target runs for more than 5 s'
                        ELSE format('%s quer%s on the target for up to %s s (pids %s); max_standby_streaming_delay '
                                    'is %s, conflicts so far %s', n_long,
                                    CASE n_long WHEN 1 THEN 'y' ELSE 'ies' END, round(oldest), pids,
                                    n.pg #>> '{settings,max_standby_streaming_delay}',
                                    n.pg #>> '{conflicts,count}') END,
                   'Replay may have to wait for them. End them there with pg_terminate_backend().', 'postgres',
                   'readers')
    FROM preflight_node n, LATERAL (SELECT n.pg #> '{readers,rows}') r (q),
         LATERAL (SELECT count(*), max((e ->> 'age_s')::numeric), string_agg(e ->> 'pid', ', ')
                  FROM jsonb_array_elements(q) e WHERE (e ->> 'age_s')::numeric > 5) l (n_long, oldest, pids)
    WHERE n.name = $1
    UNION ALL
    SELECT ROW($1, 'warn', format('not checked for %s sessions: track_activities is off for them',
                                  n.pg #>> '{sessions,untracked}'),
               'Set track_activities = on there, or make sure by hand.')::finding
    FROM preflight_node n WHERE n.name = $1 AND (n.pg #>> '{sessions,untracked}')::integer > 0
$$;

-- Two looks, a tenth of a second apart.
CREATE FUNCTION pingpong_check.check_replay_keeps_up(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
DECLARE
    before_at  timestamptz := clock_timestamp();
    before_lsn pg_lsn := pg_current_wal_lsn();
    before_rep pg_lsn := min(s.replay_lsn) FROM preflight_sender s WHERE s.node = $1;
    seconds    numeric;
    written    numeric;
    replayed   numeric;
    behind     numeric;
BEGIN
    PERFORM pg_sleep(0.1);
    written := pg_wal_lsn_diff(pg_current_wal_lsn(), before_lsn);
    SELECT pg_wal_lsn_diff(min(s.replay_lsn), before_rep), pg_wal_lsn_diff(pg_current_wal_lsn(), min(s.replay_lsn))
    INTO replayed, behind FROM preflight_sender s WHERE s.node = $1;
    seconds := extract(epoch FROM clock_timestamp() - before_at);
    IF replayed IS NULL THEN
        RETURN NEXT ROW($1, 'warn', 'not checked: the target does not stream from here',
                        'See target_streaming.')::finding;
        RETURN;
    END IF;
    -- 1 MB behind is a few milliseconds; that much may come and go with each flush
    RETURN NEXT finding($1, replayed >= written OR behind < 1048576, 'fail',
                        format('written %s/s, replayed %s/s, behind %s', pg_size_pretty(round(written / seconds)),
                               pg_size_pretty(round(replayed / seconds)), pg_size_pretty(greatest(behind, 0))),
                        'The target falls behind; move at a quieter time, or find out what slows its replay.',
                        'postgres');
END
$$;

CREATE FUNCTION pingpong_check.check_recovery_settings(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH names (name) AS (VALUES ('recovery_target'), ('recovery_target_lsn'), ('recovery_target_name'),
                          ('recovery_target_time'), ('recovery_target_xid'))
    SELECT finding(n.name, bool_and(value = ''), 'warn',
                   coalesce(string_agg(format('%s = %s', name_, value), ', ') FILTER (WHERE value <> ''),
                            'no recovery target is set'),
                   'Reset it: recovery would end or pause there.', 'postgres', 'settings')
    FROM preflight_node n, LATERAL (SELECT names.name, CASE WHEN n.is_source THEN current_setting(names.name)
                                                            ELSE n.pg -> 'settings' ->> names.name END
                                                                FROM names) v (name_, value)
    WHERE n.name = $1 OR n.is_source
    GROUP BY n.name
    UNION ALL
    SELECT CASE WHEN n.facts #>> '{restore,end_command}' = 'missing'
                THEN ROW($1, 'fail', 'recovery_end_command names a program that is not there',
                         'The target would end inside its promotion: correct it, or reset it.')::finding
                ELSE ROW($1, 'warn', 'recovery_end_command is set',
                         'The target runs it while it is promoted, in the blackout: make sure that '
                         'it is quick, or reset it.')::finding END
    FROM preflight_node n WHERE n.name = $1 AND (n.pg ->> 'recovery_end_command_set')::boolean
$$;

-- What synchronous_standby_names asks for: how many, of which names ('*' stands for any).
CREATE FUNCTION pingpong_internal.sync_standbys(setting text, OUT needed integer, OUT names text[])
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN btrim(setting) = '' THEN 0 ELSE coalesce(m[1]::integer, 1) END,
           ARRAY(SELECT lower(coalesce(replace(x[1], '""', '"'), x[2]))
                 FROM regexp_matches(CASE WHEN m IS NULL THEN setting ELSE m[2] END,
                                     '"((?:[^"]|"")+)"|([^[:space:],"]+)', 'g') x)
    FROM (SELECT regexp_match(setting, E'^\\s*(?:(?:first|any)\\s+)?(\\d+)\\s*\\((.*)\\)\\s*$', 'i')) r (m)
$$;

CREATE FUNCTION pingpong_check.check_sync_satisfiable(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- After the move the standbys are all nodes but the target; the source counts, as it comes back.
    SELECT finding($1, CASE WHEN theirs IS NOT NULL THEN have >= needed AND (theirs <> '' OR ours = '') END,
                   CASE WHEN have < needed THEN 'fail' ELSE 'warn' END,
                   CASE WHEN theirs = '' AND ours = '' THEN 'replication is asynchronous'
                        WHEN theirs = '' THEN format('synchronous_standby_names is "%s" here and empty on the '
                                                     'target: commits will not be synchronous', ours)
                        ELSE format('the target''s synchronous_standby_names "%s" needs %s; %s of '
                                    'the remaining nodes match', theirs, needed, have) END,
                   'Set synchronous_standby_names on the target so that it names the nodes that will be '
                   'its standbys.',
                   'postgres', 'settings')
    FROM preflight_node n,
         LATERAL (SELECT n.pg #>> '{settings,synchronous_standby_names}',
                  current_setting('synchronous_standby_names')) s (theirs, ours),
         LATERAL pingpong_internal.sync_standbys(theirs) w,
         LATERAL (SELECT count(*) FROM node m WHERE m.kind = 'postgres' AND m.name <> $1 AND m.away_since IS NULL
                  AND (m.name = ANY (w.names) OR '*' = ANY (w.names))) h (have)
    WHERE n.name = $1
    UNION ALL
    -- and now: too few means that commits hang, and a hanging commit is not drained
    SELECT finding(node_name(), have >= needed, 'fail',
                   CASE needed WHEN 0 THEN 'no synchronous standby is asked for here'
                       ELSE format('%s synchronous standbys asked for here, %s there', needed, have) END,
                   'Bring the synchronous standbys back or relax synchronous_standby_names first.', 'postgres')
    FROM pingpong_internal.sync_standbys(current_setting('synchronous_standby_names')) w,
         LATERAL (SELECT count(*) FROM pg_stat_replication r
                  WHERE r.sync_state IN ('sync', 'quorum') AND r.state = 'streaming') h (have)
$$;

CREATE FUNCTION pingpong_check.check_no_commit_waits(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    -- under load some backend always waits for a moment; one that waits for seconds hangs
    SELECT finding(node_name(), count(*) = 0, 'fail',
                   CASE count(*) WHEN 0 THEN 'none' ELSE format('%s backends have waited for a synchronous standby '
                       'for up to %s s (pids %s)', count(*),
                                 round(max(extract(epoch FROM clock_timestamp() - coalesce(query_start,
                                     state_change)))), string_agg(pid::text, ', ')) END,
                   'Bring the synchronous standby back: commits that wait cannot be sealed.', 'postgres')
    FROM pg_stat_activity
    WHERE wait_event = 'SyncRep' AND coalesce(query_start, state_change) < clock_timestamp() - interval '3 s'
    UNION ALL
    SELECT unseen_sessions()
$$;

--
