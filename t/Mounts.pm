# Mounts - a mount namespace for a test and all that it starts, and small file systems in memory.
#
#   use Mounts;                          # before Lab: the test is started again inside of it, or skipped
#   Mounts::tmpfs($folder, 'size=1m') or plan skip_all => "no tmpfs can be mounted: $!";
#   Mounts::umount($folder);             # else at the end, and the folder with it
package Mounts;

use strict;
use warnings;
use Cwd qw(abs_path);
use POSIX qw(uname);
use Test::More ();

# mount(8) wants to be root; the numbers of mount() and umount2()
my %calls = (x86_64 => [165, 166], aarch64 => [40, 39]);
my ($mount, $umount) = @{$calls{(uname())[4]} // []};
my ($detach, $remount) = (2, 32);
my @mounted;
my $main = $$;

sub import
{
	my @unshare = $> == 0 ? qw(unshare --mount) : qw(unshare --user --map-current-user --mount --keep-caps);
	Test::More::plan(skip_all => 'no mounts on this architecture') unless $mount;
	return if $ENV{PINGPONG_OWN_MOUNTS};
	Test::More::plan(skip_all => 'this machine has no mount namespaces for this user')
		if system("@unshare true 2>/dev/null") != 0;
	$ENV{PINGPONG_OWN_MOUNTS} = 1;
	exec @unshare, $^X, abs_path($0) or die "unshare: $!";
}

# False, with $!: it could not be mounted.
sub tmpfs
{
	my ($folder, $options) = @_;
	my ($source, $type) = ('none', 'tmpfs');
	return 0 if syscall($mount, $source, $folder, $type, 0, $options) != 0;
	push @mounted, $folder;
	return 1;
}

# What has been mounted gets another size; false where more than that is used.
sub resize
{
	my ($folder, $size) = @_;
	my ($source, $type, $options) = ('none', 'tmpfs', "size=$size");
	return syscall($mount, $source, $folder, $type, $remount, $options) == 0;
}

# Not a block is free any more, until resize(). What writes there meanwhile gets some yet, so it is tried again.
sub fill
{
	my ($folder) = @_;
	for (1 .. 100)
	{
		my ($blocks, $free, $bytes) = `stat -f -c '%b %f %S' $folder` =~ /(\d+) (\d+) (\d+)/ or die "$folder: $!";
		return 1 if resize($folder, ($blocks - $free) * $bytes);
	}
	die "$folder could not be filled: $!";
}

sub umount
{
	my ($folder) = @_;
	@mounted = grep { $_ ne $folder } @mounted;
	return syscall($umount, $folder, $detach) == 0;
}

# Labs are down by then: what was loaded later ends first.
END
{
	if ($$ == $main)
	{
		for my $folder (reverse my @all = @mounted) { rmdir $folder if umount($folder); }
	}
}

1;
