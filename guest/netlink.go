package guest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// requests are requests of rtnetlink (rtnetlink(7)), which the kernel carries out one after the other in a single system call. What appends
// to them is not inlined: that would make 10 KB of the init, which every boot reads.
type requests struct {
	b []byte
	// what says of each what it does, for an error.
	what []string
	// optional are those whose failure doesn't end the sub-kernel.
	optional []bool
	at       int // where the last one begins in b
}

// A requestError is what the kernel said about one request.
type requestError struct {
	index int
	what  string
	err   error
}

func (e *requestError) Error() string { return e.what + ": " + e.err.Error() }
func (e *requestError) Unwrap() error { return e.err }

// add begins a request; what follows its header is appended by put and attr.
//
//go:noinline
func (r *requests) add(kind, flags uint16, what string, head ...byte) {
	r.at = len(r.b)
	r.what = append(r.what, what)
	r.optional = append(r.optional, false)
	r.b = append(r.b, make([]byte, unix.NLMSG_HDRLEN)...)
	h := r.b[r.at:]
	binary.NativeEndian.PutUint16(h[4:], kind)
	binary.NativeEndian.PutUint16(h[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(h[8:], uint32(len(r.what))) // the sequence number, of which an error reminds us
	r.put(head)
}

// put appends bytes to the last request, and zeros up to the next multiple of four.
//
//go:noinline
func (r *requests) put(b []byte) {
	r.b = append(r.b, b...)
	for len(r.b)%unix.NLMSG_ALIGNTO != 0 {
		r.b = append(r.b, 0)
	}
	binary.NativeEndian.PutUint32(r.b[r.at:], uint32(len(r.b)-r.at))
}

//go:noinline
func (r *requests) attr(kind uint16, data []byte) {
	r.b = binary.NativeEndian.AppendUint16(r.b, uint16(unix.SizeofRtAttr+len(data)))
	r.b = binary.NativeEndian.AppendUint16(r.b, kind)
	r.put(data)
}

//go:noinline
func (r *requests) attr32(kind uint16, n int) {
	r.attr(kind, binary.NativeEndian.AppendUint32(nil, uint32(n)))
}

// mayFail makes the last request an optional one.
func (r *requests) mayFail() { r.optional[len(r.optional)-1] = true }

// skipStats is RTEXT_FILTER_SKIP_STATS: the counters, a kilobyte, are left out.
const skipStats = 1 << 3

// getLink asks for a link's index, address and MTU.
func (r *requests) getLink(name string) {
	r.add(unix.RTM_GETLINK, 0, "find the device "+name, make([]byte, unix.SizeofIfInfomsg)...)
	r.attr(unix.IFLA_IFNAME, append([]byte(name), 0))
	r.attr32(unix.IFLA_EXT_MASK, skipStats)
}

// linkUp switches a link on, after it has got its name and its MTU: empty and 0 leave those as they are.
func (r *requests) linkUp(index int, name string, mtu int, what string) {
	head := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	binary.NativeEndian.PutUint32(head[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(head[12:], unix.IFF_UP) // what of the flags is meant
	r.add(unix.RTM_NEWLINK, 0, what, head...)
	if name != "" {
		r.attr(unix.IFLA_IFNAME, append([]byte(name), 0))
	}
	if mtu > 0 {
		r.attr32(unix.IFLA_MTU, mtu)
	}
}

func addressHead(family, bits, flags, index int) []byte {
	return binary.NativeEndian.AppendUint32([]byte{byte(family), byte(bits), byte(flags), unix.RT_SCOPE_UNIVERSE}, uint32(index))
}

func (r *requests) addAddress4(index int, p prefix4, broadcast ip4, what string) {
	r.add(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, what, addressHead(unix.AF_INET, p.bits, 0, index)...)
	r.attr(unix.IFA_LOCAL, p.addr[:])
	r.attr(unix.IFA_ADDRESS, p.addr[:])
	if p.bits < 31 {
		r.attr(unix.IFA_BROADCAST, broadcast[:])
	}
}

func (r *requests) removeAddress4(index int, p prefix4, what string) {
	r.add(unix.RTM_DELADDR, 0, what, addressHead(unix.AF_INET, p.bits, 0, index)...)
	r.attr(unix.IFA_LOCAL, p.addr[:])
}

// addAddress6 sets an address that can be used at once: nobody is asked whether it is another's too (RFC 4862, 5.4), which takes a second.
func (r *requests) addAddress6(index int, a ip6, bits int, what string) {
	r.add(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, what, addressHead(unix.AF_INET6, bits, unix.IFA_F_NODAD, index)...)
	r.attr(unix.IFA_ADDRESS, a[:])
}

// A route leads to a network: over a gateway, or without one directly. Addresses are as long as their family says.
type route struct {
	dst             []byte
	bits            int
	gateway, source []byte
	onLink          bool // the gateway is reached though no address says so
	metric          int
	protocol        byte
}

func (r *requests) addRoute(index int, t route, what string) {
	family, scope, flags := byte(unix.AF_INET), byte(unix.RT_SCOPE_UNIVERSE), 0
	if len(t.dst) == len(ip6{}) {
		family = unix.AF_INET6
	}
	if t.gateway == nil {
		scope = unix.RT_SCOPE_LINK
	}
	if t.onLink {
		flags = unix.RTNH_F_ONLINK
	}
	head := []byte{family, byte(t.bits), 0, 0, unix.RT_TABLE_MAIN, t.protocol, scope, unix.RTN_UNICAST}
	r.add(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, what, binary.NativeEndian.AppendUint32(head, uint32(flags))...)
	r.attr32(unix.RTA_OIF, index)
	if t.bits > 0 {
		r.attr(unix.RTA_DST, t.dst)
	}
	if t.gateway != nil {
		r.attr(unix.RTA_GATEWAY, t.gateway)
	}
	if t.source != nil {
		r.attr(unix.RTA_PREFSRC, t.source)
	}
	if t.metric > 0 {
		r.attr32(unix.RTA_PRIORITY, t.metric)
	}
}

// A routeSocket carries requests out.
type routeSocket int

func openRouteSocket() (routeSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("network: open a netlink socket: %w", err)
	}
	return routeSocket(fd), nil
}

// do carries requests out and returns the error of the first that fails, save for optional ones, whose first error goes to notice. What the kernel
// answers goes to answer. It answers before the system call is over (net/netlink/af_netlink.c, netlink_rcv_skb), and to what succeeds
// without being a question it says nothing: so what can be read without waiting is all.
func (s routeSocket) do(r *requests, answer func(seq int, b []byte), notice func(error)) error {
	if _, err := unix.Write(int(s), r.b); err != nil {
		return fmt.Errorf("network: ask the kernel: %w", err)
	}
	var first, noticed error
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(int(s), buf)
		if err == unix.EAGAIN {
			return first
		}
		if err != nil {
			return fmt.Errorf("network: hear the kernel: %w", err)
		}
		err = eachMessage(buf[:n], r, answer)
		var re *requestError
		if errors.As(err, &re) && r.optional[re.index] {
			if noticed == nil {
				noticed = err
				notice(err)
			}
		} else if first == nil {
			first = err
		}
	}
}

// eachMessage passes each message of the kernel's on, and returns the first that is an error.
func eachMessage(b []byte, r *requests, answer func(seq int, b []byte)) (first error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			break
		}
		kind, index, body := binary.NativeEndian.Uint16(b[4:]), int(binary.NativeEndian.Uint32(b[8:]))-1, b[unix.NLMSG_HDRLEN:size]
		b = b[min((size+3)&^3, len(b)):]
		if index < 0 || index >= len(r.what) {
			continue
		}
		if kind != unix.NLMSG_ERROR {
			answer(index, body)
		} else if len(body) >= 4 && first == nil {
			if e := int32(binary.NativeEndian.Uint32(body)); e != 0 {
				first = &requestError{index, r.what[index], unix.Errno(-e)}
			}
		}
	}
	return first
}

// A link is what the kernel says about a network device.
type link struct {
	index, mtu int
	mac        [6]byte
}

// linkOf reads the answer to getLink. The kernel is trusted, but its message is read with care all the same.
func linkOf(b []byte) link {
	var l link
	if len(b) < unix.SizeofIfInfomsg {
		return l
	}
	l.index = int(binary.NativeEndian.Uint32(b[4:]))
	for b = b[unix.SizeofIfInfomsg:]; len(b) >= unix.SizeofRtAttr; {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < unix.SizeofRtAttr || size > len(b) {
			break
		}
		data := b[unix.SizeofRtAttr:size]
		switch {
		case kind == unix.IFLA_ADDRESS && len(data) == len(l.mac):
			l.mac = [6]byte(data)
		case kind == unix.IFLA_MTU && len(data) == 4:
			l.mtu = int(binary.NativeEndian.Uint32(data))
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return l
}
