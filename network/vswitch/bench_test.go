package vswitch

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/network/frames"
)

// TestMain lets the benchmarks start a process that takes frames, as a guest is one.
func TestMain(m *testing.M) {
	if os.Getenv("SEKEXE_BENCH_SINK") != "" {
		sink()
		return
	}
	os.Exit(m.Run())
}

// sink takes frames from descriptor 3, one a read, and writes a byte to descriptor 4 for each that is marked as the last.
func sink() {
	done := os.NewFile(4, "done")
	unix.SetNonblock(3, false)
	buf := make([]byte, 1<<17)
	for {
		n, err := unix.Read(3, buf)
		if err != nil || n == 0 {
			return
		}
		if buf[12] == 0xff {
			done.Write(buf[:1])
		}
	}
}

// newSink starts a sink as a port with this address.
func newSink(b *testing.B, s *Switch, mac net.HardwareAddr) (p *Port, done *os.File) {
	ours, theirs, err := frames.Pair()
	if err != nil {
		b.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "SEKEXE_BENCH_SINK=1")
	c.ExtraFiles = []*os.File{theirs, w}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	theirs.Close()
	w.Close()
	b.Cleanup(func() { c.Wait() })
	if p, err = s.AttachFile(ours, mac, false, nil); err != nil {
		b.Fatal(err)
	}
	return p, r
}

// blocking returns a descriptor whose writer waits when the switch doesn't keep up.
func blocking(b *testing.B, f *os.File) int {
	if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

// cpu returns how much processor time the process has used, without this thread: the switch's, if the sender is locked to its thread. On a host
// that does other things too, it says more than the time that passed.
func cpu(b *testing.B) time.Duration {
	var all, own unix.Rusage
	if err := errors.Join(unix.Getrusage(unix.RUSAGE_SELF, &all), unix.Getrusage(unix.RUSAGE_THREAD, &own)); err != nil {
		b.Fatal(err)
	}
	return time.Duration(all.Utime.Nano() + all.Stime.Nano() - own.Utime.Nano() - own.Stime.Nano())
}

// BenchmarkForward sends frames by a socketpair through the switch to a process at the other end of another one.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{60, 1514, 65014} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := New(Config{MTU: 65000})
			defer s.Close()
			to, done := newSink(b, s, station1)
			ours, theirs, err := frames.Pair()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := s.AttachFile(ours, station2, false, nil); err != nil {
				b.Fatal(err)
			}
			frame := frameOf(station1, station2, size)
			fd := blocking(b, theirs)
			b.SetBytes(int64(size))
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			used := cpu(b)
			b.ResetTimer()
			for range b.N {
				if err := unix.Send(fd, frame, 0); err != nil {
					b.Fatal(err)
				}
			}
			frame[12] = 0xff
			for err := os.ErrDeadlineExceeded; err != nil; { // until the last one isn't lost
				unix.Send(fd, frame, 0)
				done.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				_, err = done.Read(make([]byte, 1))
			}
			b.StopTimer()
			b.ReportMetric(float64(cpu(b)-used)/float64(b.N), "cpu-ns/frame")
			_, sent, dropped := to.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
			b.ReportMetric(float64(dropped)/float64(sent+dropped), "lost")
		})
	}
}

// BenchmarkGateway sends frames by a socketpair to a function.
func BenchmarkGateway(b *testing.B) {
	for _, size := range []int{60, 1514, 65014} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := New(Config{MTU: 65000})
			defer s.Close()
			var n atomic.Int64
			done := make(chan struct{})
			s.Attach("gateway", station1, func([]byte) {
				if n.Add(1) == int64(b.N) {
					close(done)
				}
			})
			ours, theirs, err := frames.Pair()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := s.AttachFile(ours, station2, false, nil); err != nil {
				b.Fatal(err)
			}
			frame := frameOf(station1, station2, size)
			fd := blocking(b, theirs)
			b.SetBytes(int64(size))
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			used := cpu(b)
			b.ResetTimer()
			for range b.N {
				if err := unix.Send(fd, frame, 0); err != nil {
					b.Fatal(err)
				}
			}
			<-done
			b.ReportMetric(float64(cpu(b)-used)/float64(b.N), "cpu-ns/frame")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}

// BenchmarkLookup is the switch alone: from function to function.
func BenchmarkLookup(b *testing.B) {
	s := New(Config{MTU: 1500})
	defer s.Close()
	s.Attach("a", station1, func([]byte) {})
	p := s.Attach("b", station2, func([]byte) {})
	frame := frameOf(station1, station2, 1514)
	b.ReportAllocs()
	for b.Loop() {
		p.Input(frame)
	}
}
