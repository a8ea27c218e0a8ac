package names

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// upstream starts a server of others' names.
func upstream(t *testing.T, h dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	pc, l := listen(t)
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		started, ended := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// serveWith serves a network whose other names the given servers know.
func serveWith(t *testing.T, retry time.Duration, servers ...netip.AddrPort) (*Server, string) {
	t.Helper()
	cfg := labConfig()
	cfg.Upstream = func() []netip.AddrPort { return servers }
	cfg.Retry, cfg.Timeout = retry, 10*time.Second
	s := New(cfg)
	return s, serve(t, s)
}

// reply answers with the question's code and records.
func reply(w dns.ResponseWriter, q *dns.Msg, rcode int, rrs ...string) {
	r := new(dns.Msg).SetRcode(q, rcode)
	r.RecursionAvailable = true
	for _, text := range rrs {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		r.Answer = append(r.Answer, rr)
	}
	if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
		r.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(r)
}

// knowsAll has an address for every name, a thousand texts for big.example, and nothing for nothing.example.
func knowsAll(w dns.ResponseWriter, q *dns.Msg) {
	name := q.Question[0].Name
	switch {
	case name == "big.example.":
		var rrs []string
		for n := range 1000 {
			rrs = append(rrs, fmt.Sprintf("big.example. 60 IN TXT %q", fmt.Sprint(n)))
		}
		reply(w, q, dns.RcodeSuccess, rrs...)
	case name == "nothing.example.":
		reply(w, q, dns.RcodeNameError)
	case q.Question[0].Qtype == dns.TypeA:
		reply(w, q, dns.RcodeSuccess, name+" 60 IN A 192.0.2.1")
	case q.Question[0].Qtype == 65280: // one of no known form
		reply(w, q, dns.RcodeSuccess, name+` 60 IN TYPE65280 \# 3 010203`)
	default:
		reply(w, q, dns.RcodeSuccess)
	}
}

func TestForward(t *testing.T) {
	_, addr := serveWith(t, time.Second, upstream(t, knowsAll))
	tests := []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"Example.com.", dns.TypeA, "NOERROR|rd|ra|Example.com. 60 IN A 192.0.2.1"},
		{"example.com.", dns.TypeMX, "NOERROR|rd|ra"},
		{"example.com.", 65280, `NOERROR|rd|ra|example.com. 60 CLASS1 TYPE65280 \# 3 010203`},
		{"nothing.example.", dns.TypeA, "NXDOMAIN|rd|ra"},
		{"metadata.google.internal.", dns.TypeA, "NOERROR|rd|ra|metadata.google.internal. 60 IN A 192.0.2.1"},
		{"1.2.0.192.in-addr.arpa.", dns.TypePTR, "NOERROR|rd|ra"},
		{"com.", dns.TypeDS, "NOERROR|rd|ra"},
		{"a.", dns.TypeA, "NOERROR|aa|rd|ra|a. 5 IN A 10.77.0.100"},
	}
	for _, tt := range tests {
		for _, network := range []string{"udp", "tcp"} {
			if got := show(ask(t, network, addr, question(tt.name, tt.qtype))); got != tt.want {
				t.Errorf("%s %s: got %s, want %s", network, tt.name, got, tt.want)
			}
		}
	}
}

// TestNeverForwarded holds what upstream never hears of.
func TestNeverForwarded(t *testing.T) {
	var heard atomic.Int32
	_, addr := serveWith(t, time.Second, upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		heard.Add(1)
		knowsAll(w, q)
	}))
	for _, q := range []*dns.Msg{
		question("nobody.", dns.TypeA), question("nobody.lab.internal.", dns.TypeA), question("internal.", dns.TypeDS), question("test.", dns.TypeDNSKEY),
		question("x.onion.", dns.TypeA), question("x.invalid.", dns.TypeA), question("x.alt.", dns.TypeA), question("x.localhost.", dns.TypeMX),
		question("7.1.77.10.in-addr.arpa.", dns.TypePTR), question("1.77.10.in-addr.arpa.", dns.TypeSOA), question("9.9.9.127.in-addr.arpa.", dns.TypePTR),
		question(reverse(t, "fd00:77::9"), dns.TypePTR), question("example.com.", dns.TypeANY), question("example.com.", dns.TypeAXFR),
	} {
		ask(t, "udp", addr, q)
	}
	if n := heard.Load(); n != 0 {
		t.Errorf("upstream heard of %d", n)
	}
}

