# pg_cron: health checks on a schedule; across a switchover and back each job runs once a minute, on the primary.
# It takes some minutes, because the smallest interval of pg_cron before 1.5 is one.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/..";
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, nodes => 2, poolers => 0, set => ['shared_preload_libraries=pg_pingpong,pg_cron',
	'cron.database_name=app', "cron.host=", 'cron.use_background_workers=on', 'max_worker_processes=20']);

$lab->sql('chicago', 'CREATE EXTENSION pg_cron',
	'CREATE TABLE ran (minute timestamptz, node text, at timestamptz DEFAULT clock_timestamp())',
	q{SELECT cron.schedule('tick', '* * * * *',
		$$INSERT INTO ran SELECT date_trunc('minute', now()), pingpong.node_name()$$)},
	q{SELECT cron.schedule('health', '* * * * *',
		$$SET statement_timeout = '30s'; SELECT * FROM pingpong.health_check(raise => true)$$)});
sub minutes
{
	my ($node, $n) = @_;
	$lab->wait_for($node, "SELECT count(*) >= $n FROM ran WHERE node = '$node'", "$n minutes on $node", 200);
	return;
}
sub health { return $lab->sql($_[0], q{SELECT string_agg(DISTINCT status, ',') FROM cron.job_run_details d
	JOIN cron.job j USING (jobid) WHERE j.jobname = 'health' AND d.end_time IS NOT NULL}); }

minutes('chicago', 1);
$lab->wait_for('chicago', q{SELECT count(*) > 0 FROM cron.job_run_details d JOIN cron.job j USING (jobid)
	WHERE j.jobname = 'health' AND d.end_time IS NOT NULL}, 'a health check', 100);
is(health('chicago'), 'succeeded', 'health_check() by pg_cron');
for my $move (['chicago', 'dallas'], ['dallas', 'chicago'])
{
	my ($from, $to) = @$move;
	# early in a minute, so that the move is not at its turn
	$lab->wait_for($from, 'SELECT extract(second FROM now()) BETWEEN 5 AND 40', 'the middle of a minute', 100);
	$lab->sql($from, "SELECT pingpong.switchover('$to')");
	is(($lab->settle($lab->last_run($to)))[0], 'succeeded', "moved to $to");
	my $before = $lab->sql($to, "SELECT count(*) FROM ran WHERE node = '$to'");
	minutes($to, $before + 2);
	is($lab->sql($to, q{SELECT count(*) - count(DISTINCT minute) FROM ran}), '0', 'each minute once');
	is($lab->sql($to, qq{SELECT string_agg(DISTINCT node, ',') FROM ran
		WHERE at > (SELECT max(ended_at) FROM pingpong.run)}), $to, "since then by $to alone");
	is(health($to), 'succeeded', 'and the health is well');
}
$lab->sql('chicago', q{UPDATE pingpong.alert_rule SET raise_after = '1 h' WHERE name = 'standby_missing'});
$lab->kill9('postgres', 'dallas');
ok($lab->wait_for('chicago', q{SELECT count(*) > 0 FROM cron.job_run_details d JOIN cron.job j USING (jobid)
	WHERE j.jobname = 'health' AND d.status = 'failed' AND d.return_message ~ 'health check failed: standby_missing'},
	'a failed check', 200), 'what is not well is a failed job');
$lab->start_pg('dallas');
done_testing();
