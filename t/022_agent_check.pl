# --check proves what it says: one thing broken at a time, and the line that tells it.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX ();
use Ports;
use Test::More;
use Tools;
use Time::HiRes qw(sleep time);

# Servers refuse to run as root, and root may read everything.
if ($> == 0)
{
	my $user = $ENV{PINGPONG_TEST_USER} // 'postgres';
	exec 'setpriv', "--reuid=$user", "--regid=$user", '--init-groups', $^X, abs_path($0) or die "setpriv: $!";
}

my $top = dirname(dirname(abs_path($0)));
my $agent_binary = $ENV{PINGPONG_AGENT} // "$top/pingpong-agent";
my $bin = $ENV{PGBIN} // '';
chomp($bin = `\${PG_CONFIG:-pg_config} --bindir`) unless $bin;
plan skip_all => "no agent in $agent_binary" unless -x $agent_binary;
plan skip_all => 'no openssl' if system('openssl version >/dev/null 2>&1') != 0;

umask 077;
my $dir = tempdir('pingpong_check_XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $port_base = Ports::take($ENV{PINGPONG_TEST_PORT} // 20000) + 1;
my ($port, $agent_port) = ($port_base, $port_base + 1);
my $systemd = -e '/run/systemd/system';
my $agent;

sub shell { my ($command) = @_; my $out = `$command 2>&1`; die "$command: $out" if $?; return $out; }

sub certificate
{
	my ($name, $days, @ext) = @_;
	shell("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$name "
		. "-keyout $dir/$name.key -out $dir/$name.csr");
	write_file("$dir/$name.ext", join "\n", 'subjectAltName=DNS:localhost', @ext, '');
	shell("openssl x509 -req -in $dir/$name.csr -CA $dir/ca.crt -CAkey $dir/ca.key -CAcreateserial -days $days "
		. "-extfile $dir/$name.ext -out $dir/$name.crt");
}

my %good;
my $hooks = '';

# The configuration with some options changed; undef leaves one out.
sub config
{
	my (%change) = @_;
	my %option = (%good, %change);
	my $text = '';
	for my $section (qw(agent postgresql))
	{
		$text .= "[$section]\n";
		for my $name (sort grep { /^$section\./ } keys %option)
		{
			$text .= ($name =~ s/^\w+\.//r) . " = $option{$name}\n" if defined $option{$name};
		}
	}
	return $text . "[hooks]\n" . ($change{hooks} // $hooks);
}

sub check
{
	my (%change) = @_;
	write_file("$dir/agent.ini", config(%change));
	my $out = `$agent_binary --check --config $dir/agent.ini 2>&1`;
	return ($? >> 8, $out);
}

# It says this, and nothing else is wrong.
sub says
{
	my ($word, $pattern, $what, %change) = @_;
	my ($rc, $out) = check(%change);
	my @failed = grep { /^FAIL/ } split /\n/, $out;
	like($out, qr/^$word *.*$pattern/m, "$word: $what") or diag($out);
	is($rc, $word eq 'FAIL' ? 1 : 0, "$what: exit status") or diag($out);
	is(scalar @failed, $word eq 'FAIL' ? 1 : 0, "$what: nothing else fails") or diag($out);
	unlike($out, qr/secret/, "$what: no secret is shown");
}

sub with_mode
{
	my ($mode, $path, $code) = @_;
	my $before = (stat $path)[2] & 07777;
	chmod $mode, $path or die "$path: $!";
	$code->();
	chmod $before, $path;
}

END
{
	my $status = $?;
	kill 'KILL', $agent if $agent;
	system("$bin/pg_ctl -D '$dir/data' -m immediate stop >/dev/null 2>&1")
		if defined $dir && -f "$dir/data/postmaster.pid";
	$? = $status;
}

sub set_up
{
	mkdir "$dir/$_" for qw(run state logs hooks);
	write_file("$dir/token", "secret-token-of-this-test\n");
	write_file("$dir/pass", "# comment\n*:*:*:other:secret\nlocal\\:host:*:replication:replicator:secret\n");
	write_file("$dir/hooks/hook", "#!/bin/sh\n", 0700);
	shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 400 -subj /CN=ca "
		. "-keyout $dir/ca.key -out $dir/ca.crt");
	certificate('server', 400, 'extendedKeyUsage=serverAuth');
	certificate('client', 400, 'extendedKeyUsage=clientAuth');
	certificate('plain', 400);
	certificate('soon', 5, 'extendedKeyUsage=serverAuth');
	certificate('late', 0, 'extendedKeyUsage=serverAuth');
	shell("$bin/initdb -D $dir/data -A trust -U postgres --no-sync");
	write_file("$dir/data/postgresql.conf", read_file("$dir/data/postgresql.conf")
		. "port = $port\nlisten_addresses = ''\nunix_socket_directories = '$dir/run'\nfsync = off\n");
	shell("$bin/pg_ctl -D $dir/data -l $dir/logs/pg -w start >/dev/null");
	%good = (
		'agent.node' => 'dallas', 'agent.listen' => "127.0.0.1:$agent_port", 'agent.state_dir' => "$dir/state",
		'agent.token_file' => "$dir/token", 'agent.tls_cert' => "$dir/server.crt",
		'agent.tls_key' => "$dir/server.key",
		'agent.tls_client_ca' => "$dir/ca.crt", 'agent.tls_client_names' => 'client',
		'postgresql.data' => "$dir/data", 'postgresql.bin' => $bin, 'postgresql.socket' => "$dir/run",
		'postgresql.port' => $port,
		'postgresql.log' => "$dir/logs/pg", 'postgresql.replication' => "user=replicator passfile=$dir/pass",
		'postgresql.rewind' => "user=other passfile=$dir/pass sslrootcert=$dir/ca.crt dbname=postgres");
	$hooks = "greet = $dir/hooks/hook hello\n";
}

sub test_good
{
	my ($rc, $out) = check();
	is($rc, 0, 'a good configuration') or diag($out);
	unlike($out, qr/^(?!ok |warn )/m, 'each line says what it is');
	my @warned = grep { /^warn/ } split /\n/, $out;
	is(scalar @warned, 1, 'one warning') or diag($out);
	like($warned[0], qr/shared_preload_libraries: no seal holds/, 'that nothing is preloaded');
	unlike($out, qr/secret/, 'no secret is shown');
	is(join(' ', glob "$dir/state/*"), '', 'nothing is left in state_dir');
	like($out, qr/^ok   control = pg_ctl: this user may signal the server/m, 'the right to stop was looked at');
}

sub test_files
{
	with_mode(0000, "$dir/server.key",
		sub { says('FAIL', 'tls_key .*Permission denied', 'a key that cannot be read') });
	with_mode(0644, "$dir/server.key",
		sub { says('FAIL', 'tls_key .*readable by others', 'a key that others read') });
	says('FAIL', 'tls_key .*not the key of the certificate', 'the key of another certificate',
		'agent.tls_key' => "$dir/client.key");
	with_mode(0000, "$dir/server.crt", sub {
		my ($rc, $out) = check();
		like($out, qr/^FAIL tls_cert .*Permission denied/m, 'a certificate that cannot be read');
		is($rc, 1, 'and it fails');
	});
	says('FAIL', 'tls_cert .*has expired', 'an expired certificate',
		map { ("agent.tls_$_->[0]" => "$dir/late.$_->[1]") } ['cert', 'crt'], ['key', 'key']);
	says('warn', 'tls_cert .*expires in [45] days', 'a certificate that expires soon',
		map { ("agent.tls_$_->[0]" => "$dir/soon.$_->[1]") } ['cert', 'crt'], ['key', 'key']);
	says('FAIL', 'tls_cert .*not for a server', "a client's certificate",
		map { ("agent.tls_$_->[0]" => "$dir/client.$_->[1]") } ['cert', 'crt'], ['key', 'key']);
	says('warn', 'tls_client_names is not set', 'no names', 'agent.tls_client_names' => undef);
	says('warn', 'does not say that it is for a server', 'a certificate without a usage',
		'agent.tls_client_names' => undef, map { ("agent.tls_$_->[0]" => "$dir/plain.$_->[1]") } ['cert', 'crt'],
		['key', 'key']);
	says('FAIL', 'tls_client_ca .*No such file', 'no CA', 'agent.tls_client_ca' => "$dir/none");
	says('FAIL', 'tls_client_ca .*holds no certificate', 'a CA file without one',
		'agent.tls_client_ca' => "$dir/ca.key");
	with_mode(0000, "$dir/ca.crt", sub { says('FAIL', 'tls_client_ca .*Permission denied', 'a CA that cannot be read',
		'postgresql.rewind' => 'user=other dbname=postgres') });
	with_mode(0000, "$dir/token",
		sub { says('FAIL', 'configuration .*token file .*Permission denied', 'a token that cannot be read') });
	with_mode(0640, "$dir/token",
		sub { says('FAIL', 'configuration .*token file .*0600', 'a token that others read') });
}

sub test_connection_strings
{
	says('FAIL', 'passfile .*No such file', 'no password file',
		'postgresql.replication' => "user=replicator passfile=$dir/none");
	with_mode(0644, "$dir/pass", sub { says('FAIL', 'passfile .*0600', 'a password file that libpq ignores',
		'postgresql.rewind' => 'dbname=postgres') });
	with_mode(0000, "$dir/pass",
		sub { says('FAIL', 'passfile .*Permission denied', 'a password file that cannot be read',
		'postgresql.rewind' => 'dbname=postgres') });
	says('FAIL', 'passfile .*entry for user nobody', 'a password file without an entry',
		'postgresql.replication' => "user=nobody passfile=$dir/pass");
	says('FAIL', 'sslrootcert .*No such file', 'no certificate of a CA',
		'postgresql.rewind' => "user=other sslrootcert=$dir/none dbname=postgres");
}

sub test_state
{
	with_mode(0500, "$dir/state",
		sub { says('FAIL', 'state_dir .*can be written: Permission denied', 'a state_dir that cannot be written') });
	with_mode(0777, "$dir/state", sub { says('FAIL', 'state_dir .*owner alone', 'a state_dir that others write') });
	says('FAIL', 'state_dir .*is a folder', 'a state_dir that is a file', 'agent.state_dir' => "$dir/token");
	says('ok', 'state_dir .*can be made', 'a state_dir that will be made', 'agent.state_dir' => "$dir/new");
	ok(!-e "$dir/new", 'and was not made by looking');
	says('FAIL', 'state_dir .*can be made', 'a state_dir that cannot be made', 'agent.state_dir' => '/proc/new');
}

sub test_hooks
{
	my $hook = "$dir/hooks/hook";
	with_mode(0600, $hook, sub { says('FAIL', 'hook greet: .*executed', 'a hook that cannot be run') });
	with_mode(0720, $hook, sub { says('FAIL', 'hook greet: .*changed', 'a hook that others write') });
	with_mode(0777, "$dir/hooks", sub { says('FAIL', 'hook greet: .*changed', 'a hook that others replace') });
	says('FAIL', 'hook x: .*executed', 'no hook', hooks => "x = $dir/none\n");
}

sub test_server
{
	says('FAIL', 'connection to PostgreSQL, port 1:', 'a wrong port', 'postgresql.port' => 1);
	my ($rc, $out) = check('postgresql.bin' => $dir);
	is($rc, 1, 'a wrong bin');
	like($out, qr/^FAIL program $dir\/$_: /m, "names $_") for qw(pg_ctl pg_rewind postgres);
	says('FAIL', 'log .*can be written', 'a log that cannot be written', 'postgresql.log' => '/proc/log');
	says('FAIL', 'user nobody is a superuser|connection to PostgreSQL', 'a user that does not exist',
		'postgresql.superuser' => 'nobody');
	says('FAIL', 'control = pg_ctlcluster: there is no cluster 15/none', 'no cluster',
			'postgresql.control' => 'pg_ctlcluster', 'postgresql.cluster' => '15/none')
		if -x '/usr/bin/pg_ctlcluster';
	says('warn', 'control = command: not proved', 'commands', 'postgresql.control' => 'command',
		'postgresql.start_command' => '/bin/true', 'postgresql.stop_command' => '/bin/true');
	says('FAIL', 'program /none: ', 'a command that is not there', 'postgresql.control' => 'command',
		'postgresql.start_command' => '/none', 'postgresql.stop_command' => '/bin/true');
	SKIP:
	{
		skip 'systemd runs here, or is not installed', 1 if $systemd || !-x '/usr/bin/systemctl';
		says('FAIL', 'control = systemctl: systemd does not run here', 'systemctl without systemd',
			'postgresql.control' => 'systemctl', 'postgresql.unit' => 'x');
	}
}

sub test_listen
{
	my $other = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $agent_port, Listen => 1, ReuseAddr => 1)
		or die "listen: $!";
	says('FAIL', 'listen 127.0.0.1:\d+: Address already in use', 'an address that another program has');
	close $other;
	write_file("$dir/agent.ini", config());
	$agent = fork // die "fork: $!";
	if ($agent == 0)
	{
		open STDERR, '>', "$dir/agent.log";
		exec $agent_binary, '--config', "$dir/agent.ini" or POSIX::_exit(127);
	}
	my $limit = time + 60;
	sleep 0.02 until read_file("$dir/agent.log") =~ /listens on/ || time > $limit;
	says('ok', 'listen .*by the agent that runs', 'the agent has it');
	kill 'TERM', $agent;
	waitpid $agent, 0;
	undef $agent;
	says('FAIL', 'listen 192.0.2.1:\d+: Cannot assign', 'an address of another host',
		'agent.listen' => "192.0.2.1:$agent_port");
}

sub test_stopped
{
	shell("$bin/pg_ctl -D $dir/data -m immediate stop");
	my ($rc, $out) = check();
	like($out, qr/^warn control = pg_ctl: not proved .*does not run/m,
		'a server that is down: its control is not proved');
	like($out, qr/^FAIL connection/m, 'and it does not answer');
	is($rc, 1, 'which is a failure');
}

set_up();
test_good();
test_files();
test_connection_strings();
test_state();
test_hooks();
test_server();
test_listen();
test_stopped();
done_testing();
