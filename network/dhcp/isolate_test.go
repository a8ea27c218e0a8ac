package dhcp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// insideVar tells a test that it is in namespaces of its own.
const insideVar = "SEKEXE_TEST_INSIDE"

// isolated reports whether the test is in a network, mount and PID namespace of its own. If it isn't, it is run once more in such ones: whatever
// it starts and changes there ends with it.
func isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVar) != "" && os.Getpid() == 1 { // never mount in the host's namespaces
		hideFolders(t)
		return true
	}
	if os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	runtime.LockOSThread() // the signal of the parent's death is one of the thread's
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+strings.ReplaceAll(regexp.QuoteMeta(t.Name()), "/", "$/^")+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), insideVar+"=1", "TMPDIR="+t.TempDir(), "GORACE=atexit_sleep_ms=0") // or it ends a second late
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Fatal(err)
	}
	return false
}

// hideFolders makes the folders that clients write to private ones.
func hideFolders(t *testing.T) {
	t.Helper()
	mount := func(source, target, fs string, flags uintptr) {
		t.Helper()
		if err := unix.Mount(source, target, fs, flags, ""); err != nil {
			t.Fatalf("mount %s: %v", target, err)
		}
	}
	mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE)
	mount("proc", "/proc", "proc", 0)
	etc := filepath.Join(t.TempDir(), "etc")
	command(t, "cp", "-a", "/etc", etc)
	mount(etc, "/etc", "", unix.MS_BIND)
	for _, d := range []string{"/run", "/var/lib/dhcp", "/var/lib/dhcpcd"} {
		if _, err := os.Stat(d); err == nil {
			mount("tmpfs", d, "tmpfs", 0)
		}
	}
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A segment has a server at its one end, the interface srv0, and a client's eth0 in a network namespace at the other.
type segment struct {
	*testing.T
	server *Server
	port   *Port
	mac    net.HardwareAddr // the client's
	events chan Event
	addrs  chan netlink.AddrUpdate // of the client
}

// newSegment makes a segment, of which nothing is left at the test's end. With frames set, the server hears frames.
func newSegment(t *testing.T, frames bool, change func(*Config)) *segment {
	t.Helper()
	s := &segment{T: t, mac: mac(1), events: make(chan Event, 100)}
	command(t, "ip", "netns", "add", "client")
	command(t, "ip", "link", "add", "srv0", "address", gatewayMAC.String(), "type", "veth",
		"peer", "name", "eth0", "address", s.mac.String(), "netns", "client")
	t.Cleanup(func() {
		command(t, "ip", "link", "del", "srv0")
		command(t, "ip", "netns", "del", "client")
	})
	s.inside("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad") // which would take a second
	c := Config{
		Server: gateway, Subnet: netip.MustParsePrefix("10.0.0.0/24"), Lease: time.Hour, Routers: []netip.Addr{gateway}, DNS: []netip.Addr{gateway},
		Domain: "lab.test", MTU: 1400, Server6: gateway6, Subnet6: netip.MustParsePrefix("fd00::/64"), DNS6: []netip.Addr{gateway6}, OnLink6: true, Default6: true,
		OnEvent: func(e Event) { s.events <- e },
	}
	if change != nil {
		change(&c)
	}
	var err error
	if s.server, err = New(c); err != nil {
		t.Fatal(err)
	}
	command(t, "ip", "addr", "add", "10.0.0.1/24", "dev", "srv0") // which answers ARP
	s.watch()
	if frames {
		s.serveFrames()
	} else {
		s.serveDatagrams()
	}
	command(t, "ip", "link", "set", "srv0", "up")
	s.inside("ip", "link", "set", "lo", "up")
	s.inside("ip", "link", "set", "eth0", "up")
	return s
}

// inside runs a command in the client's namespace.
func (s *segment) inside(args ...string) string {
	s.Helper()
	return command(s.T, "ip", append([]string{"netns", "exec", "client"}, args...)...)
}

