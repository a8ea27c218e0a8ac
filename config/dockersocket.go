package config

import (
	"fmt"
	"strings"
)

// maxSocketPath is the length of the longest path of a socket (sun_path in unix(7) holds 108 bytes with the NUL).
const maxSocketPath = 107

// checkSocket reports a path that no socket can have, and one that is another sub-kernel's: whoever came second would be refused when it starts.
func (d *decoder) checkSocket(k *Docker) {
	if k.Socket == "" {
		return
	}
	v := d.get("socket")
	if len(k.Socket) > maxSocketPath {
		d.error(v, "Path too long", fmt.Sprintf("%s has %d bytes, and Linux takes %d for a socket. Name a shorter one.", k.Socket, len(k.Socket), maxSocketPath))
	}
	first := d.l.sockets[k.Socket]
	if first == nil {
		d.l.sockets[k.Socket] = d.in
		return
	}
	advice := "Name another one."
	if e := d.in.expression(); e != "" && first.owner == d.in.owner {
		advice = fmt.Sprintf("Give each instance its own: \"docker-%s.sock\".", e)
	}
	d.error(v, "Socket of another sub-kernel", fmt.Sprintf("%s is the socket of %s. %s", k.Socket, first.name, advice))
}

// expression is what tells an instance from the others of its block, as a template has it; empty if the block makes no others.
func (in *instance) expression() string {
	switch in.kind {
	case "for_each":
		return "${each.key}"
	case "count":
		return "${count.index}"
	case "matrix":
		var all []string
		for _, e := range in.matrix {
			value := "matrix." + e.key
			if e.value.val.Type().IsObjectType() {
				value += ".name" // a kernel
			}
			all = append(all, "${"+value+"}")
		}
		return strings.Join(all, "-")
	}
	return ""
}
