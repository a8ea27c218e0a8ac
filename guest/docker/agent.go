package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"

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
	// containerd is ours; nil: dockerd uses another one, or it has not been started.
	containerd, dockerd *process

	mu  sync.Mutex // guards out
	out *json.Encoder
}

// Main is the agent, for what the first argument says.
func Main(args []string) error {
	if len(args) >= 3 {
		switch args[1] {
		case wire.AgentKeep:
			return keep(args[2])
		case wire.AgentCompose:
			return compose(args[2], args[3:])
		case wire.AgentComposeReady:
			return composeReady(args[2])
		}
	}
	return errors.New("start: this program works for sekexe and does nothing by itself")
}

// keep keeps dockerd, and returns when it has ended.
func keep(spec string) error {
	a := &agent{out: json.NewEncoder(os.Stdout)}
	if err := json.Unmarshal([]byte(spec), &a.spec); err != nil {
		return fmt.Errorf("start: read what to do: %w", err)
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

// run starts dockerd and what belongs to it, and stops all of it when ctx ends. It returns when they are gone. A daemon that has ended by itself is
// what went wrong, whatever followed from that.
func (a *agent) run(ctx context.Context) error {
	if f := a.spec.Forward; f != nil {
		l, err := listenForward(f)
		if err != nil {
			return err
		}
		defer l.Close()
		go serveForward(l, socketPath)
	}
	defer a.stop()
	err := a.serve(ctx)
	for _, p := range []*process{a.containerd, a.dockerd} {
		if p == nil {
			continue
		}
		select {
		case <-p.gone:
			return p.ended()
		default:
		}
	}
	return err
}

// while returns a context that ends when the process does.
func (a *agent) while(ctx context.Context, p *process) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-p.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// stop ends the containers, dockerd and containerd, in this order. dockerd by itself would give each container ten seconds, which may be more than
// there is.
func (a *agent) stop() {
	if a.dockerd != nil {
		select {
		case <-a.dockerd.gone:
		default:
			c := newClient(socketPath)
			c.stopContainers(a.spec.StopSeconds)
			c.close()
		}
	}
	a.dockerd.stop()
	a.containerd.stop()
}

// start starts containerd and dockerd, and returns when dockerd listens.
func (a *agent) start(ctx context.Context) error {
	if err := findPrograms(); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("dockerd: prepare its start: %w", err)
	}
	if err := a.choosePrograms(); err != nil {
		return err
	}
	watch, err := watchFolder(filepath.Dir(socketPath))
	if err != nil {
		return err
	}
	defer watch.close()
	if !a.ownContainerd() {
		if err := a.startContainerd(ctx); err != nil {
			return err
		}
	}
	if err := a.startDockerd(); err != nil {
		return err
	}
	ctx, cancel := a.while(ctx, a.dockerd)
	defer cancel()
	return watch.wait(ctx, filepath.Base(socketPath))
}

// serve brings dockerd to its use, and returns when ctx or one of the daemons ends, or with what went wrong.
func (a *agent) serve(ctx context.Context) error {
	if err := a.start(ctx); err != nil {
		return err
	}
	for _, p := range []*process{a.containerd, a.dockerd} {
		if p != nil {
			var cancel context.CancelFunc
			ctx, cancel = a.while(ctx, p)
			defer cancel()
		}
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
	for _, image := range a.spec.Images {
		names, err := c.load(ctx, image.File)
		if err != nil {
			return nil, fmt.Errorf("image %s: load it: %w", image.Name, err)
		}
		all = append(all, names...)
	}
	return all, nil
}
