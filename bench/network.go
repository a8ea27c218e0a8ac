package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// iperfSeconds is how long a measurement of iperf3's sends.
const iperfSeconds = 3

// netKind is where the two ends of a connection are.
type netKind string

const (
	between netKind = "guest to guest"
	toHost  netKind = "guest to host, by the gateway"
	toGuest netKind = "host to guest, by the gateway"
)

// netScene measures a TCP connection of a network's mode with iperf3, against one between two bare kernels on a bridge where that can be made.
func (e *env) netScene(mode string, kind netKind) (result, error) {
	if err := installed("iperf3"); err != nil {
		return result{}, err
	}
	var f, s []float64
	n := max(1, e.n/3)
	for range n {
		if kind == between && os.Getuid() == 0 {
			bare, err := e.bareBridge()
			if err != nil {
				return result{}, fmt.Errorf("two bare kernels: %w", err)
			}
			f = append(f, bare)
		}
		v, err := e.iperf(mode, kind)
		if err != nil {
			return result{}, err
		}
		s = append(s, v)
	}
	r := result{Unit: "Mbit/s", Subject: median(s), Runs: n}
	if len(f) > 0 {
		r.Floor = median(f)
	}
	return r, nil
}

// iperf measures one connection of sekexe's.
func (e *env) iperf(mode string, kind netKind) (float64, error) {
	dir, err := os.MkdirTemp("", "sekexe-bench-net-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	// /tmp is the sub-kernel's memory, as it is for the bare kernels.
	subkernel := "subkernel %q {\n  kernel = kernel.k\n  memory = \"256M\"\n  nic \"n\" {}\n  tmpfs \"/tmp\" {}\n%s}\n"
	text := fmt.Sprintf("kernel \"k\" {\n  path = %q\n}\nnetwork \"n\" {\n  mode = %q\n}\n", e.kernel, mode)
	server, port := "server", 5201
	if kind == between {
		text += fmt.Sprintf(subkernel, "server", "  service = true\n  command = [\"iperf3\", \"-s\"]\n  ready { port = 5201 }\n")
	} else {
		stop, p, err := hostIperf()
		if err != nil {
			return 0, err
		}
		defer stop()
		server, port = "gateway", p
	}
	args := []string{"-c", server, "-p", strconv.Itoa(port), "-t", strconv.Itoa(iperfSeconds), "-J", "--logfile", "/out/result"}
	if kind == toGuest {
		args = append(args, "-R")
	}
	more := fmt.Sprintf("  command = [\"iperf3\", \"%s\"]\n  mount \"/out\" {\n    source = %q\n    mode = \"rw\"\n  }\n", strings.Join(args, "\", \""), dir)
	if kind == between {
		more += "  depends_on = [subkernel.server]\n"
	}
	file := filepath.Join(dir, "sekexe.hcl")
	if err := os.WriteFile(file, []byte(text+fmt.Sprintf(subkernel, "client", more)), 0o600); err != nil {
		return 0, err
	}
	if out, err := exec.Command(e.sekexe, "up", "-q", "-f", file).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("sekexe up: %w: %s", err, out)
	}
	return readIperf(filepath.Join(dir, "result"))
}

// hostIperf starts iperf3 on the host, on a port of its own.
func hostIperf() (stop func(), port int, err error) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		return nil, 0, err
	}
	port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command("iperf3", "-s", "-p", strconv.Itoa(port))
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}, port, nil
}

// readIperf returns what was received, in Mbit/s, of what iperf3 -J has written.
func readIperf(file string) (float64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var doc struct {
		Error string
		End   struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return 0, fmt.Errorf("iperf3: read its result: %w", err)
	}
	if doc.Error != "" {
		return 0, fmt.Errorf("iperf3: %s", doc.Error)
	}
	return doc.End.Received.Rate / 1e6, nil
}

