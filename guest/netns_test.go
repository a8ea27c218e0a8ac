package guest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekexe/sekexe/guest/wire"
)

// TestNetwork sets NICs up in a network namespace, with a stock server at the other ends. The test runs itself again in there: what a
// sub-kernel's first process does to its network it does to that of the process.
func TestNetwork(t *testing.T) {
	if os.Getenv("SEKEXE_TEST_NETNS") == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "SEKEXE_TEST_NETNS=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if os.Getuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("in a network namespace, which an ordinary user needs user namespaces for: %v\n%s", err, out)
		}
		return
	}
	other := newStation(t)
	for i := range 3 {
		run(t, "ip", "link", "add", fmt.Sprint("vec", i), "type", "veth", "peer", "name", fmt.Sprint("srv", i))
		run(t, "ip", "link", "set", fmt.Sprint("srv", i), "netns", strconv.Itoa(other.pid))
		other.run(t, "ip", "addr", "add", fmt.Sprintf("10.7.%d.1/24", i), "dev", fmt.Sprint("srv", i))
		other.run(t, "ip", "link", "set", fmt.Sprint("srv", i), "up")
	}
	// One wants to be asked for what it has offered, and soon again; the other one grants at the first word.
	short := other.udhcpd(t)
	other.dnsmasq(t, "--interface=srv1", "--dhcp-range=10.7.1.50,10.7.1.50,2m", "--dhcp-rapid-commit",
		"--dhcp-option=121,10.9.0.0/16,10.7.1.9,0.0.0.0/0,10.7.1.1", "--dhcp-option=26,1300")

	p := &initProcess{}
	heard := p.listen()
	n, err := p.startNetwork(&wire.Spec{Hostname: "box", NICs: []wire.NIC{
		{Device: "vec0", Name: "eth0", DHCP: true, Default: true},
		{Device: "vec1", Name: "eth1", DHCP: true},
		{Device: "vec2", Name: "eth2", MTU: 1400, Address: "10.7.2.5/24", Address6: "fd00:2::5/64", Router: "10.8.0.1", Router6: "fe80::1", Default: true},
	}})
	if err == nil {
		err = n.finish()
	}
	if err != nil {
		t.Fatal(err)
	}
	leases := map[int]wire.Leased{}
	for range 2 {
		l := next(t, heard)
		leases[l.NIC] = l
	}
	want := map[int]wire.Leased{
		0: {NIC: 0, Address: "10.7.0.50/24", Router: "10.7.0.1", Server: "10.7.0.1", Seconds: 6},
		1: {NIC: 1, Address: "10.7.1.50/24", Router: "10.7.1.1", Server: "10.7.1.1", Seconds: 120},
	}
	if diff := cmp.Diff(want, leases); diff != "" {
		t.Errorf("the leases differ (-want +got):\n%s", diff)
	}
	for _, c := range []struct{ cmd, want string }{
		{"ip -o addr show lo", "127.0.0.1/8"}, {"ip -o link show eth0", "UP"}, {"ip -o addr show eth0", "inet 10.7.0.50/24 brd 10.7.0.255"},
		{"ip route", "default via 10.7.0.1 dev eth0 proto dhcp src 10.7.0.50"}, {"ip route", "10.9.0.0/16 via 10.7.1.9 dev eth1"},
		{"ip route", "default via 10.8.0.1 dev eth2 proto static metric 2 onlink"}, {"ip -o link show eth1", "mtu 1300"},
		{"ip -o addr show eth1", "inet 10.7.1.50/24"}, {"ip -o link show eth2", "mtu 1400"}, {"ip -o addr show eth2", "inet 10.7.2.5/24"},
		{"ip -o -6 addr show eth2", "inet6 fd00:2::5/64 scope global nodad"}, {"ip -6 route", "default via fe80::1 dev eth2"},
	} {
		if out := run(t, strings.Fields(c.cmd)...); !strings.Contains(out, c.want) {
			t.Errorf("%s says %q; want %q in it", c.cmd, out, c.want)
		}
	}
	if out := run(t, "ip", "route"); strings.Contains(out, "default via 10.7.1.1") {
		t.Errorf("a NIC that is not the default one has a default route:\n%s", out)
	}
	n.mu.Lock()
	got := n.resolvText()
	n.mu.Unlock()
	if want := "nameserver 10.7.0.1\nsearch lab.example sub.lab.example\n"; got != want {
		t.Errorf("resolv.conf is %q; want %q", got, want)
	}

	// The renewal goes to the server alone, and finds the address as it was.
	if diff := cmp.Diff(want[0], next(t, heard)); diff != "" {
		t.Errorf("the renewed lease differs (-want +got):\n%s", diff)
	}
	short.stop()
	other.dnsmasq(t, "--interface=srv0", "--dhcp-range=10.7.0.60,10.7.0.60,2m", "--dhcp-rapid-commit")
	for _, want := range []wire.Leased{{NIC: 0}, {NIC: 0, Address: "10.7.0.60/24", Router: "10.7.0.1", Server: "10.7.0.1", Seconds: 120}} {
		if diff := cmp.Diff(want, next(t, heard)); diff != "" {
			t.Errorf("after the server has changed its mind the lease differs (-want +got):\n%s", diff)
		}
	}
	out := run(t, "ip", "-o", "-4", "addr", "show", "eth0") + run(t, "ip", "route")
	if strings.Contains(out, "10.7.0.50") || !strings.Contains(out, "10.7.0.60/24") || !strings.Contains(out, "default via 10.7.0.1 dev eth0") {
		t.Errorf("after the change there is:\n%s", out)
	}
}

