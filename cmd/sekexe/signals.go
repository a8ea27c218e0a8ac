package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// killGrace is how long a run that was killed may take to end, before this process leaves the rest to the reaper: somebody who doesn't
// read what we print can hold it up for ever.
const killGrace = 3 * time.Second

// interrupts turns signals into the end of a run: the first asks it to end, the second kills it.
type interrupts struct {
	// stop is closed by the first signal, ctx ended by the second.
	stop chan struct{}
	ctx  context.Context

	ch     chan os.Signal
	done   chan struct{}
	kill   context.CancelFunc
	mu     sync.Mutex
	first  syscall.Signal
	finish sync.WaitGroup
}

// watchSignals begins to. onFirst is called at the first signal. The result must be closed.
func watchSignals(ctx context.Context, onFirst func()) *interrupts {
	in := &interrupts{stop: make(chan struct{}), ch: make(chan os.Signal, 2), done: make(chan struct{})}
	in.ctx, in.kill = context.WithCancel(ctx)
	signal.Notify(in.ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	in.finish.Go(func() { in.watch(onFirst) })
	return in
}

func (in *interrupts) watch(onFirst func()) {
	for n := 0; ; {
		var limit <-chan time.Time
		if n > 1 {
			limit = time.After(killGrace)
		}
		select {
		case s := <-in.ch:
			n++
			if n == 1 {
				in.mu.Lock()
				in.first = s.(syscall.Signal)
				in.mu.Unlock()
				onFirst()
				close(in.stop)
			} else {
				in.kill()
			}
		case <-limit:
			os.Exit(in.status()) // the reaper cleans up
		case <-in.done:
			return
		}
	}
}

// status is the exit status that the signal means; 0 if there was none.
func (in *interrupts) status() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.first == 0 {
		return 0
	}
	return 128 + int(in.first)
}

func (in *interrupts) close() {
	signal.Stop(in.ch)
	close(in.done)
	in.finish.Wait()
	in.kill()
}
