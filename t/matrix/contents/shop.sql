-- A database with some of each: what a dump tells of it, and what its tables hold, is compared after the upgrade.
-- :host and :port are those of its own server, for the foreign table.

SET synchronous_commit = off;
SET client_min_messages = warning;
SET search_path = public;

CREATE EXTENSION pgcrypto;
CREATE EXTENSION hstore;
CREATE EXTENSION btree_gist;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION postgres_fdw;

CREATE SCHEMA sales AUTHORIZATION manager;
CREATE SCHEMA archive;
CREATE SCHEMA "Zürich";
COMMENT ON SCHEMA sales IS 'who bought what';
GRANT USAGE ON SCHEMA sales TO clerk, auditor;
ALTER DEFAULT PRIVILEGES FOR ROLE manager IN SCHEMA sales GRANT SELECT ON TABLES TO auditor;
ALTER DEFAULT PRIVILEGES FOR ROLE manager GRANT EXECUTE ON FUNCTIONS TO clerk;
ALTER DEFAULT PRIVILEGES FOR ROLE manager REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- ---- types ----

CREATE TYPE sales.mood AS ENUM ('sad', 'happy');
ALTER TYPE sales.mood ADD VALUE 'ok' BEFORE 'happy';
CREATE DOMAIN sales.price AS numeric(12, 2) DEFAULT 0 CONSTRAINT not_negative CHECK (VALUE >= 0) NOT NULL;
CREATE TYPE sales.address AS (street text, city text, zip char(5));
CREATE TYPE sales.temperature AS RANGE (subtype = float8, multirange_type_name = sales.temperatures);
CREATE COLLATION sales.phonebook (provider = icu, locale = 'de-u-co-phonebk');
CREATE COLLATION sales.same_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
COMMENT ON TYPE sales.mood IS 'of a customer';

-- ---- functions ----

CREATE FUNCTION sales.tax(amount numeric, rate numeric DEFAULT 0.19) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT round(amount * rate, 2);
END;
CREATE FUNCTION sales.longer(text, text) RETURNS text LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT CASE WHEN length($1) >= length($2) THEN $1 ELSE $2 END $$;
CREATE AGGREGATE sales.longest(text) (SFUNC = sales.longer, STYPE = text, INITCOND = '');
CREATE OPERATOR sales.@> (LEFTARG = text, RIGHTARG = text, FUNCTION = sales.longer);
CREATE FUNCTION sales.mood_number(sales.mood) RETURNS integer LANGUAGE sql IMMUTABLE
    AS $$ SELECT CASE $1 WHEN 'sad' THEN 0 WHEN 'ok' THEN 1 ELSE 2 END $$;
CREATE CAST (sales.mood AS integer) WITH FUNCTION sales.mood_number(sales.mood);
CREATE PROCEDURE sales.nothing() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
CREATE TEXT SEARCH CONFIGURATION sales.words (COPY = pg_catalog.german);

-- ---- tables ----

