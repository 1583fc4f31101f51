package salvage

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"agent/internal/legible"
)

// depthMax bounds nesting. Deeper values are never calls, and bounded recursion
// can't exhaust the stack.
const depthMax = 200

// valueCost is what a value costs beside its bytes: making one is dearer than
// reading a byte.
const valueCost = 4

// literalReader reads one value in JSON, JSON5, Python, or a mixture of them,
// which is what models write. It stops at the end of the value and never goes
// back more than one string, so its work is linear.
//
// A lenient reader also repairs what none of these grammars allows: quotes inside
// strings, missing commas and brackets, words without quotes, a missing end.
type literalReader struct {
	text    string
	pos     int
	depth   int
	open    []byte // closers of the containers around pos, innermost last
	lenient bool
	budget  *int // bytes that may still be looked at
	repairs repairs
	comma   bool // the last separator was a comma
	extra   bool // the container just closed had a comma before its closer
	// colonless says that keys without a colon were seen.
	colonless bool
}

// value reads one value at pos. It reports false when there is none.
func (r *literalReader) value() (any, bool) {
	if r.depth >= depthMax || !r.spend(valueCost) {
		return nil, false
	}
	r.skipSpace()
	if r.pos >= len(r.text) {
		return nil, false
	}
	r.depth++
	defer func() { r.depth-- }()
	switch c := r.text[r.pos]; {
	case c == '{':
		return r.object()
	case c == '[':
		return r.list(']')
	case c == '(':
		return r.tuple()
	case r.atString():
		return r.strings()
	case c == '-' || c == '+' || c == '.' || isDigit(c):
		return r.number()
	default:
		return r.word()
	}
}

// object reads {key: value, ...}. The first entry must have a colon, or a key in
// quotes, even for a lenient reader, so that braces in prose are not taken for
// an object.
func (r *literalReader) object() (any, bool) {
	r.enter('}')
	defer r.leave()
	out := map[string]any{}
	for first := true; ; first = false {
		if done, ok := r.closed('}', first); done {
			return out, ok
		}
		quoted := r.atString()
		key, ok := r.key()
		if !ok {
			return out, r.lenient && !first && r.give()
		}
		r.skipSpace()
		if !r.take(':') && !(quoted && r.assumeColon()) {
			return out, r.lenient && !first && r.give()
		}
		value, ok := r.value()
		if !ok {
			if r.lenient && r.pos >= len(r.text) {
				r.repairs.add(RepairTruncated)
				return out, true
			}
			return nil, false
		}
		out[key] = value
		if !r.separator('}') {
			return nil, false
		}
	}
}

// list reads the entries up to closer.
func (r *literalReader) list(closer byte) (any, bool) {
	r.enter(closer)
	defer r.leave()
	out := []any{}
	for first := true; ; first = false {
		if done, ok := r.closed(closer, first); done {
			return out, ok
		}
		value, ok := r.value()
		if !ok {
			return nil, false
		}
		out = append(out, value)
		if !r.separator(closer) {
			return nil, false
		}
	}
}

// tuple reads a Python tuple, or a value in parentheses.
func (r *literalReader) tuple() (any, bool) {
	r.repairs.add(RepairPythonLiteral)
	v, ok := r.list(')')
	if entries, _ := v.([]any); ok && len(entries) == 1 && !r.extra {
		return entries[0], true
	}
	return v, ok
}

func (r *literalReader) enter(closer byte) {
	r.pos++
	r.open = append(r.open, closer)
}

func (r *literalReader) leave() { r.open = r.open[:len(r.open)-1] }

// closed reports whether the container ends here, and whether with the right
// bracket.
func (r *literalReader) closed(closer byte, first bool) (done, ok bool) {
	for {
		r.skipSpace()
		if r.pos >= len(r.text) {
			return true, r.lenient && r.note(RepairTruncated)
		}
		c := r.text[r.pos]
		if c == closer {
			r.pos++
			if r.extra = !first && r.comma; r.extra && closer != ')' {
				r.repairs.add(RepairTrailingComma)
			}
			return true, true
		}
		if !r.lenient || c != '}' && c != ']' && c != ')' {
			return false, true
		}
		r.repairs.add(RepairBrackets)
		if r.outerExpects(c) {
			return true, true // the closer of this container is missing
		}
		r.pos++
	}
}

