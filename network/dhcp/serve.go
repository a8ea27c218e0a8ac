package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// maxMessage is the longest datagram that is read as a whole.
const maxMessage = 4096

// Serve answers clients of DHCPv4 that are heard on conn, until ctx is done or conn is closed; both are no error. Clients without an address
// are answered by broadcast, because the kernel would ask them for the MAC of an address that they don't have yet.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	return s.serve(ctx, conn, func(b []byte, from *net.UDPAddr) ([]byte, *net.UDPAddr) {
		req, err := dhcpv4.FromBytes(b)
		if err != nil {
			s.drop()
			return nil, nil
		}
		resp := s.HandleV4(req)
		if resp == nil {
			return nil, nil
		}
		to := &net.UDPAddr{IP: net.IPv4bcast, Port: from.Port}
		// An address of another network is not sent to: who the message is from isn't known.
		if a := receiver4(req, resp); addrOf(req.ClientIPAddr).IsValid() && !broadcasts(req, resp) && s.cfg.Subnet.Contains(a) {
			to.IP = a.AsSlice()
		}
		return resp.ToBytes(), to
	})
}

// ServeV6 answers clients of DHCPv6 as Serve does those of DHCPv4. conn must be a member of the group ff02::1:2.
func (s *Server) ServeV6(ctx context.Context, conn net.PacketConn) error {
	return s.serve(ctx, conn, func(b []byte, from *net.UDPAddr) ([]byte, *net.UDPAddr) {
		m, err := decode6(b)
		if err != nil {
			s.drop()
			return nil, nil
		}
		resp := s.HandleV6(m, from.AddrPort().Addr().WithZone(""))
		if resp == nil {
			return nil, nil
		}
		return resp.ToBytes(), from
	})
}

// serve reads messages, and writes what answer returns for them to whom it says.
func (s *Server) serve(ctx context.Context, conn net.PacketConn, answer func([]byte, *net.UDPAddr) ([]byte, *net.UDPAddr)) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) }) // on error conn is closed already
	defer stop()
	b := make([]byte, maxMessage)
	for {
		n, addr, err := conn.ReadFrom(b)
		switch {
		case ctx.Err() != nil, errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("dhcp: read from %v: %w", conn.LocalAddr(), err)
		}
		from, ok := addr.(*net.UDPAddr)
		if !ok {
			s.drop()
			continue
		}
		resp, to := answer(b[:n], from)
		if resp == nil {
			continue
		}
		if _, err := conn.WriteTo(resp, to); err != nil {
			s.drop() // the client will ask again
		}
	}
}
