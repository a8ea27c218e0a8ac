//go:build linux

package kernelnet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// patience is how long tests wait for what must happen.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	os.Setenv("GORACE", "atexit_sleep_ms=0") // with the race detector, each child would else take a second to end
	Child()
	if s := os.Getenv(holdVariable); s != "" {
		hold(s, os.Getenv(noTapVariable) != "")
	}
	os.Exit(m.Run())
}

// holdVariable has the test's program open a Net of the Spec in it, print a line, and wait to be killed.
const holdVariable, noTapVariable = "KERNELNET_TEST_HOLD", "KERNELNET_TEST_NOTAP"

func hold(text string, noTap bool) {
	var s Spec
	err := json.Unmarshal([]byte(text), &s)
	s.noTap = noTap
	var n *Net
	if err == nil {
		n, err = Open(context.Background(), s)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	fmt.Println(n.Close())
	os.Exit(0)
}

// startHolder starts a process that holds a Net of the Spec. It returns when that is open.
func startHolder(t *testing.T, s Spec, noTap bool) *exec.Cmd {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holdVariable+"="+string(b))
	if noTap {
		cmd.Env = append(cmd.Env, noTapVariable+"=1")
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	buf := make([]byte, 4096)
	n, err := out.Read(buf)
	if string(buf[:n]) != "open\n" {
		t.Fatalf("the process that holds the net says %q, %v", buf[:n], err)
	}
	return cmd
}

// insideVariable says that a test runs in a process of its own already.
const insideVariable = "KERNELNET_TEST_INSIDE"

// again runs the test once more in a process with other attributes, and says whether this is not that process, so that the test is done.
func again(t *testing.T, attr *syscall.SysProcAttr, pattern string) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		return false
	}
	if os.Getuid() != 0 {
		t.Skip("only root can run it")
	}
	dir, err := os.MkdirTemp("", "kernelnet")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "kernelnet.test")
	b, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(program, b, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o777) // the other user's programs and folders are here
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run="+pattern, "-test.v")
	cmd.Dir, cmd.SysProcAttr = dir, attr
	cmd.Env = append(os.Environ(), insideVariable+"=1", "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Errorf("in a process of its own: %v", err)
	}
	if !bytes.Contains(out, []byte("--- PASS")) {
		t.Errorf("in a process of its own, no test ran")
	}
	return true
}

// inNamespace has the test run in a fresh network namespace, so that nothing of the machine is altered.
func inNamespace(t *testing.T) (done bool) {
	t.Helper()
	return again(t, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}, "^"+t.Name()+"$")
}

// sh runs a command of the shell and returns what it prints.
func sh(t *testing.T, format string, args ...any) string {
	t.Helper()
	c := fmt.Sprintf(format, args...)
	out, err := exec.Command("sh", "-ec", c).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", c, err, out)
	}
	return string(out)
}

// open opens a Net for the test's time.
func open(t *testing.T, s Spec) *Net {
	t.Helper()
	if s.Run == "" {
		s.Run = "test"
	}
	n, err := Open(t.Context(), s)
	if err != nil {
		t.Fatalf("Open: %v (hint: %s)", err, hintOf(err))
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return n
}

// eachTransport runs the test with taps, if they can be made, and with packet sockets, at both a small and a large MTU.
func eachTransport(t *testing.T, f func(t *testing.T, noTap bool, mtu int)) {
	for _, noTap := range []bool{false, true} {
		for _, mtu := range []int{1500, 65000} {
			t.Run(fmt.Sprintf("noTap=%v/mtu=%d", noTap, mtu), func(t *testing.T) { f(t, noTap, mtu) })
		}
	}
}

func guestMAC(i int) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 1, byte(i)} }

var broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}

// guestPorts are ports whose addresses are .11, .12 and so on.
func guestPorts(n int) []Port {
	var out []Port
	for i := range n {
		out = append(out, Port{
			Name: fmt.Sprint("guest", i), MAC: guestMAC(i),
			Addr:  netip.AddrFrom4([4]byte{10, 9, 0, byte(11 + i)}),
			Addr6: netip.MustParseAddr(fmt.Sprintf("fd09::%d", 11+i)),
		})
	}
	return out
}

// serialize makes a frame of layers.
func serialize(t *testing.T, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// raw is a frame of a protocol that nobody knows, with that mark and of that length.
func raw(t *testing.T, from, to net.HardwareAddr, mark string, length int) []byte {
	t.Helper()
	f := serialize(t, &layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: 0x88b5}, gopacket.Payload(mark))
	return append(f, make([]byte, max(0, length-len(f)))...)
}

// udp is a frame with a UDP packet of that mark.
func udp(t *testing.T, fromMAC, toMAC net.HardwareAddr, from, to string, port int, mark string) []byte {
	t.Helper()
	src, dst := net.ParseIP(from), net.ParseIP(to)
	u := &layers.UDP{SrcPort: 4000, DstPort: layers.UDPPort(port)}
	e := &layers.Ethernet{SrcMAC: fromMAC, DstMAC: toMAC, EthernetType: layers.EthernetTypeIPv4}
	if dst.To4() == nil {
		e.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolUDP, HopLimit: 64, SrcIP: src, DstIP: dst}
		_ = u.SetNetworkLayerForChecksum(ip)
		return serialize(t, e, ip, u, gopacket.Payload(mark))
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.To4(), DstIP: dst.To4()}
	_ = u.SetNetworkLayerForChecksum(ip)
	return serialize(t, e, ip, u, gopacket.Payload(mark))
}

func write(t *testing.T, f io.Writer, frame []byte) {
	t.Helper()
	if n, err := f.Write(frame); err != nil || n != len(frame) {
		t.Fatalf("Write of a frame of %d bytes = %d, %v", len(frame), n, err)
	}
}

// await reads frames until one has the mark. One that has the other mark must not come before it.
func await(t *testing.T, f *os.File, mark, never string) []byte {
	t.Helper()
	return awaitFrame(t, f, mark, func(b []byte) bool {
		if never != "" && bytes.Contains(b, []byte(never)) {
			t.Fatalf("a frame with %q came", never)
		}
		return bytes.Contains(b, []byte(mark))
	})
}

func awaitFrame(t *testing.T, f *os.File, what string, is func([]byte) bool) []byte {
	t.Helper()
	if err := f.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<17)
	for {
		n, err := f.Read(buf)
		if err != nil {
			t.Fatalf("no frame with %q came: %v", what, err)
		}
		if is(buf[:n]) {
			return bytes.Clone(buf[:n])
		}
	}
}

// empty says that nothing is to be read now.
func empty(t *testing.T, f *os.File, but string) {
	t.Helper()
	if err := f.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<17)
	if n, err := f.Read(buf); err == nil {
		t.Errorf("%s: a frame came: %x", but, buf[:min(n, 100)])
	}
}

func decode(b []byte) gopacket.Packet {
	return gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
}
