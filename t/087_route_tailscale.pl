# The route driver "tailscale", against a stand-in for the program: there and back, something that stands in the way,
# a program that lies or does not answer.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use Lab;
use Test::More;
use Tools;

my $lab = Lab->up(fast => 1);
my ($from, $to) = qw(chicago dallas);
my $dir = $lab->dir . '/tailscale';
my $program = "$dir/tailscale";
my %port = map { $_ => 0 + $lab->env("PORT_$_") } $lab->nodes;

# It keeps what it serves in a file, as "serve status --json" tells it. A port that serves the web refuses to forward.
mkdir $dir or die "$dir: $!";
write_file($program, <<"PERL", 0755);
#!/usr/bin/perl
use strict;
use warnings;
use JSON::PP;

my \$trouble = -e '$dir/trouble' ? do { open my \$t, '<', '$dir/trouble'; <\$t> } : '';
open my \$log, '>>', '$dir/calls' or die;
print \$log "\@ARGV\\n";
die "Failed to connect to local Tailscale daemon\\n" if \$trouble eq 'away';
my \$state = do { local \$/; open my \$in, '<', '$dir/state.json' or die; decode_json(<\$in>) };
if ("\@ARGV" eq 'serve status --json') { print encode_json(\$state), "\\n"; exit }
if ("\@ARGV" =~ /^serve clear (svc:[a-z0-9-]+)\$/) { delete \$state->{Services}{\$1} }
elsif ("\@ARGV" =~ m{^serve --service=(svc:[a-z0-9-]+) --tcp=(\\d+) tcp://(\\S+:\\d+)\$})
{
	die "the daemon is busy\n" if \$trouble eq 'busy';
	die "port \$2 is already serving web\\n" if \$state->{Services}{\$1}{TCP}{\$2}{HTTPS};
	\$state->{Services}{\$1}{TCP}{\$2} = { TCPForward => \$3 } if \$trouble ne 'lie';
}
else { die "unknown command\\n" }
open my \$out, '>', '$dir/state.json' or die;
print \$out encode_json(\$state);
PERL

sub leads_to
{
	my $service = decode_json(read_file("$dir/state.json"))->{Services}{'svc:pg'};

	return $service->{TCP}{5432}{TCPForward} // 'nowhere';
}
sub place { return "127.0.0.1:$port{$_[0]}"; }
sub trouble { unlink "$dir/trouble"; write_file("$dir/trouble", $_[0], 0644) if $_[0]; return; }

write_file("$dir/state.json", '{"Services":{"svc:pg":{"TCP":{"5432":{"HTTPS":true}}},"svc:web":{"TCP":{}}}}', 0644);
write_file("$dir/calls", '', 0644);
system('chown', '-R', $lab->env('LAB_USER'), $dir) if $> == 0;
my $ini = $lab->agent_dir('pooler1') . '/agent.ini';
write_file($ini, read_file($ini) . "\n[tailscale.net]\ncommand = $program\nport = 5432\n");
$lab->kill9('agent', 'pooler1');
$lab->start_agent('pooler1');

$lab->sql($from, q{SELECT pingpong.add_route('ts', 'rw', 'tailscale', 'pooler1', 'net', '{"pg": ""}')});
my $checks = "FROM pingpong.preflight('$to') WHERE status = 'fail'";
isnt($lab->sql($from, "SELECT count(*) $checks AND name = 'routes_observed'"), '0', 'it forwards nothing yet');
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded', 'repoint() makes the service');
is(leads_to(), place($from), 'it leads to the primary');
like(read_file("$dir/calls"), qr/^serve clear svc:pg$/m, 'what stood in the way was cleared');
like(read_file("$dir/state.json"), qr/"svc:web"/, 'another service was not touched');
is($lab->sql($from, "SELECT string_agg(detail, ' ') $checks"), '', 'preflight: nothing against a move');

for my $move (1, 2)
{
	my ($out, $err) = $lab->try_sql($from, "SELECT run, state FROM pingpong.switchover('$to')");
	like($out, qr/^\d+\|switched$/, "move $move: switched") or BAIL_OUT($err =~ tr{\n}{|}r);
	is(leads_to(), place($to), "move $move: the service leads to the new primary");
	my ($run) = $out =~ /^(\d+)/;
	is(join(' ', ($lab->settle($run))[0, 1]), 'succeeded done', "move $move: done");
	$lab->wait_for($to, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'", 'the standby', 60);
	($from, $to) = ($to, $from);
}

trouble('lie');
write_file("$dir/state.json", '{"Services":{"svc:pg":{"TCP":{"5432":{"TCPForward":"[fd99::1]:1"}}}}}', 0644);
my ($out, $err) = $lab->try_sql($from, 'SELECT state FROM pingpong.repoint()');
like($err, qr/service "svc:pg" of endpoint "tailscale\.net" does not lead to \Q@{[ place($from) ]}\E/,
	'a program that lies: it is asked what it does');
trouble('busy');
write_file("$dir/state.json", '{"Services":{"svc:pg":{"TCP":{"5432":{"TCPForward":"[fd99::1]:1"}}}}}', 0644);
unlink "$dir/calls";
($out, $err) = $lab->try_sql($from, 'SELECT state FROM pingpong.repoint()');
like($err, qr/endpoint "tailscale\.net": the daemon is busy/, 'a program that fails: its words are told');
is(join(' ', read_file("$dir/calls") =~ /^(serve clear.*)$/mg) . leads_to(), '[fd99::1]:1',
	'and the service is left as it is');
trouble('away');
($out, $err) = $lab->try_sql($from, 'SELECT state FROM pingpong.repoint()');
like($err, qr/endpoint "tailscale\.net": Failed to connect to local Tailscale daemon/, 'a daemon that is away');
my $bin = $lab->env('PGBIN');
like(`$bin/pingpong-agent --check --config $ini`, qr/FAIL +route endpoint tailscale\.net: Failed to connect/,
	'--check: the same');
trouble('');
is($lab->sql($from, 'SELECT state FROM pingpong.repoint()'), 'succeeded', 'and when it is back: repoint() succeeds');
is(leads_to(), place($from), 'it leads to the primary');
for my $bad ([ "command = $program\n", 'needs the option "port"' ], [ "port = 0\n", 'a number from 1 to 65535' ],
	[ "port = 1\ncommand = tailscale\n", 'absolute path' ], [ "port = 1\nservice = x\n", 'unknown option "service"' ])
{
	my ($lines, $sentence) = @$bad;

	write_file("$dir/bad.ini", read_file($ini) =~ s/\[tailscale\.net\].*/[tailscale.net]\n$lines/sr);
	like(`$bin/pingpong-agent --check --config $dir/bad.ini`, qr/FAIL.*\[tailscale\.net\].*\Q$sentence\E/,
		"configuration: $sentence");
}
done_testing();
