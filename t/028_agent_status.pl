# pingpong-agent status: what a person sees of a run's jobs while there is no database to ask. Old news is never
# presented as new. No server is needed: the actions are hooks.
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
use POSIX ();
use Ports;
use Test::More;
use Tools;
use Time::HiRes qw(sleep time);

my $top = dirname(dirname(abs_path($0)));
my $binary = $ENV{PINGPONG_AGENT} // "$top/pingpong-agent";
plan skip_all => "no agent in $binary" unless -x $binary;

my $dir = tempdir('pingpong_status_XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $port = Ports::take($ENV{PINGPONG_TEST_PORT} // 20000) + 1;
my $token = 'a-token-of-this-test';
my $pid;

sub start_agent
{
	my $before = () = read_file("$dir/log") =~ /listens on/g;

	$pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDERR, '>>', "$dir/log";
		exec $binary, '--config', "$dir/agent.ini" or POSIX::_exit(127);
	}
	wait_for('the agent', sub { (() = read_file("$dir/log") =~ /listens on/g) > $before });
}

sub kill_agent
{
	kill KILL => $pid;
	waitpid $pid, 0;
	undef $pid;
}

END
{
	local $?;
	kill_agent() if $pid;
}

sub call
{
	my ($method, $path, $body) = @_;
	my %options = (headers => { Authorization => "Bearer $token" });

	$options{content} = encode_json($body) if defined $body;
	return decode_json(HTTP::Tiny->new(timeout => 30)->request($method, "http://127.0.0.1:$port$path",
		\%options)->{content});
}

# of a run: its key and its number
sub order
{
	my ($run, $step, $wait_ms, @actions) = @_;

	return call('POST', '/v1/jobs', { run => $run->[0], number => $run->[1], step => $step, epoch => 1,
		wait_ms => $wait_ms, actions => \@actions });
}

# A hook that does what its word says; `step`: what the job's caller calls it.
sub hook
{
	my ($word, $step) = @_;
	return { action => 'hook', params => { name => 'do', args => [$word] }, $step ? (step => $step) : () };
}

# As the user's own process, with standard error after standard output.
sub status { return run($binary, 'status', '--config', "$dir/agent.ini", @_); }

sub exits
{
	my ($rc, $what, @arguments) = @_;
	my ($got, $text) = status(@arguments);
	is($got, $rc, "$what: exit status $rc") or diag($text);
	unlike($text, qr/\Q$token\E|\e/, "$what: no token, and nothing for a terminal");
	return $text;
}

sub configure
{
	my (@lines) = @_;
	write_file("$dir/agent.ini", join "\n", '[agent]', 'node = chicago', "listen = 127.0.0.1:$port",
		"state_dir = $dir/state", "token_file = $dir/token", @lines, '[hooks]', "do = $dir/do", '');
}

write_file("$dir/token", "$token\n");
write_file("$dir/do", <<SH, 0755);
#!/bin/sh
case \$1 in
	wait) touch $dir/began; while [ ! -e $dir/go ]; do sleep 0.05; done ;;
	fail) printf 'no\\033[2J such\\n'; exit 3 ;;
esac
SH
configure();
start_agent();
my @one = ('0b1e-one', 1);
my @two = ('77aa-two', 2);

# ---- nothing is known ----

like(exits(2, 'no run'), qr/^pingpong-agent: no run has ordered anything here$/, 'no run: it says so');

# ---- it runs ----

order(\@one, '100.warm.chicago', 20000, hook('quick'));
is((call('GET', '/v1/jobs?run=0b1e-one&brief=1')->{jobs}[0]{number}), 1, 'the agent tells the number of the run');
order(\@two, '110.upgrade_stop.chicago', 0, hook('quick', '110.upgrade_stop.chicago'),
	hook('wait', '120.upgrade_run.chicago'), hook('quick', '130.upgrade_start.chicago'));
wait_for('the second action', sub { -e "$dir/began" });
my $text = exits(3, 'a run that runs');
like($text, qr/^Run 2 at the agent of chicago, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/m, 'the default is the latest run');
like($text, qr/^  step +node +state +time +last time  now$/m, 'its columns have names');
like($text, qr/^  upgrade_stop   chicago  succeeded +\d+ ms +\d+ ms$/m, 'an action that was done, and the last time');
like($text, qr/^  upgrade_run    chicago  running +[\d.]+ m?s +\d+ ms/m,
	'the action that runs, with its time so far');
