# One sub-kernel and one command.
subkernel "hello" {
  command = "echo hello from Linux $(uname -r), as $(id -un)"
}
