# Lab - a lab of real servers (demo/lab) for a test: brought up, asked, broken, repaired, taken away.
#
#   my $lab = Lab->up(fast => 1, poolers => 1);
#   is($lab->sql('chicago', 'SELECT pg_is_in_recovery()'), 'f');
#   $lab->kill9('postgres', 'dallas');
#   $lab->start_pg('dallas');
#   $lab->wait_for('dallas', 'SELECT count(*) = 1 FROM pg_stat_wal_receiver', 'dallas to stream');
#
# As root, the servers run as "postgres"; the user of the test may read their folder.
package Lab;

use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Handle;
use JSON::PP ();
use List::Util qw(max min);
use POSIX ();
use Ports ();
use Test::More ();
use Time::HiRes qw(sleep time);

# of a lab with two nodes, where the limits were made
use constant LAB_SECONDS => 8;
# how much longer things take here, by the time that a lab took to come up
my $slow = 1;

my $root = abs_path(dirname(__FILE__) . '/..');
my @labs;
my $main = $$;

$SIG{INT} = $SIG{TERM} = sub { exit 1 };
$SIG{PIPE} = 'IGNORE';
$ENV{PGCONNECT_TIMEOUT} //= 5;

# Options: those of "lab up" with _ for - (nodes, pool_mode, poolers, sync, cascade, no_checksums, wal_segsize, fast),
# set => ['NAME=VALUE', ...], port => the first port base to try.
sub up
{
	my ($class, %option) = @_;
	my $self = bless {dir => tempdir('pingpong-test-XXXXXX', TMPDIR => 1, CLEANUP => 0), children => {}}, $class;
	my @args;
	rmdir $self->{dir};
	$self->{base} = Ports::take(delete $option{port} // $ENV{PINGPONG_TEST_PORT} // 17400);
	push @args, map { ('--set', $_) } @{delete $option{set} // []};
	push @args, '--pg-version', $ENV{PG} if $ENV{PG};
	for my $name (sort keys %option)
	{
		my $flag = '--' . $name =~ tr/_/-/r;
		push @args, $name =~ /^(sync|cascade|no_checksums|fast)$/ ? ($option{$name} ? $flag : ())
			: ($flag, $option{$name});
	}
	local $ENV{LAB_QUIET} = 1;
	my $began = time;
	system("$root/demo/lab", 'up', '--dir', $self->{dir}, '--port-base', $self->{base}, @args) == 0
		or die 'the lab does not come up';
	$slow = max($slow, min(10, (time - $began) / LAB_SECONDS));
	push @labs, $self;
	$self->reload_env;
	return $self;
}

# ---- what the lab says of itself ----

# The pids in lab.env are new after each start_*.
sub reload_env
{
	my ($self) = @_;
	my %env;
	open my $fh, '<', "$self->{dir}/lab.env" or die "no lab.env: $!";
	while (my $line = <$fh>)
	{
		$env{$1} = $2 if $line =~ /^(\w+)='?(.*?)'?$/;
	}
	close $fh;
	$self->{env} = \%env;
	return;
}

sub env { my ($self, $name) = @_; return defined $name ? $self->{env}{$name} : $self->{env}; }
sub dir { return $_[0]{dir}; }
sub nodes { return split ' ', $_[0]{env}{NODES}; }
sub base { return $_[0]{base}; }

# ---- SQL ----

# A node's name, or a connection string.
sub _dsn
{
	my ($self, $node) = @_;
	return $node =~ /=/ ? $node : $self->{env}{"DSN_$node"} // die "no node \"$node\"";
}

sub _spawn_psql
{
	my ($self, $node, @statements) = @_;
	my $out = File::Temp->new;
	my $err = File::Temp->new;
	my @command = ("$self->{env}{PGBIN}/psql", '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $self->_dsn($node),
		map { ('-c', $_) } @statements);
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>&', $out;
		open STDERR, '>&', $err;
		exec @command or POSIX::_exit(127);
	}
	$self->{children}{$pid} = 1;
	return {pid => $pid, out => $out, err => $err};
}

sub _text { my ($file) = @_; local $/; seek $file, 0, 0; my $text = <$file> // ''; $text =~ s/\n\z//; return $text; }

sub _finish
{
	my ($self, $job) = @_;
	waitpid $job->{pid}, 0;
	my $rc = $?;
	delete $self->{children}{$job->{pid}};
	return (_text($job->{out}), _text($job->{err}), $rc);
}

# Statements, each in a transaction of its own, in one session; gives (stdout, stderr, status of psql).
sub try_sql
{
	my ($self, $node, @statements) = @_;
	return $self->_finish($self->_spawn_psql($node, @statements));
}

# The same; dies when it fails, gives its output.
sub sql
{
	my ($self, $node, @statements) = @_;
	my ($out, $err, $rc) = $self->try_sql($node, @statements);
	die "psql failed on $node: $err\n@statements\n" if $rc != 0;
	return $out;
}

# Did it succeed?
sub sql_ok { my ($self, @args) = @_; my (undef, undef, $rc) = $self->try_sql(@args); return $rc == 0; }

# Statements in the background; finish() waits for them.
sub begin_sql { my ($self, @args) = @_; return $self->_spawn_psql(@args); }

sub running { my ($self, $job) = @_; return !$self->gone($job->{pid}); }

# (stdout, stderr, status) of what begin_sql() began; it is ended when it takes longer than this.
sub finish
{
	my ($self, $job, $seconds) = @_;
	my $limit = time + ($seconds // 30);
	my $rc;
	until (waitpid($job->{pid}, POSIX::WNOHANG()) == $job->{pid})
	{
		kill 'KILL', $job->{pid} if time > $limit;
		sleep 0.01;
	}
	$rc = $?;
	delete $self->{children}{$job->{pid}};
	return (_text($job->{out}), _text($job->{err}), $rc);
}

# The moment at which so many seconds are over, of a machine like that on which the limits were made.
sub limit { my ($self, $seconds) = @_; return time + $slow * $seconds; }

# Until the query says "t". A server that is down just says nothing.
sub wait_for
{
	my ($self, $node, $query, $what, $seconds) = @_;
	my $limit = $self->limit($seconds // 20);
	while (1)
	{
		my ($out, $err, $rc) = $self->try_sql($node, $query);
		return 1 if $rc == 0 && $out eq 't';
		die "waited too long for $what on $node; last seen: " . ($rc == 0 ? "\"$out\"" : $err) . "\n"
			if time > $limit;
		sleep 0.03;
	}
}

# Until the code gives something true, which is returned.
sub until_true
{
	my ($self, $what, $code, $seconds) = @_;
	my $limit = $self->limit($seconds // 20);
	while (1)
	{
		my $value = $code->();
		return $value if $value;
		die "waited too long for $what\n" if time > $limit;
		sleep 0.03;
	}
}

# A setting by ALTER SYSTEM, undef resets it; waits until the server has it. A server that a run is about to stop is
# asked again when it is back.
sub set
{
	my ($self, $node, $name, $value) = @_;
	my $is_set = defined $value ? "current_setting('$name') = '$value'"
		: "(SELECT coalesce(sourcefile, '') !~ 'auto.conf' FROM pg_settings WHERE name = '$name')";
	my $last = '';
	return 1 if eval
	{
		$self->until_true("setting $name", sub {
			my ($out, $err, $rc) = $self->try_sql($node, defined $value ? "ALTER SYSTEM SET $name = '$value'"
				: "ALTER SYSTEM RESET $name", 'SELECT pg_reload_conf()');
			$last = $err;
			die $err if $rc != 0 && $err =~ /^ERROR/m;
			return $rc == 0 && eval { $self->wait_for($node, "SELECT $is_set", "setting $name", 5) };
		}, 30);
	};
	die "$name of $node could not be set: $@$last";
}

# ---- breaking and repairing ----

# Who: worker or postgres of a node, agent of a node or router, pgbouncer K. Gives the pid that is no more.
sub pid
{
	my ($self, $who, $of) = @_;
	$self->reload_env;
	return $self->{env}{"PID_AGENT_$of"} if $who eq 'agent';
	return $self->{env}{"PID_PGBOUNCER_$of"} if $who eq 'pgbouncer';
	return $self->sql($of, 'SELECT pingpong.worker_pid()') if $who eq 'worker';
	die "who is $who?" if $who ne 'postgres';
	open my $fh, '<', $self->{env}{"PGDATA_$of"} . '/postmaster.pid' or return;
	my $pid = <$fh>;
	return 0 + $pid;
}

# A process that is gone, or a zombie that is not reaped yet.
sub gone
{
	my ($self, $pid) = @_;
	open my $fh, '<', '/proc/' . ($pid || '-') . '/stat' or return 1;
	my $line = <$fh> // return 1;
	# a zombie has let go of its files and locks, when its last thread has
	return $line =~ /.*\) [ZX]/s && 2 > (() = glob "/proc/$pid/task/*");
}

sub kill9
{
	my ($self, $who, $of) = @_;
	my $pid = $self->pid($who, $of) or die "no $who of $of to kill";
	kill 'KILL', $pid or die "kill $who of $of ($pid): $!";
	$self->until_true("$who of $of to end", sub { $self->gone($pid) });
	return $pid;
}

# A server is shut down: fast (INT), or as the signal says.
sub stop_pg
{
	my ($self, $node, $signal) = @_;
	my $pid = $self->pid('postgres', $node) or die "no postgres of $node to stop";
	kill $signal // 'INT', $pid;
	$self->until_true("$node to stop", sub { $self->gone($pid) });
	return;
}

# For the next start of a server that is down.
sub set_file
{
	my ($self, $node, $name, $value) = @_;
	open my $fh, '>>', $self->{env}{"PGDATA_$node"} . '/postgresql.auto.conf' or die $!;
	print $fh "$name = '$value'\n";
	close $fh or die $!;
	return;
}

sub _start
{
	my ($self, @command) = @_;
	local $ENV{LAB_QUIET} = 1;
	my $on = $command[0] eq 'start-pgbouncer' ? "pooler$command[1]" : $command[1];
	system(@{$self->{on_host}{$on} // []}, "$root/demo/lab", @command, '--dir', $self->{dir}) == 0
		or die "lab @command failed\n";
	$self->reload_env;
	return;
}
sub start_pg { my ($self, $node) = @_; return $self->_start('start-pg', $node); }
sub start_agent { my ($self, $name) = @_; return $self->_start('start-agent', $name); }
sub start_pgbouncer { my ($self, $k) = @_; return $self->_start('start-pgbouncer', $k); }

# ---- agents ----

sub agent_dir
{
	my ($self, $name) = @_;
	return $self->{dir} . '/' . ($name =~ /^pooler(\d+)$/ ? "pgbouncer$1" : $name);
}

sub state_dir { my ($self, $name) = @_; return $self->agent_dir($name) . '/state'; }

# A line "key = value" of the agent's configuration, in its last section; for the next start, or a reload.
sub set_agent
{
	my ($self, $name, %value) = @_;
	my $path = $self->agent_dir($name) . '/agent.ini';
	open my $in, '<', $path or die "$path: $!";
	my @lines = grep { my $line = $_; !grep { $line =~ /^$_ = / } keys %value } <$in>;
	close $in;
	open my $out, '>', $path or die "$path: $!";
	print $out @lines, map { "$_ = $value{$_}\n" } sort keys %value;
	close $out or die "$path: $!";
	return;
}

# Talks to an agent: GET without a body; gives (status, answer).
sub agent
{
	my ($self, $name, $path, $body) = @_;
	require HTTP::Tiny;
	open my $fh, '<', $self->{env}{TOKEN_FILE} or die "token: $!";
	chomp(my $token = <$fh>);
	my $response = HTTP::Tiny->new(timeout => 90)->request($body ? 'POST' : 'GET',
		$self->{env}{"AGENT_$name"} . $path,
		{headers => {Authorization => "Bearer $token"}, $body ? (content => JSON::PP::encode_json($body)) : ()});
	return ($response->{status}, eval { JSON::PP::decode_json($response->{content}) });
}

# One action as a job of its own; gives the ended job.
sub act
{
	my ($self, $name, $run, $epoch, $action, $params, %more) = @_;
	my ($status, $job) = $self->agent($name, '/v1/jobs',
		{run => "$run", step => $more{step} // 's' . ++$self->{acts}, epoch => $epoch + 0,
			wait_ms => $more{wait_ms} // 60000, actions => [{action => $action, params => $params // {}}]});
	return $job;
}

# ---- primaries and runs ----

sub _takes_writes
{
	my ($self, $node) = @_;
	my ($out, undef, $rc) = $self->try_sql($node,
		"SELECT NOT pg_is_in_recovery() AND (SELECT state NOT IN ('sealing', 'sealed') FROM pingpong.gate)");
	return $rc == 0 && $out eq 't';
}

# The nodes that would take a write right now. They are asked one after the other, so two are asked once more: the
# primary may have moved in between.
sub primary
{
	my ($self) = @_;
	my @primary = grep { $self->_takes_writes($_) } $self->nodes;
	@primary = grep { $self->_takes_writes($_) } @primary if @primary > 1;
	return @primary;
}

# The number of the run that a caller was told of, by what psql said; else the one behind $before. The worker makes
# runs of its own: realign.
sub run_said { my ($self, $said, $before) = @_; return $said =~ /^NOTICE:  run (\d+): /m ? $1 : $before + 1; }

# The one that was begun last, by the word of this node; 0: none was.
sub last_run
{
	my ($self, $node) = @_;
	return $self->sql($node, "SELECT coalesce(max(id), 0) FROM pingpong.run WHERE runbook <> 'realign'");
}

# Waits for the end of a run, which a primary knows; gives (state, sentence, node). Behind an upgrade that was taken
# back a number may come twice.
sub settle
{
	my ($self, $run, $seconds) = @_;
	my $limit = $self->limit($seconds // 60);
	my $last = 'no primary';
	while (1)
	{
		for my $node ($self->primary)
		{
			my ($out, $err, $rc) = $self->try_sql($node,
				"SELECT state, coalesce(sentence, '') FROM pingpong.run WHERE id = $run AND runbook <> 'realign'");
			$last = "$node: " . ($rc == 0 ? $out : $err);
			return ($1, $2, $node) if $rc == 0 && $out =~ /^(succeeded|rolled_back|stuck)\|(.*)/s;
		}
		die "run $run did not end; last seen: $last\n" if time > $limit;
		sleep 0.05;
	}
}

# ---- load ----

# bench/writers as a coprocess, by default through the first PgBouncer. resting => 1: idle until start(); prefix =>
# [...]: words in front of its command.
sub writers
{
	my ($self, %option) = @_;
	my $program = "$root/bench/writers";
	-x $program or system('make', '-s', '-C', $root, "PG_CONFIG=$self->{env}{PGBIN}/pg_config", 'bench/writers') == 0
		or die 'bench/writers cannot be made';
	return Lab::Writers->_start($self, $program, %option);
}

# ---- two sites ----

# From now on dallas is as far away, in ms for a round trip, as another site (bench/far): of a lab of two nodes.
sub apart
{
	my ($self, $round_trip) = @_;
	system('make', '-s', '-C', "$root/bench", "PG_CONFIG=$self->{env}{PGBIN}/pg_config", 'far.so') == 0
		or die 'bench/far.so cannot be made';
	# for the user of the servers
	system('cp', "$root/bench/far.so", "$self->{dir}/far.so") == 0 or die 'far.so';
	my $pid = open my $far, '-|', "$root/bench/far", $self->{dir}, $round_trip, "$self->{dir}/far.so"
		or die "bench/far: $!";
	$self->{far} = $far;
	$self->{far_pid} = $pid;
	my $line = readline $far;
	die 'bench/far is not ready' if ($line // '') ne "ready\n";
	open my $env, '<', "$self->{dir}/far.env" or die "far.env: $!";
	$self->{far_env} = {map { /^(\w+)='(.*)'$/ ? ($1, $2) : () } <$env>};
	close $env;
	$self->reload_env;
	return;
}

# ---- the end ----

sub _keep_logs
{
	my ($self) = @_;
	my $kept = tempdir('pingpong-logs-XXXXXX', TMPDIR => 1, CLEANUP => 0);
	for my $path (glob "$self->{dir}/*/log $self->{dir}/*/*.log $self->{dir}/*/state $self->{dir}/pgbouncer*/*.ini")
	{
		my $name = $path =~ s{^\Q$self->{dir}\E/}{}r =~ tr{/}{-}r;
		$name =~ s/-log$/-postgres.log/;
		system 'cp', '-r', $path, "$kept/$name";
	}
	Test::More::diag("logs of the failed test: $kept");
	return;
}

sub down
{
	my ($self) = @_;
	return if $self->{gone}++;
	for my $pid (keys %{$self->{children}})
	{
		kill 'KILL', $pid;
		waitpid $pid, 0;
	}
	kill 'TERM', $self->{far_pid} if $self->{far_pid};
	local $ENV{LAB_QUIET} = 1;
	system("$root/demo/lab", 'down', '--dir', $self->{dir}) if -d $self->{dir};
	return;
}

END
{
	my $rc = $?;
	if ($$ == $main)
	{
		for my $lab (@labs)
		{
			$lab->_keep_logs if !$lab->{gone} && ($rc != 0 || !Test::More->builder->is_passing);
			$lab->down;
		}
	}
	$? = $rc;
}

package Lab::Writers;

sub _start
{
	my ($class, $lab, $program, %option) = @_;
	my $dsn = $option{dsn} // $lab->env('RW_DSN');
	pipe my $read_in, my $write_in or die;
	pipe my $read_out, my $write_out or die;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<&', $read_in;
		open STDOUT, '>&', $write_out;
		close $_ for $read_in, $write_in, $read_out, $write_out;
		%ENV = (%ENV, %{$lab->{far_env} // {}});	# its clients are beside the poolers
		exec @{$option{prefix} // []}, $program, '-n', $option{writers} // 4, '-r', $option{rate} // 100,
			$option{txn} ? '--txn' : (), $dsn
			or POSIX::_exit(127);
	}
	close $_ for $read_in, $write_out;
	$write_in->autoflush(1);
	$lab->{children}{$pid} = 1;
	my $self = bless {lab => $lab, pid => $pid, in => $write_in, out => $read_out}, $class;
	$self->order('go') unless $option{resting};
	return $self;
}

# An order, and its answer as a hash.
sub order
{
	my ($self, $order) = @_;
	print {$self->{in}} "$order\n" or die "writers: $!";
	my $line = readline $self->{out};
	defined $line or die 'the writers are gone';
	return JSON::PP::decode_json($line);
}

sub start { return $_[0]->order('go'); }
sub pause { return $_[0]->order('pause'); }
sub mark { my ($self, $name) = @_; return $self->order("mark $name"); }
sub end { return $_[0]->order('end'); }

# What a node has of the acknowledged rows.
sub verify { my ($self, $node) = @_; return $self->order('verify ' . $self->{lab}->_dsn($node)); }

sub stop
{
	my ($self) = @_;
	my $totals = $self->order('stop');
	close $self->{in};
	waitpid $self->{pid}, 0;
	delete $self->{lab}{children}{$self->{pid}};
	return $totals;
}

1;
