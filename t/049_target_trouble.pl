# A target in trouble: its worker could not go on, it hangs, it loses power just after the promotion, it crashes
# inside of it and comes back on the old timeline, its agent has followed another primary. The run ends by itself,
# tells the truth, and there is one primary.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use File::Path qw(remove_tree);
use Lab;
use Test::More;
use Time::HiRes qw(sleep time);

my $lab = Lab->up(fast => 1, port => 27500);
$lab->wait_for($_, 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker') for $lab->nodes;
my $load = $lab->writers(writers => 2, rate => 50);

sub gate { my ($node) = @_; return ($lab->try_sql($node, 'SELECT state FROM pingpong.gate'))[0]; }

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$standby' AND state = 'streaming'", "$standby to stream", 60);
}

sub pause_behind { my ($node, $action) = @_; return $lab->set($node, 'pingpong.debug_pause_after', $action); }

sub last_run
{
	my ($node) = @_;
	return $lab->sql($node, q{SELECT max(id) FROM pingpong.run WHERE runbook = 'switchover'});
}

sub reached
{
	my ($node, $action) = @_;
	return $lab->wait_for($node, "SELECT bool_or(state = 'succeeded') FROM pingpong.progress
		WHERE run_state = 'running' AND action = '$action'", $action);
}

sub begin
{
	my ($from, $to, $options) = @_;
	return $lab->begin_sql($from, '\set VERBOSITY verbose',
		"SELECT * FROM pingpong.switchover('$to'" . ($options // '') . ')');
}

# ---- its worker could not take the run over: known before writes stop ----

chmod 0644, $lab->agent_dir('dallas') . '/token' or die;
my ($out, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose', q{SELECT * FROM pingpong.switchover('dallas')});
like($err, qr/^ERROR:  55000: .*preflight.*fail: target_worker \(dallas\): .*agent_token_file/ms,
	'a token that its worker may not use: refused') or diag($err);
is($lab->sql('chicago', 'SELECT count(*) FROM pingpong.step WHERE action IN (\'pause\', \'hold\')
	AND state <> \'pending\''), '0', 'a token that its worker may not use: writes were not stopped');
chmod 0600, $lab->agent_dir('dallas') . '/token' or die;
is(join(' ', $lab->primary), 'chicago', 'a token that its worker may not use: the primary stays');

# ---- it hangs, when it gets the order ----

# A file as it is now; empty if it is gone.
sub text_of
{
	my ($path) = @_;
	open my $fh, '<', $path or return '';
	local $/ = undef;
	my $text = <$fh>;
	close $fh;
	return $text // '';
}

sub postgres_of
{
	my ($node) = @_;
	my $postmaster = $lab->pid('postgres', $node);
	return ($postmaster, grep { text_of("/proc/$_/stat") =~ /^.*\) \S (\d+)/s && $1 == $postmaster }
		map { m{/proc/(\d+)$} ? $1 : () } glob '/proc/[0-9]*');
}

pause_behind('chicago', 'lag_zero');
my $job = begin('chicago', 'dallas');
reached('chicago', 'lag_zero');
my @frozen = postgres_of('dallas');
kill 'STOP', @frozen;
pause_behind('chicago', undef);
$lab->until_true('the caller to have an answer', sub { !$lab->running($job) }, 60);
(undef, $err) = $lab->finish($job);
like($err, qr/^ERROR: .*PostgreSQL does not answer/m, 'a target that hangs: the run ends while it still hangs')
	or diag($err);
is(join(' ', $lab->primary), 'chicago', 'a target that hangs: the source is the primary again');
kill 'CONT', @frozen;
streaming('chicago', 'dallas');
is($lab->sql('dallas', 'SELECT pg_is_in_recovery()'), 't',
	'a target that hangs: nothing of the order is left when it goes on');
is($lab->sql('chicago', q{SELECT state FROM pingpong.run WHERE runbook = 'switchover' ORDER BY id DESC LIMIT 1}),
	'rolled_back', 'a target that hangs: rolled back');

# ---- one backend hangs: the one that was to promote ----

pause_behind('chicago', 'lag_zero');
$job = begin('chicago', 'dallas');
reached('chicago', 'lag_zero');
@frozen = split "\n",
	$lab->sql('dallas', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'pingpong-agent'});
ok(scalar @frozen, 'the agent has its connection open beforehand');
kill 'STOP', @frozen;
pause_behind('chicago', undef);
($out, $err) = $lab->finish($job, 60);
like($out, qr/switched/, 'one backend that hangs: the promotion is done by another one') or diag($err);
kill 'CONT', @frozen;
my ($state, $sentence) = $lab->settle(last_run('dallas'));
is("$state $sentence", 'succeeded done', 'one backend that hangs: the run succeeds');
streaming('dallas', 'chicago');

# ---- power fails just after the promotion: the job's record is gone, the token is there ----

for my $lost ('gone', 'empty')
{
	my ($from, $to) = $lost eq 'gone' ? qw(dallas chicago) : qw(chicago dallas);
	pause_behind($from, 'promote');
	pause_behind($to, 'settle');	# its worker does not go on before the power fails
	$job = begin($from, $to);
	$lab->wait_for($to, 'SELECT NOT pg_is_in_recovery()', 'the promotion');
	$lab->until_true('the token to say so',
		sub { grep { text_of($_) =~ /"state": ?"promot/ } glob $lab->state_dir($to) . '/token/*.json' });
	$lab->kill9('agent', $to);
	$lab->kill9('postgres', $to);
	for my $record (glob $lab->state_dir($to) . '/jobs/*/70.promote.*.json')
	{
		if ($lost eq 'gone') { unlink $record or die; }
		else { truncate $record, 0 or die; }
	}
	$lab->start_pg($to);
	$lab->start_agent($to);
	$lab->wait_for($to, 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
	pause_behind($to, undef);
	($state, $sentence) = $lab->settle(last_run($to), 90);
	is("$state $sentence", 'succeeded done', "a promotion whose record is $lost: the token tells, the run goes on");
	streaming($to, $from);
	pause_behind($from, undef) if $lab->sql($from, 'SHOW pingpong.debug_pause_after') ne '';
	$lab->finish($job, 20);
	is(join(' ', $lab->primary), $to, "a promotion whose record is $lost: one primary");
	is($lab->sql($lab->env('RW_DSN'), 'SELECT NOT pg_is_in_recovery()'), 't',
		"a promotion whose record is $lost: the route points to it");
}

# ---- it crashes inside the promotion and comes back on the old timeline ----

my $timeline = q{SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int};
my $before = $lab->sql('dallas', $timeline);
pause_behind('dallas', 'lag_zero');
$job = begin('dallas', 'chicago', q{, max_blackout => '60 s'});
reached('dallas', 'lag_zero');
my $startup = $lab->sql('chicago', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'});
kill 'STOP', $startup;
pause_behind('dallas', undef);
$lab->until_true('the order',
	sub { grep { text_of($_) =~ /"state": ?"promoting"/ } glob $lab->state_dir('chicago') . '/token/*.json' });
# a promotion removes it while the server runs; without it the directory is never taken for that of a standby
unlink $lab->env('PGDATA_chicago') . '/standby.signal' or die;
my $postmaster = $lab->pid('postgres', 'chicago');
kill 'KILL', $postmaster, $startup;
$lab->until_true('the server to end', sub { $lab->gone($postmaster) });
$lab->start_pg('chicago');
is($lab->sql('chicago', $timeline), $before,
	'a crash inside the promotion: it is on the timeline of the old primary');
($state, $sentence) = $lab->settle(last_run('chicago'), 90);
is($state, 'stuck', 'a crash inside the promotion: the run says that it needs somebody');
like($sentence, qr/rejoin of "dallas" failed: .*on the old timeline.*base backup.*rebuild\('dallas'/s,
	'a crash inside the promotion: and for what');
is(join(' ', $lab->primary), 'chicago', 'a crash inside the promotion: one primary');
is($lab->sql($lab->env('RW_DSN'), 'SELECT NOT pg_is_in_recovery()'), 't',
	'a crash inside the promotion: clients write there');
$lab->sql('chicago', q{SELECT pingpong.rebuild('dallas')});
is($lab->sql('chicago', q{SELECT detail->>'method' FROM pingpong.step WHERE action = 'rejoin'
	ORDER BY run DESC LIMIT 1}), 'basebackup', 'a crash inside the promotion: only a copy will do');
streaming('chicago', 'dallas');
$lab->finish($job, 20);

# ---- its agent has followed somebody else: the sealed server learns that it was replaced ----

pause_behind('chicago', 'lag_zero');
$job = begin('chicago', 'dallas', q{, max_blackout => '30 s'});
reached('chicago', 'lag_zero');
$lab->kill9('agent', 'dallas');
open my $fh, '>', $lab->state_dir('dallas') . '/epoch' or die;
print $fh "1000\n";
close $fh or die;
$lab->start_agent('dallas');
pause_behind('chicago', undef);
(undef, $err) = $lab->finish($job, 60);
like($err, qr/^ERROR:  55000: The primary has moved on: the agent of "dallas" knows a newer epoch/m,
	'a newer epoch: the caller is told') or diag($err);
is(gate('chicago'), 'sealed', 'a newer epoch: the server stays sealed');
like($lab->sql('chicago', 'SELECT max(run_state) || \' \' || max(sentence) FROM pingpong.progress'),
	qr/^stuck .*rebuild\('chicago'\)/, 'a newer epoch: the way out is in progress');
like(($lab->try_sql('chicago', q{SELECT * FROM pingpong.switchover('dallas')}))[1], qr/ERROR/,
	'a newer epoch: no other run is begun on a sealed server');
is($lab->sql('dallas', 'SELECT pg_is_in_recovery()'), 't', 'a newer epoch: the target was not promoted');
$lab->sql('chicago', q{SELECT pingpong.resume(risk => 'two primaries are possible')});
is(join(' ', $lab->primary), 'chicago', 'a newer epoch: a superuser may overrule');

$load->mark('after');
# (the pooler ends the pause by itself, 10 s after the permitted blackout)
ok($lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }, 120), 'writes flow');
is($load->verify('chicago')->{lost}, 0, 'nothing acknowledged is lost');
$load->stop;
done_testing();
