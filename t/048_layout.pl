# A data directory that is a link to another disk, with the configuration in a folder of its own (as Debian has it),
# WAL elsewhere and a tablespace, on both nodes: there and back, rewound, copied again, with the agent killed in
# between. Everything stays where it is, and what cannot work is refused while the server runs.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;
use Time::HiRes qw(sleep time);

my $lab = Lab->up(fast => 1, port => 26700);
my $bin = $lab->env('PGBIN');
my $words = 'its own writes are lost';
$lab->wait_for($_, 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker') for $lab->nodes;

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$standby' AND state = 'streaming'", "$standby to stream", 60);
}

sub run_ok { system(@_) == 0 or die "@_ failed"; return; }
sub home { my ($node) = @_; return $lab->dir . "/$node"; }

sub stop
{
	my ($node) = @_;
	return run_ok("$bin/pg_ctl", '-D', $lab->env("PGDATA_$node"), '-s', '-m', 'fast', '-w', 'stop');
}

# The first start is by hand, with options on the command line; the agent keeps them.
sub start
{
	my ($node) = @_;
	my $home = home($node);
	return run_ok("$bin/pg_ctl", '-D', $lab->env("PGDATA_$node"), '-s', '-w', '-l', "$home/log", '-o',
		"-c config_file=$home/etc/postgresql.conf -c work_mem=9MB", 'start');
}

sub rearrange
{
	my ($node) = @_;
	my ($home, $data) = (home($node), $lab->env("PGDATA_$node"));
	mkdir "$home/$_" or die for qw(etc etc/conf.d disk waldisk);
	rename "$data/$_", "$home/etc/$_" or die for qw(postgresql.conf pg_hba.conf pg_ident.conf);
	open my $conf, '>>', "$home/etc/postgresql.conf" or die;
	print $conf "data_directory = '$data'\nhba_file = '$home/etc/pg_hba.conf'\n"
		. "ident_file = '$home/etc/pg_ident.conf'\ninclude_dir = 'conf.d'\n";
	close $conf or die;
	open $conf, '>', "$home/etc/conf.d/site.conf" or die;
	print $conf "maintenance_work_mem = '77MB'\n";
	close $conf or die;
	rename $data, "$home/disk/main" or die;
	symlink "$home/disk/main", $data or die;
	rename "$home/disk/main/pg_wal", "$home/waldisk/wal" or die;
	symlink "$home/waldisk/wal", "$home/disk/main/pg_wal" or die;
	return;
}

