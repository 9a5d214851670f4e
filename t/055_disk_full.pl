# A full disk under the agent's state folder, and under the data directory, at each write of a run: a clear error, all
# as it was in time, nothing half written. In a mount namespace of its own, with small file systems in memory.
use strict;
use warnings;
use File::Temp qw(tempdir);
use FindBin;
use lib $FindBin::RealBin;
use Mounts;
use Lab;
use Test::More;
use Time::HiRes qw(time);

my $lab = Lab->up(fast => 1, port => 25500);
my $bin = $lab->env('PGBIN');

sub small
{
	my ($size) = @_;
	my $folder = tempdir('pingpong-small-XXXXXX', TMPDIR => 1, CLEANUP => 0);
	plan skip_all => "no tmpfs can be mounted: $!" unless Mounts::tmpfs($folder, "size=$size,mode=0777");
	return $folder;
}

# Nothing is free.
sub fill
{
	my ($folder) = @_;
	open my $fh, '>', "$folder/ballast" or die "$folder/ballast: $!";
	1 while syswrite $fh, 'x' x 65536;
	1 while syswrite $fh, 'x' x 4096;
	close $fh;
	return;
}
sub empty { my ($folder) = @_; unlink "$folder/ballast" or die; return; }

# A folder of the lab goes to the small disk; a link stays.
sub moved
{
	my ($path, $folder) = @_;
	system('cp', '-a', $path, "$folder/") == 0 or die;
	rename $path, "$path.before" or die;
	symlink "$folder/" . ($path =~ s{.*/}{}r), $path or die;
	return;
}

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary, "SELECT count(*) = 1 FROM pingpong.standby
		WHERE name = '$standby' AND state = 'streaming'", "$standby to stream", 60);
}

sub last_run
{
	my ($node) = @_;
	return $lab->sql($node, q{SELECT state || ' ' || coalesce(sentence, '') FROM pingpong.run
		WHERE runbook = 'switchover' ORDER BY id DESC LIMIT 1});
}

# A run that stops after an action.
sub run_behind
{
	my ($from, $to, $action, $options) = @_;
	$lab->set($from, 'pingpong.debug_pause_after', $action);
	my $job = $lab->begin_sql($from, "SELECT run, state FROM pingpong.switchover('$to'" . ($options // '') . ')');
	$lab->wait_for($from, "SELECT bool_or(state = 'succeeded') FROM pingpong.progress
		WHERE run_state = 'running' AND action = '$action'", $action);
	return $job;
}

my $load = $lab->writers(writers => 2, rate => 50);

# ---- the state folder of the target's agent ----

my $tiny = small('1m');
$lab->kill9('agent', 'dallas');
moved($lab->state_dir('dallas'), $tiny);
$lab->start_agent('dallas');

fill($tiny);
my (undef, $err, $rc) = $lab->try_sql('chicago', q{SELECT * FROM pingpong.switchover('dallas')});
isnt($rc, 0, 'full before the token is armed: no switchover');
like($err, qr/^ERROR:  .*(no room for the promote token|could not write|could not note).*No space left on device/m,
	'full before the token is armed: the reason');
unlike($err, qr/NOTICE:  (pause|hold|seal) /, 'full before the token is armed: before the blackout');
like(last_run('chicago'), qr/^rolled_back /, 'full before the token is armed: rolled back');
is(join(' ', $lab->primary), 'chicago', 'full before the token is armed: the primary stays');
empty($tiny);

# (a token that cannot be burned would leave the source sealed)
my $job = run_behind('chicago', 'dallas', 'lag_zero', q{, max_blackout => '60 s'});
fill($tiny);
$lab->sql('chicago', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity
	WHERE query ~ 'pingpong.switchover' AND pid <> pg_backend_pid()});
(undef, $err) = $lab->finish($job, 60);
like($err, qr/cancelled and rolled back/, 'full before the token is burned: the run is cancelled');
is($lab->sql('chicago', 'SELECT state FROM pingpong.gate'), 'open',
	'full before the token is burned: the source takes writes again');
empty($tiny);
$lab->set('chicago', 'pingpong.debug_pause_after', undef);

$job = run_behind('chicago', 'dallas', 'lag_zero', q{, max_blackout => '60 s'});
fill($tiny);
$lab->set('chicago', 'pingpong.debug_pause_after', undef);
(my $out, $err) = $lab->finish($job, 60);
like($out, qr/^\d+\|switched$/, 'full before the promotion: switched all the same') or diag($err);
my ($state, $sentence) = $lab->settle($out =~ /^(\d+)/, 120);
like("$state $sentence", qr/^succeeded done(, but step slow_wal of "dallas" failed: .*No space left on device|$)/,
	'full before the promotion: the run says what it could not do');
streaming('dallas', 'chicago');
empty($tiny);
$lab->wait_for('dallas', 'SELECT count(*) = 0 FROM pingpong.relaxed', 'what was relaxed to be restored', 60);
is($lab->sql('dallas', 'SHOW wal_init_zero'), 'on', 'and what it could not do is done later');

# ---- the disk of the primary: its seal ----

my $disk = small('600m');
my $data = $lab->env('PGDATA_chicago');
system("$bin/pg_ctl", '-D', $data, '-s', '-m', 'fast', '-w', 'stop') == 0 or die;
moved($data, $disk);
$lab->start_pg('chicago');
streaming('dallas', 'chicago');
($out, $err) = $lab->try_sql('dallas', q{SELECT run, state FROM pingpong.switchover('chicago')});
like($out, qr/^\d+\|switched$/, 'to the small disk') or diag($err);
$lab->settle($out =~ /^(\d+)/, 120);
streaming('chicago', 'dallas');

# (segments that were made while it was promoted have holes, which a full disk cannot fill any more)
$lab->sql('chicago', 'SELECT pg_logical_emit_message(false, \'x\', \'x\')', 'SELECT pg_switch_wal()') for 1 .. 4;
$job = run_behind('chicago', 'dallas', 'wal_align', q{, max_blackout => '60 s'});
$lab->sql('chicago', 'ALTER SYSTEM RESET pingpong.debug_pause_after');
fill($disk);
$lab->sql('chicago', 'SELECT pg_reload_conf()');
(undef, $err) = $lab->finish($job, 60);
like($err, qr/^ERROR:  .*No space left on device/m, 'full before the seal: the reason');
is($lab->sql('chicago', 'SELECT state FROM pingpong.gate'), 'open', 'full before the seal: the gate is open');
ok(!-e "$data/pingpong.seal" && !-e "$data/pingpong.seal.tmp", 'full before the seal: nothing is left of it');
is(join(' ', $lab->primary), 'chicago', 'full before the seal: the primary stays');
empty($disk);
$lab->wait_for('chicago', q{SELECT count(*) = 0 FROM pingpong.run WHERE state = 'running'},
	'the journal to be written', 60);
like(last_run('chicago'), qr/^rolled_back /, 'full before the seal: rolled back');
$load->mark('after');
ok($lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }), 'full before the seal: writes flow');

($out, $err) = $lab->try_sql('chicago', q{SELECT run, state FROM pingpong.switchover('dallas')});
like($out, qr/^\d+\|switched$/, 'with room again: switched') or diag($err);
is(join(' ', ($lab->settle($out =~ /^(\d+)/, 120))[0, 1]), 'succeeded done', 'with room again: done');

is($load->verify('dallas')->{lost}, 0, 'nothing acknowledged is lost');
is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');
done_testing();
