package docker

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// needed are the programs without which no container runs. dockerd starts containerd, and that runc.
var needed = []string{"dockerd", "containerd", "runc"}

// start starts dockerd with our settings. Those of the root's /etc/docker are for another one: that of the host, if the root is the host's.
func (a *agent) start() error {
	paths := make(map[string]string, len(needed))
	for _, name := range needed {
		p, err := exec.LookPath(name)
		if err != nil {
			return &hintError{fmt.Errorf("%s: find it: it is not in the sub-kernel's root", name),
				"install Docker there (Debian and Ubuntu: apt-get install docker.io), or give the sub-kernel a root with it, such as root { image = \"docker:dind\" }"}
		}
		paths[name] = p
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("dockerd: prepare its start: %w", err)
	}
	config := filepath.Join(folder, "daemon.json")
	if err := os.WriteFile(config, []byte(a.spec.Config), 0o600); err != nil {
		return fmt.Errorf("dockerd: write its settings: %w", err)
	}
	args := append([]string{"--config-file=" + config, "--host=unix://" + socketPath}, a.spec.Args...)
	if err := a.choosePrograms(); err != nil {
		return err
	}
	a.cmd = exec.Command(paths["dockerd"], args...)
	a.cmd.Stdout, a.cmd.Stderr = os.Stderr, os.Stderr
	// A session of its own: a signal to the agent's must not reach it as well.
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGTERM}
	if err := a.cmd.Start(); err != nil {
		return fmt.Errorf("dockerd: start it: %w", err)
	}
	go func() {
		a.err = a.cmd.Wait()
		close(a.gone)
	}()
	return nil
}

// stop ends dockerd, and with it the containers, and waits for its end. How long that may take is the host's to say.
func (a *agent) stop() {
	if err := a.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return
	}
	<-a.gone
}
