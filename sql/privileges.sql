-- Who may do what, as listings from the catalogs: a new object that is open to somebody shows up here as a
-- difference.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_pingpong;
CREATE ROLE pp_nobody;
CREATE ROLE pp_operator IN ROLE pingpong_operator;
CREATE ROLE pp_monitor IN ROLE pg_monitor;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set VERBOSITY sqlstate

-- functions
SELECT p.oid::regprocedure AS function,
       has_function_privilege('pp_nobody', p.oid, 'EXECUTE') AS public,
       has_function_privilege('pp_monitor', p.oid, 'EXECUTE') AS monitor,
       has_function_privilege('pp_operator', p.oid, 'EXECUTE') AS operator
FROM pg_proc p WHERE p.pronamespace::regnamespace::text LIKE 'pingpong%'
  AND NOT (p.pronamespace = 'pingpong_check'::regnamespace AND p.proname ~ '^(check|alert)_')
ORDER BY p.oid::regprocedure::text COLLATE "C";
-- the checks of preflight, of which there are many
SELECT has_function_privilege('pp_nobody', p.oid, 'EXECUTE') AS public,
       has_function_privilege('pp_monitor', p.oid, 'EXECUTE') AS monitor,
       has_function_privilege('pp_operator', p.oid, 'EXECUTE') AS operator, count(*) > 1 AS checks
FROM pg_proc p WHERE p.pronamespace = 'pingpong_check'::regnamespace AND p.proname LIKE 'check\_%'
GROUP BY 1, 2, 3;
-- and the rules of alerts, which only read
SELECT has_function_privilege('pp_nobody', p.oid, 'EXECUTE') AS public,
       has_function_privilege('pp_monitor', p.oid, 'EXECUTE') AS monitor,
       has_function_privilege('pp_operator', p.oid, 'EXECUTE') AS operator, count(*) > 1 AS rules
FROM pg_proc p WHERE p.pronamespace = 'pingpong_check'::regnamespace AND p.proname LIKE 'alert\_%'
GROUP BY 1, 2, 3;
-- tables and views
SELECT c.oid::regclass AS relation, c.relkind,
       (SELECT string_agg(x, ' ') FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
                                                    'TRIGGER']) AS x
        WHERE has_table_privilege('pp_nobody', c.oid, x)) AS public,
       (SELECT string_agg(x, ' ') FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
                                                    'TRIGGER']) AS x
        WHERE has_table_privilege('pp_monitor', c.oid, x)) AS monitor,
       (SELECT string_agg(x, ' ') FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
                                                    'TRIGGER']) AS x
        WHERE has_table_privilege('pp_operator', c.oid, x)) AS operator
FROM pg_class c WHERE c.relnamespace::regnamespace::text LIKE 'pingpong%'
  AND c.relkind IN ('r', 'v', 'S', 'm', 'p', 'f') ORDER BY c.oid::regclass::text COLLATE "C";
-- the owner of the database may dump it, no more
SELECT string_agg(c.relname, ' ' ORDER BY c.relname COLLATE "C")
    FILTER (WHERE has_table_privilege('pg_database_owner', c.oid, 'SELECT')) AS database_owner_reads,
       bool_or(has_table_privilege('pg_database_owner', c.oid,
                                   'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')) AS writes,
       (SELECT bool_or(has_function_privilege('pg_database_owner', p.oid, 'EXECUTE')) FROM pg_proc p
        WHERE p.pronamespace::regnamespace::text LIKE 'pingpong%') AS executes
FROM pg_class c WHERE c.relnamespace::regnamespace::text LIKE 'pingpong%'
  AND c.relkind IN ('r', 'v', 'S', 'm', 'p', 'f');
-- the schemas; none but a superuser puts anything there
SELECT n.nspname,
       (SELECT string_agg(r, ' ') FROM unnest(ARRAY['pp_nobody', 'pp_monitor', 'pp_operator',
                                                    'pg_database_owner']) AS r
        WHERE has_schema_privilege(r, n.oid, 'USAGE')) AS usage,
       (SELECT string_agg(r, ' ') FROM unnest(ARRAY['pp_nobody', 'pp_monitor', 'pp_operator',
                                                    'pg_database_owner']) AS r
        WHERE has_schema_privilege(r, n.oid, 'CREATE')) AS creates
