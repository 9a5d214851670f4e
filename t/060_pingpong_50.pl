# Dozens of switchovers in a row (fifty with PINGPONG_ALL) under load: nothing lost, nothing ambiguous, and nothing
# left over.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use File::Find;
use Lab;
use Test::More;

my $runs = $ENV{PINGPONG_RUNS} // ($ENV{PINGPONG_ALL} ? 50 : 24);
my $settled = $ENV{PINGPONG_SETTLED} // 10;	# from here on nothing may grow
my $lab = Lab->up(fast => 1, port => 19100);
my @nodes = $lab->nodes;
my @agents = (@nodes, 'pooler1');

sub status
{
	my ($pid, $key) = @_;
	open my $fh, '<', "/proc/$pid/status" or return;
	my ($value) = map { /^$key:\s+(\d+)/ } <$fh>;
	return $value;
}

sub fds
{
	my ($pid) = @_;
	opendir my $dir, "/proc/$pid/fd" or die "/proc/$pid/fd: $!";
	return scalar grep { !/^\./ } readdir $dir;
}

# Names of files in PGDATA that do not belong there.
sub strange_files
{
	my ($node) = @_;
	my @strange;
	my $data = $lab->env("PGDATA_$node");
	find({no_chdir => 1, wanted => sub {
		return $File::Find::prune = 1 if m{/(base|pg_wal|pg_stat_tmp|pg_xact|global)$};
		my $name = s{^\Q$data\E/?}{}r;
		return if $name eq 'pingpong.peers';
		push @strange, $name if $name =~ m{(^|[/.])pingpong|\.(tmp|bak|new|lost|partial)$}i;
	}}, $data);
	return sort @strange;
}
sub state_files
{
	my ($name) = @_;
	my $count = 0;
	my $dir = $lab->dir . '/' . ($name =~ /^pooler(\d)/ ? "pgbouncer$1" : $name) . '/state';
	find({no_chdir => 1, wanted => sub { $count++ if -f }}, $dir);
	return $count;
}

my @strange = map { join ' ', strange_files($_) } @nodes;
my $writers = $lab->writers(writers => 8, rate => 400);
my (%rss, %fds, %files);
my ($from, $to) = @nodes;
my (@failed, @unsettled);
for my $run (1 .. $runs)
{
	my ($out, $err, $rc) = $lab->try_sql($from, "SELECT run, state, new_primary FROM pingpong.switchover('$to')");
	push @failed, "$run: $out $err" if $rc != 0 || $out ne "$run|switched|$to";
	last if $rc != 0;
	my ($state, $sentence) = $lab->settle($run);
	push @unsettled, "$run: $state $sentence" if "$state $sentence" ne 'succeeded done';
	# a worker begins again with each restart of its server; the agents do not
	if ($run == $settled || $run == $runs)
	{
		my $when = $run == $runs ? 'end' : 'begin';
		for my $agent (@agents)
		{
			my $pid = $lab->pid('agent', $agent);
			$rss{$when}{$agent} = status($pid, 'VmRSS');
			$fds{$when}{$agent} = fds($pid);
			$files{$when}{$agent} = state_files($agent);
		}
		my $worker = $lab->pid('worker', $to);
		$rss{$when}{worker} = status($worker, 'RssAnon');
		$fds{$when}{worker} = fds($worker);
	}
	($from, $to) = ($to, $from);
}
is(join("\n", @failed), '', 'each switchover returned its row');
is(join("\n", @unsettled), '', 'each run succeeded');
my ($primary, $standby) = ($from, $to);
is(join(' ', $lab->primary), $primary, 'one primary, where the last run left it');

# ---- nothing lost ----

$writers->pause;
my $verified = $writers->verify($primary);
my $totals = $writers->stop;
is($verified->{lost}, 0, 'no acknowledged row lost');
cmp_ok($totals->{acked}, '>', 20 * $runs, 'the writers wrote');
is($totals->{errors}, 0, 'no error') or diag($totals->{sample});
is($totals->{ambiguous}, 0, 'nothing ambiguous') or diag($totals->{sample});
is($totals->{disconnects}, 0, 'no client was disconnected');
$lab->wait_for($standby, "SELECT count(*) >= $totals->{acked} FROM ledger", 'the standby to have it all');

# ---- nothing left over ----

is($lab->sql($primary, q{SELECT string_agg(slot_name || ' ' || active, ', ') FROM pg_replication_slots}),
	"pingpong_$standby true", 'one slot on the primary');
is($lab->sql($standby, 'SELECT count(*) FROM pg_replication_slots'), '0', 'none on the standby');
is($lab->sql($_, 'SELECT state FROM pingpong.gate'), 'open', "the gate of $_ is open") for @nodes;
my @now = map { join ' ', strange_files($_) } @nodes;
is($now[$_], $strange[$_], "no files left over on $nodes[$_]") for 0 .. $#nodes;
cmp_ok($files{end}{$_}, '<=', 50 * 30, "the journal of the agent of $_ is bounded") for @agents;
cmp_ok($fds{end}{$_}, '<=', $fds{begin}{$_} + 2, "file descriptors of $_ do not grow") for @agents, 'worker';
cmp_ok($rss{end}{$_}, '<=', $rss{begin}{$_} + 3072, "memory of $_ does not grow by more than 3 MB")
	for @agents, 'worker';
$lab->wait_for($primary, q{SELECT count(*) = 0 FROM pg_stat_activity
	WHERE backend_type = 'client backend' AND application_name ~ 'pingpong'
	AND pid <> pg_backend_pid() AND state <> 'idle'}, 'sessions of the agents to be idle');
cmp_ok($lab->sql($primary, q{SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND usename = current_user}), '<=', 6,
	'sessions of the superuser do not pile up');
is($lab->sql($primary, 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'no prepared transactions');
is($lab->sql($primary, q{SELECT coalesce(string_agg(DISTINCT name || ' = ' || setting, ', '), '')
	FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf' AND name !~ '^primary_|^recovery_target_timeline$'}), '',
	'no settings left in postgresql.auto.conf');
is($lab->sql($standby, q{SELECT coalesce(string_agg(DISTINCT name || ' = ' || setting, ', '), '')
	FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf' AND name !~ '^primary_|^recovery_target_timeline$'}), '',
	'nor on the standby');
is($lab->sql($primary, q{SELECT count(*) FROM pingpong.step WHERE state IN ('pending', 'running', 'failed')}), '0',
	'the journal has no open ends');
note 'memory (kB) at run 10 and at the end: ', join ', ',
	map { "$_ $rss{begin}{$_} $rss{end}{$_}" } @agents, 'worker';
note 'blackout (ms): ', $lab->sql($primary,
	'SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY blackout_ms)::numeric, 1) FROM pingpong.run');

done_testing();
