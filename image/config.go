package image

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A Config is what the configuration of an image says about commands.
type Config struct {
	Env        []string // K=V
	Dir        string   // absolute; empty: /
	User       string   // NAME, UID, or either with :GROUP; empty: root
	Entrypoint []string
	Cmd        []string
}

// maxConfig bounds the configuration of an image, in bytes.
const maxConfig = 8 << 20

// ParseConfig reads the configuration of an image (github.com/opencontainers/image-spec, config.md), which must be one for Linux on x86-64.
func ParseConfig(b []byte) (*Config, error) {
	var c struct {
		Architecture, OS string
		Config           struct {
			Env              []string
			WorkingDir, User string
			Entrypoint, Cmd  []string
		}
	}
	if len(b) > maxConfig {
		return nil, fmt.Errorf("image: read its configuration: it has more than %d bytes", maxConfig)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("image: read its configuration: %w", err)
	}
	if c.OS != "linux" || c.Architecture != "amd64" {
		return nil, fmt.Errorf("image: use it: it is for %s/%s, and not for linux/amd64", c.OS, c.Architecture)
	}
	dir := c.Config.WorkingDir
	if dir != "" && !strings.HasPrefix(dir, "/") {
		dir = "/" + dir
	}
	return &Config{
		Env: c.Config.Env, Dir: dir, User: strings.TrimSuffix(c.Config.User, ":"), Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd,
	}, nil
}
