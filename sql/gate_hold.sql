-- Mode hold: whatever could write waits, however it is said, and goes on without an error once the gate is open;
-- plain reads go on. The writer is another session, over dblink.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_pingpong;
CREATE EXTENSION dblink;
CREATE TABLE gate_t (a int);
INSERT INTO gate_t VALUES (0);
CREATE SEQUENCE gate_s;
CREATE FUNCTION gate_write() RETURNS int LANGUAGE sql AS 'INSERT INTO gate_t VALUES (9) RETURNING a';
CREATE FUNCTION gate_read() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM gate_t); END';
CREATE FUNCTION gate_expr() RETURNS int LANGUAGE plpgsql AS
  'DECLARE x int; BEGIN x := nextval(''gate_s''); RETURN x; END';
CREATE PROCEDURE gate_call() LANGUAGE plpgsql AS 'BEGIN INSERT INTO gate_t VALUES (9); END';

CREATE FUNCTION gate_finish(connection text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE said text;
BEGIN
  FOR i IN 1..1000 LOOP
    EXIT WHEN dblink_is_busy(connection) = 0;
    PERFORM pg_sleep(0.01);
  END LOOP;
  PERFORM * FROM dblink_get_result(connection, false) AS t (x text);
  said := regexp_replace(dblink_error_message(connection), '\n.*', '');
  LOOP
    PERFORM * FROM dblink_get_result(connection, false) AS t (x text);
    EXIT WHEN NOT FOUND;
  END LOOP;
  RETURN said;
END $$;

-- Close, send the statement, see whether it is held, open, see what became of it.
CREATE FUNCTION gate_try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE at_gate boolean := false;
BEGIN
  PERFORM pingpong.quiesce();
  PERFORM dblink_send_query('w', statement);
  FOR i IN 1..1000 LOOP
    SELECT held = 1 INTO at_gate FROM pingpong.gate;
    EXIT WHEN at_gate OR dblink_is_busy('w') = 0;
    PERFORM pg_sleep(0.005);
  END LOOP;
  PERFORM pingpong.resume();
  RETURN CASE WHEN at_gate THEN 'held, then ' ELSE 'went on, ' END || gate_finish('w');
END $$;

CREATE FUNCTION gate_drained() RETURNS text LANGUAGE plpgsql AS $$
DECLARE now text;
BEGIN
  PERFORM pingpong.quiesce(grace => '60s');
  SELECT state INTO now FROM pingpong.gate;
  PERFORM pingpong.resume();
  RETURN now;
END $$;

SELECT dblink_connect('w', 'dbname=' || current_database());
SELECT dblink_exec('w', 'PREPARE ins AS INSERT INTO gate_t VALUES (1)');
SELECT dblink_exec('w', 'SET client_min_messages = error');
SET client_min_messages = error;

SELECT statement, gate_try(statement) FROM unnest(ARRAY[
  'INSERT INTO gate_t VALUES (1)',
  'UPDATE gate_t SET a = 1',
  'DELETE FROM gate_t WHERE a = 7',
  'MERGE INTO gate_t USING (SELECT 1) AS s ON false WHEN NOT MATCHED THEN INSERT VALUES (1)',
  'WITH w AS (INSERT INTO gate_t VALUES (1) RETURNING a) SELECT a::text FROM w',
  'SELECT a::text FROM gate_t LIMIT 1 FOR UPDATE',
  'SELECT a::text FROM gate_t LIMIT 1 FOR KEY SHARE',
  'COPY gate_t FROM PROGRAM ''echo 1''',
  'CREATE TEMP TABLE gate_u (a int)',
  'CREATE TEMP TABLE gate_v AS SELECT 1',
  'SELECT 1 AS a INTO TEMP gate_w',
  'EXPLAIN ANALYZE INSERT INTO gate_t VALUES (1)',
  'EXPLAIN ANALYZE CREATE TEMP TABLE gate_x AS SELECT 1',
  'ALTER TABLE gate_t ADD b int',
  'CREATE INDEX ON gate_t (a)',
  'VACUUM gate_t',
  'ANALYZE gate_t',
  'REINDEX TABLE gate_t',
  'BEGIN; LOCK TABLE gate_t; COMMIT',
  'GRANT SELECT ON gate_t TO public',
  'SELECT nextval(''gate_s'')::text',
  'SELECT setval(''gate_s'', 7)::text',
  'SELECT lo_create(4711)::text',
  'SELECT lo_put(4711, 0, ''x'')::text',
  'SELECT lo_unlink(4711)::text',
  'EXECUTE ins',
  'DO $x$ BEGIN INSERT INTO gate_t VALUES (1); END $x$',
  'CALL gate_call()',
  'SELECT gate_write()::text',
  'SELECT gate_read()::text',
  'SELECT gate_expr()::text',
  'SELECT txid_current()::text',
  'SELECT pg_current_xact_id()::text',
  'SELECT pg_logical_emit_message(true, ''x'', ''y'')::text',
  'SELECT pg_logical_emit_message(false, ''x'', ''y'')::text',
  'NOTIFY gate_n',
  'SELECT pg_notify(''gate_n'', '''')::text',
  'SET default_transaction_read_only = off; INSERT INTO gate_t VALUES (1)',
  'SELECT dblink_exec(''dbname='' || current_database(), ''INSERT INTO gate_t VALUES (1)'')',
  'BEGIN; SELECT a::text FROM gate_t; INSERT INTO gate_t VALUES (8); PREPARE TRANSACTION ''gate_p''',
  'COMMIT PREPARED ''gate_p''',
  'BEGIN; INSERT INTO gate_t VALUES (8); PREPARE TRANSACTION ''gate_p''',
  'ROLLBACK PREPARED ''gate_p'''
]) WITH ORDINALITY AS s (statement, n) ORDER BY n;

SELECT statement, gate_try(statement) FROM unnest(ARRAY[
  'SELECT a::text FROM gate_t',
  'SELECT state FROM pingpong.gate',
  'SELECT pg_sleep(0)::text',
  'SELECT count(*)::text FROM pg_stat_activity',
  'SELECT count(*)::text FROM pg_locks',
  'SELECT pg_database_size(current_database())::text',
  'EXPLAIN INSERT INTO gate_t VALUES (1)',
  'BEGIN; DECLARE c CURSOR FOR SELECT a::text FROM gate_t; FETCH c; SAVEPOINT s; ROLLBACK TO s; COMMIT',
  'SET work_mem = ''5MB''',
  'SHOW work_mem',
  'LISTEN gate_n',
  'UNLISTEN *',
  'DISCARD PLANS',
  'CHECKPOINT',
  'SET pingpong.bypass_gate = on; INSERT INTO gate_t VALUES (77)',
  'RESET pingpong.bypass_gate'
]) WITH ORDINALITY AS s (statement, n) ORDER BY n;

-- a cancelled statement was held, and wrote nothing
SELECT pingpong.quiesce() > '0/0' AS closed;
SELECT dblink_send_query('w', 'INSERT INTO gate_t VALUES (-1)');
DO $$ BEGIN WHILE (SELECT held = 0 FROM pingpong.gate) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT dblink_cancel_query('w');
SELECT gate_finish('w');
SELECT dblink_exec('w', 'SET statement_timeout = 50');
SELECT dblink_send_query('w', 'INSERT INTO gate_t VALUES (-1)');
SELECT gate_finish('w');
SELECT state, held FROM pingpong.gate;
SELECT pingpong.resume();

-- a transaction that writes already goes on and commits; then the drain is over
SELECT dblink_connect('o', 'dbname=' || current_database());
BEGIN;
INSERT INTO gate_t VALUES (42);
SELECT dblink_send_query('o', 'SELECT gate_drained()');
DO $$ BEGIN WHILE (SELECT state <> 'hold' FROM pingpong.gate) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
INSERT INTO gate_t VALUES (43);
SELECT dblink_is_busy('o');
COMMIT;
SELECT x FROM dblink_get_result('o') AS t (x text);
SELECT a, count(*) FROM gate_t WHERE a IN (-1, 42, 43, 77) GROUP BY a ORDER BY a;

SELECT dblink_disconnect('o'), dblink_disconnect('w');
DROP TABLE gate_t;
DROP SEQUENCE gate_s;
DROP FUNCTION gate_write(), gate_read(), gate_expr(), gate_drained(), gate_try(text), gate_finish(text);
DROP PROCEDURE gate_call();
DROP EXTENSION dblink;
