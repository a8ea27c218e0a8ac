# A router between two networks, and what is only reached through it. The hosts get their addresses and their default route by DHCP, find the
# router by its name, and fetch a page from a server on the other network. Nothing else leads out of theirs: it has no uplink.
#
#   sekexe up -f examples/router-lab/sekexe.hcl
#   sekexe up -f examples/router-lab/sekexe.hcl --var mode=bridge

variable "mode" {
  type        = string
  default     = "user"
  description = "how the networks are made"

  validation {
    condition     = contains(["user", "bridge"], var.mode)
    error_message = "The mode is \"user\" or \"bridge\": with \"tun\" the host's kernel routes by itself, past the router."
  }
}

locals {
  lan = "10.77.0.0/24"
  wan = "10.78.0.0/24"

  # The router's addresses, and the server's.
  lan_router = cidrhost(local.lan, 1)
  wan_router = cidrhost(local.wan, 1)
  server     = cidrhost(local.wan, 80)
}

network "lan" {
  mode   = var.mode
  subnet = local.lan
  uplink = "none"

  dhcp {
    range  = "${cidrhost(local.lan, 100)}-${cidrhost(local.lan, 199)}"
    router = local.lan_router
    domain = "lab.internal"
  }
}

network "wan" {
  mode   = var.mode
  subnet = local.wan

  dhcp {
    routes = { (local.lan) = local.wan_router } # the way back
  }
}

subkernel "router" {
  memory = "64M"
  nic "lan" { address = local.lan_router }
  nic "wan" { address = local.wan_router }

  service = true
  command = "echo 1 > /proc/sys/net/ipv4/ip_forward && echo 'router: ready' && exec sleep infinity"

  ready {
    log     = "^router: ready"
    timeout = "30s"
  }
}

subkernel "server" {
  memory = "64M"
  nic "wan" { address = local.server }
  mount "/lab" { source = "." }

  service = true
  command = ["perl", "/lab/server.pl"]

  ready {
    port    = 80
    timeout = "30s"
  }
}

subkernel "host" {
  for_each   = toset(["a", "b"])
  memory     = "64M"
  depends_on = [subkernel.router, subkernel.server]
  nic "lan" {}
  timeout = "1m"

  # The domain of the lease completes the name.
  step "names" {
    command = <<-EOT
      for name in router router.lab.internal; do
        address=$(getent ahostsv4 $name | cut -d' ' -f1 | sort -u)
        echo "$name is $address"
        test "$address" = ${local.lan_router} || exit 1
      done
    EOT
  }

  # The server says whom it sees: an address of the lease, because the router forwards and nobody translates.
  step "fetch" {
    command = ["bash", "-ec", <<-EOT
      exec 3<>/dev/tcp/${local.server}/80
      printf 'GET / HTTP/1.0\r\n\r\n' >&3
      page=$(cat <&3)
      echo "$page"
      [[ $page == *" 200 "*"hello, ${trimsuffix(local.lan, "0/24")}1"[0-9][0-9]"!" ]]
    EOT
    ]
  }
}
