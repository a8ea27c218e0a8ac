package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// A client talks to dockerd's API.
type client struct{ http http.Client }

// newClient returns a client of the daemon that listens on a socket.
func newClient(socket string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &client{http.Client{Transport: &http.Transport{DialContext: dial}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// do sends a request and returns the answer's body, which the caller closes. A body has size bytes. An
// answer that is no success is an error with dockerd's words.
func (c *client) do(ctx context.Context, method, path string, body io.Reader, size int64) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.ContentLength = size
		req.Header.Set("Content-Type", "application/x-tar")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		var e struct {
			Message string `json:"message"`
		}
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if json.Unmarshal(b, &e) != nil || e.Message == "" {
			e.Message = resp.Status
		}
		return nil, errors.New(e.Message)
	}
	return resp.Body, nil
}

// version asks dockerd for its version, and returns when it answers. The connection stands from the moment when its socket is there; the answer comes
// when it is done with its start.
func (c *client) version(ctx context.Context) (string, error) {
	body, err := c.do(ctx, http.MethodGet, "/version", nil, 0)
	if err != nil {
		return "", fmt.Errorf("dockerd: ask for its version: %w", err)
	}
	defer body.Close()
	var v struct{ Version string }
	if err := json.NewDecoder(io.LimitReader(body, 1<<20)).Decode(&v); err != nil {
		return "", fmt.Errorf("dockerd: read its version: %w", err)
	}
	return v.Version, nil
}

// load loads the images of a file, as docker load does, and returns their names. The length goes ahead, so that the file's contents can go
// through the kernel alone (sendfile(2)): each system call counts.
func (c *client) load(ctx context.Context, file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	body, err := c.do(ctx, http.MethodPost, "/images/load?quiet=1", f, st.Size())
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return loadedNames(body)
}

// loadedNames reads the answer to a load: JSON objects, whose streams say in words what was loaded.
func loadedNames(r io.Reader) ([]string, error) {
	var names []string
	for dec := json.NewDecoder(r); ; {
		var m struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
		}
		err := dec.Decode(&m)
		if err == io.EOF {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		if m.Error != "" {
			return nil, errors.New(m.Error)
		}
		for _, l := range strings.Split(m.Stream, "\n") {
			for _, before := range []string{"Loaded image: ", "Loaded image ID: "} {
				if name, ok := strings.CutPrefix(strings.TrimSpace(l), before); ok {
					names = append(names, name)
				}
			}
		}
	}
}
