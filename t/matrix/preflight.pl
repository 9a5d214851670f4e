# Preflight of an upgrade: each check is made to speak by what it is about, and a pair that is fit has nothing to say
# but what is for the report. Nothing is upgraded here.
#
# PINGPONG_NEW_BIN is the folder of the new major's programs, with the extension installed (ci/upgrade gives it).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use Lab;
use Session;
use IO::Socket::UNIX;
use Test::More;

my $new_bin = $ENV{PINGPONG_NEW_BIN} // '';
plan skip_all => 'there is no other major (ci/upgrade runs this)' unless -x "$new_bin/pg_upgrade";
my ($to) = `$new_bin/postgres --version` =~ /\) (\d+)/;

my $lab = Lab->up(poolers => 1, nodes => 2, port => 21850, set => ['wal_level=logical', 'max_prepared_transactions=5',
	'archive_mode=on', 'archive_command=true']);
my %new = map { $_ => $lab->dir . "/$_/new" } 'chicago', 'dallas';
my $old_data = $lab->env('PGDATA_chicago');
my ($from) = $lab->sql('chicago', 'SHOW server_version_num') =~ /^(\d+)\d{4}$/;

sub preflight
{
	my ($name, $mode, $columns) = @_;
	$columns //= q{status || ' ' || node || ': ' || detail};
	my ($out, $err, $rc) = $lab->try_sql('chicago', qq[SELECT $columns
		FROM pingpong.preflight('chicago', '{"runbook": "upgrade", "to_version": $to, "mode": "]
		. ($mode // 'copy') . qq["}') WHERE name ~ '^($name)\$' ORDER BY 1]);
	return $rc == 0 ? $out : "failed: $err";
}

# what a check would say if the agent of that node told something else
sub with_fact
{
	my ($check, $node, $path, $value) = @_;
	my @lines = split /\n/, $lab->sql('chicago', 'BEGIN', "UPDATE pingpong.node_fact
		SET facts = jsonb_set(facts, '{upgrade,$path}', '$value') WHERE node = '$node'",
		"SELECT status || ' ' || node || ': ' || detail FROM pingpong_check.check_$check('chicago', '{}')",
		'ROLLBACK');
	return join "\n", @lines;
}

sub add_text
{
	my ($file, $text) = @_;
	open my $out, '>>', $file or die "$file: $!";
	print $out $text;
	return close $out;
}

# The check says so, and an upgrade is refused for it, if it is a fail. Then it is put right.
sub says
{
	my ($check, $pattern, $what, %more) = @_;
	like(preflight($check, $more{mode}), $pattern, $what);
	$more{then}->() if $more{then};
	unlike(preflight($check, $more{mode}), $pattern, "$what: put right") if $more{then};
	return;
}

# ---- the agents ----

my $no_successor = 'fail %1$s: the agent of node "%1$s" knows no successor of version ' . $to;
is(preflight('upgrade_successor'), join("\n", map { sprintf $no_successor, $_ } 'chicago', 'dallas'), 'no successor');
foreach my $node ('chicago', 'dallas')
{
	add_text($lab->agent_dir($node) . '/agent.ini',
		"\n[postgresql.next]\ndata = $new{$node}\nbin = $new_bin\nsuccessor = yes\n");
	kill 'HUP', $lab->pid('agent', $node);
	$lab->until_true('the successor to be known', sub { grep { $_->{name} eq 'next' }
		@{ $lab->act($node, 'r', 0, 'facts')->{results}[0]{instances} } });
}
like(preflight('upgrade_successor'),
	qr/^ok chicago: version $to\.\d+, for the folder "[^"]*chicago\/new"\nok dallas: /, 'the successors');
is($lab->act('chicago', 'r', 0, 'facts')->{results}[0]{upgrade}, undef, 'who does not ask is not told');
is($lab->sql('chicago', q{SELECT count(*) FROM pingpong.preflight('dallas') WHERE name ~ '^upgrade_'}), '0',
	'a switchover has none of these checks');

# ---- a pair that is fit ----

is(join("\n", grep { !/^(ok|info upgrade_(extensions|settings)$)/ } split /\n/, preflight('.*', 'copy',
	q{DISTINCT status || ' ' || name || CASE WHEN status IN ('fail', 'warn') THEN ' ' || detail ELSE '' END})),
	join("\n", 'info backup', map({ "info upgrade_$_" } qw(objects tried_later way_back)),
		'warn upgrade_rehearsal it was never rehearsed'),
	'a pair that is fit');
note('the facts take ' . $lab->sql('chicago', q{SELECT string_agg(round(extract(epoch FROM at - now()) * -1000) || ' '
	|| (facts ->> 'elapsed_ms'), ', ') FROM pingpong.node_fact}));
is(preflight('roles|target_streaming|same_timeline|replay_lag|rewind_possible|target_worker'), '',
	'checks of a move are not made');
is(preflight('agent_reachable|agent_actions|clock_skew|no_other_run|seal_enforced|routes_observed', 'copy',
	'DISTINCT name') =~ tr/\n// + 1, 6, 'those of both are');
is($lab->sql('chicago', q{SELECT count(*) FROM pingpong.preflight_check c WHERE c.runbooks @> '{upgrade}'
	AND NOT EXISTS (SELECT
		FROM pingpong_check.preflight_checks('chicago', '{"runbook": "upgrade", "to_version": 18}') p
		WHERE p.name = c.name)}), '2', 'each check has a row, but those of links and snapshots in mode copy');
like(preflight('upgrade_minor_release'), $from == 15 && $to == 18 ? qr/^ok chicago: 15/ : qr/^\w+ chicago: /,
	'the releases are compared');
is($lab->sql('chicago', q{SELECT pingpong_check.release_round(15, 18) < pingpong_check.release_round(18, 6),
	pingpong_check.release_round(15, 20) > pingpong_check.release_round(18, 5),
	pingpong_check.release_round(17, 11) = pingpong_check.release_round(18, 5), pingpong_check.release_round(19, 1)}),
	't|t|t|', 'rounds of releases');

# ---- what it does not take ----

sub refused
{
	my ($sql, $pattern, $what) = @_;
	my (undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose', $sql);
	return like($err, $pattern, $what);
}
my $call = q{SELECT * FROM pingpong.preflight('%s', '{"runbook": "upgrade"%s}')};
refused(sprintf($call, 'dallas', ', "to_version": 18'), qr/^ERROR:  22023: node "dallas" is not this server/m,
	'another node');
refused(sprintf($call, 'chicago', ''), qr/^ERROR:  22023: "to_version" must be a whole number/m, 'no version');
refused(sprintf($call, 'chicago', ", \"to_version\": $from"), qr/^ERROR:  22023: the new version must be above/m,
	'the present version') if $from > 15;
refused(sprintf($call, 'chicago', ', "to_version": 18, "mode": "magic"'), qr/^ERROR:  22023: "mode" must be/m,
	'an unknown mode');
is($lab->sql('chicago', q{SELECT string_agg(status || ' ' || name || ' ' || detail, '; ')
	FROM pingpong_check.preflight_checks('dallas', '{"runbook": "upgrade", "to_version": 18}')}),
	'fail upgrade_node node "dallas" is not this server', 'another node: only one check');

# ---- on the hosts ----

mkdir $new{dallas};
add_text("$new{dallas}/precious", 'x');
says('upgrade_successor', qr/^fail dallas: "[^"]*dallas\/new" is not empty$/m, 'a folder with something in it',
	then => sub { unlink "$new{dallas}/precious" });
like(preflight('upgrade_links', 'link'), qr/^ok chicago: a file could be taken over$/, 'links are possible');
like(preflight('upgrade_links', 'clone'), qr/^(ok|fail) chicago: (a file|mode "clone" is not possible)/,
	'clones: tried');
like(preflight('upgrade_snapshot', 'link'), qr/^ok chicago: none is configured: no way back/, 'no snapshot');
like(preflight('upgrade_snapshot', 'swap'), qr/^fail chicago: mode swap needs a snapshot: nothing else leads back$/,
	'mode swap needs one');
like(preflight('upgrade_links', 'swap'), $to >= 18 ? qr/^ok chicago: a file could be taken over$/ :
	qr/^fail chicago: mode "swap" is of pg_upgrade 18, not of $to$/, 'mode swap needs 18');
is(join(' ', glob("$new{chicago}/* $new{chicago}/.pingpong* " . $lab->dir . '/chicago/.pingpong-link*')), '',
	'nothing is left of the trial');
SKIP: {
	skip 'the other file system cannot be used', 1
		unless (stat '/dev/shm')[0] != (stat $lab->dir)[0] && -w '/dev/shm';
	my $ini = $lab->agent_dir('chicago') . '/agent.ini';
	my $far = "/dev/shm/pp-new.$$";
	system("sed -i 's|^data = $new{chicago}\$|data = $far|' $ini") == 0 or die;
	kill 'HUP', $lab->pid('agent', 'chicago');
	$lab->until_true('the other folder', sub { preflight('upgrade_successor') =~ /\Q$far\E/ });
	says('upgrade_links', qr/^fail chicago: mode "link" is not possible from .* to .*: Invalid cross-device link$/,
		'links to another file system', mode => 'link');
	system("sed -i 's|^data = $far\$|data = $new{chicago}|' $ini") == 0 or die;
	kill 'HUP', $lab->pid('agent', 'chicago');
	$lab->until_true('the folder', sub { preflight('upgrade_successor') =~ /\Q$new{chicago}\E/ });
}
my $folder = $lab->sql('chicago', q{SELECT facts #>> '{upgrade,socket,folder}' FROM pingpong.node_fact
	WHERE node = 'chicago'});
my $busy = IO::Socket::UNIX->new(Local => "$folder/.s.PGSQL.50433", Listen => 1) or die $!;
says('upgrade_sockets', qr/^fail chicago: a server listens in "[^"]+" at port 50433$/, 'a port of pg_upgrade is used',
	then => sub { close $busy; unlink "$folder/.s.PGSQL.50433" });
like(preflight('upgrade_disk_space'),
	qr/^ok chicago: the new server needs \d+ MB in "[^"]+", .* are free\nok dallas: /, 'room');
like(with_fact('upgrade_disk_space', 'dallas', 'room,rows,0,free', '5'),
	qr/^fail dallas: the new server needs \d+ MB in "[^"]+", 5 bytes are free$/m, 'no room');
like(with_fact('upgrade_same_release', 'dallas', 'version', '"18.0"'),
	qr/^warn chicago: \S+ on "chicago", 18\.0 on "dallas"$/m, 'another release on a standby');
$lab->kill9('agent', 'dallas');
says('upgrade_successor', qr/^fail dallas: not checked: the agent of node "dallas" did not answer/m,
	'a silent agent of a standby');
{
	local $ENV{PGHOST} = '/nowhere';
	$lab->start_agent('dallas');
}
says('upgrade_environment', qr/^warn dallas: PGHOST in the environment of the agent$/m, 'its environment',
	then => sub { $lab->kill9('agent', 'dallas'); $lab->start_agent('dallas'); });

# ---- the configuration ----

add_text("$old_data/postgresql.conf", "old_snapshot_threshold = -1\nssl = on\n") if $from < 17;
$lab->sql('chicago', q{ALTER SYSTEM SET wal_compression = 'on'});
system("openssl req -new -x509 -days 2 -nodes -text -subj /CN=chicago -out $old_data/server.crt "
	. "-keyout $old_data/server.key >/dev/null 2>&1; chmod 600 $old_data/server.key") == 0 or die;
$lab->sql('chicago', 'SELECT pg_reload_conf()');
$lab->wait_for('chicago', q{SELECT current_setting('ssl') = 'on'}, 'the settings') if $from < 17;
says('upgrade_settings', $from < 17 ? qr/^info chicago: not known to the new version, .*: old_snapshot_threshold; / :
	qr/^info chicago: /, 'what is not carried');
like(preflight('upgrade_settings'), qr/set by ALTER SYSTEM and not in "carry": wal_compression/, 'nor is that');
$lab->sql('chicago', q{ALTER ROLE ALL SET work_mem = '5MB'});
says('upgrade_settings', qr/^warn chicago: set by ALTER ROLE ALL, which is lost: work_mem$/m, 'what pg_upgrade loses',
	then => sub { $lab->sql('chicago', 'ALTER ROLE ALL RESET work_mem') });
rename "$old_data/server.key", "$old_data/away" or die $!;
says('upgrade_files', qr/^fail chicago: ssl_key_file "[^"]*server\.key": No such file/m, 'a key that is not there',
	then => sub { rename "$old_data/away", "$old_data/server.key" or die $! }) if $from < 17;
rename "$old_data/away", "$old_data/server.key" if -e "$old_data/away";

# ---- what the databases hold ----

$lab->sql('chicago', q{CREATE DATABASE forgotten TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu
	ICU_LOCALE 'en' LOCALE 'C'});
my $forgotten = $lab->env('DSN_chicago') =~ s/dbname=\S+/dbname=forgotten/r;
$lab->sql($forgotten, 'CREATE TABLE rights (p regproc, d int)', 'CREATE DOMAIN d AS regoper',
	'CREATE TYPE c AS (x int, y d)', 'CREATE TABLE nested (v c[], w regclass)',
	'INSERT INTO rights (d) VALUES (1), (1)');
$lab->try_sql($forgotten, 'CREATE UNIQUE INDEX CONCURRENTLY broken ON rights (d)');
says('upgrade_column_types', qr/^fail chicago: database "forgotten": 2 columns .*: public\.nested\.v \(.*c\[\]\), /m,
	'types that name objects', then => sub { $lab->sql($forgotten, 'ALTER TABLE rights DROP p',
		'ALTER TABLE nested DROP v') });
if ($from < 16)
{
	$lab->sql($forgotten, 'CREATE TABLE acl (a aclitem)');
	says('upgrade_column_types', qr/^fail chicago: .*public\.acl\.a \(aclitem\)$/m, 'an aclitem',
		then => sub { $lab->sql($forgotten, 'DROP TABLE acl') });
}
says('upgrade_indexes', qr/^warn chicago: database "forgotten": 1 indexes that are not valid: public\.broken$/m,
	'an invalid index', then => sub { $lab->sql($forgotten, 'DROP INDEX broken') });
if ($from < 17 && $to >= 17)
{
	$lab->sql($forgotten, 'CREATE EXTENSION adminpack');
	says('upgrade_extensions', qr/^fail chicago: .* no extension "adminpack" \(in the databases forgotten\)$/m,
		'an extension that the new major does not have');
	says('upgrade_libraries', qr/^fail chicago: .* no library "\$libdir\/adminpack", .* databases forgotten need$/m,
		'and its library', then => sub { $lab->sql($forgotten, 'DROP EXTENSION adminpack') });
}
$lab->sql($forgotten, 'CREATE EXTENSION hstore',
	q{UPDATE pg_extension SET extversion = '1.2' WHERE extname = 'hstore'});
says('upgrade_extensions', qr/^info chicago: extension "hstore" is of version 1\.2, and 1\.\d in the new inst/m,
	'an update that is due', then => sub { $lab->sql($forgotten, 'DROP EXTENSION hstore') });
$lab->sql($forgotten, 'CREATE TABLE two (a int, b int)', 'CREATE STATISTICS s ON a, b FROM two');
says('upgrade_statistics', qr/^info chicago: 1 extended statistics, in the databases forgotten$/,
	'extended statistics');
$lab->sql($forgotten, q{CREATE COLLATION old (provider = icu, locale = 'en')},
	q{UPDATE pg_collation SET collversion = '1.1' WHERE collname = 'old'});
says('upgrade_collations', qr/^warn chicago: database "forgotten": 1 collations .*: public\.old$/m,
	'a collation of another version', then => sub { $lab->sql($forgotten, 'DROP COLLATION old') });
like($lab->sql('chicago', 'BEGIN', q{UPDATE pg_database SET datcollversion = '0' WHERE datname = 'forgotten'},
	q{SELECT string_agg(status || ' ' || detail, E'\n')
		FROM pingpong_check.check_upgrade_collations('chicago', '{}')}, 'ROLLBACK'),
	qr/^warn database "forgotten" was made with version 0 of its collation, the host has \d/m,
	'a database of another version');
like(with_fact('upgrade_objects', 'chicago', 'databases,rows,0,objects,relations', '200000'),
	qr/^warn chicago: 2\d{5} relations and 0 large objects in \d databases, in the largest 200000 and 0$/m,
	'many objects');
like(with_fact('upgrade_minor_release', 'chicago', 'version', '"18.1"'),
	qr/^warn chicago: 15\.\d+ here, the new version is 18\.1, which is \d+ release rounds older$/, 'an older round')
	if $from == 15;
like(with_fact('upgrade_extensions', 'chicago', 'databases,rows,0', '{"database": "app", "error": "too slow"}'),
	qr/^warn chicago: database "app" not checked: too slow$/m, 'a database that was not visited');

# ---- what the server holds ----

$lab->sql('chicago', 'ALTER DATABASE forgotten ALLOW_CONNECTIONS false');
says('upgrade_databases', qr/^fail chicago: databases that accept no connections: forgotten$/m, 'a closed database',
	then => sub { $lab->sql('chicago', 'ALTER DATABASE forgotten ALLOW_CONNECTIONS true') });
$lab->sql('chicago', q{UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'forgotten'});
says('upgrade_databases', qr/^fail chicago: invalid databases, .*: forgotten$/m, 'an invalid database',
	then => sub { $lab->sql('chicago', q{UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'forgotten'}) });
$lab->sql('chicago', 'CREATE ROLE old', q{UPDATE pg_authid SET rolname = 'pg_old' WHERE rolname = 'old'});
says('upgrade_role_names', qr/^fail chicago: roles .* begin with "pg_": pg_old$/m, 'a name that is kept',
	then => sub { $lab->sql('chicago', q{UPDATE pg_authid SET rolname = 'old' WHERE rolname = 'pg_old'}) });
$lab->sql('chicago', q{SET password_encryption = 'md5'}, q{ALTER ROLE old PASSWORD 'secret'});
says('upgrade_passwords', qr/^warn chicago: 1 roles: old$/, 'an md5 password',
	then => sub { $lab->sql('chicago', 'DROP ROLE old') });
$lab->sql('chicago', q{SELECT pg_create_logical_replication_slot('lost', 'pgoutput')});
says('upgrade_slots', qr/^fail chicago: logical slots, which would be lost: lost$/m, 'a logical slot',
	then => sub { $lab->sql('chicago', q{SELECT pg_drop_replication_slot('lost')}) });
$lab->sql('chicago', q{SELECT pg_create_physical_replication_slot('nobody')});
says('upgrade_slots', qr/^warn chicago: physical slots that belong to no node: nobody$/m, 'a physical slot',
	then => sub { $lab->sql('chicago', q{SELECT pg_drop_replication_slot('nobody')}) });
$lab->sql('chicago', q{CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)});
says('upgrade_subscriptions', qr/^fail chicago: 1 subscriptions .*: s$/, 'a subscription',
	then => sub { $lab->sql('chicago', 'ALTER SUBSCRIPTION s SET (slot_name = NONE)', 'DROP SUBSCRIPTION s') });
$lab->sql('chicago', 'SET allow_in_place_tablespaces = on', q{CREATE TABLESPACE far LOCATION ''});
says('upgrade_tablespaces', qr/^fail chicago: tablespace "far": it lies in the data directory: "pg_tblspc\/\d+"$/m,
	'a tablespace in place',
	then => sub { $lab->sql('chicago', 'DROP TABLESPACE far') });
# 1.8 billion transactions ago, as the counter goes round
like($lab->sql('chicago', 'BEGIN', q{UPDATE pg_database SET datfrozenxid = '2500000000' WHERE datname = 'forgotten'},
	q{SELECT status, detail FROM pingpong_check.check_upgrade_freeze('chicago', '{}')}, 'ROLLBACK'),
	qr/^warn\|the oldest database, "forgotten", is \d{10} of 200000000 transactions old$/m, 'an old database');
$lab->sql('chicago', q{ALTER SYSTEM SET archive_command = 'false'}, 'SELECT pg_reload_conf()',
	'SELECT pg_switch_wal()');
$lab->wait_for('chicago', 'SELECT failed_count > 0 FROM pg_stat_archiver', 'a failure of the archiver');
says('upgrade_archiver', qr/^warn chicago: \d+ archived, [1-9]/m, 'a failing archiver', then => sub {
	$lab->sql('chicago', 'ALTER SYSTEM RESET archive_command', 'SELECT pg_reload_conf()',
		q{SELECT pg_stat_reset_shared('archiver')}); });
my $stranger = fork // die $!;
if (!$stranger)
{
	mkdir $lab->dir . '/received';
	open STDERR, '>', '/dev/null';
	exec $lab->env('PGBIN') . '/pg_receivewal', '-n', '-D', $lab->dir . '/received', '-d',
		$lab->env('DSN_chicago') . ' application_name=stranger';
}
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE application_name = 'stranger'},
	'the stranger');
