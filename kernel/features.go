package kernel

import (
	"slices"
	"strings"
)

// A Feature is a part of a kernel that users ask for.
type Feature struct {
	Name string
	// State is how it was built. A feature of several symbols is what the least of them is.
	State State
	// Usable says that a sub-kernel can have it: it is built in, or a module that lies in Info.Modules.
	Usable bool
	// Symbols are the symbols of the configuration behind it, with CONFIG_; none for what only the version tells.
	Symbols []string
	// For says what it is good for.
	For string
}

// String says in a word or two whether a sub-kernel can have it: "built in", "module", "module, not installed" or "no".
func (f Feature) String() string {
	if f.State == Module && !f.Usable {
		return "module, not installed"
	}
	return f.State.String()
}

// A part is a symbol, and the module that it is built as if it can be one.
type part struct{ symbol, module string }

// A featureSpec describes a Feature.
type featureSpec struct {
	name  string
	parts []part
	what  string
	// essential features are those without which no sub-kernel boots.
	essential bool
}

// featureSpecs are the features in the order in which they are shown.
var featureSpecs = []featureSpec{
	{"hostfs", []part{{"HOSTFS", ""}}, "the files of this machine in the sub-kernel", true},
	{"proc", []part{{"PROC_FS", ""}}, "/proc", true},
	{"sysfs", []part{{"SYSFS", ""}}, "/sys", true},
	{"tmpfs", []part{{"TMPFS", ""}}, "memory file systems, such as the writable part of the root", true},
	{"serial line", []part{{"SSL", ""}}, "the line between host and guest", true},
	{"null channel", []part{{"NULL_CHAN", ""}}, "consoles that nobody looks at", true},
	{"ptys", []part{{"UNIX98_PTYS", ""}}, "terminals in the sub-kernel", true},
	{"unix sockets", []part{{"UNIX", ""}}, "sockets between the guest's processes", true},
	{"ELF programs", []part{{"BINFMT_ELF", ""}}, "running commands", true},
	{"overlayfs", []part{{"OVERLAY_FS", "overlay"}}, "a root and mounts that the guest may write to while the host sees nothing", false},
	{"scripts", []part{{"BINFMT_SCRIPT", "binfmt_script"}}, "programs that begin with #!", false},
	{"devtmpfs", []part{{"DEVTMPFS", ""}}, "all device nodes in /dev", false},
	{"modules", []part{{"MODULES", ""}}, "loading of kernel modules", false},
	{"management console", []part{{"MCONSOLE", ""}}, "telling a running kernel to stop", false},
	{"smp", []part{{"SMP", ""}}, "more than one CPU", false},
	{"namespaces", []part{{"UTS_NS", ""}, {"IPC_NS", ""}, {"PID_NS", ""}, {"NET_NS", ""}, {"USER_NS", ""}}, "containers in the sub-kernel", false},
	{"cgroup memory", []part{{"MEMCG", ""}}, "limits of memory", false},
	{"cgroup cpu", []part{{"CFS_BANDWIDTH", ""}}, "shares and limits of CPU time", false},
	{"cgroup cpuset", []part{{"CPUSETS", ""}}, "binding to CPUs", false},
	{"cgroup io", []part{{"BLK_CGROUP", ""}}, "limits of input and output", false},
	{"cgroup pids", []part{{"CGROUP_PIDS", ""}}, "limits of the number of processes", false},
	{"cgroup devices", []part{{"CGROUP_DEVICE", ""}, {"CGROUP_BPF", ""}}, "rights to devices, by BPF", false},
	{"seccomp filters", []part{{"SECCOMP_FILTER", ""}}, "filters of system calls in the sub-kernel", false},
	{"vector network", []part{{"UML_NET_VECTOR", ""}}, "network devices", false},
	{"ipv6", []part{{"IPV6", "ipv6"}}, "IPv6", false},
	{"bridge", []part{{"BRIDGE", "bridge"}}, "bridges in the sub-kernel", false},
	{"veth", []part{{"VETH", "veth"}}, "links between network namespaces", false},
	{"tun", []part{{"TUN", "tun"}}, "VPNs in the sub-kernel", false},
	{"wireguard", []part{{"WIREGUARD", "wireguard"}}, "WireGuard", false},
	{"nftables", []part{{"NF_TABLES", "nf_tables"}, {"NF_NAT", "nf_nat"}}, "packet filters and NAT by nft", false},
	{"iptables", []part{{"IP_NF_IPTABLES", "ip_tables"}, {"IP_NF_NAT", "iptable_nat"}}, "packet filters and NAT by iptables-legacy", false},
	{"block devices", []part{{"BLK_DEV_UBD", ""}}, "disks", false},
	{"loop", []part{{"BLK_DEV_LOOP", "loop"}}, "files as disks in the sub-kernel", false},
	{"ext4", []part{{"EXT4_FS", "ext4"}}, "ext4 file systems", false},
	{"xfs", []part{{"XFS_FS", "xfs"}}, "XFS file systems", false},
	{"btrfs", []part{{"BTRFS_FS", "btrfs"}}, "Btrfs file systems", false},
	{"squashfs", []part{{"SQUASHFS", "squashfs"}}, "squashfs images", false},
	{"erofs", []part{{"EROFS_FS", "erofs"}}, "erofs images", false},
	{"fuse", []part{{"FUSE_FS", "fuse"}}, "file systems in programs", false},
	{"bpf", []part{{"BPF_SYSCALL", ""}}, "BPF programs", false},
}

