package guest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// A network is the NICs of the sub-kernel. What it asks of the kernel are plain messages of rtnetlink, as many as can be at a time.
type network struct {
	spec  *wire.Spec
	links []link // of each NIC
	// notice tells the host of what ends nothing.
	notice func(error)
	out    *wire.Writer
	trace  *tracer
	resolv resolvConf

	mu    sync.Mutex // guards what follows
	route routeSocket
	held  []*lease // of each NIC; nil: none

	// asked are the NICs that ask for a lease, until finish.
	asked []func(first func(error))
}

// loopback is the index that lo has in every kernel.
const loopback = 1

// startNetwork switches lo and the NICs on, with the addresses that are given, and asks for leases. It needs no files.
func (p *initProcess) startNetwork(s *wire.Spec) (*network, error) {
	defer p.trace.begin("network")()
	n := &network{spec: s, notice: p.notice, out: p.out, trace: &p.trace, held: make([]*lease, len(s.NICs))}
	var err error
	if n.route, err = openRouteSocket(); err == nil && len(s.NICs) > 0 {
		err = n.findLinks()
	}
	if err == nil {
		err = n.configure()
	}
	if err != nil {
		if len(s.NICs) > 0 {
			return nil, err
		}
		p.notice(err) // of lo alone
	}
	for i, nic := range s.NICs {
		if !nic.DHCP {
			continue
		}
		if err := n.ask(i); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// findLinks finds the kernel's devices for the NICs. They are there from the boot on, or never.
func (n *network) findLinks() error {
	var r requests
	for _, nic := range n.spec.NICs {
		r.getLink(nic.Device)
	}
	n.links = make([]link, len(n.spec.NICs))
	err := n.route.do(&r, func(i int, b []byte) { n.links[i] = linkOf(b) }, n.notice)
	var re *requestError
	if errors.As(err, &re) {
		err = fmt.Errorf("NIC %s: %w", n.spec.NICs[re.index].Name, err)
		if re.err == unix.ENODEV {
			return &hintError{err, `use a kernel with CONFIG_UML_NET_VECTOR=y, or a sub-kernel without networks: network = "none"`}
		}
	}
	return err
}

// configure does all that needs no lease.
func (n *network) configure() error {
	var r requests
	r.linkUp(loopback, "", 0, "network: switch lo on")
	for i, nic := range n.spec.NICs {
		l, mtu := n.links[i], nic.MTU
		if mtu == l.mtu {
			mtu = 0
		} else if mtu > 0 {
			n.links[i].mtu = mtu
		}
		r.linkUp(l.index, nic.Name, mtu, "NIC "+nic.Name+": switch it on")
		if err := n.addresses4(&r, i); err != nil {
			return err
		}
	}
	six := len(r.what)
	at := len(r.b)
	for i := range n.spec.NICs {
		if err := n.addresses6(&r, i); err != nil {
			return err
		}
	}
	err := n.route.do(&r, ignore, n.notice)
	var re *requestError
	if errors.As(err, &re) && re.index >= six && (re.err == unix.EOPNOTSUPP || re.err == unix.EAFNOSUPPORT) {
		return n.withIPv6(&requests{b: r.b[at:], what: r.what, optional: r.optional}, err)
	}
	return err
}

func ignore(int, []byte) {}

// withIPv6 carries requests out again on a kernel whose IPv6 is a module. Without any, there is none in the sub-kernel.
func (n *network) withIPv6(r *requests, err error) error {
	if e := loadModule(n.spec.Modules, "ipv6"); e != nil {
		n.notice(fmt.Errorf("%w: the kernel has no IPv6: %w", err, e))
		return nil
	}
	return n.route.do(r, ignore, n.notice)
}

// addresses4 sets the IPv4 address that is given, and the route.
func (n *network) addresses4(r *requests, i int) error {
	nic, index := &n.spec.NICs[i], n.links[i].index
	if nic.Address == "" {
		return nil
	}
	p, err := parsePrefix4(nic.Address)
	if err != nil {
		return fmt.Errorf("NIC %s: %w", nic.Name, err)
	}
	r.addAddress4(index, p, p.broadcast(), "NIC "+nic.Name+": set the address "+nic.Address)
	if nic.Router == "" || !nic.Default {
		return nil
	}
	gw, err := parseIP4(nic.Router)
	if err != nil {
		return fmt.Errorf("NIC %s: %w", nic.Name, err)
	}
	r.addRoute(index, route{
		dst: make([]byte, len(gw)), gateway: gw[:], onLink: !p.contains(gw), metric: i, protocol: unix.RTPROT_STATIC,
	}, "NIC "+nic.Name+": set the router "+nic.Router)
	return nil
}

// addresses6 sets the IPv6 address that is given, and the route. Others come by router advertisements, which the kernel itself follows.
func (n *network) addresses6(r *requests, i int) error {
	nic, index := &n.spec.NICs[i], n.links[i].index
	if nic.Address6 != "" {
		text, bits, err := splitPrefix(nic.Address6, 128)
		var a ip6
		if err == nil {
			a, err = parseIP6(text)
		}
		if err != nil {
			return fmt.Errorf("NIC %s: %w", nic.Name, err)
		}
		r.addAddress6(index, a, bits, "NIC "+nic.Name+": set the address "+nic.Address6)
	}
	if nic.Router6 == "" || !nic.Default {
		return nil
	}
	gw, err := parseIP6(nic.Router6)
	if err != nil {
		return fmt.Errorf("NIC %s: %w", nic.Name, err)
	}
	r.addRoute(index, route{
		dst: make([]byte, len(gw)), gateway: gw[:], onLink: true, metric: metric6 + i, protocol: unix.RTPROT_STATIC,
	}, "NIC "+nic.Name+": set the router "+nic.Router6)
	return nil
}

// metric6 is what the kernel gives to routes of IPv6 that name none (include/net/ip6_route.h, IP6_RT_PRIO_USER).
const metric6 = 1024

// defaultTimeout is how long a lease may take if the Spec doesn't say.
const defaultTimeout = 10 * time.Second

// ask asks for a NIC's lease.
func (n *network) ask(i int) error {
	nic := &n.spec.NICs[i]
	end := n.trace.begin("lease " + nic.Name)
	c := &dhcpClient{
		mac: n.links[i].mac, hostname: n.spec.Hostname, host: nicHost{n.links[i].index},
		got: func(l *lease) error { return n.hold(i, l) }, notice: n.notice,
	}
	x, err := c.begin()
	if err != nil {
		err = fmt.Errorf("NIC %s: ask for a lease: %w", nic.Name, err)
		if errors.Is(err, unix.EAFNOSUPPORT) {
			err = &hintError{err, "use a kernel with CONFIG_PACKET=y and CONFIG_INET=y, or set the address without DHCP: dhcp = false"}
		}
		return err
	}
	timeout := time.Duration(nic.LeaseTimeout)
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	n.asked = append(n.asked, func(first func(error)) {
		c.run(x, timeout, func(err error) {
			end()
			var re *requestError
			if err != nil && !errors.As(err, &re) {
				err = noLease(nic.Name, timeout, err)
			}
			first(err)
		})
	})
	return nil
}

// finish waits for the leases that were asked for.
func (n *network) finish() error {
	if len(n.asked) == 0 {
		return nil
	}
	first := make(chan error, len(n.asked))
	for _, run := range n.asked {
		go run(func(err error) { first <- err })
	}
	for range n.asked {
		if err := <-first; err != nil {
			return err
		}
	}
	n.asked = nil
	return nil
}

// hold makes a NIC's lease the one that holds, and tells the host. nil: it has none any more.
func (n *network) hold(i int, l *lease) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.held[i]
	if !l.same(old) {
		r := n.change(i, old, l)
		if err := n.route.do(r, ignore, n.notice); err != nil {
			return err
		}
	}
	n.held[i] = l
	if err := n.resolv.write(n.resolvText()); err != nil {
		n.notice(err)
	}
	m := wire.Leased{NIC: i}
	if l != nil {
		m.Address, m.Server, m.Seconds = l.addr.String(), l.server.String(), int(l.seconds)
		if gw := l.gateway(); gw != (ip4{}) {
			m.Router = gw.String()
		}
	}
	return n.out.Send(wire.KindLeased, &m)
}

// change is what makes the new of an old lease; either may be nil. Routes have the address as their source, so that they go with it.
func (n *network) change(i int, old, l *lease) *requests {
	r := &requests{}
	index, name := n.links[i].index, "NIC "+n.spec.NICs[i].Name+": "
	if old != nil {
		r.removeAddress4(index, old.addr, name+"take away the address "+old.addr.String())
		r.mayFail() // somebody else may have done it
	}
	if l == nil {
		return r
	}
	if l.mtu >= leastMTU && l.mtu < n.links[i].mtu {
		r.linkUp(index, "", l.mtu, name+"set the MTU "+strconv.Itoa(l.mtu))
		r.mayFail()
	}
	r.addAddress4(index, l.addr, l.broadcast, name+"set the address "+l.addr.String())
	for _, t := range n.leaseRoutes(i, l) {
		r.addRoute(index, t, name+"set a route of the lease")
		r.mayFail()
	}
	return r
}

// leastMTU is the least that a lease may set: what every host of IPv4 has to take (RFC 791).
const leastMTU = 576

// leaseRoutes are the routes of a lease: those to everywhere only if the NIC is to have them.
func (n *network) leaseRoutes(i int, l *lease) []route {
	nic := &n.spec.NICs[i]
	all := l.routes
	if len(all) == 0 {
		gw := l.router
		if gw == (ip4{}) && nic.Router != "" {
			gw, _ = parseIP4(nic.Router) // the host's word, which is right
		}
		if gw != (ip4{}) {
			all = []destination{{router: gw}}
		}
	}
	var list []route
	for _, d := range all {
		// By the metric, the first NIC's route is taken where several have one to the same network.
		t := route{dst: d.net.addr[:], bits: d.net.bits, source: l.addr.addr[:], metric: i, protocol: unix.RTPROT_DHCP}
		if d.router != (ip4{}) {
			t.gateway, t.onLink = d.router[:], !l.addr.contains(d.router)
		}
		if d.net.bits > 0 || nic.Default {
			list = append(list, t)
		}
	}
	return list
}
