# An upgrade in place with tablespaces: in each location the new version has a folder beside the old one's. What is
# given up, on the way or by order, and what finalize clears away, is that of the one version; nobody else's. The
# standby has its locations elsewhere, and keeps them.
#
# PINGPONG_NEW_BIN is the folder of the new major's programs, with the extension installed (ci/upgrade gives it).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use File::Basename qw(basename);
use Lab;
use Test::More;

our $new_bin = $ENV{PINGPONG_NEW_BIN} // '';
plan skip_all => 'there is no other major (ci/upgrade runs this)' unless -x "$new_bin/pg_upgrade";
my $mode = $ENV{PINGPONG_UPGRADE_MODE} // 'copy';
my ($to) = `$new_bin/postgres --version` =~ /\) (\d+)/;
my $lab = Lab->up(poolers => 1, nodes => 2, port => 22700);
my ($from) = $lab->sql('chicago', 'SHOW server_version_num') =~ /^(\d+)\d{4}$/;
our %new = map { $_ => $lab->dir . "/$_/new" } qw(chicago dallas);
our $shm = "/dev/shm/pp-space.$$";

# They are none of the lab's.
END
{
	local $?;
	foreach my $data (grep { -e "$_/postmaster.pid" } values %new)
	{
		system("$new_bin/pg_ctl -D $data -m immediate stop >/dev/null 2>&1");
	}
	system('rm', '-rf', $shm);
}

