package wire

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// messages holds one of each type, with every field set to something of its own.
var messages = map[Kind]Message{
	KindHello:   &Hello{Protocol: Protocol, Kernel: "7.2.13", Memory: 1 << 40, Clock: -1},
	KindFailure: &Failure{Text: "text", Hint: "hint\x00\xff"},
	KindExited:  &Exited{ID: math.MaxUint32, Status: 137, Signal: 9, Error: "error"},
	KindProbed:  &Probed{ID: 1, OK: true},
	KindTrace:   &Trace{Clock: 5, Spans: []Span{{"a", 1, 2}, {"", math.MinInt64, math.MaxInt64}}},
	KindLeased:  &Leased{NIC: 1, Address: "10.0.0.2/24", Router: "10.0.0.1", Server: "10.0.0.1", Seconds: math.MaxUint32},
	KindSpec: &Spec{
		Hostname: "box", Root: Root{Mode: "overlay", Source: "/s", FileSystem: "ext4", Disk: 3, Layer: "ubdd", Size: 1 << 40, KeepRun: true}, Cgroups: "v2", Modules: "/m", Trace: true, Agent: "/agent",
		Mounts: []Mount{{"/s", "/t", "rw", true}, {Source: "/only"}}, Tmpfs: []Tmpfs{{"/x", 1 << 33, 0o1777}},
		Disks: []Disk{{"ubda", "/d", true}, {Device: "ubdb"}},
		NICs: []NIC{{Device: "vec0"}, {
			Device: "vec1", Name: "eth1", MTU: 65521, DHCP: true, Address: "10.0.0.5/24", Address6: "fd00::5/64", Router: "10.0.0.1",
			Router6: "fe80::1", Default: true, DNS: []string{"10.0.0.1", "fd00::1"}, Search: []string{"lab"}, LeaseTimeout: 1e10,
		}},
	},
	KindExec: &Exec{
		ID: 3, Argv: []string{"sh", "-c", "\xff\x01", ""}, Env: []string{"A=b"}, Dir: "/d", User: "u:g", Umask: 0o27, Input: true, TTY: true,
		Rows: 24, Cols: math.MaxUint16, Quiet: true, Agent: true,
	},
	KindResize:    &Resize{ID: 1, Rows: 2, Cols: 3},
	KindSignal:    &Signal{ID: 1, Number: 15, Session: true},
	KindCopyOut:   &CopyOut{ID: 1, Pattern: "/a*"},
	KindCopyEntry: &CopyEntry{ID: 1, Name: "a/\xff", Type: TypeLink, Mode: 0o7777, MTime: math.MinInt64, Link: "b"},
	KindCopied:    &Copied{ID: 1, Missing: true, Skipped: 2, Failed: 3, Error: "e"},
	KindProbe:     &Probe{ID: 7, Port: 65535},
}

func empty(m Message) Message {
	return reflect.New(reflect.TypeOf(m).Elem()).Interface().(Message)
}

func TestMessages(t *testing.T) {
	for k, m := range messages {
		b := Append(nil, m)
		got := empty(m)
		if err := Decode(k, b, got); err != nil {
			t.Errorf("kind %#x: %v", k, err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Errorf("kind %#x differs (-want +got):\n%s", k, diff)
		}
		v := reflect.ValueOf(m).Elem()
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%T.%s is not set by this test", m, v.Type().Field(i).Name)
			}
		}
		for n := range b { // no part of it is a whole
			if err := Decode(k, b[:n], empty(m)); !errors.Is(err, ErrProtocol) {
				t.Errorf("kind %#x: Decode of %d of %d bytes = %v; want ErrProtocol", k, n, len(b), err)
			}
		}
		if err := Decode(k, append(b, 0), empty(m)); !errors.Is(err, ErrProtocol) {
			t.Errorf("kind %#x: Decode with a byte too many = %v; want ErrProtocol", k, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	number := func(v ...int64) []byte {
		c := codec{}
		for _, n := range v {
			c.int64(&n)
		}
		return c.b
	}
	for _, tc := range []struct {
		name string
		in   []byte
		m    Message
	}{
		{"an id beyond 32 bits", number(1<<32, 1), &Probed{}},
		{"a negative id", number(-1, 1), &Probed{}},
		{"a bool of 2", number(1, 2), &Probed{}},
		{"a negative length", number(-1), &Failure{}},
		{"a length beyond the end", append(number(4), "abc"...), &Failure{}},
		{"a list beyond the end", number(0, 1<<62), &Trace{}},
		{"a number without end", bytes.Repeat([]byte{0x80}, 20), &Hello{}},
	} {
		if err := Decode(KindHello, tc.in, tc.m); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: Decode() = %v; want ErrProtocol", tc.name, err)
		}
	}
}

// FuzzDecode holds that no payload makes Decode panic, and that what it accepts means the same when it is written again.
func FuzzDecode(f *testing.F) {
	for k, m := range messages {
		f.Add(byte(k), Append(nil, m))
	}
	f.Fuzz(func(t *testing.T, kind byte, in []byte) {
		m, ok := messages[Kind(kind)]
		if !ok {
			return
		}
		first := empty(m)
		if Decode(Kind(kind), in, first) != nil {
			return
		}
		second := empty(m)
		if err := Decode(Kind(kind), Append(nil, first), second); err != nil {
			t.Fatalf("Decode of what was decoded = %v", err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatalf("differs (-first +second):\n%s", diff)
		}
	})
}
