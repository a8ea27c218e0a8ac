package docker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// containerdSocket is where our containerd listens: where dockerd's own one would.
const containerdSocket = "/run/docker/containerd/containerd.sock"

// containerdConfig are the settings that dockerd gives a containerd of its own (libcontainerd/supervisor in github.com/moby/moby), in version 2 of
// their language. What is not used by dockerd, or needs what no sub-kernel has, is left out: to look for it costs time and calls of modprobe.
const containerdConfig = `version = 2
root = %q
state = "/run/docker/containerd/daemon"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
]

[grpc]
  address = %q

[ttrpc]
  address = %q
`

// startContainerd starts containerd and waits until it listens. dockerd would start one, too, but connects before it listens, and tries again after
// seconds only.
func (a *agent) startContainerd(ctx context.Context) (err error) {
	dir := filepath.Dir(containerdSocket)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("containerd: prepare its start: %w", err)
	}
	config := folder + "/containerd.toml"
	text := fmt.Sprintf(containerdConfig, filepath.Join(a.spec.DataRoot, "containerd", "daemon"), containerdSocket, containerdSocket+".ttrpc")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("containerd: write its settings: %w", err)
	}
	watch, err := watchFolder(dir)
	if err != nil {
		return err
	}
	defer watch.close()
	if a.containerd, err = startProcess("containerd", "--config", config); err != nil {
		return err
	}
	ctx, cancel := a.while(ctx, a.containerd)
	defer cancel()
	return watch.wait(ctx, filepath.Base(containerdSocket))
}
