// Package salvage reads what a model meant from whatever it wrote: [Parse] and
// the ladder of forms that it tries.
//
// Promises: Parse is total, linear-time, reports each repair and never changes
// valid input.
package salvage

import (
	"encoding/json"
	"regexp"
	"strings"

	"agent/command"
	"agent/internal/legible"
)

// budgetFactor bounds the work of Parse: it looks at no more than this many
// bytes per byte of the reply before it takes the rest for prose.
const (
	budgetFactor = 16
	budgetMin    = 4096 // short replies may cost more per byte
)

// Parse reads what a model meant. It accepts the canonical form, every dialect
// that models were seen to write (see [Repair]), and plain text, which is an
// answer. It is total and linear in the length of the reply. Valid JSON comes
// back unchanged, with numbers as written.
//
// Names are resolved with reg, which may be nil. An empty reply has no calls.
// Parse does not decide whether a call may run: see [command.Registry.Resolve].
// Calls that the reply may only quote have [RepairMaybeQuoted]: don't run those
// that change something, ask for them alone.
func Parse(reply string, reg *command.Registry) Parsed {
	budget := budgetFactor*len(reply) + budgetMin
	s := &salvage{reg: reg, budget: &budget}
	return s.parse(reply)
}

// ParseProse takes a reply as plain text, even if it mentions calls.
func ParseProse(reply string, reg *command.Registry) Parsed {
	budget := budgetFactor*len(reply) + budgetMin
	s := &salvage{reg: reg, budget: &budget}
	text, thought := s.removeReasoning(s.plain(reply))
	if text == "" {
		return s.onlyThought(thought)
	}
	return Parsed{prose(s, text), s.repairs}
}

// salvage is one parse of a reply.
type salvage struct {
	reg     *command.Registry
	budget  *int
	repairs repairs
}

// rung is one way to read a reply. It returns nil if it can't.
type rung func(s *salvage, text string) []ParsedCall

func (s *salvage) parse(reply string) Parsed {
	text := s.plain(reply)
	if calls := s.climb(text, strictJSON); calls != nil {
		return Parsed{calls, s.repairs}
	}
	text, thought := s.removeReasoning(text)
	if text == "" {
		return s.onlyThought(thought)
	}
	calls := s.climb(text,
		strictJSON,
		wholeLiteral,
		wholeFence,
		harmony,
		reActAtStart,
		thoughtFirst,
		callAlone,
		firstWord,
		walk,
		reAct,
		prose,
	)
	return Parsed{calls, s.repairs}
}

// plain is a reply as text, without space around it.
func (s *salvage) plain(reply string) string {
	text := strings.ToValidUTF8(reply, "\uFFFD")
	if len(text) != len(reply) {
		s.repairs.add(RepairUTF8)
	}
	return s.turnText(strings.TrimSpace(strings.TrimPrefix(text, "\ufeff")))
}

func (s *salvage) climb(text string, rungs ...rung) []ParsedCall {
	for _, r := range rungs {
		if calls := r(s, text); len(calls) > 0 {
			return calls
		}
	}
	return nil
}

func (s *salvage) normalizer() *normalizer { return &normalizer{reg: s.reg, budget: s.budget} }

// accept turns a value into calls, and keeps the repairs if there are any.
func (s *salvage) accept(v any, loose bool, made ...Repair) []ParsedCall {
	n := s.normalizer()
	calls := n.calls(v, loose)
	if len(calls) > 0 {
		s.repairs.add(made...)
		s.repairs.add(n.repairs...)
	}
	return calls
}

// read reads one value at the start of text. The work is taken off the budget
// whether it succeeds or not, so that trying again elsewhere stays linear.
func (s *salvage) read(text string, lenient bool) (v any, end int, made repairs, ok bool) {
	r := literalReader{text: text, lenient: lenient, budget: s.budget}
	v, ok = r.value()
	*s.budget -= r.pos
	return v, r.pos, r.repairs, ok && *s.budget > 0
}

