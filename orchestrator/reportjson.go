package orchestrator

import (
	"encoding/json"
	"io"
	"math"
	"time"
)

// Schema is the version of the JSON report and of JSON events. It grows when a field is removed or changes its meaning, not when one is
// added. docs/report.md describes the fields.
const Schema = 1

type jsonReport struct {
	Schema      int              `json:"schema"`
	Project     string           `json:"project"`
	RunDir      string           `json:"run_dir"`
	Started     time.Time        `json:"started"`
	DurationMS  millis           `json:"duration_ms"`
	OK          bool             `json:"ok"`
	ExitCode    int              `json:"exit_code"`
	Interrupted bool             `json:"interrupted"`
	TimedOut    bool             `json:"timed_out"`
	Networks    []jsonNet        `json:"networks"`
	Subkernels  []*jsonSubkernel `json:"subkernels"`
}

type jsonSubkernel struct {
	Name          string      `json:"name"`
	Block         string      `json:"block"`
	Matrix        jsonMatrix  `json:"matrix"`
	Outcome       Outcome     `json:"outcome"`
	Status        int         `json:"status"`
	Signal        int         `json:"signal"`
	OK            bool        `json:"ok"`
	Expected      jsonExpect  `json:"expected"`
	Reason        string      `json:"reason"`
	Hint          string      `json:"hint"`
	Service       bool        `json:"service"`
	KernelVersion string      `json:"kernel_version"`
	KernelPath    string      `json:"kernel_path"`
	Started       *time.Time  `json:"started"`
	TimesMS       jsonTimes   `json:"times_ms"`
	PeakMemory    int64       `json:"peak_memory"`
	CPUMS         millis      `json:"cpu_ms"`
	Docker        *jsonDaemon `json:"docker"` // null: none was to be started
	NICs          []jsonNIC   `json:"nics"`
	Published     []jsonPort  `json:"published"`
	Logs          string      `json:"logs"`
	Console       []string    `json:"console"`
	Steps         []jsonStep  `json:"steps"`
	Copied        []jsonCopy  `json:"copied"`
}

type jsonNet struct {
	Name    string      `json:"name"`
	Mode    string      `json:"mode"`
	Subnet  string      `json:"subnet"`
	Subnet6 string      `json:"subnet6"`
	Gateway string      `json:"gateway"`
	Leases  []jsonLease `json:"leases"`
}

type jsonLease struct {
	Address string `json:"address"`
	MAC     string `json:"mac"`
	Name    string `json:"name"`
}

type jsonNIC struct {
	Name      string   `json:"name"`
	Network   string   `json:"network"`
	MAC       string   `json:"mac"`
	Addresses []string `json:"addresses"`
}

type jsonPort struct {
	Host  string `json:"host"`
	Port  int    `json:"port"`
	Proto string `json:"proto"`
}

// jsonMatrix is a matrix's elements by key; never null.
type jsonMatrix map[string]string

func newJSONMatrix(values []MatrixValue) jsonMatrix {
	m := make(jsonMatrix, len(values))
	for _, v := range values {
		m[v.Key] = v.Value
	}
	return m
}

type jsonExpect struct {
	Outcome Outcome `json:"outcome"`
	Exit    []int   `json:"exit"`
}

type jsonTimes struct {
	Boot  millis `json:"boot"`
	Up    millis `json:"up"`
	Ready millis `json:"ready"`
	Run   millis `json:"run"`
	Total millis `json:"total"`
}

type jsonStep struct {
	Name       string     `json:"name"`
	Outcome    Outcome    `json:"outcome"`
	Status     int        `json:"status"`
	Signal     int        `json:"signal"`
	OK         bool       `json:"ok"`
	Reason     string     `json:"reason"`
	Started    *time.Time `json:"started"`
	DurationMS millis     `json:"duration_ms"`
	Logs       jsonLogs   `json:"logs"`
}

type jsonLogs struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

type jsonCopy struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	Error string `json:"error"`
}

// millis is a time span, in JSON a number of milliseconds with at most three decimals.
type millis time.Duration