// outerExpects reports whether c closes a container around the current one.
func (r *literalReader) outerExpects(c byte) bool {
	return bytes.IndexByte(r.open[:len(r.open)-1], c) >= 0
}

// separator reads the comma between entries, or sees the end of the container.
func (r *literalReader) separator(closer byte) bool {
	r.skipSpace()
	r.comma = r.take(',')
	if r.comma {
		return true
	}
	if r.pos < len(r.text) && r.text[r.pos] == closer {
		return true
	}
	if !r.lenient {
		return false
	}
	if r.pos < len(r.text) && strings.IndexByte("}])", r.text[r.pos]) < 0 {
		r.take(';')
		r.repairs.add(RepairMissingComma)
	}
	return true
}

// assumeColon accepts a missing colon if a value follows.
func (r *literalReader) assumeColon() bool {
	if !r.lenient || r.pos >= len(r.text) {
		return false
	}
	c := r.text[r.pos]
	r.colonless = strings.IndexByte("{[\"'-tfnTFN", c) >= 0 || isDigit(c)
	return r.colonless && r.note(RepairMissingColon)
}

// give ends a broken object early and keeps what was read.
func (r *literalReader) give() bool {
	if r.pos >= len(r.text) {
		return r.note(RepairTruncated)
	}
	return r.note(RepairBrackets)
}

func (r *literalReader) note(name Repair) bool {
	r.repairs.add(name)
	return true
}

// key reads the key of an object entry.
func (r *literalReader) key() (string, bool) {
	if r.atString() {
		v, ok := r.oneString(true)
		return v, ok
	}
	start := r.pos
	for r.pos < len(r.text) && (isNameByte(r.text[r.pos]) || r.text[r.pos] == '.' && r.lenient) {
		r.pos++
	}
	if r.pos == start || !r.spend(r.pos-start) {
		return "", false
	}
	if isDigit(r.text[start]) {
		r.repairs.add(RepairPythonLiteral)
	} else {
		r.repairs.add(RepairJSON5)
	}
	return r.text[start:r.pos], true
}

// atString reports whether a string starts at pos, prefix included.
func (r *literalReader) atString() bool {
	_, quote := r.stringStart()
	return quote != ""
}

// stringStart returns the length of the prefix (r, f, b, u) and the quote.
func (r *literalReader) stringStart() (prefix int, quote string) {
	rest := r.text[r.pos:]
	for prefix < len(rest) && prefix < 2 && strings.IndexByte("rRbBuUfF", rest[prefix]) >= 0 {
		prefix++
	}
	for _, q := range quotes {
		if strings.HasPrefix(rest[prefix:], q) && (prefix == 0 || q[0] == '"' || q[0] == '\'') {
			return prefix, q
		}
	}
	return 0, ""
}

// quotes that may open a string, longest first.
var quotes = [...]string{`"""`, "'''", "```", `"`, "'", "`", "“", "<escape>", `<|"|>`}

// strings reads adjacent strings, which Python joins. In a list, JSON strings are
// joined only if they meet at a space, as parts of one text do; otherwise a comma
// is missing.
func (r *literalReader) strings() (any, bool) {
	_, quote := r.stringStart()
	s, ok := r.oneString(false)
	if !ok {
		return nil, false
	}
	var joined strings.Builder
	joined.WriteString(s)
	for r.pos < len(r.text) {
		mark, marked := r.pos, r.repairs
		r.skipSpace()
		added := r.take('+')
		if added {
			r.skipSpace()
		}
		if !r.atString() || r.lenient && startsKey(r.text[r.pos:]) { // then a comma is missing
			r.pos, r.repairs = mark, marked
			break
		}
		_, nextQuote := r.stringStart()
		next, ok := r.oneString(false)
		if !ok {
			return nil, false
		}
		if r.inList() && !added && quote == `"` && nextQuote == `"` && !meetAtSpace(s, next) {
			r.pos, r.repairs = mark, marked
			break
		}
		s = next
		r.repairs.add(RepairPythonLiteral)
		joined.WriteString(next)
	}
	return joined.String(), true
}

func (r *literalReader) inList() bool {
	return len(r.open) > 0 && r.open[len(r.open)-1] == ']'
}

// meetAtSpace reports whether two strings read as parts of one text.
func meetAtSpace(a, b string) bool {
	return a == "" || b == "" || strings.TrimRight(a, " \t\n") != a ||
		strings.TrimLeft(b, " \t\n") != b
}

