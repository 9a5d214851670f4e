# A runbook of the site: a copy of the built-in one with hooks before, inside and after the blackout. plan(),
# where_is_primary() and the runner go by what its rows say, not by its name. And a worker that dies while a job runs
# at an agent: its successor goes on with that job, and begins no other one beside it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use Lab;
use Test::More;
use Tools qw(read_file);

my $lab = Lab->up(fast => 1, nodes => 3);
my ($from, $to, $third) = ('chicago', 'dallas', (grep { !/^(chicago|dallas)$/ } $lab->nodes)[0]);
my $written = $lab->dir . '/written';

sub written
{
	open my $fh, '<', $written or return '';
	local $/;
	return join ' ', split /\n/, <$fh> // '';
}

sub streams
{
	my ($primary, $standby) = @_;

	return $lab->wait_for($primary,
		"SELECT count(*) = 1 FROM pg_stat_replication WHERE application_name = '$standby' AND state = 'streaming'",
		"$standby to stream", 60);
}

# ---- hooks of the site ----

my $script = $lab->dir . '/page';
open my $fh, '>', $script or die $!;
print $fh "#!/bin/sh\n[ \"\$1\" != fail ] || exit 3\necho \"\$@\" >>$written\n";
close $fh;
chmod 0755, $script;
for my $name ($from, $to)
{
	open my $ini, '>>', $lab->agent_dir($name) . '/agent.ini' or die $!;
	print $ini "\n[hooks]\npage = $script\n";
	close $ini;
	$lab->kill9('agent', $name);
	$lab->start_agent($name);
}

is($lab->sql($from, q{SELECT pingpong.copy_runbook('switchover', 'site')}),
	$lab->sql($from, q{SELECT count(*) FROM pingpong.runbook_step WHERE runbook = 'switchover'}),
	'a copy has all steps');
for my $hook (
	[ 15, 'source', 'undo', 'before' ],
	[ 45, 'source', 'undo', 'inside' ],
	[ 88, 'target', 'continue', 'behind' ])
{
	my ($ordinal, $node, $on_failure, $word) = @$hook;

	$lab->sql($from, qq{INSERT INTO pingpong.runbook_step
		(runbook, ordinal, action, node, worker, on_failure, params, comment) VALUES
		('site', $ordinal, 'hook', '$node', '$node', '$on_failure',
		'{"name": "page", "args": ["$word"]}', 'the page of the site')});
}

my $load = $lab->writers(rate => 80);

# There and back.
for my $move (1, 2)
{
	unlink $written;
	is($lab->sql($from, "SELECT string_agg(ordinal || ' ' || action, ', ' ORDER BY ordinal)
		FROM pingpong.plan('$to', 'site') WHERE point_of_no_return"), '70 promote',
		"move $move: the plan of the site's runbook knows the point of no return");
	is($lab->sql($from, "SELECT count(*) FROM pingpong.plan('$to', 'site') WHERE action = 'hook'"), '3',
		"move $move: and the hooks");
	my ($out, $err) = $lab->try_sql($from,
		qq{SELECT run, state FROM pingpong.switchover('$to', options => '{"runbook": "site"}')});
	like($out, qr/^\d+\|switched$/, "move $move: switched") or diag($err);
	my ($run) = $out =~ /^(\d+)/;
	# its first answer: it is being made a standby, and may be restarting
	is($lab->until_true("an answer of $from", sub {
			my ($name, undef, $rc) = $lab->try_sql($from, 'SELECT name FROM pingpong.where_is_primary()');
			return $rc == 0 && ($name || 'none');
		}), $to, "move $move: the old primary knows the new one");
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "move $move: done");
	is(written(), 'before inside behind', "move $move: each hook has run once, in its place");
	is($lab->sql($to, 'SELECT name FROM pingpong.where_is_primary()'), $to, "move $move: so does the new one");
	is($lab->sql($to, "SELECT runbook || ' ' || (blackout_ms > 0) FROM pingpong.run WHERE id = $run"), 'site true',
		"move $move: measured");
	streams($to, $_) for $from, $third;
	($from, $to) = ($to, $from);
}

# ---- a hook that fails in the blackout ----

