package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/kernel"
	"github.com/sekexe/sekexe/uml/confine"
)

// envTestHost makes sekexe believe of the host, in tests, that it can enforce nothing ("nothing") or has no Landlock ("no-landlock").
const envTestHost = "SEKEXE_TEST_HOST"

// pretendHost is called by sekexe when it is this test binary.
func pretendHost() {
	switch os.Getenv(envTestHost) {
	case "nothing":
		hostSupport = &confine.Support{}
	case "no-landlock":
		s := confine.Probe()
		s.Landlock = 0
		hostSupport = &s
	}
}

// An escapeAttempt is what a guest's root tries, as a command of bash that succeeds if it got away with it. Its variables: H, the test's folder,
// where rw is mounted at /m and all else is not the guest's; X, the run's exchange folder; P, a process. On /evil lie all files of the host, once more.
type escapeAttempt struct {
	name, try string
	// harmless means that no kernel lets a guest do it, so that it fails without confinement, too.
	harmless bool
	rootOnly bool // succeeds without confinement if sekexe is root
}

var escapes = []escapeAttempt{
	{name: "overwrite a file", try: `echo evil > /evil$H/outside/victim`},
	{name: "append to a file", try: `echo evil >> /evil$H/outside/appended`},
	{name: "truncate a file", try: `perl -e 'truncate($ARGV[0], 1) or die' /evil$H/outside/truncated`},
	{name: "make a file", try: `echo evil > /evil$H/outside/new`},
	{name: "make a folder", try: `mkdir /evil$H/outside/newdir`},
	{name: "make a link", try: `ln -s / /evil$H/outside/newlink`},
	{name: "make a pipe", try: `mkfifo /evil$H/outside/newpipe`},
	{name: "remove a file", try: `rm /evil$H/outside/gone`},
	{name: "rename a file", try: `mv /evil$H/outside/moved /evil$H/outside/elsewhere`},
	{name: "change a mode", try: `chmod 777 /evil$H/outside/mode`},
	{name: "change the mode of a read file", try: `exec 3< /evil$H/outside/mode2; chmod 777 /evil$H/outside/mode2`},
	{name: "change an owner", try: `chown 1:1 /evil$H/outside/owner`, rootOnly: true},
	{name: "change times", try: `perl -e 'utime(1, 1, $ARGV[0]) or die' /evil$H/outside/times`},
	{name: "remount the root for writing", try: `mount -t hostfs none /evil2 -o $H/outside && echo evil > /evil2/remounted`},
	{name: "write through /proc/self/root", try: `mount -t hostfs none /evil3 -o /proc/self/root$H/outside && echo evil > /evil3/proc`},
	{name: "write through .. of a mount", try: `mount -t hostfs none /evil4 -o $H/rw/../outside && echo evil > /evil4/dotdot`},
	{name: "write through a link in a mount", try: `ln -s $H/outside /m/link && mount -t hostfs none /evil5 -o $H/rw/link && echo evil > /evil5/vialink`},
	{name: "write through a hard link into a mount", try: `ln /evil$H/outside/linked /evil$H/rw/linked && echo evil > /evil$H/rw/linked`},
	{name: "move a file into a mount", try: `perl -e 'rename($ARGV[0], $ARGV[1]) or die' /evil$H/outside/taken /evil$H/rw/taken`},
	{name: "make a device in a mount", try: `mknod /m/device b 7 200`, rootOnly: true},
	{name: "write to the scratch folder", try: `mkdir -p /evil$X/../k && echo evil > /evil$X/../k/evil`},
	{name: "write to the exchange folder", try: `echo evil > /evil$X/evil`},

	{name: "read a hidden file", try: `grep -q secret ~/.ssh/id`},
	{name: "read a hidden file of a hostfs", try: `grep -q secret /evil$HOME/.ssh/id`},
	{name: "mount a hidden folder", try: `mount -t hostfs none /evil6 -o $HOME/.ssh && grep -q secret /evil6/id`},
	{name: "read a hidden file through /proc", try: `mount -t hostfs none /evil7 -o /proc/self/root$HOME/.ssh && grep -q secret /evil7/id`},
	{name: "read a hidden file through a link", try: `grep -q secret $H/to-secret`},
	{name: "read what the file hides", try: `grep -q secret /evil$H/private/file`},
	{name: "read sekexe's own files", try: `grep -q secret /evil$H/.state/sekexe/secret`},
	{name: "read another run's files", try: `grep -q secret /evil$(dirname $(dirname $(dirname $X)))/secret`},
	{name: "read a process's environment", try: `grep -q SEKEXE_ /evil/proc/$P/environ`, harmless: true}, // which has no size: hostfs reads no further
	{name: "read the shadow file", try: `grep -q root: /evil/etc/shadow`, rootOnly: true},

	{name: "signal a process", try: `kill -9 $P`, harmless: true},
	{name: "connect to a socket", try: `perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ARGV[0])) or die' /evil$H/outside/sock`, harmless: true},
	{name: "connect to an abstract socket", try: `perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, pack("Sa*", AF_UNIX, "\0$ARGV[0]")) or die' $H`, harmless: true},
	{name: "speak to the kernel's management", try: `perl -MSocket -e 'socket(S, AF_UNIX, SOCK_DGRAM, 0); send(S, "version", 0, sockaddr_un($ARGV[0])) or die' /evil$X/../k/k/mconsole`, harmless: true},
}

