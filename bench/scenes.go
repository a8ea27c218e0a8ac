package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// A scene is one thing that is measured.
type scene struct {
	name, budget string
	run          func(*env) (result, error)
	long         bool // is left out where no scene is named
}

// is says whether a pattern, such as "tar-*", names the scene.
func (s *scene) is(pattern string) bool {
	ok, err := path.Match(pattern, s.name)
	return ok && err == nil
}

var scenes = []scene{
	{name: "run", budget: "at most 1.8", run: func(e *env) (result, error) { return e.runScene("--net", "none", "--", "/bin/true") }},
	{name: "run-shell", run: func(e *env) (result, error) { return e.runScene("--net", "none", "true") }},
	{name: "run-user", budget: "at most 2.5", run: func(e *env) (result, error) { return e.runScene("--", "/bin/true") }},
	{name: "run-lease", budget: "at most 2.5", run: (*env).leaseScene},
	{name: "run-image", budget: "at most 1.5 of run", run: (*env).imageScene},
	{name: "up-8", budget: "at most 1.5", run: func(e *env) (result, error) { return e.upScene(8) }},
	{name: "up-64", budget: "at most 1.5", run: func(e *env) (result, error) { return e.upScene(64) }},
	{name: "up-256", budget: "at most 1.5", long: true, run: func(e *env) (result, error) { return e.upScene(256) }},
	{name: "up-1000", budget: "at most 2", long: true, run: func(e *env) (result, error) { return e.upScene(1000) }},
	{name: "output", budget: "at least 150 MB/s", run: (*env).outputScene},
	{name: "input", budget: "at least 100 MB/s", run: (*env).inputScene},
	{name: "syscall", run: func(e *env) (result, error) { return e.insideScene("syscall") }},
	{name: "syscall-fast", run: func(e *env) (result, error) { return e.fastScene("syscall") }},
	{name: "spawn", run: func(e *env) (result, error) { return e.insideScene("spawn") }},
	{name: "spawn-fast", run: func(e *env) (result, error) { return e.fastScene("spawn") }},
	{name: "compile", run: func(e *env) (result, error) { return e.insideScene("compile") }},
	{name: "compile-fast", run: func(e *env) (result, error) { return e.fastScene("compile") }},
	{name: "idle-memory", budget: "at most 15 MB each", run: func(e *env) (result, error) {
		return e.idleScene("MB", func(f *idleFigures) float64 { return f.memory })
	}},
	{name: "idle-cpu", budget: "none to measure", run: func(e *env) (result, error) {
		return e.idleScene("ms/s", func(f *idleFigures) float64 { return f.cpu })
	}},
	{name: "idle-host", budget: "at most 80 MB", run: func(e *env) (result, error) {
		return e.idleScene("MB", func(f *idleFigures) float64 { return f.host })
	}},
	{name: "net-user", run: func(e *env) (result, error) { return e.netScene("user", between) }},
	{name: "net-bridge", budget: "at least 0.9", run: func(e *env) (result, error) { return e.netScene("bridge", between) }},
	{name: "net-tun", run: func(e *env) (result, error) { return e.netScene("tun", between) }},
	{name: "net-user-up", budget: "at least 1000 Mbit/s", run: func(e *env) (result, error) { return e.netScene("user", toHost) }},
	{name: "net-user-down", budget: "at least 1000 Mbit/s", run: func(e *env) (result, error) { return e.netScene("user", toGuest) }},
	{name: "net-bridge-up", run: func(e *env) (result, error) { return e.netScene("bridge", toHost) }},
	{name: "net-bridge-down", run: func(e *env) (result, error) { return e.netScene("bridge", toGuest) }},
	{name: "net-tun-up", run: func(e *env) (result, error) { return e.netScene("tun", toHost) }},
	{name: "net-user-rtt", run: func(e *env) (result, error) { return e.latencyScene("user") }},
	{name: "net-bridge-rtt", run: func(e *env) (result, error) { return e.latencyScene("bridge") }},
	{name: "peer-slirp4netns", run: func(e *env) (result, error) { return e.netPeerScene("slirp4netns") }},
	{name: "peer-pasta", run: func(e *env) (result, error) { return e.netPeerScene("pasta") }},
	{name: "confine", budget: "at most 3 ms more", run: (*env).confineScene},
	{name: "docker-start", budget: "at most 3000 ms", run: func(e *env) (result, error) { return e.dockerScene("strict", 0, dockerStart) }},
	{name: "docker-start-fast", budget: "at most 3000 ms", run: func(e *env) (result, error) { return e.dockerScene("fast", 0, dockerStart) }},
	{name: "docker-run", run: func(e *env) (result, error) { return e.dockerScene("strict", 0, dockerFirst) }},
	{name: "docker-run-fast", run: func(e *env) (result, error) { return e.dockerScene("fast", 0, dockerFirst) }},
	{name: "docker-run-20", long: true, run: func(e *env) (result, error) { return e.dockerScene("strict", 20, dockerMore) }},
	{name: "docker-run-20-fast", long: true, run: func(e *env) (result, error) { return e.dockerScene("fast", 20, dockerMore) }},
	{name: "peer-script", run: func(e *env) (result, error) { return e.peerScene(script) }},
	{name: "peer-bwrap", run: func(e *env) (result, error) { return e.peerScene(bubblewrap) }},
	{name: "peer-runc", run: func(e *env) (result, error) { return e.peerScene(runc) }},
	{name: "peer-docker", run: func(e *env) (result, error) { return e.peerScene(docker(false)) }},
	{name: "peer-docker-net", run: func(e *env) (result, error) { return e.peerScene(docker(true)) }},
	{name: "peer-virtme", run: func(e *env) (result, error) { return e.peerScene(virtme) }},
}

