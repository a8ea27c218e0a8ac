package config

import (
	"fmt"

	"github.com/docker/go-units"
)

// formatSize writes a size in bytes as the language takes it, with the greatest unit that divides it.
func formatSize(n int64) string {
	for _, u := range []struct {
		size int64
		unit string
	}{{units.TiB, "T"}, {units.GiB, "G"}, {units.MiB, "M"}, {units.KiB, "K"}} {
		if n > 0 && n%u.size == 0 {
			return fmt.Sprintf("%d%s", n/u.size, u.unit)
		}
	}
	return fmt.Sprintf("%dB", n)
}
