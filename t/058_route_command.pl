# The route driver "command": a program of the site for each order, JSON in, JSON out. Here it keeps a service file of
# libpq, by which clients find the primary: there and back, with programs that fail, lie, and are asked to release.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;
use Tools;

my $lab = Lab->up(fast => 1);
my ($from, $to) = qw(chicago dallas);
my $dir = $lab->dir . '/service';
my $program = "$dir/route";
my $services = "$dir/pg_service.conf";
my $agent = 'pooler1';

# What was ordered since the last time, in its order; questions left out.
sub orders
{
	my @lines = grep { !/observe/ } split /\n/, read_file("$dir/orders");

	unlink "$dir/orders";
	return join ' ', @lines;
}

sub place
{
	my ($node) = @_;

	# the old primary may be restarted just now
	my ($primary) = $lab->primary;
	return join ':', split /\|/, $lab->sql($primary, "SELECT host, port FROM pingpong.node WHERE name = '$node'");
}

sub points_to
{
	my ($host) = read_file($services) =~ /^host=(.*)$/m;
	my ($port) = read_file($services) =~ /^port=(.*)$/m;

	return "$host:$port";
}

# ---- the program, and the agent that runs it ----

mkdir $dir or die "$dir: $!";
write_file($program, <<"PERL", 0755);
#!/usr/bin/perl
use strict;
use warnings;
use JSON::PP;

my \$order = decode_json(do { local \$/; <STDIN> });
my \$trouble = -e '$dir/trouble' ? do { open my \$t, '<', '$dir/trouble'; <\$t> } : '';

open my \$log, '>>', '$dir/orders' or die;
print \$log "\$order->{order}\\n";
close \$log;
die "it does not work today\\n" if \$trouble eq "fail \$order->{order}";
print "a word that is no answer\\n";
while (\$trouble eq "hang \$order->{order}" && -e '$dir/trouble') { select undef, undef, undef, 0.02; }
if (\$order->{order} eq 'commit' && \$trouble ne 'lie')
{
	open my \$out, '>', '$services.new' or die;
	print \$out "[app]\\nhost=\$order->{host}\\nport=\$order->{port}\\ndbname=app\\nuser=app\\n";
	close \$out;
	rename '$services.new', '$services' or die;
}
if (\$order->{order} eq 'observe')
{
	my %now;
	open my \$in, '<', '$services' or die;
	while (<\$in>) { \$now{\$1} = \$2 if /^(\\w+)=(.*)\$/; }
	print encode_json({databases => [{name => 'app', host => \$now{host}, port => 0 + \$now{port}}]}), "\\n";
}
PERL

my ($host, $port) = split /:/, place($from);
write_file($services, "[app]\nhost=$host\nport=$port\ndbname=app\nuser=app\n", 0644);
open my $ini, '>>', $lab->agent_dir($agent) . '/agent.ini' or die $!;
print $ini "\n[command.service]\n", map { "$_ = $program\n" } qw(observe prepare hold commit release undo);
print $ini "timeout_ms = 20000\n";
close $ini;
$lab->kill9('agent', $agent);
$lab->start_agent($agent);

my $add = q{SELECT pingpong.add_route('svc', 'rw', '%s', 'pooler1', 'service', '{"app": ""}')};
like(($lab->try_sql($from, sprintf $add, 'carrier'))[1], qr/unknown driver "carrier"/, 'a driver that there is not');
$lab->sql($from, sprintf $add, 'command');

my $checks = "SELECT count(*) FROM pingpong.preflight('$to') WHERE";
is($lab->sql($from, "$checks status = 'fail'"), '0', 'preflight: nothing against it');
is($lab->sql($from, "$checks name = 'routes_observed' AND detail ~ 'command'"), '1',
	'preflight: the router was asked');
orders();

# ---- there and back ----

my $load = $lab->writers(rate => 80);

for my $move (1, 2)
{
	my ($out, $err) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$to')");
	like($out, qr/^\d+\|switched$/, "move $move: switched") or diag($err);
	is(points_to(), place($to), "move $move: clients find the new primary");
	my ($run) = $out =~ /^(\d+)/;
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "move $move: done");
	like(orders(), qr/^prepare hold( commit)+$/, "move $move: each order, in its order");
	is($lab->sql($to, q{SELECT node FROM pingpong.route WHERE name = 'svc'}), $to, "move $move: the table says so");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'", 'the standby', 60);
	($from, $to) = ($to, $from);
}

# ---- what it cannot do, it says before writes stop; what was held is let go ----

my $last_state = 'SELECT state FROM pingpong.run ORDER BY id DESC LIMIT 1';

write_file("$dir/trouble", 'fail prepare');
my ($out, $err) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$to')");
like($err, qr/ended with status \d+: it does not work today/, 'a program that fails: its last words are the error');
is($lab->sql($from, $last_state), 'rolled_back', 'a program that fails: rolled back');
is(orders(), 'prepare release undo', 'a program that fails: what was prepared is released and undone');

write_file("$dir/trouble", 'fail hold');
($out, $err) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$to')");
is($lab->sql($from, $last_state), 'rolled_back', 'a hold that fails: rolled back');
is(orders(), 'prepare hold release undo', 'a hold that fails: released, once');
is(points_to(), place($from), 'a hold that fails: clients stay');

