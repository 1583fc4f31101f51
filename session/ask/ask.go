// Package ask puts plain questions about a task to a model. They are answered by
// scoring: how much likelier yes is than no. Nothing is generated.
//
// Ask what the task *wants* ("does the task ask for a file to be created?"):
// small models know that, while their verdicts on finished work are worth
// nothing (docs/dev/experiments.md). Give each [Question] the threshold that
// was measured for it, and put the conversation up to the task before it:
//
//	q := ask.Question{Text: "Does the task ask for a file to be created?", Threshold: 1.5}
//	answer, err := q.Ask(ctx, speaker.choose, messages)
//
// A question is the end of the last message, so that it costs its own tokens:
// the model has read what stands before it, or reads it for the turn that
// follows.
package ask

import (
	"context"
	"embed"
	"fmt"
	"math"
	"slices"

	"agent/backend"
	"agent/internal/words"
)

//go:embed prompts
var prompts embed.FS

// Question is one that yes or no answers.
type Question struct {
	Text      string
	Threshold float64 // nats by which yes must be likelier than no to count
}

// Answer is what a model made of a question.
type Answer struct {
	Margin float64 // log p(yes) - log p(no), in nats
	Yes    bool    // the margin is above the question's threshold
}

// UnscoredError is a choice without probabilities: the backend can't score.
type UnscoredError struct{ Method string }

func (e *UnscoredError) Error() string {
	return fmt.Sprintf("ask: a choice by %q has no probabilities", e.Method)
}

// Choose scores options as the reply to a request.
type Choose func(ctx context.Context, req *backend.Request, options []string) (*backend.Choice, error)

// Ask puts the question at the end of a conversation. It needs a backend with
// exact choices ([backend.Capabilities]); without probabilities it fails.
func (q Question) Ask(ctx context.Context, choose Choose, msgs []backend.Message) (Answer, error) {
	texts := words.Open(prompts)
	req := &backend.Request{Messages: After(msgs, texts.Say("question", q.Text))}
	choice, err := choose(ctx, req, []string{texts.Say("yes", nil), texts.Say("no", nil)})
	if err != nil {
		return Answer{}, err
	}
	if len(choice.Options) != 2 {
		return Answer{}, fmt.Errorf("ask: %d options came back scored, not yes and no",
			len(choice.Options))
	}
	margin := choice.Options[0].Logprob - choice.Options[1].Logprob
	if math.IsNaN(margin) {
		return Answer{}, &UnscoredError{choice.Method}
	}
	return Answer{Margin: margin, Yes: margin > q.Threshold}, nil
}

// After is a conversation with a question as the end of what the user says.
func After(msgs []backend.Message, question string) []backend.Message {
	out := slices.Clone(msgs)
	if last := len(out) - 1; last >= 0 && out[last].Role == backend.RoleUser {
		out[last].Content += "\n\n" + question
		return out
	}
	return append(out, backend.Message{Role: backend.RoleUser, Content: question})
}
