package salvage

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"agent/command"
	"agent/internal/legible"
)

// found are calls that stand next to each other in a text, from start to end.
type found struct {
	calls      []ParsedCall
	repairs    repairs
	start, end int
}

// walk finds the calls in a text and repairs broken objects. Calls that do not
// stand alone, one after the other, are marked.
func walk(s *salvage, text string) []ParsedCall {
	out, first, alone := s.stated(text)
	if len(out) > 0 && !(alone && isGap(text[:first])) {
		s.repairs.add(RepairMaybeQuoted)
	}
	return out
}

// stated are the calls of a text that are no part of a sentence, where the first one
// begins, and whether from there on nothing else stands beside them.
func (s *salvage) stated(text string) (out []ParsedCall, first int, alone bool) {
	last, told := 0, -1 // of the text: what is read, and what a sentence speaks of
	for _, f := range s.scan(text) {
		if told >= 0 && !strings.Contains(text[told:f.start], "\n") || inSentence(text, f) {
			told = f.end
			continue
		}
		if len(out) == 0 {
			first, alone = f.start, true
		} else {
			alone = alone && isGap(text[last:f.start])
		}
		last = f.end
		out = append(out, f.calls...)
		s.repairs.add(f.repairs...)
	}
	return out, first, alone && wordless(untilNext(text[last:]))
}

// inSentence reports calls that a sentence speaks of: words stand on both sides of them
// in their line, or on one side where they are in quotes.
func inSentence(text string, f found) bool {
	before := text[strings.LastIndexByte(text[:f.start], '\n')+1 : f.start]
	after, _, _ := strings.Cut(text[f.end:], "\n")
	left, right := !wordless(before), !wordless(after)
	if left && right {
		return true
	}
	opening, _ := utf8.DecodeLastRuneInString(strings.TrimRight(tagPattern.ReplaceAllString(before,
		""), " "))
	return (left || right) && strings.ContainsRune("`\"'“„«‹「『", opening)
}

// scan finds the calls in a text. It does not search inside a call or a value, so a
// call quoted in another call's text is never taken for one.
func (s *salvage) scan(text string) []found {
	var out []found
	lines := true // a line begins at pos
	for pos := 0; pos < len(text) && *s.budget > 0; {
		start := pos
		if lines {
			start += len(text[pos:]) - len(strings.TrimLeft(text[pos:], " \t`"))
		}
		before := s.repairs
		s.repairs = nil
		calls, length := s.callFrom(text, start, lines)
		if n := len(out) - 1; len(calls) > 0 && n >= 0 && isGap(text[out[n].end:start]) {
			out[n].calls, out[n].end = append(out[n].calls, calls...), start+length
			out[n].repairs.add(s.repairs...)
		} else if len(calls) > 0 {
			out = append(out, found{calls, s.repairs, start, start + length})
		}
		s.repairs = before
		lines = false
		if length > 0 {
			pos = start + length
			continue
		}
		if start < len(text) && strings.IndexByte("{[<", text[start]) >= 0 {
			pos = start + 1
		}
		step := strings.IndexAny(text[pos:], "{[<\n")
		if step < 0 {
			break
		}
		if pos += step; text[pos] == '\n' {
			lines = true
			pos++
		}
	}
	return out
}

// untilNext is a text up to an observation that a model invented after its call.
func untilNext(text string) string {
	if next := nextPattern.FindStringIndex(text); next != nil {
		return text[:next[0]]
	}
	return text
}

// Within finds the calls that stand anywhere in a text, such as that of a file.
func Within(text string, reg *command.Registry) []command.Call {
	budget := budgetFactor*len(text) + budgetMin
	var out []command.Call
	for _, f := range (&salvage{reg: reg, budget: &budget}).scan(strings.ToValidUTF8(text, "\uFFFD")) {
		for _, c := range f.calls {
			out = append(out, c.Call)
		}
	}
	return out
}

// gapPattern is what may stand before and between calls that a reply states: the
// marks that models put around calls.
var gapPattern = regexp.MustCompile("(?i)^(?:[*#]{0,3}(?:action|(?:tool|function)[ _]calls?)[*]{0,2}:[*]{0,2})?" +
	"(?:[\\s,;]|```[a-z0-9_+.-]*\\n|```$|" +
	`</?[a-z_:]{0,20}(?:tool|function|action)?_?calls?>|</?tools?_(?:prefix|suffix)>|</?｜DSML｜function_calls>|` +
	`<[|｜]/?[a-z_▁/]{1,40}[|｜]>|\[/?TOOL_(?:CALLS?|REQUEST)\]|\[END_TOOL_REQUEST\]|functools|>>>)*$`)

