# The target's agent misbehaves: it says nothing, loses its answer, answers garbage or half, or late. A proxy is
# between the worker and each agent and does this to the requests of one step. At no time are two primaries writable,
# nothing acknowledged is lost, and without a definite answer to promote, or to the question after it, the old primary
# stays sealed.
#
# CELLS='promote / half' runs only the cells that match this pattern.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use IO::Select;
use IO::Socket::INET;
use Lab;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

# silent: the request does not arrive; lost: it does, the answer does not come back
my @modes = qw(silent lost garbage half late);
my $late_s = 3;

# ---- the proxy: one request for each connection ----

sub read_http
{
	my ($socket) = @_;
	my $text = '';
	while ($text !~ /\r\n\r\n/)
	{
		sysread($socket, $text, 65536, length $text) or return $text;
	}
	my ($head) = $text =~ /^(.*?\r\n\r\n)/s;
	my $length = $head =~ /^Content-Length: *(\d+)/mi ? $1 : 0;
	while (length($text) < length($head) + $length)
	{
		sysread($socket, $text, 65536, length $text) or last;
	}
	return $text;
}

sub pass_on
{
	my ($request, $port) = @_;
	my $agent = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or return '';
	my $answer = '';
	$request =~ s/^(Connection|Expect):[^\r]*\r\n//mgi;
	$request =~ s/\r\n/\r\nConnection: close\r\n/;
	syswrite $agent, $request;
	1 while sysread $agent, $answer, 65536, length $answer;
	return $answer;
}

# Until the other side has gone.
sub say_nothing
{
	my ($client) = @_;
	my $unused;
	1 while IO::Select->new($client)->can_read(60) && sysread $client, $unused, 100;
	return;
}

sub serve
{
	my ($client, $port, $control) = @_;
	my $request = read_http($client);
	my ($step) = $request =~ m{^GET /v1/jobs/[^/ ]+/([^ ?]+)} ? $1 : $request =~ m{"step": *"([^"]*)"} ? $1 : '';
	my ($mode, $pattern) = ('', '');
	if (open my $fh, '<', $control)
	{
		($mode, $pattern) = split ' ', <$fh> // '';
	}
	$mode = '' if !$mode || $step !~ /$pattern/ && $request !~ /"action": *"($pattern)"/;
	if ($mode && open my $log, '>>', "$control.seen")
	{
		syswrite $log, "$step\n";
	}
	return say_nothing($client) if $mode eq 'silent';
	sleep $late_s if $mode eq 'late';
	my $answer = pass_on($request, $port);
	return say_nothing($client) if $mode eq 'lost';
	$answer = "HTTP/1.1 200 OK\r\nContent-Length: 18\r\nConnection: close\r\n\r\n{\"state\": succeede\0"
		if $mode eq 'garbage';
	$answer = substr $answer, 0, length($answer) - 20 if $mode eq 'half';
	syswrite $client, $answer;
	return;
}

sub proxy
{
	my ($lab, $node, $port) = @_;
	my ($to) = $lab->env("AGENT_$node") =~ /:(\d+)$/;
	my $control = $lab->dir . "/fault.$node";
	my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 50, ReuseAddr => 1)
		or die "listen: $!";
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		$SIG{CHLD} = 'IGNORE';
		$SIG{TERM} = 'DEFAULT';
		while (1)
		{
			my $client = $listen->accept or next;
			my $child = fork;
			next if $child;
			eval { serve($client, $to, $control) };
			POSIX::_exit(0);
		}
	}
	$lab->{children}{$pid} = 1;
	return;
}

# ---- the cells ----

my $lab = Lab->up(fast => 1);
my %port = (chicago => $lab->base + 58, dallas => $lab->base + 59);
for my $node (sort keys %port)
{
	proxy($lab, $node, $port{$node});
	$lab->sql('chicago', "UPDATE pingpong.node SET agent_url = 'http://127.0.0.1:$port{$node}' WHERE name = '$node'");
}
my $load = $lab->writers(rate => 80);
my %direct = (chicago => $lab->writers(dsn => $lab->env('DSN_chicago'), writers => 1, rate => 20));
$lab->sql('chicago', q{SELECT pingpong.switchover('dallas')});
$lab->settle(1);
$direct{dallas} = $lab->writers(dsn => $lab->env('DSN_dallas'), writers => 1, rate => 20);

