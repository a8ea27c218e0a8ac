// Package kernel finds kernels that run as a process (User Mode Linux) and finds out what they can do.
//
// A Finder resolves what the user asked for to one executable. Inspect asks an executable itself for its version and its configuration:
// nothing is guessed from names. What it answered is remembered in the cache folder until the file changes, because a run
// should not have to start a kernel twice.
//
// The package knows nothing of how a kernel is booted.
package kernel
