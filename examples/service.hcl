# A server and its test. The file declares no network, so that both are on the network "default", where they find each other by name. The server is
# ready when something listens on its port, which is asked inside its own sub-kernel; it is stopped when the test is done.
subkernel "server" {
  memory  = "64M"
  service = true
  command = ["perl", "-MIO::Socket::INET", "-e", <<-EOT
    my $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die $@;
    while (my $c = $s->accept) { print $c "hello\n"; close $c }
  EOT
  ]
  ready {
    port    = 8080
    timeout = "30s"
  }
}

subkernel "test" {
  memory     = "64M"
  depends_on = [subkernel.server]
  command    = ["bash", "-c", "read -r word < /dev/tcp/server/8080 && echo \"the server says $word\" && test \"$word\" = hello"]
}
