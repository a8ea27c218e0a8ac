package confine

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// limitArg makes the test binary a kernel that wants more than it is allowed.
const limitArg = "confine-limits"

// A process of TestLimit may make a file so large, and so many processes, in the test.
const (
	testFileSize  = 1 << 20
	testProcesses = 100
)

// useTooMuch waits for a line, and says what becomes of wanting more.
func useTooMuch() {
	signal.Ignore(unix.SIGXFSZ)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Println("grow the file:", unix.Ftruncate(3, testFileSize))
	fmt.Println("grow the file too far:", unix.Ftruncate(3, testFileSize+1))
	fmt.Println("raise the limit:", raw(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_FSIZE, uintptr(unsafe.Pointer(&unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})), 0))
	made, err := 0, error(nil)
	for ; err == nil && made < 5*testProcesses; made++ {
		pid, _, errno := unix.RawSyscall(unix.SYS_FORK, 0, 0, 0)
		if pid == 0 && errno == 0 {
			for {
				_, _, _ = unix.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
			}
		}
		if errno != 0 {
			err = errno
		}
	}
	fmt.Println("make processes:", err)
	_ = unix.Kill(0, unix.SIGKILL)
}

// threads counts what the host counts against a user's limit of processes.
func threads(t *testing.T, uid int) int {
	t.Helper()
	n := 0
	files, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f) // it may be gone
		_, user, _ := strings.Cut(string(b), "\nUid:\t")
		_, count, _ := strings.Cut(string(b), "\nThreads:\t")
		if strings.HasPrefix(user, strconv.Itoa(uid)+"\t") {
			count, _, _ = strings.Cut(count, "\n")
			c, _ := strconv.Atoi(count)
			n += c
		}
	}
	return n
}

// TestLimit holds that a kernel that a guest has taken over can't fill the host's disk by a file that it was given, nor take all processes.
func TestLimit(t *testing.T) {
	s := Probe()
	uid := os.Getuid()
	if s.ChangeUser {
		uid = Nobody
	}
	usual := mostProcesses
	defer func() { mostProcesses = usual }()
	mostProcesses = func() uint64 { return uint64(threads(t, uid) + testProcesses) }

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(s, Policy{Failed: func(err error) { t.Errorf("deciding on calls failed: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Allow(Own{Exec: []string{exe, "/lib64/ld-linux-x86-64.so.2"}}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got := limited(t, d, exe, file)
	for name, want := range map[string]string{
		"grow the file": "<nil>", "grow the file too far": unix.EFBIG.Error(), "raise the limit": unix.EPERM.Error(), "make processes": unix.EAGAIN.Error(),
	} {
		if got[name] != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
	if st, err := file.Stat(); err != nil || st.Size() != testFileSize {
		t.Errorf("the file has %d bytes, %v; want %d", st.Size(), err, testFileSize)
	}
}

// limited runs useTooMuch in a domain, limited, and returns what it says.
func limited(t *testing.T, d *Domain, exe string, file *os.File) map[string]string {
	t.Helper()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer outR.Close()
	pid, errc := make(chan int, 1), make(chan error, 1)
	Thread(func() {
		defer close(pid)
		if err := d.Enter(); err != nil {
			errc <- err
			return
		}
		go d.Serve()
		p, err := os.StartProcess(exe, []string{exe, limitArg}, &os.ProcAttr{
			Dir: "/", Env: []string{"GOMAXPROCS=1"}, Files: []*os.File{inR, outW, os.Stderr, file}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
		if err == nil {
			pid <- p.Pid
			_, err = p.Wait()
		}
		errc <- err
	})
	p, ok := <-pid
	inR.Close()
	outW.Close()
	if ok {
		d.Limit(p, testFileSize)
	}
	if err := errors.Join(inW.Close(), <-errc); err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for s := bufio.NewScanner(outR); s.Scan(); {
		name, result, _ := strings.Cut(s.Text(), ": ")
		said[name] = result
	}
	return said
}

// TestMostProcesses holds that some are left for others than the kernels.
func TestMostProcesses(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	most, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if got := mostProcesses(); got == 0 || got > most/4*3 {
		t.Errorf("mostProcesses = %d, of at most %d that there can be", got, most)
	}
}
