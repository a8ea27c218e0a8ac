package names

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// zone is one out of a map.
type zone map[string][]string

func (z zone) Lookup(name string) ([]netip.Addr, bool) {
	texts, ok := z[name]
	var addrs []netip.Addr
	for _, a := range texts {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, ok
}

func (z zone) Reverse(a netip.Addr) (string, bool) {
	for name, texts := range z {
		if slices.Contains(texts, a.String()) {
			return name, true
		}
	}
	return "", false
}

// lab is a network as they are.
var lab = zone{
	"router":        {"10.77.0.1", "fd00:77::1"},
	"a":             {"10.77.0.100"},
	"db.a":          {"10.77.0.101"},
	"host.internal": {"10.77.0.2"},
	"starting":      nil,
	"many":          manyAddresses(200),
}

func manyAddresses(n int) []string {
	var addrs []string
	for i := range n {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, 78, 0, byte(i)}).String())
	}
	return addrs
}

// labConfig is what most tests serve.
func labConfig() Config {
	return Config{
		Domain: "Lab.Internal.", Zone: lab,
		Local: []netip.Prefix{netip.MustParsePrefix("10.77.0.5/22"), netip.MustParsePrefix("fd00:77::/64")},
	}
}

// serve serves until the test ends, and returns where.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	pc, l := listen(t)
	addr := pc.LocalAddr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, pc, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Serve goes on though its context has ended")
		}
	})
	return addr
}

// listen returns sockets at one address.
func listen(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l
		}
		_ = pc.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

// ask asks a server. Its answer must have the question.
func ask(t *testing.T, network, addr string, q *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, Timeout: 20 * time.Second, UDPSize: dns.MaxMsgSize}
	r, _, err := c.Exchange(q, addr)
	if err != nil {
		t.Fatalf("%s %s: %v", network, q.Question[0].String(), err)
	}
	if !r.Response || r.Id != q.Id || len(r.Question) != 1 || r.Question[0] != q.Question[0] {
		t.Fatalf("%s: not its answer:\n%s", q.Question[0].String(), r)
	}
	return r
}

func question(name string, qtype uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(name, qtype)
}

// show says in one line what a reply holds: code, flags, answers, and the owner of the SOA.
func show(r *dns.Msg) string {
	words := []string{dns.RcodeToString[r.Rcode]}
	flags := map[string]bool{"aa": r.Authoritative, "tc": r.Truncated, "rd": r.RecursionDesired, "ra": r.RecursionAvailable, "ad": r.AuthenticatedData, "cd": r.CheckingDisabled}
	for _, f := range []string{"aa", "tc", "rd", "ra", "ad", "cd"} {
		if flags[f] {
			words = append(words, f)
		}
	}
	for _, rr := range r.Answer {
		words = append(words, strings.Join(strings.Fields(rr.String()), " "))
	}
	for _, rr := range r.Ns {
		words = append(words, "below "+rr.Header().Name)
	}
	return strings.Join(words, "|")
}

