-- A seal by hand: no commit, new sessions are read-only by default, until a superuser removes it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_pingpong;
RESET client_min_messages;
CREATE TABLE gate_t (a int);
CREATE SEQUENCE gate_s;

SELECT pingpong.quiesce() > '0/0' AS closed;
SELECT pingpong.seal() > '0/0' AS sealed;
SELECT state, deadline IS NULL AS for_ever, seal_lsn > '0/0' AS has_lsn, run, epoch, target FROM pingpong.gate;
SELECT count(*) FROM pg_ls_dir('.') AS file WHERE file LIKE 'pingpong.seal%';

-- the owner is refused, not held; neither the bypass nor being superuser helps
INSERT INTO gate_t VALUES (1);
SET pingpong.bypass_gate = on;
INSERT INTO gate_t VALUES (1);
SELECT nextval('gate_s');
RESET pingpong.bypass_gate;

-- the seal outlives its owner
\c -
SHOW default_transaction_read_only;
SELECT state FROM pingpong.gate;
SET pingpong.bypass_gate = on;
INSERT INTO gate_t VALUES (1);
RESET pingpong.bypass_gate;
SELECT count(*) FROM gate_t;

-- unsealed: this session may write, although it began as read-only
SELECT pingpong.resume();
INSERT INTO gate_t VALUES (1);
SHOW default_transaction_read_only;
SELECT state FROM pingpong.gate;
SELECT count(*) FROM pg_ls_dir('.') AS file WHERE file LIKE 'pingpong.seal%';
DROP TABLE gate_t;
DROP SEQUENCE gate_s;
