package backend_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
)

// failing breaks off each reply after one delta.
type failing struct{ backend.LanguageBackend }

func (failing) ChatCompletion(context.Context, *backend.Request) iter.Seq2[backend.Delta, error] {
	return func(yield func(backend.Delta, error) bool) {
		if yield(backend.Delta{Text: "half"}, nil) {
			yield(backend.Delta{}, errors.New("refused for key sk-secret"))
		}
	}
}

func TestHistoryRecords(t *testing.T) {
	ctx := t.Context()
	h := backend.WithHistory(backend.NewScripted(backend.ScriptedConfig{Replies: []string{"41", "x"}, Choices: []string{"no"}}))

	n, reply, err := backend.Parse(ctx, h, user("a number?"), strconv.Atoi)
	require.NoError(t, err)
	assert.Equal(t, 41, n)
	assert.Equal(t, "41", reply)
	_, reply, err = backend.Parse(ctx, h, user("a number?"), strconv.Atoi)
	assert.ErrorIs(t, err, strconv.ErrSyntax)
	assert.Equal(t, "x", reply)
	_, err = h.ChooseFromOptions(ctx, user("well?"), backend.Options("yes", "no"))
	require.NoError(t, err)
	_, _, err = backend.Collect(h.ChatCompletion(ctx, user("more")))
	require.Error(t, err)

	all, dropped := h.Exchanges()
	require.Len(t, all, 4)
	assert.Zero(t, dropped)
	assert.Equal(t, "a number?", all[0].Input[0].Content)
	assert.Equal(t, "41", all[0].Output)
	assert.Equal(t, 41, all[0].Parsed)
	assert.Equal(t, backend.FinishStop, all[0].Finish)
	assert.Equal(t, 1, all[0].Usage.CompletionTokens)
	assert.Positive(t, all[0].Wall)
	assert.ErrorIs(t, all[1].Err, strconv.ErrSyntax)
	assert.Equal(t, []string{"yes", "no"}, all[2].Options)
	assert.Equal(t, "no", all[2].Chosen.Text)
	assert.ErrorIs(t, all[3].Err, backend.ErrScriptEnded)
	last, ok := h.Last()
	assert.True(t, ok)
	assert.Equal(t, 4, last.ID)
	assert.Positive(t, h.Usage().PromptTokens)
	h.Clear()
	_, ok = h.Last()
	assert.False(t, ok)
}

func TestHistoryKeepsWhatCame(t *testing.T) {
	h := backend.WithHistory(failing{backend.NewScripted(backend.ScriptedConfig{})})
	_, _, err := backend.Collect(h.ChatCompletion(t.Context(), user("x")))
	require.Error(t, err)
	for range h.ChatCompletion(t.Context(), user("x")) {
		break
	}
	all, _ := h.Exchanges()
	require.Len(t, all, 2)
	assert.Equal(t, "half", all[0].Output)
	assert.Error(t, all[0].Err)
	assert.False(t, all[0].Broken)
	assert.True(t, all[1].Broken)
}

func TestHistoryIsBounded(t *testing.T) {
	reply := func(context.Context, *backend.Request) (string, error) { return strings.Repeat("x", 100), nil }
	scripted := backend.NewScripted(backend.ScriptedConfig{Reply: reply})
	for name, cfg := range map[string]backend.HistoryConfig{
		"exchanges": {ExchangesMax: 3},
		"bytes":     {BytesMax: 350},
	} {
		h := backend.NewHistory(scripted, cfg)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { _, _, _ = backend.Collect(h.ChatCompletion(t.Context(), user("q"))) })
		}
		wg.Wait()
		all, dropped := h.Exchanges()
		assert.Len(t, all, 3, name)
		assert.Equal(t, 7, dropped, name)
		assert.Equal(t, 10, all[2].ID, name)
	}
}

func TestLogTellsCostNotText(t *testing.T) {
	var buf bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	scripted := backend.NewScripted(backend.ScriptedConfig{Replies: []string{"the reply", "the reply"}})

	quiet := backend.WithLog(scripted, backend.LogConfig{Logger: logger})
	_, _, err := backend.Collect(quiet.ChatCompletion(t.Context(), user("private question")))
	require.NoError(t, err)
	assert.Contains(t, buf.String(), "completion_tokens=2")
	assert.NotContains(t, buf.String(), "private")
	assert.NotContains(t, buf.String(), "reply\"")

	buf.Reset()
	redact := func(s string) string { return strings.ReplaceAll(s, "sk-secret", "***") }
	loud := backend.WithLog(failing{scripted}, backend.LogConfig{Logger: logger, Text: true, Redact: redact})
	_, _, err = backend.Collect(loud.ChatCompletion(t.Context(), user("my key is sk-secret")))
	require.Error(t, err)
	assert.Contains(t, buf.String(), "my key is ***")
	assert.Contains(t, buf.String(), "level=WARN")
	assert.NotContains(t, buf.String(), "sk-secret")
}

func TestChoiceJSONHoldsWhatIsNotFinite(t *testing.T) {
	c := &backend.Choice{Index: -1, Abstained: true, Reason: "r", Method: "text", Margin: math.NaN(), OutsideMass: math.NaN(),
		Options: []backend.ScoredOption{{Text: "a", Logprob: math.Inf(-1), Probability: 0.5}}}
	data, err := c.MarshalJSON()
	require.NoError(t, err)
	assert.JSONEq(t, `{"index":-1,"text":"","method":"text","abstained":true,"reason":"r","tie":false,"margin":null,"outside_mass":null,
		"options":[{"text":"a","logprob":null,"probability":0.5,"tokens":0}],"evaluated_tokens":0,"cached_tokens":0,"completion_tokens":0,"tokens_told":false,"wall_ms":0}`, string(data))
}

// costly is a backend whose choices cost generated tokens.
func costly() *backend.Scripted {
	return backend.NewScripted(backend.ScriptedConfig{Choose: func(_ context.Context, _ *backend.Request, options []backend.Option) (*backend.Choice, error) {
		c := backend.ChooseByText(options[0].Text, options)
		c.CachedTokens, c.CompletionTokens, c.TokensTold = 3, 7, true
		return c, nil
	}})
}

func TestGeneratedTokensOfAChoiceAreCounted(t *testing.T) {
	var log bytes.Buffer
	h := backend.WithHistory(backend.WithLog(costly(), backend.LogConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	for range 2 {
		_, err := h.ChooseFromOptions(t.Context(), user("well?"), backend.Options("yes", "no"))
		require.NoError(t, err)
	}
	last, _ := h.Last()
	assert.True(t, last.Usage.Told)
	assert.Equal(t, 14, h.Usage().CompletionTokens)
	assert.Equal(t, 6, h.Usage().CachedTokens)
	assert.Contains(t, log.String(), "completion_tokens=7")
}
