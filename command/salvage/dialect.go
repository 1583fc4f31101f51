package salvage

import (
	"regexp"
	"strings"

	"agent/command"
	"agent/internal/legible"
)

// The dialects of other agents' protocols: function calls in code, ReAct, and
// tags. Each is taken only when it names a command that the registry knows for
// certain, since all of them also occur in prose.

// known looks a name up; ok if it is certain.
func (s *salvage) known(name string) (command.Lookup, bool) {
	l := s.reg.Lookup(name)
	return l, l.Match <= command.MatchAlias
}

// callPattern is a call as code writes it. Some models qualify the name, or have
// a method that calls.
var callPattern = regexp.MustCompile(`^` + qualifier + `([A-Za-z_][A-Za-z0-9_]{0,63})(?:\.call)?\(`)

// callAlone reads a reply that is a call such as search(query="...") and nothing
// else.
func callAlone(s *salvage, text string) []ParsedCall {
	before := s.repairs
	call, end, ok := s.functionCall(text)
	if !ok || !wordless(text[end:]) {
		s.repairs = before
		return nil
	}
	return call
}

// functionCall reads name(arguments) and its length. Arguments without a name
// fill the slots in order.
func (s *salvage) functionCall(text string) ([]ParsedCall, int, bool) {
	if strings.HasPrefix(text, printed+"default_api.") {
		calls, end, ok := s.functionCall(text[len(printed):])
		rest := strings.TrimLeft(text[len(printed):][end:], " ")
		return calls, len(text) - len(rest) + 1, ok && strings.HasPrefix(rest, ")")
	}
	m := callPattern.FindStringSubmatch(text)
	if m == nil {
		return nil, 0, false
	}
	l, ok := s.known(m[1])
	if !ok || l.Command == nil {
		return nil, 0, false
	}
	r := literalReader{text: text, pos: len(m[0]), budget: s.budget}
	content, ok := r.arguments(l.Command.Spec())
	*s.budget -= r.pos
	if !ok {
		return nil, 0, false
	}
	s.repairs.add(RepairFunctionCall)
	s.repairs.add(r.repairs...)
	return s.oneCall(m[1], content), r.pos, true
}

// arguments reads the arguments of a function call up to its parenthesis.
func (r *literalReader) arguments(spec command.Spec) (any, bool) {
	fields := map[string]any{}
	r.open = append(r.open, ')')
	defer r.leave()
	for position := 0; ; position++ {
		r.skipSpace()
		if r.take(')') {
			return fields, true
		}
		name, ok := r.argumentName()
		if !ok {
			name = slotAt(spec, position)
		}
		value, ok := r.value()
		if !ok {
			return nil, false
		}
		if object, isObject := value.(map[string]any); isObject && position == 0 &&
			name == slotAt(spec, 0) {
			fields = object
		} else {
			fields[name] = value
		}
		if !r.separator(')') {
			return nil, false
		}
	}
}

// Arguments reads the arguments of a call as code writes them, a=1, b="x", with
// or without the name and parentheses around them. Those without a name fill the
// slots in order.
func Arguments(text string, spec command.Spec) (map[string]any, bool) {
	text = strings.TrimSpace(text)
	start := callPattern.FindString(text)
	if start == "" {
		text += ")"
	}
	budget := budgetFactor*len(text) + budgetMin
	r := literalReader{text: text[len(start):], budget: &budget}
	value, ok := r.arguments(spec)
	fields, isObject := value.(map[string]any)
	return fields, ok && isObject && strings.TrimSpace(r.text[r.pos:]) == ""
}

// argumentName reads "name=" if it is there.
func (r *literalReader) argumentName() (string, bool) {
	start := r.pos
	for r.pos < len(r.text) && isNameByte(r.text[r.pos]) {
		r.pos++
	}
	name := r.text[start:r.pos]
	r.skipSpace()
	if name != "" && r.take('=') {
		return name, true
	}
	r.pos = start
	return "", false
}

func slotAt(spec command.Spec, position int) string {
	if position < len(spec.Slots) {
		return spec.Slots[position].Name
	}
	return spec.TextSlot()
}

