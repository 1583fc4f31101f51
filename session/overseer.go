package session

import (
	"context"
	"fmt"
	"strings"

	"agent/backend"
	"agent/command"
)

// Verdict is what an [Overseer] says of a call. The model is shown the Reason
// of a rejection.
type Verdict struct {
	Approve bool
	Reason  string
	// Usage is what the verdict cost. It counts against the run's budget.
	Usage backend.Usage
}

// Overseer has a second look at a consequential call that the rules and the
// person let through. It is asked by several sessions at the same time when a
// run delegates. An error is a rejection: what can't be checked does not run.
type Overseer func(ctx context.Context, p *Proposal) (Verdict, error)

// reasonTokensMax bounds the sentence in which a model says why not.
const reasonTokensMax = 60

// What an overseeing model reads of a call: all of it, a part at a time. What is
// longer than so many parts is rejected.
const (
	overseerPartRunes    = 6000
	overseerOverlapRunes = 300 // of the part before, so that nothing is torn apart
	overseerPartsMax     = 8
)

// oversee asks the overseer about a call. Only the end of the caller's context
// is an error; whatever else goes wrong is a rejection.
func (s *Session) oversee(ctx context.Context, p *Proposal) (decided, error) {
	v, err := s.opts.Overseer(ctx, p)
	if ctx.Err() != nil {
		return decided{by: ByOverseer}, ctx.Err()
	}
	s.usage.addCall(&v.Usage)
	d := decided{Decision: Decision{Allow: v.Approve && err == nil, Reason: v.Reason}, by: ByOverseer}
	switch {
	case err != nil:
		s.warn(fmt.Sprintf("the overseer could not decide about %s: %v", p.Call.Command, err))
		d.Reason = s.words.render("overseer_failed", nil)
	case !d.Allow && strings.TrimSpace(d.Reason) == "":
		d.Reason = s.words.render("overseer", nil)
	}
	d.Reason = oneLine(d.Reason, taskLineRunes)
	return d, nil
}

// NewOverseer makes an overseer of a model: it is shown the task, what was
// done so far and what the call would do, chooses yes or no, and words why
// not. What is long it reads in parts, and each needs its yes; what is longer
// than it can read is rejected. The model may be the one that works, or better
// another.
func NewOverseer(b backend.LanguageBackend) (Overseer, error) {
	words, err := newPrompts()
	if err != nil {
		return nil, err
	}
	j := judge{backend: b, words: words}
	return j.oversee, nil
}

// oversee judges a call part by part, until one is rejected.
func (j judge) oversee(ctx context.Context, p *Proposal) (Verdict, error) {
	parts := overlapping([]rune(p.Preview), overseerPartRunes, overseerOverlapRunes)
	if len(parts) > overseerPartsMax {
		return Verdict{Reason: j.words.render("overseer_too_long", overseerPartsMax*(overseerPartRunes-overseerOverlapRunes))}, nil
	}
	var v Verdict
	for i, part := range parts {
		o, err := j.ask(ctx, "overseer", overseerData{
			Task: p.Task, Done: p.Done, Command: p.Call.Command, Summary: oneLine(p.Call.Summary, taskLineRunes),
			Effect: j.words.render("effect_"+effectName(p.Spec.Effect), nil), Block: fenced(part), Part: i + 1, Parts: len(parts),
		})
		if err == nil && o.abstained {
			err = fmt.Errorf("overseer: %s chose neither yes nor no", j.backend.ModelID())
		}
		v.Approve, v.Reason = o.yes, o.reason
		v.Usage.Add(o.usage)
		if err != nil || !v.Approve {
			return v, err
		}
	}
	return v, nil
}

// overlapping cuts a text into parts of at most size runes, each of which
// begins with the end of the one before. There is always one.
func overlapping(text []rune, size, overlap int) []string {
	var out []string
	for len(text) > size {
		out = append(out, string(text[:size]))
		text = text[size-overlap:]
	}
	return append(out, string(text))
}

type overseerData struct {
	Task, Done, Command, Summary, Effect, Block string
	Part, Parts                                 int
}

// effectName is the name of an effect for which there are words.
func effectName(e command.Effect) string {
	switch e {
	case command.EffectWrite, command.EffectExecute, command.EffectNetwork:
		return e.String()
	}
	return "other"
}

// judge asks a model for a verdict: a choice between yes and no, and only
// where it is no a short sentence that says why.
type judge struct {
	backend backend.LanguageBackend
	words   prompts
}

// opinion is what a judge said.
type opinion struct {
	yes       bool
	abstained bool
	reason    string
	usage     backend.Usage
}

// ask renders the question NAME.tmpl under the system message NAME_system.tmpl.
func (j judge) ask(ctx context.Context, name string, data any) (opinion, error) {
	yes, no := j.words.render("yes", nil), j.words.render("no", nil)
	msgs := []backend.Message{
		{Role: backend.RoleSystem, Content: j.words.render(name+"_system.tmpl", nil)},
		{Role: backend.RoleUser, Content: j.words.render(name+".tmpl", data)},
	}
	choice, err := j.backend.ChooseFromOptions(ctx, &backend.Request{Messages: msgs}, backend.Options(yes, no))
	if err != nil {
		return opinion{}, err
	}
	o := opinion{yes: choice.Index == 0, abstained: choice.Index < 0, usage: choice.Usage()}
	if choice.Index != 1 {
		return o, nil
	}
	reason, usage, err := j.why(ctx, msgs, no)
	o.reason = reason
	o.usage.Add(usage)
	return o, err
}

// why lets the model go on after its no. Where it can't, it is asked again.
func (j judge) why(ctx context.Context, msgs []backend.Message, no string) (string, backend.Usage, error) {
	because := j.words.render("because", nil)
	req := &backend.Request{Messages: msgs, TokensMax: reasonTokensMax, Stop: []string{"\n"}, Sampling: &backend.Sampling{Temperature: new(float64)}}
	if backend.CapabilitiesOf(j.backend).Prefill {
		req.Prefill = no + because
	} else {
		req.Stop = nil // many a service begins with an empty line
		req.Messages = append(msgs[:len(msgs):len(msgs)],
			backend.Message{Role: backend.RoleAssistant, Content: no},
			backend.Message{Role: backend.RoleUser, Content: j.words.render("why", nil)})
	}
	var text strings.Builder
	var usage backend.Usage
	for delta, err := range j.backend.ChatCompletion(ctx, req) {
		if err != nil {
			return "", usage, err
		}
		text.WriteString(delta.Text)
		if delta.Usage != nil {
			usage = *delta.Usage
		}
	}
	return firstSentence(text.String()), usage, nil
}

// firstSentence is the first sentence of a text, on one line.
func firstSentence(text string) string {
	text = oneLine(text, taskLineRunes)
	for i, r := range text {
		if rest := text[i:]; strings.ContainsRune(".!?", r) && (len(rest) == 1 || rest[1] == ' ') && i > 2 {
			return text[:i+1]
		}
	}
	return text
}
