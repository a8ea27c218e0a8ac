package orchestrator

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekexe/sekexe/config"
)

// newTestProject is a project with one of everything.
func newTestProject() *config.Project {
	zero := []int{0}
	sub := func(name string) config.Subkernel {
		return config.Subkernel{
			Name: name, Memory: 128 << 20, CPUs: 1, Root: config.Root{Mode: "overlay"}, Cgroups: "v2",
			Expect: config.Expect{Exit: zero, Outcome: "exited"},
		}
	}
	a, b, router, builder, crash := sub(`host["a"]`), sub(`host["b"]`), sub("router"), sub("builder"), sub("crash")
	for _, h := range []*config.Subkernel{&a, &b} {
		h.Block = "host"
		h.Env = map[string]string{"SUITE": "smoke", "LANG": "de_DE.UTF-8"}
		h.Workdir = "/lab"
		h.Timeout = 2 * time.Minute
		h.DependsOn = []config.Dependency{{Name: "router", Condition: "ready"}}
		h.Steps = []config.Step{
			{Name: "address", Argv: []string{"ip", "-4", "address", "show", "it's eth0"}, ExpectExit: zero, ContinueOnError: true},
			{Name: "reach", Shell: "ping -c 1 router", Timeout: 10 * time.Second, ExpectExit: zero, User: "nobody", Env: map[string]string{"SUITE": "full"}},
		}
	}
	a.Matrix = []config.MatrixValue{{Key: "os", Value: "a\x1b[2J"}, {Key: "kernel", Value: "fast"}}
	router.Service = true
	router.Memory = 256 << 20
	router.Kernel = config.Kernel{Name: "fast", Version: "7", Flavour: "smp"}
	router.Ready = &config.Ready{Port: 80, Interval: time.Second, Timeout: 30 * time.Second}
	router.Steps = []config.Step{{Name: "command", Shell: "set -e\nsysctl -w net.ipv4.ip_forward=1\nexec ./router.sh\n", ExpectExit: zero}}
	router.Mounts = []config.Mount{{Target: "/lab", Source: "/home/me/lab", Mode: "ro"}}
	builder.Kernel = config.Kernel{Name: "distro", Path: "/usr/bin/linux.uml"}
	b.Kernel = config.Kernel{Name: "ours", Flavour: "default", Build: &config.Build{
		Debian: "sid", Set: map[string]string{"CONFIG_B": "y", "CONFIG_A": "n"}, Fragments: []string{"/home/me/lab/btrfs"},
	}}
	builder.Memory = 3 << 29
	builder.CPUs = 2
	builder.Cgroups = "v1"
	builder.Root.Mode = "ro"
	builder.Disks = []config.Disk{{Target: "/data", Size: 2 << 30, File: "/home/me/lab/data.img", FS: "ext4", Mode: 0o755}, {Target: "/var/tmp", Size: 1 << 30, FS: "ext4"}}
	builder.CopyOut = []config.CopyOut{{From: "/tmp/*.xml", To: "/home/me/lab/out/", Optional: true, Limit: 1 << 30}}
	builder.Mounts = []config.Mount{{Target: "/out", Source: "/home/me/out", Mode: "rw"}, {Target: "/src", Source: "/home/me/src\a", Mode: "overlay"}}
	builder.Confine = config.Confine{Read: []string{"/usr", "/etc"}, Hide: []string{"/etc/secret"}, Show: []string{"/home/me/.ssh/known_hosts"}, Root: true, Required: true}
	builder.Tmpfs = []config.Tmpfs{{Target: "/scratch", Size: 64 << 20, Mode: 0o1777}}
	builder.DependsOn = []config.Dependency{{Name: `host["b"]`, Condition: "completed"}, {Name: `host["a"]`, Condition: "started"}}
	builder.Steps = []config.Step{{Name: "command", Argv: []string{"make"}, ExpectExit: zero}}
	builder.Expect.Exit = []int{0, 2}
	crash.Expect.Outcome = "panicked"
	crash.Steps = []config.Step{{Name: "command", Shell: "echo c > /proc/sysrq-trigger\a", ExpectExit: zero}}
	crash.Root = config.Root{Mode: "overlay", Source: "/srv/root.squashfs", FileSystem: "squashfs", Size: 64 << 20}
	idle := sub("idle")
	idle.Root = config.Root{Mode: "overlay", Image: "docker.io/library/redis:7", Pull: "always", Persist: "/home/me/redis"}
	idle.Service = true
	idle.DependsOn = []config.Dependency{{Name: "router", Condition: "started"}}
	return &config.Project{
		Name: "lab", Subkernels: []config.Subkernel{a, builder, b, router, crash, idle},
	}
}

