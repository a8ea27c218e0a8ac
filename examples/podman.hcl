# Containers by podman, without root and without anything of podman's on the host being touched: an image is made of a folder, one container serves a
# page, another one finds it by its name on their network, and the port that it publishes is one of the sub-kernel.
#
# Needs podman (Debian and Ubuntu: apt-get install --no-install-recommends podman crun netavark aardvark-dns) and busybox-static.
subkernel "podman" {
  network = "none"
  memory  = "512M"
  timeout = "10m"
  env     = { HOME = "/run" } # a sub-kernel of an ordinary user can't read root's, and podman asks for its settings there

  # Not on the root: an overlay can't lie on one.
  tmpfs "/var/lib/containers" { size = "256M" }

  # The distribution's kernel can't do what iptables does by default (nf_tables for IPv4). What is written here is in memory.
  step "iptables" {
    command = "iptables -w -t nat -N test 2>/dev/null || ln -s $(command -v iptables-legacy) /usr/local/sbin/iptables"
  }

  step "image" {
    command = <<-EOT
      mkdir -p /run/page/bin /run/page/www
      cp /bin/busybox /run/page/bin
      echo "a page of $(hostname)" >/run/page/www/index.html
      tar -C /run/page -c . | podman import --quiet --change 'ENTRYPOINT ["/bin/busybox"]' - page
    EOT
  }

  step "serve" {
    command = <<-EOT
      podman network create lab
      podman run --detach --name web --network lab --publish 8080:80 --memory 64m page httpd -f -p 80 -h /www
    EOT
  }

  step "by name" {
    timeout = "5m"
    command = "until printf 'GET / HTTP/1.0\\r\\n\\r\\n' | podman run --rm --interactive --network lab page nc web 80; do sleep 1; done"
  }
  step "by port" { command = "busybox wget -q -O - http://127.0.0.1:8080/" }
}
