// Package legible makes texts of others safe to read and to show: files in any
// encoding, words of strangers, and what of both a terminal may be sent.
//
// Its functions are pure and never fail.
package legible

import (
	"bytes"
	"encoding/binary"
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
	text, encoding = mended(string(data))
	return text, encoding, true
}

// Encode writes a text in the encoding, and with the byte order mark, of the file
// that like is or begins; plain UTF-8 for anything but UTF-16.
func Encode(text string, like []byte) []byte {
	text = strings.TrimPrefix(text, byteOrderMark)
	bigEndian, wide := guessUTF16(like)
	mark := false
	switch {
	case bytes.HasPrefix(like, []byte(byteOrderMark)):
		return []byte(byteOrderMark + text)
	case bytes.HasPrefix(like, []byte{0xff, 0xfe}):
		bigEndian, wide, mark = false, true, true
	case bytes.HasPrefix(like, []byte{0xfe, 0xff}):
		bigEndian, wide, mark = true, true, true
	}
	if !wide {
		return []byte(text)
	}
	if mark {
		text = byteOrderMark + text
	}
	var order binary.AppendByteOrder = binary.LittleEndian
	if bigEndian {
		order = binary.BigEndian
	}
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, unit)
	}
	return out
}

const byteOrderMark = "\ufeff"

// The encodings that Decode guesses.
const (
	guessed1252 = "not UTF-8, read as Windows-1252, which is a guess"
	badUTF8     = "UTF-8 with %s that %s no text, shown as \uFFFD"
)

// ToValid makes UTF-8 of a text that may have another encoding, as Decode does.
func ToValid(s string) string {
	text, _ := mended(s)
	return text
}

// mended is a text as UTF-8. Where most of what is not ASCII is valid, the rest are
// single bad bytes; else it is read as Windows-1252, in which every byte is some
// character.
func mended(s string) (text, encoding string) {
	good, bad := 0, 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			bad++
		case size > 1:
			good++
		}
		i += size
	}
	switch {
	case bad == 0:
		return s, ""
	case good >= bad:
		verb := "is"
		if bad > 1 {
			verb = "are"
		}
		return toReplaced(s), fmt.Sprintf(badUTF8, Count(bad, "byte"), verb)
	}
	decoded, err := charmap.Windows1252.NewDecoder().String(s)
	if err != nil {
		return toReplaced(s), guessed1252
	}
	return decoded, guessed1252
}

// toReplaced puts one replacement character for each bad byte.
func toReplaced(s string) string { return string([]rune(s)) }

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
