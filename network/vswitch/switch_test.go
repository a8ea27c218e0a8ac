package vswitch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	station1  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	station2  = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	station3  = net.HardwareAddr{2, 0, 0, 0, 0, 3}
	station4  = net.HardwareAddr{2, 0, 0, 0, 0, 4}
	gateway   = net.HardwareAddr{2, 0, 0, 0, 0, 254}
	broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}
)

// frameOf returns a frame of a private ethertype with zeroes in it.
func frameOf(to, from net.HardwareAddr, size int) []byte {
	f := make([]byte, max(size, headerLen))
	copy(f, to)
	copy(f[6:], from)
	f[12], f[13] = 0x88, 0xb5
	return f[:size]
}

// A lan is a switch with ports that are functions: a gateway g with a fixed address, guests a and b with station1 and station2, and guests c and
// d without. It notes who gets what.
type lan struct {
	*Switch
	ports map[string]*Port
	mu    sync.Mutex
	got   []string // names of ports, of the last frame
	frame []byte
}

func newLAN(t *testing.T, c Config) *lan {
	t.Helper()
	l := &lan{Switch: New(c), ports: map[string]*Port{}}
	l.ports["g"] = l.Attach("g", gateway, l.receiver("g"))
	for name, mac := range map[string]net.HardwareAddr{"a": station1, "b": station2, "c": nil, "d": nil} {
		p := l.newPort(name, false)
		p.out = l.receiver(name)
		if err := l.add(p, mac); err != nil {
			t.Fatal(err)
		}
		l.ports[name] = p
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (l *lan) receiver(name string) func([]byte) {
	return func(f []byte) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.got = append(l.got, name)
		l.frame = bytes.Clone(f)
	}
}

// send gives the switch a frame and returns who got it.
func (l *lan) send(from string, frame []byte) string {
	l.got = nil
	l.ports[from].Input(frame)
	slices.Sort(l.got)
	return strings.Join(l.got, "")
}

// A sending is a frame from a port, and who is to get it. Where nobody is, it is to be counted as dropped.
type sending struct {
	port     string
	to, from net.HardwareAddr
	want     string
}

func check(t *testing.T, l *lan, sendings []sending) {
	t.Helper()
	for i, s := range sendings {
		_, _, before := l.ports[s.port].Stats()
		frame := frameOf(s.to, s.from, 60)
		if got := l.send(s.port, frame); got != s.want {
			t.Errorf("sending %d, %s to %s: %q got it; want %q", i, s.from, s.to, got, s.want)
		} else if got != "" && !bytes.Equal(l.frame, frame) {
			t.Errorf("sending %d: the frame is another one", i)
		}
		_, _, after := l.ports[s.port].Stats()
		if dropped := after - before; (dropped == 1) != (s.want == "") || dropped > 1 {
			t.Errorf("sending %d: %d counted as dropped", i, dropped)
		}
	}
}

func TestForward(t *testing.T) {
	check(t, newLAN(t, Config{MTU: 1500}), []sending{
		{"a", station2, station1, "b"}, // nobody has to learn fixed addresses
		{"a", gateway, station1, "g"},
		{"g", station1, gateway, "a"},
		{"a", broadcast, station1, "bcdg"},
		{"g", broadcast, gateway, "abcd"},
		{"a", net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}, station1, "bcdg"},
		{"a", station3, station1, "bcdg"}, // nobody knows it yet
		{"c", station1, station3, "a"},
		{"a", station3, station1, "c"},
		{"c", station3, station3, ""}, // to itself
		{"c", station4, station3, "abdg"},
		{"c", station3, station4, ""}, // to the other behind the same port
		{"a", station1, station1, ""},
		{"a", net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0}, station1, ""},
		{"a", net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0xf}, station1, ""},
		{"a", net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0x10}, station1, "bcdg"},
	})
}

