# Metrics and the snapshot: who may see them, that they are right, and that old news is not taken for new. promtool
# and a Prometheus of the distribution read them (Debian package prometheus).
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use JSON::PP;
use Lab;
use MIME::Base64 qw(encode_base64);
use POSIX ();
use Test::More;
use Tools;

my $top = dirname(dirname(abs_path($0)));
my $lab = Lab->up(fast => 1, poolers => 1);
my $monitor = 'a-token-"of a: monitor';
my $file = $lab->dir . '/monitor-token';

sub configure
{
	my ($name, %options) = @_;
	my $path = $lab->agent_dir($name) . '/agent.ini';
	my $text = read_file($path) =~ s/^\[agent\]\n\K(?:(?:monitor_token|without|sample)\S* = .*\n)*//mr;
	$text =~ s/^\[agent\]\n\K/join '', map { "$_ = $options{$_}\n" } sort keys %options/me;
	write_file($path, $text);
	chmod 0600, $path;
	kill 'HUP', $lab->pid('agent', $name);
	return;
}

write_file($file, "$monitor\n");
configure($_, monitor_token_file => $file, sample_interval_ms => 200) for $lab->nodes, 'pooler1';
chomp(my $controller = read_file($lab->env('TOKEN_FILE')));

sub get
{
	my ($node, $path, %headers) = @_;
	return HTTP::Tiny->new(timeout => 20)->get($lab->env("AGENT_$node") . $path, { headers => \%headers });
}

sub password { return (Authorization => 'Basic ' . encode_base64("anybody:$_[0]", '')); }
sub bearer { return (Authorization => "Bearer $_[0]"); }
sub metrics { my ($node, %more) = @_; return get($node, '/metrics', bearer($monitor), %more)->{content}; }
sub snapshot { return decode_json(get($_[0], '/v1/snapshot', bearer($monitor))->{content}); }

sub becomes
{
	my ($node, $pattern, $what) = @_;
	ok(eval { $lab->until_true($what, sub { metrics($node) =~ $pattern }, 60) }, $what) or diag($@, metrics($node));
	return;
}

sub knows { my ($node) = @_; return $lab->until_true("$node to know", sub { snapshot($node)->{news}{fresh} }, 60); }

# ---- who may ask ----

ok($lab->until_true('the monitor', sub { get('chicago', '/metrics', bearer($monitor))->{status} == 200 }, 30),
	'a monitor may ask');
for my $path ('/', '/metrics', '/v1/snapshot')
{
	my $refused = get('chicago', $path);
	is($refused->{status}, 401, "$path: not for anyone");
	like($refused->{headers}{'www-authenticate'}, qr/^Basic /, "$path: a browser may ask for the password");
	is(get('chicago', $path, password($monitor))->{status}, 200, "$path: with the monitor's token as password");
	is(get('chicago', $path, bearer($controller))->{status}, 200, "$path: a controller may look, too");
	is(get('chicago', $path, password($controller))->{status}, 401, "$path: whose token is no password");
	is(get('chicago', $path, Authorization => 'Basic ' . encode_base64($monitor, ''))->{status}, 401,
		"$path: nor is a token without a user");
}
is(get('chicago', '/v1/ping', password($monitor))->{status}, 401, 'a password orders nothing');
is(get('chicago', '/v1/ping')->{headers}{'www-authenticate'}, 'Bearer', 'and no browser asks for one there');
is(get('chicago', '/v1/jobs', bearer($controller), $_, 'x')->{status}, 401, "a web page orders nothing ($_)")
	for 'Origin', 'Sec-Fetch-Site';
is(get('chicago', '/v1/jobs', bearer($controller))->{status}, 200, 'who is none may');
my $page = get('chicago', '/', password($monitor));
like($page->{headers}{'content-security-policy'},
	qr/^default-src 'none'; style-src 'sha256-\S{44}'; script-src 'sha256-\S{44}'; connect-src 'self'; img/,
	'the page may run its own script only');
unlike($page->{content}, qr/https?:(?!\/\/www\.w3\.org)|innerHTML|\Q$monitor\E/, 'nothing from elsewhere is in it');

configure('pooler1', monitor_token_file => $file, without_credentials => 'metrics');
ok($lab->until_true('open metrics', sub { get('pooler1', '/metrics')->{status} == 200 }, 30),
	'metrics can be open');
