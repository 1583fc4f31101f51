// Package legible has what the program has in common about texts that are not
// its own: files in any encoding, words of strangers, and what of both a person's
// terminal may be sent.
//
// Its functions are pure and never fail.
package legible

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// Decode turns the bytes of a text file into UTF-8. The second value says
// which encoding it had, empty for UTF-8; ok is false for a binary file.
func Decode(data []byte) (text, encoding string, ok bool) {
	switch {
	case strings.HasPrefix(string(data[:min(3, len(data))]), "\xef\xbb\xbf"):
		data = data[3:]
	case len(data) >= 2 && data[0] == 0xff && data[1] == 0xfe:
		return decodeUTF16(data[2:], false), "UTF-16", true
	case len(data) >= 2 && data[0] == 0xfe && data[1] == 0xff:
		return decodeUTF16(data[2:], true), "UTF-16", true
	}
	if bigEndian, ok := guessUTF16(data); ok {
		return decodeUTF16(data, bigEndian), "UTF-16", true
	}
	if isBinary(data) {
		return "", "", false
	}
	if utf8.Valid(data) {
		return string(data), "", true
	}
	return ToValid(string(data)), "not UTF-8, read as Windows-1252", true
}

// ToValid reads what is no UTF-8 as Windows-1252, in which every byte is
// some character.
func ToValid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	decoded, err := charmap.Windows1252.NewDecoder().String(s)
	if err != nil {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return decoded
}

// guessUTF16 recognises UTF-16 without a byte order mark by the zero bytes of
// Latin letters: they are in the upper halves and nowhere else.
func guessUTF16(data []byte) (bigEndian, ok bool) {
	const lookAt, lettersMin = 2000, 4
	data = data[:min(lookAt, len(data)&^1)]
	var zeros [2]int
	for i, b := range data {
		if b == 0 {
			zeros[i%2]++
		}
	}
	units := len(data) / 2
	switch {
	case units < lettersMin:
	case zeros[0] == 0 && zeros[1]*10 > units*7:
		return false, true
	case zeros[1] == 0 && zeros[0]*10 > units*7:
		return true, true
	}
	return false, false
}

func decodeUTF16(data []byte, bigEndian bool) string {
	units := make([]uint16, len(data)/2)
	for i := range units {
		hi, lo := data[2*i+1], data[2*i]
		if bigEndian {
			hi, lo = lo, hi
		}
		units[i] = uint16(hi)<<8 | uint16(lo)
	}
	return string(utf16.Decode(units))
}

// isBinary looks for NUL bytes and many control characters at the start.
func isBinary(data []byte) bool {
	const lookAt = 8000
	data = data[:min(lookAt, len(data))]
	controls := 0
	for _, b := range data {
		if b == 0 {
			return true
		}
		if b < ' ' && !unicode.IsSpace(rune(b)) && b != 0x1b {
			controls++
		}
	}
	return controls*10 > len(data)
}

// WithoutTornRune drops the start of a character that a cut has left at the end.
func WithoutTornRune(data []byte) []byte {
	for i := 1; i <= min(len(data), utf8.UTFMax-1); i++ {
		if b := data[len(data)-i]; utf8.RuneStart(b) {
			if !utf8.FullRune(data[len(data)-i:]) {
				return data[:len(data)-i]
			}
			break
		}
	}
	return data
}

// Clip cuts text at n bytes, between runes.
func Clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}

// OneLine is a stranger's text on one line, without characters that are not
// seen.
func OneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case Unseen(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	return strings.Join(strings.Fields(text), " ")
}

// Fence returns backticks longer than any run of them in content, so that
// nothing inside can close the block: data can't forge its own end.
func Fence(content string) string {
	longest, run := 0, 0
	for i := range len(content) {
		if content[i] != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return strings.Repeat("`", max(3, longest+1))
}

// Line is a stranger's text on one line of at most n characters.
func Line(text string, n int) string {
	runes := []rune(OneLine(text))
	if len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return string(runes)
}

// Count writes a number with its noun: "1 line", "2 lines".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Size writes a number of bytes as a person would.
func Size(bytes int64) string {
	switch {
	case bytes < 10_000:
		return Count(int(bytes), "byte")
	case bytes < 10_000_000:
		return fmt.Sprintf("%d KB", bytes/1000)
	default:
		return fmt.Sprintf("%d MB", bytes/1_000_000)
	}
}

// Head returns at most n bytes of s, ending at a whole rune and, if one is
// near, at the end of a line.
func Head(s string, n int) string {
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

// Tail is [Head] for the end of s.
func Tail(s string, n int) string {
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