sub run_ok { system(@_) == 0 or die "@_ failed"; return; }
sub text_of { my ($file) = @_; open my $fh, '<', $file or return ''; local $/; return <$fh> // ''; }

sub write_text
{
	my ($file, $text) = @_;
	open my $out, '>>', $file or die "$file: $!";
	print $out $text;
	return close $out;
}

# ---- two nodes with tablespaces, each in places of its own ----

my $bin = $lab->env('PGBIN');
my %space = map { my $home = $lab->dir . "/$_"; $_ => {fast => "$home/fast", slow => "$home/slow"} }
	qw(chicago dallas);
my $far = $mode ne 'clone' && -w '/dev/shm' && (stat '/dev/shm')[0] != (stat $lab->dir)[0];
$space{chicago}{slow} = $shm if $far;

# What people have there, and a server of yet another version.
foreach my $location (map { values %$_ } values %space) { mkdir $location, 0700 or die "$location: $!"; }
my $data = $lab->env('PGDATA_dallas');
$lab->sql('chicago', (map { "CREATE TABLESPACE $_ LOCATION '$space{chicago}{$_}'" } qw(fast slow)),
	'CREATE DATABASE other TABLESPACE fast', 'CREATE TABLE t (i int, x text) TABLESPACE slow',
	q{INSERT INTO t SELECT i, repeat('x', 50) FROM generate_series(1, 20000) i},
	'CREATE INDEX t_i ON t (i) TABLESPACE fast');
my $other = $lab->env('DSN_chicago') =~ s/dbname=\S+/dbname=other/r;
$lab->sql($other, 'CREATE TABLE u (i int PRIMARY KEY)', 'INSERT INTO u SELECT generate_series(1, 5000)');
run_ok("$bin/pg_ctl", '-D', $data, '-s', '-m', 'fast', '-w', 'stop');
rename $data, "$data.aside" or die $!;
run_ok("$bin/pg_basebackup", '-D', $data, '-d', $lab->env('DSN_chicago') =~ s/dbname=\S+//r, '-X', 'stream', '-c',
	'fast', '--no-sync', map { "--tablespace-mapping=$space{chicago}{$_}=$space{dallas}{$_}" } qw(fast slow));
run_ok('cp', "$data.aside/$_", "$data/$_")
	for qw(postgresql.conf pg_hba.conf pg_ident.conf postgresql.auto.conf standby.signal);
run_ok('rm', '-rf', "$data.aside");
$lab->start_pg('dallas');
foreach my $location (map { values %$_ } values %space)
{
	mkdir "$location/PG_14_202107181" or die $!;
	write_text("$location/$_", 'precious') for 'notes', 'PG_14_202107181/kept';
}

# The folders of versions in the locations of a node that are not as expected; "": all are.
sub wrong
{
	my ($node, @majors) = @_;
	my $expected = join ' ', 14, sort @majors;
	my @wrong;
	foreach my $location (values %{ $space{$node} })
	{
		my $found = join ' ', sort map { /PG_(\d+)_/ } glob "$location/PG_*";
		push @wrong, "$location has $found" if $found ne $expected;
		push @wrong, "$location has lost what was there" if grep { text_of("$location/$_") ne 'precious' }
			'notes', 'PG_14_202107181/kept';
		push @wrong, "left over: $_" foreach glob "$location/pingpong.* $location/.pingpong*";
	}
	return join '; ', @wrong;
}

# Read through the tables and through their indexes, with where they lie.
my $contents = q{SELECT (SELECT count(*) || ' ' || sum(i) || ' ' || sum(length(x)) FROM t),
	(SELECT string_agg(x, '') FROM t WHERE i BETWEEN 7 AND 8), (SELECT string_agg(relname || ' ' || spcname, ', '
	ORDER BY relname) FROM pg_class c JOIN pg_tablespace s ON s.oid = reltablespace WHERE relname ~ '^t(_i)?$')};
my $of_other = q{SELECT count(*), sum(i), (SELECT spcname FROM pg_database d JOIN pg_tablespace s
	ON s.oid = dattablespace WHERE datname = 'other'), (SELECT i FROM u WHERE i = 77) FROM u};
my $before = $lab->sql('chicago', $contents) . '|' . $lab->sql($other, $of_other);
like($before, qr/^20000 .*\|t slow, t_i fast\|5000\|12502500\|fast\|77$/, 'what is there');

sub whole
{
	my ($node, $what) = @_;
	my $its = $lab->env("DSN_$node") =~ s/dbname=\S+/dbname=other/r;
	is($lab->sql($node, 'SET enable_seqscan = off', $contents) . '|' . $lab->sql($its, 'SET enable_seqscan = off',
		$of_other), $before, "$what: all is there on $node");
	is(join(' ', sort map { readlink } glob $lab->sql($node, 'SHOW data_directory') . '/pg_tblspc/*'),
		join(' ', sort values %{ $space{$node} }), "$what: in the places of $node");
	return;
}

sub version
{
	my ($node) = @_;
	return $lab->sql($node, q{SELECT current_setting('server_version_num')::int / 10000});
}

sub gate { return $lab->sql('chicago', 'SELECT state FROM pingpong.gate'); }

sub streams
{
	my ($primary, $standby) = @_;
	return eval { $lab->wait_for($primary, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'
		AND application_name = '$standby' AND replay_lsn >= pg_current_wal_insert_lsn()", 'the standby') };
}

sub serves
{
	my ($major, $what) = @_;
	is(version('chicago') . ' ' . gate(), "$major open", "$what: chicago serves");
	ok(streams('chicago', 'dallas'), "$what: dallas streams") or diag($@);
	is(version('dallas'), $major, "$what: and is of the same version");
	whole($_, $what) foreach 'chicago', 'dallas';
	return;
}

# ---- what cannot work ----

sub instances { my ($node) = @_; return @{ $lab->act($node, 'r', 0, 'facts')->{results}[0]{instances} }; }

sub configure
{
	my ($node, $name, $text) = @_;
	write_text($lab->agent_dir($node) . '/agent.ini', $text);
	kill 'HUP', $lab->pid('agent', $node);
	return $lab->until_true("instance $name", sub { grep { $_->{name} eq $name } instances($node) });
}

my $options = "\"runbook\": \"upgrade\", \"to_version\": $to";
$lab->set_agent('chicago', snapshot => 'command /bin/true');
configure($_, 'next', "\n[postgresql.next]\ndata = $new{$_}\nbin = $new_bin\nsuccessor = yes\n")
	foreach 'chicago', 'dallas';

sub preflight
{
	my ($name, $as) = @_;
	$as //= $mode;
	return $lab->sql('chicago', qq[SELECT status || ' ' || node || ': ' || detail
		FROM pingpong.preflight('chicago', '{$options, "mode": "$as"}') WHERE name = '$name' ORDER BY 1]);
}

sub says
{
	my ($pattern, $what, $then) = @_;
	like(preflight('upgrade_tablespaces'), $pattern, $what);
	$then->();
	unlike(preflight('upgrade_tablespaces'), qr/^fail/m, "$what: put right");
	return;
}

is(preflight('upgrade_tablespaces'), join("\n", map { "ok $_: the new version can have its folder in the locations "
	. 'of 2' } 'chicago', 'dallas'), 'tablespaces that are fit');
like(preflight('upgrade_tablespaces', 'clone'), qr{^fail\ chicago:\ tablespace\ "slow":\ mode\ "clone"\ is\ not
	\ possible\ in\ "$shm":\ }mx, 'no reflinks in one of them') if $far;
my $rooms = $far && $mode eq 'copy' ? 2 : 1;
is(scalar(() = preflight('upgrade_disk_space') =~ /^ok chicago: the new server needs /mg), $rooms,
	'room: in each file system');
foreach my $node ('chicago', 'dallas')
{
	my $left = "$space{$node}{fast}/PG_${to}_202501011";
	mkdir $left or die $!;
	says(qr/^fail $node: tablespace "fast": "[^"]*fast" has "PG_${to}_202501011" in it already$/m,
		"a folder of the new version at $node", sub { rmdir $left or die $! });
	chmod 0500, $space{$node}{slow} or die $!;
	says(qr/^fail $node: tablespace "slow": the agent may not change "[^"]*": Permission denied$/m,
		"a location that cannot be written at $node", sub { chmod 0700, $space{$node}{slow} or die $! });
}
my $old_data = $lab->env('PGDATA_chicago');
mkdir "$old_data/inside" or die $!;
symlink "$old_data/inside", $lab->dir . '/outside' or die $!;
# the standby would have it in the same place: it comes and goes there when it is dropped here
my @inside = ('SELECT pg_wal_replay_pause()', 'SELECT pg_wal_replay_resume()');
$lab->sql('dallas', $inside[0]);
$lab->sql('chicago', 'CREATE TABLESPACE near LOCATION \'' . $lab->dir . '/outside\'');
says(qr/^fail chicago: tablespace "near": it lies in the data directory: "[^"]*outside"$/m,
	'a tablespace in the data directory', sub { $lab->sql('chicago', 'DROP TABLESPACE near') });
