# Ports - port numbers for a test, which no other test takes at the same time.
#
#   my $base = Ports::take(20000);    # $base + 1 to $base + 69 are ours until this process ends
package Ports;

use strict;
use warnings;
use Fcntl qw(:flock O_CREAT O_RDWR);
use IO::Socket::INET;

my %held;
my $main = $$;

# The first base from there on with nothing on its 69 ports, below where outgoing connections take theirs. It is
# locked: servers take their time until they listen. The locks lie in one folder for all tests, whatever their TMPDIR
# is.
sub take
{
	my ($base) = @_;
	BASE: for ($base -= $base % 70; $base + 69 < 32768; $base += 70)
	{
		my $path = "/tmp/pingpong-lab-$base.lock";
		sysopen my $lock, $path, O_RDWR | O_CREAT, 0600 or next;
		flock $lock, LOCK_EX | LOCK_NB or next;
		next if join(' ', (stat $lock)[0, 1]) ne join(' ', (stat $path)[0, 1]);
		for my $port ($base + 1 .. $base + 69)
		{
			IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 1, ReuseAddr => 1)
				or next BASE;
		}
		$held{$path} = $lock;
		return $base;
	}
	die 'no free ports';
}

END { unlink keys %held if $$ == $main; }

1;
