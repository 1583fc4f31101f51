package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"agent/command"
)

// ApproveMode says what happens before a consequential call: one that writes,
// runs code or reaches out.
type ApproveMode string

// Approval modes.
const (
	ApproveAsk   ApproveMode = "ask"   // the Approver decides each call
	ApproveAuto  ApproveMode = "auto"  // allowed, inside the sandbox and the work dir
	ApproveNever ApproveMode = "never" // refused, whatever a rule says
)

func (m ApproveMode) check() error {
	switch m {
	case ApproveAsk, ApproveAuto, ApproveNever:
		return nil
	}
	return fmt.Errorf("unknown approval mode %q: known are ask, auto, never", m)
}

// Proposal is a call that is about to run, as those see it who decide about
// it. Values of Env.Metadata are hidden in it.
type Proposal struct {
	Task    string
	WorkDir string
	Step    int
	Call    command.Call
	Spec    command.Spec
	Preview string // what the call would do, all of it: its code, a diff of what would change, or its fields
	Done    string // the calls so far, a line each

	// MayHaveRun says that the call had begun when the run was cut off, and that
	// it is not known whether it took effect.
	MayHaveRun bool
}

// Decision is what an [Approver] says. The model is shown the Reason of a
// refusal.
type Decision struct {
	Allow  bool
	Reason string
	Quit   bool // end the run here
}

// Approver decides whether a consequential call may run. An error ends the
// run; it should be the context's when the context ended. Several sessions may
// share one, and ask it at the same time.
type Approver func(ctx context.Context, p *Proposal) (Decision, error)

// Who decided about a call, as an [Approval] tells.
const (
	ByMode     = "mode"
	ByRule     = "rule"
	ByPerson   = "person"
	ByOverseer = "overseer"
)

// decided is a decision and who made it.
type decided struct {
	Decision
	by   string
	rule string
}

// refusalsMax refused calls in a row end the run: the model wants only what
// it may not do.
const refusalsMax = 3

// decideOnce decides about one call: first the rules and the mode, then, for
// what is consequential, the overseer. Each decision is told.
func (s *Session) decideOnce(ctx context.Context, cmd command.Command, spec command.Spec, call *command.Call) (Decision, error) {
	d, err := s.decide(ctx, cmd, spec, call)
	if err != nil {
		return d.Decision, fmt.Errorf("approve %s: %w", call.Command, err)
	}
	if d.by != "" {
		s.tellDecision(call, d)
	}
	s.hideFiles(d)
	if !d.Allow || !spec.Effect.Consequential() || s.opts.Overseer == nil {
		return d.Decision, nil
	}
	if d, err = s.oversee(ctx, s.proposal(ctx, cmd, spec, call)); err != nil {
		return d.Decision, err
	}
	s.tellDecision(call, d)
	return d.Decision, nil
}

// hideFiles tells the command which files it must not show beside others. Those
// that a rule asks about are shown where a person was asked, and said yes.
func (s *Session) hideFiles(d decided) {
	if len(s.opts.Rules) == 0 {
		return
	}
	asked := d.Allow && d.by == ByPerson && d.rule != ""
	s.opts.Env.Withheld = func(name, path string) bool {
		rule, found := s.opts.Rules.withholds(name, path)
		return found && (rule.Do == RuleDeny || !asked)
	}
	s.opts.Env.KeptBack = func(name, path string) bool {
		rule, found := s.opts.Rules.withholds(name, path)
		return found && rule.Path != "" && (rule.Do == RuleDeny || !asked)
	}
}

// keepsBack reports a file of which a prompt must not show the contents, as far
// as that would be reading: a rule about its path speaks against it.
func (s *Session) keepsBack(path string) bool {
	rule, found := s.opts.Rules.withholds(command.ReaderName, path)
	return found && rule.Path != ""
}

func (s *Session) tellDecision(call *command.Call, d decided) {
	s.emit(&Approval{
		Step: s.steps, Command: call.Command, Mode: string(s.opts.Approve), Allowed: d.Allow, Reason: d.Reason, By: d.by, Rule: d.rule,
	})
}

// decide asks the rules, and where none speaks about a call the mode. A call
// that changes nothing needs no decision but that of a rule.
func (s *Session) decide(ctx context.Context, cmd command.Command, spec command.Spec, call *command.Call) (decided, error) {
	if s.opts.Approve == ApproveNever && spec.Effect.Consequential() {
		return decided{Decision: Decision{Reason: s.refusal("mode_never", spec.Effect)}, by: ByMode}, nil
	}
	rule, found := s.opts.Rules.match(call, spec, s.opts.Env.WorkDir)
	switch {
	case found && rule.Do == RuleDeny:
		return decided{Decision{Reason: s.words.render("rule", rule)}, ByRule, rule.String()}, nil
	case s.mayHaveRun(cmd, call): // nothing allows it a second time unasked
		return s.askPerson(ctx, s.proposal(ctx, cmd, spec, call), "")
	case found && rule.Do == RuleAllow:
		return decided{Decision{Allow: true}, ByRule, rule.String()}, nil
	case found:
		return s.askPerson(ctx, s.proposal(ctx, cmd, spec, call), rule.String())
	case !spec.Effect.Consequential():
		return decided{Decision: Decision{Allow: true}}, nil
	case s.opts.Approve == ApproveAuto:
		return decided{Decision: Decision{Allow: true}, by: ByMode}, nil
	}
	return s.askPerson(ctx, s.proposal(ctx, cmd, spec, call), "")
}

