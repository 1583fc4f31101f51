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

// builtin are the backends that llm._target_ can name, with the class paths in
// files written for HEBO's Agent. One more needs an entry here, a file of its own
// in this package, and its YAML in configs/llm. The user's own come from
// [Host.Backends], as docs/go.md shows, and win.
func builtin() []entry {
	return []entry{
		{localBackend, "agent.models.HuggingFaceLanguageBackend", (*opener).hf},
		{"openai", "agent.models.OpenAIAPILanguageBackend", (*opener).openAI},
		{"fschat", "agent.models.FastChatAPILanguageBackend", (*opener).fastChat},
		{"human", "agent.models.StdinLanguageBackend", (*opener).human},
		{"random", "tests.utils.random_llm.RandomLanguageBackend", (*opener).random},
		{"scripted", "", (*opener).scripted},
	}
}

type entry struct {
	name, hebo string
	open       func(*opener, func(any) error) (backend.LanguageBackend, error)
}

// localBackend runs models in this process; --model is short for it.
const localBackend = "hf"

// registry has every backend.
func (h *Host) registry(ctx context.Context) backend.Registry {
	o, all := &opener{h, ctx}, backend.Registry{}
	for _, e := range builtin() {
		all[e.name] = func(decode func(any) error) (backend.LanguageBackend, error) { return e.open(o, decode) }
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

// canonical is the name of a backend in the registry.
func canonical(target string) string {
	for _, e := range builtin() {
		if target == e.hebo && target != "" {
			return e.name
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
