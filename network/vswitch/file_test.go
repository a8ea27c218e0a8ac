package vswitch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/network/frames"
	"github.com/sekexe/sekexe/network/impair"
)

// guest attaches a port and returns the descriptor that a guest would have. Reading and writing it blocks, but for 20 s.
func guest(t *testing.T, s *Switch, mac net.HardwareAddr, im *impair.Config) (*Port, int) {
	t.Helper()
	ours, theirs, err := frames.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	p, err := s.AttachFile(ours, mac, false, im)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(theirs.Fd())
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	for _, o := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, o, &unix.Timeval{Sec: 20}); err != nil {
			t.Fatal(err)
		}
	}
	return p, fd
}

// open returns a Switch that is closed at the end, after the guests' ends, and then has no goroutines.
func open(t *testing.T, c Config) *Switch {
	s := New(c)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 1<<20)
		stacks := string(buf[:runtime.Stack(buf, true)])
		for _, f := range []string{"vswitch.(*Port)", "impair.(*Link)", "frames.(*File)"} {
			if strings.Contains(stacks, f) {
				t.Errorf("a goroutine is in %s after Close:\n%s", f, stacks)
			}
		}
	})
	return s
}

func read(t *testing.T, fd int) []byte {
	t.Helper()
	buf := make([]byte, 1<<17)
	n, err := readInto(fd, buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// readInto reads once, over what Go's scheduler interrupts.
func readInto(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		if err != unix.EINTR {
			return n, err
		}
	}
}

func send(t *testing.T, fd int, frame []byte) {
	t.Helper()
	err := unix.Send(fd, frame, 0)
	for err == unix.EINTR {
		err = unix.Send(fd, frame, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFiles sends batches of all kinds of frames between guests, and to a gateway: each comes, whole and in order.
func TestFiles(t *testing.T) {
	s := open(t, Config{MTU: 65521})
	toGateway := make(chan []byte, 1000)
	g := s.Attach("gateway", gateway, func(f []byte) { toGateway <- bytes.Clone(f) })
	p, a := guest(t, s, station1, nil)
	_, b := guest(t, s, station2, nil)
	_, c := guest(t, s, nil, nil)
	spoofed := frameOf(station2, gateway, 60)
	var want [][]byte
	for i, size := range []int{14, 60, 1514, 65535, 65535, 15, 9000} {
		f := frameOf(station2, station1, size)
		switch i {
		case 2:
			copy(f, broadcast)
		case 3:
			send(t, a, spoofed)
			send(t, a, nil)
		case 5:
			send(t, a, frameOf(gateway, station1, 61))
			send(t, a, frameOf(station3, station1, 65536))
		}
		send(t, a, f)
		want = append(want, f)
	}
	for i, f := range want {
		if got := read(t, b); !bytes.Equal(got, f) {
			t.Fatalf("frame %d: %d bytes; want %d", i, len(got), len(f))
		}
	}
	if got := read(t, c); !bytes.Equal(got, want[2]) {
		t.Errorf("the third gets %d bytes; want only the broadcast", len(got))
	}
	for _, n := range []int{1514, 61} {
		if got := <-toGateway; len(got) != n {
			t.Errorf("the gateway gets %d bytes; want %d", len(got), n)
		}
	}
	g.Input(frameOf(station1, gateway, 1000))
	if got := read(t, a); len(got) != 1000 {
		t.Errorf("the gateway's frame has %d bytes; want 1000", len(got))
	}
	s.Close() // then all is counted
	if received, sent, dropped := p.Stats(); received != 11 || sent != 1 || dropped != 3 {
		t.Errorf("%d received, %d sent, %d dropped; want 11, 1, 3", received, sent, dropped)
	}
}

// TestGone closes a guest's end: its port is removed though nobody closes it.
func TestGone(t *testing.T) {
	s := open(t, Config{MTU: 1500})
	_, a := guest(t, s, station1, nil)
	_, b := guest(t, s, station2, nil)
	send(t, a, frameOf(station2, station1, 60))
	read(t, b)
	unix.Shutdown(a, unix.SHUT_RDWR)
	for deadline := time.Now().Add(10 * time.Second); len(s.fixed.Load().ports) != 1; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the port is still there")
		}
	}
	guest(t, s, station1, nil) // a new one with this address
}

func TestAttachFileTwice(t *testing.T) {
	s := open(t, Config{MTU: 1500})
	guest(t, s, station1, nil)
	for _, mac := range []net.HardwareAddr{station1, broadcast, {1, 2, 3}} {
		ours, theirs, err := frames.Pair()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.AttachFile(ours, mac, false, nil); err == nil {
			t.Errorf("%s is attached", mac)
		}
		if n, err := theirs.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d, %v; want the end", n, err)
		}
		theirs.Close()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ours, theirs, _ := frames.Pair()
	defer theirs.Close()
	if _, err := s.AttachFile(ours, nil, false, nil); !errors.Is(err, errClosed) {
		t.Errorf("AttachFile to a closed switch: %v", err)
	}
	if err := ours.Close(); !errors.Is(err, os.ErrClosed) {
		t.Error("AttachFile didn't take over the file")
	}
}

// TestImpaired counts what comes twice: a frame passes the cable of the sender and that of the receiver.
func TestImpaired(t *testing.T) {
	s := open(t, Config{MTU: 1500})
	_, a := guest(t, s, station1, &impair.Config{Duplicate: 1, Seed: 1})
	_, b := guest(t, s, station2, &impair.Config{Duplicate: 1})
	_, c := guest(t, s, station3, &impair.Config{Loss: 1})
	p, d := guest(t, s, station4, nil)
	send(t, c, frameOf(station2, station3, 60))
	send(t, a, frameOf(station2, station1, 61))
	for range 4 {
		if got := read(t, b); len(got) != 61 {
			t.Fatalf("got %d bytes; want 61", len(got))
		}
	}
	send(t, b, frameOf(station4, station2, 62))
	for range 2 {
		read(t, d)
	}
	s.Close() // then all is counted
	if _, sent, dropped := p.Stats(); sent != 2 || dropped != 0 {
		t.Errorf("%d sent, %d dropped; want 2 and 0", sent, dropped)
	}
}

// A flood is a guest that sends as fast as it can until stop is closed.
func flood(wg *sync.WaitGroup, stop *atomic.Bool, fd int, frames ...[]byte) {
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			unix.Send(fd, frames[i%len(frames)], unix.MSG_DONTWAIT)
		}
	})
}

