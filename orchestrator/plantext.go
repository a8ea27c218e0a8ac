package orchestrator

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// String says what would happen, in order, and why it waits:
//
//	project lab: 2 sub-kernels
//
//	networks
//	  lan: bridge, 10.77.0.0/24, uplink user
//
//	wave 1
//	  router: service, kernel fast, 256M, 1 CPU
//	    nic eth0: lan, 10.77.0.1, 02:3f:19:aa:01:4c
//	    ready: port 80 accepts connections (every 1s, at most 30s)
//	    step command: exec ./router.sh
//
//	wave 2
//	  client["lan"]: kernel fast, 128M, 1 CPU, at most 2m0s
//	    matrix: from = lan
//	    starts when router is ready
//	    step reach: ping -c 1 router (at most 10s)
//
//	in the end
//	  router is stopped when all with commands have ended
//
// All of a wave may run at the same time; it depends on earlier waves only. The values of sensitive variables are left out.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "project %s: %s\n", escape(p.Project), plural(len(p.Nodes), "sub-kernel"))
	p.writeNetworks(&b)
	waves := p.waves()
	last := 0
	for _, w := range waves {
		last = max(last, w)
	}
	for wave := 1; wave <= last; wave++ {
		fmt.Fprintf(&b, "\nwave %d\n", wave)
		for i := range p.Nodes {
			if waves[i] == wave {
				p.writeNode(&b, &p.Nodes[i])
			}
		}
	}
	p.writeHidden(&b)
	p.writeEnd(&b)
	return b.String()
}

// waves numbers the nodes from 1: each is one more than the highest of those that it depends on.
func (p *Plan) waves() []int {
	waves := make([]int, len(p.Nodes))
	for i := range p.Nodes {
		waves[i] = 1
		for _, d := range p.Nodes[i].Deps {
			waves[i] = max(waves[i], waves[d.Index]+1)
		}
	}
	return waves
}

func (p *Plan) writeNode(b *strings.Builder, n *Node) {
	job := &n.Job
	fmt.Fprintf(b, "  %s: %s\n", escape(job.Name), escape(strings.Join(jobTraits(job), ", ")))
	if len(n.Matrix) > 0 {
		fmt.Fprintf(b, "    matrix: %s\n", p.show(matrixText(n.Matrix)))
	}
	for _, d := range n.Deps {
		fmt.Fprintf(b, "    starts when %s is %s\n", escape(p.Nodes[d.Index].Job.Name), d.Condition)
	}
	if text := rootText(&job.Root); text != "" {
		fmt.Fprintf(b, "    root: %s\n", escape(text))
	}
	for _, m := range job.Mounts {
		fmt.Fprintf(b, "    mount %s: %s (%s)\n", escape(m.Target), p.show(m.Source), m.Mode)
	}
	for _, t := range job.Tmpfs {
		fmt.Fprintf(b, "    tmpfs %s: %s\n", escape(t.Target), tmpfsSize(t.Size))
	}
	for _, d := range job.Disks {
		fmt.Fprintf(b, "    disk %s: %s, %s\n", escape(d.Target), formatBytes(d.Size), p.show(diskFile(d.File)))
	}
	p.writeConfine(b, job)
	p.writeDocker(b, job.Docker)
	p.writeNICs(b, job)
	if job.Ready != nil {
		fmt.Fprintf(b, "    ready: %s (every %s, at most %s)\n", p.show(readyTest(job.Ready)), job.Ready.Interval, job.Ready.Timeout)
	}
	for i := range job.Steps {
		p.writeStep(b, &job.Steps[i])
	}
	for _, c := range job.CopyOut {
		fmt.Fprintf(b, "    copies %s to %s\n", escape(c.From), p.show(c.To))
	}
	if n.Expect.outcome() != Exited {
		fmt.Fprintf(b, "    expects %s\n", n.Expect)
	}
}

func (p *Plan) writeStep(b *strings.Builder, s *Step) {
	var notes []string
	if s.User != "" {
		notes = append(notes, "as "+s.User)
	}
	if s.Timeout > 0 {
		notes = append(notes, "at most "+s.Timeout.String())
	}
	if s.ContinueOnError {
		notes = append(notes, "the next runs even if it fails")
	}
	if expect := (Expect{Exit: s.ExpectExit}); !isZero(expect.statuses()) {
		notes = append(notes, "expects "+expect.String())
	}
	text := ""
	if len(notes) > 0 {
		text = " (" + escape(strings.Join(notes, ", ")) + ")"
	}
	command := p.show(commandLine(s.Argv))
	switch {
	case s.OfImage:
		command = "the image's own command"
	case s.Compose != "":
		command = p.show(commandLine(composeText(s)))
	}
	fmt.Fprintf(b, "    step %s: %s%s\n", escape(s.Name), command, text)
}

