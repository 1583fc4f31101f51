package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"agent/command"
	"agent/session/check"
	"agent/session/journal"
	"agent/session/prose"
	"agent/session/workdir"
)

const (
	withheldMax = 2 // how often in a run an answer is held back for what may be wrong,
	saidMax     = 2 // and how often for one thing that surely is; then the run ends with it
)

type qaData struct {
	Task, Done, Block string
}

// answerMark tells answers apart that differ in more than their spelling.
func answerMark(answer string) string {
	sum := sha256.Sum256([]byte(prose.Folded(answer)))
	return hex.EncodeToString(sum[:])
}

// checker finds what speaks against an answer.
type checker struct {
	*conversation
	opts  *Options
	watch *watch
	held  *journal.Withheld
	wants *Wants
}

func (s *Session) checker() checker {
	return checker{s.talk, &s.opts, s.watch, &s.held, &s.about.wants}
}

// doubts says why an answer is not accepted yet; empty when it is. What can be
// checked without a model comes first. unmet: it was said often enough.
func (c checker) doubts(ctx context.Context, answer string) (reason string, unmet bool, err error) {
	if reason, unmet = c.coldLogic(answer); reason != "" || c.held.Count >= withheldMax {
		return reason, unmet, nil
	}
	reason, err = c.secondOpinion(ctx, answer)
	return reason, false, err
}

// coldLogic finds what is surely missing, and else tries the checks that have not
// held back an answer before. What is not held back is told to a person.
func (c checker) coldLogic(answer string) (reason string, unmet bool) {
	found := c.found(answer, c.held.Tried)
	slices.SortStableFunc(found, func(a, b check.Doubt) int { return order(b.Sure) - order(a.Sure) })
	for _, d := range found {
		reason = c.words.render(d.Reason, d.What)
		switch {
		case d.Sure:
			c.held.Work = d.Work
			return reason, c.held.Say(d.Check) >= saidMax
		case d.Warn, c.held.Count >= withheldMax:
			c.held.Try(d.Check)
			c.warn(reason)
		default:
			c.held.Try(d.Check)
			c.held.Work = d.Work
			return reason, false
		}
	}
	return "", false
}

// atOnce says what is plainly wrong with files that a call wrote, as long as that
// was not said often enough.
func (c checker) atOnce(files []string) string {
	if len(files) == 0 || !c.opts.has(AidColdLogic) {
		return ""
	}
	d, found := check.AtOnce(c.evidence(""))
	if !found || c.held.Said[d.Check] >= saidMax {
		return ""
	}
	c.held.Say(d.Check)
	c.book.keep(journal.Record{Type: journal.TypeWithheld, Held: c.held})
	return c.words.render(d.Reason, d.What)
}

func order(first bool) int {
	if first {
		return 1
	}
	return 0
}

// warnOfDoubts tells a person what speaks against an answer that ends a run in
// any case.
func (c checker) warnOfDoubts(answer string) {
	if answer == "" {
		return
	}
	for _, d := range c.found(answer, nil) {
		c.warn("about the answer: " + c.words.render(d.Reason, d.What))
	}
}

func (c checker) found(answer string, tried map[string]bool) []check.Doubt {
	if !c.opts.has(AidColdLogic) {
		return nil
	}
	return check.Doubts(c.evidence(answer), func(name string) bool { return tried[name] })
}

// evidence gathers what the checks go by.
func (c checker) evidence(answer string) check.Evidence {
	c.watch.look()
	now, first := c.watch.now, c.watch.first
	offered := c.opts.offered()
	ran := func(e *journal.Entry) bool { return e.Kind == journal.KindResult && e.Digest != "" }
	worked := len(now.Named(c.task)) > 0 || slices.ContainsFunc(c.entries, ran)
	return check.Evidence{
		Task: c.task, Answer: answer, Wants: *c.wants, Seen: strings.Join(c.shown(), "\n"),
		Worked:   worked && !c.has(journal.KindSummary), // what is summed up may hold the number
		Examples: workdir.Mentioned(c.system), Told: c.held.Told, Exists: now.Holds, Existed: first.Holds,
		Touched:    append(workdir.Changes(first, now), workdir.Gone(first, now)...),
		Read:       func(name string) []byte { return workdir.Read(c.opts.Env.WorkDir, name) },
		Spoiled:    c.watch.spoiled,
		CanCompute: runsCode(offered),
		CanWrite: !now.More && slices.ContainsFunc(offered, func(c command.Spec) bool {
			return c.Effect == command.EffectWrite || c.Effect == command.EffectExecute
		}),
	}
}

// secondOpinion asks the model whether the answer does what the task asks, and
// if not what is missing.
func (c checker) secondOpinion(ctx context.Context, answer string) (string, error) {
	if !c.opts.QA {
		return "", nil
	}
	o, err := c.judge(ctx, "qa", qaData{Task: c.task, Done: c.doneSoFar(),
		Block: prose.Fenced(answer)})
	switch {
	case err != nil:
		return "", err
	case o.abstained:
		c.warn("the check of the answer came to no verdict; the answer stands")
		return "", nil
	case o.yes:
		return "", nil
	case o.reason == "":
		return c.words.render("opinion", nil), nil
	}
	return c.scrub.Text(o.reason), nil
}

// withhold tells the model why its answer is not accepted. The answer itself is
// forgotten: in a prompt or summary it would only come again.
func (s *Session) withhold(j job, answer, reason string) reply {
	s.held.Count++
	s.held.Answers = append(s.held.Answers, answerMark(answer))
	s.held.Told = s.book.scrub.Text(reason)
	// so that a resumed run knows it, too
	s.book.keep(journal.Record{Type: journal.TypeWithheld, Held: &s.held})
	r := s.instead(j, s.words.render("withheld.tmpl", reason), journal.PhaseWithheld)
	r.short, r.withheld = reason, true
	return r
}

// forgetAnswer takes the newest turn, whose answer was held back, out of the
// conversation: it stays with the calls before that, or not at all.
func (c *conversation) forgetAnswer(before []*command.Call) {
	n := len(c.entries) - 1
	if n < 0 || c.entries[n].Kind != journal.KindTurn {
		return
	}
	kept := slices.Clone(c.entries[:n])
	if lines := wireForm(before); lines != "" {
		kept = append(kept, &journal.Entry{Kind: journal.KindTurn, Step: c.clock.steps,
			Text: c.scrub.Text(lines)})
	}
	c.replace(kept)
}

// wireForm are calls as they are written, one a line.
func wireForm(calls []*command.Call) string {
	var lines []string
	for _, call := range calls {
		if line, err := command.Marshal(call); err == nil {
			lines = append(lines, string(line))
		}
	}
	return strings.Join(lines, "\n")
}

// wasHeld reports an answer that was held back, whatever its spelling.
func wasHeld(w journal.Withheld, answer string) bool {
	return slices.Contains(w.Answers, answerMark(answer))
}