// pair measures floor and subject in turns and returns the medians, in milliseconds.
func (e *env) pair(n int, floor, subject func() (time.Duration, error)) (result, error) {
	var f, s []float64
	for range n {
		for _, side := range []struct {
			run func() (time.Duration, error)
			to  *[]float64
		}{{floor, &f}, {subject, &s}} {
			d, err := side.run()
			if err != nil {
				return result{}, err
			}
			*side.to = append(*side.to, float64(d.Microseconds())/1000)
		}
	}
	return result{Unit: "ms", Floor: median(f), Subject: median(s), Runs: n}, nil
}

// runScene measures sekexe run against one floor.
func (e *env) runScene(args ...string) (result, error) {
	return e.pair(e.n, func() (time.Duration, error) { return e.floor("256M", runtime.NumCPU()-1) }, func() (time.Duration, error) { return e.run(args...) })
}

// upScene measures sekexe up of many sub-kernels that run true, against as many floors, as many at once as there are CPUs.
func (e *env) upScene(count int) (result, error) {
	file := filepath.Join(e.dir, "up.hcl")
	text := fmt.Sprintf("kernel \"k\" {\n  path = %q\n}\nsubkernel \"s\" {\n  count = %d\n  kernel = kernel.k\n  memory = \"64M\"\n  network = \"none\"\n  command = [\"/bin/true\"]\n}\n", e.kernel, count)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return result{}, err
	}
	floors := func() (time.Duration, error) {
		started := time.Now()
		var g errgroup.Group
		cpus := runtime.NumCPU()
		for c := range cpus {
			g.Go(func() error {
				for i := c; i < count; i += cpus {
					if _, err := e.floor("64M", c); err != nil {
						return err
					}
				}
				return nil
			})
		}
		return time.Since(started), g.Wait()
	}
	timed := func() (time.Duration, error) {
		started := time.Now()
		_, err := floors()
		return time.Since(started), err
	}
	up := func() (time.Duration, error) {
		started := time.Now()
		out, err := exec.Command(e.sekexe, "up", "-q", "-f", file).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return time.Since(started), err
	}
	return e.pair(max(1, min(e.n, 192/count)), timed, up)
}

// megabytes is how much the throughput scenes move.
const megabytes = 256

// rate runs a command that moves megabytes, and one that moves none, and returns the rate of what is between the two.
func (e *env) rate(with, without func() (time.Duration, error)) (result, error) {
	r, err := e.pair(max(1, e.n/3), without, with)
	if err != nil {
		return result{}, err
	}
	if r.Subject <= r.Floor {
		return result{}, errors.New("the machine is too busy to tell")
	}
	return result{Unit: "MB/s", Subject: megabytes / (r.Subject - r.Floor) * 1000, Runs: r.Runs}, nil
}

// outputScene measures the output of a command to a file.
func (e *env) outputScene() (result, error) {
	file := filepath.Join(e.dir, "out")
	run := func(mb int) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			f, err := os.Create(file)
			if err != nil {
				return 0, err
			}
			defer f.Close()
			cmd := exec.Command(e.sekexe, "run", "-q", "-n", "-k", e.kernel, "-m", "256M", "dd if=/dev/zero bs=64k count="+strconv.Itoa(mb*16)+" 2>/dev/null")
			cmd.Stdout = f
			started := time.Now()
			if err := cmd.Run(); err != nil {
				return 0, err
			}
			d := time.Since(started)
			if st, err := f.Stat(); err != nil || st.Size() != int64(mb)<<20 {
				return 0, fmt.Errorf("the file has %d bytes in place of %d MB", st.Size(), mb)
			}
			return d, nil
		}
	}
	return e.rate(run(megabytes), run(0))
}

// inputScene measures the input of a command from a file.
func (e *env) inputScene() (result, error) {
	file := filepath.Join(e.dir, "in")
	f, err := os.Create(file)
	if err != nil {
		return result{}, err
	}
	if err := errors.Join(f.Truncate(megabytes<<20), f.Close()); err != nil {
		return result{}, err
	}
	run := func(mb int) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			name := file
			if mb == 0 {
				name = os.DevNull
			}
			in, err := os.Open(name)
			if err != nil {
				return 0, err
			}
			defer in.Close()
			cmd := exec.Command(e.sekexe, "run", "-q", "-k", e.kernel, "-m", "256M", "wc -c")
			cmd.Stdin = in
			started := time.Now()
			out, err := cmd.Output()
			if err != nil {
				return 0, err
			}
			if strings.TrimSpace(string(out)) != strconv.Itoa(mb<<20) {
				return 0, fmt.Errorf("the command has read %s bytes in place of %d MB", out, mb)
			}
			return time.Since(started), nil
		}
	}
	return e.rate(run(megabytes), run(0))
}
