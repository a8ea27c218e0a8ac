# The same tests with several settings, in parallel, each in a kernel of its own. What they write stays in their memory.
variable "seeds" {
  type        = list(number)
  default     = [1, 2, 3]
  description = "seeds of the test runs"
}

subkernel "seed" {
  for_each = toset([for s in var.seeds : tostring(s)])
  memory   = "128M"

  mount "/src" { source = "." }
  workdir = "/src"
  env     = { SEED = each.key }

  step "set up" { command = "mkdir -p /tmp/work && cp -r . /tmp/work" }
  step "test" {
    command = "cd /tmp/work && ls | wc -l && echo seed $SEED: passed"
    timeout = "1m"
  }
}
