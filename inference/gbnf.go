package inference

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// This file reads GBNF as llama.cpp's parser does (src/llama-grammar.cpp), with
// every repetition written out, so that what the native parser would make of a
// grammar is known and bounded before it sees it.

// symbol is one element of a rule: a rule's number, or one of the below.
type symbol int32

const (
	symTerminal    symbol = -1 - iota // a character, a class of them, or a token
	symAlternative                    // the bar between two alternatives
	symClassMore                      // a further character of a class; takes room only
)

// gbnf is a grammar's rules as the native engine holds them.
type gbnf struct {
	rules [][]symbol // alternatives divided by symAlternative; nil: not defined
	names []string   // of rules; generated ones have that of the rule they stand in
}

// gbnfParser reads one grammar. Its methods return errors without a place;
// parseGBNF adds it.
type gbnfParser struct {
	text  string
	at    int
	rule  string // the rule being read
	ids   map[string]int
	out   gbnf
	depth int
	size  int // symbols so far
}

// parseGBNF reads a grammar or says what is wrong with it, and where.
func parseGBNF(text string) (*gbnf, error) {
	p := &gbnfParser{text: text, ids: map[string]int{}}
	p.space(true)
	for p.at < len(p.text) {
		if err := p.definition(); err != nil {
			line := 1 + strings.Count(text[:min(p.at, len(text))], "\n")
			if p.rule != "" {
				return nil, fmt.Errorf("grammar: line %d, rule %q: %w", line, p.rule, err)
			}
			return nil, fmt.Errorf("grammar: line %d: %w", line, err)
		}
	}
	return &p.out, p.out.undefined()
}

// undefined reports a rule that is used but not defined.
func (g *gbnf) undefined() error {
	for id, rule := range g.rules {
		if rule == nil {
			return fmt.Errorf("grammar: rule %q is used but not defined", g.names[id])
		}
	}
	return nil
}

