package prose

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// headShare is the part of a shortened text's room that its head gets: what a
// text is shows at its start, how it ended at its end.
const headShare = 0.65

// Shorten cuts the middle out of text until counted(text) fits tokensMax, and
// says exactly what was left out. leftOut words the statement, from lines and
// characters. It gives up no information when text already fits.
func Shorten(text string, tokensMax int, counted func(string) int, leftOut func(lines, chars int) string) (string, bool) {
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
