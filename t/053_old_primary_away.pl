# The old primary does not come back, by accident or on purpose: nothing waits for it, readers are served, what was
# relaxed is remembered and restored when a standby is there.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, sync => 1, port => 25300);
my $load = $lab->writers(writers => 2, rate => 50);

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary, "SELECT count(*) = 1 FROM pingpong.standby
		WHERE name = '$standby' AND state = 'streaming'", "$standby to stream", 60);
}

sub names { my ($node) = @_; return $lab->sql($node, 'SHOW synchronous_standby_names'); }

sub steps
{
	my ($node, $run, $actions) = @_;
	return $lab->sql($node, "SELECT string_agg(concat_ws(' ', action, node, state, message), '; '
		ORDER BY ordinal, action, node) FROM pingpong.step WHERE run = $run AND action IN ($actions)");
}

sub route { my ($node) = @_; return $lab->sql($node, q{SELECT node FROM pingpong.route WHERE name = 'ro1'}); }
sub reads { return $lab->sql($lab->env('RO_DSN'), 'SELECT 1'); }

# ---- its host loses power after the promotion ----

$lab->sql('chicago', q{UPDATE pingpong.route SET node = 'dallas' WHERE name = 'ro1'});
is(names('chicago'), 'ANY 1 (dallas)', 'commits wait for the other node');
$lab->set('dallas', 'pingpong.debug_pause_after', 'settle');
$lab->set('dallas', 'pingpong.rejoin_timeout', '3s');
my $job = $lab->begin_sql('chicago', q{SELECT * FROM pingpong.switchover('dallas')});
$lab->wait_for('dallas', q{SELECT bool_or(action = 'settle' AND state = 'succeeded') FROM pingpong.progress},
	'the clients to be back');
$lab->kill9('agent', 'chicago');
$lab->kill9('postgres', 'chicago');
$lab->finish($job, 1);
$lab->set('dallas', 'pingpong.debug_pause_after', undef);
my $run = $lab->last_run('dallas');
my ($state, $sentence) = $lab->settle($run, 120);
is($state, 'stuck', 'power off: the run is stuck');
like($sentence, qr/"dallas" is the primary, but step rejoin of "chicago" failed: .*rebuild\('chicago'\)/,
	'power off: and says what is left to do');
my $needs = 'skipped needs rejoin, which was not done';
like(steps('dallas', $run, q{'tidy_slots', 'wake_wal'}),
	qr/^tidy_slots dallas skipped; tidy_slots chicago $needs; wake_wal chicago $needs$/,
	'power off: what needs it was skipped');
like(steps('dallas', $run, q{'sync_restore'}),
	qr/^sync_restore dallas failed no standby streams that satisfies "ANY 1 \(chicago\)"; it stays relaxed/,
	'power off: names that nobody answers to were not set');
like($lab->sql('dallas', "SELECT pingpong.report($run)"), qr/tidy_slots +chicago +skipped  needs rejoin/,
	'power off: the report says so');
is(names('dallas'), '', 'power off: commits wait for nobody');
is(route('dallas'), 'dallas', 'power off: the RO route stays where it is served');
is(reads(), '1', 'power off: readers are served');
is($lab->sql('dallas',
		q{SELECT string_agg(concat_ws(' ', node, name, wanted), ', ' ORDER BY node, name) FROM pingpong.relaxed}),
	'chicago wal_writer_delay 200ms, dallas synchronous_standby_names ANY 1 (chicago)',
	'power off: what is relaxed is remembered');
like($lab->sql('dallas', q{SELECT string_agg(status || ' ' || detail, ', ')
		FROM pingpong.preflight('chicago') WHERE name = 'relaxed_settings' AND node = 'dallas'}),
	qr/^warn synchronous_standby_names of "dallas" is relaxed since/, 'power off: preflight warns of it');

# ---- it comes back ----

$lab->start_pg('chicago');
$lab->start_agent('chicago');
is($lab->sql('chicago', 'SELECT state FROM pingpong.gate'), 'sealed', 'it comes back sealed');
$lab->sql('dallas', q{SELECT pingpong.rebuild('chicago')});
streaming('dallas', 'chicago');
$lab->wait_for('dallas', 'SELECT count(*) = 0 FROM pingpong.relaxed', 'what was relaxed to be restored', 90);
is(names('dallas'), 'ANY 1 (chicago)', 'back: commits wait for it again');
is($lab->sql('chicago', 'SHOW wal_writer_delay'), '200ms', 'back: its own setting is restored, too');
is($lab->sql('dallas', q{SELECT count(*) > 0 AND bool_and(state = 'succeeded') FROM pingpong.run
	WHERE runbook = 'restore' AND requested_by = 'pg_pingpong worker'}), 't', 'back: by a run of the worker');
