package uml

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/sekexe/sekexe/orchestrator"
)

// logMost bounds a log file, in bytes. A guest that prints more is still heard, but not kept.
const logMost = 64 << 20

// logs are the log files of one sub-kernel: kernel.log, and for each step that prints something N-NAME.stdout and N-NAME.stderr. Files
// are made when there is something to write. A log that can't be written costs a notice, not the job.
type logs struct {
	dir    string // "": no logs
	notice func(string)

	mu     sync.Mutex
	files  map[string]*logFile
	failed bool
}

type logFile struct {
	f *os.File
	n int64
}

func openLogs(root, id string, notice func(string)) *logs {
	l := &logs{notice: notice, files: map[string]*logFile{}}
	if root != "" {
		l.dir = filepath.Join(root, id)
		if err := os.MkdirAll(l.dir, 0o700); err != nil {
			l.fail(err)
		}
	}
	return l
}

func (l *logs) kernel(p []byte) { l.write("kernel.log", p) }

func (l *logs) step(i int, name string, stream orchestrator.Stream, p []byte) {
	l.write(stepFile(i, name, stream), p)
}

func stepFile(i int, name string, stream orchestrator.Stream) string {
	return fmt.Sprintf("%d-%s.%s", i+1, fileName(name), stream)
}

// path returns the path of the log of a step; empty if it has printed nothing.
func (l *logs) path(i int, name string, stream orchestrator.Stream) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := stepFile(i, name, stream)
	if l.files[f] == nil {
		return ""
	}
	return filepath.Join(l.dir, f)
}

// fileName makes a step's name fit for a file.
func fileName(name string) string {
	s := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, name)
	return s[:min(len(s), 100)]
}

func (l *logs) write(name string, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir == "" || l.failed {
		return
	}
	f := l.files[name]
	if f == nil {
		w, err := os.OpenFile(filepath.Join(l.dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			l.fail(err)
			return
		}
		f = &logFile{f: w}
		l.files[name] = f
	}
	if f.n >= logMost {
		return
	}
	if f.n+int64(len(p)) > logMost {
		p = append(append([]byte(nil), p[:logMost-f.n]...), "\n[the log ends here: it is full]\n"...)
		f.n = logMost
	}
	n, err := f.f.Write(p)
	f.n += int64(n)
	if err != nil {
		l.fail(err)
	}
}

// fail gives the logs up, with one notice.
func (l *logs) fail(err error) {
	l.failed = true
	l.notice(fmt.Sprintf("logs are incomplete from here on: %v", err))
}

func (l *logs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		if err := f.f.Close(); err != nil && !l.failed {
			l.fail(err)
		}
	}
}

// isFile says whether a source is something else than a folder. One that is missing is the guest's to report.
func isFile(name string) bool {
	st, err := os.Stat(name)
	return err == nil && !st.IsDir()
}
