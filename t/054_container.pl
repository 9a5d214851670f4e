# control = command, with a tool that keeps the server like a container does: in a process namespace of its own, where
# it is process 1, so that postmaster.pid names a process which here is another one.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

system('unshare -c -p -f true 2>/dev/null') == 0 or plan skip_all => 'no process namespaces for users here';

my $lab = Lab->up(fast => 1, port => 25400);
my $bin = $lab->env('PGBIN');
my $data = $lab->env('PGDATA_dallas');
my $box = $lab->dir . '/box';

sub streaming
{
	my ($primary, $standby) = @_;
	return $lab->wait_for($primary, "SELECT count(*) = 1 FROM pingpong.standby
		WHERE name = '$standby' AND state = 'streaming'", "$standby to stream", 60);
}

sub text_of
{
	my ($path) = @_;
	open my $fh, '<', $path or return '';
	local $/ = undef;
	my $text = <$fh>;
	close $fh;
	return $text;
}

# start returns when the process is there, stop when it is gone: that of "unshare" is what the tool knows
open my $fh, '>', $box or die;
print $fh <<"SH";
#!/bin/sh
case \$1 in
start)
	setsid unshare -c -p -f $bin/postgres -D $data >>$box.log 2>&1 </dev/null &
	echo \$! >$box.pid ;;
stop)
	pid=\$(cat $box.pid)
	for child in \$(cat /proc/\$pid/task/\$pid/children); do kill -INT \$child; done
	while kill -0 \$pid 2>/dev/null; do sleep 0.02; done ;;
*)	exit 2 ;;
esac
SH
close $fh or die;
chmod 0755, $box or die;
$lab->set_agent('dallas', control => 'command', start_command => "$box start", stop_command => "$box stop");
kill 'HUP', $lab->pid('agent', 'dallas');

my $load = $lab->writers(writers => 2, rate => 50);
system("$bin/pg_ctl", '-D', $data, '-s', '-m', 'fast', '-w', 'stop') == 0 or die;
system($box, 'start') == 0 or die;
streaming('chicago', 'dallas');
$lab->wait_for('dallas', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');
like(text_of("$data/postmaster.pid"), qr/\A1\n/, 'by its own word the server is process 1');

sub move
{
	my ($from, $to, $options, $what) = @_;
	my ($out, $err) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$to'$options)");
	like($out, qr/^\d+\|switched$/, "$what: switched") or diag($err);
	is(join(' ', ($lab->settle($out =~ /^(\d+)/, 120))[0, 1]), 'succeeded done', "$what: done");
	streaming($to, $from);
	is(join(' ', $lab->primary), $to, "$what: one primary");
	return $lab->sql($to, q{SELECT message FROM pingpong.step WHERE action = 'rejoin' ORDER BY run DESC LIMIT 1});
}

move('chicago', 'dallas', '', 'there');
move('dallas', 'chicago', '', 'back');
like(text_of("$data/postmaster.pid"), qr/\A1\n/, 'back: it was started by the tool');
move('chicago', 'dallas', '', 'there again');
like(move('dallas', 'chicago', q{, options => '{"method": "rewind"}'}, 'by pg_rewind'), qr/^by rewind/,
	'by pg_rewind: so it was');
$lab->sql('chicago', q{SELECT pingpong.rebuild('dallas', 'basebackup')});
streaming('chicago', 'dallas');
like(text_of("$data/postmaster.pid"), qr/\A1\n/, 'by a base backup: it was started by the tool');

# a server that hangs is not one that is down; it is waited for, for minutes
if ($ENV{PINGPONG_ALL})
{
	my ($outer) = text_of("$box.pid") =~ /(\d+)/;
	my ($postmaster) = text_of("/proc/$outer/task/$outer/children") =~ /(\d+)/;
	kill 'STOP', $postmaster;
	my (undef, $err) = $lab->try_sql('chicago', q{SELECT pingpong.rebuild('dallas', 'basebackup')});
	like($err, qr/timed out|still runs|does not answer/, 'one that hangs is not taken for one that is down')
		or diag($err);
	ok(!-e "$data/pingpong.rejoin/old", 'and its directory is not exchanged');
	kill 'CONT', $postmaster;
	$lab->until_true('the stop that was ordered', sub { !-e "/proc/$outer" }, 60);
	system($box, 'start') == 0 or die;
	streaming('chicago', 'dallas');
}

is($load->verify('chicago')->{lost}, 0, 'nothing acknowledged is lost');
is($load->stop->{ambiguous}, 0, 'nothing is ambiguous');
system($box, 'stop');
done_testing();
