# Ways to a commit record, or to an effect outside of the server, that do not look like a write: none reaches past the
# seal.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $p = PostgreSQL::Test::Cluster->new('chicago');
$p->init(allows_streaming => 'logical');
$p->append_conf('postgresql.conf',
	"shared_preload_libraries = 'pg_pingpong'\nmax_prepared_transactions = 5\nautovacuum = off\n");
$p->start;
$p->safe_psql('postgres',
	'CREATE EXTENSION pg_pingpong; CREATE TABLE t (a int); CREATE PUBLICATION p FOR TABLE t; CREATE DATABASE other');
$p->safe_psql('other', 'CREATE TABLE t (a int)');

# What the transactions' records say from a position on.
sub records_from
{
	my ($lsn) = @_;
	my ($wal) = run_command(['pg_waldump', '-p', $p->data_dir . '/pg_wal', '-r', 'Transaction', '-s', $lsn]);
	return join ', ', $wal =~ /desc: (\w+)/g;
}

sub seal
{
	return ($p->safe_psql('postgres',
		"SELECT pingpong.quiesce(grace => '20s'); SELECT pingpong.seal()") =~ /(\S+)\s*\z/)[0];
}

sub unseal { return $p->safe_psql('postgres', 'SELECT pingpong.resume()') }

# Reading a temporary table that is emptied at commit takes an XID after the callbacks of the commit.
my $begun = $p->background_psql('postgres', on_error_stop => 0);
$begun->query_safe('CREATE TEMP TABLE u (a int) ON COMMIT DELETE ROWS');
$begun->query_safe('BEGIN; SELECT count(*) FROM u');
my $waits = $p->background_psql('postgres', on_error_stop => 0);
$waits->query_safe("DO 'BEGIN CREATE TEMP TABLE u ON COMMIT DELETE ROWS AS SELECT 1 AS a; END'");
my $plain = $p->background_psql('postgres', on_error_stop => 0);
$plain->query_safe('CREATE TEMP TABLE v (a int)');
my $lsn = seal();
is($plain->query('SELECT count(*) FROM v'), '0', 'a temporary table that stays as it is can be read');
$begun->query('COMMIT');
like($begun->{stderr}, qr/ERROR:  cannot write/, 'a transaction that has to empty its table cannot be committed');
$waits->query_until(qr/sent/, "\\echo sent\nSELECT 'read', count(*) FROM u;\n");
$p->poll_query_until('postgres', 'SELECT held = 1 FROM pingpong.gate') or die 'reading such a table is not held';
unlike(records_from($lsn), qr/COMMIT/, 'no commit of a temporary table after the seal');

# A session that ends drops its temporary tables.
my $from = -s $p->logfile;
$plain->quit;
$p->poll_query_until('postgres', "SELECT count(*) = 3 FROM pg_stat_activity WHERE backend_type = 'client backend'")
	or die 'it does not end';
unlike(records_from($lsn), qr/COMMIT/, 'no commit by a session that ends');
unlike(slurp_file($p->logfile, $from), qr/FATAL/, 'and no noise about it');
is($p->safe_psql('postgres', 'SELECT state FROM pingpong.gate'), 'sealed', 'still sealed');
unseal();
$waits->query_until(qr/read\|0/, "\n");
pass('what waited goes on');
$begun->quit;
$waits->quit;

$p->stop;
done_testing();
