package dhcp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// duidOf is the identifier of the n-th client, without its MAC.
func duidOf(n int) dhcpv6.DUID {
	return &dhcpv6.DUIDEN{EnterpriseNumber: 1, EnterpriseIdentifier: []byte{byte(n)}}
}

// linkLocal is the n-th client's address.
func linkLocal(n int) netip.Addr {
	m := mac(n)
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// message6 makes a message of the n-th client with one IA for each of addrs; "": an IA without an address.
func message6(t dhcpv6.MessageType, n int, addrs ...string) *dhcpv6.Message {
	m, err := dhcpv6.NewMessage(dhcpv6.WithClientID(duidOf(n)))
	if err != nil {
		panic(err)
	}
	m.MessageType = t
	for i, a := range addrs {
		ia := &dhcpv6.OptIANA{IaId: [4]byte{3: byte(i)}}
		for f := range strings.FieldsSeq(a) {
			ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: ip(f), ValidLifetime: time.Hour})
		}
		m.AddOption(ia)
	}
	return m
}

// toUs adds the server's identifier.
func (w *world) toUs(m *dhcpv6.Message) *dhcpv6.Message {
	m.AddOption(dhcpv6.OptServerID(w.duid))
	return m
}

// ask6 hands a message to the server over the wire, and says in short what it answers.
func (w *world) ask6(m *dhcpv6.Message, n int) (resp *dhcpv6.Message, short string) {
	w.Helper()
	req, err := decode6(m.ToBytes())
	if err != nil {
		w.Fatal(err)
	}
	got := w.HandleV6(req, linkLocal(n))
	if got == nil {
		return nil, "nothing"
	}
	resp, err = dhcpv6.MessageFromBytes(got.ToBytes())
	if err != nil {
		w.Fatalf("the answer is malformed: %v", err)
	}
	if resp.TransactionID != m.TransactionID || !w.duid.Equal(resp.Options.ServerID()) || !sameDUID(m.Options.ClientID(), resp.Options.ClientID()) {
		w.Errorf("the answer is not one to the question: %v", resp)
	}
	return resp, short6(resp)
}

func sameDUID(a, b dhcpv6.DUID) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(b)
}

func short6(resp *dhcpv6.Message) string {
	s := []string{resp.MessageType.String()}
	if o := resp.Options.Status(); o != nil {
		s = append(s, o.StatusCode.String())
	}
	for _, ia := range resp.Options.IANA() {
		if o := ia.Options.Status(); o != nil {
			s = append(s, fmt.Sprintf("%d:%v", ia.IaId[3], o.StatusCode))
		}
		for _, a := range ia.Options.Addresses() {
			s = append(s, fmt.Sprintf("%d:%v/%v", ia.IaId[3], a.IPv6Addr, a.ValidLifetime))
		}
	}
	return strings.Join(s, " ")
}

// lease6 gets an address for one IA.
func (w *world) lease6(n int) string {
	w.Helper()
	adv, s := w.ask6(message6(dhcpv6.MessageTypeSolicit, n, ""), n)
	if adv == nil || adv.Options.OneIANA().Options.OneAddress() == nil {
		return s
	}
	addr := adv.Options.OneIANA().Options.OneAddress().IPv6Addr.String()
	if _, s := w.ask6(w.toUs(message6(dhcpv6.MessageTypeRequest, n, addr)), n); s != "REPLY 0:"+addr+"/1h0m0s" {
		w.Fatalf("request of %s: %s", addr, s)
	}
	return addr
}