// escapeFolder makes H.
func escapeFolder(t *testing.T, s *sandbox) {
	t.Helper()
	for name, text := range map[string]string{
		"outside/victim": "text\n", "outside/appended": "text\n", "outside/truncated": "text\n", "outside/gone": "text\n", "outside/moved": "text\n",
		"outside/mode": "text\n", "outside/mode2": "text\n", "outside/owner": "text\n", "outside/times": "text\n", "outside/linked": "text\n", "outside/taken": "text\n",
		"rw/file": "text\n", ".home/.ssh/id": "secret\n", "private/file": "secret\n", ".state/sekexe/secret": "secret\n",
	} {
		if err := os.MkdirAll(filepath.Join(s.dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		s.write(t, name, text)
	}
	if err := os.Symlink(".home/.ssh/id", filepath.Join(s.dir, "to-secret")); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(s.memory, "sekexe-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(base, 0o700); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(base, "secret")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(secret) }) // before the sandbox looks for what is left
	for _, name := range []string{filepath.Join(s.dir, "outside/sock"), "@" + s.dir} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	var script strings.Builder
	script.WriteString("X=$(sed 's/.*SEKEXE_EXCHANGE=\\([^ ]*\\).*/\\1/' /proc/cmdline)\nmkdir /evil /evil{2..7}\nmount -t hostfs none /evil -o / || exit 9\n" +
		"try() { if (eval \"$2\") >/dev/null 2>&1 </dev/null; then echo \"$1: succeeds\"; else echo \"$1: refused\"; fi; }\n")
	for _, e := range escapes {
		fmt.Fprintf(&script, "try %s %s\n", quote(e.name), quote(e.try))
	}
	s.write(t, "escape.sh", script.String())
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// outside is what the host has in the folder that is not the guest's.
func outside(t *testing.T, s *sandbox) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, "outside"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(s.dir, "outside", e.Name()), &st); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %o %d:%d %d bytes, %d links, modified %v", e.Name(), st.Mode, st.Uid, st.Gid, st.Size, st.Nlink, st.Mtim))
	}
	return all
}

// tryEscapes boots a sub-kernel whose root tries all of them, on a host as host says, and returns those that succeeded.
func tryEscapes(t *testing.T, s *sandbox, host, isolation, confine string) map[string]bool {
	t.Helper()
	victim := exec.Command("sleep", "1000")
	victim.Env = []string{"SEKEXE_SECRET=1"}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := victim.Process.Signal(unix.Signal(0)); err != nil {
			t.Errorf("a process of the host is gone: %v", err)
		}
		_ = victim.Process.Kill()
		_ = victim.Wait()
	}()
	s.write(t, "sekexe.hcl", fmt.Sprintf(`subkernel "evil" {
  command   = ["/bin/bash", %q]
  memory    = "128M"
  isolation = %q
  network   = "none"
  env       = { H = %q, P = "%d", HOME = %q }
  mount "/m" {
    source = "rw"
    mode   = "rw"
  }
  confine {
    hide = ["private"]
    %s
  }
}
`, filepath.Join(s.dir, "escape.sh"), isolation, s.dir, victim.Process.Pid, s.home(), confine))
	cmd := s.command(t, "up", "--progress", "quiet")
	cmd.Env = append(cmd.Env, envTestHost+"="+host)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s%s", err, out, stderr.String())
	}
	tried := map[string]bool{}
	for l := bufio.NewScanner(strings.NewReader(string(out))); l.Scan(); {
		name, result, ok := strings.Cut(strings.TrimPrefix(l.Text(), "evil | "), ": ")
		if ok && (result == "succeeds" || result == "refused") {
			tried[name] = result == "succeeds"
		}
	}
	if len(tried) != len(escapes) {
		t.Fatalf("%d escapes were tried, want %d: %s%s", len(tried), len(escapes), out, stderr.String())
	}
	return tried
}

