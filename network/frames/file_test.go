package frames

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open returns one end of a pair, opened, and the other's descriptor.
func open(t *testing.T) (*File, int) {
	t.Helper()
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		theirs.Close()
	})
	return f, int(theirs.Fd())
}

// receive reads frames until f ends, and passes copies on.
func receive(f *File, size int) (got chan []byte, end chan error) {
	got, end = make(chan []byte, 1000), make(chan error, 1)
	go func() {
		end <- f.Receive(NewBatch(size), func(b *Batch) {
			for i := range b.Len() {
				got <- bytes.Clone(b.Frame(i))
			}
		})
		close(got)
	}()
	return got, end
}

func TestReceive(t *testing.T) {
	f, fd := open(t)
	var want [][]byte
	for i := range 200 { // more than a batch, with each length from 0 on
		want = append(want, bytes.Repeat([]byte{byte(i)}, i))
	}
	want = append(want, make([]byte, 65543))
	for _, frame := range want {
		if err := unix.Send(fd, frame, 0); err != nil {
			t.Fatal(err)
		}
	}
	unix.Shutdown(fd, unix.SHUT_RDWR)
	got, end := receive(f, 65536)
	for i := range want {
		if frame := <-got; !bytes.Equal(frame, want[i][:min(len(want[i]), 65536)]) {
			t.Fatalf("frame %d is %d bytes; want %d", i, len(frame), len(want[i]))
		}
	}
	if frame, ok := <-got; ok {
		t.Errorf("one frame more, of %d bytes", len(frame))
	}
	if err := <-end; !errors.Is(err, io.EOF) {
		t.Errorf("Receive() = %v; want EOF", err)
	}
}

// TestReceiveEach sends a frame only when the one before has come: so each has to wake the reader.
func TestReceiveEach(t *testing.T) {
	f, fd := open(t)
	got, end := receive(f, 100)
	for i := range 1000 {
		unix.Send(fd, []byte{byte(i)}, 0)
		if frame := <-got; !slices.Equal(frame, []byte{byte(i)}) {
			t.Fatalf("got %v; want %d", frame, byte(i))
		}
	}
	f.Close()
	if err := <-end; err != nil {
		t.Errorf("Receive() = %v after Close; want nil", err)
	}
}

// TestPackets reads and writes what is no socket, as a tap is none: a pipe in packet mode.
func TestPackets(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_DIRECT); err != nil {
		t.Fatal(err)
	}
	r, err := Open(os.NewFile(uintptr(fds[0]), "r"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := Open(os.NewFile(uintptr(fds[1]), "w"))
	if err != nil {
		t.Fatal(err)
	}
	a, fd := open(t)
	got, end := receive(r, 100)
	if err := w.Send([]byte("one"), 0); err != nil {
		t.Fatal(err)
	}
	unix.Send(fd, []byte("two"), 0)
	unix.Send(fd, []byte("three"), 0)
	unix.Shutdown(fd, unix.SHUT_RDWR)
	a.Receive(NewBatch(100), func(b *Batch) {
		if n := w.SendBatch(b, 0, b.Len(), 0); n != 2 {
			t.Errorf("SendBatch() = %d; want 2", n)
		}
	})
	w.Close()
	for _, want := range []string{"one", "two", "three"} {
		if frame := <-got; string(frame) != want {
			t.Errorf("got %q; want %q", frame, want)
		}
	}
	if err := <-end; !errors.Is(err, io.EOF) && err != nil {
		t.Errorf("Receive() = %v", err)
	}
}

// TestSendFull fills the buffer of an end that doesn't read: one patient Send waits, all others fail at once until it has read.
func TestSendFull(t *testing.T) {
	f, fd := open(t)
	frame := make([]byte, 1514)
	fill := func() (n int) {
		for f.Send(frame, 0) == nil {
			n++
		}
		return n
	}
	n := fill()
	const patience = 20 * time.Millisecond
	took := func() time.Duration {
		start := time.Now()
		if err := f.Send(frame, patience); err != ErrFull {
			t.Fatalf("Send() = %v; want ErrFull", err)
		}
		return time.Since(start)
	}
	if d := took(); d < patience {
		t.Errorf("the first patient Send took %v; want %v", d, patience)
	}
	start := time.Now()
	for range 100 {
		took()
	}
	if d := time.Since(start); d > 50*patience {
		t.Errorf("100 Sends to who is stuck took %v", d)
	}
	buf := make([]byte, 2000)
	for range n / 8 { // not enough
		unix.Read(fd, buf)
	}
	fill()
	if !f.stuck.Load() {
		t.Error("who took an eighth is waited for again")
	}
	for range n {
		unix.Read(fd, buf)
	}
	if err := f.Send(frame, 0); err != nil || f.stuck.Load() {
		t.Errorf("Send() = %v, stuck %v; want that who took all may be waited for", err, f.stuck.Load())
	}
	fill()
	var wg sync.WaitGroup
	wg.Go(func() {
		for range n {
			unix.Read(fd, buf)
		}
	})
	if err := f.Send(frame, 10*time.Second); err != nil {
		t.Errorf("Send() = %v though the end was read", err)
	}
	wg.Wait()
}

func TestSendClosed(t *testing.T) {
	f, fd := open(t)
	unix.Shutdown(fd, unix.SHUT_RDWR)
	if err := f.Send([]byte("x"), time.Hour); !errors.Is(err, unix.EPIPE) {
		t.Errorf("Send() = %v; want EPIPE", err)
	}
	f.Close()
	if err := f.Send([]byte("x"), time.Hour); err != os.ErrClosed {
		t.Errorf("Send() = %v; want ErrClosed", err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("second Close() = %v", err)
	}
}

// TestGate checks that Close waits for who is inside, who may enter again until then, and that nobody enters afterwards.
func TestGate(t *testing.T) {
	g := NewGate()
	for range 2 {
		if !g.Enter() {
			t.Fatal("an open gate is closed")
		}
	}
	closed := make(chan struct{})
	go func() {
		g.Close()
		close(closed)
	}()
	for g.Enter() {
		g.Leave()
	}
	g.Leave()
	select {
	case <-closed:
		t.Error("Close returns while somebody is inside")
	default:
	}
	g.Leave()
	<-closed
	if g.Enter() {
		t.Error("a closed gate is open")
	}
}
