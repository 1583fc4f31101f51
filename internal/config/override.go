package config

import (
	"regexp"
	"strings"
)

// overrideKind is what an override does to the key it names.
type overrideKind uint8

const (
	changeKey overrideKind = iota // key=value: the key must exist
	addKey                        // +key=value: it must not
	forceKey                      // ++key=value: either way
	deleteKey                     // ~key or ~key=value
)

// override is one parsed argument of the command line.
type override struct {
	kind   overrideKind
	key    string // dotted path, or a group with slashes
	pkg    string // after @
	hasPkg bool
	value  *node  // nil for ~key, and for a sweep
	sweep  *sweep // several values, one per job
	text   string // as typed
	soft   bool   // an unknown key is a warning (from the environment)

	foreign bool // the folder's
	origin  Origin
}

// commandLine is where overrides come from unless said otherwise.
var commandLine = Origin{File: "command line"}

// keyElement is the part before "=", which identifies the override.
func (o *override) keyElement() string {
	return [...]string{"", "+", "++", "~"}[o.kind] + o.groupKey()
}

// groupKey is the key with its package.
func (o *override) groupKey() string {
	if o.hasPkg {
		return o.key + "@" + o.pkg
	}
	return o.key
}

// shown is the override as it may appear in an error.
func (o *override) shown() string { return Shown(o.text) }

const (
	idPattern      = `[a-zA-Z_][a-zA-Z0-9_-]*`
	keyPattern     = `[a-zA-Z_$][a-zA-Z0-9_$-]*`
	segmentPattern = `(?:` + keyPattern + `|0|[1-9](?:_?[0-9])*)`
	packagePattern = `(?:` + keyPattern + `|` + segmentPattern + `(?:\.` + segmentPattern + `)+)`
)

var keyRegexp = regexp.MustCompile(
	`^(` + idPattern + `(?:/` + idPattern + `)+|` + packagePattern + `)(?:@(` + packagePattern +
		`)?)?$`)

// parseOverride reads one argument in Hydra's grammar.
func parseOverride(text string) (*override, error) {
	o := &override{text: text, origin: commandLine}
	if len(text) > overrideBytesMax {
		return nil, problem(commandLine, "", "override has %d bytes, more than the %d allowed", len(text),
			overrideBytesMax)
	}
	rest := text
	switch {
	case strings.HasPrefix(rest, "++"):
		o.kind, rest = forceKey, rest[2:]
	case strings.HasPrefix(rest, "+"):
		o.kind, rest = addKey, rest[1:]
	case strings.HasPrefix(rest, "~"):
		o.kind, rest = deleteKey, rest[1:]
	}
	key, value, hasValue := strings.Cut(rest, "=")
	m := keyRegexp.FindStringSubmatchIndex(key)
	if m == nil {
		return nil, problem(commandLine, "", "override %q: %q is not a key", Shown(text), Shown(key)).
			Advise("write key=value with a dotted key, for example llm.temperature=0; put other text after --")
	}
	o.key, o.hasPkg = key[m[2]:m[3]], strings.Contains(key, "@")
	if m[4] >= 0 {
		o.pkg = key[m[4]:m[5]]
	}
	if !hasValue {
		if o.kind != deleteKey {
			return nil, problem(commandLine, "", "override %q has no value", Shown(text)).
				Advise("write %s=VALUE", Shown(text))
		}
		return o, nil
	}
	return o, o.parseValue(strings.TrimLeft(value, " \t"))
}

// parseValue reads what follows "=".
func (o *override) parseValue(text string) error {
	if text == "" {
		o.value = newString("", o.origin)
		return nil
	}
	p := &valueParser{exprParser{s: text, raw: true}, o.origin}
	e, err := p.value()
	if err != nil {
		return o.valueError(p, err)
	}
	if e.sweep != nil {
		o.sweep = e.sweep
	} else {
		o.value = e.node
	}
	return nil
}

