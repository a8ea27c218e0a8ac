# The same tests on several kernels, and one table of tests by kernel in the end. Name more kernels, and it has more columns:
#
#   sekexe up -f examples/matrix.hcl --var 'kernels=["/opt/linux-7.2/linux"]'
variable "kernels" {
  type        = list(string)
  default     = []
  description = "paths of more kernels to test on"
}

# Without a path or version it is the default kernel: the newest that `sekexe kernel build` made, or the one of the distribution.
kernel "default" {}

# One sub-kernel for each combination: test["sort/default"], test["sum/default"] and so on.
subkernel "test" {
  matrix = {
    suite  = ["sort", "sum"]
    kernel = concat([kernel.default], var.kernels)
  }
  memory = "64M"
  env    = { SUITE = matrix.suite }

  command = <<-EOT
    echo "$SUITE on Linux $(uname -r)"
    case $SUITE in
      sort) test "$(printf '%s\n' 3 1 2 | sort | tr -d '\n')" = 123 ;;
      sum) test $((1 + 2)) = 3 ;;
    esac
  EOT
  timeout = "1m"
}

# A block of its own, with kernels only: panics["default"] and so on, in the same table.
subkernel "panics" {
  matrix         = { kernel = concat([kernel.default], var.kernels) }
  memory         = "64M"
  command        = "echo c > /proc/sysrq-trigger"
  expect_outcome = "panicked"
}
