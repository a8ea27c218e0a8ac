package kernel

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLearnLPJ(t *testing.T) {
	f := finder(t, nil)
	path := fake(t, t.TempDir(), "linux", goodKernel("7.2.13"))
	i := resolve(t, f, Choice{Path: path})
	for _, step := range []struct {
		what  string
		learn uint64
		want  uint64
	}{
		{"nothing yet", 0, 0},
		{"too little", minLPJ - 1, 0},
		{"too much", maxLPJ + 1, 0},
		{"a value", 20_000_000, 20_000_000},
		{"less, measured on a busy host", 19_000_000, 20_000_000},
		{"more", 21_000_000, 21_000_000},
		{"nonsense afterwards", 1, 21_000_000},
	} {
		f.LearnLPJ(i, step.learn)
		got, ok := NewFinder(f.CacheDir).LearnedLPJ(i)
		if got != step.want || ok != (step.want != 0) {
			t.Errorf("%s: after LearnLPJ(%d), LearnedLPJ = %d, %v; want %d", step.what, step.learn, got, ok, step.want)
		}
	}
	if n, ok := f.LearnedLPJ(&Info{Path: path}); ok {
		t.Errorf("LearnedLPJ of an Info that was not inspected = %d", n)
	}
}

func TestLearnBoot(t *testing.T) {
	f := finder(t, nil)
	i := resolve(t, f, Choice{Path: fake(t, t.TempDir(), "linux", goodKernel("7.2.13"))})
	f.LearnBoot(i, time.Second)
	if d, ok := f.LearnedBoot(i); ok {
		t.Errorf("LearnedBoot of a kernel whose lpj is not known = %v; want nothing", d)
	}
	f.LearnLPJ(i, 20_000_000)
	for _, step := range []struct {
		what        string
		learn, want time.Duration
		writes      bool
	}{
		{"nothing", 0, 0, false},
		{"less than nothing", -time.Second, 0, false},
		{"more than anybody waits for", 2 * time.Hour, 0, false},
		{"the first", 100 * time.Millisecond, 100 * time.Millisecond, true},
		{"longer, on a busy host", time.Second, 100 * time.Millisecond, false},
		{"a little shorter", 95 * time.Millisecond, 100 * time.Millisecond, false},
		{"shorter", 90 * time.Millisecond, 90 * time.Millisecond, true},
		{"the same", 90 * time.Millisecond, 90 * time.Millisecond, false},
	} {
		before := modified(t, f.lessonPath(i))
		f.LearnBoot(i, step.learn)
		got, ok := NewFinder(f.CacheDir).LearnedBoot(i)
		if got != step.want || ok != (step.want != 0) {
			t.Errorf("%s: after LearnBoot(%v), LearnedBoot = %v, %v; want %v", step.what, step.learn, got, ok, step.want)
		}
		if wrote := modified(t, f.lessonPath(i)) != before; wrote != step.writes {
			t.Errorf("%s: LearnBoot(%v) wrote: %v; want %v", step.what, step.learn, wrote, step.writes)
		}
	}
	f.LearnLPJ(i, 21_000_000)
	if d, _ := f.LearnedBoot(i); d != 90*time.Millisecond {
		t.Errorf("LearnedBoot after LearnLPJ = %v; want what it was", d)
	}
}

// modified tells one file at a path from another: each writing makes a new one.
func modified(t *testing.T, path string) identity {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return identity{Dev: st.Dev, Ino: st.Ino, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}
}

// What was learned of a kernel says nothing of another one at its place.
func TestLearnedLPJOfChangedKernel(t *testing.T) {
	f := finder(t, nil)
	path := fake(t, t.TempDir(), "linux", goodKernel("7.2.13"))
	f.LearnLPJ(resolve(t, f, Choice{Path: path}), 20_000_000)
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	i := resolve(t, f, Choice{Path: path})
	if n, ok := f.LearnedLPJ(i); ok {
		t.Errorf("LearnedLPJ = %d; want nothing", n)
	}
	f.LearnLPJ(i, 10_000_000)
	if n, _ := f.LearnedLPJ(i); n != 10_000_000 {
		t.Errorf("LearnedLPJ = %d; want what was learned of the new kernel", n)
	}
}

func TestCPUModel(t *testing.T) {
	const amd = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nstepping\t: 1\ncpu MHz\t\t: 2096.002\n"
	const want = "AuthenticAMD 26 2 AMD EPYC 1"
	for _, tt := range []struct{ name, in, want string }{
		{"one", amd, want},
		{"two", amd + "\n" + amd, want},
		{"cut off in the second", amd + "\nprocessor\t: 1\nvendor_id\t: Auth", want},
		{"of another machine", "processor\t: 0\nBogoMIPS\t: 50.00\n", ""},
		{"nothing", "", ""},
	} {
		if got := cpuModel([]byte(tt.in)); got != tt.want {
			t.Errorf("%s: cpuModel = %q; want %q", tt.name, got, tt.want)
		}
	}
	if HostCPU() == "" || strings.Contains(HostCPU(), "\n") {
		t.Errorf("HostCPU = %q; want one line", HostCPU())
	}
}

func FuzzDecodeLesson(f *testing.F) {
	f.Add([]byte(`{"path":"/bin/linux","identity":{"Ino":1},"cpu":"x","lpj":20000000}`))
	f.Add([]byte(`{"lpj":-1}`))
	f.Add([]byte(`{"lpj":20000000,"boot":30000000}`))
	f.Add([]byte(`{"lpj":20000000,"boot":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLesson(b)
		if err == nil && (l.LPJ < minLPJ || l.LPJ > maxLPJ || l.Boot < 0 || l.Boot > maxBoot) {
			t.Errorf("decodeLesson(%q) = %+v", b, l)
		}
	})
}
