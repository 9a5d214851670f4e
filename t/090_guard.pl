# The guard at boot: a primary that is started takes no write before the agents of the other nodes have said that
# nobody has replaced it. A standby that was promoted by hand meanwhile, and the way back of the old primary.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1);
$lab->sql('chicago', 'CREATE TABLE kept (i int)');

sub guard { my ($node) = @_; return $lab->sql($node, 'SELECT DISTINCT state FROM pingpong.guard'); }
sub gate { my ($node) = @_; return $lab->sql($node, 'SELECT state FROM pingpong.gate'); }

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary, "SELECT state IS NOT DISTINCT FROM 'streaming' FROM pingpong.standby
		WHERE name = '$standby'", "$standby to stream", 60);
}

# Whom it would ask; the file is kept within seconds.
sub peers
{
	my ($node) = @_;
	open my $fh, '<', $lab->env("PGDATA_$node") . '/pingpong.peers' or return '';
	return join ' ', map { /^node=(\S+) (\S+)/ ? "$1:$2" : () } <$fh>;
}

sub wait_for_peers
{
	my ($node, $expected) = @_;
	return $lab->until_true("the peers of $node", sub { peers($node) eq $expected });
}

# ---- a healthy site ----

my $all = 'chicago:postgres dallas:postgres pooler1:router';
ok(wait_for_peers('chicago', $all), 'a primary writes down whom to ask at its next start');
is(guard('chicago'), 'none', 'as it was started alone, it asked nobody');
is((stat $lab->env('PGDATA_chicago') . '/pingpong.peers')[2] & 077, 0, 'the file is its own');
streaming('chicago', 'dallas');
$lab->stop_pg('chicago', 'INT');
$lab->start_pg('chicago');
$lab->sql('chicago', 'INSERT INTO kept VALUES (1)');
is(guard('chicago'), 'proved', 'a restart: it has asked, and writes go on');
is($lab->sql('chicago', q{SELECT ended_at - since < interval '5 s' FROM pingpong.guard LIMIT 1}), 't', 'soon');
is($lab->sql('chicago',
		q{SELECT string_agg(concat_ws(' ', node, kind, says), ', ' ORDER BY node) FROM pingpong.guard}),
	'chicago self nothing newer, dallas postgres nothing newer, pooler1 router nothing newer',
	'who was asked, and what they said');
is($lab->sql('dallas', 'SELECT DISTINCT state FROM pingpong.guard'), 'none', 'a standby does not ask');

