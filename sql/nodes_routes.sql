-- Registering and dropping nodes and routes: what is refused, with its SQLSTATE, and that a refusal changes nothing.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_pingpong;
RESET client_min_messages;
\set SHOW_CONTEXT never
-- the SQLSTATE and the message, without the line of the source
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN sqlstate || ': ' || sqlerrm || coalesce(E'\n  hint: ' || nullif(hint, ''), '');
END
$$;
\pset format unaligned
\pset tuples_only on

-- nodes: names
SELECT pg_temp.try($$SELECT pingpong.add_node(NULL, '10.0.0.1', 5432, 'https://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('', '10.0.0.1', 5432, 'https://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('Chicago', '10.0.0.1', 5432, 'https://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('1st', '10.0.0.1', 5432, 'https://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('new-york', '10.0.0.1', 5432, 'https://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('a''; DROP TABLE pingpong.node; --', '10.0.0.1', 5432,
                                              'https://10.0.0.1:7070')$$);
SELECT pg_temp.try(format($$SELECT pingpong.add_node(%L, '10.0.0.1', 5432, 'https://10.0.0.1:7070')$$,
                          repeat('a', 42)));
-- host and port
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', NULL, 5432, 'https://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '', 5432, 'https://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', NULL, 'https://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', 0, 'https://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', 65536, 'https://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1 sslmode=disable', 5432,
                                              'https://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', E'10.0.0.1\nx', 5432, 'https://10.0.0.1:7070')$$);
-- the address of the agent: a token must not travel in the clear, nor lie in a table
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, NULL)$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, 'ftp://10.0.0.1')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, 'http://10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, 'http://127.0.0.1.evil.example:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, 'https://user:secret@10.0.0.1:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, 'https://10.0.0.1:7070/v1')$$);
-- slot and upstream
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, 'https://10.0.0.1:7070', 'Bad-Slot')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, 'https://10.0.0.1:7070', NULL,
                                              'nowhere')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, 'https://10.0.0.1:7070', NULL,
                                              'chicago')$$);
SELECT count(*) FROM pingpong.node;

-- good ones
SELECT pingpong.add_node('chicago', '10.0.0.1', 5432, 'https://10.0.0.1:7070');
SELECT pingpong.add_node('dallas', 'dallas.example.org', 5433, 'https://dallas.example.org:7070', 'my_slot');
SELECT pingpong.add_node('austin', '::1', 5432, 'https://[::1]:7070', NULL, 'dallas');
SELECT pingpong.add_router('pooler1', 'http://127.0.0.1:7071');
SELECT pingpong.add_router('pooler2', 'unix:/run/pingpong/agent.sock');
SELECT name, kind, host, port, agent_url, slot, upstream FROM pingpong.node ORDER BY name;

