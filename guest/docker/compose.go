package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// pluginDirs are where the docker CLI looks for its plugins (cli-plugins/manager in github.com/docker/cli), after those of the user.
var pluginDirs = []string{
	"/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins",
}

// composeCommand is the beginning of a command of docker compose: the CLI with its plugin, or the program by itself.
func composeCommand() ([]string, error) {
	for _, dir := range append([]string{filepath.Join(os.Getenv("HOME"), ".docker", "cli-plugins")}, pluginDirs...) {
		plugin := filepath.Join(dir, "docker-compose")
		if st, err := os.Stat(plugin); err != nil || st.Mode()&0o111 == 0 {
			continue
		}
		if cli, err := exec.LookPath("docker"); err == nil {
			return []string{cli, "compose"}, nil
		}
		return []string{plugin}, nil
	}
	if p, err := exec.LookPath("docker-compose"); err == nil {
		return []string{p}, nil
	}
	return nil, errors.New("docker compose: find it: there is neither the plugin docker-compose nor a program of that name in the sub-kernel's root: " +
		"install it there (Debian: apt-get install docker-compose; Docker's own packages: docker-compose-plugin)")
}

// composeEnv is the environment of docker compose.
func composeEnv() []string { return append(os.Environ(), "DOCKER_HOST=unix://"+socketPath) }

// compose becomes docker compose up. Its signals are its own then.
func compose(file string, args []string) error {
	argv, err := composeCommand()
	if err != nil {
		return err
	}
	argv = append(argv, "--ansi", "never", "-f", file, "up", "--no-color")
	argv = append(argv, args...)
	return fmt.Errorf("docker compose: start it: %w", syscall.Exec(argv[0], argv, composeEnv()))
}

// composeReady waits until every service of a compose file that docker compose has brought up has a container, and all of them do what they are
// there for: they run, and are healthy if they have a test for that, or have ended well.
func composeReady(file string) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	argv, err := composeCommand()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], "-f", file, "config", "--services")...)
	cmd.Env, cmd.Stderr = composeEnv(), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("docker compose: ask for the services of %s: %w", file, err)
	}
	services := strings.Fields(string(bytes.TrimSpace(out)))
	c := newClient(socketPath)
	defer c.close()
	events, err := c.events(ctx)
	if err != nil {
		return err
	}
	defer events.Close()
	for {
		all, err := c.composeContainers(ctx, file)
		if err != nil {
			return err
		}
		if allServe(services, all) {
			return nil
		}
		if err := events.next(); err != nil {
			return fmt.Errorf("dockerd: wait for an event: %w", err)
		}
	}
}

// allServe says whether each service has containers, and all of them serve.
func allServe(services []string, containers []container) bool {
	for _, s := range services {
		if !slices.ContainsFunc(containers, func(c container) bool { return c.service() == s }) {
			return false
		}
	}
	return len(services) > 0 && !slices.ContainsFunc(containers, func(c container) bool { return !c.serves() })
}
