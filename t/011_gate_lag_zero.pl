# wait_lag_zero: replayed, not only received; quick; and on a time-out it says who is behind, and how far.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $p = PostgreSQL::Test::Cluster->new('chicago');
$p->init(allows_streaming => 1);
$p->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_pingpong'\nautovacuum = off\n");
$p->start;
$p->safe_psql('postgres', 'CREATE EXTENSION pg_pingpong; CREATE TABLE t (a int)');
$p->backup('copy');

my $t = PostgreSQL::Test::Cluster->new('dallas');
$t->init_from_backup($p, 'copy', has_streaming => 1);
$t->append_conf('postgresql.conf', "cluster_name = 'dallas'\n");
$t->start;
$p->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
  or die 'the standby does not stream';

$p->safe_psql('postgres', 'INSERT INTO t SELECT generate_series(1, 1000)');
is($p->safe_psql('postgres',
		"SELECT node, lsn >= pg_current_wal_flush_lsn(), waited_ms >= 0 FROM pingpong.wait_lag_zero('dallas')"),
	'dallas|t|t', 'one standby, by name');
is($p->safe_psql('postgres', 'SELECT string_agg(node, \',\') FROM pingpong.wait_lag_zero()'), 'dallas',
	'all of them');
my $worst = $p->safe_psql('postgres', q{
	SELECT max(waited_ms) < 1000 FROM generate_series(1, 20), LATERAL pingpong.wait_lag_zero('dallas')});
is($worst, 't', 'twenty times, quickly');

# received, not replayed
$t->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$t->poll_query_until('postgres', "SELECT pg_get_wal_replay_pause_state() = 'paused'") or die 'not paused';
$p->safe_psql('postgres', 'INSERT INTO t VALUES (1)');
my ($rc, $out, $err) = $p->psql('postgres', "SELECT * FROM pingpong.wait_lag_zero('dallas', '300ms')");
like($err, qr/standby "dallas" did not replay .* within 300 ms/, 'a time-out names the standby');
like($err, qr/Its state is "streaming"; .* [1-9]\d* bytes behind/, 'its state and its lag');
my $lsn = $p->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
($rc, $out, $err) = $t->psql('postgres', "SELECT * FROM pingpong.wait_lag_zero(NULL, '100ms', '$lsn')");
like($err, qr/this server did not replay .* bytes behind/s, 'on the standby as well');
$t->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
is($t->safe_psql('postgres', "SELECT node FROM pingpong.wait_lag_zero(NULL, '10s', '$lsn')"), 'dallas',
	'local replay');
is($t->safe_psql('postgres', "SELECT node FROM pingpong.wait_lag_zero('dallas', '10s', '$lsn')"), 'dallas',
	'by its own name');
($rc, $out, $err) = $t->psql('postgres', "SELECT * FROM pingpong.wait_lag_zero('berlin', '1s', '$lsn')");
like($err, qr/cannot wait for node "berlin" on a standby/, 'not for others');
($rc, $out, $err) = $t->psql('postgres', 'SELECT pingpong.quiesce()');
like($err, qr/cannot execute pingpong.quiesce\(\) on a standby/, 'a standby has no gate to close');

# known by its slot, whatever it calls itself
$p->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('pingpong_dallas', true),
	pg_create_physical_replication_slot('other', true);
	INSERT INTO pingpong.node (name, kind, host, port, agent_url, slot)
	VALUES ('dallas', 'postgres', 'localhost', 5432, 'unix:/none', 'pingpong_dallas')});
sub stream_as
{
	my ($name, $slot) = @_;
	my $conninfo = $p->connstr . " application_name=$name";
	$t->safe_psql('postgres', qq{ALTER SYSTEM SET primary_conninfo = '$conninfo'});
	$t->safe_psql('postgres', "ALTER SYSTEM SET primary_slot_name = '$slot'; SELECT pg_reload_conf()");
	$p->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
		WHERE r.application_name = '$name' AND coalesce(s.slot_name, '') = '$slot' AND r.state = 'streaming'")
		or die 'it does not stream';
	$p->safe_psql('postgres', 'INSERT INTO t VALUES (0); DELETE FROM t WHERE a = 0');
	return;
}
stream_as('walreceiver', 'pingpong_dallas');
is($p->safe_psql('postgres', "SELECT node FROM pingpong.wait_lag_zero('dallas')"), 'dallas',
	'a node whose application_name is another one, by its slot');
is($p->safe_psql('postgres', "SELECT node FROM pingpong.wait_lag_zero('walreceiver')"), 'walreceiver',
	'and by that name');
stream_as('dallas', 'other');
is($p->safe_psql('postgres', "SELECT node FROM pingpong.wait_lag_zero('dallas')"), 'dallas',
	'with another slot, by its name');
stream_as('walreceiver', 'other');
($rc, $out, $err) = $p->psql('postgres', "SELECT * FROM pingpong.wait_lag_zero('dallas', '100ms')");
like($err, qr/No standby of that application_name, nor one that uses the slot "pingpong_dallas", is connected/,
	'by neither');

# Two with the same name: each is waited for.
my $u = PostgreSQL::Test::Cluster->new('boston');
$u->init_from_backup($p, 'copy', has_streaming => 1);
$u->append_conf('postgresql.conf', "primary_conninfo = '" . $p->connstr . " application_name=walreceiver'\n");
$u->start;
$p->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_stat_replication
	WHERE application_name = 'walreceiver' AND state = 'streaming'") or die 'they do not stream';
is($p->safe_psql('postgres', 'SELECT string_agg(node, \' \') FROM pingpong.wait_lag_zero()'),
	'walreceiver walreceiver', 'two of one name are two');
$u->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$u->poll_query_until('postgres', "SELECT pg_get_wal_replay_pause_state() = 'paused'") or die 'not paused';
$p->safe_psql('postgres', 'INSERT INTO t VALUES (0); DELETE FROM t WHERE a = 0');
($rc, $out, $err) = $p->psql('postgres', "SELECT * FROM pingpong.wait_lag_zero(timeout => '500ms')");
like($err, qr/standby "walreceiver" did not replay .* bytes behind/s,
	'and the one that replays does not stand for the other');
$u->stop;
stream_as('dallas', '');

# sealed: the goal is the seal
$p->safe_psql('postgres', 'INSERT INTO t VALUES (2); SELECT pingpong.quiesce(); SELECT pingpong.seal()');
is($p->safe_psql('postgres',
		"SELECT lsn >= (SELECT seal_lsn FROM pingpong.gate) FROM pingpong.wait_lag_zero('dallas')"),
	't', 'the seal LSN is replayed');
is($t->safe_psql('postgres', 'SELECT count(*) FROM t'), '1002', 'and with it everything');

# not there
$t->stop;
($rc, $out, $err) = $p->psql('postgres', "SELECT * FROM pingpong.wait_lag_zero('dallas', '100ms', 'F/0')");
like($err, qr/No standby of that application_name, nor .* is connected/, 'a standby that is not connected');
$p->stop;
done_testing();
