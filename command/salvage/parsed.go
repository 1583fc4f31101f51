package salvage

import (
	"slices"

	"agent/command"
)

// Parsed is what [Parse] read: no call (the reply was empty), or one or more.
type Parsed struct {
	Calls   []ParsedCall
	Repairs []Repair
}

// ParsedCall is a call and how its name was understood.
type ParsedCall struct {
	command.Call
	// Match is MatchFuzzy when the name was guessed. Command then holds the
	// guess if running it can do no harm, else the name as written.
	Match command.Match
	// Suggestion is the nearest command when the name was guessed or unknown.
	Suggestion string
}

// Repaired reports whether a repair was made.
func (p Parsed) Repaired(name Repair) bool {
	return slices.Contains(p.Repairs, name)
}

// MarshalJSON writes the form that `agent commands parse` prints.
func (p Parsed) MarshalJSON() ([]byte, error) {
	type call struct {
		Command    string           `json:"command"`
		Summary    string           `json:"summary"`
		Content    []map[string]any `json:"content"`
		Notes      []string         `json:"notes"`
		Match      command.Match    `json:"match"`
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
		out.Calls[i] = call{c.Command, c.Summary, c.Content, c.Notes, c.Match, c.Suggestion}
		if c.Content == nil {
			out.Calls[i].Content = []map[string]any{}
		}
		if c.Notes == nil {
			out.Calls[i].Notes = []string{}
		}
	}
	return command.JSON(out)
}
