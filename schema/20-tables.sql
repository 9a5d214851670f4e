-- Nodes, routes, runbooks and the journal. Everything here is replicated with the data, so that the journal is on the
-- target before it is promoted. No column holds a secret: agents authenticate by files on their hosts.

CREATE TABLE pingpong.cluster
(
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE pingpong.cluster IS
    'at most one row, made by the first run that moves the primary: the epoch, a number that grows with each of them';

CREATE TABLE pingpong.node
(
    name      text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,40}$'),
    kind      text NOT NULL CHECK (kind IN ('postgres', 'router')),
    host      text CHECK (host ~ '^[A-Za-z0-9_.:/-]+$'),
    port      integer CHECK (port BETWEEN 1 AND 65535),
    agent_url text NOT NULL CHECK (agent_url ~
        E'^(https://[^/@ ]+|http://(127\\.[0-9.]+|localhost|\\[::1\\]):[0-9]+|unix:/[^ ]+)$'),
    slot      text UNIQUE CHECK (slot ~ '^[a-z0-9_]{1,63}$'),
    upstream  text,             -- a node; no foreign key, which pg_dump would warn of: see add_node() and drop_node()
    away_since timestamptz,
    site      text CHECK (site <> ''),
    CHECK (kind = 'router' OR (host IS NOT NULL AND port IS NOT NULL AND slot IS NOT NULL))
);
COMMENT ON TABLE pingpong.node IS 'PostgreSQL instances with the agent beside them, and agents beside routers';
COMMENT ON COLUMN pingpong.node.host IS 'address at which the other nodes and the routers reach this PostgreSQL';
COMMENT ON COLUMN pingpong.node.agent_url IS 'http://127.0.0.1:PORT, https://HOST:PORT or unix:/PATH';
COMMENT ON COLUMN pingpong.node.slot IS 'physical slot that this node uses on the node it streams from';
COMMENT ON COLUMN pingpong.node.upstream IS 'the standby that this node streams from; null: it follows the primary';
COMMENT ON COLUMN pingpong.node.site IS
    'where it stands, for people: views of state show it; null: not told. Set it with UPDATE';
COMMENT ON COLUMN pingpong.node.away_since IS
    'since when it is away on purpose: no run waits for it; pingpong.rebuild() makes it a standby again';

CREATE TABLE pingpong.route_driver
(
    name    text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,30}$'),
    comment text NOT NULL,
    builtin boolean NOT NULL DEFAULT false,
    several boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE pingpong.route_driver IS
    'what a route may be made of; preflight finds an agent that does not know a driver';
COMMENT ON COLUMN pingpong.route_driver.several IS
    'whether it can lead a database to several servers, so that a route of it may be spread';
INSERT INTO pingpong.route_driver (builtin, several, name, comment)
VALUES
    (true, false, 'pgbouncer',
     'PgBouncer, by its console and an included file; [pgbouncer.ENDPOINT] in the agent''s configuration'),
    (true, true, 'haproxy',
     'HAProxy, by its runtime API; [haproxy.ENDPOINT] in the agent''s configuration'),
    (true, false, 'address',
     'an IP address that moves between the hosts of the servers, with an endpoint for each of them; '
     '[address.ENDPOINT] in their agents'' configuration'),
    (true, false, 'tailscale',
     'a service of Tailscale that forwards to the primary; [tailscale.ENDPOINT] in the agent''s configuration'),
    (true, true, 'command',
     'whatever has a command line: a program for each order; [command.ENDPOINT] in the agent''s configuration');

CREATE TABLE pingpong.route
(
    name      text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,40}$'),
    kind      text NOT NULL CHECK (kind IN ('rw', 'ro')),
    driver    text NOT NULL REFERENCES pingpong.route_driver (name),
    databases jsonb NOT NULL CHECK (jsonb_typeof(databases) = 'object' AND databases <> '{}'),
    node      text REFERENCES pingpong.node (name),
    smoke     text,
    router    text,             -- these two are for people and their scripts: runs read pingpong.route_endpoint
    endpoint  text,
    max_lag   interval CHECK (max_lag > interval '0'),
    fallback  boolean NOT NULL DEFAULT true,
    drift     text NOT NULL DEFAULT 'repair' CHECK (drift IN ('repair', 'report')),
    spread    boolean NOT NULL DEFAULT false,
    nodes     text[],
    home      text REFERENCES pingpong.node (name),
    generation bigint NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (kind = 'ro' OR (NOT spread AND nodes IS NULL AND home IS NULL AND max_lag IS NULL))
);
COMMENT ON TABLE pingpong.route IS 'the routing table: which databases of its endpoints point to which node';
COMMENT ON COLUMN pingpong.route.databases IS
    'the router''s database names, each with further connection settings or an empty string';
