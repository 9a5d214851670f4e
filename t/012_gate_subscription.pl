# A subscriber's apply worker calls PostgreSQL's functions directly, past every hook: it does not run while the gate
# is closed. What the publisher sent meanwhile is neither applied nor acknowledged, and is applied when the gate is
# open.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run ();
use Test::More;

my $pub = PostgreSQL::Test::Cluster->new('publisher');
$pub->init(allows_streaming => 'logical');
$pub->append_conf('postgresql.conf',
	"max_prepared_transactions = 20\nautovacuum = off\nlogical_decoding_work_mem = 64kB\n");
$pub->start;

my $sub = PostgreSQL::Test::Cluster->new('subscriber');
$sub->init(allows_streaming => 1);
$sub->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_pingpong'\nmax_prepared_transactions = 20\n"
	  . "autovacuum = off\nwal_retrieve_retry_interval = 100ms\n");
$sub->start;

$pub->safe_psql('postgres', 'CREATE TABLE t (a int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t');
$sub->safe_psql('postgres', 'CREATE EXTENSION pg_pingpong; CREATE TABLE t (a int PRIMARY KEY)');
my $conninfo = $pub->connstr . ' dbname=postgres';
$sub->safe_psql('postgres',
	"CREATE SUBSCRIPTION s CONNECTION '$conninfo' PUBLICATION p WITH (two_phase = true, disable_on_error = true)");

