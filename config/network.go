package config

import (
	"net/netip"
	"time"
)

// A Network is one network of the project: one segment on which NICs see each other.
type Network struct {
	Name string
	// Mode is "user", "bridge" or "tun".
	Mode string
	// Scope is "private" or "host" for a bridge or tun: whose network namespace it is in. Empty with user.
	Scope string
	// Bridge is an existing bridge of the host to join; Scope is "host" then.
	Bridge string
	// Subnet is the IPv4 subnet; zero: a free one is chosen at the start.
	Subnet netip.Prefix
	// IPv6 means that the network has IPv6 too, in Subnet6; with a zero one a ULA prefix is generated.
	IPv6    bool
	Subnet6 netip.Prefix
	// Gateway is the gateway's IPv4 address; zero: the first of the subnet that no NIC has.
	Gateway netip.Addr
	// Uplink is "user", "nat" or "none".
	Uplink string
	// MTU is that of the network; 0: the mode's default.
	MTU int
	// Isolated means that the NICs of the network reach the gateway, but not each other.
	Isolated bool
	// HostLoopback means that the gateway's address leads to the host's 127.0.0.1.
	HostLoopback bool
	// Capture is the absolute path of a pcapng file that gets every frame; empty: none.
	Capture string
	// Impair is how frames are delayed and lost; nil: not at all.
	Impair *Impair
	DHCP   DHCP
	// Implicit means that nobody declared it: it is the network of a file that declares none.
	Implicit bool
	Range    Range
}

// An AddrRange is a range of addresses, both ends included.
type AddrRange struct{ First, Last netip.Addr }

// DHCP says what the network's DHCP server does.
type DHCP struct {
	Enabled bool
	// Ranges are what it gives out; none: all of the subnet that nothing else takes. Exclude is taken out of them.
	Ranges, Exclude []AddrRange
	// Lease is how long a lease lasts; never zero.
	Lease time.Duration
	// Router are the routers to announce where RouterSet, possibly none; otherwise it is the gateway if there is an uplink.
	Router    []netip.Addr
	RouterSet bool
	// DNS are the name servers; none: the gateway.
	DNS []netip.Addr
	NTP []netip.Addr
	// Domain is the domain of the names of the network's sub-kernels; empty: they have none.
	Domain string
	Search []string
	Routes []Route
	// Options are further options by number, with their values in the bytes of the protocol.
	Options map[int]string
	// Hosts are addresses for clients that aren't NICs of the project, by MAC.
	Hosts []DHCPHost
}

// A Route is one that the DHCP server announces.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
}

// A DHCPHost is the address of a client that isn't a NIC of the project.
type DHCPHost struct {
	MAC  string // six lower-case octets with colons
	Addr netip.Addr
}

// Impair is what a bad line does to frames.
type Impair struct {
	// Delay is added to each frame, and as much as Jitter more or less.
	Delay, Jitter time.Duration
	// Loss and Duplicate are the parts of the frames, from 0 to 1.
	Loss, Duplicate float64
	// Rate is in bits a second; 0: unlimited.
	Rate int64
}

// A NIC is one network interface of a sub-kernel: the first is its eth0, the second its eth1.
type NIC struct {
	// Network is the name of a Network of the project.
	Network string
	// Address and Address6 are fixed addresses; zero: by DHCP, or chosen.
	Address, Address6 netip.Addr
	// MAC is six lower-case octets with colons; empty: generated.
	MAC string
	// MTU is 0 for the network's.
	MTU int
	// DHCP means that the guest asks for its address; otherwise sekexe's init sets Address, or the one that was chosen.
	DHCP bool
	// Aliases are further names of the sub-kernel on this network.
	Aliases []string
	// Impair is what wins over the network's; nil: that.
	Impair *Impair
	Range  Range
}

// A Publish makes ports of the sub-kernel reachable on the host.
type Publish struct {
	// Host is the host's address.
	Host netip.Addr
	// HostPort to HostPortEnd are the ports of the host; both 0: free ones are chosen.
	HostPort, HostPortEnd int
	// Port to PortEnd are the ports of the sub-kernel.
	Port, PortEnd int
	// Proto is "tcp" or "udp".
	Proto string
	Range Range
}
