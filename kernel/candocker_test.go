package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dockerKernel is a kernel whose parts for Docker are all as value says, y or m, but for those in but.
func dockerKernel(t *testing.T, value string, but map[string]string) *Info {
	t.Helper()
	lines := []string{"CONFIG_UML=y"}
	for _, s := range wanted[1:] {
		v, ok := but[strings.TrimPrefix(s, "CONFIG_")]
		if !ok {
			v = value
		}
		if v != "" {
			lines = append(lines, s+"="+v)
		}
	}
	c, err := ParseConfig(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return fromAnswers("/k/linux", identity{}, answers{version: "7.2.13", config: c})
}

// noLegacy are the parts of iptables-legacy, left out.
var noLegacy = map[string]string{"IP_NF_IPTABLES": "", "IP_NF_FILTER": "", "IP_NF_NAT": ""}

func TestCheckDocker(t *testing.T) {
	for _, tt := range []struct {
		name string
		but  map[string]string
		v1   bool
		want string // "": it can run
	}{
		{"all", nil, false, ""},
		{"one part", map[string]string{"OVERLAY_FS": ""}, false, "kernel /k/linux: can't run Docker: it lacks CONFIG_OVERLAY_FS (storage driver overlay2)"},
		{"two parts", map[string]string{"PID_NS": "", "VETH": ""}, false, "it lacks CONFIG_PID_NS (processes of containers), CONFIG_VETH (networks of containers)"},
		{"modules without a folder", map[string]string{"VETH": "m"}, false, "it lacks CONFIG_VETH, a module that is not installed (networks of containers)"},
		{"never a module", map[string]string{"PID_NS": "m"}, false, "it lacks CONFIG_PID_NS (processes of containers)"},
		{"iptables-nft", noLegacy, false, ""},
		{"iptables-legacy", map[string]string{"NF_TABLES_IPV4": ""}, false, ""},
		{"neither", map[string]string{"IP_NF_NAT": "", "NF_TABLES_IPV4": ""}, false, "it lacks CONFIG_IP_NF_NAT (iptables)"},
		{"devices of version 2", map[string]string{"CGROUP_BPF": ""}, false, "it lacks CONFIG_CGROUP_BPF (rights to devices)"},
		{"BPF and version 1", map[string]string{"CGROUP_BPF": ""}, true, ""},
		{"devices of version 1", map[string]string{"CGROUP_DEVICE": ""}, true, "it lacks CONFIG_CGROUP_DEVICE (rights to devices)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckDocker(dockerKernel(t, "y", tt.but), tt.v1)
			if tt.want == "" {
				if err != nil {
					t.Errorf("CheckDocker: %v; want nothing", err)
				}
				return
			}
			var e *Error
			if !errors.Is(err, ErrNoDocker) || !errors.As(err, &e) || !strings.HasSuffix(err.Error(), tt.want) || e.Hint() == "" {
				t.Errorf("CheckDocker: %v; want one that ends with %q and has a hint", err, tt.want)
			}
		})
	}
}

// Modules count if they are there, packed or not.
func TestCheckDockerModules(t *testing.T) {
	but := map[string]string{"OVERLAY_FS": "m", "BRIDGE": "m", "VETH": "m"}
	i := dockerKernel(t, "y", but)
	i.Modules = t.TempDir()
	dep := "kernel/fs/overlayfs/overlay.ko:\nkernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko\n"
	if err := os.WriteFile(filepath.Join(i.Modules, "modules.dep"), []byte(dep), 0o644); err != nil {
		t.Fatal(err)
	}
	err := CheckDocker(i, false)
	if want := "it lacks CONFIG_VETH, a module that is not installed (networks of containers)"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("CheckDocker: %v; want one that ends with %q", err, want)
	}
}

// Distributions' kernels and ours can run Docker, with all of the names of modules as they are there.
func TestCheckDockerOfRealKernel(t *testing.T) {
	i := resolve(t, finder(t, nil), Choice{Path: realKernel(t)})
	for _, v1 := range []bool{false, true} {
		if err := CheckDocker(i, v1); err != nil {
			t.Error(err)
		}
	}
}
