# Clients with several hosts in their connection string: no route, nothing moves. psql and pgbench find the primary by
# target_session_attrs, before, during and after a switchover and back; readers find a standby.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use POSIX ();
use Test::More;
use Tools;

my $lab = Lab->up(fast => 1, poolers => 0);
my ($from, $to) = qw(chicago dallas);
my $bin = $lab->env('PGBIN');
my $hosts = join ',', ('127.0.0.1') x 2;
my $ports = join ',', map { $lab->env("PORT_$_") } $lab->nodes;
my $login = "host=$hosts port=$ports dbname=app user=app passfile=@{[ $lab->dir ]}/passfile connect_timeout=2";
my $which = q{SELECT current_setting('pingpong.node_name')};

sub attrs { return "$login target_session_attrs=$_[0]"; }

# A reader that connects for each look: how often it failed, how often twice in a row.
my $reader;
sub start_reader
{
	my $test = $$;
	my $pid = open($reader, '-|') // die "fork: $!";
	if ($pid == 0)
	{
		my ($n, $failed, $twice, $before) = (0, 0, 0, 0);
		local $SIG{TERM} = sub { print "$n $failed $twice\n"; exec '/bin/true' };
		$| = 1;
		while (getppid() == $test)
		{
			my $rc = system("'$bin/psql' -XAtq -d '@{[ attrs('prefer-standby') ]}' -c 'SELECT 1' >/dev/null 2>&1");
			$n++;
			$failed++ if $rc;
			$twice++ if $rc && $before;
			$before = $rc;
		}
		POSIX::_exit(1);
	}
	return $pid;
}

is($lab->sql($from, 'SELECT count(*) FROM pingpong.route'), '0', 'there is no route');
is($lab->sql(attrs('read-write'), $which), $from, 'read-write: the primary');
is($lab->sql(attrs('prefer-standby'), $which), $to, 'prefer-standby: the standby');
$lab->sql(attrs('primary'), 'CREATE TABLE beats (at timestamptz DEFAULT clock_timestamp())');
write_file($lab->dir . '/beat.sql', "INSERT INTO beats DEFAULT VALUES;\n", 0644);

my $load = $lab->writers(dsn => attrs('read-write'), rate => 100);
for my $move (1, 2)
{
	# begun while there is the old primary, it connects for each transaction, and ends behind the move
	my $pgbench = start_pgbench();
	my $pid = start_reader();
	$load->mark("move $move");
	my ($out, $err) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$to')");
	like($out, qr/^\d+\|switched$/, "move $move: switched") or BAIL_OUT($err =~ tr{\n}{|}r);
	# The old one ends sessions when it makes way, and again when it stops: a try may meet each of them.
	my @tries;
	do { push @tries, [$lab->try_sql(attrs('read-write'), $which)] } until $tries[-1][0] ne '' || @tries == 3;
	is($tries[-1][0], $to, "move $move: a new client is led to the new primary") or diag(explain(\@tries));
	my ($run) = $out =~ /^(\d+)/;
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "move $move: done");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'", 'the standby', 60);
	is($lab->sql(attrs('prefer-standby'), $which), $from, "move $move: and a reader to the standby");
	kill 'TERM', $pid;
	my ($looks, $failed, $twice) = split ' ', <$reader>;
	close $reader;
	cmp_ok($looks, '>', 0, "move $move: a reader has read all the time");
	is($twice, 0, "move $move: and what failed was cured by one more try") or diag("$failed of $looks failed");
	my $seen = $load->end;
	note(sprintf 'move %d: longest time between two commits %.0f ms, %d cut off; a reader failed %d times of %d',
		$move, $seen->{gap_ms}, $seen->{ambiguous}, $failed, $looks);
	is($seen->{ambiguous}, 0, "move $move: each client was told why its session ends");
	my ($rc, $said) = end_pgbench($pgbench);
	like($said, qr/number of transactions actually processed: [1-9]/, "move $move: pgbench has written");
	my $beats = $lab->sql($to, 'SELECT count(*) FROM beats');
	ok($lab->sql(attrs('read-write'), 'INSERT INTO beats DEFAULT VALUES', 'SELECT count(*) FROM beats') > $beats,
		"move $move: and so does psql");
	($from, $to) = ($to, $from);
}
is($load->verify($from)->{lost}, 0, 'nothing acknowledged is lost');
cmp_ok($load->stop->{acked}, '>', 0, 'and something was acknowledged');
done_testing();

sub start_pgbench
{
	my $pid = open(my $pipe, '-|') // die "fork: $!";
	if ($pid == 0)
	{
		open STDERR, '>&', \*STDOUT;
		# each client connects for each transaction, through libpq with all hosts
		exec "$bin/pgbench", '-n', '-C', '-c', 2, '-j', 1, '-T', 6, '-f', $lab->dir . '/beat.sql', attrs('read-write')
			or POSIX::_exit(127);
	}
	return $pipe;
}

sub end_pgbench
{
	my ($pipe) = @_;
	my $said = do { local $/; <$pipe> // '' };
	close $pipe;
	return ($? >> 8, $said);
}
