# The crash matrix: a switchover is stopped after each of its steps, one process is killed (-9) there, and what was
# killed is started again. At no time are two primaries writable, no acknowledged row is lost, the run ends and says
# how, and writes flow.
#
# This file has the steps up to lag zero; 051_crash_matrix_promoted.pl those from the promotion on.
# A third of the cells, so chosen that each step and each process has its turn; all with PINGPONG_ALL (make
# check-all). CELLS='seal / T agent' runs only the cells that match this pattern.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;
use Time::HiRes qw(sleep time);

our $promoted;					# the second half is asked for

# where the run is stopped: after this step of P's worker, after this step of T's; "promoting": the order is given
# and cannot be obeyed yet
my @stops = $promoted
  ? (['promoting', 'lag_zero', ''], ['promote', 'promote', 'repoint'], ['repoint', 'repoint', 'repoint'],
	['end_sessions', '', 'repoint'], ['settle', '', 'settle'], ['rejoin', '', 'rejoin'],
	['tidy_slots', '', 'tidy_slots'], ['sync_restore', '', 'sync_restore'])
  : map { [$_, $_, ''] }
	qw(checkpoint slots calm_wal fast_wal sync_relax prepare_route arm warm warm_routes wal_align pause hold seal
		lag_zero);
my @victims = ('worker', 'P postgres', 'T postgres', 'P agent', 'T agent', 'PgBouncer');

my ($lab, $load, %direct);
my ($labs, $rebuilds) = (0, 0);
my $patience = 5;				# seconds from the end of a run until writes must flow
my $alone = 20;					# the same where only PgBouncer's server_login_retry (15 s) brings them back
my @table;

# ---- the pair ----

# Writers through the pooler, and one that goes straight to each node: what a node acknowledges must survive, whoever
# is the primary in the end, so two writable primaries cannot go unseen.
sub new_lab
{
	$lab->down if $lab;
	$lab = Lab->up(fast => 1);
	$labs++;
	$load = $lab->writers(rate => 80);
	%direct = (chicago => $lab->writers(dsn => $lab->env('DSN_chicago'), writers => 1, rate => 20));
	$lab->sql('chicago', q{SELECT pingpong.switchover('dallas')});
	$lab->settle(1);
	$direct{dallas} = $lab->writers(dsn => $lab->env('DSN_dallas'), writers => 1, rate => 20);
	return;
}

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary,
		"SELECT count(*) = 1 FROM pg_stat_replication WHERE application_name = '$standby' AND state = 'streaming'",
		"$standby to stream", 10);
}

