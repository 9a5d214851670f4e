# A switchover as its caller and its clients see it: ping, pong, poolers, databases, readers, open transactions.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Session;
use Test::More;
use Time::HiRes qw(time);

my $lab = Lab->up(fast => 1, poolers => 2, port => 19000);

# ---- a second database behind the first pooler, and the superuser ----

my $super = $lab->sql('chicago', 'SELECT current_user');
$lab->sql('chicago', 'CREATE DATABASE billing OWNER app');
$lab->sql('chicago', q{SELECT pingpong.drop_route('rw1')},
	q{SELECT pingpong.add_route('rw1', 'rw', 'pgbouncer', 'pooler1', 'main',
		'{"app": "", "billing": "pool_size=5"}')});
open my $fh, '>>', $lab->env('BACKENDS_1') or die;
print $fh 'billing = host=127.0.0.1 port=' . $lab->env('PORT_chicago') . " pool_size=5\n";
close $fh;
open $fh, '<', $lab->env('PASSFILE') or die;
my ($password) = map { /^\*:\*:\*:\Q$super\E:(.*)/ } <$fh>;
open $fh, '>>', $lab->dir . '/pgbouncer1/userlist.txt' or die;
print $fh qq{"$super" "$password"\n};
close $fh;
$lab->sql($lab->env('ADMIN_DSN_1'), 'RELOAD');
my $rw = $lab->env('RW_DSN');
my $billing = $rw =~ s/dbname=app/dbname=billing/r;
my $super_rw = $rw =~ s/user=app/user=$super/r;
$lab->sql('chicago', 'CREATE TABLE kept (i int)');

# ---- what each run must look like ----

