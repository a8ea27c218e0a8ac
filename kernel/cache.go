package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// identity tells a file from what it was: if all of it is the same, nobody has changed the file.
type identity struct {
	Size, ModTime, ChangeTime int64
	Device, Inode             uint64
}

// identify returns the identity of a file that may be a kernel.
func identify(path string) (identity, error) {
	st, err := os.Stat(path)
	if err != nil {
		return identity{}, pathless(err)
	}
	if !st.Mode().IsRegular() {
		return identity{}, errors.New("it is not a file")
	}
	s := st.Sys().(*syscall.Stat_t)
	return identity{s.Size, s.Mtim.Nano(), s.Ctim.Nano(), s.Dev, s.Ino}, nil
}

// kept is the cache's file of a kernel. Of the configuration it holds what somebody asks for, because it is read before every boot.
type kept struct {
	Format   int
	Path     string
	Identity identity
	Version  string
	Config   Config
}

const keptFormat = 1

// keptMost bounds a cache file, in bytes.
const keptMost = 64 << 10

// cacheFile is where what was learned of a kernel is kept.
func (f *Finder) cacheFile(path, suffix string) string {
	if f.cache == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(f.cache, "kernels", hex.EncodeToString(sum[:8])+suffix)
}

// recall returns what is known of the kernel at path; nil: nothing, or not of the file that is there now.
func (f *Finder) recall(path string) *Info {
	id, err := identify(path)
	if err != nil {
		return nil
	}
	b, err := readBounded(f.cacheFile(path, ".json"))
	if err != nil {
		return nil
	}
	k, err := parseKept(b)
	if err != nil || k.Path != path || k.Identity != id {
		return nil
	}
	return newInfo(path, k.Version, k.Config, id)
}

// parseKept reads a cache file.
func parseKept(b []byte) (*kept, error) {
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, err
	}
	if k.Format != keptFormat || !versionPattern.MatchString(k.Version) || !k.Config.Has("CONFIG_UML") {
		return nil, errors.New("it is not what was written")
	}
	return &k, nil
}

func readBounded(name string) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.Size() > keptMost {
		return nil, fmt.Errorf("%s: it is too large", name)
	}
	return os.ReadFile(name)
}

// remember keeps what was learned. Where it can't, it will be learned again.
func (f *Finder) remember(i *Info) {
	name := f.cacheFile(i.Path, ".json")
	if name == "" {
		return
	}
	k := kept{Format: keptFormat, Path: i.Path, Identity: i.identity, Version: i.Version, Config: Config{"CONFIG_UML": "y"}}
	for _, s := range symbolsInUse() {
		if v, ok := i.Config[s]; ok {
			k.Config[s] = v
		}
	}
	if b, err := json.Marshal(k); err == nil {
		_ = writeWhole(name, b)
	}
}

// symbolsInUse are those that this package looks at.
func symbolsInUse() []string {
	s := []string{"CONFIG_UML", "CONFIG_SMP", "CONFIG_SECCOMP", "CONFIG_MODULES"}
	for _, e := range essentials {
		s = append(s, e.symbol)
	}
	for _, f := range features {
		s = append(s, f.symbols...)
	}
	return s
}

// writeWhole writes a file in one step, so that nobody reads half of it.
func writeWhole(name string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	t, err := os.CreateTemp(filepath.Dir(name), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(t.Name())
	_, err = t.Write(b)
	if err := errors.Join(err, t.Close()); err != nil {
		return err
	}
	return os.Rename(t.Name(), name)
}

// The bounds of loops per jiffy that make sense: a kernel told nonsense would wait too short or for ever.
const (
	leastLPJ = 1e4
	mostLPJ  = 1e9
)

// learnedLPJ is what is kept of a kernel's delay loop. It depends on the kernel and the CPU.
type learnedLPJ struct {
	Identity identity
	CPU      string
	LPJ      uint64
}

// LearnedLPJ returns the loops per jiffy that LearnLPJ was told of this kernel on this CPU. A kernel that is told doesn't measure, which
// takes it longer than all the rest of its boot (lpj= in Documentation/admin-guide/kernel-parameters.txt).
func (f *Finder) LearnedLPJ(i *Info) (uint64, bool) {
	b, err := readBounded(f.cacheFile(i.Path, ".lpj"))
	if err != nil {
		return 0, false
	}
	var l learnedLPJ
	if json.Unmarshal(b, &l) != nil || l.Identity != i.identity || l.CPU != cpuModel() || !sane(l.LPJ) {
		return 0, false
	}
	return l.LPJ, true
}

// LearnLPJ remembers the loops per jiffy that a kernel has measured. What makes no sense is forgotten.
func (f *Finder) LearnLPJ(i *Info, n uint64) {
	name := f.cacheFile(i.Path, ".lpj")
	if name == "" || !sane(n) {
		return
	}
	if b, err := json.Marshal(learnedLPJ{i.identity, cpuModel(), n}); err == nil {
		_ = writeWhole(name, b)
	}
}

func sane(lpj uint64) bool { return lpj >= leastLPJ && lpj <= mostLPJ }

// cpuModel is the name of the host's first CPU (proc_cpuinfo(5)).
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 4096)
	n, _ := f.Read(b)
	for _, l := range strings.Split(string(b[:n]), "\n") {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
