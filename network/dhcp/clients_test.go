package dhcp

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Stock clients get a lease, renew it and give it back.
func TestStockClients(t *testing.T) {
	// signal sends a signal, and returns what sends it again; nil: it must not be sent again, nor need it be. dhcpcd loses signals while it
	// runs its hooks; udhcpc starts from the beginning if it is to renew a second time before it has done so.
	signal := func(sig syscall.Signal, cmd *exec.Cmd) func() {
		if sig == 0 {
			return nil
		}
		send := func() { _ = cmd.Process.Signal(sig) } // ip has become the client; it may have ended
		send()
		if !slices.Contains(cmd.Args, "dhcpcd") {
			return nil
		}
		return send
	}
	files := t.TempDir()
	dhclient := func(args ...string) []string {
		return append([]string{"dhclient", "-d", "-lf", filepath.Join(files, "leases"), "-pf", filepath.Join(files, "pid")}, args...)
	}
	soon := func(c *Config) { c.Renew = 2 * time.Second }
	host := func(c *Config) {
		c.Hosts = []Host{{MAC: mac(1), Name: "web", Addr: netip.MustParseAddr("10.0.0.77"), Addr6: netip.MustParseAddr("fd00::77")}}
	}
	for _, tt := range []struct {
		name   string
		frames bool
		is4    bool
		config func(*Config)
		start  []string
		// renew and release are signals that make the client do so. Without them it renews by itself, and is called once more with -r.
		renew, release syscall.Signal
	}{
		{"dhclient", true, true, soon, dhclient("eth0"), 0, 0},
		{"dhclient6", true, false, soon, dhclient("-6", "eth0"), 0, 0},
		{"udhcpc", true, true, host, []string{"udhcpc", "-f", "-i", "eth0"}, syscall.SIGUSR1, syscall.SIGUSR2},
		{"udhcpc, over UDP", false, true, nil, []string{"udhcpc", "-f", "-i", "eth0"}, syscall.SIGUSR1, syscall.SIGUSR2},
		{"dhcpcd", true, true, host, []string{"dhcpcd", "-B", "-4", "--noarp", "--nodelay", "eth0"}, syscall.SIGUSR1, syscall.SIGALRM},
		{"dhcpcd6", true, false, host, []string{"dhcpcd", "-B", "-6", "--nodelay", "eth0"}, syscall.SIGUSR1, syscall.SIGALRM},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !isolated(t) {
				return
			}
			s := newSegment(t, tt.frames, tt.config)
			cmd := s.start(tt.start...)
			seconds, again := 0, 4
			addr := s.wait(Leased, tt.is4, func() { // dhclient 4.4.3 at times doesn't send a first message, ever
				if seconds++; seconds == again {
					_ = cmd.Process.Kill() // it may have ended
					cmd = s.start(tt.start...)
					again *= 2 // a slow machine's client may need longer
				}
			})
			if h := s.server.host(mac(1)); h.Addr.IsValid() && addr != h.Addr && addr != h.Addr6 {
				t.Errorf("it has %v; want the address that is reserved", addr)
			}
			is := func(a netip.Addr) bool { return a == addr }
			s.waitAddr(is, true)
			if renewed := s.wait(Renewed, tt.is4, signal(tt.renew, cmd)); renewed != addr {
				t.Errorf("it renewed %v; has %v", renewed, addr)
			}
			if routes := s.inside("ip", "route"); tt.is4 && !strings.Contains(routes, "default via 10.0.0.1 dev eth0") {
				t.Errorf("the routes are\n%s", routes)
			}
			release := signal(tt.release, cmd)
			if tt.release == 0 {
				s.inside(append(slices.Clone(tt.start), "-r")...)
			}
			s.wait(Released, tt.is4, release)
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