# A healthy pair for the next cell; gives what it took.
sub heal
{
	my @primary = $lab->primary;
	my ($standby) = grep { $_ ne ($primary[0] // '') } $lab->nodes;
	my $done = eval { @primary == 1 or die; resume(); streaming($primary[0], $standby); 1 };
	return '' if $done;
	note($@);
	$done = @primary == 1 && eval
	{
		my $run = $lab->sql($primary[0], "SELECT run FROM pingpong.rebuild('$standby')");
		$lab->settle($run);
		resume();
		streaming($primary[0], $standby);
	};
	return 'rebuild' if $done && ++$rebuilds;
	diag($@);
	new_lab();
	return 'new lab';
}

# ---- stopping and going on ----

sub pause_behind
{
	my ($node, $action) = @_;
	$lab->set($node, 'pingpong.debug_pause_after', $action) if $action;
	return;
}

# On the nodes that answer now, or on all.
sub resume
{
	my ($now) = @_;
	for my $node ($lab->nodes)
	{
		next if $now && !$lab->sql_ok($node, 'SELECT 1');
		$lab->until_true("$node to go on", sub {
			my ($is, undef, $rc) = $lab->try_sql($node, 'SHOW pingpong.debug_pause_after');
			return 1 if $rc == 0 && $is eq '';
			$lab->try_sql($node, 'ALTER SYSTEM RESET pingpong.debug_pause_after', 'SELECT pg_reload_conf()')
				if $rc == 0;
			return $now && $rc != 0;
		});
	}
	return;
}

sub begin_run
{
	my ($p, $t, $max_blackout) = @_;
	my $before = $lab->sql($p, 'SELECT coalesce(max(id), 0) FROM pingpong.run');
	my $job = $lab->begin_sql($p, "SELECT * FROM pingpong.switchover('$t', max_blackout => '$max_blackout')");
	my $run = $lab->until_true('the run to begin', sub {
		my ($out) = $lab->try_sql($p, "SELECT max(run) FROM pingpong.progress WHERE run > $before");
		$out || ($lab->running($job) ? 0 : die(join(' ', $lab->finish($job))));
	});
	return ($run, $job);
}

sub reached
{
	my ($node, $run, $action) = @_;
	return $lab->wait_for($node, "SELECT bool_or(state = 'succeeded') FROM pingpong.progress
			WHERE run = $run AND action = '$action'", "$action to be done")
	  if $action;
}

# T's startup process stands still, so the promotion that is ordered now waits; gives its pid.
sub hold_promotion
{
	my ($p, $t) = @_;
	my $startup = $lab->sql($t, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'});
	kill 'STOP', $startup;
	$lab->set($p, 'pingpong.debug_pause_after', undef);
	$lab->until_true('the order to promote', sub {
		my $found = 0;
		for my $token (glob $lab->dir . "/$t/state/token/*")
		{
			open my $fh, '<', $token or next;
			$found ||= (readline $fh) =~ /"promoting"/;
		}
		$found;
	});
	return $startup;
}

# ---- one cell ----

sub kill_and_start
{
	my ($victim, $p, $t, $worker, $startup) = @_;
	my %node = (P => $p, T => $t);
	if ($victim eq 'worker')
	{
		my $pid = $lab->kill9('worker', $worker);
		$lab->wait_for($worker, "SELECT pingpong.worker_pid() <> $pid", 'a new worker');
	}
	elsif ($victim =~ /^(.) postgres$/)
	{
		$lab->kill9('postgres', $node{$1});
		resume(1) if $1 eq 'T';
		kill 'CONT', $startup if $1 eq 'T' && $startup;
		$lab->start_pg($node{$1});
	}
	elsif ($victim =~ /^(.) agent$/)
	{
		$lab->kill9('agent', $node{$1});
		resume(1);
		$lab->start_agent($node{$1});
	}
	else
	{
		$lab->kill9('pgbouncer', 1);
		resume(1);
		$lab->start_pgbouncer(1);
	}
	return;
}

sub one_at_most
{
	my ($when, $problems) = @_;
	my @primary = $lab->primary;
	push @$problems, "$when: @primary are writable" if @primary > 1;
	return;
}

sub check_end
{
	my ($run, $seconds, $problems) = @_;
	my ($state, $sentence, $node) = $lab->settle($run, 60);
	my @primary = $lab->primary;
	my $acked;
	push @$problems, 'writable at the end: ' . (join(' ', @primary) || 'none') if @primary != 1;
	push @$problems, "$state without a sentence" if $sentence eq '';
	push @$problems, "the run is stuck: $sentence" if $state eq 'stuck';
	$load->mark('after');
	$acked = eval { $lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }, $seconds) };
	push @$problems, 'writes do not flow' if !$acked;
	for my $writers ($load, values %direct)
	{
		my $found = $writers->verify($node);
		push @$problems, "$found->{lost} acknowledged rows are lost" if $found->{lost} // 1;
		push @$problems, "$found->{refused_present} refused rows are there" if $found->{refused_present};
	}
	return ("$state: $sentence", @primary);
}

sub cell
{
	my ($stop, $victim) = @_;
	my ($name, $behind_p, $behind_t) = @$stop;
	my ($p) = $lab->primary;
	my ($t) = grep { $_ ne $p } $lab->nodes;
	my $began = time;
	my @problems;
	my $outcome = '';
	my $startup;
	my $ended = eval
	{
		pause_behind($p, $behind_p);
		pause_behind($t, $behind_t);
		my ($run, $job) = begin_run($p, $t, $name eq 'promoting' ? '12s' : '60s');
		reached($p, $run, $behind_p);
		reached($t, $run, $behind_t);
		$startup = hold_promotion($p, $t) if $name eq 'promoting';
		one_at_most('before the kill', \@problems);
		kill_and_start($victim, $p, $t, $promoted && !$startup ? $t : $p, $startup);
		if ($startup && $victim ne 'T postgres')
		{
			my @primary = $lab->primary;
			push @problems, "@primary is writable while the order is out" if @primary;
		}
		kill 'CONT', $startup if $startup;
		one_at_most('after the kill', \@problems);
		resume();
		one_at_most('after the restart', \@problems);
		# the primary dies when all routes have had their last word
		($outcome) = check_end($run, $name =~ /tidy_slots|sync_restore/ && $victim =~ /worker|T postgres/ ? $alone
			: $patience, \@problems);
		$lab->finish($job, 20);
		1;
	};
	push @problems, $@ if !$ended;
	kill 'CONT', $startup if $startup && !$ended;
	ok(!@problems, "$name / $victim") or diag(join "\n", @problems, $outcome);
	my $seconds = time - $began;
	my $healed = heal();
	push @table, sprintf '%-26s %5.1f s  %s%s', "$name / $victim", $seconds, $outcome =~ s/\n/ /gr,
		$healed && " ($healed)";
	note($table[-1]);
	return;
}

my $wanted = $ENV{CELLS} // '';
my $whole = $ENV{PINGPONG_ALL} || $wanted ne '';
new_lab();
for my $i (0 .. $#stops)
{
	for my $j (0 .. $#victims)
	{
		cell($stops[$i], $victims[$j])
			if ($whole || ($i + $j) % 3 == 0) && "$stops[$i][0] / $victims[$j]" =~ /$wanted/;
	}
}
note("$labs labs, $rebuilds rebuilds");
done_testing();
