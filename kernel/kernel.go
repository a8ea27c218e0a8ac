package kernel

import (
	"context"
	"os"
	"time"
)

// A Choice is what the user asked for. The zero Choice is any kernel.
type Choice struct {
	// Path is the path of a UML executable; empty: by Version.
	Path string
	// Version is a version, or the beginning of one: "7" and "7.2" both take 7.2.1, and the newest of several. Empty: any. Together with
	// Path it is what the kernel there must be.
	Version string
	// Flavour is that of a kernel which was built, such as "smp"; empty: any, but rather "default". Together with Path it is what the kernel
	// there must be.
	Flavour string
	// SMP asks for a kernel that can have several CPUs, where neither a path, a flavour nor $SEKEXE_KERNEL says which to take: for
	// one that was built of the flavour "smp".
	SMP bool
	// Modules is the folder that holds the kernel's modules in a folder named by its version; empty: where Finder.Resolve looks.
	Modules string
}

// Info is what is known of one kernel. It is not to be changed.
type Info struct {
	// Path is the absolute path of the executable, symbolic links not followed.
	Path string
	// Version is what --version prints: the kernel's release, which names its modules folder too, such as 6.1.176.
	Version string
	// Origin says how it was found: "named", "SEKEXE_KERNEL", "chosen", "built" or "PATH"; empty from Inspect.
	Origin string
	// Name is that of a kernel that was built: of its folder, such as 7.2.13-default-0123456789. It and Flavour are empty for all others, and
	// from Inspect.
	Name string
	// Flavour is what it was built as, such as "smp"; empty if that is not known.
	Flavour string
	// SMP says that it can have several CPUs (CONFIG_SMP).
	SMP bool
	// Seccomp says that it takes seccomp=on: processes of the guest that trap by seccomp instead of ptrace (since 6.16).
	Seccomp bool
	// ModulesEnabled says that it can load modules (CONFIG_MODULES).
	ModulesEnabled bool
	// Modules is the folder with its modules, which has a modules.dep in it; empty if there is none, or it can't load them.
	Modules string
	// Size is that of the executable, in bytes.
	Size int64
	// Modified is when the executable was last changed.
	Modified time.Time

	id identity
	// config is the part of its configuration that this package looks at: the symbols in wanted.
	config Config
}

// fromAnswers makes an Info of what a kernel said of itself. Of the configuration it is enough to have the symbols in wanted.
func fromAnswers(path string, id identity, a answers) *Info {
	on := func(symbol string) bool { return a.config.State(symbol) == Builtin }
	return &Info{
		Path: path, Version: a.version, SMP: on("SMP"), Seccomp: a.seccomp, ModulesEnabled: on("MODULES"),
		Size: id.Size, Modified: time.Unix(0, id.Mtime), id: id, config: a.config,
	}
}

// NICs says whether the kernel takes network devices on its command line (CONFIG_UML_NET_VECTOR).
func (i *Info) NICs() bool { return i.config.State("UML_NET_VECTOR") == Builtin }

// Config asks the kernel for its whole configuration, which takes it some 50 ms. Errors are as Inspect's.
func (i *Info) Config(ctx context.Context) (Config, error) {
	return defaultInspector.config(ctx, i.Path)
}

// answers are what a kernel says of itself.
type answers struct {
	version string
	seccomp bool
	config  Config
}

// HostCPU is the model of this host's CPU as /proc/cpuinfo describes it; empty where it doesn't.
func HostCPU() string { return hostCPU() }

func isRegular(m os.FileMode) bool { return m.IsRegular() }
