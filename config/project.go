package config

import "time"

// A Project is what one file (or several, merged) declares, with every reference resolved, every default filled in and every
// for_each, count and matrix expanded. Its values are plain and nothing changes them after Load.
type Project struct {
	// Name is the project's name: the project attribute, or the base name of Dir.
	Name string
	// Dir is the absolute folder of the first file.
	Dir string
	// Files are the absolute paths of the files that were read, overrides last; "-" is standard input.
	Files []string
	// Variables are the declared variables with their values, in the order of their declaration.
	Variables []Variable
	// Kernels are the declared kernels, in the order of their declaration.
	Kernels []Kernel
	// Networks are the declared networks in the order of their declaration, or the implicit one.
	Networks []Network
	// Subkernels are the instances to boot, in the order of their declaration; for_each and matrix in the order of their keys.
	Subkernels []Subkernel

	secrets *secrets
}

// A Variable is one variable block and the value that it has in this run.
type Variable struct {
	Name        string
	Description string
	// Value is the value as JSON. That of a sensitive one stands here too: whoever prints it redacts it.
	Value     string
	Sensitive bool
	// From says where the value came from: "default", "--var", "--var-file" or the name of the environment variable.
	From  string
	Range Range
}

// A Kernel says which kernel to boot. The zero Kernel is the default one: how it is found is the kernel package's business.
type Kernel struct {
	// Name is the label of the kernel block; empty where a sub-kernel named a path, or nothing.
	Name string
	// Path is the absolute path of a UML executable; empty: by Version.
	Path string
	// Version is the wanted version, or the beginning of one: "7" and "7.2" both take 7.2.1. Empty: any.
	Version string
	// Flavour is what it must have been built as: "default", "smp", "debug" or "time-travel". Empty: any.
	Flavour string
	// Modules is the absolute folder that holds MODULES/VERSION; empty: where kernel inspection finds them.
	Modules string
	// Build is what the kernel is built of, by Flavour, which is not empty then; nil: it is not the file's to build.
	Build *Build
	Range Range
}

// A Build says what a kernel is built of. Exactly one of Source, Version and Debian is set.
type Build struct {
	// Source is the absolute path of a folder or tarball.
	Source string
	// Version is a release of kernel.org.
	Version string
	// Debian is a suite of Debian's.
	Debian string
	// Set are symbols of the configuration with their values, such as "y" or "18".
	Set map[string]string
	// Fragments are absolute paths of files of symbols.
	Fragments []string
	// Unmodified leaves the source as it is, without sekexe's edits.
	Unmodified bool
	Range      Range
}

// A Subkernel is one sub-kernel to boot.
type Subkernel struct {
	// Name is unique in the project: `web`, `web["a"]` with for_each, `web[0]` with count, `web["a/b"]` with matrix.
	Name string
	// Block is the label of the block that declared it.
	Block string
	// Matrix is the element of each key of the block's matrix that this instance is for, in the order in which they make its name; nil without one.
	Matrix []MatrixValue
	Kernel Kernel
	Memory int64 // bytes
	CPUs   int
	// Isolation is "strict" (ptrace) or "fast" (seccomp); with several CPUs it is "fast".
	Isolation string
	Hostname  string
	Env       map[string]string
	// Workdir is an absolute path in the guest.
	Workdir string
	// User is NAME, UID, or either with :GROUP; empty is root.
	User    string
	Root    Root
	Cgroups string // "v2" or "v1"
	Mounts  []Mount
	Tmpfs   []Tmpfs
	Disks   []Disk
	// CopyOut is in the order of the paths in the guest.
	CopyOut []CopyOut
	Confine Confine
	// Docker is nil where there is none.
	Docker *Docker
	// NICs are the network interfaces: the first is eth0.
	NICs    []NIC
	Publish []Publish
	// Steps run in order. The command attribute, if there is one, is the last, named "command".
	Steps []Step
	// Service means that the last step is meant to run until the others have ended. A sub-kernel without steps is a service too, unless its
	// root is an image, whose own command is its last step then: that may be one or not.
	Service bool
	// Ready says when a service is ready; nil: as soon as it is up.
	Ready     *Ready
	DependsOn []Dependency
	// Timeout bounds the whole sub-kernel from its start, BootTimeout the boot until the guest is up, StopTimeout how long a stop
	// may take before it is killed. Zero Timeout: none.
	Timeout, BootTimeout, StopTimeout time.Duration
	Expect                            Expect
	Range                             Range
}

// A MatrixValue is one element of a matrix.
type MatrixValue struct {
	// Key is the key of the matrix. Where there is a key "kernel", it is the last.
	Key string
	// Value is the element as text; for a kernel, the label of its block, or as many of the last parts of its path as tell it apart from the others.
	Value string
}

