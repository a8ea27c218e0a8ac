// Package kernel finds and inspects UML kernels.
//
// A kernel is inspected, not guessed at: it tells its version and its configuration itself. Because running it for that takes
// milliseconds, what it said is kept in the cache folder until the file changes. The entry points are Inspect and Finder.
package kernel
