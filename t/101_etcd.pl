# An etcd as the arbiter: no run promotes without its word, its word counts for a primary that starts, two failovers
# cannot both have it, and what came to nothing is forgotten there.
# time limit: 1200 s
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Etcd;
use JSON::PP;
use Lab;
use Test::More;
use Tools;

my $cannot = Etcd::missing();
plan skip_all => $cannot if $cannot;

my $lab = Lab->up(fast => 1, poolers => 0, set => ['pingpong.guard_timeout=500ms']);
my $etcd = Etcd->start($lab, 3);
my $risk = "risk => 'writes may be lost'";
$lab->wait_for('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
$lab->sql('chicago', 'CREATE TABLE kept (i int)', 'INSERT INTO kept VALUES (0)');

sub stored
{
	my ($key) = @_;
	return eval { decode_json($etcd->get("/pingpong/lab/$key")) } // {};
}

sub word { my ($agent) = @_; return ($lab->agent($agent, '/v1/state?fresh_ms=2000'))[1]{arbiter}; }

sub give_arbiter
{
	my ($agent, $name) = @_;
	open my $ini, '>>', $lab->agent_dir($agent) . '/agent.ini' or die $!;
	print $ini "\n[etcd.$name]\nurl = @{[ $etcd->urls ]}\ntimeout_ms = 5000\n";
	close $ini;
	kill 'HUP', $lab->pid('agent', $agent);
	$lab->until_true("the arbiter of $agent", sub { (word($agent) // {})->{answered} });
	return;
}

sub arbiter_rows
{
	my ($from, $to) = @_;
	return $lab->sql($from, "SELECT string_agg(node || ' ' || status, ', ' ORDER BY node)
		FROM pingpong.preflight('$to') WHERE name = 'arbiter'");
}

sub streaming
{
	my ($primary) = @_;
	return $lab->wait_for($primary, q{SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'},
		'the standby', 60);
}

# The run's number.
sub switchover
{
	my ($from, $to) = @_;
	streaming($from);
	my ($out, $err) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$to')");
	my ($run) = $out =~ /^(\d+)\|switched/ or BAIL_OUT("$from to $to: $err" =~ tr{\n}{|}r);
	my ($state, $sentence) = $lab->settle($run);
	is($state, 'succeeded', "$from to $to: succeeded") or diag($sentence);
	return $run;
}

# Of a failover whose target is this agent's node.
sub claim
{
	my ($agent, $run, $epoch, $ttl_ms) = @_;
	return $lab->act($agent, $run, $epoch, 'epoch.claim', {arbiter => JSON::PP::true, ttl_ms => $ttl_ms // 600_000});
}

sub release
{
	my ($agent, $run, $epoch) = @_;
	return $lab->act($agent, $run, $epoch, 'epoch.release', {arbiter => JSON::PP::true});
}

# How the guard of chicago ends, or stays. On a busy machine it may be closed for a moment before that.
sub boot
{
	my ($expected) = @_;
	$lab->start_pg('chicago');
	$lab->wait_for('chicago', "SELECT DISTINCT state = '$expected' FROM pingpong.guard", $expected, 60);
	return $lab->sql('chicago', 'SELECT DISTINCT state FROM pingpong.guard');
}

# A round in which etcd was late is followed by another one, while the server is closed.
sub told
{
	my ($pattern, $what) = @_;
	return ok(eval { $lab->wait_for('chicago', "SELECT bool_or(detail ~* '$pattern') FROM pingpong.guard
		WHERE node = 'etcd:lab'", $pattern, 30) }, $what) || diag($@);
}

sub end_failover
{
	my ($job, $cancel) = @_;
	my $run = $cancel ? $lab->sql('dallas', 'SELECT DISTINCT run FROM pingpong.progress') : undef;
	$lab->sql('dallas', "SELECT pingpong.cancel($run)") if $cancel;
	$lab->set('dallas', 'pingpong.debug_pause_after', undef) if !$cancel;
	my @end = $lab->finish($job, 90);
	$lab->set('dallas', 'pingpong.debug_pause_after', undef) if $cancel;
	return @end;
}

sub stopped_after
{
	my ($step) = @_;
	$lab->until_true('a failover to be possible', sub {
		my ($out, undef, $rc) = $lab->try_sql('dallas',
			q{SELECT count(*) FILTER (WHERE status = 'fail') FROM pingpong.failover_plan()});
		return $rc == 0 && $out eq '0' });
	$lab->set('dallas', 'pingpong.debug_pause_after', $step);
	my $job = $lab->begin_sql('dallas', "SELECT * FROM pingpong.failover('dallas', $risk)");
	$lab->wait_for('dallas', "SELECT count(*) > 0 FROM pingpong.progress WHERE run_state = 'running'
		AND action = '$step' AND state = 'succeeded'", "step $step");
	return $job;
}

# ---- the same for all, or for none ----

is(arbiter_rows('chicago', 'dallas'), 'dallas ok', 'there is none');
is(word('chicago'), undef, 'and an agent tells of none');
give_arbiter('chicago', 'lab');
is(arbiter_rows('chicago', 'dallas'), 'chicago ok, dallas fail', 'one agent has it, and the other one has not');
give_arbiter('dallas', 'lab');
is(arbiter_rows('chicago', 'dallas'), 'chicago ok, dallas ok', 'all have it');
my ($rc, $said) = run($lab->env('PGBIN') . '/pingpong-agent', '--check', '--config',
	$lab->agent_dir('dallas') . '/agent.ini');
like($said, qr/^ok\s+\[etcd\] etcd answers about "lab": epoch 0$/m, '--check looks at it');

# ---- a switchover tells it ----

my $run = switchover('chicago', 'dallas');
is(stored('epoch')->{epoch}, $lab->sql('dallas', "SELECT epoch FROM pingpong.run WHERE id = $run"),
	'it knows the epoch of the run');
for my $agent (qw(chicago dallas))
{
	ok($lab->until_true('the word', sub { (word($agent)->{epoch} // -1) == stored('epoch')->{epoch} }),
		"and so says the agent of $agent");
}
$etcd->stop(1);
$etcd->wait_healthy;
switchover('dallas', 'chicago');
is(stored('epoch')->{epoch}, 2, 'without one of its members, too');
streaming('chicago');

$etcd->stop(2);
is(arbiter_rows('chicago', 'dallas'), 'chicago warn, dallas fail', 'a member without the others is none');
my (undef, $err, $refused) = $lab->try_sql('chicago', q{SELECT * FROM pingpong.switchover('dallas')});
isnt($refused, 0, 'no switchover without it');
like($err, qr/arbiter.*gives its agent no answer/s, 'and why');
is($lab->sql('chicago', 'INSERT INTO kept VALUES (1) RETURNING i'), '1', 'nothing was touched');
my $job = claim('dallas', 'unheard', 9);
is("$job->{state} $job->{error}{code}", 'failed 08006', 'no claim without it');
is(($lab->agent('dallas', '/v1/state'))[1]{claimed}, 0, 'and none is left at the agent');
$etcd->resume;

# ---- one claim at a time ----

is(claim('chicago', 'first', 50)->{state}, 'succeeded', 'a claim');
$job = claim('dallas', 'second', 60);
is("$job->{state} $job->{error}{code}", 'failed 55006', 'another one, at an agent that knows nothing of it');
like($job->{error}{message}, qr/the arbiter refuses: another failover has made its claim there/, 'and why');
is(stored('claim')->{run}, 'first', 'the first one stands');
is(release('chicago', 'first', 50)->{state}, 'succeeded', 'it is given back');
is($etcd->get('/pingpong/lab/claim'), '', 'and is gone there');
is(claim('dallas', 'short', 60, 1000)->{state}, 'succeeded', 'a short one');
$lab->until_true('the claim to end', sub { $etcd->get('/pingpong/lab/claim') eq '' });
release('dallas', 'short', 60);

# ---- its word counts for a primary that starts ----

$lab->kill9('agent', 'dallas');
$lab->kill9('postgres', 'dallas');
$lab->until_true('the peers of chicago', sub {
	read_file($lab->env('PGDATA_chicago') . '/pingpong.peers') =~ /^node=dallas /m });
for my $case (['closed', 1, 'closed'], ['majority', 0, 'closed'], ['majority', 1, 'majority'])
{
	my ($unanswered, $answers, $expected) = @$case;
	$lab->stop_pg('chicago');
	$lab->set_file('chicago', 'pingpong.guard_unanswered', $unanswered);
	$etcd->stop if !$answers;
	my $etcd_does = $answers ? 'answers' : 'does not';
	is(boot($expected), $expected, "$unanswered, dallas is silent, etcd $etcd_does: $expected");
	told($answers ? '^its epoch is 2$' : '(connect|time|answer|status)', 'and the guard tells of it');
	$etcd->resume if !$answers;
}

# ---- a failover: its claim, its end by cancel, its epoch ----

$lab->start_agent('dallas');
$lab->start_pg('dallas');
streaming('chicago');
$lab->sql('chicago', 'INSERT INTO kept VALUES (2)');
$lab->wait_for('dallas', 'SELECT count(*) = 3 FROM kept', 'the row');
$lab->kill9('postgres', 'chicago');
$job = stopped_after('arm');
is(stored('claim')->{epoch}, 3, 'the failover has its claim there');
is(stored('epoch')->{epoch}, 2, 'and not yet its epoch');
(undef, $err) = end_failover($job, 1);
like($err, qr/was cancelled and rolled back/, 'it is cancelled');
is($etcd->get('/pingpong/lab/claim'), '', 'its claim is gone');
is(stored('epoch')->{epoch}, 2, 'the epoch is what it was');

$etcd->stop;
is($lab->sql('dallas', q{SELECT string_agg(node || ' ' || status, ', ' ORDER BY node) FROM pingpong.failover_plan()
	WHERE item = 'arbiter'}), 'chicago warn, dallas fail', 'the plan of a failover looks at it');
(undef, $err, $rc) = $lab->try_sql('dallas', "SELECT * FROM pingpong.failover('dallas', $risk)");
isnt($rc, 0, 'without it none begins');
like($err, qr/this failover cannot be made.*arbiter \("dallas"\)/s, 'and why');
$etcd->resume;

$job = stopped_after('arm');
$etcd->stop;
(undef, $err, $rc) = end_failover($job);
isnt($rc, 0, 'etcd goes away: nothing is promoted');
like($err, qr/the arbiter gives no answer/, 'and why');
is(join(',', $lab->primary), '', 'there is no primary');
$etcd->resume;
is(stored('epoch')->{epoch}, 2, 'the epoch is what it was');
$etcd->ctl('del', '/pingpong/lab/claim');	# it would end by itself

$job = stopped_after('claim');
$lab->kill9('agent', 'dallas');
is(boot('closed'), 'closed', 'the old primary boots; etcd alone knows of the claim');
told('a failover has claimed epoch 3', 'and says so');
(undef, undef, $rc) = $lab->try_sql('chicago', q{SET statement_timeout = '300ms'}, 'INSERT INTO kept VALUES (3)');
isnt($rc, 0, 'it takes no write');
$lab->kill9('postgres', 'chicago');
$lab->start_agent('dallas');
(undef, $err, $rc) = end_failover($job);
is($rc, 0, 'the failover goes on') or diag($err);
is(join(',', $lab->primary), 'dallas', 'dallas is the primary');
$lab->until_true('the run to end', sub {
	$lab->sql('dallas', q{SELECT count(*) FROM pingpong.run WHERE state = 'running'}) eq '0' });
cmp_ok(stored('epoch')->{epoch}, '>', 2, 'etcd knows the epoch');
is($etcd->get('/pingpong/lab/claim'), '', 'and no claim');

$lab->kill9('agent', 'dallas');
unlink $lab->env('PGDATA_chicago') . '/pingpong.seal';	# as if it had not been fenced
unlink glob($lab->state_dir('chicago') . '/epoch');	# nor its agent told
$lab->kill9('agent', 'chicago');
$lab->start_agent('chicago');
is(boot('replaced'), 'replaced', 'the old primary boots; etcd alone knows that it was replaced');
is($lab->sql('chicago', 'SELECT state FROM pingpong.gate'), 'sealed', 'it is sealed');
$lab->start_agent('dallas');

# ---- and back ----

($rc, $err) = ($lab->try_sql('dallas', q{SELECT state FROM pingpong.rebuild('chicago',
	risk => 'its own writes are lost')}))[2, 1];
$rc == 0 or ($rc, $err) = ($lab->try_sql('dallas', q{SELECT state FROM pingpong.rebuild('chicago')}))[2, 1];
is($rc, 0, 'the old primary is rebuilt') or diag($err);
switchover('dallas', 'chicago');
is(stored('epoch')->{epoch}, $lab->sql('chicago', 'SELECT epoch FROM pingpong.cluster'), 'and etcd has its epoch');
is($lab->sql('chicago', 'SELECT count(*) FROM kept'), '3', 'nothing was lost');

# ---- an etcd that asks for a login ----

$etcd->ctl(@$_) for ['user', 'add', 'root:of-the-test'], ['role', 'add', 'agents'],
	['role', 'grant-permission', 'agents', '--prefix=true', 'readwrite', '/pingpong/lab/'],
	['user', 'add', 'pingpong:of-the-agents'], ['user', 'grant-role', 'pingpong', 'agents'], ['auth', 'enable'];
my $now;
$lab->until_true('the login to be asked for', sub { $now = word('chicago'); !$now->{answered} });
like($now->{error}, qr/user name is empty/, 'without a login it tells nothing');
my $file = $lab->agent_dir('chicago') . '/etcd.password';
my $ini = $lab->agent_dir('chicago') . '/agent.ini';
for my $try (['not-it', qr/authentication failed/], ['of-the-agents', undef])
{
	my ($password, $problem) = @$try;
	write_file($file, "$password\n");
	write_file($ini, read_file($ini) . "user = pingpong\npassword_file = $file\n") if $problem;
	kill 'HUP', $lab->pid('agent', 'chicago');
	$lab->until_true('the other answer', sub {
		$now = word('chicago');
		return $problem ? ($now->{error} // '') =~ $problem : $now->{answered} });
	chmod 0644, $file;
	$lab->until_true('the reason', sub { (word('chicago')->{error} // '') =~ /may be read by others/ }) if !$problem;
	unlike($now->{error} // '', qr/\Q$password\E/, 'its answer holds no password');
}
chmod 0600, $file;
is(claim('chicago', 'with', 70)->{state}, 'succeeded', 'with a login there is a claim');
is(release('chicago', 'with', 70)->{state}, 'succeeded', 'and its end');
ok($lab->until_true('the word', sub { (word('chicago')->{claimed} // -1) == 0 }), 'and that is told');
done_testing;
