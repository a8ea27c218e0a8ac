package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
)

// checkHugePages tries whether guest memory can lie on huge pages.
func checkHugePages(open func() error) Check {
	if err := open(); err != nil {
		return Check{
			"huge pages", Warn, fmt.Sprintf("%v; guest memory will lie on small pages, and guests start slower", err),
			"they take Linux 5.2 with transparent huge pages (shmem_enabled in /sys/kernel/mm/transparent_hugepage must not be deny), and CAP_SYS_ADMIN or user namespaces " +
				"(sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns); in a container, docker run --cap-add SYS_ADMIN, or --security-opt seccomp=unconfined",
		}
	}
	return Check{Name: "huge pages", Status: OK, Detail: "guest memory can lie on them"}
}

// checkMemoryDirs looks at the folders for guest memory. The first that serves is taken; those before it are worth a warning, and those
// after it don't matter. If there is another place for guest memory, none has to serve.
func checkMemoryDirs(dirs []string, need int64, elsewhere bool) []Check {
	if len(dirs) == 0 {
		return nil
	}
	var checks []Check
	served := false
	for _, d := range dirs {
		detail, fix, err := tryMemoryDir(d, need)
		c := Check{Name: "memory folder", Status: OK, Detail: d + ": " + detail}
		switch {
		case err == nil && served:
			c.Detail += ", in reserve"
		case err == nil:
			served = true
		case served:
			c.Detail = fmt.Sprintf("%s: %v; not needed", d, err)
		default:
			c.Status, c.Detail, c.Fix = Warn, fmt.Sprintf("%s: %v", d, err), fix
		}
		checks = append(checks, c)
	}
	if !served && !elsewhere {
		for n := range checks {
			checks[n].Status = Fail
		}
	}
	return checks
}

// tryMemoryDir maps a file in a folder executable, as a kernel does its memory. It says what the folder is like, or why it doesn't serve
// and what to do.
func tryMemoryDir(dir string, need int64) (detail, fix string, err error) {
	const another = "name another folder by SEKEXE_MEMORY_DIR"
	if strings.ContainsAny(dir, " \t\n\"',") {
		return "", another, errors.New("has characters that a kernel's command line can't hold")
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", "make it, or " + another, err
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return "", fmt.Sprintf("mount -o remount,exec %s; in a container, docker run --tmpfs %s:exec,size=4g; or %s", dir, dir, another),
			errors.New("is mounted noexec, and guest memory is mapped executable")
	}
	if err := mapExecutable(dir); err != nil {
		return "", "look at its owner, its mode and what AppArmor or SELinux log, or " + another, err
	}
	kind := "on a disk, which makes guests slower"
	if st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
		kind = "in memory"
	}
	free := int64(st.Bavail) * st.Bsize
	if free < need {
		return "", fmt.Sprintf("free some, mount it larger (mount -o remount,size=4G %s; docker run --tmpfs %s:exec,size=4g), or %s", dir, dir, another),
			fmt.Errorf("%s free, and a sub-kernel may use %s", bytesText(free), bytesText(need))
	}
	return fmt.Sprintf("%s, %s free", kind, bytesText(free)), "", nil
}

// mapExecutable makes a file, which has no name any more when it returns, and maps it.
func mapExecutable(dir string) error {
	f, err := os.CreateTemp(dir, ".sekexe-doctor-*")
	if err != nil {
		return fmt.Errorf("make a file: %w", cause(err))
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("remove a file: %w", cause(err))
	}
	const size = 4 << 10
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("enlarge a file: %w", cause(err))
	}
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map a file executable: %w", err)
	}
	return unix.Munmap(m)
}

// checkFolder says whether a folder of the user's can be written. One that doesn't exist is not made, but could be.
func checkFolder(name, dir, without, env string) Check {
	at := dir
	for {
		st, err := os.Stat(at)
		if err == nil {
			err = tryWrite(at, st)
		} else if errors.Is(err, os.ErrNotExist) && at != filepath.Dir(at) {
			at = filepath.Dir(at)
			continue
		}
		if err != nil {
			return Check{
				name, Warn, fmt.Sprintf("%s: %v; without it %s", dir, cause(err), without),
				fmt.Sprintf("make %s writable for you, or name another folder by %s", at, env),
			}
		}
		if at != dir {
			return Check{Name: name, Status: OK, Detail: dir + ", not there yet"}
		}
		return Check{Name: name, Status: OK, Detail: dir}
	}
}

// tryWrite makes a file in a folder and removes it.
func tryWrite(dir string, st os.FileInfo) error {
	if !st.IsDir() {
		return unix.ENOTDIR
	}
	f, err := os.CreateTemp(dir, ".sekexe-doctor-*")
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(f.Name()), f.Close())
}

// cause takes the name of a file, which is random here, off an error.
func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func bytesText(n int64) string { return units.BytesSize(float64(n)) }
