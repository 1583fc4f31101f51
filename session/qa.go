package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"agent/command"
	"agent/session/prose"
)

// withheldMax is how often in a run an answer is held back, by whatever check.
const withheldMax = 2

type qaData struct {
	Task, Done, Block string
}

// withheldAnswers remembers what was held back, and by which checks.
type withheldAnswers struct {
	Count   int             `json:"count"`
	Tried   map[string]bool `json:"tried,omitempty"`   // checks that have held an answer back, or warned
	Answers []string        `json:"answers,omitempty"` // as marks: the words themselves are forgotten
	Told    string          `json:"told,omitempty"`    // why the last was
	Work    bool            `json:"work,omitempty"`    // something else has to be done before the next
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
	held  *withheldAnswers
}

func (s *Session) checker() checker { return checker{s.talk, &s.opts, s.watch, &s.held} }

// doubts says why an answer is not accepted yet; empty when it is. What can be
// checked without a model comes first.
func (c checker) doubts(ctx context.Context, answer string) (string, error) {
	if c.held.Count >= withheldMax {
		return "", nil
	}
	if reason := c.coldLogic(answer); reason != "" {
		return reason, nil
	}
	return c.secondOpinion(ctx, answer)
}

// coldLogic tries the checks that have not held back an answer before.
func (c checker) coldLogic(answer string) string {
	for _, f := range c.findings(answer, c.held.Tried) {
		c.held.try(f.check)
		reason := c.words.render(f.reason, f.what)
		if !f.warn {
			c.held.Work = f.work
			return reason
		}
		c.warn(reason)
	}
	return ""
}

// warnOfDoubts tells a person what speaks against an answer that ends a run in
// any case.
func (c checker) warnOfDoubts(answer string) {
	if answer == "" {
		return
	}
	for _, f := range c.findings(answer, nil) {
		c.warn("about the answer: " + c.words.render(f.reason, f.what))
	}
}

// finding is a doubt and the check that has it.
type finding struct {
	doubt
	check string
}

// findings are what the checks have against an answer, but those that were
// tried before.
func (c checker) findings(answer string, tried map[string]bool) []finding {
	if !c.opts.has(DeviceColdLogic) {
		return nil
	}
	var out []finding
	e := c.evidence(answer).bounded()
	for _, check := range checks() {
		if tried[check.name] {
			continue
		}
		if d, found := check.run(e); found {
			out = append(out, finding{d, check.name})
		}
	}
	return out
}

// lacksFile reports that the task asks for a file that is not there, or is as it
// was.
func (c checker) lacksFile() bool {
	_, lacks := checkAskedFile(c.evidence("").bounded())
	return lacks
}

func (w *withheldAnswers) try(name string) {
	if w.Tried == nil {
		w.Tried = map[string]bool{}
	}
	w.Tried[name] = true
}

// evidence gathers what the checks go by.
func (c checker) evidence(answer string) evidence {
	c.watch.look()
	now, first := c.watch.now, c.watch.first
	offered := c.opts.offered()
	worked := len(now.named(c.task)) > 0 || slices.ContainsFunc(c.entries, func(e *entry) bool { return e.Kind == kindResult && e.Digest != "" })
	return evidence{
		task: c.task, answer: answer, seen: strings.Join(c.shown(), "\n"),
		worked: worked && !c.has(kindSummary), // what is summed up may hold the number
		files:  now.paths(), examples: mentionedFiles(c.system), told: c.held.Told, exists: now.holds, existed: first.holds,
		holdsText:  func(name, text string) bool { return holdsText(c.opts.Env.WorkDir, name, text) },
		changed:    func(name string) bool { return now.changedSince(first, name) },
		spoiled:    c.watch.spoiled,
		canCompute: runsCode(offered),
		canWrite: !now.more && slices.ContainsFunc(offered, func(c command.Spec) bool {
			return c.Effect == command.EffectWrite || c.Effect == command.EffectExecute
		}),
	}
}

// secondOpinion asks the model whether the answer does what the task asks: a
// choice between yes and no, so that it is a verdict and not the first word of
// prose, and after a no the sentence in which the model says what is missing.
func (c checker) secondOpinion(ctx context.Context, answer string) (string, error) {
	if !c.opts.QA {
		return "", nil
	}
	o, err := c.judge(ctx, "qa", qaData{Task: c.task, Done: c.doneSoFar(), Block: prose.Fenced(answer)})
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

// withhold tells the model why its answer is not accepted. The answer itself
// is forgotten: in the prompt it would only be repeated, and in a summary it
// would come out later.
func (s *Session) withhold(call *command.Call, answer, reason string) reply {
	s.held.Count++
	s.held.Answers = append(s.held.Answers, answerMark(answer))
	s.held.Told = s.book.scrub.Text(reason)
	s.book.keep(record{Type: recWithheld, Held: &s.held}) // so that a resumed run knows it, too
	text := s.words.render("withheld.tmpl", reason)
	s.book.emit(&CommandResult{Step: s.clock.steps, Command: call.Command, Text: text, Failed: true})
	return reply{text: text, short: reason, failed: true, next: phaseWithheld, withheld: true}
}

// forgetAnswer takes the newest turn, whose answer was held back, out of the
// conversation: it stays with the calls before that, or not at all.
func (c *conversation) forgetAnswer(before []*command.Call) {
	n := len(c.entries) - 1
	if n < 0 || c.entries[n].Kind != kindTurn {
		return
	}
	kept := slices.Clone(c.entries[:n])
	if lines := wireForm(before); lines != "" {
		kept = append(kept, &entry{Kind: kindTurn, Step: c.clock.steps, Text: c.scrub.Text(lines)})
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

// has reports an answer that was held back, whatever its spelling.
func (w *withheldAnswers) has(answer string) bool {
	return slices.Contains(w.Answers, answerMark(answer))
}
