package guest

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// maxNameservers is how many name servers resolvers ask (resolv.conf(5), MAXNS).
const maxNameservers = 3

// A resolvConf is the sub-kernel's /etc/resolv.conf, which leases change. It is open from the making of the root on, so that it is always
// the file that the init has made which is written: never what a mount, or somebody in the sub-kernel, has put in its place.
type resolvConf struct {
	open bool
	fd   int
	text string
}

// write makes text the contents.
func (c *resolvConf) write(text string) error {
	if !c.open || text == c.text {
		return nil
	}
	// What is there is never empty in between, as it would be if it were truncated first.
	_, err := unix.Pwrite(c.fd, []byte(text), 0)
	if err == nil && len(text) < len(c.text) {
		err = unix.Ftruncate(c.fd, int64(len(text)))
	}
	if err != nil {
		return fmt.Errorf("network: write resolv.conf: %w", err)
	}
	c.text = text
	return nil
}

// openResolv opens the file for the leases to come, in the new root.
func (n *network) openResolv() error {
	if !leased(n.spec) {
		return nil
	}
	name := "/etc/resolv.conf"
	if n.spec.Root.Mode == "ro" {
		name = ownEtc + "/resolv.conf"
	}
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network: open %s: %w", name, err)
	}
	n.resolv = resolvConf{open: true, fd: fd, text: resolvText(n.spec, nil)}
	return nil
}

// leased says whether any NIC gets a lease.
func leased(s *wire.Spec) bool {
	for _, nic := range s.NICs {
		if nic.DHCP {
			return true
		}
	}
	return false
}

func (n *network) resolvText() string { return resolvText(n.spec, n.held) }

// resolvText is the contents of resolv.conf: what the lease of the first NIC names, or else the Spec for it, whose name servers are the
// guest's. NICs that are not the default one count only where that has none.
func resolvText(s *wire.Spec, held []*lease) string {
	if len(s.NICs) == 0 {
		return "# this sub-kernel has no network\n"
	}
	for _, def := range []bool{true, false} {
		for i, nic := range s.NICs {
			dns, search := nic.DNS, nic.Search
			if i < len(held) && held[i] != nil {
				if len(held[i].dns) > 0 {
					dns = nil
					for _, a := range held[i].dns {
						dns = append(dns, a.String())
					}
				}
				if len(held[i].search) > 0 {
					search = held[i].search
				}
			}
			if nic.Default == def && len(dns) > 0 {
				return resolvLines(dns, search)
			}
		}
	}
	return "# no network of this sub-kernel has a name server\n"
}

func resolvLines(dns, search []string) string {
	var b strings.Builder
	for _, a := range dns[:min(len(dns), maxNameservers)] {
		b.WriteString("nameserver " + a + "\n")
	}
	if len(search) > 0 {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	return b.String()
}
