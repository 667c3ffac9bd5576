# Answers at the ports that it is given, `tcp:80` (as HTTP) and `udp:80`: with the pod's name, and whom it sees asking. At `dns:53` it is a name
# server that knows one name.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Socket;

# alone.own.example is 203.0.113.5.
my ($name, $address) = ("\5alone\3own\7example\0", "\xcb\0\x71\5");

sub resolve {
    my ($question) = @_;
    my $asked = substr $question, 12, index($question, "\0", 12) - 12 + 5;
    my $known = lc(substr $asked, 0, -4) eq $name;
    my $found = $known && unpack('n', substr $asked, -4, 2) == 1;
    my $head = pack 'n5', $known ? 0x8580 : 0x8583, 1, $found ? 1 : 0, 0, 0;
    my $record = "\xc0\x0c" . pack('n n N n', 1, 1, 60, 4) . $address;
    return substr($question, 0, 2) . $head . $asked . ($found ? $record : '');
}

$SIG{TERM} = sub { exit 0 };
$SIG{CHLD} = 'IGNORE';
my ($all, %ways) = IO::Select->new;
for (@ARGV) {
    my ($way, $port) = split /:/;
    my @more = $way eq 'tcp' ? (Proto => 'tcp', Listen => 64, ReuseAddr => 1) : (Proto => 'udp');
    my $socket = IO::Socket::INET->new(LocalPort => $port, @more) or die "$_: $!";
    $ways{$socket} = $way;
    $all->add($socket);
}
while (1) {
    for my $socket ($all->can_read) {
        my $way = $ways{$socket};
        if ($way ne 'tcp') {
            my $from = recv $socket, my $text, 1500, 0;
            next unless defined $from;
            my $seen = inet_ntoa((sockaddr_in $from)[1]);
            send $socket, $way eq 'dns' ? resolve($text) : "$ENV{POD} $seen\n", 0, $from;
            next;
        }
        my $client = $socket->accept or next;
        next if fork;
        my $head = '';
        while ($head !~ /\r\n\r\n/) { sysread $client, $head, 4096, length $head or exit }
        my $text = "$ENV{POD} " . $client->peerhost . "\n";
        syswrite $client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " . length($text) . "\r\n\r\n$text";
        exit;
    }
}
