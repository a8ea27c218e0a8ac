package doctor

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
)

func TestCheckTun(t *testing.T) {
	wantCheck(t, checkTun("/dev/null"), OK, "can be opened")
	wantCheck(t, checkTun("/nowhere/tun"), Warn, "no such file", "modprobe tun", "docker run --device")
}

func TestTryFrame(t *testing.T) {
	for size, want := range map[int]bool{60: true, maxFrame: true, 1 << 30: false} {
		if err := tryFrame(size); (err == nil) != want {
			t.Errorf("a frame of %d bytes: %v", size, err)
		}
	}
}

func TestNamespacesFix(t *testing.T) {
	tests := []struct {
		name     string
		settings map[string]string
		want     string
	}{
		{
			"Debian's setting", map[string]string{"kernel.unprivileged_userns_clone": "0", "user.max_user_namespaces": "9"},
			"sysctl -w kernel.unprivileged_userns_clone=1 (it is 0), on the host if this is a container",
		},
		{
			"no user namespace", map[string]string{"kernel.unprivileged_userns_clone": "1", "user.max_user_namespaces": "0"},
			"sysctl -w user.max_user_namespaces=10000 (it is 0), on the host if this is a container",
		},
		{
			"no network namespace", map[string]string{"user.max_net_namespaces": "0"},
			"sysctl -w user.max_net_namespaces=10000 (it is 0), on the host if this is a container",
		},
		{
			"Ubuntu's setting", map[string]string{"kernel.apparmor_restrict_unprivileged_userns": "1"},
			"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (it is 1), on the host if this is a container, or an AppArmor profile for sekexe that has userns",
		},
		{
			"something else", map[string]string{"user.max_user_namespaces": "9", "kernel.apparmor_restrict_unprivileged_userns": "0"},
			"sysctl -w kernel.unprivileged_userns_clone=1 on Debian, kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, and " +
				"user.max_user_namespaces above 0; in a container, docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := namespacesFix(func(name string) string { return tt.settings[name] }); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestSysctl(t *testing.T) {
	if got := sysctl("kernel.ostype"); got != "Linux" {
		t.Errorf("got %q, want Linux", got)
	}
	if got := sysctl("kernel.nothing"); got != "" {
		t.Errorf("got %q of a setting that isn't there", got)
	}
}

func TestCheckPrivateNetworks(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status Status
		detail string
		fix    string
	}{
		{nil, OK, "was made", ""},
		{errors.New("no driver"), Warn, "no driver", "modprobe -a bridge veth"},
		{hinted{errors.New("no driver")}, Warn, "no driver", "boil it"},
	} {
		wantCheck(t, checkPrivateNetworks(t.Context(), func(context.Context) error { return tt.err }), tt.status, tt.detail, tt.fix)
	}
}

// TestUnconnected examines a process that may make no sockets.
func TestUnconnected(t *testing.T) {
	attr := asRoot()
	attr.Cloneflags |= syscall.CLONE_NEWNET
	checks := examine(t, "unconnected", attr)
	wantCheck(t, checks["user networks"], Warn, "operation not permitted", "net.core.wmem_default")
	wantCheck(t, checks["host networks"], Warn, "no nftables (operation not permitted)", "modprobe -a nf_tables", `uplink = "user"`)
	wantCheck(t, checks["ping"], Warn, "net.ipv4.ping_group_range is ", "docker run --sysctl", "sysctl -w net.ipv4.ping_group_range=")
}

// TestHostNetworks examines processes with more and less rights.
func TestHostNetworks(t *testing.T) {
	attr := asRoot()
	attr.Cloneflags |= syscall.CLONE_NEWNET
	wantCheck(t, examine(t, "networks", attr)["host networks"], OK, "its kernel has nftables")
	wantCheck(t, examine(t, "incapable", asRoot())["host networks"], Warn, "need CAP_NET_ADMIN and CAP_NET_RAW", "docker run --cap-add")
	if os.Getuid() == 0 {
		attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		wantCheck(t, examine(t, "networks", attr)["host networks"], OK, "for root, who this isn't")
	}
}

// asRoot makes a child root, in a user namespace of its own.
func asRoot() *syscall.SysProcAttr {
	attr := inNamespace()
	attr.Cloneflags = syscall.CLONE_NEWUSER
	return attr
}
