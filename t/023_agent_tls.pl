# Whose certificate may control an agent, and what a worker says of an agent that it cannot talk to.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use FindBin;
use lib $FindBin::Bin;
use Lab;
use POSIX ();
use Test::More;
use Tools;
use Time::HiRes qw(sleep time);

plan skip_all => 'no curl or openssl'
	if system('curl --version >/dev/null 2>&1 && openssl version >/dev/null 2>&1') != 0;

my $lab = Lab->up(fast => 1, poolers => 0);
my $dir = $lab->dir . '/tls';
my $folder = $lab->dir . '/dallas';
my ($port) = $lab->env('AGENT_dallas') =~ /:(\d+)$/;
my $agent = $lab->env('PGBIN') . '/pingpong-agent';
my $ini;
my $pid;

sub shell { my ($command) = @_; my $out = `$command 2>&1`; die "$command: $out" if $?; return $out; }

# A certificate of a CA, "self" for none; what openssl takes as extensions.
sub certificate
{
	my ($name, %option) = @_;
	my $ca = $option{ca} // 'ca';
	my $key = $option{key} // $name;
	shell("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out $dir/$key.key")
		unless -e "$dir/$key.key";
	shell("openssl req -new -key $dir/$key.key -subj '/CN=" . ($option{cn} // $name) . "' -out $dir/$name.csr");
	write_file("$dir/$name.ext", join "\n", @{ $option{ext} // [] }, '');
	my $days = $option{days} // 2;
	shell($ca eq 'self' ? "openssl x509 -req -in $dir/$name.csr -signkey $dir/$key.key -days $days "
			. "-extfile $dir/$name.ext -out $dir/$name.crt"
		: "openssl x509 -req -in $dir/$name.csr -CA $dir/$ca.crt -CAkey $dir/$ca.key -CAcreateserial -days $days "
			. "-extfile $dir/$name.ext -out $dir/$name.crt");
	return;
}

sub start
{
	my (@lines) = @_;
	stop() if $pid;
	write_file("$folder/tls.ini", $ini =~ s/^token_file = .*\n/join '', map { "$_\n" } @lines/mer);
	my $log = -s "$folder/tls.log" // 0;
	$pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDERR, '>>', "$folder/tls.log";
		exec +($> == 0 ? qw(setpriv --reuid postgres --regid postgres --init-groups) : ()), $agent, '--config',
			"$folder/tls.ini" or POSIX::_exit(127);
	}
	$lab->until_true('the agent to listen',
		sub { substr(read_file("$folder/tls.log"), $log // 0) =~ /listens on/ }, 60);
	return substr read_file("$folder/tls.log"), $log // 0;
}

sub stop
{
	kill 'TERM', $pid;
	waitpid $pid, 0;
	undef $pid;
	return;
}

END
{
	my $status = $?;
	stop() if $pid;
	$? = $status;
}

# The status, and the message of the error.
sub ask
{
	my (@options) = @_;
	my $out = `curl -s -m 20 -w '\n%{http_code}' --cacert $dir/ca.crt @options https://localhost:$port/v1/ping`;
	my ($body, $status) = $out =~ /\A(.*)\n(\d+)\z/s;
	my ($message) = ($body // '') =~ /"message":"([^"]*)"/;
	return ($status, $message // '');
}

sub client { my ($name, @more) = @_; return ask("--cert $dir/$name.crt --key $dir/" . ($more[0] // $name) . '.key'); }

sub refused
{
	my ($name, $why, $key) = @_;
	my ($status, $message) = client($name, $key // ());
	is("$status $message", "401 $why", "refused: $name");
}

sub accepted { my ($name, $key) = @_; is((client($name, $key // ()))[0], 200, "accepted: $name"); }

sub make_certificates
{
	mkdir $dir or die "$dir: $!";
	certificate($_, ca => 'self', ext => ['basicConstraints=critical,CA:TRUE']) for qw(ca other-ca);
	my $san = 'subjectAltName=DNS:localhost,IP:127.0.0.1';
	certificate('server', ext => [$san, 'extendedKeyUsage=serverAuth']);
	certificate('server-any', cn => 'server', key => 'server', ext => [$san]);
	certificate('server-both', cn => 'server', key => 'server',
		ext => [$san, 'extendedKeyUsage=serverAuth,clientAuth']);
	certificate('server-again', key => 'server', ext => ['extendedKeyUsage=clientAuth']);
	certificate('server-elsewhere', ext => ['subjectAltName=DNS:elsewhere', 'extendedKeyUsage=serverAuth']);
	certificate('server-late', cn => 'server', ext => [$san, 'extendedKeyUsage=serverAuth'], days => 0);
	certificate('other-server', ext => [$san, 'extendedKeyUsage=serverAuth']);
	certificate('client', ext => ['extendedKeyUsage=clientAuth']);
	certificate('plain', ext => []);
	certificate('both', ext => ['extendedKeyUsage=serverAuth,clientAuth']);
	certificate('mailer', ext => ['extendedKeyUsage=emailProtection']);
	certificate('cipher', ext => ['keyUsage=critical,keyEncipherment']);
	certificate('late', ext => ['extendedKeyUsage=clientAuth'], days => 0);
	certificate('foreign', ca => 'other-ca', ext => ['extendedKeyUsage=clientAuth']);
	certificate('alone', ca => 'self', ext => ['extendedKeyUsage=clientAuth']);
	certificate('named', cn => 'ops',
		ext => ['subjectAltName=DNS:ctl.example.com,DNS:other', 'extendedKeyUsage=clientAuth']);
	certificate('address', cn => 'x',
		ext => ['subjectAltName=email:ctl@example.com,IP:10.0.0.1', 'extendedKeyUsage=clientAuth']);
	certificate('longer', cn => 'client.evil',
		ext => ['subjectAltName=DNS:ctl.example.com.evil,DNS:*.example.com', 'extendedKeyUsage=clientAuth']);
	write_file("$dir/token", "a-token-of-this-test\n");
	write_file("$dir/wrong-token", "another-token-of-this-test\n");
	shell("chmod 600 $dir/*.key $dir/*token");
	shell("chown -R postgres: $dir") if $> == 0;
	sleep 1.1;					# "-days 0" has passed
	return;
}

# ---- whose certificate may control ----

sub test_clients
{
	my @tls = ("tls_cert = $dir/server.crt", "tls_key = $dir/server.key", "tls_client_ca = $dir/ca.crt");
	my $log = start(@tls);
	like($log, qr/may control this agent; "tls_client_names" names those/,
		'without names, the log says who may control');
	unlike($log, qr/like the agent's own/, 'the own certificate is for servers');
	my ($status, $message) = ask();
	is("$status $message", '401 no certificate', 'refused: nothing');
	accepted($_) for qw(client plain both);
	my $purpose = 'the certificate is not for client authentication';
	refused($_, $purpose) for qw(other-server mailer);
	refused('server', $purpose);
	isnt((client('cipher'))[0], 200, 'refused: a key that may not sign');
	refused('server-again', "the certificate is the agent's own", 'server');
	my $foreign = qq(the certificate is not of the agent's \\"tls_client_ca\\", or not valid now);
	for my $name (qw(late foreign alone))
	{
		($status, $message) = client($name);
		is($status, 401, "refused: $name");
		like($message, qr/not of the agent's/, "refused: $name, and told why");
	}

	$log = start("tls_cert = $dir/server-any.crt", @tls[1, 2]);
	like($log, qr/a certificate like the agent's own/, "a server's certificate without a usage: the log warns");
	refused('server-any', "the certificate is the agent's own", 'server');
	accepted('client');

	$log = start(@tls, 'tls_client_names = ops, CTL.example.com');
	unlike($log, qr/may control this agent/, 'with names, no warning');
	accepted('named');
	like((client($_))[1], qr/is of nobody in/, "refused: $_, not named") for qw(client plain address longer);
	start(@tls, 'tls_client_names = other');
	accepted('named');
	start(@tls, 'tls_client_names = server-again, server');
	accepted('server-again', 'server');
	refused('server', $purpose);

	start(@tls, "token_file = $dir/token");
	is((ask("-H 'Authorization: Bearer a-token-of-this-test'"))[0], 200, 'a token will do as well');
	is((ask("-H 'Authorization: Bearer a-token-of-this-test' --cert $dir/foreign.crt --key $dir/foreign.key"))[0],
		200, 'whatever the certificate');
	($status, $message) = ask("-H 'Authorization: Bearer x' --cert $dir/foreign.crt --key $dir/foreign.key");
	like("$status $message", qr/^401 no or wrong token, and the certificate is not of/, 'neither will do');
}

# The certificate is renewed and the agent reads it again, without a restart.
sub test_renewal
{
	my $shown =
		sub { return `echo | openssl s_client -connect 127.0.0.1:$port 2>/dev/null | openssl x509 -noout -serial`; };
	shell("cp $dir/server.crt $dir/renewed.crt; cp $dir/server.key $dir/renewed.key; chmod 600 $dir/renewed.key");
	shell("chown postgres: $dir/renewed.*") if $> == 0;
	start("tls_cert = $dir/renewed.crt", "tls_key = $dir/renewed.key", "token_file = $dir/token");
	my $serial = $shown->();
	like($serial, qr/^serial=/, 'a certificate');

	my $log = -s "$folder/tls.log";
	shell("cp $dir/other-server.crt $dir/renewed.crt");
	kill 'HUP', $pid;
	$lab->until_true('the agent to refuse', sub { substr(read_file("$folder/tls.log"), $log) =~ /reloaded/ });
	like(substr(read_file("$folder/tls.log"), $log), qr/not reloaded: .*not the key of the certificate/,
		'one that does not fit its key is refused');
	is($shown->(), $serial, 'and the old one is still shown');
	shell("cp $dir/other-server.key $dir/renewed.key");
	kill 'HUP', $pid;
	$lab->until_true('the new certificate', sub { $shown->() =~ /^serial=/ && $shown->() ne $serial });
	is((ask("-H 'Authorization: Bearer a-token-of-this-test'"))[0], 200, 'the new one works');
	$log = -s "$folder/tls.log";
	write_file("$folder/tls.ini", read_file("$folder/tls.ini") =~ s/^tls_.*\n//mgr);
	kill 'HUP', $pid;
	$lab->until_true('the agent to refuse',
		sub { substr(read_file("$folder/tls.log"), $log) =~ /not reloaded: TLS needs a restart/ });
	pass('TLS cannot be switched off by a reload');
}

# ---- what the worker says ----

my %setting = map { $_ => undef } qw(agent_ca_file agent_cert_file agent_key_file agent_token_file);

sub set_worker
{
	my %wanted = ((map { $_ => undef } keys %setting), @_);
	$lab->set('chicago', "pingpong.$_", $wanted{$_} // '')
		for grep { ($wanted{$_} // '') ne ($setting{$_} // 'unknown') } sort keys %wanted;
	%setting = %wanted;
	return;
}

sub said
{
	my ($pattern, $what, $url) = @_;
	$lab->sql('chicago',
		"UPDATE pingpong.node SET agent_url = '" . ($url // "https://localhost:$port") . "' WHERE name = 'dallas'");
	my $error = '';
	my $limit = time + 30;		# the worker reads its settings when it comes to it
	until ($error =~ $pattern || time > $limit)
	{
		$lab->try_sql('chicago', "SELECT count(*) FROM pingpong.preflight('dallas')");
		$error = $lab->sql('chicago',
			"SELECT coalesce(error, 'no error') FROM pingpong.node_fact WHERE node = 'dallas'");
	}
	like($error, $pattern, "the worker says: $what") or diag(read_file("$folder/tls.log") =~ /(.{0,500})\z/s);
	unlike($error, qr/a-token-of|another-token|\n/, 'in one line, without a secret');
	cmp_ok(length $error, '<', 256, 'shortly');
}

sub test_worker
{
	my %ca = (agent_ca_file => "$dir/ca.crt");
	my %token = (agent_token_file => "$dir/token");
	my @server = ("tls_cert = $dir/server.crt", "tls_key = $dir/server.key");
	my @with_token = (@server, "token_file = $dir/token");
	my @with_ca = (@server, "tls_client_ca = $dir/ca.crt");

	start(@with_token);
	set_worker(%ca, %token);
	said(qr/^no error$/, 'nothing when all is well');
	set_worker(%token, agent_ca_file => "$dir/other-ca.crt");
	said(qr/^the agent's certificate is not signed by a CA of "pingpong.agent_ca_file": /, 'an unknown CA');
	set_worker(%token, agent_ca_file => "$dir/none.crt");
	said(qr/^the CA of "pingpong.agent_ca_file" cannot be used: /, 'no CA file');
	set_worker(%ca, agent_token_file => "$dir/wrong-token");
	said(qr/^the agent refuses our token \(401\): no or wrong token$/, 'a wrong token');
	set_worker(%ca);
	said(qr/^the agent refuses our call \(401\): no token$/, 'no token at all');
	set_worker(%ca, %token);
	said(qr/HTTP|Empty reply|reset/, 'plain HTTP where TLS is spoken', "http://localhost:$port");
	said(qr/connect/, 'nobody listens', 'https://localhost:1');

	start("tls_cert = $dir/server-elsewhere.crt", "tls_key = $dir/server-elsewhere.key", "token_file = $dir/token");
	said(qr/^the agent's certificate is for another name than that in its URL: /, 'another name');
	start("tls_cert = $dir/server-late.crt", "tls_key = $dir/server-late.key", "token_file = $dir/token");
	said(qr/^the agent's certificate has expired: /, 'expired');
	start("tls_cert = $dir/client.crt", "tls_key = $dir/client.key", "token_file = $dir/token");
	said(qr/^the agent's certificate is (not for a server|not accepted|for another name).*: /,
		"a client's certificate");

	start(@with_ca);
	set_worker(%ca, agent_cert_file => "$dir/client.crt", agent_key_file => "$dir/client.key");
	said(qr/^no error$/, 'nothing with a certificate');
	set_worker(%ca, agent_cert_file => "$dir/other-server.crt", agent_key_file => "$dir/other-server.key");
	said(qr/^the agent refuses our certificate \(401\): the certificate is not for client authentication$/,
		"a server's certificate as ours");
	set_worker(%ca, agent_cert_file => "$dir/client.crt", agent_key_file => "$dir/other-server.key");
	start(@with_ca);			# a connection that is there stays as good as it was
	said(qr/^the certificate of "pingpong.agent_cert_file" or its key cannot be used: /, 'a key that does not fit');
}

kill 'TERM', $lab->pid('agent', 'dallas') or die "kill: $!";
$lab->until_true('the agent to end', sub { $lab->gone($lab->pid('agent', 'dallas')) });
$ini = read_file("$folder/agent.ini");
make_certificates();
test_clients();
test_renewal();
test_worker();
done_testing();
