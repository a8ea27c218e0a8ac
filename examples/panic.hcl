# Endings other than a clean exit can be what is wanted: a test of what a kernel does when it is asked to crash, or of a time limit.
subkernel "panics" {
  memory         = "64M"
  command        = "echo c > /proc/sysrq-trigger"
  expect_outcome = "panicked"
}

subkernel "hangs" {
  memory         = "64M"
  command        = "exec sleep infinity"
  timeout        = "20s"
  expect_outcome = "timed-out"
}

subkernel "fails" {
  memory      = "64M"
  command     = "exit 3"
  expect_exit = [3, 4]
}
