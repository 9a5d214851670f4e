# The views of state, on the primary and on standbys: who is what, how far, since when silent; redundancy, streams,
# routes, runs and events. What is old is not shown as new.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, nodes => 3, poolers => 1, port => 23100,
	set => ['pingpong.agent_interval=200ms', 'wal_receiver_status_interval=1s']);
$lab->sql('chicago', 'CREATE ROLE mon LOGIN IN ROLE pg_monitor', 'CREATE ROLE nobody LOGIN',
	q{UPDATE pingpong.node SET site = 'lake' WHERE name = 'chicago'});
$lab->wait_for($_, q{SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'nobody')}, 'the roles') for $lab->nodes;

sub as { my ($role, $node) = @_; return $lab->env("DSN_$node") =~ s/user=\S+/user=$role/r; }

# A row of pingpong.status, by its columns, once it says so.
sub comes
{
	my ($at, $node, $columns, $expected, $what) = @_;
	my $seen = '';
	eval { $lab->until_true($what, sub {
		$seen = $lab->sql(as('mon', $at), "SELECT $columns FROM pingpong.status WHERE node = '$node'");
		return $seen eq $expected; }) };
	return is($seen, $expected, $what);
}

my @views = qw(status replication redundancy routes runs steps events slots standby progress gate);
my $now = q{(SELECT bool_and(agent = 'ok') FROM pingpong.status)};
for my $at ($lab->nodes)
{
	$lab->wait_for(as('mon', $at), "SELECT $now", 'news of all agents');
	is($lab->sql(as('mon', $at), q{SELECT node, kind, role, site, timeline, state, takes_over, silent_since IS NULL,
		age < '10 s', version = split_part(current_setting('server_version'), ' ', 1) FROM pingpong.status}),
		"austin|postgres|standby||1|streaming|t|t|t|t\nchicago|postgres|primary|lake|1|||t|t|t\n"
		. "dallas|postgres|standby||1|streaming|t|t|t|t\npooler1|router|router|||||t|t|", "$at: who is what");
	is($lab->sql(as('mon', $at), 'SELECT copies, standbys, others, since <= counted_at FROM pingpong.redundancy'),
		'2|austin, dallas||t', "$at: how many could take over");
	ok($lab->sql_ok(as('mon', $at), q{SET statement_timeout = '3 s'}, map { "SELECT * FROM pingpong.$_" } @views),
		"$at: a monitor reads every view");
	like(($lab->try_sql(as('nobody', $at), "SELECT * FROM pingpong.$_"))[1], qr/permission denied/,
		"$at: anybody else does not read $_") for qw(status events);
}
is($lab->sql(as('mon', 'chicago'), q{SELECT direction, node, state, slot_name, replay_lag_bytes < 1e6
	FROM pingpong.replication}),
	"sends|austin|streaming|pingpong_austin|t\nsends|dallas|streaming|pingpong_dallas|t",
	'the streams that leave the primary');
is($lab->sql(as('mon', 'dallas'), q{SELECT direction, node, state, slot_name, told_at > now() - interval '1 min'
	FROM pingpong.replication}),
	'receives|chicago|streaming|pingpong_dallas|t', 'the stream that a standby receives');

# ---- lag, seen from everywhere ----

$lab->sql('austin', 'SELECT pg_wal_replay_pause()');
$lab->wait_for('austin', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}, 'the pause');
$lab->sql('chicago', q{SELECT pg_logical_emit_message(false, 'test', repeat('x', 2000000))});
my $behind = 'replay_lag_bytes BETWEEN 2e6 AND 3e6';
comes($_, 'austin', "role, $behind", 'standby|t', "$_ knows how far austin is behind") for $lab->nodes;
comes('chicago', 'austin', 'flush_lag_bytes < 1e6, flush_lag IS NOT NULL', 't|t', 'it has the WAL');
comes('austin', 'austin', 'flush_lag_bytes < 1e6', 't', 'and knows that itself');
$lab->sql('austin', 'SELECT pg_wal_replay_resume()');
comes($_, 'austin', 'replay_lag_bytes < 1e6', 't', "$_ sees it catch up") for $lab->nodes;

# ---- an agent that hangs ----

