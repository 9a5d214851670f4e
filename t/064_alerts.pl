# Alerts: rules, hysteresis, transitions and what is told of them; a rule of the site, broken in three ways; who may
# change what; no WAL while nothing changes; a switchover and back raises none; pingpong.health_check().
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use Lab;
use Session;
use Test::More;

my $lab = Lab->up(fast => 1, nodes => 2, poolers => 0, set => ['pingpong.alert_interval=200ms',
	'pingpong.sample_interval=200ms']);
$lab->sql('chicago', 'CREATE ROLE ops LOGIN IN ROLE pingpong_operator', 'CREATE ROLE mon LOGIN IN ROLE pg_monitor');

sub as { my ($role, $node) = @_; return $lab->env("DSN_$node") =~ s/user=\S+/user=$role/r; }
sub open_alerts { return $lab->sql($_[0], 'SELECT severity, rule, subject FROM pingpong.alerts'); }
sub rounds
{
	my ($node, $n) = @_;
	for (1 .. $n)
	{
		my $at = $lab->sql($node, 'SELECT coalesce(pingpong_internal.alerts_evaluated_at(), now())');
		$lab->wait_for($node, "SELECT pingpong_internal.alerts_evaluated_at() > '$at'", 'a round of the rules');
	}
	return;
}

# ---- everything is well ----

rounds('chicago', 3);
is(open_alerts('chicago'), '', 'a healthy lab has no alerts');
my $idle = q{SELECT pg_current_wal_lsn() = '%s'};
ok($lab->until_true('an idle server', sub {
	my $lsn = $lab->sql('chicago', 'SELECT pg_current_wal_lsn()');
	rounds('chicago', 5);
	return $lab->sql('chicago', sprintf($idle, $lsn)) eq 't';
}, 60), 'five rounds of all rules, and no WAL');
for my $node ($lab->nodes)
{
	for my $role ('ops', 'mon')
	{
		is($lab->sql(as($role, $node), q{SELECT name, status, detail FROM pingpong.health_check(raise => true)
			WHERE status <> 'ok'}), '', "$role: $node is healthy");
	}
}
is($lab->sql('chicago', q{SELECT string_agg(r.name, ',') FROM pingpong.alert_rule r
	LEFT JOIN pingpong.health_check() h USING (name) WHERE h.name IS NULL}), '',
	'health_check() looks at every rule');
like(($lab->try_sql(as('mon', 'chicago'), q{UPDATE pingpong.alert_rule SET enabled = false}))[1],
	qr/permission denied/, 'a monitor changes no rule');
like(($lab->try_sql(as('ops', 'chicago'), q{UPDATE pingpong.alert_rule SET name = 'x'}))[1], qr/permission denied/,
	'an operator does not say which function a rule calls');

# ---- raised, told, cleared ----

my $listener = Session->open($lab, 'chicago');
$listener->ask('LISTEN pingpong');
sub told
{
	my ($state) = @_;
	my $payload = $lab->until_true("the notification \"$state\"", sub {
		my ($json) = $listener->ask('SELECT 1') =~ /with payload "(.*)" received/;
		return $json;
	});
	return decode_json($payload);
}

$lab->sql(as('ops', 'chicago'), q{UPDATE pingpong.alert_rule SET raise_after = '1 h' WHERE name = 'slot_inactive'});
$lab->sql('chicago', q{SELECT pg_create_physical_replication_slot('forgotten', true)});
rounds('chicago', 3);
is(open_alerts('chicago'), '', 'not long enough');
$lab->sql(as('ops', 'chicago'), q{UPDATE pingpong.alert_rule SET raise_after = '0', clear_after = '1 h'
	WHERE name = 'slot_inactive'});
$lab->wait_for('chicago', 'SELECT count(*) = 1 FROM pingpong.alerts', 'an alert');
is(open_alerts('chicago'), 'warning|slot_inactive|forgotten', 'it is raised');
my $raised = told('raised');
is("$raised->{state} $raised->{key} $raised->{node} $raised->{severity}",
	'raised slot_inactive/forgotten chicago warning', 'and told on the channel');
like("$raised->{sentence}: $raised->{remedy}",
	qr/^nobody uses slot forgotten, .*: .*SELECT pg_drop_replication_slot\('forgotten'\)/, 'with a remedy');
ok($lab->wait_for('dallas', q{SELECT count(*) = 1 AND bool_and(evaluated_at IS NULL) FROM pingpong.alerts},
	'the standby'), 'a standby shows it, and does not say that it looked itself');
is($lab->sql('chicago', q{SELECT status FROM pingpong.health_check() WHERE name = 'slot_inactive'}), 'warn',
	'health_check() warns');
$lab->sql('chicago', q{SELECT pg_drop_replication_slot('forgotten')});
rounds('chicago', 3);
is(open_alerts('chicago'), 'warning|slot_inactive|forgotten', 'not false for long enough');
$lab->sql('chicago', q{UPDATE pingpong.alert_rule SET clear_after = '0' WHERE name = 'slot_inactive'});
$lab->wait_for('chicago', 'SELECT count(*) = 0 FROM pingpong.alerts', 'the end of it');
my $cleared = told('cleared');
is("$cleared->{state} $cleared->{id}", "cleared $raised->{id}", 'cleared and told');
is($lab->sql('chicago', 'SELECT count(*) FROM pingpong.alert'), '1', 'one row, for both');

# ---- rules of the site ----

my $function = 'CREATE OR REPLACE FUNCTION pingpong_check.alert_ours(threshold numeric) '
	. 'RETURNS SETOF pingpong_check.symptom LANGUAGE ';
