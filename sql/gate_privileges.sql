-- Who may do what to the gate: no role without a grant; seals need a superuser.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_pingpong;
CREATE ROLE gate_nobody;
CREATE ROLE gate_operator IN ROLE pingpong_operator;
CREATE ROLE gate_monitor IN ROLE pg_monitor;
RESET client_min_messages;

SET ROLE gate_nobody;
SELECT pingpong.quiesce();
SELECT pingpong.resume();
SELECT pingpong.seal();
SELECT * FROM pingpong.wait_lag_zero();
SELECT * FROM pingpong.gate;
SET pingpong.bypass_gate = on;
SET pingpong.hold_timeout = '1h';
RESET ROLE;

SET ROLE gate_monitor;
SELECT state FROM pingpong.gate;
SELECT pingpong.quiesce();
RESET ROLE;

SET ROLE gate_operator;
SELECT state FROM pingpong.gate;
SELECT pingpong.quiesce() > '0/0' AS closed;
SELECT pingpong.seal();
SELECT pingpong.resume();
RESET ROLE;

-- an operator cannot touch a seal
SELECT pingpong.quiesce() > '0/0' AS closed;
SELECT pingpong.seal() > '0/0' AS sealed;
SET ROLE gate_operator;
SELECT pingpong.resume();
RESET ROLE;
SELECT pingpong.resume();

-- nothing is open to everybody by mistake
SELECT p.oid::regprocedure FROM pg_proc p
WHERE pronamespace::regnamespace::text LIKE 'pingpong%'
  AND has_function_privilege('gate_nobody', oid, 'EXECUTE');
DROP ROLE gate_nobody, gate_operator, gate_monitor;
