package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
)

func TestStatesOfAClient(t *testing.T) {
	const (
		request = dhcpv4.MessageTypeRequest
		us      = "10.0.0.1"
		other   = "10.0.0.99"
	)
	from := func(addr string) dhcpv4.Modifier { return dhcpv4.WithClientIP(ip(addr)) }
	// Client 1 has 10.0.0.50, client 2 was offered 10.0.0.60, the address of client 9 is reserved.
	for _, tt := range []struct {
		name string
		m    *dhcpv4.DHCPv4
		want string
	}{
		{"discover", message(dhcpv4.MessageTypeDiscover, mac(3), asking("10.0.0.70")), "OFFER 10.0.0.70"},
		{"discover, with a lease", message(dhcpv4.MessageTypeDiscover, mac(1), asking("10.0.0.70")), "OFFER 10.0.0.50"},
		{"selecting", message(request, mac(2), asking("10.0.0.60"), server(us)), "ACK 10.0.0.60"},
		{"selecting what was not offered", message(request, mac(2), asking("10.0.0.61"), server(us)), "NAK 0.0.0.0"},
		{"selecting another's", message(request, mac(3), asking("10.0.0.50"), server(us)), "NAK 0.0.0.0"},
		{"selecting another server", message(request, mac(2), asking("10.0.0.60"), server(other)), "nothing"},
		{"selecting without an address", message(request, mac(2), server(us)), "nothing"},
		{"init-reboot", message(request, mac(1), asking("10.0.0.50")), "ACK 10.0.0.50"},
		{"init-reboot with an old address", message(request, mac(1), asking("10.0.0.51")), "NAK 0.0.0.0"},
		{"init-reboot from another network", message(request, mac(1), asking("192.168.0.5")), "NAK 0.0.0.0"},
		{"init-reboot of an unknown client, free", message(request, mac(3), asking("10.0.0.70")), "ACK 10.0.0.70"},
		{"init-reboot of an unknown client, taken", message(request, mac(3), asking("10.0.0.50")), "NAK 0.0.0.0"},
		{"init-reboot of an unknown client, reserved", message(request, mac(3), asking("10.0.0.90")), "NAK 0.0.0.0"},
		{"init-reboot of an unknown client, the server's", message(request, mac(3), asking(us)), "NAK 0.0.0.0"},
		{"renewing", message(request, mac(1), from("10.0.0.50")), "ACK 10.0.0.50"},
		{"rebinding", message(request, mac(1), from("10.0.0.50"), dhcpv4.WithBroadcast(true)), "ACK 10.0.0.50"},
		{"renewing another's", message(request, mac(3), from("10.0.0.50")), "NAK 0.0.0.0"},
		{"renewing of an unknown client", message(request, mac(3), from("10.0.0.70")), "ACK 10.0.0.70"},
		{"renewing outside the subnet", message(request, mac(3), from("192.168.0.5")), "NAK 0.0.0.0"},
		{"renewing the broadcast address", message(request, mac(3), from("10.0.0.255")), "NAK 0.0.0.0"},
		{"a Host with an old address", message(request, mac(9), from("10.0.0.70")), "NAK 0.0.0.0"},
		{"a Host", message(dhcpv4.MessageTypeDiscover, mac(9), asking("10.0.0.70")), "OFFER 10.0.0.90"},
		{"by a relay", message(dhcpv4.MessageTypeDiscover, mac(3), dhcpv4.WithGatewayIP(ip("10.0.0.7"))), "nothing"},
		{"a reply", message(dhcpv4.MessageTypeDiscover, mac(3), func(d *dhcpv4.DHCPv4) { d.OpCode = dhcpv4.OpcodeBootReply }), "nothing"},
		{"BOOTP", message(dhcpv4.MessageTypeNone, mac(3)), "nothing"},
		{"a group's MAC", message(dhcpv4.MessageTypeDiscover, net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}), "nothing"},
		{"inform", message(dhcpv4.MessageTypeInform, mac(3), from("10.0.0.70")), "ACK 0.0.0.0"},
		{"inform without an address", message(dhcpv4.MessageTypeInform, mac(3)), "nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) {
				c.Hosts = []Host{{MAC: mac(9), Addr: netip.MustParseAddr("10.0.0.90")}}
				c.Ranges = ranges("10.0.0.50-10.0.0.80")
				c.Exclude = ranges("10.0.0.52-10.0.0.59")
			})
			if got := w.lease(mac(1), asking("10.0.0.50")); got != "10.0.0.50" {
				t.Fatalf("client 1 has %s", got)
			}
			if _, got := w.ask(message(dhcpv4.MessageTypeDiscover, mac(2), asking("10.0.0.60"))); got != "OFFER 10.0.0.60" {
				t.Fatalf("client 2: %s", got)
			}
			if _, got := w.ask(tt.m); got != tt.want {
				t.Errorf("answer = %s; want %s", got, tt.want)
			}
		})
	}
}

