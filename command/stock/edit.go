package stock

import (
	"encoding/json"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/aymanbagabas/go-udiff"

	"agent/command"
	"agent/internal/legible"
)

// fileChange is a planned change of one file.
type fileChange struct {
	path     string
	info     fs.FileInfo // nil when there is no file yet
	raw      string      // its bytes, if known
	known    bool
	old      string // its text
	encoding string // unless it is plain UTF-8
	binary   bool
	text     string // what is to be in it
	quiet    bool   // the result needs no diff
	missing  func() string
}

// read takes the current content of the file.
func (c *fileChange) read(data []byte) {
	text, encoding, ok := legible.Decode(data)
	c.raw, c.known, c.old, c.encoding, c.binary = string(data), true, text, encoding, !ok
}

// bytes is the new text as it is written: in the encoding of the file.
func (c *fileChange) bytes() string {
	if c.known && !c.binary {
		return string(legible.Encode(c.text, []byte(c.raw)))
	}
	return c.text
}

// inPlace reports a file whose bytes stay what they are where nothing is changed. A
// text with bad bytes is edited as it is; of an encoding that is a guess only a whole
// new text is written.
func (c *fileChange) inPlace() bool {
	if c.encoding == "" || strings.HasPrefix(c.encoding, "UTF-16") {
		return true
	}
	if strings.HasPrefix(c.encoding, "UTF-8") {
		c.old, c.encoding = strings.TrimPrefix(c.raw, "\ufeff"), ""
		return true
	}
	return false
}

// make sets the new text: a whole one, one with a piece replaced, or one with
// text added at the end.
func (c *fileChange) make(entry map[string]any) *command.Result {
	edits, problem := editsOf(entry, c.path)
	if problem != nil {
		return problem
	}
	appends, _ := command.YesNoOf(entry, "append")
	if mode, ok := command.TextOf(entry, "mode"); ok {
		appends = appends || strings.EqualFold(strings.TrimSpace(mode), "append") || mode == "a"
	}
	if len(edits) == 0 && !appends {
		text, ok := fileText(entry, c.path)
		if !ok {
			return failed("no_text", c.path)
		}
		c.text = c.lineEnds(text)
		return nil
	}
	if len(edits) > 0 && c.info == nil {
		return &command.Result{Text: c.missing(), Failed: true}
	}
	if problem := c.editable(); problem != nil {
		return problem
	}
	if len(edits) == 0 {
		return c.append(entry)
	}
	return c.edit(edits)
}

// editable returns why a file can only be written as a whole, or nil.
func (c *fileChange) editable() *command.Result {
	switch {
	case c.info == nil:
		return nil
	case c.binary:
		return failed("binary", map[string]any{"Path": c.path, "Size": c.info.Size(),
			"Start": strings.ToValidUTF8(clip(c.raw), "?")})
	case !c.known || !c.inPlace():
		return failed("not_editable", map[string]any{"Path": c.path, "Encoding": c.encoding,
			"Size": c.info.Size()})
	}
	return nil
}

// append puts the text at the end of the file, on a line of its own.
func (c *fileChange) append(entry map[string]any) *command.Result {
	text, ok := fileText(entry, c.path)
	if !ok {
		return failed("no_text", c.path)
	}
	whole := flat(c.old)
	if whole != "" && !strings.HasSuffix(whole, "\n") {
		whole += "\n"
	}
	c.text = c.lineEnds(whole + text)
	return nil
}

// edit makes the replacements one after another.
func (c *fileChange) edit(edits []replacement) *command.Result {
	text := flat(c.old)
	for _, e := range edits {
		e.old = flat(e.old)
		changed, problem := e.apply(c.path, text)
		if problem != nil {
			return problem
		}
		text = changed
	}
	c.text = c.lineEnds(text)
	return nil
}

