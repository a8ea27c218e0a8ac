package confine

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// run runs a filter as the host's kernel would, on a call of a 64-bit program unless arch says otherwise.
func run(t *testing.T, p []unix.SockFilter, arch uint32, nr uintptr, args [6]uint64) action {
	t.Helper()
	raw := make([]bpf.RawInstruction, len(p))
	for i, f := range p {
		raw[i] = bpf.RawInstruction{Op: f.Code, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	instructions, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the program has instructions that are none")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	// seccomp_data has the machine's byte order, the virtual machine of bpf that of the network.
	data := binary.BigEndian.AppendUint32(nil, uint32(nr))
	data = binary.BigEndian.AppendUint32(data, arch)
	data = binary.BigEndian.AppendUint64(data, 0)
	for _, a := range args {
		data = binary.BigEndian.AppendUint32(data, uint32(a))
		data = binary.BigEndian.AppendUint32(data, uint32(a>>32))
	}
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return action(n)
}

func TestFilter(t *testing.T) {
	usual := filterSpec{attributes: notify, create: allow, truncate: allow}
	root := filterSpec{attributes: notify, create: notify, truncate: allow}
	old := filterSpec{attributes: refuse, create: allow, truncate: refuse, memoryFile: true}
	type args = [6]uint64
	for _, c := range []struct {
		name string
		spec filterSpec
		nr   uintptr
		args args
		want action
	}{
		{"the first", usual, unix.SYS_READ, args{}, allow},
		{"one amid a run", usual, unix.SYS_MMAP, args{}, allow},
		{"getrandom", usual, unix.SYS_GETRANDOM, args{}, allow},
		{"a signal to another CPU", usual, unix.SYS_RT_TGSIGQUEUEINFO, args{}, allow}, // arch/um/os-Linux/smp.c
		{"mount", usual, unix.SYS_MOUNT, args{}, refuse},
		{"socket", usual, unix.SYS_SOCKET, args{unix.AF_UNIX}, refuse},
		{"connect", usual, unix.SYS_CONNECT, args{}, refuse},
		{"io_uring_setup", usual, unix.SYS_IO_URING_SETUP, args{}, refuse},
		{"process_vm_readv", usual, unix.SYS_PROCESS_VM_READV, args{}, refuse},
		{"clone of a process", usual, unix.SYS_CLONE, args{unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD)}, allow},
		{"clone into a user namespace", usual, unix.SYS_CLONE, args{unix.CLONE_NEWUSER}, refuse},
		{"clone3", usual, unix.SYS_CLONE3, args{}, absent},
		{"a stream pair", usual, unix.SYS_SOCKETPAIR, args{unix.AF_UNIX, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, allow},
		{"a datagram pair", usual, unix.SYS_SOCKETPAIR, args{unix.AF_UNIX, unix.SOCK_DGRAM}, refuse},
		{"sendto without an address", usual, unix.SYS_SENDTO, args{3, 1, 1}, allow},
		{"sendto with an address", usual, unix.SYS_SENDTO, args{3, 1, 1, 0, 0x1000}, refuse},
		{"sendto with an address in the upper half", usual, unix.SYS_SENDTO, args{3, 1, 1, 0, 1 << 32}, refuse},
		{"own limits", usual, unix.SYS_PRLIMIT64, args{0, 1}, allow},
		{"others' limits", usual, unix.SYS_PRLIMIT64, args{1, 1}, refuse},
		{"an ioctl", usual, unix.SYS_IOCTL, args{1, unix.TCGETS}, allow},
		{"TIOCSTI", usual, unix.SYS_IOCTL, args{1, unix.TIOCSTI}, refuse},
		{"chmod", usual, unix.SYS_CHMOD, args{}, notify},
		{"utimensat", usual, unix.SYS_UTIMENSAT, args{}, notify},
		{"fchmodat2", usual, unix.SYS_FCHMODAT2, args{}, refuse},
		{"setxattr", usual, unix.SYS_SETXATTR, args{}, refuse},
		{"open to create", usual, unix.SYS_OPENAT, args{0, 0, unix.O_CREAT}, allow},
		{"truncate", usual, unix.SYS_TRUNCATE, args{}, allow},
		{"open to create, of root's", root, unix.SYS_OPENAT, args{0, 0, unix.O_CREAT | unix.O_RDWR}, notify},
		{"open, of root's", root, unix.SYS_OPENAT, args{0, 0, unix.O_RDWR}, allow},
		{"mkdir, of root's", root, unix.SYS_MKDIR, args{}, notify},
		{"chmod without notifications", old, unix.SYS_CHMOD, args{}, refuse},
		{"fchmod of the memory file", old, unix.SYS_FCHMOD, args{3, 0o777}, allow},
		{"fchmod of a guest", old, unix.SYS_FCHMOD, args{3, unix.S_IFREG | 0o777}, refuse},
		{"truncate with an old Landlock", old, unix.SYS_TRUNCATE, args{}, refuse},
		{"the newest", usual, lastKnown, args{}, refuse},
		{"one of the future", usual, lastKnown + 1, args{}, absent},
		{"one of x32", usual, 0x40000000, args{}, absent},
	} {
		if got := run(t, c.spec.program(), unix.AUDIT_ARCH_X86_64, c.nr, c.args); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, uint32(got), uint32(c.want))
		}
	}
	if got := run(t, usual.program(), unix.AUDIT_ARCH_I386, unix.SYS_READ, args{}); got != refuse {
		t.Errorf("a call of a 32-bit program: %#x, want %#x", uint32(got), uint32(refuse))
	}
}

// TestCanFind has a host that doesn't know openat2, as before Linux 5.6.
func TestCanFind(t *testing.T) {
	if !canFind() {
		t.Error("this host can't find files")
	}
	before := Probe()
	found := make(chan bool)
	var after Support
	Thread(func() { // the filter ends with it
		defer close(found)
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Error(err)
			return
		}
		p := append([]unix.SockFilter{load(0)}, call(unix.SYS_OPENAT2, returns(absent))...)
		if _, err := install(append(p, returns(allow)), false); err != nil {
			t.Error(err)
			return
		}
		after = Probe()
	})
	<-found
	before.Notify = false
	if after != before {
		t.Errorf("Probe() = %+v; want %+v", after, before)
	}
}
