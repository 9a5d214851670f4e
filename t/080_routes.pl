# The table of routes is the truth: whatever is changed at the routers by hand, or was missed by them, is pointed
# back, or only reported where the route says so. set_route() changes all endpoints of a route, or none.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;
use Tools qw(read_file write_file);

my $lab = Lab->up(fast => 1, nodes => 3, poolers => 2, set => ['pingpong.route_interval = 500ms']);
my $p = 'chicago';
my %address = map { $_ => '127.0.0.1:' . $lab->env("PORT_$_") } $lab->nodes;

sub sql { return $lab->sql($p, @_); }

# What SHOW DATABASES says; '' while the pooler does not.
sub points_to
{
	my ($k, $database) = @_;
	my ($out) = $lab->try_sql($lab->env("ADMIN_DSN_$k"), 'SHOW DATABASES');
	my ($row) = grep { /^\Q$database\E\|/ } split /\n/, $out // '';
	return $row ? join ':', (split /\|/, $row)[1, 2] : '';
}

sub comes_to
{
	my ($k, $database, $node, $what) = @_;
	my $came = eval { $lab->until_true($what, sub { points_to($k, $database) eq $address{$node} }, 30) };
	return ok($came, "$what: it points to $node") || diag(points_to($k, $database));
}

# A person edits the pooler's file.
sub edit
{
	my ($k, $database, $node) = @_;
	my $file = $lab->env("BACKENDS_$k");
	my ($host, $port) = split /:/, $address{$node};
	my $text = read_file($file) =~ s/^(\Q$database\E = host=)\S+ port=\d+/$1$host port=$port/mr;
	open my $out, '>', $file or die "$file: $!";
	print $out $text;
	close $out or die;
	return;
}

sub reload { my ($k) = @_; return $lab->sql($lab->env("ADMIN_DSN_$k"), 'RELOAD'); }

sub health
{
	my ($endpoint) = @_;
	return sql("SELECT health FROM pingpong.routes r WHERE (r.name, r.router) = (SELECT route, router
		FROM pingpong.route_endpoint WHERE name = '$endpoint')");
}

sub healthy
{
	my ($what) = @_;
	return $lab->wait_for($p, q{SELECT bool_and(health = 'ok') FROM pingpong.routes}, "$what: all to be healthy", 30);
}

sub events
{
	my ($kind, $place) = @_;
	return sql("SELECT count(*) FROM pingpong.events WHERE kind = '$kind' AND node = '$place'");
}

sub table
{
	my ($route) = @_;
	return sql("SELECT node FROM pingpong.route WHERE name = '$route'");
}

sql(q{SELECT pingpong.drop_route('rw2')}, q{SELECT pingpong.drop_route('ro2')},
	q{SELECT pingpong.add_endpoint('rw1', 'pooler2', 'main')},
	q{SELECT pingpong.add_endpoint('ro1', 'pooler2', 'main')});
healthy('a new lab');
is(table('rw1') . ' ' . table('ro1'), 'chicago dallas', 'routes that no run has set belong where their routers say');

# ---- changed by hand ----

edit(1, 'app', 'dallas');
reload(1);
comes_to(1, 'app', 'chicago', 'edited by hand');
healthy('edited by hand');
is(events('route drifted', 'rw1'), '1', 'edited by hand: an event tells it');
is(events('endpoint right again', 'rw1'), '1', 'edited by hand: and that it is right again');
like(read_file($lab->env('BACKENDS_1')), qr/^app = host=127\.0\.0\.1 port=@{[ $lab->env('PORT_chicago') ]}\b/m,
	'edited by hand: the file, too');
is(sql(q{SELECT count(*) FROM pingpong.run WHERE runbook = 'realign' AND state = 'succeeded'}), '1',
	'edited by hand: it was a run');
is(points_to(2, 'app'), $address{chicago}, 'edited by hand: the other endpoint is where it was');

# ---- a pooler comes back with an old file ----