// TestEscapes holds that a guest's root can't do what it was not promised, and that the host is as it was.
func TestEscapes(t *testing.T) {
	t.Parallel()
	if missing := confine.Probe().Missing(); len(missing) > 0 {
		t.Fatalf("this host can't confine kernels: %q", missing)
	}
	k, err := testKernel()
	if err != nil {
		t.Fatal(err)
	}
	info, err := kernel.NewFinder("").Resolve(t.Context(), kernel.Choice{Path: k})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, isolation, confine string }{
		{"strict", "strict", ""}, {"fast", "fast", ""}, {"root", "strict", "root = true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			switch {
			case c.isolation == "fast" && !info.Seccomp:
				t.Skip("the kernel has no fast isolation")
			case c.name == "root" && os.Getuid() != 0:
				t.Skip("only root has what this kernel keeps")
			}
			s := testSandbox(t)
			escapeFolder(t, s)
			before := outside(t, s)
			for name, succeeds := range tryEscapes(t, s, "", c.isolation, c.confine) {
				if succeeds && !(c.name == "root" && name == "make a device in a mount") { // which is what root = true allows
					t.Errorf("%s: succeeds", name)
				}
			}
			if after := outside(t, s); !slices.Equal(before, after) {
				t.Errorf("the host was changed:\n%s\nbefore:\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
			}
		})
	}
}

// TestEscapesBite holds that it is confinement which keeps them from it.
func TestEscapesBite(t *testing.T) {
	t.Parallel()
	s := testSandbox(t)
	escapeFolder(t, s)
	tried := tryEscapes(t, s, "nothing", "strict", "root = true")
	for _, e := range escapes {
		if want := !e.harmless && (!e.rootOnly || os.Getuid() == 0); tried[e.name] != want {
			t.Errorf("%s: succeeds is %t, want %t", e.name, tried[e.name], want)
		}
	}
}

// TestKernelIsConfined holds what the host's kernel says of a kernel's process.
func TestKernelIsConfined(t *testing.T) {
	t.Parallel()
	support := confine.Probe()
	s := testSandbox(t)
	cmd := s.command(t, "run", "--net", "none", "-m", "64M", "echo up; cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, _ := start(t, cmd)
	stdout.until(t, "^up\n")
	processes := s.kernelProcesses(t)
	if len(processes) < 2 {
		t.Errorf("%d processes run, want the kernel and those of its guest", len(processes))
	}
	user, caps := os.Getuid(), "0000000000000000"
	if support.ChangeUser {
		user, caps = confine.Nobody, "000000000000000e" // capabilities(7): 1, 2 and 3
	}
	for _, p := range processes {
		status := procFile(t, p.pid, "status")
		for field, want := range map[string]string{
			"Uid": strings.TrimSpace(strings.Repeat(fmt.Sprintf("%d\t", user), 4)), "CapPrm": caps, "CapEff": caps, "NoNewPrivs": "1", "Seccomp": "2",
		} {
			if got := status[field]; got != want {
				t.Errorf("process %d has %s %q, want %q", p.pid, field, got, want)
			}
		}
		if p.pid == p.session {
			if got := procFile(t, p.pid, "oom_score_adj")[""]; got != "500" {
				t.Errorf("the kernel's oom_score_adj is %q, want 500", got)
			}
			if n := hugelyMapped(t, p.pid); n == 0 {
				t.Error("none of the kernel's memory is on huge pages; sekexe doctor says whether the host has them")
			}
			if limits := procFile(t, p.pid, "limits")["*"]; !strings.Contains(limits, "Max core file size        0                    0 ") {
				t.Errorf("the kernel may dump core:\n%s", limits)
			}
		}
	}
	scratch, err := filepath.Glob(filepath.Join(s.memory, "sekexe-*", "*", "1", "*"))
	if err != nil || len(scratch) != 1 || filepath.Base(scratch[0]) != "x" {
		t.Errorf("the scratch folder has %q, %v; want the exchange folder alone", scratch, err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if got := exitStatus(t, cmd.Wait()); got != 0 {
		t.Errorf("exit status %d", got)
	}
}

// hugelyMapped is how much shared memory a process has mapped by huge pages, in KiB (proc_pid_smaps(5)).
func hugelyMapped(t *testing.T, pid int) (n int) {
	t.Helper()
	for _, l := range strings.Split(procFile(t, pid, "smaps")["*"], "\n") {
		if w := strings.Fields(l); len(w) == 3 && w[0] == "ShmemPmdMapped:" {
			kb, err := strconv.Atoi(w[1])
			if err != nil {
				t.Fatal(err)
			}
			n += kb
		}
	}
	return n
}

// procFile reads the lines NAME: VALUE of a process's file; "*" is all of it, "" what has no name.
func procFile(t *testing.T, pid int, name string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{"*": string(b)}
	for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if k, v, ok := strings.Cut(l, ":"); ok {
			m[k] = strings.TrimSpace(v)
		} else {
			m[""] = l
		}
	}
	return m
}
