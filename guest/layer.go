package guest

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// A layer is the upper layer of an overlay that is the root, and the folder that overlayfs works in.
type layer struct {
	upper, work string
	// kept says that an earlier sub-kernel has written to it.
	kept bool
}

// keptOptions are overlayfs's where the upper layer lasts. With them alone the lower one may change from run to run, as this machine's files do
// (Documentation/filesystems/overlayfs.rst, "Changes to underlying filesystems").
const keptOptions = ",index=off,metacopy=off,redirect_dir=off,xino=off"

// mountLayer mounts the disk that keeps the root's upper layer, and keeps a descriptor of it: no path leads there from the guest's root.
func (p *initProcess) mountLayer(s *wire.Spec, target string) error {
	d := p.layer
	d.Target = target
	if err := d.mount(s.Modules); err != nil {
		return err
	}
	fd, err := unix.Open(target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: open it: %w", d.name(), err)
	}
	p.layerRoot = os.NewFile(uintptr(fd), target)
	return nil
}

// makeLayer makes the folders of the upper layer in base, which is the memory that the overlay takes if none is kept.
func (p *initProcess) makeLayer(s *wire.Spec, base string) (layer, error) {
	if p.layer != nil {
		base = path.Join(base, "layer")
		if err := p.mountLayer(s, base); err != nil {
			return layer{}, err
		}
	}
	l := layer{upper: path.Join(base, "upper"), work: path.Join(base, "work")}
	for _, d := range []string{l.upper, l.work} {
		err := unix.Mkdir(d, 0o755)
		if err == unix.EEXIST && p.layer != nil {
			l.kept, err = true, nil
		}
		if err != nil {
			return layer{}, fmt.Errorf("root: make a folder for the overlay: %w", err)
		}
	}
	return l, nil
}

// clearEtc takes the guest's own files of an earlier run out of a layer that was kept: what lies there may be links by now, to anywhere.
func (l *layer) clearEtc(s *wire.Spec) error {
	etc := path.Join(l.upper, "etc")
	st, err := os.Lstat(etc)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && !st.IsDir() {
		err = errors.New("what was kept has no such folder any more")
	}
	for name := range etcFiles(s) {
		if err == nil {
			err = os.RemoveAll(path.Join(etc, name))
		}
	}
	if err != nil {
		return &hintError{fmt.Errorf("root: write to /etc: %w", err), "remove the folder that persist names, or name another"}
	}
	return nil
}

// clearRun takes out of a layer that was kept what an earlier run wrote to /run: it speaks of processes that are gone, and a daemon that finds its
// file of a process number there may not start. On roots but those of images, a file system in memory is on /run, and there is nothing.
func (l *layer) clearRun() error {
	if err := os.RemoveAll(path.Join(l.upper, "run")); err != nil {
		return &hintError{fmt.Errorf("root: clear /run: %w", err), "remove the folder that persist names, or name another"}
	}
	return nil
}

// closeLayer brings the disk with the upper layer into the state of one that is unmounted, and lets nothing change it any more. It can't be
// unmounted: the root lies on it.
func (p *initProcess) closeLayer() {
	if p.layerRoot == nil {
		return
	}
	const freeze = 0xc0045877 // FIFREEZE, include/uapi/linux/fs.h
	if err := unix.IoctlSetInt(int(p.layerRoot.Fd()), freeze, 0); err != nil {
		p.notice(fmt.Errorf("%s: freeze it: %w: the next use replays its journal", p.layer.name(), err))
	}
}
