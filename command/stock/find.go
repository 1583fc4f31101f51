package stock

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"agent/command"
	"agent/internal/legible"
)

const (
	contextLines = 2  // shown before and after a match
	matchesMax   = 20 // shown of one file
	nearMin      = 20 // bytes shown before and after a word in a long line
)

// around shows the lines that contain the phrase, or all of its words, with the
// lines around them. If nothing matches, it says so and shows the text itself.
func (p *paper) around(phrase string, from, to, limit int) *command.Result {
	pieces, matches := p.grep([]string{phrase}, from, to, limit)
	if words := strings.Fields(phrase); matches == 0 && len(words) > 1 {
		pieces, matches = p.grep(words, from, to, limit)
	}
	if matches == 0 {
		out := p.section(from, to, limit)
		none := texts.Say("not_found", map[string]any{"Path": p.name, "Find": clip(phrase),
			"Lines": p.total})
		out.Text = none + "\n" + out.Text
		return out
	}
	out := &command.Result{}
	var text strings.Builder
	text.WriteString(p.head(1, p.total))
	shown := 0
	for _, piece := range pieces {
		if shown > 0 && text.Len()+len(piece.text) > limit {
			break
		}
		text.WriteString(piece.text)
		out.Truncated = out.Truncated || piece.cut
		shown += piece.matches
	}
	if shown < matches {
		text.WriteString("\n" + texts.Say("more_matches",
			map[string]any{"Matches": matches, "Shown": shown}))
		out.Truncated = true
	}
	out.Text = text.String()
	return out
}

// grepPiece is a match with the lines around it that no earlier piece shows.
type grepPiece struct {
	text    string
	matches int
	cut     bool // bytes of a line are left out, and that is said
}

func (g *grepPiece) add(line grepLine) {
	g.text += line.text
	g.cut = g.cut || line.cut
}

// grepLine is a line as it is shown, with its number.
type grepLine struct {
	text string
	cut  bool
}

// grep collects the lines from..to that contain every word, ignoring case, and
// counts all matches, including those it does not keep. Half of limit is for the
// matching line and the rest for the lines around it. Of a longer line it shows
// the parts around the words.
func (p *paper) grep(words []string, from, to, limit int) (pieces []grepPiece, matches int) {
	var before []grepLine // up to contextLines lines not shown yet
	last, after := 0, 0   // the last line shown, and how many follow a match still
	line := newSought(words, limit/2)
	for n, next := range p.each {
		if n < from {
			continue
		}
		if n > to {
			break
		}
		line.add(next.text)
		if !next.last {
			continue
		}
		switch {
		case line.matches():
			if matches++; matches > matchesMax {
				break
			}
			piece := grepPiece{matches: 1}
			if first := n - len(before); last > 0 && first > last+1 {
				piece.text = "\n..."
			}
			for _, l := range append(before, line.aroundWords(n)) {
				piece.add(l)
			}
			pieces, before = append(pieces, piece), nil
			last, after = n, contextLines
		case after > 0 && matches <= matchesMax:
			pieces[len(pieces)-1].add(line.start(n, limit/(4*contextLines)))
			last, after = n, after-1
		default:
			if before = append(before, line.start(n, limit/(4*contextLines))); len(before) > contextLines {
				before = before[1:]
			}
		}
		line.reset()
	}
	return pieces, matches
}

// sought is a line that is searched for words. It may come in pieces; no more of
// it is held than is shown.
type sought struct {
	words []string   // lower case
	near  int        // bytes that are shown before and after each
	torn  int        // bytes of them that may stand in the piece before
	room  int        // bytes of the line that can be shown
	size  int        // bytes of it so far
	held  string     // the start of them
	tail  string     // the end of them, where a word may have begun
	found []linePart // around each word, in its place
	left  int        // words not found yet
}

// linePart is a part of a line that is shown.
type linePart struct {
	from int
	text string
}

func (s linePart) to() int { return s.from + len(s.text) }

func newSought(words []string, room int) *sought {
	s := &sought{room: room, found: make([]linePart, len(words))}
	sum := 0
	for _, w := range words {
		w = strings.ToLower(w)
		s.words, s.torn, sum = append(s.words, w), max(s.torn, utf8.UTFMax*len(w)), sum+len(w)
	}
	s.near = max((room-sum)/(2*len(words)), nearMin)
	s.reset()
	return s
}

// reset begins another line.
func (s *sought) reset() {
	clear(s.found)
	s.size, s.held, s.tail, s.left = 0, "", "", len(s.words)
}

// add looks through the next piece of the line.
func (s *sought) add(text string) {
	if missing := s.room + 1 - len(s.held); missing > 0 {
		s.held += text[:min(missing, len(text))]
	}
	text, s.size = s.tail+text, s.size+len(text)
	start := s.size - len(text)
	if s.left > 0 {
		lower := strings.ToLower(text)
		for i, w := range s.words {
			if s.found[i].text == "" {
				s.find(i, text, lower, w, start)
			}
		}
	}
	s.tail = text[runeStart(text, len(text)-s.near-s.torn):]
}

// find records where a word stands in a piece of the line that begins at start.
func (s *sought) find(i int, text, lower, word string, start int) {
	at := strings.Index(lower, word)
	if at < 0 || word == "" {
		return
	}
	// Characters may have another size in lower case, but there are as many.
	skipped := utf8.RuneCountInString(lower[:at])
	from := runeAt(text, skipped)
	to := from + runeAt(text[from:], utf8.RuneCountInString(word))
	from, to = runeStart(text, from-s.near), runeStart(text, to+s.near)
	s.found[i], s.left = linePart{start + from, text[from:to]}, s.left-1
}

// runeAt is the place of the n-th character.
func runeAt(s string, n int) int {
	for at := range s {
		if n == 0 {
			return at
		}
		n--
	}
	return len(s)
}

// runeStart moves a position to the start of a character within the text.
func runeStart(s string, at int) int {
	at = min(max(at, 0), len(s))
	for at > 0 && at < len(s) && !utf8.RuneStart(s[at]) {
		at--
	}
	return at
}

func (s *sought) matches() bool { return s.left == 0 }

// aroundWords is how a matching line is shown: whole, or the parts around the
// words.
func (s *sought) aroundWords(n int) grepLine {
	if s.size <= s.room {
		return numbered(n, s.held, false)
	}
	parts := slices.SortedFunc(slices.Values(s.found),
		func(a, b linePart) int { return a.from - b.from })
	var out []string
	end := 0
	for _, next := range parts {
		switch {
		case next.to() <= end:
			continue
		case next.from > end:
			out = append(out, leftOut(next.from-end), next.text)
		default:
			out = append(out, next.text[end-next.from:])
		}
		end = next.to()
	}
	if end < s.size {
		out = append(out, leftOut(s.size-end))
	}
	return numbered(n, strings.Join(out, ""), true)
}

// start is how a line beside a match is shown: as much of its start as there is
// room for.
func (s *sought) start(n, room int) grepLine {
	if s.size <= room {
		return numbered(n, s.held, false)
	}
	head := legible.Head(s.held, room)
	return numbered(n, head+leftOut(s.size-len(head)), true)
}

func leftOut(bytes int) string { return texts.Say("bytes_left_out", bytes) }

func numbered(n int, text string, cut bool) grepLine {
	return grepLine{"\n" + strconv.Itoa(n) + ": " + text, cut}
}