// wanted are the symbols that the package looks at, with CONFIG_.
var wanted = func() []string {
	s := []string{"CONFIG_UML", "CONFIG_SMP", "CONFIG_MODULES"}
	for _, f := range featureSpecs {
		for _, p := range f.parts {
			s = append(s, "CONFIG_"+p.symbol)
		}
	}
	for _, n := range slices.Concat(dockerNeeds, deviceNeeds[true], deviceNeeds[false]) {
		s = append(s, "CONFIG_"+n.symbol)
	}
	for _, form := range dockerFilters {
		for _, p := range form {
			s = append(s, "CONFIG_"+p.symbol)
		}
	}
	return s
}()

// Features returns what users ask of a kernel, and whether this one has it, always in the same order.
func Features(i *Info) []Feature {
	list := readModuleList(i.Modules)
	fs := make([]Feature, 0, len(featureSpecs)+1)
	for _, s := range featureSpecs {
		fs = append(fs, s.of(i, list))
	}
	seccomp := Feature{Name: "seccomp mode", For: "seccomp=on: system calls that are faster than by ptrace, for guests that are trusted"}
	if i.Seccomp {
		seccomp.State, seccomp.Usable = Builtin, true
	}
	return append(fs, seccomp)
}

// Missing returns the features that every sub-kernel needs and that this kernel can't give it: a kernel with any of them can't be used.
// Overlayfs is not among them: a kernel without it boots with a read-only root.
func Missing(i *Info) []Feature {
	var fs []Feature
	for _, s := range featureSpecs {
		if !s.essential {
			continue
		}
		if f := s.of(i, nil); !f.Usable {
			fs = append(fs, f)
		}
	}
	return fs
}

// FeatureOf returns the feature of this name, as Features lists it.
func FeatureOf(i *Info, name string) (Feature, bool) {
	n := slices.IndexFunc(featureSpecs, func(s featureSpec) bool { return s.name == name })
	if n < 0 {
		return Feature{}, false
	}
	return featureSpecs[n].of(i, readModuleList(i.Modules)), true
}

// of says whether a kernel with these modules has the feature.
func (s featureSpec) of(i *Info, list moduleList) Feature {
	f := Feature{Name: s.name, State: Builtin, Usable: true, For: s.what}
	for _, p := range s.parts {
		state := i.config.State(p.symbol)
		f.Symbols = append(f.Symbols, "CONFIG_"+p.symbol)
		f.State = min(f.State, state)
		f.Usable = f.Usable && p.usable(i, list)
	}
	return f
}

// checkEssentials says what a kernel lacks that every sub-kernel needs.
func checkEssentials(i *Info) error {
	missing := Missing(i)
	if len(missing) == 0 {
		return nil
	}
	var symbols, what []string
	for _, f := range missing {
		symbols = append(symbols, f.Symbols...)
		what = append(what, strings.Join(f.Symbols, " ")+" ("+f.For+")")
	}
	return problem(i.Path, ErrLacks, strings.Join(what, ", "), "build it with "+strings.Join(symbols, "=y, ")+"=y, or use another one")
}
