package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"agent/command"
	"agent/session/journal"
	"agent/session/prose"
	"agent/session/redact"
	"agent/session/workdir"
)

// run runs one call and makes of its result what the model is told.
func (s *Session) run(ctx context.Context, j job) (reply, error) {
	in := journal.Intent{Key: j.key, State: s.watch.now.Hash(), Step: s.clock.steps,
		Command: j.call.Command}
	if err := s.calls.begin(in, j.consequential()); err != nil {
		return reply{}, err
	}
	before, start := s.watch.now, s.opts.Now()
	res, err := s.runSafely(ctx, j)
	if ctx.Err() != nil {
		return reply{}, ctx.Err() // it may have had an effect: its intent stays
	}
	if isRefusal(err) {
		if err := s.calls.end(nil); err != nil {
			return reply{}, err
		}
		s.instead(j, errorText(err), journal.PhaseRefused)
		return s.refused(j.call, Decision{Reason: errorText(err)}), nil
	}
	if j.spec.Effect > command.EffectNone { // a thought is no way around a refusal
		s.refusals = 0
	}
	if err != nil {
		res = &command.Result{Text: errorText(err), Failed: true}
	}
	wall := s.opts.Now().Sub(start)
	// else it may be other helpers' doing
	files := s.watch.changed(res, s.place.depth == 0 || j.consequential())
	text, cut := s.condenser(j.spec, j.call).short(ctx, s.book.scrub.Text(res.Text))
	s.watch.last = s.watch.oneFileOf(j.spec, j.call)
	text = s.withPassages(ctx, j, res, text)
	s.book.emit(&CommandResult{
		Step: s.clock.steps, Command: j.call.Command, Text: text, Failed: res.Failed,
		Truncated: cut || res.Truncated, Files: files, WallMS: wall.Milliseconds(),
	})
	if !res.Failed && j.consequential() {
		delete(s.watch.spoiled, s.watch.last) // also where it found the file as it was to be
	}
	problem := s.checker().atOnce(files)
	r := reply{text: s.resultText(j, text, res.Failed, files, problem), short: text,
		failed: res.Failed, next: s.phaseAfter(j, res.Failed, problem, text, files)}
	return r, s.calls.remember(journal.Done{
		Key: j.key, Step: s.clock.steps, Command: j.call.Command, Result: text,
		Failed: r.next == journal.PhaseFailed || r.next == journal.PhaseEmpty,
		Told:   s.book.scrub.Text(r.text), Next: r.next,
	}, before.Hash(), s.watch.now.Hash())
}

// phaseAfter is where a run stands after a call that was carried out.
func (s *Session) phaseAfter(j job, failed bool, problem, text string, files []string,
) journal.Phase {
	effect := j.cmd.Spec().Effect
	switch {
	case failed:
		return journal.PhaseFailed
	case problem != "":
		return journal.PhaseWithheld
	case len(files) == 0 && emptyResult.MatchString(text):
		return journal.PhaseEmpty
	case effect == command.EffectRead && s.watch.last != "":
		return journal.PhaseRead
	case effect == command.EffectWrite:
		return journal.PhaseWrote
	}
	return journal.PhaseDone
}

// instead tells what is said in the place of a call's result.
func (s *Session) instead(j job, text string, next journal.Phase) reply {
	s.book.emit(&CommandResult{Step: s.clock.steps, Command: j.call.Command, Text: text, Failed: true})
	return told(text, next)
}

// told is a reply to a call that was not carried out.
func told(text string, next journal.Phase) reply {
	return reply{text: text, short: text, failed: true, next: next}
}

// condenser shortens the result of a call.
func (s *Session) condenser(spec command.Spec, call *command.Call) condenser {
	inParts := slices.ContainsFunc(spec.Slots,
		func(slot command.Slot) bool { return slot.Name == "lines" })
	return condenser{conversation: s.talk, how: s.opts.LongResults, call: call, inParts: inParts}
}

// destroysSecret tells the model that its call would put a placeholder where
// the secret itself stands.
func (s *Session) destroysSecret(j job) (reply, bool) {
	if !s.book.scrub.HidSome() || !j.consequential() {
		return reply{}, false
	}
	content, err := json.Marshal(j.call.Content)
	if err != nil || !redact.HasPlaceholder(string(content)) {
		return reply{}, false
	}
	return s.instead(j, s.words.render("placeholder.tmpl", j.call.Command), journal.PhaseFailed), true
}

// emptyResult is a result without content, or with a remark in its place.
var emptyResult = regexp.MustCompile(`^\s*(\([^()]*\))?\s*$`)

// runSafely runs a command; one that panics fails like one that errs.
func (s *Session) runSafely(ctx context.Context, j job) (res *command.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.book.warn(fmt.Sprintf("command %s panicked: %v\n%s", j.call.Command, p, debug.Stack()))
			err = fmt.Errorf("%s: internal error: %v", j.call.Command, p)
		}
	}()
	res, err = j.cmd.Run(withSession(ctx, s), s.opts.Env, j.call)
	if err == nil && res == nil {
		err = errors.New("the command gave no result")
	}
	return res, err
}

