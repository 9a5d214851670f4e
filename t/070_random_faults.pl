# Switchovers with a fault at a random moment on a random process or link: killed, stopped for a while, cut, frozen,
# its disk full. After each all promises are checked: never two writable primaries, nothing acknowledged lost, nothing
# refused there, nothing ambiguous where no server died, the run ends and says how, writes flow, and what it says to
# do fixes it.
#
# PINGPONG_SEED repeats the order of the faults, PINGPONG_FAULTS is the number of switchovers in each pool mode.
# ci: all
# time limit: 5400 s
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Temp qw(tempdir);
use FindBin;
use POSIX qw(uname);
use Test::More;
use Time::HiRes qw(sleep time);

my %calls = (x86_64 => [165, 166], aarch64 => [40, 39]);
my ($mount, $umount) = @{$calls{(uname())[4]} // []};
my @unshare = $> == 0 ? qw(unshare --mount) : qw(unshare --user --map-current-user --mount --keep-caps);
if (!$ENV{PINGPONG_OWN_MOUNTS} && $mount && system("@unshare true 2>/dev/null") == 0)
{
	$ENV{PINGPONG_OWN_MOUNTS} = 1;
	exec @unshare, $^X, abs_path($0) or die "unshare: $!";
}

use lib $FindBin::RealBin;
require Lab;
require Link;

my $seed = $ENV{PINGPONG_SEED} // int(time * 1000) % 2**31;
my $each = $ENV{PINGPONG_FAULTS} // 100;
srand $seed;
diag("seed $seed");

my ($lab, $load, %direct, %link, %disk, @small, $span);
my ($repairs, %seen, @table) = (0);
END { for my $folder (@small) { syscall($umount, $folder, 2); rmdir $folder; } }

# ---- the pair, all of it through links ----

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary, "SELECT count(*) = 1 FROM pingpong.standby
		WHERE name = '$standby' AND state = 'streaming'", "$standby to stream on $primary", 60);
}

# The state folder of an agent, on a disk of its own.
sub small_disk
{
	my ($name) = @_;
	my $folder = tempdir('pingpong-small-XXXXXX', TMPDIR => 1, CLEANUP => 0);
	my ($source, $type, $data) = ('none', 'tmpfs', 'size=2m,mode=0777');
	if (!$ENV{PINGPONG_OWN_MOUNTS} || syscall($mount, $source, $folder, $type, 0, $data) != 0)
	{
		rmdir $folder;
		return;
	}
	push @small, $folder;
	my $state = $lab->state_dir($name);
	$lab->kill9('agent', $name);
	system('cp', '-a', $state, "$folder/") == 0 or die;
	rename $state, "$state.before" or die;
	symlink "$folder/state", $state or die;
	$lab->start_agent($name);
	$disk{$name} = $folder;
	return;
}

sub new_lab
{
	my ($mode) = @_;
	if ($lab) { $_->end for values %link; $lab->down; }
	(%link, %disk) = ();
	$lab = Lab->up(fast => 1, pool_mode => $mode, poolers => 1, port => 28000,
		set => ['wal_retrieve_retry_interval=500ms', 'pingpong.rejoin_timeout=90s']);
	my $port = $lab->base + 62;
	for my $name ($lab->nodes)
	{
		$link{"$name postgres"} = Link->new(++$port, $lab->env("PORT_$name"));
		$lab->sql('chicago', "UPDATE pingpong.node SET port = $port WHERE name = '$name'");
	}
	for my $name ($lab->nodes, 'pooler1')
	{
		my ($to) = $lab->env("AGENT_$name") =~ /:(\d+)$/;
		$link{"$name agent"} = Link->new(++$port, $to);
		$lab->sql('chicago', "UPDATE pingpong.node SET agent_url = 'http://127.0.0.1:$port' WHERE name = '$name'");
	}
	$lab->sql('chicago', q{SELECT pingpong.drop_route('ro1')}, q{SELECT pingpong.repoint()});
	small_disk($_) for $lab->nodes, 'pooler1';
	$lab->set('dallas', 'primary_conninfo',
		$lab->sql('dallas', 'SHOW primary_conninfo') =~ s/port=\d+/"port=" . $link{'chicago postgres'}{port}/er);
	streaming('chicago', 'dallas');
	$load = $lab->writers(rate => 60);
	%direct = (chicago => $lab->writers(dsn => $lab->env('DSN_chicago'), writers => 1, rate => 20));
	for my $move (['chicago', 'dallas'], ['dallas', 'chicago'])
	{
		my ($from, $to) = @$move;
		my $began = time;
		my ($out, $err) = $lab->try_sql($from, "SELECT run FROM pingpong.switchover('$to')");
		is(join(' ', ($lab->settle($out, 120))[0, 1]), 'succeeded done', "$mode: $from to $to without a fault")
			or diag($err);
		$span = time - $began;
		streaming($to, $from);
		$direct{$to} //= $lab->writers(dsn => $lab->env("DSN_$to"), writers => 1, rate => 20);
	}
	return;
}