COMMENT ON COLUMN pingpong.route.node IS
    'the node that its endpoints point to; set by runs, at first to what the routers say; null: no run has seen it '
    'yet, or it points to no node';
COMMENT ON COLUMN pingpong.route.router IS
    'of its first endpoint, with which it was registered; all of them are in pingpong.route_endpoint';
COMMENT ON COLUMN pingpong.route.endpoint IS 'the same: the section of the agent''s configuration';
COMMENT ON COLUMN pingpong.route.smoke IS
    'a statement that must give true through the route, before and after a move; null: none';

COMMENT ON COLUMN pingpong.route.max_lag IS
    'how far behind a standby may be that it points to (ro); null: any standby that streams';
COMMENT ON COLUMN pingpong.route.fallback IS
    'whether it may point to the primary while no standby is fit (ro)';
COMMENT ON COLUMN pingpong.route.drift IS
    'what becomes of an endpoint that points elsewhere: repair (it is pointed back) or report (an event says so)';
COMMENT ON COLUMN pingpong.route.spread IS 'whether it points to all standbys that are fit (ro)';
COMMENT ON COLUMN pingpong.route.nodes IS
    'of a route that is spread: the nodes that its endpoints point to, "node" first; null: to "node" only';
COMMENT ON COLUMN pingpong.route.home IS
    'where an ro route was put: while that node is not fit it points to another one, and comes back; null: any '
    'standby';
COMMENT ON COLUMN pingpong.route.generation IS
    'grows with each change of where it is to point, and of which databases';
COMMENT ON COLUMN pingpong.route.changed_at IS 'when the last such change was';

-- Whoever makes the change, it is one.
CREATE FUNCTION pingpong_internal.route_changes() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.generation := OLD.generation + 1;
    NEW.changed_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER route_changes BEFORE UPDATE ON pingpong.route FOR EACH ROW
    WHEN ((OLD.node, OLD.nodes, OLD.databases) IS DISTINCT FROM (NEW.node, NEW.nodes, NEW.databases))
    EXECUTE FUNCTION pingpong_internal.route_changes();

CREATE TABLE pingpong.route_endpoint
(
    name        text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,40}(#[0-9]{1,3})?$'),
    route       text NOT NULL REFERENCES pingpong.route (name) ON DELETE CASCADE,
    router      text NOT NULL REFERENCES pingpong.node (name),
    endpoint    text NOT NULL CHECK (endpoint ~ '^[A-Za-z0-9_.-]{1,60}$'),
    observed    jsonb,
    observed_at timestamptz,
    right_at    bigint,
    drift_since timestamptz,
    repairs     integer NOT NULL DEFAULT 0,
    repair_at   timestamptz,
    repair_due  boolean NOT NULL DEFAULT false,
    UNIQUE (route, router, endpoint)
);
COMMENT ON TABLE pingpong.route_endpoint IS
    'where a route is: one router, or several that serve the same databases; they are held and pointed '
    'elsewhere at the same time';
COMMENT ON COLUMN pingpong.route_endpoint.name IS
    'its name in the steps of a run: that of the route, followed by a number from the second one on';
COMMENT ON COLUMN pingpong.route_endpoint.router IS 'the node whose agent speaks with the router';
COMMENT ON COLUMN pingpong.route_endpoint.endpoint IS 'name of the section in that agent''s configuration';
COMMENT ON COLUMN pingpong.route_endpoint.observed IS
    'where its databases point, as its agent saw it last: {"database": "host:port"}, or {"error": ...}';
COMMENT ON COLUMN pingpong.route_endpoint.right_at IS
    'the generation of its route at which it was seen to point where it should; null: never';
COMMENT ON COLUMN pingpong.route_endpoint.drift_since IS
    'since when it was seen to point elsewhere; null: it was not';
COMMENT ON COLUMN pingpong.route_endpoint.repairs IS 'how often it was pointed back since then';
COMMENT ON COLUMN pingpong.route_endpoint.repair_at IS
    'not before then it is tried again; infinity: not until it is known that no other server is a primary';
COMMENT ON COLUMN pingpong.route_endpoint.repair_due IS
    'whether the last look said that it is to be pointed back now: what the run realign goes by';

