# A private dockerd, without root and without Docker on the host: an image is loaded, another one built on it, and a container of that
# serves a page on the host's port 8080.
#
#   sekexe up -f examples/docker/base.hcl     # once: makes base.tar
#   sekexe up -f examples/docker/web.hcl
#   curl http://127.0.0.1:8080/
#   docker -H unix://examples/docker/docker.sock ps
#
# Ctrl-C ends it. Needs dockerd and the docker command (Debian and Ubuntu: apt-get install docker.io).
project = "docker-web"

subkernel "web" {
  service = true
  publish = ["8080:80"]

  docker {
    images = ["base.tar"]
    socket = "docker.sock"
  }

  mount "/site" { source = "site" }

  step "build" { command = "docker build --quiet --tag example/site /site" }
  command = "docker run --rm --name site --publish 80:80 example/site"

  ready { port = 80 }
}
