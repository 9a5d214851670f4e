-- Alerts: rules as rows, what they have raised, and how the worker of the primary evaluates them.
--
-- Only a transition is written: a condition that is not true for long enough yet, or an open one that is not false
-- for long enough, is remembered by the worker alone, and begins anew when it is started again.

CREATE TABLE pingpong.alert_rule
(
    name        text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,56}$'),
    severity    text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    threshold   numeric,
    unit        text,
    raise_after interval NOT NULL DEFAULT '0' CHECK (raise_after >= '0'),
    clear_after interval NOT NULL DEFAULT '10 s' CHECK (clear_after >= '0'),
    enabled     boolean NOT NULL DEFAULT true,
    on_standby  boolean NOT NULL DEFAULT false,
    builtin     boolean NOT NULL DEFAULT false,
    comment     text NOT NULL
);
COMMENT ON TABLE pingpong.alert_rule IS
    'the rules of alerts; each is the function pingpong_check.alert_NAME(threshold numeric), which gives a row for '
    'each subject for which its condition is true now. Change thresholds by UPDATE';
COMMENT ON COLUMN pingpong.alert_rule.name IS 'the rule; its function is pingpong_check.alert_NAME()';
COMMENT ON COLUMN pingpong.alert_rule.severity IS 'info, warning or critical';
COMMENT ON COLUMN pingpong.alert_rule.threshold IS 'what the function is called with; null: it needs none';
COMMENT ON COLUMN pingpong.alert_rule.unit IS 'of the threshold and of the value, for people';
COMMENT ON COLUMN pingpong.alert_rule.raise_after IS 'how long the condition must be true before it is raised';
COMMENT ON COLUMN pingpong.alert_rule.clear_after IS 'how long it must be false before the alert is cleared';
COMMENT ON COLUMN pingpong.alert_rule.enabled IS 'false: the rule is not looked at, and its alerts are cleared';
COMMENT ON COLUMN pingpong.alert_rule.on_standby IS
    'whether the function is right on a standby, too, so that pingpong.health_check() calls it there';
COMMENT ON COLUMN pingpong.alert_rule.builtin IS 'whether it came with the extension';
COMMENT ON COLUMN pingpong.alert_rule.comment IS 'what it means';

-- A dump has all rules, with the thresholds of the site, and CREATE EXTENSION has made the built-in ones already: the
-- row of the dump is the right one.
CREATE FUNCTION pingpong_internal.alert_rule_again() RETURNS trigger
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE pingpong.alert_rule r
    SET severity = NEW.severity, threshold = NEW.threshold, raise_after = NEW.raise_after,
        clear_after = NEW.clear_after, enabled = NEW.enabled
    WHERE r.name = NEW.name AND r.builtin AND NEW.builtin;
    RETURN CASE WHEN FOUND THEN NULL ELSE NEW END;
END
$$;
COMMENT ON FUNCTION pingpong_internal.alert_rule_again() IS
    'a built-in rule that is inserted again changes the settings of the one that is there, as a restored dump does';
CREATE TRIGGER again BEFORE INSERT ON pingpong.alert_rule
    FOR EACH ROW EXECUTE FUNCTION pingpong_internal.alert_rule_again();
SELECT pg_extension_config_dump('pingpong.alert_rule', '');

-- The functions run with the rights of the worker, a superuser. So only who may create in pingpong_check can bring
-- one: who may change this row can only choose among those that are there.
GRANT UPDATE (severity, threshold, raise_after, clear_after, enabled) ON pingpong.alert_rule TO pingpong_operator;

-- What the function of a rule gives: a row for each subject for which its condition is true.
CREATE TYPE pingpong_check.symptom AS (subject text, value numeric, sentence text, remedy text);
COMMENT ON TYPE pingpong_check.symptom IS
    'what the function of an alert rule gives: about which thing, how much, what is so, and what to do about it';

CREATE TABLE pingpong.alert
(
    id         text PRIMARY KEY,
    rule       text NOT NULL,
    subject    text NOT NULL,
    severity   text NOT NULL,
    node       text,
    value      numeric,
    sentence   text NOT NULL,
    remedy     text,
    since      timestamptz NOT NULL,
    raised_at  timestamptz NOT NULL,
    cleared_at timestamptz,
    sent_state text CHECK (sent_state IN ('raised', 'cleared')),
    sent_at    timestamptz
);
CREATE UNIQUE INDEX alert_open ON pingpong.alert (rule, subject) WHERE cleared_at IS NULL;
COMMENT ON TABLE pingpong.alert IS
    'alerts that were raised, and when they were cleared; cleared ones are kept for 90 days. Written at transitions';
COMMENT ON COLUMN pingpong.alert.id IS 'RULE/SUBJECT/MS: ms is the moment of raised_at since 1970';
COMMENT ON COLUMN pingpong.alert.rule IS
    'a rule, or rule_broken: the function of the rule that is the subject had an error';
