package orchestrator

import (
	"context"
	"time"
)

// A Job is all that a Runtime needs to boot and run one sub-kernel. Nothing changes it once a run has begun.
type Job struct {
	// Name is unique in the run, and text of the user's: fit for messages, not for file names.
	Name string
	// ID is unique in the run and fit for file names: [a-z0-9.-]+.
	ID       string
	Hostname string
	Kernel   KernelChoice
	Memory   int64 // bytes
	CPUs     int
	// Isolation is "strict" or "fast": see config.Subkernel.
	Isolation string
	Root      Root
	Cgroups   string // "v2" or "v1"
	Mounts    []Mount
	Tmpfs     []Tmpfs
	Disks     []Disk
	// CopyOut is copied from the guest after the steps, unless the sub-kernel is killed.
	CopyOut []CopyOut
	Confine Confine
	Docker  *Docker // nil: no Docker daemon is started
	NICs    []NIC
	// Publish are ports of the host that lead to ports of the guest, at the address of its first NIC that has one.
	Publish []Publish
	Steps   []Step
	// Service means that the job is meant to run until it is stopped: its last step, or with no steps the sub-kernel itself.
	Service bool
	Ready   *Ready
	// Timeout bounds the whole job from its start (zero: none), BootTimeout the boot until the guest is up (zero: the Runtime's
	// default), StopTimeout the time from a stop until the sub-kernel is killed (zero: at once).
	Timeout, BootTimeout, StopTimeout time.Duration
}

// KernelChoice says which kernel to boot; the zero value leaves it to the Runtime.
type KernelChoice struct {
	Name    string // for messages
	Path    string // absolute path of the executable
	Version string // or a version, or the beginning of one
	Flavour string // that it was built of; may be empty
	Modules string // folder that holds VERSION/, if named
	// Build says in words what it is built of, if the file says so. Then Path must be set, to what came of that, before the job runs.
	Build string
}

// A Root says what the guest's root is: the host's, where Source and Image are empty.
type Root struct {
	Mode string // "overlay" or "ro"
	// Source is the absolute path of a folder, or, with FileSystem, of a file with an ext4, squashfs or erofs file system.
	Source, FileSystem string
	// Image is the name of an OCI image, and Pull when its registry is asked for it: see config.Root. Before the job runs, UseImage must
	// have been called.
	Image, Pull string
	// ImageID is the digest that the image turned out to have.
	ImageID string
	// Persist is the absolute path of the folder that keeps the upper layer of an overlay; empty: it is in memory.
	Persist string
	Size    int64 // bytes that the upper layer holds; 0: half of the guest's memory; of one that is kept, as it is, or the Runtime's default
	// Container says that the root is that of a container's image: what it has in /run counts.
	Container bool
}

// A Mount makes a file or folder of the host visible in the guest.
type Mount struct {
	Target string // absolute, in the guest
	Source string // absolute, on the host
	Mode   string // "ro", "rw" or "overlay"
}

// A Tmpfs is a memory file system in the guest.
type Tmpfs struct {
	Target string
	Size   int64  // bytes; 0: half of the memory
	Mode   uint32 // permission bits
}

// A Disk is a block device with a file system in the guest.
type Disk struct {
	Target string
	Size   int64  // bytes
	File   string // absolute, on the host; made if it isn't there. Empty: a new disk, which goes with the sub-kernel
	Mode   uint32 // permission bits of its root, when it is made
}

// A CopyOut is something to copy to the host after the steps.
type CopyOut struct {
	From     string // absolute, in the guest, or a pattern of path.Match
	To       string // absolute, on the host; with a slash at the end it is a folder
	Optional bool   // it is no failure if From isn't there
	Limit    int64  // bytes
}

// A Step is one command. Everything in it is resolved: no default is filled in later.
type Step struct {
	Name string
	Argv []string
	// OfImage says that Argv are arguments for the entrypoint of the job's image, in place of the image's own. UseImage makes a command of
	// them.
	OfImage bool
	// Compose is the absolute path, in the guest, of a compose file to bring up; Argv are further arguments for docker compose up then. Empty: it is
	// another command.
	Compose string
	// Env is the whole environment, K=V, but for HOME, USER, LOGNAME and SHELL, which the guest adds from its passwd file where they
	// are not in it.
	Env []string
	// Dir is an absolute path in the guest; empty: the user's home, or / if there is none.
	Dir   string
	User  string // NAME, UID, or either with :GROUP; empty is root
	Umask uint32
	// Timeout bounds the step; zero: none.
	Timeout         time.Duration
	ContinueOnError bool
	ExpectExit      []int // statuses that count as success
	// Stdin is what the command reads; nil is an empty input. The Runtime reads ahead of the command.
	Stdin Input
	// TTY, if set, runs the command on a terminal; stdout and stderr are one stream then.
	TTY *TTY
}

// An Input is where a command's input comes from.
type Input interface {
	// Read is as an io.Reader's, but returns with ctx's error as soon as ctx ends.
	Read(ctx context.Context, p []byte) (int, error)
}

// A TTY is the terminal of a step.
type TTY struct {
	Size WindowSize
	// Resize delivers new sizes for as long as the step runs; may be nil.
	Resize <-chan WindowSize
}

// WindowSize is a terminal's size in characters.
type WindowSize struct{ Rows, Cols uint16 }

// Ready is a test of readiness. Exactly one of Argv, Compose, Port and Log is set.
type Ready struct {
	Argv     []string
	Compose  string // a compose file whose services must be healthy
	Env      []string
	Dir      string
	User     string
	Port     int    // of 127.0.0.1 or ::1 in the guest, TCP
	Log      string // RE2, over a line of the output of the job's steps
	Interval time.Duration
	Timeout  time.Duration
}
