// Package build makes UML kernels from source and keeps them in the cache folder, where kernel.Finder finds them.
//
// A build is named by the hash of its source and its configuration. Its work folder stays until it is done, so that a build that was
// interrupted goes on where it was; a lock on it keeps two builds of the same kernel apart, and the second finds the first one's result.
package build