// TestNetworkWithoutTheDevice is what happens on a kernel without the driver.
func TestNetworkWithoutTheDevice(t *testing.T) {
	p := &initProcess{}
	p.listen()
	rs, err := openRouteSocket()
	if err != nil {
		t.Fatal(err)
	}
	n := &network{spec: &wire.Spec{NICs: []wire.NIC{{Device: "no-such-vec0", Name: "eth0"}}}, route: rs, notice: p.notice}
	err = n.findLinks()
	if err == nil || err.Error() != "NIC eth0: find the device no-such-vec0: no such device" {
		t.Errorf("findLinks() = %v", err)
	}
}

// listen gives p a line to the host, and returns what comes out of it: leases, and texts of notices.
func (p *initProcess) listen() <-chan any {
	r, w := io.Pipe()
	p.out = wire.NewWriter(w)
	heard := make(chan any, 100)
	go func() {
		in := wire.NewReader(bufio.NewReader(r))
		for {
			k, payload, err := in.Read()
			if err != nil {
				return
			}
			var l wire.Leased
			if k != wire.KindLeased {
				heard <- string(payload)
			} else if err := wire.Decode(k, payload, &l); err != nil {
				heard <- err
			} else {
				heard <- l
			}
		}
	}()
	return heard
}

func next(t *testing.T, heard <-chan any) wire.Leased {
	t.Helper()
	select {
	case m := <-heard:
		l, ok := m.(wire.Leased)
		if !ok {
			t.Fatalf("the guest says %v", m)
		}
		return l
	case <-time.After(time.Minute):
		t.Fatal("the guest says nothing about a lease for a minute")
	}
	panic("unreachable")
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// A station is a network namespace with the other ends of the NICs.
type station struct{ pid int }

func newStation(t *testing.T) *station {
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return &station{cmd.Process.Pid}
}

func (s *station) argv(argv ...string) []string {
	return append([]string{"nsenter", "--preserve-credentials", "-n", "-t", strconv.Itoa(s.pid)}, argv...)
}

func (s *station) run(t *testing.T, argv ...string) {
	t.Helper()
	run(t, s.argv(argv...)...)
}

// A server is a process.
type server struct {
	cmd  *exec.Cmd
	once sync.Once
}

func (s *server) stop() {
	s.once.Do(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
}

func (s *station) dnsmasq(t *testing.T, args ...string) *server {
	t.Helper()
	return s.serve(t, "sockets bound", append([]string{"dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--no-ping",
		"--bind-interfaces", "--except-interface=lo", "--leasefile-ro", "--dhcp-authoritative", "--no-resolv", "--no-hosts"}, args...)...)
}

// udhcpd grants leases of 6 s, after which dnsmasq has no wish to be asked.
func (s *station) udhcpd(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	conf := "start 10.7.0.50\nend 10.7.0.50\ninterface srv0\nmin_lease 2\nlease_file " + dir + "/leases\npidfile " + dir + "/pid\n" +
		"opt lease 6\nopt subnet 255.255.255.0\nopt router 10.7.0.1\nopt dns 10.7.0.1\nopt search lab.example sub.lab.example\n"
	for name, text := range map[string]string{"leases": "", "conf": conf} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return s.serve(t, "started", "busybox", "udhcpd", "-f", dir+"/conf")
}

// serve starts a server and returns when it has said that it serves.
func (s *station) serve(t *testing.T, ready string, argv ...string) *server {
	t.Helper()
	full := s.argv(argv...)
	cmd := exec.Command(full[0], full[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("%s: %v", argv[0], err)
	}
	srv := &server{cmd: cmd}
	t.Cleanup(srv.stop)
	said := bufio.NewReader(log)
	for all := ""; ; {
		line, err := said.ReadString('\n')
		if all += line; err != nil {
			t.Fatalf("%s (hack/prerequisites test installs it) ended: %s", argv[0], all)
		}
		if strings.Contains(line, ready) {
			break
		}
	}
	go io.Copy(io.Discard, said)
	return srv
}
