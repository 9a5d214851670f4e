# What a rebuild must not destroy: a newer server, one that takes writes, rows that only the node has, a standby that
# a person has repaired. And how a rejoin that fails behaves: slowly, until an operator gives it up.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use File::Path qw(remove_tree);
use Lab;
use Test::More;
use Time::HiRes qw(sleep time);

my $lab = Lab->up(fast => 1, port => 25800);
my %data = map { $_ => $lab->env("PGDATA_$_") } $lab->nodes;
my $bin = $lab->env('PGBIN');
my $words = 'its own writes are lost';
$lab->wait_for($_, 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker') for $lab->nodes;
$lab->sql('chicago', 'CREATE TABLE kept (i int)', 'CREATE ROLE ops LOGIN IN ROLE pingpong_operator');

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$standby' AND state = 'streaming'", "$standby to stream", 60);
}

sub slurp { my ($file) = @_; open my $fh, '<', $file or die "$file: $!"; local $/; return <$fh>; }
sub dsn_as { my ($node, $role) = @_; return $lab->env("DSN_$node") =~ s/user=\S+/user=$role/r; }

# It is refused with this SQLSTATE and words like these, and the node is as it was.
sub refused
{
	my ($what, $on, $call, $sqlstate, $like) = @_;
	my (undef, $err) = $lab->try_sql($on, '\set VERBOSITY verbose', $call);
	like($err, qr/^ERROR:  $sqlstate: /m, "$what: SQLSTATE $sqlstate") or diag($err);
	like($err, $like, "$what: the words");
	return $err;
}

# ---- the one who orders is the older side ----

$lab->sql('dallas', 'SELECT pg_promote(true, 30)', 'CREATE TABLE of_dallas AS SELECT generate_series(1, 1000) i');
my $postmaster = $lab->pid('postgres', 'dallas');
for my $method (qw(auto direct rewind basebackup))
{
	my $err = refused("a newer server, $method", 'chicago', "SELECT pingpong.rebuild('dallas', '$method')", '55000',
		qr/"dallas" runs as a primary and is not sealed/);
	like($err, qr/^HINT: .*newer side/m, "a newer server, $method: the hint names the newer side");
	unlike($err, qr/risk/, "a newer server, $method: no way to destroy it is advised");
}
is($lab->pid('postgres', 'dallas'), $postmaster, 'a newer server goes on without a restart');
is($lab->sql('dallas', 'SELECT count(*) FROM of_dallas'), '1000', 'and keeps its rows');
$lab->kill9('postgres', 'dallas');
refused('a newer server that is down', 'chicago', q{SELECT pingpong.rebuild('dallas')}, '55000',
	qr/"dallas" is on a newer timeline/);
$lab->start_pg('dallas');
is($lab->sql('dallas', 'SELECT count(*) FROM of_dallas'), '1000', 'a newer server that is down keeps its rows');
is($lab->sql('chicago', q{SELECT string_agg(DISTINCT state, ' ') FROM pingpong.run WHERE runbook = 'rebuild'}),
	'rolled_back', 'what was refused is rolled back');
is($lab->sql('chicago', q{SELECT count(*) FROM pg_replication_slots WHERE slot_name <> 'pingpong_dallas'}), '0',
	'and leaves no slot');
refused('words of an operator', dsn_as('chicago', 'ops'), qq{SELECT pingpong.rebuild('dallas', risk => '$words')},
	'42501', qr/superuser/);
refused('words of an operator, by the inner function', dsn_as('chicago', 'ops'),
	qq[SELECT pingpong_internal.request('run', 'dallas', '{"runbook": "rebuild", "risk": "$words"}')],
	'42501', qr/superuser/);
refused('other words', 'chicago', q{SELECT pingpong.rebuild('dallas', risk => 'yes')}, '22023',
	qr/"risk" does not say what is risked/);

# ---- the other way round: the old primary wrote past the fork and was not sealed ----

$lab->sql('chicago', 'INSERT INTO kept SELECT generate_series(1, 10000)');
refused('an old primary that takes writes', 'dallas', q{SELECT pingpong.rebuild('chicago')}, '55000',
	qr/"chicago" runs as a primary and is not sealed/);
