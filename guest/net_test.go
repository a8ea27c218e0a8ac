package guest

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

func TestAddresses(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want ip4
		ok   bool
	}{
		{"10.77.0.5", ip4{10, 77, 0, 5}, true}, {"255.255.255.255", broadcast4, true}, {"1.2.3", ip4{}, false}, {"1.2.3.4.5", ip4{}, false},
		{"1.2.3.256", ip4{}, false}, {"1.2.3.", ip4{}, false}, {"", ip4{}, false}, {"1.2.3.04", ip4{}, false}, {"::1", ip4{}, false},
	} {
		got, err := parseIP4(tc.in)
		if got != tc.want || (err == nil) != tc.ok || tc.ok && got.String() != tc.in {
			t.Errorf("parseIP4(%q) = %v, %v; want %v", tc.in, got, err, tc.want)
		}
	}
	for in, want := range map[string]string{
		"fd00::5": "fd000000000000000000000000000005", "::": "00000000000000000000000000000000", "::1": "00000000000000000000000000000001",
		"fe80::": "fe800000000000000000000000000000", "1:2:3:4:5:6:7:8": "00010002000300040005000600070008", "1:2:3:4:5:6:7": "", "1::2::3": "",
		"1:2:3:4:5:6:7::8": "", "12345::": "", ":1": "", "g::": "", "": "", "1.2.3.4": "",
	} {
		a, err := parseIP6(in)
		got := ""
		if err == nil {
			got = hex(a[:])
		}
		if got != want {
			t.Errorf("parseIP6(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	p, err := parsePrefix4("10.77.0.5/22")
	if err != nil || p.String() != "10.77.0.5/22" || p.broadcast() != (ip4{10, 77, 3, 255}) || !p.contains(ip4{10, 77, 3, 1}) || p.contains(ip4{10, 77, 4, 1}) {
		t.Errorf("parsePrefix4() = %v, %v, broadcast %v", p, err, p.broadcast())
	}
	for _, in := range []string{"10.0.0.1", "10.0.0.1/33", "10.0.0.1/-1", "/8", "10.0.0/8"} {
		if p, err := parsePrefix4(in); err == nil {
			t.Errorf("parsePrefix4(%q) = %v", in, p)
		}
	}
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

func TestResolvText(t *testing.T) {
	lan := wire.NIC{Name: "eth0", DNS: []string{"10.1.0.1", "fd00::1"}, Search: []string{"lan"}}
	wan := wire.NIC{Name: "eth1", Default: true, DNS: []string{"1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"}}
	dhcp := wire.NIC{Name: "eth2", Default: true, DHCP: true}
	for _, tc := range []struct {
		name string
		nics []wire.NIC
		held []*lease
		want string
	}{
		{"no network", nil, nil, "# this sub-kernel has no network\n"},
		{"no name server", []wire.NIC{{Name: "eth0"}}, nil, "# no network of this sub-kernel has a name server\n"},
		{"one", []wire.NIC{lan}, nil, "nameserver 10.1.0.1\nnameserver fd00::1\nsearch lan\n"},
		{"the default one's, and no more than are asked", []wire.NIC{lan, wan}, nil, "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\n"},
		{"before the lease", []wire.NIC{lan, dhcp}, nil, "nameserver 10.1.0.1\nnameserver fd00::1\nsearch lan\n"},
		{"the lease's", []wire.NIC{lan, dhcp}, []*lease{nil, {dns: []ip4{{9, 9, 9, 9}}, search: []string{"a", "b.c"}}},
			"nameserver 9.9.9.9\nsearch a b.c\n"},
		{"a lease without", []wire.NIC{lan}, []*lease{{}}, "nameserver 10.1.0.1\nnameserver fd00::1\nsearch lan\n"},
	} {
		if diff := cmp.Diff(tc.want, resolvText(&wire.Spec{NICs: tc.nics}, tc.held)); diff != "" {
			t.Errorf("%s: differs (-want +got):\n%s", tc.name, diff)
		}
	}
}

// TestResolvConfIsTheOwnFile replaces the file, as somebody in the sub-kernel may: what comes later must not go into theirs.
func TestResolvConfIsTheOwnFile(t *testing.T) {
	name := t.TempDir() + "/resolv.conf"
	if err := os.WriteFile(name, []byte("before\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	c := resolvConf{open: true, fd: fd, text: "before\n"}
	for _, text := range []string{"a longer text than before\n", "short\n", ""} {
		if err := c.write(text); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(name); string(got) != text {
			t.Errorf("it is %q; want %q", got, text)
		}
	}
	if err := os.Rename(name, name+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("theirs\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.write("ours\n"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(name); string(got) != "theirs\n" {
		t.Errorf("the file of somebody else is %q", got)
	}
}
