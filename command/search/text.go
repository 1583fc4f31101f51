package search

import (
	"embed"
	"html"
	"regexp"
	"strings"

	"agent/internal/legible"
	"agent/internal/words"
)

//go:embed prompts
var prompts embed.FS

// texts is what a model reads about the commands of this package.
var texts = words.Open(prompts)

var tag = regexp.MustCompile(`</?[A-Za-z][^<>]{0,200}>`)

// plain is text of a stranger on one line, without markup.
func plain(markup string) string {
	return legible.OneLine(html.UnescapeString(tag.ReplaceAllString(markup, "")))
}

// sniffedBytes at the start of a file tell whether it is binary.
const sniffedBytes = 8000

// decode turns a text file's bytes, or the first of them, into UTF-8; false for
// a binary file.
func decode(data []byte) (string, bool) {
	decoded, _, ok := legible.Decode(legible.WithoutTornRune(data))
	return decoded, ok
}

// plainLine is a line of a file as it is shown: as written, but for characters
// that are not seen.
func plainLine(line string) string {
	line = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case legible.Unseen(r):
			return -1
		}
		return r
	}, line)
	return strings.TrimSpace(strings.ToValidUTF8(line, "\uFFFD"))
}

// plainPath is a file's name on one line.
func plainPath(name string) string {
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if legible.Unseen(r) {
			return '?'
		}
		return r
	}, name), "?")
}