// bareScript makes a bridge with two taps in a network namespace, and boots two kernels on it, each with an init that is a shell script.
// $1 is the kernel, $2 a folder, $3 the CPU of the server, $4 that of the client, $5 lpj.
const bareScript = `set -e
ip link add br0 type bridge
for t in t0 t1; do
	ip tuntap add dev $t mode tap
	ip link set $t master br0 up
done
ip link set br0 up
boot() { # NAME CPU TAP
	TMPDIR=$2 setsid taskset -c $3 "$1" mem=256M umid=u$4 uml_dir=$2/ con=null con0=null,fd:1 root=/dev/root rootfstype=hostfs rootflags=/ ro \
		init=$2/$4 panic=-1 lpj=$6 quiet vec0:transport=tap,ifname=$5,depth=64,gro=1 </dev/null >$2/$4.log 2>&1
}
boot "$1" "$2" $3 server t0 $5 & server=$!
boot "$1" "$2" $4 client t1 $5
wait $server
`

// bareInit is the first process of a bare kernel: $1 is its address, the rest its command.
const bareInit = `#!/bin/sh
mount -t proc proc /proc
mount -t tmpfs tmpfs /tmp
mount -t hostfs -o %[1]s none /mnt
ip link set lo up
ip link set vec0 up
ip address add %[2]s/24 dev vec0
%[3]s
echo o >/proc/sysrq-trigger
exec sleep 100
`

// bareBridge measures a connection between two kernels that sekexe has nothing to do with, on a bridge.
func (e *env) bareBridge() (float64, error) {
	dir, err := os.MkdirTemp("", "sekexe-bench-bare-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	client := fmt.Sprintf("until iperf3 -c 10.0.0.1 -t %d -J >/tmp/result 2>&1; grep -q sum_received /tmp/result; do :; done; cp /tmp/result /mnt/result", iperfSeconds)
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "server"), fmt.Appendf(nil, bareInit, dir, "10.0.0.1", "iperf3 -s -1 >/dev/null"), 0o755),
		os.WriteFile(filepath.Join(dir, "client"), fmt.Appendf(nil, bareInit, dir, "10.0.0.2", client), 0o755))
	if err != nil {
		return 0, err
	}
	cmd := exec.Command("unshare", "--net", "--kill-child", "--pid", "--fork", "--mount-proc", "sh", "-c", bareScript, "sh",
		e.kernel, dir, "0", strconv.Itoa(runtime.NumCPU()-1), e.lpj)
	if out, err := runFor(cmd, time.Minute); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	return readIperf(filepath.Join(dir, "result"))
}

