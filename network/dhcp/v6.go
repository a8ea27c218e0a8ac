package dhcp

import (
	"crypto/sha256"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

const (
	// maxDUID is the length of the longest DUID (RFC 8415, section 11.1).
	maxDUID = 130
	// maxIAs and maxAddrs bound what is answered of a message: so many IAs, and so many addresses of each.
	maxIAs   = 4
	maxAddrs = 4
)

// serverDUID identifies the server (RFC 6355). It is made from what it serves, so that it is the same in each run.
func serverDUID(c Config) dhcpv6.DUID {
	sum := sha256.Sum256([]byte("sekexe dhcp " + c.Server6.String() + " " + c.Subnet6.String()))
	return &dhcpv6.DUIDUUID{UUID: [16]byte(sum[:16])}
}

// HandleV6 is the server of DHCPv6 (RFC 8415): the answer to a message from an address, or nil if there is to be none. The client's MAC, by
// which hosts are known, is taken from the address if that has it (RFC 4291, appendix A), or from the client's DUID.
func (s *Server) HandleV6(msg dhcpv6.DHCPv6, from netip.Addr) dhcpv6.DHCPv6 {
	m, ok := msg.(*dhcpv6.Message)
	if !ok {
		return nil // of a relay
	}
	mac := macOf(from)
	if mac == nil {
		mac = duidMAC(m.Options.ClientID())
	}
	if resp := s.handle6(m, mac); resp != nil {
		return resp
	}
	return nil
}

// macOf is the MAC in an interface identifier; nil: there is none.
func macOf(a netip.Addr) net.HardwareAddr {
	b := a.As16()
	if !a.Is6() || b[11] != 0xff || b[12] != 0xfe || b[8]&1 != 0 {
		return nil
	}
	return net.HardwareAddr{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}
}

func duidMAC(d dhcpv6.DUID) net.HardwareAddr {
	var mac net.HardwareAddr
	switch d := d.(type) {
	case *dhcpv6.DUIDLL:
		mac = d.LinkLayerAddr
	case *dhcpv6.DUIDLLT:
		mac = d.LinkLayerAddr
	}
	if len(mac) != 6 {
		return nil
	}
	return mac
}

// valid6 reports whether a message has the identifiers that it must have (RFC 8415, section 16), and is for this server.
func (s *Server) valid6(m *dhcpv6.Message) bool {
	id, server := m.Options.ClientID(), m.Options.ServerID()
	if id != nil && len(id.ToBytes()) > maxDUID || server != nil && !s.duid.Equal(server) {
		return false
	}
	switch m.MessageType {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		return id != nil && server == nil
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		return id != nil && server != nil
	case dhcpv6.MessageTypeInformationRequest:
		return len(m.Options.Get(dhcpv6.OptionIANA)) == 0
	}
	return false
}

// handle6 is HandleV6 for a client whose MAC is known, or nil.
func (s *Server) handle6(m *dhcpv6.Message, mac net.HardwareAddr) *dhcpv6.Message {
	if !s.cfg.Subnet6.IsValid() || !s.valid6(m) {
		return nil
	}
	s.lock()
	defer s.unlock()
	resp := s.head6(m)
	switch m.MessageType {
	case dhcpv6.MessageTypeSolicit: // RFC 8415, section 18.3.1
		commit := m.GetOneOption(dhcpv6.OptionRapidCommit) != nil
		s.assign(m, resp, mac, commit)
		if commit {
			resp.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
			break
		}
		resp.MessageType = dhcpv6.MessageTypeAdvertise
		// A client need not wait for other servers (RFC 8415, section 18.2.1).
		resp.AddOption(dhcpv6.OptPreference(255))
	case dhcpv6.MessageTypeRequest: // section 18.3.2
		s.assign(m, resp, mac, true)
	case dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind: // sections 18.3.4 and 18.3.5
		s.extend(m, resp, mac)
	case dhcpv6.MessageTypeConfirm:
		return s.confirm(m, resp)
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		return s.giveBack(m, resp, mac)
	}
	s.fill6(m, resp)
	return resp
}

// head6 is what all answers have.
func (s *Server) head6(m *dhcpv6.Message) *dhcpv6.Message {
	resp := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: m.TransactionID}
	if id := m.Options.ClientID(); id != nil {
		resp.AddOption(dhcpv6.OptClientID(id))
	}
	resp.AddOption(dhcpv6.OptServerID(s.duid))
	return resp
}

// client6 is the client of one IA of a message. The address of a Host is for one IA of it at a time; a machine that was installed anew, and
// has another DUID, gets it all the same.
func (s *Server) client6(m *dhcpv6.Message, ia *dhcpv6.OptIANA, mac net.HardwareAddr) *client {
	host := s.host(mac)
	c := &client{mac: mac, id: m.Options.ClientID().ToBytes(), iaid: ia.IaId, name: host.Name}
	c.key = "d" + string(c.id) + string(c.iaid[:])
	if c.name == "" {
		if o, ok := m.GetOneOption(dhcpv6.OptionFQDN).(*dhcpv6.OptFQDN); ok && len(o.DomainName.Labels) > 0 {
			c.name = cleanName(o.DomainName.Labels[0])
		}
	}
	if !host.Addr6.IsValid() {
		return c
	}
	key := "h" + string(mac)
	if b := s.v6.byKey[key]; b == nil || string(b.id) != string(c.id) || b.iaid == c.iaid {
		c.key, c.reserved = key, host.Addr6
	}
	return c
}

