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
is($p->safe_psql('postgres', "SELECT node, lsn >= pg_current_wal_flush_lsn(), waited_ms >= 0 FROM pingpong.wait_lag_zero('dallas')"),
	'dallas|t|t', 'one standby, by name');
is($p->safe_psql('postgres', 'SELECT string_agg(node, \',\') FROM pingpong.wait_lag_zero()'), 'dallas', 'all of them');
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
is($t->safe_psql('postgres', "SELECT node FROM pingpong.wait_lag_zero(NULL, '10s', '$lsn')"), 'dallas', 'local replay');
is($t->safe_psql('postgres', "SELECT node FROM pingpong.wait_lag_zero('dallas', '10s', '$lsn')"), 'dallas', 'by its own name');
($rc, $out, $err) = $t->psql('postgres', "SELECT * FROM pingpong.wait_lag_zero('berlin', '1s', '$lsn')");
like($err, qr/cannot wait for node "berlin" on a standby/, 'not for others');
($rc, $out, $err) = $t->psql('postgres', 'SELECT pingpong.quiesce()');
like($err, qr/cannot execute pingpong.quiesce\(\) on a standby/, 'a standby has no gate to close');

# sealed: the goal is the seal
$p->safe_psql('postgres', 'INSERT INTO t VALUES (2); SELECT pingpong.quiesce(); SELECT pingpong.seal()');
is($p->safe_psql('postgres', "SELECT lsn >= (SELECT seal_lsn FROM pingpong.gate) FROM pingpong.wait_lag_zero('dallas')"),
	't', 'the seal LSN is replayed');
is($t->safe_psql('postgres', 'SELECT count(*) FROM t'), '1002', 'and with it everything');

# not there
$t->stop;
($rc, $out, $err) = $p->psql('postgres', "SELECT * FROM pingpong.wait_lag_zero('dallas', '100ms', 'F/0')");
like($err, qr/not connected/, 'a standby that is not connected');
$p->stop;
done_testing();
