# The commonest first mistakes get a sentence with the remedy, at once; and no call hangs: each ends by
# statement_timeout, by a cancel and by the end of its session, and leaves nothing behind that would
# disturb the next one.
use strict;
use warnings;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# What a call says, and how long it took.
sub call
{
	my ($node, $db, @statements) = @_;
	my $began = time;
	my ($rc, $out, $err) = $node->psql($db, join(";\n", @statements), extra_params => ['-v', 'VERBOSITY=verbose']);
	return ($err, time - $began, $out);
}

# ---- not preloaded ----

my $add_it = 'HINT:  Add "pg_pingpong" to the setting "shared_preload_libraries"';
my $bare = PostgreSQL::Test::Cluster->new('bare');
$bare->init;
$bare->append_conf('postgresql.conf', "autovacuum = off\n");
$bare->start;
my ($err) = call($bare, 'postgres', 'CREATE EXTENSION pg_pingpong');
like($err, qr/WARNING:  55000: pg_pingpong is not loaded by this server\n.*$add_it and restart/s,
	'not preloaded: CREATE EXTENSION warns');
unlike($err, qr/ERROR/, 'not preloaded: and works, so that a dump can be restored');
for my $function (q{pingpong.preflight('x')}, q{pingpong.switchover('x')}, 'pingpong.quiesce()',
	'pingpong_internal.gate_status()', 'pingpong.wait_lag_zero()', 'pingpong_internal.progress_rows()')
{
	($err) = call($bare, 'postgres', "SELECT * FROM $function");
	like($err, qr/ERROR:  55000: pg_pingpong must be loaded.*$add_it/s, "not preloaded: $function");
}
$bare->stop;

# ---- a primary whose agents accept connections and never answer ----

my $deaf = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 100) or die $!;
my $agent = 'http://127.0.0.1:' . $deaf->sockport;
my $p = PostgreSQL::Test::Cluster->new('chicago');
$p->init(allows_streaming => 1);
append_to_file($p->data_dir . '/token', "0123456789abcdef0123456789abcdef\n");
chmod 0600, $p->data_dir . '/token';
$p->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_pingpong'\nautovacuum = off\n"
	. "pingpong.node_name = 'chicago'\npingpong.agent_token_file = '" . $p->data_dir . "/token'\n");
$p->start;
$p->safe_psql('postgres', 'CREATE DATABASE app');
my $register = "SELECT pingpong.add_node('chicago', '127.0.0.1', 5432, '$agent');
	SELECT pingpong.add_node('dallas', '127.0.0.1', 5433, '$agent')";

# ---- the wrong database ----

my $not_there = '55000: the pg_pingpong worker does not work in database "app"';
my $names_another = 'The setting "pingpong.database" names database "postgres"\.';
($err) = call($p, 'app', 'CREATE EXTENSION pg_pingpong');
like($err, qr/WARNING:  $not_there\nDETAIL:  $names_another\nHINT:  .*pingpong.database = 'app'/,
	'wrong database: CREATE EXTENSION warns');
($err) = call($p, 'app', $register);
like($err, qr/WARNING:  $not_there/, 'wrong database: add_node() warns');
for my $function (q{pingpong.preflight('dallas')}, q{pingpong.switchover('dallas')}, q{pingpong.rebuild('dallas')},
	'pingpong.repoint()', q{pingpong.plan('dallas')})
{
	($err) = call($p, 'app', q{SET statement_timeout = '20s'}, "SELECT * FROM $function");
	like($err, qr/ERROR:  $not_there\nDETAIL:  .*"postgres".*\nHINT:  Connect to database "postgres", or set/,
		"wrong database: $function");
}
is($p->safe_psql('app', 'SELECT state FROM pingpong.gate'), 'open', 'wrong database: the gate can be looked at');

# A dump goes where the extension does not belong.
$p->safe_psql('postgres', 'CREATE DATABASE copy');
my ($dump) = run_command(['pg_dump', '-d', $p->connstr('app')]);
append_to_file($p->basedir . '/dump.sql', $dump);
is($p->psql('copy', undef, extra_params => ['-v', 'ON_ERROR_STOP=1', '-f', $p->basedir . '/dump.sql']), 0,
	'wrong database: a dump is restored without an error');

# ---- the right database, from the first moment ----

call($p, 'postgres', 'CREATE EXTENSION pg_pingpong', $register);
($err) = call($p, 'postgres', q{SET statement_timeout = '20s'}, q{SELECT * FROM pingpong.preflight('nowhere')});
like($err, qr/ERROR:  42704: node "nowhere" does not exist/, 'the right database');

# ---- every call ends ----

my $preflight = q{SELECT count(*) FROM pingpong.preflight('dallas')};
my $switchover = q{SELECT * FROM pingpong.switchover('dallas')};
my $took;

