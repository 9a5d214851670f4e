# The worker of the target takes a run over as soon as its server is promoted, whatever else the worker does now and
# then: nothing that waits for its next turn holds it up.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use List::Util qw(min);
use Test::More;

use constant MOVES => 4;

# its naps are long, so that one that is slept through shows
my $lab = Lab->up(fast => 1, port => 27300,
	set => ['pingpong.sample_interval=60000', 'pingpong.agent_interval=60000']);

# When the log of a server has the last such line, in ms.
sub moment
{
	my ($node, $what) = @_;
	open my $log, '<', $lab->env("LOG_$node") or die "log of $node: $!";
	my ($time) = reverse map { /(\d\d):(\d\d):(\d\d\.\d+) .*$what/ ? (($1 * 60 + $2) * 60 + $3) * 1000 : () } <$log>;
	return $time;
}

my ($from, $to) = $lab->nodes;
my @delays;
for my $move (1 .. MOVES)
{
	my ($out, $err) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$to')");
	like($out, qr/^\d+\|switched$/, "move $move: switched") or BAIL_OUT($err);
	my ($run) = $out =~ /^(\d+)/;
	is(($lab->settle($run, 60))[0], 'succeeded', "move $move: done");
	my $delay = moment($to, "taking over run $run ") - moment($to, 'archive recovery complete');
	push @delays, $delay < 0 ? $delay + 86_400_000 : $delay;
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'", 'the standby', 60);
	($from, $to) = ($to, $from);
}
note(join ' ', 'ms from the promotion to the takeover:', map { sprintf '%.0f', $_ } @delays);
# the shortest nap of an idle worker is a second
cmp_ok(min(@delays), '<', 500, 'the takeover waits for no nap');
done_testing;