# ---- faults ----

# Who can be killed or stopped. Their pids are asked before, as a server that hangs tells nothing.
sub processes
{
	my ($p, $t) = @_;
	my $of = sub {
		my ($node, $where) = @_;
		return ($lab->try_sql($node, "SELECT max(pid) FROM pg_stat_activity WHERE $where"))[0];
	};
	my %pid = (
		'P postgres' => $lab->pid('postgres', $p), 'T postgres' => $lab->pid('postgres', $t),
		'P agent' => $lab->pid('agent', $p),
		'T agent' => $lab->pid('agent', $t), 'pooler agent' => $lab->pid('agent', 'pooler1'),
		'pgbouncer' => $lab->pid('pgbouncer', 1),
		'P worker' => $lab->pid('worker', $p), 'T worker' => $lab->pid('worker', $t),
		'walsender' => $of->($p, q{backend_type = 'walsender'}),
		'walreceiver' => $of->($t, q{backend_type = 'walreceiver'}),
		'startup' => $of->($t, q{backend_type = 'startup'}),
		'P checkpointer' => $of->($p, q{backend_type = 'checkpointer'}),
		'P walwriter' => $of->($p, q{backend_type = 'walwriter'}));
	return map { $_ => $pid{$_} } grep { $pid{$_} } keys %pid;
}

sub all_of
{
	my ($postmaster) = @_;
	my @pids = $postmaster;
	for my $file (glob '/proc/[0-9]*/stat')
	{
		open my $fh, '<', $file or next;
		my $line = readline $fh;
		push @pids, $1 if defined $line && $line =~ /^(\d+) .*\) \S (\d+)/ && $2 == $postmaster;
	}
	return @pids;
}

# A fault: what it is, whether a server or the pooler may lose connections by it, how it is made and ended.
sub random_fault
{
	my ($p, $t) = @_;
	my %pid = processes($p, $t);
	my %where = ("$p agent" => 'P agent', "$t agent" => 'T agent', "$p postgres" => 'P postgres',
		"$t postgres" => 'T postgres', 'pooler1 agent' => 'pooler agent');
	my $kind = (qw(kill stop stop cut freeze), %disk ? 'full' : 'stop')[rand 6];
	if ($kind eq 'kill')
	{
		my $who = (grep { !/startup|checkpointer|walwriter/ } sort keys %pid)
			[rand grep { !/startup|checkpointer|walwriter/ } keys %pid];
		return {name => "kill $who", breaks => scalar($who !~ /agent/), make => sub { kill 'KILL', $pid{$who} },
			end => sub { }};
	}
	if ($kind eq 'stop')
	{
		my $who = (sort(keys %pid), 'T all')[rand(1 + keys %pid)];
		my @pids;
		return {name => "stop $who", breaks => 0,
			make => sub {
				@pids = $who eq 'T all' ? all_of($pid{'T postgres'}) : $pid{$who};
				kill 'STOP', @pids;
			}, end => sub { kill 'CONT', @pids }};
	}
	if ($kind eq 'full')
	{
		my $who = (sort keys %disk)[rand keys %disk];
		my $ballast = "$disk{$who}/ballast";
		return {name => "full " . ($where{"$who agent"}), breaks => 0, end => sub { unlink $ballast }, make => sub {
			open my $fh, '>', $ballast or return;
			for my $size (65536, 4096) { 1 while syswrite $fh, 'x' x $size; }
			close $fh;
		}};
	}
	my $who = (sort keys %link)[rand keys %link];
	return {name => "$kind link of $where{$who}", breaks => scalar($who =~ /postgres/),
		make => sub { $link{$who}->order($kind) }, end => sub { $link{$who}->order('heal') }};
}

# ---- afterwards ----


# What is dead is started again, as its operator would.
sub start_what_died
{
	for my $node ($lab->nodes)
	{
		my $pid = $lab->pid('postgres', $node);
		my ($run) = $lab->try_sql($node, 'SELECT 1');
		# the agent may be about to start it
		next if $run ne '' || !$lab->gone($pid);
		eval { $lab->start_pg($node); 1 } or note("$node: $@");
	}
	for my $name ($lab->nodes, 'pooler1') { $lab->start_agent($name) if $lab->gone($lab->pid('agent', $name)); }
	$lab->start_pgbouncer(1) if $lab->gone($lab->pid('pgbouncer', 1));
	return;
}

sub one_at_most
{
	my ($when, $problems) = @_;
	my @primary = $lab->primary;
	push @$problems, "$when: @primary are writable" if @primary > 1;
	return;
}

