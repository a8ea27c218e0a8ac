# A web server with one page, which says who fetches it.
use strict;
use warnings;
use IO::Socket::INET;

my $server = IO::Socket::INET->new(LocalPort => 80, Listen => 64, ReuseAddr => 1) or die "listen: $@\n";
local $SIG{PIPE} = 'IGNORE';
while (my $client = $server->accept) {
    while (defined(my $line = <$client>)) {
        last if $line =~ /^\r?\n$/;
    }
    my $page = "hello, " . $client->peerhost . "!\n";
    print $client "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " . length($page) . "\r\n\r\n$page";
    close $client;
}
