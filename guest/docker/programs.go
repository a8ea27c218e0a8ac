package docker

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// programs is a folder that comes first in dockerd's PATH.
const programs = folder + "/bin"

// initProgram is the guest's init, which is also a modprobe when it is called so.
const initProgram = "/proc/1/exe"

// iptablesFamily are the programs that iptables consists of.
var iptablesFamily = []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"}

// canFilter says whether the root's iptables works with this kernel: only to make something shows that.
func canFilter() bool {
	const chain = "sekexe"
	if exec.Command("iptables", "--wait", "-t", "nat", "-N", chain).Run() != nil {
		return false
	}
	return exec.Command("iptables", "--wait", "-t", "nat", "-X", chain).Run() == nil
}

// choosePrograms gives dockerd the programs that suit a kernel with modules: a modprobe, which it calls for what is never loaded on demand
// (br_netfilter), and the iptables that the kernel can do. Debian's kernel has no nf_tables for IPv4 (CONFIG_NF_TABLES_IPV4), which its iptables
// uses by default.
func (a *agent) choosePrograms() error {
	if !a.spec.Modules {
		return nil
	}
	links := map[string]string{}
	if _, err := exec.LookPath("modprobe"); err != nil {
		links["modprobe"] = initProgram
	}
	if !canFilter() {
		for _, name := range iptablesFamily {
			if legacy, err := exec.LookPath(strings.Replace(name, "tables", "tables-legacy", 1)); err == nil {
				links[name] = legacy
			}
		}
	}
	if len(links) == 0 {
		return nil
	}
	if err := os.MkdirAll(programs, 0o755); err != nil {
		return fmt.Errorf("dockerd: choose its programs: %w", err)
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(programs, name)); err != nil {
			return fmt.Errorf("dockerd: choose its programs: %w", err)
		}
	}
	return os.Setenv("PATH", programs+":"+os.Getenv("PATH"))
}
