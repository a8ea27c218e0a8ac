package kernel

import (
	"bufio"
	"bytes"
	"strconv"
	"strings"
)

// A Config holds the symbols of a kernel's configuration that are set, with their values: "y", "m", a number or a quoted text.
type Config map[string]string

// Has says whether a symbol is built in.
func (c Config) Has(symbol string) bool { return c[symbol] == "y" }

// HasModule says whether a symbol is built in or a module.
func (c Config) HasModule(symbol string) bool { return c[symbol] == "y" || c[symbol] == "m" }

// parseConfig reads the format of .config. What it doesn't understand it passes over.
func parseConfig(text []byte) Config {
	c := Config{}
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		k, v, ok := strings.Cut(sc.Text(), "=")
		if ok && strings.HasPrefix(k, "CONFIG_") {
			c[k] = strings.TrimSpace(v)
		}
	}
	return c
}

// numbers are the leading numbers of a version.
func numbers(version string) []int {
	var ns []int
	for _, w := range strings.FieldsFunc(version, func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(w)
		if err != nil {
			break
		}
		ns = append(ns, n)
	}
	return ns
}

// atLeast says whether a version is major.minor or later.
func atLeast(version string, major, minor int) bool {
	ns := numbers(version)
	return len(ns) >= 2 && (ns[0] > major || ns[0] == major && ns[1] >= minor)
}

// newer says whether version a comes after b.
func newer(a, b string) bool {
	x, y := numbers(a), numbers(b)
	for i := 0; i < len(x) && i < len(y); i++ {
		if x[i] != y[i] {
			return x[i] > y[i]
		}
	}
	return len(x) > len(y)
}

// matches says whether a version is the wanted one or begins with it: "7" and "7.2" match 7.2.13, "7.1" doesn't match 7.13.
func matches(version, want string) bool {
	rest, ok := strings.CutPrefix(version, want)
	if !ok || want == "" {
		return want == ""
	}
	return rest == "" || !(rest[0] >= '0' && rest[0] <= '9')
}

// An essential is something without which sekexe can't boot a kernel.
type essential struct {
	symbol, what string
	module       bool // a module will do
}

var essentials = []essential{
	{"CONFIG_HOSTFS", "the guest's view of the host's files", false},
	{"CONFIG_SSL", "the serial line that host and guest talk over", false},
	{"CONFIG_TMPFS", "memory file systems", false},
	{"CONFIG_PROC_FS", "/proc", false},
	{"CONFIG_SYSFS", "/sys", false},
	{"CONFIG_UNIX98_PTYS", "terminals", false},
}

// Missing lists what a kernel lacks that sekexe needs: the symbol and what it is for. Without overlayfs only read-only roots can be had,
// so that it is not among them.
func Missing(i *Info) []string {
	var m []string
	for _, e := range essentials {
		if !i.Config.Has(e.symbol) && !(e.module && i.Config.HasModule(e.symbol)) {
			m = append(m, e.symbol+": "+e.what)
		}
	}
	return m
}

// A Feature is something that a kernel can do or not.
type Feature struct {
	Name string
	// Has is "yes", "module" or "no".
	Has string
}

// features are those that users ask for, with the symbols that all must be set.
var features = []struct {
	name    string
	symbols []string
}{
	{"overlay roots", []string{"CONFIG_OVERLAY_FS"}},
	{"devtmpfs", []string{"CONFIG_DEVTMPFS"}},
	{"cgroups", []string{"CONFIG_CGROUPS", "CONFIG_MEMCG", "CONFIG_CGROUP_PIDS", "CONFIG_CPUSETS"}},
	{"namespaces", []string{"CONFIG_NAMESPACES", "CONFIG_USER_NS", "CONFIG_PID_NS", "CONFIG_NET_NS"}},
	{"seccomp filters", []string{"CONFIG_SECCOMP_FILTER"}},
	{"network devices", []string{"CONFIG_UML_NET_VECTOR"}},
	{"bridges", []string{"CONFIG_BRIDGE", "CONFIG_VETH"}},
	{"nftables", []string{"CONFIG_NF_TABLES"}},
	{"ext4", []string{"CONFIG_EXT4_FS"}},
	{"fuse", []string{"CONFIG_FUSE_FS"}},
	{"several CPUs", []string{"CONFIG_SMP"}},
}

// Features lists what a kernel can do.
func Features(i *Info) []Feature {
	fs := make([]Feature, len(features))
	for k, f := range features {
		fs[k] = Feature{f.name, "yes"}
		for _, s := range f.symbols {
			switch v := i.Config[s]; {
			case v == "m" && fs[k].Has == "yes":
				fs[k].Has = "module"
			case v != "y" && v != "m":
				fs[k].Has = "no"
			}
		}
	}
	return fs
}
