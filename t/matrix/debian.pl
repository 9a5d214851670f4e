# An upgrade in Debian's layout: clusters of pg_createcluster with their configuration in /etc/postgresql, run by
# pg_ctlcluster. What Debian's own tools say of them afterwards, and which of them would start with the host.
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
plan skip_all => 'this is no Debian, or its clusters cannot be made'
	unless -x '/usr/bin/pg_createcluster' && -w '/etc/postgresql' && -w '/var/lib/postgresql';
my $mode = $ENV{PINGPONG_UPGRADE_MODE} // 'copy';
my ($to) = `$new_bin/postgres --version` =~ /\) (\d+)/;
my $lab = Lab->up(poolers => 1, nodes => 2, port => 22900);
my ($from) = $lab->sql('chicago', 'SHOW server_version_num') =~ /^(\d+)\d{4}$/;
my $generator = '/usr/lib/systemd/system-generators/postgresql-generator';
my %name = map { $_ => 'pp' . $lab->base . $_ } qw(chicago dallas);
my %old = map { $_ => $lab->env("PGDATA_$_") } keys %name;
my %new = map { $_ => $lab->agent_dir($_) . '/new' } keys %name;

# What is left where a test ends early.
END
{
	local $?;
	chmod 0755, '/etc/postgresql';
	foreach my $node (keys %name)
	{
		foreach my $major ($from, $to)
		{
			chmod 0755, "/etc/postgresql/$major/$name{$node}";
			my $data = $major == $from ? $old{$node} : $new{$node};
			system("$new_bin/pg_ctl -D $data -m immediate stop >/dev/null 2>&1") if -e "$data/postmaster.pid";
			system('rm', '-rf', "/etc/postgresql/$major/$name{$node}", "/var/lib/postgresql/$major/$name{$node}",
				"/var/log/postgresql/postgresql-$major-$name{$node}.log");
		}
	}
	rmdir "/$_/$to" foreach qw(etc/postgresql var/lib/postgresql);
	rmdir "/etc/postgresql/$from";
}

sub conf { my ($major, $node, $file) = @_; return "/etc/postgresql/$major/$name{$node}" . ($file ? "/$file" : ''); }

sub text_of
{
	my ($file) = @_;
	local $/;
	open my $in, '<', $file or return '';
	return <$in> // '';
}

sub append
{
	my ($file, $text) = @_;
	open my $out, '>>', $file or die "$file: $!";
	print $out $text;
	return close $out;
}

sub debian
{
	my (@command) = @_;
	open my $run, '-|', "@command 2>&1" or die $!;
	my $said = do { local $/; <$run> };
	return close $run ? $said : "failed: $said";
}

# ---- the lab's servers become clusters of Debian's ----

sub become_cluster
{
	my ($node) = @_;
	my $port = $lab->sql($node, 'SHOW port');
	system($lab->env('PGBIN') . '/pg_ctl', '-D', $old{$node}, '-s', '-m', 'fast', '-w', 'stop') == 0 or die;
	unlike(debian('pg_createcluster', '-d', $old{$node}, '-p', $port, '-s', $lab->dir . '/run', $from, $name{$node}),
		qr/^failed/, "$node is a cluster") or die;
	# as those have it that pg_createcluster makes anew
	append(conf($from, $node, 'postgresql.conf'), "cluster_name = '$from/$name{$node}'\ninclude_dir = 'conf.d'\n"
		. "external_pid_file = '/var/run/postgresql/$from-$name{$node}.pid'\n");
	mkdir conf($from, $node, 'conf.d') or die $!;
	append(conf($from, $node, 'conf.d/site.conf'), "work_mem = '7MB'\n");
	append(conf($from, $node, 'pg_hba.conf'), "# of $node\n");
	unlike(debian('pg_ctlcluster', $from, $name{$node}, 'start'), qr/^failed/, "$node runs by pg_ctlcluster") or die;
	$lab->set_agent($node, control => 'pg_ctlcluster', cluster => "$from/$name{$node}");
	append($lab->agent_dir($node) . '/agent.ini', "\n[postgresql.next]\ndata = $new{$node}\nbin = $new_bin\n"
		. "successor = yes\ncontrol = pg_ctlcluster\ncluster = $to/$name{$node}\n");
	kill 'HUP', $lab->pid('agent', $node);
	return;
}

