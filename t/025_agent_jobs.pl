# Jobs of several actions: each has its state, result and error; what was done is undone backwards when a later one
# fails, is cancelled, or dies with the agent; and a job goes on and ends without a further order. No server is
# needed: the actions are hooks, which write what they do into a file.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use Ports;
use Test::More;
use Tools;
use Time::HiRes qw(sleep time);

my $top = dirname(dirname(abs_path($0)));
my $binary = $ENV{PINGPONG_AGENT} // "$top/pingpong-agent";
plan skip_all => "no agent in $binary" unless -x $binary;

my $dir = tempdir('pingpong_jobs_XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $port = Ports::take($ENV{PINGPONG_TEST_PORT} // 20000) + 1;
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
}

END
{
	local $?;
	kill_agent() if $pid;
}

sub call
{
	my ($method, $path, $body) = @_;
	my %options = (headers => { Authorization => 'Bearer a-token-of-this-test' });

	$options{content} = encode_json($body) if defined $body;
	my $answer = HTTP::Tiny->new(timeout => 30)->request($method, "http://127.0.0.1:$port$path", \%options);

	return ($answer->{status}, eval { decode_json($answer->{content}) });
}

sub order
{
	my ($step, $wait_ms, @actions) = @_;

	return (call('POST', '/v1/jobs',
		{ run => 'r', step => $step, epoch => 1, wait_ms => $wait_ms, actions => \@actions }))[1];
}

sub job
{
	my ($step, $wait_ms) = @_;

	return (call('GET', "/v1/jobs/r/$step?wait_ms=" . ($wait_ms // 0)))[1];
}

# A hook that writes its words down; "sleep" and "fail" among them do what they say.
sub hook { return { action => 'hook', params => { name => 'note', args => [@_] } }; }

sub with_undo
{
	my ($action, $undo, $take) = @_;

	return { %$action, undo => { %$undo, $take ? (take => $take) : () } };
}

sub states { my ($job) = @_; return join ' ', map { $_->{state} } @{ $job->{actions} }; }

sub written { return join ' ', split /\n/, read_file("$dir/written"); }

sub anew { unlink "$dir/written"; }

write_file("$dir/token", "a-token-of-this-test\n");
write_file("$dir/note", <<SH, 0755);
#!/bin/sh
for word in "\$@"; do
	case \$word in
		sleep) while [ ! -e $dir/go ]; do sleep 0.05; done ;;
		fail) exit 3 ;;
		lock) mv $dir/state/jobs/r $dir/state/jobs.aside && touch $dir/state/jobs/r ;;
		*) echo "\$word" >>$dir/written ;;
	esac
done
SH
write_file("$dir/agent.ini", <<INI);
[agent]
node = x
listen = 127.0.0.1:$port
state_dir = $dir/state
token_file = $dir/token
[hooks]
note = $dir/note
INI
start_agent();

# ---- all goes well ----

my $job = order('well', 20000, with_undo(hook('one'), hook('undo-one')), hook('two'));
is("$job->{state}: " . states($job), 'succeeded: succeeded succeeded', 'two actions: both are done');
is(written(), 'one two', 'two actions: in their order, and nothing is undone');
ok((!grep { !$_->{began_ms} || !defined $_->{took_ms} || !$_->{result} } @{ $job->{actions} }),
	'two actions: each tells when it began, how long it took and what came of it');
is(scalar @{ $job->{results} }, 2, 'two actions: the results are there as before');

# ---- the second one fails ----

anew();
$job = order('fails', 20000, with_undo(hook('one'), hook('undo-one')), with_undo(hook('two'), hook('undo-two')),
	with_undo(hook('three', 'fail'), hook('undo-three')), with_undo(hook('four'), hook('undo-four')));
is("$job->{state}: " . states($job), 'failed: undone undone undone pending', 'a failure: what was begun is undone');
is(written(), 'one two three undo-three undo-two undo-one', 'a failure: backwards');
like($job->{actions}[2]{error}{message}, qr/ended with status 3/, 'a failure: the action tells its error');
is($job->{error}{message}, $job->{actions}[2]{error}{message}, 'a failure: which is that of the job');
is($job->{actions}[0]{error}, undef, 'a failure: the others have none');

# ---- an undo that fails, and one that has nothing to do ----

anew();
$job = order('undo-fails', 20000, with_undo(hook('one'), hook('undo-one')), with_undo(hook('two'), hook('fail')),
	with_undo(hook('three'), hook('undo-three'), { args => 'no_such_field' }), hook('fail'));
is("$job->{state}: " . states($job), 'failed: undone not undone undone failed', 'an undo fails: the others are made');
is(written(), 'one two three undo-one', 'an undo that would take what is not there has nothing to do');
like($job->{actions}[1]{undo_error}{message}, qr/ended with status 3/, 'an undo fails: it tells why');
like($job->{error}{message}, qr/ended with status 3/, 'an undo fails: the job tells why it went back');

