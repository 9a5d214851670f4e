# The way back behind the opening: the new server has taken writes, and is given up by order. The old one serves
# again, its standby, too; what the new one wrote stays in its folder until finalize(). Then once more, to the end.
#
# PINGPONG_NEW_BIN is the folder of the new major's programs, with the extension installed (ci/upgrade gives it).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use Lab;
use Test::More;

our $new_bin = $ENV{PINGPONG_NEW_BIN} // '';
plan skip_all => 'there is no other major (ci/upgrade runs this)' unless -x "$new_bin/pg_upgrade";
my $mode = $ENV{PINGPONG_UPGRADE_MODE} // 'copy';
my $takes = $mode eq 'link' || $mode eq 'swap';	# the old directory is without its files
# How the old data directory comes back where its files were linked ("reflink", "zfs tank/pg ..."); "": not at all.
# PINGPONG_SNAPSHOT_DIR: where both data directories of chicago are, alone.
my $snapshot = $ENV{PINGPONG_SNAPSHOT} // '';
my $alone = $ENV{PINGPONG_SNAPSHOT_DIR} // '';
my ($to) = `$new_bin/postgres --version` =~ /\) (\d+)/;
our %new = map { $_ => undef } qw(chicago dallas);
my $lab = Lab->up(poolers => 1, nodes => 2, port => 22300);
my ($from) = $lab->sql('chicago', 'SHOW server_version_num') =~ /^(\d+)\d{4}$/;

# They are none of the lab's.
END
{
	local $?;
	foreach my $data (grep { defined && -e "$_/postmaster.pid" } values %new)
	{
		system("$new_bin/pg_ctl -D $data -m immediate stop >/dev/null 2>&1");
	}
}

# Both data directories in a place of their own, with links to them.
sub move_away
{
	my ($dir) = @_;
	my $data = $lab->env('PGDATA_chicago');
	system($lab->env('PGBIN') . '/pg_ctl', '-D', $data, '-s', '-m', 'fast', '-w', 'stop') == 0 or die;
	system('rm', '-rf', "$alone/data", "$alone/new") == 0 or die;	# of another test
	system('mv', $data, "$alone/data") == 0 or die;
	symlink "$alone/data", $data or die $!;
	mkdir "$alone/new", 0700 or die $!;
	symlink "$alone/new", "$dir/new" or die $!;
	return $lab->start_pg('chicago');
}

move_away($lab->agent_dir('chicago')) if $alone;
foreach my $node (sort keys %new)
{
	my $dir = $lab->agent_dir($node);
	$new{$node} = "$dir/new";
	$lab->set_agent($node, snapshot => $snapshot) if $snapshot;
	open my $ini, '>>', "$dir/agent.ini" or die "$dir: $!";
	print $ini "\n[postgresql.next]\ndata = $new{$node}\nbin = $new_bin\nsuccessor = yes\n";
	close $ini or die $!;
	kill 'HUP', $lab->pid('agent', $node);
}

# Of which version it is.
sub version
{
	my ($node) = @_;
	return $lab->sql($node, q{SELECT current_setting('server_version_num')::int / 10000});
}

sub gate { return $lab->sql('chicago', 'SELECT state FROM pingpong.gate'); }

sub serves
{
	return version('chicago') . ' ' . gate() . ', ' . version('dallas')
		. ' ' . $lab->sql('chicago', q{SELECT coalesce(string_agg(application_name || ' ' || state, ','), '-')
			FROM pg_stat_replication});
}

# What a run of SQL ends with: state and sentence, and what the caller saw.
sub run_of
{
	my ($sql) = @_;
	my $before = $lab->sql('chicago', 'SELECT coalesce(max(id), 0) FROM pingpong.run');
	my (undef, $err) = $lab->finish($lab->begin_sql('chicago', $sql), 300);
	my $made = $lab->run_said($err, $before);
	my @end = $err =~ /^ERROR/m ? ('refused', $err) : $lab->settle($made, 300);
	return ($made, "$end[0] $end[1]", $err);
}

sub refused
{
	my ($pattern, $what, $sql, $user) = @_;
	my (undef, $err, $rc) = $lab->try_sql('chicago', '\set VERBOSITY verbose', $user ? "SET ROLE $user" : (), $sql);
	ok($rc != 0 && $err =~ $pattern, "$what: refused") or diag("$rc $err");
	return;
}

sub append
{
	my ($file, $line) = @_;
	open my $fh, '>>', $file or die "$file: $!";
	print $fh $line;
	return close $fh;
}

