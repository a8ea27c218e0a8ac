package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// The labels that docker compose gives its containers (pkg/api/labels.go in github.com/docker/compose; those of version 1 are the same).
const (
	labelConfig  = "com.docker.compose.project.config_files"
	labelService = "com.docker.compose.service"
	labelOneOff  = "com.docker.compose.oneoff"
)

// A container is what GET /containers/ID/json says of one.
type container struct {
	State struct {
		Status   string
		ExitCode int
		Health   *struct{ Status string }
	}
	Config struct{ Labels map[string]string }
}

func (c container) service() string { return c.Config.Labels[labelService] }

// serves says whether the container does what it is there for.
func (c container) serves() bool {
	switch c.State.Status {
	case "running":
		return c.State.Health == nil || c.State.Health.Status == "healthy" || c.State.Health.Status == "none"
	case "exited":
		return c.State.ExitCode == 0
	}
	return false
}

// composeContainers returns the containers of the services of a compose file.
func (c *client) composeContainers(ctx context.Context, file string) ([]container, error) {
	var list []struct {
		ID     string `json:"Id"`
		Labels map[string]string
	}
	filter, err := json.Marshal(map[string][]string{"label": {labelConfig + "=" + file}})
	if err != nil {
		return nil, err
	}
	if err := c.get(ctx, "/containers/json?all=1&filters="+url.QueryEscape(string(filter)), &list); err != nil {
		return nil, fmt.Errorf("dockerd: list the containers: %w", err)
	}
	var all []container
	for _, l := range list {
		if l.Labels[labelOneOff] == "True" {
			continue
		}
		var one container
		if err := c.get(ctx, "/containers/"+l.ID+"/json", &one); err != nil {
			return nil, fmt.Errorf("dockerd: inspect container %.12s: %w", l.ID, err)
		}
		all = append(all, one)
	}
	return all, nil
}

// stopContainers stops all that run, at the same time. What goes wrong with that is left to dockerd's own end.
func (c *client) stopContainers(seconds int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds+1)*time.Second)
	defer cancel()
	var list []struct {
		ID string `json:"Id"`
	}
	if err := c.get(ctx, "/containers/json", &list); err != nil {
		return
	}
	var all sync.WaitGroup
	for _, l := range list {
		all.Go(func() {
			if body, err := c.do(ctx, http.MethodPost, "/containers/"+l.ID+"/stop?t="+strconv.Itoa(seconds), nil, 0); err == nil {
				body.Close()
			}
		})
	}
	all.Wait()
}

// get asks for something and decodes the answer.
func (c *client) get(ctx context.Context, path string, to any) error {
	body, err := c.do(ctx, http.MethodGet, path, nil, 0)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(io.LimitReader(body, 16<<20)).Decode(to)
}

// An eventStream is dockerd's word of what happens to containers, from before the moment when it was asked for.
type eventStream struct {
	body io.ReadCloser
	dec  *json.Decoder
}

func (c *client) events(ctx context.Context) (*eventStream, error) {
	// dockerd answers before it listens to itself: without since, what happens between the two would be lost.
	since := strconv.FormatInt(time.Now().Unix()-1, 10)
	body, err := c.do(ctx, http.MethodGet, "/events?since="+since+"&filters="+url.QueryEscape(`{"type":["container"]}`), nil, 0)
	if err != nil {
		return nil, fmt.Errorf("dockerd: ask for its events: %w", err)
	}
	return &eventStream{body, json.NewDecoder(body)}, nil
}

// next waits for an event, whatever it is.
func (e *eventStream) next() error {
	var m json.RawMessage
	return e.dec.Decode(&m)
}

// Close ends the stream.
func (e *eventStream) Close() error { return e.body.Close() }