// oneString reads one quoted string, quotes of any kind.
func (r *literalReader) oneString(isKey bool) (string, bool) {
	prefix, quote := r.stringStart()
	raw := strings.ContainsAny(r.text[r.pos:r.pos+prefix], "rR")
	if prefix > 0 {
		r.repairs.add(RepairPythonLiteral)
	}
	r.pos += prefix + len(quote)
	switch quote {
	case "```":
		return r.fence()
	case "“":
		r.repairs.add(RepairQuotes)
		return r.quoted("”", false, isKey)
	case "`":
		r.repairs.add(RepairJSON5)
	case `"`:
	default:
		r.repairs.add(RepairPythonLiteral)
	}
	return r.quoted(quote, raw, isKey)
}

// fence reads a fenced block in place of a string.
func (r *literalReader) fence() (string, bool) {
	body, _, closed := strings.Cut(r.text[r.pos:], "```")
	if !r.spend(len(body)) || !closed && !r.lenient {
		return "", false
	}
	r.pos += len(body)
	if !r.takeFence() {
		r.repairs.add(RepairTruncated)
	}
	r.repairs.add(RepairFence)
	if info, rest, ok := strings.Cut(body, "\n"); ok && legible.IsFenceInfo(info) {
		body = rest
	}
	return strings.TrimSuffix(body, "\n"), true
}

func (r *literalReader) takeFence() bool {
	closed := strings.HasPrefix(r.text[r.pos:], "```")
	if closed {
		r.pos += len("```")
	}
	return closed
}

// quoted reads up to the closing quote and undoes the escapes.
func (r *literalReader) quoted(closer string, raw, isKey bool) (string, bool) {
	var out strings.Builder
	start, before := r.pos, r.repairs // start of what is not yet copied to out
	first := start
	for r.pos < len(r.text) {
		if !r.spend(1) {
			return "", false
		}
		c := r.text[r.pos]
		switch {
		case c == closer[0] && strings.HasPrefix(r.text[r.pos:], closer):
			end := r.pos
			r.pos += len(closer)
			if r.lenient && len(closer) == 1 && !(isKey && isName(r.text[start:end])) && !r.endsHere(isKey) {
				if body, ok := cutBeforeKey(r.text[start:end], r.text[end:]); ok && !isKey {
					r.pos = start + len(body)
					return r.unclosed(&out, body, before)
				}
				r.repairs.add(RepairQuotes)
				continue
			}
			out.WriteString(r.text[start:end])
			return out.String(), true
		case c == '\\' && raw:
			r.pos = min(r.pos+2, len(r.text))
		case c == '\\':
			out.WriteString(r.text[start:r.pos])
			r.escape(&out, first)
			start = r.pos
		case isKey && c == '\n':
			return "", false
		case c < ' ' && len(closer) == 1:
			r.repairs.add(RepairControl)
			r.pos++
		default:
			r.pos++
		}
	}
	if !r.lenient {
		return "", false
	}
	r.repairs.add(RepairTruncated) // also where it looks otherwise: nobody knows what was to follow
	if body, ok := r.cutBeforeClosers(r.text[start:]); ok && len(closer) == 1 {
		r.pos = start + len(body)
		return r.unclosed(&out, body, before)
	}
	out.WriteString(r.text[start:])
	return out.String(), true
}

// unclosed ends a string without a closing quote after body. Line breaks passed
// on the way are then not part of the string.
func (r *literalReader) unclosed(out *strings.Builder, body string, before repairs) (string, bool) {
	out.WriteString(body)
	if s := out.String(); !slices.Contains(before, RepairControl) &&
		!strings.ContainsFunc(s, unicode.IsControl) {
		r.repairs = slices.DeleteFunc(slices.Clone(r.repairs),
			func(made Repair) bool { return made == RepairControl })
	}
	r.repairs.add(RepairMissingQuote)
	return out.String(), true
}

// cutBeforeKey detects a string without its closing quote: its one line ends in a
// comma, and the next quote opens a key.
func cutBeforeKey(body, rest string) (string, bool) {
	line, ok := strings.CutSuffix(strings.TrimRight(body, " \t"), "\n")
	line, comma := strings.CutSuffix(strings.TrimRight(line, " \t\r"), ",")
	return line, ok && comma && !strings.Contains(line, "\n") && startsKey(rest)
}