COMMENT ON COLUMN pingpong.alert.subject IS 'what it is about: a node, a slot, a run; empty: the server';
COMMENT ON COLUMN pingpong.alert.severity IS 'that of the rule when it was raised';
COMMENT ON COLUMN pingpong.alert.node IS 'the primary that raised it';
COMMENT ON COLUMN pingpong.alert.value IS 'how much it was then, in the unit of the rule';
COMMENT ON COLUMN pingpong.alert.sentence IS 'what was so when it was raised';
COMMENT ON COLUMN pingpong.alert.remedy IS 'what to do about it';
COMMENT ON COLUMN pingpong.alert.since IS 'since when the condition was seen to be true';
COMMENT ON COLUMN pingpong.alert.raised_at IS 'when that was long enough';
COMMENT ON COLUMN pingpong.alert.cleared_at IS 'when it was false for long enough; null: the alert is open';
COMMENT ON COLUMN pingpong.alert.sent_state IS
    'the state that an agent has delivered last (raised, cleared); null: none yet, or none is configured to';
COMMENT ON COLUMN pingpong.alert.sent_at IS 'when that was';

-- The message of a transition, for NOTIFY and for agents, which add the name of their cluster. A payload of NOTIFY
-- has 8000 bytes.
CREATE FUNCTION pingpong_internal.alert_json(a pingpong.alert) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('id', a.id, 'key', a.rule || '/' || a.subject, 'node', a.node, 'alert', a.rule,
                              'severity', a.severity, 'subject', a.subject, 'sentence', left(a.sentence, 800),
                              'remedy', left(a.remedy, 800), 'value', a.value, 'since', a.since,
                              'cleared_at', a.cleared_at,
                              'state', CASE WHEN a.cleared_at IS NULL THEN 'raised' ELSE 'cleared' END)
$$;
COMMENT ON FUNCTION pingpong_internal.alert_json(pingpong.alert) IS 'the message that tells of an alert''s state';

CREATE FUNCTION pingpong_internal.alert_raise(rule text, severity text, age interval, s pingpong_check.symptom)
    RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now     timestamptz := clock_timestamp();
    a       pingpong.alert;
BEGIN
    DELETE FROM pingpong.alert x WHERE x.cleared_at < now - interval '90 days';
    INSERT INTO pingpong.alert (id, rule, subject, severity, node, value, sentence, remedy, since, raised_at)
    VALUES (format('%s/%s/%s', $1, s.subject, floor(extract(epoch FROM now) * 1000)), $1, s.subject, $2,
            pingpong.node_name(), s.value, coalesce(s.sentence, $1), s.remedy, now - $3, now)
    RETURNING * INTO a;
    PERFORM pg_notify('pingpong', pingpong_internal.alert_json(a)::text);
END
$$;
COMMENT ON FUNCTION pingpong_internal.alert_raise(text, text, interval, pingpong_check.symptom) IS
    'for the worker: raises an alert whose condition is true for that long, and tells it on the channel pingpong';

