# Session - a psql that stays connected, for what needs a session: transactions left open, statements that wait.
#
#   my $s = Session->open($lab, 'chicago');
#   $s->ask('BEGIN');                       # the rows, or the error as "ERROR:  25006"
#   $s->send('INSERT INTO t VALUES (1)');   # does not wait
#   my $text = $s->answer(5);               # the rest of what was sent, within so many seconds
package Session;

use strict;
use warnings;
use IO::Handle;
use IO::Select;
use POSIX ();
use Time::HiRes qw(time);

my $number = 0;

# On a node of the lab, or by a connection string.
sub open
{
	my ($class, $lab, $node) = @_;
	my $dsn = $node =~ /=/ ? $node : $lab->env("DSN_$node");
	pipe my $read_in, my $write_in or die;
	pipe my $read_out, my $write_out or die;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<&', $read_in;
		open STDOUT, '>&', $write_out;
		open STDERR, '>&', $write_out;
		close $_ for $read_in, $write_in, $read_out, $write_out;
		exec $lab->env('PGBIN') . '/psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-v', 'SHOW_CONTEXT=never', '-d', $dsn
			or POSIX::_exit(127);
	}
	close $_ for $read_in, $write_out;
	$write_in->autoflush(1);
	my $self = bless {pid => $pid, in => $write_in, out => $read_out, lab => $lab, text => '', asked => 0}, $class;
	$lab->{children}{$pid} = 1;
	$self->{backend} = $self->ask('SELECT pg_backend_pid()');
	return $self;
}

sub backend { return $_[0]{backend}; }

sub send
{
	my ($self, $statement) = @_;
	$self->{mark} = 'answered-' . ++$number;
	print {$self->{in}} "$statement;\n\\echo $self->{mark}\n" or die "psql: $!";
	return;
}

# What came since send(); undef when it is not there within the time.
sub answer
{
	my ($self, $seconds) = @_;
	my $limit = time + ($seconds // 30);
	my $select = IO::Select->new($self->{out});
	while (1)
	{
		if ($self->{text} =~ s/\A(.*?)^\Q$self->{mark}\E\n//ms)
		{
			my $text = $1;
			$text =~ s/\n\z//;
			return $text;
		}
		return if time > $limit;
		next unless $select->can_read(0.02);
		return $self->{text} . 'gone' unless sysread $self->{out}, $self->{text}, 65536, length $self->{text};
	}
}

sub ask
{
	my ($self, $statement, $seconds) = @_;
	$self->send($statement);
	return $self->answer($seconds);
}

sub close
{
	my ($self) = @_;
	return if $self->{closed}++;
	CORE::close $self->{in};
	CORE::close $self->{out};
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	delete $self->{lab}{children}{$self->{pid}};
	return;
}

1;