// cutBeforeClosers detects a string without its closing quote: the text ends with
// the open brackets.
func (r *literalReader) cutBeforeClosers(body string) (string, bool) {
	i, closed := len(body), 0
	for i > 0 && strings.IndexByte("}] \t\r\n", body[i-1]) >= 0 {
		i--
	}
	for _, c := range []byte(body[i:]) {
		if c != '}' && c != ']' {
			continue
		}
		if closed == len(r.open) {
			break // what is around is closed too
		}
		if r.open[len(r.open)-1-closed] != c {
			return "", false
		}
		closed++
	}
	// they stand on lines of their own
	line := strings.Contains(body[i:], "\n") && strings.TrimLeft(body[i:], " \t\r") != ""
	return body[:i], closed > 0 && (line || closed == len(r.open))
}

// endsHere decides whether the quote just read ends its string: what follows must
// be able to follow a string.
func (r *literalReader) endsHere(isKey bool) bool {
	rest := strings.TrimLeft(r.text[r.pos:], " \t\r\n")
	if !r.spend(len(r.text) - r.pos - len(rest)) {
		return true
	}
	if isKey {
		return strings.HasPrefix(rest, ":")
	}
	if rest == "" {
		return true
	}
	switch rest[0] {
	case '}', ']', ')':
		return bytes.IndexByte(r.open, rest[0]) >= 0
	case ',':
		after := strings.TrimLeft(rest[1:], " \t\r\n")
		if !r.spend(len(rest) - len(after)) {
			return true
		}
		return r.entryFollows(after)
	}
	brokeLine := strings.ContainsRune(r.text[r.pos:len(r.text)-len(rest)], '\n')
	return brokeLine && startsKey(rest) || r.inList() && rest[0] == '"'
}

// entryFollows reports whether text can be the next entry of the container
// that the reader is in.
func (r *literalReader) entryFollows(text string) bool {
	if text == "" {
		return true
	}
	inObject := len(r.open) > 0 && r.open[len(r.open)-1] == '}'
	if inObject {
		return text[0] == '}' || startsKey(text) || r.colonless && startsBareKey(text)
	}
	return strings.IndexByte("\"'{[(-0123456789]", text[0]) >= 0 || startsConstant(text)
}

// keyBytesMax is how far startsKey and startsBareKey look.
const keyBytesMax = 64

// startsKey reports whether text starts with a key and its colon.
func startsKey(text string) bool {
	window := text[:min(len(text), keyBytesMax)]
	if window == "" {
		return false
	}
	i := 0
	if q := window[0]; q == '"' || q == '\'' {
		end := strings.IndexByte(window[1:], q)
		if end < 0 {
			return false
		}
		i = end + 2
	} else {
		for i < len(window) && isNameByte(window[i]) {
			i++
		}
	}
	return i > 0 && strings.HasPrefix(strings.TrimLeft(window[i:], " \t"), ":")
}

// startsBareKey reports whether text starts with a name in quotes and a value
// without a colon between them.
func startsBareKey(text string) bool {
	window := text[:min(len(text), keyBytesMax)]
	name, rest, ok := strings.Cut(window[1:], `"`)
	rest = strings.TrimLeft(rest, " \t")
	return ok && text[0] == '"' && isName(name) && rest != "" &&
		strings.IndexByte(",]}\n", rest[0]) < 0
}

func startsConstant(text string) bool {
	constants := []string{"true", "false", "null", "True", "False", "None"}
	return slices.ContainsFunc(constants, func(w string) bool { return strings.HasPrefix(text, w) })
}

// escape decodes one backslash sequence of the string that begins at first. An
// unknown one keeps its backslash, as in Python, and so does one that only looks
// like an escape: they are paths, formulas and regular expressions.
func (r *literalReader) escape(out *strings.Builder, first int) {
	kept := keepsBackslash(r.text, first, r.pos)
	r.spend(1)
	r.pos++ // the backslash
	if kept {
		out.WriteByte('\\')
		if r.pos < len(r.text) {
			r.repairs.add(RepairEscape)
		}
		return
	}
	c := r.text[r.pos]
	r.pos++
	if i := strings.IndexByte(`"\/nrt`, c); i >= 0 {
		out.WriteByte("\"\\/\n\r\t"[i])
		return
	}
	switch c {
	case '\'', '`':
		out.WriteByte(c)
		r.repairs.add(RepairPythonLiteral)
	case '_':
		out.WriteByte('_')
		r.repairs.add(RepairUnderscore)
	case '\n':
		r.repairs.add(RepairPythonLiteral) // a continued line
	case 'u':
		r.unicode(out, 4, c)
	case 'U':
		r.repairs.add(RepairPythonLiteral)
		r.unicode(out, 8, c)
	case 'x':
		r.repairs.add(RepairPythonLiteral)
		r.unicode(out, 2, c)
	default:
		r.repairs.add(RepairEscape)
		out.WriteByte('\\')
		r.pos-- // c is ordinary text, which may be a rune of several bytes
	}
}

