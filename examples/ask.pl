#!/usr/bin/perl
# The least client of the API, in what every Debian and Ubuntu has (perl-base), for demos and scripts.
#
#   ask.pl ADDRESS METHOD PATH [TOKEN]   one HTTP request; prints the body; exit 1 unless 2xx
#   ask.pl ADDRESS watch PATH [TOKEN]    a WebSocket; prints each text frame on a line, until it closes
#
# ADDRESS is HOST:PORT or unix:/path (the engine's socket too).
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;

my ($address, $method, $path, $token) = @ARGV;
die "usage: ask.pl ADDRESS METHOD|watch PATH [TOKEN]\n" unless defined $path;
$| = 1;
my $socket = $address =~ /^unix:(?:\/\/)?(.+)/
  ? IO::Socket::UNIX->new(Peer => $1, Timeout => 5)
  : IO::Socket::INET->new(PeerAddr => $address, Timeout => 5);
die "ask: $address: $!\n" unless $socket;
my $rights = defined $token ? "Authorization: Bearer $token\r\n" : '';

sub line { my $line = readline $socket; defined $line or exit 1; $line =~ s/\r?\n$//; return $line }
sub exactly {
  my ($n) = @_;
  my $got = '';
  while (length $got < $n) { read($socket, $got, $n - length $got, length $got) or exit 0 }
  return $got;
}

if ($method eq 'watch') {
  print $socket "GET $path HTTP/1.1\r\nHost: local\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    . "Sec-WebSocket-Key: Y29uc3RlbGxhdGlvbiBkZQ==\r\nSec-WebSocket-Version: 13\r\n$rights\r\n";
  $socket->flush;
  my $status = line();
  while (line() ne '') { }
  die "ask: $status\n" unless $status =~ / 101 /;
  while (1) {
    my ($first, $second) = unpack 'CC', exactly(2);
    my $length = $second & 127;
    $length = unpack 'n', exactly(2) if $length == 126;
    $length = unpack 'Q>', exactly(8) if $length == 127;
    my $payload = exactly($length);
    my $opcode = $first & 15;
    print "$payload\n" if $opcode == 1;
    exit 0 if $opcode == 8;
    if ($opcode == 9) { # a ping is answered; a client's frames are masked, here with zeros
      print $socket pack('CC', 0x8a, 0x80 | length $payload), "\0\0\0\0", $payload;
      $socket->flush;
    }
  }
}

print $socket "$method $path HTTP/1.0\r\nHost: local\r\n${rights}Content-Length: 0\r\n\r\n";
$socket->flush;
my $status = line();
while (line() ne '') { }
local $/;
print readline($socket) // '', "\n";
exit($status =~ m{^HTTP/1\.. 2} ? 0 : 1);
