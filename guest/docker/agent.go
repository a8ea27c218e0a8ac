package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// socketPath is where dockerd listens.
const socketPath = "/run/docker.sock"

// folder is for files of the agent's own.
const folder = "/run/sekexe/docker"

// An agent keeps one dockerd.
type agent struct {
	spec wire.DockerSpec
	cmd  *exec.Cmd
	// gone is closed when dockerd has ended, and err says how then.
	gone chan struct{}
	err  error

	mu  sync.Mutex // guards out
	out *json.Encoder
}

// Main is the agent. It returns when dockerd has ended.
func Main(args []string) error {
	a := &agent{gone: make(chan struct{}), out: json.NewEncoder(os.Stdout)}
	if len(args) != 2 || json.Unmarshal([]byte(args[1]), &a.spec) != nil {
		return errors.New("start: this program works for sekexe and does nothing by itself")
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	err := a.run(ctx)
	switch {
	case ctx.Err() != nil:
		return nil // it was stopped, and what that cut off is no failure
	case err != nil:
		a.report(failed(err))
		return err
	}
	return nil
}

// report tells the host something.
func (a *agent) report(r wire.DockerReport) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.out.Encode(r) // if nobody reads, the sub-kernel is ending
}

// failed makes a report of an error.
func failed(err error) wire.DockerReport {
	r := wire.DockerReport{Kind: wire.DockerFailed, Text: err.Error()}
	var h *hintError
	if errors.As(err, &h) {
		r.Hint = h.hint
	}
	return r
}

// A hintError is an error with advice.
type hintError struct {
	error
	hint string
}

// Unwrap returns the error.
func (h *hintError) Unwrap() error { return h.error }

// run starts dockerd and what belongs to it, and stops all of it when ctx ends. It returns when dockerd is gone.
func (a *agent) run(ctx context.Context) error {
	if f := a.spec.Forward; f != nil {
		l, err := listenForward(f)
		if err != nil {
			return err
		}
		defer l.Close()
		go serveForward(l, socketPath)
	}
	watch, err := watchFolder(filepath.Dir(socketPath))
	if err != nil {
		return err
	}
	defer watch.close()
	if err := a.start(); err != nil {
		return err
	}
	defer a.stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-a.gone
		cancel()
	}()
	err = a.serve(ctx, watch)
	select {
	case <-a.gone:
		return a.died()
	default:
		return err
	}
}

// serve brings dockerd to its use, and returns when ctx ends, or with what went wrong.
func (a *agent) serve(ctx context.Context, watch *watcher) error {
	if err := watch.wait(ctx, filepath.Base(socketPath)); err != nil {
		return err
	}
	c := newClient(socketPath)
	defer c.close()
	version, err := c.version(ctx)
	if err != nil {
		return err
	}
	a.report(wire.DockerReport{Kind: wire.DockerAnswers, Version: version})
	images, err := a.load(ctx, c)
	if err != nil {
		return err
	}
	a.report(wire.DockerReport{Kind: wire.DockerReady, Images: images})
	<-ctx.Done()
	return nil
}

// load loads the images, one after the other: dockerd unpacks them on one CPU.
func (a *agent) load(ctx context.Context, c *client) ([]string, error) {
	var all []string
	for _, file := range a.spec.Images {
		names, err := c.load(ctx, file)
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
	}
	return all, nil
}

// died says how dockerd has ended by itself.
func (a *agent) died() error {
	how := "with status 0"
	var e *exec.ExitError
	if errors.As(a.err, &e) {
		how = "with status " + fmt.Sprint(e.ExitCode())
		if ws, ok := e.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			how = "by signal " + fmt.Sprint(int(ws.Signal()))
		}
	} else if a.err != nil {
		how = a.err.Error()
	}
	return fmt.Errorf("dockerd: it has ended %s", how)
}