$lab->kill9('pgbouncer', 2);
edit(2, 'app', 'dallas');
$lab->wait_for($p, q{SELECT health = 'unreachable' FROM pingpong.routes WHERE name = 'rw1' AND router = 'pooler2'},
	'the pooler to be missed');
ok($lab->sql_ok($p, 'SELECT pingpong.check_setup()'), 'a request is taken meanwhile');
$lab->start_pgbouncer(2);
comes_to(2, 'app', 'chicago', 'an old file');
healthy('an old file');

# ---- the agent was away ----

$lab->kill9('agent', 'pooler2');
edit(2, 'app_ro', 'austin');
reload(2);
$lab->wait_for($p, q{SELECT health = 'unreachable' FROM pingpong.routes WHERE name = 'ro1' AND router = 'pooler2'},
	'the agent to be missed');
is(points_to(2, 'app_ro'), $address{austin}, 'an agent that is away: nobody repairs it');
$lab->start_agent('pooler2');
comes_to(2, 'app_ro', 'dallas', 'an agent that is back');
healthy('an agent that is back');

# ---- only reported ----

sql(q{SELECT pingpong.alter_route('rw1', drift => 'report')});
edit(1, 'app', 'austin');
reload(1);
$lab->wait_for($p, q{SELECT health = 'elsewhere' FROM pingpong.routes WHERE name = 'rw1' AND router = 'pooler1'},
	'the report');
my $runs = sql('SELECT count(*) FROM pingpong.run');
sql('UPDATE pingpong.route_endpoint SET observed_at = NULL');
$lab->wait_for($p, q{SELECT bool_and(observed_at IS NOT NULL) FROM pingpong.route_endpoint}, 'another look');
is(points_to(1, 'app'), $address{austin}, 'drift "report": it stays');
is(sql('SELECT count(*) FROM pingpong.run'), $runs, 'drift "report": no run');
is(events('route drifted', 'rw1'), '2', 'drift "report": an event, once');

# ---- a run points back what is due, and nothing else ----

edit(2, 'app', 'austin');
reload(2);
$lab->wait_for($p, q{SELECT health = 'elsewhere' FROM pingpong.routes WHERE name = 'rw1' AND router = 'pooler2'},
	'the other report');
sql(q{UPDATE pingpong.route_endpoint SET repair_at = clock_timestamp() + interval '1 h' WHERE name = 'rw1'});
sql(q{SELECT pingpong.alter_route('rw1', drift => 'repair')});
comes_to(2, 'app', 'chicago', 'drift "repair" again');
is(points_to(1, 'app'), $address{austin}, 'an endpoint that is not due: it is left out');
is(sql(q{SELECT string_agg(node, ' ') FROM pingpong.step WHERE run = (SELECT max(id) FROM pingpong.run
	WHERE runbook = 'realign')}), 'rw1#2', 'an endpoint that is not due: it has no step');
sql(q{UPDATE pingpong.route_endpoint SET repair_at = NULL WHERE name = 'rw1'});
comes_to(1, 'app', 'chicago', 'when it is due');
healthy('drift "repair" again');

# ---- an edit that somebody has begun is not loaded by a repair of another line ----

edit(1, 'app', 'dallas');
sql(q{UPDATE pingpong.route SET node = 'austin', home = 'austin' WHERE name = 'ro1'});
$lab->wait_for($p, q{SELECT EXISTS (SELECT FROM pingpong.steps WHERE node = 'ro1' AND state = 'failed'
	AND message ~ 'has an edit of database "app" that PgBouncer "main" has not loaded')},
	'the repair to be refused', 30);
comes_to(2, 'app_ro', 'austin', 'a table that was changed');
is(points_to(1, 'app'), $address{chicago}, 'an edit that is not loaded: nobody loads it');
edit(1, 'app', 'chicago');
comes_to(1, 'app_ro', 'austin', 'an edit that was taken back');
sql(q{UPDATE pingpong.route SET node = 'dallas', home = 'dallas' WHERE name = 'ro1'});
comes_to($_, 'app_ro', 'dallas', 'and back') for 1, 2;
healthy('and back');