is($lab->sql('chicago', 'SELECT count(*) FROM kept'), '10000', 'an old primary that takes writes goes on');
$lab->kill9('postgres', 'chicago');
refused('an old primary with more WAL', 'dallas', q{SELECT pingpong.rebuild('chicago')}, '55000',
	qr/"chicago" has written WAL that .* does not have/);
refused('an old primary with more WAL', 'dallas', q{SELECT pingpong.rebuild('chicago', 'basebackup')}, '55000',
	qr/left timeline 1 at [0-9A-F]+\/[0-9A-F]+; WAL of this node from there on would be lost/);
$lab->start_pg('chicago');
is($lab->sql('chicago', 'SELECT count(*) FROM kept'), '10000', 'an old primary with more WAL keeps it');
$lab->kill9('postgres', 'chicago');
$lab->sql('dallas', qq{SELECT pingpong.rebuild('chicago', risk => '$words')});
streaming('dallas', 'chicago');
is($lab->sql('chicago', 'SELECT count(*) FROM kept'), '0', 'with the words of a superuser it becomes a standby');

# ---- an old primary that wrote nothing past the fork needs no words ----

$lab->sql('dallas', 'INSERT INTO kept VALUES (1)');
my $lsn = $lab->sql('dallas', 'SELECT pg_current_wal_flush_lsn()');
system("$bin/pg_ctl", '-D', $data{dallas}, '-s', '-m', 'fast', '-w', 'stop') == 0 or die;
$lab->sql('chicago', 'SELECT pg_promote(true, 30)');
$lab->sql('chicago', q{SELECT pingpong.rebuild('dallas')});
streaming('chicago', 'dallas');
is($lab->sql('dallas', 'SELECT count(*) FROM kept'), '1',
	'an old primary that was shut down, and has nothing of its own, needs no words');

# ---- what a person has repaired stays ----

# as an agent leaves it that died in the middle of a rebuild
my $job = $lab->begin_sql('chicago', q{SELECT pingpong.rebuild('dallas', 'basebackup')});
$lab->until_true('the copy to begin', sub { -e "$data{dallas}/pingpong.rejoin/new/PG_VERSION" });
$lab->kill9('agent', 'dallas');
$lab->finish($job, 1);
system("$bin/pg_ctl", '-D', $data{dallas}, '-s', '-m', 'immediate', '-w', 'stop');
my %own = map { $_ => slurp("$data{dallas}/$_") } qw(postgresql.conf pg_hba.conf postgresql.auto.conf);
remove_tree($data{dallas});
system("$bin/pg_basebackup", '-D', $data{dallas}, '-d', $lab->env('DSN_chicago') =~ s/dbname=\S+//r, '-X', 'stream',
	'-c', 'fast', '--no-sync') == 0 or die;
for my $file (keys %own)
{
	open my $fh, '>', "$data{dallas}/$file" or die;
	print $fh $own{$file}, $file eq 'postgresql.conf' ? "work_mem = '11MB'\n" : '';
	close $fh or die;
}
open my $signal, '>', "$data{dallas}/standby.signal" or die;
close $signal;
$lab->start_pg('dallas');
streaming('chicago', 'dallas');
$postmaster = $lab->pid('postgres', 'dallas');
my $inode = (stat "$data{dallas}/PG_VERSION")[1];
$lab->start_agent('dallas');
$lab->until_true('the agent to have nothing left to do', sub {
	my (undef, $jobs) = $lab->agent('dallas', '/v1/jobs');
	!grep { $_->{state} eq 'running' } @{$jobs->{jobs}};
}, 60);
is($lab->pid('postgres', 'dallas'), $postmaster, 'a standby that was repaired by hand is not stopped');
is((stat "$data{dallas}/PG_VERSION")[1], $inode, 'nor replaced');
is($lab->sql('dallas', 'SHOW work_mem'), '11MB', 'nor its configuration');
$lab->wait_for('chicago', q{SELECT count(*) = 0 FROM pingpong.run WHERE state = 'running'}, 'the run to end', 60);

# the marks of a half rewound directory, beside one that a person has put in its place
system("$bin/pg_ctl", '-D', $data{dallas}, '-s', '-m', 'immediate', '-w', 'stop');
mkdir "$data{dallas}/pingpong.rejoin" or die;
mkdir "$data{dallas}/pingpong.rejoin/hidden" or die;
open my $mark, '>', "$data{dallas}/pingpong.rejoin/phase" or die;
print $mark '{"phase": "hidden", "run": "x", "leaving": 0, "coming": 4711, "parts": []}';
close $mark or die;
$lab->sql('chicago', q{SELECT pingpong.rebuild('dallas')});
streaming('chicago', 'dallas');
is((stat "$data{dallas}/PG_VERSION")[1], $inode, 'a mark of another directory is void');
ok(!-e "$data{dallas}/pingpong.rejoin", 'and removed');

