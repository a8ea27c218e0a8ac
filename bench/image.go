package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// imageScene measures sekexe run of a program in an image that is there already, against the same program on the host's root.
func (e *env) imageScene() (result, error) {
	program, err := exec.LookPath("busybox")
	if err != nil {
		return result{}, fmt.Errorf("%w: there is no busybox to put into an image", errSkip)
	}
	file := filepath.Join(e.dir, "image.tar")
	if err := writeImage(file, program); err != nil {
		return result{}, err
	}
	inImage := func() (time.Duration, error) {
		return e.run("--image", "docker-archive:"+file, "--", "/busybox", "true")
	}
	if _, err := inImage(); err != nil { // now it is there
		return result{}, err
	}
	return e.pair(e.n, func() (time.Duration, error) { return e.run("--", program, "true") }, inImage)
}

// writeImage writes an image with one program in the form of docker save.
func writeImage(file, program string) error {
	body, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	layer, err := archive(map[string][]byte{"busybox": body})
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{"bench:1"}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	all, err := archive(map[string][]byte{"manifest.json": manifest, "config.json": config, "layer.tar": layer})
	if err != nil {
		return err
	}
	return os.WriteFile(file, all, 0o600)
}

// archive makes a tar archive of files that may be executed.
func archive(files map[string][]byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	var errs []error
	for name, body := range files {
		errs = append(errs, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(body))}))
		_, err := w.Write(body)
		errs = append(errs, err)
	}
	err := errors.Join(append(errs, w.Close())...)
	return b.Bytes(), err
}
