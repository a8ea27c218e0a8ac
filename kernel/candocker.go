package kernel

import (
	"errors"
	"slices"
	"strings"
)

// ErrNoDocker says that Docker can't run in a sub-kernel with this kernel.
var ErrNoDocker = errors.New("can't run Docker")

// A dockerNeed is a part of a kernel without which dockerd does not start, or no container does.
type dockerNeed struct {
	part
	what string
}

// dockerNeeds are these parts, but for the packet filter. What Docker only asks for is not among them: without CONFIG_MEMCG, say, it warns that there is no
// limit of memory.
var dockerNeeds = []dockerNeed{
	{part{"NAMESPACES", ""}, "namespaces"},
	{part{"UTS_NS", ""}, "host names of containers"},
	{part{"IPC_NS", ""}, "shared memory of containers"},
	{part{"PID_NS", ""}, "processes of containers"},
	{part{"NET_NS", ""}, "networks of containers"},
	{part{"CGROUPS", ""}, "control groups"},
	{part{"POSIX_MQUEUE", ""}, "/dev/mqueue of containers"},
	{part{"OVERLAY_FS", "overlay"}, "storage driver overlay2"},
	{part{"BRIDGE", "bridge"}, "networks of containers"},
	{part{"VETH", "veth"}, "networks of containers"},
	{part{"NF_NAT", "nf_nat"}, "NAT"},
	{part{"NETFILTER_XT_NAT", "xt_nat"}, "ports of containers"},
	{part{"NETFILTER_XT_TARGET_MASQUERADE", "xt_MASQUERADE"}, "NAT"},
	{part{"NETFILTER_XT_MATCH_ADDRTYPE", "xt_addrtype"}, "NAT"},
	{part{"NETFILTER_XT_MATCH_CONNTRACK", "xt_conntrack"}, "NAT"},
}

// deviceNeeds are what runc sets the rights to devices with: a controller in control groups of version 1, BPF in those of version 2.
var deviceNeeds = map[bool][]dockerNeed{
	true:  {{part{"CGROUP_DEVICE", ""}, "rights to devices"}},
	false: {{part{"CGROUP_BPF", ""}, "rights to devices"}, {part{"BPF_SYSCALL", ""}, "rights to devices"}},
}

// dockerFilters are the parts that iptables needs, in its two forms: one of them is enough.
var dockerFilters = [][]part{
	{{"IP_NF_IPTABLES", "ip_tables"}, {"IP_NF_FILTER", "iptable_filter"}, {"IP_NF_NAT", "iptable_nat"}},
	{{"NF_TABLES", "nf_tables"}, {"NF_TABLES_IPV4", ""}, {"NFT_COMPAT", "nft_compat"}, {"NFT_NAT", "nft_chain_nat"}},
}

// CheckDocker returns an *Error with ErrNoDocker if Docker can't run in a sub-kernel with this kernel and control groups of version 1 or 2, which says in
// one line what is missing. A module counts if it lies in Info.Modules.
func CheckDocker(i *Info, cgroupsV1 bool) error {
	list := readModuleList(i.Modules)
	var lacks []string
	for _, n := range slices.Concat(dockerNeeds, deviceNeeds[cgroupsV1]) {
		if !n.usable(i, list) {
			lacks = append(lacks, n.symbol+n.why(i)+" ("+n.what+")")
		}
	}
	lacks = append(lacks, missingFilter(i, list)...)
	if len(lacks) == 0 {
		return nil
	}
	hint := "take another kernel: sekexe kernel build makes one that can, and sekexe kernel inspect says all that Docker asks for"
	return problem(i.Path, ErrNoDocker, "it lacks CONFIG_"+strings.Join(lacks, ", CONFIG_"), hint)
}

// missingFilter returns what iptables-legacy lacks, as CheckDocker says it, if neither form of iptables has all it needs.
func missingFilter(i *Info, list moduleList) []string {
	var lacks []string
	for n, form := range dockerFilters {
		all := true
		for _, p := range form {
			if p.usable(i, list) {
				continue
			}
			all = false
			if n == 0 {
				lacks = append(lacks, p.symbol+p.why(i)+" (iptables)")
			}
		}
		if all {
			return nil
		}
	}
	return lacks
}

// usable says whether a kernel with these modules has the part: built in, or as a module that is there.
func (p part) usable(i *Info, list moduleList) bool {
	switch i.config.State(p.symbol) {
	case Builtin:
		return true
	case Module:
		return p.module != "" && list.has(p.module)
	}
	return false
}

// why says of a part that is not usable whether its module is what is missing.
func (p part) why(i *Info) string {
	if p.module != "" && i.config.State(p.symbol) == Module {
		return ", a module that is not installed"
	}
	return ""
}
