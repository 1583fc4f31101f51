package shout

import "agent/backend"

func New(decode func(config any) error) (backend.LanguageBackend, error) {
	cfg := struct {
		ContextLength int `yaml:"context_length"`
	}{ContextLength: 1000}
	if err := decode(&cfg); err != nil {
		return nil, err
	}
	return &Model{Length: cfg.ContextLength}, nil
}
