package orchestrator

import "time"

// An Observer is told what happens in a run. Event is called from several goroutines at once, but for one job in order; what it is given
// is valid during the call only. Until it returns, the job that it is about waits.
type Observer interface {
	Event(e Event)
}

// An EventKind says what an Event is about.
type EventKind int

// The kinds of events. The comment says which fields are set besides Time, Job and Kind.
const (
	// JobBooting: the boot begins. Until then the job waits for its dependencies, a free place, or the Runtime.
	JobBooting  EventKind = iota + 1
	JobBooted             // the guest has said hello: Text is its kernel's version, Elapsed
	JobUp                 // the first step can start: Text is its kernel's version, Elapsed
	JobReady              // Elapsed
	StepStarted           // Step, StepName
	StepEnded             // Step, StepName, StepResult
	// Output: Step, StepName, Stream, Data.
	Output
	KernelLog   // Data
	Notice      // Text; Job is -1 if it is about the run
	JobStopping // it has been asked to end: Text says why
	// Traced: Span. Times for those who look at where they go; it says nothing that the other events don't.
	Traced
	// Addressed: Text is the NIC's name and address, such as "eth0 10.77.0.100/24".
	Addressed
	// PortPublished: Text is a Published, such as "127.0.0.1:8080->80/tcp".
	PortPublished
	// Leased: Text is a network's name and a Lease of its DHCP server's: "lan: 10.77.0.120 to 02:00:00:00:00:07". Job is -1.
	Leased
	// DockerSeeding: Text is the folder of a seed that is being prepared for the job's Docker daemon.
	DockerSeeding
	// DockerReady: Text is the version of the Docker daemon, which can be used from now on.
	DockerReady
	JobEnded // Report, Elapsed; the last event of a job
	RunEnded // Run; Job is -1; the last event
)

var eventNames = [...]string{"", "booting", "booted", "up", "ready", "step-started", "step-ended", "output", "kernel-log", "notice", "stopping", "traced", "addressed", "published", "leased", "docker-seeding", "docker", "ended", "run-ended"}

// String returns the name of the kind, as JSON events have it.
func (k EventKind) String() string { return eventNames[k] }

// An Event is something that happened to a job, or to the run as a whole.
type Event struct {
	Time time.Time
	Job  int // index in Plan.Nodes; -1 for the whole run
	Kind EventKind
	// Elapsed is the time since the boot began; zero before.
	Elapsed    time.Duration
	Step       int
	StepName   string
	Stream     Stream
	Data       []byte
	Text       string
	StepResult *StepResult
	Span       *Span
	Report     *SubkernelReport
	Run        *Report
}
