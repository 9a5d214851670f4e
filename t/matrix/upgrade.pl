# An upgrade in place: a real server of one major becomes one of another, with clients held by PgBouncer meanwhile.
# What cannot work is refused before anything is touched; what fails on the way is undone, and the old server goes on.
# (What preflight finds has a test of its own: preflight.pl.)
#
# PINGPONG_NEW_BIN is the folder of the new major's programs, with the extension installed (ci/upgrade gives it).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use Lab;
use Session;
use POSIX ();
use Test::More;
use Tools;
use Time::HiRes qw(sleep time);

our $new_bin = $ENV{PINGPONG_NEW_BIN} // '';
plan skip_all => 'there is no other major (ci/upgrade runs this)' unless -x "$new_bin/pg_upgrade";
my $mode = $ENV{PINGPONG_UPGRADE_MODE} // 'copy';
# how its data directory comes back in mode swap: the whole of it, where it is ("reflink")
my $snapshot = $ENV{PINGPONG_SNAPSHOT} // '';
plan skip_all => 'mode swap needs a snapshot (ci/snapshots runs this)' if $mode eq 'swap' && !$snapshot;
my ($to) = `$new_bin/postgres --version` =~ /\) (\d+)/;

my $archive = "/tmp/pp-archive.$$";
mkdir $archive or die "$archive: $!";
my $lab = Lab->up(poolers => 1, nodes => 2, port => 21800,
	set => ['archive_mode=on', "archive_command=test ! -f $archive/%f && cp %p $archive/%f"]);
my $home = $lab->dir . '/chicago';
our $new_data = "$home/new";
our $new_dallas = $lab->dir . '/dallas/new';
my ($from) = $lab->sql('chicago', 'SHOW server_version_num') =~ /^(\d+)\d{4}$/;