become_cluster($_) foreach 'dallas', 'chicago';
$lab->wait_for('chicago', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'}, 'the standby');
my %start_conf = map { $_ => text_of(conf($from, $_, 'start.conf')) } keys %name;

# Version, cluster, status and start.conf of ours, as pg_lsclusters has them.
sub clusters
{
	return join '; ', map { my ($version, $cluster, undef, $status) = split; "$version $cluster $status" }
		sort grep { /@{[$lab->base]}/ } split /\n/, debian('pg_lsclusters', '-h', '-s');
}

sub expected
{
	my ($serves) = @_;
	my @lines;
	foreach my $major ($from, $to)
	{
		my ($is, $at_boot) = $major == $serves ? ('online', 'auto') : ('down', 'manual');
		push @lines, "$major $name{chicago} $is,$at_boot", "$major $name{dallas} $is,recovery,$at_boot";
	}
	return join '; ', @lines;
}

# What starts with the host, by the program that tells systemd.
sub boots
{
	my $folder = $lab->dir . '/boot';
	system('rm', '-rf', $folder);
	mkdir $folder or die $!;
	system('sh', $generator, $folder) == 0 or die;
	return join ' ', sort map { m{postgresql@(\d+)-@{[$name{chicago}]}\.service$} ? "chicago:$1"
		: m{postgresql@(\d+)-@{[$name{dallas}]}\.service$} ? "dallas:$1" : () } glob "$folder/*.wants/*";
}

sub boot_of { my ($major) = @_; return "chicago:$major dallas:$major"; }

sub version
{
	my ($node) = @_;
	return $lab->sql($node, q{SELECT current_setting('server_version_num')::int / 10000});
}

sub serves
{
	return version('chicago') . ' ' . $lab->sql('chicago', 'SELECT state FROM pingpong.gate') . ', '
		. version('dallas') . ' ' . $lab->sql('chicago', q{SELECT
			coalesce(string_agg(application_name || ' ' || state, ','), '-') FROM pg_stat_replication});
}

sub serve
{
	my ($version, $what) = @_;
	$lab->until_true('the standby', sub { serves() =~ /streaming$/ });
	return is(serves(), "$version open, $version dallas streaming", "$what: both serve");
}

sub run_of
{
	my ($sql, $during) = @_;
	my $before = $lab->sql('chicago', 'SELECT coalesce(max(id), 0) FROM pingpong.run');
	my $job = $lab->begin_sql('chicago', $sql);
	$during->() if $during;
	my (undef, $err) = $lab->finish($job, 300);
	my $made = $lab->run_said($err, $before);
	my @end = $err =~ /^ERROR/m ? ('refused', $err) : $lab->settle($made, 300);
	return ($made, "$end[0] $end[1]", $err);
}

sub unchanged
{
	my ($what) = @_;
	is(join('', map { text_of(conf($from, $_, 'start.conf')) } sort keys %name),
		join('', map { $start_conf{$_} } sort keys %name), "$what: start.conf of the old clusters is as it was");
	is(join(' ', grep { -e } map { (glob "$new{$_}/*"), conf($to, $_) } sort keys %name), '',
		"$what: nothing of the new ones is left");
	return is(boots(), boot_of($from), "$what: the old ones start with the host");
}

# ---- preflight ----

sub preflight
{
	my ($node, $column) = @_;
	return $lab->sql('chicago', qq[SELECT status || ' ' || $column FROM pingpong.preflight('chicago',
		'{"runbook": "upgrade", "to_version": $to, "mode": "$mode"}') WHERE name = 'upgrade_successor'
		AND node = '$node']);
}

like(preflight('chicago', 'detail'), qr/^ok version $to/, 'a successor that is fit');
unlike(debian('pg_createcluster', '--start-conf=manual', $to, $name{chicago}), qr/^failed/, 'as a package makes one');
like(preflight('chicago', 'detail'), qr{^fail there is a cluster $to/$name{chicago} already: "/etc/postgresql},
	'a cluster of that name');
like(preflight('chicago', 'hint'), qr/pg_dropcluster/, 'a cluster of that name: the remedy');
ok(-e "/var/lib/postgresql/$to/$name{chicago}/PG_VERSION", 'a cluster of that name: it is still there');
unlike(debian('pg_dropcluster', $to, $name{chicago}), qr/^failed/, 'a cluster of that name: dropped');
chmod 0555, '/etc/postgresql' or die $!;
like(preflight('dallas', 'detail'), qr{^fail the agent may not write .* $to/$name{dallas}: "/etc/postgresql": Perm},
	'a folder that may not be written');
chmod 0755, '/etc/postgresql' or die $!;
chmod 0555, conf($from, 'chicago') or die $!;
like(preflight('chicago', 'detail'), qr{^fail the agent may not write .* $from/$name{chicago}: "/etc/.*": Perm},
	'start.conf that may not be written');
chmod 0755, conf($from, 'chicago') or die $!;

# Its successor with another line, and as it was.
sub with_line
{
	my ($line, $other, $pattern, $what) = @_;
	my $ini = $lab->agent_dir('chicago') . '/agent.ini';
	my $text = text_of($ini);
	my $changed = $text =~ s/.*\K^\Q$line\E$/$other/msr;
	foreach my $now ($changed, $text)
	{
		open my $out, '>', $ini or die $!;
		print $out $now;
		close $out or die $!;
		kill 'HUP', $lab->pid('agent', 'chicago');
		ok($lab->until_true('the agent', sub { (preflight('chicago', 'detail') =~ $pattern) == ($now eq $changed) }),
			$now eq $changed ? $what : "$what: put right");
	}
	return;
}

with_line("cluster = $to/$name{chicago}", "cluster = $from/else",
	qr{^fail cluster $from/else of \[postgresql\.next\] is not one of version $to$}, 'a cluster of another version');
with_line('control = pg_ctlcluster', "control = systemctl\nunit = site-$to",
	qr{^fail an upgrade needs .* and \[postgresql\.next\] has "site-$to"$}, 'a unit of the site');
with_line('control = pg_ctlcluster', 'control = pg_ctl',
	qr{^fail .* must both be clusters of Debian's, or both have "control = pg_ctl"$}, 'one of Debian alone');
is($lab->sql('chicago', qq[SELECT string_agg(name || ': ' || detail, '; ') FROM pingpong.preflight('chicago',
	'{"runbook": "upgrade", "to_version": $to, "mode": "$mode"}') WHERE status IN ('fail', 'warn')
		AND name <> 'upgrade_rehearsal']), '', 'nothing else stands against it');
unchanged('preflight');

# ---- it fails, and goes back ----

$lab->sql('chicago', 'CREATE TABLE t (i int PRIMARY KEY)', 'INSERT INTO t VALUES (1)',
	q{ALTER SYSTEM SET wal_compression = 'on'}, 'SELECT pg_reload_conf()');
my $load = $lab->writers(rate => 30);

sub flows
{
	my ($what) = @_;
	$load->mark($what);
	return ok($lab->until_true('writes to flow', sub { $load->end->{acked} > 0 }), "$what: writes flow");
}

my $upgrade = "SELECT * FROM pingpong.upgrade('chicago', to_version => $to, mode => '$mode', "
	. "carry => '{wal_compression}')";
my ($prepared, $sealed);
my ($run, $end, $err) = run_of($upgrade, sub {
	$lab->until_true('pg_upgrade in the window', sub { -e "$old{chicago}/pingpong.seal"
		&& glob("$new{chicago}/pg_upgrade_output.d/*") });
	$prepared = text_of(conf($to, 'chicago', 'start.conf'));
	$sealed = boots();
	append(conf($to, 'chicago', 'conf.d/broken.conf'), "listen_addresses = '203.0.113.7'\n");
});
like($end, qr/^rolled_back /, 'the new server does not start: the run goes back') or diag($err);
like($prepared, qr/^manual # pg_pingpong: /m, 'in the window the new cluster does not start with the host');
is($sealed, boot_of($from), 'in the window the old ones would');
serve($from, 'the new server does not start');
flows('the new server does not start');
is(join(' ', glob conf($to, 'chicago', '*')), conf($to, 'chicago', 'conf.d'),
	'the new server does not start: what is not ours stays');
unlink conf($to, 'chicago', 'conf.d/broken.conf') or die $!;
rmdir conf($to, 'chicago', 'conf.d') or die $!;
rmdir conf($to, 'chicago') or die $!;
unchanged('the new server does not start');

# ---- it goes through ----

sub upgraded
{
	my ($what, $during) = @_;
	($run, $end, $err) = run_of($upgrade, $during);
	is($end, 'succeeded done', $what) or diag($err);
	serve($to, $what);
	is(clusters(), expected($to), "$what: Debian's tools say so");
	is(boots(), boot_of($to), "$what: the new ones start with the host");
	like(debian('pg_ctlcluster', $from, $name{chicago}, 'start'), qr/^failed: .*[Pp]ort conflict/,
		"$what: the old one does not start beside it");
	return;
}

# the agent dies when it has begun to say which one starts with the host
upgraded('upgraded', sub {
	my $limit = $lab->limit(200);
	select undef, undef, undef, 0.01 while text_of(conf($from, 'chicago', 'start.conf')) eq $start_conf{chicago}
		&& time < $limit;
	$lab->kill9('agent', 'chicago');
	$lab->start_agent('chicago');
});
note(sprintf 'window: %s s', $lab->sql('chicago', qq{SELECT round(extract(epoch FROM
	min(ended_at) FILTER (WHERE action = 'repoint') - min(started_at) FILTER (WHERE action = 'pause')), 2)
	FROM pingpong.step WHERE run = $run}));
foreach my $node (sort keys %name)
{
	is($lab->sql($node, q{SELECT current_setting('config_file'), current_setting('hba_file'),
		current_setting('data_directory'), current_setting('work_mem'), current_setting('cluster_name')}),
		join('|', conf($to, $node, 'postgresql.conf'), conf($to, $node, 'pg_hba.conf'), $new{$node}, '7MB',
			"$to/$name{$node}"), "upgraded: $node has its configuration, where people look for it");
	like(text_of(conf($to, $node, 'pg_hba.conf')), qr/^# of $node$/m, "upgraded: the rules of $node, too");
	is(text_of(conf($to, $node, 'start.conf')), $start_conf{$node}, "upgraded: $node starts as before");
	is(join(' ', grep { -e } map { "$new{$node}/$_" } qw(postgresql.conf pg_hba.conf pg_ident.conf)), '',
		"upgraded: $node has no second configuration in its data directory");
	my @files = qw(.. . conf.d postgresql.conf start.conf);
	is(join(' ', map { sprintf '%o', (stat conf($to, $node, $_))[2] & 07777 } @files), '755 755 755 644 644',
		"upgraded: the tools of all users can read that of $node");
}
is($lab->sql('chicago', q{SELECT setting, sourcefile FROM pg_settings WHERE name = 'wal_compression'}),
	"pglz|$new{chicago}/postgresql.auto.conf", 'upgraded: what is carried of ALTER SYSTEM is where few read it');
append(conf($to, 'chicago', 'conf.d/late.conf'), "work_mem = '9MB'\n");
$lab->sql('chicago', 'SELECT pg_reload_conf()');
ok(eval { $lab->wait_for('chicago', q{SELECT current_setting('work_mem') = '9MB'}, 'conf.d') },
	'upgraded: what is put into conf.d counts');
unlink conf($to, 'chicago', 'conf.d/late.conf') or die $!;

# ---- back by order, and again ----

if ($mode eq 'link')
{
	$lab->sql('chicago', 'SELECT pg_reload_conf()');
}
else
{
	$lab->finish($lab->begin_sql('chicago',
		"SELECT * FROM pingpong.rollback($run, risk => 'its own writes are lost')"), 300);
	my @over = $lab->settle($run, 300);
	is("$over[0]", 'rolled_back', "taken back: $over[1]");
	is(boots(), "chicago:$from dallas:$to", 'taken back: the old primary starts with the host');
	(undef, $end, $err) = run_of(q{SELECT * FROM pingpong.rebuild('dallas')});
	is($end, 'succeeded done', 'taken back: so is the standby') or diag($err);
	serve($from, 'taken back');
	flows('taken back');
	is(clusters(), expected($from), "taken back: Debian's tools say so");
	is(boots(), boot_of($from), 'taken back: the old ones start with the host');
	is(join('', map { text_of(conf($from, $_, 'start.conf')) } sort keys %name),
		join('', map { $start_conf{$_} } sort keys %name), 'taken back: start.conf is as it was');
	(undef, $end, $err) = run_of("SELECT * FROM pingpong.finalize($run)");
	is($end, 'succeeded done', 'cleared away') or diag($err);
	unchanged('cleared away');
	upgraded('upgraded again');
}

# ---- the life after it ----

foreach my $target ('dallas', 'chicago')
{
	my $primary = $target eq 'dallas' ? 'chicago' : 'dallas';
	my $before = $lab->last_run($primary);
	my (undef, $said, $rc) = $lab->try_sql($primary, "SELECT state FROM pingpong.switchover('$target')");
	is($rc, 0, "to $target: moved") or diag($said);
	my @over = $lab->settle($lab->run_said($said, $before), 120);
	is("$over[0] $over[1]", 'succeeded done', "to $target: the other one is a standby");
}

# ---- the end of it ----

(my $last, $end, $err) = run_of("SELECT * FROM pingpong.finalize($run)");
is($end, 'succeeded done', 'finalized') or diag($err);
is(join(' ', map { glob "$old{$_}/*" } sort keys %name), '', 'finalized: the old data is gone');
is($lab->sql('chicago', qq{SELECT string_agg(replace(message, '$name{dallas}', ''), ', ') FROM pingpong.step
	WHERE run = $last AND node = 'dallas'}) =~ /; pg_dropcluster may remove the rest of cluster $from\/$/, 1,
	'finalized: what is left to do is told');
is(join(' ', map { -e conf($from, $_, 'postgresql.conf') ? 1 : 0 } sort keys %name), '1 1',
	'finalized: the old configuration is not ours to remove');
unlink map { conf($from, $_, 'conf.d/site.conf') } keys %name;
unlike(debian('pg_dropcluster', $from, $name{$_}), qr/^failed/, "finalized: $_ is dropped") foreach sort keys %name;
is(join(' ', grep { -e } map { conf($from, $_) } sort keys %name), '', 'finalized: nothing is left of them');
serve($to, 'finalized');
flows('finalized');
is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');
done_testing();
