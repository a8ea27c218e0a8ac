//go:build linux

package kernelnet

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// setSysctls writes settings, each "net/some/name=value" below /proc/sys, which shows them of the network namespace of the thread that opens
// one. Unless they are needed, errors are none.
func setSysctls(needed bool, settings ...string) error {
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		if err := writeSysctl(name, value); err != nil && needed {
			return err
		}
	}
	return nil
}

func writeSysctl(name, value string) error {
	// Not os.WriteFile: there is nothing to create or truncate.
	f, err := os.OpenFile("/proc/sys/"+name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set %s to %s: %w", name, value, err)
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("set %s to %s: %w", name, value, err)
	}
	return nil
}

func readSysctl(name string) (string, error) {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// quiet has the kernel speak no IPv6 on a link. That it has no address of its own there is made sure elsewhere, where /proc/sys is read-only.
func quiet(name string) { _ = writeSysctl("net/ipv6/conf/"+name+"/disable_ipv6", "1") }

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// linkLocalOf is the link-local address of a link that is not ours; the zero Addr if it has none.
func (b *builder) linkLocalOf(index int) netip.Addr {
	list, err := netlink.AddrList(link(index), netlink.FAMILY_V6)
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && ip.IsLinkLocalUnicast() {
			return ip
		}
	}
	return netip.Addr{}
}