func (o *override) valueError(p *valueParser, err error) error {
	column := len(o.text) - len(p.s) + p.pos + 1
	key, _, _ := strings.Cut(o.text, "=")
	if hideSecrets(o.text) != o.text {
		err = grammarError("the value can't be read") // what is wrong may name a part of the secret
	}
	return problem(commandLine, "", "override %q: %s at column %d", Shown(o.text), err, column).
		Advise(`quote text with special characters: %s='"…"'%s`, key, o.maybeText())
}

// element is one value of the grammar, with the text it was read from.
type element struct {
	node  *node
	sweep *sweep
	text  string
}

// valueParser reads the value grammar of Hydra's command line: that of arguments
// of interpolations, but for interpolations, which stay text, and sweeps.
type valueParser struct {
	exprParser
	at Origin
}

// grammarError says what was wrong; the caller says where.
type grammarError string

func (e grammarError) Error() string { return string(e) }

// value is one element, or several separated by commas: a simple sweep.
func (p *valueParser) value() (element, error) {
	first, err := p.element()
	if err != nil {
		return element{}, err
	}
	items := []element{first}
	for p.accept(',') {
		e, err := p.element()
		if err != nil {
			return element{}, err
		}
		items = append(items, e)
	}
	if p.pos < len(p.s) {
		return element{}, p.unexpected()
	}
	if len(items) == 1 {
		return first, nil
	}
	for _, it := range items {
		if it.sweep != nil {
			return element{}, grammarError("a sweep inside a list of values")
		}
	}
	return element{sweep: &sweep{items: items, simple: true}}, nil
}

var functionStart = regexp.MustCompile(`^(` + idPattern + `)[ \t]*\([ \t]*`)

func (p *valueParser) element() (element, error) {
	p.space()
	start := p.pos
	if m := functionStart.FindStringSubmatch(p.s[p.pos:]); m != nil {
		p.pos += len(m[0])
		return p.choice(m[1])
	}
	e, err := p.exprParser.element()
	if err != nil {
		return element{}, err
	}
	return element{node: e.plain(p.at), text: strings.Trim(p.s[start:p.pos], " \t")}, nil
}

// plain is the value of an expression without interpolations.
func (e *expr) plain(at Origin) *node {
	switch e.kind {
	case exprList:
		n := newList(at)
		for _, part := range e.parts {
			n.push(part.plain(at))
		}
		return n
	case exprDict:
		n := newMap(at)
		for i, part := range e.parts {
			n.set(e.keys[i], part.plain(at))
		}
		return n
	case exprConcat:
		var text strings.Builder
		for _, part := range e.parts {
			text.WriteString(part.node.text)
		}
		return newString(text.String(), at)
	}
	e.node.origin = at
	return e.node
}

// keyText is the name that a parsed key stands for.
func keyText(k *node) (string, error) {
	switch k.kind {
	case kindNull:
		return "", grammarError("a key must not be null")
	case kindBool:
		return strings.ToLower(k.repr()), nil
	default:
		return k.display(), nil
	}
}

var colonAtom = regexp.MustCompile(`^[ \t]*:[ \t]*`)

// interpolationEnd returns the length of the interpolation at the start of s,
// counting nested braces and skipping quoted text, or -1.
func interpolationEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		case '\'', '"':
			if end := quotedEnd(s[i:]); end > 0 {
				i += end
			}
		}
	}
	return -1
}

// choice reads the values of choice(a,b), the one function of the grammar.
func (p *valueParser) choice(name string) (element, error) {
	if name != "choice" {
		return element{}, grammarError("unknown function " + quotePython(name) + ", known: choice")
	}
	var items []element
	for !p.closes(')') {
		if len(items) > 0 && !p.accept(',') {
			return element{}, p.unexpected()
		}
		e, err := p.element()
		if err != nil {
			return element{}, err
		}
		if e.sweep != nil {
			return element{}, grammarError("choices can't be nested")
		}
		items = append(items, e)
	}
	if len(items) == 0 {
		return element{}, grammarError("choice of nothing")
	}
	return element{sweep: &sweep{items: items}}, nil
}
