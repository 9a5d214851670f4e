# Preflight and the settings: what the next start takes, what new sessions get, what differs. Each is made wrong once,
# and a pair that is right has nothing to say.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Session;
use Test::More;

# Debian calls every cluster "15/main"; the names of the nodes tell them apart
my $lab = Lab->up(fast => 1, poolers => 1, port => 21100,
	set => ['wal_retrieve_retry_interval=200ms', 'cluster_name=15/main', 'archive_mode=on', 'archive_command=true']);
$lab->wait_for($_, 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker') for $lab->nodes;
my @as = $> == 0 ? ('setpriv', '--reuid', $lab->env('LAB_USER'), '--regid', $lab->env('LAB_USER'), '--clear-groups')
	: ();
my $bin = $lab->env('PGBIN');

# The rows that are not ok, of one check or of all: "status name node", one a line.
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
		FROM pingpong.preflight('dallas') WHERE name = '$name' AND status <> 'ok' LIMIT 1");
}

# only in the files: without a reload
sub in_file
{
	my ($node, $name, $value) = @_;
	return $lab->sql($node, defined $value ? "ALTER SYSTEM SET $name = $value" : "ALTER SYSTEM RESET $name");
}

sub restart
{
	my ($node, @more) = @_;
	my $data = $lab->env("PGDATA_$node");
	for my $order (['stop'], ['start', '-l', $lab->env("LOG_$node"), @more])
	{
		system(@as, "$bin/pg_ctl", '-D', $data, '-s', '-w', '-t', '30', '-m', 'fast', @$order) == 0
			or die "pg_ctl @$order";
	}
	$lab->wait_for($node, 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
	return $lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = 'dallas' AND state = 'streaming'}, 'dallas to stream');
}
# a fact as another installation would tell it
sub with_fact
{
	my ($check, $path, $value) = @_;
	my (undef, $text) = split /\n/, $lab->sql('chicago', 'BEGIN',
		"UPDATE pingpong.node_fact SET facts = jsonb_set(facts, '$path', '$value') WHERE node = 'dallas' RETURNING 1",
		"SELECT string_agg(status || ': ' || detail, '; ') FROM pingpong_check.check_$check('dallas', '{}')
			WHERE node = 'dallas'", 'ROLLBACK');
	return $text;
}

is(not_ok(), '', 'a healthy pair, as Debian names its clusters');

# ---- the next start ----

for my $node ('chicago', 'dallas')
{
	in_file($node, 'hot_standby', 'off');
	is(not_ok('hot_standby'), "fail hot_standby $node", "hot_standby of $node from the next start on");
	in_file($node, 'hot_standby', undef);
	in_file($node, 'shared_preload_libraries', q{'auto_explain'});
	is(not_ok('seal_enforced'), "fail seal_enforced $node", "$node would start without pg_pingpong");
	in_file($node, 'shared_preload_libraries', q{'auto_explain, $libdir/pg_pingpong'});
	is(not_ok('seal_enforced'), '', "$node would start with pg_pingpong among others");
	in_file($node, 'shared_preload_libraries', undef);
}

in_file('chicago', 'max_connections', '90');
is(not_ok(), "fail hot_standby_settings chicago\nwarn pending_restart chicago",
	'the source would come back with less than its new primary has');
in_file('chicago', 'max_connections', '110');
is(not_ok(), 'warn pending_restart chicago', 'or with more, which does no harm');
in_file('chicago', 'max_connections', undef);
in_file('chicago', 'port', $lab->base + 69);
is(not_ok(), 'fail pending_restart chicago', 'the source would come back at another port');
in_file('chicago', 'port', undef);
in_file('dallas', 'pingpong.database', q{'postgres'});
is(not_ok('target_worker'), 'fail target_worker dallas', 'the worker of the target would be elsewhere');
in_file('dallas', 'pingpong.database', undef);
in_file('chicago', 'pingpong.database', q{'postgres'});
is(not_ok('target_worker'), 'warn target_worker chicago', 'that of the source would, as a standby');
in_file('chicago', 'pingpong.database', undef);
is(not_ok(), '', 'the files are right again');

# ---- sessions ----

$lab->set('dallas', 'default_transaction_read_only', 'on');
is(not_ok('session_defaults'), 'fail session_defaults dallas', 'the target is read-only by default');
like(detail('session_defaults'),
	qr/default_transaction_read_only is on on the target, off here\. .*ALTER SYSTEM RESET/,
	'with what and how to fix it');
$lab->set('chicago', 'default_transaction_read_only', 'on');
is(not_ok('session_defaults'), 'warn session_defaults dallas', 'both are: clients that write set it themselves');
$lab->set('dallas', 'default_transaction_read_only', undef);
is(not_ok('session_defaults'), 'warn session_defaults dallas', 'only the source is');
$lab->sql('chicago', 'SET default_transaction_read_only = off', 'ALTER SYSTEM RESET default_transaction_read_only',
	'SELECT pg_reload_conf()');
$lab->wait_for('chicago', q{SELECT current_setting('default_transaction_read_only') = 'off'}, 'the default');
in_file('dallas', 'default_transaction_read_only', 'yes');
is(not_ok('session_defaults'), 'fail session_defaults dallas', 'the target will be, with the next reload');
like(detail('session_defaults'), qr/on after a reload/, 'and so it says');
$lab->sql('dallas', 'SELECT pg_reload_conf()');
$lab->wait_for('dallas', q{SELECT current_setting('default_transaction_read_only') = 'on'}, 'the default');
in_file('dallas', 'default_transaction_read_only', undef);
is(not_ok('session_defaults'), 'fail session_defaults dallas', 'the target is, until the next reload');
$lab->sql('dallas', 'SELECT pg_reload_conf()');
$lab->wait_for('dallas', q{SELECT current_setting('default_transaction_read_only') = 'off'}, 'the default');
$lab->sql('chicago', 'ALTER ROLE app SET default_transaction_read_only = on');
is(not_ok('session_defaults'), 'warn session_defaults chicago', 'a role is read-only by default');
$lab->sql('chicago', 'ALTER ROLE app RESET default_transaction_read_only',
	'ALTER DATABASE postgres SET default_transaction_read_only = true');
like(detail('session_defaults'), qr/default_transaction_read_only=true for all roles in database postgres/,
	'so is a database');
$lab->sql('chicago', 'ALTER DATABASE postgres RESET default_transaction_read_only',
	q{ALTER ROLE app SET default_transaction_isolation = 'serializable'});
is(not_ok('session_defaults'), 'info session_defaults chicago', 'an isolation level of its own');
$lab->sql('chicago', 'ALTER ROLE app RESET ALL');
$lab->set('dallas', 'default_transaction_isolation', 'repeatable read');
is(not_ok('session_defaults'), 'warn session_defaults dallas', 'another isolation level on the target');
$lab->set('dallas', 'default_transaction_isolation', undef);

# ---- what differs ----

$lab->set('dallas', 'pingpong.rejoin_timeout', '5min');
is(not_ok('setting_drift'), 'warn setting_drift dallas', 'settings of pg_pingpong that must agree');
$lab->set('dallas', 'pingpong.rejoin_timeout', undef);
$lab->set('dallas', 'log_statement', 'ddl');
is(not_ok('setting_drift'), '', 'and one that need not');
$lab->set('dallas', 'log_statement', undef);

# ---- sessions that cannot be seen ----

$lab->sql('chicago', 'ALTER ROLE app SET track_activities = off');
$lab->wait_for('dallas', q{SELECT rolconfig IS NOT NULL FROM pg_roles WHERE rolname = 'app'},
	'the role on the standby');
my @unseen = map { Session->open($lab, 'host=127.0.0.1 port=' . $lab->env("PORT_$_")
	. ' dbname=app user=app passfile=' . $lab->env('PASSFILE')) } qw(chicago dallas);
is(not_ok(), join("\n", map { "warn $_" } 'idle_in_transaction chicago', 'long_transactions chicago',
		'maintenance_running chicago', 'no_commit_waits chicago', 'standby_queries dallas'),
	'sessions with track_activities off cannot be seen');
$_->close for @unseen;
$lab->sql('chicago', 'ALTER ROLE app RESET ALL');

# ---- the archiver ----

$lab->set('chicago', 'archive_command', 'false');
$lab->sql('chicago', 'CREATE TABLE archived (i int)', 'SELECT pg_switch_wal()');
$lab->wait_for('chicago', 'SELECT failed_count > 0 FROM pg_stat_archiver', 'the archiver to fail');
is(not_ok('archiver'), 'fail archiver chicago', 'the archiver fails');
is(not_ok('archiver', '{"allow_archiver_failure": true}'), 'warn archiver chicago', 'and may be overruled by name');
$lab->set('chicago', 'archive_command', undef);
$lab->sql('chicago', 'CREATE TABLE archived_too (i int)', 'SELECT pg_switch_wal()');
$lab->wait_for('chicago', 'SELECT coalesce(last_archived_time > last_failed_time, false) FROM pg_stat_archiver',
	'the archiver to go on', 90);

# ---- the worker of the target ----

like(with_fact('target_worker', '{postgres,pingpong,worker_pid}', 'null'), qr/^fail: its worker does not run$/,
	'no worker runs there');
like(with_fact('target_worker', '{postgres,pingpong,worker_database}', '"postgres"'),
	qr/^fail: its worker is attached to "postgres", the extension lives in "app"$/, 'it is attached elsewhere');
like(with_fact('target_worker', '{postgres,pingpong,version}', '"0.9"'),
	qr/^fail: pg_pingpong there is of version 0\.9, here [0-9.]+$/, 'another version');
like(with_fact('target_worker', '{postgres,pingpong,extension}', 'null'),
	qr/^fail: the extension is not in database "app" there$/, 'no extension');
like(with_fact('target_worker', '{postgres,pingpong}', 'null'), qr/^fail: not checked: /, 'not to know it is as bad');
my $token = $lab->sql('dallas', 'SHOW pingpong.agent_token_file');
$lab->set('dallas', 'pingpong.agent_token_file', "$token.none");
is(not_ok(), 'fail target_worker dallas', 'its worker cannot read its token');
like(detail('target_worker'), qr/^its worker could not go on: .*\. See to pingpong\.agent_token_file/,
	'with what and how to fix it');
$lab->set('dallas', 'pingpong.agent_token_file', $token);
is(not_ok(), '', 'it can again');
$lab->sql('dallas', q{ALTER SYSTEM SET pingpong.database = 'postgres'});
restart('dallas');
is(not_ok(), 'fail target_worker dallas', 'pingpong.database differs');
like(detail('target_worker'), qr/^pingpong\.database is "postgres" there, "app" here\. .*restart it/,
	'with what and how to fix it');
my (undef, $refused) = $lab->try_sql('chicago', q{SELECT pingpong.switchover('dallas')});
like($refused, qr/fail: target_worker \(dallas\): pingpong\.database is "postgres" there, "app" here\. /,
	'and no switchover begins');
$lab->sql('dallas', 'ALTER SYSTEM RESET pingpong.database');

# ---- the command line ----

restart('dallas', '-o', '-c work_mem=5MB');
is(not_ok('command_line'), '', 'settings on the command line of the target');
is($lab->sql('chicago', q{SELECT detail FROM pingpong.preflight('dallas') WHERE name = 'command_line'
	AND node = 'dallas'}), 'kept by the agent: work_mem', 'are kept by an agent that starts it with pg_ctl');
like(with_fact('command_line', '{postgres,command_line,rows}', '["work_mem", "primary_conninfo"]'),
	qr/^fail: given on its command line: primary_conninfo|; fail: given on its command line: primary_conninfo$/,
	'but not what a run has to change');
# what is on the command line alone, the agent's next start has, too
$lab->sql('dallas', q{ALTER SYSTEM SET shared_preload_libraries = ''});
restart('dallas', '-o', '-c shared_preload_libraries=pg_pingpong');
is(not_ok('seal_enforced'), '', 'pg_pingpong on the command line alone');
$lab->sql('dallas', q{ALTER SYSTEM RESET shared_preload_libraries});
restart('dallas');
restart('chicago', '-o', '-c work_mem=5MB');
not_ok();
$lab->sql('chicago', q{UPDATE pingpong.node_fact SET facts = jsonb_set(facts, '{service}', '{"method": "systemctl"}')
	WHERE node = 'chicago'});
is($lab->sql('chicago', q{SELECT status FROM pingpong_check.check_command_line('dallas', '{}')
	WHERE node = 'chicago'}),
	'info', 'or starts it as it is started by others');
restart('chicago');

# ---- room, and who may connect ----

like(with_fact('connections', '{postgres,sessions,clients}', '95'),
	qr/^fail: max_connections 100 there, 95 sessions there, \d+ here, 3 reserved for superusers$/,
	'no room on the target');
my @here = map { Session->open($lab, 'chicago') } 1 .. 7;
$_->ask('SELECT 1') for @here;
like(with_fact('connections', '{postgres,sessions,clients}', '91'),
	qr/^warn: max_connections 100 there, 91 sessions there/, 'no room on the target for those that are here, too');
$_->close for @here;
my $hba = $lab->env('PGDATA_dallas') . '/pg_hba.conf';
my $rules = do { local (@ARGV, $/) = ($hba); <> };
sub hba
{
	my ($text) = @_;
	open my $fh, '>', $hba or die "$hba: $!";
	print $fh $text;
	close $fh or die "$hba: $!";
	$lab->sql('dallas', 'SELECT pg_reload_conf()');
	return $lab->sql('chicago',
		q{SELECT status || ': ' || detail FROM pingpong.preflight('dallas') WHERE name = 'same_hba_rules'});
}
like(hba("host app app 127.0.0.1/32 reject\n$rules"),
	qr/^warn: rules of pg_hba\.conf only on the target: host app app 127\.0\.0\.1 reject$/,
	'clients that only the target refuses');
like(hba($rules =~ s/^host all,replication all/host all,replication replicator,postgres/mr),
	qr/^warn: rules of pg_hba\.conf not on the target: host all all 127\.0\.0\.1 scram-sha-256$/,
	'clients that the target does not know');
like(hba(join "\n", reverse split /\n/, $rules), qr/^warn: rules of pg_hba\.conf in another order there: /,
	'another order');
like(hba($rules), qr/^ok: /, 'the same rules');

# ---- what the role, the database or the server may have otherwise ----

# No session is ended by it, no check reads wrongly.
{
	# what a caller's statement is let to take is the caller's own
	local $ENV{PGOPTIONS} = '-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 '
		. '-c idle_in_transaction_session_timeout=0 -c default_transaction_isolation=read\\ committed';
	$lab->sql('chicago', "ALTER DATABASE app SET $_") for 'standard_conforming_strings = off',
		'escape_string_warning = off', q{DateStyle = 'German'}, q{IntervalStyle = 'sql_standard'},
		'extra_float_digits = -15', 'transform_null_equals = on', 'array_nulls = off', q{lock_timeout = '1ms'},
		q{idle_in_transaction_session_timeout = '1ms'}, q{default_transaction_isolation = 'serializable'},
		q{idle_session_timeout = '1ms'}, q{statement_timeout = '1ms'};
	$lab->wait_for('dallas', q{SELECT count(*) = 12 FROM pg_db_role_setting, unnest(setconfig) s}, 'the settings');
	restart($_) for 'chicago', 'dallas';
	is(not_ok(), 'info session_defaults chicago', 'hostile settings of the database');
	$lab->sql('chicago', 'ALTER DATABASE app RESET ALL');
}

is(not_ok(), '', 'all is fixed: nothing to say');

done_testing();
