package stock

import (
	"strings"
	"unicode/utf8"

	"agent/internal/legible"
)

// cutHead returns at most n bytes of s, ending at a whole rune and, if one is
// near, at the end of a line.
func cutHead(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	if line := strings.LastIndexByte(s[:n], '\n'); line >= n-n/4 && line >= 0 {
		n = line + 1
	}
	return s[:n]
}

// cutTail is cutHead for the end of s.
func cutTail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	from := len(s) - n
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	if line := strings.IndexByte(s[from:], '\n'); line >= 0 && line < n/4 {
		from += line + 1
	}
	return s[from:]
}

// clip keeps a name that a model made up from flooding a message.
func clip(s string) string { return legible.Clip(s, nameBytesMax) }

const nameBytesMax = 64 // longest name; more is prose
