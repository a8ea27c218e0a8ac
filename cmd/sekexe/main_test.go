package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/kernel"
	"github.com/sekexe/sekexe/network/kernelnet"
)

// patience is how long the tests wait for what must happen. It is generous: it is used up only where something is broken.
const patience = 3 * time.Minute

func TestMain(m *testing.M) {
	kernelnet.Child()
	testscript.Main(m, map[string]func(){
		"sekexe":        func() { pretendHost(); os.Exit(run(context.Background(), os.Args[1:])) },
		"nopersonality": withoutPersonality,
	})
}

// TestScript runs the scripts of testdata/script: sekexe's behaviour as a user sees it, on real kernels.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			s, err := newSandbox(e.WorkDir)
			if err != nil {
				return err
			}
			for _, kv := range s.vars() {
				k, v, _ := strings.Cut(kv, "=")
				e.Setenv(k, v)
			}
			isolation, err := quickIsolation(t.Context())
			if err != nil {
				return err
			}
			e.Setenv("ISOLATION", isolation)
			e.Values[sandboxKey{}] = s
			e.Values[registryKey{}] = &runningRegistry{}
			e.Defer(func() {
				if err := s.close(); err != nil {
					t.Errorf("%s: %v", filepath.Base(e.WorkDir), err)
				}
			})
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			if cond != "seccomp" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			isolation, err := quickIsolation(t.Context())
			return isolation == "fast", err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    scriptExits,
			"outcomes": scriptOutcomes,
			"spans":    scriptSpans,
			"gone":     scriptGone,
			"serve":    scriptServe,
			"fetch":    scriptFetch,
			"freeport": scriptFreePort,
			"appears":  scriptAppears,
			"image":    scriptImage,
			"dockerd":  scriptDockerd,
			"terminal": scriptTerminal,
		},
	})
}

// withoutPersonality is "nopersonality PROGRAM [ARG...]": it runs the program where personality(2) is forbidden, as in a container with Docker's seccomp
// profile.
func withoutPersonality() {
	runtime.LockOSThread()
	refuse := []unix.SockFilter{ // what is loaded first is the number of the call (struct seccomp_data, include/uapi/linux/seccomp.h)
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PERSONALITY, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // its first argument
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0xffffffff, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(refuse)), Filter: &refuse[0]}
	path, err := exec.LookPath(os.Args[1])
	if err == nil {
		err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	}
	if err == nil {
		err = unix.Exec(path, os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "nopersonality:", err)
	os.Exit(125)
}

type sandboxKey struct{}

// scriptExits is "exits STATUS PROGRAM [ARG...]": exec that wants exactly this status.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		ts.Fatalf("%v", err)
	}
	got := 0
	if ee != nil {
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d (%v)", got, want, err)
	}
}

// scriptOutcomes is "outcomes FILE": it prints what the JSON report in the file says of each sub-kernel and step, as lines
// "NAME[/STEP] OUTCOME STATUS ok|failed".
func scriptOutcomes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: outcomes FILE")
	}
	r, err := parseReport([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	for _, s := range r.Subkernels {
		fmt.Fprintln(ts.Stdout(), s.line(s.Name))
		for _, st := range s.Steps {
			fmt.Fprintln(ts.Stdout(), st.line(s.Name+"/"+st.Name))
		}
	}
}

// scriptSpans is "spans FILE": it prints the spans of the trace in the file as lines "PROCESS/THREAD NAME", sorted, each once.
func scriptSpans(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: spans FILE")
	}
	var trace struct {
		TraceEvents []struct {
			Name, Ph string
			Ts, Dur  float64
			Pid, Tid int
			Args     map[string]string
		}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &trace))
	processes, threads := map[int]string{}, map[[2]int]string{}
	lines := map[string]bool{}
	for _, e := range trace.TraceEvents {
		switch {
		case e.Name == "process_name":
			processes[e.Pid] = e.Args["name"]
		case e.Name == "thread_name":
			threads[[2]int{e.Pid, e.Tid}] = e.Args["name"]
		case e.Ph != "X" || e.Ts < 0 || e.Dur < 0:
			ts.Fatalf("trace %s: an event is none that is expected: %+v", args[0], e)
		default:
			lines[processes[e.Pid]+"/"+threads[[2]int{e.Pid, e.Tid}]+" "+e.Name] = true
		}
	}
	for _, l := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintln(ts.Stdout(), l)
	}
}

// A report is what the tests read of a JSON report, by the fields that docs/report.md promises.
type report struct {
	Schema      int
	OK          bool
	ExitCode    int    `json:"exit_code"`
	RunDir      string `json:"run_dir"`
	Interrupted bool
	Subkernels  []reportEntry
}

type reportEntry struct {
	Name, Outcome string
	Status        int
	OK            bool
	Reason, Hint  string
	Console       []string
	KernelVersion string `json:"kernel_version"`
	Steps         []reportEntry
}

func parseReport(b []byte) (*report, error) {
	r := &report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("report: decode it: %w", err)
	}
	if r.Schema != 1 {
		return nil, fmt.Errorf("report: schema %d, want 1", r.Schema)
	}
	return r, nil
}

func (e reportEntry) line(name string) string {
	word := "failed"
	if e.OK {
		word = "ok"
	}
	return fmt.Sprintf("%s %s %d %s", name, e.Outcome, e.Status, word)
}

// scriptGone is "gone": it waits until no process of the script's runs is left, after something was killed.
func scriptGone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: gone")
	}
	ts.Check(ts.Value(sandboxKey{}).(*sandbox).waitGone())
}

// A sandbox is the surroundings of one test: folders of its own for all that sekexe keeps, so that what it leaves can be seen.
type sandbox struct {
	dir    string // for all but guest memory
	memory string
	kernel string
}