sub fault
{
	my ($node, $mode, $pattern) = @_;
	my $control = $lab->dir . "/fault.$node";
	unlink "$control.seen", $mode ? () : $control;
	return if !$mode;
	open my $fh, '>', "$control.new" or die $!;
	print $fh "$mode $pattern\n";
	close $fh or die $!;
	rename "$control.new", $control or die $!;
	return;
}

# How many requests have met the fault.
sub seen
{
	my ($node) = @_;
	open my $fh, '<', $lab->dir . "/fault.$node.seen" or return 0;
	my @lines = <$fh>;
	return scalar @lines;
}

sub gate { my ($node) = @_; my ($state) = $lab->try_sql($node, 'SELECT state FROM pingpong.gate'); return $state; }

sub healthy
{
	my ($primary) = $lab->primary;
	my ($standby) = grep { $_ ne $primary } $lab->nodes;
	return $lab->wait_for($primary, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$standby' AND state = 'streaming'", "$standby to stream");
}

sub check_end
{
	my ($problems) = @_;
	my @primary = $lab->primary;
	push @$problems, 'writable at the end: ' . (join(' ', @primary) || 'none') if @primary != 1;
	$load->mark('after');
	eval { $lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }, 10) }
		or push @$problems, 'writes do not flow';
	for my $writers ($load, values %direct)
	{
		my $found = $writers->verify($primary[0] // next);
		push @$problems, "$found->{lost} acknowledged rows are lost" if $found->{lost} // 1;
		push @$problems, "$found->{refused_present} refused rows are there" if $found->{refused_present};
	}
	return;
}