// resultMark is a token that begins what others said: a result that is shown is no statement.
var resultMark = regexp.MustCompile(`<[|｜]/?[a-z_▁]{0,40}(?:response|result|output|observation|user|system)[a-z_▁]{0,40}[|｜]>`)

// isGap reports that only the marks of calls stand in a text.
func isGap(text string) bool {
	return gapPattern.MatchString(text) &&
		!resultMark.MatchString(text)
}

var tagPattern = regexp.MustCompile(`<[^<>\s]*>|\[/?[A-Z_]{4,32}\]`)

// wordless reports that no words follow a call, only marks and tags.
func wordless(text string) bool {
	text = tagPattern.ReplaceAllString(text, "")
	return !strings.ContainsFunc(text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
}

// delimited reports a text with a clear end: nothing, one value, or one fenced
// block.
func (s *salvage) delimited(text string) bool {
	if text == "" {
		return true
	}
	if _, _, ok := legible.CutFence(text); ok {
		return true
	}
	if strings.IndexByte("{[(\"'", text[0]) < 0 {
		return false
	}
	_, end, _, ok := s.read(text, false)
	return ok && wordless(text[end:])
}

// callFrom reads the calls at a position and the length of what stands there; 0
// if it is neither a call nor a value.
func (s *salvage) callFrom(text string, at int, line bool) ([]ParsedCall, int) {
	rest := text[at:]
	if rest == "" {
		return nil, 0
	}
	if calls, length := s.channelCall(rest); length > 0 {
		return calls, length
	}
	if calls, length := s.markedCall(rest); length > 0 {
		return calls, length
	}
	switch rest[0] {
	case '{', '[':
		if rest[0] == '[' {
			if calls, length := s.callList(rest); length > 0 {
				return calls, length
			}
		}
		calls, length := s.callAt(rest)
		if len(calls) > 0 {
			s.repairs.add(RepairSurroundings)
		}
		return calls, length
	case '<':
		if calls, length := s.elements(rest); length > 0 {
			return calls, length
		}
		return s.commandTag(rest)
	}
	if !line {
		return nil, 0
	}
	calls, length, ok := s.functionCall(rest)
	if !ok {
		return nil, 0
	}
	s.repairs.add(RepairSurroundings)
	return calls, length
}

var commandStart = regexp.MustCompile(`^<([a-z0-9_]{1,64})>`)

// commandTag reads <answer>42</answer> at the start of text, for the commands
// of the registry.
func (s *salvage) commandTag(text string) ([]ParsedCall, int) {
	m := commandStart.FindStringSubmatch(text)
	if m == nil || s.reg == nil {
		return nil, 0
	}
	l := s.reg.Lookup(m[1])
	if l.Match != command.MatchExact || l.Command == nil {
		return nil, 0
	}
	end := "</" + m[1] + ">"
	body := text[len(m[0]):]
	at := s.closing(body, m[0], end)
	if at < 0 {
		return nil, 0
	}
	s.repairs.add(RepairXML)
	body = strings.TrimSpace(body[:at])
	length := len(m[0]) + at + len(end)
	if fields := s.slotElements(body, l.Command.Spec()); fields != nil {
		return s.oneCall(m[1], fields), length
	}
	if _, code, ok := legible.CutFence(body); ok {
		body = strings.TrimSpace(code)
	}
	return s.oneCall(m[1], body), length
}

// slotElements reads <slot>value</slot> for the slots of a command, nil if there is
// anything else.
func (s *salvage) slotElements(body string, spec command.Spec) map[string]any {
	var fields map[string]any
	for body != "" {
		m := commandStart.FindStringSubmatch(body)
		if m == nil || !hasSlot(spec, m[1]) {
			return nil
		}
		value, end := body[len(m[0]):], "</"+m[1]+">"
		at := s.closing(value, m[0], end)
		if at < 0 {
			return nil
		}
		if fields == nil {
			fields = map[string]any{}
		}
		fields[m[1]] = strings.TrimSuffix(strings.TrimPrefix(value[:at], "\n"), "\n")
		body = strings.TrimSpace(value[at+len(end):])
	}
	return fields
}
