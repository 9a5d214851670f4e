# The WAL that a run writes to fill the segment says nothing: no logical decoding plugin delivers it, a standby
# replays it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Lab;
use Test::More;

my $lab = Lab->up(fast => 1, poolers => 0, set => ['wal_level=logical']);
$lab->sql('chicago', 'CREATE TABLE w (a int)',
	q{SELECT pg_create_logical_replication_slot('decoded', 'test_decoding')});
my $began = $lab->sql('chicago', 'SELECT pg_current_wal_insert_lsn()');
$lab->set('chicago', 'pingpong.debug_pause_after', 'wal_align');
my $job = $lab->begin_sql('chicago',
	q{SELECT run FROM pingpong.switchover('dallas', options => '{"allow_logical_slot_loss": true}')});
$lab->wait_for('chicago', q{SELECT state = 'succeeded' FROM pingpong.progress WHERE action = 'wal_align'},
	'wal_align');
cmp_ok($lab->sql('chicago', 'SELECT 16 * 1024 * 1024 - file_offset
		FROM pg_walfile_name_offset(pg_current_wal_insert_lsn())'), '<=', 512 * 1024,
	'the segment is nearly full');
cmp_ok($lab->sql('chicago', "SELECT pg_current_wal_insert_lsn() - '$began'"), '>', 1024 * 1024,
	'by what was written');
$lab->sql('chicago', 'INSERT INTO w VALUES (1)');
is($lab->sql('chicago',
		q{SELECT count(*) FROM pg_logical_slot_peek_changes('decoded', NULL, NULL) WHERE data ~ '^message:'}), '0',
	'no message is delivered');
is($lab->sql('chicago',
	q{SELECT string_agg(data, ' ') FROM pg_logical_slot_peek_changes('decoded', NULL, NULL) WHERE data ~ 'public.w'}),
	'table public.w: INSERT: a[integer]:1', 'but what a client wrote is');
$lab->set('chicago', 'pingpong.debug_pause_after', undef);
my ($run) = $lab->finish($job, 60);
is(($lab->settle($run))[0], 'succeeded', 'the standby has replayed it, and is the primary');
is($lab->sql('dallas', "SELECT file_offset FROM pingpong.run, pg_walfile_name_offset(seal_lsn) WHERE id = $run"), '0',
	'the seal ended the segment');
is($lab->sql('dallas', 'SELECT a FROM w'), '1', 'with the row');
is($lab->sql('dallas', "SELECT detail::jsonb ->> 'method' FROM pingpong.step WHERE run = $run AND action = 'rejoin'"),
	'direct',
	'no record after the seal kept the old primary from coming back as it was');
done_testing();
