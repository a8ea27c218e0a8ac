package dhcp

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
)

func hosts(c *Config) {
	everything(c)
	c.Ranges, c.Range6 = ranges("10.0.0.50-10.0.0.59"), ranges("fd00::50-fd00::59")
	c.Hosts = []Host{{MAC: mac(2), Name: "two", Addr: netip.MustParseAddr("10.0.0.2"), Addr6: netip.MustParseAddr("fd00::2")}}
}

// FuzzFrame: nothing that is heard on the wire makes a Port panic, or send other than one valid frame to who asked.
func FuzzFrame(f *testing.F) {
	w := newWorld(&testing.T{}, nil)
	for _, m := range []*dhcpv4.DHCPv4{
		message(dhcpv4.MessageTypeDiscover, mac(1)),
		message(dhcpv4.MessageTypeRequest, mac(1), asking("10.0.0.50"), server("10.0.0.1"), clientID("one"), requested(1, 3, 121)),
		message(dhcpv4.MessageTypeInform, mac(2), dhcpv4.WithClientIP(ip("10.0.0.2"))),
	} {
		f.Add(frameOf4(m, "0.0.0.0:68", "255.255.255.255:67", broadcastMAC))
	}
	f.Add(frameOf6(message6(dhcpv6.MessageTypeSolicit, 1, "fd00::50", ""), 1))
	f.Add(frameOf6(w.toUs(message6(dhcpv6.MessageTypeRequest, 2, "fd00::50")), 2))
	f.Add(solicitation("fe80::5", "ff02::2", append([]byte{1, 1}, mac(1)...)...))
	f.Fuzz(func(t *testing.T, frame []byte) {
		l := newLink(t, hosts)
		before := bytes.Clone(frame)
		l.Input(frame)
		if !bytes.Equal(frame, before) {
			t.Error("the frame was changed")
		}
		if len(l.sent) == 0 {
			return
		}
		if n := len(l.sent[0]); n > 14+largest {
			t.Errorf("%d bytes were sent", n)
		}
		if to := l.sent[0][:6]; !bytes.Equal(to, frame[6:12]) && !bytes.Equal(to, broadcastMAC) {
			t.Errorf("a frame was sent to %x", to)
		}
		if got := l.describe(); bytes.Contains([]byte(got), []byte("wrong")) {
			t.Error(got)
		}
	})
}

// FuzzV4: no message makes HandleV4 panic, and its answers are well formed.
func FuzzV4(f *testing.F) {
	f.Add(message(dhcpv4.MessageTypeDiscover, mac(1), requested(1, 3, 121)).ToBytes())
	f.Add(message(dhcpv4.MessageTypeRequest, mac(2), asking("10.0.0.2"), server("10.0.0.1"), clientID("one")).ToBytes())
	f.Add(message(dhcpv4.MessageTypeDecline, mac(2), asking("10.0.0.2"), server("10.0.0.1")).ToBytes())
	f.Add(message(dhcpv4.MessageTypeRelease, mac(2), dhcpv4.WithClientIP(ip("10.0.0.2"))).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		w := newWorld(t, hosts)
		resp := w.HandleV4(req)
		if resp == nil {
			return
		}
		wire := resp.ToBytes()
		if again, err := dhcpv4.FromBytes(wire); err != nil || again.TransactionID != req.TransactionID {
			t.Errorf("answer %v, %v", again, err)
		}
		if a := addrOf(resp.YourIPAddr); a.IsValid() && !w.cfg.Subnet.Contains(a) {
			t.Errorf("address %v", a)
		}
	})
}

