# HAProxy - one for a test: of the distribution, in the foreground, with its runtime API on a socket of its own.
#
#   my $haproxy = HAProxy->start($lab, "listen rw\n bind 127.0.0.1:$port\n ...");
#   $haproxy->ask('show servers state');
#   $haproxy->restart;                     # it forgets what it was told at run time
package HAProxy;

use strict;
use warnings;
use IO::Socket::UNIX;
use Test::More ();
use Tools;

# Why there can be none; undef: there can. In CI that is a failure.
sub missing
{
	return if grep { -x "$_/haproxy" } split(/:/, $ENV{PATH}), '/usr/sbin';
	Test::More::BAIL_OUT('needs haproxy') if ($ENV{CI} // '') eq 'true';
	return 'needs haproxy';
}

sub _spawn
{
	my ($self) = @_;
	local $ENV{PATH} = "$ENV{PATH}:/usr/sbin";
	$self->{pid} = begin_program("$self->{dir}/haproxy.log", 'haproxy', '-db', '-f', "$self->{dir}/haproxy.cfg");
	wait_for('HAProxy', sub { eval { $self->ask('show info') =~ /^Version/m } })
		or die read_file("$self->{dir}/haproxy.log");
	return;
}

# The socket belongs to the user of the agents.
sub start
{
	my ($class, $lab, $sections) = @_;
	my $self = bless {dir => $lab->dir . '/haproxy', lab => $lab}, $class;
	my $user = $lab->env('LAB_USER');

	mkdir $self->{dir};
	chmod 0755, $self->{dir};
	$self->{socket} = "$self->{dir}/admin.sock";
	write_file("$self->{dir}/haproxy.cfg", <<"CFG" . $sections, 0644);
global
    maxconn 500
    stats socket $self->{socket} mode 600 user $user level admin
defaults
    mode tcp
    timeout connect 2s
    timeout client 10m
    timeout server 10m
    timeout queue 30s
    timeout check 2s
CFG
	$self->_spawn;
	return $self;
}

sub socket { return $_[0]{socket}; }

# What it answers to a command of its runtime API.
sub ask
{
	my ($self, $command) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $self->{socket}) or die "haproxy: $!";
	print $socket "$command\n";
	local $/;
	return <$socket> // '';
}

# Of "show servers state": { "backend/server" => { column => value } }
sub servers
{
	my ($self) = @_;
	my (@columns, %servers);
	for my $line (split /\n/, $self->ask('show servers state'))
	{
		@columns = split ' ', $line =~ s/^# //r if $line =~ /^# /;
		next if $line =~ /^(?:#|1?$)/;
		my %row;
		@row{@columns} = split ' ', $line;
		$servers{"$row{be_name}/$row{srv_name}"} = \%row;
	}
	return \%servers;
}

sub stop
{
	my ($self) = @_;
	end_program($self->{pid});
	return;
}

sub restart
{
	my ($self) = @_;
	$self->stop;
	$self->_spawn;
	return;
}

1;
