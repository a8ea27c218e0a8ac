package guest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/sekexe/sekexe/guest/wire"
)

// EnvExchange is the environment variable, set by the kernel command line, that holds the host's path of the exchange folder. It also says
// that this is a sub-kernel of ours: a container, too, may run some program of ours as PID 1.
const EnvExchange = "SEKEXE_EXCHANGE"

// exchangeDir is where the exchange folder is mounted until the guest has its own root. The folder itself may lie where the guest can't
// see it, such as below /dev; /proc is on every root, and empty yet.
const exchangeDir = "/proc"

// control is the guest's end of the line that the host makes the kernel's first serial device (arch/um/drivers/ssl.c: major 4, minor 64).
const controlPath = "/dev/ttyS0"

// An initProcess is PID 1 of a sub-kernel.
type initProcess struct {
	line *os.File
	out  *wire.Writer
	in   *wire.Reader
	// exchange is the host's exchange folder: a descriptor, which lasts when the root changes.
	exchange int
	procs    processes
	trace    tracer
	disks    []*disk
	// layer is the disk that keeps the root's upper layer, and layerRoot its root folder once it is mounted; nil: none is kept.
	layer     *disk
	layerRoot *os.File
	// copying is the copy that is wanted now.
	copying atomic.Uint32
	// mainAt and helloAt are when Main began and when Hello was said, by clock.
	mainAt, helloAt int64
}

// Main is PID 1 of a sub-kernel. It returns only if it could not end the kernel, which then panics.
func Main() error {
	exchange := os.Getenv(EnvExchange)
	if os.Getpid() != 1 || exchange == "" {
		return errors.New("init: start: this program is the first process of a sub-kernel and does nothing anywhere else")
	}
	p := &initProcess{mainAt: clock()}
	if err := p.openExchange(exchange); err != nil {
		return err
	}
	if err := p.connect(); err != nil {
		return err
	}
	p.procs.init(p.out, &p.trace)
	go p.procs.reap(deaths())
	p.serve()
	p.powerOff()
	return errors.New("init: power off: the kernel goes on")
}

// openExchange mounts the exchange folder, which holds an empty folder for the new root.
func (p *initProcess) openExchange(dir string) (err error) {
	if err := hostfs(dir, exchangeDir, true).do(); err != nil {
		return err
	}
	p.exchange, err = unix.Open(exchangeDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("init: open the exchange folder %s: %w", dir, err)
	}
	return nil
}

// connect opens the control line and says Hello. The device nodes come from the kernel, not from the host's /dev, which may lack them.
func (p *initProcess) connect() error {
	if err := mountDev("/dev"); err != nil {
		return err
	}
	// Non-blocking, here and for every descriptor that something is waited on: the Go scheduler gives a processor that a blocked system
	// call holds to others after up to 10 ms only, and this program has one.
	fd, err := unix.Open(controlPath, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("init: open the control line: %w", err)
	}
	if err := makeRaw(fd); err != nil {
		return fmt.Errorf("init: make the control line raw: %w", err)
	}
	p.line = os.NewFile(uintptr(fd), controlPath)
	p.out = wire.NewWriter(p.line)
	p.in = wire.NewReader(bufio.NewReader(p.line))
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("init: uname: %w", err)
	}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return fmt.Errorf("init: sysinfo: %w", err)
	}
	p.helloAt = clock()
	return p.out.Send(wire.KindHello, &wire.Hello{
		Protocol: wire.Protocol,
		Kernel:   unix.ByteSliceToString(u.Release[:]),
		Memory:   int64(si.Totalram) * int64(si.Unit),
		Clock:    p.helloAt,
	})
}

// makeRaw switches off all that the terminal layer does to bytes: it starts with echo and newline translation.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD | unix.CLOCAL
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// serve carries out what the host says until it says PowerOff or is gone.
func (p *initProcess) serve() {
	for {
		k, payload, err := p.in.Read()
		if err == nil {
			k, payload, err = p.resolve(k, payload)
		}
		if err != nil {
			if err != io.EOF {
				p.notice(err)
			}
			return
		}
		if k == wire.KindPowerOff {
			return
		}
		if err := p.handle(k, payload); err != nil {
			p.fail(err)
			return
		}
	}
}

// resolve fetches a payload that lies in a file. Input is fetched later, by the command that it is for, so that one which doesn't read
// holds up nobody else.
func (p *initProcess) resolve(k wire.Kind, payload []byte) (wire.Kind, []byte, error) {
	if k&wire.InFile == 0 || k&^wire.InFile == wire.KindInput {
		return k, payload, nil
	}
	b, err := p.readExchange(string(payload), wire.MaxFile)
	return k &^ wire.InFile, b, err
}