sub command_line { my ($pid) = @_; open my $in, '<', "/proc/$pid/cmdline" or return ''; return scalar(<$in>) // ''; }

sub copiers
{
	my ($node) = @_;
	my $place = $lab->env("PGDATA_$node") . '/pingpong.rejoin';
	return grep { command_line($_) =~ /pg_basebackup\0.*\Q$place\E/ } map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
}

# They wait for a source that is slow, and so outlive their agent. They are stopped only until that is so: the kernel
# ends a stopped one when its agent dies. Gives both lists.
sub slow_copiers
{
	my ($node, $source) = @_;
	my @copiers = copiers($node) or return ([], []);
	kill 'STOP', @copiers;
	my @senders = split /\s+/, $lab->sql($source,
		q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender' AND application_name ~ 'basebackup'});
	kill 'STOP', @senders;
	kill 'CONT', @copiers;
	return (\@copiers, \@senders);
}

# ---- both nodes, laid out like that ----

my %space = map { $_ => home($_) . '/space' } $lab->nodes;
mkdir $_ or die for values %space;
stop('dallas');
$lab->sql('chicago', "CREATE TABLESPACE fast LOCATION '$space{chicago}'",
	'CREATE TABLE kept (i int, t text) TABLESPACE fast',
	q{INSERT INTO kept SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i}, 'CREATE TABLE plain (i int)');
rename $lab->env('PGDATA_dallas'), home('dallas') . '/old' or die;
run_ok("$bin/pg_basebackup", '-D', $lab->env('PGDATA_dallas'), '-d', $lab->env('DSN_chicago') =~ s/dbname=\S+//r,
	'-X', 'stream', '-c', 'fast', '--no-sync',
	"--tablespace-mapping=$space{chicago}=$space{dallas}");
run_ok('cp', home('dallas') . "/old/$_", $lab->env('PGDATA_dallas') . "/$_")
	for qw(postgresql.conf pg_hba.conf pg_ident.conf postgresql.auto.conf standby.signal);
run_ok('rm', '-rf', home('dallas') . '/old');
rearrange('dallas');
start('dallas');
streaming('chicago', 'dallas');
stop('chicago');
rearrange('chicago');
start('chicago');
streaming('chicago', 'dallas');
$lab->wait_for('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
my $load = $lab->writers(writers => 2, rate => 50);

sub layout_is_kept
{
	my ($node, $what) = @_;
	my ($home, $data) = (home($node), $lab->env("PGDATA_$node"));
	is(readlink $data, "$home/disk/main", "$what: the data directory is the link that it was");
	is(readlink "$data/pg_wal", "$home/waldisk/wal", "$what: WAL lies on its disk");
	is(join(' ', map { readlink } glob "$data/pg_tblspc/*"), $space{$node},
		"$what: the tablespace lies where it lay");
	is(join(' ', grep { -e && !/pingpong\.peers$/ } glob("$data/pingpong.* $home/waldisk/wal/pingpong.* "
		. "$space{$node}/pingpong.* $home/disk/main.* $home/data.*")), '', "$what: nothing is left over");
	is($lab->sql($node, q{SELECT current_setting('config_file'), current_setting('work_mem'),
			current_setting('maintenance_work_mem')}),
		"$home/etc/postgresql.conf|9MB|77MB",
		"$what: configuration, included files and the options of the command line are kept");
	is($lab->sql($node, 'SELECT count(*), sum(length(t)) FROM kept'), '5000|500000',
		"$what: the table in the tablespace is whole");
	return;
}

# ---- there and back ----

my ($from, $to) = qw(chicago dallas);
for my $turn (1 .. 2)
{
	my $run = $lab->sql($from, "SELECT run FROM pingpong.switchover('$to')");
	my ($state, $sentence) = $lab->settle($run);
	is("$state $sentence", 'succeeded done', "switchover to $to");
	streaming($to, $from);
	layout_is_kept($from, "switchover to $to, $from");
	($from, $to) = ($to, $from);
}

# ---- rewound, copied ----

sub rebuilt
{
	my ($what, $method, $took, $risk) = @_;
	my ($out, $err, $rc) = $lab->try_sql('chicago',
		"SELECT run FROM pingpong.rebuild('dallas', '$method'" . ($risk ? ", risk => '$risk')" : ')'));
	is($rc, 0, "$what: rebuild") or diag($err);
	is($lab->sql('chicago', 'SELECT detail->>\'method\' FROM pingpong.step WHERE action = \'rejoin\'
		ORDER BY run DESC LIMIT 1'), $took, "$what: by $took");
	streaming('chicago', 'dallas');
	layout_is_kept('dallas', $what);
	return;
}

sub diverge
{
	return $lab->sql('dallas', 'SELECT pg_promote(true, 30)', q{INSERT INTO kept SELECT i, 'of dallas'
		FROM generate_series(1, 2000) i}, 'CREATE TABLE of_dallas (i int) TABLESPACE fast');
}

diverge();
rebuilt('promoted by hand', 'auto', 'rewind', $words);
diverge();
$lab->kill9('postgres', 'dallas');
rebuilt('promoted by hand and killed', 'rewind', 'rewind', $words);
my $started = $lab->sql('dallas', 'SELECT pg_postmaster_start_time()');
rebuilt('a healthy standby, copied anew', 'basebackup', 'basebackup');
isnt($lab->sql('dallas', 'SELECT pg_postmaster_start_time()'), $started,
	'a healthy standby, copied anew: it runs on the copy');

# ---- the agent dies in the middle, and the next one goes on ----

my @moments = (['the copy', sub { -e $lab->env('PGDATA_dallas') . '/pingpong.rejoin/new/PG_VERSION' }, 'basebackup'],
	['the exchange', sub { -e $lab->env('PGDATA_dallas') . '/pingpong.rejoin/old' }, 'basebackup'],
	['hiding', sub { -e $lab->env('PGDATA_dallas') . '/pingpong.rejoin/hidden' }, 'rewind'],
	['pg_rewind', sub { -e $lab->env('PGDATA_dallas') . '/pingpong.rejoin/hidden/PG_VERSION'
		&& !-e $lab->env('PGDATA_dallas') . '/pingpong.rejoin/hidden/standby.signal' }, 'rewind'],
	# it must not be recovered by itself from here on: that would end in records that the source does not have
	['the end of pg_rewind', sub { -e $lab->env('PGDATA_dallas') . '/pingpong.rejoin/hidden/backup_label' },
		'rewind']);
for my $moment (@moments)
{
	my ($name, $reached, $method) = @$moment;
	diverge() if $method eq 'rewind';
	my $job = $lab->begin_sql('chicago',
		"SELECT run FROM pingpong.rebuild('dallas', '$method'" . ($method eq 'rewind' ? ", risk => '$words')" : ')'));
	# it may be over before it is seen
	my $limit = time + 30;
	while (!$reached->() && $lab->running($job) && time < $limit) { select undef, undef, undef, 0.002; }
	my ($left, $source) = $name eq 'the copy' ? slow_copiers('dallas', 'chicago') : ([], []);
	$lab->kill9('agent', 'dallas');
	note("$name: copiers that outlive the agent: " . grep { !$lab->gone($_) } @$left) if $name eq 'the copy';
	$lab->start_agent('dallas');
	my (undef, $err, $rc) = $lab->finish($job, 90);
	if ($rc != 0 && $err =~ /\/pg_rewind" ended with status/)
	{
		# killed when it had removed WAL or a history file of its target, it cannot be repeated; the next rebuild
		# makes a copy
		note("killed in $name: $err");
		(undef, $err, $rc) = $lab->try_sql('chicago', "SELECT run FROM pingpong.rebuild('dallas', risk => '$words')");
	}
	is($rc, 0, "killed in $name: the rebuild ends well") or diag($err);
	is(join(' ', grep { !$lab->gone($_) } @$left), '',
		"killed in $name: no copier is left of the agent that is gone");
	kill 'CONT', @$source if @$source;
	streaming('chicago', 'dallas');
	layout_is_kept('dallas', "killed in $name");
}

# ---- what cannot work is refused while the server runs ----

chmod 0500, $space{dallas} or die;
my $postmaster = $lab->pid('postgres', 'dallas');
my (undef, $err, $rc) = $lab->try_sql('chicago', '\set VERBOSITY verbose',
	q{SELECT pingpong.rebuild('dallas', 'basebackup')});
like($err, qr/^ERROR:  55000: a base backup is not possible: the agent may not change "[^"]*\/pg_tblspc\/\d+"/m,
	'a tablespace that cannot be written: refused') or diag($err);
is($lab->pid('postgres', 'dallas'), $postmaster, 'a tablespace that cannot be written: the standby runs on');
streaming('chicago', 'dallas');
chmod 0700, $space{dallas} or die;

is($load->verify('chicago')->{lost}, 0, 'nothing acknowledged is lost');
is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');
# ---- a tablespace that the source has dropped ----

$lab->kill9('postgres', 'dallas');
$lab->sql('chicago', 'ALTER TABLE ALL IN TABLESPACE fast SET TABLESPACE pg_default', 'DROP TABLESPACE fast');
is(($lab->try_sql('chicago', q{SELECT pingpong.rebuild('dallas', 'basebackup')}))[2], 0,
	'a tablespace that the source has dropped: rebuild');
streaming('chicago', 'dallas');
is(join(' ', glob("$space{dallas}/*")), '', 'a tablespace that the source has dropped: nothing of it is left');
done_testing();
