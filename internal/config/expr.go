package config

import (
	"regexp"
	"strings"
)

// exprKind says what an expression of the interpolation language is.
type exprKind uint8

const (
	exprLiteral exprKind = iota
	exprConcat           // parts joined to a string
	exprRef              // ${a.b}, ${.c}, ${d[0]}
	exprCall             // ${name:args}
	exprList
	exprDict
)

// expr is a parsed string with interpolations, or a piece of one.
type expr struct {
	kind  exprKind
	node  *node   // of a literal
	parts []*expr // of a concat, list or dict; a reference's keys; a call's arguments
	keys  []string
	dots  int     // leading dots of a reference: 1 is the enclosing mapping
	name  []*expr // a call's name, usually one literal
	pos   int     // where it starts, counted in bytes
}

func literal(s string) *expr { return &expr{kind: exprLiteral, node: newString(s, Origin{})} }

// exprParser reads OmegaConf's interpolation grammar.
type exprParser struct {
	s     string
	pos   int
	depth int
	raw   bool // interpolations are text, to be read later
}

// parseText reads a value of the configuration: literal text with
// interpolations. A lone interpolation keeps its type, so it is not a concat.
func parseText(s string) (*expr, error) {
	p := &exprParser{s: s}
	parts, err := p.text(0)
	if err != nil {
		return nil, err
	}
	return join(parts), nil
}

// join makes one expression of the parts of a text.
func join(parts []*expr) *expr {
	switch len(parts) {
	case 0:
		return literal("")
	case 1:
		return parts[0]
	default:
		return &expr{kind: exprConcat, parts: parts}
	}
}

