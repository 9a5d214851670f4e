-- pingpong, which the extension's control file makes, has what a user calls and reads. The others serve it.

CREATE SCHEMA pingpong_check;
COMMENT ON SCHEMA pingpong_check IS
    'the checks of preflight, and those of a site: functions check_NAME(target text, options jsonb)';

CREATE SCHEMA pingpong_internal;
COMMENT ON SCHEMA pingpong_internal IS
    'what the functions of pingpong, the worker and the agents call among themselves; it may change';
