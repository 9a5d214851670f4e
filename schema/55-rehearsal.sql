-- What a rehearsal of an upgrade has told: before the checks, which look at it.

CREATE VIEW pingpong.rehearsal AS
    SELECT r.id AS run, r.target AS node, (r.options ->> 'to_version')::integer AS to_version,
           coalesce(r.options ->> 'mode', 'copy') AS mode, r.started_at, r.ended_at, r.state,
           (up.detail ->> 'window_ms')::double precision AS window_ms,
           (back.detail ->> 'rollback_ms')::double precision AS rollback_ms,
           coalesce(r.sentence ~ '^step rehearse_(run|back) .* failed: on the clone: ', false) AS found,
           coalesce(substring(r.sentence FROM 'on the clone: (.*)$'), back.message, r.sentence) AS message,
           clone.detail -> 'databases' AS databases, up.detail -> 'steps' AS steps
    FROM pingpong.run r
         LEFT JOIN pingpong.step clone ON clone.run = r.id AND clone.action = 'rehearse_clone'
         LEFT JOIN pingpong.step up ON up.run = r.id AND up.action = 'rehearse_run'
         LEFT JOIN pingpong.step back ON back.run = r.id AND back.action = 'rehearse_back'
    WHERE r.runbook = 'rehearse';
COMMENT ON VIEW pingpong.rehearsal IS 'the rehearsals of upgrades, and what they have told';
COMMENT ON COLUMN pingpong.rehearsal.window_ms IS 'how long clients would have waited, in ms';
COMMENT ON COLUMN pingpong.rehearsal.rollback_ms IS
    'from the order of a rollback until the old server took writes, in ms; null: it was not tried';
COMMENT ON COLUMN pingpong.rehearsal.found IS
    'it has found what stands against the upgrade, or its rollback: "message" says what';
COMMENT ON COLUMN pingpong.rehearsal.databases IS 'how many relations each had when it was copied';
COMMENT ON COLUMN pingpong.rehearsal.steps IS 'how long each step of the upgrade took, in ms';
COMMENT ON COLUMN pingpong.rehearsal.run IS 'number of the run';
COMMENT ON COLUMN pingpong.rehearsal.node IS 'which was rehearsed';
COMMENT ON COLUMN pingpong.rehearsal.to_version IS 'the major version to which';
COMMENT ON COLUMN pingpong.rehearsal.mode IS 'copy or link';
COMMENT ON COLUMN pingpong.rehearsal.started_at IS 'when it began';
COMMENT ON COLUMN pingpong.rehearsal.ended_at IS 'when it ended; null: it has not';
COMMENT ON COLUMN pingpong.rehearsal.state IS 'of the run';
COMMENT ON COLUMN pingpong.rehearsal.message IS 'how it ended, or what was found';
