# Two sites: each round trip of the blackout counts. The order to promote takes the place of the news that the target
# has replayed the seal LSN, and the target waits for its own replay; where that does not come, the order was none.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

use constant ROUND_TRIP => 200;	# ms, so long that the machine hardly matters

my $lab = Lab->up(fast => 1, port => 27100);

sub blackout
{
	my ($node) = @_;
	return $lab->sql($node,
		"SELECT blackout_ms FROM pingpong.run WHERE runbook = 'switchover' ORDER BY id DESC LIMIT 1");
}

# The last one that was begun: the worker may have made runs of its own meanwhile.
sub last_run
{
	my (@nodes) = @_;
	my ($run) = sort { $b <=> $a } map { ($lab->try_sql($_,
		"SELECT coalesce(max(id), 0) FROM pingpong.run WHERE runbook = 'switchover'"))[0] || 0 } @nodes;
	return $run;
}

sub switchover
{
	my ($from, $to, $expected) = @_;
	my (undef, $err, $rc) = $lab->try_sql($from, "SELECT * FROM pingpong.switchover('$to', max_blackout => '5 s')");
	my $run = last_run($from, $to);
	my ($state, $sentence, $node) = $lab->settle($run, 120);
	is($state, $expected, "$from to $to: $expected") or diag("$sentence\n$err");
	return $run;
}

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$standby' AND state = 'streaming'", "$standby to stream", 60);
}

# what the machine needs without a distance
switchover('chicago', 'dallas', 'succeeded');
my $local = blackout('dallas');
switchover('dallas', 'chicago', 'succeeded');
$local = blackout('chicago') if $local < blackout('chicago');

$lab->apart(ROUND_TRIP);
streaming('chicago', 'dallas');
my $writers = $lab->writers(writers => 2, rate => 20);

my ($from, $to) = $lab->nodes;
for (1 .. 4)
{
	my $run = switchover($from, $to, 'succeeded');
	my $took = blackout($to);
	cmp_ok($took, '<', ROUND_TRIP * 2.5 + 3 * $local + 100,
		'at most two and a half round trips, and what the machine needs');
	like($lab->sql($to, "SELECT message FROM pingpong.step WHERE run = $run AND action = 'lag_zero'"),
		qr/^its agent waits for it: a round trip takes \d+ ms$/, 'the order carried the rest');
	note("run $run: $took ms, without a distance $local ms");
	($from, $to) = ($to, $from);
	streaming($from, $to);
}

# ---- the target does not replay what it has received ----

# Preflight, and all that is done while clients write, is past when replay stops.
sub begin_with_paused_replay
{
	my ($limit) = @_;
	$lab->set('chicago', 'pingpong.debug_pause_after', 'wal_align');
	my $job = $lab->begin_sql('chicago', "SELECT * FROM pingpong.switchover('dallas', max_blackout => '$limit')");
	$lab->wait_for('chicago', "SELECT bool_or(state = 'succeeded') FROM pingpong.progress
		WHERE run_state = 'running' AND action = 'wal_align'", 'wal_align', 60);
	$lab->sql('dallas', 'SELECT pg_wal_replay_pause()');
	$lab->wait_for('dallas', "SELECT pg_get_wal_replay_pause_state() = 'paused'", 'replay to pause');
	$lab->set('chicago', 'pingpong.debug_pause_after', undef);
	return $job;
}

my $job = begin_with_paused_replay('3 s');
my ($out, $err, $rc) = $lab->finish($job, 120);
my ($state, $sentence) = $lab->settle(last_run($lab->nodes), 120);
is($state, 'rolled_back', 'the run is rolled back') or diag("$sentence $err");
like($sentence, qr/^the target was not promoted: the permitted blackout of 3000 ms was over/, 'it says why');
is($lab->sql('chicago', 'SELECT state FROM pingpong.gate'), 'open', 'the gate is open again');
$lab->sql('chicago', 'CREATE TABLE behind AS SELECT 1 AS one');
$lab->sql('dallas', 'SELECT pg_wal_replay_resume()');
$lab->wait_for('dallas', "SELECT to_regclass('behind') IS NOT NULL", 'replay');
is($lab->sql('dallas', 'SELECT pg_is_in_recovery()'), 't', 'the target has replayed all, and was not promoted by it');

# ---- its agent dies while it waits ----

$job = begin_with_paused_replay('20 s');
$lab->until_true('the order to arrive', sub { glob $lab->state_dir('dallas') . '/jobs/*/*.promote.dallas.json' }, 60);
$lab->kill9('agent', 'dallas');
$lab->start_agent('dallas');
$lab->sql('dallas', 'SELECT pg_wal_replay_resume()');
$lab->finish($job, 120);
($state, $sentence, my $primary) = $lab->settle(last_run($lab->nodes), 120);
note("$state: $sentence");
like($state, qr/^(succeeded|rolled_back)$/, 'the run has ended');
is(join(' ', $lab->primary), $primary, 'one primary');
is($primary, $state eq 'succeeded' ? 'dallas' : 'chicago', 'the right one');

my $verdict = $writers->verify($primary);
is($verdict->{lost}, 0, 'nothing acknowledged is lost');
my $totals = $writers->stop;
is($totals->{ambiguous}, 0, 'no ambiguous commit');
is($totals->{errors}, 0, 'no error');
done_testing;