// FuzzV6: no message makes the decoder or HandleV6 panic, and what is answered fits into a packet of the least size.
func FuzzV6(f *testing.F) {
	w := newWorld(&testing.T{}, hosts)
	f.Add(message6(dhcpv6.MessageTypeSolicit, 1, "fd00::50 fd00::51", "", "", "").ToBytes())
	f.Add(message6(dhcpv6.MessageTypeInformationRequest, 1).ToBytes())
	f.Add(message6(dhcpv6.MessageTypeRebind, 1, "fd99::50 fd99::51 fd99::52 fd99::53").ToBytes())
	f.Add(w.toUs(message6(dhcpv6.MessageTypeRequest, 2, "fd00::50")).ToBytes())
	f.Add(w.toUs(message6(dhcpv6.MessageTypeDecline, 2, "fd00::50")).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode6(b)
		if err != nil {
			return
		}
		w := newWorld(t, hosts)
		resp := w.HandleV6(m, linkLocal(2))
		if resp == nil {
			return
		}
		wire := resp.ToBytes()
		if _, err := dhcpv6.MessageFromBytes(wire); err != nil || len(wire) > minMTU6-48 {
			t.Errorf("answer of %d bytes, %v: %v", len(wire), err, resp)
		}
	})
}

// FuzzLeases: whatever clients say and in whatever order, no address is two clients' at a time, a reserved one is only its host's, and the
// bookkeeping is right. Each three bytes are what a client does: who, what, and with which address or time.
func FuzzLeases(f *testing.F) {
	f.Add([]byte("\x01\x00\x05\x01\x01\x05\x01\x02\x05\x01\x03\x05"))
	f.Add([]byte("\x02\x01\x32\x01\x01\x02\x01\x04\x05\x01\x05\xff\x02\x06\x01"))
	f.Fuzz(func(t *testing.T, script []byte) {
		w := newWorld(t, hosts)
		owner := map[string]string{}
		for ; len(script) >= 3 && !t.Failed(); script = script[3:] {
			n, what, arg := int(script[0]%16), script[1], script[2]
			w.step(n, what, arg, owner)
			w.check()
		}
	})
}

// step does one thing as client n. owner has whose each address is, as clients believe it: until the lease's time is over, or they gave it back.
func (w *world) step(n int, what, arg byte, owner map[string]string) {
	addr, addr6 := fmt.Sprintf("10.0.0.%d", arg), fmt.Sprintf("fd00::%x", arg)
	m := message6(dhcpv6.MessageTypeNone, n, addr6)
	switch what % 10 {
	case 0:
		w.ask(message(dhcpv4.MessageTypeDiscover, mac(n), asking(addr)))
	case 1:
		w.believe(n, message(dhcpv4.MessageTypeRequest, mac(n), asking(addr), server("10.0.0.1")), owner)
	case 2:
		w.believe(n, message(dhcpv4.MessageTypeRequest, mac(n), dhcpv4.WithClientIP(ip(addr))), owner)
	case 3:
		if w.ask(decline(n, addr)); owner[addr] == mac(n).String() {
			delete(owner, addr)
		}
	case 4:
		if w.ask(message(dhcpv4.MessageTypeRelease, mac(n), dhcpv4.WithClientIP(ip(addr)))); owner[addr] == mac(n).String() {
			delete(owner, addr)
		}
	case 5:
		w.clock = w.clock.Add(time.Duration(arg) * time.Minute)
		clear(owner)
		for _, l := range w.Leases() {
			if l.State == StateBound && l.Addr.Is4() {
				owner[l.Addr.String()] = l.MAC.String()
			}
		}
	case 6:
		m.MessageType = dhcpv6.MessageTypeSolicit
		w.ask6(m, n)
	case 7:
		m.MessageType = dhcpv6.MessageTypeRequest
		w.ask6(w.toUs(m), n)
	case 8:
		m.MessageType = dhcpv6.MessageTypeRelease
		w.ask6(w.toUs(m), n)
	case 9:
		m.MessageType = dhcpv6.MessageTypeDecline
		w.ask6(w.toUs(m), n)
	}
}

// believe notes that an address is the client's, if the server says so.
func (w *world) believe(n int, m *dhcpv4.DHCPv4, owner map[string]string) {
	resp, _ := w.ask(m)
	if resp == nil || resp.MessageType() != dhcpv4.MessageTypeAck {
		return
	}
	addr := resp.YourIPAddr.String()
	if o, taken := owner[addr]; taken && o != mac(n).String() {
		w.Errorf("%s is given to client %d, and is %s's", addr, n, o)
	}
	if (addr == "10.0.0.2") != (n == 2) {
		w.Errorf("client %d has %s", n, addr)
	}
	owner[addr] = mac(n).String()
}
