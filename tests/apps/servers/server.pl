# SPDX-License-Identifier: GPL-2.0
# A web server, a child for each connection.
use strict;
use warnings;
use IO::Socket::INET;

sub answer {
	my ($number) = @_;
	my $total = 0;
	$total = ($total + $_ * 7) % 1000003 for 0 .. 1999 + $number;
	return "$number $total\n" x 100;
}

$| = 1;
$SIG{CHLD} = "IGNORE";
my $server = IO::Socket::INET->new(Listen => 64, LocalPort => 8000, ReuseAddr => 1) or die $!;
print "serving\n";
while (my $client = $server->accept) {
	if (fork) {
		close $client;
		next;
	}
	while (defined(my $line = <$client>)) {
		my ($number) = $line =~ m{^GET /(\d+) } or die $line;
		while (<$client> =~ /\S/) {}
		my $body = answer($number);
		print $client "HTTP/1.1 200 OK\r\nContent-Length: ", length $body, "\r\n\r\n", $body;
		$client->flush;
	}
	exit;
}