// flat is a text whose lines end in a line feed.
func flat(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// lineEnds gives text the line ends of the file: each line that stays keeps its own,
// and one that is new has that of the line in whose place, or after which, it stands.
// A text that ends its lines as Windows does is taken as it is.
func (c *fileChange) lineEnds(text string) string {
	if !strings.Contains(c.old, "\r\n") || strings.Contains(text, "\r\n") {
		return text
	}
	if strings.Count(c.old, "\r\n") == strings.Count(c.old, "\n") {
		return strings.ReplaceAll(text, "\n", "\r\n")
	}
	old := flat(c.old)
	ends := slices.Collect(lineEndings(c.old))
	var out strings.Builder
	pos, line, last := 0, 0, ends[0]
	add := func(piece string, from int) { // with the ends of the lines from that one on
		for l := range strings.Lines(piece) {
			body, ended := strings.CutSuffix(l, "\n")
			if out.WriteString(body); !ended {
				continue
			}
			if from < len(ends) && from < line {
				last = ends[from]
			}
			out.WriteString(last)
			from++
		}
	}
	for _, e := range lineEdits(old, text) {
		kept, gone := old[pos:e.Start], strings.Count(old[e.Start:e.End], "\n")
		from := line
		line += strings.Count(kept, "\n")
		add(kept, from)
		from = line
		line += gone
		add(e.New, from)
		pos = e.End
	}
	from := line
	line = len(ends)
	add(old[pos:], from)
	return out.String()
}

// lineEdits tell which lines differ; of large texts all between the first and the last
// that do.
func lineEdits(old, text string) []udiff.Edit {
	if len(old) <= diffBytesMax && len(text) <= diffBytesMax {
		return udiff.Lines(old, text)
	}
	start := 0
	for start < min(len(old), len(text)) && old[start] == text[start] {
		start++
	}
	start = strings.LastIndexByte(old[:start], '\n') + 1
	end := 0
	for end < min(len(old), len(text))-start && old[len(old)-1-end] == text[len(text)-1-end] {
		end++
	}
	if at := strings.IndexByte(old[len(old)-end:], '\n'); at >= 0 {
		end -= at + 1
	} else {
		end = 0
	}
	return []udiff.Edit{{Start: start, End: len(old) - end, New: text[start : len(text)-end]}}
}

// lineEndings gives how each line of a text ends.
func lineEndings(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(text) {
			end := "\n"
			if strings.HasSuffix(line, "\r\n") {
				end = "\r\n"
			}
			if strings.HasSuffix(line, "\n") && !yield(end) {
				return
			}
		}
	}
}

// The names by which models call the parts of an edit.
var (
	textKeys = []string{"text", "content", "contents", "data", "body", "code", "file_text"}
	oldKeys  = []string{"old", "old_text", "old_string", "old_str", "search", "find", "before",
		"target", "original"}
	newKeys = append([]string{"new", "new_text", "new_string", "new_str", "replacement", "replace",
		"replace_with", "with", "after"}, textKeys...)
)

const editsMax = 50 // of one entry

// replacement is one edit: a piece of text that stands in a file, and what
// comes in its place.
type replacement struct {
	old, new string
	all      bool
}

// editsOf reads the edits of an entry: one, or a list of them.
func editsOf(entry map[string]any, path string) ([]replacement, *command.Result) {
	list, ok := entry["edits"].([]any)
	if !ok {
		list, ok = entry["changes"].([]any)
	}
	if !ok {
		e, given, problem := editOf(entry, path)
		if !given || problem != nil {
			return nil, problem
		}
		return []replacement{e}, nil
	}
	var out []replacement
	for _, item := range list[:min(len(list), editsMax)] {
		fields, _ := item.(map[string]any)
		e, given, problem := editOf(fields, path)
		if problem == nil && !given {
			problem = failed("no_old", path)
		}
		if problem != nil {
			return nil, problem
		}
		out = append(out, e)
	}
	if len(list) > editsMax {
		return nil, failed("too_many_edits", editsMax)
	}
	return out, nil
}

// editOf reads one edit. An entry without a text to replace is no edit.
func editOf(entry map[string]any, path string,
) (e replacement, given bool, problem *command.Result) {
	old, ok := command.TextOf(entry, oldKeys...)
	if !ok || old == "" {
		return e, false, nil
	}
	text, ok := command.TextOf(entry, newKeys...)
	if !ok {
		return e, false, failed("no_new", path)
	}
	e.all, _ = command.YesNoOf(entry, "all", "replace_all")
	e.old, e.new = withoutFence(old, path), withoutFence(text, path)
	return e, true, nil
}

