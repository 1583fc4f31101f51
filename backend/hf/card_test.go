package hf

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/inference/gguf"
	"agent/inference/gguf/gguftest"
)

// What a file recommends holds under what is configured; what can't be meant does not.
func TestSamplingOfTheCard(t *testing.T) {
	model := gguftest.Model()
	for key, value := range map[string]any{
		"general.sampling.temp": float32(0.6), "general.sampling.top_p": float32(0.95), "general.sampling.top_k": int32(20),
		"general.sampling.min_p": float32(-1), "general.sampling.penalty_repeat": "often", "general.sampling.sequence": "kpt",
	} {
		model.Set(key, value)
	}
	file, err := gguf.Check(model.Write(t, "card.gguf"))
	require.NoError(t, err)
	one := 1.0
	got := (&backend.Sampling{Temperature: &one}).Merge(cardSampling(file))
	assert.InDelta(t, 1, *got.Temperature, 0, "configured")
	assert.InDelta(t, 0.95, *got.TopP, 1e-6)
	assert.Equal(t, 20, *got.TopK)
	assert.Nil(t, got.MinP)
	assert.Nil(t, got.RepeatPenalty)
	assert.Equal(t, &backend.Sampling{}, cardSampling(nil))
}