$lab->sql('dallas', $inside[1]);
ok(streams('chicago', 'dallas'), 'the standby goes on') or diag($@);
rmdir "$old_data/inside" or die $!;

# What a run ends with: state and sentence, and what the caller saw.
sub run_of
{
	my ($sql, $during) = @_;
	my $last = $lab->sql('chicago', 'SELECT coalesce(max(id), 0) FROM pingpong.run');
	my $job = $lab->begin_sql('chicago', '\set VERBOSITY verbose', $sql);
	$during->() if $during;
	my (undef, $err) = $lab->finish($job, 300);
	my $made = $lab->run_said($err, $last);
	my @end = $err =~ /^ERROR/m && !$during ? ('refused', $err) : $lab->settle($made, 300);
	return ($made, "$end[0] $end[1]", $err);
}

my $upgrade = "SELECT * FROM pingpong.upgrade('chicago', to_version => $to, mode => '$mode', jobs => 2)";
my ($run, $end, $err);
if ($mode eq 'link')
{
	(undef, undef, $err) = run_of($upgrade);
	like($err, qr/55000: a snapshot of "[^"]*" would not have "[^"]*"/, 'a snapshot that cannot have them: refused');
	is(join(' ', glob "$new{chicago}/* $new{dallas}/*"), '', 'a snapshot that cannot have them: nothing was made');
}
run_ok('sed', '-i', '/^snapshot = /d; s/^\[postgresql\.next\]/[postgresql.later]/',
	$lab->agent_dir('chicago') . '/agent.ini');
configure('chicago', 'later', '');
is(wrong($_, $from), '', "nothing was touched at $_") foreach 'chicago', 'dallas';

# ---- it goes back on the way ----

my $load = $lab->writers(rate => 30);

sub flows
{
	my ($what) = @_;
	$load->mark($what);
	return ok($lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }), "$what: writes flow");
}

# pg_upgrade in the window, when it has begun with the tablespaces
sub in_the_middle
{
	$lab->until_true('the new version in a tablespace', sub { glob "$space{chicago}{fast}/PG_${to}_*/*" }, 60);
	return grep { text_of("/proc/$_/cmdline") =~ /^\Q$new_bin\E\/pg_upgrade\0/ && text_of("/proc/$_/cmdline")
		=~ /\Q$new{chicago}\E/ } map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
}

foreach my $killed ('pg_upgrade', 'the agent')
{
	(undef, $end, $err) = run_of($upgrade, sub {
		my @tools = in_the_middle();
		if ($killed eq 'pg_upgrade') { kill 'KILL', @tools; }
		else
		{
			$lab->kill9('agent', 'chicago');
			$lab->start_agent('chicago');
		}
	});
	like($end, qr/^rolled_back /, "$killed is killed: it goes back") or diag($err);
	is(wrong($_, $from), '', "$killed is killed: nothing of it is left at $_") foreach 'chicago', 'dallas';
	serves($from, "$killed is killed");
	flows("$killed is killed");
}

