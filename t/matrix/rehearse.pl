# A rehearsal: an upgrade and its way back on a clone that nobody reaches and that reaches nobody. What it finds stops
# the real upgrade; what it took is the plan's estimate. Nothing of it stays, however it ends.
#
# PINGPONG_NEW_BIN is the folder of the new major's programs, with the extension installed (ci/upgrade gives it).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
our $small;
BEGIN
{
	$small = $ENV{PINGPONG_OWN_MOUNTS};		# ci/upgrade makes a namespace for it
	require Mounts if $small;				# before the others: what is loaded later ends first
}
use Lab;
use Test::More;

our $new_bin = $ENV{PINGPONG_NEW_BIN} // '';
plan skip_all => 'there is no other major (ci/upgrade runs this)' unless -x "$new_bin/pg_upgrade";
my $mode = $ENV{PINGPONG_UPGRADE_MODE} // 'copy';
my ($to) = `$new_bin/postgres --version` =~ /\) (\d+)/;
my $archive = "/tmp/pp-archive.$$";
mkdir $archive or die "$archive: $!";
my $lab = Lab->up(poolers => 1, nodes => 2, port => 22900,
	set => ['archive_mode=on', "archive_command=test ! -f $archive/%f && cp %p $archive/%f"]);
my %new = map { $_ => $lab->agent_dir($_) . '/new' } qw(chicago dallas);
my $place = $lab->agent_dir('chicago') . '/room';
my $folder = "$place/pingpong.rehearsal";
my $options = qq({"to_version": $to, "mode": "$mode"});

# The servers behind an upgrade are none of the lab's.
END
{
	local $?;
	system('rm', '-rf', "/tmp/pp-archive.$$");
	foreach my $data (grep { -e "$_/postmaster.pid" } values %new, "$folder/old", "$folder/new")
	{
		system("$new_bin/pg_ctl -D $data -m immediate stop >/dev/null 2>&1");
	}
}

sub configure
{
	my ($node, $more) = @_;
	my $file = $lab->agent_dir($node) . '/agent.ini';
	open my $ini, '>>', $file or die "$file: $!";
	print $ini "\n[postgresql.next]\ndata = $new{$node}\nbin = $new_bin\nsuccessor = yes\n$more";
	close $ini or die $!;
	kill 'HUP', $lab->pid('agent', $node);
	return $lab->until_true('the successor to be known',
		sub { grep { $_->{name} eq 'next' } @{ $lab->act($node, 'r', 0, 'facts')->{results}[0]{instances} } });
}

sub rehearse
{
	my ($out, $err) = $lab->finish($lab->begin_sql('chicago', '\set VERBOSITY verbose',
		"SELECT * FROM pingpong.rehearse('upgrade', 'chicago', '$options')"), 300);
	return ($out, $err);
}

sub told
{
	my ($columns) = @_;
	return $lab->sql('chicago', "SELECT $columns FROM pingpong.rehearsal ORDER BY run DESC LIMIT 1");
}

# What the rehearsal must leave as it is.
sub outside
{
	return $lab->sql('chicago', q{SELECT pg_postmaster_start_time(), (SELECT state FROM pingpong.gate),
		(SELECT string_agg(format('%s %s %s', name, port, agent_url), ', ' ORDER BY name) FROM pingpong.node),
		(SELECT string_agg(slot_name, ', ' ORDER BY slot_name) FROM pg_replication_slots),
		(SELECT string_agg(application_name, ', ') FROM pg_stat_replication WHERE state = 'streaming')})
		. ' ' . $lab->sql('dallas', 'SELECT pg_postmaster_start_time(), pg_is_in_recovery()');
}

# Processes whose command line or working directory is in the folder.
sub inside
{
	my @found;
	foreach my $proc (glob '/proc/[0-9]*')
	{
		my $cwd = readlink("$proc/cwd") // '';
		push @found, $proc if $cwd =~ m{^\Q$folder\E(/|$)};
	}
	return scalar @found;
}

sub finding
{
	my ($check) = @_;
	return $lab->sql('chicago', "SELECT status || ': ' || detail FROM pingpong.preflight('chicago',
		'$options'::jsonb || '{\"runbook\": \"upgrade\"}') WHERE name = '$check'");
}

sub slurp
{
	my ($file) = @_;
	open my $in, '<', $file or return '';
	local $/;
	return scalar <$in>;
}

sub nothing_left
{
	my ($what, $before) = @_;
	ok(!-e $folder, "$what: the folder is gone");
	is(inside(), 0, "$what: no process is left");
	is(outside(), $before, "$what: the real servers are as they were");
	return;
}

$lab->sql('chicago', 'CREATE TABLE t (i int PRIMARY KEY)', 'INSERT INTO t SELECT generate_series(1, 10000)',
	'CREATE DATABASE forgotten');
my $forgotten = $lab->env('DSN_chicago') =~ s/dbname=\S+/dbname=forgotten/r;
$lab->wait_for('dallas', q{SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'forgotten')}, 'dallas to follow');

