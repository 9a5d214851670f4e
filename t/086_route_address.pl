# The route driver "address" between real network namespaces: two hosts on a bridge, each in front of a server of a
# lab, and a client in a third, with a neighbour table of its own. The address moves with the primary, there and back;
# two never have it; a host that does not let go keeps it; what has no right is refused before anything moves. IPv6,
# too.
# ci: root
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use IO::Socket::UNIX;
use JSON::PP;
use Lab;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);
use Tools;

my $cannot = $> != 0 ? 'needs root' : !grep({ -x "$_/socat" } split /:/, $ENV{PATH}) ? 'needs socat'
	: system('ip netns add pp_try 2>/dev/null && ip netns del pp_try') != 0 ? 'needs network namespaces' : undef;
BAIL_OUT($cannot) if $cannot && ($ENV{CI} // '') eq 'true';
plan skip_all => $cannot if $cannot;

my $main = $$;
my $tag = "pp$$";
my %number = (chicago => 1, dallas => 2, client => 3);
my @started;

sub in_host { my ($host, @command) = @_; return ('ip', 'netns', 'exec', "${tag}_$host", @command); }

sub clear
{
	kill 'KILL', @started;
	waitpid $_, 0 for @started;
	@started = ();
	system("ip netns del ${tag}_$_ 2>/dev/null") for keys %number;
	system("ip link del ${tag}br 2>/dev/null");
	return;
}
END { my $rc = $?; clear() if $main && $$ == $main; $? = $rc; }

must('ip', 'link', 'add', "${tag}br", 'type', 'bridge');
must('ip', 'link', 'set', "${tag}br", 'up');
for my $host (sort keys %number)
{
	my ($ns, $veth) = ("${tag}_$host", "$tag$number{$host}");

	must('ip', 'netns', 'add', $ns);
	must('ip', 'netns', 'set', $ns, 1000 * ($$ % 1000000) + $number{$host});
	must('ip', 'link', 'add', $veth, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', $ns);
	must('ip', 'link', 'set', $veth, 'master', "${tag}br", 'up');
	must('ip', '-n', $ns, 'link', 'set', $_, 'up') for 'lo', 'eth0';
	must('ip', '-n', $ns, 'address', 'add', "10.99.7.$number{$host}/24", 'dev', 'eth0');
	must('ip', '-n', $ns, 'address', 'add', "fd99:7::$number{$host}/64", 'dev', 'eth0', 'nodad');
}
my ($vip, $vip6) = ('10.99.7.100', 'fd99:7::100');

my $lab = Lab->up(fast => 1, poolers => 0);
my ($from, $to) = qw(chicago dallas);
my $user = $lab->env('LAB_USER');
my $program = $lab->env('PGBIN') . '/pingpong-agent';

sub start
{
	my ($log, @command) = @_;
	my $pid = fork // die "fork: $!";

	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $log;
		open STDERR, '>&', \*STDOUT;
		exec @command or POSIX::_exit(127);
	}
	push @started, $pid;
	return $pid;
}

# The agent's user has the two rights and no more, as systemd's AmbientCapabilities gives them.
sub with_rights
{
	my ($rights, @command) = @_;

	return ('setpriv', '--reuid', $user, '--regid', $user, '--init-groups',
		$rights ? ('--inh-caps', '+net_admin,+net_raw', '--ambient-caps', '+net_admin,+net_raw') : (), @command);
}

my %agent;
sub start_agent
{
	my ($host, $rights) = @_;
	my $dir = $lab->dir . "/host-$host";

	$agent{$host} = start("$dir/log", in_host($host, with_rights($rights, $program, '--config', "$dir/agent.ini")));
	ok($lab->until_true('the agent', sub { -S "$dir/agent.sock" && read_file("$dir/log") =~ /listens on/ }, 60),
		"the agent of the host of $host");
	return;
}

sub stop_agent
{
	my ($host) = @_;
	kill 'KILL', $agent{$host};
	waitpid $agent{$host}, 0;
	unlink $lab->dir . "/host-$host/agent.sock", $lab->dir . "/host-$host/log";
	return;
}

# In front of each server a forwarder: what comes to the host at 5432 is the server's.
for my $host ($lab->nodes)
{
	my $dir = $lab->dir . "/host-$host";
	my $port = $lab->env("PORT_$host");
	my $token = read_file($lab->env('TOKEN_FILE'));

	mkdir $dir;
	write_file("$dir/token", $token);
	write_file("$dir/agent.ini", <<"INI");
[agent]
node = host_$host
listen = unix:$dir/agent.sock
token_file = $dir/token
state_dir = $dir/state
[address.vip]
address = $vip/24
device = eth0
host = 127.0.0.1
port = $port
[address.vip6]
address = $vip6/64
device = eth0
host = 127.0.0.1
port = $port
INI
	system('chown', '-R', "$user:", $dir) == 0 or die;
	start('/dev/null', in_host($host, 'socat', "TCP6-LISTEN:5432,fork,reuseaddr,ipv6only=0",
		"UNIX-CONNECT:@{[ $lab->dir ]}/run/.s.PGSQL.$port"));
	# preflight wants each router to reach the servers where they are registered
	for my $its_port (map { $lab->env("PORT_$_") } $lab->nodes)
	{
		start('/dev/null', in_host($host, 'socat', "TCP-LISTEN:$its_port,bind=127.0.0.1,fork,reuseaddr",
			"UNIX-CONNECT:@{[ $lab->dir ]}/run/.s.PGSQL.$its_port"));
	}
	start_agent($host, 1);
	$lab->sql($from, "SELECT pingpong.add_router('host_$host', 'unix:$dir/agent.sock')");
}

sub has
{
	my ($address) = @_;
	return join ' ', grep { run('ip', '-n', "${tag}_$_", 'address', 'show', 'dev', 'eth0') =~ m{\b\Q$address\E/} }
		$lab->nodes;
}

# What a client of the third host gets from the address.
sub asked
{
	my ($address, $sql) = @_;
	my ($rc, $out) = run(in_host('client', 'env', 'PGCONNECT_TIMEOUT=2', $lab->env('PGBIN') . '/psql', '-XAtq', '-d',
		"host=$address port=5432 user=postgres dbname=app", '-c', $sql));
	return $out;
}

my $which = q{SELECT current_setting('pingpong.node_name')};

# ---- a new route ----

$lab->sql($from, q{SELECT pingpong.add_route('vip', 'rw', 'address', 'host_chicago', 'vip', '{"vip": ""}')},
	q{SELECT pingpong.add_endpoint('vip', 'host_dallas', 'vip')},
	q{SELECT pingpong.add_route('vip6', 'rw', 'address', 'host_chicago', 'vip6', '{"vip6": ""}')},
	q{SELECT pingpong.add_endpoint('vip6', 'host_dallas', 'vip6')});
my $checks = "FROM pingpong.preflight('$to') WHERE status = 'fail'";
isnt($lab->sql($from, "SELECT count(*) $checks AND name = 'routes_observed'"), '0',
	'nobody has it: preflight says so');
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded', 'repoint() gives it to the primary');
is(has($vip) . ', ' . has($vip6), "$from, $from", 'it is at the host of the primary, and only there');
is(asked($vip, $which) . asked($vip6, $which), $from x 2, 'a client reaches the primary by it');
is($lab->sql($from, "SELECT string_agg(detail, ' ') $checks"), '',
	'preflight: nothing against a move');

# ---- there and back, under load, and nobody sees two ----

# Who answers for it, asked again and again from a third host.
my $watch = $lab->dir . '/watch';
start($watch, in_host('client', 'sh', '-c',
	"while :; do $program address look eth0 $vip/24 5; done"));
# What the kernel says of the addresses of all hosts, in its order: a question sees the first who answers only.
my $changes = $lab->dir . '/changes';
start($changes, 'ip', 'monitor', 'all-nsid', 'address');
$lab->until_true('the monitor to tell', sub {
	must('ip', '-n', "${tag}_client", 'address', $_, '10.99.7.4/24', 'dev', 'eth0') for 'add', 'del';
	return read_file($changes) =~ /10\.99\.7\.4/;
});

# The hosts that took the address one after the other, the first one from the present one; dies if two had it at any
# time.
sub owners
{
	my ($address) = @_;
	my %owner = ($number{$from} => 1);
	my @turn;
	for (split /\n/, read_file($changes))
	{
		my ($host, $gone) = /^\[nsid \d*(\d)\](Deleted )?\d+: .*\b\Q$address\E / or next;
		delete $owner{$host} if $gone;
		next if $gone || $owner{$host};
		die "two hosts have $address" if %owner;
		$owner{$host} = 1;
		push @turn, grep { $number{$_} == $host } keys %number;
	}
	return join ' ', @turn;
}

# bench/writers runs in the client's namespace
my $writers = $lab->writers(dsn => "host=$vip port=5432 user=postgres dbname=app connect_timeout=2", rate => 60,
	writers => 3, prefix => [ in_host('client') ]);

for my $move (1, 2)
{
	$writers->mark("move $move");
	my ($out, $err) = $lab->try_sql($from, "SELECT run, state, blackout_ms FROM pingpong.switchover('$to')");
	like($out, qr{^\d+\|switched\|}, "move $move: switched") or BAIL_OUT($err =~ tr{\n}{|}r);
	my ($run, undef, $blackout) = split /\|/, $out;
	is(has($vip) . ', ' . has($vip6), "$to, $to", "move $move: the addresses are at the new primary's host alone");
	is(asked($vip, $which), $to, "move $move: the client's neighbour table knows it at once");
	is(asked($vip6, $which), $to, "move $move: that of IPv6, too");
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "move $move: done");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'", 'the standby', 60);
	my $seen = $writers->end;
	note(sprintf 'move %d: blackout %.0f ms; longest time between two commits %.0f ms, %d cut off', $move, $blackout,
		$seen->{gap_ms}, $seen->{ambiguous});
	is($seen->{ambiguous}, 0, "move $move: no client was left without knowing") or diag($seen->{sample});
	ok($lab->until_true('the farewell', sub { !grep { run('ip', '-n', "${tag}_$_", 'address', 'show', 'dev', 'lo')
		=~ /\Q$vip\E|\Q$vip6\E/ } $lab->nodes }, 60), "move $move: and nothing is left of it");
	($from, $to) = ($to, $from);
}
is($writers->verify($from)->{lost}, 0, 'nothing acknowledged is lost');
cmp_ok($writers->stop->{acked}, '>', 0, 'and something was acknowledged');
my @seen = split /\n/, read_file($watch);
my %macs = map { $_ => 1 } @seen;
is(scalar(grep { /^other \S+$|^free$/ } @seen), scalar @seen, 'from elsewhere: one or none had it, all the time');
is(scalar(grep { /^other/ } keys %macs), 2, 'and both had it in turn');
is(eval { owners("$vip/24") } // $@, "$to $from", 'the kernel: two never had it');
is(eval { owners("$vip6/64") } // $@, "$to $from", 'that of IPv6: two never had it');

# ---- a host that does not let go ----

stop_agent($from);
my ($out, $err) = $lab->try_sql($from, "SELECT state FROM pingpong.switchover('$to')");
like($err, qr/agent/, 'an agent that is away: the move does not begin');
is(has($vip), $from, 'and the address stays');
start_agent($from, 1);

# An order that reaches the new host only: it waits for the other one, which still answers.
sub order
{
	my ($host, $order, %params) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $lab->dir . "/host-$host/agent.sock") or die $!;
	my $body = encode_json({ run => 'orders', step => 's' . int(time * 1000), wait_ms => 30000,
		epoch => 0 + $lab->sql($from, 'SELECT epoch FROM pingpong.cluster'),
		actions => [ { action => "route.$order", params => { driver => 'address', endpoint => 'vip',
			databases => { vip => '' }, host => '127.0.0.1', %params } } ] });

	chomp(my $token = read_file($lab->env('TOKEN_FILE')));
	print $socket "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\nConnection: close\r\n",
		"Content-Length: ", length $body, "\r\n\r\n$body";
	my $answer = do { local $/; <$socket> };
	return decode_json($answer =~ s/\A.*?\r\n\r\n//sr);
}

my $job = order($to, 'commit', port => 0 + $lab->env("PORT_$to"));
is($job->{state}, 'failed', 'taken while another host answers: refused');
like($job->{error}{message}, qr/\Q$vip\E is still at [0-9a-f:]{17}/, 'and it says who has it');
is(has($vip), $from, 'two never have it');
$job = order($to, 'observe');
is($job->{results}[0]{databases}[0]{port}, $lab->env("PORT_$from"), 'who does not have it tells where it went');

# Somebody gives it to both by hand.
must('ip', '-n', "${tag}_$to", 'address', 'add', "$vip/24", 'dev', 'eth0');
like(order($from, 'observe')->{error}{message}, qr/the address \Q$vip\E\S* is here and at [0-9a-f:]{17}, too/,
	'two by hand: seen');
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded', 'two by hand: repoint() mends it');
is(has($vip), $from, 'and one is left');

# ---- no host is the place ----

my $new_ini = $lab->dir . "/host-$to/agent.ini";
my $good = read_file($new_ini);
stop_agent($to);
write_file($new_ini, $good =~ s/^port = \d+/port = 1/mr, 0644);
start_agent($to, 1);
($out, $err) = $lab->try_sql($from, "SELECT state FROM pingpong.switchover('$to')");
like($err, qr/no endpoint of route "vip" is at \S+, the place of "$to"/, 'a misnamed host: the move ends');
is(has($vip) . ' ' . $lab->sql($from, 'SELECT state FROM pingpong.gate'), "$from open",
	'a misnamed host: nothing was touched');
stop_agent($to);
write_file($new_ini, $good, 0644);
start_agent($to, 1);

# ---- the new host's agent dies after the seal: the other one has let go, and nobody serves ----

sub time_of_repoint
{
	my ($time) = @_;
	return $lab->sql($from, "UPDATE pingpong.runbook_step SET timeout = '$time'
		WHERE runbook = 'switchover' AND action = 'repoint'");
}
time_of_repoint('6 s');
$lab->wait_for($from, q{SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'}, 'the standby', 60);
$lab->wait_for($from, q{SELECT bool_and(health = 'ok') FROM pingpong.routes}, 'the routes to be healthy', 60);
$lab->set($from, 'pingpong.debug_pause_after', 'seal');
my $move = $lab->begin_sql($from, "SELECT run, state FROM pingpong.switchover('$to', max_blackout => '40 s')");
$lab->wait_for($from, q{SELECT state = 'sealed' FROM pingpong.gate}, 'the seal', 60);
my $run = $lab->sql($from, 'SELECT max(run) FROM pingpong.progress');
stop_agent($to);
$lab->set($from, 'pingpong.debug_pause_after', undef);
($out, $err) = $lab->finish($move, 90);
is($out // $err, "$run|promoted", 'the new host has nobody to take it: nobody is told that clients are served');
my ($state, $sentence, $node) = $lab->settle($run);
like("$node $state $sentence", qr/^$to stuck .*step repoint of "vip\S*" failed: /, 'and the run says so');
is(has($vip), '', 'nobody has it');
($from, $to) = ($to, $from);
start_agent($from, 1);
$lab->wait_for($from, "SELECT state = 'succeeded' FROM pingpong.run WHERE id = $run", 'the run to be closed', 60);
is(has($vip) . ', ' . has($vip6), "$from, $from", 'the agent is back: it takes the addresses by itself');
time_of_repoint('60 s');

# ---- without rights ----

stop_agent($to);
start_agent($to, 0);
like(order($to, 'prepare', port => 0 + $lab->env("PORT_$to"))->{error}{message}, qr/Operation not permitted|no right/,
	'an agent without the rights: found before anything moves');
my $ini = $lab->dir . "/host-$to/agent.ini";
my ($rc, $said) = run(in_host($to, with_rights(0, $program, '--check', '--config', $ini)));
like($said, qr/FAIL +route endpoint address\.vip: \Q$vip\E\/24 on eth0: .*(?:not permitted|no right)/,
	'--check: the same');
($rc, $said) = run(in_host($to, with_rights(1, $program, '--check', '--config', $ini)));
like($said, qr/ok +route endpoint address\.vip: \Q$vip\E\/24 on eth0: other /, '--check: with the rights');
for my $bad ([ "address = $vip\n", 'needs ADDRESS/PREFIX' ], [ "address = $vip/33\n", 'needs ADDRESS/PREFIX' ],
	[ "address = $vip/24\ncommand = sudo\n", 'absolute path' ],
	[ "address = $vip/24\nmac = x\n", 'unknown option "mac"' ])
{
	my ($lines, $sentence) = @$bad;

	write_file($lab->dir . '/bad.ini',
		read_file($ini) =~ s/\[address\.vip\].*/[address.vip]\ndevice = eth0\nhost = x\nport = 1\n$lines/sr, 0644);
	like(scalar run($program, '--check', '--config', $lab->dir . '/bad.ini'),
		qr/FAIL.*\[address\.vip\].*\Q$sentence\E/, "configuration: $sentence");
}

# ---- a failover while the agent of the new host is away: the other one has let go, and nobody serves ----

stop_agent($to);
$lab->wait_for($from, q{SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'}, 'the standby', 60);
$lab->kill9($_, $from) for 'postgres', 'agent';
my ($risk) = $lab->until_true('the plan', sub {
	$lab->sql($to, q{SELECT detail FROM pingpong.failover_plan() WHERE item = 'answer'}) =~ /risk => '([^']*)'/ && $1;
}, 60);
($out, $err) = $lab->try_sql($to, "SELECT run, state FROM pingpong.failover(risk => '$risk')");
unlike($out // '', qr/switched/, 'failover: nobody is told that clients are served') or diag($err);
($run) = $lab->sql($to, 'SELECT max(run) FROM pingpong.progress');
($state, $sentence, $node) = $lab->settle($run);
like("$node $state $sentence", qr/^$to stuck .*step repoint of "vip\S*" failed: /, 'failover: and the run says so');
is(has($vip), '', 'failover: nobody has it');
start_agent($to, 1);
$lab->wait_for($to, "SELECT state = 'succeeded' FROM pingpong.run WHERE id = $run", 'the run to be closed', 60);
is(has($vip) . ', ' . has($vip6), "$to, $to", 'failover: the agent is back, and it takes the addresses');

done_testing();
