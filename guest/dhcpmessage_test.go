package guest

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func testQuery(kind byte) []byte {
	q := query{kind: kind, xid: 7, mac: testMAC, hostname: "box", address: ip4{10, 0, 0, 9}, server: ip4{10, 0, 0, 1}}
	return q.encode()
}

// leaseFrom reads a whole answer.
func leaseFrom(b []byte) (*lease, error) {
	r, err := parseReply(b, 7, testMAC)
	if err != nil {
		return nil, err
	}
	return leaseOf(r, 0)
}

var fullOptions = []byte{
	optMask, 4, 255, 255, 254, 0, 0 /* padding */, optRouter, 8, 10, 0, 0, 1, 10, 0, 0, 2, optDNS, 8, 10, 0, 0, 1, 8, 8, 8, 8,
	optMTU, 2, 5, 0, optSeconds, 4, 0, 0, 0, 100, optT1, 4, 0, 0, 0, 10, optT2, 4, 0, 0, 0, 20, optDomain, 3, 'l', 'a', 'b',
	optRoutes, 14, 16, 10, 50, 10, 0, 0, 9, 0, 10, 0, 0, 3, 32, 1, // goes on in the next part (RFC 3396)
	optRoutes, 7, 2, 3, 4, 0, 0, 0, 0,
	optSearch, 14, 3, 'l', 'a', 'b', 0, 1, 'a', 0xc0, 0, 1, 'b', 0xc0, 5, 0,
}

func TestLeaseOf(t *testing.T) {
	got, err := leaseFrom(respond(testQuery(dhcpRequest), dhcpAck, ip4{10, 0, 0, 9}, fullOptions[:len(fullOptions)-16]...))
	want := &lease{
		addr: prefix4{ip4{10, 0, 0, 9}, 23}, broadcast: ip4{10, 0, 1, 255}, server: ip4{10, 0, 0, 1}, router: ip4{10, 0, 0, 1},
		dns: []ip4{{10, 0, 0, 1}, {8, 8, 8, 8}}, search: []string{"lab"}, mtu: 1280, seconds: 100, t1: 10, t2: 20,
		routes: []destination{{prefix4{ip4{10, 50}, 16}, ip4{10, 0, 0, 9}}, {prefix4{ip4{}, 0}, ip4{10, 0, 0, 3}}, {prefix4{ip4{1, 2, 3, 4}, 32}, ip4{}}},
	}
	all := cmp.AllowUnexported(lease{}, prefix4{}, destination{})
	if diff := cmp.Diff(want, got, all); err != nil || diff != "" {
		t.Errorf("leaseOf(): %v, differs (-want +got):\n%s", err, diff)
	}
	if gw := got.gateway(); gw != (ip4{10, 0, 0, 3}) {
		t.Errorf("gateway() = %v; want that of the classless routes", gw)
	}
}

// TestOverload puts options into the fields of a file's and a server's name.
func TestOverload(t *testing.T) {
	b := respond(testQuery(dhcpRequest), dhcpAck, ip4{10, 0, 0, 9}, append(seconds(60), optOverload, 1, 3)...)
	copy(b[atFile:], []byte{optMask, 4, 255, 255, 255, 0, optEnd})
	copy(b[atSName:], []byte{optRouter, 4, 10, 0, 0, 7, optEnd})
	l, err := leaseFrom(b)
	if err != nil || l.addr.bits != 24 || l.router != (ip4{10, 0, 0, 7}) {
		t.Errorf("leaseOf() = %+v, %v", l, err)
	}
}

func TestReplyRefuses(t *testing.T) {
	sec := seconds(60)
	with := func(o ...byte) []byte {
		return respond(testQuery(dhcpRequest), dhcpAck, ip4{10, 0, 0, 9}, append(o, sec...)...)
	}
	broken := func(at int, v byte) []byte {
		b := with()
		b[at] = v
		return b
	}
	for _, tc := range []struct {
		name string
		in   []byte
		want error // nil: any
	}{
		{"nothing", nil, errNoReply},
		{"no options", with()[:atOptions], errNoReply},
		{"a request", broken(0, 1), errNoReply},
		{"another number", broken(atXID, 9), errNoReply},
		{"another station", broken(atCHAddr, 9), errNoReply},
		{"no cookie", broken(atCookie, 9), errNoReply},
		{"an option beyond the end", with()[:atOptions+8], errOptions},
		{"an option without a length", append(with()[:atOptions+9], optMask), errOptions},
		{"a mask of three bytes", with(optMask, 3, 255, 255, 255), nil},
		{"a mask with a gap", with(optMask, 4, 255, 0, 255, 0), nil},
		{"half a router", with(optRouter, 2, 1, 2), nil},
		{"a route of 33 bits", with(optRoutes, 10, 33, 1, 2, 3, 4, 5, 1, 2, 3, 4), nil},
		{"half a route", with(optRoutes, 3, 8, 10, 1), nil},
		{"a name that leads to itself", with(optSearch, 2, 0xc0, 0), nil},
		{"a name that leads forward", with(optSearch, 4, 0xc0, 2, 1, 'a'), nil},
		{"half a name", with(optSearch, 2, 5, 'a'), nil},
		{"no time", respond(testQuery(dhcpRequest), dhcpAck, ip4{10, 0, 0, 9}), nil},
		{"everybody's address", respond(testQuery(dhcpRequest), dhcpAck, broadcast4, sec...), nil},
	} {
		l, err := leaseFrom(tc.in)
		if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: %+v, %v; want error %v", tc.name, l, err, tc.want)
		}
	}
}

