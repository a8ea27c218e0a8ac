package names

import (
	"net/netip"
	"os"
	"sync"

	"github.com/miekg/dns"
)

// dnsPort is where a resolver of resolv.conf listens.
const dnsPort = 53

// A resolvConf remembers the servers of a file in the form of resolv.conf(5) until the file changes.
type resolvConf struct {
	path string

	mu      sync.Mutex
	read    os.FileInfo // of the file that servers were read from; nil if there was none
	servers []netip.AddrPort
}

var host = resolvConf{path: "/etc/resolv.conf"}

// HostResolvers returns the host's resolvers as /etc/resolv.conf has them now: they change when a laptop is carried elsewhere. Where there is
// no such file, or nobody in it, there are none.
func HostResolvers() []netip.AddrPort { return host.get() }

func (c *resolvConf) get() []netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, err := os.Stat(c.path)
	if err != nil {
		c.read, c.servers = nil, nil
		return nil
	}
	if c.read != nil && os.SameFile(c.read, st) && c.read.ModTime().Equal(st.ModTime()) && c.read.Size() == st.Size() {
		return c.servers
	}
	f, err := dns.ClientConfigFromFile(c.path)
	if err != nil {
		return c.servers // it is just being replaced: those that were there may serve until the next time
	}
	c.read, c.servers = st, nil
	for _, a := range f.Servers {
		if addr, err := netip.ParseAddr(a); err == nil {
			c.servers = append(c.servers, netip.AddrPortFrom(addr, dnsPort))
		}
	}
	return c.servers
}
