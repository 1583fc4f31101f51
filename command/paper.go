package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"agent/command/document"
	"agent/command/internal/legible"
)

// paper is a text that is read: a file, or what a document says. Its lines are
// counted from 1 and have no line ends.
type paper struct {
	name  string
	size  int64
	form  string // what it is, unless it is plain UTF-8: an encoding, HTML, PDF
	title string
	cut   string // why not all of a document is here
	pages []int  // first line of each page, if it has pages
	total int
	each  iter.Seq2[int, paperLine]
}

// paperLine is a line, and the size that it has in the file: of an endless one
// only the start is held.
type paperLine struct {
	text string
	size int
	cut  bool // only the start is held
}

// eachOf gives lines that are in memory.
func eachOf(lines []string) iter.Seq2[int, paperLine] {
	return func(yield func(int, paperLine) bool) {
		for i, line := range lines {
			if !yield(i+1, paperLine{text: line, size: len(line)}) {
				return
			}
		}
	}
}

func splitLines(text string) []string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// Bounds of files that are too large to be held.
const (
	scanBytesMax = 4 << 30  // larger ones are refused
	lineBytesMax = 64 << 10 // held of one line
	sniffedBytes = 8000     // tell text from everything else
)

// openLarge reads a text file line by line, as often as it is asked.
func (r *reading) openLarge(src *source) (*paper, *Result, error) {
	tooLarge := failed("too_large", map[string]any{"Path": src.name, "Size": src.size, "Max": r.limits.FileBytes, "Done": "read"})
	if src.size > scanBytesMax {
		return nil, tooLarge, nil
	}
	f, err := src.open()
	if err != nil {
		return nil, unreadable(src.name, err), nil
	}
	head := make([]byte, sniffedBytes)
	n, err := io.ReadFull(f, head)
	f.Close()
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, unreadable(src.name, err), nil
	}
	// Other encodings and formats would have to be held as a whole.
	_, encoding, ok := legible.Decode(legible.WithoutTornRune(head[:n]))
	if !ok || strings.HasPrefix(encoding, "UTF-16") || document.Sniff(src.name, "", head[:n]) == document.PDF {
		return nil, tooLarge, nil
	}
	var broken error
	p := &paper{name: src.name, size: src.size, form: encoding}
	p.each = func(yield func(int, paperLine) bool) {
		f, err := src.open()
		if err != nil {
			broken = err
			return
		}
		defer f.Close()
		broken = scanLines(r.ctx, f, yield)
	}
	for n := range p.each {
		p.total = n
	}
	if broken != nil {
		return nil, unreadable(src.name, broken), r.ctx.Err()
	}
	return p, nil, nil
}

// contextual is the part of a context that a long scan needs.
type contextual interface{ Err() error }

// scanLines gives the lines of a stream. It looks at the context now and then.
func scanLines(ctx contextual, r io.Reader, yield func(int, paperLine) bool) error {
	const linesBetweenLooks = 4096
	in := bufio.NewReaderSize(r, lineBytesMax)
	for n := 1; ; n++ {
		if n%linesBetweenLooks == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, err := scanLine(ctx, in)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		atEnd := err != nil
		if atEnd && line.size == 0 {
			return nil
		}
		if text, crlf := strings.CutSuffix(line.text, "\r"); crlf && !line.cut {
			line.text, line.size = text, line.size-1
		}
		line.text = legible.ToValid(line.text)
		if !yield(n, line) || atEnd {
			return nil
		}
	}
}

// scanLine reads one line and holds its start.
func scanLine(ctx contextual, in *bufio.Reader) (line paperLine, err error) {
	piece, err := in.ReadSlice('\n')
	line.text = strings.TrimSuffix(string(piece), "\n")
	line.size = len(line.text)
	for errors.Is(err, bufio.ErrBufferFull) {
		line.cut = true
		if ctx.Err() != nil {
			return line, ctx.Err()
		}
		piece, err = in.ReadSlice('\n')
		line.size += len(piece)
		if err == nil {
			line.size-- // the line's end
		}
	}
	return line, err
}

var rangePattern = regexp.MustCompile(`^\D*(\d{1,9})(?:\s*(?:-|:|–|\.\.|,|to)\s*(\d{1,9})?)?\D*$`)

// parseRange reads "10-40", "10-" or "10" as lines counted from 1, cut to the
// lines that there are.
func parseRange(s string, lines int) (from, to int, ok bool) {
	m := rangePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, 0, false
	}
	from, _ = strconv.Atoi(m[1])
	to = from
	if m[2] != "" {
		to, _ = strconv.Atoi(m[2])
	} else if strings.ContainsAny(s, "-:–.") {
		to = lines
	}
	from, to = max(from, 1), min(to, lines)
	return from, to, from <= to
}

// asked is the range of lines that an entry names, by lines or by pages; all of
// them when it names none.
func (p *paper) asked(entry map[string]any) (from, to int, problem *Result) {
	if written, ok := phraseField(entry, "page", "pages"); ok && len(p.pages) > 0 {
		first, last, ok := parseRange(written, len(p.pages))
		if !ok {
			return 0, 0, failed("bad_page", map[string]any{"Path": p.name, "Pages": len(p.pages), "Range": clip(written)})
		}
		to := p.total
		if last < len(p.pages) {
			to = p.pages[last] - 1
		}
		return p.pages[first-1], to, nil
	}
	written, ok := phraseField(entry, "lines", "range", "line")
	if !ok {
		return 1, p.total, nil
	}
	from, to, ok = parseRange(written, p.total)
	if !ok {
		return 0, 0, failed("bad_range", map[string]any{"Path": p.name, "Lines": p.total, "Range": clip(written)})
	}
	return from, to, nil
}

