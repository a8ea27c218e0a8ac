package kernel

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// sameInfo compares all of an Info but where it came from.
var sameInfo = cmp.Options{cmp.AllowUnexported(Info{}, Config{}), cmpopts.IgnoreFields(Info{}, "Origin")}

func TestCacheRemembers(t *testing.T) {
	f := finder(t, nil)
	path := fake(t, t.TempDir(), "linux", goodKernel("7.2.13"))
	first := resolve(t, f, Choice{Path: path})
	n := starts(t, path)
	if n == 0 {
		t.Fatal("the kernel was not asked")
	}
	second := resolve(t, &Finder{CacheDir: f.CacheDir}, Choice{Path: path})
	if diff := cmp.Diff(first, second, sameInfo); diff != "" {
		t.Errorf("remembered (-asked +remembered):\n%s", diff)
	}
	if got := starts(t, path); got != n {
		t.Errorf("the kernel was asked again: %d starts, %d before", got, n)
	}
}

func TestCacheForgetsChangedFiles(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, path string)
	}{
		{"another time", func(t *testing.T, path string) {
			if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}},
		{"the time put back after a change", func(t *testing.T, path string) {
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, time.Time{}, st.ModTime()); err != nil {
				t.Fatal(err)
			}
		}},
		{"another file", func(t *testing.T, path string) {
			copyFile(t, path, path+".new")
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := finder(t, nil)
			dir := t.TempDir()
			path := fake(t, dir, "linux", goodKernel("7.2.13"))
			resolve(t, f, Choice{Path: path})
			if err := os.WriteFile(filepath.Join(dir, "behaviour"), []byte(goodKernel("7.2.14")), 0o600); err != nil {
				t.Fatal(err)
			}
			tt.change(t, path)
			if i := resolve(t, f, Choice{Path: path}); i.Version != "7.2.14" {
				t.Errorf("Version = %s; want that of the new file, 7.2.14", i.Version)
			}
		})
	}
}

func TestCacheIgnoresRubbish(t *testing.T) {
	path := fake(t, t.TempDir(), "linux", goodKernel("7.2.13"))
	for _, tt := range []struct {
		name   string
		damage func(b []byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"cut off", func(b []byte) []byte { return b[:len(b)/2] }},
		{"without its configuration", func(b []byte) []byte { return b[:bytes.IndexByte(b, '\n')] }},
		{"a changed bit", func(b []byte) []byte { b[len(b)-3] ^= 1; return b }},
		{"another path", func(b []byte) []byte { return bytes.Replace(b, []byte("/linux"), []byte("/linus"), 1) }},
		{"another version", func(b []byte) []byte { return bytes.Replace(b, []byte("7.2.13"), []byte("\x1b.2.13"), 1) }},
		{"another format", func(b []byte) []byte { return bytes.Replace(b, []byte(`"format":`), []byte(`"format":1`), 1) }},
		{"too long", func([]byte) []byte { return bytes.Repeat([]byte("x"), maxRecord*2) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := finder(t, nil)
			resolve(t, f, Choice{Path: path})
			file := f.recordPath(path)
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, tt.damage(bytes.Clone(whole)), 0o600); err != nil {
				t.Fatal(err)
			}
			n := starts(t, path)
			if i := resolve(t, f, Choice{Path: path}); i.Version != "7.2.13" {
				t.Errorf("Version = %q", i.Version)
			}
			if starts(t, path) == n {
				t.Error("the kernel was not asked again")
			}
			if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, whole) {
				t.Errorf("the file was not written again: %v", err)
			}
		})
	}
}

// Without a place for the cache everything works, only slower.
func TestCacheNowhere(t *testing.T) {
	path := fake(t, t.TempDir(), "linux", goodKernel("7.2.13"))
	occupied := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", occupied, filepath.Join(occupied, "cache"), "/proc/nothing"} {
		f := &Finder{CacheDir: dir}
		for range 2 {
			i := resolve(t, f, Choice{Path: path})
			f.LearnLPJ(i, 20_000_000)
			if n, ok := f.LearnedLPJ(i); ok {
				t.Errorf("with the cache in %q LearnedLPJ = %d", dir, n)
			}
		}
	}
	if _, err := (&Finder{Getenv: func(string) string { return "" }}).List(context.Background()); err != nil {
		t.Errorf("List without a cache: %v", err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-2 * time.Hour)
	for n := range 3 * maxRemembered {
		name := filepath.Join(dir, fmt.Sprintf("%03d", n))
		if n%3 == 0 {
			name = filepath.Join(dir, tempPrefix+fmt.Sprint(n))
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, old, old.Add(time.Duration(n)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	store(filepath.Join(dir, "new"), []byte("new"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != maxRemembered {
		t.Errorf("%d files stayed; want %d", len(entries), maxRemembered)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	all := strings.Join(names, " ")
	if !strings.Contains(all, "new") || strings.Contains(all, tempPrefix) || strings.Contains(all, "001") {
		t.Errorf("files = %s; want the newest, and nothing half-written", all)
	}
}

// A file of the cache that is taken for one is what would be written.
func FuzzDecodeRecord(f *testing.F) {
	c, err := ParseConfig(goodConfig)
	if err != nil {
		f.Fatal(err)
	}
	good, err := encodeRecord(fromAnswers("/bin/linux", identity{1, 2, 3, 4, 5}, answers{version: "7.2.13", seccomp: true, config: c.only(wanted)}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:100])
	f.Add([]byte("{}\nCONFIG_UML=y\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := decodeRecord(b)
		if err != nil {
			if i != nil {
				t.Errorf("decodeRecord(%q) = %+v and an error", b, i)
			}
			return
		}
		again, err := encodeRecord(i)
		if err != nil {
			t.Fatal(err)
		}
		j, err := decodeRecord(again)
		if err != nil {
			t.Fatalf("decodeRecord(%q): %v", again, err)
		}
		if diff := cmp.Diff(i, j, sameInfo); diff != "" {
			t.Errorf("decoded again (-first +second):\n%s", diff)
		}
		Missing(i)
	})
}

// What is remembered must cost next to nothing: sekexe run boots a kernel in some 30 ms. Budget: 200 microseconds. On a busy host look at
// the CPU time.
func BenchmarkResolveRemembered(b *testing.B) {
	f := finder(b, nil)
	c := Choice{Path: realKernel(b)}
	resolve(b, f, c)
	measure(b, func() { resolve(b, f, c) })
}

// The same without a name, with the searching.
func BenchmarkResolveDefault(b *testing.B) {
	f := finder(b, map[string]string{"PATH": os.Getenv("PATH")})
	resolve(b, f, Choice{})
	measure(b, func() { resolve(b, f, Choice{}) })
}

func BenchmarkLearnedLPJ(b *testing.B) {
	f := finder(b, nil)
	i := resolve(b, f, Choice{Path: realKernel(b)})
	f.LearnLPJ(i, 20_000_000)
	measure(b, func() {
		if _, ok := f.LearnedLPJ(i); !ok {
			b.Fatal("nothing was learned")
		}
	})
}

// measure runs the loop of a benchmark and reports the CPU time of one round, too.
func measure(b *testing.B, f func()) {
	before := cpuTime(b)
	b.ResetTimer()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what this process has used, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}
