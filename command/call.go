package command

import (
	"bytes"
	"encoding/json"
	"regexp"
)

// Marshal writes a call in its canonical wire form: one line, keys sorted
// within content, no HTML escapes. Parse gives the same call back: \b and \f,
// which it takes for the beginnings of words, are written as \u0008 and \u000c.
func Marshal(c *Call) ([]byte, error) {
	canonical := *c
	if c.Content == nil {
		canonical.Content = []map[string]any{}
	}
	out, err := JSON(canonical)
	return shortEscapes.ReplaceAllFunc(out, func(escape []byte) []byte {
		switch string(escape) {
		case `\b`:
			return []byte(`\u0008`)
		case `\f`:
			return []byte(`\u000c`)
		}
		return escape
	}), err
}

var shortEscapes = regexp.MustCompile(`\\.`)

// JSON writes a value on one line, without the escapes of HTML.
func JSON(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