// section shows the lines from..to in at most limit bytes, and says exactly
// what it leaves out.
func (p *paper) section(from, to, limit int) *Result {
	var out strings.Builder
	out.WriteString(p.head(from, to))
	shown, used, rest := from-1, 0, 0
	broken := ""
	for n, line := range p.each {
		if n < from {
			continue
		}
		if n > to {
			break
		}
		fits := rest == 0 && broken == "" && used+line.size+1 <= limit && !line.cut
		switch {
		case fits:
			used += line.size + 1
			out.WriteString("\n" + line.text)
			shown = n
		case n == from: // not even one line fits: show its start
			head := cutHead(line.text, limit)
			broken = "\n" + head + "\n" + message("line_left_out", map[string]any{"Line": from, "Bytes": line.size - len(head)})
			out.WriteString(broken)
			shown = n
		default:
			rest += line.size + 1
		}
	}
	if shown < to {
		out.WriteString("\n" + message("left_out", map[string]any{"Lines": to - shown, "Bytes": rest, "From": shown + 1, "To": to}))
	}
	return &Result{Text: out.String(), Truncated: broken != "" || shown < to}
}

// text is the lines from..to as they would stand in a file, at most max bytes.
func (p *paper) text(from, to int, max int64) string {
	var out strings.Builder
	for n, line := range p.each {
		if n < from {
			continue
		}
		if n > to || int64(out.Len()+len(line.text)) >= max {
			break
		}
		out.WriteString(line.text + "\n")
	}
	return out.String()
}

// head is the line above the text: the whole file's numbers, or the range; and
// what else is to be known of it.
func (p *paper) head(from, to int) string {
	data := map[string]any{
		"Path": p.name, "Lines": p.total, "Size": p.size, "Form": p.form, "Title": clip(p.title), "Cut": p.cut, "Range": "",
		"Pages": len(p.pages),
	}
	if from > 1 || to < p.total {
		data["Range"] = fmt.Sprintf("lines %d-%d", from, to)
	}
	return message("file_head", data)
}

const (
	contextLines = 2  // shown before and after a match
	matchesMax   = 20 // shown of one file
)

// around shows the lines that contain the phrase, or else all of its words,
// with their neighbours and line numbers. When nothing matches it says so and
// shows the text itself.
func (p *paper) around(phrase string, from, to, limit int) *Result {
	pieces, matches := p.grep([]string{phrase}, from, to)
	if words := strings.Fields(phrase); matches == 0 && len(words) > 1 {
		pieces, matches = p.grep(words, from, to)
	}
	if matches == 0 {
		out := p.section(from, to, limit)
		none := message("not_found", map[string]any{"Path": p.name, "Find": clip(phrase), "Lines": p.total})
		out.Text = none + "\n" + out.Text
		return out
	}
	out := &Result{}
	var text strings.Builder
	text.WriteString(p.head(1, p.total))
	shown := 0
	for _, piece := range pieces {
		if shown > 0 && text.Len()+len(piece.text) > limit {
			break
		}
		text.WriteString(cutHead(piece.text, limit))
		shown += piece.matches
	}
	if shown < matches {
		text.WriteString("\n" + message("more_matches", map[string]any{"Matches": matches, "Shown": shown}))
		out.Truncated = true
	}
	out.Text = text.String()
	return out
}

// grepPiece is a match with the lines around it that no earlier piece has.
type grepPiece struct {
	text    string
	matches int
}

// grep collects the lines from..to that contain every word, case aside, and
// counts all matches, also those beyond the ones that it keeps.
func (p *paper) grep(words []string, from, to int) (pieces []grepPiece, matches int) {
	words = slices.Clone(words)
	for i, w := range words {
		words[i] = strings.ToLower(w)
	}
	var before []string // up to contextLines numbered lines not shown yet
	last, after := 0, 0 // the last line shown, and how many follow a match still
	for n, line := range p.each {
		if n < from {
			continue
		}
		if n > to {
			break
		}
		numbered := "\n" + strconv.Itoa(n) + ": " + line.text
		switch {
		case containsAll(line.text, words):
			if matches++; matches > matchesMax {
				continue
			}
			piece := grepPiece{matches: 1}
			if first := n - len(before); last > 0 && first > last+1 {
				piece.text = "\n..."
			}
			piece.text += strings.Join(before, "") + numbered
			pieces, before = append(pieces, piece), nil
			last, after = n, contextLines
		case after > 0 && matches <= matchesMax:
			pieces[len(pieces)-1].text += numbered
			last, after = n, after-1
		default:
			if before = append(before, numbered); len(before) > contextLines {
				before = before[1:]
			}
		}
	}
	return pieces, matches
}

func containsAll(line string, lowerWords []string) bool {
	lower := strings.ToLower(line)
	for _, w := range lowerWords {
		if !strings.Contains(lower, w) {
			return false
		}
	}
	return true
}
