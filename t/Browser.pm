# Browser - a headless Chromium, driven through its debugging pipe: a page as a person sees it.
#
#   my $browser = Browser->start or plan skip_all => Browser::missing();
#   $browser->go("http://x:$token\@127.0.0.1:8700/");
#   $browser->until_true("document.querySelector('h1') !== null");
#   is($browser->eval('document.title'), 'chicago');
package Browser;

use strict;
use warnings;
use Carp qw(croak);
use File::Temp qw(tempdir);
use IO::Select;
use JSON::PP ();
use MIME::Base64 qw(decode_base64);
use POSIX ();
use Time::HiRes qw(sleep time);

use constant LIMIT => 60;		# seconds for an answer

my @browsers;
my $main = $$;

sub program
{
	for my $name ('chromium', 'chromium-headless-shell', 'google-chrome')
	{
		for my $folder (split /:/, $ENV{PATH})
		{
			return "$folder/$name" if -x "$folder/$name";
		}
	}
	return;
}

sub missing { return 'no Chromium (Debian package chromium)'; }

# undef: there is none.
sub start
{
	my ($class) = @_;
	my $program = program() or return;
	my $home = tempdir('pingpong-browser-XXXXXX', TMPDIR => 1, CLEANUP => 1);
	my ($its_in, $to) = POSIX::pipe();
	my ($from, $its_out) = POSIX::pipe();
	my $pid = fork // die "fork: $!";

	if ($pid == 0)
	{
		# it reads from 3 and writes to 4
		my ($in, $out) = map { POSIX::dup2($_->[0], $_->[1]) } [ $its_in, 20 ], [ $its_out, 21 ];
		POSIX::dup2($in, 3);
		POSIX::dup2($out, 4);
		POSIX::close($_) for grep { $_ > 4 } $its_in, $its_out, $to, $from, $in, $out;
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$home/log";
		open STDERR, '>&', \*STDOUT;
		POSIX::setsid();
		$ENV{HOME} = $home;
		exec $program, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
			'--no-proxy-server', "--user-data-dir=$home", '--remote-debugging-pipe', 'about:blank'
			or POSIX::_exit(127);
	}
	POSIX::close($_) for $its_in, $its_out;
	open my $in, '<&=', $from or die $!;
	open my $out, '>&=', $to or die $!;
	my $self = bless { pid => $pid, in => $in, out => $out, buffer => '', id => 0, said => [] }, $class;
	push @browsers, $self;
	my $target = $self->call('Target.createTarget', { url => 'about:blank' })->{targetId};
	$self->{session} = $self->call('Target.attachToTarget', { targetId => $target, flatten => JSON::PP::true })
		->{sessionId};
	$self->call("$_.enable") for qw(Page Runtime Log);
	return $self;
}

# The next message; events that say that something is wrong are kept for said().
sub _receive
{
	my ($self, $limit) = @_;
	until ($self->{buffer} =~ /\0/)
	{
		my $left = $limit - time;
		croak 'the browser does not answer' if $left <= 0 || !IO::Select->new($self->{in})->can_read($left);
		sysread $self->{in}, $self->{buffer}, 1 << 20, length $self->{buffer} or croak 'the browser has ended';
	}
	$self->{buffer} =~ s/\A(.*?)\0//s;
	my $message = JSON::PP->new->decode($1);
	my $method = $message->{method} // '';
	push @{ $self->{said} }, $message->{params}{exceptionDetails}{exception}{description} // 'an exception'
		if $method eq 'Runtime.exceptionThrown';
	push @{ $self->{said} }, "$message->{params}{entry}{source}: $message->{params}{entry}{text}"
		if $method eq 'Log.entryAdded';
	return $message;
}

sub call
{
	my ($self, $method, $params) = @_;
	my $id = ++$self->{id};
	my $limit = time + LIMIT;
	my $text = JSON::PP->new->ascii->encode({ id => $id, method => $method, params => $params // {},
		$self->{session} ? (sessionId => $self->{session}) : () }) . "\0";
	syswrite $self->{out}, $text;
	while (1)
	{
		my $message = $self->_receive($limit);
		next if ($message->{id} // 0) != $id;
		croak "$method: $message->{error}{message}" if $message->{error};
		return $message->{result};
	}
}

sub go { my ($self, $url) = @_; return $self->call('Page.navigate', { url => $url }); }

# The value of an expression.
sub eval
{
	my ($self, $expression) = @_;
	my $answer = $self->call('Runtime.evaluate', { expression => $expression, returnByValue => JSON::PP::true,
		awaitPromise => JSON::PP::true });
	croak "$expression: $answer->{exceptionDetails}{exception}{description}" if $answer->{exceptionDetails};
	return $answer->{result}{value};
}

# Until it is true, which is returned; undef when that takes too long. A page that is just loading has nothing yet.
sub until_true
{
	my ($self, $expression, $seconds) = @_;
	my $limit = time + ($seconds // LIMIT);
	while (time < $limit)
	{
		my $value = eval { $self->eval($expression) };
		return $value if $value;
		sleep 0.05;
	}
	return;
}

sub text { my ($self, $selector) = @_; return $self->eval("document.querySelector('$selector').innerText"); }

# What went wrong in the page so far: exceptions, violations of the policy, requests that failed.
sub said { my ($self) = @_; return @{ $self->{said} }; }

sub forget_said { my ($self) = @_; $self->{said} = []; return; }

sub size
{
	my ($self, $width, $height, $phone) = @_;
	return $self->call('Emulation.setDeviceMetricsOverride', { width => 0 + $width, height => 0 + $height,
		deviceScaleFactor => 1, mobile => $phone ? JSON::PP::true : JSON::PP::false });
}

sub scheme
{
	my ($self, $scheme) = @_;
	return $self->call('Emulation.setEmulatedMedia',
		{ features => [ { name => 'prefers-color-scheme', value => $scheme } ] });
}

sub screenshot
{
	my ($self, $path) = @_;
	my $image = decode_base64($self->call('Page.captureScreenshot',
		{ format => 'png', captureBeyondViewport => JSON::PP::true })->{data});
	open my $out, '>:raw', $path or die "$path: $!";
	print $out $image;
	return close $out;
}

sub stop
{
	my ($self) = @_;
	my $pid = delete $self->{pid} or return;
	kill 'KILL', -$pid;
	waitpid $pid, 0;
	return;
}

END
{
	local $?;
	$_->stop for $$ == $main ? @browsers : ();
}

1;
