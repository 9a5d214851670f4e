#!/usr/bin/env perl
# upgrade.pl - the window of pingpong.upgrade() beside the bare minimum: a clean stop, pg_upgrade and a start, typed
# by hand with everything prepared. Both on a copy of the same cluster, on the same machine, one after the other, with
# writers through PgBouncer for ours. Prints a line for each, in seconds.
#
# usage: bench/upgrade.pl [TABLES[:MB[:MODE[:JOBS[:stats]]]]...]
#        TABLES     tables of 20 rows
#        MB         0; one more table of that size
#        MODE       link; or copy, clone, and swap by hand
#        JOBS       1; processes of pg_upgrade
#        stats      by hand once more without carried statistics, which are made anew then (18)
# environment: PGBIN and PINGPONG_NEW_BIN, the programs of both majors; ROUNDS (1) of each; run it as the user of the
# servers, where both are (`make bench-upgrade` does)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../t";
use Lab;
use Time::HiRes qw(time);

my $new_bin = $ENV{PINGPONG_NEW_BIN} // die "PINGPONG_NEW_BIN is not set\n";
my $bin = $ENV{PGBIN} // die "PGBIN is not set\n";
my $rounds = $ENV{ROUNDS} // 1;
my ($to) = `$new_bin/postgres --version` =~ /\) (\d+)/;

sub run { my @command = @_; system("@command >/dev/null 2>&1") == 0 or die "failed: @command\n"; return; }

