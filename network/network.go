package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sekexe/sekexe/network/kernelnet"
	"github.com/sekexe/sekexe/network/names"
	"github.com/sekexe/sekexe/network/publish"
	"github.com/sekexe/sekexe/orchestrator"
)

// LeaseTimeout is how long a guest waits for its first lease.
const LeaseTimeout = 10 * time.Second

// Options are what networks need of their surroundings.
type Options struct {
	// Run names the run: unique on the host, fit for file names and for a part of the names of interfaces.
	Run string
	// Notice is told of trouble that ends nothing. It may be called from several goroutines at once.
	Notice func(text string)
}

// A Networks holds the networks of one run. It must be closed, after all sub-kernels have ended.
type Networks struct {
	plan     *orchestrator.Plan
	o        Options
	segments []*segment
	kernel   []*kernelnet.Net // by scope, those that are needed
	ports    *publish.Set
	// published are the ports of each job, as indices into what ports has bound.
	published map[int][]int
	targets   []orchestrator.Published // of what ports has bound; Host is filled in by it
	cancel    context.CancelFunc
	tasks     sync.WaitGroup

	mu    sync.Mutex
	watch func(network int, l orchestrator.Lease) // may be nil
}

var _ orchestrator.Networks = (*Networks)(nil)

// Open makes the networks of a plan, and listens on the ports that it publishes. What stands in the way of that is found here, before anything
// boots. Errors may have advice: a method Hint() string.
func Open(ctx context.Context, p *orchestrator.Plan, o Options) (_ *Networks, err error) {
	ctx, cancel := context.WithCancel(ctx)
	n := &Networks{plan: p, o: o, cancel: cancel, published: map[int][]int{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	var taken []netip.Prefix
	if slices.ContainsFunc(p.Networks, func(nw orchestrator.Network) bool { return !nw.Subnet.IsValid() }) {
		if taken, err = kernelnet.Routes(); err != nil {
			return nil, fmt.Errorf("networks: list this host's routes: %w", err)
		}
	}
	all, err := layOut(p, taken)
	if err != nil {
		return nil, err
	}
	for i, l := range all {
		n.segments = append(n.segments, n.newSegment(all, i, l))
	}
	if err := n.openKernel(ctx); err != nil {
		return nil, err
	}
	for _, s := range n.segments {
		if err := s.open(ctx); err != nil {
			return nil, fmt.Errorf("network %s: %w", s.Name, err)
		}
	}
	if err := n.publish(ctx); err != nil {
		return nil, err
	}
	return n, nil
}

// newSegment makes a segment that is not open yet.
func (n *Networks) newSegment(all []*layout, at int, l *layout) *segment {
	s := &segment{layout: l, networks: n, number: at}
	for i, other := range all {
		if i == at {
			continue
		}
		for _, p := range []netip.Prefix{other.subnet, other.subnet6} {
			if p.IsValid() {
				s.deny = append(s.deny, p)
			}
		}
	}
	s.names = names.New(names.Config{Domain: l.DHCP.Domain, Zone: newZone(n.plan, all, at), Upstream: names.HostResolvers, Local: s.prefixes()})
	return s
}

// Attach implements orchestrator.Networks.
func (n *Networks) Attach(job int) ([]orchestrator.Link, error) {
	nics := n.plan.Nodes[job].Job.NICs
	links := make([]orchestrator.Link, 0, len(nics))
	for i := range nics {
		s := n.segments[nics[i].Network]
		l, err := s.attach(place{job, i}, nics[i])
		if err != nil {
			for j := range links {
				links[j].File.Close()
			}
			return nil, fmt.Errorf("network %s: connect %s: %w", s.Name, nics[i].Name, err)
		}
		links = append(links, *l)
	}
	return links, nil
}

// publish listens on the ports of all jobs.
func (n *Networks) publish(ctx context.Context) error {
	var ports []publish.Port
	dials := map[netip.AddrPort]*segment{}
	for j := range n.plan.Nodes {
		job := &n.plan.Nodes[j].Job
		if len(job.Publish) == 0 {
			continue
		}
		s, addr := n.reachable(j)
		if s == nil {
			return withHint(fmt.Errorf("sub-kernel %s: publish its ports: none of its NICs has an address that is known before it boots", job.Name),
				"give a nic an address, or put one on a network with a subnet")
		}
		for _, p := range job.Publish {
			for i := 0; i <= p.PortEnd-p.Port; i++ {
				host := 0
				if p.HostPort != 0 {
					host = p.HostPort + i
				}
				guest := netip.AddrPortFrom(addr, uint16(p.Port+i))
				dials[guest] = s
				n.published[j] = append(n.published[j], len(ports))
				ports = append(ports, publish.Port{Host: netip.AddrPortFrom(p.Host, uint16(host)), Guest: publish.At(guest), Proto: p.Proto})
				n.targets = append(n.targets, orchestrator.Published{Port: p.Port + i, Proto: p.Proto})
			}
		}
	}
	if len(ports) == 0 {
		return nil
	}
	var err error
	n.ports, err = publish.Listen(ctx, ports, func(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
		return dials[addr].dial(ctx, network, addr)
	}, n.o.Notice)
	return err
}

// reachable returns the segment and the address by which the host reaches a job.
func (n *Networks) reachable(job int) (*segment, netip.Addr) {
	for i, nic := range n.plan.Nodes[job].Job.NICs {
		s := n.segments[nic.Network]
		if a := s.addrs[s.indexOf(place{job, i})]; a.IsValid() {
			return s, a
		}
	}
	return nil, netip.Addr{}
}

// Published implements orchestrator.Networks.
func (n *Networks) Published(job int) []orchestrator.Published {
	var out []orchestrator.Published
	for _, i := range n.published[job] {
		p := n.targets[i]
		p.Host = n.ports.Bound()[i]
		out = append(out, p)
	}
	return out
}

// Watch implements orchestrator.Networks.
func (n *Networks) Watch(f func(network int, l orchestrator.Lease)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watch = f
}

// leased tells who watches of a lease. It keeps the lock meanwhile, so that nobody is told any more when Watch has returned.
func (n *Networks) leased(network int, l orchestrator.Lease) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watch != nil {
		n.watch(network, l)
	}
}

// Describe implements orchestrator.Networks.
func (n *Networks) Describe() []orchestrator.NetworkReport {
	out := make([]orchestrator.NetworkReport, len(n.segments))
	for i, s := range n.segments {
		out[i] = orchestrator.NetworkReport{Name: s.Name, Mode: s.Mode, Subnet: s.subnet, Subnet6: s.subnet6, Gateway: s.gateway, Leases: s.leases()}
	}
	return out
}

// Close ends all connections and removes the networks. All sub-kernels must have ended.
func (n *Networks) Close() error {
	n.cancel()
	var errs []error
	if n.ports != nil {
		errs = append(errs, n.ports.Close())
	}
	for _, s := range n.segments {
		errs = append(errs, s.close())
	}
	for _, k := range n.kernel {
		errs = append(errs, k.Close())
	}
	n.tasks.Wait()
	return errors.Join(errs...)
}
