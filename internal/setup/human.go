package setup

import "agent/backend"

// human is a person at the terminal.
func (o *opener) human(decode func(any) error) (backend.LanguageBackend, error) {
	var s plain
	if err := decode(&s); err != nil {
		return nil, err
	}
	return backend.NewHuman(backend.HumanConfig{ModelID: s.ModelID, ContextLength: s.ContextLength,
		In: o.In, Out: o.Out}), nil
}
