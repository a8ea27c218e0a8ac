package kernel

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMatchesVersion(t *testing.T) {
	for _, tt := range []struct {
		wanted, version string
		want            bool
	}{
		{"7", "7.2.13", true},
		{"7", "70.1", false},
		{"7", "7", true},
		{"7.2", "7.2.13", true},
		{"7.2", "7.2-rc1", true},
		{"7.2", "7.20.1", false},
		{"7.1", "7.13", false},
		{"7.2.13", "7.2.13", true},
		{"7.2.13", "7.2.13-deb13", true},
		{"7.2.1", "7.2.13", false},
		{"7.2.13", "7.2", false},
		{"7.2.13-deb13", "7.2.13-deb13", true},
		{"7.2.13-deb13", "7.2.13", false},
		{"7.2-rc1", "7.2.0-rc1", false},
		{"07", "7.2", true},
		{"", "7.2", false},
		{"7.", "7.2", false},
		{"v7", "7.2", false},
	} {
		if got := MatchesVersion(tt.wanted, tt.version); got != tt.want {
			t.Errorf("MatchesVersion(%q, %q) = %v; want %v", tt.wanted, tt.version, got, tt.want)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	want := []string{"banana", "2.6.39", "6.1.9", "6.1.176", "6.9", "6.10", "7.2.0-rc2", "7.2.0-rc10", "7.2.0", "7.2.0-deb13", "7.2.1", "70.1"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, CompareVersions)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sorted (-want +got):\n%s", diff)
	}
	if c := CompareVersions("7.2", "7.2.0"); c != 0 {
		t.Errorf("CompareVersions(7.2, 7.2.0) = %d; want 0", c)
	}
}

// Releases have an order, and each begins with itself and its own beginning.
func FuzzRelease(f *testing.F) {
	for _, s := range []string{"7", "6.1.176", "7.2.0-rc1+deb13-um", "1.2.3.4", "7.2-rc", "999999999999", "7..2"} {
		f.Add(s, "7.2")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if CompareVersions(a, b) != -CompareVersions(b, a) {
			t.Errorf("CompareVersions(%q, %q) = %d, and the other way round %d", a, b, CompareVersions(a, b), CompareVersions(b, a))
		}
		r, err := parseRelease(a)
		if err != nil {
			return
		}
		if !r.begins(r) || r.compare(r) != 0 {
			t.Errorf("%q is not itself", a)
		}
		if first := (release{numbers: r.numbers[:1]}); !first.begins(r) {
			t.Errorf("%q does not begin with its first number", a)
		}
	})
}
