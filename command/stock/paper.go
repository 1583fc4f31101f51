package stock

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strconv"
	"strings"

	"agent/command"
	"agent/command/document"
	"agent/internal/legible"
)

// paper is a text being read: a file, or the text of a document. Lines count from
// 1 and have no line ends.
type paper struct {
	name       string
	size       int64
	form       string // what it is, unless it is plain UTF-8: an encoding, HTML, PDF
	title      string
	cut        string // why not all of a document is here
	pages      []int  // first line of each page, if it has pages
	pagesTotal int    // that a PDF has, read or not
	total      int
	each       iter.Seq2[int, piece] // every byte of every line
}

// piece is a line, or one part of a line that is too long to hold. The parts of a
// line follow one another.
type piece struct {
	text string
	size int  // that it has in the file
	last bool // the line ends with it
}

// paperLine is a line and its size in the file. Of an endless line only the start
// is held.
type paperLine struct {
	text string
	size int
	cut  bool // only the start is held
}

// lines gives each line at once.
func (p *paper) lines(yield func(int, paperLine) bool) {
	var line paperLine
	begun := false
	for n, next := range p.each {
		if begun {
			line.size, line.cut = line.size+next.size, true
		} else {
			line = paperLine{text: next.text, size: next.size}
		}
		begun = !next.last
		if next.last && !yield(n, line) {
			return
		}
	}
}