$lab->sql($from, q{UPDATE pingpong.runbook_step SET params = '{"name": "page", "args": ["fail"]}'
	WHERE runbook = 'site' AND ordinal = 45});
my ($out, $err) = $lab->try_sql($from,
	qq{SELECT run, state FROM pingpong.switchover('$to', options => '{"runbook": "site"}')});
like($err, qr/hook "page" ended with status 3/, 'a hook fails: the run says so');
is($lab->sql($from, 'SELECT state FROM pingpong.run ORDER BY id DESC LIMIT 1'), 'rolled_back',
	'a hook fails: all is undone');
is(join(' ', $lab->primary), $from, 'a hook fails: the primary stays');
$load->mark('undone');
ok($lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }), 'a hook fails: writes flow');

# ---- two steps as one job of the agent ----

unlink $written;
$lab->sql($from, q{DELETE FROM pingpong.runbook_step WHERE runbook = 'site' AND action = 'hook'});
for my $hook ([ 12, 'one', 'one' ], [ 13, 'two', 'two' ])
{
	my ($ordinal, $word, $undone) = @$hook;

	$lab->sql($from, qq{INSERT INTO pingpong.runbook_step
		(runbook, ordinal, action, node, worker, on_failure, job, params, comment) VALUES
		('site', $ordinal, 'hook', 'source', 'source', 'undo', 'both', '{"name": "page", "args": ["$word"],
		"undo": {"name": "page", "args": ["undo-$undone"]}}', 'of the site')});
}
($out, $err) = $lab->try_sql($from,
	qq{SELECT run, state FROM pingpong.switchover('$to', options => '{"runbook": "site"}')});
like($out, qr/^\d+\|switched$/, 'one job: switched') or diag($err);
my ($together) = $out =~ /^(\d+)/;
is(join(' ', ($lab->settle($together))[0, 1]), 'succeeded done', 'one job: done');
is(written(), 'one two', 'one job: both are done');
my $steps = q{SELECT string_agg(ordinal || ' ' || state, ', ' ORDER BY ordinal) FROM pingpong.step
	WHERE action = 'hook' AND run = %s};
is($lab->sql($to, sprintf $steps, $together), '12 succeeded, 13 succeeded', 'one job: the journal has both steps');
my ($status, $list) = $lab->agent($from, '/v1/jobs');
is(scalar(grep { $_->{step} =~ /\.hook\./ && $_->{actions}[1] } @{ $list->{jobs} }), 1,
	'one job: and the agent one job');
streams($to, $_) for $from, $third;
($from, $to) = ($to, $from);

# The second fails: the agent undoes the first by itself.
unlink $written;
$lab->sql($from, q{UPDATE pingpong.runbook_step SET params = jsonb_set(params, '{args}', '["fail"]')
	WHERE runbook = 'site' AND ordinal = 13});
($out, $err) = $lab->try_sql($from,
	qq{SELECT run, state FROM pingpong.switchover('$to', options => '{"runbook": "site"}')});
like($err, qr/hook "page" ended with status 3/, 'one job: its failure is that of the run');
is($lab->sql($from, sprintf $steps, $lab->last_run($from)), '12 undone, 13 failed',
	'one job: what was done is undone');
is(written(), 'one undo-two undo-one', 'one job: by the agent, backwards');
is(join(' ', $lab->primary), $from, 'one job: the primary stays');

# The agent cannot write that it begins: nothing was done, and the run does not say that it was.
unlink $written;
my $records = $lab->state_dir($from) . '/jobs';
$lab->sql($from, q{UPDATE pingpong.runbook_step SET params = jsonb_set(params, '{args}', '["two"]')
	WHERE runbook = 'site' AND ordinal = 13});
rename $records, "$records.aside" or die $!;
open my $none, '>', $records or die $!;
close $none;
($out, $err) = $lab->try_sql($from,
	qq{SELECT run, state FROM pingpong.switchover('$to', options => '{"runbook": "site"}')});
unlink $records or die $!;
rename "$records.aside", $records or die $!;
like($err, qr/could not write the job journal/, 'one job, that cannot begin: its failure is that of the run');
is($lab->sql($from, sprintf $steps, $lab->last_run($from)), '12 failed, 13 skipped',
	'one job, that cannot begin: nothing is called done');
is(written(), '', 'one job, that cannot begin: nothing was done');
is(join(' ', $lab->primary), $from, 'one job, that cannot begin: the primary stays');

# A step between them cannot be done in between.
$lab->sql($from, q{UPDATE pingpong.runbook_step SET ordinal = 22 WHERE runbook = 'site' AND ordinal = 13});
($out, $err) = $lab->try_sql($from,
	qq{SELECT run, state FROM pingpong.switchover('$to', options => '{"runbook": "site"}')});
like($err, qr/cannot be part of the job "both".*must be neighbours/s, 'one job: neighbours only');
$lab->sql($from, q{DELETE FROM pingpong.runbook_step WHERE runbook = 'site' AND ordinal = 22},
	q{UPDATE pingpong.runbook_step SET job = 'both' WHERE runbook = 'site' AND action = 'arm'});
($out, $err) = $lab->try_sql($from,
	qq{SELECT run, state FROM pingpong.switchover('$to', options => '{"runbook": "site"}')});
like($err, qr/step arm .* cannot be part of the job "both".*not done by an agent alone/s, 'one job: plain ones only');

is($load->verify($from)->{lost}, 0, 'nothing acknowledged is lost');
is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');

# ---- away: the agent has the job, and the database goes with the worker that ordered it ----

my $restart = $lab->dir . '/restart';
my $go = $lab->dir . '/go';
my ($pgbin, $pgdata) = ($lab->env('PGBIN'), $lab->env("PGDATA_$from"));
open $fh, '>', $restart or die $!;
print $fh <<"SH";
#!/bin/sh
echo restart >>$written
$pgbin/pg_ctl -D $pgdata -w -m fast stop || exit 1
while [ ! -e $go ]; do sleep 0.05; done
$pgbin/pg_ctl -D $pgdata -w -l $pgdata/restarted.log start
SH
close $fh;
chmod 0755, $restart;
open my $more, '>>', $lab->agent_dir($from) . '/agent.ini' or die $!;
print $more "again = $restart\n";
close $more;
$lab->kill9('agent', $from);
$lab->start_agent($from);
$lab->sql($from, q{INSERT INTO pingpong.runbook_step
	(runbook, ordinal, action, node, worker, timeout, mark, params, comment) VALUES
	('restart', 10, 'hook', 'source', 'source', '5min', NULL, '{"name": "page", "args": ["before"]}', 'of the site'),
	('restart', 20, 'hook', 'source', 'source', '5min', 'away', '{"name": "again"}', 'stops it, and starts it'),
	('restart', 30, 'hook', 'source', 'source', '5min', NULL, '{"name": "page", "args": ["behind"]}', 'ours')});
my $begin_restart = qq{SELECT pingpong_internal.request('run', '$to', '{"runbook": "restart"}')};
my $states = q{SELECT string_agg(ordinal || ' ' || state || ' ' || attempt, ', ' ORDER BY ordinal) FROM pingpong.step
	WHERE run = (SELECT max(id) FROM pingpong.run WHERE runbook <> 'realign')};

unlink $written;
my $caller = $lab->begin_sql($from, $begin_restart);
my $gone = sub { written() eq 'before restart' && !$lab->sql_ok($from, 'SELECT 1') };
ok($lab->until_true('the server to be gone', $gone), 'away: the database is gone');
open my $gate, '>', $go or die $!;
close $gate;
$lab->finish($caller, 60);
ok($lab->until_true('the server to be back', sub { $lab->sql_ok($from, 'SELECT 1') }), 'away: it is back');
my $last = 'SELECT max(id) FROM pingpong.run WHERE runbook <> $$realign$$';
is(join(' ', ($lab->settle($lab->sql($from, $last)))[0, 1]), 'succeeded done',
	'away: the worker of the server that was started brings the run to its end');
is(written(), 'before restart behind', 'away: nothing is done twice');
is($lab->sql($from, $states), '10 succeeded 1, 20 succeeded 1, 30 succeeded 1',
	'away: the journal has what the agent told');

# One of several steps of the job: the successor must not take the answer of one for that of another.
unlink $written, $go;
$lab->sql($from, q{UPDATE pingpong.runbook_step SET job = 'both' WHERE runbook = 'restart' AND ordinal = 20},
	q{INSERT INTO pingpong.runbook_step (runbook, ordinal, action, node, worker, job, params, comment) VALUES
	('restart', 21, 'hook', 'source', 'source', 'both', '{"name": "page", "args": ["fail"]}', 'fails')});
$caller = $lab->begin_sql($from, $begin_restart);
ok($lab->until_true('the server to be gone', $gone), 'away, of two: the database is gone');
open $gate, '>', $go or die $!;
close $gate;
$lab->finish($caller, 60);
ok($lab->until_true('the server to be back', sub { $lab->sql_ok($from, 'SELECT 1') }), 'away, of two: it is back');
like(join(' ', ($lab->settle($lab->sql($from, $last)))[0, 1]), qr/^rolled_back .*hook "page" ended with status 3/,
	'away, of two: the second failed, and the run says so');
like($lab->sql($from, $states), qr/^10 \w+ 1, 20 succeeded 1, 21 failed \d, 30 \w+ 0$/,
	'away, of two: each step has its own end');
$lab->sql($from, q{DELETE FROM pingpong.runbook_step WHERE runbook = 'restart' AND ordinal = 21},
	q{UPDATE pingpong.runbook_step SET job = NULL WHERE runbook = 'restart'});

# An agent that does not know the job any more is not ordered a second time.
unlink $written, $go;
$caller = $lab->begin_sql($from, $begin_restart);
ok($lab->until_true('the server to be gone', $gone),
	'away, and forgotten: the database is gone');
$lab->kill9('agent', $from);
system('rm', '-rf', $lab->state_dir($from) . '/jobs');
$lab->start_agent($from);
$lab->finish($caller, 60);
$lab->start_pg($from);
my ($ended, $why) = $lab->settle($lab->sql($from, $last));
like("$ended $why", qr/^rolled_back step hook .* the agent does not know the job any more/,
	'away, and forgotten: the run says that nobody knows');
is(written(), 'before restart', 'away, and forgotten: it is not ordered a second time');
streams($from, $_) for $to, $third;

# ---- the worker dies while a standby is told to follow; with it, all sessions of its server ----

# its server answers, and the process that would ask for the new stream does not
my %earlier = map { $_ => 1 } glob $lab->state_dir($third) . "/jobs/*/90.follow.$third*.json";
sub follows
{
	my @jobs = map { decode_json(read_file($_)) }
		grep { !$earlier{$_} } glob $lab->state_dir($third) . "/jobs/*/90.follow.$third*.json";
	return sort { $a->{received_ms} <=> $b->{received_ms} } @jobs;
}
my $postmaster = $lab->pid('postgres', $third);
chomp(my $startup = `pgrep -P $postmaster -f startup`);
kill STOP => $startup or die 'no startup process';
($out, $err) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$to')");
like($out, qr/^\d+\|switched$/, 'follow: switched') or diag($err);
my ($run) = $out =~ /^(\d+)/;
my $following = "SELECT bool_or(action = 'follow' AND state = 'running') FROM pingpong.progress WHERE run = $run";
$lab->wait_for($to, $following, 'the third node to be told', 60);
# a round may fail, and then there is a next one: not in a pause between two
$lab->until_true('a job that runs', sub { grep { $_->{state} eq 'running' } follows() }, 60);
$lab->kill9('worker', $to);
$lab->wait_for($to, $following, 'the successor to ask', 60);
kill CONT => $startup;
is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', 'follow: the successor brings the run to its end');
my @jobs = follows();
my @beside = grep { $jobs[$_]{received_ms} < $jobs[$_ - 1]{received_ms} + $jobs[$_ - 1]{elapsed_ms} } 1 .. $#jobs;
is(scalar(@beside), 0, 'follow: it goes on with the job that ran, and begins no other one beside it')
	or diag(explain(\@jobs));
is($lab->sql($to, "SELECT max(round) FROM pingpong.step WHERE run = $run AND action = 'follow'"), scalar(@jobs),
	'follow: the journal knows each round, and there was one');
streams($to, $third);

done_testing();
