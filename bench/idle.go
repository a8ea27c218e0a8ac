package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// idleCount is how many idle sub-kernels are measured at once, and idleTime how long they are watched for the CPU time that they take.
const (
	idleCount = 64
	idleTime  = 5 * time.Second
)

// idleFigures are what idle sub-kernels cost.
type idleFigures struct {
	memory float64 // MB each, proportional share of what is shared
	cpu    float64 // ms of CPU time a second, each
	host   float64 // MB, resident, of sekexe's own process
}

// idle boots sub-kernels that do nothing, and looks at them.
func (e *env) idle() (*idleFigures, error) {
	if e.idled != nil {
		return e.idled, nil
	}
	file := filepath.Join(e.dir, "idle.hcl")
	text := fmt.Sprintf("kernel \"k\" {\n  path = %q\n}\nsubkernel \"s\" {\n  count = %d\n  kernel = kernel.k\n  memory = \"64M\"\n}\n", e.kernel, idleCount)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(e.sekexe, "up", "--progress", "json", "-f", file)
	cmd.Env = append(os.Environ(), "SEKEXE_MEMORY_DIR="+e.dir)
	events, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	figures, err := e.watchIdle(cmd.Process.Pid, events)
	err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM))
	_, _ = io.Copy(io.Discard, events) // what else it says is of no interest, but it must be read
	_ = cmd.Wait()                     // 143
	e.idled = figures
	return figures, err
}

// watchIdle waits until all are up, and measures them.
func (e *env) watchIdle(sekexe int, events io.Reader) (*idleFigures, error) {
	up := 0
	sc := bufio.NewScanner(events)
	sc.Buffer(nil, 1<<20)
	for up < idleCount && sc.Scan() {
		var ev struct{ Kind string }
		if json.Unmarshal(sc.Bytes(), &ev) == nil && ev.Kind == "ready" {
			up++
		}
	}
	if up < idleCount {
		return nil, fmt.Errorf("%d of %d sub-kernels are up", up, idleCount)
	}
	spent, memory, err := e.settled()
	if err != nil {
		return nil, err
	}
	rss, err := fieldKB(sekexe, "status", "VmRSS:")
	if err != nil {
		return nil, err
	}
	return &idleFigures{
		memory: memory / 1024 / idleCount, host: rss / 1024,
		cpu: spent.Seconds() * 1000 / idleTime.Seconds() / idleCount,
	}, nil
}

// settled looks at the kernels at every tick, until they have taken no less CPU time between two than between the two before: what follows a
// boot has come to its end then. It returns what they took last, and their memory in KB.
func (e *env) settled() (spent time.Duration, memory float64, err error) {
	tick := time.NewTicker(idleTime)
	defer tick.Stop()
	u, err := e.kernelProcesses()
	for least := time.Duration(math.MaxInt64); err == nil; {
		<-tick.C
		before := u.cpu
		if u, err = e.kernelProcesses(); err != nil {
			break
		}
		if spent = u.cpu - before; spent >= least {
			return spent, u.pss, nil
		}
		least = spent
	}
	return 0, 0, err
}

// usage is what all processes of kernels have used up to now.
type usage struct {
	pss float64 // KB
	cpu time.Duration
}

// kernelProcesses adds up the processes in the sessions of the kernels whose files lie in this program's folder.
func (e *env) kernelProcesses() (usage, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return usage{}, err
	}
	type process struct {
		pid, session int
		ticks        int64
	}
	var all []process
	kernels := map[int]bool{}
	for _, en := range entries {
		pid, err := strconv.Atoi(en.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // proc_pid_stat(5)
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		session, _ := strconv.Atoi(f[3])
		user, _ := strconv.ParseInt(f[11], 10, 64)
		system, _ := strconv.ParseInt(f[12], 10, 64)
		all = append(all, process{pid, session, user + system})
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if session == pid && bytes.Contains(cmdline, []byte("uml_dir="+e.dir)) {
			kernels[pid] = true
		}
	}
	var u usage
	for _, p := range all {
		if !kernels[p.session] {
			continue
		}
		u.cpu += time.Duration(p.ticks) * 10 * time.Millisecond // USER_HZ is 100 on every x86
		kb, err := fieldKB(p.pid, "smaps_rollup", "Pss:")
		if err != nil {
			return u, err
		}
		u.pss += kb
	}
	if len(kernels) != idleCount {
		return u, fmt.Errorf("%d kernels run, in place of %d", len(kernels), idleCount)
	}
	return u, nil
}

// fieldKB reads a field in KB of a file in a process's folder.
func fieldKB(pid int, file, field string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		if w := strings.Fields(l); len(w) >= 2 && w[0] == field {
			return strconv.ParseFloat(w[1], 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/%s: has no %s", pid, file, field)
}

// idleScene shows one of the figures.
func (e *env) idleScene(unit string, figure func(*idleFigures) float64) (result, error) {
	f, err := e.idle()
	if err != nil {
		return result{}, err
	}
	return result{Unit: unit, Subject: figure(f), Runs: 1}, nil
}
