package config

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// A graph evaluates things that refer to each other, on demand and each once, and finds cycles.
type graph struct {
	state map[string]visit
	stack []string // the nodes whose evaluation is under way
}

type visit int

const (
	unvisited visit = iota
	visiting
	visited
)

// demand makes sure that the node is evaluated. It reports false if that is under way already: the node depends on itself, which is reported at
// the place of the reference.
func (l *loader) demand(node string, at hcl.Range, evaluate func()) bool {
	g := &l.graph
	if g.state == nil {
		g.state = map[string]visit{}
	}
	switch g.state[node] {
	case visited:
		return true
	case visiting:
		l.diags.errorAt(at, "Reference cycle", fmt.Sprintf("%s depends on itself: %s. Take one of the references out.", node, strings.Join(g.cycle(node), " -> ")))
		return false
	}
	g.state[node] = visiting
	g.stack = append(g.stack, node)
	evaluate()
	g.stack = g.stack[:len(g.stack)-1]
	g.state[node] = visited
	return true
}

// cycle returns the nodes under way from node to itself.
func (g *graph) cycle(node string) []string {
	for i, n := range g.stack {
		if n == node {
			return append(append([]string{}, g.stack[i:]...), node)
		}
	}
	return []string{node, node}
}
