# Link - a TCP forwarder on 127.0.0.1 that can be cut and frozen, as a network can.
#
#   my $link = Link->new(17500, 17401);	# a connection to 17500 reaches 17401
#   $link->order('cut');	# what is open is reset, what is new is refused
#   $link->order('freeze');	# nothing passes, without an error
#   $link->order('heal');
#   $link->end;
package Link;

use strict;
use warnings;
use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER);

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

sub _forward
{
	my ($port, $to, $orders, $done) = @_;
	my ($listener, %other, $frozen);
	while (1)
	{
		my $select = IO::Select->new($orders, $frozen ? () : (($listener || ()), map { $_->[0] } values %other));
		for my $ready ($select->can_read)
		{
			if ($ready == $orders)
			{
				sysread $orders, my $order, 64 or POSIX::_exit(0);
				if ($order =~ /^cut/)
				{
					_reset($_->[0]) for values %other;
					%other = ();
					close $listener if $listener;
					$listener = undef;
				}
				$frozen = $order =~ /^freeze/;
				$listener //= _listen($port) if $order !~ /^cut/;
				syswrite $done, '.';
			}
			elsif ($listener && $ready == $listener)
			{
				my $client = $listener->accept or next;
				my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $to);
				if (!$server) { _reset($client); next; }
				$_->blocking(1) for $client, $server;
				$other{fileno $client} = [$client, $server];
				$other{fileno $server} = [$server, $client];
			}
			else
			{
				my $pair = defined fileno $ready ? $other{fileno $ready} : undef;
				next if !$pair;
				my $n = sysread $ready, my $data, 65536;
				my $ok = $n;
				for (my $at = 0; $ok && $at < $n;)
				{
					my $wrote = syswrite $pair->[1], $data, $n - $at, $at;
					$ok = $wrote;
					$at += $wrote // 0;
				}
				next if $ok;
				my @both = @$pair;
				delete $other{fileno $_} for @both;
				close $_ for @both;
			}
		}
	}
	return;
}

1;