# ---- an order that is old ----

$job = $lab->act('dallas', 'old', 50, 'pg.rejoin',
	{host => '127.0.0.1', port => 1, slot => 'pingpong_dallas', timeout_ms => 4000}, wait_ms => 0, step => 'rejoin');
$lab->until_true('the order to be on disk', sub { -s $lab->state_dir('dallas') . '/jobs/old/rejoin.json' });
$lab->kill9('agent', 'dallas');
my $limit = time + 4.2;
sleep 0.05 while time < $limit;
$lab->start_agent('dallas');
(undef, $job) = $lab->agent('dallas', '/v1/jobs/old/rejoin?wait_ms=20000');
like("$job->{state} $job->{error}{message}", qr/^failed .*the order is \d+ s old/,
	'an order whose time is over is not carried out by the next agent');

# ---- a start command that fails is no reason to copy a directory ----

my $sh = $lab->dir . '/start.sh';
open my $fh, '>', $sh or die;
print $fh "#!/bin/sh\necho there is no right to do this >&2\nexit 4\n";
close $fh or die;
chmod 0755, $sh or die;
open $fh, '>', $lab->dir . '/stop.sh' or die;
print $fh "#!/bin/sh\nexec $bin/pg_ctl -D \$1 -m immediate -s -w stop\n";
close $fh or die;
chmod 0755, $lab->dir . '/stop.sh' or die;

sub cannot_start
{
	my ($node) = @_;
	$lab->set_agent($node, control => 'command', start_command => $sh,
		stop_command => $lab->dir . "/stop.sh $data{$node}");
	kill 'HUP', $lab->pid('agent', $node);
	return;
}

cannot_start('dallas');
$lab->kill9('postgres', 'dallas');
my $err = refused('a start command that fails', 'chicago', q{SELECT pingpong.rebuild('dallas')}, '38000',
	qr/ended with status 4: there is no right to do this/);
is((stat "$data{dallas}/PG_VERSION")[1], $inode, 'a start command that fails: the directory is the same');
is($lab->sql('chicago', q{SELECT count(*) FROM pingpong.step WHERE detail->>'method' = 'basebackup'
	AND run = (SELECT max(id) FROM pingpong.run WHERE runbook <> 'realign')}), '0',
	'a start command that fails: no copy was made');
is($lab->sql('chicago', q{SELECT state || ' ' ||
			(sentence LIKE '"chicago" is the primary, but step rejoin of "dallas" failed: %rebuild(''dallas'')%')
		FROM pingpong.run ORDER BY id DESC LIMIT 1}),
	'stuck true', 'a start command that fails: the node is down, and that is not called rolled back');
$lab->set_agent('dallas', control => 'pg_ctl');
kill 'HUP', $lab->pid('agent', 'dallas');
$lab->sql('chicago', q{SELECT pingpong.rebuild('dallas')});
streaming('chicago', 'dallas');

# ---- a rejoin that fails again and again has pauses, and can be given up ----

cannot_start('chicago');
$lab->sql('chicago', q{SELECT pingpong.switchover('dallas')});
my $run = $lab->last_run('dallas');
$lab->wait_for('dallas', q{SELECT bool_or(attempt >= 4) FROM pingpong.progress WHERE action = 'rejoin'},
	'four attempts', 60);
my ($attempts, $seconds) = split /\|/, $lab->sql('dallas', q{SELECT attempt,
	extract(epoch FROM clock_timestamp() - started_at) FROM pingpong.progress WHERE action = 'rejoin'});
cmp_ok($seconds, '>', 3, 'the pauses between the attempts grow');
my $checkpoints = $lab->sql('dallas',
	q{SELECT count(*) FROM regexp_matches(pg_read_file(current_setting('data_directory') || '/../log'),
		'checkpoint starting: [^\n]*force', 'g')});
cmp_ok($checkpoints, '<', 8, 'they do not cost the new primary a checkpoint each');
refused('a run that is not there', 'dallas', 'SELECT pingpong.cancel(4711)', '55000',
	qr/run 4711 is not being worked on/);
