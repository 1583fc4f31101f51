package command

import (
	"bytes"
	"encoding/json"
)

// Marshal writes a call in its canonical wire form: one line, keys sorted
// within content, no HTML escapes. Parse gives the same call back.
func Marshal(c *Call) ([]byte, error) {
	canonical := *c
	if c.Content == nil {
		canonical.Content = []map[string]any{}
	}
	return JSON(canonical)
}

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