func TestMessages6(t *testing.T) {
	type msg = *dhcpv6.Message
	rapid := func(m msg) msg {
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
		return m
	}
	other := func(m msg) msg {
		m.AddOption(dhcpv6.OptServerID(duidOf(77)))
		return m
	}
	const (
		solicit, request, renew, rebind = dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind
		confirm, release, declines      = dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline
		info                            = dhcpv6.MessageTypeInformationRequest
	)
	// Client 1 has fd00::50, the address of client 9 is reserved.
	for _, tt := range []struct {
		name string
		n    int
		m    msg
		ours bool // with the server's identifier
		want string
	}{
		{"solicit", 2, message6(solicit, 2, "fd00::60"), false, "ADVERTISE 0:fd00::60/1h0m0s"},
		{"solicit, rapid", 2, rapid(message6(solicit, 2, "fd00::60")), false, "REPLY 0:fd00::60/1h0m0s"},
		{"solicit to a server", 2, message6(solicit, 2, ""), true, "nothing"},
		{"solicit without addresses", 2, message6(solicit, 2), false, "ADVERTISE"},
		{"solicit of a Host", 9, message6(solicit, 9, "fd00::60"), false, "ADVERTISE 0:fd00::9/1h0m0s"},
		{"request", 2, message6(request, 2, "fd00::60", "fd00::61"), true, "REPLY 0:fd00::60/1h0m0s 1:fd00::61/1h0m0s"},
		{"request from another network", 2, message6(request, 2, "fd99::60"), true, "REPLY 0:NotOnLink"},
		{"request to no server", 2, message6(request, 2, "fd00::60"), false, "nothing"},
		{"request to another server", 2, other(message6(request, 2, "fd00::60")), false, "nothing"},
		{"renew", 1, message6(renew, 1, "fd00::50"), true, "REPLY 0:fd00::50/1h0m0s"},
		{"renew with an old address, too", 1, message6(renew, 1, "fd00::50 fd00::51"), true, "REPLY 0:fd00::50/1h0m0s 0:fd00::51/0s"},
		{"renew of an unknown client, free", 2, message6(renew, 2, "fd00::60"), true, "REPLY 0:fd00::60/1h0m0s"},
		{"renew of an unknown client, taken", 2, message6(renew, 2, "fd00::50"), true, "REPLY 0:NoBinding"},
		{"renew of an unknown client, reserved", 2, message6(renew, 2, "fd00::9"), true, "REPLY 0:NoBinding"},
		{"rebind", 1, message6(rebind, 1, "fd00::50"), false, "REPLY 0:fd00::50/1h0m0s"},
		{"rebind of an unknown client, taken", 2, message6(rebind, 2, "fd00::50"), false, "REPLY 0:fd00::50/0s"},
		{"rebind from another network", 2, message6(rebind, 2, "fd99::50"), false, "REPLY 0:fd99::50/0s"},
		{"rebind without an address", 2, message6(rebind, 2, ""), false, "REPLY 0:NoBinding"},
		{"confirm", 1, message6(confirm, 1, "fd00::50"), false, "REPLY Success"},
		{"confirm from another network", 1, message6(confirm, 1, "fd00::50", "fd99::1"), false, "REPLY NotOnLink"},
		{"confirm of nothing", 1, message6(confirm, 1, ""), false, "nothing"},
		{"release", 1, message6(release, 1, "fd00::50"), true, "REPLY Success"},
		{"release of another's", 2, message6(release, 2, "fd00::50"), true, "REPLY Success 0:NoBinding"},
		{"decline", 1, message6(declines, 1, "fd00::50"), true, "REPLY Success"},
		{"information", 2, message6(info, 2), false, "REPLY"},
		{"information about an address", 2, message6(info, 2, ""), false, "nothing"},
		{"advertise", 2, message6(dhcpv6.MessageTypeAdvertise, 2, ""), false, "nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) {
				c.Hosts = []Host{{MAC: mac(9), Addr6: netip.MustParseAddr("fd00::9")}}
				c.Range6 = ranges("fd00::50-fd00::70")
			})
			if _, got := w.ask6(rapid(message6(solicit, 1, "fd00::50")), 1); got != "REPLY 0:fd00::50/1h0m0s" {
				t.Fatalf("client 1: %s", got)
			}
			if tt.ours {
				tt.m = w.toUs(tt.m)
			}
			if _, got := w.ask6(tt.m, tt.n); got != tt.want {
				t.Errorf("answer = %s; want %s", got, tt.want)
			}
		})
	}
}

func TestLease6GoesOnAndEnds(t *testing.T) {
	w := newWorld(t, nil)
	addr := w.lease6(1)
	w.clock = w.clock.Add(30 * time.Minute)
	resp, _ := w.ask6(w.toUs(message6(dhcpv6.MessageTypeRenew, 1, addr)), 1)
	if ia := resp.Options.OneIANA(); ia.T1 != 30*time.Minute || ia.T2 != 48*time.Minute {
		t.Errorf("T1, T2 = %v, %v", ia.T1, ia.T2)
	}
	if l := w.Leases(); len(l) != 1 || l[0].Expires != w.clock.Add(time.Hour) || l[0].MAC.String() != mac(1).String() || !bytes.Equal(l[0].ClientID, duidOf(1).ToBytes()) {
		t.Errorf("leases = %v", l)
	}
	w.ask6(w.toUs(message6(dhcpv6.MessageTypeRelease, 1, addr)), 1)
	if again := w.lease6(1); again != addr {
		t.Errorf("a client that comes back has %s; want %s", again, addr)
	}
	w.clock = w.clock.Add(time.Hour)
	w.Leases()
	w.lease6(2)
	w.ask6(w.toUs(message6(dhcpv6.MessageTypeDecline, 2, w.Leases()[0].Addr.String())), 2)
	two := w.Leases()[0].Addr
	if got, want := w.told(), fmt.Sprintf("[leased %s renewed %s released %s leased %s expired %s leased %s declined %s]", addr, addr, addr, addr, addr, two, two); got != want {
		t.Errorf("events = %s; want %s", got, want)
	}
	if got := w.lease6(2); got == two.String() {
		t.Errorf("client 2 has %s again, which is in use elsewhere", got)
	}
}

