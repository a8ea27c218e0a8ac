// Package seed keeps disks with a Docker daemon's prepared data in a folder of the user's, each by a key that stands for what is in it. A disk is
// prepared once, however many sub-kernels and processes want it, and never written to after that: who uses it has a Copy.
package seed