# ---- where? ----

mkdir $place or die $!;
die "no tmpfs can be mounted: $!" if $small && !Mounts::tmpfs($place, 'size=900m,mode=0700');
configure('chicago', '');
configure('dallas', '');
my $before = outside();
my (undef, $err) = rehearse();
like($err, qr/^ERROR:  55000: the agent of node "chicago" knows no place for a rehearsal\n/m, 'no place: refused');
like($err, qr/^HINT:  Name a folder with room for a copy .* \[postgresql\.next\]\./m, 'no place: the remedy');
open my $ini, '>>', $lab->agent_dir('chicago') . '/agent.ini' or die $!;
print $ini "rehearsal = $place\n";
close $ini or die $!;
kill 'HUP', $lab->pid('agent', 'chicago');
foreach my $bad (q{'switchover', 'chicago', '{"to_version": 18}'}, qq{'upgrade', 'dallas', '{"to_version": $to}'},
	q{'upgrade', 'chicago', '{}'}, qq{'upgrade', 'chicago', '{"to_version": $to, "tempo": 1}'})
{
	my (undef, $why, $rc) = $lab->try_sql('chicago', "SELECT pingpong.rehearse($bad)");
	ok($rc != 0 && $why =~ /^ERROR/, "rehearse($bad): refused") or diag($why);
}
like(finding('upgrade_rehearsal'), qr/^warn: it was never rehearsed/, 'preflight: it was never rehearsed');

# ---- whose folder is it? ----

mkdir "$place/elsewhere" or die $!;
symlink "$place/elsewhere", $folder or die $!;
(undef, $err) = rehearse();
like($err, qr/^ERROR:  55000: "\Q$folder\E" is not a folder that only this agent can open$/m, 'a link: refused')
	or diag($err);
ok(-l $folder && unlink($folder), 'a link: left alone');
mkdir $folder, 0700 or die $!;
open my $owner, '>', "$folder/owner" or die $!;
print $owner "chicago /var/lib/another\n";
close $owner or die $!;
(undef, $err) = rehearse();
like($err, qr/^ERROR:  55006: another agent rehearses in "\Q$folder\E"$/m, 'the folder of another agent: refused')
	or diag($err);
is(told('state, found'), 'rolled_back|f', 'the folder of another agent: nothing was found');
ok(-e "$folder/owner" && unlink("$folder/owner") && rmdir($folder), 'the folder of another agent: left alone');

# ---- it finds what preflight does not ----

# A copy has its own, however the server got them.
my $access = $lab->agent_dir('chicago') . '/nobody.conf';
open my $hba, '>', $access or die $!;
close $hba or die $!;
$lab->sql('chicago', "ALTER SYSTEM SET hba_file = '$access'");

my $load = $lab->writers(rate => 30);
$load->mark('rehearsals');
$lab->sql($forgotten, 'CREATE TABLE rights (a pg_description)');
(undef, $err) = rehearse();
like($err, qr/^ERROR:  38000: on the clone: .*pg_upgrade.*composite/m, 'a type of the old major: found')
	or diag($err);
is(told('state, found, node'), 'rolled_back|t|chicago', 'a type of the old major: told by the view');
nothing_left('a type of the old major', $before);
my $kept = $lab->agent_dir('chicago') . '/state/rehearsal';
is(scalar(grep { slurp($_) =~ /rights/ } glob "$kept/*composite*.txt"), 1, 'the list of pg_upgrade is kept');
is(scalar(grep { /\.(sql|custom)$/ } glob "$kept/*"), 0, 'its dumps are not');
like(finding('upgrade_rehearsal'), qr/^fail: the rehearsal of run \d+ failed: /, 'preflight: it failed');
(undef, $err) = $lab->try_sql('chicago', "SELECT pingpong.upgrade('chicago', to_version => $to, mode => '$mode')");
like($err, qr/fail: upgrade_rehearsal/, 'a rehearsal that failed stops the real upgrade');
$lab->sql($forgotten, 'DROP TABLE rights');

$lab->sql('chicago', 'ALTER SYSTEM RESET hba_file');

# ---- broken off: by its caller, and with the agent ----

sub begin_and_reach
{
	my ($action) = @_;
	my $job = $lab->begin_sql('chicago', "SELECT * FROM pingpong.rehearse('upgrade', 'chicago', '$options')");
	$lab->wait_for('chicago', "SELECT EXISTS (SELECT FROM pingpong.progress WHERE run_state = 'running'
		AND action = '$action' AND state = 'running')", "$action to run", 60);
	return $job;
}

sub name_place
{
	my ($named) = @_;
	my $file = $lab->agent_dir('chicago') . '/agent.ini';
	my $text = slurp($file) =~ s/^rehearsal = .*\n//mr;
	open my $out, '>', $file or die $!;
	print $out $text, $named ? "rehearsal = $place\n" : '';
	close $out or die $!;
	kill 'HUP', $lab->pid('agent', 'chicago');
	return;
}

