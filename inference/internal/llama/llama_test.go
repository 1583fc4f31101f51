//go:build cgo

package llama

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// testModel finds the default model; the test is skipped where it is missing.
func testModel(t *testing.T) string {
	t.Helper()
	for _, p := range []string{os.Getenv("AGENT_TEST_GGUF"), "../../../models/SmolLM2-135M-Instruct.Q4_1.gguf"} {
		if _, err := os.Stat(p); p != "" && err == nil {
			return p
		}
	}
	t.Skip("needs the default model: run `make model`, or set AGENT_TEST_GGUF")
	return ""
}

func TestMain(m *testing.M) {
	code := m.Run()
	if n := Live(); n != 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "%d native objects are still alive\n", n)
		code = 1
	}
	os.Exit(code)
}

func TestGenerateOneReply(t *testing.T) {
	m, err := LoadModel(testModel(t), ModelParams{LoadMode: LoadMmap}, nil)
	require.NoError(t, err)
	defer m.Close()
	info, err := m.Info()
	require.NoError(t, err)
	require.Equal(t, "llama", info.Architecture)
	ids, err := m.Tokenize("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n", false, true)
	require.NoError(t, err)
	ctx, err := m.NewContext(ContextParams{Cells: 512, Batch: 512, Ubatch: 512, Sequences: 4, Outputs: 8, Threads: 2, ThreadsBatch: 2, KVType: 1, FlashAttn: -1})
	require.NoError(t, err)
	defer ctx.Close()
	s, err := m.NewSampler(SamplerParams{TopP: 1, RepeatPenalty: 1, Logprobs: true})
	require.NoError(t, err)
	defer s.Close()
	step := &Step{}
	for i, id := range ids {
		step.Rows = append(step.Rows, Row{Token: id, Pos: int32(i), Seqs: []int32{0}, Output: i == len(ids)-1})
	}
	step.Samples = []Sample{{Row: len(ids) - 1, Sampler: s}}
	var reply []int32
	for pos := len(ids); pos < len(ids)+20; pos++ {
		require.NoError(t, ctx.Step(step))
		got := step.Samples[0]
		require.GreaterOrEqual(t, got.Token, int32(0))
		require.LessOrEqual(t, got.Logprob, float32(0.0001))
		if got.IsEnd {
			break
		}
		reply = append(reply, got.Token)
		step.Rows = []Row{{Token: got.Token, Pos: int32(pos), Seqs: []int32{0}, Output: true}}
		step.Samples[0].Row = 0
	}
	text, err := m.Detokenize(reply, false)
	require.NoError(t, err)
	require.Contains(t, string(text), "Paris")
}
