package wire

// An ID names a command for as long as the sub-kernel runs. The host chooses it.
type ID uint32

// Hello is the guest's first word.
type Hello struct {
	Protocol int    // must be Protocol
	Kernel   string // the release of the running kernel (uname -r)
	Memory   int64  // bytes that the kernel has left for the guest
	Clock    int64  // CLOCK_MONOTONIC of the guest, in nanoseconds, when this was written
}

// Failure says why the guest can't carry the Spec out.
type Failure struct {
	Text string // subject: verb phrase
	Hint string // what to do about it; may be empty
}

// Spec is what the guest makes before it says Up.
type Spec struct {
	Hostname string
	Root     Root
	// Cgroups is "v2" or "v1".
	Cgroups string
	// Modules is the host's path of the running kernel's modules folder, the one that holds modules.dep; empty: there is none.
	Modules string
	Mounts  []Mount
	Tmpfs   []Tmpfs
	Disks   []Disk
	NICs    []NIC
	// Trace asks for a Trace before Done.
	Trace bool
	// Agent is the host's path of the program that Execs with Agent run: it need not be in the guest's root. Empty: there is none.
	Agent string
}

// A Root is what the guest's root is made of: the host's files, unless Source or FileSystem is set.
type Root struct {
	Mode string // "overlay" or "ro"
	// Source is the host's path of the folder that is the root; empty: it is the host's own, or on a disk.
	Source string
	// FileSystem is that of the disk with the root, and Disk its number; empty: it is on none.
	FileSystem string
	Disk       int
	// Layer is the device, as the kernel has named it ("ubda"), with the disk that keeps the overlay's upper layer; empty: it is in memory.
	Layer string
	Size  int64 // bytes that the overlay's memory holds; 0: the kernel's default
	// KeepRun leaves /run as the root has it.
	KeepRun bool
}

// MaxSpans is the greatest number of spans in a Trace.
const MaxSpans = 100

// A Trace says what the guest's own work has taken.
type Trace struct {
	Clock int64 // as Hello's
	Spans []Span
}

// A Span is a stretch of time on the guest's CLOCK_MONOTONIC, in nanoseconds.
type Span struct {
	Name       string
	Start, End int64
}

// A Mount makes a file or folder of the host visible in the guest.
type Mount struct {
	Source string // the host's path
	Target string
	Mode   string // "ro", "rw" or "overlay"
	File   bool   // Source is not a folder
}

// A Tmpfs is a memory file system.
type Tmpfs struct {
	Target string
	Size   int64  // bytes; 0: the kernel's default
	Mode   uint32 // permission bits
}

// A Disk is a block device with an ext4 file system, which the host has made.
type Disk struct {
	Device string // as the kernel has named it: "ubda"
	Target string
	// Fleeting disks are gone with the sub-kernel: nothing on them has to last.
	Fleeting bool
}

// CopyOut asks for all files that a pattern matches.
type CopyOut struct {
	ID      ID     // of the copy: it is not a command
	Pattern string // absolute; of path.Match
}

// CopyEntry is one file, folder or link of what is copied.
type CopyEntry struct {
	ID ID
	// Name is its path, relative to the folder of what the pattern matched: the first part is the last of what matched.
	Name string
	// Type is TypeFile, TypeFolder or TypeLink.
	Type  int
	Mode  uint32 // permission bits
	MTime int64  // nanoseconds since 1970
	Link  string // where a link leads
}

// The types of a CopyEntry.
const (
	TypeFile = iota
	TypeFolder
	TypeLink
)

// Copied says how a copy ended.
type Copied struct {
	ID      ID
	Missing bool   // nothing matched
	Skipped int    // how many devices, sockets and pipes were left out
	Failed  int    // how many files could not be read
	Error   string // why the first of them could not be
}

// A NIC is a network interface.
type NIC struct {
	Device string // as the kernel has named it: "vec0"
	Name   string // as the guest knows it: "eth0"
	MTU    int    // 0: as it is
	// DHCP asks for a lease. Address is empty then.
	DHCP     bool
	Address  string // "10.77.0.5/24"; empty: by DHCP, or none
	Address6 string // "fd00::5/64", set without looking for duplicates; empty: none but what router advertisements bring
	// Router and Router6 are where the default routes lead if no lease says it; empty: nowhere.
	Router, Router6 string
	// Default says that this NIC's default route and name servers, of the lease or those given here, are the guest's.
	Default bool
	// DNS and Search are the name servers and search domains if no lease names any.
	DNS, Search []string
	// LeaseTimeout is how long the first lease may take, in nanoseconds.
	LeaseTimeout int64
}

// Leased says that a NIC has a lease: at the start, and whenever it is renewed or another one.
type Leased struct {
	NIC     int    // its index in Spec.NICs
	Address string // "10.77.0.5/24"; empty: the lease is lost
	Router  string // may be empty
	Server  string
	Seconds int // how long it lasts
}

// Exec is a command to start.
type Exec struct {
	ID   ID
	Argv []string
	Env  []string // K=V
	Dir  string   // empty: the user's home, or /
	User string   // NAME, UID, or either with :GROUP; empty is root
	// Umask is the command's.
	Umask uint32
	// Input says that Input frames and an InputEOF will follow; without, the command's input is empty.
	Input bool
	// TTY gives the command a terminal of its own. Its output is all Stdout then.
	TTY        bool
	Rows, Cols uint16
	// Quiet commands print nothing: what they print is dropped in the guest.
	Quiet bool
	// Agent runs the Spec's Agent in place of the file that Argv[0] names.
	Agent bool
}

