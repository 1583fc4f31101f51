package search

import (
	"embed"
	"fmt"
	"html"
	"regexp"
	"strings"
	"text/template"

	"agent/internal/legible"
)

// The words that a model reads.
//
//go:embed prompts
var prompts embed.FS

var messages = template.Must(template.New("").Funcs(template.FuncMap{
	"count":  count,
	"inc":    func(i int) int { return i + 1 },
	"indent": func(text string) string { return strings.ReplaceAll(text, "\n", "\n   ") },
}).ParseFS(prompts, "prompts/*.tmpl"))

// message renders one of the embedded messages; that it can't is a defect of
// the program, which the tests find.
func message(name string, data any) string {
	var out strings.Builder
	if err := messages.ExecuteTemplate(&out, name, data); err != nil {
		panic(fmt.Sprintf("search message %s: %v", name, err))
	}
	return strings.TrimSpace(out.String())
}

func words(file string) string {
	text, err := prompts.ReadFile("prompts/" + file)
	if err != nil {
		panic(fmt.Sprintf("search: no embedded words: %v", err))
	}
	return strings.TrimSpace(string(text))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

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
