//go:build linux

package kernelnet

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// socketBuffer is what packet sockets may hold in each direction, if the kernel lets them: net.core.rmem_max bounds it for all but root.
const socketBuffer = 4 << 20

// A packetUse is what a packet socket is for.
type packetUse int

const (
	usePort    packetUse = iota // the far end of a veth pair: a NIC
	useListen                   // hear DHCP
	useCapture                  // see everything
)

// packetSocket opens a packet socket on an interface: one Ethernet frame a read or write.
func packetSocket(index int, use packetUse) (_ *os.File, err error) {
	// Without a protocol it hears nothing until it is bound, so that it doesn't begin with frames of other interfaces.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], socketBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], socketBuffer) // clamped, never refused
		}
	}
	if use != useCapture {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return nil, fmt.Errorf("packet socket: ignore its own frames: %w", err)
		}
	} else {
		m := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return nil, fmt.Errorf("packet socket: be promiscuous: %w", err)
		}
	}
	if err := attachFilter(fd, filters[use]); err != nil {
		return nil, err
	}
	sa := unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}
	if err := unix.Bind(fd, &sa); err != nil {
		return nil, fmt.Errorf("packet socket: bind it: %w", err)
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

func htons(v uint16) uint16 { return binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)}) }

// noVLAN begins filters: a frame whose tag the kernel has taken off must not pass for one that had none.
func noVLAN(rest ...bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}, rest...)
}

// filters are the filters of packet sockets; none: it takes every frame.
var filters = map[packetUse][]bpf.Instruction{
	usePort: noVLAN(bpf.RetConstant{Val: 1 << 18}),
	// UDP to port 67 or, by IPv6, 547, and router solicitations (ICMPv6 type 133). Fragments but the first have no ports to look at.
	useListen: noVLAN(
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipTrue: 8},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 14},
		bpf.LoadAbsolute{Off: 23, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 12},
		bpf.LoadAbsolute{Off: 20, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 10},
		bpf.LoadMemShift{Off: 14},
		bpf.LoadIndirect{Off: 16, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 67, SkipTrue: 8, SkipFalse: 7},
		bpf.LoadAbsolute{Off: 20, Size: 1}, // IPv6
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 4},
		bpf.LoadAbsolute{Off: 54, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 133, SkipTrue: 3, SkipFalse: 2},
		bpf.LoadAbsolute{Off: 56, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 547, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: 1 << 18},
	),
}

func attachFilter(fd int, program []bpf.Instruction) error {
	if len(program) == 0 {
		return nil
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("packet socket: assemble its filter: %w", err)
	}
	f := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		f[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}); err != nil {
		return fmt.Errorf("packet socket: attach its filter: %w", err)
	}
	return nil
}

// openTap opens a tap of that name, which is there as long as the descriptor is.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", tunDevice, err)
	}
	r, err := unix.NewIfreq(name)
	if err == nil {
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make the tap %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil // after the ioctl: before it, a tap can't be polled
}

const tunDevice = "/dev/net/tun"

// offloadsOff has an interface send whole frames with checksums, where it else would leave both to a NIC that isn't there.
func offloadsOff(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: open a socket: %w", name, err)
	}
	defer unix.Close(fd)
	// Segmentation and scatter-gather go with the checksums. ETHTOOL_SFLAGS has VLAN tags in the frames.
	for _, cmd := range []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_SGRO, unix.ETHTOOL_SFLAGS} {
		if err := ethtool(fd, name, cmd, 0); err != nil {
			return fmt.Errorf("%s: turn its offloads off: %w", name, err)
		}
	}
	return nil
}

// ethtool sets one value of an interface.
func ethtool(fd int, name string, cmd, value uint32) error {
	v := struct{ cmd, data uint32 }{cmd, value}
	r := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&v)}
	copy(r.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(&v)
	if errno != 0 {
		return errno
	}
	return nil
}
