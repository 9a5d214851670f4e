# Link - a TCP forwarder on 127.0.0.1 that can be cut and frozen, and that takes its time, as a network does.
#
#   my $link = Link->new(17500, 17401);	# a connection to 17500 reaches 17401
#   $link->order('cut');	# what is open is reset, what is new is refused
#   $link->order('freeze');	# nothing passes, without an error
#   $link->order('delay 10.5');	# ms, each way, of all that comes from now on; a new connection costs a round trip
#   $link->order('heal');	# no delay either
#   $link->end;
package Link;

use strict;
use warnings;
use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(IPPROTO_TCP SOL_SOCKET SO_LINGER TCP_NODELAY);
use Time::HiRes qw(time);

sub new
{
	my ($class, $port, $to) = @_;
	pipe my $orders_in, my $orders_out or die "pipe: $!";
	pipe my $done_in, my $done_out or die "pipe: $!";
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		close $_ for $orders_out, $done_in;
		$SIG{TERM} = $SIG{INT} = 'DEFAULT';
		eval { _forward($port, $to, $orders_in, $done_out); 1 } or warn "link $port: $@";
		POSIX::_exit(1);
	}
	close $_ for $orders_in, $done_out;
	$orders_out->autoflush(1);
	my $self = bless {pid => $pid, orders => $orders_out, done => $done_in, port => $port}, $class;
	$self->order('heal');
	return $self;
}

# Has taken effect when this returns.
sub order
{
	my ($self, $order) = @_;
	syswrite $self->{orders}, "$order\n" or die "link: $!";
	sysread $self->{done}, my $answer, 1 or die 'the link is gone';
	return;
}

sub end { my ($self) = @_; kill 'KILL', $self->{pid}; waitpid $self->{pid}, 0; return; }

# ---- the process of the link ----

sub _reset { my ($socket) = @_; setsockopt $socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0); close $socket; return; }

sub _listen
{
	my ($port) = @_;
	return IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 64, ReuseAddr => 1)
		|| die "listen on $port: $!";
}

# Writes all of it; false: the other end is gone.
sub _write
{
	my ($socket, $data) = @_;
	for (my $at = 0; $at < length $data;)
	{
		my $wrote = syswrite $socket, $data, length($data) - $at, $at;
		return 0 if !$wrote;
		$at += $wrote;
	}
	return 1;
}

# A pair is {ends => [client, server], open => 1}; of an end's number its pair, and which end it is.
sub _close_pair
{
	my ($of, $pair, $how) = @_;
	return if !$pair->{open};
	$pair->{open} = 0;
	for my $end (@{$pair->{ends}}) { delete $of->{fileno $end}; $how->($end); }
	return;
}

# What one end has sent reaches the other one; '' is its end.
sub _deliver
{
	my ($of, $pair, $to, $data) = @_;
	return if !$pair->{open};
	_close_pair($of, $pair, sub { close $_[0] }) if $data eq '' || !_write($pair->{ends}[$to], $data);
	return;
}

sub _accept
{
	my ($of, $listener, $to) = @_;
	my $client = $listener->accept or return;
	my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $to);
	if (!$server) { _reset($client); return; }
	for ($client, $server) { $_->blocking(1); setsockopt $_, IPPROTO_TCP, TCP_NODELAY, 1; }
	my $pair = {ends => [$client, $server], open => 1, new => 1};
	$of->{fileno $client} = [$pair, 0];
	$of->{fileno $server} = [$pair, 1];
	return;
}

sub _forward
{
	my ($port, $to, $orders, $done) = @_;
	my ($listener, %of, $frozen, @late);	# late: [when, pair, end, data], oldest first of each end
	my $delay = 0;
	while (1)
	{
		@late = sort { $a->[0] <=> $b->[0] } @late;
		while (!$frozen && @late && $late[0][0] <= time) { my $one = shift @late; _deliver(\%of, @$one[1 .. 3]); }
		my @ends = map { $_->[0]{ends}[$_->[1]] } values %of;
		my $select = IO::Select->new($orders, $frozen ? () : (($listener || ()), @ends));
		my $limit = $frozen || !@late ? undef : $late[0][0] - time;
		for my $ready ($select->can_read(defined $limit && $limit < 0 ? 0 : $limit))
		{
			if ($ready == $orders)
			{
				sysread $orders, my $order, 64 or POSIX::_exit(0);
				if ($order =~ /^cut/)
				{
					my @pairs = map { $_->[0] } values %of;
					_close_pair(\%of, $_, \&_reset) for @pairs;
					@late = ();
					close $listener if $listener;
					$listener = undef;
				}
				$frozen = $order =~ /^freeze/;
				$delay = $order =~ /^delay ([0-9.]+)/ ? $1 / 1000 : $order =~ /^heal/ ? 0 : $delay;
				$listener //= _listen($port) if $order !~ /^cut/;
				syswrite $done, '.';
			}
			elsif ($listener && $ready == $listener) { _accept(\%of, $listener, $to); }
			else
			{
				my ($pair, $end) = @{(defined fileno $ready ? $of{fileno $ready} : undef) // next};
				my $n = sysread $ready, my $data, 65536;
				$data = '' if !$n;
				my $wait = $pair->{new} ? 3 * $delay : $delay;	# the handshake of TCP before it
				$pair->{new} = 0;
				if ($delay == 0 && !grep { $_->[1] == $pair } @late) { _deliver(\%of, $pair, 1 - $end, $data); next; }
				# what is closed is not read again
				delete $of{fileno $ready} if $data eq '';
				my $when = time + $wait;
				$when = $pair->{due}[$end] if $when < ($pair->{due}[$end] // 0);	# nothing overtakes
				$pair->{due}[$end] = $when;
				push @late, [$when, $pair, 1 - $end, $data];
			}
		}
	}
	return;
}

1;
