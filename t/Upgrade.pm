# Upgrade - a lab whose nodes have a successor of another major, for tests that break an upgrade in place.
#
#   my $pair = Upgrade->up($new_bin, port => 22900);
#   my $run = $pair->begin(q{SELECT * FROM pingpong.upgrade('chicago', to_version => 18)});
#   $pair->freeze('chicago', 'new');     # its postmaster; thaw() lets it go on
#   my $which = $pair->running('chicago');    # "old", "new" or ""
#   $pair->start('chicago', 'new');      # as a person does
package Upgrade;

use strict;
use warnings;
use JSON::PP ();
use Lab;
use Time::HiRes qw(sleep time);

my @pairs;
my $main = $$;

# Options of Lab->up, and new => {node => folder of its new server}.
sub up
{
	my ($class, $bin, %option) = @_;
	my $new = delete $option{new} // {};
	my $lab = Lab->up(poolers => 1, nodes => 2, fast => 1, %option);
	my $self = bless {lab => $lab, bin => $bin, frozen => []}, $class;
	push @pairs, $self;
	($self->{from}) = $lab->sql('chicago', 'SHOW server_version_num') =~ /^(\d+)\d{4}$/;
	($self->{to}) = `$bin/postgres --version` =~ /\) (\d+)/;
	for my $node ($lab->nodes)
	{
		my $dir = $lab->agent_dir($node);
		$self->{data}{$node} = {old => $lab->env("PGDATA_$node"), new => $new->{$node} // "$dir/new"};
		open my $ini, '>>', "$dir/agent.ini" or die "$dir: $!";
		print $ini "\n[postgresql.next]\ndata = $self->{data}{$node}{new}\nbin = $bin\nsuccessor = yes\n";
		close $ini or die $!;
		kill 'HUP', $lab->pid('agent', $node);
	}
	return $self;
}

sub lab { return $_[0]{lab}; }
sub data { my ($self, $node, $which) = @_; return $self->{data}{$node}{$which}; }
sub version { my ($self, $which) = @_; return $which eq 'new' ? $self->{to} : $self->{from}; }

# ---- files and processes ----

sub text_of { my ($file) = @_; open my $fh, '<', $file or return ''; local $/; return <$fh> // ''; }

sub append
{
	my ($file, $line) = @_;
	open my $fh, '>>', $file or die "$file: $!";
	print $fh $line;
	return close $fh;
}

# What the agent of the node remembers of the last upgrade: a hash, empty where there is nothing.
sub record
{
	my ($self, $node) = @_;
	return eval { JSON::PP::decode_json(text_of($self->{lab}->state_dir($node) . '/upgrade.json')) } // {};
}

# The processes of the new major's program of that name for the new folder of the node; a pattern says which are not
# meant. A command line is read once: that of a process which ends is empty the next time.
sub tools
{
	my ($self, $node, $name, $without) = @_;
	my $data = $self->data($node, 'new');
	return grep { my $line = text_of("/proc/$_/cmdline"); $line =~ /^\Q$self->{bin}\E\/$name\0/
		&& $line =~ /\Q$data\E/ && !($without && $line =~ /$without/) } map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
}

# The postmaster that runs in the folder; pg_upgrade's own are none, and nor is one that only left its file.
sub postmaster
{
	my ($self, $node, $which) = @_;
	my $data = $self->data($node, $which);
	my ($pid) = text_of("$data/postmaster.pid") =~ /^(\d+)/ or return 0;
	my $line = text_of("/proc/$pid/cmdline");
	return $line =~ /postgres/ && $line =~ /\Q$data\E(?:\0|$)/ && $line !~ /\0-b\0/ ? $pid : 0;
}

sub running
{
	my ($self, $node) = @_;
	my ($which) = grep { $self->postmaster($node, $_) } qw(old new);
	return $which // '';
}

# As a person does who finds it down. Of a killed postmaster the children may take a moment.
sub start
{
	my ($self, $node, $which) = @_;
	return $self->{lab}->start_pg($node) if $which eq 'old';
	my $data = $self->data($node, 'new');
	return $self->{lab}->until_true("the new server of $node to start", sub {
		my $log = $self->{lab}->agent_dir($node) . '/new.log';
		$self->postmaster($node, 'new')
			|| system("$self->{bin}/pg_ctl -D $data -s -l $log -w start >/dev/null 2>&1") == 0;
	});
}

sub kill_postmaster
{
	my ($self, $node, $which) = @_;
	my $pid = $self->postmaster($node, $which) or die "no $which server of $node to kill";
	kill 'KILL', $pid;
	return $self->{lab}->until_true('it to end', sub { $self->{lab}->gone($pid) });
}

# Its checkpointer stands still, so it cannot go down; or its postmaster, so it does not come up.
sub freeze
{
	my ($self, @pids) = @_;
	kill 'STOP', @pids;
	push @{ $self->{frozen} }, @pids;
	return;
}
sub thaw { my ($self) = @_; kill 'CONT', splice @{ $self->{frozen} }; return; }

# ---- runs ----

# Begins it on chicago; gives its number, and the session. One that took the server down may be over when it is seen.
sub begin
{
	my ($self, $sql) = @_;
	my $lab = $self->{lab};
	my $before = $lab->sql('chicago', 'SELECT coalesce(max(id), 0) FROM pingpong.run');
	my $job = $lab->begin_sql('chicago', $sql);
	my $run = $lab->until_true('the run to begin', sub {
		my ($out) = $lab->try_sql('chicago', "SELECT max(run) FROM pingpong.progress WHERE run > $before");
		return $out if $out;
		return 0 if $lab->running($job);
		my (undef, $err) = $lab->finish($job);
		$job = undef;
		return $err =~ /^NOTICE:  run (\d+): /m ? $1 : die($err);
	});
	return ($run, $job);
}

# ---- the end ----

sub down
{
	my ($self) = @_;
	return if $self->{gone}++;
	$self->thaw;
	for my $node ($self->{lab}->nodes)
	{
		my $data = $self->data($node, 'new');
		system("$self->{bin}/pg_ctl -D $data -m immediate stop >/dev/null 2>&1")
			if $data && -e "$data/postmaster.pid";
	}
	return;
}

END
{
	local $?;
	if ($$ == $main) { $_->down for @pairs; }
}

1;
