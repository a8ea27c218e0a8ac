// Package wire is the protocol between the host and the guest of one sub-kernel: both ends of it.
//
// It runs over a serial line (UML: arch/um/drivers/ssl.c), which is a reliable stream without framing. A frame is
//
//	length uint32, big endian | kind uint8 | payload, length bytes
//
// The payload is a Message, or raw bytes for what is said often; each Kind documents its own. The guest speaks first:
// what the host sends before Hello is lost, because the line is not raw yet.
//
// The line carries some 200 MB/s to the host and 2 MB/s to the guest, whose tty driver takes bytes one at a time. So the host puts large
// payloads into files of the exchange folder, which the guest sees through hostfs, and sends their names: see InFile.
//
// Neither end trusts the other: a Reader bounds what it allocates, and no input makes it panic.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Protocol is the version that Hello carries. Both ends come from one build, so that a difference means a mixed-up installation.
const Protocol = 5

// MaxPayload is the greatest length of a payload on the line, in bytes.
const MaxPayload = 1 << 20

// MaxFile is the greatest length of a payload in a file, in bytes: room for an Exec with the largest argument list that Linux takes.
const MaxFile = 16 << 20

// headerLen is the length of a frame before its payload.
const headerLen = 5

// A Kind says what a frame means.
type Kind uint8

// InFile, added to a kind that the host sends, says that the payload on the line is the name of a file in the exchange folder that holds
// the real one. Its name is never used twice in a run, because the guest keeps pages of files that it has read.
const InFile Kind = 0x80

// What the guest sends.
const (
	// Hello (Hello) comes first.
	KindHello Kind = iota + 1
	// Up (no payload): the Spec is carried out and Execs are welcome.
	KindUp
	// Failure (Failure): the Spec can't be carried out; nothing but Done follows.
	KindFailure
	// Stdout and Stderr (ID, then bytes) are what a command printed.
	KindStdout
	KindStderr
	// InputTaken (ID, then a uint32): so many more bytes of input went to the command.
	KindInputTaken
	// InputClosed (ID): the command reads no more.
	KindInputClosed
	// Exited (Exited): the command has ended and all that it printed before has been sent.
	KindExited
	// Probed (Probed) answers a Probe.
	KindProbed
	// Notice (text): a sentence for the user about something that went wrong without ending anything.
	KindNotice
	// Done (no payload): everything is written to its disks, and power-off comes next. The last frame.
	KindDone
	// Trace (Trace): what the guest has measured, if the Spec asked for it; once, before Done.
	KindTrace
	// Leased (Leased): a NIC has a lease, at the start and at each renewal or change.
	KindLeased
	// CopyEntry (CopyEntry) is a file or folder of what is copied out, each folder before what is in it.
	KindCopyEntry
	// CopyData (ID, an offset as a uint64, then bytes) is a piece of the file of the last CopyEntry; what lies between pieces is zeros.
	// Without bytes it says that the file ends at the offset.
	KindCopyData
	// Copied (Copied) ends the answer to a CopyOut.
	KindCopied
)

// What the host sends.
const (
	// Spec (Spec) is the answer to Hello, once.
	KindSpec Kind = iota + 0x41
	// Exec (Exec) starts a command.
	KindExec
	// Input (ID, then bytes) is input of a command, InputEOF (ID) its end.
	KindInput
	KindInputEOF
	// Resize (Resize) changes the size of a command's terminal.
	KindResize
	// Signal (Signal) sends a signal to a command.
	KindSignal
	// Probe (Probe) asks whether a TCP port of the guest's own answers.
	KindProbe
	// PowerOff (no payload) kills all that runs and ends the sub-kernel. Done follows.
	KindPowerOff
	// CopyOut (CopyOut) asks for files. It ends the answer to an earlier one.
	KindCopyOut
)

// ErrProtocol is what errors about the other end's bytes wrap.
var ErrProtocol = errors.New("protocol violated")

