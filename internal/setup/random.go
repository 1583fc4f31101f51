package setup

import "agent/backend"

// random answers with random words and choices.
func (o *opener) random(decode func(any) error) (backend.LanguageBackend, error) {
	var s plain
	if err := decode(&s); err != nil {
		return nil, err
	}
	var seed uint32
	if s.Seed != nil {
		seed = *s.Seed
	}
	return backend.NewRandom(backend.ScriptedConfig{ModelID: s.ModelID,
		ContextLength: s.ContextLength}, uint64(seed)), nil
}
