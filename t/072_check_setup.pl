# An installation from a bare primary, made by init; what check_setup() says at each stage; to a switchover and back.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use POSIX ();
use Ports;
use Test::More;
use Tools;

# Servers refuse to run as root.
if ($> == 0)
{
	my $user = $ENV{PINGPONG_TEST_USER} // 'postgres';
	exec 'setpriv', "--reuid=$user", "--regid=$user", '--init-groups', $^X, abs_path($0) or die "setpriv: $!";
}

my $top = dirname(dirname(abs_path($0)));
my $agent = $ENV{PINGPONG_AGENT} // "$top/pingpong-agent";
my $bin = $ENV{PGBIN} // '';
chomp($bin = `\${PG_CONFIG:-pg_config} --bindir`) unless $bin;
plan skip_all => "no agent in $agent" unless -x $agent;
plan skip_all => 'no pgbouncer' unless -x '/usr/sbin/pgbouncer';

my $dir = tempdir('pingpong_setup_XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $base = Ports::take($ENV{PINGPONG_TEST_PORT} // 20000);
my %port = (chicago => $base + 1, dallas => $base + 2, bouncer => $base + 6);
my %agent_port = (chicago => $base + 11, dallas => $base + 12, pooler1 => $base + 13);
my %agents;
my $bouncer_pid;

END
{
	my $status = $?;
	for my $pid (values %agents)
	{
		kill 'KILL', $pid;
		waitpid $pid, 0;
	}
	kill 'INT', $bouncer_pid if $bouncer_pid;
	system("$bin/pg_ctl -D '$dir/$_/data' -m immediate stop >/dev/null 2>&1") for qw(chicago dallas);
	$? = $status;
}

sub init
{
	my ($name, @more) = @_;
	my ($rc, $out) = run($agent, 'init', '--dir', "$dir/$name/etc", '--state-dir', "$dir/$name/state", '--agent-port',
		$agent_port{$name}, @more);
	is($rc, 0, "init on $name") or diag($out);
	return $out;
}

sub start_agent
{
	my ($name) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$dir/$name/agent.log";
		open STDERR, '>&', \*STDOUT;
		exec $agent, '--config', "$dir/$name/etc/agent.ini" or POSIX::_exit(127);
	}
	$agents{$name} = $pid;
	wait_for("the agent of $name", sub { read_file("$dir/$name/agent.log") =~ /listens on/ }) or die;
	return;
}

sub stop_agent
{
	my ($name) = @_;
	kill 'TERM', $agents{$name};
	waitpid delete $agents{$name}, 0;
	unlink "$dir/$name/agent.log";
	return;
}

sub psql
{
	my ($node, $database, @more) = @_;
	return run("$bin/psql", '-XAtqF', '|', '-v', 'ON_ERROR_STOP=1', '-h', "$dir/run", '-p', $port{$node}, '-U',
		'postgres', '-d', $database, @more);
}

sub sql
{
	my ($node, $sql) = @_;
	my ($rc, $out) = psql($node, 'postgres', '-c', $sql);
	die "$node: $sql: $out" if $rc;
	return $out;
}

# What it finds but for what is fine: "what|status", each on a line.
sub found
{
	my ($node, $database) = @_;
	my ($rc, $out) = psql($node, $database // 'postgres', '-c',
		q{SELECT what, status FROM pingpong.check_setup() WHERE status <> 'ok' ORDER BY number});
	is($rc, 0, 'check_setup() raises nothing') or diag($out);
	return $out;
}

sub fix
{
	my ($what) = @_;
	return sql('chicago', "SELECT fix FROM pingpong.check_setup() WHERE what = '$what'");
}

# What it says of the agent of dallas.
sub of_dallas
{
	return sql('chicago', q{SELECT status || ': ' || fix FROM pingpong.check_setup()
		WHERE what = 'agent reachable dallas'});
}

