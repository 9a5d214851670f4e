# What a switchover refuses: each with its SQLSTATE and a hint, and nothing has changed. And what is rolled back.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Session;
use Test::More;
use Time::HiRes qw(sleep time);

my $lab = Lab->up(fast => 1, poolers => 1, nodes => 3, port => 19200);
my $caller = Session->open($lab, 'chicago');
$lab->sql('chicago', 'CREATE TABLE kept (i int)', 'CREATE ROLE nobody LOGIN', 'CREATE ROLE dba LOGIN',
	'GRANT pingpong_operator TO dba',
	'GRANT INSERT, SELECT ON kept TO nobody, dba');
$lab->wait_for('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
$lab->wait_for($_, 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker') for qw(dallas austin);

# All that a refusal must leave as it is.
sub picture
{
	return join "\n", $lab->sql('chicago',
		q{SELECT pg_is_in_recovery(), (SELECT state FROM pingpong.gate), (SELECT count(*) FROM pingpong.run),
			(SELECT epoch FROM pingpong.cluster), (SELECT string_agg(slot_name, ' ' ORDER BY slot_name)
			FROM pg_replication_slots),
			(SELECT string_agg(name || coalesce(node, '-'), ' ' ORDER BY name) FROM pingpong.route)}),
		$lab->sql('dallas', 'SELECT pg_is_in_recovery(), (SELECT count(*) FROM pg_replication_slots)'),
		$lab->sql('chicago', q{SHOW wal_writer_delay}), $lab->sql('dallas', 'SHOW wal_init_zero'),
		$lab->sql($lab->env('RW_DSN'), 'SELECT NOT pg_is_in_recovery()');
}

# The statement fails with this SQLSTATE and words like these; nothing has changed.
sub refused
{
	my ($what, $statement, $sqlstate, $words, $dsn) = @_;
	my $before = picture();
	my (undef, $err, $rc) = $lab->try_sql($dsn // 'chicago', '\set VERBOSITY verbose', $statement);
	like($err, qr/^ERROR:  $sqlstate: /m, "$what: SQLSTATE $sqlstate") or diag($err);
	like($err, $words, "$what: the words");
	is(picture(), $before, "$what: nothing has changed");
	return;
}
my $switchover = q{SELECT * FROM pingpong.switchover('dallas')};

# ---- bad arguments ----

refused('unknown node', q{SELECT pingpong.switchover('nowhere')}, '42704',
	qr/"nowhere" does not exist.*HINT:  Known nodes: austin, chicago, dallas/s);
refused('null', q{SELECT pingpong.switchover(NULL)}, '22004', qr/must not be null/);
refused('the primary', q{SELECT pingpong.switchover('chicago')}, '22023', qr/is the primary already/);
refused('a router', q{SELECT pingpong.switchover('pooler1')}, '22023', qr/is a router/);
refused('a negative grace', q{SELECT pingpong.switchover('dallas', grace => '-1 s')}, '22023', qr/"grace"/);
refused('a wrong word', q{SELECT pingpong.switchover('dallas', on_grace_end => 'kill')}, '22023',
	qr/"cancel" or "abort"/);
refused('without privilege', $switchover, '42501', qr/permission denied/,
	$lab->env('DSN_chicago') =~ s/user=\S+/user=nobody/r);
refused('in a transaction that has written', qq{BEGIN; INSERT INTO kept VALUES (0); $switchover}, '25001',
	qr/has written/);
refused('on a standby', $switchover, '55000',
	qr/this server is a standby.*HINT:  Ask "chicago": host 127\.0\.0\.1, port @{[$lab->env('PORT_chicago')]}\./s,
	'dallas');
refused('rebuild of the primary', q{SELECT pingpong.rebuild('chicago')}, '22023', qr/is the primary already/);

# ---- a target that is not ready ----

$lab->sql('dallas', 'SELECT pg_wal_replay_pause()');
$lab->wait_for('dallas', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}, 'the pause');
refused('replay paused', $switchover, '55000', qr/replay_not_paused/);
$lab->sql('dallas', 'SELECT pg_wal_replay_resume()');

$lab->set('dallas', 'recovery_min_apply_delay', '1min');
refused('delayed replay', $switchover, '55000', qr/no_apply_delay/);
$lab->set('dallas', 'recovery_min_apply_delay', undef);
# a run reloads the files
$lab->sql('dallas', q{ALTER SYSTEM SET recovery_min_apply_delay = '5s'});
refused('replay that a reload delays', $switchover, '55000',
	qr/no_apply_delay \(dallas\): recovery_min_apply_delay is 0, and 5s after a reload/);
$lab->sql('dallas', q{ALTER SYSTEM SET recovery_min_apply_delay = '0ms'});
is($lab->sql('chicago', q{SELECT status FROM pingpong.preflight('dallas') WHERE name = 'no_apply_delay'}), 'ok',
	'no delay in another unit');
$lab->sql('dallas', 'ALTER SYSTEM RESET recovery_min_apply_delay');

my $conninfo = $lab->sql('dallas', 'SHOW primary_conninfo');
$lab->set('dallas', 'primary_conninfo', $conninfo =~ s/port=\d+/port=9/r);
$lab->wait_for('chicago', q{SELECT count(*) = 0 FROM pg_stat_replication WHERE application_name = 'dallas'},
	'dallas to lose its stream');
refused('not streaming', $switchover, '55000', qr/target_streaming/);
$lab->set('dallas', 'primary_conninfo', $conninfo);
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pg_stat_replication
	WHERE application_name = 'dallas' AND state = 'streaming'}, 'dallas to stream');

