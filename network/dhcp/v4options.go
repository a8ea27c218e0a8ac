package dhcp

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

const (
	// smallest is the size of a datagram that every client takes (RFC 2131, section 2); largest is what is never exceeded.
	smallest = 576
	largest  = 1500
	// overhead is what of a datagram is no option: the headers of IP, UDP and BOOTP, the cookie, and the end.
	overhead = 20 + 8 + 236 + 4 + 1
)

// An option4 is an option that goes into answers.
type option4 struct {
	code  dhcpv4.OptionCode
	value []byte
	// always: whether the client asks for it (RFC 2132, section 9.8) or not.
	always bool
}

// reply4 makes an answer with the options that the client is to have, as many as it has room for; the less important ones are last. b is what
// the client gets; nil: it has an address by other means.
func (s *Server) reply4(req *dhcpv4.DHCPv4, c *client, t dhcpv4.MessageType, b *binding) *dhcpv4.DHCPv4 {
	resp := s.head4(req, t)
	resp.ClientIPAddr = req.ClientIPAddr
	if t == dhcpv4.MessageTypeOffer {
		resp.ClientIPAddr = nil
	}
	var first []option4
	if b != nil {
		lease := s.leaseTime(req)
		resp.YourIPAddr = b.addr.AsSlice()
		resp.UpdateOption(dhcpv4.OptIPAddressLeaseTime(lease))
		if t == dhcpv4.MessageTypeAck && req.MessageType() == dhcpv4.MessageTypeDiscover {
			resp.Options[dhcpv4.OptionRapidCommit.Code()] = nil
		}
		first = append(first, // RFC 2131, section 4.4.5
			option4{dhcpv4.OptionRenewTimeValue, dhcpv4.Duration(s.renewal(lease)).ToBytes(), true},
			option4{dhcpv4.OptionRebindingTimeValue, dhcpv4.Duration(lease / 8 * 7).ToBytes(), true})
	}
	options := append(first, s.options4()...)
	if name := s.host(c.mac).Name; name != "" {
		options = append(options, option4{dhcpv4.OptionHostName, []byte(name), false})
	}
	s.fill(req, resp, options)
	return resp
}

// nak refuses an address.
func (s *Server) nak(req *dhcpv4.DHCPv4, addr netip.Addr) *dhcpv4.DHCPv4 {
	resp := s.head4(req, dhcpv4.MessageTypeNak)
	resp.UpdateOption(dhcpv4.OptMessage(fmt.Sprintf("%v is not for this client", addr)))
	return resp
}

// head4 is what all answers have (RFC 2131, table 3). The client identifier is sent back as RFC 6842 says.
func (s *Server) head4(req *dhcpv4.DHCPv4, t dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	resp := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		HWType:        req.HWType,
		TransactionID: req.TransactionID,
		Flags:         req.Flags,
		ClientHWAddr:  req.ClientHWAddr,
		Options:       dhcpv4.Options{},
	}
	resp.UpdateOption(dhcpv4.OptMessageType(t))
	resp.UpdateOption(dhcpv4.OptServerIdentifier(s.cfg.Server.AsSlice()))
	if id := req.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 && len(id) <= maxID {
		resp.Options[dhcpv4.OptionClientIdentifier.Code()] = id
	}
	return resp
}

// fill adds what of options the client is to have: what is always sent, then Config.Options, which are in place of ours, then the rest.
func (s *Server) fill(req, resp *dhcpv4.DHCPv4, options []option4) {
	var always, own, asked []option4
	for _, n := range slices.Sorted(maps.Keys(s.cfg.Options)) {
		own = append(own, option4{dhcpv4.GenericOptionCode(n), s.cfg.Options[n], true})
	}
	for _, o := range options {
		if _, replaced := s.cfg.Options[o.code.Code()]; replaced {
			continue
		}
		if o.always {
			always = append(always, o)
		} else if req.IsOptionRequested(o.code) {
			asked = append(asked, o)
		}
	}
	room := smallest
	if n, err := req.MaxMessageSize(); err == nil {
		room = min(max(int(n), smallest), largest)
	}
	room -= overhead
	for _, v := range resp.Options {
		room -= optionSize(v)
	}
	for _, o := range slices.Concat(always, own, asked) {
		if size := optionSize(o.value); len(o.value) > 0 && size <= room {
			resp.Options[o.code.Code()] = o.value
			room -= size
		}
	}
}

// optionSize is what an option takes in a message; RFC 3396 splits long ones.
func optionSize(v []byte) int { return len(v) + 2*max(1, (len(v)+254)/255) }

// options4 are the options of all clients.
func (s *Server) options4() []option4 {
	c := &s.cfg
	mask := make([]byte, 4)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-c.Subnet.Bits()))
	var mtu []byte
	if c.MTU != 0 {
		mtu = binary.BigEndian.AppendUint16(nil, uint16(c.MTU))
	}
	var search []byte
	if len(c.Search) > 0 {
		search = (&rfc1035label.Labels{Labels: c.Search}).ToBytes()
	}
	var broadcast []byte
	if c.Subnet.Bits() < 31 {
		broadcast = last(c.Subnet).AsSlice()
	}
	return []option4{
		{dhcpv4.OptionSubnetMask, mask, true},
		{dhcpv4.OptionRouter, join4(c.Routers), true},
		{dhcpv4.OptionDomainNameServer, join4(c.DNS), true},
		{dhcpv4.OptionClasslessStaticRoute, routes(c), false},
		{dhcpv4.OptionDomainName, []byte(c.Domain), false},
		{dhcpv4.OptionInterfaceMTU, mtu, false},
		{dhcpv4.OptionDNSDomainSearchList, search, false},
		{dhcpv4.OptionBroadcastAddress, broadcast, false},
		{dhcpv4.OptionNTPServers, join4(c.NTP), false},
	}
}

// join4 is the addresses of IPv4, one behind the other.
func join4(addrs []netip.Addr) (b []byte) {
	for _, a := range addrs {
		if a.Is4() {
			b = append(b, a.AsSlice()...)
		}
	}
	return b
}

// routes are in the form of RFC 3442: of a destination only the bytes that its mask covers.
func routes(c *Config) (b []byte) {
	all := c.Routes
	isDefault := func(r Route) bool { return r.Dst.Bits() == 0 }
	if len(all) > 0 && len(c.Routers) > 0 && !slices.ContainsFunc(all, isDefault) {
		all = append(slices.Clone(all), Route{netip.PrefixFrom(netip.IPv4Unspecified(), 0), c.Routers[0]})
	}
	for _, r := range all {
		via := r.Via
		if !via.IsValid() {
			via = netip.IPv4Unspecified()
		}
		b = append(b, byte(r.Dst.Bits()))
		b = append(b, r.Dst.Masked().Addr().AsSlice()[:(r.Dst.Bits()+7)/8]...)
		b = append(b, via.AsSlice()...)
	}
	return b
}
