package setup

import (
	"context"
	"fmt"

	"agent/backend"
	"agent/internal/exit"
)

// opener holds what the backends that are built in need while they are opened.
type opener struct {
	*Host
	ctx context.Context
}

// builtIn is a backend of this program.
type builtIn struct {
	name    string // in a configuration, as llm._target_
	hebo    string // the class path in files written for HEBO's Agent
	factory backend.Factory
}

// builtIns lists them. Each has an entry here, a file of its own in this
// package, and its YAML in configs/llm.
func (o *opener) builtIns() []builtIn {
	return []builtIn{
		{localBackend, "agent.models.HuggingFaceLanguageBackend", o.hf},
		{"openai", "agent.models.OpenAIAPILanguageBackend", o.openAI},
		{"fschat", "agent.models.FastChatAPILanguageBackend", o.fastChat},
		{"human", "agent.models.StdinLanguageBackend", o.human},
		{"random", "tests.utils.random_llm.RandomLanguageBackend", random},
		{"scripted", "", scripted},
	}
}

// registry has every backend that llm._target_ can name. The user's own come
// from [Host.Backends], as docs/go.md shows, and win.
func (h *Host) registry(ctx context.Context) backend.Registry {
	all := backend.Registry{}
	for _, b := range (&opener{h, ctx}).builtIns() {
		all[b.name] = b.factory
	}
	for name, factory := range h.Backends {
		all[name] = func(decode func(any) error) (backend.LanguageBackend, error) {
			b, err := factory(decode)
			if err != nil {
				err = exit.With(exit.Backend, fmt.Errorf("_target_ %s: %w", name, err))
			}
			return b, err
		}
	}
	return all
}

// localBackend runs models in this process; --model is short for it.
const localBackend = "hf"

// hebosNames are the class paths that stand for a backend.
func hebosNames() (names []string) {
	for _, b := range (*opener)(nil).builtIns() {
		if b.hebo != "" {
			names = append(names, b.hebo)
		}
	}
	return names
}

// canonical is the name of a backend in the registry.
func canonical(target string) string {
	for _, b := range (*opener)(nil).builtIns() {
		if b.hebo == target && target != "" {
			return b.name
		}
	}
	return target
}

// plain are the settings of a backend that has none of its own.
type plain struct {
	Common `yaml:",inline"`
}

func (s *plain) common() *Common { return &s.Common }

// IsLocal reports the name of the backend that runs models in this process.
func IsLocal(target string) bool { return canonical(target) == localBackend }

// Known reports the name of a backend that there is.
func (h *Host) Known(target string) bool {
	_, ok := h.registry(context.Background())[canonical(target)]
	return ok
}