// MarshalJSON implements json.Marshaler.
func (m millis) MarshalJSON() ([]byte, error) {
	return json.Marshal(math.Round(time.Duration(m).Seconds()*1e6) / 1e3)
}

// WriteJSON writes the report as one indented JSON object. The error is the writer's.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r.json())
}

func (r *Report) json() *jsonReport {
	out := &jsonReport{
		Schema: Schema, Project: r.Project, RunDir: r.RunDir, Started: r.Started, DurationMS: millis(r.Duration),
		OK: r.OK(), ExitCode: r.ExitCode(), Interrupted: r.Interrupted, TimedOut: r.TimedOut,
		Networks: jsonNets(r.Networks), Subkernels: make([]*jsonSubkernel, len(r.Subkernels)),
	}
	for i := range r.Subkernels {
		out.Subkernels[i] = r.Subkernels[i].json()
	}
	return out
}

func (r *SubkernelReport) json() *jsonSubkernel {
	out := &jsonSubkernel{
		Name: r.Name, Block: r.Block, Matrix: newJSONMatrix(r.Matrix), Outcome: r.Outcome, Status: r.Status, Signal: r.Signal, OK: r.OK,
		Expected: jsonExpect{Outcome: r.Expect.Outcome, Exit: r.Expect.Exit},
		Reason:   r.Reason, Hint: r.Hint, Service: r.Service,
		KernelVersion: r.KernelVersion, KernelPath: r.KernelPath, Started: timeOrNull(r.Started),
		TimesMS:    jsonTimes{Boot: millis(r.Boot), Up: millis(r.Up), Ready: millis(r.Ready), Run: millis(r.RunTime()), Total: millis(r.Total)},
		PeakMemory: r.PeakMemory, CPUMS: millis(r.CPU), Logs: r.Logs,
		Console: append([]string{}, r.Console...), // [], not null
		NICs:    jsonNICs(r.NICs), Published: jsonPorts(r.Published),
		Steps: make([]jsonStep, len(r.Steps)), Copied: make([]jsonCopy, len(r.Copies)),
	}
	out.Docker = newJSONDaemon(r.Docker)
	for i, c := range r.Copies {
		out.Copied[i] = jsonCopy(c)
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		out.Steps[i] = jsonStep{
			Name: s.Name, Outcome: s.Outcome, Status: s.Status, Signal: s.Signal, OK: s.OK, Reason: s.Reason,
			Started: timeOrNull(s.Started), DurationMS: millis(s.Duration), Logs: jsonLogs{Stdout: s.Stdout, Stderr: s.Stderr},
		}
	}
	return out
}

func jsonNets(nets []NetworkReport) []jsonNet {
	out := make([]jsonNet, len(nets))
	for i, n := range nets {
		out[i] = jsonNet{Name: n.Name, Mode: n.Mode, Leases: make([]jsonLease, len(n.Leases))}
		for _, s := range []struct {
			text  *string
			value interface {
				IsValid() bool
				String() string
			}
		}{{&out[i].Subnet, n.Subnet}, {&out[i].Subnet6, n.Subnet6}, {&out[i].Gateway, n.Gateway}} {
			if s.value.IsValid() {
				*s.text = s.value.String()
			}
		}
		for j, l := range n.Leases {
			out[i].Leases[j] = jsonLease{Address: l.Addr.String(), MAC: l.MAC.String(), Name: l.Name}
		}
	}
	return out
}

// jsonNets, jsonNICs and jsonPorts never return nil, which would be null.
func jsonNICs(nics []NICResult) []jsonNIC {
	out := make([]jsonNIC, len(nics))
	for i, n := range nics {
		out[i] = jsonNIC{Name: n.Name, Network: n.Network, MAC: n.MAC.String(), Addresses: make([]string, len(n.Addrs))}
		for j, a := range n.Addrs {
			out[i].Addresses[j] = a.String()
		}
	}
	return out
}

func jsonPorts(ports []Published) []jsonPort {
	out := make([]jsonPort, len(ports))
	for i, p := range ports {
		out[i] = jsonPort{Host: p.Host.String(), Port: p.Port, Proto: p.Proto}
	}
	return out
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
