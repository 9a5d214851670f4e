# Preflight on a lab of real servers: a healthy pair has no finding to stop for, and what is broken turns its own row.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use FindBin;
use lib $FindBin::RealBin;
use Ports;
use Test::More;
use Time::HiRes qw(sleep);

my $lab = abs_path(dirname(__FILE__) . '/..') . '/demo/lab';
my $dir = tempdir('pingpong-preflight-XXXXXX', TMPDIR => 1, CLEANUP => 0);
my $base = Ports::take($ENV{PINGPONG_TEST_PORT} // 17400);
rmdir $dir;

my @version = $ENV{PG} ? ('--pg-version', $ENV{PG}) : ();
system($lab, 'up', '--dir', $dir, '--port-base', $base, '--fast', '--set', 'max_prepared_transactions=5',
		@version) == 0
  or die 'the lab does not come up';

my $main = $$;
END { system($lab, 'down', '--dir', $dir) if defined $main && $$ == $main && -d $dir; }

my %env;
open my $fh, '<', "$dir/lab.env" or die "no lab.env: $!";
/^(\w+)='?(.*?)'?$/ and $env{$1} = $2 while <$fh>;
close $fh;
my $psql = "$env{PGBIN}/psql";
my @as = $> == 0 ? ('setpriv', '--reuid', $env{LAB_USER}, '--clear-groups', '--regid', $env{LAB_USER}) : ();

# Statements, each in a transaction of its own, in one session.
sub sql
{
	my ($node, @statements) = @_;
	open my $out, '-|', @as, $psql, '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $env{"DSN_$node"},
		map { ('-c', $_) } @statements
	  or die "psql: $!";
	local $/;
	my $text = <$out> // '';
	close $out or die "psql failed on $node: @statements";
	$text =~ s/\n\z//;
	return $text;
}

# The checks that say this status, as a sorted list of names.
sub names
{
	my ($status, $target) = @_;
	$target //= 'dallas';
	return sql('chicago', "SELECT coalesce(string_agg(DISTINCT name, ' ' ORDER BY name), '')
		FROM pingpong.preflight('$target') WHERE status = '$status'");
}

sub wait_for
{
	my ($node, $query, $what) = @_;
	for (1 .. 200)
	{
		return if sql($node, $query) eq 't';
		sleep 0.05;
	}
	die "waited too long for $what";
}

sub set_on
{
	my ($node, $name, $value) = @_;
	my $is = sql($node, "SHOW $name");
	sql($node, defined $value ? "ALTER SYSTEM SET $name = '$value'" : "ALTER SYSTEM RESET $name",
		'SELECT pg_reload_conf()');
	wait_for($node, "SELECT current_setting('$name') <> '$is'", "$name on $node");
}

# ---- healthy ----

is(names('fail'), '', 'a healthy pair: nothing stops a switchover');
is(sql('chicago',
	q{SELECT string_agg(DISTINCT number::text, ' ' ORDER BY number::text)
					FROM pingpong_check.preflight_checks('dallas')
					WHERE number IN (1,5,20,45,71)}), '1 20 45 5 71', 'the checks are rows');
is(sql('chicago', q{SELECT count(*) FROM pingpong.preflight_check c
					WHERE coalesce('switchover' = ANY (c.runbooks), true)
					AND NOT EXISTS (SELECT FROM pingpong_check.preflight_checks('dallas') p
						WHERE p.name = c.name)}), '0',
					'each check says something');
is(sql('chicago', q{SELECT count(*) FROM pingpong_check.preflight_checks('dallas')
					WHERE detail LIKE '%SQLSTATE%'}), '0',
	'no check ends with an error');

# ---- bad targets ----

for my $bad ('chicago', 'pooler1', 'nowhere')
{
	is(sql('chicago', "SELECT string_agg(DISTINCT number || status, ' ')
			FROM pingpong_check.preflight_checks('$bad')  WHERE status <> 'ok' AND number = 2"),
		'2fail', "target $bad is refused");
}

# ---- one thing broken at a time ----

sql('dallas', 'SELECT pg_wal_replay_pause()');
wait_for('dallas', q{SELECT pg_get_wal_replay_pause_state() = 'paused'}, 'the pause');
like(names('fail'), qr/\breplay_not_paused\b/, 'replay paused');
sql('dallas', 'SELECT pg_wal_replay_resume()');

set_on('dallas', 'recovery_min_apply_delay', '100ms');
like(names('fail'), qr/\bno_apply_delay\b/, 'delayed replay');
set_on('dallas', 'recovery_min_apply_delay', undef);

set_on('dallas', 'work_mem', '77MB');
like(names('warn'), qr/\bsetting_drift\b/, 'a setting differs');
set_on('dallas', 'work_mem', undef);

sql('chicago', 'BEGIN', 'CREATE TABLE prepared_table (i int)', q{PREPARE TRANSACTION 'preflight'});
like(names('warn'), qr/\bprepared_transactions\b/, 'a prepared transaction');
sql('chicago', q{ROLLBACK PREPARED 'preflight'});

sql('chicago', 'CREATE UNLOGGED TABLE unlogged_table (i int PRIMARY KEY)');
is(names('fail'), 'no_unlogged_relations', 'an unlogged table');
is(sql('chicago', q{SELECT status FROM pingpong_check.preflight_checks('dallas', '{"allow_unlogged": true}')
		WHERE name = 'no_unlogged_relations'}),
	'warn', 'an unlogged table, accepted');
sql('chicago', 'DROP TABLE unlogged_table');

sql('chicago', q{SELECT pg_create_physical_replication_slot('orphan', true)});
like(names('warn'), qr/\binactive_slots\b/, 'a slot that nobody uses');
sql('chicago', q{SELECT pg_drop_replication_slot('orphan')});

sql('chicago', q{UPDATE pingpong.node_fact SET facts = jsonb_set(facts, '{postgres,settings,max_connections}', '"7"')
	WHERE node = 'dallas'});
is(sql('chicago', q{SELECT status FROM pingpong_check.check_hot_standby_settings('dallas', '{}')
					WHERE node = 'dallas'}),
	'fail', 'max_connections differs');

# ---- what cannot be looked at is a warning that says why ----

sql('chicago', q{UPDATE pingpong.node_fact SET ok = false, error = 'connection refused' WHERE node = 'dallas'});
is(sql('chicago', q{SELECT status FROM pingpong_check.check_agent_reachable('dallas', '{}') WHERE node = 'dallas'}),
	'fail', 'a silent agent');
like(sql('chicago', q{SELECT status || ': ' || detail FROM pingpong_check.check_no_apply_delay('dallas', '{}')}),
	qr/^warn: not checked: .*did not answer \(connection refused\)/,
	'a check without facts is a warning with the reason');
sql('chicago', q{INSERT INTO pingpong.preflight_check VALUES (101, 'of_the_site', 'site', false, 'has no function')});
is(sql('chicago', q{SELECT status FROM pingpong_check.preflight_checks('dallas') WHERE name = 'of_the_site'}), 'fail',
	'a broken check is a fail, and leaves the others alone');

# A check that is meant for another runbook is not made.
sql('chicago', q{UPDATE pingpong.preflight_check SET runbooks = '{upgrade}' WHERE name = 'of_the_site'});
my $of_the_site = q{SELECT count(*) FROM pingpong_check.preflight_checks('dallas', '%s') WHERE name = 'of_the_site'};
is(sql('chicago', sprintf $of_the_site, '{}'), '0', 'a check for another runbook is not made');
sql('chicago', q{UPDATE pingpong.preflight_check SET runbooks = '{upgrade,switchover}' WHERE name = 'of_the_site'});
is(sql('chicago', sprintf $of_the_site, '{}'), '1', 'and is for its own');
sql('chicago', q{DELETE FROM pingpong.preflight_check WHERE NOT builtin});

# ---- and healthy again ----

is(names('fail'), '', 'all repaired: nothing stops a switchover');

done_testing();
