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
		Networks   []jsonNetwork   `json:"networks"`
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
		Source     string            `json:"source,omitempty"`
		Version    string            `json:"version,omitempty"`
		Debian     string            `json:"debian,omitempty"`
		Set        map[string]string `json:"set,omitempty"`
		Fragments  []string          `json:"fragments,omitempty"`
		Unmodified bool              `json:"unmodified,omitempty"`
	}
	jsonNetwork struct {
		Name         string      `json:"name"`
		Implicit     bool        `json:"implicit"` // no block declares it
		Mode         string      `json:"mode"`
		Scope        string      `json:"scope,omitempty"` // absent: user
		Bridge       string      `json:"bridge,omitempty"`
		Subnet       string      `json:"subnet,omitempty"` // absent: chosen at the start, as the other addresses
		IPv6         bool        `json:"ipv6"`
		Subnet6      string      `json:"subnet6,omitempty"`
		Gateway      string      `json:"gateway,omitempty"`
		Uplink       string      `json:"uplink"`
		MTU          int         `json:"mtu,omitempty"` // absent: the mode's
		Isolated     bool        `json:"isolated"`
		HostLoopback bool        `json:"host_loopback"`
		Capture      string      `json:"capture,omitempty"`
		Impair       *jsonImpair `json:"impair,omitempty"`
		DHCP         jsonDHCP    `json:"dhcp"`
		Source       *jsonPlace  `json:"source,omitempty"` // absent: implicit
	}
	jsonDHCP struct {
		Enabled      bool              `json:"enabled"`
		Range        []string          `json:"range"` // empty: all of the subnet
		Exclude      []string          `json:"exclude"`
		Lease        float64           `json:"lease_seconds"`
		Router       []string          `json:"router"` // null: the gateway, if there is an uplink
		DNS          []string          `json:"dns"`    // empty: the gateway
		NTP          []string          `json:"ntp"`
		Domain       string            `json:"domain,omitempty"`
		Search       []string          `json:"search"`
		Routes       map[string]string `json:"routes"`
		Options      map[string]string `json:"options"` // as the language has them
		Reservations map[string]string `json:"reservations"`
	}
	jsonImpair struct {
		Delay     float64 `json:"delay_seconds"`
		Jitter    float64 `json:"jitter_seconds"`
		Loss      float64 `json:"loss"`
		Duplicate float64 `json:"duplicate"`
		Rate      int64   `json:"rate_bits,omitempty"` // absent: unlimited
	}
	jsonNIC struct {
		Network  string      `json:"network"`
		Address  string      `json:"address,omitempty"`
		Address6 string      `json:"address6,omitempty"`
		MAC      string      `json:"mac,omitempty"`
		MTU      int         `json:"mtu,omitempty"`
		DHCP     bool        `json:"dhcp"`
		Aliases  []string    `json:"aliases"`
		Impair   *jsonImpair `json:"impair,omitempty"`
	}
	jsonPublish struct {
		HostAddress string `json:"host_address"`
		HostPort    int    `json:"host_port"` // 0: chosen at the start
		Port        int    `json:"port"`
		Count       int    `json:"count"` // of ports that follow each other
		Protocol    string `json:"protocol"`
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
		Disks       []jsonDisk        `json:"disks"`
		CopyOut     []jsonCopyOut     `json:"copy_out"`
		Confine     jsonConfine       `json:"confine"`
		Docker      *jsonDocker       `json:"docker,omitempty"`
		NICs        []jsonNIC         `json:"nics"`
		Publish     []jsonPublish     `json:"publish"`
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
		Mode       string `json:"mode"`
		Source     string `json:"source,omitempty"`
		FileSystem string `json:"file_system,omitempty"` // absent: source is a folder
		Image      string `json:"image,omitempty"`
		Pull       string `json:"pull,omitempty"`
		Persist    string `json:"persist,omitempty"`
		SizeBytes  int64  `json:"size_bytes,omitempty"` // absent: half of the memory, or with persist as it is
	}
	jsonMount struct {
		Target string `json:"target"`
		Source string `json:"source"`
		Mode   string `json:"mode"`
	}
	jsonConfine struct {
		Read     []string `json:"read,omitempty"` // absent: everything
		Hide     []string `json:"hide"`           // besides the usual
		Show     []string `json:"show"`
		Root     bool     `json:"root"`
		Required bool     `json:"required"`
	}
	jsonTmpfs struct {
		Target    string `json:"target"`
		SizeBytes int64  `json:"size_bytes,omitempty"` // absent: half of the memory
		Mode      string `json:"mode"`                 // octal
	}
	jsonDisk struct {
		Target    string `json:"target"`
		SizeBytes int64  `json:"size_bytes"`
		File      string `json:"file,omitempty"` // absent: a new one
		FS        string `json:"fs"`
		Mode      string `json:"mode"` // octal
	}
	jsonCopyOut struct {
		From     string `json:"from"`
		To       string `json:"to"`
		Optional bool   `json:"optional"`
		Limit    int64  `json:"limit_bytes"`
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
		Variables: []jsonVariable{}, Kernels: []jsonKernel{}, Networks: []jsonNetwork{}, Subkernels: []jsonSubkernel{},
	}
	for i := range p.Variables {
		v := &p.Variables[i]
		out.Variables = append(out.Variables, jsonVariable{Name: v.Name, Description: v.Description, Value: v.redactedValue(), Sensitive: v.Sensitive, From: v.From})
	}
	for i := range p.Kernels {
		out.Kernels = append(out.Kernels, kernelJSON(&p.Kernels[i]))
	}
	for i := range p.Networks {
		out.Networks = append(out.Networks, networkJSON(&p.Networks[i]))
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
		out.Build = &jsonBuild{Source: b.Source, Version: b.Version, Debian: b.Debian, Set: b.Set, Fragments: b.Fragments, Unmodified: b.Unmodified}
	}
	return out
}

