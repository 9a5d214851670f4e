# An endpoint that dies or hangs in the middle of a switchover does not stop it: the other endpoint of the route
# follows, the run tells what is pending, and when the endpoint is back it is pointed to the new primary by itself.
# Nothing that was acknowledged is lost, through either.
#
# CASES='STOP agent' runs only the cases that match this pattern.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, poolers => 2, set => ['pingpong.route_interval = 500ms']);
my ($from, $to) = qw(chicago dallas);
my %address = map { $_ => '127.0.0.1:' . $lab->env("PORT_$_") } $lab->nodes;

$lab->sql($from, q{SELECT pingpong.drop_route('rw2')}, q{SELECT pingpong.drop_route('ro2')},
	q{SELECT pingpong.add_endpoint('rw1', 'pooler2', 'main')});
my @load = map { $lab->writers(dsn => $lab->env("RW_DSN_$_"), rate => 60, writers => 2) } 1, 2;

sub points_to
{
	my ($k) = @_;
	my ($out) = $lab->try_sql($lab->env("ADMIN_DSN_$k"), 'SHOW DATABASES');
	my ($row) = grep { /^app\|/ } split /\n/, $out // '';
	return $row ? join ':', (split /\|/, $row)[1, 2] : '';
}

sub flows
{
	my ($n, $what) = @_;
	$load[$n]->mark($what);
	return ok($lab->until_true("writes to flow through endpoint $n", sub { $load[$n]->end->{acked} > 0 }, 60),
		"$what: writes flow through endpoint $n");
}

sub healthy
{
	$lab->wait_for($from, q{SELECT bool_and(health = 'ok') FROM pingpong.routes WHERE kind = 'rw'},
		'the routes to be healthy', 60);
	$lab->wait_for($from, q{SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'},
		'the standby', 60);
	return;
}

# The end of a process, or its standstill; gives what ends that.
sub break_it
{
	my ($signal, $who, $of) = @_;
	if ($signal eq 'KILL')
	{
		$lab->kill9($who, $of);
		return $who eq 'agent' ? sub { $lab->start_agent($of) } : sub { $lab->start_pgbouncer($of) };
	}
	my $pid = $lab->pid($who, $of);
	kill 'STOP', $pid or die "stop $who of $of: $!";
	return sub { kill 'CONT', $pid };
}

# A switchover that stands still after a step while something is broken.
sub broken_flip
{
	my ($signal, $who, $of, $moment) = @_;
	my $what = "$signal $who after $moment";
	return if $what !~ /$ENV{CASES}/;
	healthy();
	my $before = $lab->sql($from, 'SELECT coalesce(max(id), 0) FROM pingpong.run');
	$lab->set($from, 'pingpong.debug_pause_after', $moment);
	my $job = $lab->begin_sql($from, "SELECT run, state FROM pingpong.switchover('$to', max_blackout => '40 s')");
	$lab->wait_for($from, "SELECT coalesce(bool_and(state = 'succeeded'), false) FROM pingpong.progress
		WHERE run > $before AND action = '$moment'", $moment, 40);
	my $mend = break_it($signal, $who, $of);
	$lab->set($from, 'pingpong.debug_pause_after', undef);
	my ($out, $err) = $lab->finish($job, 90);
	my ($run) = $out =~ /^(\d+)\|switched$/;
	ok($run, "$what: switched") or diag($err);
	my ($state, $sentence, $node) = $lab->settle($run);
	is("$state $node", "succeeded $to", "$what: the run goes to its end");
	like($sentence, qr/^done, but repoint of endpoint "rw1#2" is pending, and is done when it is back: /,
		"$what: it tells what is pending");
	is(points_to(1), $address{$to}, "$what: the other endpoint has followed");
	flows(0, $what);
	is($lab->sql($to, q{SELECT node || ' ' || (health <> 'ok') FROM pingpong.routes
		WHERE name = 'rw1' AND router = 'pooler2'}), "$to true", "$what: the table knows where it belongs");
	$mend->();
	ok($lab->until_true('the endpoint to follow', sub { points_to(2) eq $address{$to} }, 60),
		"$what: it follows when it is back");
	flows(1, $what);
	my @primary = $lab->primary;
	is("@primary", $to, "$what: one primary");
	($from, $to) = ($to, $from);
	is($load[$_]->verify($from)->{lost}, 0, "$what: nothing that endpoint $_ acknowledged is lost") for 0, 1;
	return;
}

$ENV{CASES} //= '';
broken_flip('KILL', 'agent', 'pooler2', 'seal');
broken_flip('STOP', 'pgbouncer', 2, 'seal');
broken_flip('STOP', 'agent', 'pooler2', 'lag_zero');
broken_flip('KILL', 'pgbouncer', 2, 'hold');

# ---- one that is not there when the run begins ends it, before anything is touched ----

healthy();
$lab->kill9('agent', 'pooler2');
my (undef, $err) = $lab->try_sql($from, "SELECT pingpong.switchover('$to')");
like($err, qr/preflight found what stands against/, 'an agent that is away before: refused');
is(join(' ', $lab->primary), $from, 'an agent that is away before: nothing has moved');
$lab->start_agent('pooler2');
healthy();

# ---- the only endpoint of a route: its clients are not served, and the run says so until they are ----

if ('KILL the only endpoint' =~ /$ENV{CASES}/)
{
	$load[1]->pause;
	$lab->sql($from, q{SELECT pingpong.drop_endpoint('rw1#2')},
		q{UPDATE pingpong.runbook_step SET timeout = '3 s' WHERE runbook = 'switchover' AND action = 'repoint'});
	healthy();
	$lab->set($from, 'pingpong.debug_pause_after', 'seal');
	my $job = $lab->begin_sql($from, "SELECT run FROM pingpong.switchover('$to', max_blackout => '40 s')");
	$lab->wait_for($from, q{SELECT state = 'sealed' FROM pingpong.gate}, 'the seal');
	my $run = $lab->sql($from, 'SELECT max(run) FROM pingpong.progress');
	my $mend = break_it('KILL', 'agent', 'pooler1');
	$lab->set($from, 'pingpong.debug_pause_after', undef);
	$lab->finish($job, 90);
	my ($state, $sentence, $node) = $lab->settle($run);
	like("$node $state $sentence", qr/^$to stuck "$to" is the primary, but step repoint of "rw1" failed: /,
		'the only endpoint: the run is stuck');
	($from, $to) = ($to, $from);
	$lab->wait_for($from, q{SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'},
		'the standby', 60);
	$mend->();
	$lab->wait_for($from, "SELECT state = 'succeeded' FROM pingpong.run WHERE id = $run", 'the run to be closed', 60);
	like($lab->sql($from, "SELECT sentence FROM pingpong.run WHERE id = $run"), qr/^Fixed by run \d+\./,
		'the only endpoint: it is pointed when it is back, and that closes the run');
	is(points_to(1), $address{$from}, 'the only endpoint: it has followed');
	flows(0, 'the only endpoint');
}

for my $n (0, 1)
{
	is($load[$n]->verify($from)->{lost}, 0, "nothing that endpoint $n acknowledged is lost");
	$load[$n]->stop;
}
done_testing();
