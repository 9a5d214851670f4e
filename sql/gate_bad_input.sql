-- Wrong arguments and wrong moments: a clear error, and nothing changes.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_pingpong;
RESET client_min_messages;
CREATE TABLE gate_t (a int);

SELECT pingpong.quiesce('shut');
SELECT pingpong.quiesce(on_grace_end => 'kill');
SELECT pingpong.quiesce(grace => '-1s');
SELECT pingpong.quiesce(NULL);
SELECT pingpong.seal();
SELECT pingpong.resume();
SELECT * FROM pingpong.wait_lag_zero('nowhere', '20ms', '0/1');
SELECT * FROM pingpong.wait_lag_zero(timeout => '20ms');
SELECT * FROM pingpong.wait_lag_zero(timeout => '-20ms');
SELECT * FROM pingpong.wait_lag_zero(timeout => NULL);

-- whose own transaction writes cannot wait for writers to end
BEGIN;
INSERT INTO gate_t VALUES (1);
SELECT pingpong.quiesce();
ROLLBACK;

SELECT state, held FROM pingpong.gate;

-- closed twice by the same session
SELECT pingpong.quiesce() > '0/0' AS closed;
\set VERBOSITY terse
SELECT pingpong.quiesce();
\set VERBOSITY default
SELECT pingpong.resume();
SELECT state, owner, run FROM pingpong.gate;
DROP TABLE gate_t;
