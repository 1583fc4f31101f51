// Package shout is a model that repeats the last message, louder.
package shout

import (
	"context"
	"iter"
	"strings"

	"agent/backend"
)

type Model struct{ Length int }

func (m *Model) ModelID() string    { return "shout" }
func (m *Model) ContextLength() int { return m.Length }

func (m *Model) CountTokens(_ context.Context, msgs []backend.Message) (n int, err error) {
	for _, msg := range msgs {
		n += 1 + len(strings.Fields(msg.Content)) // the tokens of this model are words
	}
	return n, backend.CheckMessages(msgs)
}

func (m *Model) ChatCompletion(ctx context.Context, req *backend.Request) iter.Seq2[backend.Delta, error] {
	return backend.Stream(ctx, m, req, func(yield func(string, error) bool) {
		last := req.Messages[len(req.Messages)-1].Content
		for word := range strings.SplitAfterSeq(strings.ToUpper(last), " ") {
			if !yield(word, nil) {
				return
			}
		}
	})
}

func (m *Model) ChooseFromOptions(ctx context.Context, req *backend.Request, options []backend.Option,
) (*backend.Choice, error) {
	return backend.ChooseByReply(ctx, m, req, options)
}
