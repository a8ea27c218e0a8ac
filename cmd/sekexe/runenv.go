package main

import (
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// passedOn are the variables that a command always gets from this process's environment; a pattern stands for all that it matches. The
// others may hold what a guest has no business to know. They are in docs/guest.md.
var passedOn = []string{
	"HOME", "PATH", "TERM", "COLORTERM", "NO_COLOR", "LANG", "LANGUAGE", "LC_*", "TZ", "SHELL", "EDITOR", "PAGER", "CI",
}

// environ is the command's environment: what is passed on, and what --env adds.
func (f *runFlags) environ() ([]string, error) {
	own := os.Environ()
	env := map[string]string{}
	if f.image == "" { // or its own, which may be another
		env["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	pass := func(pattern string) error {
		for _, kv := range own {
			k, v, _ := strings.Cut(kv, "=")
			if ok, err := path.Match(pattern, k); err != nil {
				return err
			} else if ok && k != "" {
				env[k] = v
			}
		}
		return nil
	}
	always := passedOn
	if f.otherRoot() { // the others tell of this machine
		always = []string{"TERM"}
	}
	for _, p := range always {
		if err := pass(p); err != nil {
			return nil, err
		}
	}
	if f.user != "" { // somebody else's home is none
		delete(env, "HOME")
		delete(env, "SHELL")
	}
	for _, e := range f.env {
		k, v, ok := strings.Cut(e, "=")
		switch {
		case k == "":
			return nil, misuse("--env %s: want NAME=VALUE, NAME or a pattern", e)
		case ok:
			env[k] = v
		default:
			if err := pass(k); err != nil {
				return nil, misuse("--env %s: %v", e, err)
			}
		}
	}
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list, nil
}