// Root says what the root of the guest is: the host's, unless Source or Image says otherwise, of which at most one is set.
type Root struct {
	Mode string // "overlay" or "ro"
	// Source is the absolute path of another root: a folder, or a file with a FileSystem.
	Source string
	// FileSystem is what is in the file Source: "ext4", "squashfs" or "erofs". Empty: Source is no file.
	FileSystem string
	// Image is the name of an OCI image, written out: see ParseImage.
	Image string
	// Pull is when a registry is asked for Image: "missing", "always" or "never".
	Pull string
	// Persist is the absolute path of the folder that keeps the upper layer of an overlay from run to run; empty: it is in memory.
	Persist string
	// Size is the most that the upper layer of an overlay holds, in bytes; 0: the kernel's default, half of the memory, or, with Persist, what
	// is there already, or 8 GiB.
	Size int64
}

// A Mount makes a file or folder of the host visible in the guest.
type Mount struct {
	Target string // absolute, in the guest
	Source string // absolute, on the host
	Mode   string // "ro", "rw" or "overlay"
	Range  Range
}

// A Tmpfs is a memory file system in the guest.
type Tmpfs struct {
	Target string
	Size   int64 // bytes; 0: the kernel's default, half of the memory
	Mode   uint32
	Range  Range
}

// A Disk is a block device of the guest's with a file system.
type Disk struct {
	Target string
	Size   int64 // bytes
	// File is the absolute path on the host of the file that holds it, which need not exist; empty: a new one that goes with the sub-kernel.
	File  string
	FS    string // "ext4"
	Mode  uint32 // of its root, when it is made
	Range Range
}

// A CopyOut is something to be copied from the guest to the host after the last step.
type CopyOut struct {
	// From is an absolute path in the guest, or a pattern of path.Match.
	From string
	// To is an absolute path on the host. It ends with a slash where it must be a folder.
	To string
	// Optional means that From may be missing.
	Optional bool
	Limit    int64 // bytes
	Range    Range
}

// Confine says what the host keeps from a sub-kernel, besides what it always does. Paths are absolute.
type Confine struct {
	Read       []string // nothing else can be read; nil: everything can
	Hide, Show []string
	Root       bool // the kernel may be root if sekexe is
	Required   bool // it is an error if the host can't do it
}

// A Docker is the Docker daemon of a sub-kernel.
type Docker struct {
	// Autostart starts it before the first step; without it there is only the place for its data.
	Autostart bool
	// Wait is how long it may take until it can be used.
	Wait time.Duration
	Args []string // for dockerd
	// Config is its settings as JSON, an object as in daemon.json; empty: none.
	Config string
	// Mirrors are addresses, and Insecure the names of registries.
	Mirrors, Insecure []string
	// Images are absolute patterns of path.Match, of files on the host.
	Images []string
	// Seed is the absolute folder on the host with prepared disks, Socket the absolute path of a socket, and Compose that of a file for
	// docker compose. Each may be empty.
	Seed, Socket, Compose string
	ComposeArgs           []string // for docker compose up
	// DataRoot is the folder in the guest with its data, and OwnData says that a disk or a tmpfs of the sub-kernel's holds it.
	DataRoot string
	OwnData  bool
	Range    Range
}

// A Step is one command of a sub-kernel.
type Step struct {
	Name string
	// Shell is a command for /bin/sh -c; it and Argv are alternatives.
	Shell string
	Argv  []string
	// Compose says that the step, which has no command then, brings up Docker.Compose.
	Compose bool
	Env     map[string]string // added to the sub-kernel's
	Workdir string            // empty: the sub-kernel's
	User    string            // empty: the sub-kernel's
	Timeout time.Duration     // zero: none
	// ContinueOnError lets the next step run after this one failed. The failure still counts.
	ContinueOnError bool
	// ExpectExit are the statuses that count as success; never empty.
	ExpectExit []int
	Range      Range
}

// Ready is the test of a service's readiness: exactly one of Argv or Shell, Port and Log is set.
type Ready struct {
	Shell    string
	Argv     []string
	Port     int
	Log      string        // a regular expression (RE2) over a line of the service's output
	Interval time.Duration // between two attempts; never zero
	Timeout  time.Duration // for all attempts together; never zero
	Range    Range
}

// A Dependency names an instance that must reach a condition first.
type Dependency struct {
	Name string // the Name of a Subkernel of the project
	// Condition is "completed" (its commands ended well), "ready" (a service says it is) or "started" (it is up). Load fills in
	// "completed" for a sub-kernel with commands and "ready" for a service where the file names none.
	Condition string
	Range     Range
}

// Expect is the ending that counts as success.
type Expect struct {
	// Exit are the statuses of the last step that count as success; never empty.
	Exit []int
	// Outcome is "exited", or "panicked" or "timed-out" for a sub-kernel that is meant to end so.
	Outcome string
}

// A Range is a place in a source file, for messages.
type Range struct {
	File         string
	Line, Column int // from 1
}
