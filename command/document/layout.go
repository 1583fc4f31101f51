package document

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// matrix is an affine map (a b c d e f) as PDF writes it.
type matrix [6]float64

var identity = matrix{1, 0, 0, 1, 0, 0}

// times applies m, then n.
func (m matrix) times(n matrix) matrix {
	return matrix{
		m[0]*n[0] + m[1]*n[2], m[0]*n[1] + m[1]*n[3],
		m[2]*n[0] + m[3]*n[2], m[2]*n[1] + m[3]*n[3],
		m[4]*n[0] + m[5]*n[2] + n[4], m[4]*n[1] + m[5]*n[3] + n[5],
	}
}

// height is the length to which m maps a vertical unit.
func (m matrix) height() float64 { return math.Hypot(m[2], m[3]) }

// upright turns the page, by quarters, so that what at writes runs to the right.
func (m matrix) upright(at matrix) matrix {
	switch {
	case math.Abs(at[1]) > math.Abs(at[0]) && at[1] > 0:
		return m.times(matrix{0, -1, 1, 0, 0, 0})
	case math.Abs(at[1]) > math.Abs(at[0]):
		return m.times(matrix{0, 1, -1, 0, 0, 0})
	case at[0] < 0:
		return m.times(matrix{-1, 0, 0, -1, 0, 0})
	}
	return m
}

// run is a piece of text on a page: from (x, y) to end on the same line.
type run struct {
	text      string
	x, y, end float64
	size      float64
}

// layout makes lines and words of runs in the order in which they are drawn,
// which for nearly every program is the order of reading.
type layout struct {
	b    strings.Builder
	last run
	any  bool
}

// Gaps, in units of the font's size.
const (
	lineGap      = 0.5 // a vertical step that begins a new line
	paragraphGap = 1.9 // one that leaves an empty line
	wordGap      = 0.17
	columnGap    = 2.0 // a horizontal step between columns
)

func (l *layout) add(r run) {
	if r.text == "" {
		return
	}
	if l.any {
		l.separate(r)
	}
	l.b.WriteString(r.text)
	l.last, l.any = r, true
}

// separate writes what stands between the last run and the next.
func (l *layout) separate(r run) {
	size := max(r.size, l.last.size, 1)
	down := math.Abs(l.last.y - r.y)
	gap := r.x - l.last.end
	switch {
	case down > paragraphGap*size:
		l.b.WriteString("\n\n")
	case down > lineGap*size:
		l.b.WriteString("\n")
	case gap > columnGap*size:
		l.b.WriteString("   ")
	case gap > wordGap*size || gap < -size:
		if !endsInSpace(l.last.text) && !startsWithSpace(r.text) {
			l.b.WriteByte(' ')
		}
	}
}

func endsInSpace(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return unicode.IsSpace(r)
}

func startsWithSpace(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsSpace(r)
}

// notes adds lines below the text of a page.
func (l *layout) notes(lines []string) {
	for _, line := range lines {
		l.b.WriteString("\n" + line)
	}
}

// links adds the addresses of a page below its text.
func (l *layout) links(addresses []string) {
	for _, a := range addresses {
		l.b.WriteString("\n<" + a + ">")
	}
}

func (l *layout) String() string { return l.b.String() }
