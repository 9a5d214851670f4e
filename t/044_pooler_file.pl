# The pooler's file: what is in it stays, but for where the routed lines point; and a run is not "switched" with a
# pooler that does not read it, or does not reload.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;
use Time::HiRes qw(sleep);

my $lab = Lab->up(fast => 1, poolers => 1, port => 19500);
my $folder = $lab->dir . '/pgbouncer1';
my $ini = "$folder/pgbouncer.ini";
my $backends = $lab->env('BACKENDS_1');
my %port = map { $_ => $lab->env("PORT_$_") } qw(chicago dallas);
my $admin = $lab->env('ADMIN_DSN_1');
my $rw = $lab->env('RW_DSN');

sub slurp { my ($path) = @_; open my $fh, '<:raw', $path or die "$path: $!"; local $/; return scalar <$fh>; }

sub spew
{
	my ($path, $text) = @_;
	open my $fh, '>:raw', $path or die "$path: $!";
	print $fh $text;
	close $fh or die "$path: $!";
	return;
}

sub points_to { return $lab->sql($_[0] // $rw, 'SELECT inet_server_port()'); }
sub hidden { return join ' ', grep { !m{/\.\.?$} } glob "$_[0]/.*"; }
sub console { return $lab->sql($admin, @_); }

# What a check says of the move, but what is fine.
sub preflight
{
	my ($from, $to, $name) = @_;
	return $lab->sql($from, "SELECT coalesce(string_agg(status || ': ' || detail, E'\n' ORDER BY status, detail), '')
		FROM pingpong.preflight('$to')
		WHERE name = '$name' AND status IN ('fail', 'warn')");
}

sub switched
{
	my ($from, $to, $what) = @_;
	my ($out, $err, $rc) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$to')");
	like($out, qr/^\d+\|switched$/, "$what: switched") or diag($err);
	my ($run) = $out =~ /^(\d+)/ or die "$what: no run";
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "$what: succeeded");
	is(points_to(), $port{$to}, "$what: the route points to $to");
	return $run;
}

# Refused or rolled back before the blackout, with these words; clients, file and folder are as before.
sub refused
{
	my ($what, $words) = @_;
	my ($before, $left) = (slurp($backends), hidden("$folder/real"));
	my (undef, $err, $rc) = $lab->try_sql('chicago', q{SELECT * FROM pingpong.switchover('dallas')});
	isnt($rc, 0, "$what: no switchover");
	like($err, $words, "$what: the words");
	unlike($err, qr/NOTICE:  pause/, "$what: before the blackout");
	is(points_to(), $port{chicago}, "$what: the route points to chicago");
	is(join(' ', $lab->primary), 'chicago', "$what: chicago is the primary");
	is(slurp($backends), $before, "$what: the file is as before");
	is(hidden("$folder/real"), $left, "$what: nothing beside it");
	return;
}

# ---- what a site's file may look like ----

mkdir "$folder/real", 0750 or die;
my $text = <<INI =~ s/\@(\w+)/$port{$1}/gr;
; ours, edited by hand
[databases]
app =  pool_size=7   host='127.0.0.1' connect_query='SELECT ''host=evil port=1''' port=\@chicago
#app = host=commented.out
app_ro = host=127.0.0.1 port=\@dallas dbname=app   ; all of this is the value

Alias.x-y = host=127.0.0.1 port=\@chicago dbname=app reserve_pool=2\r
elsewhere = host=192.0.2.1 port=5999 user=nobody password='it''s'
* = host=127.0.0.1 port=\@chicago auth_user=app
[users]
app = max_user_connections=50
[pgbouncer]
; the rest is in the main file
INI
$text =~ s/   ; all of this is the value//;
spew("$folder/real/dbs.ini", $text);
chmod 0640, "$folder/real/dbs.ini";
unlink $backends;
symlink 'real/dbs.ini', $backends or die;
console('RELOAD');
is(points_to(), $port{chicago}, 'PgBouncer understands the file');

like(preflight('chicago', 'dallas', 'pooler_databases'),
	qr/^warn: .*\*, Alias\.x-y point to this primary and no route covers them$/m,
	'preflight names databases that no route covers, also by "*"');
$lab->sql('chicago', q{SELECT pingpong.drop_route('rw1')},
	q{SELECT pingpong.add_route('rw1', 'rw', 'pgbouncer', 'pooler1', 'main',
		'{"app": "pool_size=99", "Alias.x-y": "dbname=app"}')});

my @file = stat "$folder/real/dbs.ini";
my ($from, $to) = qw(chicago dallas);
for my $i (1 .. 4)
{
	switched($from, $to, "flip $i");
	my $expected = $text;
	if ($i % 2)
	{
		$expected =~ s/^(app = .* port=)\d+$/$1$port{dallas}/m;
		$expected =~ s/^(Alias.* port=)\d+/$1$port{dallas}/m;
		$expected =~ s/^(app_ro = .* port=)\d+/$1$port{chicago}/m;
	}
	is(slurp($backends), $expected, "flip $i: only the places of the routed lines have changed");
	is(readlink $backends, 'real/dbs.ini', "flip $i: the link is still one");
	is(join(' ', (stat "$folder/real/dbs.ini")[2, 4, 5]), join(' ', @file[2, 4, 5]),
		"flip $i: mode and owner as before");
	is(hidden("$folder/real"), '', "flip $i: nothing beside it");
	unlike(console('SHOW DATABASES'), qr/^pingpong_probe/m, "flip $i: no probe is left in the pooler");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$from' AND state = 'streaming'", "$from to stream");
	($from, $to) = ($to, $from);
}
like(preflight('chicago', 'dallas', 'pooler_file'), qr/^$/, 'preflight has nothing against it');

# ---- a file that the pooler does not read ----

my $main = slurp($ini);
spew("$folder/real/other.ini", $text);
spew($ini, $main =~ s{^%include .*$}{%include $folder/real/other.ini}mr);
console('RELOAD');
like(preflight('chicago', 'dallas', 'pooler_file'), qr/^warn: .*does not include/m,
	'preflight sees that the file is not included');
refused('not included',
	qr/does not take over its file: a database that was written to ".*databases\.ini" did not appear/);
like(preflight('chicago', 'dallas', 'pooler_file'), qr/^warn: .*does not include/m, 'and says so still');
spew($ini, $main);
console('RELOAD');

# ---- RELOAD that does nothing ----

spew($ini, "[databases]\nreporting = host=127.0.0.1 prt=1\n$main");
refused('a mistake that only PgBouncer sees', qr/does not take over its file/);
spew($ini, "[databases\n$main");
like(preflight('chicago', 'dallas', 'pooler_file'), qr/^warn: .*cannot read ".*pgbouncer\.ini", line 1$/m,
	'preflight names a line that cannot be read');
refused('a line that cannot be read',
	qr/does not take over its file.*^DETAIL:  PgBouncer cannot read ".*pgbouncer\.ini", line 1$/ms);
spew($ini, $main);
console('RELOAD');

# ---- an edit that was not loaded ----

spew("$folder/real/dbs.ini", $text =~ s/^(app = .* port=)\d+$/$1$port{dallas}/mr);
like(preflight('chicago', 'dallas', 'pooler_file'),
	qr/^fail: .*points database "app" to 127\.0\.0\.1:$port{dallas}, the pooler does not/m,
	'preflight sees that a RELOAD would move clients');
refused('an edit that is not loaded', qr/pooler_file .*points database "app"/);
spew("$folder/real/dbs.ini", $text);

# ---- another line for the same database, after ours ----

spew($ini, $main =~ s{^(%include .*)$}{$1\n[databases]\napp = host=127.0.0.1 port=$port{chicago}}mr);
console('RELOAD');
like(preflight('chicago', 'dallas', 'pooler_file'), qr/^fail: .*pgbouncer\.ini has a line for database "app" too/m,
	'preflight sees a line that counts instead of ours');
refused('another line', qr/pooler_file .*has a line for database "app" too/);
spew($ini, $main);
console('RELOAD');

# ---- the line counts, not what the route says of it ----

$lab->sql('chicago', q{UPDATE pingpong.route SET databases = '{"app": "dbname=other"}' WHERE name = 'rw1'});
refused('another dbname', qr/points to the database "app", the route says "other"/);
$lab->sql('chicago', q{UPDATE pingpong.route SET databases = '{"app": "", "nobody": ""}' WHERE name = 'rw1'});
unlike(preflight('chicago', 'dallas', 'routes_observed'), qr/^fail/m,
	'a database that only "*" serves may stand in a route');
$lab->sql('chicago', q{UPDATE pingpong.route SET databases = '{"app": "", "Alias.x-y": ""}' WHERE name = 'rw1'});

# ---- a folder that the agent may not write ----

chmod 0550, "$folder/real";
like(preflight('chicago', 'dallas', 'pooler_file'), qr/^fail: .*can not be replaced/m,
	'preflight sees that the file cannot be replaced');
refused('a folder that is not writable', qr/pooler_file .*can not be replaced/);
chmod 0750, "$folder/real";

# ---- an edit between the preparations and the commit stays ----

($from, $to) = qw(chicago dallas);
for my $i (1 .. 2)
{
	$lab->set($from, 'pingpong.debug_pause_after', 'wal_align');
	my $call = $lab->begin_sql($from, "SELECT run, state FROM pingpong.switchover('$to', max_blackout => '60 s')");
	$lab->wait_for($from, q{SELECT count(*) = 1 FROM pingpong.progress WHERE run_state = 'running'
		AND action = 'wal_align' AND state = 'succeeded'}, 'the run to stand behind its preparations');
	spew("$folder/real/dbs.ini", slurp("$folder/real/dbs.ini") . "; edit $i\n");
	$lab->set($from, 'pingpong.debug_pause_after', undef);
	my ($out, $err) = $lab->finish($call, 60);
	my ($run) = $out =~ /^(\d+)\|switched$/ or die "no run: $err";
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "edited meanwhile, $i: succeeded");
	is(points_to(), $port{$to}, "edited meanwhile, $i: the route points to $to");
	like(slurp($backends), qr/^; edit $i$/m, "edited meanwhile, $i: the edit is there");
	is(hidden("$folder/real"), '', "edited meanwhile, $i: nothing is left beside the file");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication
		WHERE application_name = '$from' AND state = 'streaming'", "$from to stream");
	($from, $to) = ($to, $from);
}
is(slurp($backends), "$text; edit 1\n; edit 2\n",
	'edited meanwhile: there and back, the file is as it was, with the edits');
spew("$folder/real/dbs.ini", $text);

# ---- what an agent that died has left ----

spew("$folder/real/.dbs.ini.pingpong-next", 'x');
spew("$folder/real/dbs.ini", $text =~ s/^(app_ro .*)$/$1\npingpong_probe_0123456789ab = host=127.0.0.1 port=1/mr);
chmod 0640, "$folder/real/dbs.ini";
$lab->kill9('agent', 'pooler1');
$lab->start_agent('pooler1');
is(slurp($backends), $text, 'the next agent takes out what was left in the file');
is(hidden("$folder/real"), '', 'and beside it');

# ---- RELOAD stops working between prepare and commit ----

$lab->set('chicago', 'pingpong.debug_pause_after', 'wal_align');
my $call = $lab->begin_sql('chicago',
	q{SELECT run, state, new_primary FROM pingpong.switchover('dallas', max_blackout => '60 s')});
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pingpong.progress WHERE run_state = 'running'
	AND action = 'wal_align' AND state = 'succeeded'}, 'the run to stand behind its preparations');
isnt(hidden("$folder/real"), '', 'the next version of the file is there before the blackout');
spew($ini, "[databases]\nreporting = host=127.0.0.1 prt=1\n$main");
$lab->set('chicago', 'pingpong.debug_pause_after', undef);
$lab->wait_for('dallas', 'SELECT NOT pg_is_in_recovery()', 'dallas to be promoted');
$lab->wait_for('dallas', q{SELECT count(*) = 1 FROM pingpong.progress WHERE action = 'repoint' AND node = 'rw1'
	AND state IN ('running', 'failed')}, 'the new primary to lead the route', 40);
ok($lab->running($call), 'nobody says "switched" while the pooler is at the old place');
spew($ini, $main);
my ($out, $err, $rc) = $lab->finish($call, 60);
like($out, qr/^\d+\|switched\|dallas$/, 'when PgBouncer can load its configuration again, the run goes on')
	or diag($err);
my ($run) = $out =~ /^(\d+)/ or die 'no run';
is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', 'and succeeds');
is(points_to(), $port{dallas}, 'with the route at dallas');
is(hidden("$folder/real"), '', 'nothing is left beside the file');
done_testing();
