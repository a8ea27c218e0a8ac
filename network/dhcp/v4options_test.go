package dhcp

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// everything configures all that can be sent.
func everything(c *Config) {
	c.Routers, c.DNS = []netip.Addr{gateway}, []netip.Addr{gateway, netip.MustParseAddr("10.0.0.2")}
	c.NTP = []netip.Addr{gateway, gateway6}
	c.Domain, c.Search = "lab.test", []string{"lab.test", "test."}
	c.MTU = 9000
	c.Routes = []Route{
		{netip.MustParsePrefix("192.168.7.9/20"), netip.MustParseAddr("10.0.0.5")},
		{netip.MustParsePrefix("10.0.0.1/32"), netip.Addr{}},
	}
	c.DNS6 = []netip.Addr{gateway6}
	c.OnLink6, c.Default6 = true, true
	c.Hosts = []Host{{MAC: mac(9), Name: "nine", Addr6: netip.MustParseAddr("fd00::9")}}
}

// sent lists an answer's options, each as its number and its bytes.
func sent(resp *dhcpv4.DHCPv4) (s []string) {
	for n, v := range resp.Options {
		s = append(s, fmt.Sprintf("%3d %x", n, v))
	}
	slices.Sort(s)
	return s
}

func requested(codes ...uint8) dhcpv4.Modifier {
	var l dhcpv4.OptionCodeList
	for _, c := range codes {
		l.Add(dhcpv4.GenericOptionCode(c))
	}
	return dhcpv4.WithOption(dhcpv4.Option{Code: dhcpv4.OptionParameterRequestList, Value: l})
}

