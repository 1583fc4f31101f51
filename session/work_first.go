package session

import (
	"path"
	"slices"

	"agent/command"
)

// Small models answer too early: what a file holds, or that it was written, is
// said before anybody looked or wrote. Where the task plainly needs work first,
// the first choice is therefore among the commands that do it.

// workStepsMin steps must be left for an answer to be put off.
const workStepsMin = 2

// worthwhile leaves out what can't be the next step: the answer, while a file
// that the task asks for is missing or unchanged and nothing was tried yet or
// the answer was just held back, or while the task names a file that was not
// shown whole and nobody looked; and all but code, where that file holds data
// and nobody looked. In its last steps a run may always answer.
func (s *Session) worthwhile(specs []command.Spec) []command.Spec {
	start := s.nextStart()
	if !s.has(AidWorkFirst) || s.opts.Limits.StepsMax-s.runSteps() < workStepsMin || start != startFirst && start != startWithheld {
		return specs
	}
	named := s.snap.named(s.task)
	if code := matching(specs, hasCode); len(code) > 0 && start == startFirst && slices.ContainsFunc(named, isData) {
		return code
	}
	_, missing := checkAskedFile(s.evidence("").bounded())
	work := matching(specs, func(c command.Spec) bool { return !c.Final })
	if len(work) > 0 && (missing || start == startFirst && !s.shownWhole(named)) {
		return work
	}
	return specs
}

func matching(specs []command.Spec, fits func(command.Spec) bool) []command.Spec {
	return slices.DeleteFunc(slices.Clone(specs), func(c command.Spec) bool { return !fits(c) })
}

// hasCode reports a command that runs code and wants nothing else.
func hasCode(c command.Spec) bool {
	return c.Effect == command.EffectExecute && len(c.Slots) > 0 && !slices.ContainsFunc(c.Slots, func(slot command.Slot) bool {
		return slot.Kind != command.SlotCode && !slot.Optional
	})
}

// isData reports a file that holds one record on each line, by its name.
func isData(name string) bool {
	return slices.Contains([]string{".csv", ".tsv", ".jsonl", ".log"}, path.Ext(name))
}

// shownWhole reports that the first message shows all of these files.
func (s *Session) shownWhole(names []string) bool {
	room := int64(listBytesSum)
	for _, name := range names {
		size := s.snap.files[name].size
		if n := s.listLines(name, size, &room); n < listBytesMax && size > 0 {
			return false
		}
	}
	return true
}