CREATE TABLE pingpong.route_event
(
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    kind     text NOT NULL,
    place    text NOT NULL,
    sentence text NOT NULL
);
CREATE INDEX ON pingpong.route_event (at);
COMMENT ON TABLE pingpong.route_event IS
    'what the reconciliation of routes has seen and done, kept for 30 days; see pingpong.events';
COMMENT ON COLUMN pingpong.route_event.place IS 'a route, or an endpoint of one';

CREATE TABLE pingpong.node_fact
(
    node  text PRIMARY KEY REFERENCES pingpong.node (name) ON DELETE CASCADE,
    at    timestamptz NOT NULL,
    ok    boolean NOT NULL,
    error text,
    facts jsonb,
    facts_at timestamptz
);
COMMENT ON TABLE pingpong.node_fact IS
    'what each agent last told about its host, gathered for preflight; not "ok": it was asked at "at", and did not '
    'answer, so the facts are of before';
COMMENT ON COLUMN pingpong.node_fact.facts_at IS 'when it told the facts';

CREATE TABLE pingpong.runbook_step
(
    runbook    text    NOT NULL,
    ordinal    integer NOT NULL,
    action     text    NOT NULL,
    node       text    NOT NULL,
    worker     text    NOT NULL CHECK (worker IN ('source', 'target', 'both')),
    impact     text    NOT NULL DEFAULT 'none' CHECK (impact IN ('none', 'write', 'read')),
    guard      text,
    undo       text,
    timeout    interval DEFAULT '10s',
    on_failure text    NOT NULL DEFAULT 'undo' CHECK (on_failure IN ('undo', 'continue', 'retry')),
    params     jsonb   NOT NULL DEFAULT '{}',
    comment    text    NOT NULL,
    requires   text,
    mark       text CHECK (mark IN ('begins_blackout', 'no_return', 'ends_blackout', 'away')),
    fix        text,
    job        text CHECK (job ~ '^[a-z][a-z0-9_]{0,30}$'),
    PRIMARY KEY (runbook, ordinal, action, node),
    -- the runner looks at the mark only: a promotion without it would be a step like any other
    CHECK (coalesce(mark = 'no_return', false) = (action = 'promote')),
    -- the clients of RW routes wait until these steps are done, and for no other
    CHECK (coalesce(mark = 'ends_blackout', false) <= (action = 'repoint' AND node = 'rw_routes')),
    -- a second order of a job in which the database may be gone, or of which a part was done, could do it twice
    CHECK (on_failure <> 'retry' OR (job IS NULL AND mark IS DISTINCT FROM 'away')),
    -- a job is ordered as a whole, or not at all
    CHECK (job IS NULL OR requires IS NULL),
    -- the journal keeps what the operator has to call: with a name of 63 bytes, quoted
    CHECK (octet_length(fix) <= 60)
);
COMMENT ON TABLE pingpong.runbook_step IS
    'runbooks: equal ordinals run at the same time; a failed step is undone with all before it, up '
    'to the point of no return';
COMMENT ON COLUMN pingpong.runbook_step.node IS
    'source, target, siblings (the other standbys of the primary), witnesses (all nodes but the source), rw_routes, '
    'ro_routes, source_routes (RO routes that point to the old primary), the_route (of set_route), drifted_routes '
    '(endpoints that point elsewhere than they should), relaxed (nodes with a setting to restore)';
COMMENT ON COLUMN pingpong.runbook_step.worker IS
    'whose worker does it: the old primary''s (source), the new one''s (target), or both (same job '
    'key, so it is done once)';
COMMENT ON COLUMN pingpong.runbook_step.guard IS
    'an SQL condition over the run (alias r): the step is skipped if it is not true';
COMMENT ON COLUMN pingpong.runbook_step.requires IS
    'an action of the same run: the step is skipped, and says so, unless that one succeeded';
COMMENT ON COLUMN pingpong.runbook_step.timeout IS 'null: as long as the setting pingpong.rejoin_timeout';
COMMENT ON COLUMN pingpong.runbook_step.mark IS
    'begins_blackout: from the first such step on there are no writes; ends_blackout: they are possible again when '
    'all such steps are done; no_return: the promotion, after which a run only goes forward; '
    'away: the database may go while its job is done';
COMMENT ON COLUMN pingpong.runbook_step.fix IS
    'the statement that does what the step could not (%L: its node), without which the run is stuck; null: the '
    'run can do without the step';
COMMENT ON COLUMN pingpong.runbook_step.job IS
    'neighbouring steps of the same name and node are one job of the agent: in their order, undone '
    'together; null: a job of its own';
COMMENT ON COLUMN pingpong.runbook_step.impact IS 'what clients cannot do meanwhile';

