package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"agent/command"
	"agent/session/journal"
	"agent/session/policy"
	"agent/session/prose"
	"agent/session/redact"
	"agent/session/report"
	"agent/session/workdir"
)

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

// gate decides which calls may run.
type gate struct {
	*conversation
	opts  *Options
	calls *calls
}

// asked is a call about which is decided.
type asked struct {
	cmd  command.Command
	spec command.Spec // its effect is that of the call
	call *command.Call
}

// approve decides about one call. Deciding takes time: what was allowed holds
// for what was shown, so what changed meanwhile is decided about again, and a
// call whose names lead elsewhere now is refused.
func (g *gate) approve(ctx context.Context, a asked) (Decision, error) {
	if g.opts.Approver == nil && g.opts.Overseer == nil || !a.spec.Effect.Consequential() && len(g.opts.Rules) == 0 {
		return g.decideOnce(ctx, a)
	}
	for range redecidedMax {
		before := g.look(ctx, a)
		d, err := g.decideOnce(ctx, a)
		if err != nil || !d.Allow {
			return d, err
		}
		now := g.look(ctx, a)
		if now == before {
			return d, nil
		}
		if now.places != before.places {
			return g.stale(a, "moved"), nil
		}
		g.warn(fmt.Sprintf("what %s works on changed while it was decided about: it is decided again", a.call.Command))
	}
	return g.stale(a, "changing"), nil
}

// stale refuses a call that was allowed for what is no longer so.
func (g *gate) stale(a asked, why string) Decision {
	d := Decision{Reason: g.words.render(why, nil)}
	g.tellDecision(a, decided{Decision: d, by: ByMode})
	return d
}

// decideOnce decides about one call: first the rules and the mode, then, for
// what is consequential, the overseer. Each decision is told.
func (g *gate) decideOnce(ctx context.Context, a asked) (Decision, error) {
	d, err := g.decide(ctx, a)
	if err != nil {
		return d.Decision, fmt.Errorf("approve %s: %w", a.call.Command, err)
	}
	if d.by != "" {
		g.tellDecision(a, d)
	}
	g.hideFiles(d)
	if !d.Allow || !a.spec.Effect.Consequential() || g.opts.Overseer == nil {
		return d.Decision, nil
	}
	if d, err = g.oversee(ctx, g.proposal(ctx, a)); err != nil {
		return d.Decision, err
	}
	g.tellDecision(a, d)
	return d.Decision, nil
}

// hideFiles tells the command which files it must not show beside others. Those
// that a rule asks about are shown where a person was asked, and said yes.
func (g *gate) hideFiles(d decided) {
	if len(g.opts.Rules) == 0 {
		return
	}
	yes := d.Allow && d.by == ByPerson && d.rule != ""
	hides := func(name, path string) (policy.Rule, bool) {
		rule, found := g.opts.Rules.Withholds(name, path)
		return rule, found && (rule.Do == policy.Deny || !yes)
	}
	g.opts.Env.Withheld = func(name, path string) bool {
		_, hidden := hides(name, path)
		return hidden
	}
	g.opts.Env.KeptBack = func(name, path string) bool {
		rule, hidden := hides(name, path)
		return hidden && rule.Path != ""
	}
}

func (g *gate) tellDecision(a asked, d decided) {
	g.book.emit(&Approval{
		Step: g.clock.steps, Command: a.call.Command, Mode: string(g.opts.Approve), Allowed: d.Allow, Reason: d.Reason, By: d.by, Rule: d.rule,
	})
}

// decide asks the policy, and the Approver where that says so.
func (g *gate) decide(ctx context.Context, a asked) (decided, error) {
	do, rule := g.opts.policy().Decide(a.call, a.spec, g.opts.Env.WorkDir, g.calls.mayHaveRun(a.cmd, a.call))
	d := decided{Decision: Decision{Allow: do == policy.Allow}, by: ByMode}
	if rule != (policy.Rule{}) {
		d.by, d.rule = ByRule, rule.String()
	}
	switch {
	case do == policy.Ask:
		return g.askPerson(ctx, a, d.rule)
	case do == policy.Deny && d.by == ByRule:
		d.Reason = g.words.render("rule", rule)
	case do == policy.Deny:
		d.Reason = g.refusal("mode_never", a)
	case d.by == ByMode && !a.spec.Effect.Consequential():
		d.by = "" // nothing was decided
	}
	return d, nil
}

// askPerson lets the Approver decide. Where nobody is there, the answer is no.
func (g *gate) askPerson(ctx context.Context, a asked, rule string) (decided, error) {
	if g.opts.Approver == nil {
		return decided{Decision{Reason: g.refusal("no_one", a)}, ByMode, rule}, nil
	}
	d, err := g.opts.Approver(ctx, g.proposal(ctx, a))
	if err == nil && !d.Allow && d.Reason == "" {
		d.Reason = g.refusal("person", a)
	}
	return decided{d, ByPerson, rule}, err
}

