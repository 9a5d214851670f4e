-- What belongs to no database: roles, their memberships, passwords and settings; and the databases.
-- (Run in the database "app".)

SET synchronous_commit = off;

CREATE ROLE manager NOLOGIN CREATEROLE;
CREATE ROLE clerk LOGIN PASSWORD 'clerk' CONNECTION LIMIT 7;
CREATE ROLE auditor LOGIN NOINHERIT PASSWORD 'auditor' VALID UNTIL '2040-01-01 00:00:00+00';
CREATE ROLE "Frau Müller" LOGIN CREATEDB;
CREATE ROLE robot LOGIN BYPASSRLS;
SET password_encryption = 'md5';
CREATE ROLE old_client LOGIN PASSWORD 'old';
RESET password_encryption;

GRANT manager TO clerk WITH ADMIN OPTION;
GRANT clerk TO "Frau Müller";
GRANT pg_read_all_data, pg_monitor TO auditor;
COMMENT ON ROLE manager IS 'who may change prices; it''s a group';

ALTER ROLE clerk SET work_mem = '7MB';
ALTER ROLE clerk SET search_path = sales, "$user", public;
ALTER ROLE "Frau Müller" SET DateStyle = 'German, DMY';
ALTER ROLE ALL SET idle_in_transaction_session_timeout = '11min';

CREATE DATABASE shop OWNER manager;
CREATE DATABASE many;
-- names that have to be quoted in a connection string and in SQL
CREATE DATABASE "o'neil = ""1""" OWNER "Frau Müller" CONNECTION LIMIT 50;
-- its default refuses writes, also those of programs that do not expect it
CREATE DATABASE frozen;

ALTER DATABASE shop SET search_path = sales, public;
ALTER DATABASE shop SET default_statistics_target = 40;
ALTER ROLE clerk IN DATABASE shop SET statement_timeout = '29s';
COMMENT ON DATABASE shop IS 'with everything in it';
REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE shop TO manager, auditor, clerk;
GRANT SET ON PARAMETER log_min_duration_statement TO manager;
