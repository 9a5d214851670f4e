# What is in a cluster is the same after an upgrade in place: databases, roles, relations of every kind, large objects,
# sequences, extensions, settings. What pg_dump and pg_dumpall of the new major tell, and what the tables hold, is
# compared from before to after, and from the primary to its new standby.
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

# Clients may come by TLS; each server has a key of its own.
sub turn_on_tls
{
	my ($node) = @_;
	my $data = $lab->env("PGDATA_$node");
	system("openssl req -new -x509 -days 2 -nodes -subj /CN=$node -out $data/$node.crt -keyout $data/$node.key "
		. ">/dev/null 2>&1; chmod 600 $data/$node.key") == 0 or die 'openssl';
	add_text("$data/postgresql.conf", "ssl = on\nssl_cert_file = '$node.crt'\nssl_key_file = '$node.key'\n");
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
	open my $out, '-|', @command or die "$command[0]: $!";
	local $/;
	my $text = <$out>;
	close $out or die "@command failed\n";
	return $text;
}

# What differs between two dumps of the same contents.
sub masked
{
	my ($dump) = @_;
	$dump =~ s/^-- Dumped (?:from|by) .*\n//mg;	# versions
	$dump =~ s/^\\(?:un)?restrict .*\n//mg;		# each dump has a key of its own
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
		SELECT format('SELECT %L, count(*), md5(string_agg(t::text, E''\\n'' ORDER BY t::text COLLATE "C")) FROM ONLY %s t',
			c.oid::regclass, c.oid::regclass)
		FROM pg_class c WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence IN ($persistence)
			AND c.relnamespace NOT IN (SELECT oid FROM pg_namespace
				WHERE nspname IN ('pg_catalog', 'information_schema', 'cron') OR nspname LIKE 'pingpong%')
		ORDER BY c.oid::regclass::text COLLATE "C" \\gexec
		SQL
}

# ---- before and after ----

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
refused(qr/^ERROR:  55000: there are logical replication slots/m, 'a logical slot');
$lab->sql('chicago', q{SELECT pg_drop_replication_slot('decoded')});
# in another database than the one of pg_pingpong
script(dsn('chicago', 'german'),
	q{CREATE SUBSCRIPTION distant CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)});
refused(qr/^ERROR:  55000: there are subscriptions/m, 'a subscription');
script(dsn('chicago', 'german'), "ALTER SUBSCRIPTION distant SET (slot_name = NONE);\nDROP SUBSCRIPTION distant;");

# Releases of the old major may store what an older release of the new one refuses. Nothing else can be tried then.
if ($lab->sql('chicago', q{SELECT EXISTS (SELECT FROM pg_attribute WHERE attoptions::text LIKE '%pg_attver%')}) eq 't'
	&& `$new_bin/postgres --version` =~ / 18\.[0-6]\b/)
{
	refused(qr/^ERROR:  55000: there are columns with the option "pg_attver"/m, 'a column option of a newer release');
	unchanged('refused', \@before);
	done_testing();
	exit;
}

# ---- the upgrade ----

my $run = $lab->sql('chicago', 'SELECT coalesce(max(id), 0) + 1 FROM pingpong.run');
my $job = $lab->begin_sql('chicago',
	"SELECT * FROM pingpong.upgrade('chicago', to_version => $to, mode => '$mode', jobs => 2)");
my (undef, $err) = $lab->finish($job, 300);
my @end = $lab->settle($run, 300);
is("$end[0] $end[1]", 'succeeded done', 'upgraded') or diag($err);
is($lab->sql('chicago', q{SELECT current_setting('server_version_num')::int / 10000}) . ' ' . gate(), "$to open",
	'upgraded: the new server serves, and is open');
note(sprintf 'window: %s s', $lab->sql('chicago', qq{SELECT round(extract(epoch FROM
	max(ended_at) FILTER (WHERE action = 'repoint') - min(started_at) FILTER (WHERE action = 'pause')), 2)
	FROM pingpong.step WHERE run = $run}));
note($lab->sql('chicago', qq{SELECT string_agg(action || ' ' || round(extract(epoch FROM ended_at - started_at), 2),
	', ' ORDER BY id) FROM pingpong.step WHERE run = $run AND ended_at - started_at > '50 ms'}));
$begun = time;
unchanged('upgraded', \@before);
note(sprintf 'dumped and summed in %.1f s', time - $begun);
done_testing();
