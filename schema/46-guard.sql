-- The guard at boot: what the agents of the other nodes said when this server was started as a primary.

CREATE FUNCTION pingpong_internal.guard_lines(OUT node text, OUT kind text, OUT says text, OUT detail text,
                                              OUT asked_at timestamptz) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pingpong_guard_lines' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 4;
REVOKE ALL ON FUNCTION pingpong_internal.guard_lines() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pingpong_internal.guard_lines() TO pingpong_operator, pg_monitor;
COMMENT ON FUNCTION pingpong_internal.guard_lines() IS 'the rows of the view pingpong.guard';

CREATE FUNCTION pingpong_internal.guard_state(OUT state text, OUT since timestamptz, OUT ended_at timestamptz,
                                              OUT sentence text)
AS 'MODULE_PATHNAME', 'pingpong_guard_state' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION pingpong_internal.guard_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pingpong_internal.guard_state() TO pingpong_operator, pg_monitor;
COMMENT ON FUNCTION pingpong_internal.guard_state() IS
    'how the guard of the last start ended: none, asking, closed, proved, majority, unanswered, by hand or replaced';

CREATE VIEW pingpong.guard AS
    SELECT s.state, s.since, s.ended_at, s.sentence, l.node, l.kind, l.says, l.detail, l.asked_at
    FROM pingpong_internal.guard_state() s LEFT JOIN pingpong_internal.guard_lines() l ON true;
REVOKE ALL ON pingpong.guard FROM PUBLIC;
GRANT SELECT ON pingpong.guard TO pingpong_operator, pg_monitor;
COMMENT ON VIEW pingpong.guard IS
    'whether this server, when it was started as a primary, was known not to be replaced; a row for each agent asked';
COMMENT ON COLUMN pingpong.guard.state IS
    'none: it was not asked, since it started as a standby or has no other nodes; asking; closed: the time is up; '
    'proved: open; majority, unanswered: open without the word of all, as pingpong.guard_unanswered says; by hand: '
    'open; replaced: sealed';
COMMENT ON COLUMN pingpong.guard.since IS 'since when it was guarded; null: it was not';
COMMENT ON COLUMN pingpong.guard.ended_at IS 'until when; null: it still is';
COMMENT ON COLUMN pingpong.guard.sentence IS 'what is waited for, or how it ended';
COMMENT ON COLUMN pingpong.guard.node IS
    'whose agent was asked; etcd:CLUSTER: the arbiter, of which agents tell; null: nobody was';
COMMENT ON COLUMN pingpong.guard.kind IS
    'postgres: another server; router; self: the agent beside this server. The last two know of moves by epochs only';
COMMENT ON COLUMN pingpong.guard.says IS
    'nothing newer; silent; unsure: it cannot know; second primary; newer epoch; newer timeline';
COMMENT ON COLUMN pingpong.guard.detail IS 'what it told, or why not';
COMMENT ON COLUMN pingpong.guard.asked_at IS 'when it was asked last';
