# The agent's door: strangers of all kinds do not keep out a client with credentials, and cost nothing that grows.
# Times are compared with those of the quiet agent, and of something else that the busy machine does meanwhile.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX ();
use Socket qw(SOL_SOCKET SO_RCVBUF IPPROTO_TCP TCP_NODELAY);
use Ports;
use Test::More;
use Tools;
use Time::HiRes qw(sleep time);

my $top = dirname(dirname(abs_path($0)));
my $agent_binary = $ENV{PINGPONG_AGENT} // "$top/pingpong-agent";
plan skip_all => "no agent in $agent_binary" unless -x $agent_binary;

my $dir = tempdir('pingpong_door_XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $token = 'a-token-of-this-test-' . $$;
my $port_base = Ports::take($ENV{PINGPONG_TEST_PORT} // 20000) + 1;
my %port = (plain => $port_base, tls => $port_base + 1);
my $unix = "$dir/agent.sock";
my (%pid, %quiet, %descriptors, %threads);
my $main = $$;
$SIG{PIPE} = 'IGNORE';

# A ping under attack may take so many times what it takes in peace and starting a program takes meanwhile; an agent
# that is shut takes seconds, which are thousands.
use constant SLOWER => 100;
use constant PINGS => 15;
use constant STRANGERS => 300;

# ---- tools ----

sub start_agent
{
	my ($name, $listen, $more) = @_;
	write_file("$dir/$name.ini",
		"[agent]\nnode = x\nlisten = $listen\nstate_dir = $dir/$name.state\ntoken_file = $dir/token\n$more");
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDERR, '>>', "$dir/$name.log";
		exec $agent_binary, '--config', "$dir/$name.ini" or POSIX::_exit(127);
	}
	$pid{$name} = $pid;
	wait_for("agent $name", sub { read_file("$dir/$name.log") =~ /listens on/ }) or die read_file("$dir/$name.log");
}

sub open_socket
{
	my ($name) = @_;
	my $socket = $name eq 'unix' ? IO::Socket::UNIX->new(Peer => $unix)
		: IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port{$name}, Timeout => 20) or return;
	setsockopt($socket, IPPROTO_TCP, TCP_NODELAY, 1) if $name ne 'unix';
	return $socket;
}

# What the peer sends until it closes, the text matches, or time is up.
sub read_until
{
	my ($socket, $pattern, $seconds) = @_;
	my $limit = time + $seconds;
	my $text = '';
	my $select = IO::Select->new($socket);
	while (time < $limit)
	{
		next unless $select->can_read(0.1);
		last unless sysread $socket, $text, 65536, length $text;
		last if $text =~ $pattern;
	}
	return $text;
}

sub request_text
{
	my ($path, $key) = @_;
	return "GET $path HTTP/1.1\r\nHost: x\r\n" . (defined $key ? "Authorization: Bearer $key\r\n" : '') . "\r\n";
}

# On a new connection; the ms it took, undef when it was not answered.
sub ping
{
	my ($name) = @_;
	my $begin = time;
	if ($name eq 'tls')
	{
		my $curl = "curl -s -m 20 --cacert $dir/server.crt -o /dev/null -w '%{http_code} %{time_total}'";
		my $said = `$curl -H 'Authorization: Bearer $token' https://localhost:$port{tls}/v1/ping`;
		return $said =~ /^200 ([\d.]+)/ ? $1 * 1000 : undef;
	}
	my $socket = open_socket($name) or return undef;
	syswrite $socket, request_text('/v1/ping', $token);
	return undef unless read_until($socket, qr/\r\n\r\n\{.*\}/, 20) =~ m{^HTTP/1.1 200 };
	return (time - $begin) * 1000;
}

sub start_program { my $begin = time; system('/bin/true'); return (time - $begin) * 1000; }

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[@sorted / 2]; }