// A Writer writes frames. Its methods may be called from several goroutines: frames don't mix.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes one frame, whose payload is the parts one after the other, by one call of the underlying Write.
func (w *Writer) Write(k Kind, parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > MaxPayload {
		return fmt.Errorf("wire: write a frame of kind %#x: %d bytes are more than %d", k, n, MaxPayload)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(binary.BigEndian.AppendUint32(w.buf[:0], uint32(n)), byte(k))
	for _, p := range parts {
		w.buf = append(w.buf, p...)
	}
	_, err := w.w.Write(w.buf)
	if err != nil {
		return fmt.Errorf("wire: write a frame of kind %#x: %w", k, err)
	}
	return nil
}

// WriteFrames writes frames that another Writer has made, by one call of the underlying Write.
func (w *Writer) WriteFrames(frames []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.w.Write(frames); err != nil {
		return fmt.Errorf("wire: write frames: %w", err)
	}
	return nil
}

// Send writes one frame with a message.
func (w *Writer) Send(k Kind, m Message) error { return w.Write(k, Append(nil, m)) }

// WriteID writes one frame with an ID and data behind it.
func (w *Writer) WriteID(k Kind, id ID, data []byte) error {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(id))
	return w.Write(k, b[:], data)
}

// A Reader reads frames. It must not be used from several goroutines at once.
type Reader struct {
	r   io.Reader
	hdr [headerLen]byte
	buf []byte
}

// NewReader returns a Reader on r, which should be buffered.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Read reads one frame. The payload is valid until the next Read. The error is io.EOF only between frames, io.ErrUnexpectedEOF within
// one, and wraps ErrProtocol if the frame is too long.
func (r *Reader) Read() (Kind, []byte, error) {
	if _, err := io.ReadFull(r.r, r.hdr[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint32(r.hdr[:4]))
	if n > MaxPayload {
		return 0, nil, fmt.Errorf("wire: read a frame of kind %#x: %w: %d bytes are more than %d", r.hdr[4], ErrProtocol, n, MaxPayload)
	}
	if err := r.fill(n); err != nil {
		return 0, nil, err
	}
	return Kind(r.hdr[4]), r.buf, nil
}

// fill reads n bytes into buf. It allocates as bytes come, so that a length alone costs the other end nothing.
func (r *Reader) fill(n int) error {
	const piece = 64 << 10
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		have := len(r.buf)
		want := min(n, max(have+piece, cap(r.buf)))
		if cap(r.buf) < want {
			r.buf = append(make([]byte, 0, want), r.buf...)
		}
		r.buf = r.buf[:want]
		if _, err := io.ReadFull(r.r, r.buf[have:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// SplitID takes the ID off a payload. Its error wraps ErrProtocol.
func SplitID(k Kind, payload []byte) (ID, []byte, error) {
	if len(payload) < 4 {
		return 0, nil, fmt.Errorf("wire: decode a frame of kind %#x: %w: no ID in %d bytes", k, ErrProtocol, len(payload))
	}
	return ID(binary.BigEndian.Uint32(payload)), payload[4:], nil
}

// WriteCopyData writes a piece of a file at an offset.
func (w *Writer) WriteCopyData(id ID, offset uint64, data []byte) error {
	var b [12]byte
	binary.BigEndian.PutUint32(b[:], uint32(id))
	binary.BigEndian.PutUint64(b[4:], offset)
	return w.Write(KindCopyData, b[:], data)
}

// SplitCopyData is the inverse of WriteCopyData. Its error wraps ErrProtocol.
func SplitCopyData(payload []byte) (id ID, offset uint64, data []byte, err error) {
	if len(payload) < 12 {
		return 0, 0, nil, fmt.Errorf("wire: decode a frame of kind %#x: %w: no offset in %d bytes", KindCopyData, ErrProtocol, len(payload))
	}
	return ID(binary.BigEndian.Uint32(payload)), binary.BigEndian.Uint64(payload[4:]), payload[12:], nil
}

// Count reads the number of an InputTaken frame, behind its ID. Its error wraps ErrProtocol.
func Count(k Kind, data []byte) (int, error) {
	if len(data) != 4 {
		return 0, fmt.Errorf("wire: decode a frame of kind %#x: %w: a count of %d bytes", k, ErrProtocol, len(data))
	}
	return int(binary.BigEndian.Uint32(data)), nil
}

// AppendCount is the inverse of Count.
func AppendCount(b []byte, n int) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) }
