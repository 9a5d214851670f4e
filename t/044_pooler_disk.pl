# A full disk under the pooler's file: found while nothing has changed, and no matter once the next version is there.
# In a mount namespace of its own, with a small tmpfs.
use strict;
use warnings;
use File::Temp qw(tempdir);
use FindBin;
use lib $FindBin::RealBin;
use Mounts;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, poolers => 1, port => 19500);
my $small = tempdir('pingpong-small-XXXXXX', TMPDIR => 1, CLEANUP => 0);
my $file = "$small/dbs.ini";
my $backends = $lab->env('BACKENDS_1');
my $rw = $lab->env('RW_DSN');

sub slurp { my ($path) = @_; open my $fh, '<:raw', $path or die "$path: $!"; local $/; return scalar <$fh>; }
sub beside { return join ' ', map { s{.*/}{}r } grep { !m{/\.\.?$} } glob "$small/* $small/.*"; }

# All pages but so many are taken.
sub fill
{
	my ($free) = @_;
	open my $fh, '>', "$small/ballast" or die "$small/ballast: $!";
	1 while syswrite $fh, 'x' x 4096;
	close $fh;
	truncate "$small/ballast", (-s "$small/ballast") - $free * 4096 if $free;
	return;
}

plan skip_all => "no tmpfs can be mounted: $!" unless Mounts::tmpfs($small, 'size=64k,mode=0777');

my $text = slurp($backends) . join '', map { "; a line of a long file, number $_\n" } 1 .. 150;
open my $fh, '>', $file or die;
print $fh $text;
close $fh or die;
chmod 0600, $file;
chown +(stat $backends)[4, 5], $file;
unlink $backends;
symlink $file, $backends or die;
$lab->sql($lab->env('ADMIN_DSN_1'), 'RELOAD');

# ---- full before the run, or half written ----

for my $free (0, 1)		# the file has two pages
{
	fill($free);
	my (undef, $err, $rc) = $lab->try_sql('chicago', q{SELECT * FROM pingpong.switchover('dallas')});
	isnt($rc, 0, "$free pages free: no switchover");
	like($err, qr/^ERROR:  .*PgBouncer "main".*No space left on device/m, "$free pages free: the reason");
	unlike($err, qr/NOTICE:  pause/, "$free pages free: before the blackout");
	is(slurp($file), $text, "$free pages free: the file is as before");
	is(beside(), 'ballast dbs.ini', "$free pages free: nothing is left beside it");
	is($lab->sql($rw, 'SELECT inet_server_port()'), $lab->env('PORT_chicago'),
		"$free pages free: clients are where they were");
}

# ---- full between the preparations and the commit ----

my ($from, $to) = qw(chicago dallas);
for my $i (1, 2)
{
	unlink "$small/ballast";
	$lab->set($from, 'pingpong.debug_pause_after', 'wal_align');
	my $call = $lab->begin_sql($from, "SELECT run, state FROM pingpong.switchover('$to', max_blackout => '60 s')");
	$lab->wait_for($from, q{SELECT count(*) = 1 FROM pingpong.progress WHERE run_state = 'running'
		AND action = 'wal_align' AND state = 'succeeded'}, 'the run to stand behind its preparations');
	is(beside(), 'dbs.ini .dbs.ini.pingpong-next', "full later, $i: the next version is there");
	fill(0);
	$lab->set($from, 'pingpong.debug_pause_after', undef);
	my ($out, $err, $rc) = $lab->finish($call, 60);
	like($out, qr/^\d+\|switched$/, "full later, $i: switched all the same") or diag($err);
	my ($run) = $out =~ /^(\d+)/ or die 'no run';
	# the routes for reads have no preparation: theirs may fail, and the run says so
	my ($state, $sentence) = $lab->settle($run);
	like("$state $sentence", qr/^succeeded done(, but step repoint of "ro1" failed: .*No space left|$)/,
		"full later, $i: succeeded");
	is($lab->sql($rw, 'SELECT inet_server_port()'), $lab->env("PORT_$to"), "full later, $i: the route points to $to");
	like(slurp($file), qr/^app = .* port=@{[$lab->env("PORT_$to")]}$/m, "full later, $i: as the file says");
	is(beside(), 'ballast dbs.ini', "full later, $i: nothing is left beside it");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$from' AND state = 'streaming'", "$from to stream");
	($from, $to) = ($to, $from);
}
done_testing();
