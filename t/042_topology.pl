# Three and four nodes, one of them cascaded, asynchronous and synchronous: all follow by reload, no server is
# restarted.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Session;
use Test::More;

my $lab;

sub started { my ($node) = @_; return $lab->sql($node, 'SELECT pg_postmaster_start_time()'); }
sub upstream_of
{
	my ($node) = @_;
	my $port = $lab->sql($node,
		q{SELECT coalesce((SELECT sender_port FROM pg_stat_wal_receiver WHERE status = 'streaming'), 0)});
	my ($name) = grep { $lab->env("PORT_$_") == $port } $lab->nodes;
	return $name // "port $port";
}

sub slots
{
	my ($node) = @_;
	return $lab->sql($node, q{SELECT coalesce(string_agg(slot_name || CASE WHEN active THEN '' ELSE ' (inactive)' END,
		' ' ORDER BY slot_name), '') FROM pg_replication_slots});
}

# Each node streams from the primary or, through others, from it; the rows arrive everywhere.
sub check_tree
{
	my ($what, $primary) = @_;
	is(join(' ', $lab->primary), $primary, "$what: one primary, $primary");
	my $value = int rand 1e9;
	$lab->sql($primary, "INSERT INTO arrived VALUES ($value)");
	for my $node (grep { $_ ne $primary } $lab->nodes)
	{
		$lab->wait_for($node, "SELECT EXISTS (SELECT FROM arrived WHERE i = $value)",
			'a row written on the new primary');
		pass("$what: $node has what is written on $primary");
		my $registered = $lab->sql($primary,
			"SELECT coalesce(upstream, '$primary') FROM pingpong.node WHERE name = '$node'");
		is(upstream_of($node), $registered, "$what: $node streams from where it is registered to");
	}
	for my $node ($lab->nodes)
	{
		my $wanted = join ' ',
			map { "pingpong_$_" } sort grep { $_ ne $primary && upstream_of($_) eq $node } $lab->nodes;
		is(slots($node), $wanted, "$what: $node has the slots for those that stream from it, and no others");
	}
	return;
}

