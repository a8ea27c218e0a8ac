package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// dockerFigures are what a dockerd takes until its API answers, for its first docker run, and for more of them.
type dockerFigures struct{ start, first, more time.Duration }

func dockerStart(f dockerFigures) time.Duration { return f.start }
func dockerFirst(f dockerFigures) time.Duration { return f.first }
func dockerMore(f dockerFigures) time.Duration  { return f.more }

// dockerRun runs a container on Docker's own bridge.
const dockerRun = "docker run --rm bench /bin/busybox true"

// dockerRuns runs as many as are asked for, one after the other.
func dockerRuns(n int) string {
	return fmt.Sprintf("for i in $(seq %d); do %s || exit; done", n, dockerRun)
}

// dockerScene measures Docker in a sub-kernel against a dockerd of the host's, in a network namespace of its own, if there may be one.
// more is how many containers it runs after the first; what several scenes look at is measured once.
func (e *env) dockerScene(isolation string, more int, pick func(dockerFigures) time.Duration) (result, error) {
	if err := errors.Join(installed("dockerd"), installed("docker"), installed("busybox")); err != nil {
		return result{}, err
	}
	if e.docker == nil {
		e.docker = map[string][]dockerFigures{}
	}
	measure := func(where string, f func() (dockerFigures, error)) ([]float64, error) {
		kind := fmt.Sprint(where, more)
		for len(e.docker[kind]) < max(1, e.n/3) {
			v, err := f()
			if err != nil {
				return nil, err
			}
			e.docker[kind] = append(e.docker[kind], v)
		}
		var all []float64
		for _, v := range e.docker[kind] {
			all = append(all, float64(pick(v).Microseconds())/1e3)
		}
		return all, nil
	}
	subject, err := measure(isolation, func() (dockerFigures, error) { return e.guestDocker(isolation, more) })
	if err != nil {
		return result{}, err
	}
	r := result{Unit: "ms", Subject: median(subject), Runs: len(subject)}
	if os.Getuid() != 0 {
		return r, nil
	}
	host, err := measure("host", func() (dockerFigures, error) { return hostDocker(more) })
	if err != nil {
		fmt.Fprintf(os.Stderr, "dockerd on the host: %v\n", err)
		return r, nil
	}
	r.Floor = median(host)
	return r, nil
}

// dockerImage makes a folder with the files of an image.
func dockerImage(dir string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Join(dir, "bin"), 0o755), os.WriteFile(filepath.Join(dir, "bin", "busybox"), b, 0o755))
}

// guestDocker measures a dockerd in a sub-kernel.
func (e *env) guestDocker(isolation string, more int) (dockerFigures, error) {
	dir, err := os.MkdirTemp("", "sekexe-bench-docker-")
	if err != nil {
		return dockerFigures{}, err
	}
	defer os.RemoveAll(dir)
	if err := dockerImage(filepath.Join(dir, "image")); err != nil {
		return dockerFigures{}, err
	}
	text := fmt.Sprintf("kernel \"k\" {\n  path = %q\n}\nsubkernel \"d\" {\n  kernel = kernel.k\n  isolation = %q\n  docker { wait = \"5m\" }\n  mount \"/image\" { source = \"image\" }\n",
		e.kernel, isolation)
	for _, s := range [][2]string{{"import", "tar -C /image -c . | docker import - bench"}, {"first", dockerRun}, {"more", dockerRuns(more)}} {
		text += fmt.Sprintf("  step %q { command = %q }\n", s[0], s[1])
	}
	file, report := filepath.Join(dir, "sekexe.hcl"), filepath.Join(dir, "report.json")
	if err := os.WriteFile(file, []byte(text+"}\n"), 0o600); err != nil {
		return dockerFigures{}, err
	}
	started := time.Now()
	if out, err := exec.Command(e.sekexe, "up", "-q", "-f", file, "--report", "json="+report).CombinedOutput(); err != nil {
		return dockerFigures{}, fmt.Errorf("sekexe up: %w: %s", err, out)
	}
	return readDocker(report, started)
}

// readDocker reads the figures from a report.
func readDocker(file string, started time.Time) (dockerFigures, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return dockerFigures{}, err
	}
	var r struct {
		Subkernels []struct {
			Steps []struct {
				Started    time.Time `json:"started"`
				DurationMS float64   `json:"duration_ms"`
			} `json:"steps"`
		} `json:"subkernels"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return dockerFigures{}, err
	}
	if len(r.Subkernels) != 1 || len(r.Subkernels[0].Steps) != 3 {
		return dockerFigures{}, errors.New("the report has other steps")
	}
	s := r.Subkernels[0].Steps
	ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
	return dockerFigures{start: s[0].Started.Sub(started), first: ms(s[1].DurationMS), more: ms(s[2].DurationMS)}, nil
}

// hostDocker measures a dockerd of the host's with all of its files in a folder of its own.
func hostDocker(more int) (f dockerFigures, err error) {
	dir, err := os.MkdirTemp("/dev/shm", "sekexe-bench-docker-")
	if err != nil {
		return f, err
	}
	defer os.RemoveAll(dir)
	if err := dockerImage(filepath.Join(dir, "image")); err != nil {
		return f, err
	}
	socket := filepath.Join(dir, "s")
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}"), 0o600); err != nil {
		return f, err
	}
	var log strings.Builder
	cmd := exec.Command("unshare", "--net", "--mount", "dockerd", "--config-file="+filepath.Join(dir, "daemon.json"), "--host=unix://"+socket,
		"--data-root="+filepath.Join(dir, "data"), "--exec-root="+filepath.Join(dir, "x"), "--pidfile="+filepath.Join(dir, "pid"))
	cmd.Stderr = &log
	cmd.WaitDelay = 10 * time.Second // its containerd has the same output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return f, err
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	defer func() {
		if gone != nil {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			<-gone
		}
	}()
	if err := answers(socket, gone); err != nil {
		gone = nil
		return f, fmt.Errorf("%w: %s", err, lastLine(log.String()))
	}
	f.start = time.Since(started)
	script := func(command string) (time.Duration, error) {
		c := exec.Command("sh", "-c", command)
		c.Env, c.Dir = append(os.Environ(), "DOCKER_HOST=unix://"+socket), dir
		began := time.Now()
		if out, err := c.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%s: %w: %s", command, err, lastLine(string(out)))
		}
		return time.Since(began), nil
	}
	if _, err = script("tar -C image -c . | docker import - bench"); err == nil {
		if f.first, err = script(dockerRun); err == nil {
			f.more, err = script(dockerRuns(more))
		}
	}
	return f, err
}

// answers returns when the API of a dockerd answers. It tries every millisecond: what is measured is not to be waited for by a means of its own.
func answers(socket string, gone <-chan error) error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial}}
	defer client.CloseIdleConnections()
	for {
		if resp, err := client.Get("http://docker/_ping"); err == nil {
			return resp.Body.Close()
		}
		select {
		case err := <-gone:
			return fmt.Errorf("dockerd has ended: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