// writeEnd says when services are stopped, in the order in which they are.
func (p *Plan) writeEnd(b *strings.Builder) {
	services := 0
	dependents := make([][]string, len(p.Nodes)) // services alone
	for i := range p.Nodes {
		if !p.Nodes[i].Job.Service {
			continue
		}
		services++
		for _, d := range p.Nodes[i].Deps {
			dependents[d.Index] = append(dependents[d.Index], escape(p.Nodes[i].Job.Name))
		}
	}
	if services == 0 {
		return
	}
	b.WriteString("\nin the end\n")
	for i := range slices.Backward(p.Nodes) {
		when := "all with commands have ended"
		switch {
		case !p.Nodes[i].Job.Service:
			continue
		case len(dependents[i]) > 0:
			when = strings.Join(dependents[i], ", ") + " has ended"
			if len(dependents[i]) > 1 {
				when = strings.Join(dependents[i], ", ") + " have ended"
			}
		case services == len(p.Nodes):
			when = "the run is interrupted"
		}
		fmt.Fprintf(b, "  %s is stopped when %s\n", escape(p.Nodes[i].Job.Name), when)
	}
}

// jobTraits are what a job is, in a few words each.
func jobTraits(job *Job) []string {
	var traits []string
	if job.Service {
		traits = append(traits, "service")
	}
	traits = append(traits, "kernel "+kernelText(&job.Kernel), formatBytes(job.Memory), plural(job.CPUs, "CPU"))
	if job.Isolation == "fast" {
		traits = append(traits, "fast isolation")
	}
	if job.Root.Mode == "ro" {
		traits = append(traits, "read-only root")
	}
	if job.Cgroups == "v1" {
		traits = append(traits, "cgroups v1")
	}
	if job.Timeout > 0 {
		traits = append(traits, "at most "+job.Timeout.String())
	}
	return traits
}

// rootText says what a root is, where it isn't the host's as usual.
func rootText(r *Root) string {
	var text string
	switch {
	case r.Image != "":
		text = "image " + r.Image
		if r.Pull == "always" || r.Pull == "never" {
			text += ", pulled " + r.Pull
		}
	case r.FileSystem != "":
		text = r.Source + " (" + r.FileSystem + ")"
	default:
		text = r.Source
	}
	var written []string
	if r.Size > 0 {
		written = append(written, "at most "+formatBytes(r.Size))
	}
	if r.Persist != "" {
		written = append(written, "kept in "+r.Persist)
	}
	if len(written) == 0 {
		return text
	}
	if text != "" {
		text += ", "
	}
	return text + "written: " + strings.Join(written, ", ")
}

func kernelText(k *KernelChoice) string {
	which := k.Path
	if which == "" {
		var words []string
		if k.Version != "" {
			words = append(words, "version "+k.Version)
		}
		if k.Flavour != "" {
			words = append(words, "flavour "+k.Flavour)
		}
		if k.Build != "" {
			words = append(words, "built of "+k.Build)
		}
		which = strings.Join(words, ", ")
	}
	switch {
	case k.Name == "" && which == "":
		return "default"
	case k.Name == "":
		return which
	case which == "":
		return k.Name
	default:
		return k.Name + " (" + which + ")"
	}
}

func tmpfsSize(n int64) string {
	if n == 0 {
		return "half of the memory"
	}
	return formatBytes(n)
}

func diskFile(file string) string {
	if file == "" {
		return "new"
	}
	return file
}

func readyTest(r *Ready) string {
	switch {
	case r.Compose != "":
		return "the services of " + r.Compose + " are healthy"
	case r.Port != 0:
		return fmt.Sprintf("port %d accepts connections", r.Port)
	case r.Log != "":
		return fmt.Sprintf("a line of the output matches %q", r.Log)
	default:
		return commandLine(r.Argv) + " succeeds"
	}
}

// commandLine shows a command as one would type it; of a script of several lines, the first.
func commandLine(argv []string) string {
	if len(argv) == 3 && argv[0] == "/bin/sh" && argv[1] == "-c" {
		script := strings.TrimSpace(argv[2])
		if first, rest, more := strings.Cut(script, "\n"); more {
			return fmt.Sprintf("%s … (%d lines)", first, strings.Count(rest, "\n")+2)
		}
		return script
	}
	words := make([]string, len(argv))
	for i, arg := range argv {
		words[i] = shellWord(arg)
	}
	return strings.Join(words, " ")
}