is(get('pooler1', $_)->{status}, 401, "which does not open $_") for '/', '/v1/snapshot', '/v1/state', '/v1/ping';
configure('pooler1', without_credentials => 'page');
ok($lab->until_true('the open page', sub { get('pooler1', '/')->{status} == 200 }, 30), 'the page can be open');
is(get('pooler1', '/v1/snapshot')->{status}, 200, 'with what it shows');
is(get('pooler1', '/metrics')->{status}, 401, 'which does not open the metrics');
is(scalar(grep { get('pooler1', '/v1/snapshot')->{status} == 200 } 1 .. 200), 200, 'hundreds of looks, all answered');
is(snapshot('chicago')->{agent}{role}, 'primary', 'and the others are not opened');
my @check = ($lab->env('PGBIN') . '/pingpong-agent', '--check', '-c', $lab->agent_dir('pooler1') . '/agent.ini');
my ($rc, $out) = run(@check);
like($out, qr/^warn without_credentials: page can be seen by whoever reaches 127/m, '--check tells what is open');
configure('pooler1', without_credentials => 'everything');
($rc, $out) = run(@check);
like($out, qr/"without_credentials" cannot name "everything": only metrics and page/, '--check: what cannot be open');
configure('pooler1', monitor_token_file => $file);

# ---- they are right ----

