# What load balancers ask an agent, in the words that they know from Patroni: /primary, /replica?lag= and the like, on
# the agent's own socket and on the plain one. A real HAProxy finds the primary by them, through a switchover and
# back.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use HAProxy;
use HTTP::Tiny;
use IO::Socket::INET;
use Lab;
use Session;
use Test::More;
use Tools;

plan skip_all => HAProxy::missing() if HAProxy::missing();

my $lab = Lab->up(fast => 1, poolers => 0);
my %plain = (chicago => $lab->base + 51, dallas => $lab->base + 52);
my ($rw, $ro) = ($lab->base + 55, $lab->base + 56);

for my $name ($lab->nodes)
{
	my $path = $lab->agent_dir($name) . '/agent.ini';

	write_file($path, read_file($path) =~ s/^\[agent\]\n\K/health_listen = 127.0.0.1:$plain{$name}\n/mr);
	$lab->kill9('agent', $name);
	$lab->start_agent($name);
}

sub status
{
	my ($url, $method) = @_;
	return HTTP::Tiny->new(timeout => 20)->request($method // 'GET', $url)->{status};
}

# Both sockets say the same; one number if so.
sub told
{
	my ($node, $path, $method) = @_;
	my @all = (status($lab->env("AGENT_$node") . $path, $method),
		status("http://127.0.0.1:$plain{$node}$path", $method));
	return $all[0] == $all[1] ? $all[0] : "@all";
}

sub becomes
{
	my ($node, $path, $status, $what) = @_;
	my $last = '';
	ok(eval { $lab->until_true($what, sub { ($last = told($node, $path)) eq $status }, 60) }, "$what: $path $status")
		or diag("last seen: $last");
	return;
}

# ---- each path, each method ----

becomes('chicago', '/primary', 200, 'the primary');
becomes('dallas', '/replica', 200, 'the standby');
my %expected = (
	chicago => { map({ $_ => 200 } qw(/primary /read-write /leader /master /read-only /readiness /liveness /health)),
		map({ $_ => 503 } qw(/replica /replica?lag=1GB)) },
	dallas => { map({ $_ => 200 } qw(/replica /read-only /readiness /liveness /health /replica?lag=16MB)),
		map({ $_ => 503 } qw(/primary /read-write /leader /master)) });
for my $node ($lab->nodes)
{
	for my $path (sort keys %{ $expected{$node} })
	{
		is(join(' ', map { told($node, $path, $_) } qw(GET HEAD OPTIONS)), join(' ', ($expected{$node}{$path}) x 3),
			"$node: $path, by GET, HEAD and OPTIONS");
	}
}
is(told('chicago', '/', 'OPTIONS'), 200, 'OPTIONS /, which HAProxy asks without a path: the primary');
is(told('dallas', '/', 'OPTIONS'), 503, 'OPTIONS /: not the standby');
is(told('chicago', '/replica?lag=soon'), 400, 'a limit that is none is refused');
is(told('chicago', '/primary', 'POST'), '401 405', 'no other method; and strangers are not told which there are');
is(status($lab->env('AGENT_chicago') . '/'), 401, 'the status page is not opened by that');
is(status("http://127.0.0.1:$plain{chicago}/$_"), 404, "nothing else on the plain socket: /$_")
	for '', 'metrics', 'v1/state', 'v1/jobs';

# ---- a connection that is kept, and ones that are in the way ----

my $kept = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $plain{chicago}) or die $!;
my $answers = 0;
for (1 .. 50)
{
	print $kept "GET /primary HTTP/1.1\r\nHost: x\r\n\r\n";
	my $text = '';
	while (defined(my $line = <$kept>))
	{
		$text .= $line;
		last if $line eq "primary\n";
	}
	$answers++ if $text =~ m{\AHTTP/1\.1 200 OK\r\n};
}
is($answers, 50, 'a connection is kept for many looks');
print $kept "GET /primary HTTP/1.1\r\n\r\n" x 3 . "GET /primary HTTP/1.0\r\n\r\n";
is(() = (do { local $/; <$kept> } // '') =~ /^primary$/gm, 4, 'and what was sent at once is answered at once');
my @idle = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $plain{chicago}) } 1 .. 400;
is(told('chicago', '/primary'), 200, 'a newcomer gets in where hundreds are idle');
@idle = ();

# ---- what is not so good ----

my $holder = Session->open($lab, 'chicago');
$holder->ask('SELECT pingpong.quiesce()');
becomes('chicago', '/primary', 503, 'writes are held');
is(join(' ', map { told('chicago', $_) } qw(/read-only /health /replica)), '200 200 503', 'held: reads go on');
$holder->ask('SELECT pingpong.resume()');
becomes('chicago', '/primary', 200, 'writes go on');
$lab->sql('chicago', 'SELECT pingpong.quiesce()', 'SELECT pingpong.seal()');
becomes('chicago', '/primary', 503, 'sealed');
is(join(' ', map { told('chicago', $_) } qw(/read-only /readiness /health /liveness)), '503 503 503 200',
	'sealed: nobody is sent there, and the agent is alive');
$lab->sql('chicago', q{SELECT pingpong.resume(risk => 'two primaries are possible')});
becomes('chicago', '/primary', 200, 'open again');

