-- Many relations in one database: :relations tables, each with an index and a TOAST table, some with a sequence.

SET synchronous_commit = off;

CREATE SCHEMA wide;
SELECT set_config('contents.relations', :'relations', false);
DO $$
DECLARE
    n integer;
BEGIN
    FOR n IN 1 .. current_setting('contents.relations')::integer LOOP
        EXECUTE format('CREATE TABLE wide.r%s (i %s PRIMARY KEY, t text NOT NULL DEFAULT %L)', n,
                       CASE WHEN n % 10 = 0 THEN 'serial' ELSE 'integer' END, 'r' || n);
        IF n % 3 = 0 THEN
            EXECUTE format('INSERT INTO wide.r%s SELECT g FROM generate_series(1, %s) g', n, n % 50);
        END IF;
        -- a transaction holds a lock on each of them
        IF n % 100 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END
$$;
