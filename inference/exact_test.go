//go:build cgo

package inference

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"agent/inference/internal/llama"
)

// How far the log-probabilities of 40 choices are from those of the same weights in F32,
// for each buffer that weights may lie in here. It prints the table of docs/dev/design.md:
//
//	llama-quantize --allow-requantize MODEL F32 F32
//	AGENT_EXACT_MODEL=MODEL AGENT_EXACT_F32=F32 go test ./inference -run TestExactness -v
func TestExactness(t *testing.T) {
	model, reference := os.Getenv("AGENT_EXACT_MODEL"), os.Getenv("AGENT_EXACT_F32")
	if model == "" || reference == "" {
		t.Skip("needs AGENT_EXACT_MODEL and the same weights in AGENT_EXACT_F32; see the comment")
	}
	want := exactChoices(t, reference, "f32")
	all, err := llama.BufferTypes()
	require.NoError(t, err)
	for _, kv := range []string{"f16", "f32"} { // before any buffer is switched off, for good
		compareChoices(t, model, kv, "as loaded", want)
	}
	for _, b := range all.Buffers {
		if b.Extra {
			require.NoError(t, llama.DisableBuffer(b.Name))
			compareChoices(t, model, "f16", "without "+b.Name+" and what stands above", want)
		}
	}
}

func compareChoices(t *testing.T, path, kv, what string, want [][]float64) {
	got := exactChoices(t, path, kv)
	var sum, most float64
	n, others := 0, 0
	for i := range want {
		for j := range want[i] {
			d := math.Abs(got[i][j] - want[i][j])
			sum, most, n = sum+d, max(most, d), n+1
		}
		if best(got[i]) != best(want[i]) {
			others++
		}
	}
	t.Logf("%-50s KV %s: mean %.3f nats, largest %.3f, other winners %d of %d", what, kv, sum/float64(n), most, others, len(want))
}

func best(scores []float64) (at int) {
	for i, s := range scores {
		if s > scores[at] {
			at = i
		}
	}
	return at
}

// exactChoices scores the five capitals for each of forty questions.
func exactChoices(t *testing.T, path, kv string) (sums [][]float64) {
	m, err := Load(t.Context(), path, nil)
	require.NoError(t, err)
	defer m.Close()
	e, err := m.NewEngine(&EngineOptions{ContextLength: 1024, KVType: kv})
	require.NoError(t, err)
	defer e.Close()
	countries := strings.Fields("France Italy Spain Portugal Germany Austria Poland Greece Norway Sweden Finland Denmark Ireland Hungary Romania " +
		"Bulgaria Croatia Serbia Turkey Egypt Morocco Kenya Nigeria Ghana Japan China India Thailand Vietnam Nepal Canada Mexico Cuba Peru Chile " +
		"Brazil Argentina Uruguay Colombia Australia")
	for i, country := range countries {
		prompt := chatPrompt(t, m, fmt.Sprintf("Which of these was built or grew most in %s? Answer with one of the words.", country))
		var options [][]int32
		for j := range 5 {
			ids, err := m.Tokenize(countries[(i+j*7)%len(countries)], TokenizeOptions{})
			require.NoError(t, err)
			options = append(options, append(prompt[:len(prompt):len(prompt)], ids...))
		}
		res, err := e.Score(t.Context(), &ScoreRequest{Prompt: prompt, Options: options})
		require.NoError(t, err)
		var row []float64
		for _, o := range res.Scores {
			row = append(row, o.Sum())
		}
		sums = append(sums, row)
	}
	return sums
}