// unicode reads the hexadecimal digits of \x, \u or \U, surrogate pairs too.
func (r *literalReader) unicode(out *strings.Builder, digits int, letter byte) {
	code, ok := r.hex(r.pos, digits)
	if !ok || digits == 2 && code < ' ' {
		r.repairs.add(RepairEscape)
		out.WriteByte('\\')
		out.WriteByte(letter)
		return
	}
	r.pos += digits
	if utf16.IsSurrogate(code) && strings.HasPrefix(r.text[r.pos:], `\u`) {
		if low, ok := r.hex(r.pos+2, 4); ok && utf16.DecodeRune(code, low) != utf8.RuneError {
			r.pos += 6
			code = utf16.DecodeRune(code, low)
		}
	}
	out.WriteRune(code) // a lone surrogate becomes U+FFFD
}

func (r *literalReader) hex(at, digits int) (rune, bool) {
	if at+digits > len(r.text) {
		return 0, false
	}
	n, err := strconv.ParseUint(r.text[at:at+digits], 16, 32)
	if err != nil || n > utf8.MaxRune {
		return 0, false
	}
	return rune(n), true
}

// number reads a number and keeps its form when JSON has that form.
func (r *literalReader) number() (any, bool) {
	start := r.pos
	for r.pos < len(r.text) && (isNameByte(r.text[r.pos]) ||
		strings.IndexByte("+.", r.text[r.pos]) >= 0) {
		r.pos++
	}
	word := r.text[start:r.pos]
	if !r.spend(len(word)) {
		return nil, false
	}
	if n, ok := r.jsonNumber(word); ok && r.atDelimiter() && !r.goesOn() {
		return n, true
	}
	r.pos = start
	return r.bare()
}

// goesOn reports whether a number or constant is the first word of a text without
// an opening quote.
func (r *literalReader) goesOn() bool {
	rest := strings.TrimLeft(r.text[r.pos:], " ")
	if !r.lenient || rest == "" || !isNameByte(rest[0]) || isDigit(rest[0]) {
		return false
	}
	probe := literalReader{text: r.text, pos: r.pos, open: r.open, lenient: true, budget: r.budget}
	_, ok := probe.unopened()
	return ok
}

func (r *literalReader) jsonNumber(word string) (any, bool) {
	if isJSONNumber(word) {
		return json.Number(word), true
	}
	if notANumber(strings.TrimLeft(word, "+-")) {
		r.repairs.add(RepairJSON5)
		return word, true // JSON has no such number: the word stays a word
	}
	if n, ok := pythonNumber(word); ok {
		r.repairs.add(RepairPythonLiteral)
		return n, true
	}
	return nil, false
}

// pythonNumber reads forms that JSON lacks: 1_000, 0xff, .5, 5., +1. A number
// with a leading zero, such as 01234, is a code and stays text.
func pythonNumber(word string) (json.Number, bool) {
	digits := strings.TrimLeft(word, "+-")
	if len(digits) > 1 && digits[0] == '0' && isDigit(digits[1]) {
		return "", false
	}
	if i, err := strconv.ParseInt(word, 0, 64); err == nil {
		return json.Number(strconv.FormatInt(i, 10)), true
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(word, "_", ""), 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || strings.ContainsAny(word, "xX") {
		return "", false
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, 64)), true
}

func notANumber(word string) bool { return word == "NaN" || word == "Infinity" }

// isJSONNumber checks the grammar of RFC 8259.
func isJSONNumber(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	return digits != "" && isDigit(digits[0]) && json.Valid([]byte(s))
}

