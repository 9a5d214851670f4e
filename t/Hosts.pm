# Hosts - a lab (Lab.pm) whose nodes are hosts: each in a network namespace of its own, with an address of its own.
# What one sends to another can be cut, so that the packets are lost without a word. As root.
#
#   my $hosts = Hosts->new($lab);
#   $hosts->cut('chicago', 'dallas');	# what chicago sends to dallas is lost; what dallas sends arrives
#   $hosts->heal;
#
# All hosts are at one bridge and know each other's link addresses for good. A cut gives one of them a wrong address:
# the frames are sent, and nobody takes them. The folders are shared, so the test reaches the unix sockets of all
# servers, whatever is cut.
package Hosts;

use strict;
use warnings;
use POSIX ();
use Tools;

my $main = $$;
my @all;

# What keeps a test from being made here, or undef.
sub cannot
{
	return 'needs root' if $> != 0;
	return 'needs openssl' if (run('openssl', 'version'))[0];
	return 'needs network namespaces' if system('ip netns add pp_try 2>/dev/null && ip netns del pp_try') != 0;
	return;
}

# Moves the lab, which is up: its programs are stopped, and started again on their hosts.
sub new
{
	my ($class, $lab) = @_;
	my $self = bless {lab => $lab, tag => "pp$$"}, $class;
	my $n = 0;

	$self->{names} = [$lab->nodes, map { "pooler$_" } 1 .. $lab->env('POOLERS')];
	$self->{number}{$_} = ++$n for @{$self->{names}};
	push @all, $self;
	must('ip', 'link', 'add', "$self->{tag}br", 'type', 'bridge');
	must('ip', 'link', 'set', "$self->{tag}br", 'up');
	$self->_make($_) for @{$self->{names}};
	$self->heal;
	$lab->{on_host} = {map { $_ => [$self->on($_)] } @{$self->{names}}};
	$self->_register;
	$self->_stop;
	$self->_configure;
	$self->start_agent($_) for @{$self->{names}};
	$lab->start_pgbouncer($_) for 1 .. $lab->env('POOLERS');
	$lab->start_pg($_) for reverse $lab->nodes;
	return $self;
}

sub names { return @{$_[0]{names}}; }
sub address { my ($self, $name) = @_; return "10.99.8.$self->{number}{$name}"; }
sub _link_address { my ($self, $name) = @_; return "02:00:00:00:08:0$self->{number}{$name}"; }
sub _namespace { my ($self, $name) = @_; return "$self->{tag}_$name"; }

# What stands before a command that is to run on a host.
sub on { my ($self, $name) = @_; return ('ip', 'netns', 'exec', $self->_namespace($name)); }

# ---- the network ----

sub _make
{
	my ($self, $name) = @_;
	my ($namespace, $port) = ($self->_namespace($name), "$self->{tag}$self->{number}{$name}");

	must('ip', 'netns', 'add', $namespace);
	must('ip', 'link', 'add', $port, 'type', 'veth', 'peer', 'name', 'eth0', 'address', $self->_link_address($name),
		'netns', $namespace);
	must('ip', 'link', 'set', $port, 'master', "$self->{tag}br", 'up');
	must('ip', '-n', $namespace, 'link', 'set', $_, 'up') for 'lo', 'eth0';
	must('ip', '-n', $namespace, 'address', 'add', $self->address($name) . '/24', 'dev', 'eth0');
	# libpq has no limit of its own for the connection of a WAL receiver: the kernel's, which is two minutes, is
	# shortened
	must($self->on($name), 'sh', '-c', "echo $_->[1] >/proc/sys/net/ipv4/$_->[0]")
		for ['tcp_syn_retries', 1], ['tcp_synack_retries', 2], ['tcp_retries2', 4];
	return;
}

sub _neighbour
{
	my ($self, $from, $to, $link_address) = @_;
	must('ip', '-n', $self->_namespace($from), 'neigh', 'replace', $self->address($to), 'lladdr', $link_address,
		'dev', 'eth0', 'nud', 'permanent');
	return;
}

sub cut { my ($self, $from, $to) = @_; return $self->_neighbour($from, $to, '02:00:00:00:08:ff'); }

sub heal
{
	my ($self) = @_;
	for my $from ($self->names)
	{
		$self->_neighbour($from, $_, $self->_link_address($_)) for grep { $_ ne $from } $self->names;
	}
	return;
}

# ---- the programs ----

sub _url
{
	my ($self, $name) = @_;
	my ($port) = $self->{lab}->env("AGENT_$name") =~ /:(\d+)$/;
	return 'https://' . $self->address($name) . ":$port";
}

sub _register
{
	my ($self) = @_;
	my $lab = $self->{lab};
	my ($primary) = $lab->nodes;
	my @rows = map { my $at = $self->address($_);
		"UPDATE pingpong.node SET host = CASE kind WHEN 'postgres' THEN '$at' END, agent_url = '" . $self->_url($_)
			. "' WHERE name = '$_'" } $self->names;

	$lab->sql($primary, @rows);
	my $lsn = $lab->sql($primary, 'SELECT pg_current_wal_flush_lsn()');
	$lab->wait_for($_, "SELECT pg_last_wal_replay_lsn() >= '$lsn'", 'the addresses')
		for grep { $_ ne $primary } $lab->nodes;
	# whom the guard of the primary will ask when it is started here
	my $peers = $lab->env("PGDATA_$primary") . '/pingpong.peers';
	$lab->until_true('the addresses in the file', sub {
		my $text = read_file($peers);
		!grep { index($text, $self->_url($_)) < 0 } grep { $_ ne $primary } $self->names });
	return;
}

