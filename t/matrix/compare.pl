# The run does not trust pg_upgrade: what the new server holds is compared with what the old one held, before clients
# come. Here pg_upgrade ends well and has lost something: where there is a way back the old server serves again, where
# there is none (linked files) the new one stays sealed until a person has decided.
#
# PINGPONG_NEW_BIN is the folder of the new major's programs, with the extension installed (ci/upgrade gives it).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use Lab;
use Test::More;

my $new_bin = $ENV{PINGPONG_NEW_BIN} // '';
plan skip_all => 'there is no other major (ci/upgrade runs this)' unless -x "$new_bin/pg_upgrade";
my $mode = $ENV{PINGPONG_UPGRADE_MODE} // 'copy';
my ($to) = `$new_bin/postgres --version` =~ /\) (\d+)/;
my $lab = Lab->up(poolers => 1, nodes => 1, port => 22800);
my ($from) = $lab->sql('chicago', 'SHOW server_version_num') =~ /^(\d+)\d{4}$/;
my $dir = $lab->agent_dir('chicago');
our $new_data = "$dir/new";

# It is not one of the lab's.
END
{
	local $?;
	system("$new_bin/pg_ctl -D $new_data -m immediate stop >/dev/null 2>&1") if -e "$new_data/postmaster.pid";
}

sub text_of { my ($file) = @_; open my $in, '<', $file or return ''; local $/; return <$in> // ''; }

sub write_file
{
	my ($file, $text, $rights) = @_;
	open my $out, '>', $file or die "$file: $!";
	print $out $text;
	close $out or die "$file: $!";
	chmod $rights, $file if $rights;
	return;
}

# ---- programs that may go wrong ----

# The true programs; behind pg_upgrade "$dir/then" is run.
my $bin = "$dir/bin";
mkdir $bin or die "$bin: $!";
symlink $_, "$bin/" . s{.*/}{}r or die "$_: $!" foreach grep { !m{/pg_upgrade$} } glob "$new_bin/*";
write_file("$bin/pg_upgrade", <<~"SH", 0755);
	#!/bin/sh
	$new_bin/pg_upgrade "\$@" || exit
	case " \$* " in *" --check "*) exit 0 ;; esac
	exec $dir/then
	SH

# A server alone, without a postmaster: it writes what nobody sees.
sub lose
{
	my (%statements) = @_;
	write_file("$dir/then", "#!/bin/sh\nset -e\n" . join('', map { "echo '$statements{$_}' | $new_bin/postgres "
		. "--single -D $new_data -c shared_preload_libraries= -c archive_mode=off $_ >/dev/null 2>&1\n" }
		sort keys %statements), 0755);
	return;
}

write_file("$dir/smoke", <<~"SH", 0755);
	#!/bin/sh
	echo "\$1 \$($new_bin/psql -XAtq -h \$2 -p \$3 -d app -c 'SELECT state FROM pingpong.gate')" >>$dir/smoked
	exec test ! -e $dir/smells
	SH
my ($port, $socket) = ($lab->env('PORT_chicago'), $lab->sql('chicago', 'SHOW unix_socket_directories'));
write_file("$dir/agent.ini", text_of("$dir/agent.ini")
	. "\n[postgresql.next]\ndata = $new_data\nbin = $bin\nsuccessor = yes\n\n[hooks]\nsmoke = $dir/smoke\n");
kill 'HUP', $lab->pid('agent', 'chicago');
$lab->until_true('the successor to be known', sub {
	grep { $_->{name} eq 'next' } @{ $lab->act('chicago', 'r', 0, 'facts')->{results}[0]{instances} } });

# ---- what is there ----

my $shop = $lab->env('DSN_chicago') =~ s/dbname=\S+/dbname=shop/r;
$lab->sql('chicago', 'CREATE DATABASE shop', 'CREATE TABLE t (i int PRIMARY KEY)', 'INSERT INTO t VALUES (1)',
	'CREATE ROLE clerk', 'CREATE ROLE cook');
$lab->sql($shop, 'CREATE SEQUENCE numbers', q{SELECT setval('numbers', 41)}, 'CREATE TABLE goods (i serial, x text)',
	'GRANT SELECT ON goods TO clerk');
my $load = $lab->writers(rate => 30);

sub gate { return ($lab->try_sql('chicago', 'SELECT state FROM pingpong.gate'))[0]; }
sub version { return $lab->sql('chicago', q{SELECT current_setting('server_version_num')::int / 10000}); }

sub upgrade
{
	my $before = $lab->sql('chicago', 'SELECT coalesce(max(id), 0) FROM pingpong.run');
	my $job = $lab->begin_sql('chicago',
		"SELECT * FROM pingpong.upgrade('chicago', to_version => $to, mode => '$mode')");
	my (undef, $err) = $lab->finish($job, 200);
	return ($lab->run_said($err, $before), $err);
}

sub ends
{
	my ($run, $pattern, $what) = @_;
	my @end = $lab->settle($run, 200);
	return like("$end[0] $end[1]", $pattern, $what);
}

sub flows
{
	my ($what) = @_;
	$load->mark($what);
	return ok($lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }), "$what: writes flow");
}