func TestZone(t *testing.T) {
	addr := serve(t, New(labConfig()))
	tests := []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"router.", dns.TypeA, "NOERROR|aa|rd|router. 5 IN A 10.77.0.1"},
		{"router.", dns.TypeAAAA, "NOERROR|aa|rd|router. 5 IN AAAA fd00:77::1"},
		{"RouteR.lAb.internal.", dns.TypeA, "NOERROR|aa|rd|RouteR.lAb.internal. 5 IN A 10.77.0.1"},
		{"a.lab.internal.", dns.TypeAAAA, "NOERROR|aa|rd|below lab.internal."},
		{"a.", dns.TypeMX, "NOERROR|aa|rd|below ."},
		{"db.a.lab.internal.", dns.TypeA, "NOERROR|aa|rd|db.a.lab.internal. 5 IN A 10.77.0.101"},
		{"db.a.", dns.TypeA, "NOERROR|aa|rd|db.a. 5 IN A 10.77.0.101"},
		{"host.internal.", dns.TypeA, "NOERROR|aa|rd|host.internal. 5 IN A 10.77.0.2"},
		{"starting.", dns.TypeA, "NOERROR|aa|rd|below ."},
		{"nobody.", dns.TypeA, "NXDOMAIN|aa|rd|below ."},
		{"nobody.lab.internal.", dns.TypeA, "NXDOMAIN|aa|rd|below lab.internal."},
		{`x\.lab.internal.`, dns.TypeA, "REFUSED|rd"},
		{`\000\255\".lab.internal.`, dns.TypeA, "NXDOMAIN|aa|rd|below lab.internal."},
		{"lab.internal.", dns.TypeA, "NOERROR|aa|rd|below lab.internal."},
		{"lab.internal.", dns.TypeSOA, "NOERROR|aa|rd|lab.internal. 5 IN SOA localhost. nobody.invalid. 1 3600 1200 604800 5"},
		{"internal.", dns.TypeDS, "NXDOMAIN|aa|rd|below ."},
		{"a.onion.", dns.TypeA, "NXDOMAIN|aa|rd|below ."},
		{"localhost.", dns.TypeA, "NOERROR|aa|rd|localhost. 5 IN A 127.0.0.1"},
		{"a.LOCALHOST.", dns.TypeAAAA, "NOERROR|aa|rd|a.LOCALHOST. 5 IN AAAA ::1"},
		{"router.", dns.TypeANY, `NOERROR|aa|rd|router. 5 IN HINFO "RFC8482" ""`},
		{"1.0.77.10.in-addr.arpa.", dns.TypePTR, "NOERROR|aa|rd|1.0.77.10.in-addr.arpa. 5 IN PTR router.lab.internal."},
		{"1.0.77.10.IN-ADDR.arpa.", dns.TypeA, "NOERROR|aa|rd|below 77.10.in-addr.arpa."},
		{"9.3.77.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN|aa|rd|below 77.10.in-addr.arpa."},
		{"3.77.10.in-addr.arpa.", dns.TypePTR, "NOERROR|aa|rd|below 77.10.in-addr.arpa."},
		{"x.3.77.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN|aa|rd|below 77.10.in-addr.arpa."},
		{"01.0.77.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN|aa|rd|below 77.10.in-addr.arpa."},
		{"1.4.77.10.in-addr.arpa.", dns.TypePTR, "REFUSED|rd"},
		{"10.in-addr.arpa.", dns.TypeNS, "REFUSED|rd"},
		{"1.0.0.127.in-addr.arpa.", dns.TypePTR, "NOERROR|aa|rd|1.0.0.127.in-addr.arpa. 5 IN PTR localhost."},
		{"1.0.254.169.in-addr.arpa.", dns.TypePTR, "NXDOMAIN|aa|rd|below 254.169.in-addr.arpa."},
		{"example.com.", dns.TypeA, "REFUSED|rd"},
		{"com.", dns.TypeDS, "REFUSED|rd"},
		{".", dns.TypeNS, "REFUSED|rd"},
		{"example.com.", dns.TypeANY, "NOTIMP|rd"},
		{"lab.internal.", dns.TypeAXFR, "REFUSED|rd"},
		{"lab.internal.", dns.TypeIXFR, "REFUSED|rd"},
		{"a.", dns.TypeMAILB, "REFUSED|rd"},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+dns.TypeToString[tt.qtype], func(t *testing.T) {
			for _, network := range []string{"udp", "tcp"} {
				if got := show(ask(t, network, addr, question(tt.name, tt.qtype))); got != tt.want {
					t.Errorf("%s: got %s, want %s", network, got, tt.want)
				}
			}
		})
	}
}

func TestReverse6(t *testing.T) {
	addr := serve(t, New(labConfig()))
	for a, want := range map[string]string{
		"fd00:77::1": "NOERROR|aa|rd|" + reverse(t, "fd00:77::1") + " 5 IN PTR router.lab.internal.",
		"fd00:77::2": "NXDOMAIN|aa|rd|below " + strings.Join(strings.Split(reverse(t, "fd00:77::"), ".")[16:], "."),
		"fd00:78::1": "REFUSED|rd",
		"fe80::1":    "NXDOMAIN|aa|rd|below e.f.ip6.arpa.",
		"::1":        "NOERROR|aa|rd|" + reverse(t, "::1") + " 5 IN PTR localhost.",
	} {
		if got := show(ask(t, "udp", addr, question(reverse(t, a), dns.TypePTR))); got != want {
			t.Errorf("%s: got %s, want %s", a, got, want)
		}
	}
}