sub be_quiet
{
	my ($name) = @_;
	ping($name) for 1 .. 5;
	return median(map { ping($name) // die "no ping: " . read_file("$dir/$name.log") } 1 .. PINGS);
}

sub answers_quickly
{
	my ($name, $what, $pings) = @_;
	my (@took, @starts);
	for (1 .. $pings // PINGS)
	{
		my $begin = time;
		my $took = ping($name);
		# in a flood that never ends a busy machine may close some before they are read: workers ask again, too
		for (1 .. 5) { $took //= ping($name) && (time - $begin) * 1000 if $what =~ /again/; }
		push @took, $took;
		push @starts, start_program();
	}
	my @answered = grep { defined } @took;
	is(scalar @answered, scalar @took, "$name, $what: each ping is answered");
	my $median = @answered ? median(@answered) : 1e9;
	cmp_ok($median, '<', SLOWER * ($quiet{$name} + median(@starts)), "$name, $what: as quickly as that may be");
	note(sprintf '%s, %s: quiet %.2f ms, now %.2f ms, at most %.2f ms; a program starts in %.2f ms', $name, $what,
		$quiet{$name},
		$median, @answered ? (sort { $b <=> $a } @answered)[0] : -1, median(@starts));
}

# Sockets that have sent this and now are silent.
sub half_open
{
	my ($name, $text, $n) = @_;
	my @open;
	for (1 .. $n)
	{
		my $socket = open_socket($name) or next;
		syswrite $socket, $text if length $text;
		push @open, $socket;
	}
	return @open;
}

sub is_open
{
	my ($socket) = @_;
	my $select = IO::Select->new($socket);
	while ($select->can_read(0))
	{
		return 0 unless sysread $socket, my $buffer, 65536;
	}
	return 1;
}

# Processes that do this again and again; gives what ends them.
sub in_background
{
	my ($n, $code) = @_;
	my @pids;
	for (1 .. $n)
	{
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			$code->() while getppid == $main;
			POSIX::_exit(0);
		}
		push @pids, $pid;
	}
	return sub { kill 'KILL', @pids; waitpid $_, 0 for @pids; };
}

sub descriptors { my ($name) = @_; my @fds = glob "/proc/$pid{$name}/fd/*"; return scalar @fds; }
sub threads { my ($name) = @_; my @threads = glob "/proc/$pid{$name}/task/*"; return scalar @threads; }
sub resident { my ($name) = @_; return read_file("/proc/$pid{$name}/status") =~ /^VmRSS:\s+(\d+)/m ? $1 : die; }

# ---- attacks ----

sub test_half_open
{
	my ($name) = @_;
	my %text = (
		'silent connections' => '',
		'half a request line' => 'GET /v1/pi',
		'half a head' => "GET /v1/ping HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ",
		'wrong token' => request_text('/v1/ping', 'x' x 30),
		'half a body' => "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{",
		'binary' => join('', map { chr(($_ * 7919) % 256) } 1 .. 3000),
	);
	for my $what (sort keys %text)
	{
		my @open = half_open($name, $text{$what}, STRANGERS);
		cmp_ok(scalar @open, '>', STRANGERS * 0.9, "$name, $what: connected") if $name eq 'plain';
		answers_quickly($name, $what);
		cmp_ok(threads($name), '<', STRANGERS, "$name, $what: fewer threads than strangers");
	}
}

# Each time one is closed it comes again.
sub test_persistent
{
	my ($name) = @_;
	my $end = in_background(2, sub {
		my @open = half_open($name, 'GET /', 150);
		for (1 .. 20)
		{
			@open = grep { is_open($_) } @open;
			push @open, half_open($name, 'GET /', 150 - @open);
			sleep 0.02;
		}
	});
	answers_quickly($name, 'strangers that come again', 3 * PINGS);
	$end->();
}

sub test_large_heads
{
	my ($name) = @_;
	my $end = in_background(2, sub {
		my $socket = open_socket($name) or return;
		syswrite $socket, "GET /v1/ping HTTP/1.1\r\n";
		syswrite $socket, 'X-' . 'a' x 1000 . ': ' . 'b' x 7000 . "\r\n" or last for 1 .. 200;
		syswrite $socket, 'GET /' . 'x' x 100000;
	});
	answers_quickly($name, 'endless heads');
	$end->();
}

sub test_pipelines
{
	my ($name) = @_;
	for my $key (undef, $token)
	{
		my $who = defined $key ? 'with the token' : 'strangers';
		my $end = in_background(2, sub {
			my $socket = open_socket($name) or return;
			$socket->blocking(0);
			my $flood = request_text('/v1/ping', $key) x 200;
			for (1 .. 50)
			{
				last unless IO::Select->new($socket)->can_write(0.05);
				defined syswrite $socket, $flood or last;
			}
		});
		answers_quickly($name, "pipelined requests, $who");
		$end->();
	}
}

# They have the token and take no answer: there are as many as the agent has places for those.
sub test_no_reader
{
	my ($name) = @_;
	my @open;
	for (1 .. 100)
	{
		my $socket = open_socket($name) or next;
		setsockopt($socket, SOL_SOCKET, SO_RCVBUF, 2048);
		$socket->blocking(0);
		for (1 .. 100)
		{
			last unless defined syswrite $socket, request_text("/v1/jobs/none/none", $token) x 30;
		}
		push @open, $socket;
	}
	answers_quickly($name, 'clients that read no answer');
}

# A byte now and then moves no deadline: not that of a stranger, and not that of who has the token and sends a body.
sub test_slow
{
	my ($name) = @_;
	my @slow = half_open($name, 'GET /', 80);
	my @body = half_open($name,
		"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\nContent-Length: 60000\r\n\r\n", 5);
	is(scalar(grep { is_open($_) } @body), 5, "$name, slow bodies: are read");
	my $tick = sub { is_open($_) and syswrite $_, 'x' for @slow, @body; };
	$tick->();
	answers_quickly($name, 'slow heads and bodies');
	for (['heads', \@slow], ['bodies', \@body])
	{
		my ($what, $sockets) = @$_;
		ok(wait_for("slow $what to be closed", sub {
			$tick->();
			sleep 0.1;
			!grep { is_open($_) } @$sockets;
		}, 120), "$name, slow $what: are closed in the end");
	}
	answers_quickly($name, 'after slow ones');
}

# Bytes that a real client sends first, caught by a listener.
sub client_hello
{
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port_base + 2, Listen => 1,
		ReuseAddr => 1) or die "listen: $!";
	my $pid = fork // die;
	if ($pid == 0)
	{
		open STDERR, '>', '/dev/null';
		exec 'curl', '-s', '-m', 10, '-o', '/dev/null', '-k', 'https://localhost:' . ($port_base + 2) . '/'
			or POSIX::_exit(127);
	}
	my $socket = $listener->accept;
	my $text = read_until($socket, qr/^.{100}/s, 10);
	close $socket;
	waitpid $pid, 0;
	return $text;
}

sub test_tls
{
	my $hello = client_hello();
	for (['no handshake', ''], ['half a greeting', substr $hello, 0, 40], ['a greeting and no more', $hello],
		['plain HTTP', request_text('/v1/ping', $token)])
	{
		my ($what, $text) = @$_;
		my @open = half_open('tls', $text, STRANGERS);
		answers_quickly('tls', $what);
	}
	my $end = in_background(2, sub {
		my @open = half_open('tls', $hello, 40);
		@open = grep { is_open($_) } @open;
	});
	answers_quickly('tls', 'greetings again and again');
	$end->();
}

# Connections that are in stay in, whatever comes: long polls, and connections between two requests.
sub test_known_stay
{
	my ($name) = @_;
	my $job = encode_json({ run => 'door', step => "nap-$name", epoch => 0, wait_ms => 0,
		actions => [ { action => 'hook', params => { name => 'nap' } } ] });
	my @kept = map {
		my $socket = open_socket($name);
		syswrite $socket, request_text('/v1/ping', $token);
		read_until($socket, qr/\}/, 20);
		$socket
	} 1 .. 10;
	syswrite $kept[0], "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\nContent-Length: "
		. length($job) . "\r\n\r\n$job";
	like(read_until($kept[0], qr/\}\s*\z/, 20), qr/"running"/, "$name: a job");
	syswrite $_, request_text("/v1/jobs/door/nap-$name?wait_ms=60000", $token) for @kept[1 .. 5];
	my @open = half_open($name, '', STRANGERS);
	answers_quickly($name, 'strangers besides long polls');
	syswrite $_, request_text('/v1/ping', $token) for @kept[6 .. 9];
	is(scalar(grep { read_until($_, qr/\}/, 20) =~ /200 OK/ } @kept[6 .. 9]), 4,
		"$name: connections between two requests are kept");
	syswrite $kept[0], "POST /v1/jobs/door/nap-$name/cancel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer $token\r\n"
		. "Content-Length: 0\r\n\r\n";
	is(scalar(grep { read_until($_, qr/\}\s*\z/, 60) =~ /"cancelled"/ } @kept[1 .. 5]), 5,
		"$name: long polls get their answer");
}

