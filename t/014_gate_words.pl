# What the gate tells a client is true: whether anything of what it sent was committed before it was stopped.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, poolers => 0);
$lab->sql('chicago', 'CREATE TABLE w (a text)',
	'CREATE PROCEDURE until_closed() LANGUAGE plpgsql AS $$ BEGIN
		LOOP EXIT WHEN (SELECT state FROM pingpong.gate) <> \'open\'; PERFORM pg_sleep(0.002); END LOOP; END $$');

my $nothing = qr/DETAIL:  Nothing of the waiting statement was done\./;
my $a_part = 'An earlier part of the statement, or of its query string, was committed';
my $in_part = qr/DETAIL:  $a_part; the part that waited was not done\./;
my $not_here = qr/DETAIL:  .* Nothing of the present transaction is committed\./;
my $not_all = qr/DETAIL:  .* $a_part; the present transaction is not\./;

# ---- refused at the commit, when the end of the grace has come ----

# Each catches the cancel that comes first, and commits when nothing can be committed any more.
my $stay = q{LOOP BEGIN PERFORM pg_sleep(0.001); EXIT WHEN (SELECT state FROM pingpong.gate) = 'sealing';
	EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;};

# The words of the error; a cancel may still come between the loop and the commit, then once more.
sub refused_at_commit
{
	my ($statement, $row) = @_;
	for (1 .. 20)
	{
		$lab->sql('chicago', 'DELETE FROM w');
		my $writer = $lab->begin_sql('chicago', $statement);
		$lab->wait_for('chicago', "SELECT count(*) = 1 FROM pg_stat_activity
			WHERE backend_xid IS NOT NULL AND query ~ '$row'", 'the writer');
		$lab->sql('chicago', q{SELECT pingpong.quiesce(grace => '0')});
		my (undef, $err) = $lab->finish($writer);
		return $err if $err =~ /cannot write/;
	}
	return 'cancelled, again and again';
}

my $err = refused_at_commit("DO \$\$ BEGIN INSERT INTO w VALUES ('lost'); $stay COMMIT; END \$\$", 'lost');
like($err, $not_here, 'one transaction: nothing is committed');
is($lab->sql('chicago', 'SELECT count(*) FROM w'), '0', 'and that is so');

$err = refused_at_commit("DO \$\$ BEGIN INSERT INTO w VALUES ('kept'); COMMIT; INSERT INTO w VALUES ('lost');
	$stay COMMIT; END \$\$", 'lost');
like($err, $not_all, 'a block that has committed: a part of it');
is($lab->sql('chicago', 'SELECT string_agg(a, \' \') FROM w'), 'kept', 'and that is so');

# ---- sealed by hand: no word of a primary that moves ----

my $sealer = $lab->begin_sql('chicago', 'SELECT pingpong.quiesce()', 'SELECT pingpong.seal()');
$lab->finish($sealer);
(undef, $err) = $lab->try_sql('chicago', 'SET pingpong.bypass_gate = on', 'SET default_transaction_read_only = off',
	"INSERT INTO w VALUES ('no')");
like($err, qr/ERROR:  cannot write: this server is sealed\nDETAIL:  The seal is of run "manual"\./, 'sealed by hand');
$lab->sql('chicago', 'SELECT pingpong.resume()', 'DELETE FROM w');

# ---- a seal that is lifted by its run ----

sub logged
{
	my ($words) = @_;
	open my $fh, '<', $lab->dir . '/chicago/log' or die;
	local $/;
	return <$fh> =~ $words;
}

ok(logged(
		qr/LOG:  the seal of run "manual" at \S+ was lifted: by hand, by "\w+" \(process \d+, application "psql"\)/),
	'by hand: who, in the log');
$lab->set('chicago', 'pingpong.debug_pause_after', 'seal');
my $job = $lab->begin_sql('chicago', q{SELECT pingpong.switchover('dallas')});
$lab->wait_for('chicago', q{SELECT state = 'sealed' FROM pingpong.gate}, 'the seal');
$lab->sql('chicago',
	q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT pingpong.switchover'});
like(($lab->finish($job))[1], qr/57014|cancelled and rolled back/, 'a run is cancelled after its seal');
ok(logged(qr/LOG:  the seal of run "[0-9a-f-]+" at \S+ was lifted: run \d+ is rolled back: cancelled/),
	'by a run: which, and why, in the log');
$lab->set('chicago', 'pingpong.debug_pause_after', undef);

# ---- ended while it waits, when the primary has moved ----

my %waiting = (
	plain => ["SET x.y = 'plain'; CALL until_closed()", "INSERT INTO w VALUES ('plain')"],
	string => ["INSERT INTO w VALUES ('string 1'); COMMIT; CALL until_closed(); INSERT INTO w VALUES ('string 2')"],
	procedure => ["DO \$\$ BEGIN INSERT INTO w VALUES ('procedure 1'); COMMIT; CALL until_closed();
		INSERT INTO w VALUES ('procedure 2'); END \$\$"],
	before => ["INSERT INTO w VALUES ('before 1')", "SET x.y = 'before'; CALL until_closed()",
		"INSERT INTO w VALUES ('before 2')"],
	block => ["BEGIN; CALL until_closed()", "SELECT 'block'", "INSERT INTO w VALUES ('block')"]);
my %job = map { ($_ => $lab->begin_sql('chicago', @{$waiting{$_}})) } keys %waiting;
$lab->wait_for('chicago', q{SELECT count(*) = 5 FROM pg_stat_activity
	WHERE query ~ 'until_closed' AND wait_event = 'PgSleep'}, 'all to wait for the gate');
my $run = $lab->sql('chicago', q{SELECT run FROM pingpong.switchover('dallas')});
my %said = map { ($_ => ($lab->finish($job{$_}))[1]) } keys %job;
like($said{$_}, qr/FATAL:  terminating connection: the primary has moved/, "$_: ended") for sort keys %said;
like($said{plain}, $nothing, 'a statement that waits has done nothing');
like($said{before}, $nothing, 'also when one before it was committed, which has its own answer');
like($said{block}, $nothing, 'nor has one in a block');
like($said{string}, $in_part, 'a query string that has committed');
like($said{procedure}, $in_part, 'a procedure that has committed');
is(($lab->settle($run))[0], 'succeeded', 'the run');
is($lab->sql('dallas', q{SELECT string_agg(a, ', ' ORDER BY a) FROM w}), 'before 1, procedure 1, string 1',
	'and that is so');
done_testing();
