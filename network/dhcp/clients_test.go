package dhcp

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Stock clients get a lease, renew it and give it back.
func TestStockClients(t *testing.T) {
	if !isolated(t) {
		return
	}
	signal := func(sig syscall.Signal) func(*segment, *exec.Cmd) {
		return func(s *segment, cmd *exec.Cmd) {
			if err := cmd.Process.Signal(sig); err != nil { // ip has become the client
				s.Fatal(err)
			}
		}
	}
	files := t.TempDir()
	dhclient := func(args ...string) []string {
		return append([]string{"dhclient", "-v", "-lf", filepath.Join(files, "leases"), "-pf", filepath.Join(files, "pid")}, args...)
	}
	short := func(c *Config) { c.Lease = 10 * time.Second }
	host := func(c *Config) {
		c.Hosts = []Host{{MAC: mac(1), Name: "web", Addr: netip.MustParseAddr("10.0.0.77"), Addr6: netip.MustParseAddr("fd00::77")}}
	}
	for _, tt := range []struct {
		name   string
		frames bool
		is4    bool
		config func(*Config)
		start  []string
		// renew and release make the client do so; nil: it does by itself.
		renew, release func(*segment, *exec.Cmd)
	}{
		{"dhclient", true, true, short, dhclient("-d", "eth0"), nil,
			func(s *segment, _ *exec.Cmd) { s.inside(dhclient("-r", "eth0")...) }},
		{"dhclient6", true, false, short, dhclient("-6", "-d", "eth0"), nil,
			func(s *segment, _ *exec.Cmd) { s.inside(dhclient("-6", "-r", "eth0")...) }},
		{"dhclient6 of a Host", true, false, func(c *Config) { short(c); host(c) }, dhclient("-6", "-d", "eth0"), nil,
			func(s *segment, _ *exec.Cmd) { s.inside(dhclient("-6", "-r", "eth0")...) }},
		{"udhcpc", true, true, host, []string{"udhcpc", "-f", "-i", "eth0"}, signal(syscall.SIGUSR1), signal(syscall.SIGUSR2)},
		{"udhcpc, over UDP", false, true, nil, []string{"udhcpc", "-f", "-i", "eth0"}, signal(syscall.SIGUSR1), signal(syscall.SIGUSR2)},
		{"dhcpcd", true, true, host, []string{"dhcpcd", "-B", "-4", "--noarp", "eth0"},
			signal(syscall.SIGUSR1), signal(syscall.SIGALRM)},
		{"dhcpcd6", true, false, host, []string{"dhcpcd", "-B", "-6", "eth0"},
			signal(syscall.SIGUSR1), signal(syscall.SIGALRM)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSegment(t, tt.frames, tt.config)
			cmd := s.start(tt.start...)
			addr := s.wait(Leased, tt.is4)
			if h := s.server.host(mac(1)); h.Addr.IsValid() && addr != h.Addr && addr != h.Addr6 {
				t.Errorf("it has %v; want the address that is reserved", addr)
			}
			is := func(a netip.Addr) bool { return a == addr }
			s.waitAddr(is, true)
			if tt.renew != nil {
				tt.renew(s, cmd)
			}
			if again := s.wait(Renewed, tt.is4); again != addr {
				t.Errorf("it renewed %v; has %v", again, addr)
			}
			if routes := s.inside("ip", "route"); tt.is4 && !strings.Contains(routes, "default via 10.0.0.1 dev eth0") {
				t.Errorf("the routes are\n%s", routes)
			}
			tt.release(s, cmd)
			for tt.renew == nil { // it may have renewed once more
				e := <-s.events
				if e.Kind == Released {
					break
				}
			}
			if tt.renew != nil {
				s.wait(Released, tt.is4)
			}
			s.waitAddr(is, false)
			if n := s.server.Dropped(); n != 0 {
				t.Errorf("%d messages were dropped", n)
			}
		})
	}
}

// Linux and rdisc6 take the router advertisements.
func TestStockRouterDiscovery(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := newSegment(t, true, nil)
	s.port.Advertise()
	s.waitAddr(func(a netip.Addr) bool { return a == netip.MustParseAddr("fd00::ff:fe00:1") }, true)
	if routes := s.inside("ip", "-6", "route"); !strings.Contains(routes, "default via fe80::1 dev eth0") || !strings.Contains(routes, "mtu 1400") {
		t.Errorf("the routes are\n%s", routes)
	}
	out := s.inside("rdisc6", "-1", "eth0")
	for _, want := range []string{"Stateful address conf.    :          Yes", "Prefix                   : fd00::/64", "Recursive DNS server     : fd00::1",
		"DNS search list          : lab.test", "MTU                      :         1400 bytes", "from fe80::1"} {
		if !strings.Contains(out, want) {
			t.Errorf("rdisc6 says\n%s\nwant %q", out, want)
		}
	}
}
