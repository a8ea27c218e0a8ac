package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// An Error is one of a registry, with advice.
type Error struct {
	text, hint string
	err        error
	// Unreachable says that the registry could not be asked, and not that it said no.
	Unreachable bool
}

// Error says what happened.
func (e *Error) Error() string { return e.text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// Hint says what to do about it; it may be empty.
func (e *Error) Hint() string { return e.hint }

// explain says in words what a registry's error means.
func explain(r name.Reference, err error) error {
	host := r.Context().RegistryStr()
	var te *transport.Error
	switch {
	case errors.Is(err, context.Canceled) && !errors.Is(err, errStalled):
		return err
	case !errors.As(err, &te):
		return &Error{text: fmt.Sprintf("ask registry %s: %v", host, err), err: err, Unreachable: true}
	case te.StatusCode == http.StatusNotFound:
		return &Error{text: fmt.Sprintf("registry %s has no such image", host), err: err}
	case te.StatusCode == http.StatusUnauthorized || te.StatusCode == http.StatusForbidden:
		return &Error{text: fmt.Sprintf("registry %s refuses it: it is not public, or not there", host), err: err,
			hint: "docker login " + host + ", podman login or a file ~/.docker/config.json gives what it asks for"}
	}
	return &Error{text: fmt.Sprintf("ask registry %s: %v", host, err), err: err, Unreachable: te.StatusCode >= 500 || te.StatusCode == http.StatusTooManyRequests}
}

// stallTimeout is how long a registry may send nothing.
const stallTimeout = time.Minute

var errStalled = errors.New("nothing came for a minute")

// A watch counts what comes from a registry, and ends a context when nothing does.
type watch struct {
	inner  http.RoundTripper
	cancel context.CancelCauseFunc
	timer  *time.Timer
	done   atomic.Int64
}

// newWatch returns a transport and the context that its requests must have. stop ends the watch.
func newWatch(ctx context.Context) (*watch, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{inner: remote.DefaultTransport, cancel: cancel}
	w.timer = time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	return w, ctx
}

// stop ends the watch, and what is under way.
func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// RoundTrip implements http.RoundTripper.
func (w *watch) RoundTrip(r *http.Request) (*http.Response, error) {
	w.timer.Reset(stallTimeout)
	resp, err := w.inner.RoundTrip(r)
	if err == nil {
		w.timer.Reset(stallTimeout)
		resp.Body = &watchedBody{resp.Body, w}
	}
	return resp, err
}

type watchedBody struct {
	io.ReadCloser
	w *watch
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.w.done.Add(int64(n))
	b.w.timer.Reset(stallTimeout)
	return n, err
}

func openFile(path string) (io.ReadCloser, error) { return os.Open(path) }