// TestFlood has a guest that floods one that never reads, and everybody with broadcasts, spoofed addresses, runts and giants. Two others talk all
// the same, to each other and with the gateway.
func TestFlood(t *testing.T) {
	s := open(t, Config{MTU: 1500})
	var toGateway atomic.Int64
	s.Attach("gateway", gateway, func(f []byte) {
		if len(f) == 777 {
			toGateway.Add(1)
		}
	})
	flooder, a := guest(t, s, station1, nil)
	deaf, _ := guest(t, s, station2, nil)
	_, c := guest(t, s, station3, nil)
	_, d := guest(t, s, station4, nil)
	var wg sync.WaitGroup
	var stop atomic.Bool
	defer wg.Wait()
	defer stop.Store(true)
	spoofed := frameOf(station4, station3, 60)
	flood(&wg, &stop, a, frameOf(station2, station1, 1514), frameOf(broadcast, station1, 1514), spoofed, spoofed[:13], nil, make([]byte, 5000))
	const n = 2000
	lost := 0
	buf := make([]byte, 2000)
	f := frameOf(station4, station3, 777)
	for i := range uint32(n) {
		binary.BigEndian.PutUint32(f[14:], i)
		send(t, c, f)
		send(t, c, frameOf(gateway, station3, 777))
		deadline := time.Now().Add(time.Second)
		for {
			size, err := readInto(d, buf)
			if err != nil {
				t.Fatal(err)
			}
			if size == 60 {
				t.Fatal("a spoofed frame came")
			}
			if size == 777 && binary.BigEndian.Uint32(buf[14:]) == i {
				break // else it is a broadcast
			}
			if time.Now().After(deadline) {
				lost++
				break
			}
		}
	}
	if lost > n/20 {
		t.Errorf("%d of %d frames are lost; want that the flood costs few", lost, n)
	}
	for deadline := time.Now().Add(10 * time.Second); toGateway.Load() < n && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if got := toGateway.Load(); got != n {
		t.Errorf("%d of %d frames came to the gateway", got, n)
	}
	if _, _, dropped := flooder.Stats(); dropped == 0 {
		t.Error("nothing of the flood was dropped")
	}
	if _, _, dropped := deaf.Stats(); dropped == 0 {
		t.Error("who doesn't read got everything")
	}
}

// TestCloseFlooded closes a switch in the middle of floods between its guests.
func TestCloseFlooded(t *testing.T) {
	s := open(t, Config{MTU: 1500})
	g := s.Attach("gateway", gateway, func([]byte) {})
	var wg sync.WaitGroup
	var stop atomic.Bool
	defer wg.Wait()
	defer stop.Store(true)
	macs := []net.HardwareAddr{station1, station2, station3}
	ports := []*Port{g}
	for i, mac := range macs {
		p, fd := guest(t, s, mac, nil)
		flood(&wg, &stop, fd, frameOf(macs[(i+1)%3], mac, 1514), frameOf(broadcast, mac, 60), frameOf(gateway, mac, 60))
		wg.Go(func() {
			for !stop.Load() {
				g.Input(frameOf(mac, gateway, 1000))
			}
		})
		ports = append(ports, p)
	}
	for _, p := range ports {
		for received := uint64(0); received < 100; runtime.Gosched() {
			received, _, _ = p.Stats()
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
