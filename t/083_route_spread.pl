# A route for reads that is spread over all standbys that are fit, with a driver that can lead to several servers:
# they are taken in when they come, left out when they go, and exchanged with the roles.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;
use Tools qw(read_file write_file);

my $lab = Lab->up(fast => 1, nodes => 3, set => ['pingpong.route_interval = 500ms']);
my $p = 'chicago';
my $dir = $lab->dir . '/many';
my $program = "$dir/route";
my $places = "$dir/places";
my %name = map { '127.0.0.1:' . $lab->env("PORT_$_") => $_ } $lab->nodes;
my %address = reverse %name;

# A balancer of a site: a file with an address a line.
mkdir $dir or die "$dir: $!";
write_file($program, <<"PERL", 0755);
#!/usr/bin/perl
use strict;
use warnings;
use JSON::PP;

my \$order = decode_json(do { local \$/; <STDIN> });
if (\$order->{order} eq 'commit')
{
	my \@places = \$order->{places} ? \@{\$order->{places}} : (\$order);
	open my \$out, '>', '$places.new' or die;
	print \$out map { "\$_->{host}:\$_->{port}\\n" } \@places;
	close \$out;
	rename '$places.new', '$places' or die;
}
open my \$in, '<', '$places' or die;
my \@now = map { /^(.*):(\\d+)\$/ ? {host => \$1, port => 0 + \$2} : () } <\$in>;
my \$row = {name => 'app', %{\$now[0]}, \@now > 1 ? (places => \\\@now) : ()};
print encode_json({several => -e '$dir/one' ? JSON::PP::false : JSON::PP::true, databases => [\$row]}), "\\n";
PERL
write_file($places, "$address{dallas}\n", 0644);
open my $ini, '>>', $lab->agent_dir('pooler1') . '/agent.ini' or die $!;
print $ini "\n[command.many]\n", map { "$_ = $program\n" } qw(observe commit);
close $ini;
$lab->kill9('agent', 'pooler1');
$lab->start_agent('pooler1');

sub led { return join ' ', sort map { $name{$_} // $_ } split /\n/, read_file($places); }

sub comes_to
{
	my ($nodes, $what) = @_;
	eval { $lab->until_true($what, sub { led() eq $nodes }, 60) };
	return is(led(), $nodes, $what) || diag($lab->sql($p, 'SELECT * FROM pingpong.events LIMIT 10'));
}

$lab->sql($p, q{SELECT pingpong.add_route('many', 'ro', 'command', 'pooler1', 'many', '{"app": ""}')});
$lab->wait_for($p, q{SELECT node = 'dallas' FROM pingpong.route WHERE name = 'many'}, 'the route to be known');
is(led(), 'dallas', 'at first it points to one');
$lab->sql($p, q{SELECT pingpong.alter_route('many', spread => true)});
comes_to('austin dallas', 'spread: to both standbys');
$lab->wait_for($p, q{SELECT observed_node = 'austin, dallas' AND health = 'ok' FROM pingpong.routes
	WHERE name = 'many'}, 'the view to show both');
my (undef, $err) = $lab->try_sql($p, q{SELECT pingpong.set_route('many', 'dallas')});
like($err, qr/route "many" is spread over all standbys/, 'set_route is refused');

$lab->kill9('postgres', 'austin');
comes_to('dallas', 'one is gone');
$lab->start_pg('austin');
comes_to('austin dallas', 'it is back');

write_file($places, "$address{chicago}\n$address{dallas}\n", 0644);
comes_to('austin dallas', 'changed by hand');

my ($out) = $lab->try_sql($p, q{SELECT run, state FROM pingpong.switchover('dallas')});
my ($run) = $out =~ /^(\d+)\|switched/;
ok($run, 'switched');
is(($lab->settle($run))[0], 'succeeded', 'done');
$p = 'dallas';
comes_to('austin chicago', 'after the move: to the present standbys');

$lab->sql($p, q{SELECT pingpong.alter_route('many', spread => false)});
$lab->wait_for($p, q{SELECT health = 'ok' AND observed_node = node FROM pingpong.routes WHERE name = 'many'},
	'one place', 60);
unlike(led(), qr/ /, 'no longer spread: to one');
isnt(led(), 'dallas', 'which is a standby');

# ---- a program that knows one place ----

write_file("$dir/one", '', 0644);
(undef, $err) = $lab->try_sql($p, q{SELECT pingpong.set_route('many', 'austin')});
is(led(), 'austin', 'a program for one place: set_route works');
my $job = $lab->act('pooler1', 'spread', 99, 'route.prepare', {driver => 'command', endpoint => 'many',
	databases => {app => ''}, host => '127.0.0.1', port => 1, places => [{host => '127.0.0.1', port => 1},
	{host => '127.0.0.1', port => 2}]});
is($job->{error}{code}, '0A000', 'a program for one place: several are refused');
$job = $lab->act('pooler1', 'spread', 99, 'route.commit', {driver => 'pgbouncer', endpoint => 'main',
	databases => {app => ''}, host => '127.0.0.1', port => 1, places => [{host => '127.0.0.1', port => 1},
	{host => '127.0.0.1', port => 2}]});
is($job->{error}{code}, '0A000', 'PgBouncer: several are refused');

done_testing();
