package names

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// The bounds of what one query does upstream.
const (
	maxServers  = 3    // as resolv.conf(5)
	rounds      = 2    // packets get lost
	maxUpstream = 4096 // bytes of a response by UDP
)

// forward asks upstream, and makes the reply of what it says.
func (s *Server) forward(ctx context.Context, q query) *dns.Msg {
	s.forwarded.Add(1)
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	servers := s.Upstream()
	resp := s.ask(ctx, servers[:min(len(servers), maxServers)], q)
	if resp == nil {
		return s.complete(q.reply(dns.RcodeServerFailure))
	}
	return s.complete(relay(q, resp))
}

// ask asks the servers until one has an answer: the first at once, each other when the one before has failed, or has said nothing for a
// while. Those that were asked may still answer then. If no server has an answer, it returns what one has said in place of it, or else nil.
func (s *Server) ask(ctx context.Context, servers []netip.AddrPort, q query) *dns.Msg {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // first, so that Wait has an end

	tries := slices.Repeat(servers, rounds)
	got := make(chan *dns.Msg, len(tries))
	next := time.NewTicker(s.Retry)
	defer next.Stop()
	var second *dns.Msg
	started, ended := 0, 0
	start := func() {
		if started == len(tries) {
			return
		}
		server := tries[started]
		started++
		wg.Go(func() { got <- exchange(ctx, server, q) })
		next.Reset(s.Retry)
	}
	for start(); ended < started; {
		select {
		case <-next.C:
			start()
		case r := <-got:
			ended++
			if r != nil && (r.Rcode == dns.RcodeSuccess || r.Rcode == dns.RcodeNameError) {
				return r
			}
			if r != nil {
				second = r
			}
			start()
		case <-ctx.Done():
			return second
		}
	}
	return second
}

// exchange asks one server, by TCP if the answer is too long for UDP. It returns nil if there is no answer.
func exchange(ctx context.Context, server netip.AddrPort, q query) *dns.Msg {
	ask := upstreamQuery(q)
	r, err := exchangeBy(ctx, "udp", server, ask)
	if err != nil {
		return nil
	}
	if r.Truncated {
		if long, err := exchangeBy(ctx, "tcp", server, ask); err == nil {
			return long
		}
	}
	return r
}

// upstreamQuery is the question as we ask it: with an id of our own, and nothing of the client's but the question and its flags.
func upstreamQuery(q query) *dns.Msg {
	m := &dns.Msg{Question: []dns.Question{q.question()}}
	m.Id = dns.Id()
	m.RecursionDesired = q.msg.RecursionDesired
	m.CheckingDisabled = q.msg.CheckingDisabled
	m.AuthenticatedData = q.msg.AuthenticatedData
	if q.opt != nil {
		m.SetEdns0(maxPayload, q.opt.Do())
	}
	return m
}

// exchangeBy asks a server from a port that the host chooses at random.
func exchangeBy(ctx context.Context, network string, server netip.AddrPort, ask *dns.Msg) (*dns.Msg, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	conn := &dns.Conn{Conn: c, UDPSize: maxUpstream}
	if err := conn.WriteMsg(ask); err != nil {
		return nil, err
	}
	for {
		b, err := conn.ReadMsgHeader(nil)
		if err != nil {
			return nil, err
		}
		if r, ok := readResponse(ask, b); ok {
			return r, nil
		}
		if network != "udp" {
			return nil, fmt.Errorf("%s: not an answer to what was asked", server)
		}
		// Somebody else sent this: the right answer may still come.
	}
}

// readResponse reads a response, if it is one to what was asked.
func readResponse(ask *dns.Msg, b []byte) (*dns.Msg, bool) {
	r := new(dns.Msg)
	if err := r.Unpack(b); err != nil || !r.Response || r.Id != ask.Id || r.Opcode != ask.Opcode || !repeatable(r) {
		return nil, false
	}
	if len(r.Question) == 0 {
		// A server may leave the question out that it didn't understand.
		return r, r.Rcode == dns.RcodeFormatError || r.Rcode == dns.RcodeNotImplemented
	}
	want, got := ask.Question[0], r.Question[0]
	return r, len(r.Question) == 1 && strings.EqualFold(got.Name, want.Name) && got.Qtype == want.Qtype && got.Qclass == want.Qclass
}

// repeatable says whether a message can be passed on. What dns reads may have records whose data ends early, and what it then writes of them
// nobody can read.
func repeatable(m *dns.Msg) bool {
	m.Compress = true
	b, err := m.Pack()
	return err == nil && new(dns.Msg).Unpack(b) == nil
}

// relay makes the reply to a query of what upstream has said. What is said from hop to hop stays out of it: EDNS and signatures.
func relay(q query, resp *dns.Msg) *dns.Msg {
	r := q.reply(resp.Rcode)
	const maxRcode = 0xf // what is above is said by EDNS
	if r.Rcode > maxRcode {
		r.Rcode = dns.RcodeServerFailure
	}
	r.Authoritative = resp.Authoritative
	r.Truncated = resp.Truncated
	r.AuthenticatedData = resp.AuthenticatedData && (q.msg.AuthenticatedData || q.opt != nil && q.opt.Do())
	r.Answer = resp.Answer
	r.Ns = resp.Ns
	extra := slices.DeleteFunc(slices.Clone(resp.Extra), func(rr dns.RR) bool {
		t := rr.Header().Rrtype
		return t == dns.TypeOPT || t == dns.TypeTSIG || t == dns.TypeSIG
	})
	r.Extra = append(extra, r.Extra...)
	return r
}