is(route('dallas'), 'chicago', 'back: the RO route follows the standby');
is(reads(), '1', 'back: readers are served');
like($lab->sql('dallas', "SELECT state || ' ' || sentence FROM pingpong.run WHERE id = $run"),
	qr/^succeeded Fixed by run \d+/, 'back: the run that was stuck is closed');

# ---- what a person has set outranks what is remembered ----

$lab->sql('dallas', q{INSERT INTO pingpong.relaxed (node, name, value, wanted)
	VALUES ('dallas', 'synchronous_standby_names', '', 'ANY 2 (chicago, nobody)')});
$lab->wait_for('dallas', 'SELECT count(*) = 0 FROM pingpong.relaxed', 'the row to go', 30);
is(names('dallas'), 'ANY 1 (chicago)', 'a setting that a person changed stays');

# ---- it is let go ----

my ($out, $err, $rc) = $lab->try_sql('dallas',
	q{SELECT run, state FROM pingpong.switchover('chicago', old_primary => 'leave')});
like($out, qr/^\d+\|switched$/, 'let go: switched') or diag($err);
($run) = $out =~ /^(\d+)/;
($state, $sentence) = $lab->settle($run, 60);
is($state, 'succeeded', 'let go: the run has its own end');
like($sentence,
	qr/^done, but step sync_restore of "chicago" failed: no standby streams that satisfies "ANY 1 \(dallas\)"/,
	'let go: and says what cannot be as it was');
like(steps('chicago', $run, q{'rejoin', 'retire'}), qr/^rejoin dallas skipped; retire dallas succeeded$/,
	'let go: it was not rejoined');
is($lab->pid('postgres', 'dallas') // '', '', 'let go: it is stopped');
is($lab->sql('chicago', q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'pingpong_dallas'}), '0',
	'let go: no slot keeps WAL for it');
is($lab->sql('chicago', q{SELECT away_since IS NOT NULL AND state IS NULL FROM pingpong.standby
	WHERE name = 'dallas'}), 't', 'let go: the view says so');
is(route('chicago'), 'chicago', 'let go: the RO route points to the new primary');
is(reads(), '1', 'let go: readers are served');
like($lab->sql('chicago', q{SELECT string_agg(detail, ', ') FROM pingpong.preflight('dallas') WHERE status = 'fail'}),
	qr/the target was let go on/, 'let go: it is no target');
is($lab->sql('chicago', q{SELECT string_agg(action, ' ' ORDER BY ordinal)
		FROM pingpong.plan('dallas', options => '{"old_primary": "leave"}') WHERE action IN ('rejoin', 'retire')}),
	'retire', 'let go: a plan shows what would be done');
$lab->start_pg('dallas');
is($lab->sql('dallas', 'SELECT state FROM pingpong.gate'), 'sealed', 'let go: started by somebody, it is sealed');

# ---- and made a standby again ----

$lab->sql('chicago', q{SELECT pingpong.rebuild('dallas')});
streaming('chicago', 'dallas');
is($lab->sql('chicago', q{SELECT away_since IS NULL AND slot_active FROM pingpong.standby WHERE name = 'dallas'}),
	't', 'a standby again: the view says so');
$lab->wait_for('chicago', 'SELECT count(*) = 0 FROM pingpong.relaxed', 'what was relaxed to be restored', 90);
is(names('chicago'), 'ANY 1 (dallas)', 'a standby again: commits wait for it again');
is(route('chicago'), 'dallas', 'a standby again: the RO route follows it');
($out, $err) = $lab->try_sql('chicago', q{SELECT run, state FROM pingpong.switchover('dallas')});
like($out, qr/^\d+\|switched$/, 'and there once more') or diag($err);
($state, $sentence) = $lab->settle($out =~ /^(\d+)/, 60);
is("$state $sentence", 'succeeded done', 'and there once more: done');
is(names('dallas'), 'ANY 1 (chicago)', 'and there once more: synchronous');

is($load->verify('dallas')->{lost}, 0, 'nothing acknowledged is lost');
is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');