sub text_of { my ($file) = @_; open my $fh, '<', $file or return ''; local $/; return <$fh> // ''; }

sub add_text
{
	my ($file, $text) = @_;
	open my $to, '>>', $file or die "$file: $!";
	print $to $text;
	return close $to;
}

sub refused
{
	my ($pattern, $what, @arguments) = @_;
	my $arguments = join ', ', "to_version => $to", @arguments;
	my $started = $lab->sql('chicago', 'SELECT pg_postmaster_start_time()');
	my (undef, $err, $rc) = $lab->try_sql('chicago', '\set VERBOSITY verbose',
		"SELECT * FROM pingpong.upgrade('chicago', $arguments)");
	like($err, $pattern, "$what: refused");
	is($lab->sql('chicago', 'SELECT pg_postmaster_start_time()') . ' ' . gate(), "$started open",
		"$what: nothing was touched");
	return;
}

# by preflight, for that
sub found { my ($check, $why) = @_; return qr/^ERROR:  55000: preflight found .*^(?:DETAIL:  )?fail: $check$why/ms; }

sub gate { return $lab->sql('chicago', 'SELECT state FROM pingpong.gate'); }
sub version { return $lab->sql('chicago', q{SELECT current_setting('server_version_num')::int / 10000}); }

# It is not one of the lab's.
END
{
	local $?;
	system('rm', '-rf', "/tmp/pp-archive.$$");
	foreach my $data ($new_data, $new_dallas)
	{
		system("$new_bin/pg_ctl -D $data -m immediate stop >/dev/null 2>&1") if -e "$data/postmaster.pid";
	}
}

# ---- what cannot work ----

$lab->sql('chicago', 'CREATE DATABASE other', 'CREATE TABLE t (i int PRIMARY KEY, x text)',
	q{INSERT INTO t SELECT i, repeat('x', 50) FROM generate_series(1, 20000) i}, 'CREATE SEQUENCE s',
	q{SELECT nextval('s')});
sub instances { my ($node) = @_; return @{ $lab->act($node, 'r', 0, 'facts')->{results}[0]{instances} }; }

sub add_successor
{
	my ($node, $data) = @_;
	$lab->set_agent($node, snapshot => $snapshot) if $mode eq 'swap';
	add_text($lab->agent_dir($node) . '/agent.ini',
		"\n[postgresql.next]\ndata = $data\nbin = $new_bin\nsuccessor = yes\n");
	kill 'HUP', $lab->pid('agent', $node);
	return $lab->until_true('the successor to be known', sub { grep { $_->{name} eq 'next' } instances($node) });
}

refused(found('upgrade_successor', qr/ \(chicago\): the agent of node "chicago" knows no successor of version $to/),
	'no successor');
add_successor('chicago', $new_data);
refused(found('upgrade_successor', qr/ \(dallas\): the agent of node "dallas" knows no successor of version $to/),
	'none for the standby');
add_successor('dallas', $new_dallas);
mkdir $new_dallas unless -d $new_dallas;
system('touch', "$new_dallas/precious") == 0 or die;
refused(found('upgrade_successor', qr/ \(dallas\): "[^"]*dallas\/new" is not empty/),
	'a folder of the standby with something in it');
unlink "$new_dallas/precious" or die $!;
mkdir $new_data unless -d $new_data;
system('touch', "$new_data/precious") == 0 or die;
refused(found('upgrade_successor', qr/ \(chicago\): "[^"]*new" is not empty/), 'a folder with something in it');
ok(-e "$new_data/precious", 'a folder with something in it: it is still there');
unlink "$new_data/precious" or die $!;

# Releases of the old major may store what an older release of the new one refuses. Nothing else can be tried then.
if ($lab->sql('chicago', q{SELECT EXISTS (SELECT FROM pg_attribute WHERE attoptions::text LIKE '%pg_attver%')}) eq 't'
	&& `$new_bin/postgres --version` =~ / 18\.[0-6]\b/)
{
	refused(qr/^ERROR:  55000: there are columns with the option "pg_attver"/m, 'a column option of a newer release');
	is(join(' ', glob "$new_data/*"), '', 'a column option of a newer release: nothing is left in the new folder');
	done_testing();
	exit;
}

my $other = Session->open($lab, 'chicago');
$other->ask('BEGIN');
$other->ask('CREATE TABLE prepared (i int)');
$other->ask(q{PREPARE TRANSACTION 'p'});
refused(found('upgrade_prepared_transactions', qr/ \(chicago\): 1 prepared/), 'a prepared transaction');
$other->ask(q{ROLLBACK PREPARED 'p'});
$other->close;

# in a database that nobody thinks of; what preflight leaves to pg_upgrade
$lab->sql('chicago', 'CREATE DATABASE forgotten');
my $forgotten = $lab->env('DSN_chicago') =~ s/dbname=\S+/dbname=forgotten/r;
$lab->sql($forgotten, 'CREATE TABLE rights (a pg_description)');
refused(qr/^ERROR:  38000: "[^"]*pg_upgrade" ended with status 1: .*composite/ms, 'a type of the old major');
is(join(' ', glob "$new_data/*"), '', 'a type of the old major: nothing is left in the new folder');
$lab->sql($forgotten, 'DROP TABLE rights');

# ---- its configuration ----

# an included file; absolute paths of the old folder; what the new major does not know; loose files
my $old_data = $lab->env('PGDATA_chicago');
add_text("$old_data/site.conf", "work_mem = '5MB'\nssl = on\n");
add_text("$old_data/site.conf", "old_snapshot_threshold = -1\n") if $from < 17;
add_text("$old_data/postgresql.conf", "include 'site.conf'\ndata_directory = '$old_data'\n"
	. "hba_file = '$old_data/pg_hba.conf'\n");
system("openssl req -new -x509 -days 2 -nodes -text -subj /CN=chicago -out $old_data/server.crt "
	. "-keyout $old_data/server.key >/dev/null 2>&1; chmod 600 $old_data/server.key") == 0 or die;
$lab->sql('chicago', q{ALTER SYSTEM SET maintenance_work_mem = '70MB'}, q{ALTER SYSTEM SET wal_compression = 'on'},
	'SELECT pg_reload_conf()');
$lab->wait_for('chicago', q{SELECT current_setting('ssl') = 'on' AND current_setting('work_mem') = '5MB'},
	'the settings');

# ---- it dies on the way, and goes back ----

my $load = $lab->writers(rate => 50);

sub upgrade
{
	my (%more) = @_;
	my $arguments = "to_version => $to, mode => '$mode', jobs => 2, carry => '{wal_compression}'";
	my $before = $lab->sql('chicago', 'SELECT coalesce(max(id), 0) FROM pingpong.run');
	my $job = $lab->begin_sql('chicago', "SELECT * FROM pingpong.upgrade('chicago', $arguments)");
	$more{during}->() if $more{during};
	my (undef, $err) = $lab->finish($job, 200);
	my @end = $lab->settle($lab->run_said($err, $before), 200);
	return ("$end[0] $end[1]", $err);
}

# The processes of that program of the new major that work in the new folder. A command line is read once: that of a
# process which ends is empty the next time.
sub programs
{
	my ($name, $without) = @_;
	return grep { my $line = text_of("/proc/$_/cmdline"); $line =~ /^\Q$new_bin\E\/$name\0.*\Q$new_data\E/s
		&& !($without && $line =~ /$without/) } map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
}

sub tool { return programs('pg_upgrade', qr/--check/); }

sub pause { my ($file, $step) = @_; return add_text($file, "\npingpong.debug_pause_after = '$step'\n"); }

sub goes_back
{
	my ($what, $during) = @_;
	my ($end, $err) = upgrade(during => $during);
	like($end, qr/^rolled_back /, "$what: the run goes back") or diag($err);
	is(version() . ' ' . gate(), "$from open", "$what: the old server serves, and is open");
	$load->mark($what);
	ok($lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }), "$what: writes flow");
	is(join(' ', glob "$new_data/*"), '', "$what: nothing is left in the new folder");
	is(join(' ', programs('postgres')), '', "$what: nor a server there");
	ok(eval { $lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'},
		'the standby') }, "$what: the standby streams");
	is(join(' ', glob "$new_dallas/*"), '', "$what: nothing is left in the new folder of the standby");
	return;
}

