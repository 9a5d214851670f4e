# One agent with several real servers: an order reaches the instance that it names, and no other; what is remembered
# of one is not put back on another; what cannot be understood is refused.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use Ports;
use Test::More;
use Tools;
use Time::HiRes qw(sleep time);

# Servers refuse to run as root.
if ($> == 0)
{
	my $user = $ENV{PINGPONG_TEST_USER} // 'postgres';
	exec 'setpriv', "--reuid=$user", "--regid=$user", '--init-groups', $^X, abs_path($0) or die "setpriv: $!";
}

my $top = dirname(dirname(abs_path($0)));
my $agent_binary = $ENV{PINGPONG_AGENT} // "$top/pingpong-agent";
my $bin = $ENV{PGBIN} // '';
chomp($bin = `\${PG_CONFIG:-pg_config} --bindir`) unless $bin;

plan skip_all => "no agent in $agent_binary" unless -x $agent_binary;

my $dir = tempdir('pingpong_instances_XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $token = 'a-token-of-this-test-' . $$;
my $port_base = Ports::take($ENV{PINGPONG_TEST_PORT} // 20000) + 1;
my ($agent_port, $step) = ($port_base, 0);
# main is a cluster of its own, next another one, copy a standby of main
my %port = (main => $port_base + 1, next => $port_base + 2, copy => $port_base + 3);
my ($major) = `$bin/postgres --version` =~ /\) (\d+)/;
my $agent;

# ---- tools ----

sub sql
{
	my ($name, $text) = @_;
	my $dsn = "host=$dir/run port=$port{$name} user=postgres dbname=postgres";
	my ($rc, $output) = run("$bin/psql", '-XAtq', '-d', $dsn, '-c', $text);
	return $output;
}

sub request
{
	my ($method, $path, $content) = @_;
	my $answer = HTTP::Tiny->new(timeout => 60)->request($method, "http://127.0.0.1:$agent_port$path",
		{ headers => { Authorization => "Bearer $token" }, $content ? (content => encode_json($content)) : () });
	return ($answer->{status}, eval { decode_json($answer->{content}) });
}

# A job, waited for.
sub job
{
	my (%more) = @_;
	my ($status, $job) = request('POST', '/v1/jobs',
		{ run => 'run', step => 's' . ++$step, epoch => 0, wait_ms => 50000, %more });
	diag("$status " . ($job->{error}{message} // '')) if $status != 200;
	return $job;
}

# One action, waited for; gives the job.
sub act
{
	my ($action, $params, %more) = @_;
	return job(%more, actions => [ { action => $action, params => $params // {} } ]);
}

sub done
{
	my ($job, $what) = @_;
	is($job->{state}, 'succeeded', $what) or diag(explain($job->{error}), $job->{output});
	return $job->{results}[-1] // {};
}

sub refused
{
	my ($job, $code, $pattern, $what) = @_;
	is("$job->{state} " . ($job->{error}{code} // ''), "failed $code", $what);
	like($job->{error}{message} // '', $pattern, "$what: says why");
	is(scalar @{ $job->{results} // [] }, 0, "$what: nothing was done");
}

# ---- the installation ----

sub section
{
	my ($name, %change) = @_;
	my %option = (data => "$dir/$name/data", bin => $bin, socket => "$dir/run", port => $port{$name},
		replication => 'user=postgres sslmode=disable', %change);
	return ($name eq 'main' ? "[postgresql]\n" : "[postgresql.$name]\n")
	  . join('', map { defined $option{$_} ? "$_ = $option{$_}\n" : () } sort keys %option);
}

sub configure
{
	my (@sections) = @_;
	write_file("$dir/agent.ini", <<INI . join "\n", @sections);
[agent]
node = dallas
listen = 127.0.0.1:$agent_port
token_file = $dir/token
state_dir = $dir/state

[hooks]
trace = /usr/bin/touch $dir/traced

INI
}

sub all_sections { return map { section($_) } qw(next main copy); }

sub start_agent
{
	$agent = fork // die "fork: $!";
	if ($agent == 0)
	{
		setpgrp;
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', "$dir/agent.log";
		open STDERR, '>&', \*STDOUT;
		exec $agent_binary, '--config', "$dir/agent.ini" or POSIX::_exit(127);
	}
	wait_for('the agent', sub { (request('GET', '/v1/ping'))[0] == 200 }) or die read_file("$dir/agent.log");
}

sub reload
{
	my $before = () = read_file("$dir/agent.log") =~ /configuration (not )?reloaded/g;
	kill 'HUP', $agent;
	wait_for('a reload', sub { (() = read_file("$dir/agent.log") =~ /configuration (not )?reloaded/g) > $before });
}

sub settings_of
{
	my ($name) = @_;
	return <<CONF;
port = $port{$name}
listen_addresses = '127.0.0.1'
unix_socket_directories = '$dir/run'
fsync = off
CONF
}

sub start_server
{
	my ($name) = @_;
	must("$bin/pg_ctl", '-D', "$dir/$name/data", '-l', "$dir/$name/log", '-w', 'start');
}

sub add_settings
{
	my ($name) = @_;
	my $path = "$dir/$name/data/postgresql.conf";
	write_file($path, read_file($path) . settings_of($name));
}

sub set_up
{
	mkdir "$dir/$_" for qw(run main next copy);
	write_file("$dir/token", "$token\n", 0600);
	for my $name (qw(main next))
	{
		must("$bin/initdb", '-D', "$dir/$name/data", '-A', 'trust', '-U', 'postgres', '--no-sync');
		add_settings($name);
		start_server($name);
	}
	must("$bin/pg_basebackup", '-D', "$dir/copy/data", '-R', '-c', 'fast',
		'-d', "host=127.0.0.1 port=$port{main} user=postgres");
	add_settings('copy');
	configure(all_sections());
	start_agent();
}

END
{
	my $status = $?;
	kill 'KILL', $agent if $agent;
	for my $name (keys %port)
	{
		system("$bin/pg_ctl -D '$dir/$name/data' -m immediate stop >/dev/null 2>&1")
		  if defined $dir && -f "$dir/$name/data/postmaster.pid";
	}
	$? = $status;
}

# ---- which one ----

sub test_facts
{
	my $facts = done(act('facts'), 'facts');
	my @rows = @{ $facts->{instances} };
	is(join(' ', map { "\"$_->{name}\"" } @rows), '"" "next" "copy"', 'name all instances, the main one first');
	is(join(' ', map { $_->{version} } @rows), "$major $major $major", 'with the major of their programs');
	is(join(' ', map { $_->{data_version} } @rows), "$major $major $major", 'and of their data');
	is(join(' ', map { $_->{port} } @rows), join(' ', map { $port{$_} } qw(main next copy)), 'with their ports');
	is(join(' ', map { $_->{running} ? 1 : 0 } @rows), '1 1 0', 'and which of them run');
	is(join(' ', @{ $rows[1] }{qw(data socket bin control)}), "$dir/next/data $dir/run $bin pg_ctl",
		'and where they are');

	my %system = map { $_ => sql($_, 'SELECT system_identifier FROM pg_control_system()') } qw(main next);
	is($facts->{postgres}{system_identifier}, $system{main}, 'without a name they are about the main one');
	is($facts->{postgres}{settings}{port}, $port{main}, 'by its settings, too');
	my $unnamed = done(act('facts', { instance => '' }), 'facts with an empty name');
	is($unnamed->{postgres}{system_identifier}, $system{main}, 'are the same');
	my $to_main = { host => '127.0.0.1', port => $port{main} };
	my $named = done(act('facts', { instance => 'next', connect => [$to_main] }), 'facts by name');
	is("$named->{instance} $named->{postgres}{system_identifier}", "next $system{next}", 'are about that one');
	is($named->{disks}{rows}[0]{path}, "$dir/next/data", 'its disks');
	is($named->{service}{ok}, JSON::PP::true, 'its service');
	is($named->{connect}[0]{system_identifier}, $system{main}, 'and its way to others');
}

sub slots
{
	my $sql = q{SELECT coalesce(string_agg(slot_name, ' '), '') FROM pg_replication_slots};
	return join '|', map { sql($_, $sql) } qw(main next);
}

sub test_orders
{
	my $checkpoints = sub { join ' ', map { sql($_, 'SELECT redo_lsn FROM pg_control_checkpoint()') } qw(main next) };
	my ($main, $next) = split / /, $checkpoints->();
	sql($_, 'SELECT pg_switch_wal()') for qw(main next);
	done(act('pg.checkpoint', { instance => 'next' }), 'a checkpoint by name');
	my ($main_then, $next_then) = split / /, $checkpoints->();
	is($main_then, $main, 'is not one of the main instance');
	isnt($next_then, $next, 'but of that one');
	done(act('pg.checkpoint'), 'a checkpoint without a name');
	isnt((split / /, $checkpoints->())[0], $main, 'is one of the main instance');

	my %slots = map { $_ => { slots => ["pingpong_$_"] } } qw(x y);
	is_deeply(done(act('slot.ensure', { %{ $slots{x} }, instance => 'next' }), 'a slot by name')->{created},
		['pingpong_x'], 'is made');
	is(slots(), '|pingpong_x', 'there and nowhere else');
	done(act('slot.ensure', $slots{y}), 'a slot without a name');
	is(slots(), 'pingpong_y|pingpong_x', 'is one of the main instance');
	is_deeply(done(act('slot.drop', $slots{x}), 'to drop it elsewhere')->{dropped}, [], 'finds none');
	done(act('slot.drop', { %{ $slots{x} }, instance => 'next' }), 'to drop it there');
	is(slots(), 'pingpong_y|', 'finds it');
}

sub test_refusals
{
	my $job = act('pg.checkpoint', { instance => 'nexx' });
	refused($job, '42704', qr/^this agent has no PostgreSQL instance "nexx"$/, 'a wrong name');
	is($job->{error}{hint}, 'It has the main one, which needs no name; by name: "next", "copy".',
		'the hint names those that there are');
	for my $wrong ([ 7, 'a number' ], [ undef, 'null' ], [ ['next'], 'a list' ])
	{
		$job = act('pg.checkpoint', { instance => $wrong->[0] });
		refused($job, '22023', qr/"instance" must be a string/, "a name that is $wrong->[1]");
	}
	$job = act('hook', { name => 'trace', instance => 'none' });
	refused($job, '42704', qr/no PostgreSQL instance/, 'a hook for an unknown one');
	ok(!-e "$dir/traced", 'it did not run');
	for my $action (qw(token.arm token.burn pg.promote))
	{
		$job = act($action, { instance => 'next' });
		refused($job, '0A000', qr/works on the main instance only, not on "next"/, "$action of a named one");
	}
	ok(!-e "$dir/state/token", 'there is no token');
	$job = act('pg.retire', { instance => 'next' }, epoch => 5);
	refused($job, '55000', qr/is not sealed by this run/, 'to retire one that serves');
	is(sql('next', 'SELECT 1'), '1', 'which goes on');
}

# ---- what is remembered ----

sub delay { return sql($_[0], 'SHOW wal_writer_delay'); }
sub delays { return join ' ', map { delay($_) } qw(main next); }

sub set_delay
{
	my ($name, $value, $restore) = @_;
	my %params = (name => 'wal_writer_delay', value => $value);
	$params{instance} = $name if $name ne 'main';
	$params{restore} = JSON::PP::true if $restore;
	return act('pg.setting', \%params);
}

sub test_settings
{
	is(done(set_delay('next', '10s'), 'a setting by name')->{previous}, '200ms', 'had its default');
	wait_for('reload', sub { delay('next') eq '10s' });
	is(delays(), '200ms 10s', 'is that of one instance');
	ok(-e "$dir/state/settings.next/wal_writer_delay.json" && !-e "$dir/state/settings", 'and remembered apart');
	done(set_delay('main', undef, 1), 'to restore it on the main one');
	is(delays(), '200ms 10s', 'finds nothing there, and leaves the other');
	unlike(read_file("$dir/main/data/postgresql.auto.conf"), qr/wal_writer_delay/, 'nor is a line written');

	is(done(set_delay('main', '9s'), 'the same of the main one')->{previous}, '200ms', 'has an original of its own');
	wait_for('reload', sub { delay('main') eq '9s' });
	ok(-e "$dir/state/settings/wal_writer_delay.json", 'where it always was');
	kill 'KILL', $agent;
	waitpid $agent, 0;
	start_agent();
	done(set_delay('next', undef, 1), 'restored on one, by a later agent');
	wait_for('reload', sub { delay('next') eq '200ms' });
	is(delays(), '9s 200ms', 'the other keeps what it has');
	done(set_delay('main', undef, 1), 'and restored there');
	wait_for('reload', sub { delay('main') eq '200ms' });
	is(delays(), '200ms 200ms', 'both are as they were');
	is(join(' ', glob "$dir/state/settings*/*"), '', 'and nothing is remembered');
}

# The undo of an order for one instance is done there, where it names none itself.
sub test_undo
{
	my %setting = (name => 'wal_writer_delay', value => '8s');
	my %undo = (name => 'wal_writer_delay', value => undef, restore => JSON::PP::true);
	done(set_delay('main', '7s'), 'a setting of the main one');
	my $job = job(actions => [
			{ action => 'pg.setting', params => { %setting, instance => 'next' },
				undo => { action => 'pg.setting', params => \%undo } },
			{ action => 'hook', params => { name => 'none' } } ]);
	is("$job->{state} $job->{error}{code}", 'failed 42704', 'a job that fails after a setting by name');
	wait_for('reload', sub { delay('next') eq '200ms' && delay('main') eq '7s' });
	is(delays(), '7s 200ms', 'takes it back there, and not on the main one');
	ok(!glob("$dir/state/settings.next/*"), 'where nothing is remembered any more');
	done(set_delay('main', undef, 1), 'and then on the main one');
}

# ---- making one a standby ----

sub test_rejoin
{
	my %to_main = (host => '127.0.0.1', port => $port{main}, instance => 'copy', timeout_ms => 60000);
	my $pids = sub { join ' ', map { (split /\n/, read_file("$dir/$_/data/postmaster.pid"))[0] } qw(main next) };
	my $before = $pids->();
	refused_rejoin(act('pg.rejoin', { %to_main, instance => 'next' }, epoch => 7));
	my $job = act('pg.rejoin', \%to_main, epoch => 7);
	is(done($job, 'one that is down becomes a standby')->{method}, 'direct', 'by starting it');
	is(sql('copy', 'SELECT pg_is_in_recovery()'), 't', 'it is one');
	$job = act('pg.rejoin', { %to_main, method => 'basebackup' }, epoch => 7);
	is(done($job, 'and again by a copy')->{method}, 'basebackup', 'made anew');
	is(sql('copy', 'SHOW port'), $port{copy}, 'with its own settings');
	ok(!-e "$dir/copy/data/pingpong.rejoin", 'nothing is left of the work');
	is(done(act('pg.follow', { %to_main }, epoch => 7), 'it follows')->{method}, 'none', 'already');
	is($pids->(), $before, 'the others were not touched');
	my (undef, $ping) = request('GET', '/v1/ping');
	is($ping->{epoch}, 0, 'which is no proof that the primary has moved');
	is(sql('main', q{SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'}), 1, 'it streams');
	done(act('pg.checkpoint', { instance => 'copy' }), 'an order of before is taken');
}

sub refused_rejoin
{
	my ($job) = @_;
	is("$job->{state} $job->{error}{code}", 'failed 55000', 'a server of another cluster is not made a standby');
	like($job->{error}{message}, qr/^instance "next" of node "dallas" /, 'the error names the instance');
	is(sql('next', 'SELECT pg_is_in_recovery()'), 'f', 'and it goes on');
}

# ---- the configuration ----

sub check
{
	my (@sections) = @_;
	configure(@sections);
	return run($agent_binary, '--check', '--config', "$dir/agent.ini");
}

sub test_check
{
	my ($rc, $out) = check(all_sections());
	my $versions = qr/programs in \S+ are of version $major, the data directory is of version/;
	is($rc, 0, '--check') or diag($out);
	for my $section (qw(postgresql postgresql.next postgresql.copy))
	{
		like($out, qr/^ok   \[\Q$section\E\] connection to PostgreSQL, port /m, "looks at [$section]");
		like($out, qr/^ok   \[\Q$section\E\] $versions $major$/m, 'and its version');
	}
	unlike($out, qr/^\w+ +(data|program|connection|control)/m, 'each line of a server names its instance');
	($rc, $out) = check(section('main'));
	unlike($out, qr/\[postgresql/, 'one alone is not named');

	($rc, $out) = check(section('main'), section('next', port => 1));
	is($rc, 1, '--check with a wrong port of one') or diag($out);
	like(join("\n", grep { /^FAIL/ } split /\n/, $out), qr/\AFAIL \[postgresql.next\] connection .*\z/, 'names it');
	($rc, $out) = check(section('main'), section('next', data => "$dir/new"));
	like($out, qr{^warn \[postgresql.next\] data directory $dir/new does not exist yet$}m,
		'one that is not there yet');
	is($rc, 0, 'is no failure') or diag($out);
	must("$bin/pg_ctl", '-D', "$dir/next/data", '-m', 'fast', '-w', 'stop');
	($rc, $out) = check(all_sections());
	like($out, qr/^warn \[postgresql.next\] the server does not run/m, 'nor one that is down');
	is($rc, 0, 'since only the main one has to run') or diag($out);
	write_file("$dir/next/data/PG_VERSION", "9\n");
	($rc, $out) = check(all_sections());
	like($out, qr/^FAIL \[postgresql.next\] $versions 9$/m, 'programs of another major');
	write_file("$dir/next/data/PG_VERSION", "$major\n");
	start_server('next');
}

sub test_bad_configurations
{
	my @bad = (
		[ 'one data directory for two', qr/\[postgresql\] and \[postgresql.next\] have the same data directory/,
			section('main'), section('next', data => "$dir/main/data") ],
		[ 'one port for two', qr/\[postgresql\] and \[postgresql.next\] have the same "port" and the same "socket"/,
			section('main'), section('next', port => $port{main}) ],
		[ 'none is the main one', qr/\[postgresql.next\] needs a main instance beside it/, section('next') ],
		[ 'a name that is none', qr/\[postgresql.Next\] does not name an instance/,
			section('main'), section('next') =~ s/next/Next/r ],
	);
	for my $bad (@bad)
	{
		my ($what, $pattern, @sections) = @$bad;
		my ($rc, $out) = check(@sections);
		is($rc, 1, "$what: refused");
		like($out, qr/^FAIL configuration .*$pattern/m, "$what: in clear words");
		reload();
		like(read_file("$dir/agent.log"), qr/configuration not reloaded: .*$pattern/,
			"$what: and by an agent that runs");
	}
	done(act('pg.checkpoint', { instance => 'copy' }), 'it goes on with what it had');
	configure(section('main'), section('next'));
	reload();
	my $job = act('pg.checkpoint', { instance => 'copy' });
	refused($job, '42704', qr/no PostgreSQL instance "copy"/, 'one that is there no more');
	configure();
	reload();
	$job = act('pg.checkpoint', { instance => 'next' });
	refused($job, '42704', qr/no PostgreSQL instance "next"/, 'an agent without any');
	is($job->{error}{hint}, 'It has no PostgreSQL at all.', 'says so');
	is_deeply(done(act('facts'), 'its facts')->{instances}, [], 'list none');
	refused(act('pg.checkpoint'), '55000', qr/this agent has no PostgreSQL$/, 'nor has it a main one');
}

set_up();
test_facts();
test_orders();
test_refusals();
test_settings();
test_undo();
test_rejoin();
test_check();
test_bad_configurations();
done_testing();
