-- Health at a glance, for pg_cron and for any other scheduler: the same rules as the alerts, as they are this moment.

-- What is looked at besides the rules. On a standby, whether it receives. With the rights of its owner, as members of
-- pingpong_operator may not read pg_stat_wal_receiver.
CREATE FUNCTION pingpong_internal.health_self(OUT name text, OUT status text, OUT detail text, OUT hint text)
    RETURNS SETOF record
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'worker', CASE WHEN w.pid IS NULL THEN 'fail' WHEN w.fresh THEN 'ok' ELSE 'warn' END,
           CASE WHEN w.pid IS NULL THEN 'the background worker does not run'
                WHEN w.fresh THEN 'it runs and takes samples'
                ELSE format('it has taken its last sample at %s',
                            coalesce(to_char(w.at, 'YYYY-MM-DD HH24:MI:SS TZ'), '(none yet)')) END,
           CASE WHEN w.fresh THEN NULL ELSE 'See the server''s log; a run pauses it, too' END
    FROM (SELECT pingpong.worker_pid(), t.at,
                 coalesce(clock_timestamp() - t.at < 3 * current_setting('pingpong.sample_interval')::interval
                          + interval '2 s', false)
          FROM (SELECT max(x.until) FROM pingpong_internal.sample_trends(1000) x) t (at)) w (pid, at, fresh)
    UNION ALL
    SELECT 'gate', CASE g.state WHEN 'open' THEN 'ok' WHEN 'sealed' THEN 'fail' WHEN 'guarded' THEN 'fail'
                                ELSE 'warn' END,
           CASE g.state WHEN 'open' THEN 'writes are possible' ELSE format('the gate is %s', g.state) END,
           CASE g.state WHEN 'open' THEN NULL WHEN 'guarded' THEN 'See pingpong.guard'
                        ELSE 'See pingpong.gate and pingpong.progress' END
    FROM pingpong_internal.gate_status() g WHERE NOT pg_is_in_recovery()
    UNION ALL
    SELECT 'alerting', CASE WHEN a.fresh THEN 'ok' WHEN a.off OR a.soon THEN 'warn' ELSE 'unknown' END,
           CASE WHEN a.fresh THEN 'the rules are looked at'
                WHEN a.off THEN 'pingpong.alert_interval is 0: no alerts are raised'
                ELSE format('the rules were looked at last at %s',
                            coalesce(to_char(a.at, 'YYYY-MM-DD HH24:MI:SS TZ'), '(not since the start)')) END,
           CASE WHEN NOT a.fresh THEN 'A run pauses it, as does a gate that is not open; else see the server''s log'
           END
    FROM (SELECT e.at, i.every = interval '0',
                 coalesce(clock_timestamp() - e.at < 3 * i.every + interval '10 s', false),
                 -- a run goes on or has just ended, or the server was just started: the next round is not due yet
                 clock_timestamp() - greatest(pg_postmaster_start_time(),
                                              (SELECT max(coalesce(r.ended_at, clock_timestamp()))
                                               FROM pingpong.run r)) < 3 * i.every + interval '30 s'
          FROM (SELECT current_setting('pingpong.alert_interval')::interval) i (every),
               (SELECT pingpong_internal.alerts_evaluated_at()) e (at)) a (at, off, fresh, soon)
    WHERE NOT pg_is_in_recovery()
    UNION ALL
    SELECT 'streaming', CASE WHEN w.ok THEN 'ok' ELSE 'fail' END,
           CASE WHEN w.ok THEN 'this standby streams' ELSE 'this standby does not stream' END,
           CASE WHEN NOT w.ok THEN 'See primary_conninfo, and the server''s log' END
    FROM (SELECT coalesce(bool_or(r.status = 'streaming'), false) FROM pg_stat_wal_receiver r) w (ok)
    WHERE pg_is_in_recovery()
$$;
COMMENT ON FUNCTION pingpong_internal.health_self() IS
    'rows of pingpong.health_check() about this server itself';

CREATE FUNCTION pingpong_internal.health_rows(OUT name text, OUT status text, OUT detail text, OUT hint text)
    RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    r       pingpong.alert_rule;
    s       pingpong_check.symptom;
    found_any boolean;
BEGIN
    RETURN QUERY SELECT * FROM pingpong_internal.health_self();
    FOR r IN SELECT * FROM pingpong.alert_rule x
             WHERE x.enabled AND (x.on_standby OR NOT pg_is_in_recovery()) ORDER BY x.name
    LOOP
        name := r.name;
        found_any := false;
        BEGIN
            FOR s IN SELECT * FROM pingpong_internal.alert_symptoms(r.name, r.threshold)
            LOOP
                found_any := true;
                status := CASE r.severity WHEN 'critical' THEN 'fail' WHEN 'warning' THEN 'warn' ELSE 'ok' END;
                detail := s.sentence;
                hint := s.remedy;
                RETURN NEXT;
            END LOOP;
            IF NOT found_any THEN
                status := 'ok';
                detail := 'not so: ' || r.comment;
                hint := NULL;
                RETURN NEXT;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            status := 'unknown';
            detail := format('it cannot be looked at: %s (SQLSTATE %s)', SQLERRM, SQLSTATE);
            hint := format('See the function pingpong_check.alert_%s(), and who may call it', r.name);
            RETURN NEXT;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pingpong_internal.health_rows() IS 'the rows of pingpong.health_check()';

CREATE FUNCTION pingpong.health_check("raise" boolean DEFAULT false)
    RETURNS TABLE (name text, status text, detail text, hint text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    bad     text[] := '{}';
    why     text[] := '{}';
    remedy  text[] := '{}';
BEGIN
    FOR name, status, detail, hint IN SELECT h.name, h.status, h.detail, h.hint
                                      FROM pingpong_internal.health_rows() h
    LOOP
        RETURN NEXT;
        IF status IN ('fail', 'unknown') THEN
            bad := bad || CASE WHEN name <> ALL (bad) THEN name END;
            why := why || format('%s: %s', name, detail);
            remedy := remedy || hint;
        END IF;
    END LOOP;
    IF "raise" AND bad <> '{}' THEN
        PERFORM pingpong_internal.fail('58000', 'health check failed: ' || array_to_string(bad, ', '),
                                       array_to_string(why, E'\n'), array_to_string(remedy, E'\n'));
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong.health_check(boolean) IS
    'the health of this server by the rules of pingpong.alert_rule, this moment: ok, warn, fail or unknown, a row '
    'for each finding; raise: an error (58000) where one is fail or unknown';
