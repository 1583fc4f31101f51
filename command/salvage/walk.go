package salvage

import (
	"regexp"
	"strings"
	"unicode"

	"agent/command"
	"agent/internal/legible"
)

// walk finds every call in a text and repairs broken objects. It does not search
// inside a call or a value, so a call quoted in another call's text is never
// taken for one. Calls that do not stand alone, one after the other, are marked.
func walk(s *salvage, text string) []ParsedCall {
	var out []ParsedCall
	alone, last := true, 0 // of the text, what is read
	lines := true          // a line begins at pos
	for pos := 0; pos < len(text) && *s.budget > 0; {
		start := pos
		if lines {
			start += len(text[pos:]) - len(strings.TrimLeft(text[pos:], " \t`"))
		}
		calls, length := s.callFrom(text, start, lines)
		if len(calls) > 0 {
			alone = alone && gapPattern.MatchString(text[last:start])
			last = start + length
			out = append(out, calls...)
		}
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
	if len(out) > 0 && !(alone && wordless(text[last:])) {
		s.repairs.add(RepairMaybeQuoted)
	}
	return out
}

// Within finds the calls that stand anywhere in a text, such as that of a file.
func Within(text string, reg *command.Registry) []command.Call {
	budget := budgetFactor*len(text) + budgetMin
	var out []command.Call
	for _, c := range walk(&salvage{reg: reg, budget: &budget}, strings.ToValidUTF8(text, "\uFFFD")) {
		out = append(out, c.Call)
	}
	return out
}

// gapPattern is what may stand before and between calls that a reply states: the
// marks that models put around calls.
var gapPattern = regexp.MustCompile("(?i)^(?:[\\s,;]|```[a-z0-9_+.-]*\\n|```$|" +
	`</?(?:tool_|function_)?calls?>|<\|/?(?:(?:tool|function)_calls?|python_tag)\|>|\[/?TOOL_CALLS?\])*$`)

var tagPattern = regexp.MustCompile(`<[^<>\s]*>`)

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
	switch rest[0] {
	case '{', '[':
		calls, length := s.callAt(rest)
		if len(calls) > 0 {
			s.repairs.add(RepairSurroundings)
		}
		return calls, length
	case '<':
		if calls, length := s.functionTag(rest); length > 0 {
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

var (
	functionStart  = regexp.MustCompile(`^<function=([A-Za-z_][A-Za-z0-9_]{0,63})>`)
	parameterStart = regexp.MustCompile(`<parameter=([A-Za-z_][A-Za-z0-9_]{0,63})>`)
	commandStart   = regexp.MustCompile(`^<([a-z0-9_]{1,64})>`)
)

// closing finds the end tag of an element whose opening tag stands before text,
// skipping nested elements of its kind. It is -1 if there is none.
func (s *salvage) closing(text, open, end string) int {
	depth := 0
	for pos := 0; ; {
		next := strings.Index(text[pos:], end)
		if next < 0 {
			*s.budget -= len(text)
			return -1
		}
		depth += strings.Count(text[pos:pos+next], open)
		if pos += next; depth == 0 {
			*s.budget -= pos
			return pos
		}
		depth--
		pos += len(end)
	}
}

// functionTag reads <function=name><parameter=key>value</parameter></function>
// at the start of text. Without its end it goes on to the next one.
func (s *salvage) functionTag(text string) ([]ParsedCall, int) {
	const open, end = "<function=", "</function>"
	m := functionStart.FindStringSubmatch(text)
	if m == nil {
		return nil, 0
	}
	body := text[len(m[0]):]
	length := len(text)
	if at := s.closing(body, open, end); at >= 0 {
		length = len(m[0]) + at + len(end)
		body = body[:at]
	} else {
		s.repairs.add(RepairMaybeQuoted)
		if next := strings.Index(body, open); next >= 0 {
			length = len(m[0]) + next
			body = body[:next]
		}
		body, _, _ = strings.Cut(body, end)
	}
	s.repairs.add(RepairXML)
	return s.oneCall(m[1], s.parameters(body)), length
}

// parameters reads the parameters inside a function tag; some models write them
// as JSON.
func (s *salvage) parameters(body string) any {
	m := parameterStart.FindStringSubmatchIndex(body)
	if m == nil {
		body = strings.TrimSpace(body)
		if strings.HasPrefix(body, "{") {
			if v, end, made, ok := s.read(body, false); ok {
				s.repairs.add(made...)
				if !wordless(body[end:]) {
					s.repairs.add(RepairMaybeQuoted)
				}
				return v
			}
		}
		if body == "" {
			return nil
		}
		return body
	}
	fields, closed := map[string]any{}, true
	for ; m != nil; m = parameterStart.FindStringSubmatchIndex(body) {
		if !wordless(body[:m[0]]) {
			s.repairs.add(RepairMaybeQuoted)
		}
		name, value := body[m[2]:m[3]], body[m[1]:]
		at := -1
		if closed {
			at = s.closing(value, "<parameter=", "</parameter>")
		}
		if at >= 0 {
			value, body = value[:at], value[at+len("</parameter>"):]
		} else { // up to the next one
			closed = false
			s.repairs.add(RepairMaybeQuoted)
			end := len(value)
			if next := parameterStart.FindStringIndex(value); next != nil {
				end = next[0]
			}
			value, body = value[:end], value[end:]
			value, _, _ = strings.Cut(value, "</parameter>")
		}
		fields[name] = strings.TrimSuffix(strings.TrimPrefix(value, "\n"), "\n")
	}
	if !wordless(body) {
		s.repairs.add(RepairMaybeQuoted)
	}
	return fields
}

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
	if _, code, ok := legible.CutFence(body); ok {
		body = strings.TrimSpace(code)
	}
	return s.oneCall(m[1], body), len(m[0]) + at + len(end)
}
