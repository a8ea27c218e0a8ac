package uml

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sekexe/sekexe/guest/wire"
	"github.com/sekexe/sekexe/orchestrator"
)

// maxCopied is the greatest number of files and folders that one copy brings.
const maxCopied = 1 << 18

// A receiver writes to the host what the guest sends of one copy. The guest is not trusted: names are checked here and followed by an
// os.Root, which lets nothing out of the destination; only files, folders, and links that stay inside are made, as the user's, without
// setuid bits; their number and size have limits.
type receiver struct {
	id      wire.ID
	want    *orchestrator.CopyOut
	pattern bool
	most    int // files and folders
	// failed is told of the first error, after which the rest is dropped.
	failed func()

	mu   sync.Mutex
	root *os.Root // nil before the first entry
	// first is the first part of all names, unless a pattern may match several; single what stands in place of it for a file.
	first, single string
	// folders are those that the copy has made or found, which are none but real ones, with their times; order is theirs.
	folders map[string]time.Time
	order   []string
	file    *receivedFile
	bytes   int64 // of the files before

	res     orchestrator.CopyResult
	outside int // links that lead out, which are left out
	err     error
}

// A receivedFile is the file that is being written.
type receivedFile struct {
	*os.File
	name string
	time time.Time
	end  int64
}

