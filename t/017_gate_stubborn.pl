# At the end of the grace every writer goes: by a cancel if that reaches it, else its session is ended. One that does
# not react at all makes the drain fail. Also where sessions do not tell what they do
# (track_activities).
use strict;
use warnings;
use IO::Socket::UNIX;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $p = PostgreSQL::Test::Cluster->new('chicago');
$p->init(allows_streaming => 1);
$p->append_conf('postgresql.conf',
	"shared_preload_libraries = 'pg_pingpong'\nautovacuum = off\nmax_connections = 50\n");
$p->start;
$p->safe_psql('postgres', q{CREATE EXTENSION pg_pingpong; CREATE EXTENSION dblink; CREATE TABLE t (a text);
	CREATE SEQUENCE n; CREATE TABLE big (a int, n bigint DEFAULT nextval('n'))});

# A psql of its own, whose output goes into a pipe that is read only at its end.
my %client;

sub client
{
	my ($name, $text) = @_;
	pipe my $in_r, my $in_w or die;
	pipe my $out_r, my $out_w or die;
	my $pid = fork // die;
	if ($pid == 0)
	{
		open STDIN, '<&', $in_r;
		open STDOUT, '>&', $out_w;
		open STDERR, '>&', $out_w;
		close $_ for $in_r, $in_w, $out_r, $out_w;
		exec 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-d', $p->connstr('postgres') . " application_name=$name"
			or POSIX::_exit(127);
	}
	close $_ for $in_r, $out_w;
	$in_w->autoflush(1);
	print {$in_w} "$text\n";
	$client{$name} = {pid => $pid, in => $in_w, out => $out_r};
	return;
}

# What it said to the end; a session that was kept says so.
sub said
{
	my ($name) = @_;
	my $c = delete $client{$name};
	if ($c->{raw})
	{
		my $text = '';
		1 while sysread $c->{raw}, $text, 65536, length $text;
		return $text =~ /\x00C(\w{5})\x00M/ ? "FATAL:  $1" : 'the end';
	}
	local $SIG{PIPE} = 'IGNORE';
	print {$c->{in}} "ROLLBACK;\n\\echo kept?\nSELECT 'kept';\n";
	close $c->{in};
	my $text = do { local $/; readline $c->{out} };
	waitpid $c->{pid}, 0;
	return $text;
}

# A client that speaks the protocol itself: it sends one query, and then data that it never ends, or reads no more.
sub raw_client
{
	my ($name, $query, $data) = @_;
	my $socket = IO::Socket::UNIX->new($p->host . '/.s.PGSQL.' . $p->port) or die "no connection: $!";
	my $startup = pack('N', 196608)
		. join("\0", 'user', scalar getpwuid($<), 'database', 'postgres', 'application_name', $name, '', '');
	my $got = '';
	print {$socket} pack('N', 4 + length $startup) . $startup;
	$socket->flush;
	sysread $socket, $got, 4096, length $got until $got =~ /Z\x00\x00\x00\x05I\z/;
	print {$socket} 'Q' . pack('N', 5 + length $query) . "$query\0";
	print {$socket} 'd' . pack('N', 4 + length $data) . $data if defined $data;
	$socket->flush;
	$client{$name} = {raw => $socket};
	return;
}

sub wait_until
{
	my ($what, $query) = @_;
	$p->poll_query_until('postgres', $query) or die "waited too long for $what";
	return;
}