$lab->sql('dallas', 'SELECT pg_wal_replay_pause()');
$lab->sql('chicago', 'CREATE TABLE much AS SELECT md5(i::text) FROM generate_series(1, 60000) i');
becomes('dallas', '/replica?lag=1MB', 503, 'a standby that replays nothing');
is(join(' ', map { told('dallas', $_) } qw(/replica /replica?lag=1GB /read-only /read-only?lag=1024kB)),
	'200 200 200 503', 'it lags: who set a limit is told');
$lab->sql('dallas', 'SELECT pg_wal_replay_resume()');
becomes('dallas', '/replica?lag=1MB', 200, 'it has caught up');
my $conninfo = $lab->sql('dallas', 'SHOW primary_conninfo');
$lab->sql('dallas', q{ALTER SYSTEM SET primary_conninfo = ''}, 'SELECT pg_reload_conf()');
becomes('dallas', '/replica?lag=1GB', 503, 'a standby that does not stream: nobody knows how far it is');
is(told('dallas', '/replica'), 200, 'without a limit it is a standby like others');
$lab->sql('dallas', "ALTER SYSTEM SET primary_conninfo = '" . $conninfo =~ s/'/''/gr . q{'},
	'SELECT pg_reload_conf()');
becomes('dallas', '/replica?lag=1GB', 200, 'it streams again');

my $postmaster = $lab->pid('postgres', 'dallas');
chomp(my @all = `pgrep -P $postmaster`);
kill STOP => $postmaster, @all;
becomes('dallas', '/replica', 503, 'a server that does not answer');
is(told('dallas', '/liveness'), 200, 'the agent beside it is alive');
kill CONT => $postmaster, @all;
becomes('dallas', '/replica', 200, 'and is back');

# ---- HAProxy, through a switchover and back ----

my $servers = join '', map { "    server $_ 127.0.0.1:@{[ $lab->env(qq{PORT_$_}) ]} check port $plain{$_}\n" }
	$lab->nodes;
my $haproxy = HAProxy->start($lab, <<"CFG");
listen rw
    bind 127.0.0.1:$rw
    option httpchk OPTIONS /primary
    http-check expect status 200
    default-server inter 100ms fall 1 rise 1
$servers
listen ro
    bind 127.0.0.1:$ro
    option httpchk GET /replica?lag=16MB
    http-check expect status 200
    default-server inter 100ms fall 1 rise 1
$servers
CFG
my $client = "host=127.0.0.1 dbname=app user=app passfile=@{[ $lab->dir ]}/passfile";

# Which server is up: the states of "show servers state" are 0 stopped, 2 running.
sub up
{
	my ($backend) = @_;
	my $all = $haproxy->servers;
	return join ' ', grep { $all->{"$backend/$_"}{srv_op_state} == 2 } $lab->nodes;
}

ok($lab->until_true('checks', sub { up('rw') eq 'chicago' && up('ro') eq 'dallas' }, 60),
	'HAProxy: each server where it belongs');
my $load = $lab->writers(dsn => "$client port=$rw", rate => 100);
my ($from, $to) = qw(chicago dallas);
for my $move (1, 2)
{
	$load->mark("move $move");
	my ($run) = $lab->sql($from, "SELECT run FROM pingpong.switchover('$to')") =~ /^(\d+)/;
	ok($lab->until_true('checks', sub { up('rw') eq $to }, 60), "move $move: HAProxy sends writes to $to");
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "move $move: done");
	ok($lab->until_true('checks', sub { up('ro') eq $from }, 60), "move $move: and reads to $from");
	my $seen = $load->end;
	is($seen->{ambiguous}, 0, "move $move: each client was told why its session ends");
	note(sprintf 'move %d: longest time between two commits %.0f ms', $move, $seen->{gap_ms});
	$load->mark("after $move");
	ok($lab->until_true('writes', sub { $lab->sql_ok("$client port=$rw", 'CREATE TEMP TABLE x ()') }, 60),
		"move $move: writes through HAProxy");
	is($lab->sql("$client port=$ro", 'SELECT pg_is_in_recovery()'), 't', "move $move: reads are of a standby");
	$load->end;
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'", 'the standby', 60);
	($from, $to) = ($to, $from);
}
is($load->verify($from)->{lost}, 0, 'nothing acknowledged is lost');
cmp_ok($load->stop->{acked}, '>', 0, 'and something was acknowledged');

# ---- configuration ----

my $ini = $lab->agent_dir('chicago') . '/agent.ini';
my $said = `@{[ $lab->env('PGBIN') ]}/pingpong-agent --check --config $ini`;
like($said, qr/ok +health_listen 127\.0\.0\.1:$plain{chicago}: by the agent that runs/,
	'--check: the address is ours');
write_file($lab->dir . '/bad.ini', read_file($ini) =~ s/^health_listen = .*/health_listen = here/mr);
$said = `@{[ $lab->env('PGBIN') ]}/pingpong-agent --check --config @{[ $lab->dir ]}/bad.ini`;
like($said, qr/FAIL.*"health_listen" is neither ADDRESS:PORT nor/, '--check: an address that is none');

done_testing();