func TestPlanGolden(t *testing.T) {
	p, err := NewPlan(newTestProject())
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "plan.txt", p.String())
	var b strings.Builder
	if err := p.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "plan.json", b.String())
}

func TestPlanLeavesOutSecrets(t *testing.T) {
	const file = `
variable "token" {
  type      = string
  sensitive = true
}
subkernel "a" { command = ["login", "--token", var.token] }
`
	dir := t.TempDir()
	project, diags := config.Load(config.Options{Files: []string{"-"}, Dir: dir, Stdin: strings.NewReader(file), Vars: []string{"token=hunter2"}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	p, err := NewPlan(project)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Nodes[0].Job.Steps[0].Argv[2]; got != "hunter2" {
		t.Errorf("the job has %q for the token; want hunter2", got)
	}
	var b strings.Builder
	if err := p.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"String": p.String(), "WriteJSON": b.String()} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "(sensitive)") {
			t.Errorf("%s tells the secret, or does not say that there is one:\n%s", name, text)
		}
	}
}

func TestNewPlanJob(t *testing.T) {
	p, err := NewPlan(newTestProject())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(p.Nodes, func(n Node) bool { return n.Job.Name == `host["a"]` })
	want := Node{
		Block:  "host",
		Matrix: []MatrixValue{{"os", "a\x1b[2J"}, {"kernel", "fast"}},
		Deps:   []Dep{{Index: 0, Condition: IsReady}},
		Expect: Expect{Exit: []int{0}, Outcome: Exited},
		Job: Job{
			Name: `host["a"]`, ID: "host-a", Memory: 128 << 20, CPUs: 1, Root: Root{Mode: "overlay"}, Cgroups: "v2", Timeout: 2 * time.Minute,
			Steps: []Step{
				{
					Name: "address", Argv: []string{"ip", "-4", "address", "show", "it's eth0"}, Dir: "/lab", Umask: 0o022, ContinueOnError: true, ExpectExit: []int{0},
					Env: []string{"LANG=de_DE.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SUITE=smoke", "TERM=dumb"},
				},
				{
					Name: "reach", Argv: []string{"/bin/sh", "-c", "ping -c 1 router"}, Dir: "/lab", User: "nobody", Umask: 0o022, Timeout: 10 * time.Second, ExpectExit: []int{0},
					Env: []string{"LANG=de_DE.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SUITE=full", "TERM=dumb"},
				},
			},
		},
	}
	if diff := cmp.Diff(want, p.Nodes[i]); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
}

