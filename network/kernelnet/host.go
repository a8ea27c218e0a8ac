//go:build linux

package kernelnet

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// openHost makes the segments in the network namespace of this process.
func openHost(ctx context.Context, s *Spec) (_ *Net, err error) {
	if err := checkHost(); err != nil {
		return nil, err
	}
	n := &Net{segments: s.Segments}
	builders, changes, err := hostBuilders(s)
	if err != nil {
		return nil, err
	}
	dir := s.StateDir
	if dir == "" {
		dir = StateDir
	}
	claim := func(living []*record) error { return changes.claimMACs(builders, living) }
	if n.state, err = openState(dir, changes, claim); err != nil {
		return nil, advise(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	routed := false
	for _, b := range builders {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := b.build()
		n.parts = append(n.parts, b.parts...)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", b.Name, advise(err))
		}
		routed = routed || b.guarded()
	}
	if !routed {
		return n, nil
	}
	if err := installFirewall(tableName(s.Run), builders); err != nil {
		return nil, advise(err)
	}
	n.notices = hostNotices(builders)
	return n, nil
}

// hostBuilders are what makes the segments, and all that will have been made and changed when they have.
func hostBuilders(s *Spec) ([]*builder, *record, error) {
	r := &record{Run: s.Run, Table: tableName(s.Run)}
	var builders []*builder
	for i := range s.Segments {
		seg := s.Segments[i] // a copy: a builder sets what is left open
		b := &builder{Segment: &seg, index: i, run: s.Run, host: true, noTap: s.noTap}
		builders = append(builders, b)
		r.Links = append(r.Links, b.hostNames()...)
		if seg.NAT || seg.Kind == Tun {
			r.want("net/ipv4/ip_forward", "1")
			if seg.Addr6.IsValid() {
				r.wantForwarding6()
			}
		}
	}
	for _, name := range r.Links {
		if len(name) > 15 {
			return nil, nil, fmt.Errorf("kernelnet: too many networks or ports: no name is left for one")
		}
	}
	return builders, r, nil
}

// hostNames are the names of all the links that a segment may make, without the far ends of veth pairs, which go with the near ones.
func (b *builder) hostNames() []string {
	var out []string
	for i := range b.Ports {
		out = append(out, b.name(linkPort, i))
	}
	if b.Netstack {
		out = append(out, b.name(linkGateway, 0))
	}
	if b.Kind == Bridge && b.Bridge == "" {
		out = append(out, b.name(linkBridge, 0))
	}
	return out
}

// wantForwarding6 has the kernel route IPv6. It would no longer take a default route from the host's router then, unless it is told to (2).
func (r *record) wantForwarding6() {
	if on, _ := readSysctl("net/ipv6/conf/all/forwarding"); on == "0" {
		found, _ := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra")
		for _, f := range found {
			name := strings.TrimPrefix(f, "/proc/sys/")
			if is := filepath.Base(filepath.Dir(f)); is == "all" || is == "default" || is == "lo" {
				continue
			}
			if v, _ := readSysctl(name); v == "1" {
				r.want(name, "2")
			}
		}
	}
	r.want("net/ipv6/conf/all/forwarding", "1")
}

var shortRun = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]{1,6}$`) })

// hostTag begins the names of a run's links.
func hostTag(run string) string {
	if !shortRun().MatchString(run) {
		h := sha256.Sum256([]byte(run))
		run = strings.ToLower(base32.StdEncoding.EncodeToString(h[:])[:6])
	}
	return "sx" + run + "-"
}

// aliasPrefix begins the aliases of a run's links.
func aliasPrefix(run string) string { return "sekexe " + run + " " }

// tableName is the name of a run's nftables table.
func tableName(run string) string { return "sekexe-" + run }

// hostNotices are what may keep networks of the host from working, though everything could be made.
func hostNotices(builders []*builder) []string {
	if !refusesForwarding() {
		return nil
	}
	var subnets []string
	for _, b := range builders {
		if !b.NAT {
			continue
		}
		for _, p := range []netip.Prefix{b.Addr, b.Addr6} {
			if p.IsValid() {
				subnets = append(subnets, p.Masked().String())
			}
		}
	}
	if subnets == nil {
		return nil
	}
	return []string{"the host's firewall drops forwarded packets by default, as Docker has it do: unless a rule of it accepts them, " +
		strings.Join(subnets, ", ") + " reach only the host"}
}