func reverse(t *testing.T, addr string) string {
	t.Helper()
	r, err := dns.ReverseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestWithoutDomain holds that a network without a domain has plain names only.
func TestWithoutDomain(t *testing.T) {
	addr := serve(t, New(Config{Zone: lab}))
	for name, want := range map[string]string{
		"a.":                        "NOERROR|aa|rd|a. 5 IN A 10.77.0.100",
		"a.lab.internal.":           "REFUSED|rd",
		"100.0.77.10.in-addr.arpa.": "",
	} {
		qtype := dns.TypeA
		if want == "" {
			qtype, want = dns.TypePTR, "NOERROR|aa|rd|"+name+" 5 IN PTR a."
		}
		if got := show(ask(t, "udp", addr, question(name, qtype))); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestOtherClasses(t *testing.T) {
	addr := serve(t, New(labConfig()))
	for _, class := range []uint16{dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassANY, dns.ClassNONE, 0} {
		q := question("version.bind.", dns.TypeTXT)
		q.Question[0].Qclass = class
		if got := show(ask(t, "udp", addr, q)); got != "REFUSED|rd" {
			t.Errorf("class %d: got %s", class, got)
		}
	}
}

// TestTruncated holds that no answer is longer than the client takes, and that all of it is to be had by TCP.
func TestTruncated(t *testing.T) {
	addr := serve(t, New(labConfig()))
	for _, tt := range []struct{ edns, most int }{{0, 512}, {100, 512}, {800, 800}, {4096, maxPayload}} {
		q := question("many.", dns.TypeA)
		if tt.edns > 0 {
			q.SetEdns0(uint16(tt.edns), true)
		}
		r := ask(t, "udp", addr, q)
		r.Compress = true
		if !r.Truncated || len(r.Answer) == 0 || r.Len() > tt.most {
			t.Errorf("with a buffer of %d: %d bytes, %d answers, truncated %v", tt.edns, r.Len(), len(r.Answer), r.Truncated)
		}
		if opt := r.IsEdns0(); (opt != nil) != (tt.edns > 0) || opt != nil && (!opt.Do() || opt.UDPSize() != maxPayload) {
			t.Errorf("with a buffer of %d: EDNS is %v", tt.edns, opt)
		}
		if r := ask(t, "tcp", addr, q); r.Truncated || len(r.Answer) != 200 {
			t.Errorf("by TCP: %d answers, truncated %v", len(r.Answer), r.Truncated)
		}
	}
}

// TestMalformed sends what is no query, and then one: that is answered.
func TestMalformed(t *testing.T) {
	good, err := question("a.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte) []byte) string { return string(f(slices.Clone(good))) }
	tests := []struct{ name, query, want string }{
		{"empty", "", ""},
		{"short", string(good[:11]), ""},
		{"a response", change(func(b []byte) []byte { b[2] |= 0x80; return b }), ""},
		{"another opcode", change(func(b []byte) []byte { b[2] = dns.OpcodeUpdate << 3; return b }), "NOTIMP"},
		{"two questions", change(func(b []byte) []byte { b[5] = 2; return b }), "FORMERR"},
		{"no question", string(good[:5]) + "\x00" + string(good[6:12]), "FORMERR"},
		{"an answer", change(func(b []byte) []byte { b[7] = 1; return b }), "FORMERR"},
		{"cut off", string(good[:len(good)-1]), "FORMERR"},
		{"a name that points to itself", string(good[:12]) + "\xc0\x0c\x00\x01\x00\x01", "FORMERR"},
		{"two OPT records", change(func(b []byte) []byte {
			const opt = "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
			b[11] = 2
			return append(b, opt+opt...)
		}), "FORMERR"},
		{"another EDNS", change(func(b []byte) []byte { b[11] = 1; return append(b, "\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00"...) }), dns.RcodeToString[dns.RcodeBadVers] + "|rd"},
	}
	addr := serve(t, New(labConfig()))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.Dial("udp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			want := []string{tt.want, "NOERROR|aa|rd|a. 5 IN A 10.77.0.100"}
			if tt.want == "" {
				want = want[1:]
			}
			for _, b := range []string{tt.query, string(good)} {
				if _, err := io.WriteString(c, b); err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range want {
				b := make([]byte, 512)
				n, err := c.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				r := new(dns.Msg)
				if err := r.Unpack(b[:n]); err != nil {
					t.Fatal(err)
				}
				if got := show(r); got != want || [2]byte(b) != [2]byte(good) {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
}

// TestTCP holds what a connection may do: ask several times, but neither wait nor send what is too long.
func TestTCP(t *testing.T) {
	cfg := labConfig()
	cfg.IdleTimeout = 300 * time.Millisecond
	addr := serve(t, New(cfg))
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	co := &dns.Conn{Conn: dial()}
	for range 3 {
		if err := co.WriteMsg(question("a.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		if r, err := co.ReadMsg(); err != nil || len(r.Answer) != 1 {
			t.Fatalf("got %v, %v", r, err)
		}
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "half a length": {0}, "half a query": {0, 40, 1, 2}, "a query that is too long": binary.BigEndian.AppendUint16(nil, maxQuery+1), "none": {0, 0},
	} {
		c := dial()
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: read %d, %v: want the connection closed", name, n, err)
		}
	}
}

// TestTCPBound holds that one client has no more than its share of connections, and gets it back.
func TestTCPBound(t *testing.T) {
	s := New(labConfig())
	addr := serve(t, s)
	var conns []net.Conn
	for range maxConns / clientFraction {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	for _, c := range conns { // each has been accepted
		co := &dns.Conn{Conn: c}
		if err := co.WriteMsg(question("a.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		if _, err := co.ReadMsg(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("one connection more: read %d, %v: want it closed", n, err)
	}
	if got := s.Stats().Dropped; got != 1 {
		t.Errorf("dropped: got %d, want 1", got)
	}
	if got := show(ask(t, "udp", addr, question("a.", dns.TypeA))); !strings.HasPrefix(got, "NOERROR") {
		t.Errorf("by UDP: got %s", got)
	}
}

// TestServeFails holds that the loss of a socket ends the server, and the other socket with it.
func TestServeFails(t *testing.T) {
	pc, l := listen(t)
	ended := make(chan error, 1)
	go func() { ended <- New(labConfig()).Serve(t.Context(), pc, l) }()
	ask(t, "tcp", l.Addr().String(), question("a.", dns.TypeA))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "names: accept a connection: ") {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Serve goes on without its listener")
	}
	if _, err := pc.WriteTo(nil, pc.LocalAddr()); err == nil {
		t.Error("the other socket is open")
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(8)
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	var release []func()
	for _, tt := range []struct {
		client netip.Addr
		ok     bool
	}{{a, true}, {a, true}, {a, false}, {b, true}} {
		r, ok := l.acquire(tt.client)
		if ok != tt.ok {
			t.Errorf("acquire(%s) = %v; want %v", tt.client, ok, tt.ok)
		}
		if ok {
			release = append(release, r)
		}
	}
	for n := range 8 - len(release) {
		if r, ok := l.acquire(netip.AddrFrom4([4]byte{1, 1, 1, byte(n)})); ok {
			release = append(release, r)
		}
	}
	if _, ok := l.acquire(netip.MustParseAddr("10.0.0.3")); ok || len(release) != 8 {
		t.Errorf("a client with nothing got more than there is, after %d", len(release))
	}
	for _, r := range release {
		r()
	}
	if l.total != 0 || len(l.clients) != 0 {
		t.Errorf("left after all were released: %d, %v", l.total, l.clients)
	}
}
