package uml

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/kernel"
	"github.com/sekexe/sekexe/orchestrator"
)

// firstNICFD is the descriptor of the first NIC in the kernel's process; those of the others follow.
const firstNICFD = lineFD + 1

// vectorDepth is how many frames the vector driver reads or writes at once. It lays a buffer down for each when the NIC is switched on, so that
// long frames get fewer: they gain nothing by more, and the boot is the slower for it. More than 64 makes 7.2 warn of the weight of its NAPI.
func vectorDepth(mtu int) int { return max(8, min(64, 512<<10/mtu)) }

// nicArg is the option of the kernel's command line for NIC number i (arch/um/drivers/vector_kern.c, and vector_user.c for the transport
// fd). Without vec=0 the driver reads many frames in one call, which only sockets can.
func nicArg(i int, l *orchestrator.Link) string {
	arg := fmt.Sprintf("vec%d:transport=fd,fd=%d,mac=%s,mtu=%d,depth=%d", i, firstNICFD+i, l.MAC, l.MTU, vectorDepth(l.MTU))
	if !l.Socket {
		arg += ",vec=0"
	}
	return arg
}

// canConnect says whether a kernel has what a NIC needs.
func canConnect(k *kernel.Info) error {
	if !k.NICs() {
		return withHint(fmt.Errorf("kernel %s: give it NICs: it was built without CONFIG_UML_NET_VECTOR", k.Path),
			"use another kernel (sekexe kernel build makes one), or no network")
	}
	return nil
}

// wireNIC is what the guest is told of NIC number i.
func wireNIC(i int, l *orchestrator.Link) wire.NIC {
	n := wire.NIC{
		Device: "vec" + strconv.Itoa(i), Name: l.Name, MTU: l.MTU, DHCP: l.DHCP, Default: l.Default,
		Router: addrText(l.Router), Router6: addrText(l.Router6), Address6: prefixText(l.Addr6),
		Search: l.Search, LeaseTimeout: int64(l.LeaseTimeout),
	}
	if !l.DHCP {
		n.Address = prefixText(l.Addr)
	}
	for _, d := range l.DNS {
		n.DNS = append(n.DNS, d.String())
	}
	return n
}

// addrText and prefixText return "" for what isn't there.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// fillNICs begins the result's NICs with what is known without the guest.
func (s *session) fillNICs() {
	for i := range s.links {
		l := &s.links[i]
		if l.Forward != nil {
			continue
		}
		n := orchestrator.NICResult{Name: l.Name, Network: l.NetworkName, MAC: l.MAC}
		if !l.DHCP && l.Addr.IsValid() {
			n.Addrs = append(n.Addrs, l.Addr)
		}
		if l.Addr6.IsValid() {
			n.Addrs = append(n.Addrs, l.Addr6)
		}
		s.res.NICs = append(s.res.NICs, n)
	}
}

// leased notes the guest's word about a lease.
func (s *session) leased(payload []byte) error {
	var l wire.Leased
	if err := wire.Decode(wire.KindLeased, payload, &l); err != nil {
		return err
	}
	if l.NIC < 0 || l.NIC >= len(s.links) || !s.links[l.NIC].DHCP {
		return fmt.Errorf("guest: %w: a lease of NIC %d", wire.ErrProtocol, l.NIC)
	}
	r := &s.res.NICs[l.NIC]
	addrs := r.Addrs[:0:0]
	for _, a := range r.Addrs {
		if a.Addr().Is6() {
			addrs = append(addrs, a)
		}
	}
	if l.Address != "" {
		a, err := netip.ParsePrefix(l.Address)
		if err != nil || !a.Addr().Is4() {
			return fmt.Errorf("guest: %w: a lease of %q", wire.ErrProtocol, clean(l.Address))
		}
		if len(r.Addrs) == 0 || r.Addrs[0] != a { // and not the same one again
			s.sink.Addressed(l.NIC, a)
		}
		addrs = append([]netip.Prefix{a}, addrs...)
	}
	r.Addrs = addrs
	return nil
}
