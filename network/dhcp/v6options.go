package dhcp

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

const (
	// header6 is the length of a message without options, headerIA and headerAddr that of an IA_NA and an IA Address without theirs.
	header6    = 4
	headerIA   = 12
	headerAddr = 24
	// minRefresh is the shortest time after which a client asks again (RFC 8415, section 21.23).
	minRefresh = 10 * time.Minute
)

var errMalformed = errors.New("dhcp: decode a message: it is malformed")

// decode6 reads a message of DHCPv6. Options that the server has no use for are left out before the library sees them: some take it a time
// that grows with the square of their length, such as compressed names.
func decode6(b []byte) (*dhcpv6.Message, error) {
	if len(b) < header6 {
		return nil, errMalformed
	}
	kept, err := keep(slices.Clone(b[:header6]), b[header6:], func(out []byte, code dhcpv6.OptionCode, value []byte) ([]byte, error) {
		switch code {
		case dhcpv6.OptionClientID, dhcpv6.OptionServerID:
			if len(value) > maxDUID {
				return nil, errMalformed
			}
		case dhcpv6.OptionIANA:
			return keepIA(out, value)
		case dhcpv6.OptionFQDN:
			// A client must not compress it (RFC 4704, section 4.2).
			if len(value) > 256 || slices.ContainsFunc(value[min(1, len(value)):], func(c byte) bool { return c >= 0xc0 }) {
				return out, nil
			}
		case dhcpv6.OptionORO, dhcpv6.OptionRapidCommit:
		default:
			return out, nil
		}
		return appendOption(out, code, value), nil
	})
	if err != nil {
		return nil, err
	}
	return dhcpv6.MessageFromBytes(kept)
}

// keepIA appends an IA_NA with the addresses in it, and without what else is there.
func keepIA(out, ia []byte) ([]byte, error) {
	if len(ia) < headerIA {
		return nil, errMalformed
	}
	kept, err := keep(slices.Clone(ia[:headerIA]), ia[headerIA:], func(out []byte, code dhcpv6.OptionCode, value []byte) ([]byte, error) {
		if code != dhcpv6.OptionIAAddr {
			return out, nil
		}
		if len(value) < headerAddr {
			return nil, errMalformed
		}
		return appendOption(out, code, value[:headerAddr]), nil
	})
	if err != nil {
		return nil, err
	}
	return appendOption(out, dhcpv6.OptionIANA, kept), nil
}

// keep appends to out what f makes of each option.
func keep(out, options []byte, f func(out []byte, code dhcpv6.OptionCode, value []byte) ([]byte, error)) (_ []byte, err error) {
	for len(options) > 0 {
		if len(options) < 4 {
			return nil, errMalformed
		}
		code, n := dhcpv6.OptionCode(binary.BigEndian.Uint16(options)), int(binary.BigEndian.Uint16(options[2:]))
		if options = options[4:]; n > len(options) {
			return nil, errMalformed
		}
		if out, err = f(out, code, options[:n]); err != nil {
			return nil, err
		}
		options = options[n:]
	}
	return out, nil
}

func appendOption(out []byte, code dhcpv6.OptionCode, value []byte) []byte {
	out = binary.BigEndian.AppendUint16(out, uint16(code))
	out = binary.BigEndian.AppendUint16(out, uint16(len(value)))
	return append(out, value...)
}

// fill6 adds what the client asks for (RFC 8415, section 21.7); if it doesn't say, all there is.
func (s *Server) fill6(m, resp *dhcpv6.Message) {
	wanted := m.Options.RequestedOptions()
	for _, o := range s.options6() {
		if len(wanted) == 0 || slices.Contains(wanted, o.Code()) {
			resp.AddOption(o)
		}
	}
	if m.MessageType == dhcpv6.MessageTypeInformationRequest && slices.Contains(wanted, dhcpv6.OptionInformationRefreshTime) {
		resp.AddOption(dhcpv6.OptInformationRefreshTime(max(s.cfg.Lease, minRefresh)))
	}
}

// options6 are the options of all clients: RFC 3646 for names, RFC 5908 for time.
func (s *Server) options6() (options []dhcpv6.Option) {
	if len(s.cfg.DNS6) > 0 {
		var ips []net.IP
		for _, a := range s.cfg.DNS6 {
			ips = append(ips, a.AsSlice())
		}
		options = append(options, dhcpv6.OptDNS(ips...))
	}
	if len(s.cfg.Search) > 0 {
		options = append(options, dhcpv6.OptDomainSearchList(&rfc1035label.Labels{Labels: s.cfg.Search}))
	}
	ntp := &dhcpv6.OptNTPServer{}
	for _, a := range s.cfg.NTP {
		if isIPv6(a) {
			addr := dhcpv6.NTPSuboptionSrvAddr(a.AsSlice())
			ntp.Suboptions.Add(&addr)
		}
	}
	if len(ntp.Suboptions) > 0 {
		options = append(options, ntp)
	}
	return options
}
