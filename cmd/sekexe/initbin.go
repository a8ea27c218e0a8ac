package main

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sekexe/sekexe/uml"
)

// assets holds the programs that sekexe starts elsewhere, where the build has put them.
//
//go:embed all:assets
var assets embed.FS

// errNotEmbedded says that sekexe was built by go build alone.
var errNotEmbedded = errors.New("this sekexe was built without it: build it by make build")

// initProgram is the guest's init, imageProgram the program that makes images, and dockerProgram the one that keeps Docker daemons in guests.
const (
	initProgram   = "sekexe-init"
	imageProgram  = "sekexe-image"
	dockerProgram = "sekexe-docker"
)

// layDown returns the path of an embedded program as a file, which it makes in the cache folder if it isn't there. It is named by its
// hash, so that different builds don't meet. Where the cache can't be written or can't be named to a kernel, it is laid into fallback, or into
// a folder for temporary files: a kernel covers /dev, where fallback may be, before it starts its init.
func layDown(program, cache, fallback string) (string, error) {
	sum, err := assets.ReadFile("assets/" + program + ".sha256")
	if err != nil {
		return "", fmt.Errorf("%s: find it: %w", program, errNotEmbedded)
	}
	name := program + "-" + strings.TrimSpace(string(sum))[:16]
	var errs []error
	own := "sekexe-" + strconv.Itoa(os.Getuid())
	for n, dir := range []string{cache, fallback, filepath.Join("/var/tmp", own), filepath.Join("/tmp", own)} {
		if dir == "" || strings.ContainsAny(dir, " \t\n\"',") || strings.HasPrefix(dir, "/dev/") {
			continue // a kernel's command line has no quotes for it
		}
		if n > 0 { // in a folder that is open to all
			if err := uml.PrivateDir(dir); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		file := filepath.Join(dir, name)
		if st, err := os.Stat(file); err == nil && st.Mode()&0o111 != 0 {
			return file, nil
		}
		if err := writeProgram(program, dir, file); err != nil {
			errs = append(errs, err)
			continue
		}
		return file, nil
	}
	return "", fmt.Errorf("%s: write it: %w", program, errors.Join(errs...))
}

// writeProgram writes a program in one step, so that nobody starts half of it.
func writeProgram(program, dir, file string) error {
	b, err := assets.ReadFile("assets/" + program)
	if err != nil {
		return errNotEmbedded
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := createProgram(dir, b)
	if f != nil {
		defer os.Remove(f.Name())
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// createProgram makes a file with the program, and closes it. Meanwhile nothing is started: a child has all files open until it executes something, and what
// somebody has open for writing can't be executed (execve(2), ETXTBSY).
func createProgram(dir string, b []byte) (*os.File, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.CreateTemp(dir, ".program-*")
	if err != nil {
		return nil, err
	}
	_, err = f.Write(b)
	return f, errors.Join(err, f.Chmod(0o555), f.Close())
}