my $pid = $lab->pid('worker', 'chicago');
$lab->sql('chicago', q{INSERT INTO pingpong.alert_rule (name, severity, threshold, clear_after, comment)
	VALUES ('ours', 'critical', 7, '0', 'a rule of the site')});
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pingpong.alerts WHERE rule = 'rule_broken' AND subject = 'ours'
	AND sentence ~ 'alert_ours.* does not exist'}, 'a rule without a function');
pass('a rule without a function is an alert');
for my $broken (['an error', q{plpgsql AS 'BEGIN RAISE EXCEPTION ''no way''; END'}, 'no way'],
	['no end', q{sql AS 'SELECT NULL::text, 1, NULL::text, NULL::text FROM pg_sleep(3600)'}, 'statement timeout'])
{
	my ($what, $body, $why) = @$broken;
	$lab->sql('chicago', q{UPDATE pingpong.alert_rule SET enabled = false WHERE name = 'ours'});
	$lab->wait_for('chicago', 'SELECT count(*) = 0 FROM pingpong.alerts', 'the end of it');
	$lab->sql('chicago', $function . $body, q{UPDATE pingpong.alert_rule SET enabled = true WHERE name = 'ours'},
		q{SELECT pg_create_physical_replication_slot('other', true)});
	$lab->wait_for('chicago', "SELECT count(*) = 1 FROM pingpong.alerts WHERE rule = 'rule_broken'
		AND sentence ~ '$why'", "a function with $what");
	ok($lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pingpong.alerts WHERE rule = 'slot_inactive'},
		'the others'), "a function with $what is an alert, and the other rules go on");
	$lab->sql('chicago', q{SELECT pg_drop_replication_slot('other')});
}
is($lab->pid('worker', 'chicago'), $pid, 'in the same worker');
$lab->sql('chicago', $function . q{sql AS 'SELECT ''x'', $1, ''it is '' || $1, ''none'''},
	'REVOKE EXECUTE ON FUNCTION pingpong_check.alert_ours(numeric) FROM PUBLIC');
$lab->wait_for('chicago', q{SELECT string_agg(concat_ws(' ', severity, rule, subject, value, sentence), ',')
	= 'critical ours x 7 it is 7' FROM pingpong.alerts}, 'a rule that works');
pass('a rule of the site is evaluated');
my ($out, $err, $rc) = $lab->try_sql(as('mon', 'chicago'), '\set VERBOSITY verbose',
	'SELECT * FROM pingpong.health_check(true)');
like($err, qr/58000: health check failed: ours\nDETAIL:  ours: it cannot be looked at: permission denied/,
	'a check that one may not make is unknown');
$lab->sql('chicago', 'GRANT EXECUTE ON FUNCTION pingpong_check.alert_ours(numeric) TO pg_monitor');
($out, $err, $rc) = $lab->try_sql(as('mon', 'chicago'), '\set VERBOSITY verbose',
	'SELECT * FROM pingpong.health_check(true)');
like($err, qr/58000: health check failed: ours\nDETAIL:  ours: it is 7\nHINT:  none/, 'health_check() can raise');

# ---- a dump has the thresholds of the site ----

$lab->sql('chicago', q{UPDATE pingpong.alert_rule SET threshold = 77 WHERE name = 'lag_seconds'},
	'CREATE DATABASE copy');
my $bin = $lab->env('PGBIN');
my $dsn = $lab->env('DSN_chicago');
my $copy = $dsn =~ s/dbname=\S+/dbname=copy/r;
is(system(qq{$bin/pg_dump "$dsn" 2>/dev/null | $bin/psql -XAtq -v ON_ERROR_STOP=1 -d "$copy" >/dev/null 2>&1}), 0,
	'a dump can be restored');
is($lab->sql($copy, q{SELECT name, threshold FROM pingpong.alert_rule WHERE name IN ('lag_seconds', 'ours')
	ORDER BY 1}), "lag_seconds|77\nours|7", 'with the rules of the site');
$lab->sql('chicago', 'DROP DATABASE copy', q{DELETE FROM pingpong.alert_rule WHERE name = 'ours'});
$lab->wait_for('chicago', 'SELECT count(*) = 0 FROM pingpong.alerts', 'the end of a rule');

# ---- a standby that is missing; a switchover and back is no alarm ----

my $before = $lab->sql('chicago', 'SELECT count(*) FROM pingpong.alert');
for my $to ('dallas', 'chicago')
{
	my $from = $to eq 'dallas' ? 'chicago' : 'dallas';
	$lab->sql($from, "SELECT pingpong.switchover('$to')");
	is(($lab->settle($lab->last_run($to)))[0], 'succeeded', "moved to $to");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pingpong.standby WHERE state = 'streaming'", "$from streams");
	rounds($to, 2);
	is($lab->sql($to, 'SELECT count(*) FROM pingpong.alert'), $before, 'no alarm for it');
}
$lab->sql('chicago', q{UPDATE pingpong.alert_rule SET raise_after = '0' WHERE name = 'standby_missing'});
$lab->kill9('postgres', 'dallas');
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pingpong.alerts WHERE rule = 'standby_missing'
	AND subject = 'dallas' AND severity = 'critical'}, 'a standby that is missing');
pass('a standby that is missing is an alert');
$lab->start_pg('dallas');
$lab->wait_for('chicago', q{SELECT count(*) = 0 FROM pingpong.alerts WHERE rule = 'standby_missing'}, 'its end');
pass('and cleared when it streams again');
done_testing();