// peek is the next byte; 0 at the end, as the native parser sees it.
func (p *gbnfParser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// take skips a byte if it is the next one.
func (p *gbnfParser) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

// space skips blanks and comments, and the ends of lines where they mean nothing.
func (p *gbnfParser) space(newlines bool) {
	for {
		switch c := p.peek(); {
		case c == '#':
			for c := p.peek(); c != 0 && c != '\n' && c != '\r'; c = p.peek() {
				p.at++
			}
		case c == ' ' || c == '\t' || newlines && (c == '\n' || c == '\r'):
			p.at++
		default:
			return
		}
	}
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'
}

func (p *gbnfParser) name() (string, error) {
	from := p.at
	for isWordByte(p.peek()) {
		p.at++
	}
	if p.at == from {
		return "", p.unexpected("a rule's name")
	}
	return p.text[from:p.at], nil
}

// unexpected says what should stand here, and what does.
func (p *gbnfParser) unexpected(want string) error {
	if p.at >= len(p.text) {
		return fmt.Errorf("it ends where %s should follow", want)
	}
	found := p.text[p.at:min(len(p.text), p.at+12)]
	found, _, _ = strings.Cut(found, "\n")
	return fmt.Errorf("%s should stand before %q", want, strings.ToValidUTF8(found, "\uFFFD"))
}

// id is the number of a named rule, new or known.
func (p *gbnfParser) id(name string) int {
	if id, ok := p.ids[name]; ok {
		return id
	}
	id := p.generate(name)
	p.ids[name] = id
	return id
}

// generate numbers a rule that the grammar does not name.
func (p *gbnfParser) generate(name string) int {
	p.out.rules = append(p.out.rules, nil)
	p.out.names = append(p.out.names, name)
	return len(p.out.rules) - 1
}

// grow counts symbols and rules, so that a small text can't become a large grammar.
func (p *gbnfParser) grow(n int) error {
	if n > grammarSizeMax-p.size {
		return fmt.Errorf("written out, its repetitions have more than %d symbols; use smaller ones",
			grammarSizeMax)
	}
	p.size += n
	return nil
}

// definition reads one rule.
func (p *gbnfParser) definition() error {
	p.rule = ""
	name, err := p.name()
	if err != nil {
		return err
	}
	p.rule = name
	id := p.id(name)
	p.space(false)
	if !strings.HasPrefix(p.text[p.at:], "::=") {
		return p.unexpected("::=")
	}
	p.at += len("::=")
	p.space(true)
	if err := p.alternatives(id, false); err != nil {
		return err
	}
	if !p.take('\r') && p.peek() != '\n' && p.at < len(p.text) {
		return p.unexpected("the end of the line")
	}
	p.take('\n')
	p.space(true)
	return nil
}

// alternatives reads what a rule or a pair of parentheses holds.
func (p *gbnfParser) alternatives(id int, nested bool) error {
	rule := []symbol{}
	for {
		var err error
		if rule, err = p.sequence(rule, nested); err != nil {
			return err
		}
		if !p.take('|') {
			break
		}
		rule = append(rule, symAlternative)
		p.space(true)
		if err := p.grow(1); err != nil {
			return err
		}
	}
	p.out.rules[id] = rule
	return p.grow(1)
}

// sequence reads one alternative and adds it to rule.
func (p *gbnfParser) sequence(rule []symbol, nested bool) (_ []symbol, err error) {
	last, weight := len(rule), 1 // where the last item begins, and the rules it stands for
	for {
		if low, high, ok, err := p.repetition(nested); err != nil {
			return nil, err
		} else if ok {
			if rule, weight, err = p.repeat(rule, last, weight, low, high); err != nil {
				return nil, err
			}
			continue
		}
		from, before := len(rule), len(p.out.rules)
		var more bool
		if rule, more, err = p.item(rule); err != nil {
			return nil, err
		}
		if !more {
			return rule, nil
		}
		if err := p.grow(len(rule) - from); err != nil {
			return nil, err
		}
		last, weight = from, 1
		if p.text[p.at-1] == ')' {
			weight = max(1, len(p.out.rules)-before)
		}
		p.space(nested)
	}
}

// item reads a literal, a class, a name, a group or a token; false: none follows.
func (p *gbnfParser) item(rule []symbol) (_ []symbol, more bool, err error) {
	switch c := p.peek(); {
	case c == '"':
		rule, err = p.quoted(rule)
	case c == '[':
		rule, err = p.class(rule)
	case c == '(':
		rule, err = p.group(rule)
	case c == '<' || c == '!':
		rule, err = append(rule, symTerminal), p.token()
	case c == '.':
		p.at++
		rule = append(rule, symTerminal)
	case isWordByte(c):
		name, _ := p.name()
		rule = append(rule, symbol(p.id(name)))
	default:
		return rule, false, nil
	}
	return rule, true, err
}

func (p *gbnfParser) quoted(rule []symbol) ([]symbol, error) {
	p.at++
	for !p.take('"') {
		if err := p.char(); err != nil {
			return nil, err
		}
		rule = append(rule, symTerminal)
	}
	return rule, nil
}

// class reads [a-z]. Its first character is the terminal, the others take room.
func (p *gbnfParser) class(rule []symbol) ([]symbol, error) {
	p.at++
	p.take('^')
	next := symTerminal
	for !p.take(']') {
		if err := p.char(); err != nil {
			return nil, err
		}
		rule = append(rule, next)
		next = symClassMore
		if p.peek() == '-' && !strings.HasPrefix(p.text[p.at:], "-]") {
			p.at++
			if err := p.char(); err != nil {
				return nil, err
			}
			rule = append(rule, symClassMore)
		}
	}
	return rule, nil
}

// utf8Lengths are those of sequences by their first four bits.
var utf8Lengths = [16]int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4}

// char skips one character or escape.
func (p *gbnfParser) char() error {
	c := p.peek()
	if c == 0 {
		return errors.New("a literal or a class is not closed")
	}
	if c != '\\' {
		p.at = min(len(p.text), p.at+utf8Lengths[c>>4])
		return nil
	}
	p.at++
	digits := 0
	switch c := p.peek(); c {
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	case 't', 'r', 'n', '\\', '"', '[', ']', '-':
	default:
		return fmt.Errorf(`unknown escape \%s; known are \t \r \n \\ \" \[ \] \- \xHH \uHHHH \UHHHHHHHH`,
			printable(c))
	}
	p.at++
	for range digits {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(p.peek())) || p.peek() == 0 {
			return fmt.Errorf("an escape needs %d hexadecimal digits", digits)
		}
		p.at++
	}
	return nil
}

// printable is a byte as text, nothing for one that is none.
func printable(c byte) string {
	if c < ' ' || c > '~' {
		return ""
	}
	return string(rune(c))
}