# Attack after attack, the second time costs no more than the first.
sub test_growth
{
	my ($name) = @_;
	my $round = sub {
		for my $text ('', 'GET /', request_text('/v1/ping', 'wrong'), request_text('/v1/ping', $token), 'X' x 40000)
		{
			half_open($name, $text, STRANGERS) for 1 .. 3;
		}
		ping($name);			# behind all of them in the queue
		ok(wait_for('connections to end', sub { descriptors($name) <= $descriptors{$name} }),
				"$name: all connections end")
			or diag(descriptors($name) . " descriptors instead of $descriptors{$name}");
	};
	$round->();
	my $memory = resident($name);
	$round->() for 1 .. 3;
	ok(wait_for('threads to end', sub { threads($name) <= $threads{$name} }), "$name: and their threads")
		or diag(threads($name) . " threads instead of $threads{$name}");
	cmp_ok(resident($name), '<', $memory * 1.5, "$name: no memory grows")
		or diag("$memory kB, then " . resident($name));
	note("$name: $memory kB after one round, " . resident($name) . ' kB after three more');
	unlike(read_file("$dir/$name.log"), qr/\Q$token\E/, "$name: the log has no token");
	cmp_ok(scalar(() = read_file("$dir/$name.log") =~ /\n/g), '<', 300, "$name: the log stays short");
}