// strictJSON reads a reply that is valid JSON and nothing else.
func strictJSON(s *salvage, text string) []ParsedCall {
	if text == "" || strings.IndexByte(`{["`, text[0]) < 0 {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || strings.TrimSpace(text[dec.InputOffset():]) != "" ||
		tooDeep(v, depthMax) {
		return nil
	}
	if strings.Contains(text, `\`) { // which the reader of literals looks at more closely
		if again, _, made, ok := s.read(text, false); ok {
			v = again
			s.repairs.add(made...)
		}
	}
	if inner, ok := v.(string); ok { // a call written as JSON inside a JSON string
		if v, _, made, ok := s.read(inner, false); ok {
			return s.accept(v, false, append(made, RepairNestedJSON, RepairMaybeQuoted)...)
		}
		return nil
	}
	return s.accept(v, true)
}

func tooDeep(v any, depth int) bool {
	if depth == 0 {
		return true
	}
	switch v := v.(type) {
	case []any:
		for _, entry := range v {
			if tooDeep(entry, depth-1) {
				return true
			}
		}
	case map[string]any:
		for _, entry := range v {
			if tooDeep(entry, depth-1) {
				return true
			}
		}
	}
	return false
}

// wholeLiteral reads a reply that is one Python or JSON5 value; comments may
// follow it.
func wholeLiteral(s *salvage, text string) []ParsedCall {
	if strings.IndexByte("{[(", text[0]) < 0 {
		return nil
	}
	r := literalReader{text: text, budget: s.budget}
	v, ok := r.value()
	if !ok {
		return nil
	}
	end := r.pos
	r.skipSpace()
	if r.pos < len(text) {
		return nil
	}
	if text[0] == '(' || !wordless(text[end:]) {
		r.repairs.add(RepairMaybeQuoted)
	}
	return s.accept(v, true, r.repairs...)
}

// wholeFence reads a reply that is one fenced block as if the fences were not
// there. A block of code is a call of the command named like its language.
func wholeFence(s *salvage, text string) []ParsedCall {
	info, body, ok := legible.CutFence(text)
	if !ok || strings.TrimSpace(body) == "" {
		return nil
	}
	made := s.repairs
	s.repairs.add(RepairFence)
	body = strings.TrimSpace(body)
	if info == toolCode {
		body = unprinted(body)
	}
	if calls := s.climb(body, strictJSON, wholeLiteral, callAlone); calls != nil {
		return calls
	}
	if strings.IndexByte("{[", body[0]) >= 0 {
		if calls := s.climb(body, walk); calls != nil {
			return calls
		}
	}
	if slot, ok := s.codeSlot(info); ok {
		n := s.normalizer()
		return []ParsedCall{n.named(info, map[string]any{slot: body})}
	}
	s.repairs = made
	return nil
}

// codeSlot returns the slot for code of the command named like a language.
func (s *salvage) codeSlot(language string) (string, bool) {
	l := s.reg.Lookup(language)
	if l.Command == nil || l.Match > command.MatchAlias {
		return "", false
	}
	for _, slot := range l.Command.Spec().Slots {
		if slot.Kind == command.SlotCode {
			return slot.Name, true
		}
	}
	return "", false
}

// callAt reads the calls of the value at the start of text and its length, 0
// when there is no value.
func (s *salvage) callAt(text string) ([]ParsedCall, int) {
	v, end, made, ok := s.read(text, false)
	if ok {
		return s.accept(v, false, made...), end
	}
	if text[0] != '{' {
		return nil, 0
	}
	v, end, made, ok = s.read(text, true)
	if !ok {
		return nil, 0
	}
	calls := s.accept(v, false, made...)
	if calls == nil {
		return nil, 0
	}
	return calls, end
}

// wordPattern is a first word that may be a command, in the marks that models put
// around it.
var wordPattern = regexp.MustCompile("^(?:[*#/]{0,3} +|[#/]{1,3})?([`*\"']{0,3})([A-Za-z][A-Za-z0-9_-]{0,63})")

// firstWord reads "search: weather in Foster City" and the like. After a
// command's own name anything may follow; after an alias, which is more likely a
// common word, only a colon or a line break.
func firstWord(s *salvage, text string) []ParsedCall {
	m := wordPattern.FindStringSubmatchIndex(text)
	if m == nil {
		return nil
	}
	mark, word, rest := text[m[2]:m[3]], text[m[4]:m[5]], text[m[1]:]
	l := s.reg.Lookup(word)
	if l.Match > command.MatchAlias || l.Command == nil {
		return nil
	}
	rest, closed := strings.CutPrefix(rest, mark)
	label, marked := strings.CutPrefix(rest, ":")
	if marked && !closed {
		label, closed = strings.CutPrefix(label, mark)
	}
	marked = marked || strings.HasPrefix(rest, "\n") || strings.HasPrefix(rest, "\r")
	named := l.Match == command.MatchExact && (rest == "" || rest[0] == ' ' || rest[0] == '{')
	if !marked && !named {
		return nil
	}
	stated := m[4] == 0 && closed
	rest = strings.TrimSpace(label)
	if !closed { // it stands around the call
		rest = strings.TrimSuffix(rest, mark)
	}
	if !stated || !s.delimited(rest) {
		s.repairs.add(RepairMaybeQuoted)
	}
	return s.wordCall(word, l.Command.Spec(), rest)
}

// wordCall makes a call of a command's name and the text after it.
func (s *salvage) wordCall(word string, spec command.Spec, rest string) []ParsedCall {
	before := s.repairs
	s.repairs.add(RepairFirstWord)
	if rest != "" && strings.IndexByte("{[", rest[0]) >= 0 {
		v, end, made, ok := s.read(rest, false)
		if ok && strings.TrimSpace(rest[end:]) == "" {
			if object, isObject := v.(map[string]any); isObject && hasAny(object, "command", "content") {
				s.repairs = before // the object says it all
				if calls := s.accept(v, false, append(made, RepairSurroundings)...); calls != nil {
					return calls
				}
			}
			s.repairs.add(made...)
			return s.oneCall(word, v)
		}
	}
	if fields := slotLines(spec, rest); fields != nil {
		return s.oneCall(word, fields)
	}
	if body, ok := firstFence(rest); ok && hasCode(spec) {
		s.repairs.add(RepairFence)
		return s.oneCall(word, body)
	}
	if rest == "" {
		return s.oneCall(word, nil)
	}
	if s := spec.Slots; len(s) > 0 && s[0].Kind != command.SlotCode && s[0].Kind != command.SlotText {
		rest = unquoted(rest)
	}
	return s.oneCall(word, rest)
}

// unquoted is a text without the quotes around all of it.
func unquoted(text string) string {
	quoted := len(text) > 1 && strings.IndexByte("`\"'", text[0]) >= 0 && text[len(text)-1] == text[0]
	if !quoted || strings.Count(text, text[:1]) != 2 {
		return text
	}
	return text[1 : len(text)-1]
}

func (s *salvage) oneCall(name string, content any) []ParsedCall {
	n := s.normalizer()
	call := n.named(name, content)
	s.repairs.add(n.repairs...)
	return []ParsedCall{call}
}

func hasCode(spec command.Spec) bool {
	for _, slot := range spec.Slots {
		if slot.Kind == command.SlotCode {
			return true
		}
	}
	return false
}

// firstFence returns the body of the first fenced block of a text.
func firstFence(text string) (string, bool) {
	_, rest, ok := strings.Cut(text, "```")
	if !ok {
		return "", false
	}
	info, body, ok := strings.Cut(rest, "\n")
	if !ok || !legible.IsFenceInfo(info) {
		return "", false
	}
	body, _, _ = strings.Cut(body, "\n```")
	return strings.TrimSuffix(body, "```"), true
}

// slotLines reads "file: a.txt" lines for the slots of a command. Lines after a
// slot's line belong to it. It is nil if the text does not start so.
func slotLines(spec command.Spec, text string) map[string]any {
	var fields map[string]any
	current := ""
	parts := map[string][]string{}
	for _, line := range strings.Split(text, "\n") {
		name, value, ok := strings.Cut(line, ":")
		name = strings.ToLower(strings.Trim(name, " \t`*-\"'"))
		if _, seen := parts[name]; ok && !seen && hasSlot(spec, name) {
			current = name
			parts[name] = []string{strings.TrimSpace(value)}
			continue
		}
		if current == "" {
			return nil
		}
		parts[current] = append(parts[current], line)
	}
	for name, lines := range parts {
		if fields == nil {
			fields = map[string]any{}
		}
		value := strings.TrimSpace(strings.Join(lines, "\n"))
		if _, body, ok := legible.CutFence(value); ok {
			value = strings.TrimSuffix(body, "\n")
		}
		fields[name] = value
	}
	return fields
}

func hasSlot(spec command.Spec, name string) bool {
	for _, slot := range spec.Slots {
		if slot.Name == name {
			return true
		}
	}
	return false
}

// prose takes the whole text for an answer.
func prose(s *salvage, text string) []ParsedCall {
	s.repairs.add(RepairProse)
	n := s.normalizer()
	return []ParsedCall{n.named(answerName, text)}
}