# What is told to be left behind, with the way back that it is for.
sub left_behind
{
	return join "\n", split /\n/, $lab->sql('chicago', q{SELECT format('%s: %s: %s', node, kind,
		coalesce(regexp_replace(way_back, '^SELECT \* FROM pingpong.(\w+).*', '\1'), 'none'))
		FROM pingpong.artefacts() ORDER BY node, kind});
}

sub flows
{
	my ($load, $what) = @_;
	$load->mark($what);
	return ok($lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }), "$what: writes flow");
}

$lab->sql('chicago', 'CREATE TABLE t (i int PRIMARY KEY)', 'INSERT INTO t VALUES (1)');
my $load = $lab->writers(rate => 30);
my ($run, $end, $err) = run_of("SELECT * FROM pingpong.upgrade('chicago', to_version => $to, mode => '$mode')");
is($end, 'succeeded done', 'upgraded') or BAIL_OUT($err);
is(serves(), "$to open, $to dallas streaming", 'upgraded: both are there');
my $can_go_back = !$takes || $snapshot;
my ($back, $again) = $can_go_back ? qw(rollback rebuild) : qw(none none);
is(left_behind(), join("\n", "chicago: data directory: $back", $snapshot ? "chicago: snapshot: $back" : (),
	"dallas: data directory: $again"), 'upgraded: what is left behind is told');
# linked files are the new server's, too: what is freed may be nothing yet
my $least = $takes ? 0 : 1;
ok($lab->until_true('it to be measured', sub { $lab->sql('chicago', qq{SELECT bool_and(bytes >= $least AND
	measured_at > since AND since > now() - interval '1 hour' AND age < interval '1 min' AND growth_bytes = 0)
	FROM pingpong.artefacts() WHERE kind = 'data directory'}) eq 't' }), 'upgraded: and how large it is')
	if $mode ne 'clone';
$lab->kill9('agent', 'dallas');
is($lab->sql('chicago', q{SELECT problem IS NOT NULL AND age > interval '0' AND told_at < now() FROM
	pingpong.artefacts() WHERE node = 'dallas'}), 't', 'upgraded: an agent that is silent has told it before');
$lab->start_agent('dallas');
$lab->sql('chicago', 'INSERT INTO t VALUES (2)');
refused(qr/^ERROR:  42704: run 99 is no upgrade/m, 'another run', 'SELECT pingpong.rollback(99)');
refused(qr/^ERROR:  55000: what was written since the upgrade of run $run would be lost\nDETAIL:  Since .* of WAL; /m,
	'without a risk', "SELECT pingpong.rollback($run)");
is($lab->sql('chicago', q{SELECT inserted >= 1 FROM pingpong.rollback_loss() WHERE relation = 'public.t'}), 't',
	'the loss is told by table');
my $risk = "risk => 'its own writes are lost'";
$lab->sql('chicago', 'CREATE ROLE operator', 'GRANT pingpong_operator TO operator');
refused(qr/^ERROR:  42501: must be superuser/m, 'by an operator', "SELECT pingpong.rollback($run, $risk)",
	'operator');

my $key = $lab->sql('chicago', "SELECT key FROM pingpong.run WHERE id = $run");
my $bare = qq{SELECT pingpong_internal.request('run', 'chicago', '{"runbook": "rollback", "of": "$key"}')};
refused(qr/^ERROR:  42501: must be superuser/m, 'the same without the word', $bare, 'operator');
refused(qr/^ERROR:  22023: "risk" does not say what is risked/m, 'nor does a superuser go without', $bare);