# ---- a run that another primary began is not continued ----

sub found_running
{
	my ($runbook, $source, $target) = @_;
	my $id = $lab->sql('dallas', "INSERT INTO pingpong.run (id, key, runbook, source, target, epoch, state)
		SELECT max(id) + 1, 'left' || max(id), '$runbook', '$source', '$target', max(epoch), 'running'
		FROM pingpong.run RETURNING id");
	$id =~ s/\D.*//s;
	# one that the worker had begun itself, behind it: it is ended first, and must not be taken for the only one
	$lab->sql('dallas', "INSERT INTO pingpong.run (id, key, runbook, source, target, epoch, state, requested_by)
		SELECT max(id) + 1, 'own' || max(id), 'realign', 'dallas', 'dallas', max(epoch), 'running',
			'pg_pingpong worker' FROM pingpong.run");
	$lab->kill9('worker', 'dallas');
	return $id;
}

sub ended
{
	my ($node, $id) = @_;
	$lab->wait_for($node, "SELECT state <> 'running' FROM pingpong.run WHERE id = $id", "the end of run $id", 60);
	return $lab->sql($node, "SELECT state || ' ' || sentence FROM pingpong.run WHERE id = $id");
}

$run = found_running('repoint', 'chicago', 'chicago');
my $begun = 'It was begun by "chicago"; this primary, "dallas", does not go on with it\.';
like(ended('dallas', $run), qr/^stuck $begun.* SELECT pingpong\.repoint\(\)/, 'begun elsewhere: not gone on with');
is($lab->sql('dallas', q{SELECT node FROM pingpong.route WHERE name = 'rw1'}), 'dallas',
	'begun elsewhere: the route stays');
is($lab->sql('dallas', 'SELECT state FROM pingpong.repoint()'), 'succeeded', 'begun elsewhere: run again');
like(ended('dallas', $run), qr/^succeeded Fixed/, 'begun elsewhere: and closed by that');

# ---- it is not known whether the run promoted this server: an operator gives it up ----

$lab->kill9('agent', 'dallas');
$run = found_running('switchover', 'chicago', 'dallas');
$lab->wait_for('dallas',
	"SELECT bool_or(run_state = 'running' AND sentence LIKE 'promoted, but the agent of \"dallas\" does not say%')
		FROM pingpong.progress WHERE run = $run", 'the question', 60);
$lab->sql('dallas', "SELECT pingpong.cancel($run)");
like(ended('dallas', $run), qr/^stuck promoted, but .*; given up by pingpong\.cancel\(\)$/,
	'not said by whom it was promoted: given up');
$lab->start_agent('dallas');
$lab->sql('dallas', "UPDATE pingpong.run SET state = 'rolled_back' WHERE id = $run");
streaming('dallas', 'chicago');

# ---- the new primary is lost while the run goes on there, and an operator opens the old one again ----

$lab->set('chicago', 'pingpong.debug_pause_after', 'settle');
($out, $err) = $lab->try_sql('dallas', q{SELECT run, state FROM pingpong.switchover('chicago')});
like($out, qr/^\d+\|switched$/, 'overruled: switched') or diag($err);
($run) = $out =~ /^(\d+)/;
$lab->wait_for('dallas', q{SELECT bool_and(run_state = 'handed over') FROM pingpong.progress},
	'the run to be handed over');
(undef, $err) = $lab->try_sql('dallas', '\set VERBOSITY verbose', "SELECT pingpong.cancel($run)");
like($err, qr/^ERROR:  55000: run $run is not being worked on by this server/m,
	'overruled: who has handed it over cannot cancel it');
$lab->kill9('agent', 'chicago');
$lab->kill9('postgres', 'chicago');
$lab->sql('dallas', q{SELECT pingpong.resume(risk => 'two primaries are possible')});
like(ended('dallas', $run), qr/^stuck "chicago" was promoted, .* this server takes writes.*rebuild\('chicago'\)/,
	'overruled: the run has its end on the old primary');
$lab->start_agent('chicago');
$lab->sql('dallas', 'SELECT pingpong.repoint()',
	q{SELECT pingpong.rebuild('chicago', risk => 'its own writes are lost')});
streaming('dallas', 'chicago');
like(ended('dallas', $run), qr/^rolled_back Overruled by an operator; fixed by run/,
	'overruled: closed when the other one follows');
done_testing();
