package names

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// seeds are queries of every kind.
func seeds(tb testing.TB) [][]byte {
	tb.Helper()
	var all [][]byte
	for name, qtype := range map[string]uint16{
		"a.": dns.TypeA, "router.lab.internal.": dns.TypeAAAA, "many.": dns.TypeA, "nobody.": dns.TypeTXT, "example.com.": dns.TypeMX, ".": dns.TypeNS,
		"1.0.77.10.in-addr.arpa.": dns.TypePTR, `x\.\000.lab.internal.`: dns.TypeANY, "x.8.e.f.ip6.arpa.": dns.TypePTR, "lab.internal.": dns.TypeIXFR,
	} {
		for _, edns := range []uint16{0, 1, 4096} {
			q := question(name, qtype)
			if edns > 0 {
				q.SetEdns0(edns, true)
			}
			if qtype == dns.TypeIXFR {
				q.Ns = []dns.RR{soa("lab.internal.")}
			}
			if qtype == dns.TypeMX {
				q.SetTsig("key.", dns.HmacSHA256, 300, 0)
			}
			b, err := q.Pack()
			if err != nil {
				tb.Fatal(err)
			}
			all = append(all, b)
		}
	}
	return all
}

// FuzzQuery answers whatever a guest may send. What is said is a response to it, and no longer than it may be.
func FuzzQuery(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	cfg := labConfig()
	cfg.Upstream = func() []netip.AddrPort { return nil }
	s := New(cfg)
	f.Fuzz(func(t *testing.T, b []byte) {
		q, r := s.answer(b)
		switch {
		case r == nil && q.msg == nil:
			return
		case r == nil:
			r = s.forward(t.Context(), q)
			if _, err := upstreamQuery(q).Pack(); err != nil {
				t.Logf("upstream can't be asked: %v", err)
			}
		}
		out := pack(r, q.size)
		if q.size < dns.MinMsgSize || q.size > maxPayload || len(out) > q.size {
			t.Fatalf("%d bytes of %d", len(out), q.size)
		}
		back := new(dns.Msg)
		if err := back.Unpack(out); err != nil {
			t.Fatalf("what is answered can't be read: %v", err)
		}
		if !back.Response || out[0] != b[0] || out[1] != b[1] {
			t.Fatalf("no response to what was asked: %v", back)
		}
	})
}

// FuzzResponse relays whatever upstream may say.
func FuzzResponse(f *testing.F) {
	ask := question("example.com.", dns.TypeA)
	ask.Id = 1
	ask.SetEdns0(1232, true)
	for _, r := range []string{
		"example.com. 60 IN A 192.0.2.1", `example.com. 60 IN TYPE65280 \# 3 010203`, "example.com. 60 IN CNAME www.example.com.", `example.com. 60 IN TXT "a" "b"`,
		"example.com. 60 IN HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1", "example.com. 60 IN NSEC a.example.com. A MX RRSIG",
	} {
		rr, err := dns.NewRR(r)
		if err != nil {
			f.Fatal(err)
		}
		m := new(dns.Msg).SetReply(ask)
		m.Answer, m.Ns = []dns.RR{rr, rr}, []dns.RR{soa("com.")}
		m.SetEdns0(4096, true)
		m.SetTsig("key.", dns.HmacSHA256, 300, 0)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	q := query{msg: ask, opt: ask.IsEdns0(), size: 600}
	f.Fuzz(func(t *testing.T, b []byte) {
		resp, ok := readResponse(ask, b)
		if !ok {
			return
		}
		for _, size := range []int{q.size, dns.MaxMsgSize} {
			out := pack(relay(q, resp), size)
			if len(out) > size {
				t.Fatalf("%d bytes of %d", len(out), size)
			}
			back := new(dns.Msg)
			if err := back.Unpack(out); err != nil {
				t.Fatalf("what is relayed can't be read: %v", err)
			}
			if !back.Response || back.Id != ask.Id || len(back.Question) != 1 || back.Question[0] != ask.Question[0] {
				t.Fatalf("no response to what was asked: %v", back)
			}
		}
	})
}