// readExchange reads a whole file of the exchange folder.
func (p *initProcess) readExchange(name string, most int64) ([]byte, error) {
	fd, err := unix.Openat(p.exchange, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("init: open %s of the exchange folder: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > most {
		return nil, fmt.Errorf("init: read %s of the exchange folder: it is larger than %d bytes", name, most)
	}
	b := make([]byte, st.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("init: read %s of the exchange folder: %w", name, err)
	}
	return b, nil
}

// handle carries out one frame. An error ends the sub-kernel.
func (p *initProcess) handle(k wire.Kind, payload []byte) error {
	switch k {
	case wire.KindSpec:
		return p.setUp(payload)
	case wire.KindExec:
		var e wire.Exec
		if err := wire.Decode(k, payload, &e); err != nil {
			return err
		}
		p.procs.start(e)
	case wire.KindInput, wire.KindInput | wire.InFile, wire.KindInputEOF:
		id, data, err := wire.SplitID(k, payload)
		if err != nil {
			return err
		}
		p.procs.input(id, p.inputPiece(k, data))
	case wire.KindResize:
		var r wire.Resize
		if err := wire.Decode(k, payload, &r); err != nil {
			return err
		}
		p.procs.resize(r)
	case wire.KindSignal:
		var s wire.Signal
		if err := wire.Decode(k, payload, &s); err != nil {
			return err
		}
		p.procs.signal(s)
	case wire.KindProbe:
		var pr wire.Probe
		if err := wire.Decode(k, payload, &pr); err != nil {
			return err
		}
		go p.probe(pr)
	case wire.KindCopyOut:
		var c wire.CopyOut
		if err := wire.Decode(k, payload, &c); err != nil {
			return err
		}
		p.copying.Store(uint32(c.ID))
		go p.copyOut(c)
	default:
		return fmt.Errorf("init: read a frame: %w: kind %#x", wire.ErrProtocol, k)
	}
	return nil
}

// inputPiece returns a function that yields the bytes of an Input frame, or nil for the end of the input.
func (p *initProcess) inputPiece(k wire.Kind, data []byte) func() ([]byte, error) {
	switch k {
	case wire.KindInputEOF:
		return nil
	case wire.KindInput:
		b := append([]byte(nil), data...)
		return func() ([]byte, error) { return b, nil }
	}
	name := string(data)
	return func() ([]byte, error) { return p.readExchange(name, wire.MaxPayload) }
}

// setUp carries the Spec out.
func (p *initProcess) setUp(payload []byte) error {
	var s wire.Spec
	if err := wire.Decode(wire.KindSpec, payload, &s); err != nil {
		return err
	}
	if s.Trace {
		p.trace.start(p.mainAt, p.helloAt)
	}
	if err := p.procs.keepAgent(s.Agent); err != nil {
		return err
	}
	// The network comes first: while the root is made, the answers to what it asks come.
	n, err := p.startNetwork(&s)
	if err != nil {
		return err
	}
	if err := p.makeRoot(&s, n); err != nil {
		return err
	}
	if err := n.finish(); err != nil {
		return err
	}
	return p.out.Write(wire.KindUp)
}

// notice tells the host of an error that ends nothing.
func (p *initProcess) notice(err error) {
	_ = p.out.Write(wire.KindNotice, []byte(err.Error())) // if the host is gone, nobody is left to tell
}

// fail tells the host why the sub-kernel ends.
func (p *initProcess) fail(err error) {
	f := wire.Failure{Text: err.Error()}
	var h *hintError
	if errors.As(err, &h) {
		f.Hint = h.hint
	}
	_ = p.out.Send(wire.KindFailure, &f)
}

// powerOff kills every process, writes everything to its disks, says Done and ends the kernel.
func (p *initProcess) powerOff() {
	end := p.trace.begin("kill what still runs")
	p.procs.killAll()
	end()
	p.copying.Store(0)
	p.unmountDisks()
	end = p.trace.begin("sync")
	unix.Sync()
	p.closeLayer()
	end()
	p.trace.send(p.out)
	_ = p.out.Write(wire.KindDone)
	if rc, err := p.line.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { _ = unix.IoctlSetInt(int(fd), unix.TCSBRK, 1) }) // tcdrain: nothing may be left in the driver
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// hintError adds advice to an error.
type hintError struct {
	err  error
	hint string
}

func (h *hintError) Error() string { return h.err.Error() }
func (h *hintError) Unwrap() error { return h.err }
