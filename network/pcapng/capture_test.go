package pcapng

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tool runs one of Wireshark's programs, which hack/prerequisites installs.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// TestRead has tshark and capinfos read a capture: the programs that it is made for.
func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lan.pcapng")
	c, err := Open(path, "lan")
	if err != nil {
		t.Fatal(err)
	}
	request, _ := hex.DecodeString("ffffffffffff02000000000108060001080006040001" + "0200000000010a000001" + "0000000000000a000002")
	large := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, make([]byte, 65521)...)
	before := time.Now()
	c.Frame(request)
	c.Frame(large)
	c.Frame(request[:17]) // of each length modulo 4 one: the large has 3
	c.Frame(request[:20])
	after := time.Now()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	got := tool(t, "tshark", "-r", path, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.len", "-e", "frame.cap_len", "-e", "arp.dst.proto_ipv4")
	if want := "lan\t42\t42\t10.0.0.2\nlan\t65535\t65535\t\nlan\t17\t17\t\nlan\t20\t20\t\n"; !strings.HasSuffix(got, want) {
		t.Errorf("tshark reads %q; want %q", got, want)
	}
	got = tool(t, "tshark", "-r", path, "-T", "fields", "-e", "frame.time_epoch")
	for l := range strings.Lines(got) {
		var sec, nsec int64
		if n, _ := fmt.Sscanf(l, "%d.%d", &sec, &nsec); n != 2 {
			continue // what tshark says to root
		}
		if at := time.Unix(sec, nsec); at.Before(before.Round(0)) || at.After(after.Round(0)) {
			t.Errorf("time %v is not between %v and %v", at, before, after)
		}
	}
	got = tool(t, "capinfos", "-M", path)
	for _, want := range []string{"Number of packets:   4", "Strict time order:   True", "Name = lan", "Time precision = nanoseconds (9)",
		"Number of stat entries = 1", "Encapsulation = Ethernet"} {
		if !strings.Contains(got, want) {
			t.Errorf("capinfos does not say %q:\n%s", want, got)
		}
	}
}

// TestConcurrent checks that no frame gets lost or mixed up while several ports capture.
func TestConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c")
	c, err := Open(path, "n")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 500 {
				c.Frame(append(make([]byte, 60+i), byte(i)))
			}
		})
	}
	wg.Wait()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c.Frame(make([]byte, 60)) // after Close: nothing
	if got := tool(t, "capinfos", "-M", "-c", path); !strings.Contains(got, "Number of packets:   2000") {
		t.Errorf("capinfos says %s; want 2000 packets", got)
	}
}

// TestSlow writes to a pipe that nobody reads: frames are dropped, counted, and reported, and Frame doesn't block.
func TestSlow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	c, err := Open(path, "n")
	if err != nil {
		t.Fatal(err)
	}
	const frames, size = 300, 60_000
	for range frames {
		c.Frame(make([]byte, size))
	}
	dropped := c.Dropped()
	if least := uint64(frames - 2*queueSize/size); dropped < least || dropped >= frames {
		t.Errorf("dropped %d of %d frames; want at least %d, but not all", dropped, frames, least)
	}
	var read []byte
	var wg sync.WaitGroup
	wg.Go(func() { read, err = io.ReadAll(reader) })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if wg.Wait(); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(copied, read, 0o600); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("Number of packets:   %d\n", frames-dropped)
	if got := tool(t, "capinfos", "-M", "-c", copied); !strings.Contains(got, want) {
		t.Errorf("capinfos says %s; want %s", got, want)
	}
	statistics := appendStatistics(nil, time.Time{}, frames, dropped)
	if !bytes.HasSuffix(read, statistics[20:]) { // behind the time
		t.Errorf("the capture ends in %x; want %x", read[len(read)-len(statistics):], statistics)
	}
}

// TestFull writes to a full disk: what could be written can be read, and Close says why there is no more.
func TestFull(t *testing.T) {
	c, err := Open("/dev/full", "n")
	if err != nil {
		t.Fatal(err)
	}
	c.Frame(make([]byte, 60))
	if err := c.Close(); err == nil || !strings.Contains(err.Error(), "capture /dev/full: write /dev/full: no space left on device") {
		t.Errorf("Close() = %v; want that there is no space", err)
	}
}