# ---- set_route: what it refuses, before anything is touched ----

$runs = sql('SELECT count(*) FROM pingpong.run');
for my $refused (
	[ q{'rw1', 'dallas'}, qr/^ERROR: +55000: rw route "rw1" cannot point to "dallas"/ ],
	[ q{'rw9', 'dallas'}, qr/^ERROR: +42704: route "rw9" does not exist/ ],
	[ q{'ro1', 'boston'}, qr/^ERROR: +42704: node "boston" does not exist/ ],
	[ q{'ro1', 'pooler1'}, qr/^ERROR: +42704: node "pooler1" does not exist/ ],
	[ q{NULL, NULL}, qr/^ERROR: +42704: route "" does not exist/ ])
{
	my ($arguments, $words) = @$refused;
	my (undef, $err) = $lab->try_sql($p, q{\set VERBOSITY verbose}, "SELECT pingpong.set_route($arguments)");
	like($err, $words, "set_route($arguments) is refused");
}
sql(q{SELECT pingpong.alter_route('ro1', fallback => false)});
my (undef, $err) = $lab->try_sql($p, q{SELECT pingpong.set_route('ro1', 'chicago')});
like($err, qr/ro route "ro1" may not point to the primary/, 'set_route to the primary is refused without fallback');
sql(q{SELECT pingpong.alter_route('ro1', fallback => true)});
(undef, $err) = $lab->try_sql($p, q{SELECT pingpong.alter_route('ro1', spread => true)});
like($err, qr/leads to one server at a time/, 'a route of PgBouncer cannot be spread');
(undef, $err) = $lab->try_sql($p, q{SELECT pingpong.alter_route('rw1', max_lag => '1 s')});
like($err, qr/route "rw1" is "rw"/, 'an rw route has no max_lag');
is(sql('SELECT count(*) FROM pingpong.run'), $runs, 'nothing was begun');

# ---- set_route: all endpoints, or none ----

my $generation = sql(q{SELECT generation FROM pingpong.route WHERE name = 'ro1'});
is(sql(q{SELECT state FROM pingpong.set_route('ro1', 'austin')}), 'succeeded', 'set_route');
is(points_to($_, 'app_ro'), $address{austin}, "set_route: endpoint $_") for 1, 2;
is(sql(q{SELECT node || ' ' || home || ' ' || generation FROM pingpong.route WHERE name = 'ro1'}),
	'austin austin ' . ($generation + 1), 'set_route: the table says so, and the generation has grown');
healthy('set_route');

$lab->kill9('agent', 'pooler2');
(undef, $err) = $lab->try_sql($p, q{SELECT pingpong.set_route('ro1', 'dallas')});
like($err, qr/no answer from the agent/, 'one agent away: set_route says so');
is(points_to($_, 'app_ro'), $address{austin}, "one agent away: endpoint $_ stays") for 1, 2;
is(table('ro1'), 'austin', 'one agent away: the table stays');
$lab->start_agent('pooler2');
healthy('one agent away');

# one that dies between prepare and commit
$lab->set($p, 'pingpong.debug_pause_after', 'prepare_route');
my $job = $lab->begin_sql($p, q{SELECT pingpong.set_route('ro1', 'dallas')});
my $key = $lab->until_true('the run', sub { $lab->sql($p, "SELECT key FROM pingpong.run WHERE state = 'running'") });
$lab->until_true('the second endpoint to be prepared', sub {
	my ($status, $answer) = $lab->agent('pooler2', "/v1/jobs/$key/10.prepare_route.ro1%232");
	return $status == 200 && $answer->{state} eq 'succeeded';
});
$lab->kill9('pgbouncer', 2);
$lab->set($p, 'pingpong.debug_pause_after', undef);
(undef, $err) = $lab->finish($job, 90);
like($err, qr/PgBouncer "main" does not point to/, 'a pooler dies in the middle: set_route says so');
is(points_to(1, 'app_ro'), $address{austin}, 'a pooler dies in the middle: the other one is pointed back');
is(table('ro1'), 'austin', 'a pooler dies in the middle: the table stays');
is(sql(q{SELECT state FROM pingpong.run WHERE runbook = 'set_route' ORDER BY id DESC LIMIT 1}), 'rolled_back',
	'a pooler dies in the middle: rolled back');
