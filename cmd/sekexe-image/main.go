// The command sekexe-image makes files with file systems of OCI images, for sekexe, which starts it. It is a program of its own because the
// initialization of the libraries that it takes would cost every start of sekexe several milliseconds.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/sekexe/sekexe/image"
	"github.com/sekexe/sekexe/image/fetch"
)

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sekexe-image:", err)
		os.Exit(1)
	}
}

// serve answers one request.
func serve(in io.Reader, out io.Writer) error {
	r := bufio.NewReader(in)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return errors.New("this program works for sekexe and does nothing by itself")
	}
	var req image.Request
	if err := json.Unmarshal(line, &req); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // sekexe has ended, or closed it
		_, _ = io.Copy(io.Discard, r)
		cancel()
	}()
	var mu sync.Mutex
	enc := json.NewEncoder(out)
	reply := func(p image.Reply) {
		mu.Lock()
		defer mu.Unlock()
		_ = enc.Encode(p) // if nobody reads, the end of the input says so
	}
	o := fetch.Options{
		Name: req.Name, Store: &image.Store{Dir: req.Dir, Limit: req.Limit},
		Progress: func(p fetch.Progress) { reply(image.Reply{Phase: p.Phase, Done: p.Done, Total: p.Total}) },
	}
	do := fetch.Fetch
	switch {
	case req.Resolve:
		id, manifest, err := fetch.Resolve(ctx, o)
		r := last(id, err)
		r.Manifest = manifest
		reply(r)
		return nil
	case req.Archive != "":
		o.Name, do = req.Archive, fetch.Archive
	}
	reply(last(do(ctx, o)))
	return nil
}

// last is the last reply.
func last(id string, err error) image.Reply {
	if err == nil {
		return image.Reply{ID: id}
	}
	p := image.Reply{Error: err.Error()}
	var e *fetch.Error
	if errors.As(err, &e) {
		p.Hint, p.Unreachable = e.Hint(), e.Unreachable
	}
	return p
}