says('upgrade_streams', qr/^fail chicago: "stranger" streams from this server, and is none of its registered/m,
	'a receiver of its own', then => sub { kill 'TERM', $stranger; waitpid $stranger, 0; });
like($lab->sql('chicago', 'BEGIN',
	q{SELECT pingpong.add_node('boston', '127.0.0.1', 9, 'http://127.0.0.1:9', upstream => 'dallas')},
	q{SELECT status, node, detail FROM pingpong_check.check_upgrade_streams('chicago', '{}')}, 'ROLLBACK'),
	qr/^fail\|boston\|it streams from "dallas", and would be left behind$/m, 'a cascaded standby');
my $session = Session->open($lab, 'chicago');
$session->ask('BEGIN');
$session->ask('CREATE TABLE prepared (i int)');
$session->ask(q{PREPARE TRANSACTION 'p'});
says('upgrade_prepared_transactions', qr/^fail chicago: 1 prepared transactions, /, 'a prepared transaction');

# ---- an upgrade begins with it ----

my (undef, $err, $rc) = $lab->try_sql('chicago', '\set VERBOSITY verbose',
	"SELECT * FROM pingpong.upgrade('chicago', to_version => $to)");
like($err, qr/^ERROR:\ \ 55000:\ preflight\ found\ what\ stands\ against\ this\ upgrade\n
	DETAIL:\ \ fail:\ upgrade_prepared_transactions\ \(chicago\):\ 1\ prepared/mx, 'an upgrade is refused');
is($lab->sql('chicago', 'SELECT count(*) FROM pingpong.run'), '0', 'and no run is made');
is($lab->sql('chicago', q{SELECT string_agg(name, ', ') FROM pingpong.last_preflight WHERE status = 'fail'}),
	'upgrade_prepared_transactions', 'its checks can be looked at');
is(join(' ', glob "$new{chicago}/*"), '', 'nothing was made');
$session->ask(q{ROLLBACK PREPARED 'p'});
$session->close;

system("rm -rf /dev/shm/pp-new.$$");
done_testing();
