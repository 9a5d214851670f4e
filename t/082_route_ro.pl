# Routes for reads: they leave a standby that is too far behind or does not stream, for another one or for the
# primary, stay away from it while it goes to and fro, and come back. A client of such a route has no error in a
# switchover that a single reconnect does not cure, and never sees a server that is further behind than the route
# permits.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use List::Util qw(max);
use POSIX ();
use Session;
use Test::More;
use Time::HiRes qw(sleep);
use Tools qw(read_file);

my $lab = Lab->up(fast => 1, nodes => 3, set => ['pingpong.route_interval = 500ms']);
my ($p, $s) = qw(chicago dallas);
my $max_lag = 3;

sub sql { return $lab->sql($p, @_); }
sub table { return sql(q{SELECT node FROM pingpong.route WHERE name = 'ro1'}); }

sub comes_to
{
	my ($node, $what) = @_;
	eval { $lab->wait_for($p, "SELECT node = '$node' AND observed_node = '$node' AND health = 'ok'
		FROM pingpong.routes WHERE name = 'ro1'", $what, 60) };
	my $port = $lab->sql($lab->env('RO_DSN'), 'SELECT inet_server_port()');
	return is($port, $lab->env("PORT_$node"), "$what: reads go to $node") || diag(sql('TABLE pingpong.routes'));
}

sub moves { return sql(q{SELECT count(*) FROM pingpong.events WHERE kind = 'route moved' AND node = 'ro1'}); }
sub replay { my ($node, $verb) = @_; return $lab->sql($node, "SELECT pg_wal_replay_$verb()"); }

my $load = $lab->writers(rate => 80);
sql("SELECT pingpong.alter_route('ro1', max_lag => '$max_lag s')");
comes_to('dallas', 'at first');

# ---- a standby that does not replay ----

replay('dallas', 'pause');
comes_to('austin', 'dallas does not replay');
my $moves = moves();
replay('dallas', 'resume');
comes_to('dallas', 'dallas replays again');
is(moves(), $moves + 1, 'dallas replays again: one move');

# ---- too short to count ----

$moves = moves();
for (1 .. 3)
{
	replay('dallas', 'pause');
	my $lsn = sql('SELECT pg_current_wal_lsn()');
	$lab->wait_for($p, "SELECT pg_current_wal_lsn() > '$lsn'", 'writes');
	replay('dallas', 'resume');
}
is(table() . ' ' . moves(), "dallas $moves", 'a short rest is no reason');

# ---- no standby is fit ----

replay($_, 'pause') for qw(dallas austin);
comes_to('chicago', 'no standby replays');
sql(q{SELECT pingpong.alter_route('ro1', fallback => false)});
replay($_, 'resume') for qw(dallas austin);
comes_to('dallas', 'they replay again');
replay($_, 'pause') for qw(dallas austin);
$lab->wait_for($p, "SELECT bool_and(lag > '@{[ 2 * $max_lag ]} s') FROM pingpong_internal.places_to_read()
	WHERE NOT is_primary", 'both to be far behind', 60);
my (undef, $err) = $lab->try_sql($p, q{SELECT pingpong.set_route('ro1', 'austin')});
like($err, qr/node "austin" is too far behind for route "ro1"/, 'set_route refuses a node that is too far behind');
is(table(), 'dallas', 'without fallback: it stays where it is');
replay($_, 'resume') for qw(dallas austin);
sql(q{SELECT pingpong.alter_route('ro1', fallback => true)});

# ---- a standby that is gone ----

$lab->kill9('postgres', 'dallas');
comes_to('austin', 'dallas is gone');
$lab->start_pg('dallas');
comes_to('dallas', 'dallas is back');

# ---- put to the primary on purpose ----

is(sql(q{SELECT state FROM pingpong.set_route('ro1', 'chicago')}), 'succeeded', 'on purpose at the primary');
$moves = moves();
sleep 0.5 * $_ for 1 .. 3;
my $since = sql(q{SELECT clock_timestamp() + interval '12 s'});
$lab->wait_for($p, "SELECT clock_timestamp() > '$since'", 'a standby to be fit for long');
is(table() . ' ' . moves(), "chicago $moves", 'on purpose at the primary: it stays');
sql(q{SELECT pingpong.set_route('ro1', 'dallas')});
comes_to('dallas', 'set back');

# ---- a client that reads, there and back ----

sql('CREATE TABLE beat (at timestamptz); INSERT INTO beat VALUES (clock_timestamp()); GRANT ALL ON beat TO app');

# A child that calls a function again and again, until it is killed; its notes are lines of a file.
sub in_background
{
	my ($code) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		$SIG{TERM} = sub { POSIX::_exit(0) };
		eval { $code->() while 1 };
		print STDERR $@;
		POSIX::_exit(1);
	}
	$lab->{children}{$pid} = 1;
	return $pid;
}

my $notes = $lab->dir . '/reads';
my ($beat, $reads);
my $beating = in_background(sub {
	$beat //= Session->open($lab, $lab->env('RW_DSN'));
	my $said = eval { $beat->ask('UPDATE beat SET at = clock_timestamp() RETURNING 1') } // '';
	undef $beat if $said !~ /^1/;
	sleep 0.02;
});
my $query = 'SELECT (1000 * extract(epoch FROM clock_timestamp() - at))::bigint FROM beat';
my $reading = in_background(sub {
	my $said = $reads ? eval { $reads->ask($query) } // 'gone' : 'none';
	if ($said !~ /^-?\d+$/)
	{
		my $again = eval { $reads = Session->open($lab, $lab->env('RO_DSN')); $reads->ask($query) } // 'gone';
		$said = $again =~ /^-?\d+$/ ? "cured $again" : "uncured $said $again" =~ s/\s+/ /gr;
	}
	open my $out, '>>', $notes or die;
	print $out "$said\n";
	close $out;
	sleep 0.005;
});
$lab->until_true('the client to read', sub { (() = read_file($notes) =~ /^/mg) > 50 });

my $blackout = 0;
for my $move (1, 2)
{
	my ($out, $err2) = $lab->try_sql($p, "SELECT run, state, blackout_ms FROM pingpong.switchover('$s')");
	my ($run, $ms) = $out =~ /^(\d+)\|switched\|([0-9.]+)/;
	ok($run, "move $move: switched") or diag($err2);
	$blackout = max($blackout, $ms // 0);
	is(($lab->settle($run))[0], 'succeeded', "move $move: done");
	($p, $s) = ($s, $p);
	comes_to($s, "move $move");
	$lab->wait_for($p, q{SELECT count(*) = 2 FROM pg_stat_replication WHERE state = 'streaming'}, 'the standbys', 60);
}
kill 'TERM', $reading, $beating;
waitpid $_, 0 for $reading, $beating;
my @lines = split /\n/, read_file($notes);
my @uncured = grep { /uncured/ } @lines;
is(scalar @uncured, 0, 'a reconnect has cured each error') or diag(join "\n", @uncured);
my $oldest = max(map { /(\d+)$/ ? $1 : 0 } @lines);
cmp_ok($oldest, '<=', 1000 * $max_lag + $blackout, 'no read was older than the route permits');
note(sprintf '%d reads, %d reconnects, the oldest was of %d ms ago', scalar @lines, scalar(grep { /^cured/ } @lines),
	$oldest);

is($load->verify($p)->{lost}, 0, 'nothing acknowledged is lost');
$load->stop;
done_testing();
