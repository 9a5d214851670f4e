# The route driver "haproxy", with a real one: there and back under load through backends of both kinds (a server line
# for each node, and one whose address is set), sessions that are ended and drained, an HAProxy that is restarted and
# forgets, orders that it cannot carry out.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use HAProxy;
use Lab;
use Session;
use Test::More;
use Tools;

plan skip_all => HAProxy::missing() if HAProxy::missing();

my $lab = Lab->up(fast => 1);
my ($from, $to) = qw(chicago dallas);
my $agent = 'pooler1';
my %port = map { $_ => 0 + $lab->env("PORT_$_") } $lab->nodes;
my %listen = (pg_rw => $lab->base + 51, pg_one => $lab->base + 52, pg_ro => $lab->base + 53);
my $login = "host=127.0.0.1 dbname=app user=app passfile=@{[ $lab->dir ]}/passfile";
my %dsn = map { $_ => "$login port=$listen{$_}" } keys %listen;

my $haproxy = HAProxy->start($lab, <<"CFG");
listen pg_rw
    bind 127.0.0.1:$listen{pg_rw}
    server chicago 127.0.0.1:$port{chicago}
    server dallas 127.0.0.1:$port{dallas} disabled
listen pg_one
    bind 127.0.0.1:$listen{pg_one}
    server primary 127.0.0.1:$port{chicago}
listen pg_ro
    bind 127.0.0.1:$listen{pg_ro}
    server chicago 127.0.0.1:$port{chicago} disabled
    server dallas 127.0.0.1:$port{dallas}
CFG
my $ini = $lab->agent_dir($agent) . '/agent.ini';
write_file($ini, read_file($ini) . "\n[haproxy.main]\nsocket = unix:@{[ $haproxy->socket ]}\n");
$lab->kill9('agent', $agent);
$lab->start_agent($agent);

# The servers of a backend that get new sessions: neither in maintenance nor drained.
sub ready
{
	my ($backend) = @_;
	my $all = $haproxy->servers;

	return join ' ', map { s{.*/}{}r }
		grep { m{^\Q$backend\E/} && !($all->{$_}{srv_admin_state} & 0x3b) } sort keys %$all;
}

# One order to the agent: "ok", or its error.
my $orders = 0;
sub order
{
	my ($order, %params) = @_;
	my $job = $lab->act($agent, 'orders', $lab->sql($from, 'SELECT epoch FROM pingpong.cluster'), "route.$order",
		{ driver => 'haproxy', endpoint => 'main', databases => { pg_rw => '' }, host => '127.0.0.1',
			port => 0 + $port{chicago}, %params, $params{port} ? (port => 0 + $params{port}) : () });

	return ('ok', $job->{results}[0]) if $job->{state} eq 'succeeded';
	return ("$job->{error}{code} $job->{error}{message}", $job->{error});
}

sub observed
{
	my (undef, $result) = order('observe');
	return { map { $_->{name} => join ' ', map { "$_->{host}:$_->{port}" } @{ $_->{places} } }
		@{ $result->{databases} } };
}

# ---- what it is told ----

my $add = q{SELECT pingpong.add_route('%s', '%s', 'haproxy', 'pooler1', 'main', '%s')};
$lab->sql($from, sprintf $add, 'hrw', 'rw', '{"pg_rw": "", "pg_one": ""}');
$lab->sql($from, sprintf $add, 'hro', 'ro', '{"pg_ro": ""}');
is($lab->sql($from, "SELECT string_agg(detail, ' ') FROM pingpong.preflight('$to') WHERE status = 'fail'"), '',
	'preflight: nothing against it');
