# A failover of a synchronous cluster whose primary is gone with its agent: the fence by a hook of the site, a router
# that is away, the standby that has less, a target that is another node than the one of the call.
# time limit: 1200 s
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

my $base = 'writes may be lost';
my $lab = Lab->up(nodes => 3, fast => 1, poolers => 2, sync => 1);
$lab->wait_for('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
$lab->sql('chicago', 'CREATE TABLE kept (i int)', q{CREATE ROLE oper LOGIN; GRANT pingpong_operator TO oper});
$lab->sql('chicago', q{SELECT count(*) FROM pingpong.preflight('dallas')});	# the facts of before

sub failover
{
	my ($node, $target, $risk, $role) = @_;
	my @arguments = ((defined $target ? "target => '$target'" : ()), "risk => '$risk'");
	return $lab->try_sql($node, $role ? "SET ROLE $role" : (),
		'SELECT * FROM pingpong.failover(' . join(', ', @arguments) . ')');
}

sub planned
{
	my ($node) = @_;
	my %rows;
	for my $line (split /\n/, $lab->sql($node, q{SELECT item || ' ' || coalesce(node, '-'), status, detail
			FROM pingpong.failover_plan()}))
	{
		my ($item, $status, $detail) = split /\|/, $line, 3;
		$rows{$item} = [$status, $detail];
	}
	return \%rows;
}

sub possible
{
	my ($node) = @_;
	$lab->until_true("a failover to be possible on $node", sub {
		my $rows = eval { planned($node) } or return;
		return !grep { $_->[0] eq 'fail' } values %$rows });
	return;
}

# Every process of the server: one that was stopped would not notice that its postmaster is gone.
sub kill_server
{
	my ($node) = @_;
	my $pid = $lab->pid('postgres', $node);
	my @children = split ' ', `ps -o pid= --ppid $pid`;
	kill 'KILL', $pid, @children;
	$lab->until_true("the server of $node to end", sub { $lab->gone($pid) });
	return;
}

sub hook_of
{
	my ($agent, $name, $text) = @_;
	my $path = $lab->agent_dir($agent) . "/$name";
	open my $fh, '>', $path or die "$path: $!";
	print $fh "#!/bin/sh\n$text\n";
	close $fh or die;
	chmod 0755, $path;
	return $path;
}

# ---- the primary and its agent are killed under load ----

my $writers = $lab->writers(writers => 4, rate => 200);
my $second = $lab->writers(writers => 2, rate => 60, dsn => $lab->env('RW_DSN_2'));
$lab->wait_for('chicago', 'SELECT count(*) > 200 FROM ledger', 'the writers');
kill 'KILL', $lab->pid('agent', 'chicago');
kill_server('chicago');
possible('dallas');
my $plan = planned('dallas');
like($plan->{'old primary chicago'}[1], qr/its agent does not answer/, 'plan: nobody answers');
like($plan->{'loss chicago'}[1], qr/no commit that has waited for "/, 'plan: nothing that was acknowledged is lost');
is($plan->{'fence chicago'}[0], 'risk', 'plan: there is no fence');
like($plan->{'answer dallas'}[1] // $plan->{'answer austin'}[1], qr/two primaries are possible, writes may be lost/,
	'plan: the words');

my ($out, $err, $rc) = failover('dallas', undef, $base);
like($err, qr/needs a risk that was not taken.*fence \("chicago"\).*two primaries are possible, writes may be lost/s,
	'refused without a fence');
($out, $err, $rc) = failover('dallas', undef, "$base, two primaries are possible", 'oper');
like($err, qr/must be superuser/, 'an operator does not risk two primaries');
is(join(',', $lab->primary), '', 'nothing was promoted');

# ---- a hook that fails, then one that does it ----

my $marker = $lab->dir . '/fenced';
my $hook = hook_of('pooler1', 'fence', 'echo "power switch does not answer"; exit 3');
{
	open my $fh, '>>', $lab->agent_dir('pooler1') . '/agent.ini' or die;
	print $fh "\n[hooks]\nfence_chicago = $hook\n";
	close $fh or die;
	kill 'HUP', $lab->pid('agent', 'pooler1');
}
$lab->until_true('the hook to be known', sub { planned('dallas')->{'fence chicago'}[0] eq 'ok' });
like(planned('dallas')->{'fence chicago'}[1], qr/by the hook fence_chicago of the agent of "pooler1"/,
	'plan: the hook');
($out, $err, $rc) = failover('dallas', 'dallas', $base);
like($err, qr/hook "fence_chicago" ended with status 3/, 'a fence that fails ends it');
is(join(',', $lab->primary), '', 'nothing was promoted');
for my $node ($lab->nodes)
{
	ok(!-e $lab->env("PGDATA_$node") . "/$_", "no $_ on $node") for 'pingpong.failover', 'pingpong.seal';
}
ok(!-e $lab->state_dir($_) . '/claim', "no claim at $_") for qw(dallas austin pooler1 pooler2);

hook_of('pooler1', 'fence', qq{echo "\$1 \$2" >$marker});
$lab->kill9('agent', 'pooler2');
my $target = $lab->sql('dallas', q{SELECT node FROM pingpong.failover_plan() WHERE item = 'target'});
($out, $err, $rc) = failover('dallas', undef, $base, 'oper');
like($out, qr/\|switched\|[0-9.]+\|$target$/, 'the failover, with a router away') or diag($err);
like($err, qr/fence\s+chicago.*by the hook of "pooler1"/, 'fenced by the hook');
open my $fh, '<', $marker or die "$marker: $!";
is(<$fh>, "chicago $target\n", 'which was told whom, and for whom');
my $run = $lab->last_run($target);
my ($state, $sentence) = $lab->settle($run);
is($state, 'stuck', 'it says that a route is left');
like($sentence,
	qr/"$target" is the primary.*repoint of "rw2" failed: the agent of "pooler2" does not answer.*repoint\(\)/,
	'and which, and what to do');
is($lab->sql($target, q{SELECT node FROM pingpong.route WHERE name = 'rw1'}), $target, 'the other route leads there');
$lab->start_agent('pooler2');
$lab->sql($target, 'SELECT state FROM pingpong.repoint()');
is($lab->sql($target, "SELECT state FROM pingpong.run WHERE id = $run"), 'succeeded', 'repoint() closes it');
my $rows = $lab->sql($target, 'SELECT count(*) FROM ledger');
$lab->wait_for($target, "SELECT count(*) > $rows + 100 FROM ledger", 'the writers');
is($_->verify($target)->{lost}, 0, 'nothing that was acknowledged is lost') for $writers, $second;

# ---- the old primary is taken back; the next one is gone, and one standby has less ----

$lab->start_agent('chicago');
($out, $err, $rc) = $lab->try_sql($target, q{SELECT state FROM pingpong.rebuild('chicago',
	risk => 'its own writes are lost')});
is($out, 'succeeded', 'the old primary is rebuilt') or diag($err);
my ($less) = grep { $_ ne $target && $_ ne 'chicago' } $lab->nodes;
$lab->wait_for($_, q{SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'}, 'the stream')
	for 'chicago', $less;
$_->pause for $writers, $second;
$lab->sql($target, 'INSERT INTO kept VALUES (0)');
$lab->wait_for($_, 'SELECT count(*) = 1 FROM kept', 'a row') for 'chicago', $less;
kill 'STOP', $lab->sql($target, "SELECT pid FROM pg_stat_replication WHERE application_name = '$less'");
$lab->sql($target, "INSERT INTO kept VALUES ($_)") for 1 .. 5;
$lab->wait_for('chicago', 'SELECT count(*) = 6 FROM kept', 'the rows');
kill_server($target);
possible($less);
$plan = planned($less);
like($plan->{"standby $less"}[1], qr/ less than "chicago"/, 'plan: which one has less');
is($plan->{'target chicago'}[0], 'ok', 'plan: the target is the one that has most');
($out, $err, $rc) = failover($less, $less, $base);
like($err, qr/needs a risk that was not taken.*target \("$less"\): "chicago" has .* more/s,
	'refused for the one that has less');
like($err, qr/risk => 'more writes may be lost than need be, writes may be lost'/, 'and which words it would need');
($out, $err, $rc) = failover($less, undef, $base);
like($out, qr/\|switched\|[0-9.]+\|chicago$/, 'the other node is promoted, from here') or diag($err);
($state, $sentence) = $lab->settle($lab->last_run('chicago'));
is($state, 'succeeded', 'the run') or diag($sentence);
is($lab->sql('chicago', 'SELECT count(*) FROM kept'), '6', 'nothing is lost');
$lab->wait_for($less, 'SELECT count(*) = 6 FROM kept', 'the one that had less to follow');
ok(!-e $lab->env("PGDATA_$_") . '/pingpong.failover', "no file is left on $_") for 'chicago', $less;
is(join(',', $lab->primary), 'chicago', 'one primary');
$_->start for $writers, $second;
$rows = $lab->sql('chicago', 'SELECT count(*) FROM ledger');
$lab->wait_for('chicago', "SELECT count(*) > $rows + 50 FROM ledger", 'the writers');
is($_->verify('chicago')->{lost}, 0, 'nothing that was acknowledged is lost, once more') for $writers, $second;
$_->stop for $writers, $second;
done_testing;
