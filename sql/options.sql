-- The options of a run are checked before anything is asked or touched: names, types, limits, and what is for
-- superusers.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_pingpong;
CREATE ROLE pp_operator IN ROLE pingpong_operator;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    d text;
    h text;
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RETURN sqlstate || ': ' || sqlerrm || coalesce(E'\n  detail: ' || nullif(d, ''), '')
        || coalesce(E'\n  hint: ' || nullif(h, ''), '');
END
$$;
CREATE FUNCTION pg_temp.options(options text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.try(format('SELECT pingpong.switchover(''dallas'', options => %L)', options))
$$;
CREATE FUNCTION pg_temp.arguments(arguments text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.try(format('SELECT pingpong.switchover(''dallas'', %s)', arguments))
$$;
\pset format unaligned
\pset tuples_only on
SELECT pingpong.add_node('dallas', '10.0.0.2', 5432, 'https://10.0.0.2:7070');
SELECT pingpong.add_node('regress', '10.0.0.1', 5432, 'https://10.0.0.1:7070');

-- what there is
SELECT name, type, array_to_string(kinds, '+'), argument, least, most, array_to_string(allowed, ','),
    otherwise FROM pingpong.run_option ORDER BY name COLLATE "C";
SELECT name || ' has a default that it would not take' FROM pingpong.run_option o
    WHERE otherwise IS NOT NULL AND NOT pingpong_internal.option_fits(o, otherwise);
SELECT name || ' says nothing' FROM pingpong.run_option WHERE btrim(comment) = '' OR NOT builtin;

-- unknown names
SELECT pg_temp.options('{"allow_unloged": true}');
SELECT pg_temp.options('{"run": 7}');
SELECT pg_temp.options('{"": 1}');
SELECT pg_temp.try($$SELECT * FROM pingpong.preflight('dallas', '{"allow_unloged": true}')$$);
SELECT pg_temp.try($$SELECT * FROM pingpong.preflight('dallas', NULL)$$);
SELECT pg_temp.options(NULL);
SELECT pg_temp.options('[]');
SELECT pg_temp.options('"allow_unlogged"');
SELECT pg_temp.options('null');
-- arguments have a name of their own
SELECT pg_temp.options('{"grace_ms": 100}');
SELECT pg_temp.options('{"synchronous": "strict"}');

-- wrong types, limits, words: all that would switch a check off
SELECT pg_temp.options(o) FROM unnest(ARRAY['{"allow_unlogged": "never"}', '{"allow_unlogged": "true"}',
                                            '{"allow_unlogged": 1}', '{"allow_unlogged": null}',
    '{"allow_logical_slot_loss": []}', '{"allow_archiver_failure": "on"}',
    '{"replay_mb_per_s": 0}', '{"replay_mb_per_s": -20}', '{"replay_mb_per_s": "20"}', '{"replay_mb_per_s": 1e9}',
    '{"replay_mb_per_s": true}',
    '{"rebuild_hours": 0}', '{"rebuild_hours": 1e300}', '{"rebuild_hours": {}}',
    '{"method": "foo"}', '{"method": 1}', '{"on_long_transactions": "ok"}', '{"on_idle_in_transaction": "FAIL"}',
    '{"ha_managers": "patroni"}', '{"ha_managers": [1]}', '{"ha_managers": [""]}', '{"ha_managers": {"patroni": 1}}',
    '{"ha_managers": [["patroni"]]}',
    '{"runbook": 1}', '{"runbook": "nowhere"}', '{"runbook": "rebuild"}',
    '{"risk": "its own writes are lost"}']) AS o;

-- a runbook of the site that promotes does it after a seal, or not at all
CREATE FUNCTION pg_temp.runbook(change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    said text;
BEGIN
    PERFORM pingpong.copy_runbook('switchover', 'site');
    EXECUTE change;
    said := pg_temp.try($q$SELECT pingpong_internal.validate_options('switchover', '{"runbook": "site"}')$q$);
    DELETE FROM pingpong.runbook_step WHERE runbook = 'site';
    RETURN said;
END
$$;
SELECT pg_temp.runbook('SELECT 1');
SELECT pg_temp.runbook($$INSERT INTO pingpong.runbook_step (runbook, ordinal, action, node, worker, comment)
                       VALUES ('site', 15, 'hook', 'source', 'source', 'ours')$$);
SELECT pg_temp.runbook($$DELETE FROM pingpong.runbook_step WHERE runbook = 'site' AND action = 'seal'$$);
SELECT split_part(pg_temp.runbook(c), E'\n', 1) FROM unnest(ARRAY[
    $$DELETE FROM pingpong.runbook_step WHERE runbook = 'site' AND action = 'arm'$$,
    $$DELETE FROM pingpong.runbook_step WHERE runbook = 'site' AND action = 'hold'$$,
    $$DELETE FROM pingpong.runbook_step WHERE runbook = 'site' AND action = 'lag_zero'$$,
    $$UPDATE pingpong.runbook_step SET ordinal = 75 WHERE runbook = 'site' AND action = 'seal'$$,
    $$UPDATE pingpong.runbook_step SET ordinal = 70 WHERE runbook = 'site' AND action = 'lag_zero'$$,
    $$UPDATE pingpong.runbook_step SET guard = 'false' WHERE runbook = 'site' AND action = 'seal'$$,
    $$UPDATE pingpong.runbook_step SET on_failure = 'continue' WHERE runbook = 'site' AND action = 'lag_zero'$$,
    $$UPDATE pingpong.runbook_step SET undo = NULL WHERE runbook = 'site' AND action = 'hold'$$,
    $$UPDATE pingpong.runbook_step SET worker = 'target' WHERE runbook = 'site' AND action = 'seal'$$,
    $$UPDATE pingpong.runbook_step SET node = 'target' WHERE runbook = 'site' AND action = 'seal'$$,
    $$INSERT INTO pingpong.runbook_step (runbook, ordinal, action, node, worker, mark, comment)
        VALUES ('site', 5, 'promote', 'target', 'source', 'no_return', 'too early')$$,
    $$INSERT INTO pingpong.runbook_step (runbook, ordinal, action, node, worker, mark, comment)
        VALUES ('site', 71, 'promote', 'siblings', 'target', 'no_return', 'another')$$,
    $$UPDATE pingpong.runbook_step SET mark = NULL WHERE runbook = 'site' AND action = 'hold'$$,
    $$UPDATE pingpong.runbook_step SET mark = NULL WHERE runbook = 'site' AND action = 'repoint'$$,
    $$UPDATE pingpong.runbook_step SET guard = 'false' WHERE runbook = 'site' AND mark = 'ends_blackout'$$,
    $$UPDATE pingpong.runbook_step SET ordinal = 69 WHERE runbook = 'site' AND mark = 'ends_blackout'$$]) AS c;

-- a promotion is marked as one, and nothing else is
SELECT split_part(pg_temp.try(c), E'\n', 1) FROM unnest(ARRAY[
    $$UPDATE pingpong.runbook_step SET mark = NULL WHERE runbook = 'switchover' AND action = 'promote'$$,
    $$UPDATE pingpong.runbook_step SET mark = 'no_return' WHERE runbook = 'switchover' AND action = 'warm'$$,
    $$UPDATE pingpong.runbook_step SET mark = 'ends_blackout' WHERE runbook = 'switchover' AND action = 'warm'$$,
    $$UPDATE pingpong.runbook_step SET on_failure = 'retry', mark = 'away'
        WHERE runbook = 'switchover' AND action = 'warm'$$,
    $$UPDATE pingpong.runbook_step SET on_failure = 'retry', job = 'x'
        WHERE runbook = 'switchover' AND action = 'warm'$$,
    $$UPDATE pingpong.runbook_step SET requires = 'arm', job = 'x'
        WHERE runbook = 'switchover' AND action = 'warm'$$,
    $$UPDATE pingpong.runbook_step SET fix = repeat('x', 61)
        WHERE runbook = 'switchover' AND action = 'warm'$$]) AS c;
-- copies
SELECT split_part(pg_temp.try(c), E'\n', 1) FROM unnest(ARRAY[
    $$SELECT pingpong.copy_runbook('nowhere', 'site')$$,
    $$SELECT pingpong.copy_runbook('switchover', 'rebuild')$$,
    $$SELECT pingpong.copy_runbook('switchover', 'A site')$$,
    $$SELECT pingpong.copy_runbook('switchover', NULL)$$]) AS c;
SELECT pg_temp.runbook($$INSERT INTO pingpong.runbook_step (runbook, ordinal, action, node, worker, comment)
                       VALUES ('site', 75, 'unseal', 'source', 'source', 'open')$$);

-- nothing after the promotion is undone
SELECT pg_temp.runbook($$INSERT INTO pingpong.runbook_step (runbook, ordinal, action, node, worker, comment)
                       VALUES ('site', 88, 'hook', 'target', 'target', 'ours')$$);
SELECT pg_temp.runbook($$INSERT INTO pingpong.runbook_step (runbook, ordinal, action, node, worker, comment)
                       VALUES ('site', 70, 'hook', 'source', 'source', 'ours')$$);
SELECT pg_temp.runbook($$INSERT INTO pingpong.runbook_step (runbook, ordinal, action, node, worker, on_failure,
                                                            comment)
                       VALUES ('site', 88, 'hook', 'target', 'target', 'continue', 'ours')$$);

-- the parameters
SELECT a, pg_temp.arguments(a) FROM unnest(ARRAY['grace => ''-1 s''', 'grace => NULL', 'grace => ''31 min''',
                                                 'grace => ''1 month''', 'grace => ''-1 month 31 days 1 hour''',
    'max_blackout => ''0''', 'max_blackout => ''0.0001 s''', 'max_blackout => ''-1 s''', 'max_blackout => NULL',
    'max_blackout => ''30 min 1 ms''', 'max_blackout => ''59 min 31 s''',
    'readers_grace => ''2 hours''', 'readers_grace => NULL', 'readers_grace => ''10 min''',
    'on_grace_end => ''kill''', 'on_grace_end => NULL', 'synchronous => ''maybe''', 'synchronous => NULL',
    'old_primary => ''burn''', 'old_primary => NULL']) AS a;
SELECT pingpong_internal.option_ms('0', 'grace'), pingpong_internal.option_ms('1.5 s', 'grace'),
    pingpong_internal.option_ms('30 min', 'max_blackout');

-- rebuild, and what it may destroy
SELECT pg_temp.try($$SELECT pingpong.rebuild('dallas', 'magic')$$);
SELECT pg_temp.try($$SELECT pingpong.rebuild('dallas', NULL)$$);
SELECT pg_temp.try($$SELECT pingpong.rebuild('dallas', risk => 'whatever')$$);
SELECT pg_temp.try($$SELECT pingpong.rebuild('dallas', risk => '')$$);
SET ROLE pp_operator;
SELECT pg_temp.try($$SELECT pingpong.rebuild('dallas', risk => 'its own writes are lost')$$);
SELECT pg_temp.try($$SELECT pingpong.rebuild('dallas', risk => 'whatever')$$);

-- a caller that asks the worker directly is checked, too
SELECT pg_temp.try(format('SELECT pingpong_internal.request(%L, %L, %L)', kind, target, options)) FROM (VALUES
    ('switchover', 'dallas', '{"allow_unlogged": "never"}'), ('switchover', 'dallas', '{"run": 1}'),
    ('switchover', 'dallas', '{"max_blackout_ms": 3570001}'),
    ('switchover', 'dallas', '{"grace_ms": 5000.0}'), ('switchover', 'dallas', '{"on_grace_end": "never"}'),
    ('switchover', 'dallas', '{'), ('switchover', 'dallas', '[]'),
    ('switchover', 'regress', '{}'), ('switchover', 'nowhere', '{}'), ('facts', 'nowhere', '{}'),
    ('facts', 'dallas', '{"allow_unlogged": true}'),
    ('run', 'dallas', '{}'), ('run', 'dallas', '{"runbook": "switchover"}'),
    ('run', 'dallas', '{"runbook": "repoint"}'), ('run', 'regress', '{"runbook": "rebuild"}'),
    ('run', 'dallas', '{"runbook": "rebuild", "risk": "its own writes are lost"}'),
    ('run', 'dallas', '{"runbook": "rebuild", "force": true}'),
    ('run', 'dallas', '{"runbook": "nowhere"}'), ('', 'dallas', '{}'),
    ('anything', 'dallas', '{"runbook": "rebuild"}')) AS r (kind, target, options);
RESET ROLE;

-- a site's own options are as strictly checked, and known to a site's own checks
INSERT INTO pingpong.run_option (name, type, least, most, otherwise, comment)
    VALUES ('max_jobs', 'integer', 0, 5, '0', 'jobs of ours that may be running');
INSERT INTO pingpong.run_option (name, type, allowed, comment) VALUES ('regions', 'words', '{east,west}', 'where');
SELECT pg_temp.options('{"max_jobs": 2, "regions": ["east", "north"]}');
SELECT pg_temp.options('{"max_jobs": 2.5}');
SELECT pg_temp.options('{"max_jobs": 6}');
SELECT pg_temp.options('{"max_job": 5}');
SELECT pingpong_internal.validate_options('switchover', '{"max_jobs": 2, "regions": ["east", "west"], "ha_managers": '
                                                        '["patroni"], "replay_mb_per_s": 0.5, "allow_unlogged": '
                                                        'true, "method": "rewind"}');
SELECT pg_temp.try($$INSERT INTO pingpong.run_option (name, type, comment)
                   VALUES ('one_of_none', 'word', 'nothing fits')$$);
DELETE FROM pingpong.run_option WHERE NOT builtin;

-- a check that ends with an error, or gives an unknown status, is a fail; the others go on
CREATE FUNCTION pingpong_check.check_site_error(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding LANGUAGE sql AS $$
    SELECT ROW('x', (1 / 0)::text, 'x', 'x')::pingpong_check.finding $$;
CREATE FUNCTION pingpong_check.check_site_shouts(target text, options jsonb)
    RETURNS SETOF pingpong_check.finding LANGUAGE sql AS $$
    SELECT ROW('x', 'FAIL', 'a word of its own', 'x')::pingpong_check.finding
        UNION ALL SELECT ROW('x', NULL, 'no word', 'x')::pingpong_check.finding $$;
INSERT INTO pingpong.preflight_check (number, name, topic, comment)
VALUES (101, 'site_error', 'site', 'x'), (102, 'site_shouts', 'site', 'x'), (103, 'site_missing', 'site', 'x');
SELECT name, node, status, detail, hint FROM pingpong_check.preflight_checks('dallas')
    WHERE number > 100 ORDER BY number, detail COLLATE "C" DESC;
SELECT count(DISTINCT name) > 40 AS others FROM pingpong_check.preflight_checks('dallas') WHERE number < 100;
DELETE FROM pingpong.preflight_check WHERE NOT builtin;
DROP FUNCTION pingpong_check.check_site_error, pingpong_check.check_site_shouts;

-- facts are read from a table: no snapshot from before they came
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.try($$SELECT * FROM pingpong.preflight('dallas')$$);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT pg_temp.try($$SELECT * FROM pingpong.preflight('dallas')$$);
COMMIT;

DELETE FROM pingpong.node;
DROP ROLE pp_operator;
SELECT count(*) AS runs FROM pingpong.run;
