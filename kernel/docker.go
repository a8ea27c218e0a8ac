package kernel

// A Requirement is a symbol of the configuration that software wants.
type Requirement struct {
	// Symbol is its name, with CONFIG_.
	Symbol string
	// For is the part of the software that wants it.
	For   string
	State State
}

// dockerRequirements are the symbols that moby's contrib/check-config.sh asks for on x86-64, by its headings; what it asks of
// older kernels than 6.1 alone is left out. IP_NF_* are those of iptables-legacy: dockerd is as content with nftables, but the script is not.
var dockerRequirements = []struct {
	heading string
	symbols []string
}{
	{"generally necessary", []string{
		"NAMESPACES", "NET_NS", "PID_NS", "IPC_NS", "UTS_NS", "CGROUPS", "CGROUP_CPUACCT", "CGROUP_DEVICE", "CGROUP_FREEZER", "CGROUP_SCHED", "CPUSETS",
		"MEMCG", "KEYS", "VETH", "BRIDGE", "BRIDGE_NETFILTER", "IP_NF_FILTER", "IP_NF_MANGLE", "IP_NF_TARGET_MASQUERADE", "IP6_NF_FILTER",
		"IP6_NF_MANGLE", "IP6_NF_TARGET_MASQUERADE", "NETFILTER_XT_MATCH_ADDRTYPE", "NETFILTER_XT_MATCH_CONNTRACK", "NETFILTER_XT_MATCH_IPVS",
		"NETFILTER_XT_MARK", "IP_NF_RAW", "IP_NF_NAT", "NF_NAT", "IP6_NF_RAW", "IP6_NF_NAT", "POSIX_MQUEUE", "CGROUP_BPF",
	}},
	{"optional", []string{
		"USER_NS", "SECCOMP", "SECCOMP_FILTER", "CGROUP_PIDS", "BLK_CGROUP", "BLK_DEV_THROTTLING", "CGROUP_PERF", "CGROUP_HUGETLB", "NET_CLS_CGROUP",
		"CGROUP_NET_PRIO", "CFS_BANDWIDTH", "FAIR_GROUP_SCHED", "IP_NF_TARGET_REDIRECT", "IP_VS", "IP_VS_NFCT", "IP_VS_PROTO_TCP",
		"IP_VS_PROTO_UDP", "IP_VS_RR", "SECURITY_SELINUX", "SECURITY_APPARMOR", "EXT4_FS", "EXT4_FS_POSIX_ACL", "EXT4_FS_SECURITY",
	}},
	{"overlay networks", []string{
		"VXLAN", "BRIDGE_VLAN_FILTERING", "CRYPTO", "CRYPTO_AEAD", "CRYPTO_GCM", "CRYPTO_SEQIV", "CRYPTO_GHASH", "XFRM", "XFRM_USER", "XFRM_ALGO",
		"INET_ESP", "NETFILTER_XT_MATCH_BPF",
	}},
	{"ipvlan networks", []string{"IPVLAN"}},
	{"macvlan networks", []string{"MACVLAN", "DUMMY"}},
	{"ftp and tftp through NAT", []string{"NF_NAT_FTP", "NF_CONNTRACK_FTP", "NF_NAT_TFTP", "NF_CONNTRACK_TFTP"}},
	{"storage driver overlay2", []string{"OVERLAY_FS"}},
	{"storage driver btrfs", []string{"BTRFS_FS", "BTRFS_FS_POSIX_ACL"}},
}

// DockerRequirements returns what Docker asks of a kernel with the given configuration, in the order in which Docker's own check asks. That a
// symbol is a module says nothing about whether the module can be found.
func DockerRequirements(c Config) []Requirement {
	var rs []Requirement
	for _, g := range dockerRequirements {
		for _, s := range g.symbols {
			rs = append(rs, Requirement{Symbol: "CONFIG_" + s, For: g.heading, State: c.State(s)})
		}
	}
	return rs
}
