package vswitch

import (
	"bytes"
	"testing"
)

// FuzzSwitch reads its input as frames of two guests, each after a byte that says whose it is and two with its length. No guest gets what it sent
// itself, or what another one sent in the name of a fixed address; what comes is what was sent.
func FuzzSwitch(f *testing.F) {
	sent := func(port byte, frame []byte) []byte {
		return append([]byte{port, byte(len(frame) >> 8), byte(len(frame))}, frame...)
	}
	f.Add(bytes.Join([][]byte{sent(0, frameOf(station2, station1, 60)), sent(1, frameOf(broadcast, station3, 60)),
		sent(0, frameOf(station3, station1, 20)), sent(1, frameOf(gateway, station3, 14))}, nil), false)
	f.Add(bytes.Join([][]byte{sent(1, frameOf(station1, station1, 60)), sent(1, frameOf(gateway, gateway, 13)), sent(0, nil)}, nil), true)
	f.Fuzz(func(t *testing.T, data []byte, isolated bool) {
		s := New(Config{MTU: 576, Isolated: isolated})
		defer s.Close()
		var sender *Port
		var frame []byte
		var ports [3]*Port
		receive := func(to int) func([]byte) {
			return func(got []byte) {
				switch from := addressOf(got[6:]); {
				case ports[to] == sender:
					t.Fatal("the sender gets its frame")
				case isolated && to != 2 && sender != ports[2]:
					t.Fatal("an isolated guest gets a guest's frame")
				case !bytes.Equal(got, frame) || len(got) > 576+headerLen+2*tagLen:
					t.Fatalf("%x comes as %x", frame, got)
				case from == addressOf(gateway) || from == addressOf(station1) && sender != ports[0] || from.group():
					t.Fatalf("%x is spoofed", got)
				}
			}
		}
		ports[2] = s.Attach("gateway", gateway, receive(2))
		for i := range 2 {
			ports[i] = s.newPort("guest", false)
			ports[i].out = receive(i)
			mac := station1
			if i == 1 {
				mac = nil
			}
			if err := s.add(ports[i], mac); err != nil {
				t.Fatal(err)
			}
		}
		for len(data) >= 3 {
			n := min(int(data[1])<<8|int(data[2]), len(data)-3)
			sender, frame = ports[data[0]&1], data[3:3+n]
			data = data[3+n:]
			sender.Input(frame)
		}
		for _, p := range ports {
			if p.stations > stationsPerPort {
				t.Fatalf("%d stations of one port", p.stations)
			}
		}
	})
}
