# Nodes that reach each other over forwarders, as with Docker's port mapping: the registered port is not the one that
# the server knows. Which server is at an address is proved by connecting to it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

grep { -x "$_/socat" } split /:/, $ENV{PATH} or plan(skip_all => 'needs socat');

my $lab = Lab->up(fast => 1, poolers => 1, port => 21300, set => ['wal_retrieve_retry_interval=200ms']);
my %port = map { $_ => $lab->env("PORT_$_") } qw(chicago dallas);
my %mapped = (chicago => $lab->base + 66, dallas => $lab->base + 67);
my %socat;
END { local $?; kill 'TERM', values %socat; waitpid $_, 0 for values %socat; }

# Points the mapped port of a node to a server.
sub forward
{
	my ($node, $to) = @_;
	if ($socat{$node})
	{
		kill 'TERM', $socat{$node};
		waitpid $socat{$node}, 0;
	}
	my $pid = fork // die "fork: $!";
	exec 'socat', "TCP-LISTEN:$mapped{$node},bind=127.0.0.1,fork,reuseaddr", "TCP:127.0.0.1:$port{$to}"
		or POSIX::_exit(127) if $pid == 0;
	$socat{$node} = $pid;
	return $lab->until_true("the forwarder of $node",
		sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $mapped{$node}) });
}
sub not_ok
{
	my ($from, $to) = @_;
	return $lab->sql($from, "SELECT coalesce(string_agg(DISTINCT concat_ws(' ', status, name, node), E'\\n'
		ORDER BY concat_ws(' ', status, name, node)), '')
		FROM pingpong.preflight('$to') WHERE status <> 'ok' AND name <> 'backup'");
}

sub streams
{
	my ($from, $who) = @_;
	return $lab->wait_for($from, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$who' AND state = 'streaming'", "$who to stream");
}

$lab->wait_for($_, 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker') for $lab->nodes;
forward($_, $_) for qw(chicago dallas);
$lab->sql('chicago', map { "UPDATE pingpong.node SET port = $mapped{$_} WHERE name = '$_'" } qw(chicago dallas));
$lab->set('dallas', 'primary_conninfo',
	$lab->sql('dallas', 'SHOW primary_conninfo') =~ s/port=\d+/port=$mapped{chicago}/r);
$lab->wait_for('dallas', "SELECT count(*) = 1 FROM pg_stat_wal_receiver
	WHERE status = 'streaming' AND sender_port = $mapped{chicago}", 'the stream over the forwarder');
streams('chicago', 'dallas');
# the pooler's file, as it would have been written there
my $backends = $lab->env('BACKENDS_1');
open my $in, '<', $backends or die "$backends: $!";
my $text = do { local $/; <$in> };
close $in;
$text =~ s/\bport=$port{$_}\b/port=$mapped{$_}/g for qw(chicago dallas);
open my $out, '>', $backends or die "$backends: $!";
print $out $text;
close $out;
$lab->sql($lab->env('ADMIN_DSN_1'), 'RELOAD');

is(not_ok('chicago', 'dallas'), '', 'ports that differ on the way are no finding');
is($lab->sql('chicago', qq{SELECT string_agg(detail, '; ' ORDER BY node)
		FROM pingpong_check.preflight_checks('dallas') WHERE name = 'agent_reachable' AND detail ~ '^at '}),
	qq{at 127.0.0.1:$mapped{chicago} answers the server that its agent controls ("chicago", port $port{chicago}); }
	. qq{at 127.0.0.1:$mapped{dallas} answers the server that its agent controls ("dallas", port $port{dallas})},
	'as it was tried');

my $writers = $lab->writers(writers => 2, rate => 100);
my $run = 0;
for my $move (['chicago', 'dallas'], ['dallas', 'chicago'])
{
	my ($from, $to) = @$move;
	$run++;
	my ($row, $err) = $lab->try_sql($from, "SELECT run, state, new_primary FROM pingpong.switchover('$to')");
	is($row, "$run|switched|$to", "from $from to $to") or diag($err);
	is(join(' ', $lab->settle($run)), "succeeded done $to", "from $from to $to: the run succeeded");
	streams($to, $from);
	is($lab->sql($from, 'SELECT sender_port FROM pg_stat_wal_receiver'), $mapped{$to},
		"from $from to $to: the old primary streams over the forwarder");
	is($lab->sql($from, 'SELECT name, port FROM pingpong.where_is_primary()'), "$to|$mapped{$to}",
		"from $from to $to: it knows the primary");
	is(not_ok($to, $from), '', "from $from to $to: the way back has no finding");
}
is($writers->verify('chicago')->{lost}, 0, 'nothing lost');
my $totals = $writers->stop;
is($totals->{errors} + $totals->{ambiguous}, 0, 'no error, nothing ambiguous') or diag($totals->{sample});

# a forwarder that points to the wrong server
forward('dallas', 'chicago');
like(not_ok('chicago', 'dallas'), qr/^fail agent_reachable dallas$/m,
	'another server behind the forwarder of the target is a fail');
like($lab->sql('chicago',
		q{SELECT detail FROM pingpong_check.preflight_checks('dallas')
			WHERE name = 'agent_reachable' AND status = 'fail'}),
	qr/^at 127\.0\.0\.1:$mapped{dallas} answers another server \("chicago", port $port{chicago}, /, 'and names it');

done_testing();