-- twice; two nodes with one slot; a router as upstream
SELECT pg_temp.try($$SELECT pingpong.add_node('chicago', '10.0.0.9', 5432, 'https://10.0.0.9:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_router('chicago', 'https://10.0.0.9:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('boston', '10.0.0.9', 5432, 'https://10.0.0.9:7070', 'my_slot')$$);
SELECT pg_temp.try($$SELECT pingpong.add_node('boston', '10.0.0.9', 5432, 'https://10.0.0.9:7070', NULL,
                                              'pooler1')$$);
SELECT pg_temp.try($$SELECT pingpong.add_router(NULL, 'https://10.0.0.9:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_router('Pooler', 'https://10.0.0.9:7070')$$);
SELECT pg_temp.try($$SELECT pingpong.add_router('pooler3', NULL)$$);

-- routes
SELECT pg_temp.try($$SELECT pingpong.add_route(NULL, 'rw', 'pgbouncer', 'pooler1', 'main', '{"app": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('RW', 'rw', 'pgbouncer', 'pooler1', 'main', '{"app": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', NULL, 'pgbouncer', 'pooler1', 'main', '{"app": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'write', 'pgbouncer', 'pooler1', 'main', '{"app": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', NULL, 'pooler1', 'main', '{"app": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'carrier', 'pooler1', 'main', '{"app": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', NULL, 'main', '{"app": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'nowhere', 'main', '{"app": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', NULL, '{"app": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', '../etc', '{"app": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main', NULL)$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main', '{}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main', '["app"]')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main', '"app"')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main', '{"app": 1}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main', '{"a b": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main',
                                               '{"app": "Password=secret"}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main',
                                               '{"app": "x=1\ny = host=evil"}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main',
                                               '{"app": "host=elsewhere"}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main',
                                               '{"app": "dbname=x\tpool_size=3"}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main',
                                               '{"app": "dbname=''x\"y''"}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main', '{"pgbouncer": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main',
	(SELECT jsonb_object_agg('t' || i, '') FROM generate_series(1, 501) AS i))$$);
SELECT count(*) FROM pingpong.route;
SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'main', '{"app": "", "billing": "pool_size=5"}');
SELECT pingpong.add_route('ro', 'ro', 'pgbouncer', 'pooler1', 'main', '{"app_ro": "dbname=app"}');
SELECT pingpong.add_route('rw2', 'rw', 'pgbouncer', 'pooler2', 'main', '{"app": ""}');
SELECT pg_temp.try($$SELECT pingpong.add_route('rw', 'rw', 'pgbouncer', 'pooler1', 'other', '{"app": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('again', 'rw', 'pgbouncer', 'pooler1', 'main', '{"billing": ""}')$$);
SELECT pg_temp.try($$SELECT pingpong.add_route('onserver', 'rw', 'pgbouncer', 'chicago', 'main', '{"app": ""}')$$);
SELECT r.name, r.kind, r.driver, e.router, e.endpoint, r.databases, r.node
FROM pingpong.route r JOIN pingpong.route_endpoint e ON e.route = r.name ORDER BY r.name;

-- further endpoints
SELECT r.name AS route1 FROM pingpong.route r ORDER BY r.name LIMIT 1 \gset
SELECT e.router AS router1 FROM pingpong.route_endpoint e WHERE e.name = :'route1' \gset
SELECT pingpong.add_endpoint(:'route1', :'router1', 'second');
SELECT pingpong.add_endpoint(:'route1', :'router1', 'third');
SELECT pg_temp.try(format('SELECT pingpong.add_endpoint(%L, %L, %L)', :'route1', :'router1', 'second'));
SELECT pg_temp.try(format('SELECT pingpong.add_endpoint(%L, %L, %L)', :'route1', :'router1', 'a b'));
SELECT pg_temp.try(format('SELECT pingpong.add_endpoint(%L, %L, NULL)', :'route1', :'router1'));
SELECT pg_temp.try(format('SELECT pingpong.add_endpoint(%L, %L, %L)', :'route1', 'nobody', 'x'));
SELECT pg_temp.try($$SELECT pingpong.add_endpoint('nowhere', 'nobody', 'x')$$);
SELECT pg_temp.try(format('SELECT pingpong.drop_endpoint(%L)', :'route1'));
SELECT pg_temp.try($$SELECT pingpong.drop_endpoint('nowhere#2')$$);
SELECT name, route, endpoint FROM pingpong.route_endpoint ORDER BY name;
SELECT pingpong.drop_endpoint(:'route1' || '#2');
SELECT pingpong.add_endpoint(:'route1', :'router1', 'fourth');
SELECT name, route, endpoint FROM pingpong.route_endpoint ORDER BY name;

-- dropping: what is still used stays
SELECT pg_temp.try($$SELECT pingpong.drop_node(NULL)$$);
SELECT pg_temp.try($$SELECT pingpong.drop_node('nowhere')$$);
SELECT pg_temp.try($$SELECT pingpong.drop_node('pooler1')$$);
SELECT pg_temp.try($$SELECT pingpong.drop_node('dallas')$$);
SELECT pg_temp.try($$SELECT pingpong.drop_route(NULL)$$);
SELECT pg_temp.try($$SELECT pingpong.drop_route('nowhere')$$);
SELECT count(*) FROM pingpong.node;

-- the other way round it goes
SELECT pingpong.drop_route(name) FROM pingpong.route ORDER BY name;
SELECT pingpong.drop_node('austin');
SELECT pingpong.drop_node(name) FROM (SELECT name FROM pingpong.node ORDER BY name) AS n;
SELECT (SELECT count(*) FROM pingpong.node), (SELECT count(*) FROM pingpong.route);
