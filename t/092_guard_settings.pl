# The guard at boot: what it stops, what clients and operators are told, what nobody's answer means, and servers for
# which there is nothing to ask.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use File::Copy qw(copy);
use Lab;
use Session;
use Test::More;

my $lab = Lab->up(fast => 1, set => ['pingpong.guard_timeout=500ms', 'max_prepared_transactions=10',
	'pingpong.history_interval=1s']);
my $data = $lab->env('PGDATA_chicago');
my $file = "$data/pingpong.peers";
my $risk = 'two primaries are possible';
$lab->sql('chicago', 'CREATE TABLE kept (i int)', 'CREATE ROLE op LOGIN IN ROLE pingpong_operator');

sub guard { return $lab->sql('chicago', 'SELECT DISTINCT state FROM pingpong.guard'); }
sub gate { return $lab->sql('chicago', 'SELECT state FROM pingpong.gate'); }

sub restart
{
	my ($state) = @_;
	$lab->stop_pg('chicago');
	$lab->start_pg('chicago');
	$lab->wait_for('chicago', "SELECT DISTINCT state = '$state' FROM pingpong.guard", "the guard to be $state", 60);
	return;
}

sub log_of
{
	my ($node) = @_;
	local (@ARGV, $/) = glob($lab->agent_dir($node) . '/log*');
	return <> // '';
}

sub wait_for_file
{
	my ($what, $pattern) = @_;
	return $lab->until_true($what, sub {
		open my $fh, '<', $file or return 0;
		local $/;
		return <$fh> =~ $pattern;
	});
}

wait_for_file('the file', qr/^node=dallas.*^node=pooler1/ms);
$lab->sql('chicago', q{BEGIN; INSERT INTO kept VALUES (1); PREPARE TRANSACTION 'one'});
$lab->wait_for('chicago', q{SELECT bool_or(state = 'streaming') FROM pingpong.standby}, 'dallas');
my $samples = $lab->sql('chicago', 'SELECT count(*) FROM pingpong.history_sample');

# ---- nobody answers: closed ----

$lab->kill9('agent', 'dallas');
restart('closed');
is(gate(), 'guarded', 'nobody answers: it stays closed');
is($lab->sql('chicago', 'SELECT count(*) FROM kept'), '0', 'reads go on');
my (undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose', q{SET statement_timeout = '300ms'},
	'INSERT INTO kept VALUES (2)');
like($err, qr/ERROR:  57014: canceling statement due to statement timeout/, 'a write waits');
like($err, qr/HINT:  See the view pingpong\.guard\..*pingpong\.resume\(risk => '$risk'\)/, 'its end says what to do');
like($err, qr/CONTEXT:  waiting at the write gate.*no answer of the agent of "dallas"/, 'and what it waited for');
my $held = Session->open($lab, 'chicago');
$held->send('INSERT INTO kept VALUES (3)');
$lab->wait_for('chicago', q{SELECT held = 1 FROM pingpong.gate}, 'the statement to be held');
is($lab->sql('chicago', "SELECT wait_event_type FROM pg_stat_activity WHERE pid = @{[$held->backend]}"), 'Extension',
	'pg_stat_activity shows that it waits');
for my $statement (q{COMMIT PREPARED 'one'}, q{ROLLBACK PREPARED 'one'}, 'CREATE TABLE other (i int)',
	'SELECT pg_logical_emit_message(false, \'a\', \'b\')', 'SELECT txid_current()', 'NOTIFY somebody', 'VACUUM kept')
{
	(undef, $err) = $lab->try_sql('chicago', q{SET statement_timeout = '200ms'}, $statement);
	like($err, qr/canceling statement due to statement timeout/, "$statement waits");
}
(undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose', 'SET pingpong.bypass_gate = on',
	'INSERT INTO kept VALUES (4)');
like($err, qr/ERROR:  25006: cannot write: it is not known yet whether/, 'a session that passes the gate is refused');
is($lab->sql('chicago', 'SELECT count(*) FROM pg_prepared_xacts'), '1', 'what is prepared stays so');
is($lab->sql('chicago', 'SHOW default_transaction_read_only'), 'on', 'libpq looks for another host');
like($lab->sql('chicago', q{SELECT node || ': ' || says FROM pingpong.guard WHERE kind = 'postgres'}),
	qr/^dallas: silent$/, 'the view says who is silent');
