package session

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"agent/backend"
	"agent/command"
)

// errTokensSpent ends a run whose token budget is used up.
var errTokensSpent = errors.New("the token budget is spent")

// BackendError is a failure of the model or of what serves it.
type BackendError struct{ Err error }

func (e *BackendError) Error() string { return "model: " + e.Err.Error() }
func (e *BackendError) Unwrap() error { return e.Err }

// Hint passes on the advice of the backend's own error.
func (e *BackendError) Hint() string {
	var h interface{ Hint() string }
	if errors.As(e.Err, &h) {
		return h.Hint()
	}
	return ""
}

// draft is the assistant's message while it is written: fixed text of the
// harness and text of the model by turns, in one growing reply. The backend
// computes only what is new.
type draft struct {
	s        *Session
	view     view
	msgs     []backend.Message
	sampling *backend.Sampling
	not      *command.Call // its choices are not offered again
	text     strings.Builder
	choices  []ChoiceMade

	unfinished bool   // the field filled last was cut at its limit
	end        ending // of the answer
}

// write adds text of the harness.
func (d *draft) write(text string) {
	d.text.WriteString(text)
	d.s.tellDelta(Delta{Text: text, Fixed: true})
}

// keep adds text of the model, which was told as it came.
func (d *draft) keep(text string) { d.text.WriteString(text) }

// generation is one piece of free or constrained text.
type generation struct {
	tokensMax int
	stop      []string
	grammar   string
	schema    string
	rut       rut // repetition that ends it; zero: none does
}

// ending says how a piece of text ended.
type ending int

const (
	endWhole  ending = iota // by itself, or by a stop string
	endLimit                // cut off by its limit
	endBudget               // cut off because the run may cost no more
	endRut                  // it only repeated itself any more
)

// endingOf is how a text ended that was allowed so many tokens where more were
// wanted, or as many.
func endingOf(finish backend.FinishReason, allowed, wanted int) ending {
	switch {
	case finish == backend.FinishStop || finish == "":
		return endWhole
	case allowed < wanted:
		return endBudget
	}
	return endLimit
}

// cut reports that something ended the text other than the model, a stop string
// or its own repetition.
func (e ending) cut() bool { return e == endLimit || e == endBudget }

// generate lets the model go on, and adds what it wrote.
func (d *draft) generate(ctx context.Context, g generation) (text string, end ending, err error) {
	tokensMax, err := d.s.allowance(g.tokensMax)
	if err != nil {
		return "", endLimit, err
	}
	req := &backend.Request{
		Messages: d.msgs, Prefill: d.text.String(), Sampling: d.sampling,
		TokensMax: tokensMax, Stop: g.stop, Grammar: g.grammar, Schema: []byte(g.schema),
	}
	if g.rut.times > 0 {
		req.Until = g.rut.until()
	}
	text, finish, err := d.s.completion(ctx, req, d.s.tellDelta)
	if err != nil {
		return "", endLimit, err
	}
	end = endingOf(finish, tokensMax, g.tokensMax)
	if at := g.rut.end(text); at >= 0 {
		text, end = text[:at], endRut
		d.s.warn("the model began to repeat itself, or to write something else; its text was ended there")
	}
	d.keep(text)
	return text, end, nil
}

// choose lets the model pick one of the options as the rest of the line, and
// adds it. One option is taken without asking.
func (d *draft) choose(ctx context.Context, options []string) (int, error) {
	index := 0
	options = d.s.scrub.distinct(options)
	if len(options) > 1 {
		if _, err := d.s.allowance(1); err != nil {
			return 0, err
		}
		choice, err := d.s.opts.Backend.ChooseFromOptions(ctx, &backend.Request{
			Messages: d.msgs, Prefill: d.text.String(),
			Choose: &backend.ChooseConfig{EndTexts: []string{"\n"}},
		}, backend.Options(options...))
		if err != nil {
			return 0, backendError(ctx, err)
		}
		d.s.usage.addChoice(choice)
		d.choices = append(d.choices, choiceMade(fieldName(d.text.String()), choice))
		if choice.Index < 0 || choice.Index >= len(options) {
			return 0, &BackendError{fmt.Errorf("no option chosen of %d: %s", len(options), choice.Reason)}
		}
		index = choice.Index
	}
	d.keep(options[index])
	d.s.tellDelta(Delta{Text: options[index]})
	return index, nil
}

// allowance is how many tokens may be generated now: what is wanted, within
// what the budget leaves to all that share it.
func (s *Session) allowance(wanted int) (int, error) {
	if s.opts.Limits.TokensMax <= 0 {
		return wanted, nil
	}
	spent, sharers := s.family.tell(s, s.usage.Computed()-s.usageBefore.Computed())
	left := s.opts.Limits.TokensMax - spent
	if left <= 0 {
		return 0, errTokensSpent
	}
	return min(wanted, max(left/sharers, 1)), nil
}

// completion runs one completion to its end and counts its cost. watch, unless
// nil, is told the text as it comes.
func (s *Session) completion(ctx context.Context, req *backend.Request, watch func(Delta)) (string, backend.FinishReason, error) {
	var text strings.Builder
	var finish backend.FinishReason
	if watch == nil {
		watch = func(Delta) {}
	}
	told := newStream(s.scrub, req.Prefill, watch)
	defer told.end()
	for delta, err := range s.opts.Backend.ChatCompletion(ctx, req) {
		if err != nil {
			return text.String(), finish, backendError(ctx, err)
		}
		text.WriteString(delta.Text)
		told.add(delta.Text, delta.Count)
		s.usage.addCall(delta.Usage)
		finish = delta.Finish
	}
	return text.String(), finish, nil
}

// tellDelta tells a piece of the turn to those who watch.
func (s *Session) tellDelta(d Delta) {
	if s.opts.Stream && d.Text != "" {
		d.Step = s.steps
		s.emit(&d)
	}
}

// backendError tells a failure of the model from the end of the caller's
// context.
func backendError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &BackendError{err}
}