# The run's end, as the primary has it that there is in the end; '' while there is none.
sub ended
{
	my ($run) = @_;
	for my $node ($lab->primary)
	{
		my ($out, undef, $rc) = $lab->try_sql($node,
			"SELECT state || ' ' || coalesce(sentence, '') FROM pingpong.run
			WHERE id >= $run AND runbook = 'switchover' ORDER BY id LIMIT 1");
		return $out if $rc == 0 && $out =~ /^(succeeded|rolled_back|stuck) /;
		return 'refused' if $rc == 0 && $out eq '';
	}
	return '';
}

# Healthy again, by what the sentence says.
sub repair
{
	my ($problems) = @_;
	my ($primary) = $lab->primary;
	my ($standby) = grep { $_ ne $primary } $lab->nodes;
	my $fine = eval { streaming($primary, $standby); 1 };
	my ($stuck) = $lab->try_sql($primary,
		q{SELECT string_agg(sentence, '; ') FROM pingpong.run WHERE state = 'stuck'});
	my ($led) = $lab->try_sql($primary, qq{SELECT bool_and(node = '$primary') FROM pingpong.route});
	return '' if $fine && $stuck eq '' && $led eq 't';
	$repairs++;
	my @done;
	for my $statement (("SELECT pingpong.rebuild('$standby')") x (!$fine || $stuck =~ /rebuild/),
		('SELECT pingpong.repoint()') x ($led ne 't' || $stuck =~ /repoint/))
	{
		my (undef, $err, $rc) = $lab->try_sql($primary, $statement);
		push @$problems, "$statement: $err" if $rc != 0;
		push @done, $statement =~ s/SELECT pingpong.//r;
	}
	eval { streaming($primary, $standby); 1 } or push @$problems, "not fixed by @done: $@";
	($stuck) = $lab->try_sql($primary, q{SELECT string_agg(sentence, '; ') FROM pingpong.run WHERE state = 'stuck'});
	push @$problems, "still stuck: $stuck" if $stuck ne '';
	return join ', ', @done;
}

sub check_rows
{
	my ($fault, $problems) = @_;
	my ($primary) = $lab->primary;
	$load->mark('after');
	eval { $lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }, 60); 1 }
		or push @$problems, 'writes do not flow';
	for my $writers ($load, values %direct)
	{
		my $found = $writers->verify($primary);
		push @$problems, "$found->{lost} acknowledged rows are lost" if $found->{lost} // 1;
		push @$problems, "$found->{refused_present} refused rows are there" if $found->{refused_present};
	}
	return;
}

sub one_fault
{
	my ($n, $mode) = @_;
	my ($p) = $lab->primary;
	my ($t) = grep { $_ ne $p } $lab->nodes;
	my $fault = random_fault($p, $t);
	my $moment = rand 1.2 * $span;
	my $lasts = (0.1, 0.5, 2, 5)[rand 4];
	my ($run) = $lab->sql($p, 'SELECT coalesce(max(id), 0) + 1 FROM pingpong.run');
	my @problems;
	my $outcome = '';
	my $fixed = '';
	my $began = time;
	my $whole = eval
	{
		$load->mark("$n");
		my $job = $lab->begin_sql($p, "SELECT * FROM pingpong.switchover('$t', max_blackout => '5 s')");
		sleep $moment;
		$fault->{make}->();
		my $until = time + $lasts;
		do { one_at_most('while it lasts', \@problems) if $fault->{name} !~ /stop . postgres|stop T all/; sleep 0.05 }
			while time < $until;
		$fault->{end}->();
		one_at_most('after it', \@problems);
		start_what_died();
		$lab->until_true('the run to end', sub {
			start_what_died();
			one_at_most('on the way', \@problems);
			 ($outcome = ended($run)) ne '' && !$lab->running($job);
		}, 240);
		my (undef, $err) = $lab->finish($job, 5);
		$outcome .= ': ' . ($err =~ /^ERROR:\s+(.*)/m)[0] if $outcome eq 'refused' && $err =~ /^ERROR:/m;
		my $window = $load->end;
		push @problems, "$window->{ambiguous} ambiguous" if $window->{ambiguous} && !$fault->{breaks};
		$fixed = repair(\@problems);
		check_rows($fault, \@problems);
		1;
	};
	push @problems, $@ if !$whole;
	$fault->{end}->() if !$whole;
	my $line = sprintf '%3d %-32s at %5.0f ms for %.1f s: %s%s (%.1f s)', $n, $fault->{name}, 1000 * $moment, $lasts,
		$outcome =~ s/\s+/ /gr, $fixed && " -> $fixed", time - $began;
	ok(!@problems, "$mode $line") or diag(join "\n", @problems);
	$seen{$fault->{name} =~ s/ .*//r}{$outcome =~ s/[ :].*//sr || 'none'}++;
	if (!$whole) { diag('a new lab'); new_lab($mode); }
	return;
}

for my $mode (qw(transaction session))
{
	new_lab($mode);
	one_fault($_, $mode) for 1 .. $each;
}
note(join "\n", map { my $kind = $_; "$kind: " . join ', ', map { "$_ $seen{$kind}{$_}" } sort keys %{$seen{$kind}} }
	sort keys %seen);
note("$repairs repairs");
diag("seed $seed");
done_testing();