CREATE TABLE sales.customer (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 100 INCREMENT BY 5) PRIMARY KEY,
    name text NOT NULL COLLATE sales.phonebook,
    email text COLLATE sales.same_case UNIQUE,
    mood sales.mood NOT NULL DEFAULT 'ok',
    home sales.address,
    secret bytea,
    extra public.hstore,
    marked uuid NOT NULL DEFAULT gen_random_uuid(),
    gone_later integer,
    lower_name text GENERATED ALWAYS AS (lower(name COLLATE "C")) STORED,
    CONSTRAINT has_a_name CHECK (name <> '')
);
INSERT INTO sales.customer (name, email, mood, home, secret, extra, gone_later)
SELECT (ARRAY['Müller', 'Mueller', 'Muller', 'Ärger', 'Zander', 'Özil'])[1 + i % 6] || ' ' || i,
       'C' || i || '@example.org',
       (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::sales.mood,
       ROW('Main St ' || i, 'Chicago', '60601'::char(5))::sales.address,
       public.pgp_sym_encrypt('card ' || i, 'key'), public.hstore(ARRAY['n', i::text, 'parity', (i % 2)::text]), i
FROM generate_series(1, 500) i;
-- a column that is only marked as dropped; a value that is in no row; columns of a parent in another order
ALTER TABLE sales.customer DROP COLUMN gone_later;
ALTER TABLE sales.customer ADD COLUMN since date NOT NULL DEFAULT '2020-02-29';
ALTER TABLE sales.customer ALTER COLUMN name SET STATISTICS 350;
ALTER TABLE sales.customer ALTER COLUMN mood SET (n_distinct = -0.25);
ALTER TABLE sales.customer ALTER COLUMN secret SET STORAGE EXTERNAL;
ALTER TABLE sales.customer REPLICA IDENTITY USING INDEX customer_pkey;
COMMENT ON TABLE sales.customer IS E'two\nlines, "quotes", a \\ and ü';
COMMENT ON CONSTRAINT has_a_name ON sales.customer IS 'it must';

CREATE TABLE sales.bill (
    id integer NOT NULL,
    customer bigint NOT NULL REFERENCES sales.customer (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    made date NOT NULL,
    amount sales.price,
    with_tax numeric GENERATED ALWAYS AS (round(amount * 1.19, 2)) STORED,
    PRIMARY KEY (made, id)
) PARTITION BY RANGE (made);
CREATE SEQUENCE sales.bill_number AS integer MINVALUE 10 START 1000 INCREMENT 3 CACHE 5 OWNED BY sales.bill.id;
ALTER TABLE sales.bill ALTER COLUMN id SET DEFAULT nextval('sales.bill_number');
CREATE TABLE sales.bill_2023 PARTITION OF sales.bill FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE sales.bill_2024 PARTITION OF sales.bill FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')
    PARTITION BY HASH (id);
CREATE TABLE sales.bill_2024_0 PARTITION OF sales.bill_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE sales.bill_2024_1 PARTITION OF sales.bill_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE sales.bill_else PARTITION OF sales.bill DEFAULT;
CREATE TABLE archive.bill_2022 (made date NOT NULL, id integer NOT NULL, junk text, customer bigint NOT NULL,
    amount sales.price, with_tax numeric GENERATED ALWAYS AS (round(amount * 1.19, 2)) STORED);
ALTER TABLE archive.bill_2022 DROP COLUMN junk;
ALTER TABLE sales.bill ATTACH PARTITION archive.bill_2022 FOR VALUES FROM ('2022-01-01') TO ('2023-01-01');
CREATE INDEX bill_customer ON sales.bill (customer) INCLUDE (amount);
INSERT INTO sales.bill (customer, made, amount)
SELECT 100 + 5 * (i % 500), date '2022-01-01' + i, i * 1.1 FROM generate_series(1, 1400) i;

CREATE TABLE sales.room_use (room integer, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&));
INSERT INTO sales.room_use VALUES (1, '[2026-01-01 10:00Z,2026-01-01 11:00Z)'), (1, '[2026-01-01 11:00Z,)');
CREATE TABLE archive.animal (id serial PRIMARY KEY, name text);
CREATE TABLE archive.dog (bark text) INHERITS (archive.animal);
INSERT INTO archive.animal (name) VALUES ('cat');
INSERT INTO archive.dog (name, bark) VALUES ('rex', 'wuff');
ALTER TABLE archive.animal ADD CONSTRAINT short CHECK (length(name) < 10) NOT VALID;

CREATE UNLOGGED TABLE archive.scratch (i integer PRIMARY KEY, t text);
INSERT INTO archive.scratch SELECT i, 'not logged' FROM generate_series(1, 50) i;

CREATE TABLE "Zürich"."all types" (
    "the id" integer PRIMARY KEY, b boolean, j jsonb, x xml, n inet, m macaddr, bits bit varying(20), money money,
    ts timestamptz, i interval, p point, a integer[][], v tsvector, r sales.temperature, mr sales.temperatures,
    f float8, q numeric, c "char", d sales.price, long text COMPRESSION pglz
);
INSERT INTO "Zürich"."all types"
SELECT i, i % 2 = 0, jsonb_build_object('i', i, 'ü', NULL), xmlelement(name e, i), '10.0.0.0/8'::inet + i,
       '08:00:2b:01:02:03', B'1010', i::numeric::money, '2026-01-01 00:00Z'::timestamptz + i * interval '1 hour',
       i * interval '1 day 3 seconds', point(i, 1.0 / i), ARRAY[[i, 2], [3, NULL]],
       to_tsvector('german', 'viele Häuser'),
       sales.temperature(i, i + 0.5), sales.temperatures(sales.temperature(i, i + 1)), 1e-300 / i,
       'NaN'::numeric, 'x', i, (SELECT string_agg(md5(g::text), '') FROM generate_series(i, i + 400) g)
FROM generate_series(1, 60) i;
CREATE TABLE archive.squeezed (i integer, long text);
INSERT INTO archive.squeezed SELECT i, repeat(md5(i::text), 3000) FROM generate_series(1, 20) i;
ALTER TABLE archive.squeezed SET (autovacuum_enabled = off, fillfactor = 70, toast.autovacuum_enabled = off);
DELETE FROM archive.squeezed WHERE i % 4 = 0;
CREATE TABLE archive.empty ();

-- ---- indexes and statistics ----

CREATE INDEX customer_words ON sales.customer USING gin (to_tsvector('german', name));
CREATE INDEX customer_like ON sales.customer USING gin (name public.gin_trgm_ops);
CREATE INDEX customer_extra ON sales.customer USING gist (extra);
CREATE INDEX customer_since ON sales.customer USING brin (since) WITH (pages_per_range = 16);
CREATE INDEX customer_mark ON sales.customer USING hash (marked);
CREATE UNIQUE INDEX customer_sad ON sales.customer (upper(name COLLATE "C") DESC NULLS LAST) WHERE mood = 'sad';
ALTER INDEX sales.customer_sad ALTER COLUMN 1 SET STATISTICS 222;
ALTER TABLE sales.customer CLUSTER ON customer_pkey;
CREATE STATISTICS sales.together (dependencies, mcv) ON name, mood FROM sales.customer;
CREATE STATISTICS sales.of_expression ON (date_trunc('month', made)), customer FROM sales.bill;
ALTER STATISTICS sales.together SET STATISTICS 77;

-- ---- views, rules, triggers, row security ----

CREATE VIEW sales.names WITH (security_barrier) AS SELECT id, name FROM sales.customer WHERE mood <> 'sad';
CREATE RULE renamed AS ON UPDATE TO sales.names DO INSTEAD
    UPDATE sales.customer SET name = NEW.name WHERE id = OLD.id;
CREATE RULE not_gone AS ON DELETE TO sales.names DO INSTEAD NOTHING;
CREATE VIEW sales.my_bills WITH (security_invoker) AS SELECT * FROM sales.bill;
CREATE VIEW archive.numbers AS
    WITH RECURSIVE up (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM up WHERE n < 5) SELECT n FROM up;
CREATE MATERIALIZED VIEW sales.by_mood AS
    SELECT mood, count(*) AS customers, sales.longest(name) AS longest FROM sales.customer GROUP BY mood;
CREATE UNIQUE INDEX ON sales.by_mood (mood);
CREATE MATERIALIZED VIEW sales.not_yet AS SELECT 1 AS one WITH NO DATA;

CREATE TABLE archive.log (n integer GENERATED BY DEFAULT AS IDENTITY, what text NOT NULL);
CREATE FUNCTION archive.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive AS $$
BEGIN
    INSERT INTO log (what) VALUES (TG_OP || ' ' || TG_TABLE_NAME);
    RETURN NULL;
END
$$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE OF name ON sales.customer FOR EACH ROW EXECUTE FUNCTION archive.note();
CREATE TRIGGER off_by_default AFTER DELETE ON sales.customer FOR EACH STATEMENT EXECUTE FUNCTION archive.note();
ALTER TABLE sales.customer DISABLE TRIGGER off_by_default;
CREATE CONSTRAINT TRIGGER at_the_end AFTER INSERT ON sales.bill_else DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION archive.note();
INSERT INTO sales.customer (name) VALUES ('the last');

CREATE FUNCTION archive.note_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO archive.log (what) VALUES (tg_tag);
END
$$;
CREATE EVENT TRIGGER noted_ddl ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE EXTENSION')
    EXECUTE FUNCTION archive.note_ddl();
COMMENT ON EVENT TRIGGER noted_ddl IS 'into archive.log';

GRANT SELECT, INSERT ON sales.customer TO clerk;
GRANT SELECT (made, amount), UPDATE (amount) ON sales.bill TO clerk WITH GRANT OPTION;
GRANT SELECT ON sales.names, sales.by_mood TO PUBLIC;
GRANT USAGE ON SEQUENCE sales.bill_number TO clerk;
REVOKE EXECUTE ON FUNCTION sales.tax(numeric, numeric) FROM PUBLIC;
ALTER TABLE sales.customer ENABLE ROW LEVEL SECURITY;
ALTER TABLE sales.bill FORCE ROW LEVEL SECURITY;
CREATE POLICY only_happy ON sales.customer FOR SELECT TO clerk USING (mood = 'happy');
CREATE POLICY not_nobody ON sales.customer AS RESTRICTIVE FOR INSERT WITH CHECK (name <> 'nobody');
CREATE POLICY anybody ON sales.customer FOR INSERT TO PUBLIC WITH CHECK (true);

-- ---- elsewhere ----

CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw
    OPTIONS (host :'host', port :'port', dbname 'shop', extensions 'hstore');
CREATE USER MAPPING FOR CURRENT_USER SERVER loopback OPTIONS (user 'postgres', password_required 'false');
CREATE USER MAPPING FOR clerk SERVER loopback OPTIONS (user 'clerk', password 'clerk');
CREATE FOREIGN TABLE archive.far_customer (id bigint, name text, extra public.hstore)
    SERVER loopback OPTIONS (schema_name 'sales', table_name 'customer');
GRANT USAGE ON FOREIGN SERVER loopback TO manager;

CREATE PUBLICATION some_rows FOR TABLE sales.customer (id, name) WHERE (id > 200), archive.animal
    WITH (publish = 'insert, update');
CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA sales WITH (publish_via_partition_root);

SELECT lo_create(4711), lo_from_bytea(4712, convert_to(repeat('large ', 20000), 'UTF8')),
       lo_from_bytea(4713, '\x00ff00');
ALTER LARGE OBJECT 4712 OWNER TO manager;
GRANT SELECT ON LARGE OBJECT 4713 TO auditor, clerk;
COMMENT ON LARGE OBJECT 4713 IS 'three bytes';

SELECT nextval('sales.bill_number'), setval('archive.animal_id_seq', 77, false);
CREATE SEQUENCE archive.unused;
CREATE SEQUENCE archive.down INCREMENT -1 MAXVALUE 100 CYCLE;
SELECT nextval('archive.down');
REFRESH MATERIALIZED VIEW sales.by_mood;
ANALYZE;
