//go:build linux

package kernelnet

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// hostSegments are one of each kind with the kernel as their gateway, which masquerades for them.
func hostSegments() []Segment {
	b, r := tunSegment(0, 2), tunSegment(0, 2)
	b.Kind, b.Netstack, b.NAT = Bridge, false, true
	r.Name, r.Netstack, r.NAT, r.Addr, r.Addr6 = "links", false, true, netip.MustParsePrefix("10.8.0.1/24"), netip.MustParsePrefix("fd08::1/64")
	for i := range r.Ports {
		r.Ports[i].Addr, r.Ports[i].Addr6 = netip.AddrFrom4([4]byte{10, 8, 0, byte(11 + i)}), netip.Addr{}
	}
	return []Segment{b, r}
}

// everything is what the host has, as text.
func everything(t *testing.T) string {
	t.Helper()
	return steady(sh(t, "ip -d link show; ip addr; ip route show table all; ip -6 route show table all; ip rule; nft list tables; cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/*/accept_ra"))
}

// TestHost makes networks in the host's namespace, and finds it afterwards as it was.
func TestHost(t *testing.T) {
	if inNamespace(t) {
		return
	}
	sh(t, "ip link set lo up; ip link add uplink type bridge; ip link set uplink addrgenmode none; ip link set uplink up; ip addr add 192.0.2.9/24 dev uplink")
	for _, noTap := range []bool{false, true} {
		before, dir := everything(t), filepath.Join(t.TempDir(), "net")
		n, err := Open(t.Context(), Spec{Scope: Host, Run: "abc", StateDir: dir, noTap: noTap, Segments: hostSegments()})
		if err != nil {
			t.Fatal(err)
		}
		during := everything(t)
		for _, want := range []string{"sxabc-0b", "sxabc-0p1", "sxabc-1p1", "alias sekexe abc lan", "sekexe-abc", "10.9.0.1/24", "fd09::1/64", "10.8.0.11"} {
			if !strings.Contains(during, want) {
				t.Errorf("while it is open: no %q", want)
			}
		}
		if got := sh(t, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/uplink/accept_ra"); got != "1\n2\n" {
			t.Errorf("ip_forward and accept_ra are %q", got)
		}
		p := n.PortFile(0, 0)
		conns, err := n.ListenUDP(0, 5300)
		if err != nil {
			t.Fatal(err)
		}
		write(t, p, udp(t, guestMAC(0), gatewayMAC, "10.9.0.11", "10.9.0.1", 5300, "a question"))
		buf := make([]byte, 100)
		conns[0].SetDeadline(time.Now().Add(patience))
		if k, _, err := conns[0].ReadFromUDP(buf); err != nil || string(buf[:k]) != "a question" {
			t.Errorf("ReadFromUDP = %q, %v", buf[:k], err)
		}
		conns[0].Close()
		conns[1].Close()
		testListener(t, n.Listeners(0)[0], p)
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if after := everything(t); after != before {
			t.Errorf("after Close:\n%s\nbefore Open:\n%s", after, before)
		}
		if found, _ := os.ReadDir(dir); len(found) != 0 {
			t.Errorf("the folder has %v", found)
		}
	}
}

