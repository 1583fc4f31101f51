package salvage

import (
	"regexp"
	"strings"
)

// Models write the backslashes of paths, formulas and regular expressions as they
// are. \n, \t and \r there are the beginning of a word and no control character;
// \b and \f always are, since no text has a backspace or a form feed.

const escapeWindow = 256 // bytes around a backslash that tell what it stands in

var (
	// pathStart is the beginning of a path, up to a backslash: a drive, a server or a
	// variable, and names. Where backslashes are escaped it does not match.
	pathStart = regexp.MustCompile(`^([A-Za-z]:|\\\\[A-Za-z0-9_.$-]+|%[A-Za-z_]+%)` +
		`((?:\\(?:[nrt][^\\/:*?"'<>|\s]|[^nrt\\/:*?"'<>|\s])[^\\/:*?"'<>|\s]*)*)\\$`)
	// pathEnd is what follows the letter after a backslash in a path.
	pathEnd = regexp.MustCompile(`^[^\\/:*?"'<>|\s,;()]+(?:\\[^\\/:*?"'<>|\s,;()]+)*`)
	// unescaped is in a path whose backslashes are no escapes.
	unescaped = regexp.MustCompile(`\\[^nrtu\\"/]`)
	extension = regexp.MustCompile(`\.[A-Za-z0-9]{1,5}$`)
	// formula has a command of LaTeX whose backslash is not escaped.
	formula = regexp.MustCompile(`(?:^|[^\\])\\(?:begin|frac|sqrt|sum|int|left|cdot|alpha|beta|gamma|` +
		`delta|lambda|sigma|omega|pi|phi|math[a-z]+)(?:[^A-Za-z]|$)`)
	// noWord is what no text has after a line break, a tab or a carriage return.
	noWord = regexp.MustCompile(`^(?:n(?:abla|otin|subseteq)|t(?:imes|heta|riangle|hickapprox|herefore)|` +
		`r[A-Za-z][a-z]*)(?:[^A-Za-z]|$)`)
	escaped = regexp.MustCompile(`\\\\[A-Za-z]{2}`)
	// macro is a command of LaTeX that begins like an escape.
	macro = regexp.MustCompile(`^(?:n(?:abla|atural|ewline|ewcommand|eq?|earrow|eg|exists|geq|i|leftarrow|` +
		`leq|less|gtr|mid|oindent|onumber|ot|otin|parallel|prec|rightarrow|sim|subseteq|succ|u|warrow)` +
		`|t(?:ag|an|anh|au|binom|ext[a-z]*|frac|heta|herefore|hickapprox|ilde|imes|iny|itle|o|op|` +
		`riangle[a-z]*)` +
		`|r(?:angle|brace|brack|ceil|ef|floor|ho|ight[a-z]*|vert|m))(?:[^A-Za-z]|$)`)
)

// keepsBackslash reports a backslash at pos that stands for itself in the string
// that begins at start, though an escape could be read there.
func keepsBackslash(text string, start, pos int) bool {
	if pos+1 >= len(text) {
		return true
	}
	c, after := text[pos+1], text[pos+2:min(len(text), pos+2+escapeWindow)]
	switch c {
	case 'b', 'f', 'a', 'v', '0', '1', '2', '3', '4', '5', '6', '7':
		return true
	case 'n', 't', 'r', 'x':
	default:
		return false
	}
	before, rest := text[max(start, pos-escapeWindow):pos], text[pos:pos+2]+after
	return noWord.MatchString(rest[1:]) || inPath(before, rest) ||
		macro.MatchString(rest[1:]) && inFormula(before, rest)
}

// inFormula reports a place between dollar signs, or near a command of LaTeX whose
// backslash is not escaped either.
func inFormula(before, rest string) bool {
	around := before + rest
	dollars := strings.Count(before, "$")%2 == 1 && strings.Contains(rest, "$")
	return !escaped.MatchString(around) && (dollars || formula.MatchString(around))
}

// inPath reports a backslash, with which rest begins, that parts the names of a
// path. "A:\nyes" and "x:\t5" are none: of such a path more must be seen.
func inPath(before, rest string) bool {
	word := before[strings.LastIndexAny(before, " \"'(=,;>\t\r\n")+1:]
	if len(word) < 2 || word[1] != ':' && word[1] != '\\' && word[0] != '%' {
		return false // which it costs little to see
	}
	m := pathStart.FindStringSubmatch(word + `\`)
	end := pathEnd.FindString(rest[2:])
	if m == nil || end == "" {
		return false
	}
	path := m[1] + m[2] + rest[:2] + end
	switch {
	case m[1][0] == '%', len(m[1]) > 2 && m[2] != "":
		return true
	case unescaped.MatchString(path), extension.MatchString(path):
		return true
	case len(m[1]) > 2, len(end) < 2, !strings.Contains("CDEFGHXYZcd", m[1][:1]):
		return false
	case strings.Contains(path, `\t`), strings.Contains(path, `\r`):
		return true
	}
	return strings.Count(path, `\n`) > 1 && strings.Contains("CDcd", m[1][:1])
}
