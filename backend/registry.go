package backend

import (
	"fmt"
	"slices"
)

// Factory makes a backend of its part of a configuration. decode fills in a
// struct with yaml tags.
type Factory func(decode func(config any) error) (LanguageBackend, error)

// Registry finds factories by the names that a configuration may give as
// _target_. It is a plain value: whoever wires a program together fills it.
type Registry map[string]Factory

// New makes the backend of that name; an unknown name is answered with the
// nearest known one.
func (r Registry) New(name string, decode func(config any) error) (LanguageBackend, error) {
	factory, ok := r[name]
	if !ok {
		return nil, &Error{Op: "_target_", Err: fmt.Errorf("unknown backend %q", name), Advice: r.advice(name)}
	}
	b, err := factory(decode)
	if err != nil {
		return nil, fmt.Errorf("_target_ %s: %w", name, err)
	}
	return b, nil
}

// Names are the known names, sorted.
func (r Registry) Names() []string {
	names := make([]string, 0, len(r))
	for name := range r {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (r Registry) advice(name string) string {
	if len(r) == 0 {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", nearest(name, r.Names()))
}
