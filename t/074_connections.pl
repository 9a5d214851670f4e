# The connection budget warns where the pools would not fit on the new primary; what sessions keep is seen as far as
# it can be.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Session;
use Test::More;

my $lab = Lab->up(fast => 1, poolers => 1, port => 19400);
$lab->wait_for('chicago', 'SELECT pingpong.worker_pid() IS NOT NULL', 'the worker');

sub budget { my ($columns, $where) = @_; return $lab->sql('chicago', "SELECT $columns FROM pingpong.connection_budget
	WHERE $where"); }
sub ask { $lab->sql('chicago', q{SELECT count(*) FROM pingpong.preflight('dallas')}); return; }

# ---- before an agent was asked ----

is(budget('DISTINCT status', "item IN ('pool', 'total', 'clients')"), 'unknown', 'what was not told is not known');
is(budget('status', "node = 'chicago' AND item = 'limit'"), 'ok', 'this server knows itself');

# ---- as it is ----

ask();
is(budget('count(*)', "status <> 'ok'"), '0', 'all fits') or diag(budget('*', 'true'));
is(budget("string_agg(node || ' ' || most, ', ')", "item = 'limit'"), 'chicago 97, dallas 97', 'the limits');
my $pool = budget('most', "item = 'pool' AND name = 'pooler1/main app'");
cmp_ok($pool, '>', 0, 'a pool');
is(budget('room', "item = 'total' AND node = 'dallas' LIMIT 1"), '97', 'the total has the limit as its room');
is(budget('count(*)', "item = 'total' AND node = 'dallas' AND most < $pool"), '0', 'and at least the pool in it');
is($lab->sql('dallas', 'SELECT count(*) > 0 FROM pingpong.connection_budget'), 't', 'it can be read on a standby');

# ---- pools that would not fit ----

my $file = $lab->env('BACKENDS_1');
my $uid = (stat $file)[4];
system(($> == 0 ? ('setpriv', "--reuid=$uid", '--clear-groups') : ()), 'sed', '-i', 's/^app = .*/& pool_size=90/',
	$file) == 0 or die;
$lab->sql($lab->env('ADMIN_DSN_1'), 'RELOAD');
my @sessions = map { Session->open($lab, 'chicago') } 1 .. 12;
ask();
is(budget('most', "item = 'pool' AND name = 'pooler1/main app'"), '90', 'a larger pool');
is(budget("string_agg(node || ' ' || name, ', ')", "status = 'warn'"),
	'chicago as the primary, dallas as the primary, chicago as the primary, in a deployment, '
	. 'dallas as the primary, in a deployment', 'does not fit beside the direct sessions');
like(budget('detail', "status = 'warn' LIMIT 1"), qr/do not fit: lower pool sizes .* by \d+ in all/,
	'with the remedy');

# ---- what sessions keep ----

$sessions[0]->ask('SELECT pg_advisory_lock(42)');
$sessions[1]->ask('LISTEN something');
is($lab->sql('chicago', q{SELECT sum(with_advisory_locks), sum(idle_with_advisory_locks), sum(last_said_listen)
	FROM pingpong.session_state}), '1|1|1', 'a lock of a session, and one that listens');
is($lab->sql('chicago', 'CREATE ROLE watcher LOGIN IN ROLE pg_monitor', 'SET ROLE watcher',
	'SELECT count(*) > 0 FROM pingpong.session_state, pingpong.connection_budget'), 't', 'pg_monitor may read both');

done_testing();
