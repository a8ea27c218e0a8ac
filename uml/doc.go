// Package uml boots sub-kernels as User Mode Linux processes of this host: it is the orchestrator's Runtime.
//
// A Runtime owns what all its sub-kernels share: the scratch folder, which holds guest memory and what host and guest exchange, the choice
// of host CPUs, and the reaper, a process that outlives this one to remove what a killed one leaves. A session is one sub-kernel from its
// start to its end: the process, the control line, the kernel's log, the steps and their timeouts.
//
// The package knows how to start a kernel and how to talk to a guest. Which sub-kernels there are, in what order they start and whether an
// ending is good or bad is the orchestrator's business.
package uml
