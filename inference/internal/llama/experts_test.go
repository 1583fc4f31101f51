//go:build cgo

package llama

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/inference/gguf/gguftest"
)

// mixture writes a model of two layers with four experts and random weights. Larger
// ones gave 0.7 nats between a CPU and lavapipe, wherever the experts lay; why is not known.
func mixture(t *testing.T) string {
	t.Helper()
	b := gguftest.Model().Set("llama.block_count", uint32(2)).Set("llama.expert_count", uint32(4)).Set("llama.expert_used_count", uint32(2))
	b.Tensors = b.Tensors[:2]
	for i := range 2 {
		add := func(name string, shape ...uint64) {
			b.Tensors = append(b.Tensors, gguftest.F32(fmt.Sprintf("blk.%d.%s.weight", i, name), shape...))
		}
		add("attn_norm", 32)
		add("ffn_norm", 32)
		add("attn_q", 32, 32)
		add("attn_k", 32, 16)
		add("attn_v", 32, 16)
		add("attn_output", 32, 32)
		add("ffn_gate_inp", 32, 4)
		add("ffn_gate_exps", 32, 32, 4)
		add("ffn_up_exps", 32, 32, 4)
		add("ffn_down_exps", 32, 32, 4)
	}
	path := b.Write(t, "mixture.gguf")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 2))
	for at := len(b.Header()); at+4 <= len(raw); at += 4 {
		binary.LittleEndian.PutUint32(raw[at:], math.Float32bits(float32(r.NormFloat64()/4)))
	}
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	return path
}

// scores loads a model and gives the log-probability of each token after a prompt.
func scores(t *testing.T, path string, p ModelParams) (out []float64) {
	t.Helper()
	m, err := LoadModel(path, p, nil)
	require.NoError(t, err)
	defer m.Close()
	ctx, err := m.NewContext(ContextParams{Cells: 256, Batch: 64, Ubatch: 64, Sequences: 1, Outputs: 1, Threads: 1, ThreadsBatch: 1, KVType: 1, FlashAttn: -1})
	require.NoError(t, err)
	defer ctx.Close()
	step := &Step{}
	for i := range 5 {
		step.Rows = append(step.Rows, Row{Token: int32(3 + i), Pos: int32(i), Seqs: []int32{0}, Output: i == 4})
	}
	for id := range int32(8) {
		step.Wants = append(step.Wants, Want{Row: 4, Token: id})
	}
	require.NoError(t, ctx.Step(step))
	for _, w := range step.Wants {
		out = append(out, float64(w.Logprob))
	}
	return out
}

// Where the experts lie changes nothing but rounding. A build for the CPU only shows
// that such a model loads and computes.
func TestExpertsStayOnTheCPU(t *testing.T) {
	path := mixture(t)
	sys, err := System()
	require.NoError(t, err)
	var accelerators []int
	for i, d := range sys.Devices {
		if d.Accelerator {
			accelerators = append(accelerators, i)
		}
	}
	want := scores(t, path, ModelParams{})
	require.Greater(t, spread(want), 0.1, "random weights prefer some tokens")
	for experts := range 4 { // of two layers
		got := scores(t, path, ModelParams{GPULayers: -1, Devices: accelerators, CPUExperts: experts})
		assert.InDeltaSlice(t, want, got, 0.01, "the experts of %d layers on the CPU", experts)
	}
	_, err = LoadModel(path, ModelParams{Devices: []int{99}}, nil)
	assert.ErrorContains(t, err, "no device 99")
}

func spread(x []float64) float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range x {
		low, high = min(low, v), max(high, v)
	}
	return high - low
}