// Exited says how a command ended.
type Exited struct {
	ID     ID
	Status int // 0 to 255; 128 + Signal for one that was killed
	Signal int // 0: it ended by itself
	// Error says why it could not be started; Status is 127 (not found), 126 (not executable) or 125 (anything else) then.
	Error string
}

// Resize is the new size of a terminal.
type Resize struct {
	ID         ID
	Rows, Cols uint16
}

// Signal sends a signal to a command's process group, or to every process of its session.
type Signal struct {
	ID      ID
	Number  int
	Session bool
}

// Probe asks whether something listens on a TCP port of the guest.
type Probe struct {
	ID   ID // of the probe: it is not a command, but counted with them
	Port int
}

// Probed answers a Probe.
type Probed struct {
	ID ID
	OK bool
}

func (m *Hello) fields(c *codec) {
	integer(c, &m.Protocol)
	c.string(&m.Kernel)
	c.int64(&m.Memory)
	c.int64(&m.Clock)
}

func (m *Failure) fields(c *codec) {
	c.string(&m.Text)
	c.string(&m.Hint)
}

func (m *Spec) fields(c *codec) {
	c.string(&m.Hostname)
	m.Root.fields(c)
	c.string(&m.Cgroups)
	c.string(&m.Modules)
	list(c, &m.Mounts, func(m *Mount) {
		c.string(&m.Source)
		c.string(&m.Target)
		c.string(&m.Mode)
		c.bool(&m.File)
	})
	list(c, &m.Tmpfs, func(t *Tmpfs) {
		c.string(&t.Target)
		c.int64(&t.Size)
		integer(c, &t.Mode)
	})
	list(c, &m.Disks, func(d *Disk) {
		c.string(&d.Device)
		c.string(&d.Target)
		c.bool(&d.Fleeting)
	})
	list(c, &m.NICs, func(n *NIC) { n.fields(c) })
	c.bool(&m.Trace)
	c.string(&m.Agent)
}

func (m *Root) fields(c *codec) {
	c.string(&m.Mode)
	c.string(&m.Source)
	c.string(&m.FileSystem)
	integer(c, &m.Disk)
	c.string(&m.Layer)
	c.int64(&m.Size)
	c.bool(&m.KeepRun)
}

func (m *NIC) fields(c *codec) {
	c.string(&m.Device)
	c.string(&m.Name)
	integer(c, &m.MTU)
	c.bool(&m.DHCP)
	c.string(&m.Address)
	c.string(&m.Address6)
	c.string(&m.Router)
	c.string(&m.Router6)
	c.bool(&m.Default)
	list(c, &m.DNS, c.string)
	list(c, &m.Search, c.string)
	c.int64(&m.LeaseTimeout)
}

func (m *Leased) fields(c *codec) {
	integer(c, &m.NIC)
	c.string(&m.Address)
	c.string(&m.Router)
	c.string(&m.Server)
	integer(c, &m.Seconds)
}

func (m *Trace) fields(c *codec) {
	c.int64(&m.Clock)
	list(c, &m.Spans, func(s *Span) {
		c.string(&s.Name)
		c.int64(&s.Start)
		c.int64(&s.End)
	})
}

func (m *Exec) fields(c *codec) {
	integer(c, &m.ID)
	list(c, &m.Argv, c.string)
	list(c, &m.Env, c.string)
	c.string(&m.Dir)
	c.string(&m.User)
	integer(c, &m.Umask)
	c.bool(&m.Input)
	c.bool(&m.TTY)
	integer(c, &m.Rows)
	integer(c, &m.Cols)
	c.bool(&m.Quiet)
	c.bool(&m.Agent)
}

func (m *Exited) fields(c *codec) {
	integer(c, &m.ID)
	integer(c, &m.Status)
	integer(c, &m.Signal)
	c.string(&m.Error)
}

func (m *Resize) fields(c *codec) {
	integer(c, &m.ID)
	integer(c, &m.Rows)
	integer(c, &m.Cols)
}

func (m *Signal) fields(c *codec) {
	integer(c, &m.ID)
	integer(c, &m.Number)
	c.bool(&m.Session)
}

func (m *Probe) fields(c *codec) {
	integer(c, &m.ID)
	integer(c, &m.Port)
}

func (m *Probed) fields(c *codec) {
	integer(c, &m.ID)
	c.bool(&m.OK)
}

func (m *CopyOut) fields(c *codec) {
	integer(c, &m.ID)
	c.string(&m.Pattern)
}

func (m *CopyEntry) fields(c *codec) {
	integer(c, &m.ID)
	c.string(&m.Name)
	integer(c, &m.Type)
	integer(c, &m.Mode)
	c.int64(&m.MTime)
	c.string(&m.Link)
}

func (m *Copied) fields(c *codec) {
	integer(c, &m.ID)
	c.bool(&m.Missing)
	integer(c, &m.Skipped)
	integer(c, &m.Failed)
	c.string(&m.Error)
}