$lab->sql('dallas', "SELECT pingpong.cancel($run)");
my ($state, $sentence) = $lab->settle($run, 30);
is($state, 'stuck', 'a run that is given up after its point of no return is stuck');
like($sentence, qr/"dallas" is the primary, but step rejoin of "chicago" failed: .*given up by pingpong.cancel\(\)/s,
	'and says what is left to do');
like($lab->sql('dallas', "SELECT pingpong.report($run)"), qr/rejoin +chicago +failed .*there is no right to do this/,
	'the report has the last words of the command');
$lab->set_agent('chicago', control => 'pg_ctl');
kill 'HUP', $lab->pid('agent', 'chicago');
$lab->sql('dallas', q{SELECT pingpong.rebuild('chicago')});
streaming('dallas', 'chicago');
is($lab->sql('dallas', "SELECT state FROM pingpong.run WHERE id = $run"), 'succeeded', 'a rebuild closes it');

# ---- a pid is not an identity ----

my $innocent = fork // die;
if ($innocent == 0) { exec 'sleep', '600' or POSIX::_exit(127); }
$lab->{children}{$innocent} = 1;
$lab->kill9('postgres', 'chicago');
my $pidfile = slurp("$data{chicago}/postmaster.pid");
for my $path ("$data{chicago}/postmaster.pid", $lab->dir . '/run/.s.PGSQL.' . $lab->env('PORT_chicago') . '.lock')
{
	my $text = slurp($path) =~ s/^\d+/$innocent/r;
	open my $out, '>', $path or die;
	print $out $text;
	close $out or die;
}
$lab->sql('dallas', q{SELECT pingpong.rebuild('chicago')});
streaming('dallas', 'chicago');
ok(kill(0, $innocent), 'the process that has the number now lives');
kill 'KILL', $innocent;
is(join(' ', $lab->primary), 'dallas', 'one primary at the end');

# ---- a sealed primary that is found to have more when it is stopped ----

$lab->sql('dallas', 'SELECT pingpong.quiesce()', 'SELECT pingpong.seal()');
$lab->sql('chicago', 'SELECT pg_promote(true, 30)');
$lab->sql('dallas', 'CHECKPOINT');
# the server remembers it, its files do not tell it
rename "$data{dallas}/pingpong.seal", "$data{dallas}/seal.away" or die;
my $stopped = 'The server was stopped to find that out, and stays down';
refused('a seal that cannot be read', 'chicago', q{SELECT pingpong.rebuild('dallas')}, '55000',
	qr/would be lost\. It has \d+ committed .*\. $stopped; to start it as it was: \S+pg_ctl -D \Q$data{dallas}\E /s);
rename "$data{dallas}/seal.away", "$data{dallas}/pingpong.seal" or die;
$lab->sql('chicago', q{SELECT pingpong.rebuild('dallas')});
streaming('chicago', 'dallas');
$lab->sql('chicago', 'SELECT pingpong.repoint()');
my $back = $lab->sql('chicago', q{SELECT run FROM pingpong.switchover('dallas')});
is(($lab->settle($back, 60))[0], 'succeeded', 'with its seal it needs no words, and can be moved to');
streaming('dallas', 'chicago');

# ---- a process of a server that is gone may still write to its files ----

if ($ENV{PINGPONG_ALL})
{
	my $frozen = $lab->sql('chicago', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});
	kill 'STOP', $frozen;
	$lab->kill9('postgres', 'chicago');
	refused('a frozen process of a server that is gone', 'dallas',
		q{SELECT pingpong.rebuild('chicago', 'basebackup')}, '55000',
		qr/processes of a server that is gone still use "\Q$data{chicago}\E"/);
	ok(kill(0, $frozen) && !-e "$data{chicago}/pingpong.rejoin/old",
		'a frozen process of a server that is gone: its files lie where they lay');
	kill 'KILL', $frozen;
	$lab->sql('dallas', q{SELECT pingpong.rebuild('chicago')});
	streaming('dallas', 'chicago');
}

# ---- what was judged before a long copy is judged again before the stop ----