// shellWord quotes a word for a shell if it needs that.
func shellWord(s string) string {
	const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"
	if s != "" && strings.Trim(s, safe) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// show escapes a text of the file's, without the values of sensitive variables.
func (p *Plan) show(s string) string { return escape(p.redact(s)) }

func (p *Plan) redact(s string) string {
	if p.redactSecrets == nil {
		return s
	}
	return p.redactSecrets(s)
}

type jsonPlan struct {
	Schema     int           `json:"schema"`
	Project    string        `json:"project"`
	Networks   []jsonNetwork `json:"networks"`
	Subkernels []jsonNode    `json:"subkernels"`
}

type jsonNode struct {
	Name      string         `json:"name"`
	Block     string         `json:"block"`
	Matrix    jsonMatrix     `json:"matrix"`
	ID        string         `json:"id"`
	Wave      int            `json:"wave"`
	Service   bool           `json:"service"`
	Kernel    string         `json:"kernel"`
	Memory    int64          `json:"memory"`
	CPUs      int            `json:"cpus"`
	Isolation string         `json:"isolation"`
	Root      jsonRoot       `json:"root"`
	After     []jsonDep      `json:"after"`
	Mounts    []jsonMount    `json:"mounts"`
	Disks     []jsonDisk     `json:"disks"`
	CopyOut   []jsonCopyOut  `json:"copy_out"`
	Confine   jsonConfine    `json:"confine"`
	Docker    *jsonDocker    `json:"docker"` // null: none is started
	NICs      []jsonPlanNIC  `json:"nics"`
	Publish   []string       `json:"publish"`
	Ready     string         `json:"ready"`
	Steps     []jsonPlanStep `json:"steps"`
	Expected  jsonExpect     `json:"expected"`
}

type jsonDep struct {
	Name      string    `json:"name"`
	Condition Condition `json:"condition"`
}

type jsonRoot struct {
	Mode       string `json:"mode"`
	Source     string `json:"source"` // empty: the host's root, or an image's
	FileSystem string `json:"file_system"`
	Image      string `json:"image"`
	Pull       string `json:"pull"`
	Persist    string `json:"persist"` // empty: what is written is in memory
	Size       int64  `json:"size"`    // at most written; 0: half of the guest's memory, or with persist as it is
}

type jsonMount struct {
	Target string `json:"target"`
	Source string `json:"source"`
	Mode   string `json:"mode"`
}

type jsonDisk struct {
	Target string `json:"target"`
	Size   int64  `json:"size"`
	File   string `json:"file"`
}

type jsonCopyOut struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Optional bool   `json:"optional"`
	Limit    int64  `json:"limit"`
}

type jsonPlanStep struct {
	Name      string   `json:"name"`
	Argv      []string `json:"argv"`
	TimeoutMS millis   `json:"timeout_ms"`
}

// WriteJSON writes the plan as one indented JSON object, without the values of sensitive variables. The error is the writer's.
func (p *Plan) WriteJSON(w io.Writer) error {
	out := jsonPlan{Schema: Schema, Project: p.Project, Networks: p.jsonNetworks(), Subkernels: make([]jsonNode, len(p.Nodes))}
	waves := p.waves()
	for i := range p.Nodes {
		out.Subkernels[i] = p.jsonNode(&p.Nodes[i], waves[i])
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(&out)
}

func (p *Plan) jsonNode(n *Node, wave int) jsonNode {
	job := &n.Job
	out := jsonNode{
		Name: job.Name, Block: n.Block, Matrix: newJSONMatrix(n.Matrix), ID: job.ID, Wave: wave, Service: job.Service, Kernel: kernelText(&job.Kernel), Memory: job.Memory, CPUs: job.CPUs, Isolation: job.Isolation,
		Root:  jsonRoot{Mode: job.Root.Mode, Source: job.Root.Source, FileSystem: job.Root.FileSystem, Image: job.Root.Image, Pull: job.Root.Pull, Persist: job.Root.Persist, Size: job.Root.Size},
		After: []jsonDep{}, Mounts: []jsonMount{}, Disks: []jsonDisk{}, CopyOut: []jsonCopyOut{}, Steps: []jsonPlanStep{}, NICs: p.jsonNICs(job), Publish: jsonPublish(job.Publish),
		Confine: p.jsonConfine(job), Expected: jsonExpect{Outcome: n.Expect.outcome(), Exit: n.Expect.statuses()},
	}
	out.Docker = p.jsonDocker(job.Docker)
	for _, d := range n.Deps {
		out.After = append(out.After, jsonDep{Name: p.Nodes[d.Index].Job.Name, Condition: d.Condition})
	}
	for _, m := range job.Mounts {
		out.Mounts = append(out.Mounts, jsonMount{Target: m.Target, Source: p.redact(m.Source), Mode: m.Mode})
	}
	for _, d := range job.Disks {
		out.Disks = append(out.Disks, jsonDisk{Target: d.Target, Size: d.Size, File: p.redact(d.File)})
	}
	for _, c := range job.CopyOut {
		out.CopyOut = append(out.CopyOut, jsonCopyOut{From: c.From, To: p.redact(c.To), Optional: c.Optional, Limit: c.Limit})
	}
	if job.Ready != nil {
		out.Ready = p.redact(readyTest(job.Ready))
	}
	for i := range job.Steps {
		s := &job.Steps[i]
		step := jsonPlanStep{Name: s.Name, TimeoutMS: millis(s.Timeout)}
		for _, arg := range s.Argv {
			step.Argv = append(step.Argv, p.redact(arg))
		}
		out.Steps = append(out.Steps, step)
	}
	return out
}
