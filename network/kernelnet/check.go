//go:build linux

package kernelnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Check finds out whether networks of that scope, Private or Host, can be made here, by making one where that harms nothing. Its error has a
// hint: see the Hint method of errors of this package. With needTap, a fallback for want of /dev/net/tun is an error, too.
func Check(ctx context.Context, scope string, needTap bool) error {
	if needTap {
		if err := checkTap(); err != nil {
			return err
		}
	}
	if scope == Host {
		return checkHost()
	}
	n, err := Open(ctx, Spec{Scope: Private, Run: "check", Segments: []Segment{{Name: "check", Kind: Bridge, Netstack: true, Ports: make([]Port, 1)}}})
	if err != nil {
		return err
	}
	return n.Close()
}

func checkTap() error {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		return unix.Close(fd)
	}
	err = fmt.Errorf("open %s: %w", tunDevice, err)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return withHint(err, `have root run "chmod 0666 `+tunDevice+`"; in a container, give it the device`)
	}
	return withHint(err, `have root run "modprobe tun"; in a container, give it the device`)
}

// checkHost says whether this process may alter the network namespace it is in.
func checkHost() error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	for _, c := range []struct {
		bit  uint
		name string
	}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_NET_RAW, "CAP_NET_RAW"}} {
		if d[0].Effective&(1<<c.bit) == 0 {
			return withHint(fmt.Errorf("a network of the host's: this process lacks %s", c.name), `run sekexe as root, or use scope = "private"`)
		}
	}
	return nil
}

// refused is the error of starting the child, with a hint.
func refused(err error) error {
	err = fmt.Errorf("make a network namespace: %w", err)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return withHint(err, refusedHint())
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return withHint(err, namespacesHint("there are as many namespaces as the host allows"))
	case errors.Is(err, unix.EINVAL):
		return withHint(err, `the host's kernel has no network or user namespaces: use mode = "user"`)
	}
	return err
}

// refusedHint says what may have refused a namespace, or something in one.
func refusedHint() string { return refusedBy(procSetting, inSeccomp()) }

// refusedBy is refusedHint, by the settings of /proc/sys and whether the process is under seccomp.
func refusedBy(setting func(name string) string, seccomp bool) string {
	const root = `have root run "sysctl -w `
	const or = `, or use mode = "user"`
	switch {
	case setting("kernel/unprivileged_userns_clone") == "0":
		return root + `kernel.unprivileged_userns_clone=1"` + or
	case setting("user/max_user_namespaces") == "0":
		return root + `user.max_user_namespaces=10000"` + or
	case setting("user/max_net_namespaces") == "0":
		return root + `user.max_net_namespaces=10000"` + or
	case setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor keeps user namespaces from ordinary users: " + root + `kernel.apparmor_restrict_unprivileged_userns=0"` + or
	case seccomp:
		return `a seccomp filter refuses it, as container runtimes do by default: start the container with --security-opt seccomp=unconfined` + or
	}
	return `user namespaces are refused here: run sekexe as root, or use mode = "user"`
}

func namespacesHint(what string) string {
	return what + `: have root raise user.max_user_namespaces and user.max_net_namespaces by sysctl, or use mode = "user"`
}

func procSetting(name string) string {
	s, err := readSysctl(name)
	if err != nil {
		return ""
	}
	return s
}

// inSeccomp says whether a filter of system calls holds for this process.
func inSeccomp() bool {
	b, err := os.ReadFile("/proc/self/status")
	return err == nil && strings.Contains(string(b), "\nSeccomp:\t2")
}
