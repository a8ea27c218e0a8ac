package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// peerScene measures another way to run a program in something fresh against the floor of a sub-kernel, where that way is installed.
func (e *env) peerScene(prepare func(*env) (func() *exec.Cmd, error)) (result, error) {
	cmd, err := prepare(e)
	if err != nil {
		return result{}, err
	}
	subject := func() (time.Duration, error) {
		c := cmd()
		started := time.Now()
		out, err := c.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", c.Path, err, out)
		}
		return time.Since(started), err
	}
	if _, err := subject(); err != nil { // a first time, for what it caches
		return result{}, fmt.Errorf("%w: %w", errSkip, err)
	}
	return e.pair(e.n, func() (time.Duration, error) { return e.floor("256M", 0) }, subject)
}

// installed says whether a program is there.
func installed(name string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("%w: %s is not installed", errSkip, name)
	}
	return nil
}

// static builds this program without libc into dir, for file systems that hold nothing else.
func static(dir string) error {
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "bench"), "./bench")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

// bubblewrap runs true in new namespaces over the host's files.
func bubblewrap(*env) (func() *exec.Cmd, error) {
	return func() *exec.Cmd {
		return exec.Command("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "/bin/true")
	}, installed("bwrap")
}

// runc runs this program, doing nothing, in a prepared bundle.
func runc(e *env) (func() *exec.Cmd, error) {
	if err := installed("runc"); err != nil {
		return nil, err
	}
	bundle := filepath.Join(e.dir, "bundle")
	root := filepath.Join(bundle, "rootfs")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	if err := static(root); err != nil {
		return nil, err
	}
	args := []string{"spec", "--bundle", bundle}
	if os.Getuid() != 0 {
		args = append(args, "--rootless")
	}
	if out, err := exec.Command("runc", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("runc spec: %w: %s", err, out)
	}
	config := filepath.Join(bundle, "config.json")
	b, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	var spec map[string]any
	if err := json.Unmarshal(b, &spec); err != nil {
		return nil, err
	}
	process := spec["process"].(map[string]any)
	process["args"], process["terminal"] = []string{"/bench", insideArg, "nothing"}, false
	if b, err = json.Marshal(spec); err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, b, 0o600); err != nil {
		return nil, err
	}
	n := 0
	return func() *exec.Cmd {
		n++
		return exec.Command("runc", "--root", filepath.Join(e.dir, "runc"), "run", "--bundle", bundle, "sekexe-bench-"+strconv.Itoa(n))
	}, nil
}

// docker runs this program, doing nothing, in an image that holds nothing else.
func docker(network bool) func(*env) (func() *exec.Cmd, error) {
	return func(e *env) (func() *exec.Cmd, error) {
		if err := installed("docker"); err != nil {
			return nil, err
		}
		if exec.Command("docker", "info").Run() != nil {
			return nil, fmt.Errorf("%w: no dockerd answers", errSkip)
		}
		dir := filepath.Join(e.dir, "image")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := static(dir); err != nil {
			return nil, err
		}
		if out, err := exec.Command("sh", "-c", "tar -C \"$1\" -c bench | docker import - sekexe-bench", "sh", dir).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("docker import: %w: %s", err, out)
		}
		args := []string{"run", "--rm"}
		if !network {
			args = append(args, "--network", "none")
		}
		return func() *exec.Cmd {
			return exec.Command("docker", append(args, "sekexe-bench", "/bench", insideArg, "nothing")...)
		}, nil
	}
}

// virtme runs true by virtme-ng on the host's own kernel in a virtual machine.
func virtme(*env) (func() *exec.Cmd, error) {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return nil, fmt.Errorf("%w: there is no /dev/kvm", errSkip)
	}
	return func() *exec.Cmd { return exec.Command("vng", "-r", "--", "true") }, installed("vng")
}

// script runs true the way that shell scripts have done it: the shell is the kernel's first process, and a file brings the status back.
func script(e *env) (func() *exec.Cmd, error) {
	init, err := os.CreateTemp("", "sekexe-bench-script-")
	if err != nil {
		return nil, err
	}
	e.temp = append(e.temp, init.Name())
	exchange := filepath.Join(e.dir, "script")
	if err := errors.Join(os.MkdirAll(exchange, 0o700), init.Close()); err != nil {
		return nil, err
	}
	text := "#!/bin/sh\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\nmount -t tmpfs tmpfs /run\nmount -t tmpfs tmpfs /tmp\n" +
		"mount -t hostfs hostfs /mnt -o " + exchange + "\n/bin/true\necho $? > /mnt/status\nsync\necho o > /proc/sysrq-trigger\nexec sleep 1000\n"
	if err := errors.Join(os.WriteFile(init.Name(), []byte(text), 0o700), os.Chmod(init.Name(), 0o700)); err != nil {
		return nil, err
	}
	return func() *exec.Cmd {
		args := e.floorArgs("256M", "lpj="+e.lpj, "quiet")
		for i, a := range args {
			if strings.HasPrefix(a, "init=") {
				args[i] = "init=" + init.Name()
			}
		}
		cmd := exec.Command(e.kernel, args...)
		cmd.Env = []string{"TMPDIR=" + e.dir}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd
	}, nil
}