// runFor runs a command for at most this time.
func runFor(cmd *exec.Cmd, most time.Duration) (string, error) {
	var b strings.Builder
	cmd.Stdout, cmd.Stderr = &b, &b
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	t := time.AfterFunc(most, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer t.Stop()
	err := cmd.Wait()
	return b.String(), err
}

// netPeers are other ways out of a network namespace without privileges: how to run a shell script in one, with a folder for what they need.
var netPeers = map[string]func(dir, script string) *exec.Cmd{
	"slirp4netns": func(dir, script string) *exec.Cmd {
		// The namespace is made by unshare, which waits on a pipe until slirp4netns is ready in it.
		return exec.Command("bash", "-c", `set -e
mkfifo "$1/ready"
unshare --user --map-root-user --net sh -c 'read x <"$1/ready"; '"$2" sh "$1" & pid=$!
slirp4netns -c -m 65520 --ready-fd=3 $pid tap0 3>"$1/ready" >/dev/null 2>&1 & slirp=$!
trap 'kill $slirp' EXIT
wait $pid`, "bash", dir, script)
	},
	"pasta": func(_, script string) *exec.Cmd {
		return exec.Command("pasta", "--config-net", "-q", "--", "sh", "-c", script)
	},
}

// netPeerScene measures another way out to the host.
func (e *env) netPeerScene(name string) (result, error) {
	if err := errors.Join(installed(name), installed("iperf3")); err != nil {
		return result{}, fmt.Errorf("%w: %w", errSkip, err)
	}
	if name == "pasta" && os.Getuid() == 0 {
		return result{}, fmt.Errorf("%w: pasta gives root up, and then can't do this", errSkip)
	}
	host, err := hostAddress()
	if err != nil {
		return result{}, fmt.Errorf("%w: %w", errSkip, err)
	}
	var s []float64
	n := max(1, e.n/3)
	for range n {
		dir, err := os.MkdirTemp("", "sekexe-bench-peer-")
		if err != nil {
			return result{}, err
		}
		defer os.RemoveAll(dir)
		stop, port, err := hostIperf()
		if err != nil {
			return result{}, err
		}
		target := host
		if name == "slirp4netns" {
			target = "10.0.2.2"
		}
		script := fmt.Sprintf("iperf3 -c %s -p %d -t %d -J --logfile %s/result", target, port, iperfSeconds, dir)
		out, err := runFor(netPeers[name](dir, script), time.Minute)
		stop()
		if err != nil {
			return result{}, fmt.Errorf("%w: %s: %w: %s", errSkip, name, err, out)
		}
		v, err := readIperf(filepath.Join(dir, "result"))
		if err != nil {
			return result{}, err
		}
		s = append(s, v)
	}
	return result{Unit: "Mbit/s", Subject: median(s), Runs: n}, nil
}

// hostAddress is an address of the host that is not loopback.
func hostAddress() (string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range addrs {
		if p, ok := a.(*net.IPNet); ok && p.IP.To4() != nil && p.IP.IsGlobalUnicast() {
			return p.IP.String(), nil
		}
	}
	return "", errors.New("the host has no address but loopback")
}

// latencyScene measures a round trip between two sub-kernels, by ping.
func (e *env) latencyScene(mode string) (result, error) {
	dir, err := os.MkdirTemp("", "sekexe-bench-ping-")
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(dir)
	text := fmt.Sprintf(`kernel "k" { path = %q }
network "n" { mode = %q }
subkernel "far" {
  kernel  = kernel.k
  memory  = "64M"
  service = true
  nic "n" {}
}
subkernel "near" {
  kernel     = kernel.k
  memory     = "64M"
  depends_on = [subkernel.far]
  nic "n" {}
  command    = "ping -q -c 200 -i 0.002 far | sed -n 's|^rtt.* = [^/]*/\\([^/]*\\)/.*|\\1|p' >/out/result"
  mount "/out" {
    source = %q
    mode   = "rw"
  }
}
`, e.kernel, mode, dir)
	file := filepath.Join(dir, "sekexe.hcl")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return result{}, err
	}
	var s []float64
	n := max(1, e.n/3)
	for range n {
		if out, err := exec.Command(e.sekexe, "up", "-q", "-f", file).CombinedOutput(); err != nil {
			return result{}, fmt.Errorf("sekexe up: %w: %s", err, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, "result"))
		if err != nil {
			return result{}, err
		}
		ms, err := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
		if err != nil {
			return result{}, fmt.Errorf("ping: read its result: %w", err)
		}
		s = append(s, ms*1000)
	}
	return result{Unit: "us", Subject: median(s), Runs: n}, nil
}

// leaseScene measures an up of one sub-kernel that gets a lease and runs true, against one floor.
func (e *env) leaseScene() (result, error) {
	file := filepath.Join(e.dir, "lease.hcl")
	text := fmt.Sprintf("kernel \"k\" {\n  path = %q\n}\nnetwork \"n\" {}\nsubkernel \"s\" {\n  kernel = kernel.k\n  memory = \"256M\"\n  nic \"n\" {}\n  command = [\"/bin/true\"]\n}\n", e.kernel)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return result{}, err
	}
	return e.pair(e.n, func() (time.Duration, error) { return e.floor("256M", runtime.NumCPU()-1) }, func() (time.Duration, error) {
		started := time.Now()
		out, err := exec.Command(e.sekexe, "up", "-q", "-f", file).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return time.Since(started), err
	})
}