# ---- agents ----

$lab->kill9('agent', 'dallas');
refused('the agent of the target is down', $switchover, '55000', qr/agent_reachable.*dallas/s);
$lab->start_agent('dallas');

$lab->kill9('agent', 'pooler1');
refused('the agent of the pooler is down', $switchover, '55000', qr/agent_reachable.*pooler1/s);
$lab->start_agent('pooler1');

my $good = $lab->sql('chicago', 'SHOW pingpong.agent_token_file');
open my $fh, '>', "$good.wrong" or die;
print $fh "wrong-token-wrong-token-wrong-token\n";
close $fh;
chmod 0600, "$good.wrong";
chown +(stat $good)[4, 5], "$good.wrong";
$lab->set('chicago', 'pingpong.agent_token_file', "$good.wrong");
refused('a wrong token', $switchover, '55000', qr/agent_reachable.*dallas.*token/s);
$lab->set('chicago', 'pingpong.agent_token_file', "$good.none");
refused('no token', $switchover, '55000', qr/agent_reachable.*dallas.*token/s);
$lab->set('chicago', 'pingpong.agent_token_file', $good);

# ---- roll-backs: the caller's Ctrl-C, the end of the permitted blackout, a transaction that does not end ----

# A run stopped after a step; gives the caller's job.
sub stopped_behind
{
	my ($action, $arguments) = @_;
	$lab->set('chicago', 'pingpong.debug_pause_after', $action);
	my $job = $lab->begin_sql('chicago', '\set VERBOSITY verbose',
		"SELECT run, state, new_primary FROM pingpong.switchover('dallas', $arguments)");
	$lab->wait_for('chicago',
		"SELECT coalesce(bool_or(state = 'succeeded') FILTER (WHERE action = '$action'), false) FROM pingpong.progress
		WHERE run_state = 'running'", "step $action");
	return $job;
}

sub cancel
{
	return $lab->sql('chicago', q{SELECT bool_and(pg_cancel_backend(pid)) FROM pg_stat_activity
		WHERE query LIKE 'SELECT run, state%' AND state = 'active'});
}

my $run = 0;
sub rolled_back
{
	my ($what, $job, $sqlstate, $words) = @_;
	$run++;
	my ($out, $err, $rc) = $lab->finish($job, 20);
	like($err, qr/^ERROR:  $sqlstate: /m, "$what: SQLSTATE $sqlstate") or diag("$out\n$err");
	like($err, $words, "$what: the words");
	my ($state, $sentence, $node) = $lab->settle($run);
	is("$state $node", 'rolled_back chicago', "$what: the run is rolled back") or diag($sentence);
	is($lab->sql('chicago', "SELECT count(*) FROM pingpong.step
			WHERE run = $run AND (state IN ('running', 'succeeded') AND undo IS NOT NULL)"), '0',
		"$what: what has an undo was undone");
	$lab->wait_for('chicago', q{SELECT state = 'open' FROM pingpong.gate}, 'the gate to open');
	is(join(' ', $lab->primary), 'chicago', "$what: one primary, the old one");
	ok($lab->sql_ok($lab->env('RW_DSN'), 'CREATE TEMP TABLE t (i int)'), "$what: writes flow through the pooler");
	is($lab->sql('dallas', q{SELECT count(*) FROM pg_replication_slots}), '0',
		"$what: no slot is left on the target");
	$lab->wait_for('chicago', q{SELECT current_setting('wal_writer_delay') = '200ms'}, 'wal_writer_delay');
	$lab->wait_for('dallas', q{SELECT current_setting('wal_init_zero') = 'on'}, 'wal_init_zero');
	$lab->set('chicago', 'pingpong.debug_pause_after', undef);
	return;
}

# before the gate
my $job = stopped_behind('warm', q{grace => '5 s'});
refused('a second switchover', q{SELECT pingpong.switchover('austin')}, '55006',
	qr/another request is being worked on/);
refused('a rebuild meanwhile', q{SELECT pingpong.rebuild('austin')}, '55006', qr/another request is being worked on/);
cancel();
rolled_back('cancelled before the gate', $job, '57014', qr/cancelled/);

# in the blackout, from each step on; the held statement, direct and through the pooler, goes on without an error
for my $action (qw(pause hold seal lag_zero))
{
	my $direct = Session->open($lab, 'chicago');
	my $pooled = Session->open($lab, $lab->env('RW_DSN'));
	$job = stopped_behind($action, q{grace => '5 s'});
	$_->send('CREATE TEMP TABLE held (i int)') for $direct, $pooled;
	$lab->wait_for('chicago', 'SELECT held >= 1 FROM pingpong.gate', 'a held statement') if $action ne 'pause';
	my $watch = Session->open($lab, 'chicago');
	my $began = time;
	$watch->ask(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity
		WHERE query LIKE 'SELECT run, state%' AND state = 'active'});
	is($direct->answer(5), '', "cancelled after $action: a held statement goes on");
	my $direct_ms = (time - $began) * 1000;
	is($pooled->answer(5), '', "cancelled after $action: so does one through the pooler");
	my $pooled_ms = (time - $began) * 1000;
	# 200 ms, and what a busy machine adds to it
	cmp_ok($direct_ms, '<', 400, "cancelled after $action: in time");
	cmp_ok($pooled_ms, '<', 400, "cancelled after $action: in time through the pooler");
	note sprintf('held statements went on after %.0f ms, and %.0f ms behind the pooler', $direct_ms, $pooled_ms);
	$_->close for $direct, $pooled, $watch;
	rolled_back("cancelled after $action", $job, '57014', qr/cancelled/);
}

# too long
{
	my $held = Session->open($lab, 'chicago');
	$job = stopped_behind('seal', q{max_blackout => '700 ms'});
	$held->send('INSERT INTO kept VALUES (100)');
	rolled_back('the permitted blackout is over', $job, '57014', qr/the permitted blackout of 700 ms was over/);
	is($held->answer(5), '', 'the permitted blackout is over: a held statement goes on');
	$held->close;
}

# a writer that does not end
{
	my $writer = Session->open($lab, 'chicago');
	$writer->ask('BEGIN');
	$writer->ask('INSERT INTO kept VALUES (200)');
	$job = $lab->begin_sql('chicago', '\set VERBOSITY verbose', q{SELECT run, state, new_primary
		FROM pingpong.switchover('dallas', grace => '200 ms', on_grace_end => 'abort')});
	rolled_back('a writer that does not end', $job, '55P03', qr/did not end within the grace.*process \d+/);
	is($writer->ask('INSERT INTO kept VALUES (201)'), '', 'a writer that does not end: the transaction goes on');
	is($writer->ask('COMMIT'), '', 'a writer that does not end: and commits');
	is($lab->sql('chicago', 'SELECT count(*) FROM kept WHERE i IN (200, 201)'), '2',
		'a writer that does not end: the rows are there');
	$writer->close;
}

# ---- too late to cancel ----

$lab->set('dallas', 'pingpong.debug_pause_after', 'settle');	# or it would stop the old primary, which stands still
$lab->set('chicago', 'pingpong.debug_pause_after', 'promote');
$job = $lab->begin_sql('chicago', q{SELECT run, state, new_primary FROM pingpong.switchover('dallas')});
$lab->wait_for('dallas', 'SELECT NOT pg_is_in_recovery()', 'the promotion');
cancel();
$lab->set('chicago', 'pingpong.debug_pause_after', undef);
my ($out, $err, $rc) = $lab->finish($job);
$lab->set('dallas', 'pingpong.debug_pause_after', undef);
$run++;
is($out, "$run|switched|dallas", 'cancelled after the point of no return: the run goes on') or diag($err);
like($err, qr/too late to cancel/, 'cancelled after the point of no return: the caller is told');
is(join(' ', $lab->settle($run)), 'succeeded done dallas',
	'cancelled after the point of no return: the run succeeded');

# ---- a role with the privilege; a runbook with steps that fail, and need not succeed ----

# One fails before the promotion, one after it.
$lab->sql('dallas', q{SELECT pingpong.copy_runbook('switchover', 'site')},
	q{INSERT INTO pingpong.runbook_step (runbook, ordinal, action, node, worker, on_failure, params, comment)
		SELECT 'site', o, 'hook', 'source', CASE WHEN o < 70 THEN 'source' ELSE 'target' END,
			'continue', '{"name": "nowhere"}', 'there is none' FROM unnest('{15,88}'::int[]) o});
# and an RO route of which the table does not know that it points to a third node
my $backends = $lab->env('BACKENDS_1');
open my $ini, '<', $backends or die;
my @lines = map { s/^(app_ro = .*port=)\d+/$1 . $lab->env('PORT_austin')/er } <$ini>;
open $ini, '>', $backends or die;
print $ini @lines;
close $ini or die;
$lab->sql($lab->env('ADMIN_DSN_1'), 'RELOAD');
$lab->sql('dallas', q{UPDATE pingpong.route SET node = NULL WHERE name = 'ro1'});
($out, $err, $rc) = $lab->try_sql($lab->env('DSN_dallas') =~ s/user=\S+/user=dba/r,
	q{SELECT state, new_primary FROM pingpong.switchover('chicago', options => '{"runbook": "site"}')});
is($out, 'switched|chicago',
	'a member of pingpong_operator may switch over; a step that may fail is no error for the caller') or diag($err);
like(join(' ', $lab->settle($run + 1)), qr/^succeeded done, but step hook of "dallas" failed: .* chicago$/,
	'a step that may fail is in the sentence');
is($lab->sql('chicago', "SELECT requested_by FROM pingpong.run WHERE id = $run + 1"), 'dba',
	'and says who asked for it');
is($lab->sql('chicago', q{SELECT node FROM pingpong.route WHERE name = 'ro1'}), 'austin',
	'an RO route that points to a third node stays there, also in the first run that sees it');
is($lab->sql($lab->env('RO_DSN'), 'SELECT inet_server_port()'), $lab->env('PORT_austin'),
	'and the router does not point it elsewhere');

done_testing();
