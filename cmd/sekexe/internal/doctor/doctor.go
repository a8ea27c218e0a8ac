// Package doctor checks a host for all that sub-kernels need, by trying it: it starts a traced process, maps a file executable, opens the
// devices. Each check says what it found and, where something is amiss, what to do about it on Debian, Ubuntu and in a container.
//
// Nothing that a check makes is left behind.
package doctor

import (
	"context"
	"slices"

	"github.com/sekexe/sekexe/kernel"
)

// A Status says how a check went.
type Status string

// The statuses. Warn is for what sub-kernels boot without, but not as fast, as many or with as much as they could.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
)

// A Check is what one look at the host found.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail says what was found.
	Detail string `json:"detail"`
	// Fix says what to do; empty where Status is OK.
	Fix string `json:"fix,omitempty"`
}

// Options say what to check. A field that is empty leaves its checks out.
type Options struct {
	Kernels *kernel.Finder
	// HugePages makes a place of huge pages for guest memory, and removes it.
	HugePages func() error
	// MemoryDirs are the folders that may hold guest memory, in the order in which they are tried.
	MemoryDirs []string
	// Memory is what a sub-kernel takes by default, in bytes.
	Memory int64
	// CacheDir and StateDir are the user's folders for what can be made again, and for logs. They need not exist.
	CacheDir, StateDir string
	// PrivateNetwork makes a network of scope private, and removes it.
	PrivateNetwork func(context.Context) error
	// Boot boots a sub-kernel, and says what that showed. It is only called if a kernel was found.
	Boot func(context.Context) (string, error)
}

// Run makes all checks, always in the same order. When ctx ends, so does what is under way, as a failure.
func Run(ctx context.Context, o Options) []Check {
	var checks []Check
	add := func(c ...Check) { checks = append(checks, c...) }
	if o.Kernels != nil {
		add(checkKernel(ctx, o.Kernels)...)
	}
	add(checkPtrace(ctx), checkSeccomp())
	huge := false
	if o.HugePages != nil {
		c := checkHugePages(o.HugePages)
		huge = c.Status == OK
		add(c)
	}
	add(checkMemoryDirs(o.MemoryDirs, o.Memory, huge)...)
	add(checkMemory("/proc/meminfo", o.Memory), checkCPUs(), checkProcesses(), checkFiles(), checkPids("/proc/self/cgroup", "/sys/fs/cgroup"),
		checkGroupMemory("/proc/self/cgroup", "/sys/fs/cgroup", o.Memory))
	if o.CacheDir != "" {
		add(checkFolder("cache folder", o.CacheDir, "every run inspects the kernel again", "XDG_CACHE_HOME"))
	}
	if o.StateDir != "" {
		add(checkFolder("state folder", o.StateDir, "no logs are kept", "XDG_STATE_HOME"))
	}
	add(checkUserNetworks(), checkNamespaces(ctx), checkTun("/dev/net/tun"))
	if o.PrivateNetwork != nil {
		add(checkPrivateNetworks(ctx, o.PrivateNetwork))
	}
	add(checkHostNetworks(), checkPing(), checkLandlock(), checkDockerd(ctx))
	if o.Boot != nil {
		add(checkBoot(ctx, o.Boot, checks))
	}
	return checks
}

// Healthy says whether no check failed.
func Healthy(checks []Check) bool {
	return !slices.ContainsFunc(checks, func(c Check) bool { return c.Status == Fail })
}

// checkBoot boots a sub-kernel, if the checks before leave hope for it.
func checkBoot(ctx context.Context, boot func(context.Context) (string, error), before []Check) Check {
	for _, c := range before {
		if c.Name == "kernel" && c.Status == Fail {
			return Check{"boot", Fail, "not tried: there is no kernel to boot", "see what is said of the kernel above"}
		}
	}
	detail, err := boot(ctx)
	if err == nil {
		return Check{Name: "boot", Status: OK, Detail: detail}
	}
	if Healthy(before) {
		return Check{"boot", Fail, err.Error(), hintOf(err, "sekexe run --verbose --kernel-log - true shows the kernel's log")}
	}
	return Check{"boot", Fail, err.Error(), hintOf(err, "mend first what failed above")}
}
