package backend_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
	"agent/backend/backendtest"
)

const longReply = "one, two, three, four, five, six, seven, eight, nine, ten, élan, 漢字, 👩‍👩‍👧, and so on without an end in sight"

func talkative() *backend.Scripted {
	return backend.NewScripted(backend.ScriptedConfig{
		Reply: func(context.Context, *backend.Request) (string, error) { return longReply, nil },
		Choose: func(_ context.Context, _ *backend.Request, options []backend.Option) (*backend.Choice, error) {
			return backend.ChooseOption("scripted", options[0].Text, options)
		},
		DeltaDelay: 100 * time.Microsecond,
	})
}

func TestScriptedConforms(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.LanguageBackend { return talkative() },
		backendtest.Options{Deterministic: true})
}

func TestRandomConforms(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.LanguageBackend { return backend.NewRandom(backend.ScriptedConfig{}, 7) },
		backendtest.Options{})
}

func TestMiddlewareConforms(t *testing.T) {
	logger := slog.New(slog.NewTextHandler(&bytes.Buffer{}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	backendtest.Run(t, func(*testing.T) backend.LanguageBackend {
		return backend.WithLog(backend.WithHistory(talkative()), backend.LogConfig{Logger: logger, Text: true})
	}, backendtest.Options{Deterministic: true})
}

func user(text string) *backend.Request {
	return &backend.Request{Messages: []backend.Message{{Role: backend.RoleUser, Content: text}}}
}

func TestScriptedInOrder(t *testing.T) {
	ctx := t.Context()
	b := backend.NewScripted(backend.ScriptedConfig{Replies: []string{"first", "second"}, Choices: []string{"no"}})
	for _, want := range []string{"first", "second"} {
		got, _, err := backend.Collect(b.ChatCompletion(ctx, user("x")))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	_, _, err := backend.Collect(b.ChatCompletion(ctx, user("x")))
	assert.ErrorIs(t, err, backend.ErrScriptEnded)
	assert.ErrorContains(t, err, "reply 3 was asked for, 2 are written")

	_, err = b.ChooseFromOptions(ctx, user("x"), backend.Options("now", "later"))
	assert.ErrorContains(t, err, `the nearest is "now"`)
	c, err := b.ChooseFromOptions(ctx, user("x"), backend.Options("yes", "no"))
	require.NoError(t, err)
	assert.Equal(t, 1, c.Index)
	_, err = b.ChooseFromOptions(ctx, user("x"), backend.Options("yes", "no"))
	assert.ErrorIs(t, err, backend.ErrScriptEnded)
}

func TestScriptedPrefillIsNotRepeated(t *testing.T) {
	b := backend.NewScripted(backend.ScriptedConfig{Replies: []string{"note: think first", "think first"}})
	req := user("x")
	req.Prefill = "note:"
	for _, want := range []string{" think first", "think first"} {
		got, _, err := backend.Collect(b.ChatCompletion(t.Context(), req))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestScriptedFillsTheContext(t *testing.T) {
	b := backend.NewScripted(backend.ScriptedConfig{ContextLength: 12, Replies: []string{longReply}})
	text, last, err := backend.Collect(b.ChatCompletion(t.Context(), user("hello")))
	require.NoError(t, err)
	assert.Equal(t, backend.FinishContext, last.Finish)
	assert.Equal(t, 12, last.Usage.PromptTokens+last.Usage.CompletionTokens)
	assert.True(t, strings.HasPrefix(longReply, text))
}

func TestRandomIsSeeded(t *testing.T) {
	run := func(seed uint64) (out []string) {
		b := backend.NewRandom(backend.ScriptedConfig{}, seed)
		for range 5 {
			text, _, err := backend.Collect(b.ChatCompletion(t.Context(), user("x")))
			require.NoError(t, err)
			c, err := b.ChooseFromOptions(t.Context(), user("x"), backend.Options("a", "b", "c", "d"))
			require.NoError(t, err)
			out = append(out, text, c.Text)
		}
		return out
	}
	assert.Equal(t, run(1), run(1))
	assert.NotEqual(t, run(1), run(2))
}
