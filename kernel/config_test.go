package kernel

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConfig(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     map[string]string
		err      string
	}{
		{"symbols", "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_A1=m\n\nCONFIG_A_B=0x10\n", map[string]string{"CONFIG_A": "y", "CONFIG_A1": "m", "CONFIG_A_B": "0x10"}, ""},
		{"a text with an assignment in it", `CONFIG_A="CONFIG_B=y"`, map[string]string{"CONFIG_A": `"CONFIG_B=y"`}, ""},
		{"the last counts", "CONFIG_A=y\nCONFIG_A=m\n", map[string]string{"CONFIG_A": "m"}, ""},
		{"line breaks of DOS", "CONFIG_A=y\r\nCONFIG_B=m\r\n", map[string]string{"CONFIG_A": "y", "CONFIG_B": "m"}, ""},
		{"nothing", "", nil, "has no line CONFIG_NAME=value"},
		{"comments", "# CONFIG_A is not set\n", nil, "has no line CONFIG_NAME=value"},
		{"words", "CONFIG_A=y\nhello\n", nil, "line 2 is no assignment"},
		{"no prefix", "A=y\n", nil, "line 1 is no assignment"},
		{"no name", "CONFIG_=y\n", nil, "line 1 is no assignment"},
		{"no value", "CONFIG_A=\n", nil, "line 1 is no assignment"},
		{"a control character", "CONFIG_A=\"\x1b[2J\"\n", nil, "line 1 is no assignment"},
		{"no UTF-8", "CONFIG_A=\"\xff\"\n", nil, "line 1 is no assignment"},
		{"too much", strings.Repeat("CONFIG_A=y\n", maxConfig/11+1), nil, "more than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ParseConfig(tt.in)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("ParseConfig(%.80q) = %v; want %q", tt.in, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, maps.Collect(c.All())); diff != "" {
				t.Errorf("ParseConfig(%q) (-want +got):\n%s", tt.in, diff)
			}
		})
	}
}

func TestConfigLookup(t *testing.T) {
	c, err := ParseConfig("CONFIG_NET=y\nCONFIG_NET_9P=m\nCONFIG_HZ=100\nCONFIG_TEXT=\"a \\\"b\\\" \\\\c\"\nCONFIG_A=y\nCONFIG_ZZ=m")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		symbol, value string
		ok            bool
		state         State
	}{
		{"NET", "y", true, Builtin},
		{"CONFIG_NET", "y", true, Builtin},
		{"NET_9P", "m", true, Module},
		{"HZ", "100", true, Absent},
		{"TEXT", `a "b" \c`, true, Absent},
		{"A", "y", true, Builtin},
		{"ZZ", "m", true, Module},
		{"NE", "", false, Absent},
		{"NET_", "", false, Absent},
		{"", "", false, Absent},
		{"ZZZ", "", false, Absent},
		{"0", "", false, Absent},
	} {
		if v, ok := c.Value(tt.symbol); v != tt.value || ok != tt.ok {
			t.Errorf("Value(%q) = %q, %v; want %q, %v", tt.symbol, v, ok, tt.value, tt.ok)
		}
		if s := c.State(tt.symbol); s != tt.state {
			t.Errorf("State(%q) = %v; want %v", tt.symbol, s, tt.state)
		}
	}
	if v, ok := (Config{}).Value("UML"); ok {
		t.Errorf("an empty configuration has CONFIG_UML = %q", v)
	}
}

// Whatever text is taken for a configuration, the binary search finds all of it and nothing else, and it survives being written down.
func FuzzParseConfig(f *testing.F) {
	f.Add(goodConfig, "UML")
	f.Add("CONFIG_A=y\nCONFIG_AB=m\nCONFIG_A_B=\"x\"\n", "A")
	f.Add("CONFIG_A=\"\\\"\"\r\n\n", "B")
	f.Fuzz(func(t *testing.T, text, symbol string) {
		c, err := ParseConfig(text)
		if err != nil {
			if c != (Config{}) {
				t.Errorf("ParseConfig(%q) = %v and an error", text, c)
			}
			return
		}
		all := maps.Collect(c.All())
		for name, value := range all {
			if got, ok := c.Value(name); !ok || got != unquote(value) {
				t.Errorf("Value(%q) = %q, %v; want %q", name, got, ok, value)
			}
		}
		if _, ok := c.Value(symbol); ok {
			if _, ok := all["CONFIG_"+strings.TrimPrefix(symbol, "CONFIG_")]; !ok {
				t.Errorf("Value(%q) is one, and All has none", symbol)
			}
		}
		name := "CONFIG_" + symbol
		if got := c.only([]string{name, name}); got != (Config{}) && !strings.HasPrefix(c.text[c.find(name):], got.text) {
			t.Errorf("only(%q) = %q", symbol, got.text)
		}
		again, err := ParseConfig(c.text)
		if err != nil || again != c {
			t.Errorf("ParseConfig(%q) = %q, %v", c.text, again.text, err)
		}
	})
}
