package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ptraceSysemu is PTRACE_SYSEMU of <asm/ptrace-abi.h>, by which a kernel runs the programs of its guest.
const ptraceSysemu = 31

// checkPtrace traces a process as a kernel does its guest's.
func checkPtrace(ctx context.Context) Check {
	err := tryPtrace(ctx)
	if err == nil {
		return Check{Name: "ptrace", Status: OK, Detail: "a process was traced" + yamaNote()}
	}
	fix := "docker run --cap-add SYS_PTRACE, or --security-opt seccomp=unconfined"
	if scope := yamaScope(); scope >= 2 {
		fix = fmt.Sprintf("sysctl -w kernel.yama.ptrace_scope=1 (it is %d; 3 goes only with a reboot), on the host if this is a container", scope)
	} else if seccompMode() == unix.SECCOMP_MODE_FILTER {
		fix += ": a seccomp filter is at work here, as containers have one"
	} else {
		fix += "; outside a container see what AppArmor or SELinux log: journalctl -k | grep -i denied"
	}
	return Check{"ptrace", Fail, "every program of a guest runs under it, and it doesn't work: " + err.Error(), fix}
}

// tryPtrace starts a process that is stopped before its first instruction, lets it get as far as its first system call, and kills it there.
func tryPtrace(ctx context.Context) error {
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe") // of which nothing is ever run
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a traced process: %w", err)
	}
	pid := cmd.Process.Pid
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer func() {
		stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // of course it was killed
	}()
	if err := waitStop(pid); err != nil {
		return err
	}
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &regs); err != nil {
		return fmt.Errorf("read registers: %w", err)
	}
	if err := unix.PtraceSetRegs(pid, &regs); err != nil {
		return fmt.Errorf("write registers: %w", err)
	}
	if _, _, e := unix.Syscall6(unix.SYS_PTRACE, ptraceSysemu, uintptr(pid), 0, 0, 0, 0); e != 0 {
		return fmt.Errorf("stop it at a system call (PTRACE_SYSEMU): %w", e)
	}
	return waitStop(pid)
}

// waitStop waits until a traced process stops.
func waitStop(pid int) error {
	var ws unix.WaitStatus
	_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
	for errors.Is(err, unix.EINTR) {
		_, err = unix.Wait4(pid, &ws, unix.WALL, nil)
	}
	if err != nil {
		return fmt.Errorf("wait for the traced process: %w", err)
	}
	if !ws.Stopped() || ws.StopSignal() != unix.SIGTRAP {
		return fmt.Errorf("the traced process did not stop: its state is %#x", uint32(ws))
	}
	return nil
}

// yamaScope is what the Yama security module allows (Documentation/admin-guide/LSM/Yama.rst); -1 if it isn't there.
func yamaScope() int {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return -1
	}
	return n
}

func yamaNote() string {
	if n := yamaScope(); n >= 0 {
		return fmt.Sprintf(" (kernel.yama.ptrace_scope is %d)", n)
	}
	return ""
}

// seccompMode is that of this process: 0, unix.SECCOMP_MODE_STRICT or unix.SECCOMP_MODE_FILTER; -1 if the host's kernel has no seccomp.
func seccompMode() int {
	n, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	if err != nil {
		return -1
	}
	return n
}

// checkSeccomp finds out whether filters can be set. To set none at all gives EFAULT where they can (seccomp(2)).
func checkSeccomp() Check {
	mode := seccompMode()
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0)
	if mode < 0 || !errors.Is(err, unix.EFAULT) {
		return Check{
			"seccomp", Warn, fmt.Sprintf("filters of system calls can't be set (%v), which keep kernels to the system calls that they need", err),
			"use a host kernel with CONFIG_SECCOMP_FILTER; in a container, docker run --security-opt seccomp=unconfined",
		}
	}
	detail := "filters can be set"
	if mode == unix.SECCOMP_MODE_FILTER {
		detail += "; this process is under one already, as in containers"
	}
	return Check{Name: "seccomp", Status: OK, Detail: detail}
}

// checkLandlock asks for the version of Landlock (landlock_create_ruleset(2)).
func checkLandlock() Check {
	abi, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		why := e.Error()
		switch e {
		case unix.ENOSYS:
			why = "the host's kernel has none, or a container's filter forbids it"
		case unix.EOPNOTSUPP:
			why = "it is switched off at the host's boot"
		}
		return Check{
			"landlock", Warn, "not there: " + why + "; without it a guest's root can open every file that its kernel can",
			"use a host kernel from 5.13 on with landlock in its lsm= list; in a container, docker run --security-opt seccomp=unconfined",
		}
	}
	return Check{Name: "landlock", Status: OK, Detail: fmt.Sprintf("ABI %d", abi)}
}

// maxDockerVersion bounds what is kept of dockerd's answer, in bytes.
const maxDockerVersion = 200

// checkDockerd looks for the daemon that guests will run.
func checkDockerd(ctx context.Context) Check {
	path, err := exec.LookPath("dockerd")
	for _, p := range []string{"/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(p)
	}
	if err != nil {
		return Check{"dockerd", Warn, "not there; Docker in sub-kernels will need it", "apt install docker.io: it need not run on this machine"}
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = answerTimeout
	out, err := cmd.Output()
	if err != nil {
		return Check{"dockerd", Warn, fmt.Sprintf("%s --version: %v", path, err), "apt install --reinstall docker.io"}
	}
	out, _, _ = bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	return Check{Name: "dockerd", Status: OK, Detail: fmt.Sprintf("%s at %s", out[:min(len(out), maxDockerVersion)], path)}
}