// refusal words why a kind of effect is refused.
func (g *gate) refusal(why string, a asked) string {
	return g.words.render(why, g.words.effect(a.spec.Effect))
}

// oversee asks the overseer about a call. Only the end of the caller's context
// is an error; whatever else goes wrong is a rejection.
func (g *gate) oversee(ctx context.Context, p *Proposal) (decided, error) {
	v, err := g.opts.Overseer(ctx, p)
	if ctx.Err() != nil {
		return decided{by: ByOverseer}, ctx.Err()
	}
	g.budget.usage.AddCall(&v.Usage)
	d := decided{Decision: Decision{Allow: v.Approve && err == nil, Reason: v.Reason}, by: ByOverseer}
	switch {
	case err != nil:
		g.warn(fmt.Sprintf("the overseer could not decide about %s: %v", p.Call.Command, err))
		d.Reason = g.words.render("overseer_failed", nil)
	case !d.Allow && strings.TrimSpace(d.Reason) == "":
		d.Reason = g.words.render("overseer", nil)
	}
	d.Reason = prose.OneLine(d.Reason, taskLineRunes)
	return d, nil
}

// proposal is a call for those who decide about it.
func (g *gate) proposal(ctx context.Context, a asked) *Proposal {
	shown := *a.call
	shown.Summary, shown.Content = g.scrub.Text(shown.Summary), redact.Copy(g.scrub, shown.Content)
	return &Proposal{
		Task: g.scrub.Text(g.task), WorkDir: g.opts.Env.WorkDir, Step: g.clock.steps, Call: shown, Spec: a.spec,
		Preview: g.scrub.Text(g.preview(ctx, a)), Done: g.doneSoFar(), MayHaveRun: g.calls.mayHaveRun(a.cmd, a.call),
	}
}

// preview shows what a call would do: what the command itself says, else its
// code where there is nothing else, else its fields.
func (g *gate) preview(ctx context.Context, a asked) string {
	if p, ok := a.cmd.(command.Previewer); ok {
		if text, err := p.Preview(ctx, g.opts.Env, a.call); err == nil && strings.TrimSpace(text) != "" {
			return text
		}
	}
	if code := codeOf(a.cmd.Spec(), a.call); code != "" && len(a.call.Content) == 1 && len(a.call.Content[0]) == 1 {
		return code
	}
	return report.Fields(a.call.Content)
}

// refusalsMax refused calls in a row end the run: the model wants only what
// it may not do.
const refusalsMax = 3

// refused tells the model that a call may not run, and ends the run when it
// wants nothing else.
func (s *Session) refused(call *command.Call, d Decision) reply {
	s.refusals++
	if s.refusals >= refusalsMax || d.Quit {
		return reply{stop: StopRefused}
	}
	text := s.words.render("refused.tmpl", refusedData{
		Command: call.Command, Reason: d.Reason, Names: s.opts.allowedNames(call.Command),
	})
	return reply{text: text, short: text, failed: true, next: journal.PhaseRefused}
}

// tellWithheld says what is not offered, and why.
func (s *Session) tellWithheld() {
	names := s.opts.withheld()
	if len(names) == 0 {
		return
	}
	why := "not offered, since the approval rules forbid it or nobody is there to ask: "
	if s.opts.Approve == ApproveNever {
		why = "not offered, since nothing that writes, runs code or reaches out is allowed in this run: "
	}
	s.book.warn(why + strings.Join(names, ", "))
}

// isRefusal finds a refusal by a command's own sandbox, without knowing its
// type.
func isRefusal(err error) bool {
	var r interface{ Refused() bool }
	return errors.As(err, &r) && r.Refused()
}

// redecidedMax is how often one call is decided about, when what it works on
// changes meanwhile.
const redecidedMax = 3

// seen is what a decision about a call stands on.
type seen struct {
	places string            // where the names in the call lead
	sum    [sha256.Size]byte // of what it would do, and of what lies in those places
}

// look takes what a call would do, and what it would do it to.
func (g *gate) look(ctx context.Context, a asked) seen {
	dir := g.opts.Env.WorkDir
	targets := command.TargetsOf(a.spec, a.call, dir)
	base, err := filepath.EvalSymlinks(dir)
	out := seen{places: fmt.Sprint(base, err, targets)}
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", g.preview(ctx, a))
	root, err := os.OpenRoot(dir)
	if err != nil {
		fmt.Fprintln(h, err)
		return out
	}
	defer root.Close()
	for _, p := range targets.Paths {
		info, err := root.Stat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			fmt.Fprintf(h, "%q\n", p)
		case err != nil:
			fmt.Fprintf(h, "%q %v\n", p, err)
		case info.Mode().IsRegular():
			fmt.Fprintf(h, "%q %x\n", p, workdir.Sum(root, p, info))
		default:
			fmt.Fprintf(h, "%q %v\n", p, info.Mode())
		}
	}
	h.Sum(out.sum[:0])
	return out
}
