# Asks by UDP, each time from another port: host, port, times. What is answered is printed; it fails where nothing is.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;

my ($host, $port, $times) = @ARGV;
for (1 .. $times) {
    my $socket = IO::Socket::INET->new(Proto => 'udp', PeerAddr => $host, PeerPort => $port) or die "$host: $@";
    $socket->send('who?') or die "$host: $!";
    IO::Select->new($socket)->can_read(2) or die "$host port $port: no answer by UDP\n";
    defined $socket->recv(my $text, 1500) or die "$host port $port: $!\n";
    print $text;
}