# a crash of one process of it: shared memory is made anew, and so is the question
my $since = $lab->sql('chicago', 'SELECT min(since) FROM pingpong.guard');
kill 'KILL', $lab->sql('chicago', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
$lab->wait_for('chicago', "SELECT min(since) > '$since' FROM pingpong.guard", 'the crash restart');
$lab->sql('chicago', 'INSERT INTO kept VALUES (2)');
is(guard('chicago'), 'proved', 'a crash restart: the same');
is($lab->sql('chicago', 'SELECT count(*) FROM kept'), '2', 'all rows are there');

# ---- promoted by hand while the old primary is down: first its server comes back, then its agent ----

# Stops the old primary and promotes the other one by hand, as an operator does it.
sub replace_by_hand
{
	my ($old, $new) = @_;
	streaming($old, $new);
	wait_for_peers($old, $all);
	$lab->stop_pg($old, 'INT');
	$lab->kill9('agent', $old);
	$lab->sql($new, 'SELECT pg_promote()');
	$lab->sql($new, 'INSERT INTO kept VALUES (3)');
	$lab->sql($new, 'SELECT pingpong.repoint()');
	return;
}

sub is_replaced
{
	my ($old, $new, $how) = @_;
	$lab->wait_for($old, q{SELECT state = 'sealed' FROM pingpong.gate}, "$old to be sealed");
	is(guard($old), 'replaced', "$how: it knows that it was replaced");
	my (undef, $refusal) = $lab->try_sql($lab->env("DSN_$old") . ' replication=true', 'IDENTIFY_SYSTEM');
	like($refusal, qr/FATAL:  this server sends no WAL: another one has replaced it/,
		"$how: and no standby gets WAL from it");
	is(join(' ', $lab->primary), $new, "$how: there is one primary");
	my (undef, $err) = $lab->try_sql($old, '\set VERBOSITY verbose', 'INSERT INTO kept VALUES (4)');
	like($err, qr/57P01: terminating connection: another server has replaced this one as the primary/,
		"$how: a statement that would write ends its session");
	like($err, qr/the server of "$new" was the primary, on timeline \d+, and this one on timeline \d+/,
		"$how: and says by whom it was replaced");
	like($err, qr/HINT:  Reconnect .*pingpong\.rebuild\('$old'\)/, "$how: and what to do");
	is($lab->sql($old, 'SELECT count(*) FROM kept WHERE i = 4'), '0', "$how: reads go on");
	is($lab->sql($old, 'SHOW default_transaction_read_only'), 'on', "$how: libpq looks for another host");
	is($lab->sql($old, 'SELECT run, target FROM pingpong.gate'), "guard|$new", "$how: the gate shows it");
	(undef, $err) = $lab->try_sql($old, 'SELECT pingpong.resume()');
	like($err, qr/another one has replaced it.*rebuild\('$old'\).*risk => 'two primaries are possible'/s,
		"$how: an operator is told what it would take");
	$lab->stop_pg($old, 'INT');
	$lab->start_pg($old);
	is(gate($old), 'sealed', "$how: also after another restart");
	return;
}

replace_by_hand('chicago', 'dallas');
$lab->start_pg('chicago');
is_replaced('chicago', 'dallas', 'server first');
$lab->start_agent('chicago');
is($lab->sql('dallas', q{SELECT state FROM pingpong.rebuild('chicago')}), 'succeeded', 'server first: rebuilt');
streaming('dallas', 'chicago');
is($lab->sql('chicago', 'SELECT pg_is_in_recovery()'), 't', 'server first: it is a standby');
ok(!-e $lab->env('PGDATA_chicago') . '/pingpong.seal', 'server first: its seal is gone');

# ---- there and back by the extension, and the other way round ----

my $run = $lab->sql('dallas', q{SELECT run FROM pingpong.switchover('chicago')});
is(($lab->settle($run))[0], 'succeeded', 'a switchover');
wait_for_peers('chicago', $all);
streaming('chicago', 'dallas');
$lab->stop_pg('chicago', 'INT');
$lab->start_pg('chicago');
$lab->sql('chicago', 'INSERT INTO kept VALUES (5)');
is(guard('chicago'), 'proved', 'the new primary restarts');
streaming('chicago', 'dallas');
$run = $lab->sql('chicago', q{SELECT run FROM pingpong.switchover('dallas')});
is(($lab->settle($run))[0], 'succeeded', 'and back');

replace_by_hand('dallas', 'chicago');
$lab->start_agent('dallas');
$lab->until_true('the agent of dallas', sub { ($lab->agent('dallas', '/v1/state'))[0] == 200 });
$lab->start_pg('dallas');
is_replaced('dallas', 'chicago', 'agent first');
is($lab->sql('chicago', q{SELECT state FROM pingpong.rebuild('dallas')}), 'succeeded', 'agent first: rebuilt');
streaming('chicago', 'dallas');
is($lab->sql('dallas', 'SELECT count(*) FROM kept WHERE i = 4'), '0', 'no write came through');

# ---- a primary that has more than the new one: it is not thrown away without a word ----

$lab->wait_for('chicago', q{SELECT bool_or(state = 'streaming') FROM pingpong.standby}, 'dallas');
wait_for_peers('chicago', $all);
kill 'STOP', $lab->sql('dallas', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'});
$lab->sql('chicago', 'INSERT INTO kept VALUES (6)');
$lab->kill9('postgres', 'chicago');
kill 'CONT', $lab->sql('dallas', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'});
$lab->sql('dallas', 'SELECT pg_promote()');
$lab->start_pg('chicago');
$lab->wait_for('chicago', q{SELECT state = 'sealed' FROM pingpong.gate}, 'chicago to be sealed');
my $lost = $lab->sql('dallas', 'SELECT count(*) = 0 FROM kept WHERE i = 6') eq 't';
my (undef, $err) = $lab->try_sql('dallas', q{SELECT pingpong.rebuild('chicago')});
ok($lost ? $err =~ /has written WAL that the server which it should follow does not have/ : $err !~ /ERROR/,
	'what only the old primary has is not thrown away without a word') or diag $err;
if ($lost)
{
	$lab->sql('dallas', q{SELECT pingpong.rebuild('chicago', risk => 'its own writes are lost')});
}
streaming('dallas', 'chicago');
is(join(' ', $lab->primary), 'dallas', 'and with it, it is a standby');

# ---- a fence over an earlier seal, whose position it keeps ----

sub sends_wal
{
	my ($node) = @_;
	return $lab->sql_ok($lab->env("DSN_$node") . ' replication=true', 'IDENTIFY_SYSTEM');
}

$lab->sql('dallas', 'SELECT pingpong.quiesce()', 'SELECT pingpong.seal()');
ok(sends_wal('dallas'), 'sealed by hand: a standby gets the rest of the WAL');
$lab->stop_pg('dallas');
is($lab->act('dallas', 'fencer', 99, 'pg.fence', {target => 'chicago'})->{state}, 'succeeded', 'it is fenced');
$lab->start_pg('dallas');
isnt($lab->sql('dallas', 'SELECT seal_lsn FROM pingpong.gate'), 'FFFFFFFF/FFFFFFFF', 'what is proved is kept');
ok(!sends_wal('dallas'), 'but no standby gets WAL from it any more');
done_testing();
