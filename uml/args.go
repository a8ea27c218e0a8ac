package uml

import (
	"fmt"
	"strconv"

	"github.com/sekexe/sekexe/guest"
)

// lineFD is the descriptor of the control line in the kernel's process: the first after the standard ones.
const lineFD = 3

// bootArgs is what the command line of a kernel depends on.
type bootArgs struct {
	kernel   string // path
	memory   int64  // bytes
	umid     string // unique below umlDir
	umlDir   string // folder for the kernel's pid file and management socket
	init     string // host path of the guest's init
	exchange string // host path of the exchange folder
	lpj      uint64 // loops per jiffy; 0: unknown, to be learned from the log
	verbose  bool   // the whole log, not only what matters
	cpus     int    // of the guest
	fast     bool   // seccomp in place of ptrace
	nics     []string
	disks    []string
}

// argv is the command line of a kernel. Its own options come from arch/um (linux --help lists them), the others from
// Documentation/admin-guide/kernel-parameters.txt.
func (a bootArgs) argv() []string {
	args := []string{
		a.kernel,
		"mem=" + strconv.FormatInt(a.memory>>10, 10) + "K",
		"umid=" + a.umid,
		// Without it the kernel writes below $HOME, and aborts where it cannot. It wants the slash.
		"uml_dir=" + a.umlDir + "/",
		"con=null",
		"con0=null,fd:1",
		fmt.Sprintf("ssl0=fd:%d,fd:%d", lineFD, lineFD),
		"root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
		"init=" + a.init,
		guest.EnvExchange + "=" + a.exchange,
		// A panic ends the process at once.
		"panic=-1",
	}
	args = append(args, a.nics...)
	args = append(args, a.disks...)
	if a.fast {
		args = append(args, "seccomp=on")
	}
	if a.cpus > 1 {
		args = append(args, "ncpus="+strconv.Itoa(a.cpus))
	}
	if a.lpj != 0 {
		args = append(args, "lpj="+strconv.FormatUint(a.lpj, 10))
	}
	if !a.verbose && a.lpj != 0 {
		args = append(args, "quiet")
	}
	return args
}

// environ is the environment of a kernel's process. TMPDIR is where it makes the file that is the guest's memory
// (arch/um/os-Linux/mem.c). pad is what the C library shall take for its heap, in bytes; 0: what it likes.
func environ(memoryDir, home string, pad int64) []string {
	env := []string{"TMPDIR=" + memoryDir, "HOME=" + home, "PATH=/usr/bin:/bin"}
	if pad > 0 {
		env = append(env, "GLIBC_TUNABLES=glibc.malloc.top_pad="+strconv.FormatInt(pad-pageSize, 10))
	}
	return env
}
