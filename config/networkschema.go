package config

var impairSchema = &BlockSchema{
	Name: "impair",
	Doc:  "What a bad line does to the frames from and to a NIC, in each direction by itself. That of a NIC counts instead of the network's; an empty one leaves its frames alone.",
	Attrs: []AttrSchema{
		{Name: "delay", Type: "duration", Default: "none", Doc: "How long each frame is held back, at most `\"1m\"`."},
		{Name: "jitter", Type: "duration", Default: "none", Doc: "By how much the delay varies, up and down: at most the delay."},
		{Name: "loss", Type: "part", Default: "0", Doc: "How many frames are lost: `\"1%\"`, or 0.01."},
		{Name: "duplicate", Type: "part", Default: "0", Doc: "How many of the others come twice."},
		{Name: "rate", Type: "rate", Default: "unlimited", Doc: "The most that is carried in a second: `\"500kbit\"`, `\"10mbit\"` or `\"1gbit\"`."},
	},
}

var networkSchema = &BlockSchema{
	Name:   "network",
	Labels: []string{"name"},
	Doc: "A network that NICs of sub-kernels are on. Other expressions see `name`, `mode`, `subnet`, `subnet6`, `gateway` and `domain` as `network.NAME.subnet`; an address that " +
		"is chosen at the start can't be seen. A file without networks has one, `default`, with nothing but defaults.",
	Attrs: []AttrSchema{
		{Name: "mode", Type: "string", Default: "\"user\"", Doc: "`\"user\"`: a switch in sekexe's own process, without any privilege; `\"bridge\"`: a bridge of the host's kernel, with a tap for each NIC; " +
			"`\"tun\"`: a tap for each NIC that the host's kernel routes, and no bridge."},
		{Name: "scope", Type: "string", Default: "\"private\", with `bridge` \"host\"", Doc: "For bridge and tun: `\"private\"`: in a network namespace of the run; `\"host\"`: in the host's own, as root."},
		{Name: "bridge", Type: "string", Doc: "An existing bridge of the host to join. It is not altered, and has scope `\"host\"`."},
		{Name: "subnet", Type: "IPv4 subnet", Default: "a free one, chosen at the start", Doc: "The addresses of the network: `\"10.77.0.0/24\"`. Fixed addresses need it."},
		{Name: "ipv6", Type: "bool", Default: "false, with `subnet6` true", Doc: "IPv6 too, by router advertisements and DHCPv6."},
		{Name: "subnet6", Type: "IPv6 subnet", Default: "a unique local one, made up at the start", Doc: "The IPv6 addresses of the network, a /64: `\"fd00:1:2:3::/64\"`."},
		{Name: "gateway", Type: "address", Default: "the first address of the subnet that no nic has", Doc: "The gateway's address. With `bridge`, where sekexe gives out addresses or leads out, it has to be named: one that nobody has there."},
		{Name: "uplink", Type: "string", Default: "\"user\", with `bridge` \"none\", with mode tun in scope host \"nat\"", Doc: "How the network reaches the host's: `\"user\"`: through sockets of sekexe's process; `\"nat\"`: by the host's kernel, with scope `\"host\"`; `\"none\"`: not at all."},
		{Name: "mtu", Type: "number", Default: "that of the mode", Doc: "The greatest packet, from 576 (with IPv6 1280) to 65521 bytes."},
		{Name: "isolated", Type: "bool", Default: "false", Doc: "The NICs reach the gateway, but not each other."},
		{Name: "host_loopback", Type: "bool", Default: "false", Doc: "What is sent to the gateway's address reaches services on the host's 127.0.0.1."},
		{Name: "capture", Type: "path", Default: "none", Doc: "A file that gets every frame, in the format pcapng. Its folder must exist; what was in the file before is lost."},
	},
	Blocks: []*BlockSchema{
		{
			Name: "dhcp",
			Doc:  "What the network's DHCP server gives out. Fixed addresses of NICs are reserved for them. On a bridge that is joined there is no server without this block.",
			Attrs: []AttrSchema{
				{Name: "enabled", Type: "bool", Default: "true", Doc: "Whether there is a server. Without one, sekexe chooses the address of a NIC and the guest's init sets it."},
				{Name: "range", Type: "address range, or list", Default: "all of the subnet", Doc: "The addresses to give out: `\"10.77.0.100-10.77.0.199\"`, or a list. The gateway's and fixed ones are left out."},
				{Name: "exclude", Type: "address range, or list", Default: "none", Doc: "Addresses and ranges not to give out."},
				{Name: "lease", Type: "duration", Default: "\"1h\"", Doc: "How long a lease lasts, at least `\"1m\"`."},
				{Name: "router", Type: "address, or list", Default: "the gateway, if there is an uplink", Doc: "The default routers to announce; `[]` is none."},
				{Name: "dns", Type: "address, or list", Default: "the gateway", Doc: "The name servers to announce."},
				{Name: "ntp", Type: "address, or list", Default: "none", Doc: "The time servers to announce."},
				{Name: "domain", Type: "domain", Default: "none", Doc: "The domain of the network: its sub-kernels have names such as `db` and `db.DOMAIN`."},
				{Name: "search", Type: "domain, or list", Default: "the domain", Doc: "The domains that resolvers append to a name."},
				{Name: "routes", Type: "map of addresses", Merged: true, Doc: "Further routes to announce: `{ \"10.1.0.0/16\" = \"10.77.0.1\" }`."},
				{Name: "options", Type: "map of strings", Merged: true, Doc: "Further options by number: `{ 66 = \"tftp.lab\", 150 = \"ip:10.77.0.2\" }`. A value is text, or bytes as `\"hex:0a4d0001\"`, or addresses as `\"ip:10.0.0.1,10.0.0.2\"`."},
				{Name: "reservations", Type: "map of addresses", Merged: true, Doc: "Addresses of clients that are no NICs of the file, such as containers in a sub-kernel: `{ \"02:00:00:00:00:05\" = \"10.77.0.9\" }`."},
			},
		},
		impairSchema,
	},
}

