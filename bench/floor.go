package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// env is what all scenes share.
type env struct {
	sekexe, kernel string
	n              int

	version string
	lpj     string
	dir     string // of the floor's own files
	init    string // that powers off
	count   int
	mu      sync.Mutex
	idled   *idleFigures
	temp    []string  // files and folders to remove
	files   *fileTree // of the file scenes
	docker  map[string][]dockerFigures
}

func (e *env) open() error {
	var err error
	if e.sekexe, err = filepath.Abs(e.sekexe); err != nil {
		return err
	}
	if e.kernel == "" {
		if e.kernel, err = defaultKernel(e.sekexe); err != nil {
			return err
		}
	}
	v, err := exec.Command(e.kernel, "--version").Output()
	if err != nil {
		return fmt.Errorf("kernel %s: ask its version: %w", e.kernel, err)
	}
	e.version = strings.TrimSpace(string(v))
	if e.dir, err = os.MkdirTemp("/dev/shm", "sekexe-bench-"); err != nil {
		return err
	}
	// The init must be where the guest's kernel sees it: not below /dev.
	f, err := os.CreateTemp("", "sekexe-bench-init-")
	if err != nil {
		return err
	}
	e.init = f.Name()
	_, err = f.Write(powerOffELF())
	if err := errors.Join(err, f.Chmod(0o755), f.Close()); err != nil {
		return err
	}
	// A boot each teaches sekexe and the floor the loops per jiffy, so that no later one measures them.
	if _, err := e.run("true"); err != nil {
		return fmt.Errorf("first boot: %w", err)
	}
	return e.learn()
}

func (e *env) close() {
	os.RemoveAll(e.dir)
	os.Remove(e.init)
	for _, f := range e.temp {
		os.RemoveAll(f)
	}
}

// defaultKernel asks sekexe.
func defaultKernel(sekexe string) (string, error) {
	out, err := exec.Command(sekexe, "kernel", "inspect").Output()
	if err != nil {
		return "", fmt.Errorf("ask sekexe for its kernel: %w", err)
	}
	for _, l := range strings.Split(string(out), "\n") {
		if w := strings.Fields(l); len(w) == 2 && w[0] == "path" {
			return w[1], nil
		}
	}
	return "", errors.New("ask sekexe for its kernel: it names none")
}

// powerOffELF is a static program of 46 instructions' bytes: reboot(LINUX_REBOOT_CMD_POWER_OFF), by hand, so that the floor has nothing of
// a C library or of a compiler in it.
func powerOffELF() []byte {
	code := []byte{
		0xb8, 169, 0, 0, 0, // mov eax, SYS_reboot
		0xbf, 0xad, 0xde, 0xe1, 0xfe, // mov edi, LINUX_REBOOT_MAGIC1
		0xbe, 0x69, 0x19, 0x12, 0x28, // mov esi, LINUX_REBOOT_MAGIC2
		0xba, 0xdc, 0xfe, 0x21, 0x43, // mov edx, LINUX_REBOOT_CMD_POWER_OFF
		0x0f, 0x05, // syscall
		0xeb, 0xfe, // jmp .
	}
	const base, header = 0x400000, 64 + 56
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, 2)  // ET_EXEC
	b = le.AppendUint16(b, 62) // EM_X86_64
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+header) // entry
	b = le.AppendUint64(b, 64)          // program headers
	b = le.AppendUint64(b, 0)           // no section headers
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(b, 1) // PT_LOAD
	b = le.AppendUint32(b, 5) // read, execute
	for _, v := range []uint64{0, base, base, uint64(header + len(code)), uint64(header + len(code)), 0x1000} {
		b = le.AppendUint64(b, v)
	}
	return append(b, code...)
}

// floorArgs is the floor's command line: that of sekexe's kernels, less what only sekexe needs.
func (e *env) floorArgs(mem string, more ...string) []string {
	e.mu.Lock()
	e.count++
	id := "f" + strconv.Itoa(e.count)
	e.mu.Unlock()
	args := []string{
		"mem=" + mem, "umid=" + id, "uml_dir=" + e.dir + "/", "con=null", "con0=null,fd:1",
		"root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init=" + e.init, "panic=-1",
	}
	return append(args, more...)
}

// learn reads the loops per jiffy from the log of a boot.
func (e *env) learn() error {
	cmd := exec.Command(e.kernel, e.floorArgs("64M")...)
	cmd.Env = []string{"TMPDIR=" + e.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("boot for the loops per jiffy: %w", err)
	}
	_, rest, ok := strings.Cut(string(out), "(lpj=")
	e.lpj, _, _ = strings.Cut(rest, ")")
	if !ok || e.lpj == "" {
		return errors.New("boot for the loops per jiffy: the log doesn't say them")
	}
	return nil
}

// floor boots the floor once, on one CPU, and returns how long that took.
func (e *env) floor(mem string, cpu int) (time.Duration, error) {
	cmd := exec.Command(e.kernel, e.floorArgs(mem, "lpj="+e.lpj, "quiet")...)
	cmd.Env = []string{"TMPDIR=" + e.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	errc := make(chan error, 1)
	started := time.Now()
	go func() {
		runtime.LockOSThread() // never unlocked: its affinity goes with it
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			errc <- err
			return
		}
		errc <- cmd.Run()
	}()
	err := <-errc
	return time.Since(started), err
}

// run runs sekexe run with the scene's kernel and returns how long that took.
func (e *env) run(args ...string) (time.Duration, error) { return e.runOf(e.sekexe, args...) }

// runOf is run of another sekexe.
func (e *env) runOf(sekexe string, args ...string) (time.Duration, error) {
	cmd := exec.Command(sekexe, append([]string{"run", "-q", "-k", e.kernel, "-m", "256M"}, args...)...)
	var errOut strings.Builder
	cmd.Stderr = &errOut
	started := time.Now()
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, errOut.String())
	}
	return time.Since(started), err
}
