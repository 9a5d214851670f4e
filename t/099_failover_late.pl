# What is left over, and what comes late: the file of a failover that came to nothing, two failovers at a time, and a
# promotion that is obeyed when every clock has given it up. At no time are two primaries writable.
# time limit: 1200 s
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use Lab;
use Test::More;

my $lab = Lab->up(nodes => 3, fast => 1, poolers => 1, set => ['pingpong.guard_timeout=2s']);
$lab->wait_for('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
$lab->sql('chicago', 'CREATE TABLE kept (i int)');

sub spew
{
	my ($path, $text) = @_;
	open my $fh, '>', $path or die "$path: $!";
	print $fh $text;
	close $fh or die;
	return;
}

sub slurp
{
	my ($path) = @_;
	open my $fh, '<', $path or return '';
	local $/;
	return scalar <$fh>;
}

sub claimed { my ($node) = @_; return ($lab->agent($node, '/v1/state?fresh_ms=3000'))[1]{claimed}; }

sub path_of { my ($node) = @_; return $lab->env("PGDATA_$node") . '/pingpong.failover'; }

# As a failover from another standby to this node leaves it, whose worker never came back.
sub leave_file
{
	my ($node, $begun_by) = @_;
	spew(path_of($node), encode_json({key => "left-$node", id => 70, runbook => 'failover', source => 'chicago',
		target => $node, epoch => 1, options => {}, requested_by => 'postgres', notes => {}, begun_by => $begun_by,
		started_at => '2026-01-01 00:00:00+00', steps => []}));
	return;
}

sub streaming
{
	my ($primary) = @_;
	$lab->wait_for($primary, q{SELECT count(*) = 2 FROM pg_stat_replication WHERE state = 'streaming'}, 'standbys',
		60);
	return;
}

sub rows_of
{
	my ($node) = @_;
	return $lab->sql($node, q{SELECT string_agg(runbook || ' ' || state, ', ' ORDER BY id) FROM pingpong.run});
}

# ---- a file that was left over does not end another run ----

streaming('chicago');
leave_file('dallas', 'austin');
my ($out, $err) = $lab->try_sql('chicago', q{SELECT run, state FROM pingpong.switchover('dallas')});
my ($run) = $out =~ /^(\d+)/ or diag($err);
my ($state, $sentence) = $lab->settle($run, 60);
is($state, 'succeeded', 'a switchover to a node with the file of a failover that came to nothing') or diag($sentence);
is(rows_of('dallas'), 'switchover succeeded', 'and that is no run');
ok(!-e path_of('dallas'), 'the file is gone');

# it comes when the token is armed already
streaming('dallas');
$lab->set('dallas', 'pingpong.debug_pause_after', 'arm');
my $job = $lab->begin_sql('dallas', q{SELECT run, state FROM pingpong.switchover('chicago')});
$lab->wait_for('dallas', q{SELECT bool_or(run_state = 'running' AND action = 'arm' AND state = 'succeeded')
	FROM pingpong.progress}, 'the token');
leave_file('chicago', 'austin');
$lab->set('dallas', 'pingpong.debug_pause_after', undef);
($out) = $lab->finish($job, 60);
($run) = $out =~ /^(\d+)/;
($state, $sentence) = $lab->settle($run, 60);
is($state, 'succeeded', 'the same, and nobody has removed it before') or diag($sentence);
is(rows_of('chicago'), 'switchover succeeded, switchover succeeded', 'it is no run');
ok(!-e path_of('chicago') && -e path_of('chicago') . '.broken', 'it was put aside');

# ---- one claim at a time, whatever its epoch ----

for my $case ([50, 'ended: done'], [60, 'ended: failed'], [50, 'ended: failed'])
{
	my ($epoch, $expected) = @$case;
	my $key = $expected =~ /done/ ? 'first' : "second$epoch";
	my $claim = $lab->act('austin', $key, $epoch, 'epoch.claim', {ttl_ms => 600_000});
	is("ended: $claim->{state}" =~ s/succeeded/done/r, $expected, "epoch $epoch is claimed by the run \"$key\"");
	like($claim->{error}{message} // '', qr/another failover has made its claim here/, 'and why not')
		if $expected =~ /failed/;
}
my $refused = $lab->act('austin', 'other', 60, 'token.arm', {ttl_ms => 1000});
like($refused->{error}{message} // '', qr/another failover has made its claim here/, 'nor is another token armed');
$lab->act('austin', 'first', 50, 'epoch.release');
is(claimed('austin'), 0, 'the claim is released');

# ---- a promotion that may still happen is a claim, one that cannot is none ----

my $tokens = $lab->state_dir('austin') . '/token';
-d $tokens or mkdir $tokens, 0700 or die "$tokens: $!";
chomp(my $boot = slurp('/proc/sys/kernel/random/boot_id'));
my $start = $lab->sql('austin', 'SELECT extract(epoch FROM pg_postmaster_start_time())::text');
for my $case (
	['ordered long ago, of the server that runs', 50, state => 'promoting', ordered_ms => 1, server_start => $start],
	['the server that got the order is gone', 0, state => 'promoting', ordered_ms => 1, server_start => '1.5'],
	['ordered this moment', 50, state => 'promoting', ordered_ms => time * 1000, server_start => '1.5'],
	['armed for a failover', 50, state => 'armed', failover => JSON::PP::true],
	['armed for it, and too old', 0, state => 'armed', failover => JSON::PP::true, deadline_ms => 1],
	['armed for a switchover', 0, state => 'armed'],
	['promoted', 0, state => 'promoted'], ['burned', 0, state => 'burned'])
{
	my ($what, $expected, %token) = @$case;
	spew("$tokens/left.json", encode_json({run => 'left', serial => 1, epoch => 50, deadline_ms => 1e15,
		deadline_boot_ms => 1e15, boot_id => $boot, %token}));
	is(claimed('austin'), $expected, "a token: $what");
}
spew("$tokens/left.json", 'no token');
is(claimed('austin'), 1 + ($lab->agent('austin', '/v1/ping'))[1]{epoch}, 'a token that cannot be read may be one');
unlink "$tokens/left.json" or die "$tokens: $!";
is(claimed('austin'), 0, 'without it there is no claim');

# ---- a fence that was cancelled, a failover that was stopped until its claim was over ----

sub kill_server
{
	my ($node) = @_;
	my $postmaster = $lab->pid('postgres', $node);
	kill 'KILL', $postmaster, split ' ', `ps -o pid= --ppid $postmaster`;
	$lab->until_true("the server of $node to end", sub { $lab->gone($postmaster) });
	return;
}

sub possible
{
	$lab->until_true('a failover to be possible', sub {
		my ($fails, undef, $ok) = $lab->try_sql('austin',
			q{SELECT count(*) FILTER (WHERE status = 'fail') FROM pingpong.failover_plan('dallas')});
		return $ok == 0 && $fails eq '0' });
	return;
}

sub stopped_after
{
	my ($step, $risk) = @_;
	$lab->set('austin', 'pingpong.debug_pause_after', $step);
	my $call = $lab->begin_sql('austin', "SELECT * FROM pingpong.failover('dallas', risk => '$risk')");
	$lab->wait_for('austin', "SELECT bool_or(action = '$step' AND state = 'succeeded')
		FROM pingpong.progress WHERE run_state = 'running'", "step $step");
	return $call;
}

sub go_on { $lab->set('austin', 'pingpong.debug_pause_after', undef); return; }

# The time of the claim of an agent is over.
sub end_claim
{
	my ($agent) = @_;
	my $path = $lab->state_dir($agent) . '/claim';
	my $claim = eval { decode_json(slurp($path)) } // {};
	ok($claim->{run}, "$agent has the claim");
	spew($path, encode_json({%$claim, until_ms => 1}));
	return;
}

sub left
{
	my @left = grep { -e } (map { path_of($_) } $lab->nodes), $lab->env('PGDATA_chicago') . '/pingpong.seal';
	return join ' ', map { s{.*/}{}r } @left;
}

streaming('chicago');
my $hangs = $lab->pid('postgres', 'chicago');
kill 'STOP', $hangs;
$lab->agent('chicago', '/v1/jobs', {run => 'hang', step => 'fence', epoch => 50, wait_ms => 0,
	actions => [{action => 'pg.fence', params => {target => 'dallas'}}]});
$lab->agent('chicago', '/v1/jobs/hang/fence/cancel', {});
kill_server('chicago');
my $fence;
$lab->until_true('the fence to end', sub {
	$fence = ($lab->agent('chicago', '/v1/jobs/hang/fence'))[1];
	return $fence->{state} ne 'running' }, 60);
isnt($fence->{state}, 'succeeded', 'a fence that is cancelled while it stops the server does not succeed');
is(left(), '', 'and leaves no seal');

possible();
$job = stopped_after('slots', 'writes may be lost');
end_claim('dallas');
go_on();
(undef, $err) = $lab->finish($job, 60);
like($err, qr/the claim of this failover is over/, 'too late: its token is not armed');
is(left(), '', 'too late: and nothing is left of it');
is(claimed('dallas'), 0, 'too late: nor is it a claim');

# ---- the seal of the old primary cannot be taken back at once ----

possible();
$job = stopped_after('fence', 'writes may be lost');
$lab->kill9('agent', 'chicago');
$lab->sql('austin', q{SELECT pingpong.cancel(run) FROM pingpong.progress WHERE run_state = 'running' LIMIT 1});
(undef, $err) = $lab->finish($job, 60);
like($err, qr/the undo unfence of "chicago" failed.*tried again when the worker of this server is started/s,
	'a seal that could not be taken back: it says so');
go_on();
is(left(), 'pingpong.failover pingpong.seal', 'and does not forget it');
$lab->start_agent('chicago');
$lab->kill9('worker', 'austin');
ok(eval { $lab->until_true('the undo', sub { left() eq '' }, 40) }, 'the next worker does it') or diag(left());
is(join(',', $lab->primary), '', 'nothing was promoted');

# ---- the new primary crashes before its worker has read the file, and its agent is away ----

possible();
$job = stopped_after('arm', 'writes may be lost');
kill 'STOP', $lab->pid('worker', 'dallas');
go_on();
$lab->wait_for('dallas', 'SELECT NOT pg_is_in_recovery()', 'the promotion', 60);
$lab->finish($job, 90);
ok(-e path_of('dallas'), 'the worker of the new primary has not read its file');
$lab->kill9('agent', 'dallas');
kill_server('dallas');
my ($known) = slurp($lab->env('PGDATA_dallas') . '/pingpong.peers') =~ /^epoch=(\d+)/m;
cmp_ok(($lab->agent('pooler1', '/v1/ping'))[1]{epoch}, '>', $known, 'a newer epoch speaks against it');
$lab->start_pg('dallas');
$lab->wait_for('dallas', q{SELECT DISTINCT state NOT IN ('none', 'asking') FROM pingpong.guard}, 'a decision', 60);
is($lab->sql('dallas', 'SELECT DISTINCT state FROM pingpong.guard'), 'proved', 'it is its own: it opens');
$lab->start_agent('dallas');
$lab->until_true('the row', sub {
	my ($rows) = $lab->try_sql('dallas', q{SELECT count(*) FROM pingpong.run WHERE runbook = 'failover'});
	return $rows eq '1' }, 60);
($state, $sentence) = $lab->settle($lab->last_run('dallas'), 120);
is($state, 'succeeded', 'and the run goes on') or diag($sentence);

($out, $err) = $lab->try_sql('dallas', q{SELECT state FROM pingpong.rebuild('chicago',
	risk => 'its own writes are lost')});
is($out, 'succeeded', 'the old primary is rebuilt') or diag($err);
streaming('dallas');
($out, $err) = $lab->try_sql('dallas', q{SELECT run, state FROM pingpong.switchover('chicago')});
($run) = $out =~ /^(\d+)/ or diag($err);
is(($lab->settle($run, 60))[0], 'succeeded', 'and is the primary again');

# ---- the old primary boots while a promotion is pending, and every clock has given that up ----

streaming('chicago');
$lab->sql('chicago', 'INSERT INTO kept VALUES (0)');
$lab->wait_for($_, 'SELECT count(*) = 1 FROM kept', 'the row') for 'dallas', 'austin';
$lab->until_true('the peers of chicago', sub {
	slurp($lab->env('PGDATA_chicago') . '/pingpong.peers') =~ /^node=dallas .*^node=pooler1 /ms });
$lab->kill9('agent', 'chicago');
kill_server('chicago');
possible();
$job = stopped_after('arm', 'two primaries are possible, writes may be lost');
my $startup = $lab->sql('dallas', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'});
kill 'STOP', $startup;
go_on();
$lab->until_true('the order', sub {
	scalar grep { slurp($_) =~ /"state": ?"promoting"/ } glob $lab->state_dir('dallas') . '/token/*-*.json' });
end_claim($_) for qw(dallas austin pooler1);
is(claimed($_), 0, "the claim at $_ is over") for qw(austin pooler1);
my $now = ($lab->agent('dallas', '/v1/state?fresh_ms=3000'))[1];
cmp_ok($now->{claimed}, '>', $now->{epoch}, 'dallas tells of the promotion that may still happen');
like($now->{role}, qr/^(standby|down)$/, 'and is no primary');	# a process that is stopped may hold up a look
is($lab->act('dallas', 'other', 1000, 'pg.look')->{results}[0]{claimed}, $now->{claimed},
	'and tells another failover, too');

$lab->start_pg('chicago');
$lab->wait_for('chicago', q{SELECT DISTINCT state NOT IN ('none', 'asking') FROM pingpong.guard}, 'a decision', 60);
is($lab->sql('chicago', 'SELECT DISTINCT state || $$ $$ || (sentence ~ $$has claimed epoch$$) FROM pingpong.guard'),
	'closed true', 'the old primary stays closed, and says why');
my (undef, undef, $rc) = $lab->try_sql('chicago', q{SET statement_timeout = '1s'}, 'INSERT INTO kept VALUES (1)');
isnt($rc, 0, 'and takes no write');
kill 'CONT', $startup;
$lab->wait_for('dallas', 'SELECT NOT pg_is_in_recovery()', 'the promotion', 60);
$lab->wait_for('chicago', q{SELECT state = 'sealed' FROM pingpong.gate}, 'chicago to seal itself', 60);
is($lab->sql('chicago', 'SELECT DISTINCT state FROM pingpong.guard'), 'replaced', 'it was replaced');
$lab->finish($job, 90);
is(($lab->settle($lab->last_run('dallas'), 120))[0] =~ /succeeded|stuck/ ? 1 : 0, 1,
	'the failover has its end');
is(join(',', $lab->primary), 'dallas', 'one primary');
is($lab->sql('dallas', 'SELECT count(*) FROM kept'), '1', 'no write came through');

# ---- more nodes than are asked: it is not proved that none of them is the primary ----

$lab->start_agent('chicago');
$lab->sql('dallas', q{INSERT INTO pingpong.node (name, kind, agent_url)
	SELECT 'router' || i, 'router', 'http://127.0.0.1:1' FROM generate_series(1, 33) i});
$lab->until_true('the peers of dallas', sub {
	slurp($lab->env('PGDATA_dallas') . '/pingpong.peers') =~ /^node=router1 /m });
my $pid = $lab->pid('postgres', 'dallas');
kill 'INT', $pid;
$lab->until_true('dallas to stop', sub { $lab->gone($pid) });
$lab->start_pg('dallas');
$lab->wait_for('dallas', q{SELECT DISTINCT state NOT IN ('none', 'asking') FROM pingpong.guard}, 'a decision', 60);
is($lab->sql('dallas', 'SELECT DISTINCT state || $$ $$ || (sentence ~ $$more nodes are registered$$)
		FROM pingpong.guard'), 'closed true', 'with more nodes than it can ask nothing is proved, and it says so');
done_testing;
