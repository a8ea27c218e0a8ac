package uml

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAvailableMemory(t *testing.T) {
	const info = "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:    2000000 kB\n"
	const host = 2000000 << 10
	for name, tt := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing":     {nil, 0},
		"an old host": {map[string]string{"proc/meminfo": "MemFree: 1000000 kB\n"}, 0},
		"no groups":   {map[string]string{"proc/meminfo": info}, host},
		"no limit": {map[string]string{
			"proc/meminfo": info, "proc/self/cgroup": "0::/user.slice/a\n", "sys/fs/cgroup/user.slice/a/memory.max": "max\n",
		}, host},
		"a limit above": {map[string]string{
			"proc/meminfo": info, "proc/self/cgroup": "0::/user.slice/a\n", "sys/fs/cgroup/user.slice/a/memory.max": "max\n",
			"sys/fs/cgroup/user.slice/memory.max": "1000000\n", "sys/fs/cgroup/user.slice/memory.current": "900000\n",
			"sys/fs/cgroup/user.slice/memory.stat": "anon 200000\ninactive_file 300000\nactive_file 400000\n",
		}, 400000},
		"version 1 of a container": {map[string]string{
			"proc/meminfo": info, "proc/self/cgroup": "5:cpu:/docker/1\n4:memory:/docker/1\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "100000\n",
		}, 900000},
		"version 1 without a limit": {map[string]string{
			"proc/meminfo": info, "proc/self/cgroup": "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "100000\n",
		}, host},
		"used up": {map[string]string{
			"proc/meminfo": info, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "1001\n",
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range tt.files {
				file = filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := availableMemory(root); got != tt.want {
				t.Errorf("%d bytes; want %d", got, tt.want)
			}
		})
	}
	if availableMemory("/") == 0 {
		t.Error("this host has none")
	}
}
