# The crash matrix from the promotion on: see 050_crash_matrix.pl.
use strict;
use warnings;
use FindBin;

our $promoted = 1;
my $result = do "$FindBin::Bin/050_crash_matrix.pl";
die $@ || "050_crash_matrix.pl: $!" if !defined $result;
