package inference

import (
	"bytes"
	"unicode/utf8"
)

// textGate turns token pieces into text that is safe to show: whole runes
// only, and nothing that could still become a stop string. Bytes that can
// never become UTF-8 come out as U+FFFD, one per byte, so nothing is lost
// silently and nothing waits forever.
//
// The stop string that is complete first wins; of two that are complete at the
// same byte, the longer one. So the text does not depend on how it is cut into
// pieces.
type textGate struct {
	stops   [][]byte
	longest int
	held    []byte
	stopped bool
	by      string // the stop string that came
	sent    int    // bytes of the reply that went out
}

func newTextGate(stops []string) *textGate {
	g := &textGate{}
	for _, s := range stops {
		if s != "" {
			g.stops = append(g.stops, []byte(s))
			g.longest = max(g.longest, len(s))
		}
	}
	return g
}

// push adds a piece and returns the text that can go out now. After a stop
// string came, stopped is true and the rest of the text is dropped.
func (g *textGate) push(piece []byte) string {
	if g.stopped {
		return ""
	}
	g.held = append(g.held, piece...)
	if at, by := g.findStop(); at >= 0 {
		g.stopped, g.by = true, string(by)
		g.sent += at
		out := validText(g.held[:at])
		g.held = nil
		return out
	}
	return g.release(len(g.held) - g.possibleStop())
}

// flush returns what was held back, when the reply ended without a stop string. The
// beginning of a character that was cut off is one U+FFFD.
func (g *textGate) flush() string {
	whole := len(g.held) - incompleteTail(g.held)
	out := validText(g.held[:whole])
	if whole < len(g.held) {
		out += "\uFFFD"
	}
	g.sent += len(g.held)
	g.held = nil
	return out
}

// findStop finds the stop string that is complete first, and where it begins, or -1.
func (g *textGate) findStop() (start int, by []byte) {
	start, end := -1, len(g.held)+1
	for _, s := range g.stops {
		at := bytes.Index(g.held, s)
		if at < 0 {
			continue
		}
		if e := at + len(s); e < end || e == end && at < start {
			start, end, by = at, e, s
		}
	}
	return start, by
}

// possibleStop is the length of the longest suffix of held that begins a stop string.
func (g *textGate) possibleStop() int {
	for n := min(g.longest-1, len(g.held)); n > 0; n-- {
		tail := g.held[len(g.held)-n:]
		for _, s := range g.stops {
			if len(s) > n && bytes.HasPrefix(s, tail) {
				return n
			}
		}
	}
	return 0
}

// release takes up to n bytes out of held, but no incomplete rune at its end.
func (g *textGate) release(n int) string {
	n -= incompleteTail(g.held[:n])
	out := validText(g.held[:n])
	g.sent += n
	g.held = append(g.held[:0], g.held[n:]...)
	return out
}

// incompleteTail is the number of bytes at the end of b that begin a rune
// without finishing it; 0 to 3.
func incompleteTail(b []byte) int {
	for n := 1; n <= min(utf8.UTFMax-1, len(b)); n++ {
		c := b[len(b)-n]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// validText is b with each byte that is no UTF-8 replaced by U+FFFD. Unlike
// bytes.ToValidUTF8 it keeps one for each, so that where a text is cut makes
// no difference.
func validText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string([]rune(string(b)))
}
