# The agent against a real primary, a real standby and a real PgBouncer: who may ask, what a job
# is, what a crash leaves behind, the promote token, the ways back, the pooler's pause.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(WNOHANG);
use Ports;
use Test::More;
use Tools;
use Time::HiRes qw(sleep time);

# Servers refuse to run as root.
if ($> == 0)
{
	my $user = $ENV{PINGPONG_TEST_USER} // 'postgres';
	exec 'setpriv', "--reuid=$user", "--regid=$user", '--init-groups', $^X, abs_path($0) or die "setpriv: $!";
}

my $top = dirname(dirname(abs_path($0)));
my $agent_binary = $ENV{PINGPONG_AGENT} // "$top/pingpong-agent";
my $bin = $ENV{PGBIN} // '';
chomp($bin = `\${PG_CONFIG:-pg_config} --bindir`) unless $bin;
my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } qw(/usr/sbin /usr/bin /usr/local/bin);

plan skip_all => "no agent in $agent_binary" unless -x $agent_binary;

my $dir = tempdir('pingpong_agent_XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $token = 'a-token-of-this-test-' . $$;
my $port_base = Ports::take($ENV{PINGPONG_TEST_PORT} // 20000) + 1;
my %port = (chicago => $port_base, dallas => $port_base + 1);
my %agent_port = (chicago => $port_base + 2, dallas => $port_base + 3, router => $port_base + 4);
my ($bouncer_port, $step) = ($port_base + 5, 0);
my %agent_pid;
my %pooler_pid;

# ---- tools ----

sub dsn
{
	my ($node, $dbname) = @_;
	return "host=$dir/run port=$port{$node} user=postgres dbname=" . ($dbname // 'postgres');
}

sub sql { my ($node, $text) = @_; return scalar run("$bin/psql", '-XAtq', '-d', dsn($node), '-c', $text); }

sub spawn
{
	my ($log, @command) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		setpgrp;
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $log;
		open STDERR, '>&', \*STDOUT;
		exec @command or POSIX::_exit(127);
	}
	return $pid;
}

sub start_agent
{
	my ($name) = @_;
	$agent_pid{$name} = spawn("$dir/$name/agent.log", $agent_binary, '--config', "$dir/$name/agent.ini");
	wait_for("agent of $name", sub { (get($name, '/v1/ping'))[0] == 200 }) or die read_file("$dir/$name/agent.log");
}

sub stop_agent
{
	my ($name, $signal) = @_;
	kill $signal, $agent_pid{$name};
	waitpid $agent_pid{$name}, 0;
	delete $agent_pid{$name};
}

# ---- HTTP ----

sub request
{
	my ($name, $method, $path, %with) = @_;
	my $http = HTTP::Tiny->new(timeout => 60);
	my %headers = ('Content-Type' => 'application/json');
	$headers{Authorization} = 'Bearer ' . ($with{token} // $token)
		unless exists $with{token} && !defined $with{token};
	my $answer = $http->request($method, "http://127.0.0.1:$agent_port{$name}$path",
		{ headers => \%headers, defined $with{content} ? (content => $with{content}) : () });
	my $json = eval { decode_json($answer->{content}) };
	return ($answer->{status}, $json, $answer->{content});
}

sub get { my ($name, $path) = @_; return request($name, 'GET', $path); }

sub post
{
	my ($name, %job) = @_;
	return request($name, 'POST', '/v1/jobs', content => encode_json({ wait_ms => 30000, %job }));
}

# One action, waited for; gives the job.
sub act
{
	my ($name, $run, $epoch, $action, $params, %more) = @_;
	my ($status, $job) = post($name, run => "$run", step => $more{step} // ('s' . ++$step), epoch => $epoch,
		actions => [ { action => $action, params => $params // {} } ],
		exists $more{wait_ms} ? (wait_ms => $more{wait_ms}) : ());
	diag("$action: $status " . ($job->{error}{message} // '')) if $status != 200;
	return $job;
}

sub done
{
	my ($job, $what) = @_;
	is($job->{state}, 'succeeded', $what) or diag(explain($job->{error}), $job->{output});
	return $job->{results}[-1];
}

# ---- the installation ----

sub make_agent
{
	my ($name, $more) = @_;
	mkdir "$dir/$name" unless -d "$dir/$name";
	write_file("$dir/$name/agent.ini", <<INI . $more);
[agent]
node = $name
listen = 127.0.0.1:$agent_port{$name}
token_file = $dir/token
state_dir = $dir/$name/state

INI
}

sub make_node
{
	my ($name) = @_;
	make_agent($name, <<INI);
[postgresql]
data = $dir/$name/data
bin = $bin
socket = $dir/run
port = $port{$name}
log = $dir/$name/log
replication = user=postgres sslmode=disable
rewind = user=postgres dbname=postgres sslmode=disable
keep = node.id, certs

[hooks]
greet = /bin/echo hello
nap = /bin/sleep 60
spoil = /bin/sh -c 'mv "\$0" "\$0.away" && : > "\$0"'
INI
	write_file("$dir/$name/local.conf", <<CONF);
port = $port{$name}
listen_addresses = '127.0.0.1'
unix_socket_directories = '$dir/run'
CONF
}

sub set_up
{
	mkdir "$dir/run";
	write_file("$dir/token", "$token\n", 0600);
	make_node($_) for qw(chicago dallas);
	must("$bin/initdb", '-D', "$dir/chicago/data", '-k', '-A', 'trust', '-U', 'postgres', '--no-sync');
	write_file("$dir/chicago/data/postgresql.conf",
		read_file("$dir/chicago/data/postgresql.conf") . <<CONF . read_file("$dir/chicago/local.conf"));
wal_log_hints = on
fsync = off
max_wal_senders = 8
wal_keep_size = '256MB'
CONF
	write_file("$dir/chicago/data/node.id", "chicago\n");
	must("$bin/pg_ctl", '-D', "$dir/chicago/data", '-l', "$dir/chicago/log", '-w', 'start');
	must("$bin/pg_basebackup", '-D', "$dir/dallas/data", '-R', '-c', 'fast', '-d',
		"host=127.0.0.1 port=$port{chicago} user=postgres application_name=dallas");
	write_file("$dir/dallas/data/postgresql.conf",
		read_file("$dir/dallas/data/postgresql.conf") . read_file("$dir/dallas/local.conf"));
	write_file("$dir/dallas/data/node.id", "dallas\n");
	must("$bin/pg_ctl", '-D', "$dir/dallas/data", '-l', "$dir/dallas/log", '-w', 'start');
	start_agent($_) for qw(chicago dallas);
}

sub streams
{
	my ($from, $name) = @_;
	return sql($from,
		"SELECT count(*) FROM pg_stat_replication WHERE application_name = '$name' AND state = 'streaming'") eq '1';
}

# ---- who may ask, and what ----

sub test_front
{
	my ($status, $json) = get('chicago', '/v1/ping');
	is($status, 200, 'ping');
	is("$json->{agent} $json->{node} $json->{version}", 'pingpong-agent chicago 1.0', 'ping tells who answers');

	for my $wrong ([ undef, 'no token' ], [ '', 'an empty token' ], [ 'x', 'a wrong token' ],
		[ $token . 'x', 'a longer token' ])
	{
		($status, $json) = request('chicago', 'GET', '/v1/ping', token => $wrong->[0]);
		is("$status $json->{error}{code}", '401 28000', $wrong->[1]);
	}
	is((request('chicago', 'POST', '/v1/jobs', token => 'x', content => '{}'))[0], 401, 'a job with a wrong token');
	is((get('chicago', '/v1/other'))[0], 404, 'an unknown path');
	is((get('chicago', '/v1/jobs/1/nothing'))[0], 404, 'an unknown job');
	is((get('chicago', '/v1/jobs/../epoch'))[0], 404, 'a path that climbs');
	is((get('chicago', '/v1/jobs/%2e%2e/epoch'))[0], 404, 'a path that climbs, encoded');
	is((request('chicago', 'DELETE', '/v1/ping'))[0], 405, 'another method');
}

sub test_bad_requests
{
	my $good = { run => '1', step => 'x', epoch => 0, actions => [ { action => 'facts' } ] };
	my %bad = (
		'an empty body' => '',
		'not JSON' => '{"run":',
		'an array' => '[]',
		'a number' => '7',
		'binary' => join('', map { chr } 0 .. 255),
		'deep nesting' => '[' x 5000,
		'a doubled key' => '{"run":"1","run":"2"}',
		'no run' => encode_json({ %$good, run => undef }),
		'a path as run' => encode_json({ %$good, run => '../x' }),
		'two dots as run' => encode_json({ %$good, run => '..' }),
		'a long step' => encode_json({ %$good, step => 'x' x 101 }),
		'an epoch that is text' => encode_json({ %$good, epoch => 'seven' }),
		'a negative epoch' => encode_json({ %$good, epoch => -1 }),
		'no action' => encode_json({ %$good, actions => [] }),
		'an unknown action' => encode_json({ %$good, actions => [ { action => 'rm' } ] }),
		'params that are a list' => encode_json({ %$good, actions => [ { action => 'facts', params => [] } ] }),
		'too many actions' => encode_json({ %$good, actions => [ map { { action => 'facts' } } 1 .. 33 ] }),
	);
	for my $what (sort keys %bad)
	{
		my ($status, $json) = request('chicago', 'POST', '/v1/jobs', content => $bad{$what});
		is("$status $json->{error}{code}", '400 22023', "400: $what");
	}
	my ($status) = request('chicago', 'POST', '/v1/jobs', content => encode_json({ %$good, pad => 'x' x 70000 }));
	is($status, 413, '413: more than 64 kB');
	my $chunks = 3;
	my $answer = HTTP::Tiny->new(timeout => 20)->request('POST', "http://127.0.0.1:$agent_port{chicago}/v1/jobs",
		{ headers => { Authorization => "Bearer $token" },
			content => sub { return $chunks-- > 0 ? 'x' x 40000 : undef } });
	is($answer->{status}, 413, '413: more than 64 kB in chunks');
	is((get('chicago', '/v1/ping'))[0], 200, 'the agent still answers');
}

# What is not HTTP at all, half a request, a silent connection: others are served meanwhile.
sub test_garbage_on_port
{
	my @open;
	srand 7;
	for my $round (1 .. 60)
	{
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $agent_port{chicago}, Timeout => 5)
			or next;
		my $text = $round % 3 == 0
			? "POST /v1/jobs HTTP/1.1\r\nAuthorization: Bearer $token\r\nContent-Length: 99\r\n\r\n{"
			: $round % 3 == 1 ? join('', map { chr int rand 256 } 1 .. 500)
			: 'GET /' . 'x' x 100 . " HTTP/1.1\r\nA: " . "\0" x 10;
		$socket->syswrite($text);
		push @open, $socket if $round % 10 == 0;
	}
	is((get('chicago', '/v1/ping'))[0], 200, 'served in between garbage');	# how quickly: t/021_agent_door.pl
}

# ---- jobs ----

# The answer to the one who changed a setting may never arrive: the agent remembers.
sub test_originals
{
	my $setting = sub { act('chicago', 'jobs', 0, 'pg.setting', { name => 'wal_writer_delay', @_ }) };
	my $own = sub { sql('chicago', q{SELECT count(*) FROM pg_file_settings WHERE name = 'wal_writer_delay'}) };
	my $restore = sub { done($setting->(value => $_[0], restore => JSON::PP::true), $_[1]) };

	$restore->(undef, 'a setting that was never changed is restored');
	is(done($setting->(value => '10s'), 'one that is changed')->{previous}, '200ms', 'had its default');
	wait_for('reload', sub { sql('chicago', 'SHOW wal_writer_delay') eq '10s' });
	is(done($setting->(value => '9s'), 'and changed again')->{previous}, '200ms', 'the original is still known');
	$restore->(undef, 'restored by one who does not know it');
	is(sql('chicago', 'SHOW wal_writer_delay') . ' ' . $own->(), '200ms 0', 'it has no line of its own');
	$restore->('200ms', 'restored twice');
	is($own->(), 0, 'and still none');

	sql('chicago', q{ALTER SYSTEM SET wal_writer_delay = '300ms'});
	sql('chicago', 'SELECT pg_reload_conf()');
	wait_for('reload', sub { sql('chicago', 'SHOW wal_writer_delay') eq '300ms' });
	is(done($setting->(value => '10s'), 'with a line of its own')->{previous}, '300ms', 'that one is the original');
	$restore->('200ms', 'restored with another value');
	is(sql('chicago', 'SHOW wal_writer_delay'), '300ms', 'the line is back');

	# (a value that a person has set meanwhile stays, whichever job restores the original)
	done($setting->(value => '10s'), 'changed');
	sql('chicago', q{ALTER SYSTEM SET wal_writer_delay = '400ms'});
	sql('chicago', 'SELECT pg_reload_conf()');
	wait_for('reload', sub { sql('chicago', 'SHOW wal_writer_delay') eq '400ms' });
	$restore->('200ms', 'restored behind the back of a person');
	is(sql('chicago', q{SELECT setting FROM pg_file_settings WHERE name = 'wal_writer_delay'}), '400ms',
		'what they have set stays');
	is(done($setting->(value => '10s'), 'changed by the next run')->{previous}, '400ms', 'that is the original now');
	$restore->('200ms', 'restored');
	is(sql('chicago', 'SHOW wal_writer_delay'), '400ms', 'and comes back');
	done($setting->(value => undef), 'and reset');
	wait_for('reload', sub { sql('chicago', 'SHOW wal_writer_delay') eq '200ms' });
}

sub test_jobs
{
	my $first = act('chicago', 'jobs', 0, 'hook', { name => 'greet', args => [ 'a b', '$(id)' ] }, step => 'one');
	is(done($first, 'a hook runs')->{exit_status}, 0, 'its exit status');
	is($first->{output}, "hello a b \$(id)\n", 'arguments are passed without a shell');
	my $again = act('chicago', 'jobs', 0, 'hook', { name => 'greet' }, step => 'one');
	is($again->{received_ms}, $first->{received_ms}, 'posting a key again gives the job as it is');
	is(act('chicago', 'jobs', 0, 'hook', { name => 'rm' })->{error}{code}, '42704', 'an unknown hook');
	is(act('chicago', 'jobs', 0, 'pg.query', { sql => 'DROP TABLE x' })->{error}{code}, '22023',
		'there is no action for SQL of others');
	is(act('chicago', 'jobs', 0, 'pg.setting', { name => 'fsync', value => 'off' })->{error}{code}, '42501',
		'a setting that is not in the list');
	is(done(act('chicago', 'jobs', 0, 'pg.setting', { name => 'wal_init_zero', value => 'off' }),
			'a setting')->{previous},
		'on', 'its previous value');
	wait_for('reload', sub { sql('chicago', 'SHOW wal_init_zero') eq 'off' });
	done(act('chicago', 'jobs', 0, 'pg.setting', { name => 'wal_init_zero', value => undef }), 'and its reset');
	wait_for('reload', sub { sql('chicago', 'SHOW wal_init_zero') eq 'on' });
	is(sql('chicago', 'SHOW wal_init_zero'), 'on', 'is seen by the server');
	test_originals();

	my $unnoted = act('chicago', 'spoilt', 0, 'hook',
		{ name => 'spoil', args => ["$dir/chicago/state/jobs/spoilt"] });
	is("$unnoted->{state} $unnoted->{error}{code}", 'failed 58030',
		'a job whose end cannot be written has not succeeded');
	like($unnoted->{error}{message}, qr/^the job was done, but its end could not be written: /, 'and says so');
	unlink "$dir/chicago/state/jobs/spoilt" or die;

	my $start = time;
	is(act('chicago', 'jobs', 0, 'hook', { name => 'nap' }, step => 'nap', wait_ms => 100)->{state}, 'running',
		'a long job');
	cmp_ok(time - $start, '>=', 0.1, 'is waited for');
	request('chicago', 'POST', '/v1/jobs/jobs/nap/cancel');
	my (undef, $job) = get('chicago', '/v1/jobs/jobs/nap?wait_ms=5000');
	is("$job->{state} $job->{error}{code}", 'cancelled 57014', 'and can be cancelled');
	my (undef, $list) = get('chicago', '/v1/jobs');
	ok((grep { $_->{step} eq 'nap' } @{ $list->{jobs} }), 'the list of jobs');
	ok(!(grep { exists $_->{output} } @{ $list->{jobs} }), 'is without output');
}

sub test_slots
{
	my $slots = [qw(pingpong_dallas pingpong_old)];
	is_deeply(done(act('chicago', 'slots', 0, 'slot.ensure', { slots => $slots }), 'slots are made')->{created},
		$slots, 'both');
	is_deeply(done(act('chicago', 'slots', 0, 'slot.ensure', { slots => $slots }), 'and found')->{created}, [],
		'the second time');
	is_deeply(done(act('chicago', 'slots', 0, 'slot.drop', { slots => [qw(pingpong_old none)] }), 'drop')->{dropped},
		['pingpong_old'], 'drops what is there');
	is_deeply(done(act('chicago', 'slots', 0, 'slot.drop', { slots => [qw(pingpong_dallas pingpong_old)] }),
			'drop')->{dropped},
		['pingpong_dallas'], 'and only that');
	is(act('chicago', 'slots', 0, 'slot.ensure', { slots => ["x'; DROP"] })->{error}{code}, '22023', 'a bad name');
}

# ---- crashes of the agent ----

# What it was about to create is its own in its next life, too: the undo would not drop the slots otherwise.
sub test_slots_killed
{
	my $slots = [ map { "pingpong_killed$_" } 1 .. 6 ];
	my $first = "$dir/chicago/data/pg_replslot/$slots->[0]";
	act('chicago', 'slots', 0, 'slot.ensure', { slots => $slots }, step => 'killed', wait_ms => 0);
	my $limit = time + 60;
	while (!-d $first && time < $limit) { }
	stop_agent('chicago', 'KILL');
	note('when it was killed there were ' . (() = glob "$dir/chicago/data/pg_replslot/pingpong_killed*"));
	start_agent('chicago');
	my (undef, $job) = get('chicago', '/v1/jobs/slots/killed?wait_ms=30000');
	is_deeply(done($job, 'killed while it made slots')->{created}, $slots, 'they are all its own');
	is_deeply(done(act('chicago', 'slots', 0, 'slot.drop', { of_run => JSON::PP::true }), 'drop')->{dropped},
		$slots, 'and are what the run has created');
}

sub test_restart
{
	act('chicago', 'crash', 0, 'hook', { name => 'nap' }, step => 'nap', wait_ms => 0);
	my $done = act('chicago', 'crash', 0, 'hook', { name => 'greet' }, step => 'done');
	stop_agent('chicago', 'KILL');
	ok(wait_for('end of the child', sub { (run('pgrep', '-u', $>, '-f', '^/bin/sleep 60$'))[0] }),
		'a child ends with its agent');
	start_agent('chicago');
	my (undef, $job) = get('chicago', '/v1/jobs/crash/nap');
	is("$job->{state}: $job->{error}{message}", 'failed: agent was restarted', 'a job that cannot be resumed');
	is(act('chicago', 'crash', 0, 'hook', { name => 'nap' }, step => 'done')->{output}, "hello\n",
		'a job that had ended is known');

	write_file("$dir/chicago/state/jobs/crash/damaged.json", '{"run":');
	act('chicago', 'crash', 0, 'hook', { name => 'nap' }, step => 'nap2', wait_ms => 0);
	my $waiter = spawn('/dev/null', 'curl', '-s', '-H', "Authorization: Bearer $token",
		"http://127.0.0.1:$agent_port{chicago}/v1/jobs/crash/nap2?wait_ms=60000");
	sleep 0.2;
	my $start = time;
	stop_agent('chicago', 'TERM');
	cmp_ok(time - $start, '<', 1, 'SIGTERM stops it within a second, whoever waits');
	kill 'KILL', $waiter;
	waitpid $waiter, 0;
	start_agent('chicago');
	my ($rc, $output) = run('timeout', 5, $agent_binary, '--config', "$dir/chicago/agent.ini");
	like($output, qr/another agent uses/, 'a second agent with the same state refuses to start');
	isnt($rc, 0, 'with an error');

	mkdir "$dir/spoilt";
	write_file("$dir/spoilt/epoch", "?\n");
	write_file("$dir/spoilt.ini",
		"[agent]\nnode = x\nlisten = unix:$dir/run/spoilt.sock\nstate_dir = $dir/spoilt\ntoken_file = $dir/token\n");
	($rc, $output) = run('timeout', 5, $agent_binary, '--config', "$dir/spoilt.ini");
	is($rc, 1, 'an agent whose epoch cannot be read does not start');
	like($output, qr/could not read ".*epoch"/, 'and says so');

	write_file("$dir/token", "another-token-$$\n", 0600);
	kill 'HUP', $agent_pid{chicago};
	ok(wait_for('reload', sub { (request('chicago', 'GET', '/v1/ping', token => "another-token-$$"))[0] == 200 }),
		'SIGHUP reads the token again');
	write_file("$dir/token", "$token\n", 0600);
	kill 'HUP', $agent_pid{chicago};
	wait_for('reload', sub { (get('chicago', '/v1/ping'))[0] == 200 });
}

sub test_check
{
	my ($rc, $output) = run($agent_binary, '--check', '--config', "$dir/chicago/agent.ini");
	is($rc, 0, '--check of a good configuration') or diag($output);
	unlike($output, qr/FAIL|\Q$token\E/, 'finds no fault, tells no secret');
	write_file("$dir/bad.ini", read_file("$dir/chicago/agent.ini") =~ s/^port = \d+/port = 1/mr);
	($rc, $output) = run($agent_binary, '--check', '--config', "$dir/bad.ini");
	is($rc, 1, '--check of a wrong port');
	like($output, qr/^FAIL connection to PostgreSQL/m, 'names it');
	is(scalar run($agent_binary, '--version'), 'pingpong-agent 1.0', '--version');
}

# ---- other ways to listen ----

# A second configuration of chicago with its own state, started, asked, stopped.
sub with_agent
{
	my ($listen, $more, $code) = @_;
	my $state = "$dir/listen.state";
	write_file("$dir/listen.ini", "[agent]\nnode = x\nlisten = $listen\nstate_dir = $state\n$more");
	unlink "$dir/listen.log";		# the words of an earlier one
	my $pid = spawn("$dir/listen.log", $agent_binary, '--config', "$dir/listen.ini");
	wait_for('start', sub { read_file("$dir/listen.log") =~ /listens on \Q$listen\E/ }, 30)
		or diag(read_file("$dir/listen.log"));
	$code->();
	kill 'TERM', $pid;
	waitpid $pid, 0;
	is($?, 0, "$listen: ends well");
}

sub curl { return scalar run('curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', '-m', 5, @_); }

sub test_listen
{
	my ($rc, $output);
	my $with_token = "token_file = $dir/token\n";
	write_file("$dir/plain.ini",
		"[agent]\nnode = x\nlisten = 0.0.0.0:$agent_port{router}\nstate_dir = $dir/s\n$with_token");
	($rc, $output) = run('timeout', 5, $agent_binary, '--config', "$dir/plain.ini");
	is($rc, 1, 'plain HTTP for everyone is refused');
	like($output, qr/needs TLS/, 'and says what is needed');
	SKIP:
	{
		skip 'no curl or openssl', 1 if (run('curl', '--version'))[0] || (run('openssl', 'version'))[0];
		with_agent("unix:$dir/run/agent.sock", $with_token, sub {
			is(curl('--unix-socket', "$dir/run/agent.sock", '-H', "Authorization: Bearer $token", 'http://x/v1/ping'),
				200, 'a unix socket');
			is(sprintf('%o', (stat "$dir/run/agent.sock")[2] & 07777), '660', 'not for everyone');
		});
		ok(!-e "$dir/run/agent.sock", 'the socket goes with the agent');
		must('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', 2, '-subj', '/CN=localhost',
			'-addext',
			'subjectAltName=DNS:localhost', '-keyout', "$dir/$_.key", '-out', "$dir/$_.crt")
			for qw(server client stranger);
		my $tls = "tls_cert = $dir/server.crt\ntls_key = $dir/server.key\ntls_client_ca = $dir/client.crt\n";
		my @url = ('--cacert', "$dir/server.crt", "https://localhost:$agent_port{router}/v1/ping");
		with_agent("0.0.0.0:$agent_port{router}", $tls . $with_token, sub {
			is(curl('-4', '-H', "Authorization: Bearer $token", @url), 200, 'TLS with a token');
			is(curl('-4', @url), 401, 'TLS with nothing');
			is(curl('-4', '--cert', "$dir/client.crt", '--key', "$dir/client.key", @url), 200,
				'TLS with a certificate of our CA');
			isnt(curl('-4', '--cert', "$dir/stranger.crt", '--key', "$dir/stranger.key", @url), 200,
				'TLS with a certificate of others');
			isnt(curl('-4', '-H', "Authorization: Bearer $token", "http://localhost:$agent_port{router}/v1/ping"),
				200, 'no plain HTTP there');
		});
		with_agent("0.0.0.0:$agent_port{router}", $tls, sub {
			is(curl('-4', '-H', "Authorization: Bearer $token", @url), 401, 'certificates only: a token is nothing');
			is(curl('-4', '--cert', "$dir/client.crt", '--key', "$dir/client.key", @url), 200,
				'certificates only: a certificate');
		});
	}
}

# ---- the promote token ----

sub system_identifier { return sql('chicago', 'SELECT system_identifier FROM pg_control_system()'); }
sub seal_lsn { my ($node) = @_; return sql($node, 'SELECT pg_current_wal_flush_lsn()'); }

sub test_token
{
	my %seal = (seal_lsn => seal_lsn('chicago'));
	my $job = act('dallas', 'never', 1, 'pg.promote', \%seal);
	like("$job->{state} $job->{error}{message}", qr/^failed .*refused: no promote token of this run/,
		'without a token nothing is promoted');
	is(done(act('dallas', 'never', 1, 'token.burn'), 'a run that was never heard of')->{verdict}, 'unknown',
		'is not said to be burned');
	done(act('dallas', 'burnt', 1, 'token.arm', { ttl_ms => 60000, system_identifier => system_identifier() }),
		'arm');
	is(done(act('dallas', 'burnt', 1, 'token.burn'), 'burn')->{verdict}, 'burned', 'the verdict');
	like(act('dallas', 'burnt', 1, 'pg.promote', \%seal)->{error}{message}, qr/refused: .* burned/,
		'a burned token promotes nothing');
	is(act('dallas', 'burnt', 1, 'token.arm', {})->{error}{code}, '55000', 'and cannot be armed again');

	done(act('dallas', 'late', 1, 'token.arm', { ttl_ms => 20 }), 'arm for 20 ms');
	sleep 0.05;
	$job = act('dallas', 'late', 1, 'pg.promote', \%seal);
	like($job->{error}{message}, qr/expired/, 'an expired token promotes nothing');
	is(done(act('dallas', 'late', 1, 'token.burn'), 'burn')->{verdict}, 'burned', 'and is burned');

	is(act('dallas', 'other', 1, 'token.arm', { system_identifier => '1' })->{error}{code}, '55000',
		'a token for another cluster is not armed');
	is(act('chicago', 'primary', 1, 'token.arm')->{error}{code}, '55000', 'nor one for a primary');
	done(act('dallas', 'ahead', 1, 'token.arm', {}), 'arm');
	like(act('dallas', 'ahead', 1, 'pg.promote', { seal_lsn => 'FF/0' })->{error}{message}, qr/not replayed/,
		'not replayed so far');
	done(act('dallas', 'epoch', 1, 'token.arm', {}), 'arm for epoch 1');
	like(act('dallas', 'epoch', 2, 'pg.promote', \%seal)->{error}{message}, qr/another epoch/, 'another epoch');
	is(sql('dallas', 'SELECT pg_is_in_recovery()'), 't', 'after all of that dallas is a standby');

	done(act('dallas', 'left', 1, 'token.arm', {}), 'arm, and never come back');
	done(act('dallas', 'killed', 1, 'token.arm', {}), 'arm');
	stop_agent('dallas', 'KILL');
	start_agent('dallas');
	is(done(act('dallas', 'killed', 1, 'token.burn'), 'a token outlives its agent')->{verdict}, 'burned',
		'and can be burned');
}

# What a node has of its own, and the other one has not: with folders in folders.
my %own = (dallas => [qw(conf.d/sub/site.conf certs/x.key)], chicago => [qw(conf.d/x.conf root.crl)]);
sub make_own
{
	my ($name) = @_;
	mkdir "$dir/$name/data/$_" for $name eq 'dallas' ? qw(conf.d conf.d/sub certs) : qw(conf.d);
	write_file("$dir/$name/data/$_", "# of $name\n", 0600) for @{ $own{$name} };
}
sub own_files
{
	my ($name) = @_;
	return join ' ', grep { -e "$dir/$name/data/$_" } map { @{ $own{$_} } } qw(dallas chicago);
}

# A promotion between two nodes; what the old primary writes afterwards is what makes it diverge.
sub move
{
	my ($from, $to, $run, $epoch) = @_;
	done(act($to, $run, $epoch, 'token.arm', { ttl_ms => 60000 }), "$run: arm");
	my $seal = seal_lsn($from);
	wait_for('replay', sub { sql($to, "SELECT pg_last_wal_replay_lsn() >= '$seal'") eq 't' });
	my $sent = time * 1000;
	my $result = done(act($to, $run, $epoch, 'pg.promote', { seal_lsn => $seal, timeline => { hold_ms => 3 } }),
		"$run: promote");
	note(sprintf '%s: promoted after %.1f ms', $run, $result->{promoted_ms} - $sent);
	is("$result->{verdict} $result->{timeline}{hold_ms}", 'promoted 3', "$run: the verdict");
	is(done(act($to, $run, $epoch, 'token.burn'), "$run: too late to burn")->{verdict}, 'promoted', "$run: says so");
	done(act($to, $run, $epoch, 'slot.ensure', { slots => ["pingpong_$from"] }), "$run: a slot");
}

sub rejoin
{
	my ($from, $to, $run, $epoch, %more) = @_;
	my $sent = time * 1000;
	my $job = act($from, $run, $epoch, 'pg.rejoin',
		{ host => '127.0.0.1', port => $port{$to}, slot => "pingpong_$from", name => $from,
			risk => 'its own writes are lost', %more });
	my $result = done($job, "$run: $from is back");
	note(sprintf '%s: streams after %.0f ms by %s', $run, $result->{streaming_ms} - $sent, $result->{method})
		if $result->{streaming_ms};
	ok(streams($to, $from), "$run: and streams from $to");
	is(sql($from, 'SELECT pg_is_in_recovery()'), 't', "$run: as a standby");
	is(read_file("$dir/$from/data/node.id"), "$from\n", "$run: with its own files");
	is(sql($from, 'SHOW port'), $port{$from}, "$run: and its own settings");
	is(join(' ', glob("$dir/$from/data.pingpong* $dir/$from/data/pingpong.*")), '', "$run: nothing is left behind");
	return $result;
}

# Why a start failed decides whether the data are copied again: a setting is no reason, data that cannot be used are
# one, wherever the server says so.
sub test_words
{
	my ($from, $to, $epoch) = @_;
	my $conf = "$dir/$from/data/postgresql.conf";
	my $text = read_file($conf);
	my $order = { host => '127.0.0.1', port => $port{$to}, slot => "pingpong_$from", name => $from };
	must("$bin/pg_ctl", '-D', "$dir/$from/data", '-m', 'fast', '-w', 'stop');
	write_file($conf, $text . "archive_mode = on\nwal_level = minimal\nmax_wal_senders = 0\n");
	my $job = act($from, 'words', $epoch, 'pg.rejoin', $order);
	like($job->{error}{message}, qr/ended while it started: FATAL: .*WAL archival cannot be enabled/,
		'a setting keeps the server from starting');
	is_deeply($job->{results}[0]{tried}, ['direct'], 'intact data are not made anew for that');

	write_file($conf, $text . "logging_collector = on\n");
	write_file("$dir/$from/data/backup_label", "no label\n");
	my $result = rejoin($from, $to, 'words', $epoch);
	is_deeply($result->{tried}, [qw(direct basebackup)],
		'spoilt data are told in the collected log, and a copy helps');
	like($result->{fallbacks}[0], qr/ended while it started: FATAL: .*backup_label/, 'with the words of that log');
	write_file($conf, $text);
}

sub test_moves
{
	my $job = act('chicago', 'refused', 1, 'pg.rejoin', { host => '127.0.0.1', port => $port{dallas} });
	is("$job->{state} $job->{error}{code} $job->{error}{message}",
		'failed 55000 node "chicago" runs as a primary and is not sealed', 'an open primary is not stopped');
	is(act('chicago', 'refused', 1, 'pg.rejoin', { host => 'x y', port => 1 })->{error}{code}, '22023', 'a bad host');

	move('chicago', 'dallas', 'm1', 1);
	is(rejoin('chicago', 'dallas', 'm1', 1)->{method}, 'direct',
		'm1: without a record past the fork it starts at once');
	my ($status, $json) = post('dallas', run => 'old', step => 'x', epoch => 0, actions => [ { action => 'note' } ]);
	is("$status $json->{error}{code}", '409 55000', 'an older epoch is refused by dallas');
	is((post('chicago', run => 'old', step => 'x', epoch => 0, actions => [ { action => 'note' } ]))[0], 409,
		'and by chicago');
	is((post('chicago', run => 'old', step => 'q', epoch => 0, actions => [ { action => 'facts' } ]))[0], 200,
		'a question is answered whatever the epoch');
	is((post('chicago', run => 'old', step => 'qx', epoch => 0,
		actions => [ { action => 'facts' }, { action => 'note' } ]))[0], 409, 'but not together with an order');
	is((rejoin('chicago', 'dallas', 'm1b', 1))->{method}, 'none', 'm1: a second rejoin finds it done');

	my $epoch_file = "$dir/chicago/state/epoch";
	rename $epoch_file, "$epoch_file.away" or die;
	mkdir $epoch_file or die;
	$job = act('chicago', 'm1c', 2, 'pg.rejoin',
		{ host => '127.0.0.1', port => $port{dallas}, slot => 'pingpong_chicago', name => 'chicago' });
	is("$job->{state} $job->{error}{code}", 'failed 58030', 'm1: an epoch that cannot be written is not proved');
	like($job->{error}{message}, qr/its epoch could not be written: /, 'm1: and the job says so');
	rmdir $epoch_file or die;
	act('chicago', 'm1c', 2, 'facts');
	# after the answer: questions do not wait for the disk
	wait_for('the epoch', sub { -f $epoch_file && read_file($epoch_file) eq "2\n" });
	is(read_file($epoch_file), "2\n", 'm1: it is written as soon as that is possible');

	test_words('chicago', 'dallas', 2);

	move('dallas', 'chicago', 'm2', 2);
	sql('dallas', 'CREATE TABLE lost AS SELECT generate_series(1, 10000) i');
	make_own($_) for qw(chicago dallas);
	is_deeply(rejoin('dallas', 'chicago', 'm2', 2)->{tried}, ['rewind'], 'm2: a diverged server is rewound');
	is(own_files('dallas'), join(' ', @{ $own{dallas} }),
		'm2: with the files of its own, and none that only the other has');
	is(sql('dallas', "SELECT to_regclass('lost') IS NULL"), 't', 'm2: what it wrote past the fork is gone');

	move('chicago', 'dallas', 'm3', 3);
	sql('chicago', 'CREATE TABLE lost AS SELECT generate_series(1, 10000) i');
	is(rejoin('chicago', 'dallas', 'm3', 3, method => 'basebackup')->{method}, 'basebackup', 'm3: by a base backup');
	chmod 0, "$dir/chicago/data/conf.d/x.conf" or die;
	my $postmaster = read_file("$dir/chicago/data/postmaster.pid");
	$job = act('chicago', 'm3b', 3, 'pg.rejoin', { host => '127.0.0.1', port => $port{dallas},
		slot => 'pingpong_chicago', name => 'chicago', method => 'basebackup' });
	like("$job->{error}{code} $job->{error}{message}",
		qr{^55000 the node's own file ".*conf\.d/x\.conf" cannot be saved: }, 'm3: what cannot be saved is refused');
	is(read_file("$dir/chicago/data/postmaster.pid"), $postmaster, 'm3: while the server runs');
	chmod 0600, "$dir/chicago/data/conf.d/x.conf" or die;
	is(own_files('chicago'), join(' ', @{ $own{chicago} }),
		'm3: with the files of its own, and none that only the other has');

	stop_agent('chicago', 'KILL');
	start_agent('chicago');
	is((get('chicago', '/v1/ping'))[1]{epoch}, 3, 'the epoch outlives the agent');

	# (tokens of older epochs go when a later one is armed, with the room that was kept for them)
	stop_agent('dallas', 'KILL');
	unlink "$dir/dallas/state/epoch" or die;	# a full disk had no room for it
	start_agent('dallas');
	is((get('dallas', '/v1/ping'))[1]{epoch}, 3, 'a promotion on record is an epoch that is known');

	is(join(' ', glob("$dir/dallas/state/token/left.*")), '', 'tokens of older epochs are gone, with their room');
}

# The agent dies in the middle of a rejoin, at several moments; each time it goes on by itself.
sub test_rejoin_killed
{
	my ($from, $to, $epoch) = ('dallas', 'chicago', 4);
	for my $delay (0.01, 0.05, 0.2, 0.4)
	{
		my $run = "k$epoch";
		move($from, $to, $run, $epoch);
		sql($from, 'CREATE TABLE IF NOT EXISTS lost (i int); INSERT INTO lost SELECT generate_series(1, 10000)')
			if $delay > 0.03;
		my $params = { host => '127.0.0.1', port => $port{$to}, slot => "pingpong_$from", name => $from,
			risk => 'its own writes are lost' };
		act($from, $run, $epoch, 'pg.rejoin', $params, step => 'rejoin', wait_ms => 0);
		sleep $delay;
		stop_agent($from, 'KILL');
		start_agent($from);
		my ($status, $job) = get($from, "/v1/jobs/$run/rejoin?wait_ms=60000");
		# killed before the job was on disk: the worker posts it again then
		$job = act($from, $run, $epoch, 'pg.rejoin', $params, step => 'rejoin', wait_ms => 60000)
			if $status == 404;
		done($job, "killed after $delay s: goes on");
		ok(streams($to, $from), "killed after $delay s: streams");
		is(sql($from, 'SHOW port'), $port{$from}, "killed after $delay s: with its own settings");
		is(join(' ', glob("$dir/$from/data.pingpong* $dir/$from/data/pingpong.*")), '',
			"killed after $delay s: nothing is left behind");
		($from, $to, $epoch) = ($to, $from, $epoch + 1);
	}
	return ($from, $to, $epoch);
}

# kill -9 right after the order: the verdict is found at the server.
sub test_promote_killed
{
	my ($from, $to, $epoch) = @_;
	my $run = "p$epoch";
	done(act($to, $run, $epoch, 'token.arm', { ttl_ms => 60000 }), "$run: arm");
	my $lsn = seal_lsn($from);
	act($to, $run, $epoch, 'pg.promote', { seal_lsn => $lsn }, step => 'promote', wait_ms => 0);
	sleep 0.005;
	stop_agent($to, 'KILL');
	start_agent($to);
	my ($status, $job) = get($to, "/v1/jobs/$run/promote?wait_ms=20000");
	# killed before the job was on disk: the worker posts it again then, and the token knows the rest
	$job = act($to, $run, $epoch, 'pg.promote', { seal_lsn => $lsn }, step => 'promote', wait_ms => 20000)
	  if $status == 404;
	my $verdict = $job->{results}[-1]{verdict};
	ok($verdict, "a promotion whose agent was killed has a verdict: $verdict");
	is(sql($to, 'SELECT pg_is_in_recovery()'), $verdict eq 'promoted' ? 'f' : 't', 'and it is true');
	is(done(act($to, $run, $epoch, 'token.burn'), 'asked again')->{verdict}, $verdict, 'it stays');
	done(act($to, $run, $epoch, 'slot.ensure', { slots => ["pingpong_$from"] }), "$run: a slot");
	rejoin($from, $to, $run, $epoch) if $verdict eq 'promoted';
	return $verdict eq 'promoted' ? ($to, $from, $epoch + 1) : ($from, $to, $epoch + 1);
}

sub test_follow
{
	my ($primary, $standby, $epoch) = @_;
	sql($primary, "SELECT pg_create_physical_replication_slot('other', true)");
	done(act($standby, 'follow', $epoch, 'pg.follow',
		{ host => 'localhost', port => $port{$primary}, slot => 'other', name => 'renamed' }),
		'a standby follows by reload');
	ok(streams($primary, 'renamed'), 'under its new name');
	is(act($primary, 'follow', $epoch, 'pg.follow', { host => 'localhost', port => $port{$standby} })->{error}{code},
		'55000', 'a primary follows nobody');
	is(act($standby, 'follow', $epoch, 'pg.follow',
			{ host => '127.0.0.1', port => 1, timeout_ms => 300 })->{error}{code},
		'08006', 'nobody there');
	done(act($standby, 'follow', $epoch, 'pg.follow',
		{ host => '127.0.0.1', port => $port{$primary}, slot => "pingpong_$standby", name => $standby }), 'and back');
}

# ---- PgBouncer ----

sub start_pgbouncer
{
	my ($mode) = @_;
	write_file("$dir/router/users", qq("postgres" ""\n));
	write_file("$dir/router/pgbouncer.ini", <<INI);
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $bouncer_port
unix_socket_dir = $dir/run
auth_type = trust
auth_file = $dir/router/users
admin_users = postgres
pool_mode = $mode
logfile = $dir/router/pgbouncer.log
pidfile = $dir/router/pgbouncer.pid
%include $dir/router/databases.ini
INI
	$pooler_pid{main} = spawn("$dir/router/pgbouncer.out", $pgbouncer, "$dir/router/pgbouncer.ini");
	wait_for('PgBouncer', sub { (run("$bin/psql", '-XAtq', '-d',
		"host=127.0.0.1 port=$bouncer_port user=postgres dbname=app", '-c', 'SELECT 1'))[0] == 0 });
}

sub stop_pgbouncer
{
	my ($signal) = @_;
	kill $signal, $pooler_pid{main};
	waitpid $pooler_pid{main}, 0;
	delete $pooler_pid{main};
}

sub through_pooler
{
	my ($text, $seconds) = @_;
	return scalar run('timeout', $seconds // 20, "$bin/psql", '-XAtq', '-d',
		"host=127.0.0.1 port=$bouncer_port user=postgres dbname=app connect_timeout=10", '-c', $text);
}

sub paused
{
	my ($database) = (@_, 'app');
	my $databases = run("$bin/psql", '-XAtq', '-d',
		"host=127.0.0.1 port=$bouncer_port user=postgres dbname=pgbouncer", '-c', 'SHOW DATABASES');
	my ($line) = grep { /^$database\|/ } split /\n/, $databases;
	return (split /\|/, $line // '')[-2] // 'unknown';
}

sub make_router
{
	my ($primary) = @_;
	mkdir "$dir/router";
	write_file("$dir/router/databases.ini", "[databases]\napp = host=127.0.0.1 port=$port{$primary} dbname=postgres\n"
		. "other = host=127.0.0.1 port=$port{$primary} dbname=template1\n");
	make_agent('router', <<INI);
[pgbouncer.main]
admin = host=127.0.0.1 port=$bouncer_port user=postgres dbname=pgbouncer
file = $dir/router/databases.ini
INI
	start_agent('router');
}

my %app = (endpoint => 'main', databases => { app => 'dbname=postgres' });

sub test_pgbouncer
{
	my ($mode, $primary, $standby, $epoch) = @_;
	my $run = "pool-$mode";
	start_pgbouncer($mode);
	my $seen = done(act('router', $run, $epoch, 'pgbouncer.prepare', \%app), "$mode: prepare");
	is("$seen->{pool_mode}{app} $seen->{file_writable} $seen->{file_matches}", "$mode 1 1", "$mode: what it finds");
	is(act('router', $run, $epoch, 'pgbouncer.prepare',
			{ endpoint => 'main', databases => { none => '' } })->{error}{code},
		'3D000', "$mode: an unknown database");
	is(act('router', $run, $epoch, 'pgbouncer.prepare',
			{ endpoint => 'x', databases => { app => '' } })->{error}{code},
		'42704', "$mode: an unknown pooler");

	# a session that stays: in session mode PAUSE cannot return
	my $pid = open(my $session, '|-', "$bin/psql", '-XAtqo', '/dev/null', '-d',
		"host=127.0.0.1 port=$bouncer_port user=postgres dbname=app") // die;
	$session->autoflush(1);
	print $session "SELECT 1;\n";
	sleep 0.2;
	my $pause = act('router', $run, $epoch, 'pgbouncer.pause', { %app, resume_after_ms => 20000 }, step => 'pause',
		wait_ms => 500);
	is($pause->{state}, $mode eq 'session' ? 'running' : 'succeeded',
		"$mode: PAUSE " . ($mode eq 'session' ? 'waits' : 'returns'));
	is(paused(), '1', "$mode: paused");
	my $start = time * 1000;
	my $commit = done(act('router', $run, $epoch, 'pgbouncer.commit',
		{ %app, host => '127.0.0.1', port => $port{$standby} }), "$mode: commit");
	note(sprintf '%s: commit took %.1f ms', $mode, $commit->{resumed_ms} - $start);
	(undef, $pause) = get('router', "/v1/jobs/$run/pause?wait_ms=2000");
	is($pause->{state}, 'succeeded', "$mode: the commit ends the pause");
	is(paused(), '0', "$mode: resumed");
	is(through_pooler('SELECT pg_is_in_recovery()'), 't', "$mode: clients are at the new place");
	my $file = read_file("$dir/router/databases.ini");
	like($file, qr/^app = host=127.0.0.1 port=$port{$standby} dbname=postgres$/m, "$mode: the file says so");
	like($file, qr/^other = host=127.0.0.1 port=$port{$primary} dbname=template1$/m,
		"$mode: and keeps other databases");
	close $session;

	my $late = done(act('router', $run, $epoch, 'pgbouncer.pause', { %app, resume_after_ms => 20000 }, step => 'p2',
			wait_ms => 500),
		"$mode: a pause that comes after the commit");
	ok($late->{note} && paused() eq '0', "$mode: does not pause");
	$run .= '-back';
	done(act('router', $run, $epoch, 'pgbouncer.pause', { %app, resume_after_ms => 20000 }, step => 'p2',
		wait_ms => 500), "$mode: a pause");
	is(paused(), '1', "$mode: paused again");
	done(act('router', $run, $epoch, 'pgbouncer.release', \%app), "$mode: and its release");
	is(paused(), '0', "$mode: resumed");
	done(act('router', $run, $epoch, 'pgbouncer.commit', { %app, host => '127.0.0.1', port => $port{$primary} }),
		"$mode: back");
	is(through_pooler('SELECT pg_is_in_recovery()'), 'f', "$mode: clients are back");
	stop_pgbouncer('INT');
}

sub test_pause_ends
{
	my ($primary, $epoch) = @_;
	start_pgbouncer('transaction');
	done(act('router', 'end', $epoch, 'pgbouncer.pause', { %app, resume_after_ms => 300 }, step => 'p1'),
		'a pause for 300 ms');
	is(paused(), '1', 'paused');
	ok(wait_for('resume', sub { paused() eq '0' }, 10), 'a pause ends by itself');

	done(act('router', 'end', $epoch, 'pgbouncer.pause', { %app, resume_after_ms => 800 }, step => 'p2'),
		'a pause for 800 ms');
	stop_agent('router', 'KILL');
	sleep 1;
	is(paused(), '1', 'without its agent it stays paused');
	start_agent('router');
	ok(wait_for('resume', sub { paused() eq '0' }, 10), 'the next agent resumes');
	is(join(' ', glob("$dir/router/state/pause/*")), '', 'and forgets the pause');

	my %other = (endpoint => 'main', databases => { other => 'dbname=template1' });
	done(act('router', 'two', $epoch, 'pgbouncer.pause', { %app, resume_after_ms => 3000 }, step => 'p1'),
		'one route of a run');
	done(act('router', 'two', $epoch, 'pgbouncer.pause', { %other, resume_after_ms => 3000 }, step => 'p2'),
		'and a second one');
	is(paused() . paused('other'), '11', 'both are paused');
	done(act('router', 'two', $epoch, 'pgbouncer.release', \%app), 'the first is released');
	is(paused() . paused('other'), '01', 'the second stays paused');
	ok(wait_for('resume', sub { paused('other') eq '0' }, 10), 'and keeps its end');

	# (a disk that takes no mark: the next run's pause does not begin, and the guard of the one before stays)
	done(act('router', 'three', $epoch, 'pgbouncer.pause', { %app, resume_after_ms => 1500 }, step => 'p1'),
		'a run that stays away');
	rename "$dir/router/state/pause", "$dir/router/state/pause.away" or die;
	write_file("$dir/router/state/pause", '');
	is(act('router', 'four', $epoch, 'pgbouncer.pause', { %other, resume_after_ms => 60000 },
			step => 'p1')->{error}{code}, '58030',
		'a pause that cannot be noted');
	is(paused('other'), '0', 'is none');
	ok(wait_for('resume', sub { paused() eq '0' }, 10), 'the pause of before ends all the same');
	unlink "$dir/router/state/pause" or die;
	rename "$dir/router/state/pause.away", "$dir/router/state/pause" or die;
	is(act('router', 'two', $epoch, 'pgbouncer.prepare',
			{ endpoint => 'main', databases => { app => 'host=elsewhere' } })->{error}{code},
		'22023', 'a route that points elsewhere');

	done(act('router', 'end', $epoch, 'pgbouncer.prepare', \%app), 'connections are open');
	stop_pgbouncer('KILL');
	is(act('router', 'end', $epoch, 'pgbouncer.commit',
			{ %app, host => '127.0.0.1', port => $port{$primary}, timeout_ms => 300 })->{state},
		'failed', 'a commit without PgBouncer fails');
	start_pgbouncer('transaction');
	done(act('router', 'end', $epoch, 'pgbouncer.commit', { %app, host => '127.0.0.1', port => $port{$primary} }),
		'and works when it is back');
	is(act('router', 'end', $epoch, 'pgbouncer.commit',
			{ %app, host => "x\nauth_type=trust", port => 1 })->{error}{code},
		'22023', 'a host that would break out of its line');
	is(act('router', 'end', $epoch, 'pg.checkpoint')->{error}{code}, '55000', 'a router has no PostgreSQL');
}

END
{
	my $status = $?;
	kill 'KILL', values %agent_pid, values %pooler_pid;
	for my $name (keys %port)
	{
		system("$bin/pg_ctl -D '$dir/$name/data' -m immediate stop >/dev/null 2>&1")
			if defined $dir && -f "$dir/$name/data/postmaster.pid";
	}
	$? = $status;
}

set_up();
test_front();
test_bad_requests();
test_garbage_on_port();
test_jobs();
test_slots();
test_slots_killed();
test_restart();
test_check();
test_listen();
test_token();
test_moves();
my ($from, $to, $epoch) = test_rejoin_killed();
my ($primary, $standby);
($primary, $standby, $epoch) = test_promote_killed($from, $to, $epoch);
test_follow($primary, $standby, $epoch);
SKIP:
{
	skip 'no pgbouncer', 1 unless $pgbouncer;
	make_router($primary);
	test_pgbouncer($_, $primary, $standby, $epoch) for qw(transaction session);
	test_pause_ends($primary, $epoch);
}
done_testing();