// text reads up to the closing quote, or to the end when quote is 0. Of
// backslashes before an interpolation or a closing quote, every pair stands for
// one and a left-over protects what follows; elsewhere they are ordinary.
func (p *exprParser) text(quote byte) ([]*expr, error) {
	var parts []*expr
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			parts = append(parts, literal(lit.String()))
			lit.Reset()
		}
	}
	for p.pos < len(p.s) {
		run := countRun(p.s[p.pos:], `\`)
		next := p.s[p.pos+run:]
		atRef, atQuote := strings.HasPrefix(next, "${"), quote != 0 && next != "" && next[0] == quote
		p.pos += run
		if atRef || atQuote {
			lit.WriteString(strings.Repeat(`\`, run/2))
		}
		switch {
		case (atRef || atQuote) && run%2 == 1:
			protected := next[:1]
			if atRef {
				protected = next[:2]
			}
			lit.WriteString(protected)
			p.pos += len(protected)
		case atQuote:
			flush()
			p.pos++
			return parts, nil
		case atRef:
			flush()
			e, err := p.interpolation()
			if err != nil {
				return nil, err
			}
			parts = append(parts, e)
		default:
			lit.WriteString(strings.Repeat(`\`, run))
			if next != "" {
				lit.WriteByte(next[0])
				p.pos++
			}
		}
	}
	if quote != 0 {
		return nil, grammarError("missing closing quote")
	}
	flush()
	return parts, nil
}

func countRun(s, c string) int { return len(s) - len(strings.TrimLeft(s, c)) }

func (p *exprParser) space() { p.pos = len(p.s) - len(strings.TrimLeft(p.s[p.pos:], " \t")) }

// peek is the next character, or 0 at the end.
func (p *exprParser) peek() byte {
	if p.pos < len(p.s) {
		return p.s[p.pos]
	}
	return 0
}

// accept consumes c with the white space around it.
func (p *exprParser) accept(c byte) bool {
	start := p.pos
	p.space()
	if p.peek() != c {
		p.pos = start
		return false
	}
	p.pos++
	p.space()
	return true
}

func (p *exprParser) unexpected() error {
	where, end := " in an interpolation", " of an interpolation, a bracket is not closed"
	if p.raw {
		where, end = "", ""
	}
	if p.pos >= len(p.s) {
		return grammarError("unexpected end" + end)
	}
	r := []rune(p.s[p.pos:min(len(p.s), p.pos+4)])[0]
	return grammarError("unexpected " + quotePython(string(r)) + where)
}

// interpolation reads ${…}.
func (p *exprParser) interpolation() (*expr, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > depthMax {
		return nil, grammarError("interpolation is nested too deep")
	}
	e := &expr{kind: exprRef, pos: p.pos}
	p.pos += len("${")
	p.space()
	for p.peek() == '.' {
		e.dots++
		p.pos++
	}
	bracketed, err := p.reference(e)
	if err != nil {
		return nil, err
	}
	if p.accept(':') {
		return p.call(e, bracketed)
	}
	p.space()
	if p.peek() != '}' {
		return nil, p.unexpected()
	}
	p.pos++
	return e, nil
}

// reference reads the keys of a path; bracketed says that one was in brackets,
// which a resolver's name can't be.
func (p *exprParser) reference(e *expr) (bracketed bool, err error) {
	for first := true; ; first = false {
		switch {
		case p.peek() == '[':
			bracketed = true
			p.pos++
			k, err := p.pathKey()
			if err != nil {
				return false, err
			}
			if p.peek() != ']' {
				return false, p.unexpected()
			}
			p.pos++
			e.parts = append(e.parts, k)
		case first || p.peek() == '.':
			if !first {
				p.pos++
			}
			k, err := p.pathKey()
			if err != nil {
				return false, err
			}
			e.parts = append(e.parts, k)
		default:
			return bracketed, nil
		}
	}
}

const notInPathKey = "\\${}()[]:. \t'\""

func (p *exprParser) pathKey() (*expr, error) {
	if strings.HasPrefix(p.s[p.pos:], "${") {
		return p.interpolation()
	}
	n := strings.IndexAny(p.s[p.pos:], notInPathKey)
	if n < 0 {
		n = len(p.s) - p.pos
	}
	if n == 0 {
		return nil, p.unexpected()
	}
	k := literal(p.s[p.pos : p.pos+n])
	p.pos += n
	return k, nil
}

var resolverName = regexp.MustCompile(`^` + idPattern + `$`)

// call reads the arguments of a resolver whose name was read as a path.
func (p *exprParser) call(ref *expr, bracketed bool) (*expr, error) {
	e := &expr{kind: exprCall, name: ref.parts, pos: ref.pos}
	if bracketed || ref.dots > 0 {
		return nil, grammarError("a resolver's name is made of letters, digits and dots")
	}
	for _, n := range ref.parts {
		if n.kind == exprLiteral && !resolverName.MatchString(n.node.text) {
			return nil, grammarError("a resolver's name is made of letters, digits and dots")
		}
	}
	for first := true; ; first = false {
		if p.closes('}') {
			if !first {
				e.parts = append(e.parts, literal(""))
			}
			return e, nil
		}
		arg := literal("")
		if p.peekMark() != ',' {
			var err error
			if arg, err = p.element(); err != nil {
				return nil, err
			}
		}
		e.parts = append(e.parts, arg)
		if p.closes('}') {
			return e, nil
		}
		if !p.accept(',') {
			return nil, p.unexpected()
		}
	}
}

// peekMark is the next character that is no space, or 0 at the end.
func (p *exprParser) peekMark() byte {
	if rest := strings.TrimLeft(p.s[p.pos:], " \t"); rest != "" {
		return rest[0]
	}
	return 0
}

// closes consumes c and the white space before it.
func (p *exprParser) closes(c byte) bool {
	if p.peekMark() != c {
		return false
	}
	p.space()
	p.pos++
	return true
}

// element reads one argument, list item or dict value.
func (p *exprParser) element() (*expr, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > depthMax {
		return nil, grammarError("value is nested too deep")
	}
	p.space()
	switch c := p.peek(); c {
	case '[':
		return p.list()
	case '{':
		return p.dict()
	case '\'', '"':
		if p.raw {
			return p.rawQuoted()
		}
		p.pos++
		parts, err := p.text(c)
		if err != nil {
			return nil, err
		}
		if len(parts) == 1 && parts[0].kind == exprLiteral {
			return parts[0], nil
		}
		return &expr{kind: exprConcat, parts: parts}, nil // always text, even for a lone interpolation
	default:
		return p.primitive(false)
	}
}

func (p *exprParser) rawQuoted() (*expr, error) {
	end := quotedEnd(p.s[p.pos:])
	if end < 0 {
		return nil, grammarError("missing closing quote")
	}
	text := unquote(p.s[p.pos : p.pos+end+1])
	p.pos += end + 1
	return literal(text), nil
}

func (p *exprParser) list() (*expr, error) {
	e := &expr{kind: exprList}
	p.accept('[')
	for !p.closes(']') {
		if len(e.parts) > 0 && !p.accept(',') {
			return nil, p.unexpected()
		}
		v, err := p.element()
		if err != nil {
			return nil, err
		}
		e.parts = append(e.parts, v)
	}
	return e, nil
}

func (p *exprParser) dict() (*expr, error) {
	e := &expr{kind: exprDict}
	p.accept('{')
	for !p.closes('}') {
		if len(e.parts) > 0 && !p.accept(',') {
			return nil, p.unexpected()
		}
		k, err := p.primitive(true)
		if err != nil {
			return nil, err
		}
		key, err := keyText(k.plain(Origin{}))
		if err != nil {
			return nil, err
		}
		if !p.accept(':') {
			return nil, p.unexpected()
		}
		v, err := p.element()
		if err != nil {
			return nil, err
		}
		e.keys, e.parts = append(e.keys, key), append(e.parts, v)
	}
	return e, nil
}

// primitive reads an unquoted value; a key ends at a colon and holds no
// interpolation.
func (p *exprParser) primitive(isKey bool) (*expr, error) {
	var parts []*expr
	var atoms []atom
	for p.pos < len(p.s) && !strings.ContainsRune(`,[]{}()'"=`, rune(p.peekMark())) {
		rest := p.s[p.pos:]
		if m := colonAtom.FindString(rest); m != "" {
			if isKey {
				break
			}
			atoms, parts = append(atoms, atom{atomColon, m}), append(parts, nil)
			p.pos += len(m)
			continue
		}
		if strings.HasPrefix(rest, "${") && p.raw {
			end := interpolationEnd(rest)
			switch {
			case isKey:
				return nil, grammarError("an interpolation can't be a key")
			case end < 0:
				return nil, grammarError("missing } of an interpolation")
			}
			atoms, parts = append(atoms, atom{atomRaw, rest[:end]}), append(parts, nil)
			p.pos += end
			continue
		}
		if strings.HasPrefix(rest, "${") && !isKey {
			ref, err := p.interpolation()
			if err != nil {
				return nil, err
			}
			atoms, parts = append(atoms, atom{kind: atomRaw}), append(parts, ref)
			continue
		}
		a, ok := nextAtom(rest)
		if !ok {
			return nil, p.unexpected()
		}
		atoms, parts = append(atoms, a), append(parts, nil)
		p.pos += len(a.text)
	}
	return p.joinAtoms(atoms, parts)
}

