// Package config turns HCL files into a Project of plain values.
//
// It reads the files it is given and those that they name (file, templatefile), and nothing else of the system: the same files,
// variables and environment give the same Project. Everything a user can get wrong becomes a diagnostic with the range of the source;
// Load reports all of them, not the first. No type of HCL or cty leaves the package.
//
// The entry point is Load.
package config
