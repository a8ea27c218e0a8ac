package netstack

import (
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkNew is what a segment with an uplink costs at its start and end.
func BenchmarkNew(b *testing.B) {
	cfg := defaultConfig(65000)
	cfg.Send = func([]byte) {}
	for b.Loop() {
		g, err := New(cfg)
		if err != nil {
			b.Fatal(err)
		}
		g.Close()
	}
}

const benchChunk = 1 << 20

// BenchmarkUpload is a guest's stack that sends by the gateway to a socket of the host. Both stacks and both sockets take of the same CPUs.
func BenchmarkUpload(b *testing.B) { benchMTUs(b, benchUpload) }

// BenchmarkDownload is the other way.
func BenchmarkDownload(b *testing.B) { benchMTUs(b, benchDownload) }

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func benchMTUs(b *testing.B, f func(*testing.B, *guest, func(func(*net.TCPConn)) netip.AddrPort)) {
	for _, mtu := range []int{1500, 9000, 65000} {
		b.Run(strconv.Itoa(mtu), func(b *testing.B) {
			_, g := newPair(b, func(c *Config) { c.MTU, c.HostLoopback = mtu, true })
			f(b, g, func(serve func(*net.TCPConn)) netip.AddrPort {
				return netip.AddrPortFrom(gwAddr, listenHost(b, "127.0.0.1", serve))
			})
		})
	}
}

func benchUpload(b *testing.B, g *guest, listen func(func(*net.TCPConn)) netip.AddrPort) {
	got := make(chan int64, 1)
	c := g.mustDial(b, listen(func(c *net.TCPConn) {
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
		got <- n
	}))
	data := make([]byte, benchChunk)
	b.SetBytes(benchChunk)
	n := 0
	begin := cpu(b)
	for b.Loop() {
		if _, err := c.Write(data); err != nil {
			b.Fatal(err)
		}
		n++
	}
	c.CloseWrite()
	b.ReportMetric(float64((cpu(b)-begin).Microseconds())/float64(n), "cpu-µs/MiB")
	if all := <-got; all != int64(n)*benchChunk {
		b.Fatalf("%d bytes arrived of %d", all, n*benchChunk)
	}
}

func benchDownload(b *testing.B, g *guest, listen func(func(*net.TCPConn)) netip.AddrPort) {
	data := make([]byte, benchChunk)
	c := g.mustDial(b, listen(func(c *net.TCPConn) {
		for {
			if _, err := c.Write(data); err != nil {
				return
			}
		}
	}))
	buf := make([]byte, benchChunk)
	b.SetBytes(benchChunk)
	begin := cpu(b)
	for b.Loop() {
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu(b)-begin).Microseconds())/float64(b.N), "cpu-µs/MiB")
}

// BenchmarkConnect is a connection made, used and closed.
func BenchmarkConnect(b *testing.B) {
	_, g := newPair(b, func(c *Config) { c.HostLoopback = true })
	a := netip.AddrPortFrom(gwAddr, listenHost(b, "127.0.0.1", func(c *net.TCPConn) { io.Copy(c, c) }))
	buf := make([]byte, 1)
	for b.Loop() {
		c := g.mustDial(b, a)
		c.Write(buf)
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// BenchmarkRoundTrip is one byte there and back.
func BenchmarkRoundTrip(b *testing.B) {
	_, g := newPair(b, func(c *Config) { c.HostLoopback = true })
	c := g.mustDial(b, netip.AddrPortFrom(gwAddr, listenHost(b, "127.0.0.1", func(c *net.TCPConn) { io.Copy(c, c) })))
	buf := make([]byte, 1)
	for b.Loop() {
		c.Write(buf)
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
}
