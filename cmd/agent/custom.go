package main

import "agent/backend"

// customBackends are the backends that a user of this repository adds, by the
// name that a configuration gives as llm._target_. This is the one place to
// change for it; docs/go.md shows how, on an example.
func customBackends() backend.Registry {
	return backend.Registry{}
}
