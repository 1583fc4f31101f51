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

// registry has every backend that llm._target_ can name. One that is built in
// has an entry here, a file of its own in this package, and its YAML in
// configs/llm. The user's own come from [Host.Backends], as
// docs/go.md shows, and win.
func (h *Host) registry(ctx context.Context) backend.Registry {
	o := &opener{h, ctx}
	all := backend.Registry{
		localBackend: o.hf,
		"openai":     o.openAI,
		"fschat":     o.fastChat,
		"human":      o.human,
		"random":     random,
		"scripted":   scripted,
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

// hebosNames are the class paths in files written for HEBO's Agent.
func hebosNames() map[string]string {
	return map[string]string{
		"agent.models.HuggingFaceLanguageBackend":      localBackend,
		"agent.models.OpenAIAPILanguageBackend":        "openai",
		"agent.models.FastChatAPILanguageBackend":      "fschat",
		"agent.models.StdinLanguageBackend":            "human",
		"tests.utils.random_llm.RandomLanguageBackend": "random",
	}
}

// canonical is the name of a backend in the registry.
func canonical(target string) string {
	if name, ok := hebosNames()[target]; ok {
		return name
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