sub is_at
{
	my ($name, $where) = @_;
	return wait_until($name, "SELECT count(*) = 1 FROM pg_stat_activity
		WHERE application_name = '$name' AND backend_xid IS NOT NULL AND $where");
}

# Closes, waits for the end of the grace, opens again; what went wrong, or an empty string.
sub drained
{
	my (undef, undef, $err) = $p->psql('postgres',
		q{SELECT pingpong.quiesce(grace => '100ms'); SELECT pingpong.resume()});
	return $err;
}

my %kinds = (
	# name => [what it sends, where it waits then, that, ended by]
	idle => ["BEGIN; INSERT INTO t VALUES ('x');", 'ClientRead', 'session'],
	fetch => ["BEGIN; INSERT INTO t VALUES ('x'); DECLARE c CURSOR FOR SELECT generate_series(1, 10); FETCH c;",
		'ClientRead', 'session'],
	active => ["BEGIN; INSERT INTO t VALUES ('x'); SELECT pg_sleep(1000);", 'PgSleep', 'statement'],
	copy_in => [undef, 'ClientRead', 'session'],
	copy_out => [undef, 'ClientWrite', 'session'],
	catches => ["DO \$\$ BEGIN INSERT INTO t VALUES ('x'); LOOP BEGIN PERFORM pg_sleep(10);
		EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END \$\$;", 'PgSleep', 'session'],
	lock => ["BEGIN; INSERT INTO t VALUES ('x'); SELECT pg_advisory_xact_lock(42);", 'advisory', 'statement']);

for my $tracked (qw(on off))
{
	$p->safe_psql('postgres', "ALTER SYSTEM SET track_activities = $tracked; SELECT pg_reload_conf()");
	my $before = $p->background_psql('postgres', on_error_stop => 0);
	wait_until('the setting', "SELECT current_setting('track_activities') = '$tracked'");
	$before->query('SELECT pg_advisory_lock(42)');
	$p->safe_psql('postgres', q{SELECT setval('n', 1)});
	client($_, $kinds{$_}[0]) for grep { $kinds{$_}[0] } sort keys %kinds;
	raw_client('copy_in', 'COPY big (a) FROM STDIN', join '', map { "$_\n" } 1 .. 30000);
	raw_client('copy_out', "BEGIN; INSERT INTO t VALUES ('x');
		COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT");
	wait_until('all rows of the COPY', q{SELECT last_value > 29000 FROM n});
	is_at($_, "wait_event = '$kinds{$_}[1]'") for sort keys %kinds;
	is(drained(), '', "track_activities $tracked: all writers are gone");
	for my $name (sort keys %kinds)
	{
		my $text = said($name);
		if ($kinds{$name}[2] eq 'statement')
		{
			like($text, qr/ERROR:  57014\n.*^kept$/ms, "$name: cancelled, the session stays");
		}
		elsif ($name eq 'copy_out') { is($text, 'the end', "$name: ended"); }
		else { like($text, qr/FATAL:  57P01/, "$name: ended, with the SQLSTATE"); }
	}
	$before->quit;
}
$p->safe_psql('postgres', 'ALTER SYSTEM RESET track_activities; SELECT pg_reload_conf()');
is($p->safe_psql('postgres', 'SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM big)'), '0',
	'nothing of them was kept');

# ---- who does not react at all ----

client('stopped', "BEGIN; INSERT INTO t VALUES ('stopped');");
is_at('stopped', "state = 'idle in transaction'");
my $pid = $p->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE application_name = 'stopped'");
kill 'STOP', $pid;
my $began = time;
my (undef, undef, $err) = $p->psql('postgres', q{SELECT pingpong.quiesce(grace => '0')});
cmp_ok(time - $began, '<', 60, 'the drain has an end');
my $not_ended = 'ERROR:  writing transactions did not end within the grace\nDETAIL:  1 still run; one is of process';
like($err, qr/$not_ended $pid \(stopped\), state "idle in transaction"/, 'and says who');
is($p->safe_psql('postgres', 'SELECT state FROM pingpong.gate'), 'open', 'the gate is open again');
kill 'CONT', $pid;
like(said('stopped'), qr/FATAL:  57P01/, 'it was told to end, and does when it can');

# Over a library that does not look at signals while it waits, in some releases: ended, or the drain ends.
client('remote', "BEGIN; INSERT INTO t VALUES ('remote'); SELECT dblink('" . $p->connstr('postgres') =~ s/'/''/gr
	. "', 'SELECT pg_sleep(20)');");
is_at('remote', "state = 'active'");
$err = drained();
like($err, qr/^(|.*$not_ended \d+ \(remote\), state "active".*)$/s, 'a call to another server');
is($p->safe_psql('postgres', 'SELECT state FROM pingpong.gate'), 'open', 'the gate is open');
$p->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(20)'");
said('remote');

# ---- more than a few, and those that wait for a standby are left alone ----

client("many$_", "BEGIN; INSERT INTO t VALUES ('many');") for 1 .. 30;
wait_until('many',
	"SELECT count(*) = 30 FROM pg_stat_activity WHERE application_name LIKE 'many%' AND backend_xid IS NOT NULL");
is(drained(), '', 'thirty at once');
like(said("many$_"), qr/FATAL:  57P01/, "many$_") for 1 .. 30;
$p->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()");
client('synchronous', "INSERT INTO t VALUES ('synchronous'); SELECT 'answered';");
is_at('synchronous', "wait_event = 'SyncRep'");
like(drained(), qr/did not end within the grace.*state "waits for a standby"/s,
	'a commit that waits for a standby is not cancelled');
wait_until('it',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'synchronous' AND wait_event = 'SyncRep'");
$p->safe_psql('postgres', "ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()");
like(said('synchronous'), qr/answered.*kept/s, 'and has its answer when it is there');
$p->stop;
done_testing();
