package session

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"agent/command"
)

// ApproveMode says what happens before a consequential call: one that writes,
// runs code or reaches out.
type ApproveMode string

// Approval modes.
const (
	ApproveAsk   ApproveMode = "ask"   // the Approver decides each call
	ApproveAuto  ApproveMode = "auto"  // allowed, inside the sandbox and the work dir
	ApproveNever ApproveMode = "never" // refused
)

func (m ApproveMode) check() error {
	switch m {
	case ApproveAsk, ApproveAuto, ApproveNever:
		return nil
	}
	return fmt.Errorf("unknown approval mode %q: known are ask, auto, never", m)
}

// Decision is what an [Approver] says. The model is shown the Reason of a
// refusal.
type Decision struct {
	Allow  bool
	Reason string
}

// Approver decides whether a consequential call may run. An error ends the
// run; it should be the context's when the context ended.
type Approver func(ctx context.Context, call command.Call, spec command.Spec) (Decision, error)

// refusalsMax refused calls in a row end the run: the model wants only what
// it may not do.
const refusalsMax = 3

// approve decides about one call and tells the decision.
func (s *Session) approve(ctx context.Context, call *command.Call, spec command.Spec) (Decision, error) {
	if !spec.Effect.Consequential() {
		return Decision{Allow: true}, nil
	}
	d, err := s.decide(ctx, call, spec)
	if err != nil {
		return d, fmt.Errorf("approve %s: %w", call.Command, err)
	}
	s.emit(&Approval{Step: s.steps, Command: call.Command, Mode: string(s.opts.Approve), Allowed: d.Allow, Reason: d.Reason})
	return d, nil
}

func (s *Session) decide(ctx context.Context, call *command.Call, spec command.Spec) (Decision, error) {
	switch {
	case s.opts.Approve == ApproveAuto:
		return Decision{Allow: true}, nil
	case s.opts.Approve == ApproveNever:
		return Decision{Reason: s.refusal("mode_never", spec.Effect)}, nil
	case s.opts.Approver == nil:
		return Decision{Reason: s.refusal("no_one", spec.Effect)}, nil
	}
	d, err := s.opts.Approver(ctx, *call, spec)
	if err == nil && !d.Allow && d.Reason == "" {
		d.Reason = s.refusal("person", spec.Effect)
	}
	return d, err
}

// refusal words why a kind of effect is refused.
func (s *Session) refusal(why string, effect command.Effect) string {
	name := "effect_other"
	switch effect {
	case command.EffectWrite, command.EffectExecute, command.EffectNetwork:
		name = "effect_" + effect.String()
	}
	return s.words.render(why, s.words.render(name, nil))
}

// refused tells the model that a call may not run, and ends the run when it
// wants nothing else.
func (s *Session) refused(call *command.Call, reason string) reply {
	s.refusals++
	if s.refusals >= refusalsMax {
		return reply{stop: StopRefused}
	}
	text := s.words.render("refused.tmpl", refusedData{
		Command: call.Command, Reason: reason, Names: s.allowedNames(call.Command),
	})
	return reply{text: text, short: text, failed: true, next: startRefused}
}

// allowedNames are the commands that are worth trying after one was refused.
func (s *Session) allowedNames(refused string) []string {
	var names []string
	for _, spec := range s.opts.Registry.Specs() {
		if spec.Name != refused && !s.hopeless(spec) {
			names = append(names, spec.Name)
		}
	}
	return names
}

// hopeless reports a command that is never allowed in this run.
func (s *Session) hopeless(spec command.Spec) bool {
	return s.opts.Approve == ApproveNever && spec.Effect.Consequential()
}

// offered are the commands that the model may choose from. Where it chooses
// among names, those that are never allowed are not among them; a model that
// writes what it wants is told the reason when it wants one.
func (s *Session) offered() []command.Spec {
	specs := s.opts.Registry.Specs()
	if s.mode == modeSlots {
		specs = slices.DeleteFunc(specs, s.hopeless)
	}
	return specs
}

// withheld names the commands that are not offered.
func (s *Session) withheld() []string {
	var names []string
	for _, spec := range s.opts.Registry.Specs() {
		if s.mode == modeSlots && s.hopeless(spec) {
			names = append(names, spec.Name)
		}
	}
	return names
}

// mustLook reports that the next turn has to read a file: one that the task
// names, in a run that can only read. A small model would make its contents up.
func (s *Session) mustLook() bool {
	return len(s.withheld()) > 0 && !runsCode(s.offered()) && s.nextStart() == startFirst && len(s.snap.named(s.task)) > 0
}

func runsCode(specs []command.Spec) bool {
	return slices.ContainsFunc(specs, func(c command.Spec) bool { return c.Effect == command.EffectExecute })
}

// readers are the commands that read a file.
func readers(specs []command.Spec) []command.Spec {
	return slices.DeleteFunc(slices.Clone(specs), func(c command.Spec) bool {
		return c.Effect != command.EffectRead || !slices.ContainsFunc(c.Slots, func(slot command.Slot) bool { return slot.Kind == command.SlotFile })
	})
}

// isRefusal finds a refusal by a command's own sandbox, without knowing its
// type.
func isRefusal(err error) bool {
	var r interface{ Refused() bool }
	return errors.As(err, &r) && r.Refused()
}
