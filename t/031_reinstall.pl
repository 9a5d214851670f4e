# What is kept when the extension is dumped, restored, dropped and created again: rows of the site, and the epoch,
# without which the agents would refuse everything. An epoch that only the agents know is taken over where it is
# proved that this is the right primary, and nowhere else.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, poolers => 1, port => 21000);
my $bin = $lab->env('PGBIN');
my $switchover = q{SELECT run, state, new_primary FROM pingpong.switchover('%s')};
$lab->wait_for($_, 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker') for $lab->nodes;

is($lab->sql('chicago', 'SELECT count(*), pingpong_internal.known_epoch() FROM pingpong.cluster'), '0|0',
	'a new installation: no epoch yet');
my ($out, $err) = $lab->try_sql('chicago', sprintf $switchover, 'dallas');
is($out, '1|switched|dallas', 'the first switchover') or diag($err);
is(join(' ', $lab->settle(1)), 'succeeded done dallas', 'the first switchover succeeded');
is($lab->sql('dallas',
	'SELECT c.epoch, r.epoch, pingpong_internal.known_epoch() FROM pingpong.cluster c, pingpong.run r'),
	'1|1|1', 'its epoch');
sub streaming
{
	my ($from, $who) = @_;
	return $lab->wait_for($from, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$who' AND state = 'streaming'", "$who to stream");
}
streaming('dallas', 'chicago');

# ---- dump and restore ----

$lab->sql('dallas',
	q{SELECT pingpong.copy_runbook('switchover', 'site')},
	q{CREATE FUNCTION pingpong_check.check_site(target text, options jsonb) RETURNS SETOF pingpong_check.finding
	  LANGUAGE sql AS $$SELECT ROW(target, 'ok', 'it is fine', NULL)::pingpong_check.finding$$},
	q{INSERT INTO pingpong.preflight_check VALUES (101, 'site', 'site', false, 'of the site')},
	q{INSERT INTO pingpong.run_option (name, type, comment) VALUES ('of_the_site', 'boolean', 'of the site')},
	q{INSERT INTO pingpong.relaxed VALUES ('dallas', 'synchronous_standby_names', '', 'nobody', '2026-11-22', 1)},
	q{SELECT pingpong.add_node('austin', '127.0.0.1', 1, 'http://127.0.0.1:1', NULL, 'chicago')},
	q{UPDATE pingpong.node SET away_since = '2026-11-22' WHERE name = 'austin'},
	q{INSERT INTO pingpong.run (id, key, runbook, source, target, epoch, state)
		VALUES (99, 'r99', 'switchover', 'dallas', 'chicago', 99, 'running')},
	q{INSERT INTO pingpong.step (run, ordinal, action, node, state)
		VALUES (99, 10, 'checkpoint', 'dallas', 'running')});
my $dump = $lab->dir . '/run/dump.sql';
my $owner = 'host=127.0.0.1 port=' . $lab->env('PORT_dallas') . ' dbname=app user=app passfile='
	. $lab->env('PASSFILE');
my $said = `$bin/pg_dump -d '$owner' -f $dump 2>&1`;
is("$?: $said", '0: ', 'the owner of the database, who is no superuser, can dump it; nothing is warned of');
$lab->sql('dallas', q{DELETE FROM pingpong.run WHERE id = 99});

# a cluster of its own, which a superuser restores into
my $fresh = $lab->dir . '/run/fresh';
my $dsn = 'host=' . $lab->dir . '/run port=' . ($lab->base + 69) . ' user=postgres dbname=app';
my @as = $> == 0 ? ('setpriv', '--reuid', $lab->env('LAB_USER'), '--regid', $lab->env('LAB_USER'), '--clear-groups')
	: ();
sub as_lab { my (@command) = @_; return system(@as, 'sh', '-c', "@command >>$fresh.log 2>&1") == 0; }
ok(as_lab("$bin/initdb -D $fresh -U postgres -A trust -N -E UTF8 --locale=C.UTF-8"), 'initdb');
open my $fh, '>>', "$fresh/postgresql.conf" or die "$fresh: $!";
printf $fh "port = %d\nunix_socket_directories = '%s/run'\nlisten_addresses = ''\nfsync = off\n"
	. "shared_preload_libraries = 'pg_pingpong'\npingpong.database = 'app'\n",
	$lab->base + 69, $lab->dir;
close $fh;
ok(as_lab("$bin/pg_ctl -D $fresh -s -w -l $fresh.server start"), 'a fresh cluster');

END
{
	local $?;
	as_lab("$bin/pg_ctl -D $fresh -s -m immediate stop") if defined $fresh && -e "$fresh/postmaster.pid";
}

$lab->sql($dsn =~ s/dbname=app/dbname=postgres/r, 'CREATE ROLE app LOGIN', 'CREATE DATABASE app OWNER app');
ok(as_lab("$bin/psql -XAtq -v ON_ERROR_STOP=1 -d '$dsn' -f $dump"), 'restored without an error')
	or diag(`tail -n 5 $fresh.log`);

for my $what (
	['the epoch', 'SELECT epoch FROM pingpong.cluster'],
	['nodes', 'SELECT * FROM pingpong.node ORDER BY name'],
	['routes', 'SELECT * FROM pingpong.route ORDER BY name'],
	['endpoints', 'SELECT name, route, router, endpoint FROM pingpong.route_endpoint ORDER BY name'],
	['runs', 'SELECT * FROM pingpong.run ORDER BY id'],
	['steps', 'SELECT * FROM pingpong.step ORDER BY run, ordinal, action, node'],
	['runbooks, built in and of the site',
		'SELECT * FROM pingpong.runbook_step ORDER BY runbook, ordinal, action, node'],
	['checks', 'SELECT * FROM pingpong.preflight_check ORDER BY name'],
	['a check of the site', q{SELECT * FROM pingpong_check.check_site('chicago', '{}')}],
	['options', 'SELECT * FROM pingpong.run_option ORDER BY name'],
	['what is relaxed', 'SELECT * FROM pingpong.relaxed'])
{
	my ($name, $query) = @$what;
	my $here = $lab->sql('dallas', $query);
	isnt($here, '', "$name: there is something to keep");
	is($lab->sql($dsn, $query), $here, "$name: kept");
}
is($lab->sql($dsn, q{SELECT count(*) FROM pingpong.run WHERE state = 'running'}), '0',
	'a run that goes on stays where it goes on');
is($lab->sql($dsn, 'SELECT pingpong_internal.known_epoch(), pingpong_internal.agents_epoch() IS NULL,
	pingpong_internal.primary_is_proved()'),
	'1|t|f', 'and the fresh cluster knows its epoch');
as_lab("$bin/pg_ctl -D $fresh -s -m immediate stop");
$lab->sql('dallas', q{DELETE FROM pingpong.preflight_check WHERE NOT builtin}, q{DELETE FROM pingpong.relaxed},
	q{SELECT pingpong.drop_node('austin')});

# ---- dropped and created again ----

# what the check says: of how many agents, and how bad it is
sub epochs
{
	return $lab->sql('dallas',
		q{SELECT coalesce(string_agg(DISTINCT status, ' ' ORDER BY status), 'none') || ' ' || count(*)
			FROM pingpong.preflight('chicago') WHERE name = 'no_other_run' AND detail ~ 'epoch'});
}

$lab->sql('dallas', 'CREATE TEMP TABLE n AS SELECT * FROM pingpong.node',
	'CREATE TEMP TABLE r AS SELECT * FROM pingpong.route',
	'DROP FUNCTION pingpong_check.check_site', 'DROP EXTENSION pg_pingpong', 'CREATE EXTENSION pg_pingpong',
	q{SELECT pingpong.add_node(name, host, port, agent_url, slot) FROM n WHERE kind = 'postgres'},
	q{SELECT pingpong.add_router(name, agent_url) FROM n WHERE kind = 'router'},
	'SELECT pingpong.add_route(name, kind, driver, router, endpoint, databases) FROM r');
is($lab->sql('dallas', 'SELECT pingpong_internal.known_epoch()'), '0', 'made anew: the epoch is forgotten');
is(epochs(), 'info 3',
	'made anew: the epoch of the agents can be taken over, as the standby proves that this is the primary');

$lab->kill9('agent', 'chicago');
is(epochs(), 'fail 2', 'a standby of which nothing is known proves nothing');
my ($refused, $why) = $lab->try_sql('dallas', sprintf $switchover, 'chicago');
like($why, qr/no_other_run \(pooler1\): its agent has seen epoch 1, this database is at 0/,
	'and the switchover is refused with it');
$lab->start_agent('chicago');

my $conninfo = $lab->sql('chicago', 'SHOW primary_conninfo');
$lab->set('chicago', 'primary_conninfo', $conninfo =~ s/port=\d+/port=9/r);
$lab->wait_for('dallas', 'SELECT count(*) = 0 FROM pg_stat_replication', 'chicago to lose its stream');
is(epochs(), 'fail 3', 'a standby that streams from elsewhere proves nothing');
$lab->set('chicago', 'primary_conninfo', $conninfo);
streaming('dallas', 'chicago');

($out, $err) = $lab->try_sql('dallas', sprintf $switchover, 'chicago');
is($out, '1|switched|chicago', 'made anew: a switchover works') or diag($err);
is(join(' ', $lab->settle(1)), 'succeeded done chicago', 'made anew: the run succeeded');
is($lab->sql('chicago', 'SELECT c.epoch, r.epoch FROM pingpong.cluster c, pingpong.run r'), '2|2',
	'made anew: its epoch follows that of the agents');
streaming('chicago', 'dallas');

# ---- an older epoch, as of a restored backup ----

$lab->sql('chicago', 'UPDATE pingpong.cluster SET epoch = 1', 'UPDATE pingpong.run SET epoch = 1');
my $epoch = sub { return $lab->sql('chicago', q{SELECT string_agg(DISTINCT status, ' ')
	FROM pingpong.preflight('dallas') WHERE name = 'no_other_run' AND detail ~ 'epoch'}) };
is($epoch->(), 'info', 'restored: the epoch can be taken over');
is($lab->sql('chicago', q{SELECT state FROM pingpong.rebuild('dallas')}), 'succeeded',
	'restored: other runs go on from the epoch of the agents, too');
is($lab->sql('chicago', 'SELECT epoch FROM pingpong.run ORDER BY id DESC LIMIT 1'), '2', 'restored: and say so');
($out, $err) = $lab->try_sql('chicago', sprintf $switchover, 'dallas');
is($out, '3|switched|dallas', 'restored: a switchover works') or diag($err);
is(join(' ', $lab->settle(3)), 'succeeded done dallas', 'restored: the run succeeded');
is($lab->sql('dallas', 'SELECT epoch FROM pingpong.run WHERE id = 3'), '3',
	'restored: its epoch follows that of the agents');

done_testing();
