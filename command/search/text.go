package search

import (
	"bytes"
	"embed"
	"fmt"
	"html"
	"regexp"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	utf16 "golang.org/x/text/encoding/unicode"
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

// clip cuts text at n bytes, between runes.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}

var tag = regexp.MustCompile(`</?[A-Za-z][^<>]{0,200}>`)

// plain is text of a stranger on one line: no markup, no control or invisible
// characters.
func plain(text string) string {
	text = html.UnescapeString(tag.ReplaceAllString(text, ""))
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == utf8.RuneError:
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// sniffedBytes at the start of a file tell whether it is binary.
const sniffedBytes = 8000

// decode turns a text file's bytes into UTF-8; false for a binary file.
func decode(data []byte) (string, bool) {
	if len(data) >= 2 && (data[0] == 0xff && data[1] == 0xfe || data[0] == 0xfe && data[1] == 0xff) {
		text, err := utf16.UTF16(utf16.LittleEndian, utf16.UseBOM).NewDecoder().Bytes(data)
		return string(text), err == nil
	}
	if bytes.IndexByte(data[:min(sniffedBytes, len(data))], 0) >= 0 {
		return "", false
	}
	data = []byte(strings.TrimPrefix(string(data), "\ufeff"))
	if utf8.Valid(trimPartialRune(data)) {
		return string(trimPartialRune(data)), true
	}
	text, err := charmap.Windows1252.NewDecoder().Bytes(data)
	return string(text), err == nil
}

// trimPartialRune drops a rune that the end of what was read cut apart.
func trimPartialRune(data []byte) []byte {
	for i := 1; i <= min(utf8.UTFMax-1, len(data)); i++ {
		if b := data[len(data)-i]; utf8.RuneStart(b) {
			if !utf8.FullRune(data[len(data)-i:]) {
				return data[:len(data)-i]
			}
			break
		}
	}
	return data
}

// plainLine is a line of a file as it is shown: as written, but for characters
// that are not seen.
func plainLine(line string) string {
	line = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, line)
	return strings.TrimSpace(strings.ToValidUTF8(line, "\uFFFD"))
}

// plainPath is a file's name on one line.
func plainPath(name string) string {
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '?'
		}
		return r
	}, name), "?")
}
