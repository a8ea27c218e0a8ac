package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
)

// maxFile is the greatest size in bytes of a file that is read: a configuration, a file of variables, or what file() names.
const maxFile = 1 << 20

// stdinName stands for standard input in messages.
const stdinName = "<stdin>"

// fileNames are the names that FindFile looks for, in this order.
var fileNames = []string{"sekexe.hcl", "sekexe.hcl.json"}

// overrideNames are the names of the files that are merged over the others in their folder.
var overrideNames = []string{"sekexe.override.hcl", "sekexe.override.hcl.json"}

// A source is one configuration file.
type source struct {
	name string // for messages: as the user wrote it
	path string // absolute; "-" for standard input
	dir  string // absolute: what relative paths in it start from
	body hcl.Body
}

// FindFile looks for sekexe.hcl, then sekexe.hcl.json, in dir and then in its parents, and returns the path of the first that there is.
func FindFile(dir string) (path string, ok bool) {
	for {
		for _, name := range fileNames {
			p := filepath.Join(dir, name)
			if st, err := os.Stat(p); err == nil && !st.IsDir() {
				return p, true
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

// sources reads the files that the options name, or the one that is found, and the overrides next to them.
func (l *loader) sources() []*source {
	named := l.opts.Files
	if len(named) == 0 {
		path, ok := FindFile(l.opts.Dir)
		if !ok {
			l.diags.errorNowhere("No configuration file",
				fmt.Sprintf("There is no sekexe.hcl or sekexe.hcl.json in %s or a folder above it. Write one (`sekexe init` writes a first one), or name a file with -f.", l.opts.Dir))
			return nil
		}
		if rel, err := filepath.Rel(l.opts.Dir, path); err == nil {
			path = rel
		}
		named = []string{path}
	}
	var out []*source
	read := map[string]bool{}
	for _, name := range append(named, l.overrides(named)...) {
		s := &source{name: name, path: l.absolute(name), dir: filepath.Dir(l.absolute(name))}
		if name == "-" {
			s.name, s.path, s.dir = stdinName, "-", l.opts.Dir
		}
		if read[s.path] {
			continue
		}
		read[s.path] = true
		if l.parse(s) {
			out = append(out, s)
		}
	}
	return out
}

// overrides returns the override files in the folders of the named files, by names of the same form.
func (l *loader) overrides(named []string) []string {
	var out []string
	done := map[string]bool{}
	for _, name := range named {
		dir := filepath.Dir(name)
		if name == "-" || done[l.absolute(dir)] {
			continue
		}
		done[l.absolute(dir)] = true
		for _, o := range overrideNames {
			p := filepath.Join(dir, o)
			if _, err := os.Lstat(l.absolute(p)); err == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// absolute resolves a path that the user gave on the command line.
func (l *loader) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(l.opts.Dir, path)
}

// parse reads and parses s. It reports whether there is a body, which there may be in spite of errors.
func (l *loader) parse(s *source) bool {
	src, err := l.read(s)
	if err != nil {
		l.diags.errorNowhere("Cannot read "+s.name, readHint(err))
		return false
	}
	if int64(len(src)) > maxFile {
		l.diags.errorNowhere(s.name+" is too large", fmt.Sprintf("A configuration file may have at most %d bytes. Split it and name the parts with several -f, or move data to files of their own.", maxFile))
		return false
	}
	f, diags := parseSource(s.name, src)
	l.diags.addFile(s.name, f)
	l.diags.add(diags...)
	if f.Body == nil {
		return false
	}
	s.body = f.Body
	l.dirs[s.name] = s.dir
	return true
}

func (l *loader) read(s *source) ([]byte, error) {
	if s.path == "-" {
		if l.opts.Stdin == nil {
			return nil, errors.New("there is no standard input")
		}
		return io.ReadAll(io.LimitReader(l.opts.Stdin, maxFile+1))
	}
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// readHint says what to do about a file that can't be read.
func readHint(err error) string {
	text := err.Error()
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		text = pathErr.Path + ": " + pathErr.Err.Error()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return text + ". Check the path."
	case errors.Is(err, fs.ErrPermission):
		return text + ". Let yourself read it (chmod), or run as its owner."
	default:
		return text + ". Name a file that can be read."
	}
}

// parseSource parses HCL, or JSON where the name ends in .json or, for standard input, the text begins like it. The file is never nil, and
// has no body if the text is not fit to be parsed at all.
func parseSource(name string, src []byte) (*hcl.File, hcl.Diagnostics) {
	isJSON := isJSONName(name) || name == stdinName && bytes.HasPrefix(bytes.TrimSpace(src), []byte("{"))
	if diags := checkNesting(name, src, isJSON); diags.HasErrors() {
		return &hcl.File{Bytes: src}, diags
	}
	var f *hcl.File
	var diags hcl.Diagnostics
	if isJSON {
		f, diags = hcljson.Parse(src, name)
	} else {
		f, diags = hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	}
	if f == nil {
		f = &hcl.File{}
	}
	f.Bytes = src
	return f, diags
}

func isJSONName(name string) bool { return strings.HasSuffix(name, ".json") }