// errorText is an error with its advice.
func errorText(err error) string {
	return strings.TrimSuffix(err.Error()+"\n"+hintOf(err), "\n")
}

// resultText is a result as the model is shown it.
func (s *Session) resultText(j job, text string, failed bool, files []string, problem string,
) string {
	d := resultData{Command: j.call.Command, Failed: failed, Block: prose.Fenced(text),
		Problem: problem}
	if failed && s.opts.has(AidErrorLine) {
		d.LineNumber, d.Line = offendingLine(codeOf(j.spec, j.call), text)
	}
	if !s.opts.has(AidResultHeads) {
		files = nil
	}
	for _, path := range files[:min(len(files), headFilesMax)] {
		if s.watch.now.There(path) {
			d.Files = append(d.Files, newPromptFile(workdir.ViewOf(s.opts.Env.WorkDir, path, headLinesMax)))
		}
	}
	return s.words.render("result.tmpl", d)
}

// codeOf is the code in a call, empty when it has none.
func codeOf(spec command.Spec, call *command.Call) string {
	if len(call.Content) == 0 {
		return ""
	}
	for _, slot := range spec.Slots {
		if code, ok := call.Content[0][slot.Name].(string); ok && slot.Kind == command.SlotCode {
			return code
		}
	}
	return ""
}

var lineNumber = regexp.MustCompile(`\bline (\d{1,6})\b`)

// offendingLine finds the line of code that an error names last, unless the
// error shows it already.
func offendingLine(code, errorText string) (int, string) {
	found := lineNumber.FindAllStringSubmatch(errorText, -1)
	if code == "" || len(found) == 0 {
		return 0, ""
	}
	lines := strings.Split(code, "\n")
	for _, m := range slices.Backward(found) {
		n, err := strconv.Atoi(m[1])
		if err != nil || n < 1 || n > len(lines) {
			continue // a line of something else
		}
		line := strings.TrimSpace(lines[n-1])
		if line == "" || strings.Contains(errorText, line) {
			return 0, ""
		}
		return n, prose.Cut(line, prose.LineRunes)
	}
	return 0, ""
}

// conclude ends the task with an answer, unless a check holds it back.
func (s *Session) conclude(ctx context.Context, t *turn, j job) (reply, error) {
	res, err := s.runSafely(ctx, j)
	if ctx.Err() != nil {
		return reply{}, ctx.Err()
	}
	if err != nil {
		res = &command.Result{Text: errorText(err), Failed: true}
	}
	if res.Failed {
		return reply{text: s.resultText(j, res.Text, true, nil, ""), short: res.Text, failed: true,
			next: journal.PhaseFailed}, nil
	}
	answer := answerText(res, j.call, j.spec)
	if echoes(answer, s.talk.task) && j.call.Summary != "" {
		answer = j.call.Summary // the note says what the answer does not
	}
	s.warnOfCut(t.end)
	switch {
	case t.end == endBudget: // nothing is left to mend it with
		return reply{stop: StopTokens, answer: answer}, nil
	case s.refusals > 0: // it gave up on what it was not allowed to do
		return reply{stop: StopRefused, answer: answer}, nil
	}
	reason, unmet, err := s.checker().doubts(ctx, answer)
	switch {
	case err != nil:
		return reply{}, err
	case unmet:
		s.book.warn("the task is not done: " + reason)
		return reply{stop: StopUnmet, answer: answer, unmet: reason}, nil
	case reason != "":
		return s.withhold(j, answer, reason), nil
	}
	return reply{stop: StopAnswered, answer: answer}, nil
}

// warnOfCut tells a person of an answer that is not whole.
func (s *Session) warnOfCut(end ending) {
	switch end {
	case endBudget:
		s.book.warn("the answer is cut off: the run may cost no more tokens")
	case endLimit:
		s.book.warn("the answer is cut off: it is as long as a reply may be")
	}
}

// echoes reports an answer that only says the task again, as small models do.
func echoes(answer, task string) bool {
	plain := func(text string) string { return strings.ToLower(strings.Trim(prose.OneLine(text, 1<<20), " .?!\"'`")) }
	return plain(answer) != "" && plain(answer) == plain(task)
}

// answerText is the answer in a final command's result, or else in its call:
// the last of its fields that has a text, which is the one that the model is
// told to write the answer in.
func answerText(res *command.Result, call *command.Call, spec command.Spec) string {
	if res.Answer != "" {
		return res.Answer
	}
	if res.Text != "" {
		return res.Text
	}
	for _, entry := range call.Content {
		names := slices.Sorted(maps.Keys(entry))
		for _, slot := range spec.Slots {
			names = append(names, slot.Name) // before those that the command does not know
		}
		for _, name := range slices.Backward(names) {
			if text, ok := entry[name].(string); ok && text != "" {
				return text
			}
		}
	}
	return call.Summary
}
