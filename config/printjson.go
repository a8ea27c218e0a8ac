package config

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// The JSON form of a project, schema 1. Fields may be added to a schema; none is removed or changes its meaning.
type (
	jsonProject struct {
		Schema     int             `json:"schema"`
		Name       string          `json:"name"`
		Dir        string          `json:"dir"`
		Files      []string        `json:"files"`
		Variables  []jsonVariable  `json:"variables"`
		Kernels    []jsonKernel    `json:"kernels"`
		Subkernels []jsonSubkernel `json:"subkernels"`
	}
	jsonVariable struct {
		Name        string          `json:"name"`
		Description string          `json:"description,omitempty"`
		Value       json.RawMessage `json:"value"` // "(sensitive)" for a sensitive one
		Sensitive   bool            `json:"sensitive"`
		From        string          `json:"from"`
	}
	jsonKernel struct {
		Name    string     `json:"name,omitempty"`
		Path    string     `json:"path,omitempty"`
		Version string     `json:"version,omitempty"`
		Flavour string     `json:"flavour,omitempty"`
		Modules string     `json:"modules,omitempty"`
		Build   *jsonBuild `json:"build,omitempty"`
	}
	jsonBuild struct {
		Source    string            `json:"source,omitempty"`
		Version   string            `json:"version,omitempty"`
		Debian    string            `json:"debian,omitempty"`
		Set       map[string]string `json:"set,omitempty"`
		Fragments []string          `json:"fragments,omitempty"`
	}
	jsonSubkernel struct {
		Name        string            `json:"name"`
		Block       string            `json:"block"`
		Matrix      map[string]string `json:"matrix,omitempty"` // absent: the block has none
		Kernel      jsonKernel        `json:"kernel"`           // empty: the default kernel
		MemoryBytes int64             `json:"memory_bytes"`
		CPUs        int               `json:"cpus"`
		Isolation   string            `json:"isolation"`
		Hostname    string            `json:"hostname"`
		Env         map[string]string `json:"env"`
		Workdir     string            `json:"workdir,omitempty"` // absent: the user's home
		User        string            `json:"user,omitempty"`    // absent: root
		Root        jsonRoot          `json:"root"`
		Cgroups     string            `json:"cgroups"`
		Mounts      []jsonMount       `json:"mounts"`
		Tmpfs       []jsonTmpfs       `json:"tmpfs"`
		Steps       []jsonStep        `json:"steps"`
		Service     bool              `json:"service"`
		Ready       *jsonReady        `json:"ready,omitempty"`
		DependsOn   []jsonDependency  `json:"depends_on"`
		// Timeouts are in seconds. An absent one is none.
		Timeout       float64   `json:"timeout_seconds,omitempty"`
		BootTimeout   float64   `json:"boot_timeout_seconds"`
		StopTimeout   float64   `json:"stop_timeout_seconds"`
		ExpectExit    []int     `json:"expect_exit"`
		ExpectOutcome string    `json:"expect_outcome"`
		Source        jsonPlace `json:"source"`
	}
	jsonRoot struct {
		Mode string `json:"mode"`
	}
	jsonMount struct {
		Target string `json:"target"`
		Source string `json:"source"`
		Mode   string `json:"mode"`
	}
	jsonTmpfs struct {
		Target    string `json:"target"`
		SizeBytes int64  `json:"size_bytes,omitempty"` // absent: half of the memory
		Mode      string `json:"mode"`                 // octal
	}
	// jsonCommand is a command for the shell, or an argv.
	jsonCommand struct {
		Shell string   `json:"shell,omitempty"`
		Argv  []string `json:"argv,omitempty"`
	}
	jsonStep struct {
		Name string `json:"name"`
		jsonCommand
		Env             map[string]string `json:"env"`
		Workdir         string            `json:"workdir,omitempty"`
		User            string            `json:"user,omitempty"`
		Timeout         float64           `json:"timeout_seconds,omitempty"`
		ContinueOnError bool              `json:"continue_on_error"`
		ExpectExit      []int             `json:"expect_exit"`
	}
	jsonReady struct {
		jsonCommand
		Port     int     `json:"port,omitempty"`
		Log      string  `json:"log,omitempty"`
		Interval float64 `json:"interval_seconds"`
		Timeout  float64 `json:"timeout_seconds"`
	}
	jsonDependency struct {
		Name      string `json:"name"`
		Condition string `json:"condition"`
	}
	jsonPlace struct {
		File   string `json:"file"`
		Line   int    `json:"line"`
		Column int    `json:"column"`
	}
)

