package main

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sekexe/sekexe/image/imagetest"
)

// slowRegistry is a registry with an image, which sends half of a layer and then nothing more. A word comes from half each time that it does.
func slowRegistry(t *testing.T) (ref string, half <-chan struct{}) {
	t.Helper()
	img, err := imagetest.New()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]string{} // of layers, by path
	for _, l := range layers {
		d, err1 := l.Digest()
		n, err2 := l.Size()
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		sizes["/v2/slow/image/blobs/"+d.String()] = strconv.FormatInt(n, 10)
	}
	halves := make(chan struct{}, 100)
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size, ok := sizes[r.URL.Path]
		if r.Method != http.MethodGet || !ok {
			inner.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Length", size)
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		halves <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	ref = strings.TrimPrefix(s.URL, "http://") + "/slow/image:1"
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	return ref, halves
}

// imageProcess returns the process of the program that makes images.
func (s *sandbox) imageProcess(t *testing.T) int {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		b, err := os.ReadFile(p)
		if err == nil && strings.HasPrefix(string(b), filepath.Join(s.cache(), "sekexe", imageProgram)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("the program that makes images doesn't run")
	return 0
}

// TestPullInterrupted holds that whatever ends a pull, nothing of it is left.
func TestPullInterrupted(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := testSandbox(t)
			ref, half := slowRegistry(t)
			cmd := s.command(t, "run", "--image", ref, "true")
			_, stderr := start(t, cmd)
			select {
			case <-half:
			case <-time.After(patience):
				t.Fatal("nothing is pulled")
			}
			pid := s.imageProcess(t)
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			if sig == syscall.SIGINT {
				if got := exitStatus(t, err); got != 130 {
					t.Errorf("exit status %d, want 130: %s", got, stderr.rest(t))
				}
			}
			if err := waitEnd(pid, patience); err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(filepath.Join(s.cache(), "sekexe", "images"))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if !strings.HasSuffix(e.Name(), ".lock") {
					t.Errorf("%s is left among the images", e.Name())
				}
			}
		})
	}
}

// TestPullProgress holds that a pull which takes long says so.
func TestPullProgress(t *testing.T) {
	t.Parallel()
	s := testSandbox(t)
	ref, _ := slowRegistry(t)
	cmd := s.command(t, "run", "--image", ref, "true")
	_, stderr := start(t, cmd)
	stderr.until(t, `(?m)^image `+ref+`: pulling: [0-9.]+\w* of [0-9.]+[kM]iB$`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := exitStatus(t, cmd.Wait()); got != 143 {
		t.Errorf("exit status %d, want 143", got)
	}
}