// apply makes the replacement. The old text must occur exactly once, unless all
// occurrences are meant; otherwise the result shows what is there instead of
// guessing. A line end after the last line of both texts comes from the block
// they were written in.
func (e replacement) apply(path, text string) (string, *command.Result) {
	found := strings.Count(text, e.old)
	if found == 0 {
		e.old, e.new = withoutLastLineEnd(e.old), withoutLastLineEnd(e.new)
		if e.old != "" {
			found = strings.Count(text, e.old)
		}
	}
	switch {
	case found == 0:
		line, near := nearestPiece(text, e.old)
		return "", failed("edit_missing", map[string]any{"Path": path, "Line": line, "Near": near})
	case found > 1 && !e.all:
		return "", failed("edit_ambiguous",
			map[string]any{"Path": path, "Count": found, "Lines": linesOf(text, e.old)})
	}
	return strings.ReplaceAll(text, e.old, e.new), nil
}

func withoutLastLineEnd(s string) string {
	return strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
}

// linesOf lists the lines on which a piece of text begins.
func linesOf(text, piece string) []int {
	const linesMax = 5
	var out []int
	line, pos := 1, 0
	for len(out) < linesMax {
		at := strings.Index(text[pos:], piece)
		if at < 0 {
			break
		}
		line += strings.Count(text[pos:pos+at], "\n")
		out = append(out, line)
		line += strings.Count(piece, "\n")
		pos += at + len(piece)
	}
	return out
}

// Bounds of looking for the piece that was meant.
const (
	nearLinesMax   = 20_000
	nearBytesMax   = 160 // compared of a line
	nearShownMax   = 8   // lines shown
	nearSimilarity = 0.5 // of the lines, below which they have nothing in common
)

// nearestPiece finds the lines most like a piece of text that does not occur, by
// the first line of the piece that is not blank.
func nearestPiece(text, piece string) (line int, near string) {
	wanted := splitLines(piece)
	for len(wanted) > 0 && strings.TrimSpace(wanted[0]) == "" {
		wanted = wanted[1:]
	}
	if len(wanted) == 0 {
		return 0, ""
	}
	lines := splitLines(text)
	best := nearSimilarity
	for i, l := range lines[:min(len(lines), nearLinesMax)] {
		if s := similarity(l, wanted[0]); s > best {
			best, line = s, i+1
		}
	}
	if line == 0 {
		return 0, ""
	}
	end := min(len(lines), line-1+min(len(wanted), nearShownMax))
	shown := make([]string, 0, nearShownMax)
	for _, l := range lines[line-1 : end] {
		shown = append(shown, cutLine(l, nearBytesMax))
	}
	return line, strings.Join(shown, "\n")
}

// similarity compares two lines, from 0 to 1, ignoring the space around them.
func similarity(a, b string) float64 {
	a, b = legible.Head(strings.TrimSpace(a), nearBytesMax),
		legible.Head(strings.TrimSpace(b), nearBytesMax)
	longer := max(len(a), len(b))
	if longer == 0 || min(len(a), len(b))*4 < longer {
		return 0
	}
	return 1 - float64(levenshtein.ComputeDistance(a, b))/float64(longer)
}

// fileText returns the text that an entry wants in the file. A value that is not
// text is written as JSON. Fences around code are taken off.
func fileText(entry map[string]any, path string) (string, bool) {
	text, ok := command.TextOf(entry, textKeys...)
	if !ok {
		given := slices.IndexFunc(textKeys, func(key string) bool { _, ok := entry[key]; return ok })
		if given < 0 || entry[textKeys[given]] == nil {
			return "", false
		}
		out, err := json.MarshalIndent(entry[textKeys[given]], "", "  ")
		return string(out) + "\n", err == nil
	}
	return withoutFence(text, path), true
}

// withoutFence takes off a fence around a whole text, unless fences mean
// something in this kind of file.
func withoutFence(text, path string) string {
	ext := strings.ToLower(filepath.Ext(path))
	if ext != ".md" && ext != ".markdown" {
		if _, body, fenced := legible.CutFence(strings.TrimSpace(text)); fenced {
			return body
		}
	}
	return text
}

// lastLine is the last line of a text that was cut.
func lastLine(text string) string {
	lines := splitLines(text)
	if len(lines) == 0 {
		return ""
	}
	return cutLine(lines[len(lines)-1], nearBytesMax)
}
