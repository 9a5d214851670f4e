# Sessions that log in while the server is sealed: read-only for libpq, and as if nothing had been when the seal is
# lifted.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $p = PostgreSQL::Test::Cluster->new('chicago');
$p->init(allows_streaming => 1);
$p->append_conf('postgresql.conf',
	"shared_preload_libraries = 'pg_pingpong'\nautovacuum = off\nmax_connections = 50\n");
$p->start;
$p->safe_psql('postgres', q{CREATE EXTENSION pg_pingpong; CREATE TABLE t (a text); GRANT ALL ON t TO PUBLIC;
	CREATE SEQUENCE s; GRANT ALL ON s TO PUBLIC;
	CREATE ROLE plain LOGIN; CREATE ROLE reader LOGIN; ALTER ROLE reader SET default_transaction_read_only = on;
	CREATE ROLE writer LOGIN;
	ALTER ROLE writer IN DATABASE postgres SET default_transaction_read_only = off; CREATE DATABASE archive;});
$p->safe_psql('archive', q{CREATE TABLE t (a text); GRANT ALL ON t TO PUBLIC;
	ALTER DATABASE archive SET default_transaction_read_only = on});

sub login
{
	my ($user, %option) = @_;
	local $ENV{PGOPTIONS} = $option{options} // '';
	return $p->background_psql($option{db} // 'postgres', on_error_stop => 0, extra_params => ['-U', $user]);
}

sub ask
{
	my ($s, $q) = @_;
	$s->{stderr} = '';
	my $out = $s->query($q);
	return $s->{stderr} =~ /(ERROR: .*)/ ? $1 : $out;
}

# Sends without waiting; returns when the mark comes back.
sub send_held
{
	my ($s, $held, $q) = @_;
	$s->{stderr} = '';
	$s->query_until(qr/sent/, "\\echo sent\n$q;\n\\echo gone on\n");
	$p->poll_query_until('postgres', "SELECT held = $held FROM pingpong.gate") or die "not held: $q";
	return;
}
sub went_on { my ($s) = @_; $s->query_until(qr/gone on/, "\n"); return $s->{stderr} =~ /(ERROR: .*)/ ? $1 : 'done'; }

my $sealer = $p->background_psql('postgres');
$sealer->query_safe('SELECT pingpong.quiesce()');
$sealer->query_safe('SELECT pingpong.seal()');

my %s = map { ($_ => login($_)) } qw(plain reader writer);
$s{archive} = login('plain', db => 'archive');
$s{option} = login('plain', options => '-c default_transaction_read_only=off');
$s{$_} = login('plain') for qw(set_on set_off held block begun said savepoint sequence fails temp serial);
is(ask($s{$_}, 'SHOW default_transaction_read_only'), 'on', "$_: read-only while sealed") for sort keys %s;
ask($s{set_on}, 'SET default_transaction_read_only = on');
ask($s{set_off}, 'SET default_transaction_read_only = off');
ask($s{$_}, 'BEGIN; SELECT 1') for qw(block begun savepoint temp);
ask($s{said}, 'BEGIN READ ONLY; SELECT 1');
ask($s{serial}, 'BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM t');
ask($s{savepoint}, 'SAVEPOINT a');
send_held($s{held}, 1, "INSERT INTO t VALUES ('held')");
send_held($s{block}, 2, "INSERT INTO t VALUES ('block')");
send_held($s{said}, 3, "INSERT INTO t VALUES ('said')");
send_held($s{savepoint}, 4, "INSERT INTO t VALUES ('savepoint'); ROLLBACK TO a");
send_held($s{sequence}, 5, "SELECT nextval('s')");
send_held($s{temp}, 6, 'CREATE TEMP TABLE u (a int)');
send_held($s{serial}, 7, "INSERT INTO t VALUES ('serial')");

$sealer->query_safe('SELECT pingpong.resume()');

is(went_on($s{$_}), 'done', "$_: what was held goes on") for qw(held block savepoint sequence temp);
like(went_on($s{said}), qr/ERROR:  cannot execute INSERT in a read-only transaction/,
	'said: a transaction that the client called read-only stays so');
like(went_on($s{serial}), qr/ERROR:  cannot execute INSERT in a read-only transaction/,
	'serial: so does a serializable one that has read');
ask($s{$_}, 'ROLLBACK') for qw(said serial);
is(ask($s{savepoint}, "INSERT INTO t VALUES ('savepoint 2'); COMMIT; SHOW default_transaction_read_only"), 'off',
	'savepoint: over a rollback');
is(ask($s{block}, 'COMMIT; SHOW default_transaction_read_only'), 'off', 'block: committed');
ask($s{temp}, 'COMMIT');
is(ask($s{begun}, "INSERT INTO t VALUES ('begun'); COMMIT; SHOW default_transaction_read_only"), 'off',
	'begun: a transaction that began while sealed writes');

# A first transaction that fails must not leave the session read-only.
like(ask($s{fails}, 'SELECT 1/0'), qr/division/, 'fails');
is(ask($s{fails}, "INSERT INTO t VALUES ('fails'); SHOW default_transaction_read_only"), 'off',
	'fails: and then writes');

my %default = (plain => 'off', writer => 'off', option => 'off', reader => 'on', archive => 'on', set_on => 'on',
	set_off => 'off', held => 'off', said => 'off', serial => 'off', sequence => 'off', temp => 'off');
for my $who (sort keys %default)
{
	ask($s{$who}, 'SELECT 1');
	is(ask($s{$who}, 'SHOW default_transaction_read_only'), $default{$who},
		"$who: the default is $default{$who} again");
	my $said = ask($s{$who}, "INSERT INTO t VALUES ('$who')");
	$default{$who} eq 'on' ? like($said, qr/read-only transaction/, "$who: and counts")
		: is($said, '', "$who: and counts");
}
is(ask($s{$_}, 'RESET default_transaction_read_only; SHOW default_transaction_read_only'), 'off',
	"$_: reset to its own") for qw(set_on set_off plain writer option);
is(ask($s{reader}, 'SET default_transaction_read_only = off; RESET ALL; SHOW default_transaction_read_only'), 'on',
	'reader: reset to its own');
is($p->safe_psql('postgres', q{SELECT string_agg(a, ' ' ORDER BY a) FROM t}),
	'begun block fails held held option plain said savepoint 2 sequence serial set_off temp writer',
	'what was written');

# As libpq sees it.
for my $who (qw(reader plain))
{
	my ($rc) = $p->psql('postgres', 'SELECT 1',
		connstr => $p->connstr('postgres') . " user=$who target_session_attrs=read-write");
	$who eq 'plain' ? is($rc, 0, "$who: target_session_attrs=read-write is served again")
		: isnt($rc, 0, "$who: its own setting is still seen by target_session_attrs");
}
$_->quit for values %s;
$sealer->quit;
$p->stop;
done_testing();