goes_back('pg_upgrade is killed', sub {
	$lab->until_true('pg_upgrade in the window', sub { tool() }, 120);
	kill 'KILL', tool();
});
# when it has begun to change the old directory (link, swap), or when its new server runs
goes_back('pg_upgrade is killed late', sub {
	my $control = $lab->env('PGDATA_chicago') . '/global/pg_control.old';
	$lab->until_true('pg_upgrade in the window', sub { tool() }, 120);
	my ($pid) = tool();
	if ($mode eq 'link' || $mode eq 'swap')
	{
		# a little at a time, so that it does not get past that unseen
		my $limit = time + 120;
		while (!-e $control && !$lab->gone($pid) && time < $limit)
		{
			kill 'CONT', $pid;
			sleep 0.001;
			kill 'STOP', $pid;
		}
		ok(-e $control, 'pg_upgrade has taken pg_control away');
	}
	else { $lab->until_true('its new server', sub { programs('postgres') }, 120); }
	kill 'KILL', $pid;
});
goes_back('the agent is killed', sub {
	$lab->until_true('pg_upgrade in the window', sub { tool() }, 120);
	$lab->kill9('agent', 'chicago');
	$lab->start_agent('chicago');
});

# what a person on the host sees while there is no database
sub status
{
	my $run = shift;
	return scalar run($lab->env('PGBIN') . '/pingpong-agent', 'status', $run, '--config',
		$lab->agent_dir('chicago') . '/agent.ini');
}

