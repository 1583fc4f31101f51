package ask

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
)

// model answers with fixed log-probabilities and keeps what it was asked.
type model struct {
	yes, no float64
	err     error
	asked   []backend.Message
}

func (m *model) choose(_ context.Context, req *backend.Request, options []string) (*backend.Choice, error) {
	m.asked = req.Messages
	if m.err != nil {
		return nil, m.err
	}
	return &backend.Choice{Method: "text", Options: []backend.ScoredOption{{Text: options[0], Logprob: m.yes}, {Text: options[1], Logprob: m.no}}}, nil
}

func TestAnAnswerIsYesAboveItsThreshold(t *testing.T) {
	for _, c := range []struct {
		yes, no, threshold float64
		want               Answer
	}{
		{-1, -3, 0, Answer{2, true}},
		{-1, -3, 2, Answer{2, false}},
		{-1, -3, 3, Answer{2, false}},
		{-3, -1, -2.5, Answer{-2, true}},
		{-3, -1, 0, Answer{-2, false}},
		{math.Inf(-1), -1, -5, Answer{math.Inf(-1), false}},
	} {
		got, err := Question{"Is it?", c.threshold}.Ask(t.Context(), (&model{yes: c.yes, no: c.no}).choose, nil)
		require.NoError(t, err)
		assert.Equal(t, c.want, got, c)
	}
}

func TestAQuestionIsTheEndOfWhatTheUserSays(t *testing.T) {
	system := backend.Message{Role: backend.RoleSystem, Content: "Work."}
	task := backend.Message{Role: backend.RoleUser, Content: "Task: x"}
	turn := backend.Message{Role: backend.RoleAssistant, Content: "done"}
	question := backend.Message{Role: backend.RoleUser, Content: "Is it? Reply yes or no."}
	joined := backend.Message{Role: backend.RoleUser, Content: "Task: x\n\nIs it? Reply yes or no."}
	for _, c := range []struct{ msgs, want []backend.Message }{
		{nil, []backend.Message{question}},
		{[]backend.Message{system}, []backend.Message{system, question}},
		{[]backend.Message{system, task}, []backend.Message{system, joined}},
		{[]backend.Message{system, task, turn}, []backend.Message{system, task, turn, question}},
	} {
		m, before := &model{}, append([]backend.Message{}, c.msgs...)
		_, err := Question{Text: "Is it?"}.Ask(t.Context(), m.choose, c.msgs)
		require.NoError(t, err)
		assert.Equal(t, c.want, m.asked)
		assert.Equal(t, before, append([]backend.Message{}, c.msgs...), "the conversation itself stays as it was")
	}
}

func TestWithoutProbabilitiesThereIsNoAnswer(t *testing.T) {
	_, err := Question{Text: "Is it?"}.Ask(t.Context(), (&model{yes: math.NaN()}).choose, nil)
	assert.EqualError(t, err, `ask: a choice by "text" has no probabilities`)
	broken := errors.New("no model")
	_, err = Question{Text: "Is it?"}.Ask(t.Context(), (&model{err: broken}).choose, nil)
	assert.ErrorIs(t, err, broken)
}
