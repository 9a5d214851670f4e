# A failover is stopped after each of its steps, and a process is killed (-9) there. Before the promotion is ordered
# it is undone, and all is as before; behind that it goes on; while it is not known whether the order was obeyed
# nothing else is promoted. At no time are two primaries writable.
# time limit: 1800 s
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

my $risk = "risk => 'writes may be lost'";
my $lab = Lab->up(nodes => 3, fast => 1, poolers => 1);
$lab->wait_for('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
$lab->sql('chicago', 'CREATE TABLE kept (i int)', 'INSERT INTO kept VALUES (0)');

sub caught_up
{
	my ($primary, @standbys) = @_;
	my $lsn = $lab->sql($primary, 'SELECT pg_current_wal_flush_lsn()');
	$lab->wait_for($_, "SELECT pg_last_wal_replay_lsn() >= '$lsn'", 'all of the WAL') for @standbys;
	return;
}

# The answer of the plan is a statement, not a refusal.
sub possible
{
	my ($node) = @_;
	$lab->until_true("a failover to be possible on $node", sub {
		my ($out, undef, $rc) = $lab->try_sql($node,
			q{SELECT count(*) FILTER (WHERE status = 'fail') FROM pingpong.failover_plan()});
		return $rc == 0 && $out eq '0' });
	return;
}

sub stopped_after
{
	my ($node, $target, $step) = @_;
	$lab->set($node, 'pingpong.debug_pause_after', $step);
	my $job = $lab->begin_sql($node, "SELECT * FROM pingpong.failover('$target', $risk)");
	# of several steps of that name the first is enough: the run moves none of them any more
	$lab->wait_for($node, "SELECT count(*) > 0 FROM pingpong.progress WHERE run_state = 'running' AND action = '$step'
		AND state = 'succeeded'", "step $step");
	return $job;
}

# What a failover that came to nothing must not leave.
sub traces
{
	my ($target) = @_;
	my @found;
	for my $node ($lab->nodes)
	{
		my $data = $lab->env("PGDATA_$node");
		push @found, map { "$node/$_" } grep { -e "$data/$_" } 'pingpong.failover', 'pingpong.seal';
	}
	for my $agent ($lab->nodes, 'pooler1')
	{
		my $dir = $lab->state_dir($agent);
		push @found, "$agent/claim" if -e "$dir/claim";
		for my $path (glob "$dir/token/*.json")
		{
			open my $fh, '<', $path or next;
			push @found, "$agent: an armed token" if <$fh> =~ /"state":"armed"/;
		}
	}
	push @found, 'slots on ' . $target
		if $lab->sql($target, q{SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ '^pingpong_'}) ne '0';
	return join ', ', @found;
}

# ---- before the promotion ----

caught_up('chicago', 'dallas', 'austin');
$lab->kill9('postgres', 'chicago');
possible('dallas');
my $n = 0;
for my $step (qw(claim fence unseen slots arm))
{
	for my $victim ('worker', 'postgres')
	{
		my $target = ++$n % 2 ? 'dallas' : 'austin';
		my $what = "after $step, $victim of dallas killed, target $target";
		my $job = stopped_after('dallas', $target, $step);
		$lab->kill9($victim, 'dallas');
		$lab->start_pg('dallas') if $victim eq 'postgres';
		$lab->wait_for('dallas', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker', 60);
		my (undef, $err, $rc) = $lab->finish($job, 60);
		isnt($rc, 0, "$what: the call fails");
		$lab->set('dallas', 'pingpong.debug_pause_after', undef);
		my $last = '';
		ok(eval { $lab->until_true('the undo', sub { ($last = traces($target)) eq '' }, 40) },
			"$what: all is as before") or diag("left: $last");
		is(join(',', $lab->primary), '', "$what: nothing was promoted");
	}
}

# an agent: the run does without it, or is undone, and says which
for my $agent ('austin', 'pooler1', 'dallas')
{
	my $what = "after claim, agent of $agent killed";
	my $job = stopped_after('dallas', 'dallas', 'claim');
	$lab->kill9('agent', $agent);
	$lab->set('dallas', 'pingpong.debug_pause_after', undef);
	my (undef, $err, $rc) = $lab->finish($job, 90);
	isnt($rc, 0, "$what: the call fails");
	like($err, qr/no answer from the agent/, "$what: and says why");
	is(join(',', $lab->primary), '', "$what: nothing was promoted");
	$lab->start_agent($agent);
	$lab->sql('dallas', 'SELECT pg_sleep(0)');
	$lab->agent($agent, '/v1/ping');
	unlink $lab->state_dir($agent) . '/claim';	# of an agent that could not be told: it ends by itself in 90 s
	my $last = '';
	ok(eval { $lab->until_true('the undo', sub { ($last = traces('dallas')) eq '' }, 40) }, "$what: all is as before")
		or diag("left: $last");
}

# cancelled
{
	my $job = stopped_after('dallas', 'austin', 'fence');
	my $run = $lab->sql('dallas', 'SELECT DISTINCT run FROM pingpong.progress');
	for my $agent (qw(dallas austin pooler1))
	{
		is(($lab->agent($agent, $_))[1]{claimed}, 1, "$agent tells of the claim by $_") for '/v1/ping', '/v1/state';
	}
	my (undef, $err) = $lab->try_sql('austin', "SELECT * FROM pingpong.failover('austin', $risk)");
	like($err, qr/cannot be made.*a failover has claimed epoch 1 there/s, 'another one is refused meanwhile');
	$lab->sql('dallas', "SELECT pingpong.cancel($run)");
	(undef, $err) = $lab->finish($job, 60);
	like($err, qr/was cancelled and rolled back/, 'cancelled: it is rolled back');
	$lab->set('dallas', 'pingpong.debug_pause_after', undef);
	is(traces('austin'), '', 'cancelled: all is as before');
}

# the old primary comes back while the failover is made: it is found
{
	my $job = stopped_after('dallas', 'dallas', 'claim');
	$lab->start_pg('chicago');
	$lab->set('dallas', 'pingpong.debug_pause_after', undef);
	my (undef, $err, $rc) = $lab->finish($job, 60);
	isnt($rc, 0, 'the old primary is back: no failover');
	like($err, qr/the server of "chicago" answers|can be reached again/, 'and why');
	is(join(',', $lab->primary), 'chicago', 'it is the primary');
	is(traces('dallas'), '', 'all is as before');
	$lab->sql('chicago', 'INSERT INTO kept VALUES (1)');
	$lab->wait_for($_, q{SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'}, 'the stream')
		for qw(dallas austin);
	caught_up('chicago', 'dallas', 'austin');
}

# ---- the order has no answer: nothing else is promoted until the target's agent says what became of it ----

$lab->kill9('postgres', 'chicago');
possible('dallas');
{
	my $job = stopped_after('dallas', 'austin', 'arm');
	my $agent = $lab->pid('agent', 'austin');
	kill 'STOP', $agent;
	$lab->set('dallas', 'pingpong.debug_pause_after', undef);
	$lab->wait_for('dallas', q{SELECT bool_or(run_state = 'asking') FROM pingpong.progress}, 'the question', 40);
	$lab->kill9('worker', 'dallas');
	$lab->finish($job, 30);
	$lab->wait_for('dallas', q{SELECT pingpong.worker_pid() IS NOT NULL AND bool_or(run_state = 'asking')
		FROM pingpong.progress}, 'the question of the next worker', 40);
	my (undef, $err, $rc) = $lab->try_sql('dallas', "SELECT * FROM pingpong.failover('dallas', $risk)");
	like($err, qr/a run is in progress/, 'an order without an answer: no second promotion');
	like($lab->sql('dallas', 'SELECT DISTINCT sentence FROM pingpong.progress'),
		qr/waiting for the agent of "austin"|agent of "austin" does not say/, 'and says what it waits for');
	kill 'CONT', $agent;
	$lab->until_true('an end', sub {
		my ($out, undef, $ok) = $lab->try_sql('dallas', q{SELECT count(*) FROM pingpong.progress
			WHERE run_state = 'asking'});
		return $ok == 0 && $out eq '0' }, 60);
	my @primary = $lab->primary;
	cmp_ok(scalar @primary, '<=', 1, 'one primary at most');
	if (@primary)
	{
		is($primary[0], 'austin', 'the order was obeyed');
		is(($lab->settle($lab->last_run('austin')))[0], 'succeeded',
			'the run went on');
	}
	else
	{
		my $last;
		ok(eval { $lab->until_true('the undo', sub { ($last = traces('austin')) eq '' }, 40) }, 'it was undone')
			or diag($last);
		$lab->sql('dallas', "SELECT * FROM pingpong.failover('austin', $risk)");
		is(($lab->settle($lab->last_run('austin')))[0], 'succeeded', 'and made again');
	}
	is(join(',', $lab->primary), 'austin', 'one primary');
}

# ---- behind the promotion: it goes on ----

sub rebuilt
{
	my ($primary, $node) = @_;
	my ($out, $err, $rc) = $lab->try_sql($primary, "SELECT state FROM pingpong.rebuild('$node',
		risk => 'its own writes are lost')");
	is($out, 'succeeded', "$node is rebuilt") or diag($err);
	$lab->wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'}, 'the stream');
	return;
}

my ($primary, $to) = ('austin', 'dallas');
rebuilt('austin', 'chicago');
for my $cell (['promote', 'worker'], ['promote', 'postgres'], ['repoint', 'worker'], ['promote', 'agent'])
{
	my ($step, $victim) = @$cell;
	my $what = "after $step, $victim killed";
	caught_up($primary, grep { $_ ne $primary } $lab->nodes);
	$lab->kill9('postgres', $primary);
	possible($to);
	my $job = stopped_after($to, $to, $step);
	$lab->kill9($victim, $to);
	$lab->start_pg($to) if $victim eq 'postgres';
	$lab->start_agent($to) if $victim eq 'agent';
	$lab->set($to, 'pingpong.debug_pause_after', undef);
	$lab->finish($job, 60);
	$lab->until_true("$what: the row", sub {
		my ($out, undef, $rc) = $lab->try_sql($to,
			'SELECT runbook || source FROM pingpong.run ORDER BY id DESC LIMIT 1');
		return $rc == 0 && $out eq "failover$primary" }, 60);
	my ($state, $sentence) = $lab->settle($lab->last_run($to), 120);
	is($state, 'succeeded', "$what: the run goes on to its end") or diag($sentence);
	is(join(',', $lab->primary), $to, "$what: one primary");
	is($lab->sql($to, q{SELECT string_agg(node, ',') FROM pingpong.route WHERE kind = 'rw'}), $to,
		"$what: the route");
	ok(!-e $lab->env("PGDATA_$to") . '/pingpong.failover', "$what: the file is gone");
	rebuilt($to, $primary);
	($primary, $to) = ($to, $primary);
}
is($lab->sql($primary, 'SELECT string_agg(i::text, $$,$$ ORDER BY i) FROM kept'), '0,1',
	'nothing was lost on the way');
done_testing;
