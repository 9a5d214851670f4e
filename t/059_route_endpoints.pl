# A route with two routers: both are held and pointed elsewhere at the same time, each tells where it points, and the
# table says that the route is somewhere only when both are there.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, poolers => 2);
my ($from, $to) = qw(chicago dallas);
my $route = q{SELECT node FROM pingpong.route WHERE name = 'rw1'};

sub address
{
	my ($node) = @_;

	return $lab->sql($from, "SELECT host || ':' || port FROM pingpong.node WHERE name = '$node'");
}

$lab->sql($from, q{SELECT pingpong.drop_route('rw2')});
is($lab->sql($from, q{SELECT pingpong.add_endpoint('rw1', 'pooler2', 'main')}), 'rw1#2',
	'a second router for the route');
is($lab->sql($from, "SELECT count(*) FROM pingpong.preflight('$to') WHERE status = 'fail'"), '0',
	'preflight: nothing against it');
is($lab->sql($from, q{SELECT string_agg(name || ' ' || (observed ->> 'app'), ', ' ORDER BY name)
	FROM pingpong.route_endpoint WHERE route = 'rw1'}), join(', ', map { "$_ " . address($from) } 'rw1', 'rw1#2'),
	'preflight: each tells where it points');

my @load = map { $lab->writers(dsn => $lab->env("RW_DSN_$_"), rate => 60, writers => 2) } 1, 2;

for my $move (1, 2)
{
	my ($out, $err) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$to')");
	like($out, qr/^\d+\|switched$/, "move $move: switched") or diag($err);
	my ($run) = $out =~ /^(\d+)/;
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "move $move: done");
	for my $action ('pause', 'repoint')
	{
		is($lab->sql($to, "SELECT count(*) || ' ' || (max(started_at) < min(ended_at)) FROM pingpong.step
			WHERE run = $run AND action = '$action' AND node IN ('rw1', 'rw1#2')"), '2 true',
			"move $move: $action of both at the same time");
	}
	is($lab->sql($to, $route), $to, "move $move: the table says so");
	for my $n (0, 1)
	{
		$load[$n]->mark("moved $move");
		ok($lab->until_true('writes to flow', sub { $load[$n]->end->{acked} > 0 }),
			"move $move: writes flow through both");
	}
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'", 'the standby', 60);
	($from, $to) = ($to, $from);
}

# ---- one of them cannot be moved back by hand while its agent is away ----

$lab->sql($from, "UPDATE pingpong.route SET node = '$to' WHERE name = 'rw1'");
$lab->kill9('agent', 'pooler2');
my ($out, $err) = $lab->try_sql($from, 'SELECT run, state FROM pingpong.repoint()');
like($err, qr/no answer from the agent/, 'one agent away: repoint() says so');
is($lab->sql($from, $route), $to, 'one agent away: the table does not say that the route is there');
is($lab->sql($from, q{SELECT string_agg(node || ' ' || state, ', ' ORDER BY node) FROM pingpong.step
	WHERE run = (SELECT max(id) FROM pingpong.run WHERE runbook <> 'realign')
	AND action = 'repoint' AND node ~ '^rw1'}),
	'rw1 succeeded, rw1#2 failed', 'one agent away: each endpoint has its step');
$lab->start_agent('pooler2');
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded', 'and when it is back: repoint() succeeds');
is($lab->sql($from, $route), $from, 'the table says so');

for my $n (0, 1)
{
	is($load[$n]->verify($from)->{lost}, 0, 'nothing acknowledged is lost');
	is($load[$n]->stop->{ambiguous}, 0, 'nothing is ambiguous');
}
done_testing();