func TestLeaseGoesOnAndEnds(t *testing.T) {
	w := newWorld(t, nil)
	addr := w.lease(mac(1))
	if got, want := w.told(), fmt.Sprintf("[leased %s]", addr); got != want {
		t.Errorf("events = %s; want %s", got, want)
	}
	if a, ok := w.LeaseOf(mac(1)); !ok || a.String() != addr {
		t.Errorf("LeaseOf = %v, %t; want %s", a, ok, addr)
	}
	w.clock = w.clock.Add(50 * time.Minute)
	if _, got := w.ask(message(dhcpv4.MessageTypeRequest, mac(1), dhcpv4.WithClientIP(ip(addr)))); got != "ACK "+addr {
		t.Errorf("renewal: %s", got)
	}
	w.clock = w.clock.Add(59 * time.Minute)
	if l := w.Leases(); len(l) != 1 || l[0].State != StateBound || l[0].Expires != w.clock.Add(time.Minute) {
		t.Errorf("leases = %v", l)
	}
	w.clock = w.clock.Add(time.Minute)
	if l := w.Leases(); len(l) != 0 {
		t.Errorf("leases = %v; want none after their time", l)
	}
	if got, want := w.told(), fmt.Sprintf("[renewed %s expired %s]", addr, addr); got != want {
		t.Errorf("events = %s; want %s", got, want)
	}
	if again := w.lease(mac(1)); again != addr {
		t.Errorf("a client that comes back has %s; want %s", again, addr)
	}
}

func TestRelease(t *testing.T) {
	w := newWorld(t, nil)
	addr := w.lease(mac(1))
	w.told()
	for _, m := range []*dhcpv4.DHCPv4{
		message(dhcpv4.MessageTypeRelease, mac(2), dhcpv4.WithClientIP(ip(addr)), server("10.0.0.1")),
		message(dhcpv4.MessageTypeRelease, mac(1), dhcpv4.WithClientIP(ip("10.0.0.77")), server("10.0.0.1")),
		message(dhcpv4.MessageTypeRelease, mac(1), dhcpv4.WithClientIP(ip(addr)), server("10.0.0.2")),
	} {
		w.ask(m)
	}
	if got := w.told(); got != "[]" {
		t.Errorf("events = %s; want that only its client, and of this server, releases a lease", got)
	}
	m := message(dhcpv4.MessageTypeRelease, mac(1), dhcpv4.WithClientIP(ip(addr)), server("10.0.0.1"))
	for range 2 {
		if _, got := w.ask(m); got != "nothing" {
			t.Errorf("release: %s", got)
		}
	}
	if got, want := w.told(), fmt.Sprintf("[released %s]", addr); got != want {
		t.Errorf("events = %s; want %s", got, want)
	}
}

func TestAddressesAreStable(t *testing.T) {
	var first []string
	for run := range 2 {
		w := newWorld(t, nil)
		for i := range 20 {
			n := i
			if run == 1 {
				n = 19 - i // in another order
			}
			offer, _ := w.ask(message(dhcpv4.MessageTypeDiscover, mac(n)))
			addr := offer.YourIPAddr.String()
			w.clock = w.clock.Add(offerTime) // nobody is in the way
			if run == 0 {
				first = append(first, addr)
			} else if addr != first[n] {
				t.Errorf("client %d has %s; had %s in the run before", n, addr, first[n])
			}
		}
	}
}

