// Package image keeps OCI images as files with file systems that a kernel can mount, and says what is in their configurations. The making of
// such a file, for which it takes the libraries of package fetch, is the work of a program of its own: nobody who boots an image that is there
// already should wait until they are initialized.
package image
