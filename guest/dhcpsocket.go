package guest

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A nicHost is the real world of a dhcpClient: a NIC, and the kernel's clock.
type nicHost struct{ index int }

func (h nicHost) now() int64 { return clock() }

func (h nicHost) sleep(until int64) {
	if until == never {
		select {} // no timer: the sub-kernel sleeps
	}
	time.Sleep(time.Duration(until - clock()))
}

const (
	serverPort, clientPort = 67, 68
	ipHeader, udpHeader    = 20, 8
)

// toClient is a filter that passes what goes to the client's port, whole datagrams of UDP only: others don't wake the init.
var toClient = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9}, // the protocol
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 6},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6}, // the flags and the offset of a fragment
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x3fff, Jt: 4},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0}, // the length of the header
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},  // the port
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: clientPort, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// networkOrder turns a number as the kernel wants that of a protocol.
func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// packets opens a socket that sends and receives IP packets without an address of the NIC's (packet(7)).
func (h nicHost) packets() (dhcpSocket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // 0: it hears nothing yet
	if err != nil {
		return nil, err
	}
	prog := unix.SockFprog{Len: uint16(len(toClient)), Filter: &toClient[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IP), Ifindex: h.index}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &packetSocket{pollSocket{fd: fd}, h.index}, nil
}

// datagrams opens a socket of UDP on the client's port.
func (h nicHost) datagrams() (dhcpSocket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	for _, o := range []struct{ name, value int }{{unix.SO_BINDTOIFINDEX, h.index}, {unix.SO_REUSEADDR, 1}, {unix.SO_BROADCAST, 1}} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.name, o.value); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: clientPort}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &datagramSocket{pollSocket{fd: fd}}, nil
}

// A pollSocket is a descriptor that is waited for only if there is nothing to read at once.
type pollSocket struct {
	fd int
	f  *os.File // nil until something was waited for
}

func (s *pollSocket) close() {
	if s.f != nil {
		s.f.Close()
		return
	}
	unix.Close(s.fd)
}

// read reads a datagram by a function of its own, until a time.
func (s *pollSocket) read(until int64, recv func(fd int) (int, error)) (int, error) {
	n, err := recv(s.fd)
	if err != unix.EAGAIN {
		return n, err
	}
	if s.f == nil {
		s.f = os.NewFile(uintptr(s.fd), "dhcp")
	}
	deadline := time.Time{}
	if until != never {
		deadline = time.Now().Add(time.Duration(until - clock()))
	}
	if err := s.f.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	var rc syscall.RawConn
	if rc, err = s.f.SyscallConn(); err != nil {
		return 0, err
	}
	waitErr := rc.Read(func(fd uintptr) bool {
		n, err = recv(int(fd))
		return err != unix.EAGAIN
	})
	if errors.Is(waitErr, os.ErrDeadlineExceeded) {
		return 0, errNoAnswer
	}
	if waitErr != nil {
		return 0, waitErr
	}
	return n, err
}

// A datagramSocket is a socket of UDP.
type datagramSocket struct{ pollSocket }

func (s *datagramSocket) send(to ip4, message []byte) error {
	return unix.Sendto(s.fd, message, 0, &unix.SockaddrInet4{Port: serverPort, Addr: to})
}

func (s *datagramSocket) receive(b []byte, until int64) (int, error) {
	return s.read(until, func(fd int) (int, error) { return unix.Read(fd, b) })
}

// A packetSocket is a socket of IP packets. All that it sends goes to every station of the link.
type packetSocket struct {
	pollSocket
	index int
}

func (s *packetSocket) send(to ip4, message []byte) error {
	sa := unix.SockaddrLinklayer{
		Protocol: networkOrder(unix.ETH_P_IP), Ifindex: s.index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	return unix.Sendto(s.fd, udpPacket(ip4(message[atCIAddr:]), to, message), 0, &sa)
}

func (s *packetSocket) receive(b []byte, until int64) (int, error) {
	p := make([]byte, ipHeader+udpHeader+maxMessage)
	for {
		n, err := s.read(until, func(fd int) (int, error) { return unix.Read(fd, p) })
		if err != nil {
			return 0, err
		}
		if m := udpPayload(p[:n]); m != nil {
			return copy(b, m), nil
		}
		if clock() >= until {
			return 0, errNoAnswer
		}
	}
}

// udpPacket is a message in UDP in IP.
func udpPacket(from, to ip4, message []byte) []byte {
	n := udpHeader + len(message)
	b := make([]byte, ipHeader+udpHeader, ipHeader+n)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP // version and length of the header; time to live
	binary.BigEndian.PutUint16(b[2:], uint16(ipHeader+n))
	copy(b[12:], from[:])
	copy(b[16:], to[:])
	binary.BigEndian.PutUint16(b[10:], ^onesSum(0, b[:ipHeader]))
	u := b[ipHeader:]
	binary.BigEndian.PutUint16(u, clientPort)
	binary.BigEndian.PutUint16(u[2:], serverPort)
	binary.BigEndian.PutUint16(u[4:], uint16(n))
	b = append(b, message...)
	sum := ^onesSum(pseudoSum(b), b[ipHeader:])
	if sum == 0 {
		sum = 0xffff // 0 says that there is none
	}
	binary.BigEndian.PutUint16(b[ipHeader+6:], sum)
	return b
}

// udpPayload is the message in a packet that a server has sent; nil: it is none, or broken.
func udpPayload(b []byte) []byte {
	if len(b) < ipHeader || b[0]>>4 != 4 || b[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return nil
	}
	head, size := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if head < ipHeader || size < head+udpHeader || size > len(b) || onesSum(0, b[:head]) != 0xffff {
		return nil
	}
	b = b[:size]
	u := b[head:]
	n := int(binary.BigEndian.Uint16(u[4:]))
	if binary.BigEndian.Uint16(u) != serverPort || binary.BigEndian.Uint16(u[2:]) != clientPort || n < udpHeader || n > len(u) {
		return nil
	}
	u = u[:n]
	// A packet that never was on a wire may have the sum of the addresses alone, to which a network card would have added the rest.
	pseudo := onesSum(pseudoSum(b[:head+n]), nil) // of n and not of what is behind it
	if sum := binary.BigEndian.Uint16(u[6:]); sum != 0 && sum != pseudo && onesSum(uint32(pseudo), u) != 0xffff {
		return nil
	}
	return u[udpHeader:]
}

// pseudoSum begins the checksum of UDP with the addresses, the protocol and the length (RFC 768).
func pseudoSum(packet []byte) uint32 {
	head := int(packet[0]&0xf) * 4
	return uint32(onesSum(unix.IPPROTO_UDP+uint32(len(packet)-head), packet[12:ipHeader]))
}

// onesSum adds 16 bits at a time with the carry brought round (RFC 1071).
func onesSum(sum uint32, b []byte) uint16 {
	for i, c := range b {
		if i%2 == 0 {
			sum += uint32(c) << 8
		} else {
			sum += uint32(c)
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