# For as long as the fault stands: sealed, and not two.
sub stays_sealed
{
	my ($p, $t, $problems) = @_;
	my $least = 3;
	$lab->until_true("$p to be sealed", sub { gate($p) eq 'sealed' });
	$lab->until_true('the fault to be met again', sub {
		my $state = gate($p);
		push @$problems, "$p is $state while the agent's answer is out" if $state !~ /^(sealed|)$/;
		my @primary = $lab->primary;
		push @$problems, "@primary are writable" if @primary > 1 || ($primary[0] // '') eq $p;
		seen($t) >= $least || @$problems;
	}, 30);
	return;
}

# How the run ended: its state, or "refused" if there is none.
sub outcome
{
	my ($p, $job, $before, $run) = @_;
	my ($out) = $lab->finish($job, 90);
	$run ||= $lab->sql($p, "SELECT coalesce(max(id), 0) FROM pingpong.run WHERE id > $before
		AND runbook <> 'realign'");
	return $run ? ($lab->settle($run))[0] : 'refused';
}

sub cell
{
	my ($step, $mode, $expected) = @_;
	my $name = "$step / $mode";
	return if $name !~ /$ENV{CELLS}/;
	my ($p) = $lab->primary;
	my ($t) = grep { $_ ne $p } $lab->nodes;
	my %pattern = (facts => 'facts', slots => '20\.slots|slot\.ensure', arm => 'token.arm',
		promote => 'promote|verdict', verdict => 'verdict');
	my $began = time;
	my @problems;
	my $outcome = eval
	{
		my $before = $lab->sql($p, 'SELECT coalesce(max(id), 0) FROM pingpong.run');
		healthy();
		$lab->set($p, 'pingpong.debug_pause_after', 'seal') if $step eq 'verdict';
		fault($t, $mode, $pattern{$step});
		my $job = $lab->begin_sql($p, "SELECT * FROM pingpong.switchover('$t', max_blackout => '4s')");
		my $run = 0;
		$run = $lab->until_true('the run to begin',
				sub { ($lab->try_sql($p, "SELECT max(run) FROM pingpong.progress WHERE run > $before"))[0] }, 10)
		  if $step ne 'facts';
		if ($step eq 'verdict')
		{
			$lab->until_true("$p to be sealed", sub { gate($p) eq 'sealed' });
			my $pid = $lab->kill9('worker', $p);
			$lab->wait_for($p, "SELECT pingpong.worker_pid() <> $pid", 'a new worker');
			$lab->set($p, 'pingpong.debug_pause_after', undef);
		}
		stays_sealed($p, $t, \@problems) if $step =~ /^(promote|verdict)$/ && $mode ne 'late';
		fault($t) if $step =~ /^(promote|verdict)$/ && $mode ne 'late';
		outcome($p, $job, $before, $run);
	};
	push @problems, $@ if !defined $outcome;
	fault($t);
	$outcome //= '';
	push @problems, "the end is $outcome, not $expected" if $outcome !~ /^($expected)$/;
	check_end(\@problems);
	push @problems, "$t keeps a slot" if $outcome eq 'rolled_back' && $lab->sql($t,
		"SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'pingpong_$p')") ne 'f';
	ok(!@problems, $name) or diag(join "\n", @problems);
	note(sprintf '%-20s %5.1f s  %s', $name, time - $began, $outcome);
	return;
}

$ENV{CELLS} //= '';
for my $mode (@modes)
{
	cell('facts', $mode, $mode eq 'late' ? 'succeeded' : 'refused');
	cell('arm', $mode, $mode eq 'late' ? 'succeeded' : 'rolled_back|succeeded');
	cell('promote', $mode, $mode eq 'silent' ? 'rolled_back|succeeded' : 'succeeded');
	cell('verdict', $mode, 'rolled_back');
	cell('slots', $mode, 'rolled_back') if $mode eq 'lost';
}

# ---- the order was given, and the server obeys it when no worker waits any more ----

# The job of the promotion, as the agent's journal has it.
sub promote_job
{
	my ($node) = @_;
	my ($file) = sort { -M $a <=> -M $b } glob $lab->dir . "/$node/state/jobs/*/70.promote.$node.json";
	open my $fh, '<', $file // return '' or return '';
	local $/;
	return <$fh>;
}

if ('too late' =~ /$ENV{CELLS}/)
{
	my ($p) = $lab->primary;
	my ($t) = grep { $_ ne $p } $lab->nodes;
	my @problems;
	my $outcome = eval
	{
		healthy();
		my $before = $lab->sql($p, 'SELECT coalesce(max(id), 0) FROM pingpong.run');
		my $startup = $lab->sql($t, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'});
		$lab->set($p, 'pingpong.debug_pause_after', 'lag_zero');
		my $job = $lab->begin_sql($p, "SELECT * FROM pingpong.switchover('$t', max_blackout => '5s')");
		$lab->wait_for($p, "SELECT bool_or(state = 'succeeded') FROM pingpong.progress
			WHERE run > $before AND action = 'lag_zero'", 'lag zero');
		kill 'STOP', $startup;
		$lab->set($p, 'pingpong.debug_pause_after', undef);
		eval
		{
			$lab->wait_for($p, "SELECT bool_and(run_state = 'asking') FROM pingpong.progress WHERE run > $before",
				'the question');
			$lab->until_true('the agent to give up', sub { promote_job($t) =~ /"state": *"failed"/ });
			push @problems, "$p is " . gate($p) if gate($p) ne 'sealed';
			push @problems, 'writable: ' . join ' ', $lab->primary if $lab->primary;
			1;
		} or push @problems, $@;
		kill 'CONT', $startup;
		outcome($p, $job, $before, $before + 1);
	};
	push @problems, $@ if !defined $outcome;
	push @problems, "the end is $outcome" if ($outcome // '') ne 'succeeded';
	check_end(\@problems);
	eval { healthy() } or push @problems, $@;
	ok(!@problems, 'a promotion that comes too late') or diag(join "\n", @problems);
}
done_testing();
