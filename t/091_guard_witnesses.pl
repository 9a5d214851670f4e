# The guard at boot, with every combination of reachable witnesses: with one and with two standbys, for a primary that
# was replaced and for one that was not. Never two primaries that take writes.
# time limit: 900 s
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Link;
use Test::More;

my ($lab, %link, @witnesses);

sub up
{
	my ($nodes) = @_;
	$lab = Lab->up(fast => 1, nodes => $nodes, set => ['pingpong.guard_timeout=300ms', 'pingpong.agent_interval=1s']);
	@witnesses = ((grep { $_ ne 'chicago' } $lab->nodes), 'pooler1');
	my $port = $lab->base + 66;
	for my $name (@witnesses)
	{
		my ($to) = $lab->env("AGENT_$name") =~ /:(\d+)$/;
		$link{$name} = Link->new(++$port, $to);
		$lab->sql('chicago', "UPDATE pingpong.node SET agent_url = 'http://127.0.0.1:$port' WHERE name = '$name'");
	}
	my $file = $lab->env('PGDATA_chicago') . '/pingpong.peers';
	my @urls = map { "http://127.0.0.1:$_" } $lab->base + 67 .. $port;
	$lab->until_true('the file with each link', sub {
		open my $fh, '<', $file or return 0;
		my $text = do { local $/; <$fh> };
		return !grep { $text !~ /\Q$_\E\b/ } @urls;
	});
	return;
}

# Starts chicago with these witnesses only; gives how the guard ended, or that it is closed.
sub start_with
{
	my ($order, %reachable) = @_;
	$link{$_}->order($reachable{$_} ? 'heal' : $order) for @witnesses;
	$lab->start_pg('chicago');
	$lab->wait_for('chicago', q{SELECT DISTINCT state NOT IN ('none', 'asking') FROM pingpong.guard}, 'a decision',
		60);
	return $lab->sql('chicago', 'SELECT DISTINCT state FROM pingpong.guard');
}

sub all_subsets
{
	my @subsets;
	for my $bits (0 .. 2**@witnesses - 1)
	{
		push @subsets, {map { $witnesses[$_] => 1 } grep { $bits >> $_ & 1 } 0 .. $#witnesses};
	}
	return @subsets;
}

sub said { my (%reachable) = @_; return join('+', sort keys %reachable) || 'nobody'; }

# ---- the primary that was not replaced ----

sub try_present
{
	my ($unanswered) = @_;
	$lab->set_file('chicago', 'pingpong.guard_unanswered', $unanswered);
	for my $reachable (all_subsets())
	{
		my $standbys = grep { $reachable->{$_} } grep { $_ ne 'pooler1' } @witnesses;
		my $proved = $standbys == @witnesses - 1;
		my $most = 2 * (1 + keys %$reachable) > 1 + @witnesses;
		my $expected = $proved ? 'proved' : $unanswered eq 'majority' && $most ? 'majority' : 'closed';
		my $state = start_with('cut', %$reachable);
		is($state, $expected, sprintf('%d standbys, %s, not replaced, %s: %s', @witnesses - 1, $unanswered,
			said(%$reachable), $expected));
		is(($lab->try_sql('chicago', q{SET statement_timeout = '200ms'}, 'INSERT INTO kept VALUES (1)'))[2] == 0,
			$expected ne 'closed', 'and it takes writes accordingly');
		$lab->stop_pg('chicago');
	}
	return;
}

# ---- the primary that was replaced ----

# Whoever says so: dallas is the primary, austin follows it, the router's agent knows the epoch of a move.
sub try_replaced
{
	my ($unanswered, $order) = @_;
	$lab->set_file('chicago', 'pingpong.guard_unanswered', $unanswered);
	for my $reachable (all_subsets())
	{
		next if $order eq 'freeze' && keys %$reachable == @witnesses;
		my $expected = %$reachable ? 'replaced' : 'closed';
		is(start_with($order, %$reachable), $expected, sprintf('%d standbys, %s, replaced, %s (others %s): %s',
			@witnesses - 1, $unanswered, said(%$reachable), $order, $expected));
		my @primary = grep { $lab->sql_ok($_, q{SET statement_timeout = '200ms'}, 'INSERT INTO kept VALUES (2)') }
			$lab->nodes;
		is(@primary . " @primary", '1 ' . $primary[0], 'one takes writes');
		isnt($primary[0], 'chicago', 'and not the old one');
		if (!%$reachable)
		{
			$link{dallas}->order('heal');
			$lab->wait_for('chicago', q{SELECT state = 'sealed' FROM pingpong.gate}, 'chicago to hear of it', 60);
			pass('when it can be asked again it is sealed');
		}
		$lab->stop_pg('chicago');
		unlink $lab->env('PGDATA_chicago') . '/pingpong.seal';	# as if it had not been told
	}
	return;
}

for my $nodes (2, 3)
{
	up($nodes);
	$lab->sql('chicago', 'CREATE TABLE kept (i int)');
	$lab->wait_for('chicago', "SELECT count(*) = $nodes - 1 FROM pingpong.standby WHERE state = 'streaming'",
		'standbys');
	$lab->stop_pg('chicago');
	try_present('closed');
	try_present('majority');

	# a promotion by hand, and a run of the extension behind it: it raises the epoch. None has more than the other
	$_->order('heal') for values %link;
	$lab->start_pg('chicago');
	$lab->wait_for('chicago', "SELECT count(*) = $nodes - 1 FROM pg_stat_replication
		WHERE state = 'streaming' AND flush_lsn = pg_current_wal_flush_lsn()", 'standbys that have all', 60);
	$lab->stop_pg('chicago');
	$lab->sql('dallas', 'SELECT pg_promote()');
	$lab->sql('dallas', 'INSERT INTO kept VALUES (0)');
	if ($nodes == 3)
	{
		$lab->sql('dallas', q{SELECT pingpong.rebuild('austin')});
		$lab->wait_for('dallas', q{SELECT bool_or(state = 'streaming') FROM pingpong.standby}, 'austin', 60);
	}
	$lab->sql('dallas', 'INSERT INTO pingpong.cluster (epoch) VALUES (1) ON CONFLICT (one) DO UPDATE SET epoch = 1');
	$lab->sql('dallas', 'SELECT pingpong.repoint()');
	is(($lab->agent('pooler1', '/v1/state'))[1]{epoch}, 1, 'the agent of the router knows the epoch');
	try_replaced('closed', 'cut');
	try_replaced('majority', 'cut');
	try_replaced('majority', 'freeze') if $nodes == 2;
	$_->end for values %link;
	%link = ();
	$lab->down;
}
done_testing();
