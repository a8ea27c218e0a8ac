// Package tmpfs makes file systems in memory (tmpfs(5)) that are mounted nowhere: their only way in is a descriptor, and they are gone with their last
// descriptor and file, however the process ends. They take huge pages, which a file in /dev/shm as a rule doesn't get. No privilege is needed where
// user namespaces are allowed.
package tmpfs

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Open makes a file system of at most size bytes, and returns its root folder, which only this user can enter. Memory is taken as files grow,
// in pages of 2 MiB where the host has such. others says that there shall be files of other users, which a file system of a user namespace
// can't have: without it, such a one is made where this process may not mount. The errors are those of fsopen(2), fsconfig(2) and fsmount(2), and
// of clone(2) for the user namespace: such hosts, and those before Linux 5.2, have no such file system to offer.
func Open(size int64, others bool) (*os.File, error) {
	options := [][2]string{{"size", strconv.FormatInt(size, 10)}, {"mode", "0700"}, {"huge", "always"}}
	fd, err := mount(options)
	if err == unix.EPERM && !others {
		fd, err = mountAsUser(options)
	}
	if err != nil {
		return nil, fmt.Errorf("tmpfs: make one of huge pages: %w", err)
	}
	return os.NewFile(uintptr(fd), "tmpfs"), nil
}

// mount is for who may mount in the namespace of the process.
func mount(options [][2]string) (fd int, err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	for _, o := range options {
		if err := unix.FsconfigSetString(fs, o[0], o[1]); err != nil {
			return -1, err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}
