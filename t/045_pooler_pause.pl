# Clients of a pooler while the primary moves: long reads, users in session pooling, many databases; what is noted of
# routes and what the report says.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Session;
use Test::More;

my $lab = Lab->up(fast => 1, poolers => 2, port => 19500);
my $rw = $lab->env('RW_DSN');
my $admin = $lab->env('ADMIN_DSN_1');
my ($from, $to) = qw(chicago dallas);

sub spew_more
{
	my ($path, $text) = @_;
	open my $fh, '>>', $path or die "$path: $!";
	print $fh $text;
	close $fh or die;
	return;
}

sub preflight
{
	my ($name, $status) = @_;
	return $lab->sql($from, "SELECT coalesce(string_agg(detail, E'\n' ORDER BY detail), '')
		FROM pingpong.preflight('$to') WHERE name = '$name' AND status = '$status'");
}

# A switchover to the other node; gives the run.
sub flip
{
	my ($what, $more) = @_;
	my ($out, $err, $rc) = $lab->try_sql($from,
		"SELECT run, state FROM pingpong.switchover('$to'" . ($more ? ", $more" : '') . ')');
	is($out =~ s/^\d+\|//r, 'switched', "$what: switched") or diag($err);
	my ($run) = $out =~ /^(\d+)/ or die "$what: no run";
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "$what: succeeded");
	is($lab->sql($rw, 'SELECT inet_server_port()'), $lab->env("PORT_$to"), "$what: the route points to $to");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$from' AND state = 'streaming'", "$from to stream");
	($from, $to) = ($to, $from);
	return $run;
}

sub step_ms
{
	my ($run, $action) = @_;
	return $lab->sql($from, "SELECT max(duration_ms) FROM pingpong.step WHERE run = $run AND action = '$action'");
}

sub is_active
{
	my ($seconds, $text) = @_;
	return $lab->wait_for($from, "SELECT count(*) = 1 FROM pg_stat_activity
		WHERE state = 'active' AND query LIKE '%$text%' AND pid <> pg_backend_pid()
		AND clock_timestamp() - xact_start > interval '$seconds s'", 'the report');
}

# ---- a long read in the pool: writers do not wait for it ----

my $writers = $lab->writers(writers => 4, rate => 150);
$lab->wait_for('chicago', 'SELECT count(*) > 50 FROM ledger', 'the writers');

for my $i (1 .. 2)
{
	# it lasts until the old primary's idle sessions are ended, after the move; within the grace of readers it gets
	# its result, and the grace of writers, which is longer, is not spent on it
	my $holder = Session->open($lab, $from);
	$holder->ask('SELECT pg_advisory_lock(1)');
	my $report = $lab->begin_sql($rw,
		q{SELECT 'rows', count(*) > 0 FROM ledger, pg_advisory_lock_shared(1) AS report});
	is_active(1, 'AS report');
	like(preflight('pooler_long_reads', 'warn'),
			qr/database "app": a read runs for [0-9.]+ s \(process \d+, user app/, "long read $i: preflight names it")
		if $i == 1;
	$writers->mark("read $i");
	my $run = flip("long read $i", q{grace => '40 s', max_blackout => '60 s', readers_grace => '40 s'});
	cmp_ok(step_ms($run, 'pause'), '<', 20000, "long read $i: PAUSE does not wait for it");
	is($lab->sql($from, "SELECT message FROM pingpong.step WHERE run = $run AND action = 'pause' AND node = 'rw1'"),
		'long transactions were not waited for',
		"long read $i: the journal says so");
	my ($out, $err, $rc) = $lab->finish($report, 60);
	is("$rc $out", '0 rows|t', "long read $i: the client gets its result") or diag($err);
	$holder->close;
}

for my $i (3, 4)
{
	# beyond the grace of readers it is told so, and has changed nothing
	my $report = $lab->begin_sql($rw, 'SELECT pg_sleep(600)');
	is_active(1, 'pg_sleep(600)');
	my $run = flip("long read $i", q{grace => '40 s', max_blackout => '60 s', readers_grace => '300 ms'});
	my ($out, $err, $rc) = $lab->finish($report, 60);
	isnt($rc, 0, "long read $i: the client gets no result");
	like($err, qr/FATAL:  terminating connection/, "long read $i: but the reason");
}
my $seen = $writers->order('end');
is($writers->verify($from)->{lost}, 0, 'long reads: nothing lost');
my $totals = $writers->stop;
is("$totals->{errors} $totals->{disconnects} $totals->{ambiguous}", '0 0 0', 'long reads: no error for writers')
	or diag($totals->{sample});

# ---- a transaction that has only read so far, and will write ----

my $run;
{
	my $young = Session->open($lab, $rw);
	$young->ask('BEGIN');
	$young->ask('SELECT 1');
	$lab->wait_for($from, q{SELECT count(*) = 1 FROM pg_stat_activity
		WHERE state = 'idle in transaction' AND usename = 'app' AND clock_timestamp() - xact_start > interval '1 s'},
		'the transaction to be old');
	$run = flip('idle in transaction', q{grace => '40 s', max_blackout => '60 s'});
	like($young->ask('CREATE TABLE never (i int)', 20) // 'no answer', qr/57P01|25006|gone|connection/i,
		'idle in transaction: the client gets a definite error');
	$young->close;
	is($lab->sql($from, q{SELECT to_regclass('never') IS NULL}), 't', 'idle in transaction: nothing was written');
	flip('idle in transaction, back');
}

# ---- a user in session pooling, in a database that is not ----

for my $k (1, 2)
{
	spew_more($lab->dir . "/pgbouncer$k/pgbouncer.ini", "\n[users]\napp = pool_mode=session\n");
	$lab->sql($lab->env("ADMIN_DSN_$k"), 'RELOAD');
}
for my $i (1 .. 2)
{
	my $idle = Session->open($lab, $rw);
	like(preflight('pooler_settings', 'info'),
		qr/database "app": user "app" is in session pooling, the database is not/,
		"session user $i: preflight says so") if $i == 1;
	$run = flip("session user $i", q{grace => '40 s', max_blackout => '60 s'});
	cmp_ok(step_ms($run, 'pause'), '<', 20000, "session user $i: PAUSE does not wait for them");
	like($idle->ask('SELECT 1', 20) // 'no answer', qr/57P01|gone|connection|^1$/i,
		"session user $i: the session goes on anew, or is told");
	$idle->close;
}

# ---- many databases ----

my $many = 400;
spew_more($lab->env('BACKENDS_1'), join '',
	map { sprintf "tenant%03d = host=127.0.0.1 port=%d dbname=app\n", $_, $lab->env("PORT_$from") } 1 .. $many);
$lab->sql($admin, 'RELOAD');
like(preflight('pooler_databases', 'warn'),
	qr/tenant001.*tenant020 and 380 more point to this primary and no route covers them/,
	'many databases: preflight names the first');
my ($out, $err, $rc) = $lab->try_sql($from, q{SELECT pingpong.add_route('big', 'rw', 'pgbouncer', 'pooler1', 'main',
	(SELECT jsonb_object_agg('t' || i, '') FROM generate_series(1, 501) i))});
like($err, qr/^ERROR:  .*500 databases/m, 'many databases: add_route() tells the limit');
$lab->sql($from, qq{SELECT pingpong.add_route('tenants', 'rw', 'pgbouncer', 'pooler1', 'main',
	(SELECT jsonb_object_agg('tenant' || lpad(i::text, 3, '0'), 'dbname=app') FROM generate_series(1, $many) i))});
my @busy = map { Session->open($lab, $rw =~ s/dbname=app/dbname=$_/r) } qw(tenant007 tenant119);
for my $i (1 .. 2)
{
	$run = flip("many databases $i");
	my @found = grep { /^tenant/ } split /\n/, $lab->sql($admin, 'SHOW DATABASES');
	is(scalar(@found), $many, "many databases $i: all are there");
	is(scalar(grep { (split /\|/)[2] == $lab->env("PORT_$from") } @found), $many,
		"many databases $i: all point to $from");
	is(scalar(grep { !/\|0\|0$/ } @found), 0, "many databases $i: none is paused");
}
$_->close for @busy;
$lab->sql($from, q{SELECT pingpong.drop_route('tenants')});

# ---- the report adds up ----

for my $i (1 .. 2)
{
	$run = flip("report $i");
	is($lab->sql($from, qq{WITH s AS (SELECT * FROM pingpong.step WHERE run = $run)
		SELECT extract(epoch FROM (SELECT max(started_at + duration_ms * interval '1 ms') FROM s
				JOIN pingpong.route r ON r.name = s.node AND r.kind = 'rw' WHERE action = 'repoint')
			- (SELECT min(started_at) FROM s WHERE action = 'pause')) * 1000 - blackout_ms BETWEEN -1 AND 50
		FROM pingpong.run WHERE id = $run}), 't',
		"report $i: from the first pause to the end of the last repoint is the blackout, as the old primary saw it");
	is($lab->sql($from, qq{SELECT count(*)
		FROM (SELECT started_at >= lag(ended_at) OVER (ORDER BY ordinal, started_at) - interval '1 ms' AS fine
		FROM pingpong.step WHERE run = $run AND action IN ('hold', 'seal', 'lag_zero', 'promote')) s WHERE NOT fine}),
		'0', "report $i: one step after the other");
	is($lab->sql($from, qq{SELECT count(*) FROM pingpong.step
			WHERE run = $run AND state = 'succeeded' AND (started_at IS NULL OR duration_ms IS NULL)}), '0',
		"report $i: each step has its time, also what the old primary did last");
}

# ---- a site's smoke test ----

my $smoke = sub { $lab->sql($from, "UPDATE pingpong.route SET smoke = \$\$$_[0]\$\$ WHERE name = 'rw1'"); };
$smoke->('SELECT NOT pg_is_in_recovery()');
(undef, $err, $rc) = $lab->try_sql($from, "SELECT * FROM pingpong.switchover('$to')");
like($err, qr/^ERROR:  \[pgbouncer\.main\] has no connection string "smoke"/m,
	'smoke test: the agent needs to know how to connect');
$lab->set_agent('pooler1', smoke => $rw);
$lab->kill9('agent', 'pooler1');
$lab->start_agent('pooler1');
$smoke->('SELECT 1 / 0');
(undef, $err, $rc) = $lab->try_sql($from, "SELECT * FROM pingpong.switchover('$to')");
like($err, qr/^ERROR:  the smoke test through PgBouncer "main" failed: .*division by zero/m,
	'smoke test: one that fails before the move ends it');
unlike($err, qr/NOTICE:  pause/, 'smoke test: before the blackout');
$smoke->('SELECT NOT pg_is_in_recovery()');
for my $i (1 .. 2)
{
	$run = flip("smoke test $i");
	is($lab->sql($from, "SELECT string_agg(node || ' ' || state, ', ' ORDER BY node) FROM pingpong.step
			WHERE run = $run AND action = 'smoke'"),
		'rw1 succeeded, rw2 succeeded', "smoke test $i: made");
}
$smoke->('SELECT inet_server_port() = ' . $lab->env("PORT_$from"));
($out) = $lab->try_sql($from, "SELECT run FROM pingpong.switchover('$to')");
my $not_served = 'is the primary, but its clients are not served';
my $not_true = 'the smoke test through PgBouncer "main" did not give true\.';
like(join(' ', ($lab->settle($out))[0, 1]),
	qr/^stuck "$to" $not_served: step smoke of "rw1" failed: $not_true .*pingpong\.repoint\(\)/,
	'smoke test: one that fails after the move leaves the run stuck');
$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication
	WHERE application_name = '$from' AND state = 'streaming'", "$from to stream");
($from, $to) = ($to, $from);
(undef, $err, $rc) = $lab->try_sql($from, 'SELECT state FROM pingpong.repoint()');
like($err, qr/^ERROR:  the smoke test through PgBouncer "main" did not give true/m,
	'smoke test: repoint() looks again');
$lab->sql($from, 'UPDATE pingpong.route SET smoke = NULL');
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded', 'smoke test: repoint() when it is fixed');
is($lab->sql($from, "SELECT count(*) FROM pingpong.run WHERE state = 'stuck'"), '0',
	'smoke test: and closes the runs');

# ---- no client can write on the new primary: not "succeeded", either ----

$lab->set($from, 'pingpong.debug_pause_after', 'warm');
my $mute = $lab->begin_sql($from, "SELECT run FROM pingpong.switchover('$to')");
$lab->wait_for($from, q{SELECT bool_or(state = 'succeeded') FROM pingpong.progress
	WHERE run_state = 'running' AND action = 'warm'}, 'the run to stand behind preflight');
$lab->set($to, 'default_transaction_read_only', 'on');
$lab->set($from, 'pingpong.debug_pause_after', undef);
($out, $err) = $lab->finish($mute);
my $read_only = 'no client can write: default_transaction_read_only is on\.';
like(join(' ', ($lab->settle($out))[0, 1]), qr/^stuck "$to" $not_served: step writable of "$to" failed: $read_only /,
	'read-only: the run is stuck') or diag($err);
($from, $to) = ($to, $from);
$lab->set($from, 'default_transaction_read_only', undef);
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded',
	'read-only: repoint() sees that it is fixed');
is($lab->sql($from, "SELECT state FROM pingpong.run WHERE id = $out"), 'succeeded', 'read-only: and closes the run');

# ---- repoint() notes what it changed, and only that ----

$lab->sql($from, "UPDATE pingpong.route SET node = '$to' WHERE kind = 'rw'");
like(preflight('routes_observed', 'fail'), qr/rw route "rw1" belongs to node "$to"/,
	'after a promotion by hand the table of routes is wrong');
$lab->kill9('agent', 'pooler2');
my $job = $lab->begin_sql($from, 'SELECT state FROM pingpong.repoint()');
(undef, $err, $rc) = $lab->finish($job, 90);
isnt($rc, 0, 'repoint() with one router away fails');
is($lab->sql($from, 'SELECT state FROM pingpong.run ORDER BY id DESC LIMIT 1'), 'stuck',
	'it is not called rolled back: one route was changed');
is($lab->sql($from, q{SELECT string_agg(name || ' ' || node, ', ' ORDER BY name) FROM pingpong.route
	WHERE kind = 'rw'}), "rw1 $from, rw2 $to", 'and notes the route that it changed');
$lab->start_agent('pooler2');
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded', 'repoint() with all of them');
is($lab->sql($from, q{SELECT string_agg(name || ' ' || node, ', ' ORDER BY name) FROM pingpong.route
	WHERE kind = 'rw'}), "rw1 $from, rw2 $from", 'notes all');
is(preflight('routes_observed', 'fail') . preflight('no_other_run', 'fail'), '', 'and preflight is content');
flip('after repoint()');
done_testing();
