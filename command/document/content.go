package document

import (
	"bytes"
	"strconv"

	"github.com/ledongthuc/pdf"
)

// The operators that draw a page are read here and not by the PDF library,
// which takes a stream that breaks off for one without end, and the bytes of a
// picture for operators.

// Bounds of one page's drawing.
const (
	contentBytesMax = 32 << 20 // of its streams, unpacked
	operandsMax     = 64       // before one operator
	listMax         = 100_000  // values in one list
	listDepthMax    = 8
)

// contentBytes unpacks the streams of a page or a form, as far as they are
// intact.
func contentBytes(contents pdf.Value) []byte {
	if contents.Kind() != pdf.Array {
		return streamBytes(contents, contentBytesMax)
	}
	var all []byte
	for i := range contents.Len() {
		if left := contentBytesMax - len(all); left > 0 {
			all = append(append(all, streamBytes(contents.Index(i), int64(left))...), '\n')
		}
	}
	return all
}

// operandKind is what a piece of a content stream is.
type operandKind int

const (
	otherOperand operandKind = iota // what has no meaning for text
	numberOperand
	stringOperand
	nameOperand
	listOperand
	operator
	listEnd
)

// operand is a piece of a content stream: a value, or an operator.
type operand struct {
	kind   operandKind
	number float64
	text   string // of a string, a name or an operator
	list   []operand
}

// operands are the values before an operator. One that is missing is zero.
type operands []operand

func (o operands) at(i int) operand {
	if i >= len(o) {
		return operand{}
	}
	return o[i]
}

func (o operands) number(i int) float64 { return o.at(i).number }

func (o operands) text(i int) string { return o.at(i).text }

func (o operands) matrix() matrix {
	return matrix{o.number(0), o.number(1), o.number(2), o.number(3), o.number(4), o.number(5)}
}

// lexer splits a content stream into pieces. It always ends.
type lexer struct {
	data []byte
	pos  int
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == 0
}

func isDelimiter(c byte) bool { return bytes.IndexByte([]byte("()<>[]{}/%"), c) >= 0 }

// next reads one piece; ok is false at the end.
func (l *lexer) next() (o operand, ok bool) { return l.nextWithin(0) }

func (l *lexer) nextWithin(depth int) (o operand, ok bool) {
	l.skipSpace()
	if l.pos >= len(l.data) {
		return o, false
	}
	c := l.data[l.pos]
	switch {
	case c == '(':
		return operand{kind: stringOperand, text: l.literal()}, true
	case c == '<' && l.pos+1 < len(l.data) && l.data[l.pos+1] != '<':
		return operand{kind: stringOperand, text: l.hexadecimal()}, true
	case c == '/':
		l.pos++
		return operand{kind: nameOperand, text: unescapedName(l.regular())}, true
	case c == '[':
		l.pos++
		return l.list(depth), true
	case c == ']':
		l.pos++
		return operand{kind: listEnd}, true
	case isDelimiter(c): // of dictionaries, procedures, or out of place
		l.pos++
		return operand{}, true
	}
	word := l.regular()
	if number, err := strconv.ParseFloat(word, 64); err == nil {
		return operand{kind: numberOperand, number: number}, true
	}
	if c := word[0]; c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' {
		return operand{kind: numberOperand}, true // written wrongly, which counts as zero
	}
	return operand{kind: operator, text: word}, true
}

// skipSpace passes over white space and comments.
func (l *lexer) skipSpace() {
	for l.pos < len(l.data) {
		switch c := l.data[l.pos]; {
		case isSpace(c):
			l.pos++
		case c == '%':
			for l.pos < len(l.data) && l.data[l.pos] != '\n' && l.data[l.pos] != '\r' {
				l.pos++
			}
		default:
			return
		}
	}
}

// regular reads up to white space or a delimiter; at least one byte if there
// is one, unless it is called for a name.
func (l *lexer) regular() string {
	start := l.pos
	for l.pos < len(l.data) && !isSpace(l.data[l.pos]) && !isDelimiter(l.data[l.pos]) {
		l.pos++
	}
	return string(l.data[start:l.pos])
}

// unescapedName replaces #41 by A.
func unescapedName(name string) string {
	var out []byte
	for i := 0; i < len(name); i++ {
		if name[i] == '#' && i+2 < len(name) {
			if code, err := strconv.ParseUint(name[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(code))
				i += 2
				continue
			}
		}
		out = append(out, name[i])
	}
	return string(out)
}

// list reads the values up to a closing bracket, or to an operator, which no
// list holds.
func (l *lexer) list(depth int) operand {
	out := operand{kind: listOperand}
	for len(out.list) < listMax && depth < listDepthMax {
		before := l.pos
		o, ok := l.nextWithin(depth + 1)
		if !ok || o.kind == listEnd {
			break
		}
		if o.kind == operator {
			l.pos = before
			break
		}
		out.list = append(out.list, o)
	}
	return out
}

// hexadecimal reads <48 65 6c>, ignoring anything that is not a digit.
func (l *lexer) hexadecimal() string {
	l.pos++
	end := bytes.IndexByte(l.data[l.pos:], '>')
	digits := l.data[l.pos:]
	if end >= 0 {
		digits = digits[:end]
	}
	l.pos += min(len(digits)+1, len(l.data)-l.pos)
	kept := make([]byte, 0, len(digits)+1)
	for _, c := range digits {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' {
			kept = append(kept, c)
		}
	}
	if len(kept)%2 == 1 {
		kept = append(kept, '0')
	}
	return hexBytes(kept)
}

// literal reads (text), with brackets inside and escapes.
func (l *lexer) literal() string {
	var out []byte
	l.pos++
	for depth := 1; l.pos < len(l.data); l.pos++ {
		c := l.data[l.pos]
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				l.pos++
				return string(out)
			}
		case '\\':
			out = l.escape(out)
			continue
		}
		out = append(out, c)
	}
	return string(out)
}

// escapes are the letters after a backslash that stand for something else.
var escapes = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', 'b': '\b', 'f': '\f'}

// escape reads what follows a backslash and stays on its last byte.
func (l *lexer) escape(out []byte) []byte {
	if l.pos++; l.pos >= len(l.data) {
		return out
	}
	c := l.data[l.pos]
	switch {
	case c >= '0' && c <= '7':
		code := 0
		for i := 0; i < 3 && l.pos < len(l.data) && l.data[l.pos] >= '0' && l.data[l.pos] <= '7'; i++ {
			code = code*8 + int(l.data[l.pos]-'0')
			l.pos++
		}
		l.pos--
		return append(out, byte(code))
	case c == '\r': // the line goes on
		if l.pos+1 < len(l.data) && l.data[l.pos+1] == '\n' {
			l.pos++
		}
		return out
	case c == '\n':
		return out
	}
	if meant, ok := escapes[c]; ok {
		c = meant
	}
	return append(out, c)
}

// skipImage skips a picture inside the stream: after BI its properties, then ID,
// its bytes, and EI.
func (l *lexer) skipImage() {
	for {
		o, ok := l.next()
		if !ok {
			return
		}
		if o.kind == operator && o.text == "ID" {
			break
		}
	}
	for l.pos < len(l.data) {
		at := bytes.Index(l.data[l.pos:], []byte("EI"))
		if at < 0 {
			l.pos = len(l.data)
			return
		}
		start := l.pos + at
		l.pos = start + 2
		if (start == 0 || isSpace(l.data[start-1])) && (l.pos == len(l.data) || isSpace(l.data[l.pos])) {
			return
		}
	}
}
