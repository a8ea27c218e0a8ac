# Two Docker daemons make a swarm, and run a service on both: each of its two replicas says on which node it is. Its port is one of each node, and leads
# to either replica, over the swarm's own network (VXLAN), which has theirs below it.
#
#   sekexe up -f examples/swarm.hcl
#   sekexe up -f examples/swarm.hcl --var mode=bridge
#
# Needs dockerd and the docker command (Debian and Ubuntu: apt-get install docker.io), and busybox-static.
variable "mode" {
  type        = string
  default     = "user"
  description = "how the network is made"
}

network "nodes" {
  mode   = var.mode
  uplink = "none"
}

locals {
  # Each node needs the image: there is no registry. That it would be one of this machine makes the swarm give up looking for it at once.
  image = <<-EOT
    mkdir -p /run/page/bin /run/page/www
    cp /bin/busybox /run/page/bin
    tar -C /run/page -c . | docker import --change 'ENTRYPOINT ["/bin/busybox"]' - localhost/page
  EOT
}

# It joins the swarm of whoever gives it the token, and answers when it has.
subkernel "worker" {
  nic "nodes" {}
  docker {}
  stop_timeout = "1m"

  step "image" { command = local.image }
  command = ["busybox", "nc", "-ll", "-p", "7000", "-e", "sh", "-c", "if read token; then docker swarm join --token $token manager:2377; fi"]

  ready { port = 7000 }
  service = true
}

subkernel "manager" {
  nic "nodes" {}
  docker {}
  depends_on   = [subkernel.worker]
  timeout      = "20m"
  stop_timeout = "1m"

  step "image" { command = local.image }
  step "init" {
    command = <<-EOT
      docker swarm init --advertise-addr eth0
      docker swarm join-token --quiet worker | busybox nc worker 7000
      docker node ls
    EOT
  }

  # It ends when both nodes have a replica that runs, and goes on running.
  step "service" {
    timeout = "10m"
    command = <<-EOT
      docker network create --driver overlay inner
      docker service create --quiet --no-resolve-image --name page --network inner --publish 8080:80 --mode global \
        --hostname '{{.Node.Hostname}}' --stop-signal KILL localhost/page sh -c 'busybox hostname >/www/index.html; exec busybox httpd -f -p 80 -h /www'
      docker service ps page
    EOT
  }

  # Each node leads to both replicas, one after the other, once it has heard of them, which Docker has no event for.
  step "mesh" {
    timeout = "5m"
    command = <<-EOT
      for node in manager worker; do
        seen=
        until [ "$seen" = "manager worker " ]; do
          seen=$(for i in 1 2; do busybox wget -q -O - http://$node:8080/ || sleep 1; done | sort -u | tr '\n' ' ')
        done
        echo "$node: $seen"
      done
    EOT
  }

  # So does the service's name in the network of the replicas: that of this node asks.
  step "inner" {
    timeout = "5m"
    command = <<-EOT
      replica=$(docker ps --quiet --filter name=page)
      seen=
      until [ "$seen" = "manager worker " ]; do
        seen=$(for i in 1 2; do printf 'GET / HTTP/1.0\r\n\r\n' | docker exec --interactive $replica /bin/busybox nc page 80 | tail -n 1; done | sort -u | tr '\n' ' ')
      done
      echo "inner: $seen"
    EOT
  }
}