// The lines of ReAct, and of the wire form written as lines.
var (
	actionPattern  = regexp.MustCompile(`(?mi)^[ \t*#-]*(?:Action|Command|Tool)[ \t*]*:[ \t*]*(.+)$`)
	inputPattern   = regexp.MustCompile(`(?mi)^[ \t*#-]*(?:(?:Action|Tool)[ _]?Input|Content|Arguments|Input)[ \t*]*:[ \t*]*`)
	thoughtPattern = regexp.MustCompile(`(?mi)^[ \t*#-]*(?:Thought|Notes?)[ \t*]*:[ \t*]*`)
	finalPattern   = regexp.MustCompile(`(?mi)^[ \t*#-]*Final Answer[ \t*]*:[ \t*]*`)
	nextPattern    = regexp.MustCompile(`(?m)^[ \t*#-]*(?:Observation|Thought|Action|Command|Final Answer)[ \t*]*:`)
	summaryPattern = regexp.MustCompile(`(?mi)^[ \t*#-]*Summary[ \t*]*:.*\n?`)
	actionAtStart  = regexp.MustCompile(`(?i)^(?:Action|Command|Tool|Thought|Notes?)[ \t*]*:`)
	bracketPattern = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,63})\[(.*)\]$`)
)

// reActAtStart reads a reply in the form of ReAct from its first line on.
func reActAtStart(s *salvage, text string) []ParsedCall {
	if !actionAtStart.MatchString(text) && finalPattern.FindString(text) == "" {
		return nil
	}
	return reAct(s, text)
}

// reAct reads "Action: reader" with "Action Input: ...", "Action: reader[...]",
// "Command: reader" with "Content: ...", and "Final Answer: ...". Only the first
// action counts: what follows it rests on an observation that the model invented.
func reAct(s *salvage, text string) []ParsedCall {
	action := actionPattern.FindStringSubmatchIndex(text)
	final := finalPattern.FindStringIndex(text)
	if final != nil && (action == nil || final[0] < action[0]) {
		s.repairs.add(RepairReAct)
		return withThought(s.oneCall(answerName, strings.TrimSpace(text[final[1]:])), text[:final[0]])
	}
	if action == nil {
		return nil
	}
	before := s.repairs
	if !ownAction(text, action[0]) {
		s.repairs.add(RepairMaybeQuoted)
	}
	calls := s.action(strings.Trim(text[action[2]:action[3]], " \t\r*`"), text[action[1]:])
	if calls == nil {
		s.repairs = before
		return nil
	}
	s.repairs.add(RepairReAct)
	return withThought(calls, text[:action[0]])
}

// ownAction reports an action that the reply itself takes: its line is not a list
// item, not indented, and only a thought stands before it.
func ownAction(text string, at int) bool {
	before := text[:at]
	return actionAtStart.MatchString(text[at:]) && strings.Count(before, "```")%2 == 0 &&
		(before == "" || actionAtStart.MatchString(before))
}

// action makes the call of an action's name and the text after its line.
func (s *salvage) action(name, rest string) []ParsedCall {
	if l, ok := s.known(name); ok {
		s.checkInput(rest)
		content := s.actionInput(rest)
		if input, isText := content.(string); isText && l.Command != nil {
			content = asFields(input, l.Command.Spec())
		}
		if content == nil && l.Command != nil {
			lines := strings.TrimSpace(summaryPattern.ReplaceAllString(rest, ""))
			if fields := slotLines(l.Command.Spec(), lines); fields != nil {
				content = fields
			}
		}
		return s.oneCall(name, content)
	}
	if m := bracketPattern.FindStringSubmatch(name); m != nil {
		if _, ok := s.known(m[1]); ok {
			s.checkRest(rest)
			return s.oneCall(m[1], m[2])
		}
	}
	calls, end, ok := s.functionCall(name + rest)
	if ok {
		s.checkRest((name + rest)[end:])
	}
	return calls
}

// asFields reads an input that has the slots of a command as arguments, key="value", or
// as lines, key: value; else it stays a text.
func asFields(input string, spec command.Spec) any {
	if name, _, ok := strings.Cut(input, "="); ok && hasSlot(spec, strings.TrimSpace(name)) {
		if fields, ok := Arguments(input, spec); ok {
			return fields
		}
	}
	fields := slotLines(spec, input)
	if fields == nil {
		return input
	}
	for key, v := range fields {
		if text, ok := v.(string); ok {
			fields[key] = unquoted(text)
		}
	}
	return fields
}

// checkRest marks a call that is followed by anything but the next label.
func (s *salvage) checkRest(rest string) {
	if next := nextPattern.FindStringIndex(rest); next != nil {
		rest = rest[:next[0]]
	}
	if !wordless(rest) {
		s.repairs.add(RepairMaybeQuoted)
	}
}

// checkInput marks a call whose input is not separated from what follows.
func (s *salvage) checkInput(rest string) {
	if next := nextPattern.FindStringIndex(rest); next != nil {
		rest = rest[:next[0]]
	}
	between, input := rest, ""
	if at := inputPattern.FindStringIndex(rest); at != nil {
		between, input = rest[:at[0]], rest[at[1]:]
	}
	if !wordless(summaryPattern.ReplaceAllString(between, "")) ||
		!s.delimited(strings.TrimSpace(input)) {
		s.repairs.add(RepairMaybeQuoted)
	}
}

// actionInput reads the value after "Action Input:", nil when there is none.
func (s *salvage) actionInput(text string) any {
	at := inputPattern.FindStringIndex(text)
	if at == nil {
		return nil
	}
	input := text[at[1]:]
	if end := nextPattern.FindStringIndex(input); end != nil {
		input = input[:end[0]]
	}
	input = strings.TrimSpace(input)
	if _, body, ok := legible.CutFence(input); ok {
		s.repairs.add(RepairFence)
		input = strings.TrimSpace(body)
	}
	if input == "" {
		return nil
	}
	if strings.IndexByte("{[\"", input[0]) >= 0 {
		v, end, made, ok := s.read(input, false)
		if ok && strings.TrimSpace(input[end:]) == "" {
			s.repairs.add(made...)
			return v
		}
	}
	return input
}

// withThought keeps the text before the action as a note.
func withThought(calls []ParsedCall, before string) []ParsedCall {
	if at := thoughtPattern.FindStringIndex(before); at != nil {
		if note := strings.TrimSpace(before[at[1]:]); note != "" {
			calls[0].Notes = []string{note}
		}
	}
	return calls
}
