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
	"unicode/utf8"
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
		if rest := text[i:]; strings.ContainsRune(".!?", r) && (len(rest) == 1 || rest[1] == ' ') &&
			i > 2 {
			return text[:i+1]
		}
	}
	return text
}

// Overlapping cuts a text into parts of at most size runes; each begins with the end of the one
// before. There is always one.
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

// headShare is the part of a shortened text's room that its head gets: what a
// text is shows at its start, how it ended at its end.
const headShare = 0.65

// Shorten cuts the middle out of text until counted(text) fits tokensMax. leftOut
// words what is gone, from its lines and characters.
func Shorten(text string, tokensMax int, counted func(string) int,
	leftOut func(lines, chars int) string,
) (string, bool) {
	text = strings.ToValidUTF8(text, "\uFFFD") // so that characters can be counted and cut
	tokens := counted(text)
	if tokens <= tokensMax {
		return text, false
	}
	chars := utf8.RuneCountInString(text)
	keep := chars * tokensMax / tokens
	out := text
	for range 6 { // each round keeps at most 0.8 of the one before
		out = cutMiddle(text, keep, leftOut)
		if counted(out) <= tokensMax {
			break
		}
		keep = keep * 8 / 10
	}
	return out, true
}

// cutMiddle keeps about keep characters of text, and says between its head and
// tail what was left out.
func cutMiddle(text string, keep int, leftOut func(lines, chars int) string) string {
	head, middle, tail := SplitMiddle(text, keep)
	if middle == "" {
		return text
	}
	statement := leftOut(strings.Count(middle, "\n"), utf8.RuneCountInString(middle))
	return fmt.Sprintf("%s\n%s\n%s", strings.TrimRight(head, "\n"), statement, tail)
}

// SplitMiddle divides text so that head and tail have about keep characters:
// whole lines where they are short enough, else parts of lines.
func SplitMiddle(text string, keep int) (head, middle, tail string) {
	runes := []rune(text)
	if keep >= len(runes) {
		return text, "", ""
	}
	headChars := int(float64(keep) * headShare)
	head = string(runes[:headChars])
	tail = string(runes[len(runes)-(keep-headChars):])
	if i := strings.LastIndexByte(head, '\n'); i > len(head)/2 {
		head = head[:i+1]
	}
	if i := strings.IndexByte(tail, '\n'); i >= 0 && i < len(tail)/2 {
		tail = tail[i+1:]
	}
	return head, text[len(head) : len(text)-len(tail)], tail
}