func (p *Project) subkernelJSON(s *Subkernel) jsonSubkernel {
	out := jsonSubkernel{
		Name: s.Name, Block: s.Block, Kernel: kernelJSON(&s.Kernel), MemoryBytes: s.Memory, CPUs: s.CPUs, Isolation: s.Isolation, Hostname: s.Hostname,
		Env: p.redactMap(s.Env), Workdir: s.Workdir, User: s.User, Root: rootJSON(&s.Root), Cgroups: s.Cgroups,
		Matrix: s.matrixMap(), Mounts: []jsonMount{}, Tmpfs: []jsonTmpfs{}, Disks: []jsonDisk{}, CopyOut: []jsonCopyOut{}, NICs: nicsJSON(s.NICs), Publish: publishJSON(s.Publish), Steps: []jsonStep{}, DependsOn: []jsonDependency{}, Service: s.Service,
		Timeout: seconds(s.Timeout), BootTimeout: seconds(s.BootTimeout), StopTimeout: seconds(s.StopTimeout),
		Confine: jsonConfine{
			Read: s.Confine.Read, Hide: append([]string{}, s.Confine.Hide...), Show: append([]string{}, s.Confine.Show...),
			Root: s.Confine.Root, Required: s.Confine.Required,
		},
		Docker:     dockerJSON(s.Docker),
		ExpectExit: s.Expect.Exit, ExpectOutcome: s.Expect.Outcome, Source: jsonPlace(s.Range),
	}
	for _, m := range s.Mounts {
		out.Mounts = append(out.Mounts, jsonMount{Target: m.Target, Source: p.Redact(m.Source), Mode: m.Mode})
	}
	for _, t := range s.Tmpfs {
		out.Tmpfs = append(out.Tmpfs, jsonTmpfs{Target: t.Target, SizeBytes: t.Size, Mode: fmt.Sprintf("%04o", t.Mode)})
	}
	for _, d := range s.Disks {
		out.Disks = append(out.Disks, jsonDisk{Target: d.Target, SizeBytes: d.Size, File: d.File, FS: d.FS, Mode: fmt.Sprintf("%04o", d.Mode)})
	}
	for _, c := range s.CopyOut {
		out.CopyOut = append(out.CopyOut, jsonCopyOut{From: c.From, To: c.To, Optional: c.Optional, Limit: c.Limit})
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

func rootJSON(r *Root) jsonRoot {
	return jsonRoot{Mode: r.Mode, Source: r.Source, FileSystem: r.FileSystem, Image: r.Image, Pull: r.Pull, Persist: r.Persist, SizeBytes: r.Size}
}

func networkJSON(n *Network) jsonNetwork {
	out := jsonNetwork{
		Name: n.Name, Implicit: n.Implicit, Mode: n.Mode, Scope: n.Scope, Bridge: n.Bridge, Subnet: optional(n.Subnet), IPv6: n.IPv6, Subnet6: optional(n.Subnet6),
		Gateway: optional(n.Gateway), Uplink: n.Uplink, MTU: n.MTU, Isolated: n.Isolated, HostLoopback: n.HostLoopback, Capture: n.Capture,
		Impair: impairJSON(n.Impair), DHCP: dhcpJSON(&n.DHCP),
	}
	if !n.Implicit {
		source := jsonPlace(n.Range)
		out.Source = &source
	}
	return out
}

func dhcpJSON(c *DHCP) jsonDHCP {
	out := jsonDHCP{
		Enabled: c.Enabled, Range: texts(c.Ranges), Exclude: texts(c.Exclude), Lease: seconds(c.Lease), DNS: texts(c.DNS), NTP: texts(c.NTP),
		Domain: c.Domain, Search: append([]string{}, c.Search...), Routes: routeTexts(c.Routes), Options: optionTexts(c.Options), Reservations: hostTexts(c.Hosts),
	}
	if c.RouterSet {
		out.Router = texts(c.Router)
	}
	return out
}

func impairJSON(c *Impair) *jsonImpair {
	if c == nil {
		return nil
	}
	return &jsonImpair{Delay: seconds(c.Delay), Jitter: seconds(c.Jitter), Loss: c.Loss, Duplicate: c.Duplicate, Rate: c.Rate}
}

func nicsJSON(nics []NIC) []jsonNIC {
	out := []jsonNIC{}
	for i := range nics {
		n := &nics[i]
		out = append(out, jsonNIC{
			Network: n.Network, Address: optional(n.Address), Address6: optional(n.Address6), MAC: n.MAC, MTU: n.MTU, DHCP: n.DHCP,
			Aliases: append([]string{}, n.Aliases...), Impair: impairJSON(n.Impair),
		})
	}
	return out
}

func publishJSON(list []Publish) []jsonPublish {
	out := []jsonPublish{}
	for _, p := range list {
		out = append(out, jsonPublish{HostAddress: p.Host.String(), HostPort: p.HostPort, Port: p.Port, Count: p.PortEnd - p.Port + 1, Protocol: p.Proto})
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
