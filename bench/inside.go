package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// insideArg makes this program do one of insideJobs, natively or in a sub-kernel, and print what one of them takes in microseconds.
const insideArg = "-inside"

var insideJobs = map[string]func() (time.Duration, error){
	"syscall": func() (time.Duration, error) {
		return each(20_000, func() error { syscall.Getppid(); return nil })
	},
	"spawn": func() (time.Duration, error) {
		return each(40, func() error { return exec.Command("/bin/true").Run() })
	},
	"compile": func() (time.Duration, error) {
		return each(1, compile)
	},
	"nothing": func() (time.Duration, error) { return 0, nil },
}

// inside is the program in its role of a job.
func inside(job string) error {
	f := insideJobs[job]
	if strings.HasPrefix(job, "{") {
		f = func() (time.Duration, error) { return files(job) }
	}
	if f == nil {
		return fmt.Errorf("inside: there is no job %q", job)
	}
	d, err := f()
	if err != nil {
		return err
	}
	fmt.Println(strconv.FormatFloat(float64(d.Nanoseconds())/1e3, 'f', 3, 64))
	return nil
}

// each returns what one of n calls takes, after one that nobody counts.
func each(n int, f func() error) (time.Duration, error) {
	if err := f(); err != nil {
		return 0, err
	}
	started := time.Now()
	for range n {
		if err := f(); err != nil {
			return 0, err
		}
	}
	return time.Since(started) / time.Duration(n), nil
}

// compile compiles a C program of some 2,000 lines.
func compile() error {
	dir, err := os.MkdirTemp("", "sekexe-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var b strings.Builder
	b.WriteString("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n")
	for i := range 250 {
		fmt.Fprintf(&b, `static int f%d(const char *s, int n)
{
	char buf[64];
	int i, sum = 0;
	for (i = 0; i < n; i++)
		sum += snprintf(buf, sizeof buf, "%%s %%d", s, i * %d) ^ (int)strlen(buf);
	return sum;
}
`, i, i)
	}
	b.WriteString("int main(int argc, char **argv)\n{\n\tint sum = 0;\n")
	for i := range 250 {
		fmt.Fprintf(&b, "\tsum += f%d(argv[0], argc);\n", i)
	}
	b.WriteString("\treturn sum & 1;\n}\n")
	src := filepath.Join(dir, "x.c")
	if err := os.WriteFile(src, []byte(b.String()), 0o600); err != nil {
		return err
	}
	out, err := exec.Command("gcc", "-O2", "-c", "-o", filepath.Join(dir, "x.o"), src).CombinedOutput()
	if err != nil {
		return fmt.Errorf("gcc: %w: %s", err, out)
	}
	return nil
}

// insideScene compares a job on the host, on one CPU as in a sub-kernel, with the same in a sub-kernel.
func (e *env) insideScene(job string, args ...string) (result, error) {
	return e.compare(job, job, args...)
}

// compare compares a job on the host with one in a sub-kernel.
func (e *env) compare(native, job string, args ...string) (result, error) {
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	var f, s []float64
	n := max(1, e.n/3)
	for range n {
		host, err := pinned(exec.Command(self, insideArg, native))
		if err != nil {
			return result{}, err
		}
		run := append([]string{"run", "-q", "-k", e.kernel, "-m", "512M"}, args...)
		guest, err := output(exec.Command(e.sekexe, append(run, "--", self, insideArg, job)...))
		if err != nil {
			return result{}, err
		}
		f, s = append(f, host), append(s, guest)
	}
	return result{Unit: "us", Floor: median(f), Subject: median(s), Runs: n}, nil
}

// fastScene is insideScene with fast isolation, where the kernel has it.
func (e *env) fastScene(job string) (result, error) {
	if out, err := exec.Command(e.kernel, "--help").CombinedOutput(); err == nil && !strings.Contains(string(out), "seccomp=") {
		return result{}, fmt.Errorf("%w: the kernel has no fast isolation", errSkip)
	}
	return e.insideScene(job, "--isolation", "fast")
}

// errSkip is what scenes return that can't be measured here.
var errSkip = errors.New("left out")

// output runs a command that prints a number.
func output(cmd *exec.Cmd) (float64, error) {
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", cmd.Path, err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
}

// pinned is output on one CPU.
func pinned(cmd *exec.Cmd) (v float64, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: its affinity goes with it
		var set unix.CPUSet
		set.Set(runtime.NumCPU() - 1)
		if err = unix.SchedSetaffinity(0, &set); err == nil {
			v, err = output(cmd)
		}
	}()
	<-done
	return v, err
}
