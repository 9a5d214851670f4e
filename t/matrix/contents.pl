# What is in a cluster is the same after an upgrade in place: databases, roles, relations of every kind, large
# objects, sequences, extensions, settings. What pg_dump and pg_dumpall of the new major tell, and what the tables
# hold, is compared from before to after, and from the primary to its new standby.
#
# PINGPONG_NEW_BIN is the folder of the new major's programs, with the extension installed (ci/upgrade gives it);
# PINGPONG_RELATIONS is the number of tables in the database that has many (1000).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use Lab;
use File::Temp ();
use Test::More;
use Time::HiRes qw(time);

my $new_bin = $ENV{PINGPONG_NEW_BIN} // '';
plan skip_all => 'there is no other major (ci/upgrade runs this)' unless -x "$new_bin/pg_upgrade";
my $old_bin = $ENV{PGBIN} // '';
plan skip_all => 'PGBIN does not name the old major (ci/upgrade runs this)' unless -x "$old_bin/postgres";
my $mode = $ENV{PINGPONG_UPGRADE_MODE} // 'copy';
my $relations = $ENV{PINGPONG_RELATIONS} // 1000;
my ($to) = `$new_bin/postgres --version` =~ /\) (\d+)/;
my @extra = grep { in_both($_) } qw(pg_stat_statements hypopg pg_cron);

sub in_both
{
	my ($extension) = @_;
	return 2 == grep { chomp(my $share = `$_/pg_config --sharedir`); -e "$share/extension/$extension.control" }
		$old_bin, $new_bin;
}

my @preload = ('pg_pingpong', grep { /^pg_(?:stat_statements|cron)$/ } @extra);
my $lab = Lab->up(poolers => 1, nodes => 2, port => 21800, set => ['shared_preload_libraries=' . join(',', @preload),
	'wal_level=logical', grep({ $_ eq 'pg_cron' } @extra) ? ('cron.database_name=shop', 'cron.host=') : ()]);
my %new_data = map { $_ => $lab->dir . "/$_/new" } $lab->nodes;

# It is not one of the lab's.
END
{
	local $?;
	foreach my $data (values %new_data)
	{
		system("$new_bin/pg_ctl -D $data -m immediate stop >/dev/null 2>&1") if -e "$data/postmaster.pid";
	}
}

sub note_skipped { my ($what, $why) = @_; note("not tried: $what ($why)"); return; }

# ---- making it ----

