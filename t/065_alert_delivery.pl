# Delivery of alerts by agents: what the database raises, once, also across restarts of the agent and a switchover;
# the server is killed, then its whole node; the receiver is away; agents that disagree with a configuration.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Digest::SHA qw(hmac_sha256_hex);
use IO::Socket::INET;
use JSON::PP;
use Lab;
use POSIX ();
use Test::More;
use Tools qw(read_file run write_file);

my $secret = 'a-secret-of-the-receiver';
my $lab = Lab->up(fast => 1, nodes => 2, poolers => 0, set => ['pingpong.alert_interval=200ms']);
my $got = $lab->dir . '/received';

# ---- the receiver: a line for each message, then the answer ----

my $port = do { my $any = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1) or die;
	$any->sockport };
my $receiver;

sub serve_one
{
	my ($client) = @_;
	my ($head, $body, $signature, $length) = ('', '', '', 0);
	while (my $line = <$client>)
	{
		last if $line =~ /^\r?\n$/;
		$length = $1 if $line =~ /^content-length: (\d+)/i;
		$signature = $1 if $line =~ /^x-pingpong-signature: (\S+)/i;
	}
	return if !$length;				# only a look whether somebody is here
	read $client, $body, $length;
	my $right = $signature eq 'sha256=' . hmac_sha256_hex($body, $secret) ? 'signed' : 'forged';
	open my $file, '>>', $got or die;
	syswrite $file, "$right $body\n";
	close $file;
	print $client "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	return;
}

sub start_receiver
{
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 64, ReuseAddr => 1)
		or die "listen: $!";
	$receiver = fork // die;
	if ($receiver == 0)
	{
		while (1)
		{
			my $client = $listener->accept or next;
			serve_one($client) if $client;
			close $client;
		}
	}
	$lab->{children}{$receiver} = 1;
	return;
}

sub stop_receiver
{
	kill 'KILL', $receiver;
	waitpid $receiver, 0;
	delete $lab->{children}{$receiver};
	return;
}

# "STATE SENDER" of all messages with that key, in their order.
sub received
{
	my ($key) = @_;
	my @all = map { /^signed (.*)$/ ? decode_json($1) : {key => 'forged'} } split /\n/, read_file($got);
	return join ', ', map { "$_->{state} $_->{sent_by}" } grep { $_->{key} eq $key } @all;
}

