package session

import (
	"slices"
	"strings"
)

// freshAfter is how many steps in a row may fail before their attempts leave
// the prompt. Small models repeat what stands there, mistakes first of all.
const freshAfter = 3

// freshTellsMax bounds the attempts that are told of.
const freshTellsMax = 6

// startFresh makes a line each of the attempts at the end of the conversation
// that failed one after another: what is left is the task, what had worked, and
// what was learned from the failures.
func (s *Session) startFresh() {
	if !s.has(DeviceFreshStart) || s.mode != modeSlots {
		return
	}
	from := failedTail(s.entries)
	failed := s.entries[from:]
	if len(failed) < 2*freshAfter {
		return
	}
	last := failed[len(failed)-1]
	var tried []string
	for _, e := range failed[:len(failed)-1] {
		if e.Digest != "" && !slices.Contains(tried, e.Digest) {
			tried = append(tried, e.Digest)
		}
	}
	tried = tried[max(0, len(tried)-freshTellsMax):]
	text := s.words.render("fresh.tmpl", fenced(strings.Join(tried, "\n"))) + "\n\n" + last.Text
	s.entries = append(slices.Clone(s.entries[:from]), &entry{
		Kind: kindResult, Step: last.Step, Text: text, Digest: strings.Join(append(tried, last.Digest), "\n"), Next: startOther,
	})
	s.keep(record{Type: recCompacted, Entries: s.entries})
	s.warn("the last attempts failed one after another; the next begins afresh, knowing only what came of them")
}

// failedTail is where the turns begin that failed one after another, to the
// end of the conversation. Turn and result stand in pairs.
func failedTail(entries []*entry) int {
	from := len(entries)
	for from >= 2 && entries[from-2].Kind == kindTurn && entries[from-1].Kind == kindResult && failedNext(entries[from-1].Next) {
		from -= 2
	}
	return from
}

// failedNext reports the start of a note after something that brought nothing.
func failedNext(next string) bool {
	return slices.Contains([]string{startFailed, startOther, startEmpty}, next)
}
