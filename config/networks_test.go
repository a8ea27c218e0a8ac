package config

import (
	"net/netip"
	"strings"
	"testing"
)

// TestParsePublish holds what a published port may look like, and that it is written as it is read.
func TestParsePublish(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"80", "127.0.0.1:0:80/tcp"},
		{"0:80", "127.0.0.1:0:80/tcp"},
		{":80", "127.0.0.1:0:80/tcp"},
		{"8080:80/udp", "127.0.0.1:8080:80/udp"},
		{"127.0.0.1::80", "127.0.0.1:0:80/tcp"},
		{"0.0.0.0:1:65535", "0.0.0.0:1:65535/tcp"},
		{"[::1]:53:53/udp", "[::1]:53:53/udp"},
		{"[::]::53", "[::]:0:53/tcp"},
		{"8000-8010:9000-9010", "127.0.0.1:8000-8010:9000-9010/tcp"},
		{"7-7:7", "127.0.0.1:7:7/tcp"},
		{"9000-9010", "127.0.0.1:0:9000-9010/tcp"},
	} {
		p, problem := parsePublish(tt.in)
		if problem != "" || p.String() != tt.want {
			t.Errorf("parsePublish(%q) = %s, %q; want %s", tt.in, p, problem, tt.want)
			continue
		}
		if again, problem := parsePublish(p.String()); again != p || problem != "" {
			t.Errorf("parsePublish(%q) = %v, %q; want %v", p, again, problem, p)
		}
	}
}

// TestTakePorts holds which ports of the host exclude each other.
func TestTakePorts(t *testing.T) {
	for _, tt := range []struct {
		first, second string
		clash         bool
	}{
		{"80:80", "80:81", true},
		{"80:80", "80:80/udp", false},
		{"80:80", "127.0.0.2:80:80", false},
		{"80:80", "0.0.0.0:80:80", true},
		{"0.0.0.0:80:80", "10.0.0.1:80:80", true},
		{"0.0.0.0:80:80", "[::]:80:80", false},
		{"[::1]:80:80", "[::]:80:80", true},
		{"[::]:80:80", "[fd00::1]:80:80", true},
		{"80-89:80-89", "89-90:1-2", true},
		{"80-89:80-89", "90:1", false},
		{"0:80", "0:80", false},
	} {
		set := newNetworkSet()
		for i, s := range []string{tt.first, tt.second} {
			p, problem := parsePublish(s)
			if problem != "" {
				t.Fatalf("%s: %s", s, problem)
			}
			if _, other := set.takePorts(p, s); (other != "") != (i == 1 && tt.clash) {
				t.Errorf("%q and %q: takePorts(%q) says %q; want a clash: %v", tt.first, tt.second, s, other, tt.clash)
			}
		}
	}
}

// TestRates holds that rates are exact, and written as they are read.
func TestRates(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int64
		text string
	}{
		{"10mbit", 10_000_000, "10mbit"},
		{"1.5Gbit", 1_500_000_000, "1500mbit"},
		{"0.1kbit", 100, "100bit"},
		{"1234567bit", 1_234_567, "1234567bit"},
		{"1tbit", 1_000_000_000_000, "1tbit"},
		{"999999999999tbit", 0, "0tbit"},
	} {
		if got := parseRate(tt.in); got != tt.want || formatRate(got) != tt.text {
			t.Errorf("parseRate(%q) = %d, written %q; want %d, %q", tt.in, got, formatRate(got), tt.want, tt.text)
		}
	}
}

// TestOptions holds the ways to write the bytes of an option.
func TestOptions(t *testing.T) {
	for _, tt := range []struct{ in, value, text string }{
		{"text", "text", "text"},
		{"hex:00ff", "\x00\xff", "hex:00ff"},
		{"hex:41", "A", "A"},
		{"ip:10.0.0.1, 10.0.0.2", "\x0a\x00\x00\x01\x0a\x00\x00\x02", "hex:0a0000010a000002"},
		{"hex:69703a78", "ip:x", "hex:69703a78"},
		{"é", "é", "hex:c3a9"},
		{"hex:" + strings.Repeat("00", 255), strings.Repeat("\x00", 255), "hex:" + strings.Repeat("00", 255)},
	} {
		got, problem := parseOption(tt.in)
		if got != tt.value || problem != "" || formatOption(got) != tt.text {
			t.Errorf("parseOption(%q) = %q, %q, written %q; want %q, written %q", tt.in, got, problem, formatOption(got), tt.value, tt.text)
		}
	}
}

func TestBroadcast(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/8": "10.255.255.255", "10.77.0.0/24": "10.77.0.255", "192.168.1.4/30": "192.168.1.7", "172.16.32.0/19": "172.16.63.255",
	} {
		if got := broadcast(netip.MustParsePrefix(in)); got.String() != want {
			t.Errorf("broadcast(%s) = %s, want %s", in, got, want)
		}
	}
}
