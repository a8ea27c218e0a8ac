package docker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// listenForward takes the NIC that leads to the host into a network namespace of its own, where no step and no container sees it, and listens
// there.
func listenForward(f *wire.DockerForward) (net.Listener, error) {
	l, err := onOwnThread(f)
	if errors.Is(err, errNoNamespaces) {
		return nil, &hintError{fmt.Errorf("socket to the host: make a network namespace: %w", err), "use a kernel that can run containers: sekexe kernel list says which can"}
	}
	if err != nil {
		return nil, fmt.Errorf("socket to the host: %w", err)
	}
	return l, nil
}

var errNoNamespaces = errors.New("the kernel was built without CONFIG_NET_NS")

// onOwnThread makes a network namespace of which one thread is the only member, and leads that back: the namespace lasts as long as the listener and
// its connections. The thread must not end, because dockerd may be its child, and gets SIGTERM when the thread that has started it ends
// (PR_SET_PDEATHSIG).
func onOwnThread(f *wire.DockerForward) (l net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		var back bool
		l, back, err = inNamespace(f)
		close(done)
		if !back {
			select {} // nobody else may use the thread
		}
		runtime.UnlockOSThread()
	}()
	<-done
	return l, err
}

// inNamespace listens in a new namespace, and says whether the thread is back in its old one.
func inNamespace(f *wire.DockerForward) (l net.Listener, back bool, err error) {
	old, err := os.Open("/proc/thread-self/ns/net")
	if errors.Is(err, os.ErrNotExist) {
		return nil, true, errNoNamespaces
	}
	if err != nil {
		return nil, true, err
	}
	defer old.Close()
	// A socket stays in the namespace in which it was made.
	from, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, true, fmt.Errorf("open rtnetlink: %w", err)
	}
	defer from.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, true, fmt.Errorf("make a network namespace: %w", err)
	}
	l, err = setUp(f, from)
	serr := unix.Setns(int(old.Fd()), unix.CLONE_NEWNET)
	if serr != nil {
		serr = fmt.Errorf("leave the network namespace: %w", serr)
	}
	return l, serr == nil, errors.Join(err, serr)
}

// setUp fetches the NIC into the namespace of the calling thread, gives it its address, and listens there.
func setUp(f *wire.DockerForward, from *netlink.Handle) (net.Listener, error) {
	addr, err := netip.ParsePrefix(f.Address)
	if err != nil {
		return nil, err
	}
	// IPv6 would send by itself. Not every kernel has it.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer here.Close()
	link, err := from.LinkByName(f.Device)
	if err == nil {
		err = from.LinkSetNsFd(link, int(here.Fd()))
	}
	if err != nil {
		return nil, fmt.Errorf("take %s into a network namespace: %w", f.Device, err)
	}
	if err := bringUp(f, addr); err != nil {
		return nil, fmt.Errorf("set %s up: %w", f.Device, err)
	}
	return net.Listen("tcp4", netip.AddrPortFrom(addr.Addr(), uint16(f.Port)).String())
}

// bringUp sets up what is in the namespace of the calling thread.
func bringUp(f *wire.DockerForward, addr netip.Prefix) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	link, err := h.LinkByName(f.Device)
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	host, err := netip.ParseAddr(f.Host)
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(f.HostMAC)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return h.LinkSetUp(lo) },
		func() error { return h.LinkSetMTU(link, f.MTU) },
		func() error {
			return h.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: addr.Addr().AsSlice(), Mask: net.CIDRMask(addr.Bits(), addr.Addr().BitLen())}})
		},
		func() error { return h.LinkSetUp(link) },
		func() error {
			return h.NeighSet(&netlink.Neigh{LinkIndex: index, Family: unix.AF_INET, State: unix.NUD_PERMANENT, IP: host.AsSlice(), HardwareAddr: mac})
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
