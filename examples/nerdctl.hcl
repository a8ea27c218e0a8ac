# Containers by containerd and nerdctl, without root and without a daemon on the host: an image is made of a folder, one container serves a page, another
# one finds it by its name on their network, and the port that it publishes is one of the sub-kernel.
#
# Needs containerd and runc, the plugins of CNI (Debian and Ubuntu: apt-get install --no-install-recommends containerd runc containernetworking-plugins iptables),
# busybox-static, and nerdctl, which Debian doesn't have. It is among https://github.com/containerd/nerdctl/releases, and this makes it of its source:
#
#   GOBIN=/tmp/nerdctl CGO_ENABLED=0 go install github.com/containerd/nerdctl/v2/cmd/nerdctl@v2.0.3
#   sekexe up -f examples/nerdctl.hcl --var nerdctl=/tmp/nerdctl/nerdctl
variable "nerdctl" {
  type        = string
  default     = "nerdctl"
  description = "the program, or its path"
}

subkernel "nerdctl" {
  network = "none"
  memory  = "1G"
  timeout = "10m"
  env     = { HOME = "/run" } # a sub-kernel of an ordinary user can't read root's

  # Not on the root: an overlay can't lie on one.
  tmpfs "/var/lib/containerd" { size = "256M" }

  # The distribution's kernel can't do what iptables does by default (nf_tables for IPv4). What is written here is in memory.
  step "iptables" {
    command = "iptables -w -t nat -N test 2>/dev/null || ln -s $(command -v iptables-legacy) /usr/local/sbin/iptables"
  }

  # What a step leaves running goes on until the sub-kernel ends.
  step "containerd" {
    timeout = "2m"
    command = "containerd >/run/containerd.log 2>&1 & until ctr version >/dev/null 2>&1; do sleep 1; done; ctr version"
  }

  # An image as docker save writes it: a layer, its settings, and what belongs together.
  step "image" {
    command = <<-EOT
      mkdir -p /run/page/bin /run/page/www /run/image
      cp /bin/busybox /run/page/bin
      echo "a page of $(hostname)" >/run/page/www/index.html
      cd /run/image
      tar -C /run/page -cf layer.tar .
      cat >config.json <<-EOF
      {"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/bin/busybox"]},
       "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum layer.tar | cut -d ' ' -f 1)"]}}
      EOF
      echo '[{"Config": "config.json", "RepoTags": ["page:latest"], "Layers": ["layer.tar"]}]' >manifest.json
      tar -c manifest.json config.json layer.tar | ${var.nerdctl} load
    EOT
  }

  step "serve" {
    command = <<-EOT
      ${var.nerdctl} network create lab
      ${var.nerdctl} run --detach --name web --network lab --publish 8080:80 --memory 64m page httpd -f -p 80 -h /www
    EOT
  }

  step "by name" {
    timeout = "5m"
    command = "until printf 'GET / HTTP/1.0\\r\\n\\r\\n' | ${var.nerdctl} run --rm --interactive --network lab page nc web 80; do sleep 1; done"
  }

  step "by port" { command = "busybox wget -q -O - http://127.0.0.1:8080/" }
}