CREATE FUNCTION pingpong_internal.alert_clear(rule text, subject text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    a       pingpong.alert;
BEGIN
    UPDATE pingpong.alert x SET cleared_at = clock_timestamp()
    WHERE x.rule = $1 AND x.subject = $2 AND x.cleared_at IS NULL RETURNING * INTO a;
    IF FOUND THEN
        PERFORM pg_notify('pingpong', pingpong_internal.alert_json(a)::text);
    END IF;
END
$$;
COMMENT ON FUNCTION pingpong_internal.alert_clear(text, text) IS
    'for the worker: clears an alert if it is open, and tells it on the channel pingpong';

-- What the condition of a rule is true for now, whatever the function gives twice or without a subject.
CREATE FUNCTION pingpong_internal.alert_symptoms(rule text, threshold numeric) RETURNS SETOF pingpong_check.symptom
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT DISTINCT ON (1) left(coalesce(f.subject, ''''), 200), f.value, f.sentence, '
                                'f.remedy FROM pingpong_check.%I($1) f ORDER BY 1 LIMIT 100', 'alert_' || rule)
        USING threshold;
END
$$;
COMMENT ON FUNCTION pingpong_internal.alert_symptoms(text, numeric) IS
    'the subjects for which the condition of a rule is true now, at most 100';

-- The rules to look at, the alerts of others cleared.
CREATE FUNCTION pingpong_internal.alert_rules() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pingpong_internal.alert_clear(a.rule, a.subject)
    FROM pingpong.alert a
    WHERE a.cleared_at IS NULL
        AND NOT EXISTS (SELECT FROM pingpong.alert_rule r
                        WHERE r.enabled
                            AND r.name = CASE a.rule WHEN 'rule_broken' THEN a.subject ELSE a.rule END);
    RETURN QUERY SELECT r.name FROM pingpong.alert_rule r WHERE r.enabled ORDER BY r.name;
END
$$;
COMMENT ON FUNCTION pingpong_internal.alert_rules() IS
    'for the worker: the enabled rules; alerts of rules that are not, or are gone, are cleared';

-- `memory`, which the worker keeps from one call to the next: {subject: since when}, of a subject without an open
-- alert since when the condition is true, of one with an open alert since when it is false.
CREATE FUNCTION pingpong_internal.alert_apply(rule text, memory jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now     timestamptz := clock_timestamp();
    later   jsonb := '{}';
    seen    text[] := '{}';
    since   timestamptz;
    r       pingpong.alert_rule;
    s       pingpong_check.symptom;
    gone    text;
BEGIN
    SELECT * INTO STRICT r FROM pingpong.alert_rule x WHERE x.name = $1;
    FOR s IN SELECT * FROM pingpong_internal.alert_symptoms(r.name, r.threshold)
    LOOP
        seen := seen || s.subject;
        CONTINUE WHEN EXISTS (SELECT FROM pingpong.alert a WHERE a.rule = r.name AND a.subject = s.subject
                              AND a.cleared_at IS NULL);
        since := coalesce((memory ->> s.subject)::timestamptz, now);
        IF now >= since + r.raise_after THEN
            PERFORM pingpong_internal.alert_raise(r.name, r.severity, now - since, s);
        ELSE
            later := later || jsonb_build_object(s.subject, since);
        END IF;
    END LOOP;
    FOR gone IN SELECT a.subject FROM pingpong.alert a
                WHERE a.rule = r.name AND a.cleared_at IS NULL AND a.subject <> ALL (seen)
    LOOP
        since := coalesce((memory ->> gone)::timestamptz, now);
        IF now >= since + r.clear_after THEN
            PERFORM pingpong_internal.alert_clear(r.name, gone);
        ELSE
            later := later || jsonb_build_object(gone, since);
        END IF;
    END LOOP;
    PERFORM pingpong_internal.alert_clear('rule_broken', r.name);
    RETURN later;
END
$$;
COMMENT ON FUNCTION pingpong_internal.alert_apply(text, jsonb) IS
    'for the worker: looks at a rule, raises and clears its alerts; gives what is to be remembered for the next time';

CREATE FUNCTION pingpong_internal.alert_broken(rule text, error text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pingpong.alert a WHERE a.rule = 'rule_broken' AND a.subject = $1
               AND a.cleared_at IS NULL) THEN
        RETURN false;
    END IF;
    PERFORM pingpong_internal.alert_raise('rule_broken', 'warning', '0',
        ROW($1, NULL, format('the alert rule "%s" cannot be looked at: %s', $1, $2),
            format('Fix the function pingpong_check.alert_%s(), or UPDATE pingpong.alert_rule SET enabled = false '
                   'WHERE name = %L', $1, $1))::pingpong_check.symptom);
    RETURN true;
END
$$;
COMMENT ON FUNCTION pingpong_internal.alert_broken(text, text) IS
    'for the worker: the function of a rule had an error; true: that is new';

CREATE FUNCTION pingpong_internal.alerts_evaluated_at() RETURNS timestamptz
AS 'MODULE_PATHNAME', 'pingpong_alerts_evaluated_at' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION pingpong_internal.alerts_evaluated_at() IS
    'when this server''s worker has looked at all rules last; null: not since it was started, as on a standby';

CREATE VIEW pingpong.alerts AS
    SELECT a.severity, a.rule, a.subject, a.since, a.sentence, a.remedy, a.value, r.threshold, r.unit, a.raised_at,
           a.sent_at, a.node, pingpong_internal.alerts_evaluated_at() AS evaluated_at, a.id
    FROM pingpong.alert a LEFT JOIN pingpong.alert_rule r ON r.name = a.rule
    WHERE a.cleared_at IS NULL
    ORDER BY array_position('{critical,warning,info}'::text[], a.severity), a.since, a.rule, a.subject;
COMMENT ON VIEW pingpong.alerts IS
    'the open alerts, the worst first; on a standby, those that the primary has raised';
COMMENT ON COLUMN pingpong.alerts.severity IS 'as in pingpong.alert, as are all columns but these';
COMMENT ON COLUMN pingpong.alerts.rule IS 'the rule';
COMMENT ON COLUMN pingpong.alerts.subject IS 'what it is about';
COMMENT ON COLUMN pingpong.alerts.since IS 'since when the condition was seen to be true';
COMMENT ON COLUMN pingpong.alerts.sentence IS 'what was so when it was raised';
COMMENT ON COLUMN pingpong.alerts.remedy IS 'what to do about it';
COMMENT ON COLUMN pingpong.alerts.value IS 'how much it was when it was raised';
COMMENT ON COLUMN pingpong.alerts.threshold IS 'the present one of the rule';
COMMENT ON COLUMN pingpong.alerts.unit IS 'of value and threshold';
COMMENT ON COLUMN pingpong.alerts.raised_at IS 'when it was raised';
COMMENT ON COLUMN pingpong.alerts.sent_at IS 'when an agent delivered it last; null: not yet';
COMMENT ON COLUMN pingpong.alerts.node IS 'the primary that raised it';
COMMENT ON COLUMN pingpong.alerts.evaluated_at IS
    'when this server''s worker has looked at all rules last: what changed since then is not here yet; null: not '
    'since it was started, or this is a standby';
COMMENT ON COLUMN pingpong.alerts.id IS 'as in pingpong.alert';
