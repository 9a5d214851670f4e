# Etcd - a cluster for a test: of the distribution, on ports of its own, with data that is gone afterwards.
#
#   my $etcd = Etcd->start($lab, 3);        # members
#   $etcd->urls;                            # of all of them, with commas
#   $etcd->stop(2); $etcd->resume(2);       # one member
#   $etcd->get('/pingpong/lab/epoch');      # '' if there is none, or nobody answers
package Etcd;

use strict;
use warnings;
use Ports ();
use Test::More ();
use Tools;

# Why there can be none; undef: there can. In CI that is a failure.
sub missing
{
	return if 2 == grep { my $p = $_; grep { -x "$_/$p" } split(/:/, $ENV{PATH}), '/usr/bin' } 'etcd', 'etcdctl';
	Test::More::BAIL_OUT('needs etcd') if ($ENV{CI} // '') eq 'true';
	return 'needs etcd';
}

sub _url { my ($self, $kind, $k) = @_; return 'http://127.0.0.1:' . ($self->{base} + 2 * $k + ($kind eq 'peer')); }

sub _spawn
{
	my ($self, $k) = @_;
	$self->{pid}{$k} = begin_program("$self->{dir}/$k.log", 'etcd', '--name', "m$k", '--data-dir', "$self->{dir}/$k",
		'--unsafe-no-fsync',
		'--listen-client-urls', $self->_url('client', $k), '--advertise-client-urls', $self->_url('client', $k),
		'--listen-peer-urls', $self->_url('peer', $k), '--initial-advertise-peer-urls', $self->_url('peer', $k),
		'--initial-cluster', join(',', map { "m$_=" . $self->_url('peer', $_) } 1 .. $self->{n}),
		'--heartbeat-interval', 50, '--election-timeout', 500);
	return;
}

sub start
{
	my ($class, $lab, $n) = @_;
	my $self = bless {dir => $lab->dir . '/etcd', n => $n, base => Ports::take($lab->base)}, $class;
	mkdir $self->{dir};
	chmod 0700, $self->{dir};
	$self->_spawn($_) for 1 .. $n;
	$self->wait_healthy;
	return $self;
}

sub url { my ($self, $k) = @_; return $self->_url('client', $k); }
sub urls { my ($self) = @_; return join ',', map { $self->url($_) } 1 .. $self->{n}; }

sub ctl
{
	my ($self, @words) = @_;
	local $ENV{ETCDCTL_API} = 3;
	my ($rc, $out) = run('etcdctl', '--endpoints', $self->urls, '--command-timeout=5s', @words);
	return wantarray ? ($rc, $out) : $out;
}

sub get
{
	my ($self, $key) = @_;
	my ($rc, $out) = $self->ctl('get', '--print-value-only', $key);
	return $rc == 0 ? $out : '';
}

# A majority of the members takes a write.
sub wait_healthy
{
	my ($self) = @_;
	wait_for('etcd', sub { my ($rc) = $self->ctl('put', '/test/health', $$); return $rc == 0 })
		or die map { read_file("$self->{dir}/$_.log") } 1 .. $self->{n};
	return;
}

sub stop
{
	my ($self, @members) = @_;
	end_program($_) for map { delete $self->{pid}{$_} // () } @members ? @members : 1 .. $self->{n};
	return;
}

sub resume
{
	my ($self, @members) = @_;
	$self->_spawn($_) for grep { !$self->{pid}{$_} } @members ? @members : 1 .. $self->{n};
	$self->wait_healthy;
	return;
}

1;
