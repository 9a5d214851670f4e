# Backups are seen: pgBackRest with a repository in a folder, and a command of the site; the view, the check of
# preflight, the rule of alerts. Where pgBackRest is not installed, only the command.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;
use Tools qw(must read_file run write_file);

my $pgbackrest = '/usr/bin/pgbackrest';
my $lab = Lab->up(fast => 1, nodes => 2, poolers => 0, set => ['pingpong.alert_interval=200ms', 'archive_mode=on',
	'archive_command=/bin/false']);
my $dir = $lab->dir;
my ($uid, $gid) = (stat $lab->env('PGDATA_chicago'))[4, 5];

sub as_server
{
	my @command = @_;
	return $> == 0 ? must('setpriv', '--reuid', $uid, '--regid', $gid, '--clear-groups', @command) : must(@command);
}
sub backup_section
{
	my ($section) = @_;
	my $ini = $lab->agent_dir('chicago') . '/agent.ini';
	write_file($ini, read_file($ini) =~ s/\n\[backup\].*//sr . ($section ? "\n[backup]\n$section" : ''), 0644);
	$lab->kill9('agent', 'chicago');
	$lab->start_agent('chicago');
	$lab->sql('chicago', 'SELECT count(*) FROM pingpong.artefacts()');
	return;
}
sub told { return $lab->sql('chicago', "SELECT $_[0] FROM pingpong.backup"); }
sub alerts { return $lab->sql('chicago', q{SELECT sentence FROM pingpong.alerts WHERE rule = 'backup_age'}); }
sub check
{
	return $lab->sql('chicago', q{SELECT string_agg(status || ' ' || detail, ' / ')
		FROM pingpong.preflight('dallas') WHERE name = 'backup'});
}

is(check(), 'info not known: no agent has a section [backup]', 'nobody was told where backups are');

# ---- a command of the site ----

my $program = "$dir/last-backup";
write_file($program, qq{#!/bin/sh\ncat "$dir/last-backup.json"\n}, 0755);
write_file("$dir/last-backup.json", '{"last_ms": ' . 1000 * (time - 7200) . ', "label": "nightly", "type": "full"}',
	0644);
backup_section("command = $program\n");
is(told(q{node, tool, label, type, age BETWEEN '2 h' AND '3 h', told_at > now() - interval '1 min', problem IS NULL}),
	'chicago|command|nightly|full|t|t|t', 'a command tells');
like(check(), qr/^ok last good backup: nightly \(full\), 02:0\d:\d\d old$/, 'preflight has it');
$lab->sql('chicago', q{UPDATE pingpong.alert_rule SET threshold = 3600 WHERE name = 'backup_age'});
ok($lab->wait_for('chicago', q{SELECT sentence ~ '^the last good backup that is known is 2 h old, as told at '
	FROM pingpong.alerts WHERE rule = 'backup_age' AND severity = 'critical'}, 'the alert'),
	'an old backup is an alert');
like(check(), qr/^warn last good backup: nightly/, 'and a warning of preflight');
write_file("$dir/last-backup.json", 'no JSON', 0644);
$lab->sql('chicago', 'SELECT count(*) FROM pingpong.artefacts()');
is(told('last_backup IS NULL, problem'), 't|its output is no JSON', 'what is not understood is not a backup');
like(check(), qr/^warn its output is no JSON$/, 'preflight warns');
write_file("$dir/last-backup.json", '{"last_ms": ' . 1000 * time . '}', 0644);
$lab->sql('chicago', 'SELECT count(*) FROM pingpong.artefacts()');
ok($lab->wait_for('chicago', q{SELECT count(*) = 0 FROM pingpong.alerts WHERE rule = 'backup_age'}, 'the end'),
	'a new backup ends the alert');

# ---- pgBackRest ----

if (-x $pgbackrest)
{
	my $conf = "$dir/pgbackrest.conf";
	write_file($conf, "[global]\nrepo1-path=$dir/repo\nlog-path=$dir/repo\nlock-path=$dir/repo\n"
		. "log-level-console=off\nlog-level-file=off\nstart-fast=y\n[main]\npg1-path=" . $lab->env('PGDATA_chicago')
		. "\npg1-socket-path=$dir/run\npg1-port=" . $lab->sql('chicago', 'SHOW port') . "\npg1-database=app\n", 0644);
	mkdir "$dir/repo";
	chown $uid, $gid, "$dir/repo";
	my @tool = ($pgbackrest, "--config=$conf");
	backup_section("pgbackrest = @tool\nstanza = main\n");
	like(told('problem'), qr/missing stanza|does not know the stanza/, 'pgBackRest: no stanza yet');
	ok($lab->wait_for('chicago', q{SELECT sentence ~ '^no good backup is known \(chicago: '
		FROM pingpong.alerts WHERE rule = 'backup_age'}, 'the alert'), 'no backup is an alert') or diag(alerts());
	as_server(@tool, '--stanza=main', 'stanza-create');
	$lab->set('chicago', 'archive_command', "@tool --stanza=main archive-push %p");
	as_server(@tool, '--stanza=main', 'backup', '--type=full');
	$lab->sql('chicago', 'SELECT count(*) FROM pingpong.artefacts()');
	is(told(q{tool, type, label ~ '^\d{8}-\d{6}F$', age BETWEEN '0' AND '10 min', last_full = last_backup,
		last_wal ~ '^[0-9A-F]{24}$', problem IS NULL}), 'pgbackrest|full|t|t|t|t|t',
		'pgBackRest: the backup is seen');
	like(check(), qr/^ok last good backup: \d{8}-\d{6}F \(full\), [^\/]*$/, 'preflight has it');
	ok($lab->wait_for('chicago', q{SELECT count(*) = 0 FROM pingpong.alerts WHERE rule = 'backup_age'}, 'the end'),
		'the alert is cleared');
	my $check = run($lab->env('PGBIN') . '/pingpong-agent', '--config', $lab->agent_dir('chicago') . '/agent.ini',
		'--check');
	like($check, qr/^ok \s*.*backup.*$/m, '--check asks for it');
	$lab->set('chicago', 'archive_command', '/bin/true');
	$lab->sql('chicago', 'SELECT pg_switch_wal()');
	$lab->wait_for('chicago', q{SELECT last_archived_wal > (SELECT last_wal FROM pingpong.backup)
		FROM pg_stat_archiver}, 'a segment that is archived to nowhere');
	like(check(), qr/warn the repository has WAL up to/, 'WAL that does not reach the repository is a warning');
}
done_testing();