// joinAtoms types a lone token or joins several; parts[i] is the interpolation
// at atoms[i], if any.
func (p *exprParser) joinAtoms(atoms []atom, parts []*expr) (*expr, error) {
	if len(atoms) > 0 && atoms[0].kind == atomSpace {
		atoms, parts = atoms[1:], parts[1:]
	}
	if n := len(atoms); n > 0 && atoms[n-1].kind == atomSpace {
		atoms, parts = atoms[:n-1], parts[:n-1]
	}
	switch {
	case len(atoms) == 0:
		return nil, p.unexpected()
	case len(atoms) == 1 && parts[0] != nil:
		return parts[0], nil
	case len(atoms) == 1:
		n, err := atomValue(atoms[0], Origin{})
		return &expr{kind: exprLiteral, node: n}, err
	}
	e := &expr{kind: exprConcat}
	for i, a := range atoms {
		if parts[i] != nil {
			e.parts = append(e.parts, parts[i])
		} else {
			e.parts = append(e.parts, literal(unescapeAtom(a)))
		}
	}
	return e, nil
}

// parseElement reads a whole string as one value, for oc.decode.
func parseElement(s string) (*expr, error) {
	p := &exprParser{s: s}
	e, err := p.element()
	if err != nil {
		return nil, err
	}
	if p.space(); p.pos < len(p.s) {
		return nil, p.unexpected()
	}
	return e, nil
}
