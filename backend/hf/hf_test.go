//go:build cgo

package hf

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/backend/backendtest"
	"agent/inference"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if n := inference.LiveObjects(); n != 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "%d native objects are still alive\n", n)
		code = 1
	}
	os.Exit(code)
}

func modelPath(t testing.TB) string {
	t.Helper()
	for _, p := range []string{os.Getenv("AGENT_TEST_GGUF"), "../../models/SmolLM2-135M-Instruct.Q4_1.gguf"} {
		if _, err := os.Stat(p); p != "" && err == nil {
			return p
		}
	}
	t.Skip("needs the default model: run `make model`, or set AGENT_TEST_GGUF")
	return ""
}

func open(t testing.TB, cfg Config) *Backend {
	t.Helper()
	cfg.Path = modelPath(t)
	if cfg.Sampling == nil {
		cfg.Sampling = &backend.Sampling{Temperature: new(float64)}
	}
	b, err := Open(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b
}

// The same suite as for every other backend, on the real model. With a bf16
// cache, since replies are compared that were computed beside different others.
func TestConformance(t *testing.T) {
	b := open(t, Config{ModelID: "smollm2", ContextLength: 2048, KVType: "bf16"})
	backendtest.Run(t, func(*testing.T) backend.LanguageBackend { return b }, backendtest.Options{
		Prompt: "Write a long story about a dog named Max who lives by the sea."})
}

func user(text string) []backend.Message {
	return []backend.Message{{Role: backend.RoleUser, Content: text}}
}

func TestChooseMethods(t *testing.T) {
	b := open(t, Config{ContextLength: 1024})
	options := backend.Options("Paris", "London", "Paris, France", "a potato")
	req := &backend.Request{Messages: user("What is the capital of France? Reply with the name only.")}
	for _, m := range []backend.Scoring{backend.ScoreSum, backend.ScoreMean, backend.ScorePerByte, backend.ScorePMI} {
		for _, c := range []backend.ChooseConfig{{Scoring: m}, {Scoring: m, List: true}, {Scoring: m, List: true, Rotate: true, Calibrate: true}} {
			req.Choose = &c
			got, err := b.ChooseFromOptions(context.Background(), req, options)
			require.NoError(t, err)
			total := 0.0
			for _, o := range got.Options {
				total += o.Probability
				assert.Positive(t, o.Tokens)
			}
			assert.InDelta(t, 1, total, 1e-9)
			assert.GreaterOrEqual(t, got.Margin, 0.0)
			if m == backend.ScoreSum && !c.Calibrate && !c.List {
				assert.Contains(t, got.Text, "Paris")
				assert.InDelta(t, 1-got.OutsideMass, massOf(got), 1e-9)
			}
		}
	}
}

func massOf(c *backend.Choice) float64 {
	mass := 0.0
	for _, o := range c.Options {
		mass += math.Exp(o.Logprob)
	}
	return mass
}

func TestChooseAbstainsAndReusesThePrompt(t *testing.T) {
	b := open(t, Config{ContextLength: 1024})
	req := &backend.Request{Messages: user("Pick one of the letters."), Choose: &backend.ChooseConfig{MarginMin: 1000}}
	c, err := b.ChooseFromOptions(context.Background(), req, backend.Options("a", "b"))
	require.NoError(t, err)
	assert.True(t, c.Abstained)
	assert.Equal(t, -1, c.Index)
	assert.Contains(t, c.Reason, "nats")
	again, err := b.ChooseFromOptions(context.Background(), req, backend.Options("c", "d"))
	require.NoError(t, err)
	assert.Greater(t, again.CachedTokens, 20)
	assert.Less(t, again.EvaluatedTokens, 6)
}

// An option in the middle of a reply: the newline that follows it ends it.
func TestChooseWithinReply(t *testing.T) {
	b := open(t, Config{ContextLength: 1024})
	req := &backend.Request{Messages: user("Which color is the sky on a clear day? Answer as 'Color: NAME', then explain."), Prefill: "Color: "}
	req.Choose = &backend.ChooseConfig{EndTexts: []string{"\n"}}
	with, err := b.ChooseFromOptions(context.Background(), req, backend.Options("Blue", "Green"))
	require.NoError(t, err)
	req.Choose = nil
	without, err := b.ChooseFromOptions(context.Background(), req, backend.Options("Blue", "Green"))
	require.NoError(t, err)
	assert.Equal(t, "Blue", with.Text)
	assert.Greater(t, with.Options[0].Logprob, without.Options[0].Logprob)
}

func TestPrefillContinues(t *testing.T) {
	b := open(t, Config{ContextLength: 1024})
	text, last, err := backend.Collect(b.ChatCompletion(context.Background(), &backend.Request{
		Messages: user("What is the capital of France?"), Prefill: "The capital of France is ", TokensMax: 5}))
	require.NoError(t, err)
	assert.Regexp(t, `^Paris`, text)
	require.NotNil(t, last.Usage)
	assert.Equal(t, last.Usage.PromptTokens, last.Usage.EvaluatedTokens+last.Usage.CachedTokens)
}

func TestCountsAgree(t *testing.T) {
	b := open(t, Config{ContextLength: 1024})
	msgs := append(user("How many?"), backend.Message{Role: backend.RoleAssistant, Content: "Three."}, backend.Message{Role: backend.RoleUser, Content: "Sure? 🙂"})
	n, err := b.CountTokens(context.Background(), msgs)
	require.NoError(t, err)
	_, last, err := backend.Collect(b.ChatCompletion(context.Background(), &backend.Request{Messages: msgs, TokensMax: 1}))
	require.NoError(t, err)
	assert.Equal(t, n, last.Usage.PromptTokens, "what is counted is what is computed")

	c, err := b.CountText(context.Background(), "Hello world")
	require.NoError(t, err)
	assert.Equal(t, backend.Count{Tokens: 2, IDs: []int{19556, 905}, Source: "tokenizer.json", Exact: true}, c)
}

func TestEmbed(t *testing.T) {
	b := open(t, Config{ContextLength: 512})
	v, tokens, err := b.Embed(context.Background(), []string{"a cat sat on the mat", "a kitten is on a rug", "quarterly revenue grew by 4 %"})
	require.NoError(t, err)
	require.Len(t, v, 3)
	assert.Greater(t, tokens, 12)
	dot := func(a, b []float32) (s float64) {
		for i := range a {
			s += float64(a[i]) * float64(b[i])
		}
		return s
	}
	assert.InDelta(t, 1, dot(v[0], v[0]), 1e-4)
	assert.Greater(t, dot(v[0], v[1]), dot(v[0], v[2]))
}

// Closing while texts are embedded ends, whether the embedder was there before or not.
func TestCloseWhileEmbedding(t *testing.T) {
	for i := range 4 {
		b := open(t, Config{ContextLength: 256})
		if i%2 == 1 {
			_, _, err := b.Embed(context.Background(), []string{"before"})
			require.NoError(t, err)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for {
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*time.Millisecond+time.Millisecond)
					_, _, err := b.Embed(ctx, []string{"one", "two", "three"})
					cancel()
					if errors.Is(err, inference.ErrEmbedderClosed) || errors.Is(err, inference.ErrModelClosed) {
						return
					}
					if err != nil {
						assert.ErrorIs(t, err, context.DeadlineExceeded)
					}
				}
			})
		}
		time.Sleep(time.Duration(i) * 10 * time.Millisecond)
		closed := make(chan struct{})
		go func() { defer close(closed); assert.NoError(t, b.Close()) }()
		select {
		case <-closed:
		case <-time.After(time.Minute):
			t.Fatal("Close does not come back")
		}
		wg.Wait()
		_, _, err := b.Embed(context.Background(), []string{"after"})
		assert.ErrorContains(t, err, "closed")
	}
}