// TestHostKilled kills runs: the last of those that changed a setting, or a run that comes after them, puts it back.
func TestHostKilled(t *testing.T) {
	if inNamespace(t) {
		return
	}
	before, dir := everything(t), filepath.Join(t.TempDir(), "net")
	spec := func(run string) Spec { return Spec{Scope: Host, Run: run, StateDir: dir, Segments: hostSegments()} }
	forwards := func() string { return strings.TrimSpace(sh(t, "cat /proc/sys/net/ipv4/ip_forward")) }

	first := startHolder(t, spec("first"), false)
	if _, err := Open(t.Context(), spec("first")); err == nil || !strings.Contains(err.Error(), "a run of this id is there") {
		t.Errorf("Open of a run twice: %v", err)
	}
	other := spec("second")
	other.Segments = other.Segments[1:]
	other.Segments[0].Addr = netip.MustParsePrefix("10.7.0.1/24")
	for i := range other.Segments[0].Ports {
		other.Segments[0].Ports[i].Addr = netip.AddrFrom4([4]byte{10, 7, 0, byte(11 + i)})
	}
	second, err := Open(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, first)
	if got := everything(t); !strings.Contains(got, "sxfirst-0b") && !strings.Contains(got, "sekexe-first") {
		t.Errorf("a killed run has left nothing to sweep: the test tests nothing")
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	if got := everything(t); strings.Contains(got, "first") || !strings.Contains(got, "sekexe-second") {
		t.Errorf("after Sweep:\n%s", got)
	}
	if forwards() != "1" {
		t.Errorf("ip_forward is put back while a run needs it")
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if after := everything(t); after != before {
		t.Errorf("after all:\n%s\nbefore:\n%s", after, before)
	}
	// Both killed: the next start removes both.
	third, fourth := startHolder(t, spec("third"), false), startHolder(t, other, false)
	kill(t, third)
	kill(t, fourth)
	if forwards() != "1" {
		t.Errorf("the test tests nothing")
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	if after := everything(t); after != before {
		t.Errorf("after all were killed:\n%s\nbefore:\n%s", after, before)
	}
	if err := Sweep(filepath.Join(dir, "none")); err != nil {
		t.Errorf("Sweep of a folder that isn't there: %v", err)
	}
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// TestHostFails has a run's second segment fail: nothing is left of the first.
func TestHostFails(t *testing.T) {
	if inNamespace(t) {
		return
	}
	before, dir := everything(t), filepath.Join(t.TempDir(), "net")
	s := Spec{Scope: Host, Run: "abc", StateDir: dir, Segments: hostSegments()}
	s.Segments[1].Ports[1].Addr = netip.MustParseAddr("10.8.0.11") // that of the first port
	if _, err := Open(t.Context(), s); err == nil || !strings.Contains(err.Error(), "network links: the port of guest1: route 10.8.0.11") {
		t.Errorf("Open: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Spec{Scope: Host, Run: "abc", StateDir: dir, Segments: hostSegments()}); err == nil {
		t.Error("Open, cancelled: no error")
	}
	if after := everything(t); after != before {
		t.Errorf("after Open has failed:\n%s\nbefore:\n%s", after, before)
	}
}

// TestHostJoined joins a bridge of the host's, which has a port of its own.
func TestHostJoined(t *testing.T) {
	if inNamespace(t) {
		return
	}
	sh(t, "ip link add br0 mtu 1400 type bridge; ip link set br0 addrgenmode none; ip link set br0 up; ip addr add 10.5.0.1/24 dev br0; ip link add nic mtu 1400 type veth peer name far mtu 1400; ip link set nic master br0 up; ip link set far up; until ip link show dev br0 | grep -q 'state UP' && ip -d link show dev nic | grep -q 'state forwarding'; do :; done")
	show := func() string { return sh(t, "ip -d link show dev br0; ip addr show dev br0; ip -d link show dev nic") }
	before, dir := show(), filepath.Join(t.TempDir(), "net")
	seg := Segment{Name: "lan", Kind: Bridge, Bridge: "br0", Ports: guestPorts(2)}
	n, err := Open(t.Context(), Spec{Scope: Host, Run: "abc", StateDir: dir, Segments: []Segment{seg}})
	if err != nil {
		t.Fatal(err)
	}
	if during := show(); steady(during) != steady(before) {
		t.Errorf("while it is joined:\n%s\nbefore:\n%s", during, before)
	}
	if n.MTU(0) != 1400 || !strings.Contains(before, n.MAC(0).String()) {
		t.Errorf("MTU = %d, MAC = %s", n.MTU(0), n.MAC(0))
	}
	write(t, n.PortFile(0, 0), raw(t, guestMAC(0), guestMAC(1), "to b", 1414))
	await(t, n.PortFile(0, 1).File, "to b", "")
	if got := askARP(t, n.PortFile(0, 0), arpRequest(t, guestMAC(0), "10.5.0.7", "10.5.0.1"), "10.5.0.1"); !bytes.Equal(got, n.MAC(0)) {
		t.Errorf("10.5.0.1 is at %s; want %s", got, n.MAC(0))
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if after := show(); steady(after) != steady(before) {
		t.Errorf("after Close:\n%s\nbefore:\n%s", after, before)
	}
	for _, c := range []struct {
		bridge string
		mtu    int
		want   string
	}{{"br0", 1500, "its MTU is 1400"}, {"nic", 0, "a link of type veth"}, {"br7", 0, "join the bridge br7"}} {
		seg.Bridge, seg.MTU = c.bridge, c.mtu
		if _, err := Open(t.Context(), Spec{Scope: Host, Run: "abc", StateDir: dir, Segments: []Segment{seg}}); err == nil || !strings.Contains(err.Error(), c.want) || hintOf(err) == "" {
			t.Errorf("Open on %s with MTU %d = %v; want %q and a hint", c.bridge, c.mtu, err, c.want)
		}
	}
}

// steady is what ip prints without the timers, and without what a bridge's offloads are at the moment, which follow from all its ports'.
func steady(s string) string { return passing.ReplaceAllString(s, "") }

var passing = regexp.MustCompile(`(\w+_timer|tso_max_size) +[0-9.]+`)

// TestHostNAT pings a world beyond the host, which knows only the host, and is refused from there.
func TestHostNAT(t *testing.T) {
	if inNamespace(t) {
		return
	}
	world := exec.Command("sleep", "1000")
	world.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := world.Start(); err != nil {
		t.Fatal(err)
	}
	defer kill(t, world)
	sh(t, `ip link set lo up; ip link add wan type veth peer name world netns %[1]d
		ip link set wan up; ip addr add 192.0.2.1/24 dev wan; ip addr add 2001:db8::1/64 dev wan nodad
		nsenter -n -t %[1]d sh -ec 'ip link set lo up; ip link set world up; ip addr add 192.0.2.2/24 dev world; ip addr add 2001:db8::2/64 dev world nodad
		ip route add 10.0.0.0/8 via 192.0.2.1; sysctl -qw net.ipv4.icmp_echo_ignore_all=0'`, world.Process.Pid)
	quietSegment := hostSegments()[1] // without NAT
	quietSegment.NAT, quietSegment.Name, quietSegment.Addr, quietSegment.Addr6 = false, "quiet", netip.MustParsePrefix("10.6.0.1/24"), netip.Prefix{}
	for i := range quietSegment.Ports {
		quietSegment.Ports[i].Addr = netip.AddrFrom4([4]byte{10, 6, 0, byte(11 + i)})
	}
	n := open(t, Spec{Scope: Host, Run: "abc", StateDir: filepath.Join(t.TempDir(), "net"), Segments: append(hostSegments(), quietSegment)})
	for i, from := range []string{"10.9.0.11", "10.8.0.11"} {
		p := n.PortFile(i, 0)
		write(t, p, ping(t, n.MAC(i), from, "192.0.2.2", "to the world"))
		got := decode(answerARP(t, p, from, "to the world"))
		if src := srcOf(got); src != "192.0.2.2" || got.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4).TypeCode.Type() != layers.ICMPv4TypeEchoReply {
			t.Errorf("from %s: %v", from, got)
		}
		// Guests of one network don't reach those of another, nor those without an uplink, and the world reaches none.
		write(t, p, ping(t, n.MAC(i), from, "10.6.0.11", "not there"))
		write(t, p, ping(t, n.MAC(i), from, map[int]string{0: "10.8.0.11", 1: "10.9.0.11"}[i], "not there"))
		// Its own address is not taken from it by another's.
		write(t, n.PortFile(i, 1), ping(t, n.MAC(i), "192.0.2.77", "192.0.2.2", "spoofed"))
	}
	write(t, n.PortFile(2, 0), ping(t, n.MAC(2), "10.6.0.11", "192.0.2.2", "no uplink"))
	sh(t, "nsenter -n -t %d bash -c 'for a in 10.9.0.11 10.8.0.11 10.6.0.11; do echo uninvited >/dev/udp/$a/7; done'", world.Process.Pid)
	for i := range 3 {
		addr := []string{"10.9.0.11", "10.8.0.11", "10.6.0.11"}[i]
		write(t, n.PortFile(i, 0), ping(t, n.MAC(i), addr, strings.TrimSuffix(addr, "1"), "the host")) // .1, the gateway
		awaitFrame(t, n.PortFile(i, 0).File, "the host", func(b []byte) bool {
			if bytes.Contains(b, []byte("not there")) || bytes.Contains(b, []byte("no uplink")) {
				t.Errorf("at %s: %v", addr, decode(b))
			}
			if bytes.Contains(b, []byte("uninvited")) {
				t.Errorf("the world reaches %s: %v", addr, decode(b))
			}
			return bytes.Contains(b, []byte("the host"))
		})
	}
	if len(n.Notices()) != 0 {
		t.Errorf("Notices = %q", n.Notices())
	}
}

func ping(t *testing.T, to net.HardwareAddr, from, dst, mark string) []byte {
	t.Helper()
	return serialize(t, &layers.Ethernet{SrcMAC: guestMAC(0), DstMAC: to, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: net.ParseIP(from).To4(), DstIP: net.ParseIP(dst).To4()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 1, Seq: 1}, gopacket.Payload(mark))
}

// TestNotices has the host's firewall drop what it forwards, as Docker has it.
func TestNotices(t *testing.T) {
	if inNamespace(t) {
		return
	}
	sh(t, "nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'")
	n := open(t, Spec{Scope: Host, Run: "abc", StateDir: filepath.Join(t.TempDir(), "net"), Segments: hostSegments()})
	if got := n.Notices(); len(got) != 1 || !strings.Contains(got[0], "10.9.0.0/24, fd09::/64, 10.8.0.0/24") {
		t.Errorf("Notices = %q", got)
	}
}

func TestRoutes(t *testing.T) {
	if os.Getuid() == 0 {
		if inNamespace(t) {
			return
		}
		sh(t, "ip link set lo up; ip link add wan type bridge; ip link set wan up; ip addr add 192.0.2.1/24 dev wan; ip route add 10.1.0.0/16 via 192.0.2.2; ip route add default via 192.0.2.2")
	}
	got, err := Routes()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		return
	}
	has := map[netip.Prefix]bool{}
	for _, p := range got {
		has[p] = true
	}
	for _, want := range []string{"192.0.2.0/24", "10.1.0.0/16", "127.0.0.0/8", "::1/128"} {
		if !has[netip.MustParsePrefix(want)] {
			t.Errorf("Routes = %v; want %s among them", got, want)
		}
	}
	if has[netip.MustParsePrefix("0.0.0.0/0")] {
		t.Errorf("Routes = %v, with the default route", got)
	}
}

// TestHostTag has names that no two runs share, and that fit.
func TestHostTag(t *testing.T) {
	for run, want := range map[string]string{"abc": "sxabc-", "a1b2c3": "sxa1b2c3-"} {
		if got := hostTag(run); got != want {
			t.Errorf("hostTag(%q) = %q; want %q", run, got, want)
		}
	}
	if a, b := hostTag("a-long-name-1"), hostTag("a-long-name-2"); a == b || len(a) != 9 {
		t.Errorf("hostTag of long names = %q, %q", a, b)
	}
	seg := Segment{Kind: Bridge, Ports: make([]Port, 1000)}
	if _, _, err := hostBuilders(&Spec{Run: "abcdef", Segments: []Segment{seg}}); err != nil {
		t.Errorf("1000 ports: %v", err)
	}
}
