package forward

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/network/frames"
	"github.com/sekexe/sekexe/network/netstack"
	"github.com/sekexe/sekexe/network/relay"
)

// limit is how long anything may take. It is used up only where something is broken.
const limit = 3 * time.Minute

// open returns a Forward that is closed at the test's end, when nothing of it may be left.
func open(t *testing.T) (*Forward, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	f, err := Open(path, func(n string) { t.Log("notice:", n) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
		b := make([]byte, 1<<20)
		for _, g := range strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n") {
			if strings.Contains(g, "forward.(*Forward)") && !strings.Contains(g, "testing.") {
				t.Errorf("a goroutine is left:\n%s", g)
			}
		}
	})
	return f, path
}

// A peer is a guest: a stack at the other end of the link.
type peer struct {
	link *frames.File
	gw   *netstack.Gateway
	wg   sync.WaitGroup
}

// join makes the guest, which serves each connection, if serve is not nil. It is up when join returns.
func join(t *testing.T, f *Forward, serve func(relay.Stream)) *peer {
	t.Helper()
	link, err := frames.Open(f.File())
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{link: link}
	p.gw, err = netstack.New(netstack.Config{MAC: GuestMAC, Addr: GuestAddr, MTU: MTU, Send: func(b []byte) { _ = link.Send(b, patience) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.gw.SetNeighbor(HostAddr.Addr(), HostMAC); err != nil {
		t.Fatal(err)
	}
	queue := make(chan []byte, 1000) // as a kernel has: to take what comes must not depend on what goes
	p.wg.Go(func() {
		defer close(queue)
		_ = link.Receive(frames.NewBatch(headerLen+MTU), func(b *frames.Batch) {
			for i := range b.Len() {
				select {
				case queue <- bytes.Clone(b.Frame(i)):
				default:
				}
			}
		})
	})
	p.wg.Go(func() {
		for b := range queue {
			p.gw.Input(b)
		}
	})
	if serve != nil {
		l, err := p.gw.Listen(Port)
		if err != nil {
			t.Fatal(err)
		}
		p.wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				p.wg.Go(func() {
					defer c.Close()
					serve(c.(relay.Stream))
				})
			}
		})
	}
	t.Cleanup(p.close)
	return p
}

func (p *peer) close() {
	p.gw.Close()
	p.link.Close()
	p.wg.Wait()
}

func dial(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(limit))
	return c.(*net.UnixConn)
}

// sum answers with the hash of all that a client sends until it sends no more.
func sum(c relay.Stream) {
	h := sha256.New()
	if _, err := io.Copy(h, c); err == nil {
		c.Write(h.Sum(nil))
		c.CloseWrite()
	}
}