# (what end_sessions did is the last thing the old primary does: it cannot tell any more)
sub check_run
{
	my ($run, $from, $to, $what) = @_;
	my ($state, $sentence, $at) = $lab->settle($run);
	is("$state $sentence", 'succeeded done', "$what: the run succeeded");
	is(join(' ', $lab->primary), $to, "$what: one primary, the target");
	is($lab->sql($to, "SELECT coalesce(string_agg(action || ' ' || node || ' ' || state, ', '), '') FROM pingpong.step
		WHERE run = $run AND state NOT IN ('succeeded', 'skipped') AND action <> 'end_sessions'"), '',
		"$what: each step is complete");
	is($lab->sql($to, "SELECT count(*) FROM pingpong.step WHERE run = $run AND action <> 'end_sessions'
		AND state <> 'skipped' AND (duration_ms IS NULL OR duration_ms < 0 OR started_at IS NULL
		OR started_at < (SELECT started_at - interval '1 s' FROM pingpong.run WHERE id = $run))"), '0',
		"$what: each step has its time");
	is($lab->sql($to, "SELECT source || ' ' || target || ' ' || (switched_at > started_at AND ended_at > switched_at)
		FROM pingpong.run WHERE id = $run"), "$from $to true", "$what: the row of the run");
	is($lab->sql($to, "SELECT count(*) FROM pingpong.run WHERE state = 'running'"), '0',
		"$what: nothing is left running");
	is($lab->sql($to,
			"SELECT string_agg(name || ' ' || coalesce(node, '-'), ', ' ORDER BY name) FROM pingpong.route"),
		"ro1 $from, ro2 $from, rw1 $to, rw2 $to", "$what: the routes say where they point");
	is($lab->sql($to, q{SELECT string_agg(slot_name || ' ' || active, ' ') FROM pg_replication_slots}),
		"pingpong_$from true",
		"$what: the new primary has the slot of the old one");
	is($lab->sql($from, q{SELECT count(*) FROM pg_replication_slots}), '0', "$what: the old primary has none");
	$lab->wait_for($from, "SELECT EXISTS (SELECT FROM pingpong.run WHERE id = $run AND state = 'succeeded')",
		'the journal on the standby');
	is($lab->sql($_, 'SELECT name FROM pingpong.where_is_primary()'), $to, "$what: $_ knows the primary")
		for $from, $to;
	is($lab->sql($_, 'SELECT state FROM pingpong.gate'), 'open', "$what: the gate of $_ is open") for $from, $to;
	is($lab->sql($lab->env('RO_DSN'), 'SELECT pg_is_in_recovery()'), 't', "$what: the RO route points to a standby");
	like($lab->sql($to, "SELECT state, message FROM pingpong.step WHERE run = $run AND action = 'warm_routes'"),
		qr/^succeeded\|(\d+) of \1 databases$/, "$what: the databases of the RW routes were read on the target");
	is($lab->sql($to, "SELECT count(*) FROM pg_settings
			WHERE name IN ('wal_init_zero', 'synchronous_standby_names') AND setting NOT IN ('on', '')"),
		'0', "$what: settings of the new primary as before");
	is($lab->sql($from, q{SHOW wal_writer_delay}), '200ms', "$what: settings of the old primary as before");
	return;
}

sub check_writers
{
	my ($what, $node, @writers) = @_;
	for my $w (@writers)
	{
		my $totals = $w->[1]->stop;
		cmp_ok($totals->{acked}, '>', 20, "$what: $w->[0] wrote");
		is($totals->{ambiguous}, 0, "$what: nothing ambiguous for $w->[0]") or diag($totals->{sample});
		is($totals->{errors}, 0, "$what: no error for $w->[0]") or diag($totals->{sample}) if !$w->[2];
		is($totals->{disconnects}, 0, "$what: no disconnect for $w->[0]") if !$w->[2];
		cmp_ok($totals->{disconnects_max}, '<=', $w->[2],
			"$what: at most $w->[2] disconnects for each client of $w->[0]") if $w->[2];
	}
	return;
}

sub check_lost
{
	my ($what, @verified) = @_;
	is($_->[1]{lost}, 0, "$what: nothing lost of $_->[0]") for @verified;
	return;
}

# ---- ping: transaction pooling, two poolers, two databases ----

my $first = $lab->writers(writers => 6, rate => 300);
my $txn = $lab->writers(writers => 3, rate => 60, txn => 1);
my $second = $lab->writers(writers => 3, rate => 60, dsn => $lab->env('RW_DSN_2'));
my $other = $lab->writers(writers => 3, rate => 60, dsn => $billing);
$lab->wait_for('chicago', 'SELECT count(*) > 50 FROM ledger', 'the writers');
$lab->sql('chicago', 'BEGIN', 'INSERT INTO kept VALUES (1)', q{PREPARE TRANSACTION 'across'});
my $reader = $lab->begin_sql('chicago', q{SELECT count(*) > 0 FROM ledger, pg_sleep(1)});
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query LIKE '%pg_sleep(1)%' AND pid <> pg_backend_pid() AND state = 'active'}, 'the reader');
my $idle = Session->open($lab, 'chicago');
$idle->ask('CREATE TEMP TABLE mine (i int)');

my ($out, $err, $rc) = $lab->try_sql('chicago', q{SELECT run, state, blackout_ms BETWEEN 0.1 AND 5000,
	seal_lsn > '0/0', new_primary FROM pingpong.switchover('dallas')});
is($rc, 0, 'ping: switchover returns') or diag($err);
is($out, '1|switched|t|t|dallas', 'ping: the row says what happened');
my @notices = $err =~ /^NOTICE:  (\w+)\s/mg;
for my $step (qw(checkpoint slots prepare_route arm pause hold seal lag_zero promote repoint))
{
	ok((grep { $_ eq $step } @notices), "ping: a NOTICE for $step");
}
like($err, qr/^NOTICE:  preflight passed$/m, 'ping: a NOTICE for preflight');
like($err, qr/^NOTICE:  writes flow on "dallas", blackout [0-9.]+ ms$/m,
	'ping: a NOTICE for the end of the blackout');
($out, $err, $rc) = $lab->finish($reader);
is("$rc $out", '0 t', 'ping: a reader within the grace gets the answer');
check_run(1, 'chicago', 'dallas', 'ping');
like($idle->ask('SELECT 1'), qr/57P01|gone|connection/i,
	'ping: an idle session of the old primary was told to connect anew');
$idle->close;

is($lab->sql('dallas', q{SELECT gid FROM pg_prepared_xacts}), 'across', 'ping: a prepared transaction has moved');
$lab->sql('dallas', q{COMMIT PREPARED 'across'});
is($lab->sql('dallas', 'SELECT count(*) FROM kept'), '1', 'ping: and can be committed there');

my $report = $lab->sql('dallas', 'SELECT pingpong.report(1)');
like($report, qr/chicago -> dallas, succeeded$/m, 'the report: what');
like($report, qr/^  seal LSN [0-9A-F]+\/[0-9A-F]+: /m, 'the report: seal LSN');
like($report, qr/^  blackout [0-9.]+ ms$/m, 'the report: blackout');
like($report, qr/^  preflight: .*ok/m, 'the report: preflight');
like($report, qr/^ +[0-9.]+ +[0-9.]+  promote +dallas +succeeded$/m, 'the report: a step with its time');
like($report, qr/verify +dallas +succeeded  all standbys have replayed what was written here$/m,
	'the report: what was verified');
is($lab->sql('dallas',
		q{SELECT count(*) FROM pingpong.plan('chicago') WHERE estimate_ms IS NULL AND action <> 'end_sessions'}), '0',
	'plan has an estimate for each step');
is($lab->sql('dallas', q{SELECT string_agg(DISTINCT run_state, ' ') FROM pingpong.progress}), 'succeeded',
	'progress on the new primary shows the run');

# ---- pong: the caller comes through the pooler; a reader beyond the grace; a writer that does not end ----

my $lazy = Session->open($lab, 'dallas');
$lazy->ask('BEGIN');
$lazy->ask('INSERT INTO kept VALUES (2)');
my $slow = $lab->begin_sql('dallas', 'SELECT pg_sleep(60)');
$lab->wait_for('dallas', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid() AND state = 'active'}, 'the slow reader');
($out, $err, $rc) = $lab->try_sql($super_rw, q{SELECT run, state, new_primary
	FROM pingpong.switchover('chicago', grace => '200ms', readers_grace => '300ms')});
is($rc, 0, 'pong: a caller through the pooler gets the answer') or diag($err);
is($out, '2|switched|chicago', 'pong: the row');
check_run(2, 'dallas', 'chicago', 'pong');
(undef, $err, $rc) = $lab->finish($slow, 10);
like($err, qr/terminating connection/, 'pong: a reader beyond the grace is ended with a definite error');
like($lazy->ask('COMMIT'), qr/57P01|25P02|40001|57014|gone|connection/i,
	'pong: a transaction over its grace cannot commit');
$lazy->close;
is($lab->sql('chicago', 'SELECT count(*) FROM kept WHERE i = 2'), '0', 'pong: and it has not');

# ---- what the clients saw ----

my $app2 = $lab->env('DSN_chicago') =~ s/dbname=app/dbname=billing/r;
check_lost('transaction pooling', map { [$_->[0], $_->[1]->verify($_->[2])] }
	(['the first pooler', $first, 'chicago'], ['BEGIN blocks', $txn, 'chicago'],
		['the second pooler', $second, 'chicago'], ['another database', $other, $app2]));
check_writers('transaction pooling', 'chicago', ['the first pooler', $first, 0], ['BEGIN blocks', $txn, 0],
	['the second pooler', $second, 0], ['another database', $other, 0]);
$lab->down;

# ---- session pooling, and direct connections ----

$lab = Lab->up(fast => 1, poolers => 1, pool_mode => 'session', port => 19000);
my $pooled = $lab->writers(writers => 4, rate => 150);
my $direct = $lab->writers(writers => 4, rate => 150, dsn => $lab->env('DIRECT_DSN'));
$lab->wait_for('chicago', 'SELECT count(*) > 50 FROM ledger', 'the writers');
my ($from, $to) = qw(chicago dallas);
for my $run (1 .. 2)
{
	$_->mark("run $run") for $pooled, $direct;
	is($lab->sql($from, "SELECT state, new_primary FROM pingpong.switchover('$to')"), "switched|$to",
		"session pooling: run $run");
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "session pooling: run $run succeeded");
	my $rows = $lab->sql($to, 'SELECT count(*) FROM ledger');
	$lab->wait_for($to, "SELECT count(*) > $rows + 20 FROM ledger", 'more rows');
	for my $w (['session pooling', $pooled], ['direct', $direct])
	{
		my $seen = $w->[1]->end;
		cmp_ok($seen->{disconnects_max}, '<=', 1, "$w->[0]: at most one disconnect for each client in run $run");
		is($seen->{ambiguous}, 0, "$w->[0]: nothing ambiguous in run $run") or diag($seen->{sample});
		cmp_ok($seen->{acked}, '>', 10, "$w->[0]: writes in run $run");
	}
	($from, $to) = ($to, $from);
}
is($_->[1]->verify('chicago')->{lost}, 0, "$_->[0]: nothing lost")
	for ['session pooling', $pooled], ['direct', $direct];
$_->stop for $pooled, $direct;

# ---- a step that a move can do without ----

# its time is up at once: the answer is that of the run, the journal tells of the step
$lab->sql('chicago',
	q{UPDATE pingpong.runbook_step SET timeout = '0' WHERE runbook = 'switchover' AND action = 'warm'});
is($lab->sql('chicago', q{SELECT state, new_primary FROM pingpong.switchover('dallas')}), 'switched|dallas',
	'a step that may fail: the answer');
is(join(' ', ($lab->settle(3))[0]), 'succeeded', 'a step that may fail: succeeded');
is($lab->sql('dallas', q{SELECT state FROM pingpong.progress WHERE action = 'warm'}), 'failed',
	'a step that may fail: the journal');

done_testing();