sub goes_back
{
	my ($pattern, $what) = @_;
	my ($run, $err) = upgrade();
	ends($run, $pattern, "$what: the run goes back") or diag($err);
	is(version() . ' ' . gate(), "$from open", "$what: the old server serves, and is open");
	flows($what);
	is($lab->sql($shop, 'SELECT last_value FROM numbers'), 41, "$what: it has what it had");
	is(join(' ', glob "$new_data/*"), '', "$what: nothing is left in the new folder");
	is($load->verify('chicago')->{lost}, 0, "$what: nothing acknowledged is lost");
	return;
}

my $found = qr/step upgrade_start of "chicago" failed: the new server does not hold what the old one held: /;

if ($mode ne 'link')
{
	lose(shop => 'DROP SEQUENCE numbers');
	goes_back(qr/^rolled_back $found.*database "shop": sequences: 2 before, 1 after/, 'a sequence is gone');
	lose(shop => q{SELECT setval($$numbers$$, 7)});
	goes_back(qr/^rolled_back ${found}database "shop": sequences: 2 before and after, but not the same$/,
		'a sequence is set back');
	lose(shop => 'ALTER TABLE goods DROP COLUMN x', postgres => 'DROP ROLE cook', app => 'DROP TABLE t');
	goes_back(qr/^rolled_back ${found}roles: \d+ before, \d+ after; .*; and \d+ more$/, 'much is gone');

	# ---- a smoke test of the site ----

	$lab->sql('chicago', qq{INSERT INTO pingpong.runbook_step (runbook, ordinal, action, node, worker, impact,
		on_failure, timeout, job, params, comment) VALUES ('upgrade', 66, 'hook', 'source', 'source', 'none', 'undo',
		'30s', 'crossing', '{"name": "smoke", "args": ["tried", "$socket", "$port"]}', 'a smoke test')});
	lose();
	write_file("$dir/smells", '');
	goes_back(qr/^rolled_back step hook of "chicago" failed: hook "smoke" ended with status 1/,
		'the smoke test of the site fails');
	is(text_of("$dir/smoked"), "tried sealed\n", 'the smoke test of the site: the new server was there, sealed');
	unlink "$dir/smells", "$dir/smoked";
}
else
{
	# ---- there is no way back: nobody writes until a person has looked ----

	lose(shop => 'DROP SEQUENCE numbers');
	my ($run, $err) = upgrade();
	ok($lab->until_true('the new server',
		sub { ($lab->try_sql('chicago', 'SHOW server_version_num'))[0] =~ /^$to/ }, 120),
		'a sequence is gone: the new server is there');
	my $told = q{SELECT string_agg(concat_ws(' ', run_state, action, state, message), E'\n') || min(sentence)
		FROM pingpong.progress};
	ok(eval { $lab->until_true('what is said',
		sub { ($lab->try_sql('chicago', $told))[0] =~ /this is the new server/ }) },
		'a sequence is gone: a person is asked') or diag($err, ($lab->try_sql('chicago', $told))[0]);
	like(($lab->try_sql('chicago', $told))[0], qr/database "shop": sequences: 2 before, 1 after/,
		'a sequence is gone: it says so');
	is(gate(), 'sealed', 'a sequence is gone: it takes no writes');
	$lab->sql('chicago', q{SELECT pingpong.resume(risk => 'two primaries are possible')});
	$lab->settle($run, 100);
	like($lab->sql('chicago', "SELECT string_agg(message, '; ') FROM pingpong.step WHERE run = $run"),
		qr/database "shop": sequences: 2 before, 1 after/, 'a person has opened it: the journal tells why');
	is(version() . ' ' . gate(), "$to open", 'a person has opened it');
	flows('a person has opened it');
	is($load->verify('chicago')->{lost}, 0, 'a person has opened it: nothing acknowledged is lost');
	is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');
	done_testing();
	exit;
}

# ---- nothing is known of the old server: that is no difference, and is said ----

$lab->sql('chicago', "UPDATE pingpong.runbook_step SET timeout = '31s' WHERE runbook = 'upgrade' AND ordinal = 66");
my $baseline = $lab->state_dir('chicago') . '/upgrade/baseline.json';
write_file("$dir/then", qq{#!/bin/sh\nexec sed -i 's/"run": *"/&not-/' $baseline\n}, 0755);
my ($run, $err) = upgrade();
ends($run, qr/^succeeded done$/, 'the answers of the old server are of another run: upgraded') or diag($err);
is(version() . ' ' . gate(), "$to open", 'upgraded: the new server serves');
is(text_of("$dir/smoked"), "tried sealed\n", 'upgraded: it was tried before');
is($lab->sql('chicago', qq{SELECT message, detail ->> 'not_compared', detail ? 'compare_ms' FROM pingpong.step
	WHERE run = $run AND action = 'upgrade_start'}), 'not all is compared: 0 of 0 databases; "not_compared" of the '
	. q{step's detail has the rest|["nothing is known of what the old server held"]|t}, 'upgraded: and that is said');
flows('upgraded');
is($load->verify('chicago')->{lost}, 0, 'upgraded: nothing acknowledged is lost');
is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');
done_testing();
