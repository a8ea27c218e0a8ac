package doctor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxFrame is the longest Ethernet frame that a sub-kernel sends: of the MTU 65521.
const maxFrame = 65521 + 14

// checkUserNetworks sends a frame as a sub-kernel does on a network of mode user.
func checkUserNetworks() Check {
	const name = "user networks"
	if err := tryFrame(maxFrame); err != nil {
		return Check{
			name, Warn, fmt.Sprintf("a frame of %d bytes didn't pass a socket pair: %v", maxFrame, err),
			"sysctl -w net.core.wmem_default=212992, which is the kernel's own default, or give networks a smaller mtu",
		}
	}
	return Check{Name: name, Status: OK, Detail: fmt.Sprintf("a frame of %d bytes passed a socket pair; they need nothing else", maxFrame)}
}

// tryFrame sends a frame through a socket pair.
func tryFrame(size int) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	sent, got := bytes.Repeat([]byte{1}, size), make([]byte, size+1)
	if _, err := unix.Write(fds[0], sent); err != nil {
		return err
	}
	n, err := unix.Read(fds[1], got)
	if err == nil && !bytes.Equal(got[:max(n, 0)], sent) {
		err = fmt.Errorf("%d bytes of it came out", n)
	}
	return err
}

// checkNamespaces makes a network namespace as networks of scope private do: root makes that alone, others with a user namespace, and with
// the rights in that. Ubuntu's AppArmor allows the user namespace, and takes the rights away.
func checkNamespaces(ctx context.Context) Check {
	const name = "namespaces"
	err := error(unix.EPERM)
	if os.Geteuid() == 0 {
		if err = tryNamespaces(ctx, false); err == nil {
			return Check{Name: name, Status: OK, Detail: "a network namespace was made"}
		}
	}
	if errors.Is(err, unix.EPERM) {
		if err = tryNamespaces(ctx, true); err == nil {
			return Check{Name: name, Status: OK, Detail: "a user and a network namespace were made"}
		}
	}
	return Check{
		name, Warn, fmt.Sprintf("can't be made (%v); networks of mode bridge or tun and scope private need them", err),
		namespacesFix(sysctl) + `; or leave networks at mode = "user"`,
	}
}

// tryNamespaces starts a process in a network namespace of its own.
func tryNamespaces(ctx context.Context, user bool) error {
	cmd := exec.CommandContext(ctx, "true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if user {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	runtime.LockOSThread() // the signal comes when the thread ends
	defer runtime.UnlockOSThread()
	return cmd.Run()
}

// namespacesFix says which setting is in the way of namespaces; if none is, what else may be.
func namespacesFix(sysctl func(name string) string) string {
	for _, s := range []struct{ name, bad, good, note string }{
		{"kernel.unprivileged_userns_clone", "0", "1", ""},
		{"user.max_user_namespaces", "0", "10000", ""},
		{"user.max_net_namespaces", "0", "10000", ""},
		{"kernel.apparmor_restrict_unprivileged_userns", "1", "0", ", or an AppArmor profile for sekexe that has userns"},
	} {
		if sysctl(s.name) == s.bad {
			return fmt.Sprintf("sysctl -w %s=%s (it is %s), on the host if this is a container%s", s.name, s.good, s.bad, s.note)
		}
	}
	return "sysctl -w kernel.unprivileged_userns_clone=1 on Debian, kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, and " +
		"user.max_user_namespaces above 0; in a container, docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
}

// sysctl is a setting of the host's kernel; it is empty if there is no such one.
func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

// checkTun opens the device that makes taps. Without it networks have veth pairs, which every network namespace can.
func checkTun(device string) Check {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return Check{
			"tun", Warn, fmt.Sprintf("%s: open it: %v; networks of mode bridge or tun use veth pairs in its place", device, err),
			fmt.Sprintf("modprobe tun, and chmod 666 %s; in a container, docker run --device %s", device, device),
		}
	}
	_ = unix.Close(fd)
	return Check{Name: "tun", Status: OK, Detail: device + " can be opened"}
}