// The address of a Host is for one IA of it, and goes to the machine's next system.
func TestHost6(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Hosts = []Host{{MAC: mac(9), Addr6: netip.MustParseAddr("fd00::9"), Name: "nine"}} })
	resp, got := w.ask6(w.toUs(message6(dhcpv6.MessageTypeRequest, 9, "", "")), 9)
	if ias := resp.Options.IANA(); !strings.HasPrefix(got, "REPLY 0:fd00::9/1h0m0s 1:fd00:") || ias[1].Options.OneAddress().IPv6Addr.Equal(ip("fd00::9")) {
		t.Errorf("answer = %s", got)
	}
	second := resp.Options.IANA()[1].Options.OneAddress().IPv6Addr
	both := message6(dhcpv6.MessageTypeRenew, 9, "fd00::9", second.String())
	slices.Reverse(both.Options.Options)
	if _, got := w.ask6(w.toUs(both), 9); got != fmt.Sprintf("REPLY 1:%v/1h0m0s 0:fd00::9/1h0m0s", second) {
		t.Errorf("renewal in another order: %s", got)
	}
	if _, got := w.ask6(message6(dhcpv6.MessageTypeSolicit, 10, ""), 9); got != "ADVERTISE 0:fd00::9/1h0m0s" {
		t.Errorf("with another DUID: %s", got)
	}
	if l := w.Leases()[0]; l.Hostname != "nine" || !l.Reserved {
		t.Errorf("lease = %+v", l)
	}
}

func TestStateless6(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Stateless6 = true })
	for _, tt := range []struct {
		m    *dhcpv6.Message
		want string
	}{
		{message6(dhcpv6.MessageTypeSolicit, 1, ""), "ADVERTISE 0:NoAddrsAvail"},
		{w.toUs(message6(dhcpv6.MessageTypeRequest, 1, "fd00::50")), "REPLY 0:NoAddrsAvail"},
		{w.toUs(message6(dhcpv6.MessageTypeRenew, 1, "fd00::50")), "REPLY 0:NoBinding"},
		{message6(dhcpv6.MessageTypeInformationRequest, 1), "REPLY"},
	} {
		if _, got := w.ask6(tt.m, 1); got != tt.want {
			t.Errorf("answer = %s; want %s", got, tt.want)
		}
	}
}

func TestExhausted6(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Range6 = ranges("fd00::50") })
	w.lease6(1)
	for n := 2; n < 5; n++ {
		if _, got := w.ask6(message6(dhcpv6.MessageTypeSolicit, n, ""), n); got != "ADVERTISE 0:NoAddrsAvail" {
			t.Errorf("client %d: %s", n, got)
		}
	}
	if got := w.told(); got != "[leased fd00::50 exhausted invalid IP]" {
		t.Errorf("events = %s", got)
	}
}