// askPerson lets the Approver decide. Where nobody is there, the answer is no.
func (s *Session) askPerson(ctx context.Context, p *Proposal, rule string) (decided, error) {
	effect := p.Spec.Effect
	if s.opts.Approver == nil {
		return decided{Decision{Reason: s.refusal("no_one", effect)}, ByMode, rule}, nil
	}
	d, err := s.opts.Approver(ctx, p)
	if err == nil && !d.Allow && d.Reason == "" {
		d.Reason = s.refusal("person", effect)
	}
	return decided{d, ByPerson, rule}, err
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
func (s *Session) refused(call *command.Call, d Decision) reply {
	s.refusals++
	if s.refusals >= refusalsMax || d.Quit {
		return reply{stop: StopRefused}
	}
	text := s.words.render("refused.tmpl", refusedData{
		Command: call.Command, Reason: d.Reason, Names: s.allowedNames(call.Command),
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
	if spec.Final {
		return false
	}
	consequential := spec.Effect.Consequential()
	switch {
	case s.opts.Rules.denies(spec.Name):
		return true
	case consequential && s.opts.Approve == ApproveNever:
		return true
	}
	nobody := len(s.opts.Rules) > 0 && s.opts.Approve == ApproveAsk && s.opts.Approver == nil
	return consequential && nobody && !s.opts.Rules.allows(spec.Name)
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

// tellWithheld says what is not offered, and why.
func (s *Session) tellWithheld() {
	names := s.withheld()
	if len(names) == 0 {
		return
	}
	why := "not offered, since the approval rules forbid it or nobody is there to ask: "
	if s.opts.Approve == ApproveNever {
		why = "not offered, since nothing that writes, runs code or reaches out is allowed in this run: "
	}
	s.warn(why + strings.Join(names, ", "))
}

// readOnly reports a run in which nothing can be changed, because what could
// is not allowed.
func (s *Session) readOnly() bool {
	return len(s.withheld()) > 0 && !slices.ContainsFunc(s.offered(), func(c command.Spec) bool { return c.Effect.Consequential() })
}

// mustLook reports that the next turn has to read a file: one that the task
// names, in a run that can only read. A small model would make its contents up.
func (s *Session) mustLook() bool {
	return s.has(AidLookFirst) && s.readOnly() && s.nextStart() == startFirst && len(s.snap.named(s.task)) > 0
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

// proposal is a call for those who decide about it.
func (s *Session) proposal(ctx context.Context, cmd command.Command, spec command.Spec, call *command.Call) *Proposal {
	shown := *call
	if made, ok := s.scrub.payload(callMade(s.steps, call, false, nil)).(*CallMade); ok {
		shown.Summary, shown.Content = made.Summary, made.Content
	}
	return &Proposal{
		Task: s.scrub.text(s.task), WorkDir: s.opts.Env.WorkDir, Step: s.steps, Call: shown, Spec: spec,
		Preview: s.scrub.text(s.preview(ctx, cmd, call)), Done: s.doneSoFar(), MayHaveRun: s.mayHaveRun(cmd, call),
	}
}

// preview shows what a call would do: what the command itself says, else its
// code where there is nothing else, else its fields.
func (s *Session) preview(ctx context.Context, cmd command.Command, call *command.Call) string {
	if p, ok := cmd.(command.Previewer); ok {
		if text, err := p.Preview(ctx, s.opts.Env, call); err == nil && strings.TrimSpace(text) != "" {
			return text
		}
	}
	if code := codeOf(call, s.opts.Registry); code != "" && len(call.Content) == 1 && len(call.Content[0]) == 1 {
		return code
	}
	return fieldsText(call.Content)
}

// fieldsText is the content of a call, a field a line, long ones indented.
func fieldsText(content []map[string]any) string {
	var b strings.Builder
	for _, entry := range content {
		for _, k := range slices.Sorted(maps.Keys(entry)) {
			value := fieldText(entry[k])
			if strings.Contains(value, "\n") {
				value = "\n" + strings.TrimRight(indent(value, "  "), "\n")
			}
			fmt.Fprintf(&b, "%s: %s\n", k, value)
		}
	}
	return b.String()
}
