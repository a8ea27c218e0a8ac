// Package docker keeps a Docker daemon in a sub-kernel: it starts dockerd, waits until its API answers, loads images, lets the host connect, and
// stops dockerd. wire.DockerSpec says what is wanted.
//
// dockerd is started and stopped as a service of an init system would; nothing of Docker is linked in. Its API is that of
// https://docs.docker.com/reference/api/engine/, in the oldest version that all daemons know.
package docker