sub pg_ctl
{
	my ($name, $verb) = @_;
	must("$bin/pg_ctl", '-D', "$dir/$name/data", '-l', "$dir/$name/log", '-w', '-s', $verb);
	return;
}

# ---- a bare primary, and a pooler ----

mkdir "$dir/$_" for qw(run chicago dallas pooler1);
must("$bin/initdb", '-D', "$dir/chicago/data", '-U', 'postgres', '--auth-local=trust', '--auth-host=scram-sha-256',
	'--no-sync');
write_file("$dir/chicago/data/postgresql.conf", read_file("$dir/chicago/data/postgresql.conf")
	. "port = $port{chicago}\nunix_socket_directories = '$dir/run'\nfsync = off\n");
# the site's own clients
write_file("$dir/chicago/data/pg_hba.conf", "host postgres postgres 127.0.0.1/32 trust\n"
	. read_file("$dir/chicago/data/pg_hba.conf"));
pg_ctl('chicago', 'start');
sql('chicago', 'CREATE TABLE kept (i int)');
my $ini = "$dir/pooler1/pgbouncer.ini";
write_file($ini, "[databases]\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = $port{bouncer}\n"
	. "unix_socket_dir = $dir/run\nauth_type = trust\nauth_file = $dir/pooler1/users\n"
	. "logfile = $dir/pooler1/log\npidfile = $dir/pooler1/pid\n"
	. "pool_mode = transaction\nadmin_users = pgbouncer\n");
write_file("$dir/pooler1/users", qq{"postgres" ""\n"pgbouncer" ""\n});
system("/usr/sbin/pgbouncer -q -d $ini") == 0 or die 'pgbouncer does not start';
wait_for('pgbouncer', sub { $bouncer_pid = 0 + (read_file("$dir/pooler1/pid") || 0) });

# ---- an empty installation ----

sql('chicago', 'CREATE EXTENSION pg_pingpong');
is(found('chicago'), 'library|missing', 'the module is not loaded: nothing else can be told');
like(fix('library'), qr/^ALTER SYSTEM SET shared_preload_libraries = pg_pingpong; then restart/, 'with its remedy');

init('chicago', '--node', 'chicago', '--host', '127.0.0.1', '--data', "$dir/chicago/data", '--pgbouncer', 'none',
	'--peer', "dallas=127.0.0.1:$port{dallas}:$agent_port{dallas}",
	'--router', "pooler1=127.0.0.1:$agent_port{pooler1}", '--rw', 'app=postgres', '--ro', 'app_ro=postgres',
	'--make-ca', '--apply');
