package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// chosenFile is the file of the config folder with the default that the user chose: the name of a kernel that was built, or the path of an
// executable.
const chosenFile = "kernel"

// maxChosen bounds it, in bytes.
const maxChosen = 8 << 10

const chosenHint = "it was chosen as the default: choose another by sekexe kernel default KERNEL, or take that back by sekexe kernel default --unset"

// Chosen returns the path of the kernel that was chosen as the default; empty: none was. It need not exist any more.
func (f *Finder) Chosen() (string, error) {
	if f.ConfigDir == "" {
		return "", nil
	}
	file := filepath.Join(f.ConfigDir, chosenFile)
	b, err := readBounded(file, maxChosen)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, os.ErrPermission) {
		return "", nil // a home that is none, or somebody else's, holds no choice of this user's
	}
	if err != nil {
		return "", &Error{Problem: ErrNone, Detail: fmt.Sprintf("read which one is the default: %v", err), hint: chosenHint}
	}
	text := strings.TrimSuffix(string(b), "\n")
	switch {
	case strings.ContainsFunc(text, unicode.IsControl):
	case filepath.IsAbs(text):
		return filepath.Clean(text), nil
	case f.CacheDir != "" && isName(text):
		return f.builtPath(text), nil
	}
	return "", &Error{Problem: ErrNone, Detail: file + " holds neither an absolute path nor the name of one that was built", hint: chosenHint}
}

// Choose makes a kernel the default.
func (f *Finder) Choose(i *Info) error {
	if f.ConfigDir == "" {
		return errors.New("default kernel: keep it: there is no folder for configuration")
	}
	text := i.Path
	if i.Name != "" {
		text = i.Name // the cache folder may be another one at another time
	}
	if err := f.writeChosen(text + "\n"); err != nil {
		return fmt.Errorf("default kernel: keep it: %w", err)
	}
	return nil
}

// writeChosen writes the file in one step.
func (f *Finder) writeChosen(text string) error {
	if err := os.MkdirAll(f.ConfigDir, 0o700); err != nil {
		return err
	}
	w, err := os.CreateTemp(f.ConfigDir, tempPrefix)
	if err != nil {
		return err
	}
	_, err = w.WriteString(text)
	if err = errors.Join(err, w.Close()); err == nil {
		err = os.Rename(w.Name(), filepath.Join(f.ConfigDir, chosenFile))
	}
	if err != nil {
		_ = os.Remove(w.Name())
	}
	return err
}

// Unset takes Choose back. It says whether there was anything to take back.
func (f *Finder) Unset() (bool, error) {
	if f.ConfigDir == "" {
		return false, nil
	}
	err := os.Remove(filepath.Join(f.ConfigDir, chosenFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("default kernel: unset it: %w", err)
	}
	return true, nil
}
