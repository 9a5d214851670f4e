# Requests that no worker would send: whatever comes, the agent answers in JSON with an SQLSTATE, or not at all, and
# survives. PINGPONG_SEED repeats a run, PINGPONG_ROUNDS makes it longer.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64 qw(decode_base64 encode_base64);
use POSIX ();
use Ports;
use Test::More;
use Tools;
use Time::HiRes qw(sleep time);

my $top = dirname(dirname(abs_path($0)));
my $agent_binary = $ENV{PINGPONG_AGENT} // "$top/pingpong-agent";
plan skip_all => "no agent in $agent_binary" unless -x $agent_binary;

my $seed = $ENV{PINGPONG_SEED} // int(time) % 1000000;
my $rounds = $ENV{PINGPONG_ROUNDS} // 1500;
my $dir = tempdir('pingpong_fuzz_XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $port = Ports::take($ENV{PINGPONG_TEST_PORT} // 20000) + 1;
my $plain_port = $port + 1;
my $token = 'a-token-of-this-test';
my $monitor = 'a-token-of-a-monitor';
my $number = 0;
my $pid;
my %seen;
my @let_in;
$SIG{PIPE} = 'IGNORE';
srand $seed;
note("PINGPONG_SEED=$seed");

sub one_of { return $_[ rand @_ ]; }

sub start_agent
{
	mkdir "$dir/data";
	write_file("$dir/token", "$token\n");
	write_file("$dir/monitor", "$monitor\n");
	write_file("$dir/databases.ini", "[databases]\napp = host=127.0.0.1 port=1\n");
	write_file("$dir/agent.ini", <<INI);
[agent]
node = x
listen = 127.0.0.1:$port
health_listen = 127.0.0.1:$plain_port
state_dir = $dir/state
token_file = $dir/token
monitor_token_file = $dir/monitor
[postgresql]
data = $dir/data
bin = /nowhere
socket = $dir
port = 1
[pgbouncer.main]
admin = host=$dir port=1 user=x dbname=pgbouncer
file = $dir/databases.ini
[hooks]
greet = /bin/echo
INI
	$pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDERR, '>', "$dir/log";
		exec $agent_binary, '--config', "$dir/agent.ini" or POSIX::_exit(127);
	}
	my $limit = time + 60;
	sleep 0.02 until read_file("$dir/log") =~ /listens on/ || time > $limit;
}

# Sends it and gives what comes back; with half, the client sends no more.
sub talk
{
	my ($bytes, $seconds, $half, $to) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $to // $port, Timeout => 20)
		or return '';
	my $answer = '';
	my $limit = time + $seconds;
	$socket->syswrite($bytes);
	$socket->shutdown(1) if $half;
	while (time < $limit)
	{
		IO::Select->new($socket)->can_read(0.05) or next;
		sysread $socket, $answer, 65536, length $answer or last;
		last if $answer =~ /\A.*?Content-Length: (\d+).*?\r\n\r\n(.*)\z/is && length $2 >= $1;
	}
	return $answer;
}