func newReceiver(id wire.ID, want *orchestrator.CopyOut, failed func()) *receiver {
	return &receiver{
		id: id, want: want, pattern: strings.ContainsAny(want.From, `*?[\`), failed: failed, folders: map[string]time.Time{}, most: maxCopied,
		res: orchestrator.CopyResult{From: want.From, To: want.To},
	}
}

// take takes a frame. What belongs to another copy, or comes after an error, is dropped. The error that it returns is about the protocol.
func (r *receiver) take(k wire.Kind, payload []byte) error {
	var e wire.CopyEntry
	id, offset, data := wire.ID(0), uint64(0), []byte(nil)
	var err error
	if k == wire.KindCopyEntry {
		err = wire.Decode(k, payload, &e)
		id = e.ID
	} else {
		id, offset, data, err = wire.SplitCopyData(payload)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || id != r.id || r.err != nil {
		return err
	}
	if k == wire.KindCopyEntry {
		r.err = r.entry(&e)
	} else {
		r.err = r.data(offset, data)
	}
	if r.err != nil {
		r.failed()
	}
	return nil
}

// entry makes what an entry says.
func (r *receiver) entry(e *wire.CopyEntry) error {
	if err := r.closeFile(); err != nil {
		return err
	}
	if r.res.Files == r.most {
		return fmt.Errorf("there are more than %d files", r.most)
	}
	r.res.Files++
	if err := checkName(e.Name); err != nil {
		return err
	}
	name, err := r.place(e)
	if err != nil {
		return err
	}
	when := time.Unix(0, e.MTime)
	switch {
	case name == "." && e.Type == wire.TypeFolder: // the destination itself
		r.addFolder(name, when)
		return nil
	case name == ".":
		return fmt.Errorf("guest: %w: an entry of type %d", wire.ErrProtocol, e.Type)
	}
	if parent := path.Dir(name); parent != "." {
		if _, ok := r.folders[parent]; !ok {
			return fmt.Errorf("guest: %w: there is no folder for %q", wire.ErrProtocol, clean(name))
		}
	}
	switch e.Type {
	case wire.TypeFolder:
		return r.makeFolder(name, e.Mode, when)
	case wire.TypeFile:
		return r.makeFile(name, e.Mode, when)
	case wire.TypeLink:
		return r.makeLink(name, e.Link)
	}
	return fmt.Errorf("guest: %w: an entry of type %d", wire.ErrProtocol, e.Type)
}

// checkName refuses names that are no path of plain parts.
func checkName(name string) error {
	if len(name) > 4095 {
		return fmt.Errorf("guest: %w: a name of %d bytes", wire.ErrProtocol, len(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 || strings.ContainsRune(part, 0) {
			return fmt.Errorf("guest: %w: the name %q", wire.ErrProtocol, clean(name))
		}
	}
	return nil
}

// place returns where an entry goes, below the root, which the first entry decides on.
func (r *receiver) place(e *wire.CopyEntry) (string, error) {
	first, rest, _ := strings.Cut(e.Name, "/")
	if r.root == nil {
		if err := r.openRoot(first, e.Type); err != nil {
			return "", err
		}
	}
	if r.pattern {
		if ok, _ := path.Match(path.Base(r.want.From), first); !ok && first != path.Base(r.want.From) {
			return "", fmt.Errorf("guest: %w: %q was not asked for", wire.ErrProtocol, clean(e.Name))
		}
		return e.Name, nil
	}
	if first != r.first || r.single != "" && r.res.Files > 1 || r.single == "" && rest == "" && r.res.Files > 1 {
		return "", fmt.Errorf("guest: %w: %q was not asked for", wire.ErrProtocol, clean(e.Name))
	}
	return path.Join(r.single, cmp.Or(rest, ".")), nil
}

// openRoot opens the folder that all goes into: what a pattern matches, and what is in a folder, into the destination; a single file too if
// that is a folder, or is said to be one, and in its place otherwise.
func (r *receiver) openRoot(first string, kind int) error {
	dir, to := r.want.To, r.want.To
	r.first = first
	if !r.pattern && kind == wire.TypeFile {
		r.single = path.Base(r.want.From)
		if st, err := os.Stat(to); !strings.HasSuffix(to, "/") && (err != nil || !st.IsDir()) {
			dir, r.single = filepath.Dir(to), filepath.Base(to)
		}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	r.root = root
	return err
}

func (r *receiver) addFolder(name string, when time.Time) {
	if _, ok := r.folders[name]; !ok {
		r.order = append(r.order, name)
	}
	r.folders[name] = when
}

// makeFolder makes a folder, or takes one that is there. A link to one is replaced: what is in it would land elsewhere.
func (r *receiver) makeFolder(name string, mode uint32, when time.Time) error {
	err := r.root.Mkdir(name, fs.FileMode(mode&0o777|0o700))
	if errors.Is(err, fs.ErrExist) {
		st, serr := r.root.Lstat(name)
		if serr != nil {
			return serr
		}
		if err = nil; !st.IsDir() {
			if err = r.root.Remove(name); err == nil {
				err = r.root.Mkdir(name, fs.FileMode(mode&0o777|0o700))
			}
		}
	}
	if err != nil {
		return err
	}
	r.addFolder(name, when)
	return nil
}

// makeFile makes a new file, in place of one that may be there.
func (r *receiver) makeFile(name string, mode uint32, when time.Time) error {
	if err := r.clear(name); err != nil {
		return err
	}
	f, err := r.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(mode&0o777|0o600))
	if err != nil {
		return err
	}
	r.file = &receivedFile{File: f, name: name, time: when}
	return nil
}

// clear removes what may be in the place of a file or link. A folder is left, and the file can't be made.
func (r *receiver) clear(name string) error {
	st, err := r.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.IsDir():
		return fmt.Errorf("%s: a folder is in its place", clean(name))
	}
	return r.root.Remove(name)
}

// makeLink makes a symbolic link if it stays inside; whoever reads the result would otherwise be led to the host's own files.
func (r *receiver) makeLink(name, target string) error {
	if r.single != "" || !staysInside(name, target) {
		r.outside++
		return nil
	}
	if err := r.clear(name); err != nil {
		return err
	}
	return r.root.Symlink(target, name)
}

// staysInside says whether a link of this name leads nowhere outside. It goes up first, through folders which are all real, at most to the
// top, and then only down, through links that stay inside themselves.
func staysInside(name, target string) bool {
	if target == "" || path.IsAbs(target) || len(target) > 4095 || strings.ContainsRune(target, 0) {
		return false
	}
	up, down := strings.Count(name, "/"), false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "..":
			if up--; down || up < 0 {
				return false
			}
		case "", ".":
		default:
			down = true
		}
	}
	return true
}

// data writes a piece of the file.
func (r *receiver) data(offset uint64, b []byte) error {
	f := r.file
	if f == nil || offset > 1<<62 {
		return fmt.Errorf("guest: %w: data for no file", wire.ErrProtocol)
	}
	end := max(f.end, int64(offset)+int64(len(b)))
	if r.bytes+end > r.want.Limit {
		return fmt.Errorf("it is more than %d bytes, the limit", r.want.Limit)
	}
	var err error
	if len(b) > 0 {
		_, err = f.WriteAt(b, int64(offset))
	} else if end > f.end {
		err = f.Truncate(end)
	}
	f.end = end
	return err
}

// closeFile ends the file that is being written, if there is one.
func (r *receiver) closeFile() error {
	f := r.file
	if f == nil {
		return nil
	}
	r.file = nil
	r.bytes += f.end
	if err := f.Close(); err != nil {
		return err
	}
	return r.root.Chtimes(f.name, f.time, f.time)
}

// finish ends the copy, for a reason if it isn't at its end, and says how it went.
func (r *receiver) finish(end *wire.Copied, reason error) (res orchestrator.CopyResult, notice string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := errors.Join(r.err, reason)
	if err == nil {
		err = r.closeFile()
	} else if r.file != nil { // a part of it may be mistaken for the whole
		r.file.Close()
		err = errors.Join(err, r.root.Remove(r.file.name))
	}
	for _, name := range slices.Backward(r.order) {
		if cerr := r.root.Chtimes(name, r.folders[name], r.folders[name]); err == nil {
			err = cerr
		}
	}
	if r.root != nil {
		r.root.Close()
	}
	r.res.Bytes = r.bytes
	switch {
	case err != nil:
		r.res.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	case end.Missing && !r.want.Optional:
		r.res.Error = "there is no such file or folder"
	case end.Failed > 0:
		r.res.Error = fmt.Sprintf("%d files could not be read: %s", end.Failed, clean(end.Error))
	}
	r.err = errors.New("it has ended") // what comes now is dropped
	if err == nil && end.Skipped+r.outside > 0 {
		notice = fmt.Sprintf("copy of %s: left out: %d devices, sockets and pipes, and %d links that lead out of it", r.want.From, end.Skipped, r.outside)
	}
	return r.res, notice
}
