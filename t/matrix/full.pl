# Full disks at the steps of an upgrade in place and of its way back: see crash.pl.
use strict;
use warnings;
use FindBin;

our $full = 1;
my $result = do "$FindBin::Bin/crash.pl";
die $@ || "crash.pl: $!" if !defined $result;