// word reads a constant of any of the grammars.
func (r *literalReader) word() (any, bool) {
	start := r.pos
	for r.pos < len(r.text) && isNameByte(r.text[r.pos]) {
		r.pos++
	}
	if !r.spend(r.pos - start) {
		return nil, false
	}
	word := r.text[start:r.pos]
	if v, python, ok := constant(word); ok && r.atDelimiter() {
		if python {
			r.repairs.add(RepairPythonLiteral)
		}
		return v, true
	}
	if notANumber(word) && r.atDelimiter() {
		r.repairs.add(RepairJSON5)
		return word, true
	}
	r.pos = start
	return r.bare()
}

func constant(word string) (v any, python, ok bool) {
	switch word {
	case "true":
		return true, false, true
	case "false":
		return false, false, true
	case "null":
		return nil, false, true
	case "True":
		return true, true, true
	case "False":
		return false, true, true
	case "None", "undefined":
		return nil, true, true
	}
	return nil, false, false
}

// bare reads words without quotes, up to the end of the entry or line.
func (r *literalReader) bare() (any, bool) {
	if !r.lenient || len(r.open) == 0 {
		return nil, false
	}
	start := r.pos
	if s, ok := r.unopened(); ok {
		return s, true
	}
	for r.pos < len(r.text) && strings.IndexByte(",}]\n", r.text[r.pos]) < 0 {
		r.pos++
	}
	if !r.spend(r.pos - start) {
		return nil, false
	}
	word := strings.TrimSpace(r.text[start:r.pos])
	if word == "" {
		return nil, false
	}
	r.repairs.add(RepairBareWord)
	return word, true
}

// unopened reads a string without its opening quote, up to a quote in the same
// line that can end it.
func (r *literalReader) unopened() (string, bool) {
	start, made := r.pos, r.repairs
	line, _, _ := strings.Cut(r.text[start:], "\n")
	if !r.spend(len(line)) {
		return "", false
	}
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
			continue
		}
		r.pos = start + i + 1
		if line[i] == '"' && (i == 0 || strings.IndexByte(",:[{", line[i-1]) < 0) && r.endsHere(false) {
			r.repairs.add(RepairMissingQuote)
			return r.unescaped(line[:i]), true
		}
	}
	r.pos, r.repairs = start, made
	return "", false
}

// unescaped undoes the escapes of a string's body.
func (r *literalReader) unescaped(body string) string {
	inner := literalReader{text: body, budget: r.budget}
	var out strings.Builder
	for inner.pos < len(body) {
		if body[inner.pos] == '\\' {
			inner.escape(&out, 0)
			continue
		}
		out.WriteByte(body[inner.pos])
		inner.pos++
	}
	r.repairs.add(inner.repairs...)
	return out.String()
}

// atDelimiter reports whether a number or constant may end at pos.
func (r *literalReader) atDelimiter() bool {
	return r.pos >= len(r.text) || strings.IndexByte(" \t\r\n,:]})#/;", r.text[r.pos]) >= 0
}

// skipSpace skips white space and comments of Python and JSON5.
func (r *literalReader) skipSpace() {
	for r.pos < len(r.text) {
		rest := r.text[r.pos:]
		switch c := rest[0]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			r.pos++
		case strings.HasPrefix(rest, "\u00a0"):
			r.pos += len("\u00a0")
		case strings.HasPrefix(rest, "\ufeff"):
			r.pos += len("\ufeff")
		case c == '#':
			r.comment("\n", RepairPythonLiteral)
		case strings.HasPrefix(rest, "//"):
			r.comment("\n", RepairJSON5)
		case strings.HasPrefix(rest, "/*"):
			r.comment("*/", RepairJSON5)
		default:
			return
		}
	}
}

func (r *literalReader) comment(end string, name Repair) {
	r.repairs.add(name)
	i := strings.Index(r.text[r.pos:], end)
	if i < 0 {
		r.spend(len(r.text) - r.pos)
		r.pos = len(r.text)
		return
	}
	r.spend(i)
	r.pos += i + len(end)
}

func (r *literalReader) take(c byte) bool {
	if r.pos < len(r.text) && r.text[r.pos] == c {
		r.pos++
		return true
	}
	return false
}

// spend takes n bytes off the budget and reports whether any is left.
func (r *literalReader) spend(n int) bool {
	*r.budget -= n
	return *r.budget > 0
}

// isName reports a text that is a name: a key without surprises.
func isName(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '_' || c == '$' ||
		c == '-'
}
