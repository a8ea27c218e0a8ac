# A server on a network that leads nowhere, and a port of the host that leads to it. As long as this runs, `curl http://127.0.0.1:18080/` on the host
# gets its page. The client does the same: its network's gateway leads to the host's 127.0.0.1.
variable "port" {
  type        = number
  default     = 18080
  description = "the port of the host"
}

network "inside" { uplink = "none" }
network "outside" { host_loopback = true }

subkernel "server" {
  memory  = "64M"
  service = true
  nic "inside" {}
  publish = ["${var.port}:80"]

  command = ["perl", "-MIO::Socket::INET", "-e", <<-EOT
    my $s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die $@;
    while (my $c = $s->accept) {
      while (<$c>) { last if /^\r?$/ }
      print $c "HTTP/1.0 200 OK\r\n\r\nhello\n";
      close $c;
    }
  EOT
  ]
  ready {
    port    = 80
    timeout = "30s"
  }
}

subkernel "client" {
  memory     = "64M"
  depends_on = [subkernel.server]
  nic "outside" {}
  timeout = "1m"

  step "by the host" {
    command = ["bash", "-ec", <<-EOT
      exec 3<>/dev/tcp/gateway/${var.port}
      printf 'GET / HTTP/1.0\r\n\r\n' >&3
      page=$(cat <&3)
      echo "$page"
      [[ $page == *" 200 "*hello ]]
    EOT
    ]
  }

  # It knows the server's address, but there is no other way to it.
  step "directly" {
    command     = ["bash", "-c", "getent ahostsv4 server && exec 3<>/dev/tcp/server/80"]
    expect_exit = 1
  }
}
