# The crash matrix of the upgrade in place and of its way back: at each step a process is killed (-9), the host dies,
# or an agent is cut off, and what was killed is started again. At no time are two servers writable, no acknowledged
# row is lost, the run ends and says how, and writes flow.
#
# A part of the cells, so chosen that each step has its turn; all with PINGPONG_ALL. full.pl runs this file with disks
# that fill up. CELLS='seal / agent' runs only the cells that match this pattern. In mode link there is no way back
# behind the new server's start, and so nothing of that is tried.
#
# PINGPONG_NEW_BIN is the folder of the new major's programs, with the extension installed (ci/upgrade gives it).
use strict;
use warnings;
use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::RealBin/..";

our $full;						# disks fill up (full.pl)
BEGIN
{
	if ($full)
	{
		require Mounts;			# before the others: what is loaded later ends first
		Mounts->import;
	}
}
use Lab;
use Link;
use Test::More;
use Time::HiRes qw(sleep time);
use Upgrade;

my $new_bin = $ENV{PINGPONG_NEW_BIN} // '';
plan skip_all => 'there is no other major (ci/upgrade runs this)' unless -x "$new_bin/pg_upgrade";
my $mode = $ENV{PINGPONG_UPGRADE_MODE} // 'copy';
my $wanted = $ENV{CELLS} // '';
my $whole = $ENV{PINGPONG_ALL} || $wanted ne '';
my $writers = 4;
my $cut_s = 4.5;				# longer than a worker waits for an agent before it gives up
my $patience = 20;				# until writes must flow: PgBouncer's server_login_retry is 15 s

my ($pair, $lab, $load, $fresh, %direct, %link, %disk);
my ($labs, @table) = (0);

# ---- the pair ----

# Disks of their own: of the new servers, and of what the agents remember.
sub small_disk
{
	my $folder = tempdir('pingpong-small-XXXXXX', TMPDIR => 1, CLEANUP => 0);
	plan skip_all => "no tmpfs can be mounted: $!" unless Mounts::tmpfs($folder, 'size=700m,mode=0700');
	return $folder;
}

sub move_state
{
	my ($node) = @_;
	my $state = $lab->state_dir($node);
	$lab->kill9('agent', $node);
	system('cp', '-a', $state, "$disk{state}{$node}/") == 0 or die;
	rename $state, "$state.before" or die;
	symlink "$disk{state}{$node}/state", $state or die $!;
	$lab->start_agent($node);
	return;
}

sub new_pair
{
	if ($lab)
	{
		$_->end for values %link;
		$pair->down;
		$lab->down;				# with the writers
		($load, $fresh, %direct) = ();
	}
	if ($full)
	{
		Mounts::umount($_) && rmdir $_ for map { values %$_ } values %disk;
		%disk = map { my $what = $_; ($what => {map { ($_ => small_disk()) } qw(chicago dallas)}) } qw(new state);
	}
	my %new = %{ $disk{new} // {} };
	delete $new{chicago} if $mode eq 'link';	# its files are linked
	$pair = Upgrade->up($new_bin, port => 24600, new => \%new);
	$lab = $pair->lab;
	if ($full) { move_state($_) for $lab->nodes; }
	$labs++;
	%link = (chicago => Link->new($lab->base + 58, $lab->env('AGENT_chicago') =~ /:(\d+)$/),
		dallas => Link->new($lab->base + 59, $lab->env('AGENT_dallas') =~ /:(\d+)$/));
	my %port = (chicago => $lab->base + 58, dallas => $lab->base + 59);
	$lab->sql('chicago', map { "UPDATE pingpong.node SET agent_url = 'http://127.0.0.1:$port{$_}' WHERE name = '$_'" }
		sort keys %port);
	$lab->sql('chicago', 'CREATE TABLE t (i int PRIMARY KEY)', 'INSERT INTO t SELECT generate_series(1, 20000)');
	new_writers();
	return;
}

# Through the pooler, and straight to each node: what anybody acknowledges must be there in the end.
sub new_writers
{
	$_->stop for grep { defined } $load, $fresh, values %direct;
	$load = $lab->writers(rate => 80, writers => $writers);
	$fresh = undef;
	%direct = (chicago => $lab->writers(dsn => $lab->env('DSN_chicago'), writers => 1, rate => 20));
	return;
}

sub streams
{
	my ($seconds) = @_;
	return $lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = 'dallas' AND state = 'streaming'}, 'dallas to stream', $seconds // 30);
}