sub dsn
{
	my ($node, $database) = @_;
	$database =~ s/(['\\])/\\$1/g;
	return $lab->env("DSN_$node") =~ s/dbname=\S+/dbname='$database'/r;
}

# A script for psql, with its variables; gives its output.
sub script
{
	my ($dsn, $text, %variable) = @_;
	my $file = File::Temp->new;
	# that an ICU of another version sorts the same is not sure, and is said by each session
	local $ENV{PGOPTIONS} = '-c client_min_messages=error';
	print $file $text or die $!;
	close $file or die $!;
	open my $out, '-|', $lab->env('PGBIN') . '/psql', '-XAtq', '-v', 'ON_ERROR_STOP=1',
		map({ ('-v', "$_=$variable{$_}") } sort keys %variable), '-d', $dsn, '-f', $file->filename or die $!;
	local $/;
	my $answer = <$out> // '';
	close $out or die "psql failed: $dsn\n";
	return $answer;
}

sub text_of { my ($file) = @_; open my $in, '<', $file or die "$file: $!"; local $/; return <$in>; }
sub sql_file { my ($name) = @_; return text_of("$FindBin::RealBin/contents/$name.sql"); }

sub add_text
{
	my ($file, $text) = @_;
	open my $out, '>>', $file or die "$file: $!";
	print $out $text;
	return close $out;
}

# Clients may come by TLS; each server has a key of its own, not by the usual name.
sub turn_on_tls
{
	my ($node) = @_;
	my $data = $lab->env("PGDATA_$node");
	mkdir "$data/tls", 0700 or die "$data/tls: $!";
	system("openssl req -new -x509 -days 2 -nodes -subj /CN=$node -out $data/tls/$node.crt -keyout $data/$node.key "
		. ">/dev/null 2>&1; chmod 600 $data/$node.key") == 0 or die 'openssl';
	add_text("$data/postgresql.conf", "ssl = on\nssl_cert_file = 'tls/$node.crt'\nssl_key_file = '$node.key'\n");
	$lab->sql($node, 'SELECT pg_reload_conf()');
	return $lab->wait_for($node, q{SELECT current_setting('ssl') = 'on'}, 'TLS');
}

turn_on_tls($_) foreach $lab->nodes;
my $begun = time;
script(dsn('chicago', 'app'), sql_file('cluster'));
# a locale that is not C: of ICU, and of the system if it has one
my ($system_locale) = grep { /^en_US\.utf-?8$/i } split /\n/, `locale -a`;
$lab->sql('chicago', q{CREATE DATABASE german TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-x-icu'});
$lab->sql('chicago', "CREATE DATABASE american TEMPLATE template0 LOCALE_PROVIDER libc LOCALE '$system_locale'")
	if $system_locale;
note_skipped('a locale of the system', 'it has no en_US.UTF-8') unless $system_locale;
my @small = ('german', "o'neil = \"1\"", 'frozen', $system_locale ? 'american' : ());
script(dsn('chicago', $_), sql_file('small')) foreach @small;
script(dsn('chicago', 'many'), sql_file('many'), relations => $relations);
script(dsn('chicago', 'shop'), sql_file('shop'), host => $lab->dir . '/run', port => $lab->env('PORT_chicago'));
foreach my $extension (qw(pg_stat_statements hypopg pg_cron))
{
	if (grep { $_ eq $extension } @extra) { script(dsn('chicago', 'shop'), "CREATE EXTENSION $extension;"); }
	else { note_skipped($extension, 'it is not installed for both majors'); }
}
script(dsn('chicago', 'shop'), q{SELECT cron.schedule('nightly', '0 3 * * *', 'VACUUM');})
	if grep { $_ eq 'pg_cron' } @extra;
my @databases = ('app', 'shop', 'many', 'postgres', 'template1', @small);
note(sprintf 'contents made in %.1f s: %d tables in "many"', time - $begun, $relations);

# ---- looking at it ----

sub output
{
	my (@command) = @_;
	local $ENV{PGOPTIONS} = '-c client_min_messages=error';
	open my $out, '-|', @command or die "$command[0]: $!";
	local $/;
	my $text = <$out>;
	close $out or die "@command failed\n";
	return $text;
}

# Without the names before the last dot.
sub unqualified { my ($statement) = @_; return $statement =~ s/\b\w+\.(?=[a-z"])//gr; }

# Without what differs between two dumps of the same contents.
sub masked
{
	my ($dump) = @_;
	$dump =~ s/^-- Dumped (?:from|by) .*\n//mg;	# versions
	$dump =~ s/^\\(?:un)?restrict .*\n//mg;		# each dump has a key of its own
	# from 16 on a membership has options and a grantor (so "memberships" below compares what both have)
	$dump =~ s/^(GRANT (?!.* ON ).*? TO .*?)(?: WITH .*| GRANTED BY .*)?;$/$1;/mg;
	# from 16 on a server qualifies no columns where there is one table only ("what it answers" has rows of the views)
	$dump =~ s/^(CREATE (?:MATERIALIZED )?VIEW .*?;\n)/unqualified($1)/msge;
	return $dump;
}

# A standby cannot read unlogged tables: what is to be compared with it is dumped without them. The tables of
# pg_pingpong hold the run itself.
sub dump_of
{
	my ($node, $database, @more) = @_;
	push @more, '--exclude-table-data=pingpong*.*' if $database eq 'app';
	return masked(output("$new_bin/pg_dump", '--create', @more, '-d', dsn($node, $database)));
}

# The tables' rows as number and checksum, each table in a transaction of its own: they are many.
sub rows_of
{
	my ($node, $database, $persistence) = @_;
	return script(dsn($node, $database), <<~"SQL");
		SET search_path = '';
		SELECT format('SELECT %L, count(*), md5(string_agg(t::text, E''\\n'' ORDER BY t::text COLLATE "C")) '
			'FROM ONLY %s t', c.oid::regclass, c.oid::regclass)
		FROM pg_class c WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence IN ($persistence)
			AND c.relnamespace NOT IN (SELECT oid FROM pg_namespace
				WHERE nspname IN ('pg_catalog', 'information_schema', 'cron') OR nspname LIKE 'pingpong%')
		ORDER BY c.oid::regclass::text COLLATE "C" \\gexec
		SQL
}

# ---- before and after ----

# An ICU or a libc that sorts otherwise makes warnings here, and indexes that have to be built anew.
sub other_collations
{
	return $lab->sql('chicago', q{SELECT string_agg(datname || ' ' || datcollversion || ' is now '
		|| pg_database_collation_actual_version(oid), ', ') FROM pg_database
		WHERE datcollversion <> pg_database_collation_actual_version(oid)});
}

# Each is [name, text].
sub contents
{
	my ($node) = @_;
	my @all = ['roles and their settings', masked(output("$new_bin/pg_dumpall", '--globals-only', '-d',
		dsn($node, 'postgres')))];
	foreach my $database (@databases)
	{
		push @all, ["$database: dump", dump_of($node, $database)],
			["$database: rows", rows_of($node, $database, q{'p', 'u'})],
			["$database: sequences", script(dsn($node, $database), q{SELECT schemaname, sequencename, last_value
				FROM pg_sequences WHERE schemaname NOT LIKE 'pingpong%' ORDER BY 1, 2})],
			["$database: large objects", script(dsn($node, $database),
				q{SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid})];
	}
	push @all, ['memberships', $lab->sql($node, q{SELECT roleid::regrole, member::regrole, admin_option
		FROM pg_auth_members WHERE roleid >= 16384 OR member >= 16384 ORDER BY 1, 2})];
	push @all, ['what it answers', script(dsn($node, 'shop'), sql_file('questions'))];
	return @all;
}

# Says where they differ.
sub same
{
	my ($is, $was, $what) = @_;
	return 1 if ok($is eq $was, $what);
	my ($a, $b) = map { my $file = File::Temp->new; print $file $_; close $file; $file } $was, $is;
	my @lines = split /\n/, `diff -U 2 $a $b`;
	diag(join "\n", @lines[0 .. ($#lines > 60 ? 60 : $#lines)]);
	return 0;
}

sub unchanged
{
	my ($what, $before) = @_;
	my @now = contents('chicago');
	same($now[$_][1], $before->[$_][1], "$what: $now[$_][0]") foreach 0 .. $#now;
	return;
}

$begun = time;
my @before = contents('chicago');
note(sprintf 'dumped and summed in %.1f s', time - $begun);

# ---- what cannot work ----

foreach my $node ($lab->nodes)
{
	add_text($lab->agent_dir($node) . '/agent.ini',
		"\n[postgresql.next]\ndata = $new_data{$node}\nbin = $new_bin\nsuccessor = yes\n");
	kill 'HUP', $lab->pid('agent', $node);
	$lab->until_true('the successor to be known', sub {
		grep { $_->{name} eq 'next' } @{ $lab->act($node, 'r', 0, 'facts')->{results}[0]{instances} } });
}

sub gate { return $lab->sql('chicago', 'SELECT state FROM pingpong.gate'); }

sub refused
{
	my ($pattern, $what) = @_;
	my $started = $lab->sql('chicago', 'SELECT pg_postmaster_start_time()');
	my (undef, $err) = $lab->try_sql('chicago', '\set VERBOSITY verbose',
		"SELECT * FROM pingpong.upgrade('chicago', to_version => $to, mode => '$mode')");
	like($err, $pattern, "$what: refused");
	is($lab->sql('chicago', 'SELECT pg_postmaster_start_time()') . ' ' . gate(), "$started open",
		"$what: nothing was touched");
	is(join(' ', map { glob "$_/*" } sort values %new_data), '', "$what: nothing is left in the new folders");
	is($lab->sql('chicago', q{SELECT string_agg(application_name || ' ' || state, ', ') FROM pg_stat_replication}),
		'dallas streaming', "$what: the standby streams");
	return;
}

$lab->sql('chicago', q{SELECT pg_create_logical_replication_slot('decoded', 'pgoutput')});
refused(qr/fail: upgrade_slots \(chicago\): logical slots, which would be lost: decoded/, 'a logical slot');
$lab->sql('chicago', q{SELECT pg_drop_replication_slot('decoded')});
# in another database than the one of pg_pingpong
script(dsn('chicago', 'german'),
	q{CREATE SUBSCRIPTION distant CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)});
refused(qr/fail: upgrade_subscriptions \(chicago\): 1 subscriptions would lose their position: distant/,
	'a subscription');
script(dsn('chicago', 'german'), "ALTER SUBSCRIPTION distant SET (slot_name = NONE);\nDROP SUBSCRIPTION distant;");

# Releases of the old major may store what an older release of the new one refuses. Nothing else can be tried then.
if ($lab->sql('chicago', q{SELECT EXISTS (SELECT FROM pg_attribute WHERE attoptions::text LIKE '%pg_attver%')}) eq 't'
	&& `$new_bin/postgres --version` =~ / 18\.[0-6]\b/)
{
	refused(qr/^ERROR:  55000: there are columns with the option "pg_attver"/m,
		'a column option of a newer release');
	unchanged('refused', \@before);
	done_testing();
	exit;
}

# ---- the upgrade ----

my $before = $lab->sql('chicago', 'SELECT coalesce(max(id), 0) FROM pingpong.run');
my $job = $lab->begin_sql('chicago',
	"SELECT * FROM pingpong.upgrade('chicago', to_version => $to, mode => '$mode', jobs => 2)");
my (undef, $err) = $lab->finish($job, 300);
my $run = $lab->run_said($err, $before);
my @end = $lab->settle($run, 300);
is("$end[0] $end[1]", 'succeeded done', 'upgraded') or diag($err);
is($lab->sql('chicago', q{SELECT current_setting('server_version_num')::int / 10000}) . ' ' . gate(), "$to open",
	'upgraded: the new server serves, and is open');
# the routes of writers come first, those of readers again behind the standbys
note(sprintf 'window: %s s', $lab->sql('chicago', qq{SELECT round(extract(epoch FROM
	min(ended_at) FILTER (WHERE action = 'repoint') - min(started_at) FILTER (WHERE action = 'pause')), 2)
	FROM pingpong.step WHERE run = $run}));
note('of it, and behind it: ' . $lab->sql('chicago', qq{SELECT string_agg(x, ', ') FROM (
	SELECT action || ' ' || coalesce(node, '') || ' ' || round(coalesce((detail ->> 'upgrade_ms')::numeric / 1000,
		extract(epoch FROM ended_at - started_at)), 2) || ' s' FROM pingpong.step
	WHERE run = $run AND (detail ? 'upgrade_ms' OR ended_at - started_at > '50 ms') ORDER BY started_at) s (x)}));

is($lab->sql('chicago', qq{SELECT message, detail ->> 'not_compared' FROM pingpong.step
	WHERE run = $run AND action = 'upgrade_start'}), @databases . ' databases hold what they held before|[]',
	'upgraded: the run has compared all databases itself');
is(script(dsn('chicago', 'shop'),
	'SELECT name FROM pg_available_extensions WHERE installed_version <> default_version'), '',
	'upgraded: the extensions are those of the new version');
note('comparison: ' . $lab->sql('chicago', qq{SELECT string_agg(format('%s %s ms', key, round(value::numeric)), ', '
	ORDER BY key) FROM pingpong.step, jsonb_each_text(detail) WHERE run = $run
	AND key IN ('baseline_ms', 'compare_ms')}));

$begun = time;
unchanged('upgraded', \@before);
note(sprintf 'dumped and summed in %.1f s', time - $begun);

# ---- the new server and its standby ----

note('versions of collations: ' . (other_collations() || 'the same'));
sub caught_up
{
	my $lsn = $lab->sql('chicago', 'SELECT pg_current_wal_lsn()');
	return $lab->wait_for('dallas', "SELECT pg_last_wal_replay_lsn() >= '$lsn'", 'dallas to catch up');
}

is($lab->sql('dallas', q{SELECT current_setting('server_version_num')::int / 10000, pg_is_in_recovery()}), "$to|t",
	'the standby is of the new version');
caught_up();
foreach my $database (@databases)
{
	same(map({ dump_of($_, $database, '--no-unlogged-table-data') } 'dallas', 'chicago'),
		"the standby: $database: dump");
	same(map({ rows_of($_, $database, q{'p'}) } 'dallas', 'chicago'), "the standby: $database: rows");
}
same(map({ script(dsn($_, 'shop'), sql_file('questions')) } 'dallas', 'chicago'), 'the standby: what it answers');

# as a client from afar, by TLS and with a password
foreach my $node ($lab->nodes)
{
	local $ENV{PGPASSWORD} = 'clerk';
	my $dsn = "host=127.0.0.1 port=" . $lab->env("PORT_$node") . ' user=clerk dbname=shop sslmode=require';
	is(eval { $lab->sql($dsn, q{SELECT ssl, current_setting('work_mem'), current_setting('statement_timeout')
		FROM pg_stat_ssl WHERE pid = pg_backend_pid()}) } // $@, 't|7MB|29s',
		"$node: a client with a password, by TLS, with the settings of its role");
	is(text_of("$new_data{$node}/tls/$node.crt"), text_of($lab->env("PGDATA_$node") . "/tls/$node.crt"),
		"$node: it has its own certificate");
}

# ---- and it works on ----

# Every B-tree index, against its table.
foreach my $database ($lab->sql('chicago', q{SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'})
	? @databases : ())
{
	my $checked = eval { script(dsn('chicago', $database), <<~'SQL') } // $@;
		BEGIN;
		SET LOCAL default_transaction_read_only = off;
		SET TRANSACTION READ WRITE;
		SET LOCAL client_min_messages = error;
		CREATE SCHEMA checking;
		CREATE EXTENSION amcheck SCHEMA checking;
		COMMIT;
		SELECT 'SELECT FROM checking.bt_index_check(' || quote_literal(c.oid::regclass) || ', true)'
		FROM pg_class c JOIN pg_am a ON a.oid = c.relam
		WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence <> 't' \gexec
		SELECT count(*) || ' checked' FROM pg_class c JOIN pg_am a ON a.oid = c.relam
		WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence <> 't';
		SQL
	like($checked, qr/^\s*\d+ checked$/, "$database: the B-tree indexes are whole");
}

foreach my $way (
	['an identity column', q{INSERT INTO sales.customer (name) VALUES ('new') RETURNING id, lower_name}, '2605|new'],
	['a trigger', q{SELECT what FROM archive.log ORDER BY n DESC LIMIT 1}, 'INSERT customer'],
	['a sequence that is owned, and its cache',
		q{INSERT INTO sales.bill (customer, made, amount) VALUES (100, '2024-06-01', 1) RETURNING id > 5200}, 't'],
	['a foreign key', q{INSERT INTO sales.bill (customer, made, amount) VALUES (1, '2024-06-01', 1)},
		'ERROR:  23503'],
	['a domain', q{INSERT INTO sales.bill (customer, made, amount) VALUES (100, '2024-06-01', -1)},
		'ERROR:  23514'],
	['an exclusion constraint', q{INSERT INTO sales.room_use VALUES (1, '[2026-01-01 10:30Z,]')}, 'ERROR:  23P01'],
	['a collation', q{INSERT INTO sales.customer (name, email) VALUES ('x', 'c5@EXAMPLE.org')}, 'ERROR:  23505'],
	['a rule', q{UPDATE sales.names SET name = 'renamed' WHERE id = 100}, ''],
	['what it changed', q{SELECT name FROM sales.customer WHERE id = 100}, 'renamed'],
	['row security', q{SET ROLE clerk; INSERT INTO sales.customer (name) VALUES ('nobody')}, 'ERROR:  42501'],
	['an event trigger', q{CREATE TABLE archive.made_later (i int)}, ''],
	['what it wrote', q{SELECT what FROM archive.log ORDER BY n DESC LIMIT 1}, 'CREATE TABLE'],
	['a materialized view', q{REFRESH MATERIALIZED VIEW CONCURRENTLY sales.by_mood}, ''],
	['a large object', q{SELECT lo_unlink(4711)}, '1'],
	['an enum', q{ALTER TYPE sales.mood ADD VALUE 'angry'}, ''],
	['a partition', q{CREATE TABLE sales.bill_2027 PARTITION OF sales.bill FOR VALUES FROM ('2027-01-01')
		TO ('2028-01-01')}, ''],
	['an unlogged table', q{SELECT count(*) FROM archive.scratch}, '50'])
{
	my ($what, $statement, $answer) = @$way;
	my ($out, $error) = $lab->try_sql(dsn('chicago', 'shop'), '\set VERBOSITY sqlstate',
		'SET client_min_messages = error', $statement);
	is($out || $error, $answer, "$what: works");
}
caught_up();
is($lab->sql(dsn('dallas', 'shop'), q{SELECT count(*) FROM archive.log}),
	$lab->sql(dsn('chicago', 'shop'), q{SELECT count(*) FROM archive.log}), 'the standby has what was written since');
done_testing();