// TestHalfClose has many clients at once that send, say that this was all, and then read the answer to the end.
func TestHalfClose(t *testing.T) {
	f, path := open(t)
	join(t, f, sum)
	f.Ready()
	var wg sync.WaitGroup
	for i := range 20 {
		c := dial(t, path)
		wg.Go(func() {
			data := make([]byte, 256<<10)
			rand.NewChaCha8([32]byte{byte(i)}).Read(data)
			if _, err := c.Write(data); err != nil {
				t.Error(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
			want := sha256.Sum256(data)
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want[:]) {
				t.Errorf("client %d: %x, %v; want %x", i, got, err, want)
			}
		})
	}
	wg.Wait()
}

// TestGuestCloses has the guest say that it sends no more while it still reads.
func TestGuestCloses(t *testing.T) {
	f, path := open(t)
	got := make(chan string, 1)
	join(t, f, func(c relay.Stream) {
		io.WriteString(c, "bye")
		c.CloseWrite()
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	f.Ready()
	c := dial(t, path)
	if b, err := io.ReadAll(c); string(b) != "bye" || err != nil {
		t.Fatalf("read %q, %v", b, err)
	}
	io.WriteString(c, "still here")
	c.CloseWrite()
	if s := <-got; s != "still here" {
		t.Errorf("the guest has read %q", s)
	}
}

// TestWaits has clients wait until the guest is ready: nothing reaches it before.
func TestWaits(t *testing.T) {
	f, path := open(t)
	c := dial(t, path)
	io.WriteString(c, "early")
	c.CloseWrite()
	came := make(chan struct{}, 1)
	join(t, f, func(c relay.Stream) {
		came <- struct{}{}
		sum(c)
	})
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || len(came) > 0 {
		t.Fatalf("before the guest is ready: read = %v, %d connections; want to wait", err, len(came))
	}
	f.Ready()
	f.Ready()
	c.SetReadDeadline(time.Now().Add(limit))
	want := sha256.Sum256([]byte("early"))
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want[:]) {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
}

// TestEnds has clients read the end when the guest refuses, when it is gone, and when the Forward is closed.
func TestEnds(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		f, path := open(t)
		join(t, f, nil)
		f.Ready()
		if b, err := io.ReadAll(dial(t, path)); len(b) > 0 || err != nil {
			t.Errorf("read %q, %v; want the end", b, err)
		}
	})
	hello := func(t *testing.T, f *Forward, path string) *net.UnixConn {
		t.Helper()
		f.Ready()
		c := dial(t, path)
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	hang := func(c relay.Stream) {
		io.WriteString(c, "hello")
		io.Copy(io.Discard, c)
	}
	t.Run("gone", func(t *testing.T) {
		f, path := open(t)
		p := join(t, f, hang)
		c := hello(t, f, path)
		p.link.Close() // as a kernel that is killed
		f.File().Close()
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
			t.Errorf("read %q, %v; want the end", b, err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		f, path := open(t)
		join(t, f, hang)
		c := hello(t, f, path)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
			t.Errorf("read %q, %v; want the end", b, err)
		}
	})
	t.Run("never ready", func(t *testing.T) {
		f, path := open(t)
		c := dial(t, path)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil && !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("read %q, %v; want the end", b, err)
		}
	})
}

// TestStalled holds that a client whose data the guest does not take holds up nobody else, and is held up itself.
func TestStalled(t *testing.T) {
	f, path := open(t)
	release := make(chan struct{})
	var first sync.Once
	join(t, f, func(c relay.Stream) {
		stalled := false
		first.Do(func() { stalled = true })
		if stalled {
			<-release
			return
		}
		sum(c)
	})
	defer close(release)
	f.Ready()
	c := dial(t, path)
	c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	if n, err := io.Copy(c, io.LimitReader(zeros{}, 1<<30)); !errors.Is(err, os.ErrDeadlineExceeded) || n > 64<<20 {
		t.Fatalf("wrote %d MiB to a guest that takes nothing, %v", n>>20, err)
	}
	other := dial(t, path)
	io.WriteString(other, "x")
	other.CloseWrite()
	if b, err := io.ReadAll(other); len(b) != sha256.Size || err != nil {
		t.Errorf("another connection read %d bytes, %v", len(b), err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestGarbage has the guest send frames that make no sense, before the link is in use and after.
func TestGarbage(t *testing.T) {
	f, path := open(t)
	p := join(t, f, sum)
	r := rand.NewChaCha8([32]byte{9})
	flood := func() {
		for i := range 2000 {
			b := make([]byte, i)
			r.Read(b)
			if i%2 == 0 && i > headerLen { // some that look at least as if they were for us
				copy(b, HostMAC)
				copy(b[6:], GuestMAC)
				copy(b[12:], []byte{8, 0, 0x45})
			}
			_ = p.link.Send(b, 0)
		}
		_ = p.link.Send(make([]byte, 65535), 0)
	}
	flood()
	f.Ready()
	for range 3 {
		c := dial(t, path)
		io.WriteString(c, "x")
		c.CloseWrite()
		if b, err := io.ReadAll(c); len(b) != sha256.Size || err != nil {
			t.Errorf("read %d bytes, %v", len(b), err)
		}
		flood()
	}
}
