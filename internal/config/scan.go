package config

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// This file holds what the two value grammars share: that of Hydra's command
// line (override.go) and that of OmegaConf's interpolation arguments
// (interpolate.go). Both build an unquoted value from the same small tokens: a
// lone token has a type, several make a string.

// atomKind is a token that an unquoted value may be made of.
type atomKind uint8

const (
	atomNone atomKind = iota
	atomID
	atomNull
	atomBool
	atomInt
	atomFloat
	atomChar   // one of / - \ + . $ % * @ ? |
	atomEscape // backslashes that protect a special character
	atomSpace
	atomColon
	atomRaw // an interpolation
)

type atom struct {
	kind atomKind
	text string
}

const (
	digitsPattern = `(?:0|[1-9](?:_?[0-9])*)`
	pointPattern  = `(?:` + digitsPattern + `\.|` + digitsPattern + `?\.[0-9](?:_?[0-9])*)`
	// pointPattern with the longer alternative first, since Go's regexps take
	// the leftmost alternative unless told to take the longest.
	floatPattern = `[+-]?(?:(?:` + digitsPattern + `|` + pointPattern +
		`)[eE][+-]?[0-9](?:_?[0-9])*|` +
		pointPattern + `|[Ii][Nn][Ff]|[Nn][Aa][Nn])`
)

// atomPatterns are in order of preference at equal length.
var atomPatterns = []struct {
	kind    atomKind
	pattern *regexp.Regexp
}{
	{atomFloat, longest(floatPattern)},
	{atomInt, longest(`[+-]?` + digitsPattern)},
	{atomBool, longest(`[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]`)},
	{atomNull, longest(`[Nn][Uu][Ll][Ll]`)},
	{atomChar, longest(`[/\\+.$%*@?|-]`)},
	{atomID, longest(`[a-zA-Z_][a-zA-Z0-9_-]*`)},
	{atomEscape, longest(`(?:\\[\\()\[\]{}:=, \t])+`)},
	{atomSpace, longest(`[ \t]+`)},
}

// longest compiles a pattern that matches at the start, as long as it can.
func longest(p string) *regexp.Regexp {
	re := regexp.MustCompile(`^(?:` + p + `)`)
	re.Longest()
	return re
}

// nextAtom returns the longest token at the start of s. Tokens are short, so a
// short piece is looked at first: matching costs something for all of its text.
func nextAtom(s string) (atom, bool) {
	const pieceBytes = 128
	if len(s) > pieceBytes {
		// an exponent may follow
		if a, ok := nextAtom(s[:pieceBytes]); !ok || len(a.text) < pieceBytes-4 {
			return a, ok
		}
	}
	var best atom
	for _, p := range atomPatterns {
		if m := p.pattern.FindString(s); len(m) > len(best.text) {
			best = atom{p.kind, m}
		}
	}
	return best, best.text != ""
}

// atomValue types a lone token.
func atomValue(a atom, at Origin) (*node, error) {
	switch a.kind {
	case atomNull:
		return newNull(at), nil
	case atomBool:
		return newBool(strings.EqualFold(a.text, "true"), at), nil
	case atomInt:
		i, err := strconv.ParseInt(strings.ReplaceAll(a.text, "_", ""), 10, 64)
		if err != nil {
			return nil, errIntRange
		}
		n := newInt(i, at)
		n.text = a.text
		return n, nil
	case atomFloat:
		n := newFloat(parsePythonFloat(a.text), at)
		n.text = a.text
		return n, nil
	default:
		return newString(unescapeAtom(a), at), nil
	}
}

// unescapeAtom drops the backslashes of an escape token.
func unescapeAtom(a atom) string {
	if a.kind != atomEscape {
		return a.text
	}
	var b strings.Builder
	for i := 1; i < len(a.text); i += 2 {
		b.WriteByte(a.text[i])
	}
	return b.String()
}

// parsePythonFloat reads what floatPattern matched; too large is infinite.
func parsePythonFloat(s string) float64 {
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return math.NaN()
	}
	return f
}

// quotedEnd returns the index of the quote that closes the one at s[0], or -1.
// A quote after an odd number of backslashes does not close.
func quotedEnd(s string) int {
	backslashes := 0
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			backslashes++
			continue
		case s[i] == s[0] && backslashes%2 == 0:
			return i
		}
		backslashes = 0
	}
	return -1
}

// unquote returns the text of a quoted value: of backslashes before a quote
// half are kept, other backslashes are ordinary.
func unquote(quoted string) string {
	quote, body := quoted[0], quoted[1:]
	var b strings.Builder
	run := 0
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '\\':
			run++
		case c == quote:
			b.WriteString(strings.Repeat(`\`, run/2))
			if i < len(body)-1 {
				b.WriteByte(quote)
			}
			run = 0
		default:
			b.WriteString(strings.Repeat(`\`, run))
			b.WriteByte(c)
			run = 0
		}
	}
	return b.String()
}

// Quote writes s as a quoted value of the command line, so that it is read back
// as this very string. An interpolation in it is still one.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	run := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			run++
		case '\'':
			b.WriteString(strings.Repeat(`\`, run+1)) // doubles the run and escapes the quote
			run = 0
		default:
			run = 0
		}
		b.WriteByte(s[i])
	}
	b.WriteString(strings.Repeat(`\`, run))
	b.WriteByte('\'')
	return b.String()
}