// The address of a client that has gone is not given to another before all others are.
func TestAddressesAreRemembered(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Subnet = netip.MustParsePrefix("10.0.0.0/29") }) // five clients
	gone := w.lease(mac(1))
	w.ask(message(dhcpv4.MessageTypeRelease, mac(1), dhcpv4.WithClientIP(ip(gone)), server("10.0.0.1")))
	for i := 2; i < 6; i++ {
		if addr := w.lease(mac(i)); addr == gone {
			t.Fatalf("client %d has %s", i, addr)
		}
	}
	if addr := w.lease(mac(6)); addr != gone {
		t.Errorf("client 6 has %s; want the last that is free, %s", addr, gone)
	}
	if got := w.lease(mac(1)); got != "nothing" {
		t.Errorf("client 1 has %s; want nothing: there is none left", got)
	}
}

func TestExhausted(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Ranges = ranges("10.0.0.10-10.0.0.12")
		c.Hosts = []Host{{MAC: mac(9), Addr: netip.MustParseAddr("10.0.0.90")}, {MAC: mac(8), Addr: netip.MustParseAddr("10.0.0.11")}}
	})
	have := map[string]bool{}
	for i := 1; i <= 2; i++ {
		have[w.lease(mac(i), asking("10.0.0.90"))] = true
	}
	if !have["10.0.0.10"] || !have["10.0.0.12"] {
		t.Errorf("clients have %v; want 10.0.0.10 and 10.0.0.12", have)
	}
	w.told()
	for i := 3; i < 6; i++ {
		if got := w.lease(mac(i)); got != "nothing" {
			t.Errorf("client %d has %s", i, got)
		}
	}
	if got := w.told(); got != "[exhausted invalid IP]" {
		t.Errorf("events = %s; want one", got)
	}
	for i, want := range map[int]string{9: "10.0.0.90", 8: "10.0.0.11"} {
		if got := w.lease(mac(i)); got != want {
			t.Errorf("host %d has %s; want %s", i, got, want)
		}
	}
	w.clock = w.clock.Add(time.Hour)
	if got := w.lease(mac(4)); !have[got] {
		t.Errorf("after the leases' time client 4 has %s", got)
	}
}

func TestOffersExpire(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Ranges = ranges("10.0.0.10") })
	if _, got := w.ask(message(dhcpv4.MessageTypeDiscover, mac(1))); got != "OFFER 10.0.0.10" {
		t.Fatal(got)
	}
	w.clock = w.clock.Add(offerTime - 1)
	if got := w.lease(mac(2)); got != "nothing" {
		t.Errorf("client 2 has %s, which was offered to another", got)
	}
	w.clock = w.clock.Add(1)
	if got := w.lease(mac(2)); got != "10.0.0.10" {
		t.Errorf("client 2 has %s; want the address that was not taken", got)
	}
	if _, got := w.ask(message(dhcpv4.MessageTypeRequest, mac(1), asking("10.0.0.10"), server("10.0.0.1"))); got != "NAK 0.0.0.0" {
		t.Errorf("request after the offer: %s", got)
	}
}

func TestAnotherServersOfferIsChosen(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Ranges = ranges("10.0.0.10") })
	w.ask(message(dhcpv4.MessageTypeDiscover, mac(1)))
	w.ask(message(dhcpv4.MessageTypeRequest, mac(1), asking("10.0.0.200"), server("10.0.0.2")))
	if got := w.lease(mac(2)); got != "10.0.0.10" {
		t.Errorf("client 2 has %s; want the address that is free again", got)
	}
}

func decline(n int, addr string) *dhcpv4.DHCPv4 {
	return message(dhcpv4.MessageTypeDecline, mac(n), asking(addr), server("10.0.0.1"))
}

