package dhcp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// A world is a server with a clock that stands still, and what it told of.
type world struct {
	*testing.T
	*Server
	clock  time.Time
	events []string
}

var (
	gateway  = netip.MustParseAddr("10.0.0.1")
	gateway6 = netip.MustParseAddr("fd00::1")
)

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := &world{T: t, clock: time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)}
	c := Config{
		Server: gateway, Subnet: netip.MustParsePrefix("10.0.0.0/24"), Lease: time.Hour,
		Server6: gateway6, Subnet6: netip.MustParsePrefix("fd00::/64"),
		Now: func() time.Time { return w.clock },
		OnEvent: func(e Event) {
			w.LeaseOf(e.Lease.MAC) // no lock is held
			w.events = append(w.events, fmt.Sprintf("%v %v", e.Kind, e.Lease.Addr))
		},
	}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	w.Server = s
	t.Cleanup(func() { w.check() })
	return w
}

// check holds the bookkeeping to what it must be at any time.
func (w *world) check() {
	w.Helper()
	for _, p := range []*pool{w.v4, w.v6} {
		used, old, declined := 0, 0, 0
		for a, b := range p.byAddr {
			switch {
			case b.addr != a || !p.subnet.Contains(a):
				w.Errorf("%v is in the table as %v", b.addr, a)
			case b.reserved == p.contains(a):
				w.Errorf("%v: reserved = %t, in the pool: %t", a, b.reserved, p.contains(a))
			case (b.state == StateDeclined) == (p.byKey[b.key] == b):
				w.Errorf("%v is %v, and its client has it: %t", a, b.state, p.byKey[b.key] == b)
			case b.state == remembered && (b.index >= 0 || b.elem == nil || !b.leased):
				w.Errorf("%v: is remembered, and not in the right list", a)
			case b.state != remembered && (b.elem != nil || p.timed[b.index] != b):
				w.Errorf("%v: is %v, and not in the right list", a, b.state)
			}
			if !b.reserved {
				used++
			}
			if b.state == remembered {
				old++
			}
			if b.state == StateDeclined {
				declined++
			}
		}
		held := 0
		for _, n := range p.holds {
			held += n
		}
		if held != used-old {
			w.Errorf("%v: clients hold %d of %d addresses", p.subnet, held, used-old)
		}
		by := 0
		for _, n := range p.declines {
			by += n
		}
		if used != p.used || used > maxBindings || old != p.old.Len() || len(p.timed) != len(p.byAddr)-old || declined != p.declined || by != declined {
			w.Errorf("%v: counted %d used, %d remembered, %d declined; have %d, %d, %d; %d timed", p.subnet, used, old, declined, p.used, p.old.Len(), p.declined, len(p.timed))
		}
		for k, b := range p.byKey {
			if b.key != k || p.byAddr[b.addr] != b {
				w.Errorf("%v is a client's, and not in the table", b.addr)
			}
		}
	}
}

// told returns the events since it was last called.
func (w *world) told() string {
	s := fmt.Sprint(w.events)
	w.events = nil
	return s
}

// mac is the n-th client's.
func mac(n int) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}
}

func ip(s string) net.IP { return netip.MustParseAddr(s).AsSlice() }

// message makes a message of DHCPv4.
func message(t dhcpv4.MessageType, mac net.HardwareAddr, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithMessageType(t), dhcpv4.WithHwAddr(mac)}, mods...)...)
	if err != nil {
		panic(err)
	}
	return m
}

func asking(addr string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip(addr)))
}

func server(addr string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(addr)))
}

func clientID(id string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte(id)))
}

// ask hands a message to the server over the wire, and says in short what it answers.
func (w *world) ask(m *dhcpv4.DHCPv4) (resp *dhcpv4.DHCPv4, short string) {
	w.Helper()
	req, err := dhcpv4.FromBytes(m.ToBytes())
	if err != nil {
		w.Fatal(err)
	}
	if resp = w.HandleV4(req); resp == nil {
		return nil, "nothing"
	}
	wire := resp.ToBytes()
	if resp, err = dhcpv4.FromBytes(wire); err != nil {
		w.Fatalf("the answer is malformed: %v", err)
	}
	if len(wire) > smallest-28 && !m.Options.Has(dhcpv4.OptionMaximumDHCPMessageSize) {
		w.Errorf("the answer is %d bytes long", len(wire))
	}
	if resp.TransactionID != m.TransactionID || !bytes.Equal(resp.ClientHWAddr, m.ClientHWAddr) || resp.OpCode != dhcpv4.OpcodeBootReply {
		w.Errorf("the answer is not one to the question: %v", resp)
	}
	if a := addrOf(resp.ServerIdentifier()); a != gateway {
		w.Errorf("server identifier %v", a)
	}
	return resp, fmt.Sprintf("%v %v", resp.MessageType(), resp.YourIPAddr)
}

// lease gets an address as a client does that is new on the network.
func (w *world) lease(mac net.HardwareAddr, mods ...dhcpv4.Modifier) string {
	w.Helper()
	offer, s := w.ask(message(dhcpv4.MessageTypeDiscover, mac, mods...))
	if offer == nil {
		return s
	}
	addr := offer.YourIPAddr.String()
	mods = append(mods, asking(addr), server(gateway.String()))
	if _, s := w.ask(message(dhcpv4.MessageTypeRequest, mac, mods...)); s != "ACK "+addr {
		w.Fatalf("request of %s: %s", addr, s)
	}
	return addr
}
