# What became of an order to promote that was not answered: only evidence lifts a seal. An agent that has lost its
# memory does not know; a target that still follows the sealed primary when the order's time is over was not promoted.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use File::Path qw(remove_tree);
use Lab;
use Test::More;
use Time::HiRes qw(sleep time);

my $lab = Lab->up(fast => 1, port => 24400);
$lab->wait_for($_, 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker') for $lab->nodes;
my $load = $lab->writers(writers => 2, rate => 50);

sub gate { my ($node) = @_; return ($lab->try_sql($node, 'SELECT state FROM pingpong.gate'))[0]; }

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$standby' AND state = 'streaming'", "$standby to stream", 60);
}

# A run that stops after an action of its primary.
sub run_behind
{
	my ($from, $to, $action, $options) = @_;
	$lab->set($from, 'pingpong.debug_pause_after', $action);
	my $job = $lab->begin_sql($from, "SELECT * FROM pingpong.switchover('$to'" . ($options // '') . ')');
	$lab->wait_for($from, "SELECT bool_or(state = 'succeeded') FROM pingpong.progress
		WHERE run_state = 'running' AND action = '$action'", "$action");
	return $job;
}

# The primary's worker is a new one, which knows of the order only what is on disk.
sub new_worker
{
	my ($node) = @_;
	my $pid = $lab->kill9('worker', $node);
	return $lab->wait_for($node, "SELECT pingpong.worker_pid() <> $pid", 'a new worker');
}

sub forget
{
	my ($node) = @_;
	remove_tree($lab->state_dir($node), {keep_root => 1});
	return;
}

# How often the agent was asked for a verdict since it began.
sub asked
{
	my ($node) = @_;
	my @files = glob $lab->state_dir($node) . '/jobs/*/verdict*.json';
	return scalar @files;
}

# ---- the target was promoted, and its agent has lost its state ----

$lab->set('dallas', 'pingpong.debug_pause_after', 'settle');	# or it would bring the old primary back meanwhile
my $job = run_behind('chicago', 'dallas', 'promote');
$lab->wait_for('dallas', 'SELECT NOT pg_is_in_recovery()', 'the promotion');
$lab->kill9('agent', 'dallas');
forget('dallas');
new_worker('chicago');
$lab->start_agent('dallas');
my @seen;
$lab->until_true('the agent to be asked five times', sub { push @seen, gate('chicago'); asked('dallas') >= 5 }, 30);
is(join(' ', grep { $_ ne 'sealed' } @seen), '', 'an agent without memory does not lift the seal');
my $sentence = $lab->sql('chicago', 'SELECT max(sentence) FROM pingpong.progress');
like($sentence, qr/^sealed: the agent of "dallas" does not say .*no promote token of this run is known here/,
	'the sealed server says why it waits');
is(join(' ', $lab->primary), 'dallas', 'one primary, the target');
like($lab->sql('chicago', 'SELECT name IS NULL FROM pingpong.where_is_primary()'), qr/^t?$/,
	'the sealed server does not call itself the primary');
$lab->finish($job, 20);
$lab->set($_, 'pingpong.debug_pause_after', undef) for $lab->nodes;
my ($state, $words) = $lab->settle(1);
note("run 1: $state, $words");
if ($state ne 'succeeded')
{
	# the target's worker had not yet asked when the memory was lost: it does not guess either
	like($words, qr/not by this run|does not say whether by this run/,
		'without a word of its agent the target does not go on');
	$lab->sql('dallas', 'SELECT pingpong.repoint()', q{SELECT pingpong.rebuild('chicago')});
	$lab->sql('dallas', q{UPDATE pingpong.run SET state = 'succeeded' WHERE state = 'stuck'});
}
streaming('dallas', 'chicago');
is(join(' ', $lab->primary), 'dallas', 'and stays the only one');

# ---- the target was not promoted, and its agent has lost its state: the target itself is the witness ----

$job = run_behind('dallas', 'chicago', 'lag_zero', q{, max_blackout => '2 s'});
$lab->kill9('agent', 'chicago');
forget('chicago');
$lab->start_agent('chicago');
my $began = time;
$lab->set('dallas', 'pingpong.debug_pause_after', undef);
@seen = ();
$lab->until_true('the seal to be lifted', sub {
	my $gate = gate('dallas');
	push @seen, [time - $began, $gate];
	$gate eq 'open';
}, 150);
my ($first) = grep { $_->[1] eq 'open' } @seen;
cmp_ok($first->[0], '>', 32, 'while the order could still be obeyed the seal stays');
(undef, my $err) = $lab->finish($job, 30);
like($err, qr/^ERROR: .*(not promoted|refused)/m, 'the caller is told that the target was not promoted');
is($lab->sql('dallas', 'SELECT state FROM pingpong.run ORDER BY id DESC LIMIT 1'), 'rolled_back',
	'the run was rolled back');
is(join(' ', $lab->primary), 'dallas', 'one primary, the source');

# ---- the verdict of a memory that did not arm the token ----

my $armed = $lab->act('chicago', 'foreign', 100, 'token.arm',
	{ttl_ms => 60000, system_identifier => $lab->sql('dallas', 'SELECT system_identifier FROM pg_control_system()')});
my ($memory) = $armed->{results}[0]{memory};
like($memory, qr/^[0-9a-f]{32}$/, 'arming tells which memory it was');
is($lab->act('chicago', 'foreign', 100, 'token.burn')->{results}[0]{memory}, $memory, 'the verdict repeats it');
$lab->act('chicago', "newer$_", 100, 'note', {n => $_}) for 1 .. 60;
is($lab->act('chicago', 'foreign', 100, 'token.burn')->{results}[0]{verdict}, 'burned',
	'a token outlives the jobs of sixty newer runs');
is($lab->act('chicago', 'never', 100, 'token.burn')->{results}[0]{verdict}, 'unknown',
	'a run that was never heard of is not burned');
$lab->kill9('postgres', 'chicago');
$lab->act('chicago', 'down', 100, 'token.burn');
is($lab->act('chicago', 'foreign', 100, 'token.burn')->{results}[0]{verdict}, 'burned',
	'its server is down: the directory shows a standby');
rename $lab->env('PGDATA_chicago') . '/standby.signal', $lab->env('PGDATA_chicago') . '/standby.signal.gone' or die;
is($lab->act('chicago', 'foreign', 100, 'token.burn')->{results}[0]{verdict}, 'unknown',
	'its server is down, and the directory shows no standby');
rename $lab->env('PGDATA_chicago') . '/standby.signal.gone', $lab->env('PGDATA_chicago') . '/standby.signal' or die;
$lab->start_pg('chicago');
streaming('dallas', 'chicago');

# ---- the target gets the order, dies before it obeys, and stays down ----

$job = run_behind('dallas', 'chicago', 'lag_zero', q{, max_blackout => '60 s'});
my $startup = $lab->sql('chicago', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'});
kill 'STOP', $startup;
$lab->set('dallas', 'pingpong.debug_pause_after', undef);
$lab->until_true('the order', sub { -e $lab->env('PGDATA_chicago') . '/promote' }, 30);
is(gate('dallas'), 'sealed', 'an order that may be obeyed: the seal stays');
$lab->kill9('postgres', 'chicago');
kill 'KILL', $startup;
$lab->wait_for('dallas', q{SELECT state = 'open' FROM pingpong.gate}, 'the seal to be lifted', 60);
(undef, $err) = $lab->finish($job, 30);
like($err, qr/^ERROR: .*before it was promoted/m, 'an order that died with its server: the caller is told');
$lab->start_pg('chicago');
streaming('dallas', 'chicago');
is(join(' ', $lab->primary), 'dallas', 'an order that died with its server: one primary, the source');

# ---- a refusal is in the sentence of the sealed server ----

$job = run_behind('dallas', 'chicago', 'lag_zero', q{, max_blackout => '60 s'});
open my $fh, '<', $lab->env('TOKEN_FILE') or die;
my $token = <$fh>;
close $fh;

sub token_of_chicago
{
	my ($text) = @_;
	open my $out, '>', $lab->agent_dir('chicago') . '/token' or die;
	print $out $text;
	close $out or die;
	kill 'HUP', $lab->pid('agent', 'chicago');
	my $wanted = $text eq $token ? 200 : 401;	# to the worker's token
	$lab->until_true('the agent to have read it', sub { ($lab->agent('chicago', '/v1/ping'))[0] == $wanted });
	return;
}

token_of_chicago("another-token-of-this-agent\n");
$lab->set('dallas', 'pingpong.debug_pause_after', undef);
$lab->wait_for('dallas', q{SELECT bool_or(sentence LIKE '%refuses this server''s token%') FROM pingpong.progress},
	'the sentence to tell of 401', 60);
is(gate('dallas'), 'sealed', 'an agent that refuses the token lifts no seal');
token_of_chicago($token);
$lab->finish($job, 60);
($state) = $lab->settle($lab->last_run('chicago'));
note("after the token was put back: $state");
is(scalar(my @p = $lab->primary), 1, 'one primary');

# ---- the answer to the order is lost: what had failed before the blackout is not done again in it ----

my ($from) = $lab->primary;
my ($to) = grep { $_ ne $from } $lab->nodes;
streaming($from, $to);
$lab->sql($from,
	q{INSERT INTO pingpong.runbook_step (runbook, ordinal, action, node, worker, on_failure, params, comment)
	VALUES ('switchover', 15, 'hook', 'source', 'source', 'continue', '{"name": "nowhere"}', 'there is none')});
$lab->set($to, 'pingpong.debug_pause_after', 'settle');
$job = run_behind($from, $to, 'promote');
new_worker($from);
$lab->set($from, 'pingpong.debug_pause_after', undef);
$lab->wait_for($from, q{SELECT bool_and(run_state = 'handed over') FROM pingpong.progress}, 'the verdict', 60);
is($lab->sql($from, q{SELECT attempt || ' ' || state FROM pingpong.progress WHERE action = 'hook'}), '1 failed',
	'a lost answer: a step that had failed before is not done again');
is(scalar(my @hooks = glob $lab->state_dir($from) . '/jobs/*/15.hook.*'), 1,
	'a lost answer: its agent was asked once');
$lab->set($to, 'pingpong.debug_pause_after', undef);
$lab->finish($job, 20);
like(join(' ', $lab->settle($lab->last_run($to))),
	qr/^succeeded done, but step hook .* $to$/, 'a lost answer: the run goes on');

$load->mark('after');
ok($lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }), 'writes flow');
is($load->verify(($lab->primary)[0])->{lost}, 0, 'nothing acknowledged is lost');
$load->stop;
done_testing();
