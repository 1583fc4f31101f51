package salvage

import (
	"regexp"
	"slices"
	"strings"
)

// labelPattern is a label that may stand before a thought.
var labelPattern = regexp.MustCompile(`^[ *#_]{0,4}([A-Za-z]{1,32})[*_]{0,3}[ \t]*:[*_]{0,2}`)

// thoughtFirst reads a thought under a label, and the calls on the lines after it.
func thoughtFirst(s *salvage, text string) []ParsedCall {
	m := labelPattern.FindStringSubmatchIndex(text)
	if m == nil {
		return nil
	}
	label := strings.ToLower(text[m[2]:m[3]])
	if l, ok := s.known(label); !slices.Contains(notesKeys, label) && !(ok && l.Name == "think") {
		return nil
	}
	before, rest := s.repairs, text[m[1]:]
	calls, first, alone := s.stated(rest)
	line := rest[:first]
	if len(calls) == 0 || strings.TrimLeft(line[strings.LastIndexByte(line, '\n')+1:], " \t`") != "" {
		s.repairs = before
		return nil
	}
	if !alone || calls[0].Command == answerName && s.repairs.has(RepairMissingCommand) {
		s.repairs.add(RepairMaybeQuoted)
	}
	note := strings.TrimSpace(emptyAction.ReplaceAllString(strings.TrimRight(line, "` \t\n"), ""))
	if info := strings.LastIndex(note, "\n```"); info >= 0 {
		note = strings.TrimSpace(note[:info])
	}
	if note != "" && len(calls[0].Notes) == 0 {
		calls[0].Notes = []string{note}
	}
	return calls
}

// emptyAction is a label of ReAct whose call stands on the next lines.
var emptyAction = regexp.MustCompile(`(?i)\n[ \t*#-]*(?:Action|Command|Tool)(?:[ _]Input)?[ \t*]*:[ \t*]*(?:` + "```[a-z]*" + `)?$`)
