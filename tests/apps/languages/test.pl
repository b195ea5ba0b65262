# SPDX-License-Identifier: GPL-2.0
# Modules in C, processes, sockets and signals of perl.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use IO::Socket::INET;
use List::Util qw(sum);
use POSIX qw(floor);
use Storable qw(freeze thaw);
use Time::HiRes qw(usleep);

sub check { my ($what, $good) = @_; $good or do { print "failed: $what\n"; exit 1 } }

check("digest", sha256_hex("") =~ /^e3b0c44298fc1c14/);
check("sum", sum(1 .. 100) == 5050 && floor(2.5) == 2);
check("storable", thaw(freeze({ a => [1, 2] }))->{a}[1] == 2);
my $server = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1", Proto => "tcp");
my $port = $server->sockport;
my $child = fork;
if (!$child) {
	my $client = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port);
	print $client "$_\n" for 1 .. 500;
	exit 3;
}
my $connection = $server->accept;
my $total = 0;
$total += $_ while <$connection>;
waitpid $child, 0;
check("socket", $total == 125250 && $? >> 8 == 3);
my $alarm = 0;
local $SIG{ALRM} = sub { $alarm++ };
alarm 1;
usleep 3_000_000;
check("alarm", $alarm == 1);
check("command", `echo \$((6 * 7))` == 42);
my $text = "x" x 10000;
check("regex", ($text =~ s/(x{10})/y/gr) eq "y" x 1000);
print "all passed\n";