is(fix('library'), 'Restart the server.', 'set, and not restarted');
pg_ctl('chicago', 'restart');
wait_for('the worker', sub { sql('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL') eq 't' });
is(found('chicago'), "this node|missing\nother nodes|missing\nroutes|warn", 'nothing is registered');
like(fix('this node'), qr/^SELECT pingpong\.add_node\('chicago', 'HOST', $port{chicago}, /, 'with the statement');
sql('chicago', 'CREATE DATABASE other');
(undef, my $out) = psql('chicago', 'other', '-c', 'CREATE EXTENSION pg_pingpong');
like(found('chicago', 'other'), qr/^database\|missing$/m, 'in a database that is not the worker\'s');
sql('chicago', 'DROP DATABASE other');

# ---- half made ----

my ($rc, $said) = psql('chicago', 'postgres', '-f', "$dir/chicago/etc/register.sql");
is($rc, 0, 'what init wrote registers all') or diag($said);
($rc, $said) = psql('chicago', 'postgres', '-f', "$dir/chicago/etc/register.sql");
is($rc, 0, 'and can be run again') or diag($said);
is(sql('chicago', q{SELECT string_agg(name, ' ' ORDER BY name) FROM pingpong.node}), 'chicago dallas pooler1',
	'three nodes');
is(sql('chicago', q{SELECT string_agg(name || ' ' || databases::text, ', ' ORDER BY name) FROM pingpong.route}),
	'ro1 {"app_ro": "dbname=postgres"}, rw1 {"app": "dbname=postgres"}', 'two routes');
$out = found('chicago');
like($out, qr/^agent reachable $_\|missing$/m, "no agent of $_") for qw(chicago dallas pooler1);
like($out, qr/^standby dallas\|missing$/m, 'no standby');

start_agent('chicago');
init('dallas', '--join', "$dir/chicago/etc/join/dallas.json", '--data', "$dir/dallas/data", '--bin', $bin, '--port',
	$port{dallas}, '--socket', "$dir/run", '--pgbouncer', 'none', '--apply');
init('pooler1', '--join', "$dir/chicago/etc/join/pooler1.json", '--no-postgres', '--pgbouncer', $ini, '--apply');
start_agent('pooler1');

# an agent with another token, and one with another certificate
my $token = read_file("$dir/dallas/etc/token");
write_file("$dir/dallas/etc/token", "another-token-of-another-site\n");
start_agent('dallas');
like(of_dallas(), qr/^missing: The token must be the same on all hosts/, 'a wrong token');
stop_agent('dallas');
write_file("$dir/dallas/etc/token", $token);
my $ca = read_file("$dir/chicago/etc/ca.crt");
write_file("$dir/chicago/etc/ca.crt", read_file("$dir/chicago/etc/server.crt"));
start_agent('dallas');
like(of_dallas(), qr/^missing: .*certificate/, 'a certificate of another authority');
write_file("$dir/chicago/etc/ca.crt", $ca, 0644);

is(found('chicago'), 'standby dallas|missing', 'only the standby is missing');
is(fix('standby dallas'), q{SELECT * FROM pingpong.rebuild('dallas');}, 'and how it is made');

# ---- finished ----

like(sql('chicago', q{SELECT state FROM pingpong.rebuild('dallas')}), qr/^succeeded$/m, 'that makes it');
wait_for('dallas to stream', sub { sql('chicago', q{SELECT count(*) FROM pg_stat_replication WHERE
	application_name = 'dallas' AND state = 'streaming'}) eq '1' });
is(found('chicago'), '', 'nothing is missing');
is(sql('chicago', 'SELECT count(*) = count(DISTINCT number) AND count(*) > 20 FROM pingpong.check_setup()'), 't',
	'and much was looked at');
is(found('dallas'), 'agents|unknown', 'on the standby: agents are asked by the primary');
($rc, $out) = psql('chicago', 'postgres', '-c',
	q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT what, status FROM pingpong.check_setup() WHERE status <> 'ok'});
is($out, 'agents|unknown', 'in a transaction that could not see the answers') or diag($out);
sql('chicago', 'CREATE ROLE ops LOGIN; GRANT pingpong_operator TO ops');
($rc, $out) = psql('chicago', 'postgres', '-c', 'SET SESSION AUTHORIZATION ops', '-c',
	q{SELECT count(*) FROM pingpong.check_setup() WHERE status <> 'ok'});
is($out, '0', 'an operator may ask');

for my $step (['chicago', 'dallas'], ['dallas', 'chicago'])
{
	my ($from, $to) = @$step;
	my ($code, $answer) = psql($from, 'postgres', '-c', "SELECT state FROM pingpong.switchover('$to')");
	is($code, 0, "from $from to $to") or diag($answer);
	wait_for("the end of it", sub {
		sql($to, q{SELECT state FROM pingpong.run ORDER BY id DESC LIMIT 1}) eq 'succeeded' });
	($code, $answer) = psql('bouncer', 'app', '-c', 'INSERT INTO kept VALUES (1)', '-c', 'SHOW port');
	is($answer, $port{$to}, "writers are on $to");
	is(found($to), '', "nothing is missing on $to");
}

done_testing();
