// Package fetch takes OCI images from registries, image layouts and archives of docker save, and makes a file of each, with an ext4 file system
// in which owners, modes, hard links, devices and extended attributes are as the image says. No step of that needs root.
package fetch
