# A first sekexe file. `sekexe up` boots the sub-kernels below in parallel, runs their commands and reports how each ended.
# The language: docs/configuration.md. `sekexe validate` checks the file, `sekexe plan` shows what would happen.

variable "greeting" {
  type        = string
  default     = "hello"
  description = "what the sub-kernels say" # another value: sekexe up --var greeting=hi
}

# A sub-kernel is a complete Linux kernel. Its root is the host's, and what it writes there stays in its memory.
subkernel "hello" {
  memory = "128M"

  env = {
    GREETING = var.greeting
  }

  # A string is a command for the shell. The sub-kernel has succeeded if it ends with 0.
  command = "echo \"$GREETING from $(hostname), kernel $(uname -r)\""
}

# One sub-kernel for each name: check["a"] and check["b"]. They start when hello has succeeded.
subkernel "check" {
  for_each   = toset(["a", "b"])
  memory     = "128M"
  depends_on = [subkernel.hello]
  timeout    = "1m"

  # The folder of this file, read-only. "rw" lets the commands change it.
  mount "/work" {
    source = "."
  }
  workdir = "/work"

  # Steps run in order; the first that fails ends the sub-kernel.
  step "look" {
    command = ["ls", "-l"]
  }
  step "say" {
    command = "echo ${var.greeting}, I am ${each.key}"
  }
}

# Sub-kernels reach each other by name, and the host as "gateway": a file without a network block has one network, which all are on. A file
# with one says who is on which, and publishes ports of sub-kernels on this machine: see docs/networks.md.
#
# network "lan" {
#   subnet = "10.77.0.0/24"
# }
#
# subkernel "web" {
#   service = true
#   nic "lan" { address = "10.77.0.5" }
#   publish = ["8080:80"]
#   command = ["busybox", "httpd", "-f", "-p", "80", "-h", "/srv"]
#   ready { port = 80 }
# }