# As a person would: the new cluster is there and checked, then the clock runs. The seconds of each part; with
# `more` statistics are made afterwards, which 18 carries over by itself.
sub by_hand
{
	my ($data, $dir, $port, $case, $more) = @_;
	my $new = "$dir/hand_new";
	my $place = "-p $port -c unix_socket_directories=$dir -c listen_addresses=''";
	my $checksums = $to >= 18 ? '--no-data-checksums' : '';
	$checksums = '-k' if `$bin/pg_controldata -D $data` =~ /checksum version: +[1-9]/;
	run("$new_bin/initdb -D $new -U postgres -E UTF8 --locale=C.UTF-8 $checksums");
	run(qq{$bin/pg_ctl -D $data -o "$place -c shared_preload_libraries=''" -l $dir/hand.log -w start});
	my @pg_upgrade = ("cd $dir &&", "$new_bin/pg_upgrade", "-b $bin -B $new_bin -d $data -D $new -U postgres -s $dir",
		"--jobs $case->{jobs} --$case->{mode}", $more // ());
	run(@pg_upgrade, "-p $port --check");
	my @times = time;
	run("$bin/pg_ctl -D $data -m fast -w stop");
	push @times, time;
	run(@pg_upgrade);
	push @times, time;
	run(qq{$new_bin/pg_ctl -D $new -o "$place" -l $dir/hand.log -w start});
	push @times, time;
	run("$new_bin/vacuumdb -h $dir -p $port -U postgres --all --analyze-in-stages --jobs $case->{jobs}") if $more;
	push @times, time;
	run("$new_bin/pg_ctl -D $new -m immediate stop");
	run("rm -rf $new $data");
	my %took = (all => $times[3] - $times[0]);
	@took{qw(stop run start analyze)} = map { $times[ $_ + 1 ] - $times[$_] } 0 .. 3;
	return \%took;
}

# One node, with a table for each thousandth of what is asked in a transaction of its own (locks).
sub laboratory
{
	my ($case) = @_;
	my $lab = Lab->up(poolers => 1, nodes => 2, port => 21900);
	$lab->kill9('agent', 'dallas');
	$lab->kill9('postgres', 'dallas');
	$lab->sql('chicago', q{SELECT pingpong.drop_node('dallas')},
		q{SELECT pg_drop_replication_slot('pingpong_dallas')});
	if ($case->{tables} > 5000)	# pg_dump locks them all
	{
		my $data = $lab->env('PGDATA_chicago');
		run("$bin/pg_ctl -D $data -m fast -w stop");
		open my $conf, '>>', "$data/postgresql.conf" or die $!;
		print $conf "max_locks_per_transaction = 1024\n";
		close $conf or die $!;
		$lab->start_pg('chicago');
		# its clients wait longer than its settings of the lab allow
		run('sed -i "s/^query_wait_timeout.*/query_wait_timeout = 1800/" ' . $lab->dir . '/pgbouncer1/pgbouncer.ini');
		kill 'HUP', $lab->pid('pgbouncer', 1);
	}
	for (my $from = 1; $from <= $case->{tables}; $from += 1000)
	{
		my $last = $from + 999 < $case->{tables} ? $from + 999 : $case->{tables};
		$lab->sql('chicago', "DO \$\$ BEGIN FOR i IN $from .. $last LOOP
			EXECUTE format('CREATE TABLE t%s AS SELECT g FROM generate_series(1, 20) g', i); END LOOP; END \$\$");
	}
	$lab->sql('chicago', "CREATE TABLE big AS SELECT g, repeat(md5(g::text), 31) AS filler
		FROM generate_series(1, 1000 * $case->{mb}) g", 'ANALYZE', 'CHECKPOINT');
	return $lab;
}

sub hand
{
	my ($lab, $case, $more) = @_;
	my $data = $lab->env('PGDATA_chicago');
	my $copy = $lab->dir . '/chicago/hand_old';
	run("$bin/pg_ctl -D $data -m fast -w stop");
	run("cp -a $data/. $copy");
	$lab->start_pg('chicago');
	return by_hand($copy, $lab->dir, $lab->base + 90, $case, $more);
}

sub ours
{
	my ($lab, $case) = @_;
	my $home = $lab->dir . '/chicago';
	open my $ini, '>>', "$home/agent.ini" or die $!;
	print $ini "\n[postgresql.next]\ndata = $home/new\nbin = $new_bin\nsuccessor = yes\n";
	close $ini or die $!;
	kill 'HUP', $lab->pid('agent', 'chicago');
	$lab->wait_for('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
	$lab->until_true('the successor to be known', sub {
		grep { $_->{name} eq 'next' } @{ $lab->act('chicago', 'bench', 0, 'facts')->{results}[0]{instances} } });
	my $load = $lab->writers(rate => 50);
	$load->mark('before');
	$lab->until_true('writes to flow', sub { $load->end->{acked} > 0 });
	my $window = $case->{tables} > 5000 ? '20min' : '100s';
	# its session ends with the old server
	my (undef, $err) = $lab->try_sql('chicago', "SELECT pingpong.upgrade('chicago', to_version => $to,
		mode => '$case->{mode}', jobs => $case->{jobs}, max_window => '$window')");
	die $err if $err =~ /^ERROR:/m;
	my ($end) = $lab->settle(1, 1800);
	my %ours = (end => $end);
	@ours{qw(all stop run start)} = split /\|/, $lab->sql('chicago', q{SELECT
		extract(epoch FROM max(ended_at) FILTER (WHERE action = 'repoint')
			- min(started_at) FILTER (WHERE action = 'pause')),
		max(duration_ms) FILTER (WHERE action = 'upgrade_stop') / 1000,
		max(duration_ms) FILTER (WHERE action = 'upgrade_run') / 1000,
		max(duration_ms) FILTER (WHERE action = 'upgrade_start') / 1000 FROM pingpong.step WHERE run = 1});
	$ours{lost} = $load->verify('chicago')->{lost};
	my $stopped = $load->stop;
	@ours{qw(ambiguous errors)} = @$stopped{qw(ambiguous errors)};
	run("$new_bin/pg_ctl -D $home/new -m immediate stop");
	return \%ours;
}

sub parts { my ($t) = @_; return sprintf '%7.2f (%.2f %.2f %.2f)', @$t{qw(all stop run start)}; }

sub measure
{
	my ($case) = @_;
	my $lab = laboratory($case);
	my $hand = hand($lab, $case);
	my $plain = $case->{stats} ? hand($lab, $case, '--no-statistics') : undef;
	if ($case->{mode} eq 'swap')	# pingpong wants a snapshot for it, whose time goes by the file system
	{
		printf "%8d %6d %5s %4d  %s\n", @$case{qw(tables mb mode jobs)}, parts($hand);
		return;
	}
	my $ours = ours($lab, $case);
	my $ratio = $ours->{all} / $hand->{all};
	printf "%8d %6d %5s %4d  %s  %s  %5.2f  %+6.2f  %s %d %d %d\n", @$case{qw(tables mb mode jobs)}, parts($hand),
		parts($ours), $ratio, $ours->{all} - 1.2 * $hand->{all} - 1, @$ours{qw(end lost ambiguous errors)};
	printf "%26s  %s, and %.2f for new statistics\n", 'by hand, none carried:', parts($plain), $plain->{analyze}
		if $plain;
	return $ratio;
}

$| = 1;
print "  tables     MB  mode jobs  by hand (stop, pg_upgrade, start)  pingpong (the same)  ratio  above 1.2 times",
	" + 1 s  end  lost, ambiguous, errors\n";
for my $words (@ARGV ? @ARGV : qw(500 5000 500:1000))
{
	my %case = (tables => 500, mb => 0, mode => 'link', jobs => 1, stats => '');
	my @given = split /:/, $words;
	@case{ (qw(tables mb mode jobs stats))[0 .. $#given] } = @given;
	my @ratios = sort { $a <=> $b } map { measure(\%case) } 1 .. $rounds;
	printf "%26s  %.2f (%.2f to %.2f)\n", "median of $rounds:", @ratios[$#ratios / 2, 0, -1] if @ratios > 1;
}