sub arrives
{
	my ($key, $what, $name, $seconds) = @_;
	ok(eval { $lab->until_true("\"$what\" of $key", sub { received($key) eq $what }, $seconds // 20) }, $name)
		or diag($@ . read_file($got));
	return;
}

# ---- the configuration ----

for my $node ($lab->nodes)
{
	my $ini = $lab->agent_dir($node) . '/agent.ini';
	my $own = $lab->agent_dir($node) . '/alert-secret';
	my ($uid, $gid) = (stat $lab->agent_dir($node) . '/token')[4, 5];
	write_file($own, "$secret\n");
	chown $uid, $gid, $own;
	write_file($ini, read_file($ini) . "\n[alerts]\nurl = http://127.0.0.1:$port/hook/with-a-secret\n"
		. "cluster = lab\nsecret_file = $own\n", 0644);
	my $agent = $lab->env('PGBIN') . '/pingpong-agent';
	my $said = run($agent, '--config', $ini, '--check');
	like($said, qr/^FAIL \s*.*alerts.*receiver can be reached: /m, "$node: --check finds no receiver");
	unlike($said, qr/with-a-secret/, 'and does not tell its address');
}
start_receiver();
for my $node ($lab->nodes)
{
	my $ini = $lab->agent_dir($node) . '/agent.ini';
	like(run($lab->env('PGBIN') . '/pingpong-agent', '--config', $ini, '--check'),
		qr/^ok \s*.*alerts.*receiver can be reached$/m, "$node: --check reaches it");
	$lab->kill9('agent', $node);
	$lab->start_agent($node);
}
sub knows_nodes { my ($node) = @_; return read_file($lab->state_dir($node) . '/nodes.json') =~ /chicago.*dallas/s; }
ok($lab->until_true('the nodes', sub { knows_nodes('chicago') && knows_nodes('dallas') }),
	'agents know the nodes, for when their database is down');

# ---- a switchover and back is no alarm ----

sub switch_to
{
	my ($from, $to) = @_;
	$lab->sql($from, "SELECT pingpong.switchover('$to')");
	is(($lab->settle($lab->last_run($to)))[0], 'succeeded', "moved to $to");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pingpong.standby WHERE state = 'streaming'", "$from streams");
	return;
}
switch_to('chicago', 'dallas');
switch_to('dallas', 'chicago');

# ---- of the database ----

sub slot
{
	my ($node, $name) = @_;
	return $lab->sql($node, "SELECT pg_create_physical_replication_slot('$name', true)");
}
$lab->sql('chicago', q{UPDATE pingpong.alert_rule SET raise_after = '0' WHERE name = 'slot_inactive'});
slot('chicago', 'first');
arrives('slot_inactive/first', 'raised chicago', 'an alert of the database is delivered');
is(read_file($got) =~ tr/\n//, 1, 'and nothing else: a switchover and back was no alarm') or diag(read_file($got));
my ($message) = map { decode_json($_) } read_file($got) =~ /^signed (.*)$/m;
is_deeply([@$message{qw(cluster node alert severity subject state cleared_at)}],
	['lab', 'chicago', 'slot_inactive', 'warning', 'first', 'raised', undef], 'with all that it is about');
like("$message->{sentence} $message->{remedy} $message->{since}",
	qr/^nobody uses slot first.*pg_drop_replication_slot\('first'\).* \d{4}-\d\d-\d\dT/, 'and what to do');
ok($lab->wait_for('dallas', q{SELECT bool_and(sent_state = 'raised') FROM pingpong.alert}, 'the note'),
	'the standby knows that it was delivered');
$lab->kill9('agent', 'chicago');
$lab->start_agent('chicago');
slot('chicago', 'second');
arrives('slot_inactive/second', 'raised chicago', 'the next one, from a new agent');
is(received('slot_inactive/first'), 'raised chicago', 'which does not repeat the first');
switch_to('chicago', 'dallas');
slot('dallas', 'third');
arrives('slot_inactive/third', 'raised dallas', 'the next one, from the new primary');
arrives('slot_inactive/first', 'raised chicago, cleared dallas', 'which tells the end of the first, and no more');
switch_to('dallas', 'chicago');
$lab->sql('chicago', q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active});
$lab->wait_for('chicago', q{SELECT count(*) = 0 FROM pingpong.alerts}, 'no open alert');

# ---- the server is gone, and its agent is there ----

$lab->kill9('postgres', 'chicago');
arrives('server_down/chicago', 'raised chicago', 'a server that was killed', 10);
$lab->kill9('agent', 'chicago');
$lab->start_agent('chicago');
$lab->start_pg('chicago');
arrives('server_down/chicago', 'raised chicago, cleared chicago', 'and is back; told once each, by two agents', 10);

# ---- the receiver is away ----

stop_receiver();
$lab->kill9('postgres', 'dallas');
ok($lab->until_true('the alert', sub { read_file($lab->state_dir('dallas') . '/alerts.json') =~ /server_down/ }),
	'without a receiver, an alert waits on disk');
$lab->kill9('agent', 'dallas');
start_receiver();
$lab->start_agent('dallas');
arrives('server_down/dallas', 'raised dallas', 'it is delivered when there is one, by the next agent', 30);
$lab->start_pg('dallas');
arrives('server_down/dallas', 'raised dallas, cleared dallas', 'and its end', 30);

# ---- the whole node is gone ----

$lab->wait_for('dallas', q{SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'}, 'dallas');
$lab->kill9('agent', 'chicago');
$lab->kill9('postgres', 'chicago');
arrives('node_down/chicago', 'raised dallas', 'the primary with its agent: the other agent tells', 10);
$lab->start_pg('chicago');
$lab->start_agent('chicago');
arrives('node_down/chicago', 'raised dallas, cleared dallas', 'and its return', 10);
is(received('server_down/chicago'), 'raised chicago, cleared chicago', 'the agent that was gone has nothing to say');
my %sent;
$sent{join ' ', @{decode_json($_)}{qw(id state)}}++ for read_file($got) =~ /^signed (.*)$/mg;
is(join(', ', grep { $sent{$_} > 1 } sort keys %sent), '', 'no message came twice');
is(scalar(grep { !/^signed/ } split /\n/, read_file($got)), 0, 'and all were signed');
done_testing();
