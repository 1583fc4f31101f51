//go:build cgo

package inference

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is read from disk is what was in memory, to the bit.
func TestStateFromDiskIsExact(t *testing.T) {
	path := defaultModel(t)
	if BuildID == "unknown" { // nothing is kept by a build that does not know itself
		BuildID = "test"
		defer func() { BuildID = "unknown" }()
	}
	dir := t.TempDir()
	text := ""
	for i := range 60 {
		text += fmt.Sprintf("Line %d of the ledger says that %d crates went to harbour %d. ", i, i*i%97, i*7%13)
	}
	after := func(t *testing.T, m *Model, e *Engine, question string) []TokenLogprob {
		shared, err := m.Tokenize(text, TokenizeOptions{AddSpecial: true})
		require.NoError(t, err)
		ids, err := m.Tokenize(text+question, TokenizeOptions{AddSpecial: true})
		require.NoError(t, err)
		var out []TokenLogprob
		for o, err := range e.Generate(t.Context(), &GenerateRequest{Prompt: ids, Shared: commonPrefix(shared, ids), TokensMax: 8, Logprobs: true, TopLogprobs: 20}) {
			require.NoError(t, err)
			if o.Logprob != nil {
				out = append(out, *o.Logprob)
			}
			if o.Stats != nil {
				t.Log(question, "evaluated", o.Stats.Evaluated, "reused", o.Stats.Reused)
			}
		}
		return out
	}
	run := func(t *testing.T, questions ...string) (last []TokenLogprob) {
		m, err := Load(t.Context(), path, nil)
		require.NoError(t, err)
		defer m.Close()
		store := OpenPrefixStore(dir, 1<<30)
		e, err := m.NewEngine(&EngineOptions{ContextLength: 4096, Threads: 1, Store: store})
		require.NoError(t, err)
		defer func() {
			e.Close()
			require.NoError(t, store.Close())
		}()
		for _, q := range questions {
			last = after(t, m, e, q)
		}
		return last
	}
	inMemory := run(t, "What is the first harbour?", "How many crates are there?")
	require.Len(t, files(t, dir), 1)
	assert.Equal(t, inMemory, run(t, "How many crates are there?"))
}
