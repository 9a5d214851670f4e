-- What a switchover would do: rows, with the nodes in their places, the undo, and one point of no return.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_pingpong;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set VERBOSITY terse

-- no node is registered yet
SELECT * FROM pingpong.plan('dallas');
SELECT pingpong.add_node('dallas', '10.0.0.2', 5432, 'https://10.0.0.2:7070');
SELECT * FROM pingpong.plan('dallas');
SELECT pingpong.add_node('regress', '10.0.0.1', 5432, 'https://10.0.0.1:7070');
SELECT pingpong.add_node('austin', '10.0.0.3', 5432, 'https://10.0.0.3:7070');
SELECT pingpong.add_node('denver', '10.0.0.4', 5432, 'https://10.0.0.4:7070', NULL, 'austin');
SELECT pingpong.add_router('pooler1', 'http://127.0.0.1:7071');
SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main', '{"app": ""}');
SELECT pingpong.add_route('ro', 'ro', 'pgbouncer', 'pooler1', 'main', '{"app_ro": ""}');
SELECT pingpong.node_name();

SELECT ordinal, action, node, impact, undo, point_of_no_return AS no_return FROM pingpong.plan('dallas');
SELECT ordinal, action, node, impact, undo FROM pingpong.plan('dallas', 'rebuild');
SELECT count(*) AS with_estimate FROM pingpong.plan('dallas') WHERE estimate_ms IS NOT NULL;
SELECT count(*) AS without_comment FROM pingpong.plan('dallas') WHERE coalesce(comment, '') = '';

-- the estimate is the median of the runs that went well
INSERT INTO pingpong.run (id, key, runbook, source, target, epoch, state, blackout_ms, seal_lsn, requested_by,
                          started_at, ended_at, sentence)
SELECT i, 'r' || i, 'switchover', 'regress', 'dallas', i, 'succeeded', 20 + i, '0/1000060', 'dba',
       '2026-11-22 02:00:00 UTC', '2026-11-22 02:00:01.5 UTC', 'done' FROM generate_series(1, 3) AS i;
INSERT INTO pingpong.step (run, ordinal, action, node, state, duration_ms, started_at)
SELECT i, 70, 'promote', 'dallas', CASE i WHEN 3 THEN 'failed' ELSE 'succeeded' END, 10 * i,
    timestamptz '2026-11-22 02:00:00.5 UTC'
FROM generate_series(1, 3) AS i;
SELECT action, node, estimate_ms FROM pingpong.plan('dallas') WHERE estimate_ms IS NOT NULL;

-- the report is text for a change ticket
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
\pset format unaligned
SELECT pingpong.report(2);
SELECT pingpong.report() = pingpong.report(3) AS last_is_default;
SELECT pingpong.report(77);
\pset format aligned

-- bad input
SELECT * FROM pingpong.plan(NULL);
SELECT * FROM pingpong.plan('nowhere');
SELECT * FROM pingpong.plan('regress');
SELECT * FROM pingpong.plan('pooler1');
SELECT * FROM pingpong.plan('dallas', 'no such');
SELECT * FROM pingpong.plan('dallas', NULL);
SELECT * FROM pingpong.switchover('dallas', grace => '-1s');
SELECT * FROM pingpong.switchover('dallas', grace => NULL);
SELECT * FROM pingpong.switchover('dallas', max_blackout => '1 year');
SELECT * FROM pingpong.switchover('dallas', on_grace_end => 'kill');
SELECT * FROM pingpong.switchover('dallas', on_grace_end => NULL);
SELECT * FROM pingpong.switchover('dallas', synchronous => 'maybe');
SELECT * FROM pingpong.rebuild('dallas', 'magic');
SELECT * FROM pingpong.rebuild('dallas', NULL);
SELECT * FROM pingpong.rebuild('nowhere');

DELETE FROM pingpong.run;
SELECT pingpong.report();
DELETE FROM pingpong.route;
DELETE FROM pingpong.node;