# ---- a word for success is a fact that was looked at ----

write_file("$dir/trouble", 'lie');
my ($there, $other) = (points_to(), place($to));
write_file($services, read_file($services) =~ s/^port=.*$/port=1/mr, 0644);
($out, $err) = $lab->try_sql($from, 'SELECT run, state FROM pingpong.repoint()');
like($err, qr/database "app" of endpoint "command\.service" points to .*:1, not to \Q$there\E/,
	'a program that lies: it is asked where it points');
is($lab->sql($from, $last_state), 'stuck', 'a program that lies: the run is stuck');
unlink "$dir/trouble";
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded',
	'and when it does what it says: repoint() succeeds');
is(points_to(), $there, 'clients find the primary again');
is($lab->sql($from, "SELECT count(*) FROM pingpong.run WHERE state = 'stuck'"), '0', 'and the stuck run is closed');

is($load->verify($from)->{lost}, 0, 'nothing acknowledged is lost');
is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');

# ---- an order that hangs ends when its step does ----

write_file("$dir/trouble", 'hang commit');
write_file($services, read_file($services) =~ s/^port=.*$/port=1/mr, 0644);
ok($lab->wait_for($from, q{SELECT EXISTS (SELECT FROM pingpong.step WHERE node = 'svc' AND state = 'failed'
	AND message ~ 'was cancelled')}, 'the step to end', 60), 'an order that hangs: its agent was told to end it');
like(points_to(), qr/:1$/, 'an order that hangs: it had no effect');

# one that is under way when the worker ends does not go on: it was right to point the route back before
my $realign = $lab->until_true('the next try', sub {
	$lab->sql($from, q{SELECT max(p.run) FROM pingpong.progress p JOIN pingpong.run r ON r.id = p.run
		WHERE r.runbook = 'realign' AND p.run_state = 'running' AND p.node = 'svc' AND p.state = 'running'});
}, 60);
$lab->sql($from, 'SELECT pg_terminate_backend(pingpong.worker_pid())');
ok($lab->wait_for($from, "SELECT state = 'rolled_back' FROM pingpong.run WHERE id = $realign", 'it to be ended', 60),
	'an order that hangs: a run of before is ended, not continued');
unlink "$dir/trouble";
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded', 'an order that hangs: repoint() is served');

# ---- an earlier order does not come behind a later one ----

sub commit_to
{
	my ($step, $epoch, $place, $wait) = @_;
	my ($host, $port) = split /:/, $place;
	my (undef, $job) = $lab->agent($agent, '/v1/jobs', { run => 'orders', step => $step, wait_ms => $wait,
		epoch => $epoch, actions => [ { action => 'route.commit', params => { driver => 'command',
			endpoint => 'service', databases => { app => '' }, host => $host, port => 0 + $port } } ] });
	return $job;
}

sub ended
{
	my ($step) = @_;
	return $lab->until_true("$step to end", sub {
		my (undef, $job) = $lab->agent($agent, "/v1/jobs/orders/$step?wait_ms=1000");
		return $job->{state} ne 'running' && $job;
	}, 60);
}

my $epoch = $lab->sql($from, 'SELECT epoch FROM pingpong.cluster');
$lab->set($from, 'pingpong.route_interval', '0');
orders();
write_file("$dir/trouble", 'hang commit');
commit_to('first', $epoch + 1, place($to), 0);
$lab->until_true('the first order', sub { -e "$dir/orders" && read_file("$dir/orders") =~ /commit/ });
is(commit_to('second', 0 + $epoch, place($from), 1500)->{state}, 'running',
	'two orders: the second waits for the first');
unlink "$dir/trouble";
is(ended('first')->{state}, 'succeeded', 'two orders: the first ends');
my $second = ended('second');
like("$second->{state} $second->{error}{message}", qr/^failed .*newer epoch/,
	'two orders: one that was overtaken is refused when its turn comes');
is(points_to(), place($to), 'two orders: the route stays where the newer one led it');

# ---- configuration ----

for my $bad (
	[ "commit = $program\n", 'needs the options "commit" and "observe"' ],
	[ "commit = route\nobserve = $program\n", 'absolute path' ],
	[ "commit = $program\nobserve = $program\nholds = $program\n", 'unknown option "holds"' ],
	[ "commit = $program\nobserve = $program\ntimeout_ms = 0\n", 'a number from 1 to' ])
{
	my ($lines, $sentence) = @$bad;
	my $text = read_file($lab->agent_dir($agent) . '/agent.ini') =~ s/\n\[command\.service\].*//sr;

	write_file("$dir/agent.ini", "$text\n[command.service]\n$lines");
	my $said = `@{[ $lab->env('PGBIN') ]}/pingpong-agent --check --config $dir/agent.ini`;
	like($said, qr/FAIL.*\[command\.service\].*\Q$sentence\E/, "configuration: $sentence");
}
my $said = `@{[ $lab->env('PGBIN') ]}/pingpong-agent --check --config @{[ $lab->agent_dir($agent) ]}/agent.ini`;
like($said, qr/ok +route endpoint command\.service: commit runs \Q$program\E/,
	'configuration: --check looks at the programs');

done_testing();
