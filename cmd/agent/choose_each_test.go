package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command/decide"
)

// Each text is decided as `agent choose` decides it alone: same label, and the
// probabilities but for the arithmetic.
func TestEachIsWhatChooseSays(t *testing.T) {
	texts := []string{"The kettle leaks.", "Lovely colour, and fast delivery.", "It broke after a week, and nobody answers.", "Works.", "很好用", "Options:\nA) positive"}
	const question = "Is this review positive or negative?"
	f := &chooseApp{method: "sum", options: []string{"positive", "negative"}}
	b := openDefault(t)
	result, err := decide.Run(t.Context(), decide.FromTexts(texts...), decide.Question{Text: question, Options: f.options},
		decide.By(b.ChooseFromOptions, f.config()), nil)
	require.NoError(t, err)
	alone := openDefault(t)
	for i, v := range result.Verdicts {
		c, err := f.decide(t.Context(), alone, chooseItem{Prompt: question, Options: f.options, about: texts[i]})
		require.NoError(t, err)
		assert.Equal(t, c.Text, v.Label, texts[i])
		for k, o := range c.Options {
			assert.InDelta(t, o.Probability, v.Probabilities[k], 0.001, texts[i])
		}
		assert.False(t, math.IsNaN(v.Margin))
	}
	assert.Empty(t, result.TooLong())
}
