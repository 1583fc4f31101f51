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
var emptyAction = regexp.MustCompile(`(?i)\n[ \t*#-]*(?:Action|Command|Tool)(?:[ _]Input)?[ \t*]*:` +
	`[ \t*]*(?:` + "```[a-z]*" + `)?$`)

// onlyThought turns a reply of nothing but reasoning into a think call.
func (s *salvage) onlyThought(thought string) Parsed {
	if thought == "" {
		return Parsed{Repairs: s.repairs}
	}
	n := s.normalizer()
	call := n.named("think", thought)
	s.repairs.add(n.repairs...)
	return Parsed{[]ParsedCall{call}, s.repairs}
}

var reasoningTags = [...][2]string{
	{"<think>", "</think>"},
	{"<thinking>", "</thinking>"},
	{"<thought>", "</thought>"},
	{"<reasoning>", "</reasoning>"},
	{"<seed:think>", "</seed:think>"},
	{"[THINK]", "[/THINK]"},
	{"<|START_THINKING|>", "<|END_THINKING|>"},
	{"<|begin_of_thought|>", "<|end_of_thought|>"},
	{"<|channel>thought", "<channel|>"},
	{"◁think▷", "◁/think▷"},
}

// bareAnalysis is a thought of Harmony without its tokens, which some servers take out.
var bareAnalysis = regexp.MustCompile(`^analysis((?s:.*?))assistant(?:final|commentary\s+to=)`)

// removeReasoning takes off the block in which reasoning models think first.
// Calls that they only considered there must not run.
func (s *salvage) removeReasoning(text string) (rest, thought string) {
	if m := bareAnalysis.FindStringSubmatchIndex(text); m != nil {
		s.repairs.add(RepairReasoning)
		rest = strings.TrimPrefix(text[m[3]+len("assistant"):], "final")
		return strings.TrimSpace(rest), strings.TrimSpace(text[m[2]:m[3]])
	}
	for _, tags := range reasoningTags {
		if inside, ok := strings.CutPrefix(text, tags[0]); ok {
			s.repairs.add(RepairReasoning)
			end, after := endOfReasoning(inside, tags[1])
			if end < 0 {
				inside, rest, _ = strings.Cut(inside, tags[1])
				return strings.TrimSpace(rest), strings.TrimSpace(inside)
			}
			return strings.TrimSpace(inside[after:]), strings.TrimSpace(inside[:end])
		}
		// Some chat templates end the prompt with the opening tag. Reasoning does
		// not begin like a call: there the tag is part of a value.
		if end, after := endOfReasoning(text, tags[1]); end >= 0 && !s.beginsCall(text) &&
			!strings.Contains(text[:end], tags[0]) {
			if rest = strings.TrimSpace(text[after:]); rest != "" {
				s.repairs.add(RepairReasoning)
				return rest, strings.TrimSpace(text[:end])
			}
		}
	}
	return text, ""
}

// endOfReasoning finds the first closing tag, outside fences, that ends its line
// or stands before a call. Other ones are only mentioned.
func endOfReasoning(text, tag string) (end, after int) {
	for pos, fences := 0, 0; ; {
		next := strings.Index(text[pos:], tag)
		if next < 0 {
			return -1, -1
		}
		fences += strings.Count(text[pos:pos+next], "```")
		end, after = pos+next, pos+next+len(tag)
		rest := strings.TrimLeft(text[after:], " \t\r")
		if fences%2 == 0 && (rest == "" || strings.IndexByte("\n{[<`", rest[0]) >= 0) {
			return end, after
		}
		pos = after
	}
}

// beginsCall reports a text that starts like a call.
func (s *salvage) beginsCall(text string) bool {
	if strings.IndexByte("{[(<`\"'", text[0]) >= 0 || actionAtStart.MatchString(text) {
		return true
	}
	m := callPattern.FindStringSubmatch(text)
	if m == nil {
		m = wordPattern.FindStringSubmatch(text)
	}
	if m == nil {
		return false
	}
	l, ok := s.known(m[len(m)-1])
	return ok && l.Command != nil
}