FROM pg_namespace n WHERE n.nspname LIKE 'pingpong%' ORDER BY n.nspname COLLATE "C";

-- all functions have a fixed search_path, above all those that run with the rights of their owner
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace::regnamespace::text LIKE 'pingpong%' AND l.lanname IN ('sql', 'plpgsql')
  AND NOT coalesce(p.proconfig::text ~ 'search_path=pg_catalog,( pingpong,( pingpong_check,)?)? pg_temp', false)
ORDER BY 1;
SELECT p.oid::regprocedure AS security_definer FROM pg_proc p
WHERE p.pronamespace::regnamespace::text LIKE 'pingpong%' AND p.prosecdef
ORDER BY p.oid::regprocedure::text COLLATE "C";

-- everything that a user may call says what it is for
SELECT p.oid::regprocedure AS without_comment FROM pg_proc p
WHERE p.pronamespace = 'pingpong'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.relname AS without_comment FROM pg_class c
WHERE c.relnamespace::regnamespace::text LIKE 'pingpong%' AND c.relkind IN ('r', 'v')
  AND obj_description(c.oid, 'pg_class') IS NULL;
SELECT c.oid::regclass AS view, string_agg(a.attname, ' ' ORDER BY a.attnum) AS columns_without_comment
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'pingpong'::regnamespace AND c.relkind = 'v' AND col_description(c.oid, a.attnum) IS NULL
GROUP BY c.oid ORDER BY c.oid::regclass::text COLLATE "C";

-- and so it is
SET ROLE pp_nobody;
SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, 'https://10.0.0.1:7070');
SELECT pingpong.switchover('dallas');
SELECT pingpong.rebuild('dallas');
SELECT pingpong.plan('dallas');
SELECT pingpong.report();
SELECT * FROM pingpong.run;
SELECT * FROM pingpong.progress;
RESET ROLE;
SET ROLE pp_monitor;
SELECT count(*) >= 0 AS readable FROM pingpong.run;
SELECT count(*) >= 0 AS readable FROM pingpong.progress;
SELECT count(*) >= 0 AS readable FROM pingpong.standby;
SELECT count(*) FROM pingpong.where_is_primary();
SELECT count(*) FROM pingpong.gate;
SELECT count(*) >= 0 AS readable FROM pingpong_check.preflight_answer;
SELECT pingpong.plan('nowhere');
SELECT pingpong.report(0);
SELECT pingpong_check.preflight_checks('dallas');
SELECT pingpong_internal.request('facts', 'dallas', '{}');
SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, 'https://10.0.0.1:7070');
SELECT pingpong.switchover('dallas');
SELECT pingpong.preflight('dallas');
INSERT INTO pingpong.node VALUES ('x');
DELETE FROM pingpong.run;
RESET ROLE;
SET ROLE pp_operator;
SELECT pingpong.add_node('dallas', '10.0.0.2', 5432, 'https://10.0.0.2:7070');
SELECT pingpong.switchover('nowhere');
SELECT pingpong.plan('nowhere');
SELECT count(*) > 0 AS checked FROM pingpong_check.preflight_checks('nowhere');
CREATE FUNCTION pingpong_check.check_mine(target text, options jsonb) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION pingpong_internal.mine() RETURNS boolean LANGUAGE sql AS 'SELECT true';
SELECT pingpong_internal.wake(1);
SELECT pingpong.seal();
DELETE FROM pingpong.run;
UPDATE pingpong.cluster SET epoch = 0;
UPDATE pingpong.runbook_step SET timeout = '0';
SET pingpong.bypass_gate = on;
SELECT pingpong.drop_node('dallas');
RESET ROLE;
DROP ROLE pp_nobody, pp_operator, pp_monitor;
