package orchestrator

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekexe/sekexe/config"
)

func TestUseImage(t *testing.T) {
	img := &Image{
		Path: "/cache/root.ext4", FileSystem: "ext4", Env: []string{"PATH=/app:/bin", "A=image", "B=image", "nonsense", "=x"}, Dir: "/app", User: "app",
		Entrypoint: []string{"/entry"}, Cmd: []string{"serve", "--all"},
	}
	sub := config.Subkernel{
		Name: "web", Env: map[string]string{"A": "file", "C": "file"}, Root: config.Root{Mode: "overlay", Image: "localhost/a:latest", Pull: "missing"}, Service: true,
		Ready: &config.Ready{Argv: []string{"probe"}}, Expect: config.Expect{Exit: []int{0}},
	}
	n := newNode(&sub, "web")
	if err := n.Job.UseImage(img); err != nil {
		t.Fatal(err)
	}
	env := []string{"A=file", "B=image", "C=file", "PATH=/app:/bin", "TERM=dumb"}
	want := []Step{{Name: "command", Argv: []string{"/entry", "serve", "--all"}, Env: env, Dir: "/app", User: "app", Umask: 0o022, ExpectExit: []int{0}}}
	if diff := cmp.Diff(want, n.Job.Steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&Ready{Argv: []string{"probe"}, Env: env, Dir: "/app", User: "app"}, n.Job.Ready); diff != "" {
		t.Errorf("ready (-want +got):\n%s", diff)
	}
	root := Root{Mode: "overlay", Source: "/cache/root.ext4", FileSystem: "ext4", Image: "localhost/a:latest", Pull: "missing", Container: true}
	if diff := cmp.Diff(root, n.Job.Root); diff != "" {
		t.Errorf("root (-want +got):\n%s", diff)
	}
	if !n.Job.Service {
		t.Error("the job of an image without a command is no service, though the file makes it one")
	}
}

func TestUseImageCommands(t *testing.T) {
	for _, tc := range []struct {
		name             string
		entrypoint, cmd  []string
		argv, want       []string
		ofImage, refused bool
	}{
		{"arguments for the entrypoint", []string{"e"}, []string{"c"}, []string{"a"}, []string{"e", "a"}, true, false},
		{"the image's own", []string{"e"}, []string{"c"}, nil, []string{"e", "c"}, true, false},
		{"without an entrypoint", nil, []string{"c"}, []string{"a"}, []string{"a"}, true, false},
		{"a step of a file", []string{"e"}, []string{"c"}, []string{"/bin/sh", "-c", "a"}, []string{"/bin/sh", "-c", "a"}, false, false},
		{"nothing at all", nil, nil, nil, nil, true, true},
	} {
		j := Job{Steps: []Step{{Argv: tc.argv, OfImage: tc.ofImage, Dir: "/d", User: "u"}}}
		err := j.UseImage(&Image{Entrypoint: tc.entrypoint, Cmd: tc.cmd, Dir: "/x", User: "x"})
		if (err != nil) != tc.refused {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		s := j.Steps[0]
		if diff := cmp.Diff(tc.want, s.Argv); err == nil && (diff != "" || s.Dir != "/d" || s.User != "u" || s.OfImage) {
			t.Errorf("%s: %+v (-want +got):\n%s", tc.name, s, diff)
		}
	}
}