knows($_) for $lab->nodes;
my $text;
$lab->until_true('the metrics of the server', sub { ($text = metrics('chicago')) =~ /^pingpong_standby_streaming/m });
like($text, qr/^pingpong_role\{state="primary"\} 1$/m, 'the role');
like($text, qr/^pingpong_standby_streaming\{standby="dallas"\} 1$/m, 'the standby');
like($text, qr/^pingpong_slot_active\{slot="pingpong_dallas"\} 1$/m, 'its slot');
like($text, qr/^# EOF\n\z/m, 'the end');
is(get('chicago', '/metrics', bearer($monitor))->{headers}{'content-type'},
	'application/openmetrics-text; version=1.0.0; charset=utf-8', 'their type');
is(get('chicago', '/metrics', bearer($monitor), Accept => 'text/plain')->{headers}{'content-type'},
	'text/plain; version=0.0.4; charset=utf-8', 'the older format for who wants it');
unlike(metrics('dallas'), qr/^pingpong_standby_streaming\{/m, 'a standby does not know who should stream');
like(metrics('dallas'), qr/^pingpong_primary_info\{node="chicago"\} 1$/m, 'but who the primary is');
for my $node ($lab->nodes)
{
	my $parts = decode_json($lab->sql($node, 'SELECT pingpong.snapshot()'));
	is(join(' ', grep { ref $parts->{$_} eq 'HASH' && $parts->{$_}{error} } sort keys %$parts), '',
		"no part of the snapshot fails at $node");
}
$lab->sql('chicago', 'CREATE ROLE mon LOGIN IN ROLE pg_monitor');
is($lab->sql($lab->env('DSN_chicago') =~ s/user=\S+/user=mon/r,
		q{SELECT string_agg(s.key, ' ') FROM jsonb_each(pingpong.snapshot()) s WHERE s.value ? 'error'}), '',
	'a role with pg_monitor alone may read all of it');

# ---- Prometheus reads them ----

SKIP:
{
	my $needed = !grep({ -x "$_/promtool" } split /:/, $ENV{PATH}) && 'no promtool (Debian package prometheus)';
	BAIL_OUT($needed) if $needed && ($ENV{CI} // '') eq 'true';
	skip $needed, 7 if $needed;

	for my $node ($lab->nodes, 'pooler1')
	{
		write_file($lab->dir . '/metrics.txt', metrics($node, Accept => 'text/plain'));
		($rc, $out) = run('sh', '-c', "promtool check metrics <@{[ $lab->dir ]}/metrics.txt");
		is("$rc $out", '0 ', "promtool check metrics: $node");
	}
	for my $what ('check rules pingpong.rules.yml', 'test rules pingpong.rules.test.yml')
	{
		($rc, $out) = run('sh', '-c', "cd $top/contrib/prometheus && promtool $what");
		is($rc, 0, "promtool $what") or diag($out);
	}

	my $port = $lab->base + 68;
	write_file($lab->dir . '/prometheus.yml', <<"YML");
scrape_configs:
  - job_name: pingpong
    scrape_interval: 200ms
    scrape_timeout: 200ms
    basic_auth: {username: prometheus, password_file: $file}
    static_configs: [{targets: ['@{[ $lab->env('AGENT_chicago') =~ s{http://}{}r ]}']}]
YML
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDOUT, '>', $lab->dir . '/prometheus.log';
		open STDERR, '>&', \*STDOUT;
		exec 'prometheus', '--config.file=' . $lab->dir . '/prometheus.yml', '--storage.tsdb.path='
			. $lab->dir . '/prometheus', "--web.listen-address=127.0.0.1:$port" or POSIX::_exit(127);
	}
	my $ask = sub {
		my ($query) = @_;
		my $answer = HTTP::Tiny->new(timeout => 5)->get("http://127.0.0.1:$port/api/v1/query?query=$query");
		my $result = eval { decode_json($answer->{content})->{data}{result} } // [];
		return join ' ', map { $_->{value}[1] } @$result;
	};
	ok(eval { $lab->until_true('a scrape', sub { $ask->('up') eq '1' }, 60) }, 'Prometheus takes them as OpenMetrics')
		or diag(read_file($lab->dir . '/prometheus.log'));
	ok(eval { $lab->until_true('a sample', sub { $ask->('pingpong_standby_streaming') eq '1' }, 60) },
		'and has its samples');
	kill 'KILL', $pid;
	waitpid $pid, 0;
}

# ---- old news is not new ----

my $run = $lab->sql('chicago', q{SELECT run FROM pingpong.switchover('dallas')});
$lab->settle($run);
becomes('dallas', qr/^pingpong_last_blackout_seconds 0?\.?\d/m, 'the blackout of a run');
becomes('chicago', qr/^pingpong_role\{state="standby"\} 1$/m, 'the old primary is a standby');
ok(decode_json(read_file("$top/contrib/grafana/pingpong.json"))->{panels}, 'the dashboard is JSON');
my $known = join '|', map { quotemeta } metrics('dallas') =~ /^# TYPE (\S+)/mg;
my @used = map { /\b((?:pingpong|process)_[a-z_]+)/g }
	read_file("$top/contrib/prometheus/pingpong.rules.yml"), read_file("$top/contrib/grafana/pingpong.json");
is(join(' ', grep { !/^(?:$known)(?:_total)?$/ && !/^pingpong_alert$/ } @used), '',
	'the rules and the dashboard use metrics that there are');
$lab->sql('dallas', q{SELECT pingpong.quiesce()}, q{SELECT pingpong.seal()});
ok($lab->until_true('the seal', sub { snapshot('dallas')->{snapshot}{sealed} }, 60), 'a sealed server says so');
ok(!grep({ exists snapshot('dallas')->{snapshot}{$_} } 'runs', 'routes', 'primary'),
	'and reads no tables that a run writes');
$lab->sql('dallas', q{SELECT pingpong.resume(risk => 'two primaries are possible')});
$lab->until_true('no seal', sub { !snapshot('dallas')->{snapshot}{sealed} }, 60);

my $postmaster = $lab->pid('postgres', 'dallas');
chomp(my @frozen = `pgrep -P $postmaster`);
kill 'STOP', $postmaster, @frozen;
becomes('dallas', qr/^pingpong_up 0$/m, 'a server that hangs is not up');
becomes('dallas', qr/^pingpong_snapshot_fresh 0$/m, 'and what was read of it is old');
unlike(metrics('dallas'), qr/^pingpong_(?:standby|slot|timeline|wal)_/m, 'nothing of it is shown as of now');
my $old = snapshot('dallas');
cmp_ok($old->{news}{silent_since_ms}, '>', $old->{news}{seen_ms}, 'the snapshot says since when it is silent');
ok($old->{news}{problem}, "and why: $old->{news}{problem}");
is($old->{snapshot}{server}{node}, 'dallas', 'and has what was seen last');
kill 'CONT', $postmaster, @frozen;
knows('dallas');
pass('it is read again');
unlike(get('dallas', '/v1/snapshot', bearer($monitor))->{content} . metrics('dallas'),
	qr/\Q$controller\E|password|passfile/, 'nothing secret is in it');

done_testing();
