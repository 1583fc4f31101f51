package backend_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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

func TestRecordAndReplay(t *testing.T) {
	ctx := t.Context()
	temperature := 0.5
	ask := func(text string) *backend.Request {
		r := user(text)
		r.Sampling = &backend.Sampling{Temperature: &temperature}
		return r
	}
	var file bytes.Buffer
	recorder, err := backend.Record(backend.NewScripted(backend.ScriptedConfig{ModelID: "m", ContextLength: 50,
		Replies: []string{"one two", "three"}, Choices: []string{"no"}}), &file)
	require.NoError(t, err)
	session := func(b backend.LanguageBackend) (out []any) {
		for _, q := range []string{"a", "a"} {
			text, last, err := backend.Collect(b.ChatCompletion(ctx, ask(q)))
			require.NoError(t, err)
			out = append(out, text, *last.Usage, last.Finish)
		}
		c, err := b.ChooseFromOptions(ctx, ask("b"), backend.Options("yes", "no"))
		require.NoError(t, err)
		n, err := b.CountTokens(ctx, ask("c").Messages)
		require.NoError(t, err)
		_, _, err = backend.Collect(b.ChatCompletion(ctx, ask(strings.Repeat("word ", 100))))
		var tooLong *backend.ContextError
		require.ErrorAs(t, err, &tooLong)
		return append(out, c.Text, c.Index, c.Options[1].Probability, c.Wall.Milliseconds(), n, tooLong.Tokens)
	}
	want := session(recorder)
	require.NoError(t, recorder.Err())
	recording := file.String()

	replayer, err := backend.Replay(strings.NewReader(recording))
	require.NoError(t, err)
	assert.Equal(t, "m", replayer.ModelID())
	assert.Equal(t, 50, replayer.ContextLength())
	assert.True(t, replayer.Capabilities().Prefill)
	assert.Equal(t, 4, replayer.Unused())
	assert.Equal(t, want, session(replayer))
	assert.Zero(t, replayer.Unused())

	_, _, err = backend.Collect(replayer.ChatCompletion(ctx, ask("a")))
	assert.ErrorContains(t, err, "recorded 2 times and is asked for once more")
	_, _, err = backend.Collect(replayer.ChatCompletion(ctx, ask("another")))
	assert.ErrorContains(t, err, "was not recorded; it first differs")
	assert.ErrorContains(t, err, "nother")
	_, err = replayer.CountText(ctx, "a")
	assert.ErrorContains(t, err, "no count_text request was recorded")
}

func TestReplayRefusesBadFiles(t *testing.T) {
	for name, file := range map[string]string{
		"empty":     "",
		"not JSON":  "hello\n",
		"version":   `{"version":9}` + "\n",
		"cut short": `{"version":1,"model":"m"}` + "\n" + `{"request":{"op":"ch`,
	} {
		_, err := backend.Replay(strings.NewReader(file))
		assert.ErrorContains(t, err, "replay: ", name)
	}
}

func TestChoiceJSONHoldsWhatIsNotFinite(t *testing.T) {
	c := &backend.Choice{Index: -1, Abstained: true, Reason: "r", Method: "text", Margin: math.NaN(), OutsideMass: math.NaN(),
		Options: []backend.ScoredOption{{Text: "a", Logprob: math.Inf(-1), Probability: 0.5}}}
	data, err := c.MarshalJSON()
	require.NoError(t, err)
	assert.JSONEq(t, `{"index":-1,"text":"","method":"text","abstained":true,"reason":"r","tie":false,"margin":null,"outside_mass":null,
		"options":[{"text":"a","logprob":null,"probability":0.5,"tokens":0}],"evaluated_tokens":0,"cached_tokens":0,"completion_tokens":0,"tokens_told":false,"wall_ms":0}`, string(data))
	var back backend.Choice
	require.NoError(t, back.UnmarshalJSON(data))
	assert.True(t, math.IsNaN(back.Margin))
	assert.Equal(t, 0.5, back.Options[0].Probability)
}

