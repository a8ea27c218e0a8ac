package names

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// maxPayload is the most that is sent and taken in one UDP packet: what goes through every network unfragmented.
const maxPayload = 1232

// headerSize is the length of a message's header (RFC 1035, section 4.1.1).
const headerSize = 12

// responseBit is set in byte 2 of a header if the message is a response.
const responseBit = 0x80

// A query is a message from a client, with exactly one question.
type query struct {
	msg  *dns.Msg
	opt  *dns.OPT // nil if the client knows no EDNS (RFC 6891)
	size int      // the most that the client takes by UDP
}

// question is what is asked.
func (q query) question() dns.Question { return q.msg.Question[0] }

// reply makes an answer without records.
func (q query) reply(rcode int) *dns.Msg {
	r := new(dns.Msg).SetReply(q.msg)
	r.Rcode = rcode
	if q.opt != nil {
		r.SetEdns0(maxPayload, q.opt.Do())
	}
	return r
}

// parse reads a query. If it is malformed, the reply says so; if it is to be ignored, there is neither query nor reply.
func parse(b []byte) (q query, reply *dns.Msg) {
	if len(b) < headerSize || b[2]&responseBit != 0 {
		return query{}, nil
	}
	q.size = dns.MinMsgSize
	id := binary.BigEndian.Uint16(b)
	opcode := int(b[2]>>3) & 0xf
	refuse := func(rcode int) (query, *dns.Msg) {
		return query{size: dns.MinMsgSize}, &dns.Msg{MsgHdr: dns.MsgHdr{Id: id, Opcode: opcode, Response: true, Rcode: rcode}}
	}
	if opcode != dns.OpcodeQuery {
		return refuse(dns.RcodeNotImplemented)
	}
	// Counts are looked at before memory is taken for them. A transfer has a record in its authority section, and a signed query two in
	// the last one.
	for n, most := range [...]uint16{1, 0, 1, 2} {
		if binary.BigEndian.Uint16(b[4+2*n:]) > most {
			return refuse(dns.RcodeFormatError)
		}
	}
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil || len(m.Question) != 1 {
		return refuse(dns.RcodeFormatError)
	}
	q.msg = m
	for _, rr := range m.Extra {
		opt, ok := rr.(*dns.OPT)
		switch {
		case !ok:
		case q.opt != nil || opt.Hdr.Name != ".":
			return refuse(dns.RcodeFormatError)
		default:
			q.opt = opt
			q.size = min(max(int(opt.UDPSize()), dns.MinMsgSize), maxPayload)
		}
	}
	if q.opt != nil && q.opt.Version() != 0 {
		return q, q.reply(dns.RcodeBadVers)
	}
	return q, nil
}

// pack makes the bytes of an answer, truncated to a size. What came from upstream may be such that it can't be said again.
func pack(r *dns.Msg, size int) []byte {
	r.Truncate(size)
	r.Compress = true
	b, err := r.Pack()
	if err == nil && len(b) <= size {
		return b
	}
	bare := &dns.Msg{MsgHdr: r.MsgHdr, Question: r.Question}
	if bare.Truncated = err == nil; err != nil {
		bare.Rcode = dns.RcodeServerFailure
	}
	if b, err = bare.Pack(); err != nil {
		return nil
	}
	return b
}