if ($takes && !$snapshot)
{
	refused(qr/^ERROR:  55000: there is no way back: the new server runs on the files of the/m,
		'linked files', "SELECT pingpong.rollback($run, $risk)");
	is(serves(), "$to open, $to dallas streaming", 'linked files: nothing was touched');
}
else
{
	# ---- the old server's folder is not what it was: nothing is stopped for it ----

	my $old = $lab->env('PGDATA_chicago');
	if (!$takes)
	{
		rename "$old/pingpong.seal", "$old/seal.aside" or die $!;
		refused(qr/^ERROR:  55000: there is no way back: the old data directory is not sealed by the upgrade/m,
			'no seal in the old directory', "SELECT pingpong.rollback($run, $risk)");
		is(serves(), "$to open, $to dallas streaming", 'no seal in the old directory: nothing was touched');
		rename "$old/seal.aside", "$old/pingpong.seal" or die $!;
	}

	# ---- it is broken when nothing could be looked at any more: the new server goes on ----

	if (!$takes)
	{
		my $conf = "$new{chicago}/postgresql.conf";
		append($conf, "pingpong.debug_pause_after = 'seal'\n");
		$lab->sql('chicago', 'SELECT pg_reload_conf()');
		my $before = $lab->last_run('chicago');
		my $job = $lab->begin_sql('chicago', "SELECT * FROM pingpong.rollback($run, $risk)");
		$lab->until_true('the seal', sub { gate() eq 'sealed' }, 60);
		my $ini = $lab->agent_dir('chicago') . '/agent.ini';
		my $size = -s $ini;
		append($ini, "\nno option of any section = 1\n");
		append($conf, "pingpong.debug_pause_after = ''\n");
		open my $pid, '<', "$new{chicago}/postmaster.pid" or die $!;
		kill 'HUP', <$pid> + 0;
		my @ended = $lab->settle($lab->run_said(($lab->finish($job, 120))[1], $before), 120);
		like("$ended[0] $ended[1]", qr/^rolled_back .*configuration cannot be read again/, 'broken on the way');
		ok($lab->until_true('the new server', sub { serves() eq "$to open, $to dallas streaming" }),
			'broken on the way: the new server goes on');
		flows($load, 'broken on the way');
		truncate $ini, $size or die $!;
		kill 'HUP', $lab->pid('agent', 'chicago');
	}

	# ---- back, and the agent dies on the way ----

	$lab->finish($lab->begin_sql('chicago', "SELECT * FROM pingpong.rollback($run, $risk)"), 300);
	$lab->kill9('agent', 'chicago');
	$lab->start_agent('chicago');
	my @over = $lab->settle($run, 300);
	is("$over[0]", 'rolled_back', "taken back: $over[1]");
	is(version('chicago') . ' ' . gate(), "$from open",
		'taken back: the old server serves');
	is($lab->sql('chicago', 'SELECT string_agg(i::text, $$,$$) FROM t'), '1', 'taken back: with what it had');
	flows($load, 'taken back');
	ok(-e "$new{chicago}/base", 'taken back: what the new one wrote is still there') unless $snapshot =~ /^zfs/;
	(undef, $end, $err) = run_of(q{SELECT * FROM pingpong.rebuild('dallas')});
	is($end, 'succeeded done', 'taken back: so is the standby') or diag($err);
	is(serves(), "$from open, $from dallas streaming", 'taken back: with its own old server');
	is($lab->sql('dallas', q{SHOW pingpong.node_name}), 'dallas', 'taken back: which is itself');
	refused(qr/^ERROR:  55000: run $run is rolled_back/m, 'twice', "SELECT pingpong.rollback($run, $risk)");
	refused(qr/^ERROR:  55000: preflight .*new" is not empty/ms, 'a folder that holds the lost writes',
		"SELECT * FROM pingpong.upgrade('chicago', to_version => $to)");

	like(left_behind(), qr/^chicago: data directory: none\n(?:chicago: snapshot: none\n)?dallas: data directory: /,
		'taken back: what is left behind is told') if $snapshot !~ /^zfs/;

	# ---- that is cleared away, and it is done anew ----

	(undef, $end, $err) = run_of("SELECT * FROM pingpong.finalize($run)");
	is($end, 'succeeded done', 'finalized') or diag($err);
	is(join(' ', map { glob "$new{$_}/*" } keys %new), '', 'finalized: nothing is left');
	is(serves(), "$from open, $from dallas streaming", 'finalized: both serve');
	is(left_behind(), '', 'finalized: nothing is told to be left behind');
	($run, $end, $err) = run_of("SELECT * FROM pingpong.upgrade('chicago', to_version => $to, mode => '$mode')");
	is($end, 'succeeded done', 'upgraded again') or diag($err);
	is(serves(), "$to open, $to dallas streaming", 'upgraded again: both are there');
}

# ---- the end of it ----

(undef, $end, $err) = run_of("SELECT * FROM pingpong.finalize($run)");
is($end, 'succeeded done', 'finalized at last') or diag($err);
is(join(' ', map { glob $lab->env("PGDATA_$_") . '/*' } keys %new), '', 'finalized at last: the old data is gone');
is(serves(), "$to open, $to dallas streaming", 'finalized at last: both serve');
refused(qr/^ERROR:  55000: (?:the upgrade has not ended|there is no way back)/m, 'no way back behind that',
	"SELECT pingpong.rollback($run, $risk)");
is(left_behind(), '', 'finalized at last: nothing is told to be left behind');
flows($load, 'finalized');
is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');
done_testing();