func TestOptions(t *testing.T) {
	essential := []string{
		"  1 ffffff00", "  3 0a000001", "  6 0a0000010a000002", " 51 00000e10", " 53 02", " 54 0a000001", " 58 00000708", " 59 00000c4e",
	}
	asked := []string{
		" 12 6e696e65", " 15 6c61622e74657374", " 26 2328", " 28 0a0000ff", " 42 0a000001",
		"119 036c6162047465737400047465737400",
		"121 14c0a8000a000005200a0000010000000000" + "0a000001", // RFC 3442: the default route, too
	}
	for _, tt := range []struct {
		name   string
		config func(*Config)
		mods   []dhcpv4.Modifier
		want   []string
	}{
		{"all that there is", nil, nil, append(slices.Clone(essential), asked...)},
		{"the essential ones", nil, []dhcpv4.Modifier{requested(1)}, essential},
		{"what is asked for", nil, []dhcpv4.Modifier{requested(26, 121, 77)}, append(slices.Clone(essential), asked[2], asked[6])},
		{"own ones", func(c *Config) {
			c.Options = map[uint8][]byte{3: {10, 0, 0, 7}, 6: nil, 26: {2, 0x40}, 150: {1, 2, 3, 4}}
		}, []dhcpv4.Modifier{requested(26)},
			[]string{"  1 ffffff00", "  3 0a000007", " 51 00000e10", " 53 02", " 54 0a000001", " 58 00000708", " 59 00000c4e", " 26 0240", "150 01020304"}},
		{"a default route of one's own", func(c *Config) {
			c.Routes = []Route{{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.0.6")}}
		}, []dhcpv4.Modifier{requested(121)}, append(slices.Clone(essential), "121 000a000006")},
		{"no room", func(c *Config) {
			c.Options = map[uint8][]byte{200: make([]byte, 252)}
		}, []dhcpv4.Modifier{requested(12)}, append(slices.Clone(essential), "200 "+strings.Repeat("00", 252))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) {
				everything(c)
				if tt.config != nil {
					tt.config(c)
				}
			})
			resp, _ := w.ask(message(dhcpv4.MessageTypeDiscover, mac(9), tt.mods...))
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, sent(resp)); diff != "" {
				t.Errorf("options differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInformHasNoLease(t *testing.T) {
	w := newWorld(t, everything)
	resp, got := w.ask(message(dhcpv4.MessageTypeInform, mac(1), dhcpv4.WithClientIP(ip("10.0.0.77")), requested(15)))
	if got != "ACK 0.0.0.0" || !resp.ClientIPAddr.Equal(ip("10.0.0.77")) {
		t.Errorf("answer = %s for %v", got, resp.ClientIPAddr)
	}
	want := []string{"  1 ffffff00", "  3 0a000001", "  6 0a0000010a000002", " 15 6c61622e74657374", " 53 05", " 54 0a000001"}
	if diff := cmp.Diff(want, sent(resp)); diff != "" {
		t.Errorf("options differ (-want +got):\n%s", diff)
	}
	if l := w.Leases(); len(l) != 0 {
		t.Errorf("leases = %v", l)
	}
}

func TestRapidCommit(t *testing.T) {
	w := newWorld(t, nil)
	rapid := dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionRapidCommit, nil))
	resp, got := w.ask(message(dhcpv4.MessageTypeDiscover, mac(1), rapid, asking("10.0.0.9")))
	if got != "ACK 10.0.0.9" || !resp.Options.Has(dhcpv4.OptionRapidCommit) {
		t.Errorf("answer = %s with %v", got, sent(resp))
	}
	if got := w.told(); got != "[leased 10.0.0.9]" {
		t.Errorf("events = %s", got)
	}
}

// An answer is no larger than the client says that it takes, nor than 576 bytes if it says nothing, whatever is configured.
func TestAnswersHaveBoundedSize(t *testing.T) {
	for _, size := range []uint16{0, 100, 576, 1000, 1500, 65535} {
		w := newWorld(t, func(c *Config) {
			everything(c)
			c.Options = map[uint8][]byte{}
			for i := range 40 {
				c.Options[uint8(200+i)] = make([]byte, 60)
			}
		})
		var mods []dhcpv4.Modifier
		limit := smallest
		if size > 0 {
			mods = append(mods, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(size)))
			limit = min(max(int(size), smallest), largest)
		}
		resp, _ := w.ask(message(dhcpv4.MessageTypeDiscover, mac(1), append(mods, clientID(strings.Repeat("x", 200)))...))
		if n := len(resp.ToBytes()) + 28; n > limit || n < limit-80 {
			t.Errorf("a client that takes %d bytes is sent %d; want nearly %d", size, n, limit)
		}
		if !bytes.Equal(resp.Options.Get(dhcpv4.OptionSubnetMask), []byte{255, 255, 255, 0}) {
			t.Errorf("an essential option is missing: %v", sent(resp))
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	long := make([]netip.Addr, maxList+1)
	for i := range long {
		long[i] = gateway
	}
	for _, tt := range []struct {
		want   string // empty: it is good
		change func(*Config)
	}{
		{"", everything},
		{"", func(c *Config) { c.Subnet6 = netip.Prefix{} }},
		{"", func(c *Config) { c.Subnet, c.Server = netip.Prefix{}, netip.Addr{} }},
		{"neither a subnet", func(c *Config) { c.Subnet, c.Subnet6 = netip.Prefix{}, netip.Prefix{} }},
		{"lease time", func(c *Config) { c.Lease = time.Millisecond }},
		{"lease time", func(c *Config) { c.Lease = 200 * 365 * 24 * time.Hour }},
		{"time of renewal", func(c *Config) { c.Renew = time.Millisecond }},
		{"MTU", func(c *Config) { c.MTU = 67 }},
		{"not one of IPv4", func(c *Config) { c.Subnet = c.Subnet6 }},
		{"server identifier", func(c *Config) { c.Server = gateway6 }},
		{"prefix of IPv6", func(c *Config) { c.Subnet6 = c.Subnet }},
		{"not a domain name", func(c *Config) { c.Domain = "a..b" }},
		{"not a domain name", func(c *Config) { c.Search = []string{"a b"} }},
		{"wrong family", func(c *Config) { c.DNS = []netip.Addr{gateway6} }},
		{"wrong family", func(c *Config) { c.DNS6 = []netip.Addr{gateway} }},
		{"more than 15", func(c *Config) { c.NTP = long }},
		{"the routes", func(c *Config) { c.Routes = []Route{{Dst: c.Subnet6}} }},
		{"option 53", func(c *Config) { c.Options = map[uint8][]byte{53: {1}} }},
		{"option 200", func(c *Config) { c.Options = map[uint8][]byte{200: make([]byte, 2000)} }},
		{"no addresses", func(c *Config) { c.Ranges = ranges("10.0.0.9-10.0.0.8") }},
		{"not in 10.0.0.0/24", func(c *Config) { c.Ranges = ranges("10.0.0.9-10.0.1.8") }},
		{"no addresses", func(c *Config) { c.Exclude = []Range{{}} }},
		{"not the MAC of a NIC", func(c *Config) { c.Hosts = []Host{{MAC: mac(1)[:5]}} }},
		{"not a host name", func(c *Config) { c.Hosts = []Host{{MAC: mac(1), Name: "a b"}} }},
		{"not an address for a host", func(c *Config) { c.Hosts = []Host{{MAC: mac(1), Addr: gateway}} }},
		{"not an address for a host", func(c *Config) { c.Hosts = []Host{{MAC: mac(1), Addr6: gateway}} }},
		{"another host's", func(c *Config) { c.Hosts = []Host{{MAC: mac(1)}, {MAC: mac(1)}} }},
		{"another host's", func(c *Config) {
			c.Hosts = []Host{{MAC: mac(1), Addr: gateway.Next()}, {MAC: mac(2), Addr: gateway.Next()}}
		}},
		{"too many name servers", func(c *Config) {
			for range maxList {
				c.DNS6 = append(c.DNS6, gateway6)
				c.Search = append(c.Search, strings.Repeat("abcdefg.", 8)+"test")
			}
		}},
	} {
		c := Config{Server: gateway, Subnet: netip.MustParsePrefix("10.0.0.0/24"), Subnet6: netip.MustParsePrefix("fd00::/64"), Server6: gateway6}
		tt.change(&c)
		_, err := New(c)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New = %v; want %q", err, tt.want)
		}
	}
}