func TestNewPlanExpectation(t *testing.T) {
	tests := []struct {
		name      string
		sub, step []int
		want      []int
	}{
		{"both default", []int{0}, []int{0}, []int{0}},
		{"the step says more", []int{0}, []int{3}, []int{3}},
		{"the sub-kernel says more", []int{4, 5}, []int{0}, []int{4, 5}},
		{"both do: the sub-kernel's holds", []int{4}, []int{3}, []int{4}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := NewPlan(&config.Project{Subkernels: []config.Subkernel{{
				Name: "a", Expect: config.Expect{Exit: test.sub}, Steps: []config.Step{{Name: "first", ExpectExit: []int{9}}, {Name: "last", ExpectExit: test.step}},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			n := &p.Nodes[0]
			if !slices.Equal(n.Expect.Exit, test.want) || !slices.Equal(n.Job.Steps[1].ExpectExit, test.want) {
				t.Errorf("expects %v of the sub-kernel and %v of its last step; want %v", n.Expect.Exit, n.Job.Steps[1].ExpectExit, test.want)
			}
			if !slices.Equal(n.Job.Steps[0].ExpectExit, []int{9}) {
				t.Errorf("expects %v of the first step; want 9", n.Job.Steps[0].ExpectExit)
			}
		})
	}
}

func TestNewPlanErrors(t *testing.T) {
	sub := func(name string, deps ...config.Dependency) config.Subkernel {
		return config.Subkernel{Name: name, Steps: []config.Step{{Name: "command"}}, DependsOn: deps}
	}
	on := func(name, condition string) config.Dependency {
		return config.Dependency{Name: name, Condition: condition}
	}
	tests := []struct {
		name string
		subs []config.Subkernel
		want string
	}{
		{"duplicate", []config.Subkernel{sub("a"), sub("b"), sub("a")}, `subkernel "a": declared twice, as number 1 and 3: rename one of them`},
		{"unknown", []config.Subkernel{sub("a", on("b", "completed"))}, `subkernel "a": depends on "b", which is not declared`},
		{"condition", []config.Subkernel{sub("a"), sub("b", on("a", "done"))}, `subkernel "b": condition "done" for "a" is none of "completed", "ready" and "started"`},
		{
			"service completed", []config.Subkernel{{Name: "db"}, sub("b", on("db", "completed"))},
			`subkernel "b": waits for service "db" to be completed, but a service runs until the others have ended: wait for "ready" or "started"`,
		},
		{
			"cycle", []config.Subkernel{sub("x", on("a", "completed")), sub("a", on("b", "started")), sub("b", on("free", "completed"), on("c", "completed")), sub("c", on("a", "completed")), sub("free")},
			`project "test": sub-kernels wait for each other: a -> b -> c -> a: remove one of these dependencies`,
		},
		{"itself", []config.Subkernel{sub("a", on("a", "started"))}, `project "test": sub-kernels wait for each other: a -> a: remove one of these dependencies`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := NewPlan(&config.Project{Name: "test", Subkernels: test.subs})
			if err == nil || err.Error() != test.want || p != nil {
				t.Errorf("NewPlan = %v, %v; want error %q", p, err, test.want)
			}
		})
	}
}

func TestIDs(t *testing.T) {
	names := []string{"web", `web["a"]`, "web-a", "WEB", `web["../../etc"]`, "..", "ünïcode", "", strings.Repeat("x", 300), strings.Repeat("x", 301), "web-a-2"}
	subs := make([]config.Subkernel, len(names))
	for i, name := range names {
		subs[i].Name = name
	}
	ids := newIDs(subs)
	want := []string{"web", "web-a", "web-a-2", "web-2", "web-..-..-etc", "subkernel", "n-code", "subkernel-2", strings.Repeat("x", 64), strings.Repeat("x", 64) + "-2", "web-a-2-2"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("IDs (-want +got):\n%s", diff)
	}
}

func FuzzID(f *testing.F) {
	for _, seed := range []string{"web", `web["a"]`, "..", "\x00/\xff", "İstanbul"} {
		f.Add(seed)
	}
	fit := regexp.MustCompile(`^[a-z0-9.-]{1,64}$`)
	f.Fuzz(func(t *testing.T, name string) {
		if id := newID(name); !fit.MatchString(id) || strings.HasPrefix(id, ".") || strings.HasPrefix(id, "-") {
			t.Errorf("newID(%q) = %q; want a file name", name, id)
		}
	})
}
