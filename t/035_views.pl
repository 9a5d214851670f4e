# What an operator and a monitor are told: where the primary is, also by a sealed server and by standbys; how far the
# standbys are.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Session;
use Test::More;

my $lab = Lab->up(fast => 1, poolers => 1, nodes => 3, port => 21400, set => ['wal_retrieve_retry_interval=200ms']);
$lab->sql('chicago', 'CREATE ROLE ops LOGIN IN ROLE pingpong_operator', 'CREATE ROLE mon LOGIN IN ROLE pg_monitor');
$lab->wait_for($_, q{SELECT pingpong.worker_pid() IS NOT NULL
	AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'mon')}, 'the worker and the roles') for $lab->nodes;
my %dsn = map { my $n = $_; map { ("$_ $n" => $lab->env("DSN_$n") =~ s/user=\S+/user=$_/r) } 'ops', 'mon' }
	$lab->nodes;

# What a server says, to an operator and to a monitor alike.
sub primary_says
{
	my ($node) = @_;
	my @said = map { $lab->sql($_, q{SELECT coalesce(name || ' ' || port, 'nobody knows')
		FROM pingpong.where_is_primary()}) } $dsn{"ops $node"}, $dsn{"mon $node"};
	return $said[0] eq $said[1] ? $said[0] =~ s/ (\d+)$/$1 eq $lab->env("PORT_$`") ? '' : " at $1"/re : "@said";
}

sub streams
{
	my ($from, $who) = @_;
	return $lab->wait_for($from, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$who' AND state = 'streaming'", "$who to stream");
}

is(primary_says($_), 'chicago', "$_ knows the primary, without any run") for $lab->nodes;

# ---- how far the standbys are ----

for my $role ('ops', 'mon')
{
	is($lab->sql($dsn{"$role chicago"}, q{SELECT name, state, behind_bytes < 1e6, slot_name, slot_active,
		slot_retains_bytes < 1e8, application_name, away_since IS NULL
		FROM pingpong.standby ORDER BY name}),
		"austin|streaming|t|pingpong_austin|t|t|austin|t\ndallas|streaming|t|pingpong_dallas|t|t|dallas|t",
		"$role sees the standbys");
}
$lab->set('dallas', 'primary_conninfo',
	$lab->sql('dallas', 'SHOW primary_conninfo') =~ s/application_name=dallas/application_name=walreceiver/r);
streams('chicago', 'walreceiver');
is($lab->sql($dsn{'ops chicago'}, q{SELECT state, behind_bytes IS NOT NULL, slot_name, application_name
		FROM pingpong.standby WHERE name = 'dallas'}),
	'streaming|t|pingpong_dallas|walreceiver', 'a standby with another application_name is known by its slot');
$lab->kill9('agent', 'austin');
$lab->kill9('postgres', 'austin');
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pg_stat_replication}, 'austin to be gone');
$lab->sql('chicago', q{UPDATE pingpong.node SET away_since = now() WHERE name = 'austin'});
is($lab->sql($dsn{'ops chicago'}, q{SELECT state IS NULL, behind_bytes IS NULL, slot_name, slot_active,
		slot_retains_bytes >= 0, away_since IS NOT NULL FROM pingpong.standby WHERE name = 'austin'}),
	't|t|pingpong_austin|f|t|t', 'a node that is away: its slot, and what it keeps');
$lab->sql('chicago', q{UPDATE pingpong.node SET away_since = NULL});
$lab->start_pg('austin');
$lab->start_agent('austin');
$lab->set('dallas', 'primary_conninfo',
	$lab->sql('dallas', 'SHOW primary_conninfo') =~ s/application_name=walreceiver/application_name=dallas/r);
streams('chicago', $_) for qw(austin dallas);

# ---- a seal by hand ----

my $hand = Session->open($lab, 'chicago');
$hand->ask(q{SELECT pingpong.quiesce()});
is(primary_says('chicago'), 'chicago', 'held: it is still the primary');
$hand->ask(q{SELECT pingpong.seal()});
is(primary_says('chicago'), 'nobody knows', 'sealed by hand: it is not');
my (undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose', q{SELECT pingpong.switchover('dallas')});
like($err, qr/^ERROR:  55000: this server is sealed.*HINT:  See pingpong\.gate/ms,
	'sealed by hand: nothing is begun there');
$hand->ask(q{SELECT pingpong.resume()});
$hand->close;
is(primary_says('chicago'), 'chicago', 'open again');

# ---- sealed by a run: before and after the promotion is confirmed ----

$lab->set('dallas', 'pingpong.debug_pause_after', 'repoint');
$lab->set('chicago', 'pingpong.debug_pause_after', 'seal');
my $job = $lab->begin_sql('chicago',
	q{SELECT run, state, new_primary FROM pingpong.switchover('dallas', max_blackout => '25 s')});
$lab->wait_for('chicago', q{SELECT state = 'sealed' FROM pingpong.gate}, 'the seal');
is(primary_says('chicago'), 'nobody knows', 'sealed by a run: nobody knows yet');
$lab->set('chicago', 'pingpong.debug_pause_after', 'promote');
$lab->wait_for('chicago', q{SELECT bool_or(state = 'succeeded') FROM pingpong.progress WHERE action = 'promote'},
	'the promotion');
is(primary_says('chicago'), 'dallas', 'sealed by a run: the promotion is confirmed');
is(primary_says('dallas'), 'dallas', 'the new primary knows itself');
(undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose', q{SELECT pingpong.rebuild('austin')});
my $there = 'The primary is "dallas": host 127\.0\.0\.1, port ' . $lab->env('PORT_dallas');
like($err, qr/^ERROR:  55000: this server is sealed.*HINT:  $there\./ms, 'and sends there who asks for a run');
$lab->set($_, 'pingpong.debug_pause_after', undef) for qw(chicago dallas);
my ($out) = $lab->finish($job);
is($out, '1|switched|dallas', 'the run went on');
is(join(' ', $lab->settle(1)), 'succeeded done dallas', 'and succeeded');
streams('dallas', $_) for qw(chicago austin);
is(primary_says($_), 'dallas', "$_ knows the primary after the run") for $lab->nodes;
is($lab->sql('chicago', 'SELECT since = (SELECT switched_at FROM pingpong.run WHERE id = 1)
	FROM pingpong.where_is_primary()'), 't', 'and since when');

# ---- a runbook of the site ----

$lab->sql('dallas', q{SELECT pingpong.copy_runbook('switchover', 'site')});
($out, $err) = $lab->try_sql('dallas',
	q{SELECT run, state, new_primary FROM pingpong.switchover('austin', options => '{"runbook": "site"}')});
is($out, '2|switched|austin', 'a runbook of the site') or diag($err);
is(join(' ', $lab->settle(2)), 'succeeded done austin', 'the run succeeded');
streams('austin', $_) for qw(chicago dallas);
is(primary_says($_), 'austin', "$_ knows the primary after it") for $lab->nodes;

# ---- a standby that is cut off goes by what it has ----

$lab->set('chicago', 'primary_conninfo', $lab->sql('chicago', 'SHOW primary_conninfo') =~ s/port=\d+/port=9/r);
$lab->wait_for('chicago', 'SELECT count(*) = 0 FROM pg_stat_wal_receiver', 'the stream to end');
is(primary_says('chicago'), 'austin', 'a standby that streams from nobody has the journal');

done_testing();
