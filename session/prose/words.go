// Package prose has what can be said of a text without a model: its words,
// fences and repetitions, what is left of it when it is cut, and which of its
// lines matter.
//
// Its functions are pure, end on any input, and keep valid UTF-8 valid.
package prose

import (
	"fmt"
	"regexp"
	"strings"
)

// OneLine puts text on one line of at most n runes.
func OneLine(text string, n int) string {
	return Cut(strings.Join(strings.Fields(text), " "), n)
}

// Cut cuts text to at most n runes, with an ellipsis where it was cut.
func Cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	count := 0
	for i := range text {
		if count == n {
			return text[:i] + "…"
		}
		count++
	}
	return text
}

// Words are the words of a text, lower case, without what stands around
// them.
func Words(text string) []string {
	fields := strings.Fields(strings.ToLower(text))
	out := fields[:0]
	for _, w := range fields {
		if w = strings.Trim(w, ".,;:!?()[]{}<>\"'`*_“”‘’"); w != "" {
			out = append(out, w)
		}
	}
	return out
}

// EndOfSentence is where the first sentence of text ends.
func EndOfSentence(text string) int {
	if at := SentenceBreak.FindStringIndex(text); at != nil {
		return at[0]
	}
	return len(text)
}

// SentenceBreak is the end of a sentence, with the space after it.
var SentenceBreak = regexp.MustCompile(`[.!?;](?:\s|$)|\n`)

// Folded makes texts comparable that say the same in the same words.
func Folded(text string) string { return strings.Join(Words(text), " ") }

// sentenceRunes cut a sentence.
const sentenceRunes = 400

// FirstSentence is the first sentence of a text, on one line.
func FirstSentence(text string) string {
	text = OneLine(text, sentenceRunes)
	for i, r := range text {
		if rest := text[i:]; strings.ContainsRune(".!?", r) && (len(rest) == 1 || rest[1] == ' ') && i > 2 {
			return text[:i+1]
		}
	}
	return text
}

// Overlapping cuts a text into parts of at most size runes, each of which
// begins with the end of the one before. There is always one.
func Overlapping(text []rune, size, overlap int) []string {
	var out []string
	for len(text) > size {
		out = append(out, string(text[:size]))
		text = text[size-overlap:]
	}
	return append(out, string(text))
}

// LastLines keeps the last lines of a digest and says how many are gone.
func LastLines(digest string, n int) string {
	lines := strings.Split(digest, "\n")
	if len(lines) <= n {
		return digest
	}
	gone := len(lines) - n + 1
	return fmt.Sprintf("[… %d …]\n%s", gone, strings.Join(lines[gone:], "\n"))
}

// Plural is the ending of a noun after a number.
func Plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// LineRunes cuts one line of a file's head.
const LineRunes = 160
