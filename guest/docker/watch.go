package docker

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A watcher waits for sockets to come into a folder (inotify(7)).
type watcher struct {
	dir string
	f   *os.File
}

// watchFolder begins to look at a folder, before whoever makes a file in it is started.
func watchFolder(dir string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	w := &watcher{dir: dir, f: os.NewFile(uintptr(fd), "inotify")}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB); err != nil {
		w.f.Close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	return w, nil
}

func (w *watcher) close() { w.f.Close() }

// wait returns when something listens on the socket of this name, or with ctx's error when that ends. The file is there before: it is made,
// then listened on, and then gets its owner and mode, each of which is an event.
func (w *watcher) wait(ctx context.Context, name string) error {
	stop := context.AfterFunc(ctx, func() { w.f.Close() })
	defer stop()
	buf := make([]byte, 4096)
	for {
		if c, err := net.Dial("unix", filepath.Join(w.dir, name)); err == nil {
			return c.Close()
		}
		n, err := w.f.Read(buf)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("watch %s: %w", w.dir, err)
		}
		for !named(buf[:n], name) {
			if n, err = w.f.Read(buf); err != nil {
				break // the next round says why
			}
		}
	}
}

// named says whether an event is about a file: struct inotify_event is wd, mask, cookie and len, of 4 bytes each, and a name of len bytes.
func named(events []byte, name string) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		n := int(binary.NativeEndian.Uint32(events[12:]))
		events = events[unix.SizeofInotifyEvent:]
		if n > len(events) {
			return false
		}
		if strings.TrimRight(string(events[:n]), "\x00") == name {
			return true
		}
		events = events[n:]
	}
	return false
}