// watch subscribes to the client's addresses.
func (s *segment) watch() {
	s.Helper()
	ns, err := netns.GetFromName("client")
	if err != nil {
		s.Fatal(err)
	}
	defer ns.Close()
	s.addrs = make(chan netlink.AddrUpdate, 100)
	done := make(chan struct{})
	s.Cleanup(func() { close(done) })
	if err := netlink.AddrSubscribeWithOptions(s.addrs, done, netlink.AddrSubscribeOptions{Namespace: &ns, ListExisting: true}); err != nil {
		s.Fatal(err)
	}
}

// serveFrames has the server hear what srv0 receives.
func (s *segment) serveFrames() {
	s.Helper()
	link, err := net.InterfaceByName("srv0")
	if err != nil {
		s.Fatal(err)
	}
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in the network's byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, all)
	if err != nil {
		s.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "srv0")
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index}); err != nil {
		s.Fatal(err)
	}
	s.port = s.server.Port(gatewayMAC, gatewayLinkLocal, func(frame []byte) {
		if _, err := f.Write(frame); err != nil {
			s.Errorf("send a frame: %v", err)
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 65536); ; {
			n, err := f.Read(b)
			switch {
			case errors.Is(err, unix.ENETDOWN): // it isn't up yet: the socket says so once
			case err != nil:
				return
			default:
				s.port.Input(b[:n])
			}
		}
	}()
	s.Cleanup(func() {
		if err := f.SetReadDeadline(time.Unix(1, 0)); err != nil {
			s.Error(err)
		}
		<-done // before it is closed: an answer may be on its way
		f.Close()
	})
}

// serveDatagrams has the server hear what is sent to the port of DHCPv4 on srv0.
func (s *segment) serveDatagrams() {
	s.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		cerr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "srv0") })
		if cerr != nil {
			return cerr
		}
		return err
	}}
	conn, err := lc.ListenPacket(s.Context(), "udp4", ":67")
	if err != nil {
		s.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.server.Serve(s.Context(), conn) }()
	s.Cleanup(func() {
		if err := <-done; err != nil {
			s.Error(err)
		}
		conn.Close()
	})
}

// start starts a client. What it prints is shown if the test fails.
func (s *segment) start(args ...string) (cmd *exec.Cmd) {
	s.Helper()
	cmd = exec.Command("ip", append([]string{"netns", "exec", "client"}, args...)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if s.Failed() {
			s.Logf("%s:\n%s", args[0], out.String())
		}
	})
	return cmd
}

// patience is how long is waited for what is to happen: long, since nothing is measured.
const patience = 2 * time.Minute

// wait waits for an event of an address's family, and passes over those of the other, and over renewals. Every second it calls again, if
// that isn't nil: what is to bring the event about.
func (s *segment) wait(kind EventKind, is4 bool, again func()) netip.Addr {
	s.Helper()
	timeout, tick := time.After(patience), time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case e := <-s.events:
			s.Logf("%v %v by %v %q", e.Lease.Addr, e.Kind, e.Lease.MAC, e.Lease.Hostname)
			switch {
			case e.Lease.Addr.Is4() != is4:
			case e.Kind == kind:
				return e.Lease.Addr
			case e.Kind != Renewed:
				s.Fatalf("%v is %v; want %v", e.Lease.Addr, e.Kind, kind)
			}
		case <-tick.C:
			if again != nil {
				again()
			}
		case <-timeout:
			s.Fatalf("there is no address %v", kind)
		}
	}
}

// waitAddr waits until the client's kernel has an address, or doesn't have it any more.
func (s *segment) waitAddr(ok func(netip.Addr) bool, there bool) {
	s.Helper()
	timeout := time.After(patience)
	for {
		select {
		case u, open := <-s.addrs:
			if !open {
				s.Fatal("the subscription to addresses has ended")
			}
			if a, _ := netip.AddrFromSlice(u.LinkAddress.IP); ok(a.Unmap()) && u.NewAddr == there {
				return
			}
		case <-timeout:
			s.Fatalf("the interface's addresses are\n%s", s.inside("ip", "addr"))
		}
	}
}