// ias are the IA_NAs of a message that are answered.
func ias(m *dhcpv6.Message) []*dhcpv6.OptIANA {
	all := m.Options.IANA()
	return all[:min(len(all), maxIAs)]
}

// asked are the addresses in an IA of a message.
func asked(ia *dhcpv6.OptIANA) (addrs []netip.Addr) {
	for _, o := range ia.Options.Addresses() {
		if a, ok := netip.AddrFromSlice(o.IPv6Addr); ok && len(addrs) < maxAddrs {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// assign gives each IA an address; unless commit is set it only offers it.
func (s *Server) assign(m, resp *dhcpv6.Message, mac net.HardwareAddr, commit bool) {
	for _, ia := range ias(m) {
		hint := append(asked(ia), netip.Addr{})[0]
		if m.MessageType == dhcpv6.MessageTypeRequest && hint.IsValid() && !s.cfg.Subnet6.Contains(hint) {
			refuse(resp, ia, iana.StatusNotOnLink)
			continue
		}
		c := s.client6(m, ia, mac)
		var b *binding
		if !s.cfg.Stateless6 {
			b = s.v6.offer(c, hint)
		}
		if b == nil {
			refuse(resp, ia, iana.StatusNoAddrsAvail)
			continue
		}
		if commit {
			s.v6.bind(b, c, s.cfg.Lease)
		}
		s.grant(resp, ia, b)
	}
}

// extend goes on with leases. A client that isn't known gets the address that it has if that is free, as with DHCPv4.
func (s *Server) extend(m, resp *dhcpv6.Message, mac net.HardwareAddr) {
	for _, ia := range ias(m) {
		c, addrs := s.client6(m, ia, mac), asked(ia)
		b := s.v6.byKey[c.key]
		for i := 0; b == nil && i < len(addrs) && !s.cfg.Stateless6; i++ {
			b = s.v6.take(c, addrs[i])
		}
		switch {
		case b != nil:
			s.v6.bind(b, c, s.cfg.Lease)
			s.grant(resp, ia, b, addrs...)
		case m.MessageType == dhcpv6.MessageTypeRebind && len(addrs) > 0:
			s.grant(resp, ia, nil, addrs...)
		default:
			refuse(resp, ia, iana.StatusNoBinding)
		}
	}
}

// grant answers an IA by the address of b. All others that the client has are not to be used any longer.
func (s *Server) grant(resp *dhcpv6.Message, ia *dhcpv6.OptIANA, b *binding, others ...netip.Addr) {
	answer := &dhcpv6.OptIANA{IaId: ia.IaId}
	if b != nil {
		answer.T1, answer.T2 = s.renewal(s.cfg.Lease), s.cfg.Lease/5*4
		answer.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: b.addr.AsSlice(), PreferredLifetime: s.cfg.Lease, ValidLifetime: s.cfg.Lease})
	}
	for _, a := range others {
		if b == nil || a != b.addr {
			answer.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice()})
		}
	}
	resp.AddOption(answer)
}

// refuse answers an IA by a status.
func refuse(resp *dhcpv6.Message, ia *dhcpv6.OptIANA, status iana.StatusCode) {
	answer := &dhcpv6.OptIANA{IaId: ia.IaId}
	answer.Options.Add(&dhcpv6.OptStatusCode{StatusCode: status, StatusMessage: status.String()})
	resp.AddOption(answer)
}

// confirm says whether a client's addresses are of this segment (RFC 8415, section 18.3.3).
func (s *Server) confirm(m, resp *dhcpv6.Message) *dhcpv6.Message {
	status, any := iana.StatusSuccess, false
	for _, ia := range ias(m) {
		for _, a := range asked(ia) {
			any = true
			if !s.cfg.Subnet6.Contains(a) {
				status = iana.StatusNotOnLink
			}
		}
	}
	if !any {
		return nil
	}
	resp.AddOption(&dhcpv6.OptStatusCode{StatusCode: status, StatusMessage: status.String()})
	return resp
}

// giveBack takes addresses back that a client releases or declines (RFC 8415, sections 18.3.7 and 18.3.8).
func (s *Server) giveBack(m, resp *dhcpv6.Message, mac net.HardwareAddr) *dhcpv6.Message {
	resp.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess, StatusMessage: iana.StatusSuccess.String()})
	for _, ia := range ias(m) {
		b := s.v6.byKey[s.client6(m, ia, mac).key]
		if b == nil || b.state != StateBound {
			refuse(resp, ia, iana.StatusNoBinding)
			continue
		}
		for _, a := range asked(ia) {
			if a != b.addr {
				continue
			}
			if m.MessageType == dhcpv6.MessageTypeDecline {
				s.v6.decline(b)
			} else {
				s.v6.release(b)
			}
			break
		}
	}
	return resp
}