func TestDomainNames(t *testing.T) {
	// What a server says goes into resolv.conf, so it may hold nothing but names.
	for in, want := range map[string]string{
		"lab": "lab", "lab.example\x00": "lab.example", "a b.c": "a|b.c", "x\nnameserver 6.6.6.6": "x|nameserver|6.6.6.6", "a..b": "",
		"öst": "", strings.Repeat("a", 64): "", "a;b ok": "ok",
	} {
		o := append([]byte{optDomain, byte(len(in))}, in...)
		l, err := leaseFrom(respond(testQuery(dhcpRequest), dhcpAck, ip4{10, 0, 0, 9}, append(o, seconds(60)...)...))
		if err != nil || strings.Join(l.search, "|") != want {
			t.Errorf("domain %q: %+v, %v; want %q", in, l, err, want)
		}
	}
	l, err := searchList([]byte{3, 'l', 'a', 'b', 0, 1, 'a', 0xc0, 0, 1, 'b', 0xc0, 5})
	if diff := cmp.Diff([]string{"lab", "a.lab", "b.a.lab"}, l); err != nil || diff != "" {
		t.Errorf("searchList(): %v, differs (-want +got):\n%s", err, diff)
	}
}

func TestPackets(t *testing.T) {
	message := testQuery(dhcpDiscover)
	p := udpPacket(ip4{}, broadcast4, message)
	p[ipHeader], p[ipHeader+1], p[ipHeader+2], p[ipHeader+3] = 0, serverPort, 0, clientPort // as a server's: the sum is the same
	if got := udpPayload(append(p, 1, 2, 3)); !bytes.Equal(got, message) {                  // what is behind it pads the frame
		t.Fatalf("udpPayload() = %x; want %x", got, message)
	}
	for i := range p {
		b := append([]byte(nil), p...)
		b[i] ^= 0x10
		if udpPayload(b) != nil {
			t.Errorf("with byte %d changed it is taken", i)
		}
	}
	for n := range p {
		if udpPayload(p[:n]) != nil {
			t.Errorf("the first %d bytes are taken", n)
		}
	}
	b := append([]byte(nil), p...)
	b[ipHeader+6], b[ipHeader+7] = 0, 0
	if udpPayload(b) == nil {
		t.Error("a packet without a checksum is not taken")
	}
	sum := onesSum(unix.IPPROTO_UDP+uint32(udpHeader+len(message)), b[12:ipHeader])
	b[ipHeader+6], b[ipHeader+7] = byte(sum>>8), byte(sum)
	if udpPayload(b) == nil {
		t.Error("a packet whose checksum the card was to finish is not taken")
	}
}

// FuzzReply holds that nothing a server sends makes the client panic, and that what is taken can be set and written down.
func FuzzReply(f *testing.F) {
	f.Add(respond(testQuery(dhcpRequest), dhcpAck, ip4{10, 0, 0, 9}, fullOptions...)[atYIAddr:])
	f.Add(respond(testQuery(dhcpDiscover), dhcpOffer, ip4{10, 0, 0, 9}, append(seconds(60), optOverload, 1, 3)...)[atYIAddr:])
	f.Add([]byte{})
	head := testQuery(dhcpDiscover)
	f.Fuzz(func(t *testing.T, in []byte) {
		b := append(append([]byte(nil), head[:atYIAddr]...), in...)
		b[0] = 2
		if len(b) >= atOptions {
			copy(b[atCHAddr:], head[atCHAddr:atSName])
			copy(b[atCookie:], head[atCookie:atOptions])
		}
		udpPayload(in)
		l, err := leaseFrom(b)
		if err != nil {
			return
		}
		if l.seconds < leastSeconds || l.t1 <= 0 || l.t1 >= l.t2 || l.t2 >= l.seconds || l.addr.bits < 0 || l.addr.bits > 32 {
			t.Errorf("%+v: its times or its mask can't be", l)
		}
		for _, line := range strings.Split(strings.TrimSuffix(resolvLines([]string{"10.0.0.1"}, l.search), "\n"), "\n") {
			if !strings.HasPrefix(line, "nameserver 10.0.0.1") && !strings.HasPrefix(line, "search ") || strings.ContainsAny(line, "\r\x00#;") {
				t.Errorf("it writes %q into resolv.conf", line)
			}
		}
	})
}
