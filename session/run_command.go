package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"agent/command"
)

// runCommand runs one call and makes of its result what the model is told.
func (s *Session) runCommand(ctx context.Context, cmd command.Command, call *command.Call, key string) (reply, error) {
	if err := s.intend(cmd, call, key); err != nil {
		return reply{}, err
	}
	before, start := s.snap, s.opts.Now()
	res, err := s.runSafely(ctx, cmd, call)
	if ctx.Err() != nil {
		return reply{}, ctx.Err() // it may have had an effect: its intent stays
	}
	if isRefusal(err) {
		if err := s.settle(nil); err != nil {
			return reply{}, err
		}
		s.emit(&CommandResult{Step: s.steps, Command: call.Command, Text: errorText(err), Failed: true})
		return s.refused(call, Decision{Reason: errorText(err)}), nil
	}
	if command.EffectOf(cmd, call) > command.EffectNone { // a thought is no way around a refusal
		s.refusals = 0
	}
	if err != nil {
		res = &command.Result{Text: errorText(err), Failed: true}
	}
	wall := s.opts.Now().Sub(start)
	s.snap = takeSnapshot(s.opts.Env.WorkDir, before)
	text, cut := s.shortResult(ctx, call, s.scrub.text(res.Text))
	files := res.Files
	if s.parent == nil || command.EffectOf(cmd, call).Consequential() { // else it may be other helpers' doing
		files = changedFiles(files, changes(before, s.snap))
	}
	for _, name := range files {
		s.spoiled[name] = res.Failed
	}
	s.emit(&CommandResult{
		Step: s.steps, Command: call.Command, Text: text, Failed: res.Failed,
		Truncated: cut || res.Truncated, Files: files, WallMS: wall.Milliseconds(),
	})
	s.lastFile = s.oneFileOf(cmd.Spec(), call)
	next := startDone
	switch {
	case res.Failed:
		next = startFailed
	case len(files) == 0 && emptyResult.MatchString(text):
		next = startEmpty
	case cmd.Spec().Effect == command.EffectRead && s.lastFile != "":
		next = startRead
	case cmd.Spec().Effect == command.EffectWrite:
		next = startWrote
	}
	r := reply{text: s.resultText(call, text, res.Failed, files), short: text, failed: res.Failed, next: next}
	return r, s.remember(doneCall{
		Key: key, Step: s.steps, Command: call.Command, Result: text, Failed: next == startFailed || next == startEmpty,
		Told: s.scrub.text(r.text), Next: next,
	}, before.hash(), s.snap.hash())
}

// oneFileOf is the file that a call names, for the next note to name it; empty
// when it names none, or several.
func (s *Session) oneFileOf(spec command.Spec, call *command.Call) string {
	paths := command.TargetsOf(spec, call, s.opts.Env.WorkDir).Paths
	if len(paths) != 1 || oneLine(paths[0], lineCharsMax) != paths[0] {
		return ""
	}
	return paths[0]
}

// emptyResult is a result without content, or with a remark in its place.
var emptyResult = regexp.MustCompile(`^\s*(\([^()]*\))?\s*$`)

// remember keeps a call as done in the states before and after it: made again
// right after itself it is a circle too, though it changed a file.
func (s *Session) remember(done doneCall, states ...string) error {
	told := done
	told.State = states[0]
	err := s.settle(&told)
	done.Told, done.Next = "", ""
	for i, state := range slices.Compact(states) {
		done.State = state
		s.circles.record(done)
		if i > 0 {
			s.keep(record{Type: recDone, Done: &done})
		}
	}
	return err
}

// runSafely runs a command; one that panics fails like one that errs.
func (s *Session) runSafely(ctx context.Context, cmd command.Command, call *command.Call) (res *command.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.warn(fmt.Sprintf("command %s panicked: %v\n%s", call.Command, p, debug.Stack()))
			err = fmt.Errorf("%s: internal error: %v", call.Command, p)
		}
	}()
	res, err = cmd.Run(withSession(ctx, s), s.opts.Env, call)
	if err == nil && res == nil {
		err = errors.New("the command gave no result")
	}
	return res, err
}

// errorText is an error with its advice.
func errorText(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		return err.Error() + "\n" + h.Hint()
	}
	return err.Error()
}

// resultText is a result as the model is shown it.
func (s *Session) resultText(call *command.Call, text string, failed bool, files []string) string {
	d := resultData{Command: call.Command, Failed: failed, Block: fenced(text)}
	if failed && s.has(AidErrorLine) {
		d.LineNumber, d.Line = offendingLine(codeOf(call, s.opts.Registry), text)
	}
	if !s.has(AidResultHeads) {
		files = nil
	}
	for _, path := range files[:min(len(files), headFilesMax)] {
		if _, there := s.snap.files[path]; there {
			d.Files = append(d.Files, newPromptFile(viewFile(s.opts.Env.WorkDir, path, headLinesMax)))
		}
	}
	return s.words.render("result.tmpl", d)
}

// changedFiles joins what the command says it changed and what was seen to
// change.
func changedFiles(said, seen []string) []string {
	out := slices.Concat(said, seen)
	slices.Sort(out)
	return slices.Compact(out)
}

// codeOf is the code in a call, empty when it has none.
func codeOf(call *command.Call, reg *command.Registry) string {
	cmd, err := reg.Resolve(call.Command)
	if err != nil || len(call.Content) == 0 {
		return ""
	}
	for _, slot := range cmd.Spec().Slots {
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
		return n, cutRunes(line, lineCharsMax)
	}
	return 0, ""
}

// conclude ends the task with an answer, unless a check holds it back.
func (s *Session) conclude(ctx context.Context, t *turn, cmd command.Command, call *command.Call) (reply, error) {
	res, err := s.runSafely(ctx, cmd, call)
	if ctx.Err() != nil {
		return reply{}, ctx.Err()
	}
	if err != nil {
		res = &command.Result{Text: errorText(err), Failed: true}
	}
	if res.Failed {
		return reply{text: s.resultText(call, res.Text, true, nil), short: res.Text, failed: true, next: startFailed}, nil
	}
	answer := answerText(res, call, cmd.Spec())
	if echoes(answer, s.task) && call.Summary != "" {
		answer = call.Summary // the note says what the answer does not
	}
	if t.end.cut() {
		s.warnOfCut(t.end)
	}
	if t.end == endBudget { // nothing is left to mend it with
		return reply{stop: StopTokens, answer: answer}, nil
	}
	if s.refusals > 0 { // it gave up on what it was not allowed to do
		return reply{stop: StopRefused, answer: answer}, nil
	}
	reason, err := s.doubts(ctx, answer)
	if err != nil {
		return reply{}, err
	}
	if reason != "" {
		return s.withhold(call, answer, reason), nil
	}
	return reply{stop: StopAnswered, answer: answer}, nil
}

// warnOfCut tells a person that the answer is not whole.
func (s *Session) warnOfCut(end ending) {
	if end == endBudget {
		s.warn("the answer is cut off: the run may cost no more tokens")
		return
	}
	s.warn("the answer is cut off: it is as long as a reply may be")
}

// echoes reports an answer that only says the task again, as small models do.
func echoes(answer, task string) bool {
	plain := func(text string) string { return strings.ToLower(strings.Trim(oneLine(text, 1<<20), " .?!\"'`")) }
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
