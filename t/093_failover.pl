# The primary is gone, and a standby takes its place: what is refused, what is told, what is lost and what is not, the
# way of the writers, and the old primary, which takes no write when it boots.
# time limit: 1200 s
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

my $lost_words = 'writes may be lost';
my $lab = Lab->up(nodes => 3, fast => 1, poolers => 2);
$lab->wait_for('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
$lab->sql('chicago', 'CREATE TABLE kept (i int)', 'INSERT INTO kept VALUES (0)',
	q{CREATE ROLE oper LOGIN; GRANT pingpong_operator TO oper; CREATE ROLE nobody LOGIN});

sub caught_up
{
	my ($primary, @standbys) = @_;
	my $lsn = $lab->sql($primary, 'SELECT pg_current_wal_flush_lsn()');
	$lab->wait_for($_, "SELECT pg_last_wal_replay_lsn() >= '$lsn'", 'all of the WAL') for @standbys;
	return;
}
caught_up('chicago', 'dallas', 'austin');

sub failover
{
	my ($node, $target, $risk, $role) = @_;
	my @arguments = (defined $target ? "target => '$target'" : (), defined $risk ? "risk => '$risk'" : ());
	return $lab->try_sql($node, $role ? "SET ROLE $role" : (),
		'SELECT * FROM pingpong.failover(' . join(', ', @arguments) . ')');
}

sub planned
{
	my ($node, $target) = @_;
	my %rows;
	for my $line (split /\n/, $lab->sql($node, q{SELECT item || ' ' || coalesce(node, '-'), status, detail
			FROM pingpong.failover_plan(} . (defined $target ? "'$target'" : 'NULL') . ')'))
	{
		my ($item, $status, $detail) = split /\|/, $line, 3;
		push @{$rows{$item}}, [$status, $detail];
	}
	return \%rows;
}

# What a refusal must leave as it was.
sub traces
{
	my @found;
	for my $node ($lab->nodes)
	{
		my $data = $lab->env("PGDATA_$node");
		push @found, map { "$node/$_" } grep { -e "$data/$_" } 'pingpong.failover', 'pingpong.seal';
	}
	for my $agent ($lab->nodes, 'pooler1', 'pooler2')
	{
		my $dir = $lab->state_dir($agent);
		push @found, map { s{^\Q$dir\E}{$agent}r } grep { -e } glob "$dir/claim $dir/token/*.json $dir/jobs/*";
	}
	return grep { !m{jobs/facts$} } @found;
}

sub refused
{
	my ($what, $state, $message, $detail, $out, $err, $rc) = @_;
	isnt($rc, 0, "$what: refused");
	like($err, qr/ERROR:  \Q$message\E/, "$what: the message");
	like($err, $detail, "$what: the facts") if $detail;
	is_deeply([traces()], [], "$what: nothing was touched");
	return;
}

# ---- refused ----

my $alive = planned('dallas');
is($alive->{'old primary chicago'}[0][0], 'fail', 'plan: a primary that runs is no case for it');
is($alive->{"old primary $_"}[0][0], 'fail', "plan: $_ reaches it") for qw(dallas austin pooler1);
is($alive->{'answer dallas'}[0][0], 'fail', 'plan: the answer is no');
refused('the primary lives', '55000', 'this failover cannot be made', qr/takes writes.*a server answers it at/s,
	failover('dallas', undef, $lost_words));
refused('on the primary', '55000', 'this server is no standby', undef, failover('chicago', undef, $lost_words));
refused('other words', '22023', '"risk" does not say what is risked', qr/"so be it" is none of/,
	failover('dallas', undef, 'so be it'));
refused('no such node', '42704', 'node "boston" does not exist', undef, failover('dallas', 'boston', $lost_words));
refused('a router', '22023', 'node "pooler1" is a router', undef, failover('dallas', 'pooler1', $lost_words));
refused('nobody', '42501', 'permission denied', undef, failover('dallas', undef, $lost_words, 'nobody'));
refused('an operator and two primaries', '42501', 'must be superuser to risk that two primaries are possible', undef,
	failover('dallas', undef, "$lost_words, two primaries are possible", 'oper'));
is($lab->sql('chicago', 'INSERT INTO kept VALUES (1) RETURNING i'), '1', 'the primary goes on');
{
	my $agent = $lab->kill9('agent', 'chicago');
	my ($out, $err) = failover('dallas', undef, "$lost_words, two primaries are possible");
	like($err, qr/cannot be made.*a server answers it at/s, 'refused without a word of its agent, too');
	$lab->start_agent('chicago');
}
{
	my $pid = $lab->pid('postgres', 'chicago');
	kill 'STOP', $pid;
	my ($out, $err) = failover('dallas', undef, $lost_words);
	like($err, qr/cannot be made.*it streams from the primary/s, 'refused while a standby streams from a postmaster '
		. 'that hangs');
	kill 'CONT', $pid;
}

# ---- the server is killed; of what it has acknowledged, three rows never left it ----

my $writers = $lab->writers(writers => 4, rate => 200);
my $second = $lab->writers(writers => 2, rate => 60, dsn => $lab->env('RW_DSN_2'));
$lab->wait_for('chicago', 'SELECT count(*) > 100 FROM ledger', 'the writers');
$_->pause for $writers, $second;
caught_up('chicago', 'dallas', 'austin');
sub hold_senders
{
	my ($primary, @standbys) = @_;
	my @pids = split /\n/, $lab->sql($primary, 'SELECT pid FROM pg_stat_replication'
		. (@standbys ? ' WHERE application_name IN (' . join(', ', map { "'$_'" } @standbys) . ')' : ''));
	kill 'STOP', @pids;
	return @pids;
}
sub kill_all
{
	my ($primary, @stopped) = @_;
	my $pid = $lab->pid('postgres', $primary);
	my @all = ($pid, @stopped, split /\n/, $lab->sql($primary, 'SELECT pid FROM pg_stat_activity WHERE pid <> '
		. 'pg_backend_pid()'));
	kill 'KILL', @all;
	$lab->until_true('the server to end', sub { $lab->gone($pid) });
	return;
}
my @stopped = hold_senders('chicago');
$lab->sql('chicago', "INSERT INTO kept VALUES ($_)") for 101 .. 103;
kill_all('chicago', @stopped);
$_->start for $writers, $second;

$lab->until_true('the stream to end', sub {
	planned('dallas')->{'answer dallas'}[0][0] eq 'info' });
my $plan = planned('dallas');
like($plan->{'old primary chicago'}[0][1], qr/its agent answers: the server is down/, 'plan: the server is down');
like($plan->{'last contact chicago'}[0][1], qr/ s ago, by (dallas|austin)/, 'plan: the last contact');
is($plan->{'target dallas'}[0][0], 'ok', 'plan: the target');
is($plan->{'fence chicago'}[0][0], 'ok', 'plan: its agent fences');
is($plan->{'loss chicago'}[0][0], 'risk', 'plan: what may be lost is a risk');
is($plan->{"router $_"}[0][0], 'ok', "plan: $_ answers") for qw(pooler1 pooler2);
like($plan->{'answer dallas'}[0][1], qr/failover\('dallas', risk => '\Q$lost_words\E'\)/, 'plan: the statement');
refused('without a risk', '55000', 'this failover needs a risk that was not taken', qr/loss \("chicago"\)/,
	failover('dallas'));

my ($out, $err, $rc) = failover('dallas', undef, $lost_words, 'oper');
is($rc, 0, 'an operator fails over') or diag($err);
like($out, qr/^1\|switched\|[0-9.]+\|dallas$/, 'and is told that writes flow');
like($err, qr/fence\s+chicago.*down and sealed/, 'the old primary is fenced');
my ($state, $sentence, $at) = $lab->settle(1);
is("$state|$at", 'succeeded|dallas', 'the run has succeeded on the new primary') or diag($sentence);
is($lab->sql('dallas', 'SELECT runbook, source, target, requested_by, blackout_ms > 0, seal_lsn IS NULL
		FROM pingpong.run'), 'failover|chicago|dallas|postgres|t|t', 'its row');
is($lab->sql('dallas', q{SELECT string_agg(action || ' ' || node, ', ' ORDER BY action, node) FROM pingpong.step
		WHERE state NOT IN ('succeeded', 'skipped')}), '', 'each step is complete');
like($lab->sql('dallas', 'SELECT pingpong.report()'), qr/^Failover of run 1: chicago -> dallas, succeeded/,
	'the report');
is($lab->sql('dallas', q{SELECT away_since IS NOT NULL FROM pingpong.node WHERE name = 'chicago'}), 't',
	'the old primary is away');
is($lab->sql('dallas', q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'pingpong_chicago'}), '0',
	'and has no slot');
is($lab->sql('dallas', q{SELECT string_agg(name || node, ',' ORDER BY name) FROM pingpong.route
		WHERE kind = 'rw'}), 'rw1dallas,rw2dallas',
	'the route');
is($lab->sql('austin', q{SELECT status || slot_name FROM pg_stat_wal_receiver}), 'streamingpingpong_austin',
	'the other standby follows');
my $rows = $lab->sql('dallas', 'SELECT count(*) FROM ledger');
$lab->wait_for('dallas', "SELECT count(*) > $rows + 50 FROM ledger",
	'the writers');
is(join(',', $lab->primary), 'dallas', 'one primary');
is($lab->sql('dallas', 'SELECT string_agg(i::text, $$,$$ ORDER BY i) FROM kept'), '0,1',
	'what was not received is not there, and the rest is');
ok(!-e $lab->env('PGDATA_dallas') . '/pingpong.failover', 'the file of the run is gone');
for my $agent (qw(dallas austin pooler1 pooler2))
{
	my ($status, $ping) = $lab->agent($agent, '/v1/ping');
	is("$ping->{epoch}/$ping->{claimed}", '1/0', "$agent: the epoch is proved, the claim is over");
}

# ---- the old primary boots: server first ----

$lab->start_pg('chicago');
is($lab->sql('chicago', 'SELECT state, target FROM pingpong.gate'), 'sealed|dallas', 'it is sealed when it boots');
($out, $err) = $lab->try_sql('chicago', q{SET statement_timeout = '1s'}, 'INSERT INTO kept VALUES (200)');
like($err, qr/ERROR/, 'and takes no write');
(undef, $err) = $lab->try_sql($lab->env('DSN_chicago') . ' replication=true', 'IDENTIFY_SYSTEM');
like($err, qr/FATAL:  this server sends no WAL: .*\nDETAIL:  .*: a failover to "dallas" has fenced this server\./,
	'and no standby gets WAL from it');
is(join(',', $lab->primary), 'dallas', 'one primary still');
is($lab->sql('chicago', 'SELECT count(*) FROM kept WHERE i > 100'), '3', 'it has what the others never received');

# ---- it is rebuilt ----

($out, $err, $rc) = $lab->try_sql('dallas', q{SELECT * FROM pingpong.rebuild('chicago')});
like($err, qr/has written WAL that the server which it should follow does not have/,
	'rebuild: not without a risk');
like($err,
	qr/DETAIL: .*It has 3 committed transactions there.*public\.kept \(app\): 3 inserted, 0 updated, 0 deleted\./s,
	'and it lists what would be lost');
($out, $err, $rc) = $lab->try_sql('dallas', q{SELECT state FROM pingpong.rebuild('chicago',
	risk => 'its own writes are lost')});
is($out, 'succeeded', 'rebuild takes it back') or diag($err);
like($err, qr/3 transactions of its own are lost, their WAL is kept there in /,
	'and says what is lost, and where it is');
is($lab->sql('dallas', q{SELECT node, transactions, relations, complete, from_lsn < to_lsn,
		last_commit >= first_commit FROM pingpong.lost}),
	'chicago|3|[{"deleted": 0, "updated": 0, "database": "app", "inserted": 3, "relation": '
		. '"public.kept"}]|t|t|t', 'as a row, too');
my ($kept, $bytes) = split /\|/, $lab->sql('dallas', 'SELECT kept, bytes FROM pingpong.lost');
my @segments = glob "$kept/0*";
cmp_ok(scalar @segments, '>', 0, 'the WAL is kept');
my $size = 0;
$size += -s for @segments;
is($size, $bytes, 'all of it');
my $dump = `$lab->{env}{PGBIN}/pg_waldump -p $kept -t 1 -s @{[$lab->sql('dallas',
	'SELECT from_lsn FROM pingpong.lost')]} 2>/dev/null`;
is(scalar(() = $dump =~ /desc: COMMIT /g), 3, 'and can be read');
is($lab->sql('chicago', 'SELECT count(*) FROM kept WHERE i > 100'), '0', 'it is as the new primary');
is($lab->sql('dallas', q{SELECT away_since IS NULL FROM pingpong.node WHERE name = 'chicago'}), 't',
	'it is not away any more');

# ---- home and back ----

for my $target ('chicago', 'dallas')
{
	my $from = $target eq 'chicago' ? 'dallas' : 'chicago';
	$lab->until_true("a switchover to $target", sub {
		my ($o, $e, $c) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$target')");
		$err = $e;
		return $c == 0 && $o =~ /^(\d+)\|switched/ && ($lab->settle($1))[0] eq 'succeeded';
	}, 60) or diag($err);
	is(join(',', $lab->primary), $target, "switchover to $target");
}
for my $w ([first => $writers], [second => $second])
{
	my $verified = $w->[1]->verify('dallas');
	is($verified->{lost}, 0, "nothing of $w->[0] that was acknowledged is lost");
	cmp_ok($w->[1]->stop->{acked}, '>', 50, "$w->[0] wrote");
}
done_testing;
