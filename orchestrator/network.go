package orchestrator

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/sekexe/sekexe/config"
)

// The parts of a network, as the file declares them. They are plain values of the same meaning in a plan.
type (
	Network   = config.Network
	DHCP      = config.DHCP
	DHCPHost  = config.DHCPHost
	AddrRange = config.AddrRange
	Impair    = config.Impair
	Publish   = config.Publish
)

// A NIC is one network interface of a job. The first is eth0.
type NIC struct {
	// Network is an index in Plan.Networks.
	Network int
	// Name is what the guest calls it.
	Name string
	MAC  net.HardwareAddr
	// FixedMAC says that MAC is the file's. Another one may be changed on a bridge of the host's where another run has it.
	FixedMAC bool
	// Address and Address6 are fixed ones; the zero Addr leaves them to the network.
	Address, Address6 netip.Addr
	MTU               int // 0: the network's
	// DHCP means that the guest asks for its address; otherwise it sets the one that the network has for it.
	DHCP bool
	// Default means that the guest's default route and name servers are this NIC's.
	Default bool
	// Names are the host name and the aliases by which others on the network know the guest.
	Names  []string
	Impair *Impair // nil: none
}

// A Networks connects jobs. Its methods may be called from several goroutines.
type Networks interface {
	// Attach connects a job, an index in Plan.Nodes, to its networks: it returns a Link for each of its NICs, in their order. The files
	// are the caller's.
	Attach(job int) ([]Link, error)
	// Published are the ports of the host that lead to a job, with those that were chosen.
	Published(job int) []Published
	// Watch has f called for each lease of a client that is no NIC of the plan, such as a container in a sub-kernel, until the next Watch;
	// nil: nobody watches. What f is told comes from one goroutine at a time for each network.
	Watch(f func(network int, l Lease))
	// Describe says what the networks are, in the plan's order.
	Describe() []NetworkReport
}

// A Lease is an address that a network's DHCP server has given to somebody.
type Lease struct {
	Addr netip.Addr
	MAC  net.HardwareAddr // nil: not known
	// Name is what the client calls itself, without characters that names don't have; it may be empty.
	Name string
}

// String returns ADDRESS to MAC (NAME).
func (l Lease) String() string {
	s := l.Addr.String()
	if l.MAC != nil {
		s += " to " + l.MAC.String()
	}
	if l.Name != "" {
		s += " (" + l.Name + ")"
	}
	return s
}

// A NetworkReport says what a network was.
type NetworkReport struct {
	Name, Mode      string
	Subnet, Subnet6 netip.Prefix // Subnet is the zero Prefix where others give out the addresses
	Gateway         netip.Addr   // the same
	// Leases are those of clients that were no NICs of the plan, when the run ended.
	Leases []Lease
}

// A Link is a NIC's connection, and what the guest has to know of the network behind it.
type Link struct {
	NIC
	// NetworkName is the network's.
	NetworkName string
	// File carries one Ethernet frame a read or write, without a checksum at its end. Whoever gets the Link closes it.
	File *os.File
	// Socket says that it is a socket, whose frames can be read and written many at a time.
	Socket bool
	// MTU is never 0.
	MTU int
	// Addr and Addr6 are the addresses that the network has for the NIC, with the length of the prefix; Addr6 may be the zero Prefix, and
	// Addr, where others give out the addresses.
	Addr, Addr6 netip.Prefix
	// Router, Router6, DNS and Search are for a guest that doesn't ask by DHCP.
	Router, Router6 netip.Addr
	DNS             []netip.Addr
	Search          []string
	// LeaseTimeout is how long the guest may wait for a lease.
	LeaseTimeout time.Duration
	// Forward, if it is not nil, says that the Link is none of the job's NICs: it leads from a socket of the host to the job's Docker daemon.
	Forward *Forward
}

// A Published is a port of the host that leads to one of a sub-kernel.
type Published struct {
	Host  netip.AddrPort
	Port  int
	Proto string
}

// String returns HOST:PORT->PORT/PROTO.
func (p Published) String() string { return fmt.Sprintf("%s->%d/%s", p.Host, p.Port, p.Proto) }

// A NICResult is what a NIC of a job came to.
type NICResult struct {
	Name, Network string
	MAC           net.HardwareAddr
	// Addrs are the addresses that it has had last.
	Addrs []netip.Prefix
}

// addNICs gives the job of a sub-kernel its NICs. networks are the indices of the project's networks by name.
func addNICs(job *Job, sub *config.Subkernel, p *config.Project, networks map[string]int, macs map[string]bool) error {
	hasDefault := false
	for i := range sub.NICs {
		n := &sub.NICs[i]
		at, ok := networks[n.Network]
		if !ok {
			return fmt.Errorf("subkernel %q: NIC %d: network %q is not declared", sub.Name, i, n.Network)
		}
		mac, err := macOf(n.MAC, p.Name, sub.Name, i, macs)
		if err != nil {
			return fmt.Errorf("subkernel %q: NIC %d: %w", sub.Name, i, err)
		}
		network := &p.Networks[at]
		nic := NIC{
			Network: at, Name: fmt.Sprintf("eth%d", i), MAC: mac, FixedMAC: n.MAC != "", Address: n.Address, Address6: n.Address6, MTU: n.MTU, DHCP: n.DHCP,
			Names: append([]string{sub.Hostname}, n.Aliases...), Impair: n.Impair,
		}
		if nic.Impair == nil {
			nic.Impair = network.Impair
		}
		// A joined bridge has no uplink of ours, but what its own DHCP server says about routes is as good.
		if !hasDefault && (network.Uplink != "none" || network.Bridge != "" || len(network.DHCP.Router) > 0) {
			nic.Default, hasDefault = true, true
		}
		job.NICs = append(job.NICs, nic)
	}
	if !hasDefault && len(job.NICs) > 0 {
		job.NICs[0].Default = true // for the names
	}
	job.Publish = sub.Publish
	return nil
}

// givenMACs are the addresses that the file gives, which none that is generated may equal.
func givenMACs(p *config.Project) map[string]bool {
	given := map[string]bool{}
	for i := range p.Subkernels {
		for j := range p.Subkernels[i].NICs {
			if mac, err := net.ParseMAC(p.Subkernels[i].NICs[j].MAC); err == nil {
				given[mac.String()] = true
			}
		}
	}
	return given
}

// macOf returns the address that the file gives, or one that is made of the names, so that it is the same in each run.
func macOf(given, project, sub string, nic int, taken map[string]bool) (net.HardwareAddr, error) {
	if given != "" {
		mac, err := net.ParseMAC(given)
		if err == nil && len(mac) != 6 {
			err = errors.New("it has not six octets")
		}
		if err != nil {
			return nil, fmt.Errorf("MAC %q: %w", given, err)
		}
		return mac, nil
	}
	for try := 0; ; try++ {
		h := fnv.New64a()
		fmt.Fprintf(h, "%s\x00%s\x00%d\x00%d", project, sub, nic, try)
		sum := h.Sum(nil)
		// Locally administered, unicast (IEEE 802c).
		mac := net.HardwareAddr{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}
		if !taken[mac.String()] {
			taken[mac.String()] = true
			return mac, nil
		}
	}
}
