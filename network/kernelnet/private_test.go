//go:build linux

package kernelnet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// TestOrdinaryUser runs the tests of scope private once more as a user who has no rights, by user namespaces.
func TestOrdinaryUser(t *testing.T) {
	if os.Getenv(insideVariable) != "" {
		t.Skip("it is inside of itself")
	}
	const pattern = "^(TestBridge.*|TestTun.*|TestKernelGateway|TestVLAN|TestMany|TestCheck|TestRoutes|TestOpenFails)$"
	again(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}, pattern)
}

// TestMany opens 30 segments of 4 ports, and uses the last one.
func TestMany(t *testing.T) {
	for _, kind := range []string{Bridge, Tun} {
		var s Spec
		for i := range 30 {
			seg := tunSegment(0, 4)
			seg.Kind, seg.Name = kind, fmt.Sprint("n", i)
			s.Segments = append(s.Segments, seg)
		}
		s.Scope = Private
		start := time.Now()
		n := open(t, s)
		t.Logf("30 segments of kind %s: %v", kind, time.Since(start))
		for i := range 30 {
			to := broadcast
			if kind == Tun {
				to = gatewayMAC
			}
			write(t, n.PortFile(i, 3), udp(t, guestMAC(3), to, "10.9.0.14", "10.9.0.1", 7, fmt.Sprintf("segment %d.", i)))
		}
		for i := range 30 {
			await(t, n.GatewayPort(i).File, fmt.Sprintf("segment %d.", i), "")
		}
	}
}

func TestOpenFails(t *testing.T) {
	before := descriptors(t)
	s := Spec{Scope: Private, Run: "test", Segments: []Segment{bridgeSegment(1500, 2), bridgeSegment(0, 2)}}
	s.Segments[1].Ports[1].MAC = broadcast[:5]
	if n, err := Open(t.Context(), s); err == nil {
		n.Close()
		t.Fatal("Open with a MAC address that can't be: no error")
	} else if !strings.Contains(err.Error(), "network lan: the port of guest1: bind ff:ff:ff:ff:ff") {
		t.Errorf("Open: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := Open(ctx, Spec{Scope: Private, Run: "test", Segments: []Segment{bridgeSegment(0, 1)}}); err == nil {
		n.Close()
		t.Error("Open, cancelled: no error")
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open; before it were %d", after, before)
	}
}

// descriptors counts the open descriptors, after those of a first Open have been made (epoll and the like).
func descriptors(t *testing.T) int {
	t.Helper()
	if n, err := Open(t.Context(), Spec{Scope: Private, Run: "test", Segments: []Segment{bridgeSegment(0, 1)}}); err != nil {
		t.Fatal(err)
	} else if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// TestKilled kills a process that holds a Net. The kernel removes its namespaces, though nobody starts anything afterwards.
func TestKilled(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may look into other processes")
	}
	gateway := bridgeSegment(0, 1)
	gateway.Netstack = false // the child stays for this one
	for name, segments := range map[string][]Segment{
		"child ended": {bridgeSegment(0, 2), tunSegment(0, 2)}, "child stays": {bridgeSegment(0, 2), gateway},
	} {
		for _, noTap := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/noTap=%v", name, noTap), func(t *testing.T) {
				cmd := startHolder(t, Spec{Scope: Private, Run: "test", Segments: segments}, noTap)
				ids := nameNamespaces(t, cmd.Process.Pid)
				if len(ids) != 2 {
					t.Fatalf("the process holds %d namespaces; want 2", len(ids))
				}
				socket := namespacesGone(t)
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				for len(ids) > 0 {
					id := socket()
					delete(ids, id)
				}
			})
		}
	}
}

// nameNamespaces has the kernel number the network namespaces that a process has descriptors of, and returns the numbers.
func nameNamespaces(t *testing.T, pid int) map[int]bool {
	t.Helper()
	ids := map[int]bool{}
	found, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if to, _ := os.Readlink(f); !strings.HasPrefix(to, "net:[") {
			continue
		}
		ns, err := os.Open(f)
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		id := 1000 + len(ids)
		if err := netlink.SetNetNsIdByFd(int(ns.Fd()), id); err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	return ids
}