// eachOf gives lines that are in memory.
func eachOf(lines []string) iter.Seq2[int, piece] {
	return func(yield func(int, piece) bool) {
		for i, line := range lines {
			if !yield(i+1, piece{text: line, size: len(line), last: true}) {
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
	lineBytesMax = 64 << 10 // held of one line at once
	sniffedBytes = 8000     // tell text from everything else
)

// openLarge reads a text file line by line, each time from the start.
func (r *reading) openLarge(src *source) (*paper, *command.Result, error) {
	tooLarge := failed("too_large", map[string]any{"Path": src.name, "Size": src.size,
		"Max": r.limits.FileBytes, "Done": "read"})
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
	if !ok || strings.HasPrefix(encoding, "UTF-16") ||
		document.Sniff(src.name, "", head[:n]) == document.PDF {
		return nil, tooLarge, nil
	}
	var broken error
	p := &paper{name: src.name, size: src.size, form: encoding}
	p.each = func(yield func(int, piece) bool) {
		f, err := src.open()
		if err != nil {
			broken = err
			return
		}
		defer f.Close()
		broken = scanPieces(r.ctx, f, yield)
	}
	for n, next := range p.each {
		if p.total = n; p.form == "" && len(next.text) != next.size {
			p.form = texts.Say("not_utf8", nil)
		}
	}
	if broken != nil {
		return nil, unreadable(src.name, broken), r.ctx.Err()
	}
	return p, nil, nil
}

// contextual is the part of a context that a long scan needs.
type contextual interface{ Err() error }

// scanPieces yields the lines of a stream, long ones in pieces. It checks the
// context now and then.
func scanPieces(ctx contextual, r io.Reader, yield func(int, piece) bool) error {
	const readsBetweenLooks = 4096
	in := bufio.NewReaderSize(r, lineBytesMax)
	var held []byte // a character or a line's end that the piece before has torn
	begun := false  // there was a piece of this line
	for n, reads := 1, 1; ; reads++ {
		data, err := in.ReadSlice('\n')
		torn := errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !torn && !errors.Is(err, io.EOF) {
			return err
		}
		if (torn || reads%readsBetweenLooks == 0) && ctx.Err() != nil {
			return ctx.Err()
		}
		atEnd := err != nil && !torn
		data = append(held, data...)
		if atEnd && len(data) == 0 && !begun {
			return nil
		}
		whole := wholeBytes(data, torn)
		held = nil
		if torn {
			held = data[whole:]
		}
		next := piece{text: legible.ToValid(string(data[:whole])), size: whole, last: !torn}
		if !yield(n, next) || atEnd {
			return nil
		}
		if begun = torn; next.last {
			n++
		}
	}
}

// wholeBytes is how much of some bytes is text of a line: what they end with is
// its end, or, where a line is torn, belongs to what follows.
func wholeBytes(data []byte, torn bool) int {
	if !torn {
		data = bytes.TrimSuffix(data, []byte("\n"))
	}
	data = bytes.TrimSuffix(data, []byte("\r"))
	if torn {
		data = legible.WithoutTornRune(data)
	}
	return len(data)
}

var rangePattern = regexp.MustCompile(`^\D*(\d{1,9})(?:\s*(?:-|:|–|\.\.|,|to)\s*(\d{1,9})?)?\D*$`)

// parseRange reads "10-40", "10-" or "10" as line numbers from 1, limited to the
// lines that exist.
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

// asked is the range of lines that an entry names, by lines or pages; by default
// all.
func (p *paper) asked(entry map[string]any) (from, to int, problem *command.Result) {
	if written, ok := phraseField(entry, "page", "pages"); ok && len(p.pages) > 0 {
		first, last, ok := parseRange(written, len(p.pages))
		if !ok {
			return 0, 0, failed("bad_page", map[string]any{"Path": p.name, "Pages": len(p.pages),
				"Total": max(p.pagesTotal, len(p.pages)), "Range": clip(written)})
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
	if at := withinLine.FindStringSubmatch(written); at != nil {
		written = at[1]
	}
	from, to, ok = parseRange(written, p.total)
	if !ok {
		return 0, 0, failed("bad_range", map[string]any{"Path": p.name, "Lines": p.total,
			"Range": clip(written)})
	}
	return from, to, nil
}

// withinLine names a line and from which of its bytes on, such as 3@4096.
var withinLine = regexp.MustCompile(`^(\D*\d{1,9})\s*@\s*(\d{1,12})\D*$`)

// rest shows at most limit bytes of line n after the first skip ones.
func (p *paper) rest(n, skip, limit int) *command.Result {
	var text strings.Builder
	total := 0
	for i, next := range p.each {
		if i > n {
			break
		}
		if i < n {
			continue
		}
		if piece := next.text[min(len(next.text), max(0, skip-total)):]; text.Len() < limit {
			text.WriteString(legible.Head(strings.ToValidUTF8(piece, ""), limit-text.Len()))
		}
		total += len(next.text)
	}
	out := &command.Result{Text: p.head(n, n) + "\n" + text.String()}
	if end := min(skip, total) + text.Len(); end < total {
		out.Text += "\n" + texts.Say("line_left_out",
			map[string]any{"Line": n, "Bytes": total - end, "Next": end})
		out.Truncated = true
	}
	return out
}

// section shows the lines from..to in at most limit bytes and says exactly what
// is left out.
func (p *paper) section(from, to, limit int) *command.Result {
	var out strings.Builder
	out.WriteString(p.head(from, to))
	shown, used, rest := from-1, 0, 0
	broken := ""
	for n, line := range p.lines {
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
			head := legible.Head(line.text, limit)
			broken = "\n" + head + "\n" + texts.Say("line_left_out",
				map[string]any{"Line": from, "Bytes": line.size - len(head), "Next": len(head)})
			out.WriteString(broken)
			shown = n
		default:
			rest += line.size + 1
		}
	}
	if shown < to {
		out.WriteString("\n" + texts.Say("left_out",
			map[string]any{"Lines": to - shown, "Bytes": rest, "From": shown + 1, "To": to}))
	}
	return &command.Result{Text: out.String(), Truncated: broken != "" || shown < to}
}

// text is the lines from..to as they stand in a file. It is not whole if they
// have more than max bytes.
func (p *paper) text(from, to int, max int64) (text string, whole bool) {
	var out strings.Builder
	for n, next := range p.each {
		if n < from {
			continue
		}
		if n > to {
			break
		}
		out.WriteString(next.text)
		if next.last {
			out.WriteByte('\n')
		}
		if int64(out.Len()) > max {
			return "", false
		}
	}
	return out.String(), true
}

// head is the line above the text: the size of the file or the range shown, and
// what else to know about it.
func (p *paper) head(from, to int) string {
	data := map[string]any{
		"Path": p.name, "Lines": p.total, "Size": p.size, "Form": p.form, "Title": clip(p.title),
		"Cut": p.cut, "Range": "",
		"Pages": len(p.pages),
	}
	if from > 1 || to < p.total {
		data["Range"] = fmt.Sprintf("lines %d-%d", from, to)
	}
	return texts.Say("file_head", data)
}