sub _stop
{
	my ($self) = @_;
	my $lab = $self->{lab};
	my @pids = ((map { $lab->pid('agent', $_) } $self->names),
		map { $lab->pid('pgbouncer', $_) } 1 .. $lab->env('POOLERS'));

	kill 'TERM', @pids;
	for my $node ($lab->nodes)
	{
		push @pids, $lab->pid('postgres', $node);
		kill 'INT', $pids[-1];
		$lab->until_true("$node to stop", sub { $lab->gone($pids[-1]) });
	}
	$lab->until_true('the programs to end', sub { !grep { !$lab->gone($_) } @pids });
	return;
}

# A certificate for each host, of one authority.
sub _certificates
{
	my ($self) = @_;
	my $dir = $self->{lab}->dir . '/tls';
	my @key = qw(-nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1);

	mkdir $dir;
	must(qw(openssl req -x509 -days 2), @key, '-subj', '/CN=ca', '-keyout', "$dir/ca.key", '-out', "$dir/ca.crt");
	for my $name ($self->names)
	{
		write_file("$dir/$name.ext", 'subjectAltName = IP:' . $self->address($name) . "\n");
		must(qw(openssl req), @key, '-subj', "/CN=$name", '-keyout', "$dir/$name.key", '-out', "$dir/$name.csr");
		must(qw(openssl x509 -req -days 2 -CAcreateserial), '-in', "$dir/$name.csr", '-CA', "$dir/ca.crt", '-CAkey',
			"$dir/ca.key", '-extfile', "$dir/$name.ext", '-out', "$dir/$name.crt");
	}
	must('chown', '-R', $self->{lab}->env('LAB_USER') . ':', $dir);
	return $dir;
}

sub _edit
{
	my ($path, $edit) = @_;
	local $_ = read_file($path);
	$edit->();
	open my $file, '>', $path or die "$path: $!";	# its owner and mode stay
	print $file $_;
	close $file or die "$path: $!";
	return;
}

# Which server has a port.
sub _at_port
{
	my ($self, $port) = @_;
	my ($node) = grep { $self->{lab}->env("PORT_$_") == $port } $self->{lab}->nodes;
	return $self->address($node);
}

sub _configure
{
	my ($self) = @_;
	my $lab = $self->{lab};
	my $tls = $self->_certificates;
	my $patience = 'connect_timeout=2 tcp_user_timeout=2000 '
		. 'keepalives_idle=1 keepalives_interval=1 keepalives_count=2';

	for my $name ($self->names)
	{
		my $at = $self->address($name);
		_edit($lab->agent_dir($name) . '/agent.ini', sub {
			s{^listen = 127\.0\.0\.1:(\d+)}{listen = $at:$1\ntls_cert = $tls/$name.crt\ntls_key = $tls/$name.key}m;
			s{^((?:replication|rewind) = .*)}{$1 $patience}mg;
		});
	}
	for my $node ($lab->nodes)
	{
		my $data = $lab->env("PGDATA_$node");
		_edit("$data/pg_hba.conf", sub { $_ .= "host all,replication all 10.99.8.0/24 scram-sha-256\n" });
		_edit("$data/postgresql.conf", sub {
			$_ .= "listen_addresses = '*'\npingpong.agent_ca_file = '$tls/ca.crt'\n" });
		_edit("$data/postgresql.auto.conf", sub {
			s{host=127\.0\.0\.1 port=(\d+)}{'host=' . $self->_at_port($1) . " port=$1 $patience"}ge });
	}
	for my $k (1 .. $lab->env('POOLERS'))
	{
		_edit($lab->env("BACKENDS_$k"), sub {
			s{host=127\.0\.0\.1 port=(\d+)}{'host=' . $self->_at_port($1) . " port=$1"}ge });
		_edit($lab->agent_dir("pooler$k") . '/pgbouncer.ini', sub {
			$_ .= "server_connect_timeout = 2\nserver_login_retry = 1\ntcp_user_timeout = 2000\ntcp_keepalive = 1\n"
				. "tcp_keepidle = 1\ntcp_keepintvl = 1\ntcp_keepcnt = 2\n" });
	}
	return;
}

# By itself: the lab asks agents on 127.0.0.1 only, without TLS.
sub start_agent
{
	my ($self, $name) = @_;
	my $lab = $self->{lab};
	my ($dir, $user) = ($lab->agent_dir($name), $lab->env('LAB_USER'));
	my $had = -s "$dir/agent.log" // 0;
	my $pid = fork // die "fork: $!";

	if ($pid == 0)
	{
		POSIX::setsid();
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$dir/agent.log";
		open STDERR, '>&', \*STDOUT;
		exec $self->on($name), 'setpriv', '--reuid', $user, '--regid', $user, '--init-groups',
			$lab->env('PGBIN') . '/pingpong-agent', '--config', "$dir/agent.ini" or POSIX::_exit(127);
	}
	write_file("$dir/agent.pid", "$pid\n", 0644);
	$lab->until_true("the agent of $name", sub { substr(read_file("$dir/agent.log"), $had) =~ /listens on/ });
	return;
}

# ---- the end ----

# Of the hosts; the lab ends what runs there.
sub end
{
	my ($self) = @_;
	system('ip netns del ' . $self->_namespace($_) . ' 2>/dev/null') for $self->names;
	system("ip link del $self->{tag}br 2>/dev/null");
	return;
}

END
{
	my $rc = $?;
	if ($$ == $main) { $_->end for @all; }
	$? = $rc;
}

1;
