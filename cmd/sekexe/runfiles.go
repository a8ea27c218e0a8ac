package main

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"

	"github.com/sekexe/sekexe/orchestrator"
	"github.com/sekexe/sekexe/uml/ext4"
)

// parseVolumes reads --volume.
func parseVolumes(volumes []string) ([]orchestrator.Mount, error) {
	var ms []orchestrator.Mount
	for _, v := range volumes {
		w := strings.Split(v, ":")
		m := orchestrator.Mount{Mode: "ro"}
		switch len(w) {
		case 3:
			m.Mode = w[2]
			fallthrough
		case 2:
			m.Source, m.Target = w[0], w[1]
		default:
			return nil, misuse("--volume %s: want SOURCE:TARGET or SOURCE:TARGET:MODE", v)
		}
		if m.Mode != "ro" && m.Mode != "rw" && m.Mode != "overlay" {
			return nil, misuse("--volume %s: want ro, rw or overlay in place of %q", v, m.Mode)
		}
		if !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" {
			return nil, misuse("--volume %s: want an absolute path for the target, and not /", v)
		}
		m.Target = path.Clean(m.Target)
		abs, err := filepath.Abs(m.Source)
		if err == nil {
			_, err = os.Stat(abs)
		}
		if err != nil {
			var pe *os.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return nil, misuse("--volume %s: source %s: %w", v, m.Source, err)
		}
		m.Source = abs
		ms = append(ms, m)
	}
	return ms, nil
}

// parseDisks reads --disk.
func parseDisks(disks []string) ([]orchestrator.Disk, error) {
	var out []orchestrator.Disk
	for _, v := range disks {
		target, rest, _ := strings.Cut(v, "=")
		size, file, _ := strings.Cut(rest, ":")
		if !path.IsAbs(target) || path.Clean(target) == "/" {
			return nil, misuse("--disk %s: want TARGET=SIZE[:FILE], with an absolute path for the target, and not /", v)
		}
		n, err := units.RAMInBytes(size)
		if err != nil || n < ext4.MinSize || n > ext4.MaxSize {
			return nil, misuse("--disk %s: want a size from 16M to 16T, such as 2G", v)
		}
		if file != "" {
			if file, err = filepath.Abs(file); err != nil {
				return nil, misuse("--disk %s: %w", v, err)
			}
		}
		out = append(out, orchestrator.Disk{Target: path.Clean(target), Size: n, File: file, Mode: 0o755})
	}
	if len(out) > maxDisks {
		return nil, misuse("--disk: at most %d disks", maxDisks)
	}
	return out, nil
}

// maxDisks is how many disks a sub-kernel may have, as in a file.
const maxDisks = 15

// parseCopyOut reads --copy-out.
func parseCopyOut(copies []string) ([]orchestrator.CopyOut, error) {
	var out []orchestrator.CopyOut
	for _, v := range copies {
		from, to, ok := strings.Cut(v, ":")
		if !ok || to == "" || !path.IsAbs(from) {
			return nil, misuse("--copy-out %s: want GUEST:HOST, with an absolute path in the guest", v)
		}
		from = path.Clean(from)
		if _, err := path.Match(from, ""); err != nil {
			return nil, misuse("--copy-out %s: the pattern has a [ without a ]", v)
		}
		abs, err := filepath.Abs(to)
		if err != nil {
			return nil, misuse("--copy-out %s: %w", v, err)
		}
		if strings.HasSuffix(to, "/") && abs != "/" {
			abs += "/"
		}
		out = append(out, orchestrator.CopyOut{From: from, To: abs, Limit: copyLimit})
	}
	return out, nil
}

// copyLimit is the most that one --copy-out brings, in bytes, as in a file.
const copyLimit = 1 << 30

// failedCopy returns the first copy that failed, or nil.
func failedCopy(r *orchestrator.SubkernelReport) *orchestrator.CopyResult {
	for i := range r.Copies {
		if r.Copies[i].Error != "" {
			return &r.Copies[i]
		}
	}
	return nil
}
