-- The options of a run: what may be given, of which type and within which limits. One table, so that a site's own
-- checks may have options too, and one function that refuses everything else before anything is asked or touched. A
-- request is checked where it enters (pingpong_internal.request()), so no caller avoids the check.

CREATE TABLE pingpong.run_option
(
    name      text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,40}$'),
    type      text NOT NULL CHECK (type IN ('boolean', 'integer', 'number', 'word', 'words', 'text')),
    kinds     text[] NOT NULL DEFAULT '{switchover}' CHECK (kinds <@ '{switchover,run}'),
    argument  text,
    least     numeric,
    most      numeric,
    allowed   text[],
    otherwise jsonb,
    builtin   boolean NOT NULL DEFAULT false,
    comment   text NOT NULL,
    CHECK (type <> 'word' OR coalesce(cardinality(allowed), 0) > 0)
);
COMMENT ON TABLE pingpong.run_option IS
    'the options that switchover(), preflight() and other runs take; a site may add those of its '
    'own checks (builtin false)';
COMMENT ON COLUMN pingpong.run_option.type IS
    'boolean, integer, number, word (one of "allowed"), words (a list; of "allowed", or any '
    'when that is null) or text';
COMMENT ON COLUMN pingpong.run_option.kinds IS
    'switchover (and its preflight), run (runbooks that leave the primary where it is)';
COMMENT ON COLUMN pingpong.run_option.argument IS
    'the argument of the function that sets it; null: it is given in "options"';
COMMENT ON COLUMN pingpong.run_option.least IS 'of an integer or number, inclusive';
COMMENT ON COLUMN pingpong.run_option.most IS 'of an integer or number, inclusive';
COMMENT ON COLUMN pingpong.run_option.otherwise IS 'what counts when it is not given';

-- max_blackout_ms: the promote token is valid 30 s longer, at most an hour, and PgBouncer's pause ends 10 s later.
INSERT INTO pingpong.run_option (name, type, kinds, argument, least, most, allowed, otherwise, builtin, comment)
VALUES
    ('to_version', 'integer', '{run}', 'to_version', 16, 99, NULL, NULL, true,
     'for upgrade(): the major version that the server becomes'),
    ('mode', 'word', '{run}', 'mode', NULL, NULL, '{copy,link,clone,swap}', '"copy"', true,
     'for upgrade(): how pg_upgrade takes over the files'),
    ('jobs', 'integer', '{run}', 'jobs', 1, 64, NULL, '1', true, 'for upgrade(): how many things it does at a time'),
    ('carry', 'words', '{run}', 'carry', NULL, NULL, NULL, '[]', true,
     'for upgrade(): settings of ALTER SYSTEM that the new server gets, too'),
    ('of', 'text', '{run}', 'run', NULL, NULL, NULL, NULL, true,
     'for rollback() and finalize(): the key of the run of the upgrade'),
    ('grace_ms', 'integer', '{switchover,run}', 'grace', 0, 1800000, NULL, '5000', true,
     'how long transactions that have written may go on'),
    ('max_blackout_ms', 'integer', '{switchover,run}', 'max_blackout', 1, 1800000, NULL, '10000', true,
     'longest time without writes before the promotion is ordered'),
    ('readers_grace_ms', 'integer', '{switchover}', 'readers_grace', 0, 3600000, NULL, '2000', true,
     'how long reads on the old primary may go on after the move'),
    ('on_grace_end', 'word', '{switchover,run}', 'on_grace_end', NULL, NULL, '{cancel,abort}', '"cancel"', true,
     'what becomes of writers at the end of the grace'),
    ('synchronous', 'word', '{switchover}', 'synchronous', NULL, NULL, '{relax,strict}', '"relax"', true,
     'whether commits on the new primary wait for a standby from the first moment'),
    ('old_primary', 'word', '{switchover}', 'old_primary', NULL, NULL, '{rejoin,leave}', '"rejoin"', true,
     'whether the old primary comes back as a standby, or is stopped and left sealed'),
    ('runbook', 'text', '{switchover,run}', NULL, NULL, NULL, NULL, '"switchover"', true,
     'the runbook; for a switchover one that moves the primary'),
    ('method', 'word', '{switchover,run}', NULL, NULL, NULL, '{auto,direct,rewind,basebackup}', '"auto"', true,
     'how a node becomes a standby'),
    ('risk', 'text', '{run}', NULL, NULL, NULL, NULL, NULL, true,
     'for rebuild(): the words that say what may be lost; superusers only'),
    ('allow_unlogged', 'boolean', '{switchover}', NULL, NULL, NULL, NULL, 'false', true,
     'unlogged tables, which the promotion empties, are a warning'),
    ('allow_logical_slot_loss', 'boolean', '{switchover}', NULL, NULL, NULL, NULL, 'false', true,
     'logical slots that the target does not have are a warning'),
    ('allow_archiver_failure', 'boolean', '{switchover}', NULL, NULL, NULL, NULL, 'false', true,
     'a failing archiver is a warning'),
    ('on_long_transactions', 'word', '{switchover}', NULL, NULL, NULL, '{warn,fail}', '"warn"', true,
     'how transactions older than the grace are reported'),
    ('on_idle_in_transaction', 'word', '{switchover}', NULL, NULL, NULL, '{warn,fail}', '"warn"', true,
     'how sessions that are idle in a transaction are reported'),
    ('replay_mb_per_s', 'number', '{switchover}', NULL, 0.1, 10000, NULL, '20', true,
     'what the target can replay, to estimate how long it needs'),
    ('rebuild_hours', 'number', '{switchover}', NULL, 0.1, 1000, NULL, '1', true,
     'time that a rebuild takes, for the WAL that must fit on the disk'),
    ('ha_managers', 'words', '{switchover}', NULL, NULL, NULL, NULL, '[]', true,
     'other HA managers that are known and paused');