goes_back('the job is cancelled', sub {
	$lab->until_true('pg_upgrade in the window', sub { tool() }, 120);
	# stopped, so that it does not get past that unseen
	my @tool = tool();
	kill 'STOP', @tool;
	my (undef, $all) = $lab->agent('chicago', '/v1/jobs');
	my ($here) = grep { $_->{step} =~ /upgrade_stop/ && $_->{state} eq 'running' } @{ $all->{jobs} };
	my $text = status($here->{number});
	like($text, qr/^Run $here->{number} at the agent of chicago/, 'status: by the number of the run');
	like($text, qr/^  upgrade_stop +chicago +succeeded .*\n  upgrade_run +chicago +running +\S+ m?s  .*pg_upgrade\n/m,
		'status: pg_upgrade runs');
	like($text, qr/^  upgrade_start +chicago +pending/m, 'status: the new server is yet to come');
	kill 'CONT', @tool;
	my (undef, $list) = $lab->agent('chicago', '/v1/jobs');
	my ($job) = grep { $_->{step} =~ /upgrade_stop/ && $_->{state} eq 'running' } @{ $list->{jobs} };
	$lab->agent('chicago', "/v1/jobs/$job->{run}/$job->{step}/cancel", {});
});
goes_back('the new server does not start', sub {
	$lab->until_true('pg_upgrade in the window', sub { tool() }, 120);
	# pg_upgrade's own servers listen nowhere
	add_text("$new_data/postgresql.conf", "\nlisten_addresses = '203.0.113.7'\n");
});
my $conf = $lab->env('PGDATA_chicago') . '/postgresql.conf';
pause($conf, 'seal');
$lab->sql('chicago', 'SELECT pg_reload_conf()');
goes_back('the old server is killed when it is sealed', sub {
	$lab->until_true('the seal', sub { -e $lab->env('PGDATA_chicago') . '/pingpong.seal' }, 120);
	$lab->kill9('postgres', 'chicago');
	pause($conf, '');
	$lab->start_pg('chicago');
});

# what was archived is of the one system that serves (a segment's first page has its identifier)
my $system = $lab->sql('chicago', 'SELECT system_identifier FROM pg_control_system()');
$lab->sql('chicago', 'SELECT pg_switch_wal()');
$lab->wait_for('chicago', q{SELECT archived_count > 0 AND failed_count = 0 FROM pg_stat_archiver},
	'an archived segment');
my @foreign = grep { unpack('x24 Q<', text_of($_)) ne $system } grep { m{/[0-9A-F]{24}$} } glob "$archive/*";
is("@foreign", '', 'the archive has nothing of the clusters that came to nothing');

# ---- it goes through; the new server is killed before it is opened ----

$lab->sql($forgotten, 'CREATE EXTENSION pg_stat_statements');
my $rows = $lab->sql('chicago', 'SELECT count(*), sum(i) FROM t');
pause($conf, 'upgrade_start');
$lab->sql('chicago', 'SELECT pg_reload_conf()');
my ($end, $err) = upgrade(during => sub {
	$lab->until_true('the new server',
		sub { ($lab->try_sql('chicago', 'SHOW server_version_num'))[0] =~ /^$to/ }, 120);
	$lab->until_true('its worker', sub { ($lab->try_sql('chicago',
		q{SELECT bool_or(state = 'succeeded') FROM pingpong.progress WHERE action = 'upgrade_start'}))[0] eq 't' });
	is(gate(), 'sealed', 'the new server comes up sealed');
	isnt(($lab->try_sql('chicago', q{SET statement_timeout = '300ms'}, 'CREATE TABLE no ()'))[2], 0,
		'and takes no write');
	open my $pid, '<', "$new_data/postmaster.pid" or die $!;
	kill 'KILL', <$pid> + 0;
	pause("$new_data/postgresql.conf", '');
	$lab->until_true('it to be started', sub {
		system("$new_bin/pg_ctl -D $new_data -l $home/new.log start >/dev/null 2>&1") == 0 });
});
is($end, 'succeeded done', 'upgraded') or diag($err);
like($err, qr/the server goes down now/, 'upgraded: the caller was told');
like($err, qr/^HINT:  Meanwhile "pingpong-agent status \d+" on the host of "chicago" tells how far it is\.$/m,
	'upgraded: and what to type');
is(version() . ' ' . gate(), "$to open", 'upgraded: the new server serves, and is open');
is($lab->sql('chicago', 'SELECT count(*), sum(i) FROM t'), $rows, 'upgraded: the rows are there');
is($lab->sql('chicago', q{SELECT nextval('s')}), '2', 'upgraded: the sequence goes on');
is($lab->sql($lab->env('RW_DSN'), q{SELECT current_setting('server_version_num')::int / 10000}), $to,
	'upgraded: clients of the pooler are there');