sub command_line { my ($pid) = @_; open my $in, '<', "/proc/$pid/cmdline" or return ''; return scalar(<$in>) // ''; }

sub copiers
{
	return grep { command_line($_) =~ /pg_basebackup\0.*\Q$data{chicago}\E\/pingpong\.rejoin/ }
		map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
}

$lab->sql('dallas', 'INSERT INTO kept SELECT generate_series(1, 300000)');
my $copy = $lab->begin_sql('dallas', q{SELECT pingpong.rebuild('chicago', 'basebackup')});
$lab->until_true('the copy to begin', sub { my @pids = copiers(); return @pids && kill('STOP', @pids); });
$lab->sql('chicago', 'SELECT pg_promote(true, 30)', 'CREATE TABLE of_chicago AS SELECT generate_series(1, 1000) i');
$postmaster = $lab->pid('postgres', 'chicago');
kill 'CONT', copiers();
(undef, $err) = $lab->finish($copy, 60);
like($err, qr/^ERROR:  node "chicago" was promoted meanwhile/m, 'promoted while a copy is made: it is not stopped');
is($lab->pid('postgres', 'chicago') . ' ' . $lab->sql('chicago', 'SELECT count(*) FROM of_chicago'),
	"$postmaster 1000", 'promoted while a copy is made: it runs on');

# ---- the WAL of the fork is gone, because there is so much after it ----

my $fork = $lab->sql('chicago', 'CHECKPOINT',
	q{SELECT split_part(pg_read_file('pg_wal/' || lpad(upper(to_hex(timeline_id)), 8, '0') || '.history'), E'\t', -2)
		FROM pg_control_checkpoint()});
my $segment = "$data{dallas}/pg_wal/" . $lab->sql('dallas', "SELECT pg_walfile_name('$fork'::pg_lsn)");
ok(-e $segment, 'the segment of the fork is there at first');
$lab->sql('dallas', 'SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE NOT active',
	q{ALTER SYSTEM SET wal_keep_size = '0'}, 'SELECT pg_reload_conf()');
$lab->until_true('the segment to be recycled', sub {
	$lab->sql('dallas', 'INSERT INTO kept VALUES (5)', 'SELECT pg_switch_wal()', 'CHECKPOINT');
	return !-e $segment;
});
$lab->kill9('postgres', 'dallas');
refused('the WAL of the fork is gone', 'chicago', q{SELECT pingpong.rebuild('dallas')}, '55000',
	qr/"dallas" (has|may have) written WAL that .* does not have/);
$lab->sql('chicago', qq{SELECT pingpong.rebuild('dallas', 'basebackup', risk => '$words')});
streaming('chicago', 'dallas');

# ---- two timelines of the same number ----

# Without an archive each promotion takes the next number, whatever others have taken.
sub alone
{
	my ($node) = @_;
	system("$bin/pg_ctl", '-D', $data{$node}, '-s', '-m', 'fast', '-w', 'stop') == 0 or die;
	open my $out, '>>', "$data{$node}/postgresql.auto.conf" or die;
	print $out "primary_conninfo = ''\n";
	close $out or die;
	open $out, '>', "$data{$node}/standby.signal" or die;
	close $out;
	$lab->start_pg($node);
	return $lab->sql($node, 'SELECT pg_promote(true, 30)');
}
$lab->sql('dallas', 'SELECT pg_promote(true, 30)');
alone('chicago');
is($lab->sql('chicago', 'SELECT pg_walfile_name(pg_current_wal_lsn())') =~ s/.{16}$//r,
	$lab->sql('dallas', 'SELECT pg_walfile_name(pg_current_wal_lsn())') =~ s/.{16}$//r,
	'two timelines of the same number');
$lab->sql('chicago', 'CREATE TABLE only_here AS SELECT generate_series(1, 100) i');
$lab->sql('dallas', 'CREATE TABLE elsewhere AS SELECT generate_series(1, 100000) i');
alone('dallas');
system("$bin/pg_ctl", '-D', $data{chicago}, '-s', '-m', 'fast', '-w', 'stop') == 0 or die;
$lab->wait_for('dallas', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
for my $method (qw(auto basebackup))
{
	refused("two timelines of the same number, $method", 'dallas', "SELECT pingpong.rebuild('chicago', '$method')",
		'55000', qr/"chicago" is on a timeline that .* does not come from/);
}
$lab->start_pg('chicago');
is($lab->sql('chicago', 'SELECT count(*) FROM only_here'), '100',
	'two timelines of the same number: the rows are kept');
done_testing();