# In the background; gives its pid when it waits for the worker.
sub begin_call
{
	my ($statement) = @_;
	my $s = $p->background_psql('postgres', on_error_stop => 0);
	my $pid = $s->query('SELECT pg_backend_pid()');
	$s->query_until(qr/sent/, "\\echo sent\n$statement;\n\\echo over\n");
	$p->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity
		WHERE pid = $pid AND state = 'active' AND query ~ 'pingpong'") or die;
	return ($s, $pid);
}
sub ended { my ($s) = @_; my $began = time; $s->query_until(qr/over/, "\n"); return ($s->{stderr}, time - $began); }

# What lasts less than a call that is left alone did not wait for the agents.
(undef, my $full) = call($p, 'postgres', $preflight);
($err, $took) = call($p, 'postgres', q{SET statement_timeout = '300ms'}, $preflight);
like($err, qr/ERROR:  57014: canceling statement due to statement timeout/, 'preflight: statement_timeout');
cmp_ok($took, '<', $full, 'preflight: in time');
($err, $took) = call($p, 'postgres', q{SET statement_timeout = '300ms'}, $preflight);
unlike($err, qr/another request/, 'preflight: the next one is not told of the last');

my ($s, $pid) = begin_call($preflight);
$p->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
($err, $took) = ended($s);
like($err, qr/canceling statement due to user request/, 'preflight: cancelled');
cmp_ok($took, '<', $full, 'preflight: in time');
$s->quit;

($s, $pid) = begin_call($preflight);
$p->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)");
($err, $took) = call($p, 'postgres', q{SET statement_timeout = '300ms'}, $preflight);
like($err, qr/57014/, 'preflight: its session was ended, the next one is not told of it');
cmp_ok($took, '<', $full, 'preflight: in time');
eval { $s->quit };

($err, $took) = call($p, 'postgres', q{SET statement_timeout = '300ms'}, $switchover);
like($err, qr/ERROR:  57014: the run was cancelled before it began/,
	'switchover: statement_timeout before the run began');
cmp_ok($took, '<', $full, 'switchover: in time');
is($p->safe_psql('postgres', 'SELECT count(*) FROM pingpong.run'), '0', 'and there is no run');

# ---- a worker that does not answer ----

my $worker = $p->safe_psql('postgres', 'SELECT pingpong.worker_pid()');
kill 'STOP', $worker;
($err, $took) = call($p, 'postgres', q{SET statement_timeout = '300ms'}, $preflight);
like($err, qr/57014/, 'a stopped worker: preflight ends');
cmp_ok($took, '<', $full, 'a stopped worker: in time');
($s, $pid) = begin_call($switchover);
$p->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)");
eval { $s->quit };
($s, $pid) = begin_call($switchover);
$p->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$s->{run}->pump() until $s->{stderr} =~ /NOTICE:  the worker is asked to roll back/;
$p->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
($err, $took) = ended($s);
like($err, qr/ERROR:  the worker was asked to roll back, and has not answered yet/,
	'a stopped worker: the second Ctrl-C of a switchover leaves');
cmp_ok($took, '<', $full, 'a stopped worker: in time');
$s->quit;
($err, $took) = call($p, 'postgres', q{SET statement_timeout = '300ms'}, $switchover);
like($err, qr/57014: the worker was asked to roll back, and has not answered yet/,
	'a stopped worker: a switchover that is told once leaves, too');
my $prober = $p->background_psql('postgres', on_error_stop => 0);
$prober->query(q{SET statement_timeout = '300ms'; SELECT pingpong_internal.probe(NULL, NULL)});
kill 'CONT', $worker;
unlike($p->safe_psql('postgres', 'SELECT pingpong_internal.probe(NULL, NULL)'), qr/its worker does not answer/,
	'who asked it something and left in between does not stand in the way of others');
$prober->quit;
($err) = call($p, 'postgres', q{SET statement_timeout = '300ms'}, $preflight);
like($err, qr/57014: canceling/, 'a stopped worker goes on: nothing is left of all that');
is($p->safe_psql('postgres', 'SELECT count(*) FROM pingpong.run'), '0', 'and there is no run');

# ---- no worker ----

$p->append_conf('postgresql.conf', "pingpong.database = 'nosuch'\n");
$p->restart;
($err) = call($p, 'postgres', q{SET statement_timeout = '20s'}, $preflight);
my $no_such = 'database "nosuch" of the setting "pingpong.database" does not exist';
my $cannot_run = 'The pg_pingpong worker cannot run.*';
like($err, qr/ERROR:  55000: $no_such\nDETAIL:  $cannot_run\nHINT:  Set pingpong.database = 'postgres'/,
	'a database that does not exist');
$p->stop;
done_testing();
