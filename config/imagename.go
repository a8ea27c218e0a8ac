package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// The kinds of images that are files.
const (
	layoutPrefix  = "oci:"
	archivePrefix = "docker-archive:"
)

// ParseImage reads the name of an OCI image and returns it written out, so that names of the same image are equal:
//
//   - oci:DIR, oci:DIR:TAG and oci:DIR@DIGEST are an OCI image layout, docker-archive:FILE and docker-archive:FILE:NAME:TAG a file of docker
//     save. A relative path starts from dir; there is no colon in it.
//   - All else is of a registry, as docker pull takes it: busybox is docker.io/library/busybox:latest.
//
// Its error is a sentence.
func ParseImage(name, dir string) (string, error) {
	for _, prefix := range []string{layoutPrefix, archivePrefix} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		path, tag := cutTag(rest)
		if path == "" {
			return "", fmt.Errorf("there is no path behind %s", prefix)
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		path = filepath.Clean(path)
		if err := checkImageFile(prefix, path); err != nil {
			return "", err
		}
		return prefix + path + tag, nil
	}
	return parseReference(name)
}

// cutTag cuts :TAG or @DIGEST off a path.
func cutTag(s string) (path, tag string) {
	if i := strings.Index(s, "@sha256:"); i >= 0 {
		return s[:i], s[i:]
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// checkImageFile looks whether there is such an image.
func checkImageFile(prefix, path string) error {
	st, err := os.Stat(path)
	var pe *os.PathError
	switch {
	case errors.As(err, &pe):
		return fmt.Errorf("%s: %w", path, pe.Err)
	case err != nil:
		return err
	case prefix == archivePrefix && !st.Mode().IsRegular():
		return fmt.Errorf("%s is not a file, as docker save writes it", path)
	case prefix == layoutPrefix && !present(filepath.Join(path, "oci-layout")):
		return fmt.Errorf("%s is no OCI image layout: it has no file named oci-layout", path)
	}
	return nil
}

// The parts of a reference (github.com/distribution/reference).
var (
	repositories = newPattern(`^[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)*$`)
	tags         = newPattern(`^\w[\w.-]{0,127}$`)
	digests      = newPattern(`^sha256:[0-9a-f]{64}$`)
)

// parseReference reads the name of an image of a registry.
func parseReference(name string) (string, error) {
	rest, digest, hasDigest := strings.Cut(name, "@")
	if hasDigest && !digests.MatchString(digest) {
		return "", fmt.Errorf("%q is no digest: sha256: and 64 hexadecimal digits in lower case", digest)
	}
	tag, hasTag := "", false
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.Contains(rest[i:], "/") {
		rest, tag, hasTag = rest[:i], rest[i+1:], true
	}
	if hasTag && !tags.MatchString(tag) {
		return "", fmt.Errorf("%q is no tag: letters, digits, _, . and -, at most 128", tag)
	}
	registry, repository, ok := strings.Cut(rest, "/")
	if !ok || registry != "localhost" && !strings.ContainsAny(registry, ".:") {
		registry, repository = "docker.io", rest
	}
	if registry == "docker.io" || registry == "index.docker.io" {
		registry = "docker.io"
		if !strings.Contains(repository, "/") {
			repository = "library/" + repository
		}
	}
	if u, err := url.Parse("//" + registry); err != nil || u.Host != registry {
		return "", fmt.Errorf("%q is no registry: HOST or HOST:PORT", registry)
	}
	if len(repository) > 255 || !repositories.MatchString(repository) {
		return "", fmt.Errorf("%q is no name of an image: lower-case letters, digits, and . _ - and / between them", repository)
	}
	switch {
	case hasDigest: // which says more than a tag
		return registry + "/" + repository + "@" + digest, nil
	case !hasTag:
		tag = "latest"
	}
	return registry + "/" + repository + ":" + tag, nil
}

// imageName reads the attribute image.
func (d *decoder) imageName(v *attrValue) string {
	name := v.val.AsString()
	image, err := ParseImage(name, d.l.dirOf(v.attr.Expr.Range()))
	if err != nil {
		d.error(v, "Invalid image", fmt.Sprintf(`%s. Name an image of a registry as docker does ("alpine:3.20"), or "oci:DIR" or "docker-archive:FILE".`, err))
	}
	return image
}
