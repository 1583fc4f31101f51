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

// Proposal is a call awaiting approval. Secrets are hidden in it.
type Proposal struct {
	Task    string
	WorkDir string
	Step    int
	Call    command.Call
	Spec    command.Spec
	Preview string // what the call would do, all of it: its code, a diff of what would change, or its fields
	Done    string // the calls so far, a line each

	// Rewrites are the files that the call would change, as far as the command can
	// say. Preview shows the same.
	Rewrites []command.Rewrite

	MayHaveRun bool // the run was cut off during this call: it may have taken effect
}

// Decision is what an [Approver] says. The model is shown why not.
type Decision struct {
	Allow  bool
	Reason string
	Quit   bool // end the run here
}

// Approver decides whether a consequential call may run. An error ends the run.
// Several sessions may ask one at the same time.
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

// job is a call at hand.
type job struct {
	cmd  command.Command
	spec command.Spec // its effect is that of the call
	call *command.Call
	key  string // callKey
}

func newJob(cmd command.Command, call *command.Call) job {
	spec := cmd.Spec()
	spec.Effect = command.EffectOf(cmd, call)
	return job{cmd, spec, call, callKey(call)}
}

func (j job) consequential() bool { return j.spec.Effect.Consequential() }

// approve decides about one call. What was allowed holds for what was shown: if
// that changed meanwhile it is decided again, if names lead elsewhere refused.
func (g *gate) approve(ctx context.Context, j job) (Decision, error) {
	if g.opts.Approver == nil && g.opts.Overseer == nil ||
		!j.consequential() && len(g.opts.Rules) == 0 {
		return g.decideOnce(ctx, j)
	}
	for range redecidedMax {
		before := g.look(ctx, j)
		d, err := g.decideOnce(ctx, j)
		if err != nil || !d.Allow {
			return d, err
		}
		now := g.look(ctx, j)
		if now == before {
			return d, nil
		}
		if now.places != before.places {
			return g.stale(j, "moved"), nil
		}
		g.warn(fmt.Sprintf("what %s works on changed while it was decided about: it is decided again",
			j.call.Command))
	}
	return g.stale(j, "changing"), nil
}

// stale refuses a call that was allowed for what is no longer so.
func (g *gate) stale(j job, why string) Decision {
	d := Decision{Reason: g.words.render(why, nil)}
	g.tellDecision(j, decided{Decision: d, by: ByMode})
	return d
}

// decideOnce asks the policy and the person, then the overseer.
func (g *gate) decideOnce(ctx context.Context, j job) (Decision, error) {
	d, err := g.decide(ctx, j)
	if err != nil {
		return d.Decision, fmt.Errorf("approve %s: %w", j.call.Command, err)
	}
	if d.by != "" {
		g.tellDecision(j, d)
	}
	g.hideFiles(d)
	if !d.Allow || !j.consequential() || g.opts.Overseer == nil {
		return d.Decision, nil
	}
	if d, err = g.oversee(ctx, g.proposal(ctx, j)); err != nil {
		return d.Decision, err
	}
	g.tellDecision(j, d)
	return d.Decision, nil
}

// hideFiles tells the command which files not to show beside others. What a rule
// asks about is shown once a person said yes.
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

func (g *gate) tellDecision(j job, d decided) {
	g.book.emit(&Approval{
		Step: g.clock.steps, Command: j.call.Command, Mode: string(g.opts.approve()), Allowed: d.Allow,
		Reason: d.Reason, By: d.by, Rule: d.rule,
	})
}

// decide asks the policy, and the Approver where that says so.
func (g *gate) decide(ctx context.Context, j job) (decided, error) {
	do, rule := g.opts.policy().Decide(j.call, j.spec, g.opts.Env.WorkDir, g.calls.mayHaveRun(j))
	d := decided{Decision: Decision{Allow: do == policy.Allow}, by: ByMode}
	if rule != (policy.Rule{}) {
		d.by, d.rule = ByRule, rule.String()
	}
	switch {
	case do == policy.Ask:
		return g.askPerson(ctx, j, d.rule)
	case do == policy.Deny && d.by == ByRule:
		d.Reason = g.words.render("rule", rule)
	case do == policy.Deny:
		d.Reason = g.refusal("mode_never", j)
	case d.by == ByMode && !j.consequential():
		d.by = "" // nothing was decided
	}
	return d, nil
}

// askPerson lets the Approver decide. Where nobody is there, the answer is no.
func (g *gate) askPerson(ctx context.Context, j job, rule string) (decided, error) {
	if g.opts.Approver == nil {
		return decided{Decision{Reason: g.refusal("no_one", j)}, ByMode, rule}, nil
	}
	d, err := g.opts.Approver(ctx, g.proposal(ctx, j))
	if err == nil && !d.Allow && d.Reason == "" {
		d.Reason = g.refusal("person", j)
	}
	return decided{d, ByPerson, rule}, err
}

// refusal words why a kind of effect is refused.
func (g *gate) refusal(why string, j job) string {
	return g.words.render(why, g.words.effect(j.spec.Effect))
}

// oversee asks the overseer. Only the context's end is an error; whatever else
// goes wrong is a rejection.
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
func (g *gate) proposal(ctx context.Context, j job) *Proposal {
	shown := *j.call
	shown.Summary, shown.Content = g.scrub.Text(shown.Summary), redact.Copy(g.scrub, shown.Content)
	p := &Proposal{
		Task: g.scrub.Text(g.task), WorkDir: g.opts.Env.WorkDir, Step: g.clock.steps, Call: shown,
		Spec:    j.spec,
		Preview: g.scrub.Text(g.preview(ctx, j)), Done: g.doneSoFar(), MayHaveRun: g.calls.mayHaveRun(j),
	}
	if w, ok := j.cmd.(command.Rewriter); ok {
		rewrites, _ := w.Rewrites(ctx, g.opts.Env, j.call) // Preview says what is wrong
		for _, r := range rewrites {
			r.Old, r.New = g.scrub.Text(r.Old), g.scrub.Text(r.New)
			p.Rewrites = append(p.Rewrites, r)
		}
	}
	return p
}

// preview shows what a call would do: as the command says, or its only code, or
// its fields.
func (g *gate) preview(ctx context.Context, j job) string {
	if p, ok := j.cmd.(command.Previewer); ok {
		if text, err := p.Preview(ctx, g.opts.Env, j.call); err == nil && strings.TrimSpace(text) != "" {
			return text
		}
	}
	if code := codeOf(j.cmd.Spec(), j.call); code != "" && len(j.call.Content) == 1 &&
		len(j.call.Content[0]) == 1 {
		return code
	}
	return report.Fields(j.call.Content)
}

// refusalsMax refused calls in a row end the run.
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
	return told(text, journal.PhaseRefused)
}

// tellWithheld says what is not offered, and why.
func (s *Session) tellWithheld() {
	names := s.opts.withheld()
	if len(names) == 0 {
		return
	}
	why := "not offered, since the approval rules forbid it or nobody is there to ask: "
	if s.opts.approve() == ApproveNever {
		why = "not offered, since nothing that writes, runs code or reaches out is allowed in this run: "
	}
	s.book.warn(why + strings.Join(names, ", "))
}

// isRefusal reports a refusal by a command's own sandbox.
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
func (g *gate) look(ctx context.Context, j job) seen {
	dir := g.opts.Env.WorkDir
	targets := command.TargetsOf(j.spec, j.call, dir)
	base, err := filepath.EvalSymlinks(dir)
	out := seen{places: fmt.Sprint(base, err, targets)}
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", g.preview(ctx, j))
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
