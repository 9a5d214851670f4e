# Preflight and the standbys: names and slots under which they stream, what their restore_command costs, who can log
# in, which server is really at an address, who is away, and which of two primaries is the older.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

# the table is made wrong on purpose: no worker is to follow it
my $lab = Lab->up(fast => 1, poolers => 1, nodes => 3, port => 21200, set => ['wal_retrieve_retry_interval=200ms',
	'pingpong.route_interval=0']);
$lab->wait_for($_, 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker') for $lab->nodes;

sub not_ok
{
	my ($name, $options) = @_;
	return $lab->sql('chicago', "SELECT coalesce(string_agg(DISTINCT concat_ws(' ', status, name, node), E'\\n'
		ORDER BY concat_ws(' ', status, name, node)), '')
		FROM pingpong.preflight('dallas', '" . ($options // '{}') . "') WHERE status <> 'ok' AND name <> 'backup'"
		. (defined $name ? " AND name = '$name'" : ''));
}

sub detail
{
	my ($name) = @_;
	return $lab->sql('chicago', "SELECT detail || '. ' || hint
		FROM pingpong.preflight('dallas') WHERE name = '$name' AND status <> 'ok' ORDER BY node LIMIT 1");
}

# no row of preflight advises this
sub advised
{
	my ($what) = @_;
	return $lab->sql('chicago', "SELECT coalesce(string_agg(name || ' ' || node, ', '), '')
		FROM pingpong.preflight('dallas') WHERE hint ~ '$what'");
}

sub streaming
{
	my ($name, $who) = @_;
	return $lab->wait_for('chicago', "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$name' AND state = 'streaming'", "$name to stream");
}
sub edit_agent
{
	my ($node, $code) = @_;
	my $file = $lab->dir . "/$node/agent.ini";
	open my $in, '<', $file or die "$file: $!";
	local $_ = do { local $/; <$in> };
	close $in;
	$code->();
	open my $out, '>', $file or die "$file: $!";
	print $out $_;
	close $out;
	$lab->kill9('agent', $node);
	return $lab->start_agent($node);
}

is(not_ok(), '', 'healthy: nothing to say');

# ---- names and slots ----

my $conninfo = $lab->sql('dallas', 'SHOW primary_conninfo');
$lab->set('dallas', 'primary_conninfo', $conninfo =~ s/application_name=dallas/application_name=walreceiver/r);
streaming('walreceiver');
is(not_ok(), 'info standby_names dallas', 'another application_name: it is known by its slot');
$lab->set('dallas', 'synchronous_standby_names', 'walreceiver');
is(not_ok('standby_names'), 'warn standby_names dallas',
	'which the names of the target know: nobody will have it after the move');
$lab->set('dallas', 'synchronous_standby_names', undef);
$lab->set('chicago', 'synchronous_standby_names', 'ANY 1 (dallas, austin)');
is(not_ok('standby_names'), 'warn standby_names dallas', 'where the names here know the node');
$lab->set('chicago', 'synchronous_standby_names', 'ANY 1 (walreceiver, dallas, austin)');
is(not_ok('standby_names'), 'info standby_names dallas', 'where they know it by either name');
$lab->set('chicago', 'synchronous_standby_names', 'ANY 1 ("WalReceiver", austin)');
is(not_ok('standby_names'), 'warn standby_names dallas',
	'where they know it by that name only: it will not have it when this is the primary again');
$lab->set('chicago', 'synchronous_standby_names', undef);
$lab->set('dallas', 'primary_conninfo', $conninfo);
streaming('dallas');

$lab->sql('chicago', q{SELECT pg_create_physical_replication_slot('by_hand', true)});
$lab->set('dallas', 'primary_slot_name', 'by_hand');
$lab->wait_for('chicago', q{SELECT active FROM pg_replication_slots WHERE slot_name = 'by_hand'}, 'the slot');
is(not_ok('standby_names'), 'warn standby_names dallas', 'another slot');
like(detail('standby_names'),
	qr/streams with the slot "by_hand", registered is "pingpong_dallas"\. .*pg_drop_replication_slot\('by_hand'\)/,
	'is named, with what becomes of it');
$lab->sql('dallas', q{ALTER SYSTEM SET primary_slot_name = ''}, 'SELECT pg_reload_conf()');
$lab->wait_for('chicago', q{SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'by_hand'},
	'the slot to be free');
$lab->sql('chicago', q{SELECT pg_drop_replication_slot('by_hand')});
streaming('dallas');
is(not_ok('standby_names'), 'info standby_names dallas', 'no slot');
$lab->set('dallas', 'primary_slot_name', 'pingpong_dallas');
$lab->wait_for('chicago', q{SELECT active FROM pg_replication_slots WHERE slot_name = 'pingpong_dallas'}, 'the slot');

# ---- restore_command ----

for my $node ('dallas', 'chicago')
{
	$lab->set($node, 'restore_command', 'test -e /nowhere/%f && cp /nowhere/%f "%p"');
	is(not_ok(), '', "$node: a quick restore_command");
	$lab->set($node, 'restore_command', 'sleep 0.5; test -e "%p"');
	is(not_ok(), "warn restore_command $node", "$node: a slow one");
	$lab->set($node, 'restore_command', '/nowhere/restore %f %p');
	is(not_ok(), "fail restore_command $node",
		"$node: one that cannot be run, which ends a server that is promoted or started");
	$lab->set($node, 'restore_command', undef);
}
$lab->set('dallas', 'recovery_end_command', 'rm -f /nowhere/%r');
is(not_ok(), 'warn recovery_settings dallas', 'a recovery_end_command');
$lab->set('dallas', 'recovery_end_command', '/nowhere/end %r');
is(not_ok(), 'fail recovery_settings dallas', 'one that cannot be run');
$lab->set('dallas', 'recovery_end_command', undef);
$lab->set('dallas', 'restore_command', 'exec sleep 4321 # %f %p');
is(not_ok(), 'fail restore_command dallas', 'one that never ends');
like(detail('restore_command'),
	qr/^restore_command does not end within \d+ ms when the file is not there\. .* in the blackout/, 'in its words');
$lab->until_true('the command to be ended', sub {
	return !grep {
		my $fh;
		open($fh, '<', $_) && do { local $/; (<$fh> // '') =~ /^sleep\0004321\0/ }
	} glob '/proc/[0-9]*/cmdline';
});
$lab->set('dallas', 'restore_command', undef);
$lab->set('dallas', 'recovery_end_command', 'true');
is(not_ok(), 'warn recovery_settings dallas', 'recovery_end_command');
$lab->set('dallas', 'recovery_end_command', undef);

# ---- the login of pg_rewind ----

edit_agent('chicago', sub { s/^rewind = user=\S+/rewind = user=replicator/m });
is(not_ok(), 'warn rewind_login chicago', 'a role that may not read what pg_rewind reads');
like(detail('rewind_login'), qr/it may not execute .*pg_read_binary_file/, 'what it may not');
is(not_ok('rewind_login', '{"method": "rewind"}'), 'fail rewind_login chicago',
	'it is needed for the method "rewind"');
my %rewind = map { $_ => $lab->env("DSN_$_") =~ s/dbname=app/dbname=postgres/r } qw(chicago dallas);
$lab->sql($rewind{chicago}, map { "GRANT EXECUTE ON FUNCTION $_ TO replicator" } 'pg_ls_dir(text,boolean,boolean)',
	'pg_stat_file(text,boolean)', 'pg_read_binary_file(text)',
	'pg_read_binary_file(text,bigint,bigint,boolean)');
$lab->wait_for($rewind{dallas}, q{SELECT has_function_privilege('replicator', 'pg_ls_dir(text,boolean,boolean)',
	'EXECUTE')}, 'the grants on the standby');
is(not_ok(), '', 'and with the grants of its documentation');
edit_agent('chicago', sub { s/^rewind = user=\S+/rewind = user=nobody_there/m });
is(not_ok('rewind_login'), 'warn rewind_login chicago', 'a role that cannot log in');
edit_agent('chicago', sub { s/^rewind = user=\S+/rewind = user=@{[$lab->env('LAB_USER')]}/m });

# ---- which server is at an address ----

my %port = map { $_ => $lab->env("PORT_$_") } $lab->nodes;
$lab->sql('chicago', "UPDATE pingpong.node SET port = $port{austin} WHERE name = 'dallas'");
like(not_ok('agent_reachable'), qr/^fail agent_reachable dallas$/m,
	'another server answers at the address of the target');
my $another = qq{another server \\("austin", port $port{austin}, as "\\w+" found it\\)};
my $the_one = qq{the one that its agent controls \\("dallas", port $port{dallas}\\)};
like(detail('agent_reachable'), qr/at 127\.0\.0\.1:$port{austin} answers $another than $the_one/, 'and says which');
$lab->sql('chicago', "UPDATE pingpong.node SET port = $port{dallas} WHERE name = 'dallas'");
$lab->sql('chicago', "UPDATE pingpong.node SET port = $port{austin} WHERE name = 'chicago'");
is(not_ok('agent_reachable'), 'fail agent_reachable chicago', 'another server answers at the address of the source');
$lab->sql('chicago', "UPDATE pingpong.node SET port = $port{chicago} WHERE name = 'chicago'");
$lab->sql('chicago', "UPDATE pingpong.node SET port = 9 WHERE name = 'austin'");
is(not_ok('agent_reachable'), 'warn agent_reachable austin', 'an address that nobody tried');
$lab->sql('chicago', "UPDATE pingpong.node SET port = $port{austin} WHERE name = 'austin'");
is(not_ok(), '', 'all right again');

# ---- what an earlier run relaxed ----

$lab->sql('chicago',
	q{INSERT INTO pingpong.relaxed VALUES ('chicago', 'synchronous_standby_names', '', 'nobody', now(), 7)});
is(not_ok(), 'warn relaxed_settings chicago', 'a setting that is still relaxed');
like(detail('relaxed_settings'),
	qr/^synchronous_standby_names of "chicago" is relaxed since 20\S+ \S+ \(run 7\)\. It becomes 'nobody' when/,
	'which, since when, and what it becomes');
$lab->sql('chicago', 'DELETE FROM pingpong.relaxed');

# ---- away on purpose ----

$lab->kill9('agent', 'austin');
$lab->kill9('postgres', 'austin');
like(not_ok(), qr/^warn agent_reachable austin$/m, 'a node that does not answer');
$lab->sql('chicago', q{UPDATE pingpong.node SET away_since = now() WHERE name = 'austin'});
is(not_ok(), "info agent_reachable austin\nwarn inactive_slots chicago",
	'one that is away: nobody waits for it, but its slot keeps WAL');
is($lab->sql('chicago', q{SELECT count(*) FROM pingpong.plan('dallas') WHERE node = 'austin'}), '0',
	'nor plans anything with it');
is($lab->sql('chicago', q{SELECT string_agg(concat_ws(' ', status, name, node), ', ' ORDER BY name)
		FROM pingpong.preflight('austin') WHERE status <> 'ok' AND name <> 'backup'}),
	'fail roles austin, fail target_streaming austin', 'a target that is away');
$lab->sql('chicago', q{UPDATE pingpong.node SET away_since = NULL});
$lab->start_pg('austin');
$lab->start_agent('austin');
streaming('austin');
is(not_ok(), '', 'it is back');

# ---- a second primary ----

$lab->sql('austin', 'SELECT pg_promote(true, 30)');
like(not_ok(), qr/^fail roles austin$/m, 'a node that was promoted by hand');
my $second = 'a second primary, on timeline 2; this server is on timeline 1\.';
my $older = 'This server is the older one: .*';
like(detail('roles'), qr/^not in recovery: $second $older On "austin", pingpong\.rebuild\('chicago'\)/,
	'this server is the older one, and what keeps the newer');
is(advised(q{rebuild\(''austin''\)}), '', 'nothing advises to overwrite the newer');
$lab->sql('austin', 'CHECKPOINT');
is($lab->sql('chicago', q{SELECT detail FROM pingpong_check.second_primary('austin', false, 1)}) =~ s/.*: //r,
	'a second primary, on timeline 1; this server is on timeline 1', 'the same timeline');
is($lab->sql('chicago', q{SELECT bool_or(h.hint ~ 'rebuild\('), bool_and(h.hint ~ 'cannot be told')
		FROM unnest('{1,NULL}'::int[]) t, pingpong_check.second_primary('austin', false, t) h}), 'f|t',
	'where it cannot be told, nothing is advised');
is($lab->sql('chicago', q{SELECT hint FROM pingpong_check.second_primary('austin', false, 0)})
	=~ /^That one is the older.*pingpong\.rebuild\('austin'\), here/ ? 1 : 0, 1, 'the other one is the older');
$lab->sql('chicago', q{UPDATE pingpong.node SET away_since = now() WHERE name = 'austin'});
like(not_ok(), qr/^fail roles austin$/m, 'also when it should be away');

done_testing();
