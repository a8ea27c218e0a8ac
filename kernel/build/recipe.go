package build

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sekexe/sekexe/kernel/config"
)

// A Recipe says how a kernel is configured.
type Recipe struct {
	// Flavour is default, smp, debug or time-travel.
	Flavour string
	// Fragments are files of the user's, laid over ours in their order, and Set single symbols, CONFIG_X=y, laid over these.
	Fragments []string
	Set       []string
	// Unmodified leaves the source as it is, without sekexe's edits, which make sub-kernels faster.
	Unmodified bool
}

// Flavours lists the names of the flavours.
func Flavours() []string {
	var names []string
	for n := range config.Flavours {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// setPattern is a line of a configuration.
var setPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^CONFIG_[A-Za-z0-9_]+=(y|m|n|-?[0-9]+|0x[0-9a-fA-F]+|"[^"\n]*")$`)
})

// text is the whole fragment: later lines win.
func (r Recipe) text() (string, error) {
	extra, ok := config.Flavours[r.Flavour]
	if !ok {
		return "", withHint(fmt.Errorf("flavour %s: there is no such one", r.Flavour), "choose one of "+strings.Join(Flavours(), ", "))
	}
	names := config.Common
	if extra != "" {
		names = append(slices.Clone(names), extra)
	}
	var b strings.Builder
	for _, n := range names {
		t, err := config.Fragments.ReadFile(n)
		if err != nil {
			return "", fmt.Errorf("fragment %s: read it: %w", n, err)
		}
		b.Write(t)
	}
	for _, name := range r.Fragments {
		t, err := os.ReadFile(name)
		if err != nil {
			return "", withHint(fmt.Errorf("fragment %s: read it: %w", name, underlying(err)), "name a file of lines CONFIG_X=y")
		}
		fmt.Fprintf(&b, "%s\n", t)
	}
	for _, s := range r.Set {
		if !setPattern().MatchString(s) {
			return "", withHint(fmt.Errorf("symbol %q: set it: it makes no sense", s), "write CONFIG_X=y, =m, =n, =NUMBER or =\"TEXT\"")
		}
		b.WriteString(s + "\n")
	}
	return b.String(), nil
}

// key is the name of the result: what it is for people, and a hash for what it is made of.
func key(s *Source, r Recipe, fragment string) string {
	of := s.Hash + "\x00" + s.Version + "\x00" + r.Flavour + "\x00" + fragment
	if !r.Unmodified {
		of += "\x00" + editsHash()
	}
	sum := sha256.Sum256([]byte(of))
	return s.Version + "-" + r.Flavour + "-" + hex.EncodeToString(sum[:5])
}

// A Symbol is one line of a configuration.
type Symbol struct{ Name, Value string }

func (s Symbol) String() string { return s.Name + "=" + s.Value }

// parse reads the lines of a configuration or fragment; "n" is a symbol that is not set. Of several lines for a symbol the last holds.
func parse(r io.Reader) ([]Symbol, error) {
	values := map[string]string{}
	var order []string
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		l := strings.TrimSpace(sc.Text())
		k, v, ok := strings.Cut(l, "=")
		if name, is := strings.CutSuffix(l, " is not set"); is {
			k, v, ok = strings.TrimPrefix(name, "# "), "n", true
		}
		if !ok || !strings.HasPrefix(k, "CONFIG_") {
			continue
		}
		if _, seen := values[k]; !seen {
			order = append(order, k)
		}
		values[k] = v
	}
	syms := make([]Symbol, len(order))
	for i, k := range order {
		syms[i] = Symbol{k, values[k]}
	}
	return syms, sc.Err()
}

// essential are the symbols without which sekexe can't boot a kernel.
var essential = []string{
	"CONFIG_HOSTFS", "CONFIG_SSL", "CONFIG_TMPFS", "CONFIG_PROC_FS", "CONFIG_SYSFS", "CONFIG_UNIX98_PTYS", "CONFIG_OVERLAY_FS", "CONFIG_BINFMT_SCRIPT", "CONFIG_DEVTMPFS",
}

// A Dropped is a symbol that Kconfig did not take as we asked.
type Dropped struct {
	Asked Symbol
	Got   string // "n": it is not set
}

func (d Dropped) String() string { return fmt.Sprintf("%s (it is %s)", d.Asked, d.Got) }

// compare says what Kconfig dropped. The error names essential symbols among them.
func compare(asked []Symbol, got []Symbol) ([]Dropped, error) {
	have := map[string]string{}
	for _, s := range got {
		have[s.Name] = s.Value
	}
	var dropped []Dropped
	var errs []error
	for _, a := range asked {
		v, ok := have[a.Name]
		if !ok {
			v = "n"
		}
		if v == a.Value {
			continue
		}
		d := Dropped{a, v}
		dropped = append(dropped, d)
		if slices.Contains(essential, a.Name) {
			errs = append(errs, fmt.Errorf("configuration: Kconfig drops %s, and sekexe can't boot a kernel without it", d))
		}
	}
	return dropped, errors.Join(errs...)
}