// namespacesGone returns what waits for the next namespace to be removed, and returns its number.
func namespacesGone(t *testing.T) func() int {
	t.Helper()
	const rtnlgrpNSID = 28
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, rtnlgrpNSID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.SetReceiveTimeout(&unix.Timeval{Sec: int64(patience.Seconds())}); err != nil {
		t.Fatal(err)
	}
	return func() int {
		for {
			messages, _, err := s.Receive()
			if err != nil {
				t.Fatalf("a namespace isn't removed: %v", err)
			}
			for _, m := range messages {
				if m.Header.Type != unix.RTM_DELNSID {
					continue
				}
				attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofRtGenmsg+3:])
				if err != nil || len(attrs) == 0 {
					t.Fatalf("RTM_DELNSID: %v", err)
				}
				for _, a := range attrs {
					if a.Attr.Type == unix.NETNSA_NSID {
						return int(nl.NativeEndian().Uint32(a.Value))
					}
				}
			}
		}
	}
}

func TestCheck(t *testing.T) {
	if err := Check(t.Context(), Private, false); err != nil {
		t.Errorf("Check(private) = %v (hint: %s)", err, hintOf(err))
	}
	err := Check(t.Context(), Host, false)
	if root := os.Getuid() == 0; root != (err == nil) {
		t.Errorf("Check(host), by root: %v: %v", root, err)
	}
	if err != nil && !strings.Contains(hintOf(err), "as root") {
		t.Errorf("Check(host) has the hint %q", hintOf(err))
	}
	f, openErr := os.OpenFile(tunDevice, os.O_RDWR, 0)
	f.Close()
	if err := Check(t.Context(), Private, true); (err == nil) != (openErr == nil) || err != nil && hintOf(err) == "" {
		t.Errorf("Check(private, tap) = %v (hint: %s), and open says %v", err, hintOf(err), openErr)
	}
}

// TestRefused limits the namespaces of a user to none, for what the kernel then says.
func TestRefused(t *testing.T) {
	if done := again(t, &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_RESOURCE},
	}, "^TestRefused$"); done {
		return
	}
	for _, name := range []string{"user/max_user_namespaces", "user/max_net_namespaces"} {
		if err := writeSysctl(name, "0"); err != nil {
			t.Fatal(err)
		}
		err := Check(t.Context(), Private, false)
		if err == nil || !strings.Contains(hintOf(err), strings.ReplaceAll(name, "/", ".")) {
			t.Errorf("with %s = 0: Check = %v (hint: %q)", name, err, hintOf(err))
		}
		if err := writeSysctl(name, strconv.Itoa(1000)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusedBy(t *testing.T) {
	for _, c := range []struct {
		setting, value string
		seccomp        bool
		want           string
	}{
		{"kernel/unprivileged_userns_clone", "0", true, "kernel.unprivileged_userns_clone=1"},
		{"user/max_user_namespaces", "0", true, "user.max_user_namespaces=10000"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1", true, "kernel.apparmor_restrict_unprivileged_userns=0"},
		{"kernel/apparmor_restrict_unprivileged_userns", "0", true, "seccomp=unconfined"},
		{"", "", false, "as root"},
	} {
		got := refusedBy(func(name string) string {
			if name == c.setting {
				return c.value
			}
			return ""
		}, c.seccomp)
		if !strings.Contains(got, c.want) {
			t.Errorf("refusedBy(%s = %s, seccomp %v) = %q; want it to say %q", c.setting, c.value, c.seccomp, got, c.want)
		}
	}
}

func TestSpecCheck(t *testing.T) {
	for want, s := range map[string]Segment{
		"unknown kind":        {Kind: "ring"},
		"can join one":        {Kind: Tun, Bridge: "br0"},
		"masquerades":         {Kind: Bridge, NAT: true},
		"must be from 576":    {Kind: Bridge, MTU: 65522},
		"IPv6 needs 1280":     {Kind: Tun, MTU: 1000, Addr6: linkLocal},
		"of the other family": {Kind: Bridge, Addr: linkLocal},
	} {
		if _, err := Open(t.Context(), Spec{Scope: Private, Run: "r", Segments: []Segment{s}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open of %+v = %v; want %q", s, err, want)
		}
	}
	for _, run := range []string{"", "../x", "-"} {
		if _, err := Open(t.Context(), Spec{Scope: Private, Run: run}); err == nil {
			t.Errorf("Open with the id %q: no error", run)
		}
	}
}