END
{
	if ($$ == $main)
	{
		my $status = $?;
		kill 'KILL', values %pid;
		$? = $status;
	}
}

write_file("$dir/token", "$token\n", 0600);
my $hooks = "[hooks]\nnap = /bin/sleep 600\n";
start_agent('plain', "127.0.0.1:$port{plain}", $hooks);
start_agent('unix', "unix:$unix", $hooks);
my $tls = system('curl --version >/dev/null 2>&1 && openssl version >/dev/null 2>&1') == 0;
if ($tls)
{
	system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
		. "-addext subjectAltName=DNS:localhost " .
		"-keyout $dir/server.key -out $dir/server.crt 2>/dev/null") == 0 or die 'openssl';
	start_agent('tls', "127.0.0.1:$port{tls}", "tls_cert = $dir/server.crt\ntls_key = $dir/server.key\n$hooks");
}
$descriptors{$_} = descriptors($_) for keys %pid;
$threads{$_} = threads($_) for keys %pid;
$quiet{$_} = be_quiet($_) for keys %pid;

for my $name (qw(plain unix))
{
	test_half_open($name);
	test_persistent($name);
	test_large_heads($name);
	test_pipelines($name);
	test_no_reader($name);
	test_known_stay($name);
}
test_slow('plain');
SKIP:
{
	skip 'no curl or openssl', 1 unless $tls;
	test_tls();
}
test_growth($_) for qw(plain unix);
for my $name (keys %pid)
{
	my @open = half_open($name, 'GET', 50);
	my $begin = time;
	kill 'TERM', $pid{$name};
	waitpid delete $pid{$name}, 0;
	is($?, 0, "$name: it ends well with strangers at the door");
}
done_testing();
