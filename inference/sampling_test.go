//go:build cgo

package inference

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPenaltiesAndBiases computes from the reported log-probabilities, which are the model's
// own, what each token of a greedy reply must be.
func TestPenaltiesAndBiases(t *testing.T) {
	m, e := loaded(t, &EngineOptions{ContextLength: 512})
	prompt := chatPrompt(t, m, "Write the word red many times.")
	plain, _, err := generate(e, &GenerateRequest{Prompt: prompt, TokensMax: 40})
	require.NoError(t, err)
	first, err := m.Tokenize(plain[:3], TokenizeOptions{})
	require.NoError(t, err)
	for name, s := range map[string]Sampling{
		"frequency": {Frequency: 1.5}, "presence": {Presence: 2}, "both": {Frequency: 0.7, Presence: 0.4}, "rewards": {Frequency: -0.5},
		"bias": {Bias: map[int32]float64{first[0]: -100, 42: 3.5}}, "forced": {Bias: map[int32]float64{42: 100}}, "all": {Frequency: 0.3, Bias: map[int32]float64{42: 8}},
		"no token": {Bias: map[int32]float64{-1: 100, 1 << 30: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			count := map[int32]int{}
			text := ""
			for out, err := range e.Generate(t.Context(), &GenerateRequest{Prompt: prompt, TokensMax: 40, Sampling: s, TopLogprobs: 20}) {
				require.NoError(t, err)
				if out.Logprob == nil || s.Bias[42] == 100 {
					text += out.Text
					continue
				}
				worth := func(id int32, logprob float64) float64 {
					x := logprob + s.Bias[id] - s.Frequency*float64(count[id])
					if count[id] > 0 {
						x -= s.Presence
					}
					return x
				}
				for _, rival := range out.Logprob.Top {
					assert.LessOrEqual(t, worth(rival.ID, float64(rival.Logprob)), worth(out.ID, float64(out.Logprob.Logprob))+1e-3, "%q beside %q", rival.Text, out.Logprob.Text)
				}
				count[out.ID]++
				text += out.Text
			}
			if name == "no token" {
				assert.Equal(t, plain, text)
			} else {
				assert.NotEqual(t, plain, text)
			}
		})
	}
	for _, s := range []Sampling{{Frequency: 2.1}, {Presence: -3}, {Bias: map[int32]float64{1: 101}}} {
		_, _, err := generate(e, &GenerateRequest{Prompt: prompt, TokensMax: 1, Sampling: s})
		assert.ErrorContains(t, err, "must be -")
	}
}