// WriteJSON writes the project as one JSON object, with "schema": 1, sizes in bytes and times in seconds. docs/configuration.md describes it.
// Values of sensitive variables are redacted.
func (p *Project) WriteJSON(w io.Writer) error {
	out := jsonProject{
		Schema: 1, Name: p.Name, Dir: p.Dir, Files: p.Files,
		Variables: []jsonVariable{}, Kernels: []jsonKernel{}, Subkernels: []jsonSubkernel{},
	}
	for i := range p.Variables {
		v := &p.Variables[i]
		out.Variables = append(out.Variables, jsonVariable{Name: v.Name, Description: v.Description, Value: v.redactedValue(), Sensitive: v.Sensitive, From: v.From})
	}
	for i := range p.Kernels {
		out.Kernels = append(out.Kernels, kernelJSON(&p.Kernels[i]))
	}
	for i := range p.Subkernels {
		out.Subkernels = append(out.Subkernels, p.subkernelJSON(&p.Subkernels[i]))
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return fmt.Errorf("project: write: %w", err)
	}
	return nil
}

func kernelJSON(k *Kernel) jsonKernel {
	out := jsonKernel{Name: k.Name, Path: k.Path, Version: k.Version, Flavour: k.Flavour, Modules: k.Modules}
	if b := k.Build; b != nil {
		out.Build = &jsonBuild{Source: b.Source, Version: b.Version, Debian: b.Debian, Set: b.Set, Fragments: b.Fragments}
	}
	return out
}

func (p *Project) subkernelJSON(s *Subkernel) jsonSubkernel {
	out := jsonSubkernel{
		Name: s.Name, Block: s.Block, Kernel: kernelJSON(&s.Kernel), MemoryBytes: s.Memory, CPUs: s.CPUs, Isolation: s.Isolation, Hostname: s.Hostname,
		Env: p.redactMap(s.Env), Workdir: s.Workdir, User: s.User, Root: jsonRoot(s.Root), Cgroups: s.Cgroups,
		Matrix: s.matrixMap(), Mounts: []jsonMount{}, Tmpfs: []jsonTmpfs{}, Steps: []jsonStep{}, DependsOn: []jsonDependency{}, Service: s.Service,
		Timeout: seconds(s.Timeout), BootTimeout: seconds(s.BootTimeout), StopTimeout: seconds(s.StopTimeout),
		ExpectExit: s.Expect.Exit, ExpectOutcome: s.Expect.Outcome, Source: jsonPlace(s.Range),
	}
	for _, m := range s.Mounts {
		out.Mounts = append(out.Mounts, jsonMount{Target: m.Target, Source: p.Redact(m.Source), Mode: m.Mode})
	}
	for _, t := range s.Tmpfs {
		out.Tmpfs = append(out.Tmpfs, jsonTmpfs{Target: t.Target, SizeBytes: t.Size, Mode: fmt.Sprintf("%04o", t.Mode)})
	}
	for i := range s.Steps {
		out.Steps = append(out.Steps, p.stepJSON(&s.Steps[i]))
	}
	for _, d := range s.DependsOn {
		out.DependsOn = append(out.DependsOn, jsonDependency{Name: d.Name, Condition: d.Condition})
	}
	if r := s.Ready; r != nil {
		out.Ready = &jsonReady{
			jsonCommand: p.commandJSON(r.Shell, r.Argv), Port: r.Port, Log: r.Log, Interval: seconds(r.Interval), Timeout: seconds(r.Timeout),
		}
	}
	return out
}

func (p *Project) stepJSON(st *Step) jsonStep {
	return jsonStep{
		Name: st.Name, jsonCommand: p.commandJSON(st.Shell, st.Argv), Env: p.redactMap(st.Env), Workdir: st.Workdir, User: st.User,
		Timeout: seconds(st.Timeout), ContinueOnError: st.ContinueOnError, ExpectExit: st.ExpectExit,
	}
}

func (p *Project) commandJSON(shell string, argv []string) jsonCommand {
	c := jsonCommand{Shell: p.Redact(shell)}
	for _, arg := range argv {
		c.Argv = append(c.Argv, p.Redact(arg))
	}
	return c
}

func (p *Project) redactMap(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = p.Redact(v)
	}
	return out
}

func seconds(d time.Duration) float64 { return d.Seconds() }
