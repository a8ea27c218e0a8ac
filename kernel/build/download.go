package build

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// KernelOrg is where the kernel's releases are, with a folder for each major version.
const KernelOrg = "https://cdn.kernel.org/pub/linux/kernel"

// Limits of what a server may send, in bytes.
const (
	maxTarball = 1 << 30
	maxSums    = 16 << 20
)

// Download fetches a release, linux-VERSION.tar.xz, from mirror, a URL such as KernelOrg, into the folder dir, and holds it against the SHA-256
// that the mirror's sha256sums.asc names. The signature of that file is not checked: who needs that hands over a tarball that was.
// A tarball that is there already is only checked.
func Download(ctx context.Context, mirror, version, dir string) (*Source, error) {
	major, _, ok := strings.Cut(version, ".")
	if !ok || !releasePattern(version) {
		return nil, withHint(fmt.Errorf("version %s: download it: it is no release", version), "write a whole version such as 7.2.1")
	}
	base := strings.TrimSuffix(mirror, "/") + "/v" + major + ".x/"
	name := "linux-" + strings.TrimSuffix(version, ".0") + ".tar.xz"
	want, err := publishedSum(ctx, base+"sha256sums.asc", name)
	if err != nil {
		return nil, fmt.Errorf("version %s: find its checksum: %w", version, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("version %s: download it: %w", version, err)
	}
	file := filepath.Join(dir, name)
	if got, err := hashFile(file); err != nil || got != want {
		if err := fetch(ctx, base+name, file, want); err != nil {
			return nil, fmt.Errorf("version %s: download it: %w", version, err)
		}
	}
	return &Source{Origin: "kernel.org " + version, Version: version, Hash: want, Tarball: file}, nil
}

// releasePattern says whether a version is one of a release: 7.2, 7.2.1 or 7.2-rc3.
func releasePattern(v string) bool {
	v, rc, _ := strings.Cut(v, "-rc")
	w := strings.Split(v, ".")
	if len(w) < 2 || len(w) > 3 {
		return false
	}
	for _, n := range append(w, strings.Fields(rc)...) {
		if n == "" || strings.Trim(n, "0123456789") != "" {
			return false
		}
	}
	return true
}

// get asks a server for a file.
func get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	c := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: time.Minute}}
	r, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		r.Body.Close()
		return nil, fmt.Errorf("get %s: the server says %s", url, r.Status)
	}
	return r, nil
}

// publishedSum finds a file's checksum in a list as sha256sum(1) writes it, here within a signed text.
func publishedSum(ctx context.Context, url, name string) (string, error) {
	r, err := get(ctx, url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	sc := bufio.NewScanner(io.LimitReader(r.Body, maxSums))
	for sc.Scan() {
		w := strings.Fields(sc.Text())
		if len(w) == 2 && strings.TrimPrefix(w[1], "*") == name && len(w[0]) == 2*sha256.Size {
			return strings.ToLower(w[0]), nil
		}
	}
	if err := sc.Err(); err != nil {
		return "", err
	}
	return "", withHint(fmt.Errorf("%s does not name %s", url, name), "look there for the versions that exist")
}

// fetch downloads a file, which appears when it is whole and has the wanted checksum.
func fetch(ctx context.Context, url, file, want string) error {
	r, err := get(ctx, url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	f, err := os.CreateTemp(filepath.Dir(file), ".download-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(r.Body, maxTarball+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if n > maxTarball {
		return fmt.Errorf("%s has more than %d bytes", url, int64(maxTarball))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%s has SHA-256 %s, and %s was published: it is damaged, or not what it claims to be", url, got, want)
	}
	return os.Rename(f.Name(), file)
}
