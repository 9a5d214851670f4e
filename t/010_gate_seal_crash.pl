# A seal survives kill -9 of the postmaster, does not survive a promotion, and is no trap in a copy.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $conf = "shared_preload_libraries = 'pg_pingpong'\nmax_prepared_transactions = 5\nautovacuum = off\n";

my $p = PostgreSQL::Test::Cluster->new('chicago');
$p->init(allows_streaming => 1);
$p->append_conf('postgresql.conf', $conf);
$p->start;
$p->safe_psql('postgres', 'CREATE EXTENSION pg_pingpong; CREATE TABLE t (a int)');

sub state_of { return $_[0]->safe_psql('postgres', 'SELECT state FROM pingpong.gate') }

sub try_insert
{
	my ($node) = @_;
	my ($rc, $out, $err) = $node->psql('postgres',
		"SET statement_timeout = 200; SET transaction_read_only = off; INSERT INTO t VALUES (1)");
	return $rc == 0 ? 'ok' : $err;
}

# Start a killed server once it is buried: its lock files count until then, and in a container that may take a second.
sub crash
{
	my ($node) = @_;
	my $pid = $node->{_pid};
	$node->kill9;
	for (1 .. 300)
	{
		last unless kill(0, $pid);
		usleep(100_000);
	}
	$node->start;
}

sub seal_files { my ($node) = @_; my @files = glob($node->data_dir . '/pingpong.seal*'); return scalar @files }

# A hold is no seal: it is gone after a crash.
my $hold = $p->background_psql('postgres');
$hold->query_safe('SELECT pingpong.quiesce()');
is(state_of($p), 'hold', 'held');
$p->stop('immediate');
$p->start;
is(state_of($p), 'open', 'a hold does not outlive the server');
eval { $hold->quit };

# Sealed, killed, started: sealed from the first connection on.
my $lsn = $p->safe_psql('postgres', 'INSERT INTO t VALUES (0); SELECT pingpong.quiesce(); SELECT pingpong.seal()');
is(state_of($p), 'sealed', 'the seal outlives its session');
is(seal_files($p), 1, 'one seal file, no temporary one');
crash($p);
is(state_of($p), 'sealed', 'sealed after kill -9');
like(try_insert($p), qr/statement timeout/, 'a write is held');
is($p->safe_psql('postgres', 'SELECT count(*) FROM t'), '1', 'reads go on');
ok($p->log_contains(qr/this server is sealed at .* by run "manual"/), 'the log says so');

# A client that wants a server to write to goes by.
my ($rc, $out, $err) = $p->psql('postgres', 'SELECT 1',
	connstr => $p->connstr('postgres') . ' target_session_attrs=read-write');
isnt($rc, 0, 'target_session_attrs=read-write is refused');
like($err, qr/session is read-only/, 'because the session is read-only');
is($p->safe_psql('postgres', 'SHOW default_transaction_read_only',
		connstr => $p->connstr('postgres') . ' application_name=pingpong-agent'), 'off', 'but for agents');

# A standby made from a copy of it: no seal in recovery, none after promotion.
$p->backup('copy');
my $t = PostgreSQL::Test::Cluster->new('dallas');
$t->init_from_backup($p, 'copy', has_streaming => 1);
$t->start;
is(seal_files($t), 1, 'the file was copied');
is(state_of($t), 'open', 'the gate does nothing in recovery');
$t->promote;
is(try_insert($t), 'ok', 'void on the new timeline');
is(state_of($t), 'open', 'and the gate is open');
crash($t);
is(try_insert($t), 'ok', 'also after a crash');
is(state_of($p), 'sealed', 'the other one is still sealed');
$t->stop;

# Removed by hand, it is gone for good.
$p->safe_psql('postgres', 'SELECT pingpong.resume()');
is(seal_files($p), 0, 'the file is gone');
crash($p);
is(try_insert($p), 'ok', 'open after a crash');

# A file that cannot be read keeps the server closed.
append_to_file($p->data_dir . '/pingpong.seal', "garbage\n");
$p->restart;
is(state_of($p), 'sealed', 'an unreadable seal counts');
($rc, $out, $err) = $p->psql('postgres', 'SELECT pingpong.resume()');
like($err, qr/sealed by run "unreadable"/, 'and is not removed lightly');
$p->safe_psql('postgres', "SELECT pingpong.resume('two primaries are possible')");
is(try_insert($p), 'ok', 'but by who insists');

# Large objects come through the fast-path protocol, without any executor.
my $holder = $p->background_psql('postgres');
$holder->query_safe("SELECT pingpong.quiesce('read_only')");
($rc, $out, $err) = $p->psql('postgres', '\lo_import ' . $p->data_dir . '/PG_VERSION');
like($err, qr/the write gate is closed/, 'fast path is refused');
$holder->quit;
$p->poll_query_until('postgres', "SELECT state = 'open' FROM pingpong.gate") or die 'the gate did not open';

# The owner is killed, not ended: the server restarts, or the hold is over; either way no statement waits.
my $owner = $p->background_psql('postgres');
$owner->query_safe('SELECT pingpong.quiesce()');
my $pid = $p->safe_psql('postgres', 'SELECT owner FROM pingpong.gate');
kill 'TERM', $pid;
$p->poll_query_until('postgres', "SELECT state = 'open' FROM pingpong.gate") or die 'the gate did not open';
is(try_insert($p), 'ok', 'open without its owner');
eval { $owner->quit };

$p->stop;
done_testing();