func TestSpoofing(t *testing.T) {
	l := newLAN(t, Config{MTU: 1500})
	check(t, l, []sending{
		{"a", station2, gateway, ""},
		{"c", broadcast, gateway, ""},
		{"a", gateway, station2, ""},
		{"c", gateway, station1, ""},
		{"g", station2, station1, ""},
		{"b", station1, station2, "a"}, // it is still where it was
		{"b", gateway, station2, "g"},
		{"a", station2, broadcast, ""},
		{"a", station2, net.HardwareAddr{3, 0, 0, 0, 0, 1}, ""},
		{"a", station2, net.HardwareAddr{0, 0, 0, 0, 0, 0}, ""},
		{"c", station1, net.HardwareAddr{0, 0, 0, 0, 0, 0}, ""},
		{"a", gateway, station3, "g"}, // a container in a
		{"g", station3, gateway, "a"},
		{"b", gateway, station3, ""}, // which talks, so that it can't be another one's
		{"g", station3, gateway, "a"},
	})
}

func TestIsolated(t *testing.T) {
	check(t, newLAN(t, Config{MTU: 1500, Isolated: true}), []sending{
		{"a", station2, station1, ""},
		{"a", gateway, station1, "g"},
		{"a", broadcast, station1, "g"},
		{"a", station3, station1, "g"},
		{"c", gateway, station3, "g"},
		{"a", station3, station1, ""},
		{"g", station3, gateway, "c"},
		{"g", station1, gateway, "a"},
		{"g", station4, gateway, "abcd"},
		{"g", broadcast, gateway, "abcd"},
	})
}

func TestSizes(t *testing.T) {
	l := newLAN(t, Config{MTU: 1500})
	for _, c := range []struct {
		size int
		tags []uint16
		want string
	}{
		{0, nil, ""}, {1, nil, ""}, {13, nil, ""}, {14, nil, "b"}, {1514, nil, "b"}, {1515, nil, ""}, {1518, nil, ""}, {70_000, nil, ""},
		{15, []uint16{0x8100}, "b"}, {1518, []uint16{0x8100}, "b"}, {1519, []uint16{0x8100}, ""}, {1522, []uint16{0x8100}, ""},
		{1522, []uint16{0x88a8, 0x8100}, "b"}, {1522, []uint16{0x8100, 0x0800}, ""}, {1523, []uint16{0x88a8, 0x8100}, ""},
		{1526, []uint16{0x88a8, 0x8100, 0x8100}, ""},
	} {
		frame := frameOf(station2, station1, c.size)
		for i, tag := range c.tags {
			if at := 12 + 4*i; at+2 <= len(frame) {
				binary.BigEndian.PutUint16(frame[at:], tag)
			}
		}
		if got := l.send("a", frame); got != c.want {
			t.Errorf("%d bytes, tags %x: %q got it; want %q", c.size, c.tags, got, c.want)
		}
	}
	if received, _, dropped := l.ports["a"].Stats(); received != 16 || dropped != 11 {
		t.Errorf("received %d, dropped %d; want 16 and 11", received, dropped)
	}
}

func TestCapture(t *testing.T) {
	var got [][]byte
	l := newLAN(t, Config{MTU: 1500, Capture: func(f []byte) { got = append(got, bytes.Clone(f)) }})
	unicast, flooded := frameOf(station2, station1, 60), frameOf(broadcast, station1, 100)
	for _, f := range [][]byte{unicast, frameOf(station1, station2, 60), flooded, frameOf(station2, station1, 13)} {
		l.send("a", f) // the second is spoofed, the last a runt
	}
	if want := [][]byte{unicast, flooded}; !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("captured %d frames; want the two that were forwarded", len(got))
	}
}

// TestStations has a guest that makes up addresses: it gets so many, and all others go on.
func TestStations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, Config{MTU: 1500})
		mac := func(i int) net.HardwareAddr { return net.HardwareAddr{6, 0, 0, 0, byte(i >> 8), byte(i)} }
		for i := range 2000 {
			want := "g"
			if i >= stationsPerPort {
				want = ""
			}
			if got := l.send("a", frameOf(gateway, mac(i), 60)); got != want {
				t.Fatalf("address %d: %q got it; want %q", i, got, want)
			}
		}
		sendings := []sending{
			{"a", gateway, mac(0), "g"}, // what is known stays
			{"a", gateway, station1, "g"},
			{"c", gateway, station3, "g"},
			{"g", mac(0), gateway, "a"},
			{"g", mac(stationsPerPort), gateway, "abcd"},
		}
		check(t, l, sendings)
		time.Sleep(stationAge - time.Second)
		check(t, l, []sending{{"a", gateway, mac(0), "g"}, {"a", gateway, mac(1000), ""}, {"g", mac(1), gateway, "a"}})
		time.Sleep(2 * time.Second)
		check(t, l, []sending{{"g", mac(1), gateway, "abcd"}, {"g", mac(0), gateway, "a"}, {"a", gateway, mac(1000), "g"}})
		if n := l.ports["a"].stations; n != 2 || n+1 != len(l.learned.ports) { // mac(0), mac(1000); of c: station3
			t.Errorf("%d stations of a, %d in all; want 2 and 3", n, len(l.learned.ports))
		}
	})
}

