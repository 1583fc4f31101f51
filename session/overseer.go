package session

import (
	"context"
	"fmt"

	"agent/backend"
	"agent/session/prose"
)

// Verdict is what an [Overseer] says of a call. The model is shown the Reason
// of a rejection.
type Verdict struct {
	Approve bool
	Reason  string
	// Usage is what the verdict cost. It counts against the run's budget.
	Usage backend.Usage
}

// Overseer has a second look at a consequential call that was let through. Several
// sessions may ask it at the same time. An error is a rejection.
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

// NewOverseer makes an overseer of a model, the one that works or better another:
// it is shown the task, what was done and what the call would do, and says yes or
// why not. Each part of what is long needs its yes; what is too long is rejected.
func NewOverseer(b backend.LanguageBackend) (Overseer, error) {
	words, err := newPrompts()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, p *Proposal) (Verdict, error) {
		sp := &speaker{backend: b, caps: backend.CapabilitiesOf(b), words: words, budget: &budget{}}
		v, err := sp.oversee(ctx, p)
		v.Usage = sp.budget.usage.OfBackend()
		return v, err
	}, nil
}

// oversee judges a call part by part, until one is rejected.
func (sp *speaker) oversee(ctx context.Context, p *Proposal) (Verdict, error) {
	parts := prose.Overlapping([]rune(p.Preview), overseerPartRunes, overseerOverlapRunes)
	if len(parts) > overseerPartsMax {
		most := overseerPartsMax * (overseerPartRunes - overseerOverlapRunes)
		return Verdict{Reason: sp.words.render("overseer_too_long", most)}, nil
	}
	for i, part := range parts {
		o, err := sp.judge(ctx, "overseer", overseerData{
			Task: p.Task, Done: p.Done, Command: p.Call.Command,
			Summary: prose.OneLine(p.Call.Summary, taskLineRunes),
			Effect:  sp.words.effect(p.Spec.Effect), Block: prose.Fenced(part), Part: i + 1,
			Parts: len(parts),
		})
		if err == nil && o.abstained {
			err = fmt.Errorf("overseer: %s chose neither yes nor no", sp.backend.ModelID())
		}
		if err != nil || !o.yes {
			return Verdict{Reason: o.reason}, err
		}
	}
	return Verdict{Approve: true}, nil
}

type overseerData struct {
	Task, Done, Command, Summary, Effect, Block string
	Part, Parts                                 int
}

// opinion is a verdict of a model.
type opinion struct {
	yes       bool
	abstained bool
	reason    string // of a no
}

// judge asks NAME.tmpl for a choice between yes and no, and after a no for a
// sentence that says why.
func (sp *speaker) judge(ctx context.Context, name string, data any) (opinion, error) {
	yes, no := sp.words.render("yes", nil), sp.words.render("no", nil)
	msgs := []backend.Message{
		{Role: backend.RoleSystem, Content: sp.words.render(name+"_system.tmpl", nil)},
		{Role: backend.RoleUser, Content: sp.words.render(name+".tmpl", data)},
	}
	choice, err := sp.choose(ctx, &backend.Request{Messages: msgs}, []string{yes, no})
	if err != nil {
		return opinion{}, err
	}
	o := opinion{yes: choice.Index == 0, abstained: choice.Index < 0}
	if choice.Index == 1 {
		o.reason, err = sp.why(ctx, msgs, no)
	}
	return o, err
}

// why lets the model go on after its no. Where it can't, it is asked again.
func (sp *speaker) why(ctx context.Context, msgs []backend.Message, no string) (string, error) {
	req := &backend.Request{Messages: msgs, TokensMax: reasonTokensMax,
		Sampling: &backend.Sampling{Temperature: new(float64)}}
	if sp.caps.Prefill {
		req.Prefill, req.Stop = no+sp.words.render("because", nil), []string{"\n"}
	} else { // and no stop: many a service begins with an empty line
		req.Messages = append(msgs[:len(msgs):len(msgs)],
			backend.Message{Role: backend.RoleAssistant, Content: no},
			backend.Message{Role: backend.RoleUser, Content: sp.words.render("why", nil)})
	}
	text, _, err := sp.complete(ctx, req, nil)
	return prose.FirstSentence(text), err
}
