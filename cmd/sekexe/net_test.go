package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// scriptServe is "serve ADDRESS VAR": it serves HTTP at that address of this machine, on a port that goes into the variable, until the script
// ends: /hello is a line that names the client, /data/SIZE so many bytes, whose SHA-256 is at /sum/SIZE, and a POST to /sum is answered with
// the SHA-256 of its body.
func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: serve ADDRESS VAR")
	}
	l, err := net.Listen("tcp", net.JoinHostPort(args[0], "0"))
	ts.Check(err)
	srv := &http.Server{Handler: testPages()}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) }) // ends with Close
	ts.Defer(func() {
		srv.Close()
		wg.Wait()
	})
	ts.Setenv(args[1], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// testPages are the pages of scriptServe.
func testPages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello %s\n", r.RemoteAddr) })
	mux.HandleFunc("GET /data/{size}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(w, testData(), pathSize(r)) // a client that goes away is its own trouble
	})
	mux.HandleFunc("GET /sum/{size}", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		_, _ = io.CopyN(h, testData(), pathSize(r))
		fmt.Fprintf(w, "%x\n", h.Sum(nil))
	})
	mux.HandleFunc("POST /sum", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		if _, err := io.Copy(h, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%x\n", h.Sum(nil))
	})
	return mux
}

func pathSize(r *http.Request) int64 {
	n, _ := strconv.ParseInt(r.PathValue("size"), 10, 64)
	return n
}

// testData are bytes that no compression or zero page makes cheap, the same each time.
func testData() io.Reader { return rand.NewChaCha8([32]byte{1}) }

// scriptFetch is "fetch URL...": it gets each URL from this machine and prints what comes. "! fetch" wants each to fail. Many at once are
// "fetch -n COUNT URL".
func scriptFetch(ts *testscript.TestScript, neg bool, args []string) {
	count := 1
	if len(args) == 3 && args[0] == "-n" {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		count, args = n, args[2:]
	}
	if len(args) == 0 {
		ts.Fatalf("usage: fetch [-n COUNT] URL...")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var wg sync.WaitGroup
	bodies, errs := make([]string, count*len(args)), make([]error, count*len(args))
	for i := range bodies {
		wg.Go(func() { bodies[i], errs[i] = fetch(ctx, args[i%len(args)]) })
	}
	wg.Wait()
	for i, err := range errs {
		switch {
		case neg && err == nil:
			ts.Fatalf("fetch %s: it answers: %q", args[i%len(args)], bodies[i])
		case !neg && err != nil:
			ts.Fatalf("fetch: %v", err)
		}
	}
	fmt.Fprint(ts.Stdout(), strings.Join(bodies, ""))
}

func fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	t := &http.Transport{DisableKeepAlives: true}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, b)
	}
	return string(b), err
}

// scriptFreePort is "freeport VAR": it puts a port into the variable that nobody listens on.
func scriptFreePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	ts.Check(l.Close())
}

// scriptAppears is "appears FILE": it waits until the file is there.
func scriptAppears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: appears FILE")
	}
	file := ts.MkAbs(args[0])
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	ts.Check(err)
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, filepath.Dir(file), unix.IN_CREATE|unix.IN_MOVED_TO)
	ts.Check(err)
	deadline := time.Now().Add(patience)
	for {
		if _, err := os.Lstat(file); err == nil {
			return
		}
		ts.Check(pollIn(fd, time.Until(deadline)))
		var buf [4096]byte
		_, err = unix.Read(fd, buf[:])
		ts.Check(err)
	}
}