// TestForwardLong holds that what is too long for upstream's UDP is fetched by TCP, and then told as far as the client takes it.
func TestForwardLong(t *testing.T) {
	_, addr := serveWith(t, time.Second, upstream(t, knowsAll))
	if r := ask(t, "tcp", addr, question("big.example.", dns.TypeTXT)); len(r.Answer) != 1000 || r.Truncated {
		t.Errorf("by TCP: %d answers, truncated %v", len(r.Answer), r.Truncated)
	}
	r := ask(t, "udp", addr, question("big.example.", dns.TypeTXT))
	r.Compress = true
	if len(r.Answer) == 0 || !r.Truncated || r.Len() > dns.MinMsgSize {
		t.Errorf("by UDP: %d answers in %d bytes, truncated %v", len(r.Answer), r.Len(), r.Truncated)
	}
}

// TestForwardedQuery holds what upstream gets of a query: not the client's id, and of EDNS only that it's there.
func TestForwardedQuery(t *testing.T) {
	got := make(chan *dns.Msg, 1)
	_, addr := serveWith(t, 10*time.Second, upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		got <- q.Copy()
		r := new(dns.Msg).SetReply(q)
		r.AuthenticatedData = true
		r.SetEdns0(4096, true)
		r.IsEdns0().Option = append(r.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"})
		_ = w.WriteMsg(r)
	}))
	q := question("example.com.", dns.TypeA)
	q.CheckingDisabled = true
	q.SetEdns0(4096, true)
	q.IsEdns0().Option = append(q.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"})
	same := 0
	for range 4 {
		r := ask(t, "udp", addr, q)
		if got := show(r); got != "NOERROR|rd|ra|ad|cd" {
			t.Errorf("the client got %s", got)
		}
		if opt := r.IsEdns0(); opt == nil || len(opt.Option) > 0 || opt.UDPSize() != maxPayload {
			t.Errorf("the client got EDNS %v", opt)
		}
		up := <-got
		if opt := up.IsEdns0(); opt == nil || len(opt.Option) > 0 || !opt.Do() || opt.UDPSize() != maxPayload || !up.CheckingDisabled {
			t.Errorf("upstream got %v", up)
		}
		if up.Id == q.Id {
			same++
		}
	}
	if same > 1 {
		t.Error("upstream got the client's id")
	}
	q = question("example.com.", dns.TypeA)
	q.RecursionDesired = false
	if got := show(ask(t, "udp", addr, q)); got != "NOERROR|ra" {
		t.Errorf("without EDNS: the client got %s", got)
	}
	if up := <-got; up.IsEdns0() != nil || up.RecursionDesired {
		t.Errorf("without EDNS: upstream got %v", up)
	}
}

