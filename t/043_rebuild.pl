# A standby that is broken in one way or another is made one again, by each method; what is its own stays its own.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, poolers => 1, port => 19400);
my $data = $lab->env('PGDATA_dallas');
$lab->wait_for('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
$lab->sql('chicago', 'CREATE TABLE kept (i int)', 'INSERT INTO kept VALUES (0)');
my $writers = $lab->writers(writers => 2, rate => 60);

# ---- what is dallas's own ----

$lab->set('dallas', 'work_mem', '7MB');
append("$data/postgresql.conf", "maintenance_work_mem = '77MB'\n");
$lab->sql('dallas', 'SELECT pg_reload_conf()');
$lab->wait_for('dallas', q{SELECT current_setting('maintenance_work_mem') = '77MB'}, 'the setting');
append("$data/pg_hba.conf", "local all dallas_only reject\n");
append("$data/pg_ident.conf", "dallas_map someone app\n");

sub append
{
	my ($file, $line) = @_;
	open my $fh, '>>', $file or die "$file: $!";
	print $fh $line;
	close $fh or die;
	return;
}

sub slurp { my ($file) = @_; open my $fh, '<', $file or die "$file: $!"; local $/; return <$fh>; }
my %own = map { $_ => slurp("$data/$_") } qw(postgresql.conf pg_hba.conf pg_ident.conf);
$own{'postgresql.conf'} or die;

my $run = 0;
sub rebuilt
{
	my ($what, $method, $took, $risk) = @_;
	$run++;
	my ($out, $err, $rc) = $lab->try_sql('chicago',
		"SELECT * FROM pingpong.rebuild('dallas', '$method'" . ($risk ? ", risk => '$risk')" : ')'));
	is($out, "$run|succeeded", "$what: rebuild returns its row") or diag($err);
	is($lab->sql('chicago', "SELECT runbook, target, state, sentence FROM pingpong.run WHERE id = $run"),
		'rebuild|dallas|succeeded|done', "$what: the row of the run");
	is($lab->sql('chicago', "SELECT detail->>'method' FROM pingpong.step WHERE run = $run AND action = 'rejoin'"),
		$took, "$what: by $took");
	is($lab->sql('chicago', "SELECT count(*) FROM pingpong.step WHERE run = $run AND state <> 'succeeded'"), '0',
		"$what: each step is complete");
	is($lab->sql('dallas', q{SELECT pg_is_in_recovery(), (SELECT status FROM pg_stat_wal_receiver), (SELECT slot_name
			FROM pg_stat_wal_receiver)}),
		't|streaming|pingpong_dallas', "$what: it streams, over its slot");
	my $value = 1000 + $run;
	$lab->sql('chicago', "INSERT INTO kept VALUES ($value)");
	$lab->wait_for('dallas', "SELECT EXISTS (SELECT FROM kept WHERE i = $value)", 'a row of the primary');
	is($lab->sql('dallas', q{SELECT current_setting('cluster_name'), current_setting('work_mem'),
			current_setting('maintenance_work_mem'), current_setting('port')}),
		"dallas|7MB|77MB|" . $lab->env('PORT_dallas'), "$what: its own settings survive");
	is(slurp("$data/$_"), $own{$_}, "$what: its own $_ survives") for sort keys %own;
	is(join(' ', grep { -e && !/pingpong\.peers$/ } glob("$data/pingpong.* $data/recovery.signal $data.*")), '',
		"$what: no file is left over");
	is(join(' ', $lab->primary), 'chicago', "$what: one primary");
	is($lab->sql('chicago', q{SELECT string_agg(slot_name || ' ' || active, ', ') FROM pg_replication_slots}),
		'pingpong_dallas true', "$what: one slot");
	return;
}
sub diverge
{
	my ($rows) = @_;
	$lab->sql('dallas', 'SELECT pg_promote(true, 30)', 'CREATE TABLE IF NOT EXISTS of_dallas (i int)',
		"INSERT INTO of_dallas SELECT generate_series(1, $rows)");
	return;
}

# ---- nothing is wrong; stopped; slot dropped ----

rebuilt('a healthy standby', 'auto', 'none');
$lab->kill9('postgres', 'dallas');
rebuilt('a standby that was killed', 'auto', 'direct');
$lab->kill9('postgres', 'dallas');
rebuilt('the same, the method by name', 'direct', 'direct');
# pg_rewind would write a checkpoint of its own into this copy, on the timeline of the primary
$lab->kill9('postgres', 'dallas');
rebuilt('a standby with nothing to rewind', 'rewind', 'direct');
$lab->kill9('postgres', 'dallas');
$lab->wait_for('chicago', q{SELECT NOT active FROM pg_replication_slots}, 'the slot to be inactive');
$lab->sql('chicago', q{SELECT pg_drop_replication_slot('pingpong_dallas')});
rebuilt('a standby whose slot is gone', 'auto', 'direct');

# ---- promoted by hand, with rows of its own ----

diverge(1000);
my $words = 'its own writes are lost';
rebuilt('promoted by hand', 'rewind', 'rewind', $words);
is($lab->sql('dallas', q{SELECT to_regclass('of_dallas') IS NULL}), 't',
	'promoted by hand: what was written there is gone');
diverge(10);
$lab->kill9('postgres', 'dallas');
rebuilt('promoted by hand and killed', 'auto', 'rewind', $words);

# ---- WAL that the primary no longer has; files that are gone ----

$lab->set('chicago', 'wal_keep_size', '0');
$lab->set('chicago', 'max_wal_size', '32MB');
$lab->kill9('postgres', 'dallas');
$lab->wait_for('chicago', q{SELECT NOT active FROM pg_replication_slots}, 'the slot to be inactive');
$lab->sql('chicago', q{SELECT pg_drop_replication_slot('pingpong_dallas')}, 'SELECT pg_switch_wal()',
	'INSERT INTO kept VALUES (1)', 'SELECT pg_switch_wal()',
	'INSERT INTO kept VALUES (2)', 'CHECKPOINT', 'SELECT pg_switch_wal()', 'CHECKPOINT');
rebuilt('the primary has no WAL for it', 'auto', 'basebackup');

rebuilt('a healthy standby, copied anew', 'basebackup', 'basebackup');
$lab->kill9('postgres', 'dallas');
unlink "$data/global/pg_control" or die;
rebuilt('no pg_control', 'auto', 'basebackup', $words);

# ---- what cannot be done ----

$run++;
$lab->kill9('agent', 'dallas');
my ($out, $err, $rc) = $lab->try_sql('chicago', '\set VERBOSITY verbose', 'SET statement_timeout = 3000',
	q{SELECT * FROM pingpong.rebuild('dallas')});
like($err, qr/^ERROR:  57014: the run was cancelled and rolled back/m,
	'the agent is down: rebuild waits for it until it is cancelled');
is($lab->sql('chicago', "SELECT state FROM pingpong.run WHERE id = $run"), 'rolled_back',
	'the agent is down: no run goes on');
$lab->start_agent('dallas');
is($lab->sql('dallas', 'SELECT status FROM pg_stat_wal_receiver'), 'streaming',
	'the agent is down: the standby streams on');

like($lab->sql('chicago', 'SELECT pingpong.report(1)'), qr/^Rebuild of run 1: chicago -> dallas, succeeded$/m,
	'the report of a rebuild');
is($writers->verify('chicago')->{lost}, 0, 'no acknowledged row of the primary was lost meanwhile');
my $totals = $writers->stop;
is($totals->{errors} + $totals->{ambiguous} + $totals->{disconnects}, 0, 'no client noticed')
	or diag($totals->{sample});

done_testing();
