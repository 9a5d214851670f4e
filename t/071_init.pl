# pingpong-agent init: what it looks at, shows, makes, and leaves alone.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Ports;
use Test::More;
use Tools;

# Servers refuse to run as root, and root may read everything.
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
plan skip_all => 'no openssl' if system('openssl version >/dev/null 2>&1') != 0;

umask 022;
my $dir = tempdir('pingpong_init_XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $base = Ports::take($ENV{PINGPONG_TEST_PORT} // 20000);
my %port = (chicago => $base + 1, dallas => $base + 2, austin => $base + 3, bouncer => $base + 6);
my %agent_port = (chicago => $base + 11, dallas => $base + 12, pooler1 => $base + 13);
my @started;
my $bouncer_pid;

END
{
	my $status = $?;
	kill 'INT', $bouncer_pid if $bouncer_pid;
	system("$bin/pg_ctl -D '$_' -m immediate stop >/dev/null 2>&1") for @started;
	$? = $status;
}

sub server
{
	my ($name) = @_;
	must("$bin/initdb", '-D', "$dir/$name/data", '-U', 'postgres', '--auth-local=trust', '--auth-host=scram-sha-256',
		'--no-sync');
	write_file("$dir/$name/data/postgresql.conf", read_file("$dir/$name/data/postgresql.conf")
		. "port = $port{$name}\nunix_socket_directories = '$dir/run'\nfsync = off\n");
	push @started, "$dir/$name/data";
	return restart($name, 'start');
}

sub restart
{
	my ($name, $verb) = @_;
	must("$bin/pg_ctl", '-D', "$dir/$name/data", '-l', "$dir/$name/log", '-w', '-s', $verb // 'restart');
	return;
}

sub sql
{
	my ($name, $sql) = @_;
	return must("$bin/psql", '-XAtq', '-h', "$dir/run", '-p', $port{$name}, '-U', 'postgres', '-d', 'postgres', '-c',
		$sql);
}

my @secrets;
my $all_output = '';
sub init
{
	my ($name, @more) = @_;
	my ($rc, $out) = run($agent, 'init', '--dir', "$dir/$name/etc", '--state-dir', "$dir/$name/state", '--agent-port',
		$agent_port{$name}, @more);
	$all_output .= $out;
	return ($rc, $out);
}
my @chicago = ('--node', 'chicago', '--host', '127.0.0.1', '--data', "$dir/chicago/data", '--pgbouncer', 'none',
	'--peer', "dallas=127.0.0.1:$port{dallas}:$agent_port{dallas}",
	'--router', "pooler1=127.0.0.1:$agent_port{pooler1}",
	'--rw', 'app', '--ro', 'app_ro=app');

sub lines { my ($word, $out) = @_; return join "\n", grep { /^$word / } split /\n/, $out; }
sub mode { my ($path) = @_; return sprintf '%04o', (stat $path)[2] & 07777; }
sub tree { my ($path) = @_; return `find '$path' -printf '%p %m %s %T@\\n' | sort`; }

mkdir "$dir/$_" for qw(run chicago dallas austin pooler1 request);
server('chicago');
my %before = map { $_ => read_file("$dir/chicago/data/$_") } qw(pg_hba.conf postgresql.auto.conf);
my ($rc, $out);

# ---- nothing is changed ----

($rc, $out) = init('chicago', @chicago, '--make-ca', '--apply', '--start', '--dry-run');
is($rc, 0, 'dry run') or diag($out);
like($out, qr/^would ALTER SYSTEM SET shared_preload_libraries = pg_pingpong; and restart/m, 'it tells settings');
like($out, qr{^would \Q$dir/chicago/etc/agent.ini\E$}m, 'and files');
is(lines('made', $out), '', 'and makes nothing');
is(join(' ', glob "$dir/chicago/*"), "$dir/chicago/data $dir/chicago/log", 'no file of the agent is there');
is(read_file("$dir/chicago/data/$_"), $before{$_}, "$_ is as it was") for sort keys %before;

# ---- its own files ----

($rc, $out) = init('chicago', @chicago, '--make-ca');
is($rc, 0, 'without --apply') or diag($out);
is(mode("$dir/chicago/etc/$_"), '0600', "$_ is its owner's alone")
	for qw(token pgpass ca.key server.key join/dallas.json join/pooler1.json);
is(mode("$dir/chicago/state"), '0700', 'and its state folder');
like($out, qr/^todo  ALTER SYSTEM SET wal_log_hints = 'on'; and restart/m, 'it shows settings');
like($out, qr/^todo  CREATE ROLE pingpong_replicator LOGIN REPLICATION PASSWORD '\.\.\.'/m, 'roles');
like($out, qr{^ +host replication pingpong_replicator 127\.0\.0\.1/32 scram-sha-256$}m, 'and lines of pg_hba.conf');
is(read_file("$dir/chicago/data/$_"), $before{$_}, "$_ is as it was") for sort keys %before;
is(sql('chicago', q{SELECT count(*) FROM pg_roles WHERE rolname ~ '^pingpong'}), '0', 'no role was made');
must('openssl', 'verify', '-x509_strict', '-purpose', 'sslserver', '-verify_ip', '127.0.0.1', '-CAfile',
	"$dir/chicago/etc/ca.crt", "$dir/chicago/etc/server.crt");
pass('the certificate is one for its address');
chomp(my $token = read_file("$dir/chicago/etc/token"));
cmp_ok(length $token, '>=', 32, 'a long token');
push @secrets, $token, map { /:(\w+)$/ } split /\n/, read_file("$dir/chicago/etc/pgpass");
is(scalar @secrets, 3, 'two passwords');

# ---- what the server lacks ----

($rc, $out) = init('chicago', @chicago, '--make-ca', '--apply');
is($rc, 0, 'with --apply') or diag($out);
like($out, qr/^made  ALTER SYSTEM SET shared_preload_libraries = pg_pingpong$/m, 'settings are made');
like($out, qr/^made  role pingpong_rewinder$/m, 'roles, too');
is(read_file("$dir/chicago/data/pg_hba.conf.before-init"), $before{'pg_hba.conf'}, 'a copy of pg_hba.conf is kept');
like(read_file("$dir/chicago/data/pg_hba.conf"),
	qr/^\Q$before{'pg_hba.conf'}\E# pingpong-agent init: .*\n(host .*\n){2}$/, 'its lines are at the end');
like($out, qr/^todo  restart PostgreSQL for its settings: \Q$bin\E/m, 'a restart is left to a person');
restart('chicago');
is(sql('chicago', q{SELECT current_setting('shared_preload_libraries'), pingpong_version FROM
	current_setting('pingpong.version', true) AS pingpong_version}), 'pg_pingpong|1.0', 'the module is loaded');

# ---- again ----

my $tree = tree("$dir/chicago/etc") . tree("$dir/chicago/data/pg_hba.conf");
my $autoconf = read_file("$dir/chicago/data/postgresql.auto.conf");
($rc, $out) = init('chicago', @chicago, '--make-ca', '--apply');
is($rc, 0, 'again') or diag($out);
is(lines('made', $out), '', 'nothing is made');
is(lines('todo', $out), 'todo  start the agent: systemctl enable --now pingpong-agent', 'only the start is left');
is(tree("$dir/chicago/etc") . tree("$dir/chicago/data/pg_hba.conf"), $tree, 'no file was touched');
is(read_file("$dir/chicago/data/postgresql.auto.conf"), $autoconf, 'no setting either');
($rc, $out) = run($agent, '--check', '--config', "$dir/chicago/etc/agent.ini");
is($rc, 0, 'what it wrote passes --check') or diag($out);
is(lines('warn|FAIL', $out), '', 'without a word');

# ---- what exists is not overwritten ----

my $changed = read_file("$dir/chicago/etc/agent.ini") . "; mine\n";
write_file("$dir/chicago/etc/agent.ini", $changed, 0640);
($rc, $out) = init('chicago', @chicago);
like($out, qr{^todo  \S+/agent\.ini exists, and differs: it is left as it is}m, 'a changed agent.ini is told');
is(read_file("$dir/chicago/etc/agent.ini"), $changed, 'and left alone');
($rc, $out) = init('chicago', @chicago, '--force');
unlike(read_file("$dir/chicago/etc/agent.ini"), qr/mine/, '--force replaces it');
is(read_file("$dir/chicago/etc/agent.ini.before-init"), $changed, 'and keeps a copy');
chmod 0644, "$dir/chicago/etc/server.key" or die;
init('chicago', @chicago);
is(mode("$dir/chicago/etc/server.key"), '0600', 'a key that others could read is closed');

# ---- another host ----

my $join = "$dir/chicago/etc/join/dallas.json";
my @dallas = ('--join', $join, '--data', "$dir/dallas/data", '--bin', $bin, '--port', $port{dallas}, '--socket',
	"$dir/run", '--pgbouncer', 'none');
($rc, $out) = init('dallas', @dallas, '--apply');
is($rc, 0, 'a host without data joins') or diag($out);
like($out, qr/^ok    \S+ is empty: pingpong\.rebuild\('dallas'\) builds the standby$/m, 'and what comes next');
is(read_file("$dir/dallas/etc/$_"), read_file("$dir/chicago/etc/$_"), "the same $_") for qw(token ca.crt pgpass);
must('openssl', 'verify', '-CAfile', "$dir/dallas/etc/ca.crt", "$dir/dallas/etc/server.crt");
ok(!-e "$dir/dallas/etc/ca.key", 'the key of the authority stays where it was made');
write_file("$dir/dallas/etc/token", "a-token-of-another-site\n");
($rc, $out) = init('dallas', @dallas);
is($rc, 1, 'another token') or diag($out);
like($out, qr/^FAIL  the token of \S+ is not that of the host that made/m, 'is refused');
write_file("$dir/dallas/etc/token", "$token\n");

# ---- a cluster where a standby is to be ----

server('austin');
my @austin = ('--join', $join, '--node', 'austin', '--data', "$dir/austin/data", '--pgbouncer', 'none');
$agent_port{austin} = $base + 14;
sql('austin', 'CREATE TABLE used (i int)');
($rc, $out) = init('austin', @austin, '--apply', '--set-aside');
like($out, qr/^todo  the server in \S+ is a primary of its own, and has been used$/m,
	'one that was used is left alone');
is(sql('austin', 'SELECT count(*) FROM used'), '0', 'and runs');
sql('austin', 'DROP TABLE used');
($rc, $out) = init('austin', @austin, '--apply');
like($out, qr/^todo  move the unused cluster in \S+ away \(--set-aside does it\)$/m,
	'an unused one is not touched untold');
($rc, $out) = init('austin', @austin, '--apply', '--set-aside');
is($rc, 0, '--set-aside') or diag($out);
is(join(' ', glob "$dir/austin/data/*"), '', 'an empty folder');
is(read_file("$dir/austin/data.before-init/PG_VERSION"), read_file("$dir/chicago/data/PG_VERSION"),
	'its data is kept');

# ---- PgBouncer ----

SKIP:
{
	skip 'no pgbouncer', 9 unless -x '/usr/sbin/pgbouncer';
	my $ini = "$dir/pooler1/pgbouncer.ini";
	my $text = "[databases]\n; ours\nother = host=127.0.0.1 port=$port{chicago} dbname=postgres\n"
		. "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = $port{bouncer}\nunix_socket_dir = $dir/run\n"
		. "auth_type = any\nlogfile = $dir/pooler1/log\npidfile = $dir/pooler1/pid\nadmin_users = pgbouncer\n";
	write_file($ini, $text);
	system("/usr/sbin/pgbouncer -q -d $ini") == 0 or die 'pgbouncer does not start';
	wait_for('pgbouncer', sub { $bouncer_pid = 0 + (read_file("$dir/pooler1/pid") || 0) });
	my @pooler = ('--join', "$dir/chicago/etc/join/pooler1.json", '--no-postgres', '--pgbouncer', $ini);
	($rc, $out) = init('pooler1', @pooler);
	like($out, qr/^ +app = host=127\.0\.0\.1 port=$port{chicago}$/m, 'PgBouncer: the databases are shown');
	is(read_file($ini), $text, 'PgBouncer: and not made');
	($rc, $out) = init('pooler1', @pooler, '--apply');
	is($rc, 0, 'PgBouncer: --apply') or diag($out);
	is(read_file("$ini.before-init"), $text, 'PgBouncer: a copy is kept');
	like($out, qr/^made  PgBouncer has read its files again$/m, 'PgBouncer: it was told');
	my @shown = split /\n/, must("$bin/psql", '-XAtF ', '-h', "$dir/run", '-p', $port{bouncer}, '-U', 'pgbouncer',
		'pgbouncer', '-c', 'SHOW DATABASES');
	is(join(', ', sort map { join ' ', (split / /)[0, 2, 3] } grep { !/^pgbouncer/ } @shown),
		"app $port{chicago} app, app_ro $port{dallas} app, other $port{chicago} postgres", 'PgBouncer: it has them');
	($rc, $out) = init('pooler1', @pooler, '--apply');
	is(lines('made|FAIL', $out), '', 'PgBouncer: again') or diag($out);
	($rc, $out) = run($agent, '--check', '--config', "$dir/pooler1/etc/agent.ini");
	is($rc, 0, 'PgBouncer: --check') or diag($out);
	is(lines('warn|FAIL', $out), '', 'PgBouncer: without a word');
}

# ---- an authority of the site's own ----

my @site = ('--node', 'chicago', '--host', 'chicago.example.com', '--data', "$dir/chicago/data", '--pgbouncer',
	'none');
$agent_port{request} = $base + 15;
($rc, $out) = init('request', @site, '--request');
is($rc, 0, 'a certificate request') or diag($out);
like($out, qr{^todo  have \S+/server\.csr signed}m, 'what to do with it');
like(must('openssl', 'req', '-in', "$dir/request/etc/server.csr", '-noout', '-verify', '-text'),
	qr/DNS:chicago\.example\.com/, 'it has the name of the host');
must('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', 9,
	'-subj', '/CN=site', '-keyout', "$dir/site.key", '-out', "$dir/request/etc/ca.crt");
write_file("$dir/site.ext", "subjectAltName=DNS:chicago.example.com\nextendedKeyUsage=serverAuth\n");
must('openssl', 'x509', '-req', '-in', "$dir/request/etc/server.csr", '-CA', "$dir/request/etc/ca.crt", '-CAkey',
	"$dir/site.key", '-CAcreateserial', '-days', 400, '-extfile', "$dir/site.ext", '-out',
	"$dir/request/etc/server.crt");
($rc, $out) = init('request', @site, '--request', '--force');
($rc, $out) = run($agent, '--check', '--config', "$dir/request/etc/agent.ini");
like($out, qr/^ok   tls_key \S+ is the key of the certificate$/m, 'the certificate that was made for it is used');

# ---- what cannot be used; secrets ----

is((run($agent, 'init', '--node', 'Chicago'))[0], 2, 'a name that cannot be');
is((run($agent, 'init', '--join', "$dir/site.ext"))[0], 2, 'a file that was not made for it');
is((run($agent, 'init', 'chicago'))[0], 2, 'too many arguments');
is((run($agent, 'init', '--help'))[0], 0, 'help');
my $log = read_file("$dir/chicago/log");
is(scalar(grep { index($all_output . $log, $_) >= 0 } @secrets), 0, 'no secret was printed, or is in the log');

done_testing();