$load->mark('after');
ok($lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }), 'upgraded: writes flow');
is($load->verify('chicago')->{lost}, 0, 'nothing acknowledged is lost');
# the routes of writers come first, those of readers again behind the standbys
note(sprintf 'window: %s s', $lab->sql('chicago', q{SELECT round(extract(epoch FROM
	min(ended_at) FILTER (WHERE action = 'repoint') - min(started_at) FILTER (WHERE action = 'pause')), 2)
	FROM pingpong.step WHERE run = (SELECT max(id) FROM pingpong.run WHERE runbook = 'upgrade')}));
is($lab->sql('chicago', q{SELECT current_setting('work_mem'), current_setting('ssl'),
	current_setting('wal_compression'), current_setting('maintenance_work_mem')}), '5MB|on|pglz|64MB',
	'upgraded: the settings of files, and of ALTER SYSTEM what was to be carried');
is($lab->sql('chicago', q{SELECT detail ->> 'dropped', detail ->> 'left' FROM pingpong.step
	WHERE action = 'upgrade_prepare' AND node = 'chicago' ORDER BY run DESC LIMIT 1}),
	'["data_directory", "hba_file"' . ($from < 17 ? ', "old_snapshot_threshold"' : '') . ']|["maintenance_work_mem"]',
	'upgraded: what was not carried is told');
is($lab->sql($forgotten, q{SELECT e.extversion = a.default_version FROM pg_extension e
	JOIN pg_available_extensions a ON a.name = e.extname WHERE e.extname = 'pg_stat_statements'}), 't',
	'upgraded: extensions are of the new version, in each database');
is(-s "$new_data/server.key", -s "$old_data/server.key", 'upgraded: loose files are there');
is(join(' ', map { "$_->{name}:$_->{data_version}" } instances('chicago')), ":$to former:$from",
	'upgraded: the new one is the main instance, the old one the former');

# ---- its standby, and the way there and back ----

is($lab->sql('dallas', q{SELECT current_setting('server_version_num')::int / 10000, pg_is_in_recovery(),
	current_setting('pingpong.node_name')}), "$to|t|dallas", 'upgraded: so is the standby, which kept its name');
is($lab->sql('chicago', q{SELECT string_agg(application_name || ' ' || state, ', ') FROM pg_stat_replication}),
	'dallas streaming', 'upgraded: it streams');
is(join(' ', map { "$_->{name}:$_->{data_version}" } instances('dallas')), ":$to former:$from",
	'upgraded: the standby of the old version is the former one');
is($lab->sql('chicago', q{SELECT string_agg(slot_name || ' ' || active, ', ') FROM pg_replication_slots}),
	'pingpong_dallas true', 'upgraded: it has its slot');
foreach my $to_node ('dallas', 'chicago')
{
	my $before = $lab->last_run('chicago');
	my ($out, $said, $rc) = $lab->try_sql($to_node eq 'dallas' ? 'chicago' : 'dallas',
		"SELECT state FROM pingpong.switchover('$to_node')");
	is($rc, 0, "to $to_node: moved") or diag($said);
	my @over = $lab->settle($lab->run_said($said, $before), 120);
	is("$over[0] $over[1]", 'succeeded done', "to $to_node: the other one is a standby");
	note($lab->sql($to_node, q{SELECT message FROM pingpong.step WHERE action = 'rejoin' ORDER BY run DESC LIMIT 1}));
	is($lab->sql($to_node, q{SELECT current_setting('pingpong.node_name')}), $to_node, "to $to_node: it is itself");
	$load->mark("on $to_node");
	ok($lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }), "to $to_node: writes flow");
	is($load->verify($to_node)->{lost}, 0, "to $to_node: nothing acknowledged is lost");
}
my $found = $load->stop;
is($found->{ambiguous}, 0, 'nothing is ambiguous');

# the agent's next life knows, too
$lab->kill9('agent', 'chicago');
$lab->start_agent('chicago');
is($lab->act('chicago', 'x', 99, 'pg.checkpoint')->{state}, 'succeeded',
	'upgraded: so does the next life of the agent');
done_testing();