func TestDecline(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Ranges = ranges("10.0.0.10-10.0.0.13") })
	addr := w.lease(mac(1))
	w.told()
	w.ask(decline(2, addr)) // not its own
	w.ask(decline(1, addr))
	if got, want := w.told(), fmt.Sprintf("[declined %s]", addr); got != want {
		t.Errorf("events = %s; want %s", got, want)
	}
	for n := 1; n <= 3; n++ {
		if got := w.lease(mac(n), asking(addr)); got == addr || got == "nothing" {
			t.Errorf("client %d has %s; want another address than %s, which is in use elsewhere", n, got, addr)
		}
	}
	if got := w.lease(mac(4)); got != "nothing" {
		t.Errorf("client 4 has %s; want nothing", got)
	}
	w.clock = w.clock.Add(declineTime)
	if got := w.lease(mac(4)); got != addr {
		t.Errorf("client 4 has %s; want %s, which may be tried again", got, addr)
	}
}

func TestDecliningEverythingHarmsNobodyElse(t *testing.T) {
	for _, pool := range []string{"10.0.0.10-10.0.0.99", "10.0.0.10-10.0.0.14", "10.0.0.10"} {
		w := newWorld(t, func(c *Config) { c.Ranges = ranges(pool) })
		for i := range 500 {
			w.ask(decline(1, w.lease(mac(1), clientID(fmt.Sprintf("id%d", i)))))
			m := decline(1, w.lease(mac(1), clientID(fmt.Sprintf("id%d", i))))
			m.UpdateOption(dhcpv4.OptClientIdentifier(fmt.Appendf(nil, "id%d", i)))
			w.ask(m)
		}
		aside := 0
		for _, l := range w.Leases() {
			if l.State == StateDeclined {
				aside++
			}
		}
		if size := int(w.v4.size); aside > maxDeclines || aside > size/2 {
			t.Errorf("%s: %d of %d addresses are set aside", pool, aside, size)
		}
	}
}

// A client with the MAC of a Host has its address, whatever it calls itself; others are told apart by their identifier.
func TestClientIdentifiers(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Hosts = []Host{{MAC: mac(9), Addr: netip.MustParseAddr("10.0.0.90"), Name: "nine"}} })
	for _, id := range []string{"", "\x01one", "\x01two"} {
		if got := w.lease(mac(9), clientID(id)); got != "10.0.0.90" {
			t.Errorf("the host with the identifier %q has %s", id, got)
		}
	}
	a, b := w.lease(mac(1), clientID("\x01one")), w.lease(mac(1), clientID("\x01two"))
	if a == b {
		t.Errorf("clients with different identifiers have the same address %s", a)
	}
	if moved := w.lease(mac(2), clientID("\x01one")); moved != a {
		t.Errorf("with another NIC, client one has %s; want %s", moved, a)
	}
	resp, _ := w.ask(message(dhcpv4.MessageTypeDiscover, mac(1), clientID("\x01two")))
	if got := string(resp.Options.Get(dhcpv4.OptionClientIdentifier)); got != "\x01two" {
		t.Errorf("the answer has the identifier %q; want the client's (RFC 6842)", got)
	}
	for _, l := range w.Leases() {
		if l.Addr.String() == "10.0.0.90" && (l.Hostname != "nine" || !l.Reserved) {
			t.Errorf("lease of the host = %+v", l)
		}
	}
}

func TestLeaseTime(t *testing.T) {
	for _, tt := range []struct{ lease, asked, want time.Duration }{
		{time.Hour, 0, time.Hour},
		{time.Hour, 10 * time.Minute, 10 * time.Minute},
		{time.Hour, time.Second, time.Minute},
		{time.Hour, 24 * time.Hour, time.Hour},
		{time.Hour, (1<<32 - 1) * time.Second, time.Hour},
		{10 * time.Second, time.Hour, 10 * time.Second},
		{10 * time.Second, time.Second, 10 * time.Second},
	} {
		w := newWorld(t, func(c *Config) { c.Lease = tt.lease })
		mods := []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip("10.0.0.9")))}
		if tt.asked != 0 {
			mods = append(mods, dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(tt.asked)))
		}
		resp, _ := w.ask(message(dhcpv4.MessageTypeRequest, mac(1), mods...))
		t1, t2 := resp.IPAddressRenewalTime(0), resp.IPAddressRebindingTime(0)
		if got := resp.IPAddressLeaseTime(0); got != tt.want || t1 != tt.want/2 || t2.Round(time.Second) >= got || t2 <= t1 {
			t.Errorf("a client that asks for %v of %v has %v, renews after %v and rebinds after %v; want %v", tt.asked, tt.lease, got, t1, t2, tt.want)
		}
		if l := w.Leases(); l[0].Expires != w.clock.Add(tt.want) {
			t.Errorf("the lease expires at %v", l[0].Expires)
		}
	}
}

