# What the primary's worker keeps: coarse samples with a retention, and preflight of each standby, kept fresh; the
# state as text; the help; pghero's questions beside our views.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Session;
use Test::More;

my $lab = Lab->up(fast => 1, nodes => 2, poolers => 1, port => 23300,
	set => ['pingpong.agent_interval=200ms', 'pingpong.history_interval=200ms', 'pingpong.readiness_interval=1s',
		'pingpong.sample_interval=100ms']);
$lab->sql('chicago', 'CREATE ROLE mon LOGIN IN ROLE pg_monitor');
$lab->wait_for('dallas', q{SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mon')}, 'the role');

sub as { my ($role, $node) = @_; return $lab->env("DSN_$node") =~ s/user=\S+/user=$role/r; }

# ---- history ----

my $samples = q{FROM pingpong.history WHERE what = 'wal_bytes_per_s'};
$lab->wait_for('chicago', "SELECT count(value) > 2 $samples", 'samples');
$lab->sql('chicago', q{SELECT pg_logical_emit_message(false, 'test', repeat('x', 3000000))});
for my $node ($lab->nodes)
{
	ok($lab->wait_for(as('mon', $node), "SELECT max(value) > 100000 $samples", 'the WAL'), "$node: the rate of WAL");
	is($lab->sql(as('mon', $node), q{SELECT what, name, count(value) > 2 FROM pingpong.history GROUP BY 1, 2
		ORDER BY 1, 2}), "disk_free_bytes||t\nreplay_lag_bytes|dallas|t\nreplay_lag_ms|dallas|t\n"
		. "slot_retained_bytes|pingpong_dallas|t\nwal_bytes_per_s||t", "$node: what is kept");
}
$lab->set('chicago', 'pingpong.history_retention', '1s');
ok($lab->wait_for('chicago', q{SELECT max(at) - min(at) < interval '1 min' AND min(id) > 5
	FROM pingpong.history_sample}, 'old ones to go'), 'the retention');
my $hand = Session->open($lab, 'chicago');
$hand->ask(q{SELECT pingpong.quiesce()});
my $last = $lab->sql('chicago', 'SELECT max(id) FROM pingpong.history_sample');
my $held = $lab->sql('chicago', 'SELECT clock_timestamp()');
$lab->wait_for('chicago', qq{SELECT max(sampled_at) > '$held'::timestamptz + interval '1 s' FROM pingpong.slots},
	'the worker to go round');
is($lab->sql('chicago', 'SELECT max(id) FROM pingpong.history_sample'), $last, 'nothing is written at a closed gate');
$hand->ask(q{SELECT pingpong.resume()});
$hand->close;
ok($lab->wait_for('chicago', "SELECT max(id) > $last FROM pingpong.history_sample", 'the next one'),
	'and then again');
$lab->set('chicago', 'pingpong.history_interval', '0');

# ---- readiness ----

sub ready
{
	my ($at, $columns, $expected, $what) = @_;
	my $seen = '';
	eval { $lab->until_true($what, sub {
		$seen = $lab->sql(as('mon', $at), "SELECT $columns FROM pingpong.readiness");
		return $seen =~ $expected; }) };
	return like($seen, $expected, $what);
}
ready($_, q{node, ready, blocks, blackout_ms, estimated_from, age < '1 min', since <= checked_at},
	qr/^dallas\|t\|\|\|0\|t\|t$/, "$_: dallas is ready") for $lab->nodes;
ok($lab->sql('chicago', q{SELECT count(DISTINCT name) > 50 FROM pingpong.readiness_check}) eq 't', 'by all checks');
my $row = q{SELECT c.ctid, c.xmin FROM pingpong.readiness_check c WHERE name = 'roles' ORDER BY 1 LIMIT 1};
my $written = $lab->sql('chicago', $row);
my $checked = $lab->sql('chicago', 'SELECT checked_at FROM pingpong.readiness');
$lab->wait_for('chicago', "SELECT checked_at > '$checked' FROM pingpong.readiness", 'the next round');
is($lab->sql('chicago', $row), $written, 'what has not changed is not written');
$lab->sql('dallas', 'SELECT pg_wal_replay_pause()');
ready('chicago', 'ready, blocks', qr/^f\|.*replay_not_paused \(dallas\): /, 'replay is paused: that blocks it');
$lab->sql('dallas', 'SELECT pg_wal_replay_resume()');
ready('chicago', 'ready, blocks', qr/^t\|$/, 'it is ready again');
$lab->kill9('agent', 'dallas');
ready($_, 'ready, blocks', qr/^f\|agent silent/, "$_: without its agent it is not") for $lab->nodes;
$lab->start_agent('dallas');
ready('dallas', 'ready, blocks', qr/^t\|$/, 'with it, it is');
$lab->set('chicago', 'pingpong.readiness_interval', '0');
ready('chicago', 'ready, blocks', qr/^\|not checked for too long$/, 'switched off: not known');
$lab->set('chicago', 'pingpong.readiness_interval', undef);

# ---- text ----

for my $node ($lab->nodes)
{
	my $text = $lab->sql(as('mon', $node), 'SELECT pingpong.status_text()');
	like($text, qr/^as $node sees it.*\n\nchicago +primary, timeline 1.*\n \+- dallas +standby, streaming, .* behind/,
		"$node: the picture");
	like($text, qr/^pooler1 +router$/m, "$node: the router in it");
	like($text, qr/^copies    1 could take over/m, "$node: and the copies");
	like($text, qr/^routes    ro1 +ro -> .*\n          rw1 +rw -> /m, "$node: and the routes");
}
like($lab->sql(as('mon', 'dallas'), 'SELECT * FROM pingpong.help()'),
	qr/^pingpong\.switchover\(target\)\|move the primary to another node$/m, 'help');

# ---- pghero: lag, slots, replicas, connections, settings ----

for my $node ($lab->nodes)
{
	my $mon = as('mon', $node);
	my $primary = $node eq 'chicago';
	$lab->wait_for($mon, q{SELECT CASE WHEN NOT pg_is_in_recovery() OR pg_last_wal_receive_lsn()
		= pg_last_wal_replay_lsn() THEN 0 ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END < 60},
		'the lag');
	is($lab->sql($mon, q{SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'}),
		$lab->sql($mon, q{SELECT count(*) FROM pingpong.replication WHERE direction = 'sends'
			AND state = 'streaming'}), "$node: replicas, as pghero and as we count them");
	is($lab->sql($mon, 'SELECT slot_name, active FROM pg_replication_slots ORDER BY 1'),
		$lab->sql($mon, 'SELECT slot_name, active FROM pingpong.slots'), "$node: slots");
	is($lab->sql($mon, q{SELECT count(*) FILTER (WHERE application_name = 'pg_pingpong worker'),
		count(*) FILTER (WHERE state = 'idle in transaction') FROM pg_stat_activity}), '1|0',
		"$node: connections: the worker is one, and holds no transaction");
	is($lab->sql($mon, q{SELECT setting FROM pg_settings WHERE name = 'pingpong.node_name'
		UNION ALL SELECT setting FROM pg_settings WHERE name = 'max_connections'}),
		$lab->sql($node, q{SELECT current_setting('pingpong.node_name')
		UNION ALL SELECT current_setting('max_connections')}), "$node: settings");
}

# ---- after a move ----

$lab->sql('chicago', q{SELECT pingpong.switchover('dallas')});
is(join(' ', $lab->settle(1)), 'succeeded done dallas', 'moved');
ready($_, q{node, ready, blackout_ms > 0, takes_ms > blackout_ms, estimated_from}, qr/^chicago\|t\|t\|t\|1$/,
	"$_: the old primary is ready, and how long it would take") for 'dallas', 'chicago';
ok($lab->wait_for('dallas', q{SELECT max(at) > (SELECT max(ended_at) FROM pingpong.run) FROM pingpong.history},
	'a sample'), 'the new primary goes on with the history');
ok($lab->wait_for('dallas', q{SELECT bool_and(observed_node = node) FROM pingpong.routes WHERE kind = 'rw'},
	'the routes'), 'and looks where the routes point');
like($lab->sql('dallas', 'SELECT pingpong.status_text()'),
	qr/^run       1: switchover of dallas, succeeded .* ago, blackout \d+ ms$/m, 'the run in the picture');
done_testing();
