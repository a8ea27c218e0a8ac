# Bad lines, and a record of what went over them: netem.pcapng, beside this file, opens in Wireshark.
network "lan" {
  uplink  = "none"
  capture = "netem.pcapng"
}

subkernel "far" {
  memory  = "64M"
  service = true
  nic "lan" {
    impair { delay = "40ms" } # in each direction
  }
}

subkernel "lossy" {
  memory  = "64M"
  service = true
  nic "lan" {
    dhcp = false # a lease could get lost
    impair { loss = "20%" }
  }
}

subkernel "near" {
  memory     = "64M"
  depends_on = [subkernel.far, subkernel.lossy]
  nic "lan" {}
  timeout = "1m"

  step "far" {
    command = <<-EOT
      rtt=$(ping -c 5 -i 0.1 -W 20 far | sed -n 's/^rtt min[^=]*= \([0-9]*\).*/\1/p')
      echo "there and back takes at least $rtt ms"
      test "$rtt" -ge 80
    EOT
  }

  # Of 100 pings, 64 come back on average: both the question and the answer may be lost.
  step "lossy" {
    command = <<-EOT
      n=$(ping -c 100 -i 0.02 -W 2 lossy | sed -n 's/.*, \([0-9]*\) received.*/\1/p')
      echo "$n of 100 came back"
      test "$n" -gt 20 && test "$n" -lt 100
    EOT
  }
}
