package confine

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Nobody is the user and group that kernels run as where sekexe is root.
const Nobody = 65534

// fileCaps are what a kernel of root's keeps of root's capabilities, so that its guest reads and writes the files of all users as before;
// the Landlock domain says which. readCaps are those that are left without one.
const (
	fileCaps = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_FOWNER
	readCaps = 1 << unix.CAP_DAC_READ_SEARCH
)

// Bits of PR_SET_SECUREBITS (linux/securebits.h): to be user 0 gives no capabilities, to stop being it takes none, access(2) checks those
// of the process, none can be made ambient again; and nothing of that can be changed.
const secureBits = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<6 | 1<<7

// capabilities returns the calling thread's permitted capabilities.
func capabilities() (uint64, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("ask for this process's capabilities: %w", err)
	}
	return uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32, nil
}

// setCapabilities sets the calling thread's.
func setCapabilities(effective, inheritable uint64) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		data[i].Effective = uint32(effective >> (32 * i))
		data[i].Permitted = data[i].Effective
		data[i].Inheritable = uint32(inheritable >> (32 * i))
	}
	return unix.Capset(&hdr, &data[0])
}

// canChangeUser says whether a process with these capabilities can become Nobody, and still have the capabilities that it wants.
func canChangeUser(caps uint64) bool {
	const need = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_KILL | fileCaps
	return caps&need == need && mapped("/proc/self/uid_map") && mapped("/proc/self/gid_map")
}

// mapped says whether a user namespace has the number of Nobody, by its map (user_namespaces(7)).
func mapped(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		var inside, outside, count int64
		if _, err := fmt.Sscan(strings.TrimSpace(s.Text()), &inside, &outside, &count); err == nil && inside <= Nobody && Nobody-inside < count {
			return true
		}
	}
	return false
}

// takeIdentity gives the calling thread the capabilities in keep and no others, now and after an execve(2), and makes it Nobody if that is
// said. What it can't give up it doesn't have: a thread without CAP_SETPCAP has no say in its bounding set, which no_new_privs makes void.
func takeIdentity(keep uint64, nobody bool) error {
	have, err := capabilities()
	if err != nil {
		return err
	}
	keep &= have
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && err != unix.EINVAL {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	if have == 0 {
		return nil
	}
	if err := setCapabilities(have, keep); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	for c := range uintptr(64) {
		switch {
		case keep&(1<<c) != 0:
			if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c, 0, 0); err != nil {
				return fmt.Errorf("make capability %d ambient: %w", c, err)
			}
		case have&(1<<c) != 0 && have&(1<<unix.CAP_SETPCAP) != 0:
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				return fmt.Errorf("drop capability %d: %w", c, err)
			}
		}
	}
	if have&(1<<unix.CAP_SETPCAP) != 0 {
		if err := unix.Prctl(unix.PR_SET_SECUREBITS, secureBits, 0, 0, 0); err != nil {
			return fmt.Errorf("lock the capabilities: %w", err)
		}
	}
	if nobody {
		if err := becomeNobody(); err != nil {
			return err
		}
	}
	if err := setCapabilities(keep, keep); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// becomeNobody changes user and group of the calling thread alone: the library's functions would change those of all threads.
func becomeNobody() error {
	var none [1]uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, uintptr(unsafe.Pointer(&none)), 0); errno != 0 {
		return fmt.Errorf("leave all groups: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, Nobody, Nobody, Nobody); errno != 0 {
		return fmt.Errorf("become group %d: %w", Nobody, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, Nobody, Nobody, Nobody); errno != 0 {
		return fmt.Errorf("become user %d: %w", Nobody, errno)
	}
	return nil
}
