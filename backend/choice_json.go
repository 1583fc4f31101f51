package backend

import (
	"encoding/json"
	"math"
	"time"
)

// number is a float64 that JSON can hold: what is not finite becomes null, and
// null becomes NaN.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if f := float64(n); !math.IsNaN(f) && !math.IsInf(f, 0) {
		return json.Marshal(f)
	}
	return []byte("null"), nil
}

func (n *number) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*n = number(math.NaN())
		return nil
	}
	return json.Unmarshal(data, (*float64)(n))
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
	return json.Marshal(choiceJSON{c.Index, c.Text, c.Method, c.Abstained, c.Reason, c.Tie, number(c.Margin), number(c.OutsideMass),
		options, c.EvaluatedTokens, c.CachedTokens, c.CompletionTokens, c.TokensTold, c.Wall.Milliseconds()})
}

// UnmarshalJSON reads what MarshalJSON wrote. Which null was infinite follows
// from the probabilities.
func (c *Choice) UnmarshalJSON(data []byte) error {
	var j choiceJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*c = Choice{Index: j.Index, Text: j.Text, Method: j.Method, Abstained: j.Abstained, Reason: j.Reason, Tie: j.Tie,
		Margin: float64(j.Margin), OutsideMass: float64(j.OutsideMass), EvaluatedTokens: j.EvaluatedTokens, CachedTokens: j.CachedTokens,
		CompletionTokens: j.CompletionTokens, TokensTold: j.TokensTold, Wall: time.Duration(j.WallMS) * time.Millisecond}
	for _, o := range j.Options {
		c.Options = append(c.Options, ScoredOption{o.Text, float64(o.Logprob), float64(o.Probability), o.Tokens, o.Distance})
	}
	c.restoreInfinities()
	return nil
}

// restoreInfinities finds out which of the numbers that were null are
// infinite: the log-probability of what is impossible, and the lead of what is
// certain. A lead that is finite was written as it is, however small the
// others' probabilities.
func (c *Choice) restoreInfinities() {
	for i := range c.Options {
		o := &c.Options[i]
		if math.IsNaN(o.Logprob) && o.Probability == 0 {
			o.Logprob = math.Inf(-1)
		}
		if math.IsNaN(c.Margin) && i == c.Index && o.Probability == 1 {
			c.Margin = math.Inf(1)
		}
	}
}
