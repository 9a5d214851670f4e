# The forecasts of pingpong.slots, at a known rate of WAL: when max_slot_wal_keep_size is reached, and when the disk
# of pg_wal is full, are within a tenth of what then happens. The disk is a small file system in memory.
#
# ci: all
use strict;
use warnings;
use File::Temp qw(tempdir);
use FindBin;
use lib $FindBin::RealBin;
use Mounts;
use Lab;
use Test::More;
use Time::HiRes qw(sleep time);

use constant {MB => 1024 * 1024, RATE => 5, STEADY => 0.04, TRIES => 3};

# Segments are small and are not used again, so that the disk fills with the WAL.
my $lab = Lab->up(fast => 1, nodes => 1, poolers => 0, port => 23500, wal_segsize => 1,
	set => ['pingpong.sample_interval=100ms', 'wal_keep_size=0', 'min_wal_size=2MB', 'max_wal_size=10GB',
		'wal_recycle=off', 'checkpoint_timeout=1h']);

# So many MB each second, for a while. It keeps to the clock: what was late is made up for.
sub writer
{
	my $bytes = int(RATE * MB / 20);
	return $lab->begin_sql('chicago', qq{DO \$\$
DECLARE began timestamptz := clock_timestamp();
BEGIN
	FOR i IN 1 .. 20000 LOOP
		PERFORM pg_logical_emit_message(false, 'test', repeat('x', $bytes));
		PERFORM pg_sleep(extract(epoch FROM began + i * interval '50 ms' - clock_timestamp()));
	END LOOP;
END \$\$});
}

# The writer is gone, or the server is.
sub end_writer
{
	my ($writer) = @_;
	$lab->try_sql('chicago', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO %'});
	$lab->finish($writer, 30);
	return;
}

# A slot that nobody uses, and what is foretold once the rate was measured for some seconds: a rate in bytes a second,
# and seconds. A new slot keeps all WAL since the last checkpoint.
sub foretold
{
	my ($slot, $column) = @_;
	my $seen;
	$lab->sql('chicago', 'CHECKPOINT', "SELECT pg_create_physical_replication_slot('$slot', true)");
	$lab->until_true('a forecast', sub {
		$seen = $lab->sql('chicago', "SELECT growth_bytes_per_s, extract(epoch FROM $column) FROM pingpong.slots
			WHERE slot_name = '$slot' AND retained_bytes > 40e6 AND $column IS NOT NULL");
	}, 60);
	return split /\|/, $seen;
}

sub lsn { return $lab->sql('chicago', q{SELECT pg_current_wal_lsn() - '0/0'}); }

# Within a tenth. Where the machine stood still and the writer with it, the rate was not known, and it is tried again.
sub holds
{
	my ($what, $try) = @_;
	for my $n (1 .. TRIES)
	{
		my ($rate, $seconds, $took, $real) = $try->($n);
		my $steady = abs($real / $rate - 1) <= STEADY;
		note(sprintf '%s: foretold in %.2f s at %.0f bytes/s; it took %.2f s at %.0f bytes/s', $what, $seconds, $rate,
			$took, $real);
		return cmp_ok(abs($took - $seconds), '<=', 0.1 * $took, $what) if $steady || $n == TRIES;
	}
	return;
}

# ---- max_slot_wal_keep_size ----

$lab->set('chicago', 'max_slot_wal_keep_size', '100MB');
holds('the limit is reached when it was foretold', sub {
	my ($n) = @_;
	my $writer = writer();
	my ($rate, $seconds) = foretold("kept$n", 'limit_in');
	my ($began, $from) = (time, lsn());
	$lab->until_true('the limit', sub {
		return $lab->sql('chicago', "SELECT safe_wal_size <= 0 FROM pingpong.slots
			WHERE slot_name = 'kept$n'") eq 't';
	}, 60);
	my $took = time - $began;
	my $real = (lsn() - $from) / (time - $began);
	end_writer($writer);
	$lab->sql('chicago', "SELECT pg_drop_replication_slot('kept$n')");
	return ($rate, $seconds, $took, $real);
});
$lab->set('chicago', 'max_slot_wal_keep_size', undef);

# ---- the disk ----

SKIP: {
	my $small = tempdir('pingpong-small-XXXXXX', TMPDIR => 1, CLEANUP => 0);
	skip "no tmpfs can be mounted: $!", 2 unless Mounts::tmpfs($small, 'size=190m,mode=0777');
	my $data = $lab->env('PGDATA_chicago');

	sub free { my ($bytes, $blocks) = `stat -f -c '%S %a' $small` =~ /(\d+) (\d+)/ or die; return $bytes * $blocks; }

	$lab->sql('chicago', 'CHECKPOINT', 'SELECT pg_switch_wal()', 'CHECKPOINT');
	$lab->kill9('postgres', 'chicago');
	system('cp', '-a', "$data/pg_wal", "$small/") == 0 or die;
	rename "$data/pg_wal", "$data/pg_wal.before" or die;
	symlink "$small/pg_wal", "$data/pg_wal" or die;
	$lab->start_pg('chicago');
	holds('the disk is full when it was foretold', sub {
		my ($n) = @_;
		my $writer = writer();
		# so much is left for the WAL, whatever was there before
		open my $ballast, '>', "$small/ballast$n" or die;
		syswrite $ballast, 'x' x MB while free() > 110 * MB;
		close $ballast;
		my ($rate, $seconds) = foretold("kept$n", 'disk_full_in');
		my ($began, $from, $upto, $at) = (time, lsn());
		# as long as there is room for a segment
		$lab->until_true('the disk to be full', sub {
			my ($out, undef, $rc) = $lab->try_sql('chicago', q{SELECT pg_current_wal_lsn() - '0/0'});
			($upto, $at) = ($out, time) if $rc == 0;
			return $rc != 0 || free() < MB;
		}, 60);
		my $took = time - $began;
		my $real = ($upto - $from) / ($at - $began);
		is(free() < 2 * MB, 1, 'and the disk it is') if abs($real / $rate - 1) <= STEADY || $n == TRIES;
		end_writer($writer);
		unlink map { "$small/ballast$_" } 1 .. $n;
		$lab->try_sql('chicago', "SELECT pg_drop_replication_slot('kept$n')", 'CHECKPOINT') if $n < TRIES;
		return ($rate, $seconds, $took, $real);
	});
}
done_testing();
