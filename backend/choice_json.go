package backend

import (
	"encoding/json"
	"math"
)

// number is a float64 that JSON can hold: what is not finite becomes null.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if f := float64(n); !math.IsNaN(f) && !math.IsInf(f, 0) {
		return json.Marshal(f)
	}
	return []byte("null"), nil
}

// choiceJSON is a Choice as programs read it.
type choiceJSON struct {
	Index            int          `json:"index"`
	Text             string       `json:"text"`
	Method           string       `json:"method"`
	Abstained        bool         `json:"abstained"`
	Reason           string       `json:"reason,omitempty"`
	Tie              bool         `json:"tie"`
	Margin           number       `json:"margin"`
	OutsideMass      number       `json:"outside_mass"`
	Options          []optionJSON `json:"options"`
	EvaluatedTokens  int          `json:"evaluated_tokens"`
	CachedTokens     int          `json:"cached_tokens"`
	CompletionTokens int          `json:"completion_tokens"`
	TokensTold       bool         `json:"tokens_told"`
	WallMS           int64        `json:"wall_ms"`
}

type optionJSON struct {
	Text        string  `json:"text"`
	Logprob     number  `json:"logprob"`
	Probability number  `json:"probability"`
	Tokens      int     `json:"tokens"`
	Distance    float64 `json:"distance,omitempty"`
}

// MarshalJSON writes a choice with snake_case keys and wall_ms; numbers that a
// method does not give (NaN), and infinite ones, are null.
func (c *Choice) MarshalJSON() ([]byte, error) {
	options := make([]optionJSON, len(c.Options))
	for i, o := range c.Options {
		options[i] = optionJSON{o.Text, number(o.Logprob), number(o.Probability), o.Tokens, o.Distance}
	}
	return json.Marshal(choiceJSON{c.Index, c.Text, c.Method, c.Abstained, c.Reason, c.Tie,
		number(c.Margin), number(c.OutsideMass),
		options, c.EvaluatedTokens, c.CachedTokens, c.CompletionTokens, c.TokensTold,
		c.Wall.Milliseconds()})
}