// group reads a pair of parentheses into a rule of its own.
func (p *gbnfParser) group(rule []symbol) ([]symbol, error) {
	p.at++
	if p.depth++; p.depth > grammarNestingMax {
		return nil, fmt.Errorf("parentheses nested deeper than %d", grammarNestingMax)
	}
	p.space(true)
	id := p.generate(p.rule)
	if err := p.alternatives(id, true); err != nil {
		return nil, err
	}
	if !p.take(')') {
		return nil, p.unexpected("a closing parenthesis")
	}
	p.depth--
	return append(rule, symbol(id)), nil
}

// token skips <name> or <[number]>, with a ! before it or without.
func (p *gbnfParser) token() error {
	p.take('!')
	end := strings.IndexByte(p.text[p.at:], '>')
	if p.peek() != '<' || end < 0 {
		return p.unexpected("a token such as <name> or <[17]>")
	}
	if number, ok := strings.CutPrefix(p.text[p.at:p.at+end], "<["); ok {
		if _, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 31); err != nil ||
			!strings.HasSuffix(number, "]") {
			return p.unexpected("a token's number such as <[17]>")
		}
	}
	p.at += end + 1
	return nil
}

// unlimited is the upper bound of a repetition that has none.
const unlimited = -1

// repetition reads *, +, ?, {m}, {m,} or {m,n}; ok is false when none follows.
func (p *gbnfParser) repetition(nested bool) (low, high int, ok bool, err error) {
	switch p.peek() {
	case '*':
		high = unlimited
	case '+':
		low, high = 1, unlimited
	case '?':
		high = 1
	case '{':
		low, high, err = p.braces()
		p.space(nested)
		return low, high, true, err
	default:
		return 0, 0, false, nil
	}
	p.at++
	p.space(nested)
	return low, high, true, nil
}

func (p *gbnfParser) braces() (low, high int, err error) {
	end := strings.IndexByte(p.text[p.at:], '}')
	if end < 0 {
		return 0, 0, errors.New("a repetition has no closing brace")
	}
	whole := p.text[p.at : p.at+end+1]
	from, to, comma := strings.Cut(whole[1:end], ",")
	low, err = repetitionBound(whole, from)
	high = low
	if to = strings.Trim(to, " \t"); comma && to == "" {
		high = unlimited
	} else if comma && err == nil {
		high, err = repetitionBound(whole, to)
	}
	if err == nil && high != unlimited && low > high {
		err = fmt.Errorf("repetition %s: at least %d can't be at most %d", whole, low, high)
	}
	p.at += end + 1
	return low, high, err
}

func repetitionBound(whole, text string) (int, error) {
	n, err := strconv.ParseUint(strings.Trim(text, " \t"), 10, 31)
	if err != nil || n > grammarRepeatMax {
		return 0, fmt.Errorf("repetition %q is not {m}, {m,} or {m,n} with numbers of 0 to %d", whole,
			grammarRepeatMax)
	}
	return int(n), nil
}

// repeat writes the item that begins at last out as often as asked, as the
// native parser does: S{m,n} is m times S and n-m rules that go on or end. The
// weight is the number of rules that the native parser counts for it.
func (p *gbnfParser) repeat(rule []symbol, last, weight, low, high int) ([]symbol, int, error) {
	item := rule[last:]
	if len(item) == 0 {
		return nil, 0, errors.New("a repetition has nothing before it to repeat")
	}
	times := max(1, high)
	if high == unlimited || high == 0 {
		times = max(1, low)
	}
	if weight *= times; weight > grammarRepeatMax {
		return nil, 0, fmt.Errorf("repetitions within repetitions multiply to more than %d; use smaller ones",
			grammarRepeatMax)
	}
	endless, rest := high == unlimited, high-low
	if endless {
		rest = 1
	}
	if err := p.grow(len(item)*max(0, low-1) + rest*(len(item)+3)); err != nil {
		return nil, 0, err
	}
	item = append([]symbol(nil), item...)
	if low == 0 {
		rule = rule[:last]
	}
	for range low - 1 {
		rule = append(rule, item...)
	}
	if rest == 0 {
		return rule, weight, nil
	}
	return append(rule, p.tail(item, rest, endless)), weight, nil
}

// tail makes the rules of what may follow: one that repeats itself, or a chain.
func (p *gbnfParser) tail(item []symbol, n int, endless bool) symbol {
	before := -1
	for range n {
		id := p.generate(p.rule)
		rule := append([]symbol(nil), item...)
		if endless {
			before = id
		}
		if before >= 0 {
			rule = append(rule, symbol(before))
		}
		p.out.rules[id] = append(rule, symAlternative)
		before = id
	}
	return symbol(before)
}
