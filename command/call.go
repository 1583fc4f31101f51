package command

import (
	"bytes"
	"encoding/json"
)

// Parsed is what [Parse] read: no call (the reply was empty), or one or more.
type Parsed struct {
	Calls   []ParsedCall
	Repairs []Repair
}

// ParsedCall is a call and how its name was understood.
type ParsedCall struct {
	Call
	// Match is MatchFuzzy when the name was guessed. Command then holds the
	// guess if running it can do no harm, else the name as written.
	Match Match
	// Suggestion is the nearest command when the name was guessed or unknown.
	Suggestion string
}

// Repaired reports whether a repair was made.
func (p Parsed) Repaired(name Repair) bool {
	for _, r := range p.Repairs {
		if r == name {
			return true
		}
	}
	return false
}

// MarshalJSON writes the form that `agent commands parse` prints.
func (p Parsed) MarshalJSON() ([]byte, error) {
	type call struct {
		Command    string           `json:"command"`
		Summary    string           `json:"summary"`
		Content    []map[string]any `json:"content"`
		Notes      []string         `json:"notes"`
		Match      Match            `json:"match"`
		Suggestion string           `json:"suggestion,omitempty"`
	}
	out := struct {
		Calls   []call   `json:"calls"`
		Repairs []Repair `json:"repairs"`
	}{Calls: make([]call, len(p.Calls)), Repairs: p.Repairs}
	if out.Repairs == nil {
		out.Repairs = []Repair{}
	}
	for i, c := range p.Calls {
		out.Calls[i] = call{c.Command, c.Summary, contentOrEmpty(c.Content), c.Notes, c.Match, c.Suggestion}
		if c.Notes == nil {
			out.Calls[i].Notes = []string{}
		}
	}
	return marshal(out)
}

// Marshal writes a call in its canonical wire form: one line, keys sorted
// within content, no HTML escapes. Parse gives the same call back.
func Marshal(c *Call) ([]byte, error) {
	canonical := *c
	canonical.Content = contentOrEmpty(c.Content)
	return marshal(canonical)
}

func contentOrEmpty(content []map[string]any) []map[string]any {
	if content == nil {
		return []map[string]any{}
	}
	return content
}

func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
