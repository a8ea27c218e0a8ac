package guest

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// mountCgroups mounts the control groups, as version v1 or v2. A kernel without them has none.
func mountCgroups(version string) error {
	if version == "v1" {
		return mountCgroupsV1()
	}
	err := unix.Mount("cgroup2", cgroupRoot, "cgroup2", noExecSuidDev, "")
	if err == unix.ENODEV || err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return fmt.Errorf("root: mount cgroup2: %w", err)
	}
	// Every controller is handed down, so that whoever makes a group below the root finds them (Documentation/admin-guide/cgroup-v2.rst,
	// "Controlling Controllers"). The root may hold processes all the same.
	b, err := readFile(cgroupRoot + "/cgroup.controllers")
	if err != nil {
		return fmt.Errorf("root: read the cgroup controllers: %w", err)
	}
	all := strings.Fields(string(b))
	if len(all) == 0 {
		return nil
	}
	if err := writeFile(cgroupRoot+"/cgroup.subtree_control", "+"+strings.Join(all, " +"), 0); err != nil {
		return fmt.Errorf("root: hand the cgroup controllers down: %w", err)
	}
	return nil
}

// mountCgroupsV1 mounts each controller on a folder of its own, as systemd did before version 2.
func mountCgroupsV1() error {
	if err := (mount{fs: "tmpfs", source: "cgroup", target: cgroupRoot, flags: noExecSuidDev, data: "mode=755"}).do(); err != nil {
		return err
	}
	names, err := cgroupControllers()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := (mount{fs: "cgroup", target: cgroupRoot + "/" + n, flags: noExecSuidDev, data: n, mode: 0o755}).do(); err != nil {
			return err
		}
	}
	return (mount{fs: "cgroup", target: cgroupRoot + "/systemd", flags: noExecSuidDev, data: "none,name=systemd", mode: 0o755}).do()
}

// cgroupControllers lists the controllers that the kernel has enabled (cgroups(7), /proc/cgroups).
func cgroupControllers() ([]string, error) {
	b, err := readFile("/proc/cgroups")
	if err != nil {
		return nil, fmt.Errorf("root: list the cgroup controllers: %w", err)
	}
	var names []string
	for _, l := range strings.Split(string(b), "\n") {
		f := strings.Fields(l)
		if len(f) == 4 && !strings.HasPrefix(f[0], "#") && f[3] == "1" {
			names = append(names, f[0])
		}
	}
	return names, nil
}
