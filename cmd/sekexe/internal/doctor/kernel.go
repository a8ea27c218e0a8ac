package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sekexe/sekexe/kernel"
)

// checkKernel finds the kernel that a run takes if nothing is said of one.
func checkKernel(ctx context.Context, f *kernel.Finder) []Check {
	i, err := f.Resolve(ctx, kernel.Choice{})
	if err != nil {
		return []Check{{"kernel", Fail, kernelText(err), hintOf(err, kernel.HowToGet)}}
	}
	found := i.Origin
	switch found {
	case kernel.OriginPath:
		found = "found on PATH"
	case kernel.OriginChosen:
		found = "chosen by sekexe kernel default"
	}
	return []Check{
		{Name: "kernel", Status: OK, Detail: fmt.Sprintf("%s at %s (%s)", i.Version, i.Path, found)},
		checkModules(i), checkFeatures(i),
	}
}

// kernelText says what is wrong, without the search's own prefix: the check's name says what it is about.
func kernelText(err error) string {
	var e *kernel.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	return strings.TrimPrefix(strings.TrimPrefix(e.Error(), "kernel "), "kernel: ")
}

func checkModules(i *kernel.Info) Check {
	switch {
	case !i.ModulesEnabled:
		return Check{Name: "kernel modules", Status: OK, Detail: "this kernel loads none: all it can is built in"}
	case i.Modules == "":
		return Check{
			"kernel modules", Warn, "no folder " + i.Version + " with a modules.dep in it, so nothing that this kernel has as a module works",
			"install the modules of this very kernel (apt install --reinstall user-mode-linux, or make ARCH=um modules_install), or name their folder by --modules",
		}
	}
	return Check{Name: "kernel modules", Status: OK, Detail: "in " + i.Modules}
}

// checkFeatures lists what the kernel can't do. All but overlayfs are a matter of taste.
func checkFeatures(i *kernel.Info) Check {
	var lacks []string
	features := kernel.Features(i)
	overlay := false
	for _, f := range features {
		if !f.Usable {
			lacks = append(lacks, f.Name)
		}
		overlay = overlay || f.Name == "overlayfs" && f.Usable
	}
	detail := fmt.Sprintf("all %d", len(features))
	if len(lacks) > 0 {
		detail = fmt.Sprintf("%d of %d; not there: %s", len(features)-len(lacks), len(features), strings.Join(lacks, ", "))
	}
	if !overlay {
		return Check{
			"kernel features", Warn, detail + "; without overlayfs the guest can't write to its root",
			"install the kernel's modules, or use a kernel with CONFIG_OVERLAY_FS",
		}
	}
	return Check{Name: "kernel features", Status: OK, Detail: detail}
}
