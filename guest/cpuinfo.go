package guest

import (
	"bytes"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

const cpuinfo = "/proc/cpuinfo"

// describeCPUs lays a file over /proc/cpuinfo that says of each CPU which core it is. User Mode Linux leaves that out, and procps 4.0.2 (Debian 12)
// then has no boot time for ps -ef, which docker top calls. It is done without package os: each page of the init that is touched costs.
func describeCPUs(notice func(error)) error {
	if err := overlayCPUs("/dev/shm/cpuinfo"); err != nil {
		notice(fmt.Errorf("%s: say which core a CPU is: %w", cpuinfo, err))
	}
	return nil
}

// overlayCPUs needs a name that nothing else has, for a moment.
func overlayCPUs(name string) error {
	text, err := readFile(cpuinfo)
	if err != nil {
		return err
	}
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o444)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, withCores(text))
	unix.Close(fd)
	if err == nil {
		err = unix.Mount(name, cpuinfo, "", unix.MS_BIND, "")
	}
	if e := unix.Unlink(name); err == nil {
		err = e
	}
	return err
}

// withCores adds the line "core id" to each paragraph, which begins with "processor" and the CPU's number (arch/um/kernel/um_arch.c, show_cpuinfo). A
// text that has such lines stays as it is.
func withCores(text []byte) []byte {
	if bytes.Contains(text, []byte("\ncore id")) {
		return text
	}
	const processor, core = "processor\t", "core id\t\t"
	for at := 0; at < len(text); {
		line := text[at:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i+1]
		}
		at += len(line)
		if number, ok := bytes.CutPrefix(line, []byte(processor)); ok {
			text = slices.Insert(text, at, append([]byte(core), number...)...)
			at += len(core) + len(number)
		}
	}
	return text
}
