package program

import (
	"embed"
	"fmt"
	"strings"
	"text/template"
	"unicode/utf8"
)

// What a model reads, and the Python that this package runs.
//
//go:embed prompts
var files embed.FS

var templates = template.Must(template.New("").ParseFS(files, "prompts/*.tmpl"))

// words renders one of the messages. They are embedded and tested, so that a
// failure is a defect of the program.
func words(name string, data any) string {
	var b strings.Builder
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("program message %s: %v", name, err))
	}
	return strings.TrimSpace(b.String())
}

// embedded is a file of prompts/.
func embedded(name string) string {
	data, err := files.ReadFile("prompts/" + name)
	if err != nil {
		panic(fmt.Sprintf("program: no embedded file %s: %v", name, err))
	}
	return string(data)
}

func validText(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// oneLine puts text on one line of at most n runes.
func oneLine(text string, n int) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return string(runes)
}

// lastRunes is the end of a text, from the start of a line where one is near.
func lastRunes(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	runes := []rune(text)
	text = string(runes[len(runes)-n:])
	if at := strings.IndexByte(text, '\n'); at >= 0 && at < n/4 {
		text = text[at+1:]
	}
	return "…\n" + text
}
