package dhcp

import (
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	// minLease is the shortest lease that a client can ask for, if Config.Lease is not shorter still.
	minLease = time.Minute
	// maxID bounds a client identifier: what one option can hold.
	maxID = 255
)

// HandleV4 is the server of DHCPv4 (RFC 2131): the answer to a message, or nil if there is to be none.
func (s *Server) HandleV4(req *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	// A message that a relay passed on is for another server: this one is on the segment that it serves.
	if !s.cfg.Subnet.IsValid() || req == nil || req.OpCode != dhcpv4.OpcodeBootRequest || addrOf(req.GatewayIPAddr).IsValid() ||
		len(req.ClientHWAddr) != 6 || req.ClientHWAddr[0]&1 != 0 {
		return nil
	}
	c := s.client4(req)
	s.lock()
	defer s.unlock()
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return s.discover(req, c)
	case dhcpv4.MessageTypeRequest:
		return s.request(req, c)
	case dhcpv4.MessageTypeRelease:
		if b := s.named4(req, c, req.ClientIPAddr); b != nil && b.state == StateBound {
			s.v4.release(b)
		}
	case dhcpv4.MessageTypeDecline:
		if b := s.named4(req, c, req.RequestedIPAddress()); b != nil && b.state != remembered {
			s.v4.decline(b)
		}
	case dhcpv4.MessageTypeInform: // RFC 2131, section 4.3.5
		if addrOf(req.ClientIPAddr).IsValid() {
			return s.reply4(req, c, dhcpv4.MessageTypeAck, nil)
		}
	}
	return nil
}

// client4 is who sent a message: who has the MAC of a Host with an address is that, whatever it calls itself, so that each system that boots
// on a machine gets the machine's address. Others are told apart by the client identifier (RFC 2131, section 4.2), or by MAC.
func (s *Server) client4(req *dhcpv4.DHCPv4) *client {
	host := s.host(req.ClientHWAddr)
	c := &client{key: "m" + string(req.ClientHWAddr), mac: req.ClientHWAddr, name: host.Name, reserved: host.Addr}
	if c.name == "" {
		c.name = hostname(req)
	}
	if id := req.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 1 && len(id) <= maxID {
		c.id = id
		c.key = "i" + string(id)
	}
	if c.reserved.IsValid() {
		c.key = "h" + string(c.mac)
	}
	return c
}

// hostname is what a client calls itself: option 12 (RFC 2132, section 3.14) or 81 (RFC 4702, section 2), without a domain, and empty if it is
// not a name.
func hostname(req *dhcpv4.DHCPv4) string {
	name := string(req.Options.Get(dhcpv4.OptionHostName))
	if o := req.Options.Get(dhcpv4.OptionFQDN); name == "" && len(o) > 3 {
		name = string(o[3:])
		if o[0]&4 != 0 { // in the form of DNS
			n := int(o[3])
			name = string(o[min(4, len(o)):min(4+n, len(o))])
		}
	}
	return cleanName(name)
}

// cleanName is the first label of a name that a client sent; empty: it is none.
func cleanName(name string) string {
	for i, c := range []byte(name) {
		if c == '.' || c == 0 {
			name = name[:i]
			break
		}
	}
	if !validName(name) {
		return ""
	}
	return name
}

// named4 is the client's binding of addr, if the message is for this server.
func (s *Server) named4(req *dhcpv4.DHCPv4, c *client, addr net.IP) *binding {
	if id := addrOf(req.ServerIdentifier()); id.IsValid() && id != s.cfg.Server {
		return nil
	}
	if b := s.v4.byKey[c.key]; b != nil && b.addr == addrOf(addr) {
		return b
	}
	return nil
}

// discover answers a DHCPDISCOVER (RFC 2131, section 4.3.1): by an offer, or by the lease itself if the client takes that (RFC 4039).
func (s *Server) discover(req *dhcpv4.DHCPv4, c *client) *dhcpv4.DHCPv4 {
	b := s.v4.offer(c, addrOf(req.RequestedIPAddress()))
	if b == nil {
		return nil
	}
	if !req.Options.Has(dhcpv4.OptionRapidCommit) {
		return s.reply4(req, c, dhcpv4.MessageTypeOffer, b)
	}
	s.v4.bind(b, c, s.leaseTime(req))
	return s.reply4(req, c, dhcpv4.MessageTypeAck, b)
}

// request answers a DHCPREQUEST (RFC 2131, section 4.3.2). With a server identifier, the client is SELECTING; without, but with the option of
// the requested address, INIT-REBOOT; with neither, RENEWING or REBINDING. As no other server gives addresses of the segment, a client that
// isn't known may go on with a free address, and any other is refused, where a server that isn't alone would keep silent.
func (s *Server) request(req *dhcpv4.DHCPv4, c *client) *dhcpv4.DHCPv4 {
	if id := addrOf(req.ServerIdentifier()); id.IsValid() && id != s.cfg.Server {
		if b := s.v4.byKey[c.key]; b != nil && b.state == StateOffered {
			s.v4.end(b) // it has chosen another
		}
		return nil
	}
	addr := addrOf(req.RequestedIPAddress())
	if !addr.IsValid() {
		addr = addrOf(req.ClientIPAddr)
	}
	if !addr.IsValid() {
		return nil
	}
	b := s.v4.take(c, addr)
	if b == nil {
		return s.nak(req, addr)
	}
	s.v4.bind(b, c, s.leaseTime(req))
	return s.reply4(req, c, dhcpv4.MessageTypeAck, b)
}

// leaseTime is the time that the client asks for (RFC 2132, section 9.2), in bounds.
func (s *Server) leaseTime(req *dhcpv4.DHCPv4) time.Duration {
	asked := req.IPAddressLeaseTime(s.cfg.Lease)
	return min(max(asked, minLease), s.cfg.Lease)
}

// addrOf is an address of IPv4; invalid: there is none, or it is 0.0.0.0.
func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	if a = a.Unmap(); !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// broadcasts reports whether an answer has to be broadcast (RFC 2131, section 4.1): a refusal, because the client may not have the address
// that it believes to have, and what a client wants so that can't take unicast without an address. Others go to receiver4.
func broadcasts(req, resp *dhcpv4.DHCPv4) bool {
	return resp.MessageType() == dhcpv4.MessageTypeNak || !addrOf(req.ClientIPAddr).IsValid() && req.IsBroadcast()
}

// receiver4 is the address that an answer goes to if it isn't broadcast: the one that the client has, or is given by it.
func receiver4(req, resp *dhcpv4.DHCPv4) netip.Addr {
	if a := addrOf(req.ClientIPAddr); a.IsValid() {
		return a
	}
	return addrOf(resp.YourIPAddr)
}
