//go:build unconfined

package main

import "github.com/sekexe/sekexe/uml/confine"

// A sekexe that is built with this tag confines nothing. It is what bench measures the cost of confinement against.
func init() { hostSupport = &confine.Support{} }