# ---- it goes through ----

sub goes_through
{
	my ($what) = @_;
	($run, $end, $err) = run_of($upgrade);
	is($end, 'succeeded done', $what) or BAIL_OUT($err);
	is(wrong($_, $from, $to), '', "$what: both versions have their folders at $_") foreach 'chicago', 'dallas';
	serves($to, $what);
	return flows($what);
}
goes_through('upgraded');

# ---- back by order, and anew ----

my $risk = "risk => 'its own writes are lost'";
if ($mode ne 'link')
{
	$lab->sql('chicago', 'DELETE FROM t WHERE i > 100', 'CREATE TABLE lost (i int) TABLESPACE fast');
	$lab->finish($lab->begin_sql('chicago', "SELECT * FROM pingpong.rollback($run, $risk)"), 300);
	my @over = $lab->settle($run, 300);
	is($over[0], 'rolled_back', "taken back: $over[1]");
	(undef, $end, $err) = run_of(q{SELECT * FROM pingpong.rebuild('dallas')});
	is($end, 'succeeded done', 'taken back: so is the standby') or diag($err);
	serves($from, 'taken back');
	is(wrong($_, $from, $to), '', "taken back: what the new server wrote is there at $_") foreach 'chicago', 'dallas';

	# of the same major, and of another catalog version
	my $stranger = "$space{chicago}{slow}/PG_${to}_202501011";
	mkdir $stranger or die $!;
	(undef, $end, $err) = run_of("SELECT * FROM pingpong.finalize($run)");
	is($end, 'succeeded done', 'taken back, finalized') or diag($err);
	is(join(' ', map { glob "$new{$_}/*" } keys %new), '', 'taken back, finalized: the new data is gone');
	rmdir $stranger or fail("taken back, finalized: $stranger: $!");
	is(wrong($_, $from), '', "taken back, finalized: and only its folders at $_") foreach 'chicago', 'dallas';
	serves($from, 'taken back, finalized');
	goes_through('upgraded again');
}

# ---- both versions are there ----

# What is rebuilt meanwhile takes nothing from the old one. It has diverged, which is what pg_rewind is for.
$lab->sql('dallas', 'SELECT pg_promote(true, 30)', 'CREATE TABLE of_dallas (i int) TABLESPACE fast');
(undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose',
	"SELECT * FROM pingpong.rebuild('dallas', 'rewind', $risk)");
like($err, qr/55000: a rewind is not possible: "[^"]*" has "PG_${from}_\d+" of another server in it/,
	'a rewind would take what is of the old version');
(undef, $end, $err) = run_of("SELECT * FROM pingpong.rebuild('dallas', $risk)");
is($end, 'succeeded done', 'copied again') or diag($err);
is($lab->sql('chicago', q{SELECT detail ->> 'method', detail ->> 'fallbacks' ~ '^\["rewind: ' FROM pingpong.step
	WHERE action = 'rejoin' ORDER BY run DESC LIMIT 1}), 'basebackup|t', 'copied again: instead of a rewind');
is(wrong('dallas', $from, $to), '', 'copied again: the old version has its folders still');
serves($to, 'copied again');
foreach my $node ('dallas', 'chicago')
{
	my $primary = $node eq 'dallas' ? 'chicago' : 'dallas';
	my $before = $lab->last_run($primary);
	(undef, $err) = $lab->try_sql($primary, "SELECT state FROM pingpong.switchover('$node')");
	my @over = $lab->settle($lab->run_said($err, $before), 120);
	is("$over[0] $over[1]", 'succeeded done', "moved to $node") or diag($err);
	ok(streams($node, $primary), "moved to $node: the other one follows") or diag($@);
	whole($_, "moved to $node") foreach 'chicago', 'dallas';
}

# ---- the end of it ----

(undef, $end, $err) = run_of("SELECT * FROM pingpong.finalize($run)");
is($end, 'succeeded done', 'finalized') or diag($err);
is(join(' ', map { glob $lab->env("PGDATA_$_") . '/*' } keys %new), '', 'finalized: the old data is gone');
is(wrong($_, $to), '', "finalized: and only its folders at $_") foreach 'chicago', 'dallas';
serves($to, 'finalized');
flows('finalized');
is($load->verify('chicago')->{lost}, 0, 'nothing acknowledged is lost') if $mode eq 'link';
is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');
done_testing();
