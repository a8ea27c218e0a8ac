// Package guest is what runs inside a sub-kernel: its PID 1.
//
// Main makes the root, the mounts and the cgroups that the host's Spec names, runs the commands that the host sends, reaps every process,
// and powers the kernel off. It decides nothing: order, timeouts and what counts as success are the host's. It is linked into a binary of
// its own, which is kept lean, because every page of it is read anew at each boot: think before importing anything here.
package guest