SELECT pg_extension_config_dump('pingpong.run_option', 'WHERE NOT builtin');

-- What a value of the option must be, in words.
CREATE FUNCTION pingpong_internal.option_wanted(o pingpong.run_option) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN o.type = 'boolean' THEN 'true or false'
        WHEN o.type IN ('integer', 'number') THEN
            CASE o.type WHEN 'integer' THEN 'a whole number' ELSE 'a number' END
            || coalesce(' from ' || o.least, '') || coalesce(' to ' || o.most, '')
        WHEN o.type = 'words' AND o.allowed IS NULL THEN 'a list of names'
        WHEN o.type = 'text' THEN 'a string'
        ELSE CASE o.type WHEN 'words' THEN 'a list of ' ELSE '' END
            || concat_ws(' or ', nullif('"' || array_to_string(trim_array(o.allowed, 1), '", "') || '"', '""'),
                         '"' || o.allowed[cardinality(o.allowed)] || '"') END
$$;

CREATE FUNCTION pingpong_internal.option_fits(o pingpong.run_option, value jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(CASE o.type
        WHEN 'boolean' THEN jsonb_typeof(value) = 'boolean'
        WHEN 'text' THEN jsonb_typeof(value) = 'string'
        WHEN 'word' THEN jsonb_typeof(value) = 'string' AND value #>> '{}' = ANY (o.allowed)
        WHEN 'words' THEN CASE WHEN jsonb_typeof(value) = 'array' THEN
            NOT EXISTS (SELECT FROM jsonb_array_elements(value) w (w)
                        WHERE jsonb_typeof(w) <> 'string' OR w = '""'
                            OR NOT coalesce(w #>> '{}' = ANY (o.allowed), true)) END
        ELSE CASE WHEN jsonb_typeof(value) = 'number' THEN
            value::numeric BETWEEN coalesce(o.least, '-Infinity') AND coalesce(o.most, 'Infinity')
            AND (o.type = 'number' OR value::text ~ '^-?[0-9]+$') END
        END, false)
$$;

-- Whether the runbook promotes only after a seal, and can be undone until then.
CREATE FUNCTION pingpong_internal.runbook_seals(runbook text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT count(*) = 5 AND bool_and(first > coalesce(before, -1))
    FROM (SELECT min(s.ordinal), lag(max(s.ordinal)) OVER (ORDER BY a.place)
          FROM (VALUES (1, 'arm', 'target', 'burn', NULL), (2, 'hold', 'source', 'open', 'begins_blackout'),
                (3, 'seal', 'source', 'unseal', NULL),
                       (4, 'lag_zero', 'target', NULL, NULL), (5, 'promote', 'target', NULL, 'no_return')) a (place,
                           action, node, undo, mark)
               JOIN pingpong.runbook_step s ON s.runbook = $1 AND s.action = a.action AND s.node = a.node
                   AND s.undo IS NOT DISTINCT FROM a.undo
                    AND s.mark IS NOT DISTINCT FROM a.mark
                    AND s.worker = 'source' AND s.guard IS NULL AND s.on_failure = 'undo'
          GROUP BY a.place) o (first, before)
    HAVING NOT EXISTS (SELECT FROM pingpong.runbook_step s
                       WHERE s.runbook = $1 AND s.action
                           IN ('hold', 'seal', 'lag_zero', 'promote', 'open', 'unseal', 'burn')
                         AND (s.action IN ('open', 'unseal', 'burn')         -- as undo only
                              OR s.node <> CASE WHEN s.action IN ('hold', 'seal') THEN 'source' ELSE 'target' END
                                  OR s.worker <> 'source'))
$$;
COMMENT ON FUNCTION pingpong_internal.runbook_seals(text) IS
    'whether a runbook that promotes does it only after a seal';

-- Refuses (22023, 42704; 42501 for a risk) what is no option of such a run, or has not the right type, or is out of
-- its limits. kind: switchover (also for its preflight), run or facts.
CREATE FUNCTION pingpong_internal.validate_options(kind text, options jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    o       pingpong.run_option;
    given   record;
BEGIN
    IF options IS NULL OR jsonb_typeof(options) <> 'object' THEN
        PERFORM pingpong_internal.fail('22023', 'the options must be a JSON object', NULL,
                                       'For instance: {"allow_unlogged": true}.');
    END IF;
    FOR given IN SELECT key, value FROM jsonb_each(options) LOOP
        SELECT * INTO o FROM pingpong.run_option r WHERE r.name = given.key AND kind = ANY (r.kinds);
        IF NOT FOUND THEN
            PERFORM pingpong_internal.fail('22023', format('unknown option "%s"', given.key), NULL,
                                  'Known options: ' || coalesce((SELECT string_agg(r.name, ', ' ORDER BY r.name)
                                                                 FROM pingpong.run_option r
                                                                 WHERE kind = ANY (r.kinds) AND r.argument IS NULL),
                                                                 'none') || '.');
        END IF;
        IF NOT pingpong_internal.option_fits(o, given.value) THEN
            PERFORM pingpong_internal.fail('22023', format('"%s" must be %s', coalesce(o.argument, o.name),
                                                           pingpong_internal.option_wanted(o)),
                                           format('It is %s.', left(given.value::text, 100)));
        END IF;
    END LOOP;
    IF options ? 'runbook' AND NOT EXISTS (SELECT FROM pingpong.runbook_step s
                                           WHERE s.runbook = options ->> 'runbook') THEN
        PERFORM pingpong_internal.fail('42704', format('runbook "%s" does not exist', options ->> 'runbook'));
    END IF;
    IF kind IN ('switchover', 'run')
       AND (kind = 'switchover') <> EXISTS (SELECT FROM pingpong.runbook_step s
                                            WHERE s.runbook = coalesce(options ->> 'runbook', 'switchover')
                                                AND s.mark = 'no_return') THEN
        PERFORM pingpong_internal.fail('22023', format('runbook "%s" cannot be used for this',
                                                       coalesce(options ->> 'runbook', 'switchover')),
                                       'Only a runbook with the action "promote" is a switchover.');
    END IF;
    IF kind = 'switchover' AND NOT coalesce(pingpong_internal.runbook_seals(coalesce(options ->> 'runbook',
        'switchover')), false) THEN
        PERFORM pingpong_internal.fail('22023', format('runbook "%s" would promote a node beside an open primary',
                                                       coalesce(options ->> 'runbook', 'switchover')),
                              'It needs the steps arm, hold, seal, lag_zero and promote in this order, each with the '
                              'worker, node, undo, on_failure and mark that it has in the runbook '
                              '"switchover", and without a guard.',
                              'Copy the runbook "switchover" with pingpong.copy_runbook(), and add to it.');
    END IF;
    IF kind = 'switchover' THEN
        PERFORM pingpong_internal.validate_behind_promote(coalesce(options ->> 'runbook', 'switchover'));
    END IF;
    -- what such a step gives up nobody gives up by leaving the word out
    IF options ? 'risk' OR EXISTS (SELECT FROM pingpong.runbook_step s
                                   WHERE s.runbook = options ->> 'runbook' AND s.action = 'take_back') THEN
        PERFORM pingpong_internal.validate_risk(options ->> 'risk');
    END IF;
    IF EXISTS (SELECT FROM pingpong.runbook_step s
               WHERE s.runbook = options ->> 'runbook' AND s.action = 'lead') THEN
        PERFORM pingpong_internal.check_set_route(options ->> 'route', options ->> 'node');
    END IF;
    IF EXISTS (SELECT FROM pingpong.runbook_step s
               WHERE s.runbook = options ->> 'runbook' AND s.action = 'upgrade_finalize') THEN
        PERFORM pingpong_internal.check_standbys();
    END IF;
    IF (options ->> 'readers_grace_ms')::bigint >= extract(epoch FROM current_setting('pingpong.rejoin_timeout',
        true)::interval) * 1000 THEN
        PERFORM pingpong_internal.fail('22023', format('"readers_grace" must be shorter than '
                                                       '"pingpong.rejoin_timeout" (%s)',
                                                       current_setting('pingpong.rejoin_timeout')),
                              'The old primary would not be back before the run gives it up.',
                              'Give a shorter grace, or raise the setting on both nodes.');
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.validate_options(text, jsonb) IS
    'refuses options that are unknown, of a wrong type or out of their limits';

-- From the promotion on nothing is undone. 'undo' is the column's default, so a row that leaves it out is refused.
CREATE FUNCTION pingpong_internal.validate_behind_promote(runbook text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    s       pingpong.runbook_step;
BEGIN
    SELECT b.* INTO s FROM pingpong.runbook_step p JOIN pingpong.runbook_step b ON b.runbook = p.runbook
        AND b.ordinal >= p.ordinal
    WHERE p.runbook = runbook AND p.mark = 'no_return' AND b.mark IS DISTINCT FROM 'no_return'
        AND b.on_failure = 'undo'
    ORDER BY b.ordinal, b.action, b.node LIMIT 1;
    IF FOUND THEN
        PERFORM pingpong_internal.fail('22023', format('step %s (ordinal %s) of runbook "%s" cannot be undone',
                                                       s.action, s.ordinal, runbook),
                              'It is not made before the promotion, from which on a run only goes forward; '
                              'its on_failure is "undo".',
                              'Set its on_failure to "continue" or "retry".');
    END IF;
    -- or the end of the blackout would be told while the clients of RW routes wait, or never
    IF NOT EXISTS (SELECT FROM pingpong.runbook_step b
                   WHERE b.runbook = runbook AND b.mark = 'ends_blackout' AND b.guard IS NULL AND b.worker = 'both'
                       AND b.ordinal > (SELECT max(p.ordinal) FROM pingpong.runbook_step p
                                        WHERE p.runbook = runbook AND p.mark = 'no_return')) THEN
        PERFORM pingpong_internal.fail('22023', format('runbook "%s" has no end of the blackout', runbook),
                              'It needs the step repoint of rw_routes after the promotion, with the worker and mark '
                              'that it has in the runbook "switchover", and without a guard.',
                              'Copy the runbook "switchover" with pingpong.copy_runbook(), and add to it.');
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.validate_behind_promote(text) IS
    'refuses (22023) a runbook with a step after the promotion whose failure is to be undone, or without the one '
    'that lets the clients write again';

-- Only a superuser may risk what a rebuild destroys, in these words.
CREATE FUNCTION pingpong_internal.validate_risk(risk text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        PERFORM pingpong_internal.fail('42501', 'must be superuser to risk what a node has written');
    END IF;
    IF risk IS DISTINCT FROM 'its own writes are lost' THEN
        PERFORM pingpong_internal.fail('22023', '"risk" does not say what is risked', NULL,
                              'If what the node wrote itself may be lost, say it: risk => '
                              '''its own writes are lost''.');
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.validate_risk(text) IS
    'refuses a risk that is not said in its words (22023), or by a superuser (42501)';

-- A runbook that repoints the rw routes and does not promote can only point them to this primary. One without a step
-- at the target may be for this primary, too.
CREATE FUNCTION pingpong_internal.check_target(target text, runbook text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
    IF target = pingpong.node_name() AND EXISTS (SELECT FROM pingpong.runbook_step s WHERE s.runbook = runbook)
       AND NOT EXISTS (SELECT FROM pingpong.runbook_step s WHERE s.runbook = runbook AND s.node = 'target') THEN
        PERFORM pingpong_internal.check_primary(runbook);
    ELSIF NOT EXISTS (SELECT FROM pingpong.runbook_step s WHERE s.runbook = runbook AND s.action = 'repoint'
                       AND s.node = 'rw_routes')
       OR EXISTS (SELECT FROM pingpong.runbook_step s WHERE s.runbook = runbook AND s.mark = 'no_return') THEN
        PERFORM pingpong_internal.check_node(target, runbook);
    ELSIF target IS DISTINCT FROM pingpong.node_name() THEN
        PERFORM pingpong_internal.fail('22023', format('the routes cannot be pointed to "%s"', target), NULL,
                              format('Routes point to the primary, "%s"; pingpong.switchover() moves it.',
                                     pingpong.node_name()));
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.check_target(text, text) IS
    'refuses a node that cannot be the target of a run of that runbook';

-- A request as a whole, before the worker has it; gives the options as it is to read them.
CREATE FUNCTION pingpong_internal.validate_request(kind text, target text, options text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    o       jsonb := options;
BEGIN
    IF kind IN ('sight', 'failover') THEN
        PERFORM pingpong_internal.check_failover(target, o);
        RETURN o::text;
    END IF;
    IF kind NOT IN ('switchover', 'run', 'facts') THEN
        PERFORM pingpong_internal.fail('22023', format('unknown request "%s"', kind));
    END IF;
    -- nothing can be stored here, and another server may be the primary
    IF EXISTS (SELECT FROM pingpong_internal.gate_status() g WHERE g.state = 'sealed') THEN
        PERFORM pingpong_internal.fail('55000', 'this server is sealed', 'It takes no writes: a run moves the '
                                       'primary away, or pingpong.seal() was called.',
                              coalesce((SELECT format('The primary is "%s": host %s, port %s.', p.name, p.host,
                                                      p.port) FROM pingpong.where_is_primary() p
                                                      WHERE p.name IS NOT NULL),
                                       'See pingpong.gate and pingpong.progress.'));
    END IF;
    IF kind = 'facts' AND o ->> 'runbook' = 'upgrade' THEN
        PERFORM pingpong_internal.validate_options('run', o);
        PERFORM pingpong_internal.check_upgrade(target, (o ->> 'to_version')::integer);
        RETURN o::text;
    ELSIF kind = 'facts' AND target = pingpong.node_name() THEN
        PERFORM pingpong_internal.check_primary('question');
        PERFORM pingpong_internal.check_registered();
    ELSIF kind = 'run' THEN
        PERFORM pingpong_internal.check_target(target, coalesce(o ->> 'runbook', 'run'));
    ELSE
        PERFORM pingpong_internal.check_node(target, CASE kind WHEN 'facts' THEN 'preflight' ELSE kind END);
    END IF;
    PERFORM pingpong_internal.validate_options(kind, o);
    RETURN o::text;
END
$$;
COMMENT ON FUNCTION pingpong_internal.validate_request(text, text, text) IS
    'refuses a request that must not reach the worker';

-- ms of an interval argument, or an error that names it
CREATE FUNCTION pingpong_internal.option_ms(value interval, argument text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    ms      numeric := extract(epoch FROM value) * 1000;
    o       pingpong.run_option;
BEGIN
    SELECT * INTO STRICT o FROM pingpong.run_option r WHERE r.name = argument || '_ms';
    IF ms IS NULL OR ms NOT BETWEEN o.least AND o.most THEN
        PERFORM pingpong_internal.fail('22023', format('"%s" must be between %s and %s seconds', argument,
                                              trim_scale(o.least / 1000), trim_scale(o.most / 1000)));
    END IF;
    RETURN ms;
END
$$;
COMMENT ON FUNCTION pingpong_internal.option_ms(interval, text) IS
    'an interval argument in ms, or an error (22023) when it is out of its limits';