my $agent = $lab->pid('agent', 'dallas');
kill 'STOP', $agent or die;
comes('chicago', 'dallas', q{agent, role, silent_since > now() - interval '1 min', agent_error IS NOT NULL, timeline},
	'silent|standby|t|t|', 'a silent agent: since when; its server streams');
comes('austin', 'dallas', q{agent, role, lsn, version, state, told_at <= silent_since},
	'silent|unknown||||t', 'where nothing else tells: unknown, and of when the last news is');
is($lab->sql('chicago', q{SELECT copies, standbys, others FROM pingpong.redundancy}),
	'1|austin|dallas (agent silent)', 'nobody would promote it');
ok($lab->wait_for('chicago', q{SELECT r.counted_at > s.silent_since AND r.since > s.silent_since
	FROM pingpong.redundancy r, pingpong.status s WHERE s.node = 'dallas'}, 'the count'), 'since when so few');
my $since = $lab->sql('chicago', 'SELECT since FROM pingpong.redundancy');
$lab->wait_for('chicago', 'SELECT counted_at > since + interval \'1 s\' FROM pingpong.redundancy', 'another count');
is($lab->sql('chicago', 'SELECT since FROM pingpong.redundancy'), $since, 'which stays');
kill 'CONT', $agent;
comes($_, 'dallas', 'agent, role, silent_since, takes_over', 'ok|standby||t', "$_ hears it again") for $lab->nodes;

# ---- a worker that hangs: all it heard is old ----

my $worker = $lab->pid('worker', 'chicago');
kill 'STOP', $worker or die;
comes('chicago', 'dallas', 'agent, role, agent_error',
	'silent|standby|the worker of this server has not asked it since', 'a silent worker knows no agent');
kill 'CONT', $worker;
comes('chicago', 'dallas', 'agent', 'ok', 'it asks again');

# ---- a server that is gone ----

$lab->kill9('postgres', 'austin');
comes($_, 'austin', 'agent, role, state, takes_over', 'ok|down||f', "$_ knows that austin is down")
	for 'chicago', 'dallas';
$lab->start_pg('austin');
comes($_, 'austin', 'agent, role, state, takes_over', 'ok|standby|streaming|t', "$_ knows that it is back")
	for 'chicago', 'dallas';

# ---- a move ----

$lab->sql('chicago', q{SELECT pingpong.switchover('dallas')});
is(join(' ', $lab->settle(1)), 'succeeded done dallas', 'moved');
comes($_, 'dallas', 'role, timeline, takes_over', 'primary|2|', "$_ knows the new primary") for $lab->nodes;
comes($_, 'chicago', 'role, timeline, takes_over', 'standby|2|t', "$_ knows the old one") for $lab->nodes;
for my $at ('dallas', 'chicago')
{
	$lab->wait_for($at, q{SELECT count(*) = 1 FROM pingpong.runs WHERE state = 'succeeded'}, 'the end of the run');
	is($lab->sql(as('mon', $at), q{SELECT kind, node, run, severity FROM pingpong.events}),
		"run succeeded|dallas|1|info\nprimary moved|dallas|1|info\nrun began|dallas|1|info", "$at: what happened");
	is($lab->sql(as('mon', $at), q{SELECT name, kind, node, since IS NOT NULL, last_error, observed_node IS NULL
		OR observed_node = node FROM pingpong.routes WHERE kind = 'rw'}), 'rw1|rw|dallas|t||t', "$at: the route");
	is($lab->sql(as('mon', $at), q{SELECT run, runbook, source, target, state, blackout_ms > 0, took > '0'
		FROM pingpong.runs}), '1|switchover|chicago|dallas|succeeded|t|t', "$at: the run");
	is($lab->sql(as('mon', $at), q{SELECT count(*) > 10, bool_and(at_ms >= 0) FROM pingpong.steps
		WHERE state = 'succeeded'}), 't|t', "$at: its steps");
}
$lab->sql('dallas', q{SELECT * FROM pingpong.preflight('chicago')});
is($lab->sql('dallas', 'SELECT name, observed_node FROM pingpong.routes'), "ro1|chicago\nrw1|dallas",
	'where the router was seen to point');
$lab->kill9('agent', 'pooler1');
ok($lab->wait_for('chicago', q{SELECT bool_and(last_error IS NOT NULL) FROM pingpong.routes}, 'the error'),
	'a router whose agent is gone does not tell');
done_testing();