// silent is a server that takes everything and says nothing.
func silent(t *testing.T) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// TestNextServer holds that an answer comes as long as one server has it.
func TestNextServer(t *testing.T) {
	pc, l := listen(t)
	_, _ = pc.Close(), l.Close()
	nobody := netip.MustParseAddrPort(l.Addr().String())
	fails := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) { reply(w, q, dns.RcodeServerFailure) })
	refuses := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) { reply(w, q, dns.RcodeRefused) })
	garbles := upstream(t, func(w dns.ResponseWriter, _ *dns.Msg) { _, _ = w.Write([]byte("rubbish rubbish")) })
	works := upstream(t, knowsAll)
	var asked atomic.Int32
	loses := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) { // the first packet of each question
		if asked.Add(1)%2 == 0 {
			knowsAll(w, q)
		}
	})
	const never = time.Hour
	tests := []struct {
		name    string
		retry   time.Duration
		servers []netip.AddrPort
		want    string
	}{
		{"the first fails", never, []netip.AddrPort{fails, works}, "NOERROR|rd|ra|example.com. 60 IN A 192.0.2.1"},
		{"nobody there, then one refuses", never, []netip.AddrPort{nobody, refuses, works}, "NOERROR|rd|ra|example.com. 60 IN A 192.0.2.1"},
		{"the first is silent", 10 * time.Millisecond, []netip.AddrPort{silent(t), works}, "NOERROR|rd|ra|example.com. 60 IN A 192.0.2.1"},
		{"the first talks rubbish", 10 * time.Millisecond, []netip.AddrPort{garbles, works}, "NOERROR|rd|ra|example.com. 60 IN A 192.0.2.1"},
		{"packets get lost", 10 * time.Millisecond, []netip.AddrPort{loses}, "NOERROR|rd|ra|example.com. 60 IN A 192.0.2.1"},
		{"all refuse", never, []netip.AddrPort{refuses}, "REFUSED|rd|ra"},
		{"nobody is there", never, []netip.AddrPort{nobody}, "SERVFAIL|rd|ra"},
		{"there are none", never, nil, "SERVFAIL|rd|ra"},
		{"the fourth is not asked", never, []netip.AddrPort{nobody, nobody, nobody, works}, "SERVFAIL|rd|ra"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, addr := serveWith(t, tt.retry, tt.servers...)
			if got := show(ask(t, "udp", addr, question("example.com.", dns.TypeA))); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestForged holds that a response counts only if it has the id and the question that were sent.
func TestForged(t *testing.T) {
	_, addr := serveWith(t, time.Hour, upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		wrongID := q.Copy()
		wrongID.Id++
		reply(w, wrongID, dns.RcodeSuccess, "example.com. 60 IN A 198.51.100.1")
		wrongName := q.Copy()
		wrongName.Question[0].Name = "example.org."
		reply(w, wrongName, dns.RcodeSuccess, "example.com. 60 IN A 198.51.100.2")
		wrongType := q.Copy()
		wrongType.Question[0].Qtype = dns.TypeAAAA
		reply(w, wrongType, dns.RcodeSuccess, "example.com. 60 IN A 198.51.100.3")
		_ = w.WriteMsg(q) // no response
		knowsAll(w, q)
	}))
	const want = "NOERROR|rd|ra|example.com. 60 IN A 192.0.2.1"
	if got := show(ask(t, "udp", addr, question("example.com.", dns.TypeA))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestForwardTimeout holds that a client gets an answer also if no server has any.
func TestForwardTimeout(t *testing.T) {
	cfg := labConfig()
	server := silent(t)
	cfg.Upstream = func() []netip.AddrPort { return []netip.AddrPort{server} }
	cfg.Timeout = 50 * time.Millisecond
	addr := serve(t, New(cfg))
	for _, network := range []string{"udp", "tcp"} {
		if got := show(ask(t, network, addr, question("example.com.", dns.TypeA))); got != "SERVFAIL|rd|ra" {
			t.Errorf("%s: got %s", network, got)
		}
	}
}

// TestFlood holds that a client with more questions than its share is refused at once, and that others, and names of the zone, aren't.
func TestFlood(t *testing.T) {
	hold, asked := make(chan struct{}), make(chan struct{}, 2*maxForwarded)
	s, addr := serveWith(t, time.Hour, upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if strings.HasPrefix(q.Question[0].Name, "slow") {
			asked <- struct{}{}
			<-hold
		}
		knowsAll(w, q)
	}))
	const share = maxForwarded / clientFraction
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	co := &dns.Conn{Conn: c}
	for n := range share {
		if err := co.WriteMsg(question(fmt.Sprintf("slow%d.example.", n), dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		<-asked
	}
	if got := show(ask(t, "udp", addr, question("slow.example.", dns.TypeA))); got != "SERVFAIL|rd|ra" {
		t.Errorf("one more: got %s", got)
	}
	if got := show(ask(t, "tcp", addr, question("slow.example.", dns.TypeA))); got != "SERVFAIL|rd|ra" {
		t.Errorf("one more by TCP: got %s", got)
	}
	if got := show(ask(t, "udp", addr, question("a.", dns.TypeA))); !strings.HasPrefix(got, "NOERROR") {
		t.Errorf("a name of the zone: got %s", got)
	}
	other := dns.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}}, Timeout: 20 * time.Second}
	if r, _, err := other.ExchangeContext(ctx, question("example.com.", dns.TypeA), addr); err != nil || r.Rcode != dns.RcodeSuccess {
		t.Errorf("another client: got %v, %v", r, err)
	}
	close(hold)
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for n := range share {
		if r, err := co.ReadMsg(); err != nil || r.Rcode != dns.RcodeSuccess {
			t.Fatalf("answer %d of those under way: %v, %v", n, r, err)
		}
	}
	if got, want := s.Stats(), (Stats{Queries: share + 4, Forwarded: share + 1, Dropped: 2}); got != want {
		t.Errorf("Stats() = %+v; want %+v", got, want)
	}
}

// TestServeEnds holds that the server ends though it waits for upstream.
func TestServeEnds(t *testing.T) {
	asked := make(chan struct{}, 1)
	hold := make(chan struct{})
	up := upstream(t, func(dns.ResponseWriter, *dns.Msg) { asked <- struct{}{}; <-hold })
	t.Cleanup(func() { close(hold) })
	cfg := labConfig()
	cfg.Upstream = func() []netip.AddrPort { return []netip.AddrPort{up} }
	cfg.Timeout, cfg.Retry = time.Hour, time.Hour
	pc, l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- New(cfg).Serve(ctx, pc, l) }()
	q, err := question("example.com.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(q); err != nil {
		t.Fatal(err)
	}
	<-asked
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Serve waits for upstream")
	}
}
