-- The write gate.

CREATE FUNCTION pingpong.quiesce(mode text DEFAULT 'hold', grace interval DEFAULT '5s',
                                 on_grace_end text DEFAULT 'cancel') RETURNS pg_lsn
AS 'MODULE_PATHNAME', 'pingpong_quiesce' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION pingpong.quiesce(text, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pingpong.quiesce(text, interval, text) TO pingpong_operator;
COMMENT ON FUNCTION pingpong.quiesce(text, interval, text) IS
    'close the write gate of this server until pingpong.resume() or the end of this session; returns the '
    'LSN after the last commit';

CREATE FUNCTION pingpong.seal() RETURNS pg_lsn
AS 'MODULE_PATHNAME', 'pingpong_seal' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION pingpong.seal() FROM PUBLIC;
COMMENT ON FUNCTION pingpong.seal() IS
    'make the hold of this session durable, by hand: no transaction can commit any more, also after a restart';

CREATE FUNCTION pingpong.resume(risk text DEFAULT NULL) RETURNS void
AS 'MODULE_PATHNAME', 'pingpong_resume' LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION pingpong.resume(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pingpong.resume(text) TO pingpong_operator;
COMMENT ON FUNCTION pingpong.resume(text) IS
    'open the write gate, whoever closed it; a seal is removed, and a guarded server opened, by a superuser only';

CREATE FUNCTION pingpong_internal.gate_status(OUT state text, OUT since timestamptz, OUT owner integer,
                                              OUT owner_name text, OUT reason text, OUT held integer,
                                              OUT deadline timestamptz, OUT seal_lsn pg_lsn, OUT run text,
                                              OUT epoch bigint, OUT target text)
AS 'MODULE_PATHNAME', 'pingpong_gate_status' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION pingpong_internal.gate_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pingpong_internal.gate_status() TO pingpong_operator, pg_monitor;
COMMENT ON FUNCTION pingpong_internal.gate_status() IS 'the row of the view pingpong.gate';

CREATE VIEW pingpong.gate AS
    SELECT state, since, owner, owner_name, reason, held, deadline, seal_lsn, run, epoch, target
    FROM pingpong_internal.gate_status();
REVOKE ALL ON pingpong.gate FROM PUBLIC;
GRANT SELECT ON pingpong.gate TO pingpong_operator, pg_monitor;
COMMENT ON VIEW pingpong.gate IS
    'the write gate of this server: its state, who closed it, how many statements it holds';
COMMENT ON COLUMN pingpong.gate.state IS
    'open, hold, read_only, guarded (see pingpong.guard), sealing or sealed';
COMMENT ON COLUMN pingpong.gate.since IS 'when it was closed';
COMMENT ON COLUMN pingpong.gate.owner IS 'process that closed it; the gate opens when it ends, unless it is sealed';
COMMENT ON COLUMN pingpong.gate.owner_name IS 'application_name of the owner, or worker';
COMMENT ON COLUMN pingpong.gate.reason IS 'what it was closed for';
COMMENT ON COLUMN pingpong.gate.held IS 'statements that wait at the gate now';
COMMENT ON COLUMN pingpong.gate.deadline IS
    'when it opens by itself, unless it is sealed by then; null: not by time';
COMMENT ON COLUMN pingpong.gate.seal_lsn IS 'nothing that a client wrote comes after this position';
COMMENT ON COLUMN pingpong.gate.run IS
    'run that sealed it, or manual, or guard: see pingpong.guard';
COMMENT ON COLUMN pingpong.gate.epoch IS 'epoch of the run that sealed it';
COMMENT ON COLUMN pingpong.gate.target IS 'node that the run moves the primary to';

CREATE FUNCTION pingpong.wait_lag_zero(INOUT node text DEFAULT NULL, IN timeout interval DEFAULT '10s',
                                       INOUT lsn pg_lsn DEFAULT NULL, OUT waited_ms double precision)
    RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pingpong_wait_lag_zero' LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION pingpong.wait_lag_zero(text, interval, pg_lsn) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pingpong.wait_lag_zero(text, interval, pg_lsn) TO pingpong_operator, pg_monitor;
COMMENT ON FUNCTION pingpong.wait_lag_zero(text, interval, pg_lsn) IS
    'wait until a standby (null: each that is connected) has replayed the seal LSN, or what is flushed now';

CREATE FUNCTION pingpong_internal.check_database() RETURNS void
AS 'MODULE_PATHNAME', 'pingpong_check_database' LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
GRANT EXECUTE ON FUNCTION pingpong_internal.check_database() TO pg_monitor;
COMMENT ON FUNCTION pingpong_internal.check_database() IS
    'raises an error (55000) unless the module is loaded and this is the database of pingpong.database';

CREATE FUNCTION pingpong_internal.check_installation() RETURNS void
AS 'MODULE_PATHNAME', 'pingpong_check_installation' LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION pingpong_internal.check_installation() IS
    'warns if the module is not loaded, or if this is not the database of pingpong.database; CREATE EXTENSION, '
    'add_node() and their like call it';
