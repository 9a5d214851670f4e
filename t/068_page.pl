# The status page in a real browser: it follows a switchover, and says when the server or the agent is gone. Without
# Chromium (Debian package chromium) it is skipped.
use strict;
use warnings;
use utf8;
use FindBin;
use lib $FindBin::RealBin;
use Browser;
use Lab;
use Test::More;
use Tools;

if (!Browser::program())
{
	BAIL_OUT(Browser::missing()) if ($ENV{CI} // '') eq 'true';
	plan skip_all => Browser::missing();
}

my $lab = Lab->up(fast => 1, poolers => 1, nodes => 3);
my $token = 'a-token-of-a-monitor';
my $file = $lab->dir . '/monitor-token';
write_file($file, "$token\n");
for my $name ($lab->nodes)
{
	my $path = $lab->agent_dir($name) . '/agent.ini';
	my $text = read_file($path) =~ s/^\[agent\]\n\K/monitor_token_file = $file\nsample_interval_ms = 200\n/mr;
	write_file($path, $text);
	kill 'HUP', $lab->pid('agent', $name);
}

my $browser = Browser->start or die Browser::missing();
$browser->size(1160, 1000);

sub url { my ($node) = @_; return $lab->env("AGENT_$node") =~ s{http://}{http://anybody:$token\@}r . '/'; }

# What a person reads in an element comes to be that.
sub reads
{
	my ($selector, $pattern, $what) = @_;
	my $seen = ok($browser->until_true("(document.querySelector('$selector')?.innerText || '').match($pattern)?.[0]"),
		$what);
	diag($browser->text($selector)) unless $seen;
	return $seen;
}

sub shows
{
	my ($selector, $what) = @_;
	return ok($browser->until_true("[...document.querySelectorAll('$selector')]
		.some((e) => e.getBoundingClientRect().width > 0)"), $what);
}

# ---- healthy ----

$browser->until_true('true');
$lab->until_true('the page', sub { $browser->go(url('dallas'));
	$browser->until_true("document.querySelector('#summary')", 2) }, 60);
reads('#summary', '/^chicago is the primary\. This is dallas, a standby: (level|\S+ \S+ to replay)\./',
	'a standby\'s page: who is the primary, and how far it is itself');
is($browser->eval("document.querySelectorAll('#map .node').length"), 3, 'three nodes');
is($browser->eval("document.querySelectorAll('#map .node.primary').length"), 1, 'one of them is the primary');
is($browser->eval("document.querySelectorAll('#map .edge.good').length"), 1, 'a standby sees its own arrow');
reads('#routes', '/rw1\s+read-write/', 'the routes');
is($browser->eval("document.querySelector('#banner').hidden"), 1, 'nothing is wrong');

# ---- a run, live ----

my $run = $lab->begin_sql('chicago', q{SELECT pingpong.switchover('dallas')});
reads('#summary', '/^dallas is the primary\. Its 2 standbys stream/', 'the page follows a switchover');
$lab->finish($run, 60);
reads('#run h2', '/: switchover 1, chicago → dallas/', 'the run');
reads('#run .facts', '/^succeeded\s*blackout \d/', 'how it ended, and its blackout');
shows('#run .bar.succeeded', 'its steps');
shows('#run .blackout', 'the blackout in its time');
reads('#runs', '/switchover\s+chicago → dallas.*\d ms\s+succeeded/s', 'it is among the earlier runs');
shows('#runs .bar', 'and its blackout in the chart');
reads('#slots', '/pingpong_chicago\s+chicago\s+active/', 'the slots are those of the new primary');
shows('#lag .curve', 'a curve of the lag');
is($browser->eval("document.querySelectorAll('#map .edge.good').length"), 2, 'the primary sees both arrows');
is($browser->eval("document.querySelectorAll('#map .edge.route').length"), 2, 'the routes point to somewhere');

# ---- by keyboard, on a phone, in the dark ----

$browser->size(360, 800, 1);
ok($browser->until_true("document.querySelector('#map svg').getBoundingClientRect().width < 360
	&& document.querySelectorAll('#map .node').length === 3"), 'a phone: the map fits');
is($browser->eval('document.documentElement.scrollWidth'), 360, 'a phone: nothing is wider than the screen');
$browser->scheme('dark');
is($browser->eval("getComputedStyle(document.body).backgroundColor"), 'rgb(17, 21, 27)',
	'it is dark where that is liked');
$browser->size(1160, 1000);
$browser->call('Input.dispatchKeyEvent', { type => $_, key => 'Tab', code => 'Tab', windowsVirtualKeyCode => 9 })
	for ('keyDown', 'keyUp') x 2;
is($browser->eval('document.activeElement.id'), 'pause', 'the second stop of the keyboard is the button');
$browser->call('Input.dispatchKeyEvent', { type => 'keyDown', key => ' ', code => 'Space', text => ' ' });
$browser->call('Input.dispatchKeyEvent', { type => 'keyUp', key => ' ', code => 'Space' });
reads('#age', '/^paused$/', 'which stops the updates');
$browser->eval("document.querySelector('#pause').click()");
reads('#age', '/^seen \d\d:/', 'and lets them go on');
is(join("\n", $browser->said), '', 'the browser has nothing to complain of: no exception, no breach of the policy');

# ---- a standby is lost; the server is gone; the agent is gone ----

$lab->kill9('postgres', 'austin');
reads('#summary', '/1 of 2 standbys stream/', 'a standby is lost');
shows('#map .node.lost', 'and marked');
$lab->start_pg('austin');
reads('#summary', '/Its 2 standbys stream/', 'it is back');
$lab->kill9('postgres', 'dallas');
reads('#banner', '/^The server of dallas does not answer since \d\d:\d\d:\d\d\. What follows is of \d{4}-/',
	'the server is gone: since when, and of when the rest is');
ok($browser->eval("document.body.classList.contains('old-news')"), 'the rest is pale');
$lab->start_pg('dallas');
ok($browser->until_true("document.querySelector('#banner').hidden"), 'the server is back');
$lab->kill9('agent', 'dallas');
reads('#banner', '/^The agent does not answer since \d\d:\d\d:\d\d/', 'the agent is gone');
$lab->start_agent('dallas');
ok($browser->until_true("document.querySelector('#banner').hidden"), 'the agent is back');
done_testing();