var nicSchema = &BlockSchema{
	Name:     "nic",
	Labels:   []string{"network"},
	Numbered: true,
	Doc: "A network interface on the network NETWORK. The first is `eth0`, the next `eth1`. There may be several on one network: in a later file, the first `nic \"lan\"` is merged over the " +
		"first one, the second over the second, and what is left is added.",
	Attrs: []AttrSchema{
		{Name: "address", Type: "IPv4 address", Default: "one of the DHCP server's", Doc: "A fixed address in the network's `subnet`."},
		{Name: "address6", Type: "IPv6 address", Default: "one of the subnet", Doc: "A fixed address in the network's `subnet6`."},
		{Name: "mac", Type: "MAC address", Default: "made from the project's and the sub-kernel's name", Doc: "`\"02:00:00:00:00:01\"`; 02 begins those that nobody else has."},
		{Name: "mtu", Type: "number", Default: "the network's", Doc: "The greatest packet, at most the network's."},
		{Name: "dhcp", Type: "bool", Default: "true, without a DHCP server false", Doc: "Whether the guest asks for its address. Otherwise its init sets the one that is named here, or that sekexe chooses."},
		{Name: "aliases", Type: "list of names", Default: "none", Doc: "Further names of the sub-kernel on this network."},
	},
	Blocks: []*BlockSchema{impairSchema},
}

var (
	networkAttr = AttrSchema{Name: "network", Type: "string", Default: "a nic on the network `default`, if the file declares no network",
		Doc: "`\"none\"`: no network interface."}
	publishAttr = AttrSchema{Name: "publish", Type: "list of strings",
		Doc: "Ports of the sub-kernel that are reachable on the host: `\"8080:80\"`, `\"127.0.0.1:53:53/udp\"`, `\"8000-8010:9000-9010\"`, `\"0:80\"` or `\"80\"` (the host's port is chosen). " +
			"The host's address is 127.0.0.1 unless one is written: `\"0.0.0.0:80:80\"` is all of them."}
)