sub run_to_end
{
	my ($sql) = @_;
	my ($run, $job) = $pair->begin($sql);
	$lab->finish($job, 120) if $job;
	my @end = $lab->settle($run, 120);
	die "$sql: @end[0, 1]\n" if "$end[0] $end[1]" ne 'succeeded done';
	return $run;
}

sub is_new { return $lab->sql('chicago', 'SHOW server_version_num') =~ /^$pair->{to}\d{4}$/; }

# ---- where it is stopped ----

sub pause_conf { my ($action) = @_; return "pingpong.debug_pause_after = '$action'\n"; }

# The worker that runs now stops behind the action.
sub behind
{
	my ($action) = @_;
	return {before => sub { $lab->set('chicago', 'pingpong.debug_pause_after', $action) },
		reach => sub { my ($run) = @_; reached($run, $action) }};
}

# The new server's worker does: it gets the setting with the configuration of the old one.
sub behind_new
{
	my ($action) = @_;
	return {before => sub { Upgrade::append($lab->env('PGDATA_chicago') . '/postgresql.conf', pause_conf($action)) },
		reach => sub { my ($run) = @_; reached($run, $action) }, new => 1};
}

sub reached
{
	my ($run, $action) = @_;
	return $lab->wait_for('chicago', "SELECT bool_or(state = 'succeeded') FROM pingpong.progress
		WHERE run = $run AND action = '$action'", "$action to be done", 60);
}

# A program of the agent's works.
sub in
{
	my ($node, $name, $without, $wanted) = @_;
	my $tools = sub { return grep { !$wanted || Upgrade::text_of("/proc/$_/cmdline") =~ $wanted }
		$pair->tools($node, $name, $without) };
	return {reach => sub { $lab->until_true("$name on $node", sub { my ($pid) = $tools->(); $pid }, 60) },
		tools => $tools};
}

sub fast_until
{
	my ($what, $code) = @_;
	my $limit = $lab->limit(60);
	my @found;
	until ((@found = $code->()) && $found[0])
	{
		die "waited too long for $what\n" if time > $limit;
		sleep 0.001;
	}
	return @found;
}

# The server goes down, and cannot: its checkpointer stands still.
sub going_down
{
	my ($which, $pause) = @_;
	return {before => sub { $lab->set('chicago', 'pingpong.debug_pause_after', $pause) },
		reach => sub {
			my ($run) = @_;
			reached($run, $pause);
			$pair->freeze($lab->sql('chicago', q{SELECT pid FROM pg_stat_activity
				WHERE backend_type = 'checkpointer'}));
			resume_now();
			my $file = $pair->data('chicago', $which) . '/postmaster.pid';
			fast_until('the server to go down', sub { Upgrade::text_of($file) =~ /^stopping/m });
		}};
}

# The server comes up, and does not come far: its postmaster stands still as soon as it is there.
sub coming_up
{
	my ($which, @states) = @_;
	my $states = join '|', @states;
	return {reach => sub {
		my ($pid) = fast_until("the $which server to come up", sub {
			($pair->record('chicago')->{state} // '') =~ /^(?:$states)$/ && $pair->postmaster('chicago', $which) });
		$pair->freeze($pid);
		my $state = $pair->record('chicago')->{state};
		$state =~ /^(?:$states)$/ or die "the server came up too fast: $state\n";
	}};
}

my $vacuumdb = {reach => sub { $lab->until_true('vacuumdb', sub { analyzers() }, 60) }, tools => \&analyzers};
# (pg_upgrade calls it, too)
sub analyzers
{
	my $socket = $lab->dir;
	return grep { Upgrade::text_of("/proc/$_/cmdline") =~
		m{^\Q$new_bin\E/vacuumdb\0.*\Q$socket\E.*--analyze-(?:in-stages|only)}s }
		map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
}

# the standby's copy is complete, and its new server comes
my $handover = {reach => sub { $lab->until_true('the standby to be exchanged', sub {
	$pair->running('dallas') ne 'old' }, 60) }};

my @upgrade = (
	['upgrade_prepare', in('chicago', 'initdb'), qw(tool agent worker postgres cut)],
	['upgrade_prepare, the check', in('chicago', 'pg_upgrade', undef, qr/--check/), qw(agent tool postgres cut host)],
	['upgrade_prepare, the standby', in('dallas', 'initdb'), 'dallas agent', 'tool', 'dallas cut', 'dallas postgres'],
	(map { [$_, behind($_), qw(agent postgres cut worker)] } qw(checkpoint prepare_route pause hold seal)),
	['upgrade_stop', going_down('old', 'seal'), qw(agent postgres host cut)],
	['upgrade_run', in('chicago', 'pg_upgrade', qr/--check/),
		'tool', 'agent', 'host', 'cut', 'old started', 'dallas postgres'],
	['upgrade_start', coming_up('new', 'started'), qw(postgres host agent cut)],
	['upgrade_start, done', behind_new('upgrade_start'), qw(agent postgres host cut worker)],
	['open_new', behind_new('open_new'), 'worker', 'agent', 'postgres', 'cut', 'host, old first'],
	(map { [$_, behind_new($_), qw(postgres cut worker agent)] } qw(repoint slots extensions)),
	['rejoin', in('dallas', 'pg_basebackup'), 'dallas agent', 'tool', 'worker', 'dallas cut', 'postgres', 'agent'],
	['rejoin, the exchange', $handover, 'dallas agent', 'postgres', 'dallas cut', 'worker'],
	['analyze', $vacuumdb, qw(tool agent cut worker)],
	(map { [$_, behind_new($_), qw(worker agent postgres cut)] } qw(writable verify)));
my @back = (
	(map { [$_, behind($_), qw(worker postgres agent cut)] } qw(back_ready prepare_route pause hold seal)),
	['take_back, down', going_down('new', 'seal'), qw(agent postgres host cut)],
	['take_back, up', coming_up('old', 'crossing', 'reverted'), qw(host agent postgres cut)]);

if ($full)
{
	@upgrade = (
		['upgrade_prepare', in('chicago', 'initdb'), 'new full', 'state full'],
		['upgrade_prepare, the check', in('chicago', 'pg_upgrade', undef, qr/--check/), 'state full', 'new full'],
		['upgrade_prepare, the standby', in('dallas', 'initdb'), 'dallas new full', 'dallas state full'],
		['hold', behind('hold'), 'state full', 'new full'],
		['seal', behind('seal'), 'state full', 'state full, agent', 'new full'],
		['upgrade_stop', going_down('old', 'seal'), 'state full', 'state full, postgres', 'state full, agent'],
		['upgrade_run', in('chicago', 'pg_upgrade', qr/--check/),
			'new full', 'state full, tool', 'state full', 'state full, agent'],
		['upgrade_start', coming_up('new', 'started'), 'state full, postgres', 'state full', 'state full, agent'],
		['upgrade_start, done', behind_new('upgrade_start'), 'state full', 'state full, agent'],
		['open_new', behind_new('open_new'), 'state full'],
		['rejoin', in('dallas', 'pg_basebackup'), 'dallas new full', 'dallas state full'],
		['rejoin, the exchange', $handover, 'dallas state full']);
	@back = (
		['back_ready', behind('back_ready'), 'state full'],
		['seal', behind('seal'), 'state full', 'state full, agent'],
		['take_back, down', going_down('new', 'seal'), 'state full', 'state full, agent', 'state full, postgres'],
		['take_back, up', coming_up('old', 'crossing', 'reverted'), 'state full', 'state full, agent']);
}

# ---- the ways of dying ----

# Both servers and the agent of a host, and what they had begun.
sub host_dies
{
	my ($node) = @_;
	my $home = $lab->dir . "/$node";
	my @pids = grep { Upgrade::text_of("/proc/$_/cmdline") =~ m{\Q$home\E/} && $_ != $$ }
		map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
	kill 'KILL', @pids;
	$lab->until_true("the host of $node to be dead", sub { !grep { !$lab->gone($_) } @pids });
	# (workers of a postmaster have no path in their title)
	return;
}

# The server that ran is started by a person, and so may be one that nobody has asked for.
sub strike
{
	my ($victim, $stop) = @_;
	if ($victim =~ s/^(dallas )?(new|state) full(?:, |$)//)
	{
		Mounts::fill($disk{$2}{$1 ? 'dallas' : 'chicago'});
		return if $victim eq '';
	}
	my $node = $victim =~ s/^dallas // ? 'dallas' : 'chicago';
	my $up = $pair->running($node);
	if ($victim eq 'agent')
	{
		$lab->kill9('agent', $node);
		$pair->thaw;
		resume_now();
		$lab->start_agent($node);
	}
	elsif ($victim eq 'postgres')
	{
		$up or die "no server of $node runs\n";
		my $goes_down = @{ $pair->{frozen} };
		$pair->kill_postmaster($node, $up);
		$pair->thaw;
		# where it was going down or coming up the agent has it in hand
		$pair->start($node, $up) unless $goes_down;
	}
	elsif ($victim eq 'worker')
	{
		my $pid = $lab->kill9('worker', $node);
		$lab->wait_for($node, "SELECT pingpong.worker_pid() <> $pid", 'a new worker');
	}
	elsif ($victim eq 'tool')
	{
		my @tools = $stop->{tools}->();
		@tools && kill('KILL', @tools) or die "the program has ended\n";
	}
	elsif ($victim eq 'cut')
	{
		$link{$node}->order('cut');
		$pair->thaw;
		resume_now();
		sleep $cut_s;
		$link{$node}->order('heal');
	}
	elsif ($victim =~ /^host/)
	{
		host_dies($node);
		$pair->thaw;
		my $first = $victim =~ /old first/ ? 'old' : $up;
		eval { $pair->start($node, $first) } if $first;
		$lab->start_agent($node);
		if ($first && $first ne $up)
		{
			$lab->wait_for($node, q{SELECT state = 'sealed' FROM pingpong.gate}, 'the old server to be sealed');
			my $data = $pair->data($node, $first);
			system($lab->env('PGBIN') . "/pg_ctl -D $data -m fast -s -w stop >/dev/null 2>&1");
			$pair->start($node, $up);
		}
	}
	elsif ($victim eq 'old started')
	{
		eval { $pair->start($node, 'old') };
		note("started by hand: " . ($@ || 'it runs'));
	}
	return;
}

# On the servers that answer now, or on all.
sub resume_now { return resume(1); }
sub resume
{
	my ($now) = @_;
	foreach my $node ($lab->nodes)
	{
		next if $now && !$lab->sql_ok($node, 'SELECT 1');
		$lab->until_true("$node to go on", sub {
			my ($is, undef, $rc) = $lab->try_sql($node, 'SHOW pingpong.debug_pause_after');
			return 1 if $rc == 0 && $is eq '';
			$lab->try_sql($node, q{ALTER SYSTEM SET pingpong.debug_pause_after = ''}, 'SELECT pg_reload_conf()')
				if $rc == 0;
			return $now && $rc != 0;
		}, 60);
	}
	return;
}

# ---- one cell ----

sub one_at_most
{
	my ($when, $problems) = @_;
	my @primary = $lab->primary;
	push @$problems, "$when: @primary are writable" if @primary > 1;
	return;
}

# Commits whose answer is on its way when their server dies.
sub may_be_ambiguous
{
	my ($name, $victim) = @_;
	return 0 if $victim !~ /^(?:postgres|worker|host)/;
	return 0 if $name =~ /^(?:pause|hold|seal|upgrade_stop|upgrade_run|upgrade_start|open_new|take_back)/;
	return $writers;
}

sub check_ambiguous
{
	my ($name, $victim, $problems) = @_;
	my $found = $load->end->{ambiguous};
	push @$problems, "$found commits are ambiguous" if $found > may_be_ambiguous($name, $victim);
	return;
}

# What the writers have: nothing of what was acknowledged is missing.
sub check_rows
{
	my ($name, $victim, $gives_up, $problems) = @_;
	my %all = (pooler => $load, fresh => $fresh, %direct);
	foreach my $who (grep { defined $all{$_} && !($gives_up && $_ ne 'fresh') } sort keys %all)
	{
		my $found = $all{$who}->verify('chicago');
		push @$problems, "$found->{lost} acknowledged rows are lost ($who)" if $found->{lost} // 1;
		push @$problems, "$found->{refused_present} refused rows are there ($who)" if $found->{refused_present};
	}
	return;
}

sub check_flow
{
	my ($problems) = @_;
	foreach my $writers ($load, $fresh // ())
	{
		$writers->start;
		$writers->mark('after');
		push @$problems, 'writes do not flow' if !eval { $lab->until_true('writes to flow', sub {
			$writers->end->{acked} > 0 }, $patience) };
	}
	return;
}

# A run that is stuck says what to do, and that is enough.
sub obey
{
	my ($sentence, $problems) = @_;
	my ($remedy) = $sentence =~ /SELECT (pingpong\.rebuild\('dallas'\))/;
	push @$problems, "stuck: $sentence" if !$remedy || !eval { run_to_end("SELECT * FROM $remedy") };
	push @$problems, $@ if $@;
	return;
}

# The end of an upgrade on the server that serves: state and sentence.
sub end_of_upgrade
{
	my ($run, $problems) = @_;
	my ($state, $sentence) = $lab->settle($run, 90);
	push @$problems, "$state without a sentence" if $sentence eq '';
	my $went = is_new() ? 'succeeded' : 'rolled_back';
	push @$problems, "it says $state, and it is $went" if $state ne 'stuck' && $state ne $went;
	if ($went eq 'rolled_back')
	{
		foreach my $node ($lab->nodes)
		{
			my @left = glob $pair->data($node, 'new') . '/*';
			my @runs = $pair->tools($node, 'postgres');
			push @$problems, "$node: left in the new folder: @left" if @left;
			push @$problems, "$node: left running there: @runs" if @runs;
		}
	}
	return "$state: $sentence";
}

# Of the way back: the new server serves, and its run says rolled_back; or the old one, and its upgrade says so.
sub end_of_back
{
	my ($upgrade, $run, $problems) = @_;
	my $limit = $lab->limit(90);
	while (1)
	{
		foreach my $node ($lab->primary)
		{
			my ($out, undef, $rc) = $lab->try_sql($node, "SELECT current_setting('server_version_num')::int / 10000,
				id, state, coalesce(sentence, '') FROM pingpong.run WHERE id IN ($upgrade, $run)
				AND runbook <> 'realign' ORDER BY id DESC LIMIT 1");
			next if $rc != 0 || $out !~ /^(\d+)\|(\d+)\|(rolled_back|stuck|succeeded)\|(.+)/s;
			my ($version, $id, $state, $sentence) = ($1, $2, $3, $4);
			push @$problems, "it says $state of run $id on version $version" if $state ne 'rolled_back'
				|| $id != ($version == $pair->{to} ? $run : $upgrade);
			return ($version == $pair->{from}, "$state: $sentence");
		}
		die "the way back did not end\n" if time > $limit;
		sleep 0.05;
	}
}

# There is room again only behind the end of the run, if it has one without.
sub end_while_full
{
	my ($run, $end, $problems) = @_;
	my @end;
	my $ended = eval { @end = $end->($run); 1 };
	push @$problems, "while the disk is full: $@" if !$ended;
	$lab->until_true('room to be there', sub { Mounts::resize($_, '700m') }) for map { values %$_ } values %disk;
	return $ended ? @end : $end->($run);
}

sub try_cell
{
	my ($stop, $victim, $begin, $end, $problems) = @_;
	my ($name, $how) = @$stop;
	$load->mark('cell');
	$how->{before}->() if $how->{before};
	my ($run, $job) = $begin->();
	my $hit = eval { $how->{reach}->($run); 1 };
	push @$problems, "not reached: $@" if !$hit;
	if ($hit)
	{
		$fresh->start if $fresh && $name =~ /seal|take_back/;
		one_at_most('before', $problems);
		strike($victim, $how);
		one_at_most('after it', $problems);
	}
	$pair->thaw;
	resume_now();
	one_at_most('when it goes on', $problems);
	my @end = $victim =~ /full/ ? end_while_full($run, $end, $problems) : $end->($run);
	resume();
	$lab->finish($job, 30) if $job;
	return @end;
}

sub report_cell
{
	my ($name, $victim, $began, $outcome, @problems) = @_;
	ok(!@problems, "$name / $victim") or diag(join "\n", @problems, $outcome);
	push @table, sprintf '%-40s %5.1f s  %s', "$name / $victim", time - $began, $outcome =~ s/\n/ /gr;
	note($table[-1]);
	return;
}

sub upgrade_cell
{
	my ($stop, $victim) = @_;
	my ($name) = @$stop;
	my $conf = $lab->env('PGDATA_chicago') . '/postgresql.conf';
	my $size = -s $conf;
	my $began = time;
	my (@problems, $run, $outcome);
	my $ended = eval
	{
		($run, $outcome) = try_cell($stop, $victim, sub { $pair->begin("SELECT * FROM pingpong.upgrade('chicago',
			to_version => $pair->{to}, mode => '$mode')") },
			sub { ($_[0], end_of_upgrade($_[0], \@problems)) }, \@problems);
		truncate $conf, $size;
		obey($outcome, \@problems) if $outcome =~ /^stuck/;
		check_ambiguous($name, $victim, \@problems);
		check_flow(\@problems);
		check_rows($name, $victim, 0, \@problems);
		streams();
		1;
	};
	push @problems, $@ if !$ended;
	report_cell($name, $victim, $began, $outcome // '', @problems);
	return $ended && !@problems ? $run : 0;
}

sub back_cell
{
	my ($stop, $victim, $upgrade) = @_;
	my ($name) = @$stop;
	my $began = time;
	my (@problems, $back, $outcome);
	$fresh = $lab->writers(rate => 40, writers => 2, resting => 1);
	my $ended = eval
	{
		($back, $outcome) = try_cell($stop, $victim, sub { $pair->begin("SELECT * FROM pingpong.rollback($upgrade,
			risk => 'its own writes are lost')") }, sub { end_of_back($upgrade, $_[0], \@problems) }, \@problems);
		check_ambiguous($name, $victim, \@problems);
		check_flow(\@problems);
		check_rows($name, $victim, $back, \@problems);
		streams() if !$back;
		1;
	};
	push @problems, $@ if !$ended;
	report_cell("rollback: $name", $victim, $began, $outcome // '', @problems);
	new_writers() if $ended && !@problems;
	return !$ended || @problems ? 'broken' : $back ? 'back' : 'new';
}

# ---- all of them ----

sub cells
{
	my ($prefix, @stops) = @_;
	my @cells;
	foreach my $i (0 .. $#stops)
	{
		my ($name, $how, @victims) = @{ $stops[$i] };
		foreach my $j (0 .. $#victims)
		{
			# nor does the old server start on linked files
			next if $mode eq 'link' && $victims[$j] =~ /^new full|old first$/;
			push @cells, [[$name, $how], $victims[$j]]
				if ($whole || $j == $i % @victims) && "$prefix$name / $victims[$j]" =~ /$wanted/;
		}
	}
	return @cells;
}

# Back to the old version, for the next one. Each is a chance to break it.
sub go_back
{
	my ($upgrade, $backs) = @_;
	while (1)
	{
		my $cell = shift @$backs // [['plain', {reach => sub { }}], 'nobody'];
		my $is = back_cell(@$cell, $upgrade);
		next if $is eq 'new';
		return $is eq 'back' && eval { run_to_end(q{SELECT * FROM pingpong.rebuild('dallas')});
			run_to_end("SELECT * FROM pingpong.finalize($upgrade)"); streams(); 1 };
	}
}

my @cells = cells('', @upgrade);
my @backs = $mode eq 'link' ? () : cells('rollback: ', @back);
push @cells, [['plain', {reach => sub { }}], 'nobody'] if @backs;
new_pair();
while (@cells || @backs)
{
	my $cell = shift @cells // [['plain', {reach => sub { }}], 'nobody'];
	my $run = upgrade_cell(@$cell);
	my $again = $run && (!is_new() || ($mode ne 'link' && go_back($run, \@backs)));
	new_pair() if !$again && (@cells || @backs);
}
note("$labs labs");
done_testing();