// choiceNumbers makes NaN, which equals nothing, comparable.
func choiceNumbers(c *backend.Choice) string { return fmt.Sprintf("%+v", *c) }

func TestChoiceSurvivesJSON(t *testing.T) {
	certain := func(texts ...string) *backend.Choice {
		c, err := backend.ChooseOption("scripted", texts[0], backend.Options(texts...))
		require.NoError(t, err)
		return c
	}
	for name, c := range map[string]*backend.Choice{
		"tokens": {Index: 0, Text: "a", Method: "schema", Margin: math.NaN(), OutsideMass: math.NaN(),
			Options:         []backend.ScoredOption{{Text: "a", Logprob: math.NaN(), Probability: math.NaN()}},
			EvaluatedTokens: 20, CachedTokens: 5, CompletionTokens: 7, TokensTold: true, Wall: 3 * time.Millisecond},
		"a single option": {Index: 0, Text: "a", Method: "logits/sum", Margin: math.Inf(1), OutsideMass: 0.5,
			Options: []backend.ScoredOption{{Text: "a", Logprob: -0.7, Probability: 1, Tokens: 2}}},
		"certain among several": certain("b", "a", "c"),
		"a lead that is finite although the other's probability underflows": {Index: 1, Text: "b", Method: "logits/sum", Margin: 900,
			Options: []backend.ScoredOption{{Text: "a", Logprob: -901, Probability: 0}, {Text: "b", Logprob: -1, Probability: 1}}},
		"abstained": backend.ChooseByText("", backend.Options("a", "b")),
	} {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(c)
			require.NoError(t, err)
			var back backend.Choice
			require.NoError(t, json.Unmarshal(data, &back))
			assert.Equal(t, choiceNumbers(c), choiceNumbers(&back))
		})
	}
}

// TestOldRecordingsAreRead: one that was made when generated tokens of a choice
// were not written.
func TestOldRecordingsAreRead(t *testing.T) {
	old := `{"version":1,"model":"m","context_length":50,"capabilities":{"Prefill":true,"Grammar":false,"Schema":false,"Logprobs":true,"ExactChoice":false}}
{"request":{"op":"choose","request":{"Messages":[{"role":"user","content":"b"}],"Prefill":"","Sampling":null,"TokensMax":0,"Stop":null,"Schema":null,"Grammar":"","Logprobs":false,"TopLogprobs":0,"Choose":null},"options":[{"text":"yes"}]},"choice":{"index":0,"text":"yes","method":"scripted","abstained":false,"tie":false,"margin":null,"outside_mass":0,"options":[{"text":"yes","logprob":0,"probability":1,"tokens":0}],"evaluated_tokens":8,"cached_tokens":0,"wall_ms":1}}
`
	replayer, err := backend.Replay(strings.NewReader(old))
	require.NoError(t, err)
	c, err := replayer.ChooseFromOptions(t.Context(), user("b"), backend.Options("yes"))
	require.NoError(t, err)
	assert.Equal(t, "yes", c.Text)
	assert.Equal(t, backend.Usage{PromptTokens: 8, EvaluatedTokens: 8}, c.Usage())
	assert.True(t, math.IsInf(c.Margin, 1), "%v", c.Margin)
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
	var file, log bytes.Buffer
	recorder, err := backend.Record(costly(), &file)
	require.NoError(t, err)
	h := backend.WithHistory(backend.WithLog(recorder, backend.LogConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	for range 2 {
		_, err = h.ChooseFromOptions(t.Context(), user("well?"), backend.Options("yes", "no"))
		require.NoError(t, err)
	}
	last, _ := h.Last()
	assert.True(t, last.Usage.Told)
	assert.Equal(t, 14, h.Usage().CompletionTokens)
	assert.Equal(t, 6, h.Usage().CachedTokens)
	assert.Contains(t, log.String(), "completion_tokens=7")

	replayer, err := backend.Replay(&file)
	require.NoError(t, err)
	c, err := replayer.ChooseFromOptions(t.Context(), user("well?"), backend.Options("yes", "no"))
	require.NoError(t, err)
	assert.Equal(t, last.Usage, c.Usage())
}
