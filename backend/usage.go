package backend

import "time"

// Usage is what a call cost. PromptTokens counts the prompt as sent;
// EvaluatedTokens the prompt tokens that were really computed; CachedTokens
// those reused from an earlier call.
type Usage struct {
	PromptTokens     int           `json:"prompt_tokens"`
	EvaluatedTokens  int           `json:"evaluated_tokens"`
	CachedTokens     int           `json:"cached_tokens"`
	CompletionTokens int           `json:"completion_tokens"`
	ReasoningTokens  int           `json:"reasoning_tokens,omitempty"`
	Prefill          time.Duration `json:"-"` // time spent on the prompt, when known
	Decode           time.Duration `json:"-"` // time spent on the reply, when known
	// Told is set when these are the numbers of the server that did the work.
	// Otherwise they were counted here, as [Counter] says: exactly, or not.
	Told bool `json:"-"`
}

// Add accumulates another call's cost.
func (u *Usage) Add(v Usage) {
	u.PromptTokens += v.PromptTokens
	u.EvaluatedTokens += v.EvaluatedTokens
	u.CachedTokens += v.CachedTokens
	u.CompletionTokens += v.CompletionTokens
	u.ReasoningTokens += v.ReasoningTokens
	u.Prefill += v.Prefill
	u.Decode += v.Decode
}

// AddThought adds what was spent on a thought before the reply: its prompt is the prompt,
// and its tokens are of the reply. Nil stays nil.
func (u *Usage) AddThought(v Usage) {
	if u == nil || v.PromptTokens == 0 {
		return
	}
	u.PromptTokens, u.CachedTokens = v.PromptTokens, v.CachedTokens
	u.EvaluatedTokens += v.EvaluatedTokens
	u.CompletionTokens += v.CompletionTokens
	u.ReasoningTokens += v.CompletionTokens
	u.Prefill += v.Prefill
	u.Decode += v.Decode
}
