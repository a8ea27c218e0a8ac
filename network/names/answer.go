package names

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// ttl is how long clients may keep what the zone says, in seconds: sub-kernels come and go.
const ttl = 5

// specialUse are the top-level domains that are no business of the DNS (RFC 6761, RFC 6762, RFC 7686, RFC 9476 and ICANN's reservation of
// internal). Upstream is never asked for one itself. Below those that are true there is nothing, either; the others are a site's own, and
// the host's resolvers may know them.
var specialUse = map[string]bool{
	"alt": true, "invalid": true, "onion": true, "internal": false, "local": false, "test": false,
}

// What is known of a name: the zone that has it or would, the response code, and the records that were asked for.
type finding struct {
	zone   string
	rcode  int
	answer []dns.RR
}

// answer reads a query and makes the reply to it. If only upstream knows that, there is no reply; if the query is to be ignored, there isn't
// a query, either.
func (s *Server) answer(b []byte) (query, *dns.Msg) {
	s.queries.Add(1)
	q, r := parse(b)
	switch {
	case q.msg == nil:
		return q, r
	case r != nil:
		return q, s.complete(r)
	}
	if rcode, refused := refuse(q.question()); refused {
		return q, s.complete(q.reply(rcode))
	}
	f, ok := s.find(q.question())
	switch {
	case ok:
		r = q.reply(f.rcode)
		r.Authoritative = true
		r.Answer = f.answer
		if len(f.answer) == 0 {
			r.Ns = []dns.RR{soa(f.zone)}
		}
	case q.question().Qtype == dns.TypeANY:
		r = q.reply(dns.RcodeNotImplemented) // many records for a small question: RFC 8482
	case s.Upstream == nil:
		r = q.reply(dns.RcodeRefused)
	default:
		return q, nil
	}
	return q, s.complete(r)
}

// complete says in a reply whether other names can be asked for.
func (s *Server) complete(r *dns.Msg) *dns.Msg {
	r.RecursionAvailable = s.Upstream != nil
	return r
}

// refuse says what nobody is told: other classes than the Internet's, transfers, and types that are none of data (RFC 6895, section 3.1).
func refuse(q dns.Question) (rcode int, refused bool) {
	const firstMeta, lastMeta = 128, 255
	switch {
	case q.Qclass != dns.ClassINET:
		return dns.RcodeRefused, true
	case q.Qtype == dns.TypeANY:
		return 0, false
	case q.Qtype >= firstMeta && q.Qtype <= lastMeta, q.Qtype == dns.TypeOPT, q.Qtype == dns.TypeNone:
		return dns.RcodeRefused, true
	}
	return 0, false
}

// find looks a name up. It is not ok if the name is upstream's.
func (s *Server) find(q dns.Question) (f finding, ok bool) {
	name := dns.CanonicalName(q.Name)
	if p, exact, ok := reversePrefix(name); ok {
		return s.findReverse(q, p, exact)
	}
	labels := dns.SplitDomainName(name)
	if len(labels) == 0 {
		return finding{}, false // the root
	}
	top := labels[len(labels)-1]
	if top == "localhost" {
		return finding{zone: "localhost.", answer: addresses(q, []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()})}, true
	}
	zone, relative := s.split(name)
	if zone == name {
		return finding{zone: zone, answer: apex(q, zone)}, true
	}
	if addrs, ok := s.Zone.Lookup(relative); ok {
		return finding{zone: zone, answer: addresses(q, addrs)}, true
	}
	nothing, special := specialUse[top]
	if zone != "." || nothing || len(labels) == 1 && (special || !signs(q.Qtype)) {
		return finding{zone: zone, rcode: dns.RcodeNameError}, true
	}
	return finding{}, false
}

// split cuts the domain off a canonical name that is in it, and the dot at the end off another.
func (s *Server) split(name string) (zone, relative string) {
	if s.domain != "." {
		if r, ok := cutZone(name, s.domain); ok {
			return s.domain, r
		}
	}
	return ".", strings.TrimSuffix(name, ".")
}

// signs says whether records of a type hold DNSSEC together: who validates asks for those of top-level domains.
func signs(qtype uint16) bool { return qtype == dns.TypeDS || qtype == dns.TypeDNSKEY }

// findReverse looks up the name of an address. Where the name stands for several, there is nothing but names below it.
func (s *Server) findReverse(q dns.Question, p netip.Prefix, exact bool) (finding, bool) {
	addr := p.Addr()
	if exact && p.IsSingleIP() {
		if addr.IsLoopback() {
			return finding{zone: reverseZone(p), answer: pointer(q, "localhost.")}, true
		}
		if name, ok := s.Zone.Reverse(addr); ok {
			if s.domain != "." {
				name += "." + s.domain
			}
			return finding{zone: s.localZone(p), answer: pointer(q, dns.Fqdn(name))}, true
		}
	}
	for _, l := range s.local {
		if l.Bits() > p.Bits() || !l.Contains(addr) {
			continue
		}
		f := finding{zone: reverseZone(l)}
		if !exact || p.IsSingleIP() {
			f.rcode = dns.RcodeNameError
		}
		return f, true
	}
	return finding{}, false
}

// localZone is the reverse zone that has an address.
func (s *Server) localZone(p netip.Prefix) string {
	for _, l := range s.local {
		if l.Contains(p.Addr()) {
			return reverseZone(l)
		}
	}
	return reverseZone(p)
}

// addresses makes the records of a name that are asked for.
func addresses(q dns.Question, addrs []netip.Addr) []dns.RR {
	if q.Qtype == dns.TypeANY {
		return minimal(q)
	}
	var rrs []dns.RR
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			rrs = append(rrs, &dns.A{Hdr: header(q.Name, dns.TypeA), A: a.AsSlice()})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			rrs = append(rrs, &dns.AAAA{Hdr: header(q.Name, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return rrs
}

// pointer makes the record of an address that is asked for.
func pointer(q dns.Question, name string) []dns.RR {
	switch q.Qtype {
	case dns.TypeANY:
		return minimal(q)
	case dns.TypePTR:
		return []dns.RR{&dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: name}}
	}
	return nil
}

// apex makes the records of the domain itself.
func apex(q dns.Question, zone string) []dns.RR {
	switch q.Qtype {
	case dns.TypeANY:
		return minimal(q)
	case dns.TypeSOA:
		return []dns.RR{soa(zone)}
	}
	return nil
}

// minimal is the answer to who wants to know everything (RFC 8482, section 4.2).
func minimal(q dns.Question) []dns.RR {
	return []dns.RR{&dns.HINFO{Hdr: header(q.Name, dns.TypeHINFO), Cpu: "RFC8482"}}
}

// soa lets clients keep that there is nothing (RFC 2308). Nobody gets mail, or a copy, of the zone.
func soa(zone string) dns.RR {
	return &dns.SOA{
		Hdr: header(zone, dns.TypeSOA), Ns: "localhost.", Mbox: "nobody.invalid.", Serial: 1, Refresh: 3600, Retry: 1200, Expire: 604800, Minttl: ttl,
	}
}

func header(name string, t uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
}
