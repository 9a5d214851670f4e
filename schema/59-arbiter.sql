-- The arbiter: an etcd that the agents ask and tell, where their configuration has a section [etcd.CLUSTER].

INSERT INTO pingpong.preflight_check (number, name, topic, builtin, comment)
VALUES (71, 'arbiter', 'safety', true, 'the arbiter answers the target, and all agents have the same one');

-- What was told in the last minute. An agent without an arbiter would promote, or open a primary, without its word.
CREATE FUNCTION pingpong_check.check_arbiter(target text, options jsonb) RETURNS SETOF pingpong_check.finding
LANGUAGE sql STABLE SET search_path = pg_catalog, pingpong, pingpong_check, pg_temp AS $$
    WITH told (node, name, answered, error, epoch, claimed) AS MATERIALIZED (
        SELECT n.name, a ->> 'name', (a ->> 'answered')::boolean, a ->> 'error', (a ->> 'epoch')::bigint,
               (a ->> 'claimed')::bigint
        FROM preflight_answer n, LATERAL (SELECT n.facts -> 'arbiter') f (a)
        WHERE n.facts IS NOT NULL AND n.away_since IS NULL),
    wanted (name) AS (SELECT t.name FROM told t WHERE t.name IS NOT NULL ORDER BY t.node <> $1, t.node LIMIT 1)
    SELECT ROW($1, 'ok', 'there is none', NULL)::finding WHERE NOT EXISTS (SELECT FROM wanted)
    UNION ALL
    SELECT ROW(t.node, v.status, v.detail, v.hint)::finding
    FROM told t, wanted w, LATERAL (
        SELECT 'fail', format('its agent has no arbiter, others have "%s"', w.name),
               'Give all agents of the cluster the same section [etcd.CLUSTER], or none, and reload them.'
        WHERE t.name IS NULL
        UNION ALL
        SELECT 'fail', format('its agent has the arbiter "%s", others have "%s"', t.name, w.name),
               'Give all agents of the cluster the same section [etcd.CLUSTER], and reload them.'
        WHERE t.name <> w.name
        UNION ALL
        SELECT CASE WHEN t.node = $1 THEN 'fail' ELSE 'warn' END,
               format('"%s" gives its agent no answer: %s', t.name, t.error),
               'Make etcd answer; see "pingpong-agent --check" there.'
        WHERE t.name = w.name AND NOT t.answered
        UNION ALL
        SELECT 'fail', format('a failover has claimed epoch %s at "%s"', t.claimed, t.name),
               'See pingpong.progress on the standbys; a claim that nobody needs any more ends by itself.'
        WHERE t.name = w.name AND t.answered AND t.claimed > t.epoch
        UNION ALL
        SELECT 'ok', format('"%s" answers, epoch %s', t.name, t.epoch), NULL
        WHERE t.name = w.name AND t.answered AND t.claimed <= t.epoch) v (status, detail, hint)
$$;