# ---- cancelled ----

anew();
order('cancelled', 0, with_undo(hook('one'), hook('undo-one')), hook('sleep'));
wait_for('the second action', sub { states(job('cancelled')) eq 'succeeded running' });
call('POST', '/v1/jobs/r/cancelled/cancel', {});
$job = job('cancelled', 20000);
is("$job->{state}: " . states($job), 'cancelled: undone failed', 'cancelled: what was done is undone');
is(written(), 'one undo-one', 'cancelled: its undo is not cancelled, too');

# ---- the agent dies, and no client asks ----

anew();
order('dies', 0, with_undo(hook('one'), hook('undo-one')), hook('two', 'sleep'));
wait_for('the second action', sub { written() eq 'one two' });
kill_agent();
start_agent();
wait_for('the undo', sub { written() eq 'one two undo-one' });
$job = job('dies', 20000);
is("$job->{state}: " . states($job), 'failed: undone failed',
	'the agent dies: a hook is not run again, what was done before is undone');
is($job->{error}{message}, 'agent was restarted', 'the agent dies: the job says so');

anew();
order('dies-back', 0, with_undo(hook('one'), hook('undo-one')), with_undo(hook('two'), hook('undo-two', 'sleep')),
	hook('fail'));
wait_for('the first undo', sub { written() eq 'one two undo-two' });
kill_agent();
start_agent();
write_file("$dir/go", '');
$job = job('dies-back', 20000);
is("$job->{state}: " . states($job), 'failed: undone undone failed',
	'the agent dies on the way back: it goes on going back');
is(written(), 'one two undo-two undo-two undo-one', 'the agent dies on the way back: never forward again');

is($job->{error}{message}, 'hook "note" ended with status 3', 'the agent dies on the way back: it knows why')
	or diag(explain($job));

# ---- the record of its end cannot be written ----

anew();
$job = order('no-end', 20000, with_undo(hook('one'), hook('undo-one')), hook('lock'));
is("$job->{state}: " . states($job), 'failed: undone succeeded', 'no record of its end: failed, and undone');
is(written(), 'one undo-one', 'no record of its end: once');
unlink "$dir/state/jobs/r" or die $!;
rename "$dir/state/jobs.aside", "$dir/state/jobs/r" or die $!;
kill_agent();
start_agent();
$job = job('no-end', 20000);
is("$job->{state}: " . states($job), 'failed: undone failed',
	'no record of its end: the next life, which finds the old record, goes back once more');
is(written(), 'one undo-one undo-one', 'no record of its end: and never forward');

anew();

# ---- a job that undoes another one ----

unlink "$dir/go";
sub undo_of
{
	my ($step, $undoes, @actions) = @_;
	return (call('POST', '/v1/jobs', { run => 'r', step => $step, epoch => 1, wait_ms => 20000,
		undoes => $undoes, actions => \@actions }))[1];
}
$job = order('slow', 0, hook('one', 'sleep', 'two'));
wait_for('the slow one', sub { written() eq 'one' });
$job = undo_of('undo', ['slow', 'late'], hook('undone'));
is($job->{state}, 'succeeded', 'an undo: done');
is(job('slow')->{state} . ': ' . written(), 'cancelled: one undone', 'an undo: what it undoes has ended before');
$job = order('late', 20000, hook('late'));
is("$job->{state} $job->{error}{code}: " . written(), 'cancelled 57014: one undone',
	'an undo: an order that comes behind it is not carried out');
kill_agent();
start_agent();
is(order('late', 20000, hook('late'))->{state} . ': ' . written(), 'cancelled: one undone',
	'an undo: nor by the next life of the agent');
anew();

# ---- what is refused ----

my ($status, $answer) = call('POST', '/v1/jobs', { run => 'r', step => 'bad', epoch => 1,
	actions => [ with_undo(hook('one'), { action => 'no.such' }) ] });
is("$status $answer->{error}{code}", '400 22023', 'an undo that is not known is refused before anything is done');
($status, $answer) = call('POST', '/v1/jobs', { run => 'r', step => 'bad', epoch => 1,
	actions => [ { %{ hook('one') }, undo => { action => 'hook', take => [] } } ] });
is("$status $answer->{error}{code}", '400 22023', 'so is one that takes something odd');
($status, $answer) = call('POST', '/v1/jobs', { run => 'r', step => 'bad', epoch => 1, undoes => ['../x'],
	actions => [ hook('one') ] });
is("$status $answer->{error}{code}", '400 22023', 'and one that undoes what can be no step');
is(written(), '', 'and nothing is done');

done_testing();
