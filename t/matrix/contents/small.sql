-- A database with little in it. One that is called "frozen" then refuses writes.

SET synchronous_commit = off;

CREATE SCHEMA "Größe";
CREATE TABLE "Größe"."Maß" ("höhe cm" int PRIMARY KEY, name text COLLATE "de-x-icu" UNIQUE);
INSERT INTO "Größe"."Maß" VALUES (1, 'Öl'), (2, 'Zoll'), (3, 'Osten'), (4, 'öde'), (5, 'Straße'), (6, 'Strasse');
COMMENT ON COLUMN "Größe"."Maß"."höhe cm" IS 'in "cm"';
SELECT lo_from_bytea(0, 'of ' || current_database()::bytea);
SELECT format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database())
WHERE current_database() = 'frozen' \gexec
