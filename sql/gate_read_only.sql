-- Mode read_only: writes are refused with 25006, whatever their form; reading and temporary tables go on.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_pingpong;
CREATE EXTENSION dblink;
RESET client_min_messages;
CREATE TABLE gate_t (a int);
CREATE SEQUENCE gate_s;
CREATE FUNCTION gate_write() RETURNS void LANGUAGE plpgsql AS 'BEGIN INSERT INTO gate_t VALUES (1); END';
PREPARE gate_insert AS INSERT INTO gate_t VALUES (1);
BEGIN;
INSERT INTO gate_t VALUES (0);
PREPARE TRANSACTION 'gate_p';

SELECT dblink_connect('owner', 'application_name=owner dbname=' || current_database());
SELECT closed FROM dblink('owner', 'SELECT pingpong.quiesce(''read_only'') > ''0/0''') AS x (closed bool);
SELECT state, owner_name, held FROM pingpong.gate;

-- once in full
DO $$
DECLARE d text; h text;
BEGIN
  INSERT INTO gate_t VALUES (1);
EXCEPTION WHEN read_only_sql_transaction THEN
  GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
  RAISE NOTICE '% / % / % / %', sqlstate, sqlerrm, regexp_replace(d, '\d.*\)(.*) at .*', 'N (owner)\1'), h;
END $$;

\set VERBOSITY terse
INSERT INTO gate_t VALUES (1);
UPDATE gate_t SET a = 2;
DELETE FROM gate_t;
MERGE INTO gate_t USING (SELECT 1) AS s ON false WHEN NOT MATCHED THEN INSERT VALUES (1);
WITH w AS (DELETE FROM gate_t RETURNING 1) SELECT * FROM w;
SELECT * FROM gate_t FOR UPDATE;
SELECT * FROM gate_t FOR KEY SHARE;
TRUNCATE gate_t;
COPY gate_t FROM PROGRAM 'echo 1';
CREATE TABLE gate_u (a int);
CREATE TABLE gate_u AS SELECT 1;
SELECT 1 INTO gate_u;
EXPLAIN (ANALYZE, COSTS OFF) CREATE TABLE gate_u AS SELECT 1;
ALTER TABLE gate_t ADD b int;
DROP TABLE gate_t;
GRANT SELECT ON gate_t TO public;
COMMENT ON TABLE gate_t IS 'x';
CREATE ROLE gate_r;
CREATE DATABASE gate_db;
VACUUM gate_t;
REINDEX TABLE gate_t;
LOCK TABLE gate_t;
SELECT nextval('gate_s');
SELECT setval('gate_s', 7);
SELECT lo_create(0);
SELECT lo_from_bytea(0, 'x');
SELECT txid_current();
SELECT pg_current_xact_id();
SELECT pg_logical_emit_message(true, 'x', 'y');
SELECT pg_logical_emit_message(false, 'x', 'y');
NOTIFY gate_n;
SELECT pg_notify('gate_n', '');
COMMIT PREPARED 'gate_p';
ROLLBACK PREPARED 'gate_p';
EXECUTE gate_insert;
SELECT gate_write();
DO $$ BEGIN INSERT INTO gate_t VALUES (1); END $$;
SET transaction_read_only = off; INSERT INTO gate_t VALUES (1);
BEGIN READ WRITE; INSERT INTO gate_t VALUES (1); ROLLBACK;
BEGIN; SAVEPOINT s; SET TRANSACTION READ WRITE; INSERT INTO gate_t VALUES (1); ROLLBACK;
SELECT dblink_exec('dbname=' || current_database(), 'INSERT INTO gate_t VALUES (1)');

-- what reads goes on
SELECT count(*) FROM gate_t;
SELECT clock_timestamp() > 'epoch', pg_sleep(0), random() >= 0;
EXPLAIN (COSTS OFF) INSERT INTO gate_t VALUES (1);
COPY (SELECT 1) TO STDOUT;
BEGIN ISOLATION LEVEL REPEATABLE READ; DECLARE c CURSOR FOR SELECT 1; FETCH c; COMMIT;
LISTEN gate_n; UNLISTEN gate_n;

-- the bypass is a superuser's
SET pingpong.bypass_gate = on;
INSERT INTO gate_t VALUES (2);
RESET pingpong.bypass_gate;

-- open again
SELECT dblink_disconnect('owner');
DO $$ BEGIN
  FOR i IN 1..200 LOOP
    EXIT WHEN (SELECT state = 'open' FROM pingpong.gate);
    PERFORM pg_sleep(0.05);
  END LOOP;
END $$;
INSERT INTO gate_t VALUES (3);
SELECT a FROM gate_t ORDER BY a;
ROLLBACK PREPARED 'gate_p';
DROP TABLE gate_t;
DROP SEQUENCE gate_s;
DROP FUNCTION gate_write();
DROP EXTENSION dblink;