// TestMove has a container that goes from one guest to another.
func TestMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, Config{MTU: 1500})
		check(t, l, []sending{{"c", gateway, station3, "g"}, {"d", gateway, station3, ""}, {"g", station3, gateway, "c"}})
		time.Sleep(stationHold)
		check(t, l, []sending{{"d", gateway, station3, "g"}, {"g", station3, gateway, "d"}})
		if c, d := l.ports["c"].stations, l.ports["d"].stations; c != 0 || d != 1 {
			t.Errorf("c has %d stations, d %d; want 0 and 1", c, d)
		}
	})
}

// TestFloodLimit has a guest that sends broadcasts without end.
func TestFloodLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN(t, Config{MTU: 65000})
		flood := func(from string, size int) (n int) {
			for range 6_000 {
				if l.send(from, frameOf(broadcast, map[string]net.HardwareAddr{"a": station1, "g": gateway}[from], size)) != "" {
					n++
				}
			}
			return n
		}
		if n := flood("a", 60); n != floodBurst/5 {
			t.Errorf("%d broadcasts went out; want %d", n, floodBurst/5)
		}
		check(t, l, []sending{{"a", station2, station1, "b"}, {"a", broadcast, station1, ""}, {"b", broadcast, station2, "acdg"}})
		if n := flood("g", 60); n != 6_000 {
			t.Errorf("%d broadcasts of the gateway went out; want all", n)
		}
		time.Sleep(100 * time.Millisecond)
		if n := flood("a", 60); n != floodRate/10/5 {
			t.Errorf("%d broadcasts went out after 100 ms; want %d", n, floodRate/10/5)
		}
		time.Sleep(time.Hour)
		if n := flood("a", 20*floodUnit); n != floodBurst/5/21 {
			t.Errorf("%d long broadcasts went out; want %d", n, floodBurst/5/21)
		}
	})
}

func TestRemove(t *testing.T) {
	l := newLAN(t, Config{MTU: 1500})
	check(t, l, []sending{{"c", gateway, station3, "g"}})
	for _, name := range []string{"b", "c"} {
		if err := l.ports[name].Close(); err != nil {
			t.Fatal(err)
		}
	}
	check(t, l, []sending{{"a", station2, station1, "dg"}, {"a", station3, station1, "dg"}})
	if got := l.send("b", frameOf(station1, station2, 60)); got != "" {
		t.Errorf("%s got a frame of a closed port", got)
	}
	check(t, l, []sending{{"d", station1, station2, "a"}, {"a", station2, station1, "d"}}) // the address is free
	l.Attach("h", station3, l.receiver("h"))
	check(t, l, []sending{{"a", station3, station1, "h"}, {"d", station1, station3, ""}})
	l.Close()
	if got := l.send("a", frameOf(gateway, station1, 60)); got != "" {
		t.Errorf("%s got a frame after Close", got)
	}
}

// TestAttachLearned fixes an address that was learned from another port before.
func TestAttachLearned(t *testing.T) {
	l := newLAN(t, Config{MTU: 1500})
	check(t, l, []sending{{"c", gateway, station3, "g"}})
	l.Attach("h", station3, l.receiver("h"))
	check(t, l, []sending{{"a", station3, station1, "h"}, {"c", gateway, station3, ""}})
	if n := l.ports["c"].stations; n != 0 {
		t.Errorf("c has %d stations; want none", n)
	}
}

func TestAttachTwice(t *testing.T) {
	l := newLAN(t, Config{MTU: 1500})
	defer func() {
		want := "vswitch: attach h: 02:00:00:00:00:01: another port has this address"
		if got := fmt.Sprint(recover()); got != want {
			t.Errorf("Attach panics with %q; want %q", got, want)
		}
	}()
	l.Attach("h", station1, func([]byte) {})
}
