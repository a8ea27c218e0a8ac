# Makes base.tar, an image with nothing but busybox, for web.hcl:
#
#   sekexe up -f examples/docker/base.hcl
#
# Needs dockerd, the docker command and a static busybox (Debian and Ubuntu: apt-get install docker.io busybox-static).
project = "docker-base"

subkernel "base" {
  network = "none"
  docker {}

  mount "/base" { source = "base" }

  step "build" {
    command = <<-E
      set -e
      mkdir -p /tmp/base/bin
      cp /base/Dockerfile /tmp/base/
      cp "$(command -v busybox)" /tmp/base/bin/busybox
      docker build --quiet --tag example/base /tmp/base
    E
  }
  command = "docker save --output /tmp/base.tar example/base"

  copy_out = { "/tmp/base.tar" = "base.tar" }
}