func TestOptions6(t *testing.T) {
	w := newWorld(t, everything)
	all := []string{"DNS: [fd00::1]", "Domain Search List: [lab.test test]", "NTP: [Server Address: fd00::1]"}
	for _, tt := range []struct {
		name  string
		codes []dhcpv6.OptionCode
		want  []string
	}{
		{"all", nil, all},
		{"one", []dhcpv6.OptionCode{dhcpv6.OptionDomainSearchList}, all[1:2]},
		{"time", []dhcpv6.OptionCode{dhcpv6.OptionNTPServer, dhcpv6.OptionInformationRefreshTime}, []string{all[2], "Information Refresh Time: 1h0m0s"}},
	} {
		m := message6(dhcpv6.MessageTypeInformationRequest, 1)
		m.Options.Del(dhcpv6.OptionClientID) // section 18.2.6: it may be left out
		if tt.codes != nil {
			m.AddOption(dhcpv6.OptRequestedOption(tt.codes...))
		}
		resp, _ := w.ask6(m, 1)
		var got []string
		for _, o := range resp.Options.Options {
			if o.Code() != dhcpv6.OptionServerID {
				got = append(got, o.String())
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: options differ (-want +got):\n%s", tt.name, diff)
		}
	}
	resp, _ := w.ask6(message6(dhcpv6.MessageTypeSolicit, 1, ""), 1)
	if p := resp.Options.Preference(); p != 255 {
		t.Errorf("preference = %d; want that clients don't wait", p)
	}
}

func TestWhoseMAC(t *testing.T) {
	for _, tt := range []struct {
		from string
		duid dhcpv6.DUID
		want string
	}{
		{"fe80::ff:fe01:203", duidOf(1), "02:00:00:01:02:03"},
		{"fe80::1", &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac(5)}, mac(5).String()},
		{"fe80::1", &dhcpv6.DUIDLLT{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac(5)}, mac(5).String()},
		{"fe80::1", &dhcpv6.DUIDLL{LinkLayerAddr: net.HardwareAddr{1}}, ""},
		{"fe80::1", duidOf(1), ""},
	} {
		w := newWorld(t, nil)
		m := message6(dhcpv6.MessageTypeSolicit, 1, "")
		m.UpdateOption(dhcpv6.OptClientID(tt.duid))
		w.HandleV6(m, netip.MustParseAddr(tt.from))
		if l := w.Leases(); len(l) != 1 || l[0].MAC.String() != tt.want {
			t.Errorf("from %s, %v: leases = %v; want the MAC %q", tt.from, tt.duid, l, tt.want)
		}
	}
}

func TestNames6(t *testing.T) {
	for _, tt := range []struct{ name, want string }{{"web.example", "web"}, {"we b", ""}, {"", ""}} {
		w := newWorld(t, nil)
		m := message6(dhcpv6.MessageTypeSolicit, 1, "")
		m.AddOption(&dhcpv6.OptFQDN{DomainName: &rfc1035label.Labels{Labels: []string{tt.name}}})
		w.ask6(m, 1)
		if l := w.Leases(); len(l) != 1 || l[0].Hostname != tt.want {
			t.Errorf("%q: leases = %v; want the name %q", tt.name, l, tt.want)
		}
	}
}

// Compressed names take the library a time that grows with the square of their length: they must not come to it.
func TestDecode6TakesLittle(t *testing.T) {
	var names []byte
	for len(names) < 30000 {
		names = append(names, 1, 'a')
	}
	names = append(names, 0)
	for len(names) < 60000 {
		names = append(names, 0xc0, 0)
	}
	for _, code := range []dhcpv6.OptionCode{dhcpv6.OptionFQDN, dhcpv6.OptionDomainSearchList, dhcpv6.OptionNTPServer} {
		inner := appendOption(nil, code, names)
		for _, b := range [][]byte{
			appendOption([]byte{1, 0, 0, 0}, code, names),
			appendOption([]byte{1, 0, 0, 0}, dhcpv6.OptionIANA, append(make([]byte, headerIA), inner...)),
			appendOption([]byte{1, 0, 0, 0}, dhcpv6.OptionIANA, append(make([]byte, headerIA), appendOption(nil, dhcpv6.OptionIAAddr, append(make([]byte, headerAddr), inner...))...)),
		} {
			m, err := decode6(b)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(m.ToBytes()); n > 100 {
				t.Errorf("option %v: %d bytes are left; want none of the names", code, n)
			}
		}
	}
}

func TestMalformed6(t *testing.T) {
	for _, b := range [][]byte{
		nil, {1, 2, 3},
		{1, 0, 0, 0, 0, 1, 0},
		{1, 0, 0, 0, 0, 1, 0, 5, 1},
		append([]byte{1, 0, 0, 0, 0, 1, 0, 200}, make([]byte, 200)...), // a DUID that is too long
		{1, 0, 0, 0, 0, 3, 0, 2, 0, 0},                                 // half an IA
		append([]byte{1, 0, 0, 0, 0, 3, 0, 18}, append(make([]byte, 12), 0, 5, 0, 2, 0, 0)...),
		{12, 0, 0, 0}, // of a relay
	} {
		if m, err := decode6(b); err == nil {
			t.Errorf("decode6(%x) = %v; want an error", b, m)
		}
	}
}
