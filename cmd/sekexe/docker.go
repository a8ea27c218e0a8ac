package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sekexe/sekexe/config"
	"github.com/sekexe/sekexe/network"
	"github.com/sekexe/sekexe/orchestrator"
	"github.com/sekexe/sekexe/uml"
)

// socketFolder is the folder below a run's scratch folder for its sockets that lead to Docker daemons, and for what is known of them: a file
// NUMBER.json for each.
const socketFolder = "docker"

// maxSocketPath is the length of the longest path of a socket (sun_path in unix(7) holds 108 bytes with the NUL).
const maxSocketPath = 107

// A dockerSocket is what such a file says.
type dockerSocket struct {
	Run    string `json:"run"`  // its ID
	File   string `json:"file"` // of the project
	Name   string `json:"name"` // of the sub-kernel
	Socket string `json:"socket"`
}

// String says where it is, as a hint lists it.
func (s dockerSocket) String() string {
	return fmt.Sprintf("%s in run %s of %s", s.Name, s.Run, s.File)
}

// forward makes the socket of a job's Docker daemon: where the file says, or in the scratch folder.
func (h *host) forward(job *orchestrator.Job) (*orchestrator.Forward, error) {
	dir := filepath.Join(h.runtime.Scratch(), socketFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	base := filepath.Join(dir, fmt.Sprint(h.sockets.Add(1)))
	s := dockerSocket{Run: h.id, File: h.file, Name: job.Name, Socket: job.Docker.Socket}
	if s.Socket == "" {
		s.Socket = base + ".sock"
		if len(s.Socket) > maxSocketPath {
			h.notice(fmt.Sprintf("docker: sekexe docker can't reach %s: its socket would have a path of %d bytes, and Linux takes %d: give it a socket in the docker block, or name a shorter folder in %s",
				job.Name, len(s.Socket), maxSocketPath, uml.EnvMemoryDir))
			return nil, nil
		}
	}
	f, err := network.Forward(s.Socket, h.notice)
	if err != nil {
		return nil, err
	}
	note := base + ".json"
	err = writeWhole(note, func(w io.Writer) error { return json.NewEncoder(w).Encode(s) })
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	shut := f.Close
	f.Close = func() error { return errors.Join(os.Remove(note), shut()) }
	return f, nil
}

// liveSockets are those of this user's runs that live.
func liveSockets() []dockerSocket {
	var all []dockerSocket
	for _, dir := range uml.LiveScratches() {
		notes, _ := filepath.Glob(filepath.Join(dir, socketFolder, "*.json"))
		for _, n := range notes {
			var s dockerSocket
			if b, err := os.ReadFile(n); err == nil && json.Unmarshal(b, &s) == nil {
				all = append(all, s)
			}
		}
	}
	return all
}

// dockerFlags are the flags of sekexe docker.
type dockerFlags struct{ file, run string }

func newDockerCommand() *cobra.Command {
	var f dockerFlags
	cmd := &cobra.Command{
		Use:   "docker [flags] NAME [--] [ARG...]",
		Short: "Run the docker command of this machine on the Docker daemon of a sub-kernel",
		Long: `docker runs this machine's docker command with the arguments on the Docker daemon of the sub-kernel NAME, which a docker block starts, while
up runs it in another terminal. Until the daemon can be used, it waits.

If several runs have such a sub-kernel, it is the one of the file that up would take here, or that --file names. The exit status is that of
the docker command.`,
		Example: `  sekexe docker web -- ps
  sekexe docker web -- run --rm -it app sh`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			rest := args[1:]
			if len(rest) > 0 && rest[0] == "--" {
				rest = rest[1:]
			}
			return f.exec(args[0], rest)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			var names []string
			for _, s := range liveSockets() {
				names = append(names, s.Name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false) // what follows the name is for docker
	fl.StringVarP(&f.file, "file", "f", "", "the file of the run, if several runs have such a sub-kernel (default: sekexe.hcl here or in a parent folder)")
	fl.StringVar(&f.run, "run", "", "the run, by its ID")
	_ = cmd.MarkFlagFilename("file", "hcl", "json")
	_ = cmd.RegisterFlagCompletionFunc("run", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var runs []string
		for _, s := range liveSockets() {
			runs = append(runs, s.Run)
		}
		return slices.Compact(runs), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// exec becomes the docker command, so that terminal, signals and status are that's own.
func (f *dockerFlags) exec(name string, args []string) error {
	s, err := f.find(name, liveSockets())
	if err != nil {
		return failure(err)
	}
	docker, err := exec.LookPath("docker")
	if err != nil {
		return failure(&hintedError{errors.New("docker: find it: there is no such command on this machine"),
			"install it: apt-get install docker.io (Debian from 13 on and Ubuntu have docker-cli, too); or use another client with DOCKER_HOST=unix://" + s.Socket})
	}
	err = syscall.Exec(docker, append([]string{"docker"}, args...), dockerEnviron(os.Environ(), s.Socket))
	return failure(fmt.Errorf("%s: run it: %w", docker, err))
}

// dockerEnviron is an environment in which docker uses a socket, whatever it would have used otherwise.
func dockerEnviron(env []string, socket string) []string {
	return append(slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return name == "DOCKER_HOST" || name == "DOCKER_CONTEXT" || name == "DOCKER_CERT_PATH" || strings.HasPrefix(name, "DOCKER_TLS")
	}), "DOCKER_HOST=unix://"+socket)
}

// find returns the one socket that is meant.
func (f *dockerFlags) find(name string, live []dockerSocket) (dockerSocket, error) {
	match := slices.DeleteFunc(slices.Clone(live), func(s dockerSocket) bool { return s.Name != name || f.run != "" && s.Run != f.run })
	file, err := f.project()
	if err != nil {
		return dockerSocket{}, err
	}
	ofFile := slices.DeleteFunc(slices.Clone(match), func(s dockerSocket) bool { return s.File != file })
	if len(ofFile) > 0 || f.file != "" {
		match = ofFile
	}
	list := func(sockets []dockerSocket) string {
		var text []string
		for _, s := range sockets {
			text = append(text, s.String())
		}
		return strings.Join(text, ", ")
	}
	switch {
	case len(match) == 1:
		return match[0], nil
	case len(match) > 1:
		return dockerSocket{}, &hintedError{fmt.Errorf("sub-kernel %s: find its Docker daemon: several runs have one", name), "choose one with --run: " + list(match)}
	case len(live) > 0:
		return dockerSocket{}, &hintedError{fmt.Errorf("sub-kernel %s: find its Docker daemon: no such one runs", name), "these run: " + list(live)}
	}
	return dockerSocket{}, &hintedError{fmt.Errorf("sub-kernel %s: find its Docker daemon: none runs", name),
		"start it with sekexe up in another terminal: it needs a docker block, and runs as long as its command, or as a service"}
}

// project is the absolute path of the file that is meant; empty: there is none.
func (f *dockerFlags) project() (string, error) {
	if f.file != "" {
		return filepath.Abs(f.file)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("current folder: %w", err)
	}
	file, _ := config.FindFile(dir)
	return file, nil
}
