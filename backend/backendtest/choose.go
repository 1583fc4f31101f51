package backendtest

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
)

func (s *suite) choose(t *testing.T, b backend.LanguageBackend) {
	sets := map[string][]string{
		"one":             {"yes"},
		"two":             {"yes", "no"},
		"prefixes":        {"read", "read_file", "read_file_lines"},
		"spaces":          {"a b", " a b", "a  b "},
		"newlines":        {"first\nsecond", "first", "\n"},
		"emoji":           {"👍", "👎", "👩‍👩‍👧"},
		"numbers":         {"3", "1", "2"},
		"quotes and JSON": {`"x"`, `{"a":1}`, "`y`"},
	}
	for name, texts := range sets {
		t.Run(name, func(t *testing.T) { s.chooseOne(t, b, texts) })
	}
}

func (s *suite) chooseOne(t *testing.T, b backend.LanguageBackend, texts []string) *backend.Choice {
	t.Helper()
	req := s.request()
	req.Messages[1].Content = "Pick one of these: " + strings.Join(texts, " | ")
	c, err := b.ChooseFromOptions(s.ctx(t), req, backend.Options(texts...))
	require.NoError(t, err)
	checkChoice(t, c, texts)
	return c
}

func checkChoice(t *testing.T, c *backend.Choice, texts []string) {
	t.Helper()
	assert.NotEmpty(t, c.Method)
	require.Len(t, c.Options, len(texts))
	sum := 0.0
	for i, o := range c.Options {
		assert.Equal(t, texts[i], o.Text)
		sum += o.Probability
	}
	if !math.IsNaN(sum) {
		assert.InDelta(t, 1, sum, 1e-3, "probabilities don't add up to 1")
	}
	if c.Abstained {
		assert.Equal(t, -1, c.Index)
		assert.NotEmpty(t, c.Reason, "abstained for no reason")
		return
	}
	require.GreaterOrEqual(t, c.Index, 0)
	require.Less(t, c.Index, len(texts))
	assert.Equal(t, texts[c.Index], c.Text)
	assert.False(t, c.Margin < 0, "margin %v", c.Margin)
	for _, o := range c.Options {
		if !math.IsNaN(sum) && !c.Tie {
			assert.LessOrEqual(t, o.Probability, c.Options[c.Index].Probability,
				"the winner is not the most probable")
		}
	}
	_, err := json.Marshal(c)
	assert.NoError(t, err)
}

func (s *suite) chooseRefusals(t *testing.T, b backend.LanguageBackend) {
	tooMany := make([]backend.Option, backend.OptionsMax+1)
	for i := range tooMany {
		tooMany[i].Text = fmt.Sprint("option ", i)
	}
	for name, options := range map[string][]backend.Option{
		"none":      nil,
		"duplicate": backend.Options("a", "b", "a"),
		"empty":     backend.Options("a", ""),
		"too many":  tooMany,
	} {
		c, err := b.ChooseFromOptions(s.ctx(t), s.request(), options)
		assert.Error(t, err, name)
		assert.Nil(t, c, name)
	}
	_, err := b.ChooseFromOptions(s.ctx(t), &backend.Request{}, backend.Options("a", "b"))
	assert.Error(t, err, "no messages")
}

func (s *suite) chooseMany(t *testing.T, b backend.LanguageBackend) {
	texts := make([]string, s.OptionsMany)
	for i := range texts {
		texts[i] = fmt.Sprintf("item number %d", i+1)
	}
	s.chooseOne(t, b, texts)
}

func (s *suite) chooseCancel(t *testing.T, b backend.LanguageBackend) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	_, err := b.ChooseFromOptions(ctx, s.request(), backend.Options("yes", "no"))
	assert.ErrorIs(t, err, context.Canceled)
	assert.Less(t, time.Since(start), s.CancelWithin)
}