like($lab->sql('chicago', q{SELECT reason FROM pingpong.gate}), qr/no answer of the agent of "dallas"/,
	'and so does the gate');
is($lab->sql('chicago', q{SELECT role FROM pingpong.status WHERE node = 'chicago'}), 'guarded', 'and the state');
is($lab->sql('chicago', q{SELECT status || ': ' || detail FROM pingpong.health_check() WHERE name = 'gate'}),
	'fail: the gate is guarded', 'and the health check');
$lab->until_true('its agent to see it',
	sub { (($lab->agent('chicago', '/v1/state'))[1]{role} // '') eq 'guarded' });
is(($lab->agent('chicago', '/health'))[0], 503, 'its agent sends it no clients');
like(log_of('chicago'), qr/this server takes no writes: it is not known.*\n.*DETAIL:.*"dallas".*\n.*HINT:.*resume/,
	'and so does the log');
(undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose', q{SELECT pingpong.switchover('dallas')});
like($err, qr/ERROR:  55000: it is not known yet whether another server has replaced this one/, 'no run is begun');
(undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose', q{SELECT pingpong.quiesce()});
like($err, qr/ERROR:  55006: the write gate is already closed\nDETAIL:  Its state is "guarded"\./, 'nor quiesce()');

# ---- an operator opens it ----

(undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose', 'SELECT pingpong.resume()');
like($err, qr/ERROR:  55000: it is not known yet.*"dallas".*resume\(risk => '$risk'\)/s, 'resume() wants a word');
(undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose', 'SET ROLE op',
	"SELECT pingpong.resume(risk => '$risk')");
like($err, qr/ERROR:  42501: must be superuser to open a guarded server/, 'of a superuser');
is(gate(), 'guarded', 'until then it is closed');
is(scalar(() = log_of('chicago') =~ /LOG:  this server takes no writes/g), 1, 'the log says it once');
is($lab->sql('chicago', 'SELECT count(*) FROM pingpong.history_sample'), $samples, 'its worker has written nothing');
(undef, $err) = $lab->try_sql('chicago', "SELECT pingpong.resume(risk => '$risk')");
like($err, qr/WARNING:  the guarded server was opened by hand/, 'by hand');
like($held->answer, qr/INSERT 0 1|^$/, 'who waited goes on');
$held->close;
$lab->sql('chicago', q{COMMIT PREPARED 'one'});
$lab->wait_for('chicago', q{SELECT DISTINCT state = 'by hand' FROM pingpong.guard}, 'the worker to see it');
is($lab->sql('chicago', 'SELECT count(*) FROM kept'), '2', 'writes flow');

# ---- an agent that is started later; a standby whose server is down ----

restart('closed');
$lab->start_agent('dallas');
$lab->wait_for('chicago', q{SELECT DISTINCT state = 'proved' FROM pingpong.guard}, 'the agent of dallas', 30);
is(gate(), 'open', 'an agent that is started later is heard');
$lab->stop_pg('dallas');
restart('proved');
like($lab->sql('chicago', q{SELECT detail FROM pingpong.guard WHERE node = 'dallas'}),
	qr/^its server is down; the data directory is a standby's, timeline 1$/,
	'a standby that is down has its data directory for a witness');
$lab->kill9('agent', 'dallas');

# ---- what nobody's answer means is a setting ----

$lab->set_file('chicago', 'pingpong.guard_unanswered', 'majority');
restart('majority');
is(gate(), 'open', 'majority: the router\'s agent and its own are two of three');
$lab->kill9('agent', 'pooler1');
restart('closed');
is(gate(), 'guarded', 'majority: one of three is not enough');
$lab->set_file('chicago', 'pingpong.guard_unanswered', 'open');
$lab->sql('chicago', 'SELECT pg_reload_conf()');
$lab->wait_for('chicago', q{SELECT DISTINCT state = 'unanswered' FROM pingpong.guard}, 'the new setting', 30);
is(gate(), 'open', 'open: after the time');
like(log_of('chicago'), qr/WARNING:  the write gate was opened without the word of all agents/, 'open: a warning');
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pingpong.alerts WHERE rule = 'guard_unanswered'}, 'the alert',
	60);
pass('open: there is an alert');
$lab->start_agent($_) for 'dallas', 'pooler1';
$lab->start_pg('dallas');
$lab->wait_for('chicago', q{SELECT count(*) = 0 FROM pingpong.alerts WHERE rule = 'guard_unanswered'}, 'its end', 60);
pass('open: it ends when the standby follows');
$lab->set_file('chicago', 'pingpong.guard_unanswered', 'closed');
restart('proved');

# ---- epochs ----

# An older file, of before two moves: the table knows better.
wait_for_file('the file', qr/^epoch=0$/m);
copy($file, "$lab->{dir}/older") or die $!;
for my $move (['chicago', 'dallas'], ['dallas', 'chicago'])
{
	$lab->wait_for($move->[0], q{SELECT bool_or(state = 'streaming') FROM pingpong.standby}, "$move->[1]");
	my $run = $lab->sql($move->[0], "SELECT run FROM pingpong.switchover('$move->[1]')");
	is(($lab->settle($run))[0], 'succeeded', "to $move->[1]");
}
wait_for_file('the epoch', qr/^epoch=2$/m);
$lab->stop_pg('chicago');
copy("$lab->{dir}/older", $file) or die $!;
chown((stat "$data/PG_VERSION")[4, 5], $file);
$lab->start_pg('chicago');
$lab->wait_for('chicago', q{SELECT DISTINCT state = 'proved' FROM pingpong.guard}, 'the table to be asked', 30);
is(gate(), 'open', 'an epoch that its own table knows is not a newer one');
wait_for_file('the epoch', qr/^epoch=2$/m);

# A move that this server does not know.
$lab->stop_pg('chicago');
$lab->kill9('agent', 'pooler1');
my $epoch = $lab->state_dir('pooler1') . '/epoch';
open my $fh, '>', $epoch or die "$epoch: $!";
print $fh "9\n";
close $fh;
$lab->start_agent('pooler1');
is(($lab->agent('pooler1', '/v1/state'))[1]{epoch}, 9, 'the agent of the router knows a newer epoch');
$lab->start_pg('chicago');
$lab->wait_for('chicago', q{SELECT state = 'sealed' FROM pingpong.gate}, 'chicago to be sealed', 30);
like($lab->sql('chicago', 'SELECT DISTINCT sentence FROM pingpong.guard'),
	qr/^the agent of "pooler1" knew epoch 9 and this server only 2: a run has moved the primary since$/,
	'a newer epoch: it was replaced, though its standby is as before');
(undef, $err) = $lab->try_sql('chicago', "SELECT pingpong.resume(risk => '$risk')");
like($err, qr/WARNING:  the seal of run "guard" was removed by hand/, 'an operator knows better');
is(gate(), 'open', 'and it is open');
$lab->kill9('agent', 'pooler1');
open $fh, '>', $epoch or die "$epoch: $!";
print $fh "2\n";
close $fh;
$lab->start_agent('pooler1');

# ---- a node whose server is of another system ----

# As an upgrade leaves it behind: while this primary runs, it is told so. Exchanged behind its back it is no witness.
my $bin = $lab->env('PGBIN');
my @as = $> == 0 ? ('setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups') : ();
my $of_dallas = $lab->env('PGDATA_dallas');
$lab->wait_for('chicago', q{SELECT DISTINCT state IN ('proved', 'replaced') FROM pingpong.guard}, 'the guard');
$lab->stop_pg('dallas');
$lab->stop_pg('chicago');
rename $of_dallas, "$of_dallas.own" or die $!;
system(@as, "$bin/pg_ctl", '-D', $of_dallas, '-s', '-o', '-N', 'init') == 0 or die 'initdb';
$lab->start_pg('chicago');
$lab->wait_for('chicago', q{SELECT DISTINCT state = 'closed' FROM pingpong.guard}, 'the guard', 30);
like($lab->sql('chicago', q{SELECT says || ': ' || detail FROM pingpong.guard WHERE node = 'dallas'}),
	qr/^unsure: its server \(down\) is of another system$/, 'a server of another system is no witness');
$lab->sql('chicago', "SELECT pingpong.resume(risk => '$risk')");
wait_for_file('the file', qr/^node=dallas postgres [1-9]/m);
restart('proved');
pass('where it was known to be of another system it is not waited for');
$lab->stop_pg('chicago');
system('rm', '-r', $of_dallas);
rename "$of_dallas.own", $of_dallas or die $!;
$lab->start_pg($_) for 'dallas', 'chicago';
$lab->wait_for('chicago', q{SELECT DISTINCT state = 'proved' FROM pingpong.guard}, 'the guard', 30);
wait_for_file('the file', qr/^node=dallas postgres 0/m);

# ---- a copy of the data directory that is started elsewhere, and the original beside it ----

my $copy = "$lab->{dir}/copy";
wait_for_file('the file', qr/^node=dallas/m);
system(@as, "$bin/pg_basebackup", '-D', $copy, '-c', 'fast', '-d', $lab->env('DSN_chicago')) == 0 or die 'backup';
my $port = $lab->base + 65;
for my $name ('chicago', 'austin')
{
	system(@as, "$bin/pg_ctl", '-D', $copy, '-w', '-s', '-l', "$copy.log", '-o',
		"-p $port -c pingpong.node_name=$name -c unix_socket_directories=$lab->{dir}/run", 'start') == 0
		or die 'the copy';
	my $dsn = $lab->env('DSN_chicago') =~ s/port=\d+/port=$port/r;
	$lab->wait_for($dsn, q{SELECT DISTINCT state = 'closed' FROM pingpong.guard}, 'the copy to be closed', 30);
	is($lab->sql($dsn, q{SELECT string_agg(node, ' ') FROM pingpong.guard WHERE says = 'second primary'}), 'chicago',
		"a copy that calls itself $name takes no writes beside the original");
	is(gate(), 'open', 'which goes on');
	system(@as, "$bin/pg_ctl", '-D', $copy, '-w', '-s', '-m', 'fast', 'stop') == 0 or die 'the copy';
}

# ---- nobody to ask ----

sub whole_restart
{
	$lab->stop_pg('chicago');
	$lab->start_pg('chicago');
	$lab->sql('chicago', q{SET statement_timeout = '10s'}, 'INSERT INTO kept VALUES (5)');
	return;
}

# a worker that cannot attach to its database asks all the same
$lab->set_file('chicago', 'pingpong.database', 'nowhere');
restart('proved');
is(gate(), 'open', 'no database: it asks, and opens');
$lab->set_file('chicago', 'pingpong.database', $lab->env('DSN_chicago') =~ /dbname=(\S+)/ ? $1 : 'postgres');

# a worker that cannot be started asks nobody; an operator can open it
$lab->set_file('chicago', 'max_worker_processes', '0');
restart('asking');
like($lab->sql('chicago', 'SELECT reason FROM pingpong.gate'), qr/^its worker has not asked the agents/,
	'no worker: it is said why it stays closed');
$lab->sql('chicago', "SELECT pingpong.resume(risk => '$risk')");
is(guard(), 'by hand', 'no worker: it is opened by hand');
$lab->set_file('chicago', 'max_worker_processes', '16');

open $fh, '>>', $file or die $!;
print $fh "garbage\n";
close $fh;
restart('proved');
pass('what is behind the checksum does not matter');
wait_for_file('the file', qr/^node=dallas/m);
$lab->stop_pg('chicago');
open $fh, '+<', $file or die $!;
print $fh 'x';
close $fh;
$lab->start_pg('chicago');
$lab->wait_for('chicago', q{SELECT DISTINCT state = 'closed' FROM pingpong.guard}, 'the guard', 30);
like($lab->sql('chicago', 'SELECT reason FROM pingpong.gate'), qr/^the file "pingpong.peers" cannot be read/,
	'a file that cannot be read keeps it closed');
$lab->sql('chicago', "SELECT pingpong.resume(risk => '$risk')");
wait_for_file('the file to be made again', qr/^node=dallas/m);

$lab->stop_pg('chicago');
unlink $file;
$lab->start_pg('chicago');
$lab->sql('chicago', q{SET statement_timeout = '10s'}, 'INSERT INTO kept VALUES (5)');
is(guard(), 'none', 'no file: nobody is asked');
wait_for_file('the file to be made again', qr/^node=dallas/m);

# a node that is away on purpose is not asked; without another node nobody is
$lab->sql('chicago', q{UPDATE pingpong.node SET away_since = now() WHERE name = 'dallas'});
wait_for_file('the file', qr/\A(?!.*^node=dallas).*^node=pooler1/ms);
$lab->kill9('agent', $_) for 'dallas', 'pooler1';
whole_restart();
is(guard(), 'proved', 'a standby that is away is not waited for, nor is a router');
$lab->sql('chicago', 'DROP EXTENSION pg_pingpong CASCADE');
wait_for_file('the file without nodes', qr/\A(?!.*^node=)/ms);
whole_restart();
pass('without the extension nobody is asked');
done_testing();
