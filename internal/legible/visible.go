package legible

import (
	"fmt"
	"io"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// BreaksLine reports characters that end a line, turn the direction of text or
// tell a terminal what to do.
func BreaksLine(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// Unseen reports characters that are no text: those of [BreaksLine], and those
// that are not seen at all.
func Unseen(r rune) bool {
	return BreaksLine(r) || unicode.In(r, unicode.Cf, unicode.Co)
}

// Visible is text that is safe to show a person: what is no text becomes an escape such as \x1b
// or \u202e. Line breaks and tabs stay, a carriage return before a line break goes. Visible text
// is returned unchanged.
func Visible(text string) string {
	out, _, err := transform.String(&escaper{}, text)
	if err != nil { // does not happen: the escaper never refuses a text
		return OneLine(text)
	}
	return out
}

// NewWriter passes text on to w as [Visible] shows it, also where a character
// is written in parts. Several goroutines may write.
func NewWriter(w io.Writer) io.WriteCloser {
	return &writer{next: transform.NewWriter(w, &escaper{})}
}

type writer struct {
	mu   sync.Mutex
	next *transform.Writer
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next.Write(p)
}

// Close writes what was held back of a character. It leaves the writer below
// open.
func (w *writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next.Close()
}

// escaper is Visible as a transformer.
type escaper struct{ before rune }

// Reset implements transform.Transformer.
func (e *escaper) Reset() { e.before = 0 }

// Transform implements transform.Transformer.
func (e *escaper) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		rest := src[nSrc:]
		if !atEOF && (!utf8.FullRune(rest) || len(rest) == 1 && rest[0] == '\r') {
			return nDst, nSrc, transform.ErrShortSrc
		}
		r, size := utf8.DecodeRune(rest)
		shown := rest[:size]
		switch {
		case r == '\r' && len(rest) > 1 && rest[1] == '\n':
			shown = nil
		case r == utf8.RuneError && size == 1:
			shown = fmt.Appendf(nil, `\x%02x`, rest[0])
		case !e.isText(r):
			shown = escape(r)
		}
		if nDst+len(shown) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += copy(dst[nDst:], shown)
		nSrc += size
		e.before = r
	}
	return nDst, nSrc, nil
}

// isText reports what a person is to see as it is. A joiner is text in scripts
// that have it and between emoji; in Latin letters it only hides.
func (e *escaper) isText(r rune) bool {
	const nonJoiner, joiner, firstJoined = '\u200c', '\u200d', '\u0600'
	switch r {
	case '\n', '\t':
		return true
	case nonJoiner, joiner:
		return e.before >= firstJoined && !Unseen(e.before)
	}
	return !Unseen(r)
}

// escape writes a character as programs do, and from DEL on as JSON does too:
// JSON that is shown stays JSON.
func escape(r rune) []byte {
	if r < ' ' {
		return fmt.Appendf(nil, `\x%02x`, r)
	}
	if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
		return fmt.Appendf(nil, `\u%04x\u%04x`, high, low)
	}
	return fmt.Appendf(nil, `\u%04x`, r)
}
