package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"agent/command"
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
	sum := sha256.Sum256([]byte(foldedText(answer)))
	return hex.EncodeToString(sum[:])
}

// doubts says why an answer is not accepted yet; empty when it is. What can be
// checked without a model comes first.
func (s *Session) doubts(ctx context.Context, answer string) (string, error) {
	if s.held.Count >= withheldMax {
		return "", nil
	}
	if reason := s.coldLogic(answer); reason != "" {
		return reason, nil
	}
	return s.secondOpinion(ctx, answer)
}

// coldLogic tries the checks that have not held back an answer before.
func (s *Session) coldLogic(answer string) string {
	if !s.has(AidColdLogic) {
		return ""
	}
	e := s.evidence(answer).bounded()
	for _, c := range checks() {
		if s.held.Tried[c.name] {
			continue
		}
		d, found := c.run(e)
		if !found {
			continue
		}
		s.held.try(c.name)
		reason := s.words.render(d.reason, d.what)
		if !d.warn {
			s.held.Work = d.work
			return reason
		}
		s.warn(reason)
	}
	return ""
}

// warnOfDoubts tells a person what speaks against an answer that ends a run in
// any case.
func (s *Session) warnOfDoubts(answer string) {
	if answer == "" || !s.has(AidColdLogic) {
		return
	}
	e := s.evidence(answer).bounded()
	for _, c := range checks() {
		if d, found := c.run(e); found {
			s.warn("about the answer: " + s.words.render(d.reason, d.what))
		}
	}
}

func (w *withheldAnswers) try(name string) {
	if w.Tried == nil {
		w.Tried = map[string]bool{}
	}
	w.Tried[name] = true
}

// evidence gathers what the checks go by.
func (s *Session) evidence(answer string) evidence {
	now := takeSnapshot(s.opts.Env.WorkDir, s.snap)
	offered := s.offered()
	seen, worked := s.seen()
	e := evidence{
		task: s.task, answer: answer, seen: seen, worked: worked || len(now.named(s.task)) > 0,
		files: now.paths(), examples: mentionedFiles(s.system), holdsText: s.holdsText, told: s.held.Told, exists: now.holds, existed: s.first.holds,
		changed:    func(name string) bool { return now.changedSince(s.first, name) },
		spoiled:    s.spoiled,
		canCompute: runsCode(offered),
		canWrite: !now.more && slices.ContainsFunc(offered, func(c command.Spec) bool {
			return c.Effect == command.EffectWrite || c.Effect == command.EffectExecute
		}),
	}
	if s.compacted() { // what is summed up may hold the number
		e.worked = false
	}
	return e
}

// searchedBytesMax is how much of a file is searched for a word.
const searchedBytesMax = 1 << 20

// holdsText reports a file of the work dir that has text in it, in any case.
func (s *Session) holdsText(name, text string) bool {
	root, err := os.OpenRoot(s.opts.Env.WorkDir)
	if err != nil {
		return false
	}
	defer root.Close()
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, searchedBytesMax))
	return err == nil && bytes.Contains(bytes.ToLower(data), bytes.ToLower([]byte(text)))
}

// workFirst takes the answer out of what can be chosen right after one was
// held back for want of work: told so alone, a small model answers again.
func (s *Session) workFirst(specs []command.Spec) []command.Spec {
	if !s.held.Work || !s.has(AidColdLogic) {
		return specs
	}
	others := slices.DeleteFunc(slices.Clone(specs), func(c command.Spec) bool { return c.Final })
	if len(others) == 0 {
		return specs
	}
	return others
}

// seen is all that the model was shown but its own words, and whether a
// command was carried out for it.
func (s *Session) seen() (text string, worked bool) {
	var b strings.Builder
	for _, e := range s.entries {
		if e.Kind != kindTurn {
			b.WriteString(e.Text)
			b.WriteByte('\n')
		}
		worked = worked || e.Kind == kindResult && e.Digest != ""
	}
	return b.String(), worked
}

func (s *Session) compacted() bool {
	return slices.ContainsFunc(s.entries, func(e *entry) bool { return e.Kind == kindSummary })
}

// secondOpinion asks the model whether the answer does what the task asks: a
// choice between yes and no, so that it is a verdict and not the first word of
// prose, and after a no the sentence in which the model says what is missing.
func (s *Session) secondOpinion(ctx context.Context, answer string) (string, error) {
	if !s.opts.QA {
		return "", nil
	}
	if _, err := s.allowance(1); err != nil {
		return "", err
	}
	o, err := judge{s.opts.Backend, s.words}.ask(ctx, "qa", qaData{Task: s.task, Done: s.doneSoFar(), Block: fenced(answer)})
	s.usage.addCall(&o.usage)
	switch {
	case err != nil:
		return "", backendError(ctx, err)
	case o.abstained:
		s.warn("the check of the answer came to no verdict; the answer stands")
		return "", nil
	case o.yes:
		return "", nil
	case o.reason == "":
		return s.words.render("opinion", nil), nil
	}
	return s.scrub.text(o.reason), nil
}

// withhold tells the model why its answer is not accepted. The answer itself
// is forgotten: in the prompt it would only be repeated, and in a summary it
// would come out later.
func (s *Session) withhold(call *command.Call, answer, reason string) reply {
	s.held.Count++
	s.held.Answers = append(s.held.Answers, answerMark(answer))
	s.held.Told = s.scrub.text(reason)
	s.keep(record{Type: recWithheld, Held: &s.held}) // so that a resumed run knows it, too
	text := s.words.render("withheld.tmpl", reason)
	s.emit(&CommandResult{Step: s.steps, Command: call.Command, Text: text, Failed: true})
	return reply{text: text, short: reason, failed: true, next: startWithheld, withheld: true}
}

// forgetAnswer takes a withheld answer out of the conversation: the turn stays
// with the calls before it, or not at all.
func (s *Session) forgetAnswer(before []*command.Call) {
	n := len(s.entries) - 1
	if n < 0 || s.entries[n].Kind != kindTurn {
		return
	}
	var lines []string
	for _, call := range before {
		if line, err := command.Marshal(call); err == nil {
			lines = append(lines, string(line))
		}
	}
	kept := slices.Clone(s.entries[:n])
	if len(lines) > 0 {
		kept = append(kept, &entry{Kind: kindTurn, Step: s.steps, Text: s.scrub.text(strings.Join(lines, "\n"))})
	}
	s.entries = kept
	s.keep(record{Type: recCompacted, Entries: s.entries})
}

// wasWithheld reports an answer that was held back, whatever its spelling.
func (s *Session) wasWithheld(answer string) bool {
	return slices.Contains(s.held.Answers, answerMark(answer))
}

// foldedText makes texts comparable that say the same in the same words.
func foldedText(text string) string { return strings.Join(wordsOf(text), " ") }

// doneSoFar is the run in one line per call.
func (s *Session) doneSoFar() string {
	var lines []string
	for _, e := range s.entries {
		if e.Digest != "" {
			lines = append(lines, e.Digest)
		}
	}
	return lastLines(strings.Join(lines, "\n"), digestLinesMax)
}
