//go:build cgo

package inference

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/inference/gguf"
)

// damagedModel is a copy of the default model in which the weights of a tensor of
// floats are no numbers. Nothing but computing shows it. (A single one is lost
// where activations are rounded to 8 bits.)
func damagedModel(t testing.TB, tensor string) string {
	t.Helper()
	raw, err := os.ReadFile(defaultModel(t))
	require.NoError(t, err)
	f, err := gguf.Open(defaultModel(t))
	require.NoError(t, err)
	defer f.Close()
	last := f.Tensors[len(f.Tensors)-1]
	data := (int64(len(raw)) - last.Offset - last.Bytes) / f.Alignment * f.Alignment
	at := slices.IndexFunc(f.Tensors, func(x gguf.Tensor) bool { return x.Name == tensor && x.Type == gguf.TensorF32 })
	require.GreaterOrEqual(t, at, 0, "no tensor %s of floats", tensor)
	weights := raw[data+f.Tensors[at].Offset:][:f.Tensors[at].Bytes]
	for i := 0; i < len(weights); i += 4 {
		require.Less(t, math.Abs(float64(math.Float32frombits(binary.LittleEndian.Uint32(weights[i:])))), 1000.0, "no weight stands there")
		binary.LittleEndian.PutUint32(weights[i:], math.Float32bits(float32(math.NaN())))
	}
	path := filepath.Join(t.TempDir(), "damaged.gguf")
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	return path
}

// Weights that are no numbers end each request with that, and the process and
// the engine go on.
func TestNotANumber(t *testing.T) {
	m, err := Load(t.Context(), damagedModel(t, "output_norm.weight"), nil)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	e, err := m.NewEngine(&EngineOptions{ContextLength: 256})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	prompt := chatPrompt(t, m, "Say hello.")
	seed := uint32(1)
	drawn := Sampling{Temperature: 0.8, TopK: 40, TopP: 0.95, MinP: 0.05, Seed: &seed}
	const grammar = `root ::= "yes" | "no"`
	for name, req := range map[string]GenerateRequest{
		"greedy":          {},
		"drawn":           {Sampling: drawn},
		"of all":          {Sampling: Sampling{Temperature: 1, Seed: &seed}},
		"with a penalty":  {Sampling: Sampling{RepeatPenalty: 1.3}},
		"log-probability": {Logprobs: true, TopLogprobs: 5},
		"greedy, grammar": {Grammar: grammar},
		"drawn, grammar":  {Grammar: grammar, Sampling: drawn},
	} {
		req.Prompt, req.TokensMax = prompt, 4
		text, _, err := generate(e, &req)
		assert.ErrorContains(t, err, "no valid number for the next token: its file is damaged", name)
		assert.Empty(t, text, name)
	}
	_, err = e.Score(context.Background(), &ScoreRequest{Prompt: prompt, Options: [][]int32{append(prompt[:len(prompt):len(prompt)], 5), append(prompt[:len(prompt):len(prompt)], 6)}})
	assert.ErrorIs(t, err, errNoNumber)
	_, _, err = e.PromptLogprobs(context.Background(), prompt, 2)
	assert.ErrorIs(t, err, errNoNumber)
	assert.ErrorIs(t, vetCompute(m, EngineOptions{}, io.Discard), errNoNumber)

	emb, err := m.NewEmbedder(64)
	require.NoError(t, err)
	defer emb.Close()
	_, err = emb.Embed(context.Background(), prompt)
	assert.ErrorContains(t, err, "no valid number for the embedding")
}

// A model whose prompts begin with a token of their own is tried as any other.
func TestVetOfAModelWithABeginning(t *testing.T) {
	raw, err := os.ReadFile(defaultModel(t))
	require.NoError(t, err)
	key := []byte("tokenizer.ggml.add_bos_token\x07\x00\x00\x00") // and a boolean
	at := bytes.Index(raw, key)
	require.GreaterOrEqual(t, at, 0)
	for _, begins := range []byte{0, 1} {
		raw[at+len(key)] = begins
		path := filepath.Join(t.TempDir(), "m.gguf")
		require.NoError(t, os.WriteFile(path, raw, 0o600))
		trial, err := json.Marshal(Trial{Path: path})
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, vetChild(string(trial), &out), "add_bos_token %d", begins)
		assert.Contains(t, out.String(), stageDone)
	}
}
