package kernel

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Bounds of loops per jiffy that a kernel can have measured: 1 BogoMIPS at 1000 Hz is 500, 100,000 at 100 Hz are 500 million.
const (
	minLPJ = 1_000
	maxLPJ = 1_000_000_000
)

// A lesson is what a boot has taught: a file in lpjDir, in JSON.
type lesson struct {
	Path     string   `json:"path"`
	Identity identity `json:"identity"`
	CPU      string   `json:"cpu"`
	LPJ      uint64   `json:"lpj"`
	// Boot is the shortest boot that was measured, in nanoseconds; 0: none yet.
	Boot time.Duration `json:"boot,omitempty"`
}

// LearnedLPJ returns the loops per jiffy that a boot of this kernel on a CPU like this host's has measured. Passed on as lpj=N they
// save the next boot the measurement, which takes longer than the rest of it.
func (f *Finder) LearnedLPJ(i *Info) (uint64, bool) {
	l, ok := f.lesson(i)
	return l.LPJ, ok
}

// LearnLPJ remembers what a kernel has printed at its boot ("Calibrating delay loop... 6373.37 BogoMIPS (lpj=31866880)"). On a busy host it
// measures too little, so the greatest value counts. Nonsense is ignored, and so is a cache folder that can't be written.
func (f *Finder) LearnLPJ(i *Info, n uint64) {
	if f.CacheDir == "" || i.id == (identity{}) || n < minLPJ || n > maxLPJ {
		return
	}
	f.learning.Lock()
	defer f.learning.Unlock()
	l, ok := f.lesson(i)
	if ok && l.LPJ >= n {
		return
	}
	f.keepLesson(i, lesson{LPJ: n, Boot: l.Boot})
}

// maxBoot bounds the boot times that are believed.
const maxBoot = time.Hour

// LearnedBoot returns how long this kernel takes on a CPU like this host's from its start to the first word of the guest.
func (f *Finder) LearnedBoot(i *Info) (time.Duration, bool) {
	l, ok := f.lesson(i)
	return l.Boot, ok && l.Boot > 0
}

// LearnBoot remembers how long a boot took that was told what LearnedLPJ returns. All that a busy host can do to a boot is to make it longer,
// so the shortest counts, and because it is written down only if it is shorter by a tenth at least, few boots write at all. Nonsense is
// ignored, and so is a cache folder that can't be written.
func (f *Finder) LearnBoot(i *Info, d time.Duration) {
	if d <= 0 || d > maxBoot {
		return
	}
	f.learning.Lock()
	defer f.learning.Unlock()
	l, ok := f.lesson(i)
	if !ok || l.Boot > 0 && d > l.Boot-l.Boot/10 {
		return
	}
	f.keepLesson(i, lesson{LPJ: l.LPJ, Boot: d})
}

// keepLesson writes down what was learned of a kernel.
func (f *Finder) keepLesson(i *Info, l lesson) {
	l.Path, l.Identity, l.CPU = i.Path, i.id, hostCPU()
	if b, err := json.Marshal(l); err == nil {
		store(f.lessonPath(i), b)
	}
}

func (f *Finder) lessonPath(i *Info) string {
	return filepath.Join(f.CacheDir, lpjDir, hash(i.Path, hostCPU()))
}

// lesson reads what was learned of a kernel that has not changed since.
func (f *Finder) lesson(i *Info) (lesson, bool) {
	if f.CacheDir == "" || i.id == (identity{}) {
		return lesson{}, false
	}
	b, err := readBounded(f.lessonPath(i), 8<<10)
	if err != nil {
		return lesson{}, false
	}
	l, err := decodeLesson(b)
	if err != nil || l.Path != i.Path || l.Identity != i.id || l.CPU != hostCPU() {
		return lesson{}, false
	}
	return l, true
}

// decodeLesson reads a file of lpjDir.
func decodeLesson(b []byte) (lesson, error) {
	var l lesson
	if err := json.Unmarshal(b, &l); err != nil {
		return lesson{}, err
	}
	if l.LPJ < minLPJ || l.LPJ > maxLPJ || l.Boot < 0 || l.Boot > maxBoot {
		return lesson{}, errRecord
	}
	return l, nil
}

// hostCPU is the first CPU's model. Its clock is not in it: that changes from one moment to the next.
var hostCPU = sync.OnceValue(func() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	// One CPU has some 1.5 KiB. To read all of them takes long where there are many.
	buf := make([]byte, 4<<10)
	n, _ := f.Read(buf)
	return cpuModel(buf[:n])
})

// cpuModel takes the model out of the beginning of /proc/cpuinfo.
func cpuModel(info []byte) string {
	if first, _, ok := bytes.Cut(info, []byte("\n\n")); ok {
		info = first
	}
	var parts []string
	for line := range bytes.Lines(info) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch strings.TrimSpace(string(name)) {
		case "vendor_id", "cpu family", "model", "model name", "stepping":
			parts = append(parts, strings.TrimSpace(string(value)))
		}
	}
	return strings.Join(parts, " ")
}
