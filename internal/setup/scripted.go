package setup

import (
	"time"

	"agent/backend"
)

// scripted answers from a list.
func (o *opener) scripted(decode func(any) error) (backend.LanguageBackend, error) {
	var s struct {
		plain      `yaml:",inline"`
		Replies    []string      `yaml:"replies"`
		Choices    []string      `yaml:"choices"`
		DeltaDelay time.Duration `yaml:"delta_delay"`
	}
	if err := decode(&s); err != nil {
		return nil, err
	}
	return backend.NewScripted(backend.ScriptedConfig{ModelID: s.ModelID,
		ContextLength: s.ContextLength,
		Replies:       s.Replies, Choices: s.Choices, DeltaDelay: s.DeltaDelay}), nil
}
