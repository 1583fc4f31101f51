package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"agent/backend"
	"agent/internal/config"
)

// customBackends are the backends that a user of this repository adds, by the
// name that a configuration gives as llm._target_. This is the one place to
// change for it; docs/go.md shows how, on an example.
func customBackends() backend.Registry {
	return backend.Registry{}
}

// stockFile begins the names of files that are built in.
const stockFile = "embedded:"

// customDecoder decodes the section llm for a custom backend. It is strict, but
// passes over what only a stock file says, since that was meant for the backend
// of that file: llm._target_=mine works on top of any option.
func customDecoder(cfg *config.Config) func(any) error {
	return func(into any) error {
		err := cfg.Decode("llm", into)
		if err == nil {
			return nil
		}
		problems := config.Problems{err}
		errors.As(err, &problems)
		var kept config.Problems
		for _, p := range problems {
			var e *config.Error
			if errors.As(p, &e) && errors.Is(e, config.ErrUnknownKey) && strings.HasPrefix(e.Origin.File, stockFile) {
				continue
			}
			kept = append(kept, p)
		}
		if len(kept) == 0 {
			return nil
		}
		return kept
	}
}

// errDecoded stops a factory when its settings were read.
var errDecoded = errors.New("the settings are decoded")

// checkCustom reports what is wrong with the settings of a custom backend,
// without making it: making it may reach out.
func checkCustom(custom backend.Registry, name string, cfg *config.Config) error {
	decode := customDecoder(cfg)
	var wrong error
	b, err := custom.New(name, func(into any) error {
		if wrong = decode(into); wrong != nil {
			return wrong
		}
		return errDecoded
	})
	closeBackend(b)
	if wrong != nil || errors.Is(err, errDecoded) {
		return wrong
	}
	return err
}

// openCustom makes a custom backend. Its errors are those of a model.
func openCustom(custom backend.Registry, name string, cfg *config.Config) (*opened, error) {
	b, err := custom.New(name, customDecoder(cfg))
	if err != nil {
		return nil, withCode(exitBackend, err)
	}
	if b == nil {
		return nil, fmt.Errorf("_target_ %s: its factory made no backend", name)
	}
	return &opened{LanguageBackend: b, close: func() { closeBackend(b) }}, nil
}

// closeBackend closes what can be closed.
func closeBackend(b backend.LanguageBackend) {
	if c, ok := backend.As[io.Closer](b); ok {
		_ = c.Close()
	}
}