my $job = begin_and_reach('rehearse_run');
$lab->until_true('the new server of the clone', sub { -e "$folder/new/PG_VERSION" }, 90);
ok(inside() > 0, 'its processes are seen while it works');
name_place(0);
$lab->sql('chicago', 'SELECT pingpong.cancel(max(id)) FROM pingpong.run WHERE runbook <> $$realign$$');
(undef, $err) = $lab->finish($job, 120);
like($err, qr/^ERROR: .*cancel/m, 'cancelled') or diag($err);
is(told('state, found'), 'rolled_back|f', 'cancelled: nothing was found');
nothing_left('cancelled, and no place is named any more', $before);
name_place(1);

$job = begin_and_reach('rehearse_run');
$lab->until_true('the new server of the clone', sub { -e "$folder/new/PG_VERSION" }, 90);
$lab->kill9('agent', 'chicago');
$lab->start_agent('chicago');
(undef, $err) = $lab->finish($job, 120);
like($err, qr/^ERROR/m, 'the agent killed: it fails');
is(told('state, found'), 'rolled_back|f', 'the agent killed: nothing was found');
nothing_left('the agent killed', $before);

# ---- the disk, which may be the real server's, too ----

if ($small)
{
	$job = begin_and_reach('rehearse_run');
	$lab->until_true('the new server of the clone', sub { -e "$folder/new/PG_VERSION" }, 90);
	Mounts::fill($place);
	(undef, $err) = $lab->finish($job, 120);
	like($err, qr/^ERROR:  the rehearsal was ended: the disk of "\Q$folder\E" has less than 256 MB left$/m,
		'a disk that fills up: it is ended') or diag($err);
	is(told('state, found'), 'rolled_back|f', 'a disk that fills up: nothing was found');
	nothing_left('a disk that fills up', $before);
	$lab->until_true('room to be there', sub { Mounts::resize($place, '900m') });
}

# ---- through to the end ----

my ($out);
($out, $err) = rehearse();
like($out, qr/^\d+\|succeeded$/, 'rehearsed') or diag($err);
my $back = $mode eq 'link' ? 'f' : 't';
is(told('state, found, window_ms > 0, rollback_ms IS NOT NULL'), "succeeded|f|t|$back",
	'rehearsed: told by the view');
# by two clocks, which do not begin in the same moment
is(told(q{window_ms >= 0.95 * ((steps ->> 'upgrade_stop')::float8 + (steps ->> 'upgrade_run')::float8
	+ (steps ->> 'upgrade_start')::float8 + (steps ->> 'open_new')::float8)}), 't',
	'rehearsed: the window has all steps');
nothing_left('rehearsed', $before);
my $session = $lab->begin_sql('chicago', 'CREATE TEMP TABLE passing (i int)', 'SELECT pg_sleep(600)');
$lab->wait_for('chicago', q{SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'passing')}, 'the temporary table');
like(finding('upgrade_rehearsal'), qr/^ok: run \d+, 0 days ago: [\d.]+ s/, 'preflight: it was rehearsed');
$lab->sql('chicago', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'});
$lab->finish($session, 60);
is($lab->sql('chicago', qq{SELECT estimate_ms > 0 FROM pingpong.plan('chicago', 'upgrade', '$options')
	WHERE action = 'upgrade_run'}), 't', 'what it took is the estimate of the plan');
is($lab->sql('chicago', qq{SELECT status FROM pingpong.preflight('chicago', '$options'::jsonb
	|| '{"runbook": "upgrade", "max_blackout_ms": 1}') WHERE name = 'upgrade_rehearsal'}), 'fail',
	'preflight: it took longer than the window may be');
$lab->sql($forgotten, 'CREATE TABLE more (i int)');
like(finding('upgrade_rehearsal'), qr/^warn: .*the catalog has changed: forgotten: /,
	'preflight: the catalog has changed');
ok($load->end->{acked} > 0, 'clients wrote all the time');
is($load->verify('chicago')->{lost}, 0, 'nothing is lost');
$load->stop;
my @archived = glob "$archive/*";
is(scalar(grep { !m{/00000001[0-9A-F]{16}(\.\w+\.backup)?$} } @archived), 0, 'the clone has archived nothing');

# ---- and for real ----

$before = $lab->last_run('chicago');
(undef, $err) = $lab->finish($lab->begin_sql('chicago',
	"SELECT * FROM pingpong.upgrade('chicago', to_version => $to, mode => '$mode')"), 300);
is(($lab->settle($lab->run_said($err, $before), 300))[0], 'succeeded', 'the upgrade itself') or diag($err);
is($lab->sql('chicago', q{SELECT count(*) FROM t}), '10000', 'the upgrade itself: the rows are there');
is($lab->sql('chicago', q{SELECT count(*) > 0 FROM pingpong.rehearsal}), 't', 'what was rehearsed is still known');
Mounts::umount($place) if $small;
done_testing();
