# Partitions between hosts: a switchover, a failover, and a failover of a primary that lives, while one host does not
# hear another one: each pair, each direction and both, cut before it, in the middle of it and after it. The packets
# are lost without a word (Hosts.pm). At no time are two servers writable, a client of the rw route never meets a
# standby, nothing acknowledged is lost, nothing is ambiguous for clients whose route was not cut. When the cut is
# healed all converges, by itself or by what the run's sentence or the manual says.
#
# A cell is "VERB PAIR MOMENT", like "switchover P>T lag_zero": what P sends to T is lost from the end of that step
# on. P is the primary, T the target, A the other standby (where a failover is begun), R the router; "=" is both ways.
# All cells with PINGPONG_ALL (make check-all); CELLS='failover .*R' those that match the pattern; without them a few,
# so chosen that each pair, each direction and each moment has its turn.
# ci: root
# time limit: 7200 s
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Hosts;
use Lab;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);
use Tools;

my $cannot = Hosts::cannot();
BAIL_OUT($cannot) if $cannot && ($ENV{CI} // '') eq 'true';
plan skip_all => $cannot if $cannot;

# Seconds that a cut lasts: longer than what ends a silent connection, and until the caller has an answer, but no
# longer than this.
use constant {CUT => 3, CUT_AT_MOST => 9};

my @pairs = (['P', 'T'], ['P', 'A'], ['T', 'A'], ['P', 'R'], ['T', 'R'], ['A', 'R']);
my %moments = (switchover => ['before', 'arm', 'lag_zero', 'promote', 'after'],
	failover => ['before', 'claim', 'unseen', 'promote', 'after'], refused => ['before']);
my @some = ('switchover P=T lag_zero', 'switchover T>R promote', 'switchover P<R arm', 'switchover T=A after',
	'failover T=R unseen', 'failover P=A before', 'refused A>R before');
my $lost = 'writes may be lost';

my ($lab, $hosts, $load, %direct, $reads, $reader, @table);
my ($passed, $cells) = (0, 0);

# ---- the hosts, and those who watch ----

# A client of the rw route beside the pooler, which connects anew each time; what it hears is kept.
sub start_reader
{
	$reads = $lab->dir . '/reads';
	$reader = fork // die "fork: $!";
	return if $reader;
	open STDIN, '<', '/dev/null';
	open STDOUT, '>>', $reads;
	open STDERR, '>', '/dev/null';
	$ENV{PGCONNECT_TIMEOUT} = 2;
	exec $hosts->on('pooler1'), 'sh', '-c', 'while :; do "$0" -XAtq -F " " -d "$1" -c "$2"; sleep 0.05; done',
		$lab->env('PGBIN') . '/psql', $lab->env('RW_DSN'),
		q{SELECT current_setting('pingpong.node_name'), pg_is_in_recovery(), clock_timestamp()} or POSIX::_exit(127);
}

# A writer that goes straight to a server, from inside its host.
sub straight
{
	my ($node) = @_;
	return $lab->writers(dsn => $lab->env("DSN_$node"), writers => 1, rate => 20, prefix => [$hosts->on($node)]);
}

sub up
{
	$lab = Lab->up(nodes => 3, fast => 1, poolers => 1, set => ['pingpong.agent_interval=1s',
		'pingpong.route_interval=500ms', 'pingpong.agent_connect_timeout=500ms', 'pingpong.guard_timeout=1s',
		'pingpong.rejoin_timeout=60s', 'tcp_user_timeout=2s', 'tcp_keepalives_idle=1', 'tcp_keepalives_interval=1',
		'tcp_keepalives_count=2', 'wal_sender_timeout=2s', 'wal_receiver_timeout=2s',
		'wal_retrieve_retry_interval=200ms']);
	$hosts = Hosts->new($lab);
	healthy('chicago');
	$load = $lab->writers(rate => 60, writers => 3, prefix => [$hosts->on('pooler1')]);
	%direct = (chicago => straight('chicago'));
	start_reader();
	my $run = $lab->sql('chicago', q{SELECT run FROM pingpong.switchover('dallas')});
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', 'a switchover, with nothing cut');
	$direct{dallas} = straight('dallas');
	healthy('dallas');
	return;
}
END { kill 'KILL', $reader if $reader; }

# Both others stream, and all routes lead where they should.
sub streaming
{
	my ($primary, $seconds, @standbys) = @_;
	return $lab->wait_for($primary, 'SELECT count(*) = ' . @standbys . " FROM pg_stat_replication
		WHERE state = 'streaming' AND application_name IN (" . join(', ', map { "'$_'" } @standbys) . ')',
		"@standbys to stream", $seconds);
}

sub others { my ($node) = @_; return grep { $_ ne $node } $lab->nodes; }

sub healthy
{
	my ($primary) = @_;
	streaming($primary, 60, others($primary));
	return if eval { $lab->wait_for($primary, "SELECT bool_and(health = 'ok'
		AND (kind = 'ro' OR observed_node = '$primary')) FROM pingpong.routes", 'the routes', 60) };
	die $@, $lab->sql($primary, 'SELECT * FROM pingpong.routes'), "\n";
}

# ---- invariants ----

# Who would take a write right now. A guarded server does not know yet whether it may. They are asked one after the
# other, so two are asked once more.
sub primary
{
	my $writable = sub {
		my ($out) = $lab->try_sql($_[0], q{SELECT NOT pg_is_in_recovery()
			AND (SELECT state NOT IN ('guarded', 'sealing', 'sealed') FROM pingpong.gate)});
		return $out eq 't';
	};
	my @primary = grep { $writable->($_) } $lab->nodes;
	@primary = grep { $writable->($_) } @primary if @primary > 1;
	return @primary;
}

sub one_at_most
{
	my ($when, $problems) = @_;
	my @primary = primary();
	push @$problems, "$when: @primary are writable" if @primary > 1;
	return @primary;
}

# Who is fenced would give its standbys WAL from behind the promotion of the new primary.
sub feeds_nobody
{
	my ($node, $problems) = @_;
	my ($out) = $lab->try_sql($node, q{SELECT string_agg(application_name, ' ')
		FROM pg_stat_replication, pingpong.gate WHERE seal_lsn = 'FFFFFFFF/FFFFFFFF'});
	push @$problems, "$node is fenced, and feeds $out" if $out ne '';
	return;
}

# fenced: who may be so.
sub watch
{
	my ($when, $problems, $seconds, $job, $fenced) = @_;
	my $began = time;
	do { one_at_most($when, $problems); feeds_nobody($fenced, $problems) if $fenced; sleep 0.1 }
		while time < $began + $seconds || $job && $lab->running($job) && time < $began + CUT_AT_MOST;
	return;
}

# What clients of the rw route have heard since, of standbys.
sub standby_reads
{
	my ($from) = @_;
	return grep { / t / } split /\n/, substr read_file($reads), $from;
}

sub check_rows
{
	my ($primary, $problems) = @_;
	$load->mark('after');
	eval { $lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }, 60); 1 }
		or push @$problems, 'writes do not flow';
	for my $who ('the route', sort keys %direct)
	{
		my $found = ($direct{$who} // $load)->verify($primary);
		push @$problems, "$found->{lost} rows that $who has acknowledged are lost" if $found->{lost} // 1;
		push @$problems, "$found->{refused_present} rows that $who has refused are there"
			if $found->{refused_present};
	}
	return;
}

# ---- it converges ----

# Gives the primary and what had to be done by hand.
sub converge
{
	my ($run, $may_lose, $problems) = @_;
	my ($state, $sentence) = ('', '');
	my @done;
	my $primary = $lab->until_true('one primary', sub { my @all = one_at_most('healed', $problems);
		@all == 1 && $all[0] }, 120);

	($state, $sentence, $primary) = $lab->settle($run, 150) if $run;
	for my $node (others($primary))
	{
		# a server that was replaced stays sealed, and the manual says what to do; for the rest the sentence does
		my ($gate) = $lab->try_sql($node, 'SELECT state FROM pingpong.gate');
		next if $gate ne 'sealed' && eval { streaming($primary, 8, $node); 1 };
		push @$problems, "$node does not stream, and nothing says what to do: $state: $sentence"
			if $sentence !~ /rebuild\('$node'\)/ && $gate ne 'sealed';
		push @done, "rebuild $node";
		my ($out, $err) = $lab->try_sql($primary, "SELECT state FROM pingpong.rebuild('$node')");
		# WAL that the target of a failover had not received; what was acknowledged is looked for in any case
		if ($may_lose && $err =~ /has written WAL that the server which it should follow does not have/)
		{
			($out, $err) = $lab->try_sql($primary,
				"SELECT state FROM pingpong.rebuild('$node', risk => 'its own writes are lost')");
			$done[-1] .= ' with the risk';
		}
		push @$problems, "rebuild('$node'): $out $err" if $out ne 'succeeded';
	}
	if ($sentence =~ /pingpong\.repoint\(\)/
		&& $lab->sql($primary, q{SELECT count(*) > 0 FROM pingpong.run WHERE state = 'stuck'}) eq 't')
	{
		$lab->sql($primary, 'SELECT pingpong.repoint()');
		push @done, 'repoint';
	}
	healthy($primary);
	$lab->wait_for($primary, q{SELECT count(*) = 0 FROM pingpong.run WHERE state IN ('stuck', 'running')},
		'each run to be closed', 30);
	return ($primary, join(' ', $state, $sentence =~ s/\s+/ /gr), @done);
}

# ---- runs that are stopped ----

sub resume
{
	for my $node ($lab->nodes)
	{
		my ($is) = $lab->try_sql($node, 'SHOW pingpong.debug_pause_after');
		$lab->set($node, 'pingpong.debug_pause_after', undef) if $is ne '';
	}
	return;
}

sub last_run { my ($node) = @_; return $lab->sql($node, 'SELECT coalesce(max(id), 0) FROM pingpong.run'); }

# Begins a run, cuts at its moment, and gives its job.
sub run_with_cut
{
	my ($moment, $on, $behind, $statement, $cut) = @_;
	my $job;

	$cut->() if $moment eq 'before';
	$lab->set($behind, 'pingpong.debug_pause_after', $moment) if $behind;
	$job = $lab->begin_sql($on, $statement);
	if ($behind)
	{
		my $there = eval
		{
			$lab->until_true("$moment", sub {
				my ($out) = $lab->try_sql($behind, "SELECT count(*) > 0 FROM pingpong.progress
					WHERE run_state = 'running' AND action = '$moment' AND state = 'succeeded'");
				$out eq 't' || ($moment ne 'promote' && !$lab->running($job) && die join ' ', $lab->finish($job))
			}, 40);
		};
		my $why = $@;
		$cut->() if $there;
		resume();
		die $why if !$there;
	}
	return $job;
}

sub said { my ($err) = @_; return join ' ', grep { defined } $err =~ /^ERROR:\s+(.*)/m, $err =~ /^DETAIL:\s+(.*)/m; }

# ---- cells ----

sub switchover
{
	my ($host, $moment, $cut, $problems) = @_;
	my ($p, $t) = @$host{'P', 'T'};
	my $before = last_run($p);
	my $job = run_with_cut($moment, $p, $moment eq 'promote' ? $t : $moment =~ /before|after/ ? undef : $p,
		"SELECT state FROM pingpong.switchover('$t', max_blackout => '4s')", $cut);
	my ($out, $err);

	if ($moment eq 'after')
	{
		($out, $err) = $lab->finish($job, 60);
		$cut->();
	}
	watch('cut', $problems, CUT, defined $out ? undef : $job);
	$hosts->heal;
	($out, $err) = $lab->finish($job, 120) if !defined $out;
	one_at_most('healed', $problems);
	my $known = $lab->until_true('a primary', sub { (primary())[0] }, 120);
	my ($run) = $lab->sql($known, "SELECT max(id) FROM pingpong.run WHERE id > $before AND runbook = 'switchover'");
	my ($primary, $sentence, @done) = converge($run, 0, $problems);
	push @$problems, "no run, and no reason: $err" if !$run && said($err) eq '';
	push @$problems, "switched, but $primary is the primary" if $out =~ /switched/ && $primary ne $t;
	push @$problems, "$sentence, but $primary is the primary"
		if $sentence =~ /^(rolled_back|succeeded)/ && $primary ne ($1 eq 'succeeded' ? $t : $p);
	return ($run ? $sentence : 'refused: ' . said($err), @done);
}

# All that the primary has acknowledged is on the standbys, then its server dies.
sub lose_primary
{
	my ($host, $cut_before) = @_;
	my $p = $host->{P};
	$_->pause for $load, values %direct;
	my $lsn = $lab->sql($p, 'SELECT pg_current_wal_flush_lsn()');
	$lab->wait_for($_, "SELECT pg_last_wal_replay_lsn() >= '$lsn'", 'all of the WAL') for others($p);
	$cut_before->();
	$lab->kill9('postgres', $p);
	# a backend without its postmaster could acknowledge one more
	my $data = $lab->env("PGDATA_$p");
	$lab->until_true("the processes of $p to end",
		sub { !grep { (readlink($_) // '') eq $data } glob '/proc/*/cwd' });
	$_->start for $load, values %direct;
	return;
}

# The answer of the plan is a statement; gives that, or why there is none.
sub plan_of
{
	my ($host, $seconds) = @_;
	my $limit = $lab->limit($seconds);
	my $why = '';
	do
	{
		my ($out, $err, $rc) = $lab->try_sql($host->{A}, "SELECT
			string_agg(detail, '; ') FILTER (WHERE status = 'fail'),
			string_agg(detail, '') FILTER (WHERE item = 'answer' AND status <> 'fail')
			FROM pingpong.failover_plan('$host->{T}')");
		$why = $rc != 0 ? $err : $out;
		return ("$1", '') if $rc == 0 && $out =~ /^\|(.+)/s;
		sleep 0.2;
	} while time < $limit;
	return ('', $why);
}

sub failover
{
	my ($host, $moment, $cut, $problems) = @_;
	my ($p, $t, $a) = @$host{'P', 'T', 'A'};
	my $before = last_run($p);
	my ($out, $err, $rc, $job, @notes) = ('', '', 1);

	lose_primary($host, $moment eq 'before' ? $cut : sub { });
	my ($statement, $why) = plan_of($host, 8);
	if ($statement)
	{
		$job = run_with_cut($moment eq 'before' ? '' : $moment, $a,
			$moment eq 'promote' ? $t : $moment =~ /before|after/ ? undef : $a, $statement, $cut);
		if ($moment eq 'after')
		{
			($out, $err, $rc) = $lab->finish($job, 60);
			undef $job;
			$cut->();
		}
	}
	else
	{
		push @notes, "refused: $why";
		push @$problems, "refused without a cut: $why" if $moment ne 'before';
	}
	watch('cut', $problems, 1, $job);
	# the old primary comes back while there is the cut
	$lab->start_pg($p);
	watch('cut, and the old primary is back', $problems, CUT, undef, $p);
	$hosts->heal;
	($out, $err, $rc) = $lab->finish($job, 150) if $job;
	push @notes, said($err) if $job && $rc != 0;
	push @$problems, "no reason: $err" if $job && $rc != 0 && said($err) eq '';
	one_at_most('healed', $problems);
	if ($err =~ /the undo unfence of "$p" failed: the server of "$p" runs, and (?:is|may be) sealed/)
	{
		# started while it was fenced, and the failover came to nothing: as the manual says
		if ($lab->sql($p, 'SELECT state FROM pingpong.gate') eq 'sealed')
		{
			$lab->sql($p, q{SELECT pingpong.resume(risk => 'two primaries are possible')});
			push @notes, "$p is opened by hand";
		}
	}
	my $known = $lab->until_true('a primary', sub { (primary())[0] }, 150);
	my ($run) = $lab->sql($known, "SELECT max(id) FROM pingpong.run WHERE id > $before AND runbook = 'failover'");
	my ($primary, $sentence, @done) = converge($run, 1, $problems);
	push @$problems, "switched, but $primary is the primary" if $out =~ /switched/ && $primary ne $t;
	push @$problems, "no row of a failover, but $primary is the primary" if !$run && $primary ne $p;
	return (join('; ', @notes, $run ? $sentence : ()), @done);
}

# The primary lives: somebody reaches it, whatever is cut between two.
sub refused
{
	my ($host, $moment, $cut, $problems) = @_;
	my ($p, $t, $a) = @$host{'P', 'T', 'A'};
	$cut->();
	my $until = time + CUT;
	my $err;
	do
	{
		(undef, $err, my $rc) = $lab->try_sql($a, "SELECT * FROM pingpong.failover('$t',
			risk => '$lost, more writes may be lost than need be, two primaries are possible')");
		push @$problems, "a primary that lives was replaced: $err" if $rc == 0;
		one_at_most('cut', $problems);
	} while time < $until;
	$hosts->heal;
	my ($primary, undef, @done) = converge(undef, 0, $problems);
	push @$problems, "$primary is the primary" if $primary ne $p;
	return (said($err), @done);
}

my %verbs = (switchover => \&switchover, failover => \&failover, refused => \&refused);

sub cell
{
	my ($name) = @_;
	my ($verb, $one, $way, $two, $moment) = $name =~ /^(\w+) (.)(.)(.) (\w+)$/ or die $name;
	my ($p) = primary();
	my %host = (P => $p, T => $p eq 'chicago' ? 'dallas' : 'chicago', A => 'austin', R => 'pooler1');
	my @cuts = (([@host{$one, $two}]) x ($way ne '<'), ([@host{$two, $one}]) x ($way ne '>'));
	my $cut = sub { $hosts->cut(@$_) for @cuts };
	my $began = time;
	my (@problems, $outcome, @done);
	my $heard = -s $reads // 0;

	$load->mark($name);
	my $whole = eval
	{
		($outcome, @done) = $verbs{$verb}->(\%host, $moment, $cut, \@problems);
		my $window = $load->end;
		my ($primary) = primary();
		push @problems, "$window->{ambiguous} ambiguous: $window->{sample}"
			if $window->{ambiguous} && "$one$two" !~ /[PT]R/;
		check_rows($primary, \@problems);
		1;
	};
	push @problems, $@ if !$whole;
	my @wrong = standby_reads($heard);
	push @problems, @wrong . " answers of a standby by the rw route: $wrong[0] ... $wrong[-1]" if @wrong;
	$cells++;
	$passed++ if ok(!@problems, $name);
	my %told;
	diag(join "\n", grep({ !$told{$_}++ } @problems), $outcome // ()) if @problems;
	push @table, sprintf '%-32s %5.1f s  %s%s', $name, time - $began, $outcome // '', @done ? " -> @done" : '';
	note($table[-1]);
	if (!$whole) { diag('a new lab'); again(); }
	return;
}

sub again
{
	$hosts->heal;
	kill 'KILL', $reader;
	waitpid $reader, 0;
	$lab->_keep_logs;
	$lab->down;
	$hosts->end;
	up();
	return;
}

my @all = map { my $verb = $_; map { my $pair = $_; map { my $way = $_; map { "$verb $pair->[0]$way$pair->[1] $_" }
	@{$moments{$verb}} } '>', '<', '=' } @pairs } sort keys %moments;
my $wanted = $ENV{CELLS};
up();
my $began = time;
cell($_) for defined $wanted ? grep { /$wanted/ } @all : $ENV{PINGPONG_ALL} ? @all : @some;
note(sprintf '%d of %d cells in %.0f s', $passed, $cells, time - $began);
done_testing();