like($text, qr/^  upgrade_start  chicago  pending +\d+ ms$/m, 'the one to come, with how long it took the last time');
unlike($text, qr/succeeded here|has succeeded/, 'nothing is called done');
like(exits(3, 'by its number', 2), qr/^Run 2 at/, 'by its number');
like(exits(3, 'by its key', '--once', '77aa-two'), qr/^Run 2 at/, 'by its key');
like(exits(0, 'an earlier run', 1), qr/^  warm  chicago  succeeded .*\n\nAll that was ordered here has succeeded\./m,
	'an earlier run: it has succeeded');
like(exits(2, 'an unknown run', 9), qr/^pingpong-agent: run "9" has ordered nothing here; the latest .* is 2 \(77aa/,
	'an unknown run: it is not taken for another one');

# ---- for programs ----

my $json = decode_json(exits(3, 'JSON', '--json'));
is(join(' ', map { "$_->{run} $_->{number} $_->{state}" } @{ $json->{jobs} }), '77aa-two 2 running',
	'JSON: the jobs of that run');
is(join(' ', map { $_->{state} } @{ $json->{jobs}[0]{actions} }), 'succeeded running pending',
	'JSON: and their actions');
ok(!exists $json->{jobs}[0]{results} && !grep({ exists $_->{result} } @{ $json->{jobs}[0]{actions} }),
	'JSON: without what came of them');

# ---- the agent dies ----

kill_agent();
$text = exits(2, 'the agent is dead');
like($text, qr/\ANOT THE PRESENT STATE: the agent of "chicago" does not run: nobody listens on "127.0.0.1:$port"$/m,
	'the agent is dead: that comes first');
like($text, qr/^This is what its journal says, last written \d{4}-\S+ \d\d:\d\d:\d\d, [\d.]+ m?s ago:$/m,
	'the agent is dead: of when the rest is');
like($text, qr/^  upgrade_run    chicago  was running +\d+ ms$/m,
	'the agent is dead: nothing is said of the present');
unlike($text, qr/\brunning\b(?<!was running)/, 'the agent is dead: nothing runs');
my ($rc, $both) = status('--json');
like($both, qr/"journal": true/, 'the agent is dead: JSON says so, too');
is($rc, 2, 'the agent is dead: JSON cannot tell');
like(exits(2, 'dead, and another run', 9), qr/does not run.*\n.*run "9" has ordered nothing here/,
	'the agent is dead: an unknown run is one');
rename "$dir/state/jobs", "$dir/state/aside" or die $!;
like(exits(2, 'dead, and no journal'),
	qr{does not run: .*; and its journal in "\Q$dir\E/state" cannot be read: No such},
	'no agent, no journal: it says so');
rename "$dir/state/aside", "$dir/state/jobs" or die $!;

# ---- it has failed ----

start_agent();
wait_for('the end', sub { call('GET', '/v1/jobs?run=77aa-two')->{jobs}[0]{state} eq 'failed' });
$text = exits(1, 'a run that has failed', 2);
like($text, qr/^  upgrade_run    chicago  failed /m, 'failed: which action');
like($text, qr/^upgrade_run chicago: agent was restarted$/m, 'failed: and why');
like($text, qr/^1 of 1 jobs here did not succeed\./m, 'failed: it is not called done');
order([ 'cc-three', 3 ], '140.hook.chicago', 20000, hook('fail'));
like(exits(1, 'a hook that fails'), qr/^hook chicago: hook "do" ended with status 3$/m,
	'a failure: the words of the agent');

# ---- it goes back ----

unlink "$dir/go", "$dir/began";
order([ 'dd-four', 4 ], '150.hook.chicago', 0,
	{ %{ hook('quick') }, undo => { action => 'hook', params => { name => 'do', args => ['wait'] } } }, hook('fail'));
wait_for('the undo', sub { -e "$dir/began" });
like(exits(3, 'going back', 4), qr/^  \(going back\)  chicago  running +undoing hook$/m,
	'going back: that, and what it undoes');
write_file("$dir/go", '');
wait_for('the end', sub { call('GET', '/v1/jobs?run=dd-four')->{jobs}[0]{state} eq 'failed' });
like(exits(1, 'gone back', 4), qr/^  hook  chicago  undone /m, 'gone back: what is undone');

# ---- a number that came twice ----

order([ 'ee-other', 4 ], '150.hook.chicago', 20000, hook('quick'));
like(exits(2, 'a number of two runs', 4),
	qr/more than one run 4 has ordered something here: give its key, such as dd-four /,
	'a number of two runs: none is guessed');
exits(0, 'the key of one of them', 'ee-other');

# ---- questions are no run ----

call('POST', '/v1/jobs', { run => 'facts', step => 'f1', epoch => 1, wait_ms => 20000,
	actions => [ { action => 'facts' } ] });
like(exits(0, 'after a question'), qr/^Run 4 at/, 'what is asked meanwhile is not taken for the latest run');

# ---- what stands against it ----

write_file("$dir/token", "some-other-token-here\n");
$text = exits(2, 'a wrong token');
like($text, qr{the agent of "chicago" refuses the token of "\Q$dir\E/token": was the file changed},
	'a wrong token: what to look at');
unlike($text, qr/some-other-token/, 'a wrong token: it is not shown');
chmod 0644, "$dir/token";
like(exits(2, 'a token that all can read'), qr/configuration ".*": token file .* must have mode 0600/,
	'a token that all can read: an error');
write_file("$dir/token", "$token\n");
rename "$dir/agent.ini", "$dir/aside.ini" or die $!;
like(exits(2, 'no configuration'), qr/^pingpong-agent: configuration ".*": could not open ".*": No such file/,
	'no configuration: an error');
rename "$dir/aside.ini", "$dir/agent.ini" or die $!;
like(exits(2, 'too much', 1, 2), qr/too many arguments/, 'too many arguments');
like(exits(2, 'an option', '--always'), qr/status --help/, 'an option that is not known');
like(exits(0, 'help', '--help'), qr/^  pingpong-agent status \[RUN\]/m, 'it has a help of its own');
like(run($binary, '--help'), qr/^  pingpong-agent status \[RUN\]/m, 'the help of the program tells of it');
like(run($binary, '--config', "$dir/agent.ini", 'status', 1), qr/^Run 1 at/, 'the configuration may be named before');
isnt((run($binary, '--config', "$dir/agent.ini", 'other'))[0], 0, 'another word is an error');

# an agent that can be asked by certificate only; one whose file is without a token now
configure('monitor_token_file = none');
like(exits(2, 'a configuration that cannot be used'), qr/configuration ".*": could not read token file "none"/,
	'a configuration that cannot be used: an error');
configure();

# root, who may read all, takes the owner of the state folder for the agent's user
SKIP:
{
	my @nobody = getpwnam 'nobody';
	skip 'not root', 5 if $> != 0 || !@nobody;
	chown $nobody[2], -1, "$dir/token" or die $!;
	like(exits(2, 'a token of somebody else'), qr/token file .* must belong to the agent's user/,
		'a token of somebody else: refused');
	chown $nobody[2], -1, "$dir/state" or die $!;
	exits(0, 'the token of the one whose state folder it is', 1);
	chown 0, -1, "$dir/token", "$dir/state" or die $!;
}

# ---- in a terminal ----

# What status has drawn, and how it ended; `during` gets a function that waits until something was drawn.
sub terminal
{
	my ($columns, $during, @arguments) = @_;
	my $pty = IO::Pty->new;
	my $drawn = '';

	my $child = fork // die "fork: $!";
	if ($child == 0)
	{
		$pty->make_slave_controlling_terminal;
		my $slave = $pty->slave;
		close $pty;
		$slave->set_winsize(24, $columns, 0, 0);
		$slave->set_raw;
		open STDIN, '<&', $slave;
		open STDOUT, '>&', $slave;
		open STDERR, '>&', $slave;
		$ENV{TERM} = 'xterm';
		exec $binary, 'status', '--config', "$dir/agent.ini", @arguments or POSIX::_exit(127);
	}
	$pty->close_slave;
	$pty->blocking(0);
	my $take = sub {
		my $n = sysread $pty, my $more, 65536;
		$drawn .= $more if $n;
		return $n;
	};
	$during->(sub {
		my ($pattern) = @_;
		return wait_for("$pattern on the terminal", sub { $take->(); $drawn =~ s/\A.*?($pattern)//s && $1 });
	});
	my $rc;
	wait_for('its end', sub { $take->(); waitpid($child, POSIX::WNOHANG()) == $child && defined($rc = $? >> 8) });
	1 while $take->();
	return ($rc, $drawn);
}

SKIP:
{
	skip 'no IO::Pty', 9 unless eval { require IO::Pty };
	my @live = ('ff-live', 6);

	unlink "$dir/go", "$dir/began";
	order(\@live, '100.warm.chicago', 20000, hook('quick'));
	my ($rc, $last) = terminal(60, sub {
		my ($see) = @_;
		ok($see->(qr/Nothing of it runs here now\. Waiting 10 s for a further/), 'a terminal: a run may go on');
		order(\@live, '110.upgrade_stop.chicago', 0, hook('wait', '120.upgrade_run.chicago'));
		ok($see->(qr/\e\[\d+A\rRun 6 at.*?upgrade_run  chicago  running /s),
			'a terminal: it is drawn again, in its place');
		my $frame = $see->(qr/\e\[\d+A\r.*?\e\[J/s);
		is(join(' ', grep { length > 59 } map { s/\e\[\w+//gr } split /[\r\n]+/, $frame), '',
			'a terminal: no line is wider than it');
		is(($frame =~ /\A\e\[(\d+)A/)[0], ($frame =~ tr/\n//),
			'a terminal: and it goes up as many lines as it draws');
		kill_agent();
		ok($see->(qr/NOT THE PRESENT STATE: the agent of "chicago" does/), 'a terminal: the agent is dead');
		ok($see->(qr/upgrade_run  chicago  was running /), 'a terminal: what is old says so');
		start_agent();
		ok($see->(qr/upgrade_run  chicago  failed /), 'a terminal: the agent is there again');
	});
	is($rc, 1, 'a terminal: it ends when nothing more comes');
	like($last,
		qr/\e\[\d+A\r\e\[JRun 6 at[^\e]*\nupgrade_run chicago: agent was restarted\n[^\e]*\n1 of 2 jobs here did not/,
		'a terminal: with the whole of it');
}

# ---- TLS ----

sub make_certificate
{
	my ($name) = @_;
	must(qw(openssl req -new -x509 -days 2 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj),
		"/CN=$name", '-out', "$dir/$name.crt", '-keyout', "$dir/$name.key");
	chmod 0600, "$dir/$name.key" or die $!;
}

kill_agent();
make_certificate($_) for qw(own foreign);
configure("tls_cert = $dir/own.crt", "tls_key = $dir/own.key");
start_agent();
like(exits(0, 'with TLS', 1), qr/^Run 1 at/, 'with TLS: the agent is known by its key');
configure("tls_cert = $dir/foreign.crt", "tls_key = $dir/foreign.key");
like(exits(2, 'with TLS, of another key', 1), qr{who listens there does not have the key of "\Q$dir\E/foreign\.crt"},
	'with TLS, of another key: it gets no token');
configure();
like(exits(2, 'an agent with TLS, asked without', 1), qr/^(?:NOT THE PRESENT STATE|pingpong-agent: what listens)/,
	'an agent with TLS, asked without: no news');

# somebody else listens there, and says nothing that an agent would say
kill_agent();
my $other = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 5, ReuseAddr => 1)
	or die $!;
my $stranger = fork // die "fork: $!";
if ($stranger == 0)
{
	while (my $client = $other->accept)
	{
		sysread $client, my $request, 4096;
		syswrite $client, "HTTP/1.1 200 OK\r\n\r\n[]";
	}
	POSIX::_exit(0);
}
close $other;
like(exits(2, 'a stranger answers'), qr/what listens on "127.0.0.1:$port" gives no answer of an agent/,
	'a stranger answers: it is not believed');
kill 'KILL', $stranger;
waitpid $stranger, 0;

done_testing();
