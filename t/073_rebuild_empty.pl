# A standby is built from nothing by one call: into a folder that is absent, or empty, or has the node's own
# configuration; never over anything else.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, port => 19400);
my $data = $lab->env('PGDATA_dallas');
my $pgbin = $lab->env('PGBIN');
$lab->wait_for('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
$lab->sql('chicago', 'CREATE TABLE kept (i int)');

my $run = 0;

sub slurp { my ($file) = @_; open my $fh, '<', $file or die "$file: $!"; local $/; return <$fh>; }

# As root, the files are those of another user.
sub as_owner
{
	my @command = @_;
	my $uid = (stat $lab->dir . '/chicago/data')[4];
	unshift @command, 'setpriv', "--reuid=$uid", '--clear-groups' if $> == 0;
	system(@command) == 0 or die "@command failed";
	return;
}

sub wipe
{
	# not killed: while nobody has waited for such a one, its lock on the socket counts
	as_owner($lab->env('PGBIN') . '/pg_ctl', '-D', $data, '-s', '-m', 'immediate', '-w', 'stop')
		if -e "$data/postmaster.pid";
	as_owner('rm', '-rf', $data);
	return;
}

sub built
{
	my ($what) = @_;
	$run++;
	my ($out, $err, $rc) = $lab->try_sql('chicago', q{SELECT * FROM pingpong.rebuild('dallas')});
	is($out, "$run|succeeded", "$what: rebuild returns its row") or diag($err);
	is($lab->sql('chicago', "SELECT detail->>'method' FROM pingpong.step WHERE run = $run AND action = 'rejoin'"),
		'basebackup', "$what: by a base backup");
	$lab->sql('chicago', "INSERT INTO kept VALUES ($run)");
	$lab->wait_for('dallas', "SELECT EXISTS (SELECT FROM kept WHERE i = $run)", 'a row of the primary');
	is($lab->sql('dallas', q{SELECT pg_is_in_recovery(), current_setting('port'), pingpong.node_name(),
			current_setting('cluster_name'), (SELECT slot_name FROM pg_stat_wal_receiver)}),
		't|' . $lab->env('PORT_dallas') . '|dallas|dallas|pingpong_dallas', "$what: under its own name and port");
	is($lab->sql('dallas', q{SELECT current_setting('primary_conninfo') ~ 'application_name=.?dallas'}), 't',
		"$what: known by its name");
	is(join(' ', grep { !/pingpong\.peers$/ } glob("$data/pingpong.* $data.*")), '', "$what: no file is left over");
	return;
}

# ---- absent, empty, with files of its own ----

wipe();
built('an absent folder');
wipe();
as_owner('mkdir', '-m', '0700', $data);
built('an empty folder');
wipe();
as_owner('mkdir', '-m', '0700', $data);
as_owner('sh', '-c', 'cp "$1" "$2/postgresql.conf" && echo "$3" >>"$2/postgresql.conf"', 'sh',
	$lab->dir . '/chicago/data/postgresql.conf', $data,
	"port = " . $lab->env('PORT_dallas') . "\ncluster_name = 'dallas'\nwork_mem = '7MB'");
built('a folder with its configuration');
is($lab->sql('dallas', 'SHOW work_mem'), '7MB', 'and that stays');

# ---- somebody's files ----

wipe();
as_owner('mkdir', '-m', '0700', $data);
as_owner('sh', '-c', 'echo precious >"$1/letter"', 'sh', $data);
$run++;
my ($out, $err, $rc) = $lab->try_sql('chicago', q{SELECT * FROM pingpong.rebuild('dallas')});
isnt($rc, 0, 'a folder with something else in it is refused');
like($err, qr/has a data directory that does not tell its timeline/, 'and why');
is(slurp("$data/letter"), "precious\n", 'and it stays');
is(join(' ', map { s/.*\///r } glob("$data/*")), 'letter', 'alone') ;
as_owner('rm', "$data/letter");
built('after it was removed');

# ---- and it can become the primary, and the other one come back ----

($out, $err, $rc) = $lab->try_sql('chicago', q{SELECT run, state FROM pingpong.switchover('dallas')});
is($out, ++$run . '|switched', 'a switchover to what was built') or diag($err);
is(($lab->settle($run))[0], 'succeeded', 'and its end');
($out, $err, $rc) = $lab->try_sql('dallas', q{SELECT run, state FROM pingpong.switchover('chicago')});
is($out, ++$run . '|switched', 'and back') or diag($err);
is(($lab->settle($run))[0], 'succeeded', 'and its end');

done_testing();