func TestTimeOfRenewal(t *testing.T) {
	for _, tt := range []struct{ renew, want time.Duration }{{0, 30 * time.Minute}, {time.Minute, time.Minute}, {time.Hour, 30 * time.Minute}} {
		w := newWorld(t, func(c *Config) { c.Renew = tt.renew })
		resp, _ := w.ask(message(dhcpv4.MessageTypeDiscover, mac(1)))
		resp6, _ := w.ask6(message6(dhcpv6.MessageTypeSolicit, 1, ""), 1)
		if got, got6 := resp.IPAddressRenewalTime(0), resp6.Options.OneIANA().T1; got != tt.want || got6 != tt.want {
			t.Errorf("with %v clients renew after %v and %v; want %v", tt.renew, got, got6, tt.want)
		}
	}
}

func TestHostnames(t *testing.T) {
	for _, tt := range []struct {
		option byte
		value  string
		want   string
	}{
		{12, "web", "web"},
		{12, "web.example.org", "web"},
		{12, "web\x00", "web"},
		{12, "we b", ""},
		{12, "\x1b[2J", ""},
		{12, strings.Repeat("a", 64), ""},
		{81, "\x00\x00\x00web.example.org", "web"},
		{81, "\x04\x00\x00\x03web\x07example\x00", "web"},
		{81, "\x04\x00\x00\xffweb", "web"},
		{81, "\x04\x00\x00", ""},
		{81, "\x04", ""},
	} {
		w := newWorld(t, nil)
		w.lease(mac(1), dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(tt.option), []byte(tt.value))))
		if got := w.Leases()[0].Hostname; got != tt.want {
			t.Errorf("option %d, %q: the lease's name is %q; want %q", tt.option, tt.value, got, tt.want)
		}
	}
}

func TestFloodIsBounded(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Subnet = netip.MustParsePrefix("10.0.0.0/8")
		c.Hosts = []Host{{MAC: mac(1 << 20), Addr: netip.MustParseAddr("10.0.0.90")}}
	})
	for i := range maxBindings + 1000 {
		w.ask(message(dhcpv4.MessageTypeDiscover, mac(i)))
	}
	if got := w.told(); got != "[exhausted invalid IP]" || w.v4.used != maxBindings {
		t.Errorf("%d bindings, events = %s", w.v4.used, got)
	}
	if got := w.lease(mac(1 << 20)); got != "10.0.0.90" {
		t.Errorf("the host has %s", got)
	}
	w.clock = w.clock.Add(offerTime)
	if got := w.lease(mac(1 << 21)); got == "nothing" {
		t.Error("there is no address after the offers' time")
	}
}

// With many identifiers a client gets no more addresses than it is let have, and others get theirs.
func TestOneMACIsBounded(t *testing.T) {
	w := newWorld(t, nil)
	have := map[string]bool{}
	for i := range 300 {
		have[w.lease(mac(1), clientID(fmt.Sprintf("id%d", i)))] = true
	}
	delete(have, "nothing")
	if len(have) != maxPerMAC {
		t.Errorf("it has %d addresses; want %d", len(have), maxPerMAC)
	}
	if _, got := w.ask(message(dhcpv4.MessageTypeRequest, mac(1), clientID("more"), asking("10.0.0.250"))); got != "NAK 0.0.0.0" {
		t.Errorf("one more: %s", got)
	}
	if got := w.lease(mac(2)); got == "nothing" || have[got] {
		t.Errorf("client 2 has %s", got)
	}
	if got := w.lease(mac(2), clientID("id0")); got == "nothing" || !have[got] {
		t.Errorf("the first identifier on another NIC has %s; want the address that it had", got)
	}
	w.clock = w.clock.Add(time.Hour)
	if got := w.lease(mac(1), clientID("more")); got == "nothing" {
		t.Error("there is no address after the leases' time")
	}
}
