package uml

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/sekexe/sekexe/orchestrator"
)

// seedFormat is part of every seed's key: it changes with what a seed is.
const seedFormat = "1"

// harmless are settings of daemon.json that don't change what a daemon keeps of the images that it has loaded.
var harmless = []string{"registry-mirrors", "insecure-registries", "debug", "log-level", "log-driver", "log-opts"}

// seedKey stands for all that a seed depends on: the images, the daemon, its settings, and how large the disk is.
func seedKey(job *orchestrator.Job) string {
	d := job.Docker
	parts := []string{seedFormat, d.DataRoot, settings(d.Config), strings.Join(d.Args, "\x00"), daemonIdentity(job), fmt.Sprint(seedSize(d))}
	var images []string
	for _, a := range d.Archives {
		images = append(images, a.Contents)
	}
	slices.Sort(images)
	sum := sha256.Sum256([]byte(strings.Join(append(parts, slices.Compact(images)...), "\n")))
	return hex.EncodeToString(sum[:12])
}

// settings is a daemon.json without what is harmless, always in the same order.
func settings(config string) string {
	var m map[string]any
	if json.Unmarshal([]byte(config), &m) != nil {
		return config
	}
	maps.DeleteFunc(m, func(k string, _ any) bool { return slices.Contains(harmless, k) })
	b, err := json.Marshal(m)
	if err != nil {
		return config
	}
	return string(b)
}

// daemonIdentity tells the dockerd of a job's root from others, without asking it for its version: by the image of the root, the file of its file
// system, or the program's own file.
func daemonIdentity(job *orchestrator.Job) string {
	if r := &job.Root; r.FileSystem != "" {
		if r.Image != "" { // the file's folder has the digest of the image's configuration
			return r.Source
		}
		return fileIdentity(r.Source)
	}
	for _, dir := range searchPath(job.Docker.Env) {
		if id := fileIdentity(onHost(job, path.Join(dir, "dockerd"))); id != "" {
			return id
		}
	}
	return ""
}

// searchPath is the PATH of an environment.
func searchPath(env []string) []string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			return filepath.SplitList(v)
		}
	}
	return nil
}

// onHost is where the host has a file of the guest's, by its root and mounts. It may be wrong about links.
func onHost(job *orchestrator.Job, name string) string {
	target, source := "/", "/"
	if job.Root.Source != "" {
		source = job.Root.Source
	}
	for _, m := range job.Mounts {
		if len(m.Target) >= len(target) && (name == m.Target || strings.HasPrefix(name, m.Target+"/")) {
			target, source = m.Target, m.Source
		}
	}
	return filepath.Join(source, strings.TrimPrefix(name, target))
}

// fileIdentity tells the state of a file from others; empty: it isn't there.
func fileIdentity(file string) string {
	st, err := os.Stat(file)
	if err != nil || !st.Mode().IsRegular() {
		return ""
	}
	sys := st.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%s %d %d %d", file, sys.Ino, st.Size(), st.ModTime().UnixNano())
}
