package kernel

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxVersion is the greatest length of a release, in bytes: that of utsname's fields.
const maxVersion = 64

// A release is a kernel's version, taken apart: 6.12.0-rc3+deb13 is {6 12 0}, "-rc3+deb13".
type release struct {
	numbers []int
	suffix  string
}

// parseRelease takes a release, or its beginning, apart.
func parseRelease(s string) (release, error) {
	var r release
	rest := s
	for {
		n := 0
		for n < len(rest) && '0' <= rest[n] && rest[n] <= '9' {
			n++
		}
		v, err := strconv.Atoi(rest[:n])
		if err != nil || n > 6 || len(r.numbers) == 4 {
			return release{}, fmt.Errorf("%q is no kernel version", s)
		}
		r.numbers = append(r.numbers, v)
		rest = rest[n:]
		if len(rest) < 2 || rest[0] != '.' || rest[1] < '0' || rest[1] > '9' {
			break
		}
		rest = rest[1:]
	}
	r.suffix = rest
	if len(s) > maxVersion || !validSuffix(rest) {
		return release{}, fmt.Errorf("%q is no kernel version", s)
	}
	return r, nil
}

// validSuffix says whether s can follow the numbers of a release.
func validSuffix(s string) bool {
	if s == "" {
		return true
	}
	return strings.ContainsRune("-+_~", rune(s[0])) && strings.IndexFunc(s, func(c rune) bool {
		return !(strings.ContainsRune("-+_~.", c) || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z')
	}) < 0
}

// begins says whether a release that was asked for is r or a beginning of it. Numbers are compared whole: 7 begins 7.2, not 70.1.
func (want release) begins(r release) bool {
	if len(want.numbers) > len(r.numbers) || !slices.Equal(want.numbers, r.numbers[:len(want.numbers)]) {
		return false
	}
	return want.suffix == "" || want.suffix == r.suffix && len(want.numbers) == len(r.numbers)
}

// compare orders releases by age: numbers first, then release candidates before what they became.
func (r release) compare(o release) int {
	for i := range max(len(r.numbers), len(o.numbers)) {
		if c := cmp.Compare(at(r.numbers, i), at(o.numbers, i)); c != 0 {
			return c
		}
	}
	rc, orc := r.candidate(), o.candidate()
	return cmp.Or(cmp.Compare(rc, orc), strings.Compare(r.suffix, o.suffix))
}

func at(n []int, i int) int {
	if i < len(n) {
		return n[i]
	}
	return 0
}

// candidate is the number of a release candidate (-rc3), and more than any for what is none.
func (r release) candidate() int {
	const none = 1 << 30
	s, ok := strings.CutPrefix(r.suffix, "-rc")
	if !ok {
		return none
	}
	n := 0
	for n < len(s) && n < 6 && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	v, err := strconv.Atoi(s[:n])
	if err != nil {
		return none
	}
	return v
}

// CompareVersions orders two releases by age, as cmp.Compare does: 7.2.9 is before 7.2.10, and 7.2.0-rc1 before 7.2.0. What is no release
// comes first.
func CompareVersions(a, b string) int {
	ra, errA := parseRelease(a)
	rb, errB := parseRelease(b)
	switch {
	case errA != nil && errB != nil:
		return strings.Compare(a, b)
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return ra.compare(rb)
}

// MatchesVersion says whether a kernel of this version is one of those that wanted, a version or the beginning of one, names.
func MatchesVersion(wanted, version string) bool {
	w, err := parseRelease(wanted)
	if err != nil {
		return false
	}
	r, err := parseRelease(version)
	return err == nil && w.begins(r)
}
