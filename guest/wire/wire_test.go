package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestRoundTrip(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	big := bytes.Repeat([]byte{0, 1, 0xff}, 100_000)
	for _, err := range []error{
		w.Send(KindHello, &Hello{Protocol: 1, Kernel: "7.2"}),
		w.Write(KindUp),
		w.WriteID(KindStdout, 7, big),
		w.Write(KindInput|InFile, []byte{0, 0, 0, 1}, []byte("i1.1")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// A reader must not depend on how the bytes arrive.
	r := NewReader(iotest.OneByteReader(&b))
	next := func(want Kind) []byte {
		t.Helper()
		k, p, err := r.Read()
		if err != nil || k != want {
			t.Fatalf("Read() = kind %#x, error %v; want kind %#x", k, err, want)
		}
		return p
	}
	var h Hello
	if err := Decode(KindHello, next(KindHello), &h); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Hello{Protocol: 1, Kernel: "7.2"}, h); diff != "" {
		t.Errorf("Hello differs (-want +got):\n%s", diff)
	}
	next(KindUp)
	id, data, err := SplitID(KindStdout, next(KindStdout))
	if err != nil || id != 7 || !bytes.Equal(data, big) {
		t.Errorf("SplitID() = %d, %d bytes, %v; want 7 and %d bytes", id, len(data), err, len(big))
	}
	if got := string(next(KindInput | InFile)); got != "\x00\x00\x00\x01i1.1" {
		t.Errorf("payload = %q", got)
	}
	if _, _, err := r.Read(); err != io.EOF {
		t.Errorf("Read() at the end = %v; want io.EOF", err)
	}
}

func TestReadRefuses(t *testing.T) {
	frame := func(n uint32, k Kind, payload string) string {
		return string(append(binary.BigEndian.AppendUint32(nil, n), byte(k))) + payload
	}
	for _, tc := range []struct {
		name, in string
		want     error
	}{
		{"half a header", "\x00\x00", io.ErrUnexpectedEOF},
		{"a header alone", frame(3, KindStdout, ""), io.ErrUnexpectedEOF},
		{"half a payload", frame(3, KindStdout, "ab"), io.ErrUnexpectedEOF},
		{"one byte too many", frame(MaxPayload+1, KindStdout, "ab"), ErrProtocol},
		{"four gigabytes", frame(1<<32-1, KindStdout, "ab"), ErrProtocol},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, _, err := NewReader(strings.NewReader(tc.in)).Read(); !errors.Is(err, tc.want) {
				t.Errorf("Read() = %v; want %v", err, tc.want)
			}
		})
	}
}

// TestReadAllocatesAsBytesCome claims a large payload and sends none: what is allocated must be small.
func TestReadAllocatesAsBytesCome(t *testing.T) {
	in := append(binary.BigEndian.AppendUint32(nil, MaxPayload), byte(KindStdout))
	r := NewReader(bytes.NewReader(in))
	if _, _, err := r.Read(); err != io.ErrUnexpectedEOF {
		t.Fatalf("Read() = %v", err)
	}
	if cap(r.buf) > 128<<10 {
		t.Errorf("Read() allocated %d bytes for a length without a payload", cap(r.buf))
	}
}

func TestWriteRefusesWhatReadWouldRefuse(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	if err := w.Write(KindStdout, make([]byte, MaxPayload), []byte{1}); err == nil {
		t.Error("Write() of more than MaxPayload succeeded")
	}
	if b.Len() != 0 {
		t.Errorf("Write() that failed wrote %d bytes", b.Len())
	}
}

func TestDecodeErrors(t *testing.T) {
	if err := Decode(KindHello, []byte("{"), &Hello{}); !errors.Is(err, ErrProtocol) {
		t.Errorf("Decode() = %v; want ErrProtocol", err)
	}
	if _, _, err := SplitID(KindStdout, []byte{1, 2, 3}); !errors.Is(err, ErrProtocol) {
		t.Errorf("SplitID() = %v; want ErrProtocol", err)
	}
	if _, err := Count(KindInputTaken, []byte{1}); !errors.Is(err, ErrProtocol) {
		t.Errorf("Count() = %v; want ErrProtocol", err)
	}
	if n, err := Count(KindInputTaken, AppendCount(nil, 70_000)); n != 70_000 || err != nil {
		t.Errorf("Count(AppendCount(70000)) = %d, %v", n, err)
	}
}

// FuzzRead holds that no input makes a Reader panic, and that whatever it accepts a Writer writes in the same bytes.
func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	w := NewWriter(&b)
	_ = w.Send(KindHello, &Hello{Protocol: Protocol, Kernel: "6.1.176"})
	_ = w.WriteID(KindStdout, 0, []byte("hello\n"))
	_ = w.Send(KindExited, &Exited{ID: 0, Status: 42})
	_ = w.Write(KindDone)
	f.Add(b.Bytes())
	f.Add([]byte{0, 0, 0, 0, 1, 0xff})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in))
		var out bytes.Buffer
		w := NewWriter(&out)
		for {
			k, p, err := r.Read()
			if err != nil {
				if k != 0 || p != nil {
					t.Fatalf("Read() = %#x, %q together with %v", k, p, err)
				}
				if err == io.EOF && !bytes.Equal(out.Bytes(), in) {
					t.Fatalf("written again, %q is %q", in, out.Bytes())
				}
				return
			}
			if id, data, err := SplitID(k, p); err == nil {
				if err := w.WriteID(k, id, data); err != nil {
					t.Fatal(err)
				}
			} else if err := w.Write(k, p); err != nil {
				t.Fatal(err)
			}
		}
	})
}
