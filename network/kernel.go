package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/sekexe/sekexe/network/frames"
	"github.com/sekexe/sekexe/network/impair"
	"github.com/sekexe/sekexe/network/kernelnet"
	"github.com/sekexe/sekexe/orchestrator"
)

// openKernel makes what bridge and tun networks need of the host's kernel: all private ones in one namespace, and those in the host's.
func (n *Networks) openKernel(ctx context.Context) error {
	for _, scope := range []string{kernelnet.Private, kernelnet.Host} {
		spec := kernelnet.Spec{Scope: scope, Run: runName(n.o.Run)}
		var of []*segment
		for _, s := range n.segments {
			if s.Mode == "user" || s.Scope != scope {
				continue
			}
			s.at = len(of)
			of = append(of, s)
			spec.Segments = append(spec.Segments, s.kernelSpec())
		}
		if len(of) == 0 {
			continue
		}
		k, err := kernelnet.Open(ctx, spec)
		if err != nil {
			return err
		}
		n.kernel = append(n.kernel, k)
		for _, s := range of {
			s.kernel, s.mac, s.mtu = k, k.MAC(s.at), k.MTU(s.at)
			if s.Bridge != "" {
				n.adoptMACs(s)
			}
		}
		for _, text := range k.Notices() {
			n.o.Notice(text)
		}
	}
	return nil
}

// adoptMACs takes over the MAC addresses that were chosen for a joined bridge, in a plan of the networks' own.
func (n *Networks) adoptMACs(s *segment) {
	plan := *n.plan
	plan.Nodes = slices.Clone(plan.Nodes)
	for i, at := range s.places {
		nics := slices.Clone(plan.Nodes[at.job].Job.NICs)
		nics[at.nic].MAC = s.kernel.PortMAC(s.at, i)
		plan.Nodes[at.job].Job.NICs = nics
	}
	n.plan = &plan
}

// runName is a run's name without what names of interfaces can't have.
func runName(run string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(run))
}

// kernelSpec is what the kernel is to make of the segment.
func (s *segment) kernelSpec() kernelnet.Segment {
	k := kernelnet.Segment{
		Name: s.Name, Kind: s.Mode, Bridge: s.Bridge, MTU: s.mtu, Netstack: s.ours(), GatewayMAC: s.mac, NAT: s.Uplink == "nat", Isolated: s.Isolated,
		Capture: s.Network.Capture != "",
	}
	if !s.foreign() && (s.Bridge == "" || s.ours()) {
		k.Addr = netip.PrefixFrom(s.gateway, s.subnet.Bits())
		if s.IPv6 {
			k.Addr6 = netip.PrefixFrom(s.gateway6, s.subnet6.Bits())
		}
	}
	for i, at := range s.places {
		nic := &s.networks.plan.Nodes[at.job].Job.NICs[at.nic]
		k.Ports = append(k.Ports, kernelnet.Port{
			Name: s.networks.plan.Nodes[at.job].Job.Name + " " + nic.Name, MAC: nic.MAC, FixedMAC: nic.FixedMAC, Addr: s.addrs[i], Addr6: s.addrs6[i],
		})
	}
	return k
}

// openKernel makes what serves a segment of the kernel's.
func (s *segment) openKernel(ctx context.Context) error {
	if s.ours() {
		f, err := frames.Open(s.kernel.GatewayPort(s.at).File)
		if err != nil {
			return fmt.Errorf("gateway: %w", err)
		}
		s.gwFile = f
		s.owned = append(s.owned, f)
		if s.Mode == "bridge" {
			s.hear(func(frame []byte) { _ = f.Send(frame, 0) })
		}
		s.read(f, s.input)
	} else if err := s.serveKernelNames(); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	if s.capture == nil {
		return nil
	}
	for _, c := range s.kernel.Capture(s.at) {
		f, err := frames.Open(c)
		if err != nil {
			return fmt.Errorf("capture: %w", err)
		}
		s.owned = append(s.owned, f)
		s.read(f, s.capture.Frame)
	}
	return nil
}

// frameRoom is what a frame may have besides the MTU: a header with two VLAN tags, and a byte to tell one that is too long.
const frameRoom = 14 + 2*4 + 1

// read passes on the frames of a file until it is closed.
func (s *segment) read(f *frames.File, handle func(frame []byte)) {
	s.networks.tasks.Go(func() {
		err := f.Receive(frames.NewBatch(s.mtu+frameRoom), func(b *frames.Batch) {
			for i := range b.Len() {
				handle(b.Frame(i))
			}
		})
		if err != nil && !errors.Is(err, io.EOF) && s.ctx.Err() == nil {
			s.networks.o.Notice(fmt.Sprintf("network %s: read %s: %v", s.Name, f.Name(), err))
		}
	})
}

// serveKernelNames serves names where the kernel has the gateway's address, if somebody has.
func (s *segment) serveKernelNames() error {
	if s.foreign() || s.Bridge != "" {
		return nil
	}
	pcs, err := s.kernel.ListenUDP(s.at, 53)
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	ls, err := s.kernel.ListenTCP(s.at, 53)
	if err != nil {
		for _, pc := range pcs {
			pc.Close()
		}
		return fmt.Errorf("serve names: %w", err)
	}
	for i := range pcs {
		s.serveNames(pcs[i], ls[i])
	}
	return nil
}

// listen hears DHCP clients where the gateway's port doesn't.
func (s *segment) listen() error {
	if s.dhcp == nil || s.heard != nil {
		return nil
	}
	for _, l := range s.kernel.Listeners(s.at) {
		f, err := frames.Open(l.File)
		if err != nil {
			return fmt.Errorf("DHCP: %w", err)
		}
		s.owned = append(s.owned, f)
		p := s.dhcp.Port(l.MAC, l.LinkLocal, func(frame []byte) { _ = f.Send(frame, 0) })
		s.advertise(p)
		s.read(f, func(frame []byte) { p.Input(frame) })
	}
	return nil
}

// kernelLink returns a NIC's end of its port, behind an impairment if there is one.
func (s *segment) kernelLink(i int, nic orchestrator.NIC) (f *os.File, socket bool, err error) {
	k := s.kernel.PortFile(s.at, i)
	im := impairment(nic.Impair)
	if im == nil {
		return k.File, k.Socket, nil
	}
	ours, theirs, err := frames.Pair()
	if err != nil {
		k.File.Close()
		return nil, false, err
	}
	r, err := impair.NewRelay(ours, k.File, *im, *im)
	if err != nil {
		theirs.Close()
		return nil, false, err
	}
	s.mu.Lock()
	s.relays = append(s.relays, r)
	s.mu.Unlock()
	return theirs, true, nil
}