$lab->start_pgbouncer(2);
comes_to(2, 'app_ro', 'austin', 'a pooler that is back');
healthy('a pooler that is back');

# ---- set_route looks through the route ----

$lab->set_agent('pooler1', smoke => $lab->env('RW_DSN_1'));
$lab->set_agent('pooler2', smoke => $lab->env('RW_DSN_2'));
for my $k (1, 2)
{
	$lab->kill9('agent', "pooler$k");
	$lab->start_agent("pooler$k");
}
healthy('agents that can log in');
is(sql(q{SELECT state FROM pingpong.set_route('ro1', 'dallas')}), 'succeeded', 'probed: an ro route');
is(sql(q{SELECT state FROM pingpong.set_route('rw1', 'chicago')}), 'succeeded', 'probed: an rw route');
is(sql(q{SELECT count(*) FROM pingpong.step WHERE action = 'probe' AND state = 'succeeded' AND message IS NULL
	AND run IN (SELECT id FROM pingpong.run ORDER BY id DESC LIMIT 2)}), '4', 'probed: for real');

# its server is no standby: the address in the table is wrong
sql("UPDATE pingpong.node SET port = " . $lab->env('PORT_chicago') . " WHERE name = 'austin'");
(undef, $err) = $lab->try_sql($p, q{SELECT pingpong.set_route('ro1', 'austin')});
like($err, qr/did not give true/, 'probed: another server than the one that is meant');
is(points_to($_, 'app_ro'), $address{dallas}, "probed: endpoint $_ is pointed back") for 1, 2;
is(table('ro1'), 'dallas', 'probed: the table stays');
sql("UPDATE pingpong.node SET port = " . $lab->env('PORT_austin') . " WHERE name = 'austin'");
healthy('the address is right again');

# ---- a server that was frozen does not fetch its old clients back ----

my $postmaster = $lab->pid('postgres', 'chicago');
chomp(my @children = `pgrep -P $postmaster`);
my @events = (events('repair withheld', 'rw1'), events('repair withheld', 'rw1#2'));
my $tries = q{SELECT count(*) FROM pingpong.step s JOIN pingpong.run r ON r.id = s.run
	WHERE r.runbook = 'realign' AND s.node LIKE 'rw1%'};
$runs = sql($tries);
kill STOP => $postmaster, @children;
$lab->sql('dallas', 'SELECT pg_promote()');
$lab->wait_for('dallas', 'SELECT pingpong.worker_pid() IS NOT NULL AND NOT pg_is_in_recovery()', 'dallas');
$lab->until_true('dallas to take the route',
	sub { $lab->sql_ok('dallas', 'SELECT pingpong.repoint()') && points_to(1, 'app') eq $address{dallas} }, 60);
$lab->kill9('agent', 'dallas');
kill CONT => $postmaster, @children;
my $withheld = eval { $lab->wait_for('chicago', q{SELECT count(*) = 2 FROM pingpong.route_endpoint
	WHERE route = 'rw1' AND repair_at = 'infinity'}, 'chicago to see where its clients are', 60) };
ok($withheld, 'back too late: it judges that it must not fetch its clients back');
is(events('repair withheld', 'rw1') . events('repair withheld', 'rw1#2'), join('', map { $_ + 1 } @events),
	'back too late: an event of each endpoint tells it');
is(points_to($_, 'app'), $address{dallas}, "back too late: endpoint $_ stays where it is") for 1, 2;
is(sql($tries), $runs, 'back too late: nothing was begun');

done_testing();
