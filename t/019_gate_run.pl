# The gate in a run: a standby known by its slot, writers that do not stop, callers that give up, sessions that do not
# tell what they do.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Session;
use Test::More;

my $lab = Lab->up(fast => 1, poolers => 0, set => ['track_activities=off']);
$lab->sql('chicago', 'CREATE TABLE kept (i int)');

sub state_of { return $lab->sql($_[0], 'SELECT state FROM pingpong.gate') }

sub cancel
{
	return $lab->sql('chicago', 'SELECT pg_cancel_backend(asker) FROM (SELECT pid AS asker FROM pg_stat_activity
		WHERE application_name = \'caller\') a');
}

my $caller = $lab->env('DSN_chicago') . ' application_name=caller';

# ---- what a beginner forgets: the agent, its token ----

sub hint_for
{
	return $lab->sql('chicago', q{SELECT hint
		FROM pingpong.preflight('dallas') WHERE name = 'agent_reachable' AND node = 'dallas' AND status = 'fail'});
}

my $file = $lab->sql('chicago', 'SHOW pingpong.agent_token_file');
$lab->kill9('agent', 'dallas');
like(hint_for(), qr/^Start pingpong-agent there/, 'the agent is down');
$lab->start_agent('dallas');
chmod 0644, $file;
like(hint_for(), qr/^On this server: .*mode 0600/, 'the token is for everybody to read');
chmod 0600, $file;
rename $file, "$file.away";
like(hint_for(), qr/^On this server: .*the file that it names/, 'there is no token');
rename "$file.away", $file;
is(hint_for(), '', 'all is well again');

# ---- a writer whose process does not run: the run ends, and says who it was ----

my $writer = Session->open($lab, 'chicago');
$writer->ask('BEGIN; INSERT INTO kept VALUES (1)');
$lab->wait_for('chicago', "SELECT wait_event = 'ClientRead' FROM pg_stat_activity WHERE pid = @{[$writer->backend]}",
	'the writer to be idle');
kill 'STOP', $writer->backend;
my (undef, $err) = $lab->try_sql('chicago',
	q{SELECT * FROM pingpong.switchover('dallas', grace => '100 ms', max_blackout => '1500 ms')});
my $over = 'the permitted blackout of 1500 ms was over while step seal was running';
my $its_client = 'waits for its client, application "psql"';
like($err, qr/$over: process @{[$writer->backend]} \($its_client\) was told to stop/,
	'a stopped writer: rolled back, with its process');
is(state_of('chicago'), 'open', 'a stopped writer: the gate is open');
kill 'CONT', $writer->backend;
like($writer->ask('COMMIT'), qr/57P01|gone/, 'a stopped writer: it was told to end');
$writer->close;

# ---- a caller that gives up while it is not known whether the target was promoted ----

$lab->set('chicago', 'pingpong.debug_pause_after', 'lag_zero');
my $job = $lab->begin_sql($caller, '\set VERBOSITY verbose', q{SELECT run FROM pingpong.switchover('dallas')});
$lab->wait_for('chicago', q{SELECT state = 'succeeded' FROM pingpong.progress WHERE action = 'lag_zero'}, 'lag zero');
my $run = $lab->sql('chicago', 'SELECT max(run) FROM pingpong.progress');
my $agent = $lab->pid('agent', 'dallas');
kill 'STOP', $agent;
$lab->set('chicago', 'pingpong.debug_pause_after', undef);
$lab->wait_for('chicago', q{SELECT DISTINCT run_state = 'asking' FROM pingpong.progress}, 'the question');
cancel();
(undef, $err) = $lab->finish($job, 60);
my $too_late = 'too late to cancel: the promotion was ordered';
like($err, qr/ERROR:  57014: $too_late\nDETAIL:  Run $run goes on without this session\./,
	'asking: the caller is told, and need not wait');
is(state_of('chicago'), 'sealed', 'asking: the server stays sealed');
kill 'CONT', $agent;
my ($state, undef, $primary) = $lab->settle($run);
like("$state $primary", qr/^(rolled_back chicago|succeeded dallas)$/, 'asking: the run has its end');
if ($state eq 'succeeded')
{
	$run = $lab->sql('dallas', q{SELECT run FROM pingpong.switchover('chicago')});
	is(($lab->settle($run))[0], 'succeeded', 'back');
}

# ---- somebody else has closed the gate: a run that does not seal goes on, and so does its journal ----

$lab->set('chicago', 'pingpong.debug_pause_after', 'slots');
my $holder = Session->open($lab, 'chicago');
$holder->ask(q{SELECT pingpong.quiesce()});
my $rebuild = $lab->begin_sql('chicago', q{SELECT pingpong.rebuild('dallas')});
$lab->wait_for('chicago', q{SELECT bool_or(state = 'succeeded') FROM pingpong.progress WHERE action = 'slots'},
	'slots');
ok($lab->wait_for('chicago', q{SELECT state = 'succeeded' FROM pingpong.step WHERE action = 'slots'
	ORDER BY run DESC LIMIT 1}, 'the journal'), 'held by somebody: the journal has the step');
is(state_of('chicago'), 'hold', 'held by somebody: it still was');
$holder->ask(q{SELECT pingpong.resume()});
$holder->close;
$lab->set('chicago', 'pingpong.debug_pause_after', undef);
$lab->finish($rebuild, 60);
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'}, 'dallas');

# ---- a standby of another name, and sessions without track_activities ----

my $conninfo = $lab->sql('dallas', 'SHOW primary_conninfo');
$lab->set('dallas', 'primary_conninfo', $conninfo =~ s/application_name=dallas/application_name=walreceiver/r);
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pg_stat_replication
	WHERE application_name = 'walreceiver' AND state = 'streaming'}, 'dallas to stream');
$lab->set('dallas', 'pingpong.debug_pause_after', 'settle');
my $idle = Session->open($lab, 'chicago');
my $reader = Session->open($lab, 'chicago');
my $in_transaction = Session->open($lab, 'chicago');
$in_transaction->ask('BEGIN; SELECT 1');
$reader->send(q{SELECT 'read' FROM pg_sleep(1000)});
$lab->wait_for('chicago', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = @{[$reader->backend]}",
	'the reader');
$run = $lab->sql('chicago', q{SELECT run FROM pingpong.switchover('dallas')});
$lab->wait_for('dallas', q{SELECT state = 'succeeded' FROM pingpong.progress WHERE action = 'settle'}, 'settle');
pass('a standby known by its slot is promoted');
$lab->wait_for('chicago', "SELECT count(*) = 0 FROM pg_stat_activity
	WHERE pid IN (@{[$idle->backend]}, @{[$in_transaction->backend]})", 'the idle to be ended');
pass('the idle are ended by end_sessions');
is($lab->sql('chicago', "SELECT count(*) FROM pg_stat_activity WHERE pid = @{[$reader->backend]}"), '1',
	'who reads is left to read');
like($_->ask('SELECT 1'), qr/57P01|gone/, 'with 57P01') for $idle, $in_transaction;
$lab->set('dallas', 'pingpong.debug_pause_after', undef);
is(($lab->settle($run))[0], 'succeeded', 'the run');
$_->close for $idle, $reader, $in_transaction;
done_testing();
