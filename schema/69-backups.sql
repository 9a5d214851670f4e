-- Backups: what agents have told of them ([backup] in their configuration), a check of preflight, a rule of alerts.

CREATE VIEW pingpong.backup AS
    SELECT n.name AS node, b ->> 'tool' AS tool, b ->> 'label' AS label, b ->> 'type' AS type,
           to_timestamp((b ->> 'last_ms')::float8 / 1000) AS last_backup,
           to_timestamp((b ->> 'full_ms')::float8 / 1000) AS last_full,
           clock_timestamp() - to_timestamp((b ->> 'last_ms')::float8 / 1000) AS age, b ->> 'wal' AS last_wal,
           f.facts_at AS told_at, coalesce(b ->> 'error', CASE WHEN NOT f.ok THEN f.error END) AS problem
    FROM pingpong.node_fact f JOIN pingpong.node n ON n.name = f.node
         CROSS JOIN LATERAL (SELECT f.facts -> 'backup') x (b)
    WHERE b IS NOT NULL
    ORDER BY n.name;
COMMENT ON VIEW pingpong.backup IS
    'the last good base backup, and the WAL in its repository, as the agents with a section [backup] have last told';
COMMENT ON COLUMN pingpong.backup.node IS 'whose agent has told it';
COMMENT ON COLUMN pingpong.backup.tool IS '"pgbackrest", or "command": of the site';
COMMENT ON COLUMN pingpong.backup.label IS 'the name of that backup';
COMMENT ON COLUMN pingpong.backup.type IS 'of that backup: full, diff, incr';
COMMENT ON COLUMN pingpong.backup.last_backup IS 'when it ended; null: there is none, or it is not known';
COMMENT ON COLUMN pingpong.backup.last_full IS 'when the last full one ended';
COMMENT ON COLUMN pingpong.backup.age IS 'how long ago last_backup is';
COMMENT ON COLUMN pingpong.backup.last_wal IS 'the last WAL segment in the repository';
COMMENT ON COLUMN pingpong.backup.told_at IS 'when the agent told it: a later backup is not known';
COMMENT ON COLUMN pingpong.backup.problem IS
    'why there is no good backup, or none is known, or why the agent did not answer when it was asked last';

INSERT INTO pingpong.alert_rule (builtin, name, severity, threshold, unit, comment)
VALUES (true, 'backup_age', 'critical', 93600, 's',
        'no good base backup is known that is younger than this, and an agent has a section [backup]');

-- Several agents may see one repository, or each has its own: the youngest backup counts.
CREATE FUNCTION pingpong_check.alert_backup_age(threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '', round(age.s),
           CASE WHEN age.s IS NULL THEN 'no good backup is known'
                ELSE format('the last good backup that is known is %s h old', round(age.s / 3600)) END
           || coalesce(' (' || string_agg(format('%s: %s', b.node, b.problem), '; ' ORDER BY b.node)
                       FILTER (WHERE b.problem IS NOT NULL) || ')', '')
           || format(', as told at %s', to_char(max(b.told_at), 'YYYY-MM-DD HH24:MI:SS TZ')),
           'Make a backup, or see why there is none; SELECT * FROM pingpong.artefacts() asks the agents anew'
    FROM pingpong.backup b,
         LATERAL (SELECT extract(epoch FROM clock_timestamp() - max(x.last_backup)) FROM pingpong.backup x) age (s)
    WHERE NOT pg_is_in_recovery()
    GROUP BY age.s
    HAVING coalesce(age.s > $1, true)
$$;

INSERT INTO pingpong.preflight_check (number, name, topic, builtin, comment)
VALUES (46, 'backup', 'capacity', true, 'there is a recent backup, and its repository has the WAL');
UPDATE pingpong.preflight_check SET runbooks = '{switchover,upgrade}' WHERE name = 'backup';

CREATE FUNCTION pingpong_check.check_backup(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    SELECT ROW(node_name(), 'info', 'not known: no agent has a section [backup]', NULL)::finding
    WHERE NOT EXISTS (SELECT FROM backup)
    UNION ALL
    SELECT ROW(b.node, CASE WHEN b.problem IS NULL AND b.age < r.limit_ THEN 'ok' ELSE 'warn' END,
               concat_ws('; ', CASE WHEN b.age IS NOT NULL
                                    THEN format('last good backup: %s (%s), %s old', b.label, b.type,
                                                date_trunc('second', b.age)) END, b.problem),
               CASE WHEN b.problem IS NOT NULL OR b.age >= r.limit_ OR b.age IS NULL
                    THEN 'Make a backup before the move, or make sure that it can be done without.' END)::finding
    FROM backup b,
         (SELECT coalesce((SELECT make_interval(secs => a.threshold::float8) FROM alert_rule a
                           WHERE a.name = 'backup_age'), interval '26 h')) r (limit_)
    UNION ALL
    SELECT ROW(b.node, 'warn', format('the repository has WAL up to %s, the server has archived %s', b.last_wal,
                                      a.last_archived_wal),
               'archive_command does not archive to this repository: see the configuration of both.')::finding
    FROM backup b, pg_stat_archiver a
    WHERE a.last_archived_wal ~ '^[0-9A-F]{24}$' AND b.tool = 'pgbackrest' AND a.last_archived_time < b.told_at
        AND (b.last_wal IS NULL OR b.last_wal COLLATE "C" < a.last_archived_wal COLLATE "C")
$$;
