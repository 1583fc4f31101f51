package program

import (
	"embed"
	"strings"
	"unicode/utf8"

	"agent/internal/words"
)

// What a model reads, and the Python that this package runs.
//
//go:embed prompts
var files embed.FS

// texts is what a model reads about commands that are files.
var texts = words.Open(files)

func validText(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

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
