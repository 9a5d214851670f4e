# Small things for tests that start agents and servers themselves, without a lab.
package Tools;

use strict;
use warnings;
use Exporter qw(import);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(write_file read_file run must wait_for begin_program end_program);

my %running;
my $main = $$;

# For its owner only, unless the mode says otherwise.
sub write_file
{
	my ($path, $text, $mode) = @_;
	open my $file, '>', $path or die "$path: $!";
	print $file $text;
	close $file or die "$path: $!";
	chmod $mode // 0600, $path or die "$path: $!";
	return;
}

# '' if it is not there.
sub read_file
{
	my ($path) = @_;
	open my $file, '<', $path or return '';
	local $/;
	return <$file> // '';
}

# A command's status and what it says; in scalar context only that.
sub run
{
	my @command = @_;
	my $pid = open(my $pipe, '-|') // die "fork: $!";
	if ($pid == 0)
	{
		open STDERR, '>&', \*STDOUT;
		exec @command or POSIX::_exit(127);
	}
	my $output = do { local $/; <$pipe> // '' };
	close $pipe;
	chomp $output;
	return wantarray ? ($? >> 8, $output) : $output;
}

sub must
{
	my ($rc, $output) = run(@_);
	die "@_: $output" if $rc;
	return $output;
}

# Until the code gives something true, which is returned; undef after a minute, or so many seconds.
sub wait_for
{
	my ($what, $code, $seconds) = @_;
	my $limit = time + ($seconds // 60);
	my $value;
	while (time < $limit)
	{
		$value = $code->();
		return $value if $value;
		sleep 0.01;
	}
	diag("waited too long for $what; last value: " . ($value // 'undef'));
	return;
}

# A program in the background, with its output in a file; it does not outlive the test. Its pid.
sub begin_program
{
	my ($log, @command) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $log;
		open STDERR, '>&', \*STDOUT;
		exec @command or POSIX::_exit(127);
	}
	$running{$pid} = 1;
	return $pid;
}

# At once (KILL).
sub end_program
{
	my ($pid) = @_;
	return if !$pid || !delete $running{$pid};
	kill 'KILL', $pid;
	waitpid $pid, 0;
	return;
}

END
{
	my $rc = $?;
	if ($$ == $main) { end_program($_) for keys %running; }
	$? = $rc;
}

1;