sub rows { return $sub->safe_psql('postgres', 'SELECT count(*) FROM t WHERE ' . ($_[0] // 'true')) }
sub prepared { return $sub->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts') }

# What the publisher has been told is safe on the subscriber.
sub acknowledged
{
	my ($lsn) = @_;
	return $pub->safe_psql('postgres',
		"SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots WHERE slot_name = 's'");
}

# Until the launcher has started workers again that met the closed gate: whatever they could do by then, they did.
sub workers_came_and_went
{
	my ($what) = @_;
	my $from = -s $sub->logfile;
	for my $n (1 .. 3)
	{
		$sub->wait_for_log(qr/logical replication.* write gate is closed/i, $from) or die $what;
		$from = -s $sub->logfile;
	}
	return;
}

sub caught_up { $pub->wait_for_catchup('s') }

$sub->poll_query_until('postgres', "SELECT subtwophasestate = 'e' FROM pg_subscription")
	or die 'two_phase is not enabled';
$pub->safe_psql('postgres', 'INSERT INTO t VALUES (0)');
caught_up();
is(rows(), '1', 'the subscription works');

# ---- hold: rows written without an executor do not come in either ----

my $owner = $sub->background_psql('postgres');
$owner->query_safe("SELECT pingpong.quiesce(grace => '60s')");
is($sub->safe_psql('postgres', "SELECT count(*) FROM pg_stat_subscription
		WHERE pid IS NOT NULL AND NOT EXISTS (SELECT FROM pingpong.gate WHERE state = 'open')"),
	'0', 'no worker is left when the hold is there');
$pub->safe_psql('postgres', 'INSERT INTO t VALUES (1)');
my $lsn = $pub->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
workers_came_and_went('hold');
is(rows(), '1', 'nothing is applied while held');
is(acknowledged($lsn), 'f', 'nor acknowledged');
$owner->query_safe('SELECT pingpong.resume()');
caught_up();
is(rows(), '2', 'it is applied when the gate is open');

# ---- a busy subscription does not keep the drain waiting ----

my $busy = $pub->background_psql('postgres');
$busy->query_until(qr/begun/, "\\echo begun\nDO \$\$ BEGIN FOR i IN 1000..1000000 LOOP INSERT INTO t VALUES (i); "
	. "COMMIT; END LOOP; END \$\$;\n");
$sub->poll_query_until('postgres', 'SELECT count(*) > 100 FROM t') or die 'the load does not arrive';
$owner->query_safe("SELECT pingpong.quiesce(grace => '20s', on_grace_end => 'abort')");
my $held = rows();
workers_came_and_went('busy');
is(rows(), $held, 'drained under load: nothing comes in');
$owner->query_safe('SELECT pingpong.resume()');
$sub->poll_query_until('postgres', "SELECT count(*) > $held + 100 FROM t") or die 'the load does not go on';
pass('and it goes on');
$pub->safe_psql('postgres',
	"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%1000000%' AND pid <> pg_backend_pid()");
caught_up();
eval { $busy->quit };

# ---- a large transaction that is applied while it goes on, by a worker of its own where there are such ----

my $version = $sub->safe_psql('postgres', q{SELECT current_setting('server_version_num')});
$sub->safe_psql('postgres',
	'ALTER SUBSCRIPTION s SET (streaming = ' . ($version >= 160000 ? 'parallel' : 'on') . ')');
$sub->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_subscription WHERE pid IS NOT NULL})
	or die 'no worker';
my $large = $pub->background_psql('postgres');
$large->query_safe('BEGIN; INSERT INTO t SELECT generate_series(2000000, 2020000)');
if ($version >= 160000)
{
	$sub->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_subscription WHERE leader_pid IS NOT NULL})
		or die 'no parallel worker';
}
$owner->query_safe("SELECT pingpong.quiesce(grace => '20s', on_grace_end => 'abort')");
$large->query_safe('COMMIT');
workers_came_and_went('large');
is(rows('a >= 2000000'), '0', 'a large transaction is not applied while held');
$owner->query_safe('SELECT pingpong.resume()');
caught_up();
is(rows('a >= 2000000'), '20001', 'but when the gate is open');
$large->quit;

# ---- sealed: neither COMMIT PREPARED nor ROLLBACK PREPARED of the publisher passes ----

$pub->safe_psql('postgres', "BEGIN; INSERT INTO t VALUES (-1); PREPARE TRANSACTION 'kept'");
$pub->safe_psql('postgres', "BEGIN; INSERT INTO t VALUES (-2); PREPARE TRANSACTION 'dropped'");
caught_up();
is(prepared(), '2', 'prepared on the subscriber');
$owner->query_safe("SELECT pingpong.quiesce(grace => '20s')");
$owner->query_safe('SELECT pingpong.seal()');
my $seal = $sub->safe_psql('postgres', 'SELECT seal_lsn FROM pingpong.gate');
$pub->safe_psql('postgres', "COMMIT PREPARED 'kept'");
$lsn = $pub->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
$pub->safe_psql('postgres', "ROLLBACK PREPARED 'dropped'");
workers_came_and_went('sealed');
is(rows('a < 0'), '0', 'not committed after the seal');
is(prepared(), '2', 'nor rolled back');
is(acknowledged($lsn), 'f', 'not acknowledged');

# also over a restart: the first worker meets the seal
$sub->restart;
workers_came_and_went('restarted');
is(rows('a < 0'), '0', 'not committed after a restart');
is(acknowledged($lsn), 'f', 'not acknowledged');
my ($wal) = run_command(['pg_waldump', '-p', $sub->data_dir . '/pg_wal', '-r', 'Transaction', '-s', $seal]);
unlike($wal, qr/COMMIT/, 'no commit record after the seal');

$sub->safe_psql('postgres', 'SELECT pingpong.resume()');
caught_up();
is(rows('a < 0'), '1', 'applied when the seal is lifted');
is(rows('a = -1'), '1', 'the one that was committed');
is(prepared(), '0', 'nothing stays prepared');
eval { $owner->quit };

# ---- again and again, with two-phase transactions always on their way ----

$pub->safe_psql('postgres', 'CREATE SEQUENCE n');
my $script = $pub->basedir . '/two_phase.sql';
append_to_file($script, "BEGIN;\nINSERT INTO t VALUES (-nextval('n') - 100);\nPREPARE TRANSACTION 'x:client_id';\n"
	. "COMMIT PREPARED 'x:client_id';\n");
my ($none, $said) = ('', '');
my $load = IPC::Run::start(['pgbench', '-n', '-c', '2', '-T', '600', '-f', $script, $pub->connstr('postgres')],
	'<', \$none, '>', \$said, '2>', \$said);
my $behind = '';
for my $n (1 .. 15)
{
	my $before = rows();
	my $found = $sub->safe_psql('postgres', "SELECT pingpong.quiesce(grace => '20s'); SELECT pingpong.seal()");
	($seal) = $found =~ /(\S+)\s*\z/;
	my ($commits) = run_command(['pg_waldump', '-p', $sub->data_dir . '/pg_wal', '-r', 'Transaction', '-s', $seal]);
	$behind .= $commits if $commits =~ /COMMIT/;
	$sub->safe_psql('postgres', 'SELECT pingpong.resume()');
	$sub->poll_query_until('postgres', "SELECT count(*) > $before FROM t") or die 'it does not go on';
}
is($behind, '', 'no commit record after any seal');
$load->signal('INT');
$load->finish;
$pub->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'")
	or die $said;
$pub->safe_psql('postgres',
	"SELECT format('COMMIT PREPARED %L', gid) FROM pg_prepared_xacts WHERE gid LIKE 'x%' \\gexec");
caught_up();
is(rows(), $pub->safe_psql('postgres', 'SELECT count(*) FROM t'), 'and in the end both have the same');
is($sub->safe_psql('postgres', 'SELECT subenabled FROM pg_subscription'), 't', 'the subscription was never disabled');

$sub->stop;
$pub->stop;
done_testing();