// checkPrivateNetworks has a network made, which also shows whether the host's kernel has the drivers.
func checkPrivateNetworks(ctx context.Context, try func(context.Context) error) Check {
	const name = "private networks"
	if err := try(ctx); err != nil {
		return Check{
			name, Warn, fmt.Sprintf("a network of mode bridge and scope private can't be made: %v", err),
			hintOf(err, `modprobe -a bridge veth tun, or leave networks at mode = "user"`),
		}
	}
	return Check{Name: name, Status: OK, Detail: "one of mode bridge was made"}
}

// checkHostNetworks looks at what networks of scope host need besides: the rights that root has, and nftables for the uplink nat.
func checkHostNetworks() Check {
	const name = "host networks"
	lacks, err := lackedCapabilities()
	if err != nil {
		return Check{name, Warn, fmt.Sprintf("ask for this process's capabilities: %v", err), "see what confines this process"}
	}
	if len(lacks) == 0 {
		err = tryNftables()
	}
	switch {
	case len(lacks) > 0 && os.Geteuid() != 0:
		return Check{Name: name, Status: OK, Detail: "networks of scope host are for root, who this isn't"}
	case len(lacks) > 0:
		return Check{
			name, Warn, fmt.Sprintf("networks of scope host need %s, which this process hasn't", strings.Join(lacks, " and ")),
			`docker run --cap-add NET_ADMIN --cap-add NET_RAW, or leave networks at scope = "private"`,
		}
	case err != nil:
		return Check{
			name, Warn, fmt.Sprintf(`the host's kernel has no nftables (%v); uplink = "nat" needs it`, err),
			`modprobe -a nf_tables nft_masq, on the host if this is a container; or have uplink = "user"`,
		}
	}
	return Check{Name: name, Status: OK, Detail: "the host's network may be altered, and its kernel has nftables"}
}

// lackedCapabilities are those that networks of scope host need, and this process hasn't.
func lackedCapabilities() ([]string, error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData // of 32 capabilities each
	if err := unix.Capget(&h, &d[0]); err != nil {
		return nil, err
	}
	var lacks []string
	for _, c := range []struct {
		bit  uint
		name string
	}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_NET_RAW, "CAP_NET_RAW"}} {
		if d[0].Effective&(1<<c.bit) == 0 {
			lacks = append(lacks, c.name)
		}
	}
	return lacks, nil
}

// tryNftables asks for the generation of the rules, which loads the module where there is one (linux/netfilter/nf_tables.h).
func tryNftables() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const nfgenmsg = 4 // struct nfgenmsg, all zero here
	b := make([]byte, unix.SizeofNlMsghdr+nfgenmsg)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	b = make([]byte, 4096)
	n, err := unix.Read(fd, b) // it is answered when it is sent
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 {
		return fmt.Errorf("an answer of %d bytes", n)
	}
	if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR {
		return unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])))
	}
	return nil
}

// checkPing opens a socket by which guests' pings go out (icmp(7)): one that the groups of a range may open, or else a raw one, which takes
// CAP_NET_RAW.
func checkPing() Check {
	const setting = "net.ipv4.ping_group_range"
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		if raw, rawErr := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP); rawErr == nil {
			_ = unix.Close(raw)
			return Check{Name: "ping", Status: OK, Detail: "a raw socket for it was opened"}
		}
		return Check{
			"ping", Warn, fmt.Sprintf("guests can't ping what is outside of their networks: open a socket for it: %v (%s is %s)", err, setting, sysctl(setting)),
			fmt.Sprintf(`sysctl -w %s="0 2147483647"; in a container, docker run --sysctl %s="0 2147483647"`, setting, setting),
		}
	}
	_ = unix.Close(fd)
	return Check{Name: "ping", Status: OK, Detail: fmt.Sprintf("a socket for it was opened (%s is %s)", setting, sysctl(setting))}
}
