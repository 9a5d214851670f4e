# The data directory is a mount point: it can be neither renamed nor removed, and is rebuilt where it is. In a mount
# namespace of its own.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Mounts;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, port => 25600);
my $bin = $lab->env('PGBIN');
my $data = $lab->env('PGDATA_dallas');

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary, "SELECT count(*) = 1 FROM pingpong.standby
		WHERE name = '$standby' AND state = 'streaming'", "$standby to stream", 60);
}

sub device { my ($path) = @_; return (stat $path)[0]; }

sub is_mount_point
{
	my ($what) = @_;
	isnt(device($data), device("$data/.."), "$what: it is a mount point still");
	return;
}

my $load = $lab->writers(writers => 2, rate => 50);
system("$bin/pg_ctl", '-D', $data, '-s', '-m', 'fast', '-w', 'stop') == 0 or die;
my ($uid, $gid) = (stat $data)[4, 5];
rename $data, "$data.before" or die;
mkdir $data or die;
my $options = $> == 0 ? "size=900m,mode=0700,uid=$uid,gid=$gid" : 'size=900m,mode=0700';
unless (Mounts::tmpfs($data, $options))
{
	diag("no tmpfs can be mounted: $!");
	rmdir $data;
	rename "$data.before", $data;
	plan skip_all => 'no tmpfs can be mounted';
}
system('cp', '-a', "$data.before/.", "$data/") == 0 or die;
$lab->start_pg('dallas');
streaming('chicago', 'dallas');
is_mount_point('at first');

$lab->sql('chicago', q{SELECT pingpong.rebuild('dallas', 'basebackup')});
streaming('chicago', 'dallas');
is_mount_point('a base backup');
my ($out, $err) = $lab->try_sql('chicago', q{SELECT run FROM pingpong.switchover('dallas')});
is(join(' ', ($lab->settle($out, 120))[0, 1]), 'succeeded done', 'there') or diag($err);
streaming('dallas', 'chicago');
($out, $err) = $lab->try_sql('dallas',
	q{SELECT run FROM pingpong.switchover('chicago', options => '{"method": "rewind"}')});
is(join(' ', ($lab->settle($out, 120))[0, 1]), 'succeeded done', 'and back') or diag($err);
streaming('chicago', 'dallas');
like($lab->sql('chicago', "SELECT message FROM pingpong.step WHERE run = $out AND action = 'rejoin'"), qr/^by rewind/,
	'and back: by pg_rewind');
is_mount_point('pg_rewind');
ok(!-e "$data/pingpong.rejoin", 'nothing is left of the work');

# one inside of it stops the move in its middle: it is refused before the server is stopped
my $inside = "$data/inside";
mkdir $inside or die;
Mounts::tmpfs($inside, $options) or die "no tmpfs: $!";
my $postmaster = $lab->pid('postgres', 'dallas');
(undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose',
	q{SELECT pingpong.rebuild('dallas', 'basebackup')});
like($err, qr/^ERROR:  55000: a base backup is not possible: "[^"]*\/inside" is a mount point/m,
	'a mount point inside: refused');
is($lab->pid('postgres', 'dallas'), $postmaster, 'a mount point inside: the standby runs on');
Mounts::umount($inside);
rmdir $inside or die;

# killed in the middle: it is continued
my $job = $lab->begin_sql('chicago', q{SELECT pingpong.rebuild('dallas', 'basebackup')});
$lab->until_true('the copy', sub { -e "$data/pingpong.rejoin/new/PG_VERSION" || !$lab->running($job) }, 60);
$lab->kill9('agent', 'dallas');
$lab->start_agent('dallas');
$lab->finish($job, 120);
streaming('chicago', 'dallas');
is_mount_point('killed in the middle');

is($load->verify('chicago')->{lost}, 0, 'nothing acknowledged is lost');
is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');
system("$bin/pg_ctl", '-D', $data, '-s', '-m', 'immediate', '-w', 'stop');
done_testing();
