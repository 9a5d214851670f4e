-- A warning, not an error: a dump must be restorable into any server and any database.
SELECT pingpong_internal.check_installation();
