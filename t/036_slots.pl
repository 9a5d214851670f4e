# The worker's sampler and the view pingpong.slots: on the primary and on a standby; how fast a slot's WAL grows, and
# when it reaches the limit; silence of the worker; what sampling costs in WAL.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;
use Time::HiRes qw(sleep time);

my $lab = Lab->up(fast => 1, nodes => 2, poolers => 0, port => 21600, set => ['pingpong.sample_interval=100ms']);
$lab->sql('chicago', 'CREATE ROLE ops LOGIN IN ROLE pingpong_operator', 'CREATE ROLE mon LOGIN IN ROLE pg_monitor',
	'CREATE ROLE nobody LOGIN');
$lab->wait_for('dallas', q{SELECT pingpong.worker_pid() IS NOT NULL
	AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'nobody')}, 'the worker and the roles');

sub as { my ($role, $node) = @_; return $lab->env("DSN_$node") =~ s/user=\S+/user=$role/r; }

my $fresh = q{SELECT sampled_at > clock_timestamp() - interval '5 s' AND growth_bytes_per_s IS NOT NULL
	FROM pingpong.slots WHERE slot_name = };

# ---- who sees what ----

$lab->sql('chicago', q{SELECT pg_create_physical_replication_slot('forgotten', true)});
$lab->sql('dallas', q{SELECT pg_create_physical_replication_slot('own', true)});
$lab->wait_for('chicago', "$fresh 'forgotten'", 'a sample on the primary');
for my $role ('ops', 'mon')
{
	is($lab->sql(as($role, 'chicago'), q{SELECT slot_name, slot_type, coalesce(node, '-'), active, wal_status,
		retained_bytes >= 0, limit_in IS NULL, advice FROM pingpong.slots}),
		"forgotten|physical|-|f|reserved|t|t|Nobody uses it. If nobody will: "
		. "SELECT pg_drop_replication_slot('forgotten'). Nothing limits what it keeps: max_slot_wal_keep_size is -1\n"
		. 'pingpong_dallas|physical|dallas|t|reserved|t|t|', "$role sees whose slots there are, and what to do");
	ok($lab->wait_for(as($role, 'dallas'), "$fresh 'own'", 'a sample on the standby'), "$role sees a standby's");
}
like(($lab->try_sql(as('nobody', 'chicago'), 'SELECT * FROM pingpong.slots'))[1], qr/permission denied/,
	'anybody else does not');

# ---- a server with nothing to do writes no WAL for it ----

my $idle = q{SELECT count(*) = 1 FROM pingpong_internal.sample_trends(2000)
	WHERE slot_name IS NULL AND lsn_now = lsn_then AND until - since > interval '1 s'};
ok($lab->wait_for('chicago', $idle, 'an idle server', 120), 'ten samples, and no WAL');

# ---- the forecast ----

$lab->set($_, 'max_slot_wal_keep_size', '96MB') for $lab->nodes;
# the standby's slot is not used, and PostgreSQL's own figure counts from zero there
is($lab->sql('dallas', q{SELECT safe_wal_size BETWEEN 60e6 AND 120e6 FROM pingpong.slots WHERE slot_name = 'own'}),
	't', 'what is left for a slot of a standby');
is($lab->sql('chicago', q{SELECT o.safe_wal_size = p.safe_wal_size FROM pingpong.slots o
	JOIN pg_replication_slots p USING (slot_name) WHERE slot_name = 'forgotten'}), 't',
	'on a primary it is what PostgreSQL says');
# 8 MB each second
my $writer = $lab->begin_sql('chicago', q{DO $$
DECLARE began timestamptz := clock_timestamp();
BEGIN
	FOR i IN 1 .. 800 LOOP
		PERFORM pg_logical_emit_message(false, 'test', repeat('x', 419000));
		PERFORM pg_sleep(extract(epoch FROM began + i * interval '50 ms' - clock_timestamp()));
	END LOOP;
END $$});
$lab->sql('chicago', q{SELECT pg_create_physical_replication_slot('kept', true)});
my $left = q{FROM pingpong.slots WHERE slot_name = 'kept'};
# in one query: a moment later the worker's news may be too old
my $foretold;
$lab->until_true('a forecast, behind a third of it', sub {
	$foretold = $lab->sql('chicago', "SELECT extract(epoch FROM limit_in), disk_full_in > limit_in
		$left AND safe_wal_size < 64 * 1024 * 1024 AND limit_in IS NOT NULL");
});
my ($seconds, $disk) = split /\|/, $foretold;
my $asked = time;
$lab->until_true('the limit', sub { $lab->sql('chicago', "SELECT safe_wal_size <= 0 $left") eq 't' });
my $took = time - $asked;
cmp_ok(abs($took - $seconds), '<', 0.4 * $took, 'the limit is reached when it was foretold')
	or diag("foretold in $seconds s, took $took s");
note("foretold in $seconds s, took $took s");
is($disk, 't', 'the disk would have held longer');
like($lab->sql('chicago', "SELECT wal_status || ' ' || advice $left"), qr/^(extended|unreserved) Nobody uses it\./,
	'it is told what to do');
$lab->sql('chicago', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO %'});
$lab->finish($writer, 20);
$lab->sql('chicago', 'CHECKPOINT', 'SELECT pg_switch_wal()', 'CHECKPOINT');
like($lab->sql('chicago', "SELECT wal_status || ' ' || advice $left"), qr/^lost It is of no use any more/,
	'a lost slot: it is to be dropped');

# ---- old news is not shown as new ----

my $worker = $lab->pid('worker', 'chicago');
kill 'STOP', $worker;
ok($lab->wait_for('chicago', q{SELECT growth_bytes_per_s IS NULL AND limit_in IS NULL AND sampled_at IS NOT NULL
	FROM pingpong.slots WHERE slot_name = 'pingpong_dallas'}, 'silence'), 'a silent worker: no rate, and since when');
kill 'CONT', $worker;
ok($lab->wait_for('chicago', "$fresh 'pingpong_dallas'", 'news'), 'it speaks again');

# ---- across a switchover and back ----

for my $to ('dallas', 'chicago')
{
	my $from = $to eq 'dallas' ? 'chicago' : 'dallas';
	$lab->sql($from, "SELECT pingpong.switchover('$to')");
	is(($lab->settle($lab->last_run($to)))[0], 'succeeded', "moved to $to");
	ok($lab->wait_for($to, "$fresh 'pingpong_$from'", 'a sample on the new primary'), "$to has the slot of $from");
}
done_testing();
