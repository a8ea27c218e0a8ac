//go:build linux

package kernelnet

import (
	"errors"

	"golang.org/x/sys/unix"
)

// A hinted error says what to do about it, too.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }
func (h *hinted) Hint() string  { return h.hint }

func withHint(err error, hint string) error { return &hinted{err, hint} }

// hintOf is the hint of an error that has one.
func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// advise gives an error of making a link, route or rule a hint, if its cause is known.
func advise(err error) error {
	switch {
	case err == nil || hintOf(err) != "":
		return err
	case errors.Is(err, unix.EOPNOTSUPP):
		return withHint(err, `the host's kernel lacks a driver: have root run "modprobe -a bridge veth tun nf_tables nft_fib_inet nft_masq", or use mode = "user"`)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return withHint(err, refusedHint())
	case errors.Is(err, unix.EROFS):
		return withHint(err, `/proc/sys is mounted read-only, as in a container: have it writable, or use mode = "user"`)
	}
	return err
}
