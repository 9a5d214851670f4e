-- pingpong_operator may quiesce, resume and switch over. It is a role of the
-- cluster, so it may be there already, and stays when the extension goes.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pingpong_operator') THEN
        CREATE ROLE pingpong_operator NOLOGIN;
    END IF;
END
$$;
GRANT USAGE ON SCHEMA pingpong, pingpong_check, pingpong_internal TO pingpong_operator, pg_monitor;
