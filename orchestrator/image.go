package orchestrator

import (
	"errors"
	"slices"
	"strings"
)

// An Image is what has become of the OCI image of a job: a file with its file system, and what it says about commands.
type Image struct {
	// ID is the digest of its configuration.
	ID string
	// Path is the file, FileSystem what is in it.
	Path, FileSystem string
	Env              []string // K=V
	Dir, User        string
	// Entrypoint is what all of Cmd, or what is given in its place, are the arguments of.
	Entrypoint, Cmd []string
}

// imageEnv is the environment below that of an image.
var imageEnv = map[string]string{"PATH": baseEnv["PATH"], "TERM": baseEnv["TERM"]}

// UseImage makes img the root of the job, and fills in what the image says where the job says nothing: the environment, the folder, the user and
// the commands of its steps and its test of readiness.
func (j *Job) UseImage(img *Image) error {
	j.Root.Source, j.Root.FileSystem, j.Root.ImageID, j.Root.Container = img.Path, img.FileSystem, img.ID, true
	j.Steps = slices.Clone(j.Steps)
	for i := range j.Steps {
		s := &j.Steps[i]
		if s.OfImage {
			argv, err := img.command(s.Argv)
			if err != nil {
				return err
			}
			s.Argv, s.OfImage = argv, false
		}
		s.Env, s.Dir, s.User = img.surroundings(s.Env, s.Dir, s.User)
	}
	if j.Docker != nil {
		d := *j.Docker
		d.Env, _, _ = img.surroundings(d.Env, "", "")
		j.Docker = &d
	}
	if j.Ready != nil && (len(j.Ready.Argv) > 0 || j.Ready.Compose != "") {
		r := *j.Ready
		r.Env, r.Dir, r.User = img.surroundings(r.Env, r.Dir, r.User)
		j.Ready = &r
	}
	return nil
}

// command is the entrypoint with these arguments or the image's own.
func (img *Image) command(args []string) ([]string, error) {
	if len(args) == 0 {
		args = img.Cmd
	}
	argv := slices.Concat(img.Entrypoint, args)
	if len(argv) == 0 {
		return nil, errors.New("the image says no command to run: give one")
	}
	return argv, nil
}

// surroundings lays what a step says over what the image says.
func (img *Image) surroundings(env []string, dir, user string) ([]string, string, string) {
	if dir == "" {
		dir = img.Dir
	}
	if dir == "" {
		dir = "/"
	}
	if user == "" {
		user = img.User
	}
	return environ(imageEnv, envMap(img.Env), envMap(env)), dir, user
}

// envMap reads K=V; what is none is left out.
func envMap(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && k != "" && !strings.ContainsRune(kv, 0) {
			m[k] = v
		}
	}
	return m
}
