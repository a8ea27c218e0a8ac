package dhcp

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/mdlayher/ndp"
)

const (
	// routerLifetime and prefixLifetime are how long a host goes by an advertisement. They are long: an owner that is gone advertises no
	// more, but neither is there anything to route to then.
	routerLifetime = 30 * time.Minute
	prefixLifetime = 24 * time.Hour
	// minMTU6 is the least that IPv6 takes (RFC 8200, section 5).
	minMTU6 = 1280
)

// advertisement is the router advertisement of the segment (RFC 4861, section 4.2; RFC 8106 for names).
func (s *Server) advertisement(mac net.HardwareAddr) *ndp.RouterAdvertisement {
	c := &s.cfg
	ra := &ndp.RouterAdvertisement{
		CurrentHopLimit:      64,
		ManagedConfiguration: !c.Stateless6,
		OtherConfiguration:   true,
		Options: []ndp.Option{
			&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac},
			&ndp.PrefixInformation{
				PrefixLength: uint8(c.Subnet6.Bits()), Prefix: c.Subnet6.Addr(),
				OnLink: c.OnLink6, AutonomousAddressConfiguration: true,
				ValidLifetime: prefixLifetime, PreferredLifetime: prefixLifetime,
			},
		},
	}
	if c.Default6 {
		ra.RouterLifetime = routerLifetime
	}
	if c.MTU >= minMTU6 {
		ra.Options = append(ra.Options, ndp.NewMTU(uint32(c.MTU)))
	}
	if len(c.DNS6) > 0 {
		ra.Options = append(ra.Options, &ndp.RecursiveDNSServer{Lifetime: prefixLifetime, Servers: c.DNS6})
	}
	for _, d := range c.Search { // an option for each: the library's are no longer than 255 bytes
		ra.Options = append(ra.Options, &ndp.DNSSearchList{Lifetime: prefixLifetime, DomainNames: []string{d}})
	}
	return ra
}

// checkSizes reports a configuration whose answers would not fit into a packet of IPv6 of the least size.
func (s *Server) checkSizes() error {
	if !s.cfg.Subnet6.IsValid() {
		return nil
	}
	ra, err := ndp.MarshalMessage(s.advertisement(make(net.HardwareAddr, 6)))
	if err != nil {
		return fmt.Errorf("dhcp: configure IPv6: make an advertisement: %w", err)
	}
	m := &dhcpv6.Message{}
	for _, o := range s.options6() {
		m.AddOption(o)
	}
	// Beside these options an answer has the identifiers, and the IAs.
	if len(ra) > minMTU6-40 || len(m.ToBytes()) > minMTU6-48-2*(4+maxDUID)-maxIAs*(4+headerIA+(maxAddrs+1)*(4+headerAddr)) {
		return errors.New("dhcp: configure IPv6: there are too many name servers and search domains for a packet")
	}
	return nil
}