is($lab->sql($from, q{SELECT string_agg(key || ' ' || (value #>> '{}'), ', ' ORDER BY key)
	FROM pingpong.route_endpoint, jsonb_each(observed) WHERE route IN ('hrw', 'hro')}),
	"pg_one 127.0.0.1:$port{chicago}, pg_ro 127.0.0.1:$port{dallas}, pg_rw 127.0.0.1:$port{chicago}",
	'preflight: HAProxy tells where its backends lead');

# ---- there and back, twice; beside PgBouncer, in the same runs ----

my %load = (pg_rw => $lab->writers(dsn => $dsn{pg_rw}, rate => 60, writers => 3),
	pg_one => $lab->writers(dsn => $dsn{pg_one}, rate => 60, writers => 3),
	pgbouncer => $lab->writers(rate => 60, writers => 3));
my @names = sort keys %load;

for my $move (1 .. 4)
{
	my $idle = Session->open($lab, $dsn{pg_rw});
	my $reader = Session->open($lab, $dsn{pg_ro});

	$load{$_}->mark("move $move") for @names;
	my ($out, $err) = $lab->try_sql($from, "SELECT run, state, blackout_ms FROM pingpong.switchover('$to')");
	like($out, qr{^\d+\|switched\|}, "move $move: switched") or BAIL_OUT($err =~ tr{\n}{|}r);
	my ($run, undef, $blackout) = split /\|/, $out;
	is(ready('pg_rw'), $to, "move $move: pg_rw leads to the new primary, and nowhere else");
	is($haproxy->servers->{'pg_one/primary'}{srv_port}, $port{$to}, "move $move: pg_one, too, by its address");
	like($idle->ask('SELECT 1'), qr/57P01|server closed|terminating/,
		"move $move: an idle session of the old place is ended");
	is($reader->ask('SELECT 1'), '1', "move $move: a reader's is not");
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "move $move: done");
	is(ready('pg_ro'), $from, "move $move: pg_ro leads to the standby that has come");
	is($lab->sql($dsn{pg_ro}, 'SELECT pg_is_in_recovery()'), 't', "move $move: new readers read there");
	is($reader->ask('SELECT 1'), '1', "move $move: the reader of before was drained, not shut out");
	is($lab->sql($to, q{SELECT string_agg(node, ' ' ORDER BY name) FROM pingpong.route WHERE name IN ('hrw', 'hro')}),
		"$from $to", "move $move: the table says so");
	my %seen = map { $_ => $load{$_}->end } @names;
	note(sprintf 'move %d: blackout %.0f ms; longest time between two commits, by client: %s', $move, $blackout,
		join ', ', map { sprintf '%s %.0f ms (%d cut off)', $_, $seen{$_}{gap_ms}, $seen{$_}{ambiguous} } @names);
	is($seen{pg_rw}{ambiguous} + $seen{pg_one}{ambiguous}, 0,
		"move $move: each client was told why its session ends");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'", 'the standby', 60);
	($from, $to) = ($to, $from);
}
for my $name (@names)
{
	is($load{$name}->verify($from)->{lost}, 0, "$name: nothing acknowledged is lost");
	cmp_ok($load{$name}->stop->{acked}, '>', 0, "$name: and something was acknowledged");
}

# ---- it is restarted, and has forgotten ----

my ($run) = $lab->sql($from, "SELECT run FROM pingpong.switchover('$to')") =~ /^(\d+)/;
is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', 'one more move');
($from, $to) = ($to, $from);
is(observed()->{pg_rw}, "127.0.0.1:$port{$from}", 'observe: it leads to the primary');
$haproxy->restart;
is(observed()->{pg_rw}, "127.0.0.1:$port{$to}", 'restarted: observe tells what it does now, not what it was told');
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded', 'restarted: repoint() tells it again');
is(ready('pg_rw') . ' ' . $haproxy->servers->{'pg_one/primary'}{srv_port}, "$from $port{$from}",
	'restarted: it obeys');

# ---- it is away ----

$haproxy->stop;
my ($out, $err) = $lab->try_sql($from, 'SELECT state FROM pingpong.repoint()');
like($err, qr/HAProxy does not answer at unix:/, 'away: repoint() says so');
$haproxy->restart;
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded', 'back: repoint() succeeds');
is(ready('pg_rw'), $from, 'back: it leads to the primary');

# ---- several places, and orders that it cannot carry out ----

my @both = map { { host => '127.0.0.1', port => $port{$_} } } qw(chicago dallas);
is((order('commit', databases => { pg_ro => '' }, kind => 'ro', places => \@both))[0], 'ok', 'two places');
is(ready('pg_ro'), 'chicago dallas', 'two places: both get sessions');
is(observed()->{pg_ro}, "127.0.0.1:$port{chicago} 127.0.0.1:$port{dallas}", 'two places: observe tells both');
is((order('commit', databases => { pg_ro => '' }, kind => 'ro', port => $port{$to}))[0], 'ok', 'one place');
is(ready('pg_ro'), $to, 'one place: the other is drained');
is((order('prepare', databases => { pg_nowhere => '' }))[0],
	'3D000 endpoint "haproxy.main" has no backend "pg_nowhere" with a server', 'a backend that there is not');
is((order('prepare', databases => { 'pg_rw/x;show env' => '' }))[0],
	'22023 "pg_rw/x;show env" is no name of a backend', 'a name that would be a command');
is((order('prepare', port => 1))[0], '42704 backend "pg_rw" of endpoint "haproxy.main" has no server for 127.0.0.1:1',
	'a place that no line leads to');
like((order('prepare', host => 'nowhere.invalid'))[0], qr/^22023 the host "nowhere\.invalid" has no address here/,
	'a host without an address');
like((order('prepare', host => 'localhost'))[0], qr/^22023 "hosts" of \[haproxy\.main\] does not name "localhost"/,
	'a node that is registered by a name which HAProxy cannot tell');
is((order('commit', databases => { pg_one => '', pg_rw => '' }, port => 1))[0],
	'42704 backend "pg_rw" of endpoint "haproxy.main" has no server for 127.0.0.1:1', 'a commit to such a place');
is(ready('pg_rw') . ' ' . $haproxy->servers->{'pg_one/primary'}{srv_port}, "$from $port{$from}",
	'and nothing was touched');
is((order('commit', host => '127.0.0.1', port => $port{$from}))[0], 'ok', 'a commit to where it leads');
is((order('commit', port => 0))[0], '22023 "host" and "port" must name the new place', 'a commit without a place');

write_file($ini, read_file($ini) =~ s/^(socket = .*)/$1\nhosts = localhost/mr);
kill 'HUP', $lab->pid('agent', $agent);
ok($lab->until_true('the reload', sub { (order('prepare', host => 'localhost'))[0] eq 'ok' }), '"hosts" names it');
is(observed()->{pg_rw}, "localhost:$port{$from}", '"hosts": observe tells the name');

my $cfg = $lab->dir . '/haproxy/haproxy.cfg';
write_file($cfg, read_file($cfg) =~ s/level admin/level operator/r, 0644);
$haproxy->restart;
is((order('prepare'))[0], '28000 the socket of endpoint "haproxy.main" is not of level admin',
	'a socket without rights');
my $bin = $lab->env('PGBIN');
like(`$bin/pingpong-agent --check --config $ini`, qr/FAIL +route endpoint haproxy\.main: unix:\S+ is of level admin/,
	'--check: the same');
for my $bad (
	[ "socket = here\n", 'needs ADDRESS:PORT or unix:/PATH as "socket"' ],
	[ "hosts = x\n", 'needs the option "socket"' ],
	[ "socket = unix:/x\nlevel = admin\n", 'unknown option "level"' ],
	[ "socket = unix:/x\ntimeout_ms = 0\n", 'a number from 1 to' ])
{
	my ($lines, $sentence) = @$bad;

	write_file($lab->dir . '/bad.ini', read_file($ini) =~ s/\[haproxy\.main\].*/[haproxy.main]\n$lines/sr);
	like(`$bin/pingpong-agent --check --config @{[ $lab->dir ]}/bad.ini`, qr/FAIL.*\[haproxy\.main\].*\Q$sentence\E/,
		"configuration: $sentence");
}
done_testing();