func newSandbox(dir string) (*sandbox, error) {
	if _, err := assets.ReadFile("assets/sekexe-init"); err != nil {
		return nil, errors.New("the guest's init is not there: run make init")
	}
	k, err := testKernel()
	if err != nil {
		return nil, err
	}
	mem, err := os.MkdirTemp("/dev/shm", "sekexe-test-")
	if err != nil {
		return nil, err
	}
	s := &sandbox{dir: dir, memory: mem, kernel: k}
	for _, d := range []string{s.home(), s.state(), s.cache()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *sandbox) home() string  { return filepath.Join(s.dir, ".home") }
func (s *sandbox) state() string { return filepath.Join(s.dir, ".state") }
func (s *sandbox) cache() string { return filepath.Join(s.dir, ".cache") }

func (s *sandbox) config() string { return filepath.Join(s.dir, ".config") }

// vars are the environment variables that make a process live in the sandbox.
func (s *sandbox) vars() []string {
	return []string{
		"HOME=" + s.home(), "XDG_STATE_HOME=" + s.state(), "XDG_CACHE_HOME=" + s.cache(), "XDG_CONFIG_HOME=" + s.config(), "SEKEXE_MEMORY_DIR=" + s.memory, "SEKEXE_HUGE_PAGES=on",
		"SEKEXE_KERNEL=" + s.kernel, "KERNEL=" + s.kernel, "EXAMPLES=" + examples(), "LANG=C.UTF-8", "TERM=xterm", "GOCACHE=" + goCache(),
		"GORACE=atexit_sleep_ms=0", // with the race detector, each start of sekexe would else take a second more
	}
}

// testKernel is the kernel that the tests boot: $SEKEXE_TEST_KERNEL, else the one that sekexe takes by itself. See hack/test-kernels.
var testKernel = sync.OnceValues(func() (string, error) {
	if k := os.Getenv("SEKEXE_TEST_KERNEL"); k != "" {
		return filepath.Abs(k)
	}
	f := kernel.NewFinder(cacheDir())
	f.Getenv = func(name string) string {
		if name == kernel.EnvKernel {
			return ""
		}
		return os.Getenv(name)
	}
	k, err := f.Resolve(context.Background(), kernel.Choice{})
	if err != nil {
		return "", fmt.Errorf("no kernel to test with: run make prerequisites, or name one in SEKEXE_TEST_KERNEL: %w", err)
	}
	return k.Path, nil
})

// quickIsolation is the faster kind of isolation that the kernel of the tests has, for scripts that take long and are not about isolation.
func quickIsolation(ctx context.Context) (string, error) {
	k, err := testKernel()
	if err != nil {
		return "", err
	}
	info, err := kernel.NewFinder("").Resolve(ctx, kernel.Choice{Path: k})
	if err != nil {
		return "", err
	}
	if info.Seccomp {
		return "fast", nil
	}
	return "strict", nil
}

// examples is the folder of the examples.
func examples() string {
	dir, err := filepath.Abs("../../examples")
	if err != nil {
		return ""
	}
	return dir
}

// goCache is the build cache, which is the user's own: building anew for each test would take long.
var goCache = sync.OnceValue(func() string {
	b, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
})

// leftProcesses lists the processes whose command line names the sandbox's memory folder: kernels, and reapers.
func (s *sandbox) leftProcesses() (map[int]string, error) {
	found := map[int]string{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(b), s.memory+"/") {
			found[pid] = strings.ReplaceAll(string(b), "\x00", " ")
		}
	}
	return found, nil
}

// waitGone waits until no process of the sandbox is left.
func (s *sandbox) waitGone() error {
	deadline := time.Now().Add(patience)
	for {
		left, err := s.leftProcesses()
		if err != nil || len(left) == 0 {
			return err
		}
		for pid, cmdline := range left {
			if err := waitEnd(pid, time.Until(deadline)); err != nil {
				return fmt.Errorf("process %d is left: %w: %s", pid, err, cmdline)
			}
		}
	}
}

// waitEnd waits until a process has ended.
func waitEnd(pid int, d time.Duration) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return pollIn(fd, d)
}

// pollIn waits until a descriptor is readable.
func pollIn(fd int, d time.Duration) error {
	deadline := time.Now().Add(d)
	for {
		left := time.Until(deadline)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(left, 0).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n > 0:
			return nil
		case left <= 0:
			return fmt.Errorf("nothing happened within %v", d)
		}
	}
}

// close says what the sandbox's runs have left behind, and removes it.
func (s *sandbox) close() error {
	left, err := s.leftProcesses()
	errs := []error{err}
	for pid, cmdline := range left {
		errs = append(errs, fmt.Errorf("process %d is left: %s", pid, cmdline))
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	kept := []string{s.memory}
	for _, uid := range []int{os.Getuid(), 0} { // 0: runs as root of a user namespace
		base := filepath.Join(s.memory, "sekexe-"+strconv.Itoa(uid))
		kept = append(kept, base, filepath.Join(base, "gate"), filepath.Join(base, "cpu"))
	}
	errs = append(errs, filepath.WalkDir(s.memory, func(name string, _ fs.DirEntry, err error) error {
		if err == nil && !slices.Contains(kept, name) {
			err = fmt.Errorf("file %s is left", name)
		}
		return err
	}))
	return errors.Join(append(errs, os.RemoveAll(s.memory))...)
}

// unfinishedRuns lists the run directories that no run has finished.
func (s *sandbox) unfinishedRuns() ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(s.state(), "sekexe/runs/*-*-*"))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, d := range dirs {
		done, err := filepath.Glob(filepath.Join(d, "finished.*"))
		if err != nil {
			return nil, err
		}
		if len(done) == 0 {
			found = append(found, d)
		}
	}
	return found, nil
}