CREATE TABLE pingpong.run
(
    id           bigint PRIMARY KEY,
    key          text NOT NULL UNIQUE,
    runbook      text NOT NULL,
    source       text,
    target       text NOT NULL,
    epoch        bigint NOT NULL,
    state        text NOT NULL CHECK (state IN ('running', 'succeeded', 'rolled_back', 'stuck')),
    options      jsonb NOT NULL DEFAULT '{}',
    requested_by text,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    switched_at  timestamptz,
    ended_at     timestamptz,
    blackout_ms  double precision,
    seal_lsn     pg_lsn,
    preflight    jsonb,
    notes        jsonb NOT NULL DEFAULT '{}',
    sentence     text
);
COMMENT ON TABLE pingpong.run IS 'the executions of runbooks';
COMMENT ON COLUMN pingpong.run.switched_at IS
    'when writes were possible on the target; of a run that was stuck before, its end; null: it '
    'did not move the primary';
COMMENT ON COLUMN pingpong.run.blackout_ms IS
    'from the closing of the RW routes or the gate until a write was possible through all RW routes, in ms';
COMMENT ON COLUMN pingpong.run.sentence IS 'how it ended; for a stuck run, what the operator has to do';

CREATE TABLE pingpong.step
(
    run         bigint  NOT NULL REFERENCES pingpong.run (id) ON DELETE CASCADE,
    ordinal     integer NOT NULL,
    action      text    NOT NULL,
    node        text    NOT NULL,
    state       text    NOT NULL CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'skipped', 'undone')),
    undo        text,
    fix         text,
    started_at  timestamptz,
    ended_at    timestamptz,
    duration_ms double precision,
    attempt     integer NOT NULL DEFAULT 0,
    round       integer NOT NULL DEFAULT 1,
    detail      jsonb,
    message     text,
    PRIMARY KEY (run, ordinal, action, node)
);
COMMENT ON TABLE pingpong.step IS 'the journal: one row for each step of a run';
COMMENT ON COLUMN pingpong.step.attempt IS 'how often it was tried';
COMMENT ON COLUMN pingpong.step.round IS
    'part of the key of the agent''s job, stored before the order: another round is another job';
COMMENT ON COLUMN pingpong.step.fix IS
    'the statement that does what the step could not, if it failed; null: the run can do without it';

CREATE TABLE pingpong.relaxed
(
    node   text NOT NULL REFERENCES pingpong.node (name) ON DELETE CASCADE,
    name   text NOT NULL,
    value  text NOT NULL,
    wanted text,
    since  timestamptz NOT NULL DEFAULT clock_timestamp(),
    run    bigint,
    PRIMARY KEY (node, name)
);
COMMENT ON TABLE pingpong.relaxed IS
    'settings that a run relaxed and that are to be restored when a standby is there again';
COMMENT ON COLUMN pingpong.relaxed.name IS 'the setting';
COMMENT ON COLUMN pingpong.relaxed.value IS
    'the value that the run gave it; another one there means that a person has set it since, and the row goes';
COMMENT ON COLUMN pingpong.relaxed.wanted IS 'the value to which it is restored; null: it is reset';
COMMENT ON COLUMN pingpong.relaxed.run IS 'the run that relaxed it';

-- What users put there survives a dump. A run that goes on does not: it belongs to its cluster, and the worker of a
-- restored one would undo it.
SELECT pg_extension_config_dump('pingpong.cluster', '');
SELECT pg_extension_config_dump('pingpong.node', '');
SELECT pg_extension_config_dump('pingpong.route_driver', 'WHERE NOT builtin');
SELECT pg_extension_config_dump('pingpong.route', '');
SELECT pg_extension_config_dump('pingpong.route_endpoint', '');
SELECT pg_extension_config_dump('pingpong.runbook_step',
                                $$WHERE runbook NOT IN ('switchover', 'failover', 'rebuild', 'repoint', 'upgrade',
                                                         'rollback', 'finalize', 'rehearse', 'restore', 'set_route',
                                                         'realign')$$);
SELECT pg_extension_config_dump('pingpong.run', $$WHERE state <> 'running'$$);
SELECT pg_extension_config_dump('pingpong.step',
                                $$WHERE run IN (SELECT id FROM pingpong.run WHERE state <> 'running')$$);
SELECT pg_extension_config_dump('pingpong.relaxed', '');

CREATE TABLE pingpong.last_preflight
(
    number integer, name text, node text, status text, detail text, hint text
);
COMMENT ON TABLE pingpong.last_preflight IS 'the rows of the last preflight';
