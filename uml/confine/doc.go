// Package confine keeps a kernel's process, and all that it starts, within what its sub-kernel was promised.
//
// Whoever is root in a guest can make its kernel do anything: mount the host's files again, load code into it. So nothing here relies on the
// guest or its kernel. A thread takes the restrictions upon itself and then starts the kernel, which inherits them and can't take them off:
//
//   - A Landlock domain says which of the host's files can be opened, and for what. It keeps signals, ptrace and abstract sockets within.
//   - A seccomp filter refuses the system calls that a kernel never makes. Those that change a file's mode, owner and times, which Landlock
//     doesn't know, go to a Domain's Serve, which makes them in the kernel's place if the file is one that may be changed.
//   - Where sekexe is root, the process is not: it has another user, and of root's capabilities the few that reading and writing files takes.
package confine
