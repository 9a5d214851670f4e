# What each client may ask: /health for anyone, /v1/state for monitors and controllers, the rest for controllers; and
# what they are told is true soon: there and back, sealed, down, frozen.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use HTTP::Tiny;
use JSON::PP;
use Lab;
use Test::More;
use Tools;

my $lab = Lab->up(fast => 1);
my $monitor = 'a-token-of-a-monitor';
my $file = $lab->dir . '/monitor-token';

open my $out, '>', $file or die $!;
print $out "$monitor\n";
close $out;
chmod 0600, $file;
for my $name ($lab->nodes)
{
	my $path = $lab->agent_dir($name) . '/agent.ini';

	open my $in, '<', $path or die $!;
	my $text = do { local $/; <$in> };
	close $in;
	$text =~ s/^\[agent\]\n/[agent]\nmonitor_token_file = $file\nsample_interval_ms = 200\n/m or die 'no [agent]';
	open my $ini, '>', $path or die $!;
	print $ini $text;
	close $ini;
	$lab->kill9('agent', $name);
	$lab->start_agent($name);
}

open my $fh, '<', $lab->env('TOKEN_FILE') or die $!;
chomp(my $controller = <$fh>);

sub get
{
	my ($node, $path, $token, $method) = @_;
	my %options = $token ? (headers => { Authorization => "Bearer $token" }) : ();

	return HTTP::Tiny->new(timeout => 20)->request($method // 'GET', $lab->env("AGENT_$node") . $path, \%options);
}

sub health
{
	my ($node) = @_;
	my $answer = get($node, '/health');

	return $answer->{status} . ' ' . $answer->{content} =~ s/\n\z//r;
}

sub becomes
{
	my ($node, $health, $what) = @_;

	ok($lab->until_true("$node to be $health", sub { health($node) eq $health }, 60), $what);
	return;
}

# ---- who may ask ----

becomes('chicago', '200 primary', 'health: the primary, without credentials');
becomes('dallas', '200 standby', 'health: a standby');
is(get('chicago', '/health')->{headers}{'content-type'}, 'text/plain', 'health: a text');
is(get('chicago', '/v1/state')->{status}, 401, 'state: not for anyone');
is(get('chicago', '/v1/state', 'another-token-of-no-use')->{status}, 401, 'state: nor for a wrong token');
for my $who ([ 'a monitor', $monitor ], [ 'a controller', $controller ])
{
	my ($name, $token) = @$who;
	my $answer = get('chicago', '/v1/state', $token);
	my $state = eval { decode_json($answer->{content}) } // {};

	is("$answer->{status} $answer->{headers}{'content-type'}", '200 application/json', "state: for $name");
	is("$state->{node} $state->{role} $state->{timeline}", 'chicago primary 1', "state: $name is told what there is");
	like($state->{lsn}, qr{^[0-9A-F]+/[0-9A-F]+$}, "state: and how far, for $name");
}
for my $path ('/v1/ping', '/v1/jobs', '/v1/jobs/a/b', '/nowhere')
{
	is(get('chicago', $path, $monitor)->{status}, 401, "a monitor may not ask for $path");
	is(get('chicago', $path)->{status}, 401, "nor may anyone ask for $path");
}
is(get('chicago', '/v1/jobs', $monitor, 'POST')->{status}, 401, 'a monitor may not order');
is(get('chicago', '/v1/ping', $controller)->{status}, 200, 'a controller may');

# Strangers that ask for the health are still strangers: they keep no controller out.
is(scalar(grep { get('chicago', '/health')->{status} == 200 } 1 .. 300), 300,
	'health: hundreds of looks, all answered');
is(get('chicago', '/v1/ping', $controller)->{status}, 200, 'and a controller is let in behind them');

# ---- what is told is true soon ----

for my $move ([ 'chicago', 'dallas' ], [ 'dallas', 'chicago' ])
{
	my ($from, $to) = @$move;

	my $run = $lab->sql($from, "SELECT run FROM pingpong.switchover('$to')");
	$lab->settle($run);
	becomes($to, '200 primary', "$to is the primary");
	becomes($from, '200 standby', "$from is a standby");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'", 'the standby', 60);
}
$lab->sql('chicago', q{SELECT pingpong.quiesce()}, q{SELECT pingpong.seal()});
becomes('chicago', '503 sealed', 'a sealed server is no primary');
$lab->sql('chicago', q{SELECT pingpong.resume(risk => 'two primaries are possible')});
becomes('chicago', '200 primary', 'and is one again');

my $postmaster = $lab->pid('postgres', 'dallas');
chomp(my @all = `pgrep -P $postmaster`);
kill STOP => $postmaster, @all;
becomes('dallas', '503 down', 'a server that does not answer is down');
kill CONT => $postmaster, @all;
becomes('dallas', '200 standby', 'and is back');

# The agent's own session holds up no stop, not even one that waits for sessions.
my $data = $lab->env('PGDATA_dallas');
is(system("@{[ $lab->env('PGBIN') ]}/pg_ctl -D $data -s -w -t 60 -m smart stop"), 0,
	'a stop that waits for sessions ends');
becomes('dallas', '503 down', 'a stopped server is down');

# A standby that accepts no sessions is not asked again and again: each try would be a line of its log.
open my $conf, '>>', "$data/postgresql.conf" or die $!;
print $conf "hot_standby = off\n";
close $conf;
system("@{[ $lab->env('PGBIN') ]}/pg_ctl -D $data -s -W -l $data/../log.cold start") == 0 or die;
ok($lab->until_true('a cold standby', sub { `cat $data/postmaster.pid 2>&1` =~ /^standby/m }, 60), 'a cold standby');
my $seen = decode_json(get('dallas', '/v1/state', $monitor)->{content})->{seen_ms};
ok($lab->until_true('three more looks',
	sub { decode_json(get('dallas', '/v1/state', $monitor)->{content})->{seen_ms} > $seen + 1000 }, 60),
	'the agent goes on looking');
becomes('dallas', '503 down', 'such a server is down for clients');
open my $log, '<', "$data/../log.cold" or die $!;
my @tries = grep { /FATAL/ } <$log>;
close $log;
is("@tries", '', 'and its log is not filled');
is(get('pooler1', '/health')->{content}, "none\n", 'beside a router there is no server');

# Where the agent looks seldom, the first check of a load balancer is answered by a look of now.
my $path = $lab->agent_dir('chicago') . '/agent.ini';
write_file($path, read_file($path) =~ s/^(sample_interval_ms) = 200$/$1 = 60000/mr);
$lab->kill9('agent', 'chicago');
$lab->start_agent('chicago');
becomes('chicago', '200 primary', 'an agent that looks once a minute');
ok($lab->until_true('the look to be old', sub {
	decode_json(get('chicago', '/v1/state', $monitor)->{content})->{age_ms} > 1500;
}, 60), 'its look is older than a check counts');
$lab->sql('chicago', q{SELECT pingpong.quiesce()}, q{SELECT pingpong.seal()});
is(health('chicago'), '200 primary', 'what it has seen is old');
is(get('chicago', '/primary')->{status}, 503, 'and nobody is sent there by it');
write_file($path, read_file($path) =~ s/^(sample_interval_ms) = 60000$/$1 = 60001/mr);
like(scalar run($lab->env('PGBIN') . '/pingpong-agent', '--check', '--config', $path),
	qr/"sample_interval_ms" must be at most 60000 ms/, 'it may not look more seldom than that');

done_testing();
