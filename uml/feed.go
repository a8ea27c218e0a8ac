package uml

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/orchestrator"
)

// feedPiece is how much input goes to the guest at once, in bytes, and feedAhead how many pieces the guest may not have used yet.
const (
	feedPiece = 512 << 10
	feedAhead = 4
)

// A feed carries the input of one command to the guest. All but short pieces go by files.
type feed struct {
	id   wire.ID
	src  orchestrator.Input
	dir  string
	out  *outbox
	ctx  context.Context
	stop context.CancelFunc

	space chan struct{} // a token for each piece that may be sent
	mu    sync.Mutex
	files []string // of the pieces that are on their way, the oldest first; "" for one that has none
}

func newFeed(id wire.ID, src orchestrator.Input, dir string, out *outbox) *feed {
	f := &feed{id: id, src: src, dir: dir, out: out, space: make(chan struct{}, feedAhead)}
	f.ctx, f.stop = context.WithCancel(context.Background())
	for range feedAhead {
		f.space <- struct{}{}
	}
	return f
}

// heard is told what the guest says about its input.
func (f *feed) heard(k wire.Kind) {
	if k == wire.KindInputClosed {
		f.stop()
		return
	}
	f.mu.Lock()
	var name string
	taken := len(f.files) > 0 // more words than pieces mean nothing
	if taken {
		name, f.files = f.files[0], f.files[1:]
	}
	f.mu.Unlock()
	if name != "" {
		os.Remove(filepath.Join(f.dir, name))
	}
	if taken {
		f.space <- struct{}{}
	}
}

// run sends the input until it ends, the command takes no more, or the feed is stopped.
func (f *feed) run() {
	defer f.stop()
	buf := make([]byte, feedPiece)
	for n := 1; ; n++ {
		select {
		case <-f.space:
		case <-f.ctx.Done():
			return
		}
		k, err := f.src.Read(f.ctx, buf)
		if k > 0 {
			f.piece(n, buf[:k])
		} else {
			f.space <- struct{}{}
		}
		if f.ctx.Err() != nil {
			return
		}
		if err != nil { // an input that can't be read ends, as it does for a command on the host
			f.out.put(wire.KindInputEOF, f.prefix())
			return
		}
	}
}

func (f *feed) prefix() []byte { return binary.BigEndian.AppendUint32(nil, uint32(f.id)) }

// piece sends a piece.
func (f *feed) piece(n int, b []byte) {
	var name string
	if len(b) > inlineMost {
		name = fmt.Sprintf("i%d.%d", f.id, n)
		if err := os.WriteFile(filepath.Join(f.dir, name), b, 0o600); err != nil {
			os.Remove(filepath.Join(f.dir, name))
			name = "" // over the line: slower, but it needs no space
		}
	}
	f.mu.Lock()
	f.files = append(f.files, name)
	f.mu.Unlock()
	if name != "" {
		f.out.put(wire.KindInput|wire.InFile, f.prefix(), []byte(name))
		return
	}
	f.out.put(wire.KindInput, f.prefix(), append([]byte(nil), b...))
}
