package event

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"agent/backend"
)

// ChoiceMade is a choice among options by their probabilities.
type ChoiceMade struct {
	Field       string         `json:"field"` // "command", or a field of it
	Method      string         `json:"method"`
	Options     []ScoredChoice `json:"options"` // the likeliest first
	More        int            `json:"more,omitempty"`
	OutsideMass *float64       `json:"outside_mass,omitempty"` // of replies that are none of the options
}

// ScoredChoice is one option; Probability is nil where the backend knows none.
type ScoredChoice struct {
	Text        string   `json:"text"`
	Probability *float64 `json:"probability,omitempty"`
	Chosen      bool     `json:"chosen,omitempty"`
}

// choiceOptionsMax options of a choice are told.
const choiceOptionsMax = 12

// Chosen tells a choice with its numbers.
func Chosen(field string, c *backend.Choice) ChoiceMade {
	made := ChoiceMade{Field: field, Method: c.Method, OutsideMass: known(c.OutsideMass)}
	for i, o := range c.Options {
		made.Options = append(made.Options, ScoredChoice{Text: strings.TrimSpace(o.Text), Probability: known(o.Probability), Chosen: i == c.Index})
	}
	made.More = max(len(made.Options)-choiceOptionsMax, 0)
	made.Options = likeliest(made.Options, choiceOptionsMax)
	return made
}

// known leaves out a number that a backend does not have.
func known(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// likeliest puts options in order and keeps the first n; the chosen one stays
// whatever its place.
func likeliest(options []ScoredChoice, n int) []ScoredChoice {
	slices.SortStableFunc(options, func(a, b ScoredChoice) int {
		if a.Probability == nil || b.Probability == nil {
			return 0
		}
		return cmp.Compare(*b.Probability, *a.Probability)
	})
	if len(options) <= n {
		return options
	}
	if i := slices.IndexFunc(options, func(o ScoredChoice) bool { return o.Chosen }); i >= n {
		options[n-1] = options[i]
	}
	return options[:n]
}