sub request
{
	my ($method, $path, $body, @headers) = @_;
	return talk(join("\r\n", "$method $path HTTP/1.1", 'Host: x', "Authorization: Bearer $token",
		'Connection: close', @headers,
		defined $body ? 'Content-Length: ' . length $body : (), '', '') . ($body // ''), 20);
}

# ---- what is sent ----

my %good = (
	'facts' => { connect => [ { host => '127.0.0.1', port => 1, kind => 'replication' } ] },
	'pg.checkpoint' => {}, 'pg.warm' => {}, 'note' => { a => 1 },
	'pg.setting' => { name => 'wal_writer_delay', value => '10s', restore => JSON::PP::true },
	'slot.ensure' => { slots => ['pingpong_a'] }, 'slot.drop' => { slots => ['pingpong_a'] },
	'token.arm' => { ttl_ms => 60000, system_identifier => '1' }, 'token.burn' => {},
	'pg.promote' => { seal_lsn => '0/1', timeout_ms => 100,
		timeline => { steps => [ { ordinal => 1 } ], hold_ms => 3 } },
	'pg.follow' => { host => '127.0.0.1', port => 1, slot => 'a', name => 'x', timeout_ms => 100 },
	'pgbouncer.prepare' => { endpoint => 'main', databases => { app => '' } },
	'pgbouncer.pause' => { endpoint => 'main', databases => { app => '' }, resume_after_ms => 100 },
	'pgbouncer.commit' => { endpoint => 'main', databases => { app => '' }, host => '127.0.0.1', port => 1,
		timeout_ms => 100 },
	'pgbouncer.release' => { endpoint => 'main', databases => { app => '' }, timeout_ms => 100 },
	'hook' => { name => 'greet', args => ['a'] });

sub odd
{
	my ($depth) = @_;
	my $kind = int rand 18;
	return undef if $kind == 0;
	return one_of(JSON::PP::true, JSON::PP::false) if $kind == 1;
	return one_of(0, -1, 2**31, 9223372036854775807, -9223372036854775807, 65536) if $kind == 2;
	return one_of(1e300, -0.5, 1e-300) if $kind == 3;
	return one_of('x' x 101, 'x' x 20000, '1' x 400, '') if $kind == 4;
	return one_of("\0a", "\n[pgbouncer]\nadmin_users=x", "'; DROP TABLE x; --", '%s%n%s', '../../etc/passwd',
		"\x{202e}\x{1f600}", '\\') if $kind == 5;
	return one_of('0/0', 'FFFFFFFF/FFFFFFFF', 'G/1', '127.0.0.1', 'main', 'app') if $kind == 6;
	return [ map { odd($depth + 1) } 1 .. rand 4 ] if $kind == 7 && $depth < 4;
	return { map { one_of(qw(host port slots databases name x), '') => odd($depth + 1) } 1 .. rand 4 }
		if $kind == 8 && $depth < 4;
	return [ ('a') x 300 ] if $kind == 9;
	return int rand 100000;
}

# A value with one thing in it changed, left out, or put in many times.
sub spoil
{
	my ($value) = @_;
	return odd(0) if rand() < 0.3;
	if (ref $value eq 'HASH' && %$value)
	{
		my %copy = %$value;
		my $key = one_of(sort keys %copy);
		rand() < 0.2 ? delete $copy{$key} : ($copy{$key} = spoil($copy{$key}));
		return \%copy;
	}
	# one in it is spoilt, or all of it is there many times; not both, or it would grow without end
	return rand() < 0.3 ? [ (@$value) x 40 ] : [ map { rand() < 0.5 ? spoil($_) : $_ } @$value ]
		if ref $value eq 'ARRAY' && @$value && @$value < 5;
	return odd(0);
}

sub job
{
	my $action = one_of(sort keys %good);
	my $job = { run => 'fuzz', step => 's' . ++$number, epoch => 0, wait_ms => one_of(0, 500),
		actions => [ { action => $action, params => spoil($good{$action}) } ] };
	$job = spoil($job) if rand() < 0.3;
	# that a long wait is long is not what is tested
	$job->{wait_ms} = 1000 if ref $job eq 'HASH' && !ref $job->{wait_ms} && ($job->{wait_ms} // '') =~ /^\d{4,}$/;
	my $text = encode_json(ref $job ? $job : [$job]);
	substr $text, rand length $text, 1, chr int rand 256 for 1 .. (rand() < 0.1 ? 3 : 0);
	return request('POST', '/v1/jobs', $text);
}

sub path
{
	my $path = one_of('/v1/jobs/', '/v1/ping', '/v1/jobs', '/v1/', '', '/metrics', '/v1/snapshot', '/v1/state',
		'/health', '/primary', '/replica', '/replica?lag=', '/read-only', '/liveness') . join '',
		map { one_of('1MB', '%00', '%2e', '..', '/', 'a', '%ff', '?wait_ms=',
		'99999999999999999999', '-1', '#', '%', "\x7f", '&&=', '*', '/cancel') } 1 .. rand 12;
	return request(one_of(qw(GET POST PUT DELETE HEAD OPTIONS TRACE), 'x' x 300), $path || '/',
		one_of(undef, '', '{}'));
}

sub document
{
	return request('POST', '/v1/jobs',
		one_of('[' x 60000, '{"a":' x 10000, '"' . '\\u0000' x 9000 . '"', '1e99999', '-', '{"run":"a","run":"b"}',
		"\xef\xbb\xbf{}", '{"run":"\\ud800"}', '{"epoch":' . '9' x 5000 . '}', 'nul', "\0" x 1000,
		'{"run":"' . "\xff\xfe" . '"}'));
}

sub header
{
	my $header = one_of('Content-Length: -1', 'Content-Length: 99999999999999999999',
		"Content-Length: 1\r\nContent-Length: 2",
		'Transfer-Encoding: chunked', "Transfer-Encoding: chunked\r\nContent-Length: 3", 'Authorization:',
		'Authorization: Basic x',
		'Authorization: Bearer ' . 'x' x 8000, 'Expect: 100-continue', "X: \0\0",
		"Connection: upgrade\r\nUpgrade: websocket", ' folded', 'X: ' . 'a=b;' x 3000);
	my $body = one_of('', "5\r\nhello\r\n0\r\n\r\n", "ffffffffffffffff\r\n", "-5\r\n", "0\r\n\r\n", '{"run":');
	return talk("POST /v1/jobs HTTP/1." . one_of(0, 1, 2, 'x')
		. "\r\nHost: x\r\nAuthorization: Bearer $token\r\n$header\r\n\r\n$body", 0.3, 1);
}

# To what a monitor may see; undef, or the status that it must not have.
sub login
{
	my $path = one_of('/', '/metrics', '/v1/snapshot', '/v1/state', '/health');
	my $secret = one_of($monitor, $monitor, $token, '', 'x', "$monitor\0", "$monitor ", 'x' x 3000, "\xff" x 20);
	my $user = one_of('', 'x', 'a' x 2000, "\0", ':', "\xc3\x28");
	my $basic = encode_base64("$user:$secret", '');
	my $spoilt = rand() < 0.2;
	substr $basic, rand length $basic, 1, chr 33 + rand 90 if $spoilt;
	my $scheme = one_of('Basic', 'Basic', 'basic', 'Bearer', 'Digest', 'Negotiate', '');
	my $sent = $scheme eq 'Bearer' ? $secret : $basic;
	my $good = $path eq '/health' || ($scheme eq 'Bearer' && $secret =~ /\A(?:\Q$monitor\E[\0 ]?|\Q$token\E)\z/)
		# what a decoder makes of a letter that is none, or of one in the user's name, is its own affair
		|| (lc $scheme eq 'basic' && $secret =~ /\A\Q$monitor\E/
			&& ($spoilt || decode_base64($basic) =~ /\A[^:]*:\Q$monitor\E(?:\0|\z)/));
	my $answer = talk("GET $path HTTP/1.1\r\nHost: x\r\nAccept: " . one_of('*/*', 'text/plain', 'x' x 2000, '')
		. "\r\nAuthorization: $scheme $sent\r\nConnection: close\r\n\r\n", 20);
	push @let_in, "$path, $scheme, " . substr $secret, 0, 30 if !$good && $answer =~ m{\AHTTP/1.1 2};
	return $answer;
}

# To the plain socket for health checks: it says little, whatever it is told.
sub look
{
	my $request = one_of(qw(GET HEAD OPTIONS POST), 'x' x 300, '') . one_of(' ', '  ', "\t", '')
		. one_of('/', '/primary', '/replica?lag=', '/replica?a&&lag=1MB&lag=', '/v1/state', 'x' x 3000, '')
		. join('', map { one_of(qw(1 kB 9999999999999999999 - ? & = %00), "\0", "\xff", '..') } 1 .. rand 6)
		. one_of(' HTTP/1.1', ' HTTP/1.0', ' HTTP/9', '') . one_of("\r\n", "\n")
		. join('', map { one_of('Connection: close', 'Connection:', 'Content-Length: 99', 'Content-Length: -1',
		'Transfer-Encoding: chunked', ' folded', ':', 'X: ' . 'y' x 900, "\0") . one_of("\r\n", "\n") } 1 .. rand 6);
	$request .= one_of("\r\n", "\n", '');
	$request = join '', map { chr int rand 256 } 1 .. rand 4000 if rand() < 0.1;
	return talk($request x one_of(1, 1, 1, 30), 0.1, rand() < 0.5, $plain_port);
}

sub noise { return talk(join('', map { chr int rand 256 } 1 .. rand 2000), 0.2, 1); }

# ---- what is expected ----

# Nobody can be sent to a server that is not there.
sub plain_fault
{
	my ($answer) = @_;
	return if $answer eq '' || $answer =~ m{\AHTTP/1\.1 (?:503|400|404|405) [A-Z]};
	return "an answer that is none: $answer";
}

sub fault
{
	my $answer = $_[0] =~ s{\A(?:HTTP/1\.1 100 .*?\r\n\r\n)+}{}sr;
	my ($status, $head, $body) = $answer =~ m{\AHTTP/1\.[01] (\d+)(.*?)\r\n\r\n(.*)\z}s or return;
	$seen{$status}++;
	# the page, metrics; and one word of health, which is "down" here
	my $is_text = $head =~ m{^Content-Type: (?:text/html|text/plain|application/openmetrics)}m;
	return if $is_text && $status =~ /^(?:200|503)$/;
	return if $body eq '' || $body =~ /<html>/;	# to a HEAD, and the library's own refusals of what is not HTTP
	my $json = eval { decode_json($body) } // return "not JSON: $answer";
	my $error = $json->{error};
	return "status $status without an SQLSTATE: $body"
		if $status >= 400 && ($error->{code} // '') !~ /\A[0-9A-Z]{5}\z/;
	return "an internal error: $body" if $status >= 500 || ($error->{code} // '') eq 'XX000';
	return "a failed job without an SQLSTATE: $body"
		if ($json->{state} // '') eq 'failed' && ($error->{code} // '') !~ /\A[0-9A-Z]{5}\z/;
	return;
}

END
{
	my $status = $?;
	kill 'KILL', $pid if $pid;
	$? = $status;
}

start_agent();
my @ways = (([ \&job, 'a job' ]) x 6, [ \&path, 'a path' ], [ \&document, 'a document' ], [ \&header, 'a header' ],
	([ \&login, 'a login' ]) x 2, [ \&noise, 'noise' ], [ \&look, 'a look' ]);
my %faults;
for my $round (1 .. $rounds)
{
	my ($way, $what) = @{ one_of(@ways) };
	my $fault = $what eq 'a look' ? plain_fault($way->()) : fault($way->());
	push @{ $faults{$what} }, "round $round: " . substr $fault, 0, 500 if defined $fault;
}
is(scalar @{ $faults{$_} // [] }, 0, "$_: answered in JSON with an SQLSTATE, or not at all")
	or diag(join "\n", @{ $faults{$_} }[ 0 .. 2 ])
	for 'a job', 'a path', 'a document', 'a header', 'a login', 'noise', 'a look';
is(join("\n", @let_in), '', 'nobody is let in without the right token');
note(join ', ', map { "$_: $seen{$_}" } sort keys %seen);
cmp_ok($seen{$_} // 0, '>', 0, "some were answered with $_") for 200, 400, 401, 404;
like(request('GET', '/v1/ping'), qr{\AHTTP/1.1 200 }, 'the agent answers after all of it');
like(talk("GET /liveness HTTP/1.0\r\n\r\n", 20, 0, $plain_port), qr{\AHTTP/1.1 200 }, 'and on its plain socket');
is(waitpid($pid, POSIX::WNOHANG()), 0, 'and is the one that was started');
my ($strange) = read_file("$dir/log") =~ /^(.*(?:[^\n\x20-\x7e\x80-\xff]|\Q$token\E).*)$/m;
is($strange, undef, 'the log has no control characters and no token');

# a build with sanitizers has something to say by then, and at its end of what leaked
kill 'TERM', $pid;
ok(wait_for('its end', sub { waitpid($pid, POSIX::WNOHANG()) == $pid }), 'it stops');
is($?, 0, 'and ends well');
undef $pid;
my ($report) = read_file("$dir/log") =~ /((?:ERROR: \w+Sanitizer|runtime error|LeakSanitizer).{0,3000})/s;
is($report, undef, 'no sanitizer has found anything');
done_testing();