sub move
{
	my ($what, $run, $from, $to, $more) = @_;
	my %before = map { $_ => started($_) } grep { $_ ne $from } $lab->nodes;
	my ($out, $err, $rc) = $lab->try_sql($from,
		"SELECT run, state, new_primary FROM pingpong.switchover('$to'" . ($more // '') . ')');
	is($out, "$run|switched|$to", "$what: switched") or diag($err);
	is(join(' ', $lab->settle($run)), "succeeded done $to", "$what: the run succeeded");
	is(started($_), $before{$_}, "$what: $_ was not restarted") for sort keys %before;
	check_tree($what, $to);
	return;
}

sub verify
{
	my ($what, $writers, $primary) = @_;
	is($writers->verify($primary)->{lost}, 0, "$what: nothing lost");
	my $totals = $writers->stop;
	is($totals->{errors} + $totals->{ambiguous}, 0, "$what: no error, nothing ambiguous") or diag($totals->{sample});
	return;
}

# ---- three nodes; then four with a cascade, asynchronous ----

for my $shape (['three nodes', nodes => 3], ['a cascade', nodes => 4, cascade => 1])
{
	my ($what, @options) = @$shape;
	$lab = Lab->up(fast => 1, poolers => 1, port => 19300, @options);
	$lab->sql('chicago', 'CREATE TABLE arrived (i int)');
	my $writers = $lab->writers(writers => 4, rate => 200);
	check_tree("$what, at first", 'chicago');
	move("$what, ping", 1, 'chicago', 'dallas');
	move("$what, sideways", 2, 'dallas', 'austin');
	move("$what, pong", 3, 'austin', 'chicago');
	verify($what, $writers, 'chicago');
	$lab->down;
}

# ---- the upstream of a cascaded node becomes the primary; synchronous ----

$lab = Lab->up(fast => 1, poolers => 1, port => 19300, nodes => 4, cascade => 1, sync => 1);
$lab->sql('chicago', 'CREATE TABLE arrived (i int)');
my $names = $lab->sql('chicago', 'SHOW synchronous_standby_names');
my $own = $lab->sql('austin', 'SHOW synchronous_standby_names');
my $writers = $lab->writers(writers => 4, rate => 200);
check_tree('synchronous, at first', 'chicago');
move('synchronous, to the upstream of a cascaded node', 1, 'chicago', 'austin');
is($lab->sql('austin', 'SHOW synchronous_standby_names'), $own, 'synchronous: the names are restored');
is($lab->sql('austin', q{SELECT string_agg(action || ' ' || state, ' ' ORDER BY ordinal) FROM pingpong.step
		WHERE run = 1 AND action IN ('sync_relax', 'sync_restore')}),
	'sync_relax succeeded sync_restore succeeded', 'synchronous: relaxed and restored, both in the journal');
like($lab->sql('austin', 'SELECT pingpong.report(1)'),
	qr/sync_relax +austin +succeeded.*sync_restore +austin +succeeded/s, 'synchronous: both in the report');
$lab->wait_for('austin', q{SELECT count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) > 0
	FROM pg_stat_replication}, 'a synchronous standby');
move('synchronous, back', 2, 'austin', 'chicago');
is($lab->sql('chicago', 'SHOW synchronous_standby_names'), $names,
	'synchronous: the names are restored on the way back');
verify('synchronous', $writers, 'chicago');
$lab->down;

# ---- two nodes: the only synchronous standby is the old primary, which is not back yet ----

$lab = Lab->up(fast => 1, poolers => 1, port => 19300, nodes => 2, sync => 1);
$lab->sql('chicago', 'CREATE TABLE arrived (i int)');
$writers = $lab->writers(writers => 2, rate => 100);
is($lab->sql('dallas', 'SHOW synchronous_standby_names'), 'ANY 1 (chicago)', 'the only other: its setting');
# the rejoin cannot begin while the agent of the old primary is down
$lab->set('chicago', 'pingpong.debug_pause_after', 'warm');
my $job = $lab->begin_sql('chicago', q{SELECT state, new_primary FROM pingpong.switchover('dallas')});
$lab->wait_for('chicago', q{SELECT coalesce(bool_or(state = 'succeeded'), false) FROM pingpong.progress
	WHERE action = 'warm'}, 'the preparations');
$lab->kill9('agent', 'chicago');
$lab->set('chicago', 'pingpong.debug_pause_after', undef);
my ($out, $err) = $lab->finish($job);
is($out, 'switched|dallas', 'the only other: switched without its agent') or diag($err);
is($lab->sql('dallas', 'SHOW synchronous_standby_names'), '', 'the only other: relaxed');
my $rows = $lab->sql('dallas', 'SELECT count(*) FROM ledger');
$lab->wait_for('dallas', "SELECT count(*) > $rows + 20 FROM ledger", 'writes without the old primary');
is($lab->sql('dallas', q{SELECT count(*) FROM pg_stat_replication}), '0',
	'the only other: it is not back, and writes do not wait for it');
$lab->start_agent('chicago');
is(join(' ', $lab->settle(1)), 'succeeded done dallas', 'the only other: the run succeeds when the agent is back');
is($lab->sql('dallas', 'SHOW synchronous_standby_names'), 'ANY 1 (chicago)',
	'the only other: the names are restored');

# the strict way: the names stay all the time, and the writes wait
($out, $err) = $lab->try_sql('dallas',
	q{SELECT state, new_primary FROM pingpong.switchover('chicago', synchronous => 'strict')});
is($out, 'switched|chicago', 'strict: switched') or diag($err);
is(join(' ', $lab->settle(2)), 'succeeded done chicago', 'strict: the run succeeded');
is($lab->sql('chicago', q{SELECT count(*) FROM pingpong.step
		WHERE run = 2 AND action IN ('sync_relax', 'sync_restore') AND state <> 'skipped'}), '0',
	'strict: nothing is relaxed');
is($lab->sql('chicago', 'SHOW synchronous_standby_names'), 'ANY 1 (dallas)', 'strict: the names');

# the target has no names of its own, and its RW route cannot be pointed there: it is the primary all the same, and
# takes those of the old one
$lab->set('dallas', 'synchronous_standby_names', '');
my $conninfo = $lab->sql('dallas', 'SHOW primary_conninfo') =~ s/ ?application_name=\S+//r =~ s/'/''/gr;
$lab->sql('dallas', "ALTER SYSTEM SET primary_conninfo = '$conninfo application_name=Dallas-A'",
	'SELECT pg_reload_conf()');
$lab->set('chicago', 'synchronous_standby_names', 'ANY 1 (first_of_all, "dallas-A")');
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pg_stat_replication
	WHERE application_name = 'Dallas-A' AND sync_state = 'quorum'}, 'it to be known by another name');
$lab->set('chicago', 'pingpong.debug_pause_after', 'hold');
$lab->sql('chicago', q{UPDATE pingpong.runbook_step SET timeout = '1 s' WHERE action = 'repoint'});
$job = $lab->begin_sql('chicago', q{SELECT state, new_primary FROM pingpong.switchover('dallas')});
$lab->wait_for('chicago', q{SELECT coalesce(bool_or(state = 'succeeded'), false) FROM pingpong.progress
	WHERE run_state = 'running' AND action = 'hold'}, 'the blackout');
$lab->kill9('agent', 'pooler1');
$lab->set('chicago', 'pingpong.debug_pause_after', undef);
($out, $err) = $lab->finish($job);
is($out, 'promoted|dallas', 'no route: the caller is told that the primary has moved') or diag($err);
my ($state, $sentence) = $lab->settle(3);
like("$state $sentence", qr/^stuck "dallas" is the primary, but step repoint of "rw1" failed/,
	'no route: the run is stuck');
is($lab->sql('dallas', 'SHOW synchronous_standby_names'), 'ANY 1 (first_of_all, chicago)',
	'no route: the names of the old primary, exchanged, all the same');
is($lab->sql('dallas', q{SELECT switched_at IS NOT NULL FROM pingpong.run WHERE id = 3}), 't',
	'no route: the journal has it that the primary has moved');
$lab->start_agent('pooler1');
is($lab->sql('dallas', q{SELECT state FROM pingpong.repoint()}), 'succeeded',
	'no route: pointed there when the agent is back');
is($lab->sql('dallas', q{SELECT state FROM pingpong.run WHERE id = 3}), 'succeeded',
	'no route: which closes the run');

is($writers->verify('dallas')->{lost}, 0, 'synchronous, two nodes: nothing lost');
my $totals = $writers->stop;
is($totals->{ambiguous}, 0, 'synchronous, two nodes: nothing ambiguous') or diag($totals->{sample});

done_testing();
