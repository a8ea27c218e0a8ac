package impair

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/network/frames"
)

// pair returns a File for the relay, and the other end.
func pair(t *testing.T) (relays *os.File, fd int) {
	t.Helper()
	ours, theirs, err := frames.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	if err := unix.SetNonblock(int(theirs.Fd()), false); err != nil {
		t.Fatal(err)
	}
	return ours, int(theirs.Fd())
}

func TestRelay(t *testing.T) {
	a, left := pair(t)
	b, right := pair(t)
	r, err := NewRelay(a, b, Config{Duplicate: 1}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<17)
	frame := bytes.Repeat([]byte("sekexe"), 10_000)
	unix.Send(left, frame[:13], 0) // a runt
	unix.Send(left, nil, 0)
	unix.Send(left, make([]byte, maxFrame+1), 0)
	unix.Send(left, frame, 0)
	unix.Send(left, frame[:14], 0)
	for i, want := range []int{60_000, 60_000, 14, 14} {
		n, err := unix.Read(right, buf)
		if err != nil || !bytes.Equal(buf[:n], frame[:want]) {
			t.Fatalf("frame %d: read %d, %v; want %d bytes", i, n, err, want)
		}
	}
	unix.Send(right, frame[:100], 0)
	unix.Send(right, frame[:101], 0)
	for _, want := range []int{100, 101} {
		if n, err := unix.Read(left, buf); n != want {
			t.Errorf("the other way: read %d, %v; want %d", n, err, want)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if n, err := unix.Read(left, buf); n != 0 || err != nil {
		t.Errorf("read %d, %v after Close; want the end", n, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestRelayBad closes the other descriptor too if one can't be used.
func TestRelayBad(t *testing.T) {
	for i := range 2 {
		var fs [2]*os.File
		var fd int
		fs[1-i], fd = pair(t)
		fs[i], _ = pair(t)
		fs[i].Close()
		if _, err := NewRelay(fs[0], fs[1], Config{}, Config{}); err == nil {
			t.Fatal("a relay over a closed file")
		}
		if n, err := unix.Read(fd, make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("read %d, %v; want the end", n, err)
		}
	}
}
