// Package config holds the fragments of kernel configuration that sekexe's own kernels are built with, over x86_64_defconfig of ARCH=um.
package config

import "embed"

// Fragments are the files: base.config, net.config and container.config for every kernel, and one for each flavour but the default.
//
//go:embed *.config
var Fragments embed.FS

// Common are the names of the fragments that every kernel has, in the order in which they are laid over each other.
var Common = []string{"base.config", "net.config", "container.config"}

// Flavours are the flavours with the fragment that each adds; the default one adds none.
var Flavours = map[string]string{"default": "", "smp": "smp.config", "debug": "debug.config", "time-travel": "time-travel.config"}
