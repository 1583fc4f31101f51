package backend

import (
	"maps"
	"slices"
)

// Factory makes a backend of its part of a configuration. decode fills in a
// struct with yaml tags.
type Factory func(decode func(config any) error) (LanguageBackend, error)

// Registry finds factories by the names that a configuration may give as
// _target_. It is a plain value: whoever wires a program together fills it.
type Registry map[string]Factory

// Names are the known names, sorted.
func (r Registry) Names() []string { return slices.Sorted(maps.Keys(r)) }
