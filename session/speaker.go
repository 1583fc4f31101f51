package session

import (
	"context"
	"errors"
	"strings"

	"agent/backend"
	"agent/session/prose"
	"agent/session/redact"
)

// errTokensSpent ends a run whose token budget is used up.
var errTokensSpent = errors.New("the token budget is spent")

// BackendError is a failure of the model or of what serves it.
type BackendError struct{ Err error }

func (e *BackendError) Error() string { return "model: " + e.Err.Error() }
func (e *BackendError) Unwrap() error { return e.Err }

// Hint passes on the advice of the backend's own error.
func (e *BackendError) Hint() string { return hintOf(e.Err) }

// hintOf is the advice of an error, "" for none.
func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// backendError tells a failure of the model from the end of the caller's
// context.
func backendError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &BackendError{err}
}

// speaker asks a model. What that costs goes to the budget, and what is told of
// it holds no secret.
type speaker struct {
	backend  backend.LanguageBackend
	caps     backend.Capabilities
	words    prompts
	scrub    redact.Scrubber
	budget   *budget
	limits   Limits
	sampling *backend.Sampling // over the backend's own
	warn     func(string)
	stream   func(Delta) // told the pieces of a turn; nil: nobody watches
}

// complete runs one completion to its end. watch, unless nil, is told the text
// as it comes.
func (sp *speaker) complete(ctx context.Context, req *backend.Request, watch func(Delta),
) (string, backend.FinishReason, error) {
	var text strings.Builder
	var finish backend.FinishReason
	told := redact.NewStream(sp.scrub, req.Prefill, func(text string, tokens int) {
		if watch != nil {
			watch(Delta{Text: text, Tokens: tokens})
		}
	})
	defer told.End()
	for delta, err := range sp.backend.ChatCompletion(ctx, req) {
		if err != nil {
			return text.String(), finish, backendError(ctx, err)
		}
		text.WriteString(delta.Text)
		told.Add(delta.Text, delta.Count)
		sp.budget.usage.AddCall(delta.Usage)
		finish = delta.Finish
	}
	return text.String(), finish, nil
}

// ask puts a question to the model, beside the conversation.
func (sp *speaker) ask(ctx context.Context, system, question string, tokensMax int,
	until func(string) bool,
) (string, error) {
	tokensMax, err := sp.budget.allow(tokensMax)
	if err != nil {
		return "", err
	}
	req := &backend.Request{Sampling: sp.sampling, TokensMax: tokensMax, Until: until}
	if system != "" {
		req.Messages = append(req.Messages, backend.Message{Role: backend.RoleSystem, Content: system})
	}
	req.Messages = append(req.Messages, backend.Message{Role: backend.RoleUser, Content: question})
	text, _, err := sp.complete(ctx, req, nil)
	return strings.TrimSpace(text), err
}

// choose lets the model pick one of several texts.
func (sp *speaker) choose(ctx context.Context, req *backend.Request, options []string,
) (*backend.Choice, error) {
	return sp.chooseOption(ctx, req, backend.Options(options...))
}

// chooseOption is choose with the backend's own options.
func (sp *speaker) chooseOption(ctx context.Context, req *backend.Request, options []backend.Option,
) (*backend.Choice, error) {
	if _, err := sp.budget.allow(1); err != nil {
		return nil, err
	}
	choice, err := sp.backend.ChooseFromOptions(ctx, req, options)
	if err != nil {
		return nil, backendError(ctx, err)
	}
	cost := choice.Usage()
	sp.budget.usage.AddCall(&cost)
	return choice, nil
}

// delta tells a piece of the turn to those who watch.
func (sp *speaker) delta(d Delta) {
	if sp.stream != nil && d.Text != "" {
		sp.stream(d)
	}
}

// count counts plain text. A backend that can't count gives no reason to stop
// here: what is sent is counted again by the backend itself.
func (sp *speaker) count(ctx context.Context, text string) int {
	if c, ok := backend.As[backend.Counter](sp.backend); ok {
		if n, err := c.CountText(ctx, text); err == nil {
			return n.Tokens
		}
	}
	n, err := sp.backend.CountTokens(ctx, []backend.Message{{Role: backend.RoleUser, Content: text}})
	if err != nil {
		return len(text)/3 + 1
	}
	return n
}

// promptLimit is the most tokens that a prompt may have before it is compacted:
// what the context leaves beside a reply.
func (sp *speaker) promptLimit() int {
	length := sp.backend.ContextLength()
	limit := length - min(sp.limits.FieldTokensMax+sp.limits.NoteTokensMax+256, length*2/5)
	if sp.limits.HistoryTokensMax > 0 {
		return min(limit, sp.limits.HistoryTokensMax)
	}
	return min(limit, length*4/5)
}

// shorten cuts the middle out of text until it has at most so many tokens.
func (sp *speaker) shorten(ctx context.Context, text string, tokensMax int) (string, bool) {
	return prose.Shorten(text, tokensMax, func(t string) int { return sp.count(ctx, t) }, sp.leftOut)
}

// leftOut words what was cut out of a text.
func (sp *speaker) leftOut(lines, chars int) string {
	return sp.words.render("left_out.tmpl", map[string]int{"Lines": lines, "Chars": chars})
}
