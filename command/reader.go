package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// Reader returns the command that reads text files of the work dir: whole, a
// range of lines, or the lines around a phrase. It lists folders.
func Reader() Command {
	spec := describe(Spec{
		Name:    "reader",
		Aliases: []string{"read", "summarize", "read_file", "open", "cat", "view", "ls", "list"},
		Slots: []Slot{
			{Name: "file", Kind: SlotFile},
			{Name: "find", Kind: SlotLine, Optional: true},
			{Name: "lines", Kind: SlotLine, Optional: true},
		},
		Effect: EffectRead,
	})
	return Func(spec, read)
}

func read(ctx context.Context, env *Env, call *Call) (*Result, error) {
	root, err := openWorkDir(env)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	limits := env.Limits.orDefaults()
	if len(call.Content) == 0 {
		return failed("no_entry", nil), nil
	}
	out := &Result{}
	var parts []string
	left := limits.OutputBytes
	for _, entry := range call.Content {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		one := (&fileReader{root: root, workDir: env.WorkDir, limits: limits, left: left}).read(entry)
		parts = append(parts, one.Text)
		left = max(left-len(one.Text), minimumShown)
		out.Failed = out.Failed || one.Failed
		out.Truncated = out.Truncated || one.Truncated
	}
	out.Text = strings.Join(parts, "\n\n")
	return out, nil
}

// minimumShown is how much of each further file is shown when the files
// before it used the allowance up.
const minimumShown = 400

// fileReader reads one file.
type fileReader struct {
	root    *os.Root
	workDir string
	limits  Limits
	left    int // bytes that the text may have
}

func (r *fileReader) read(entry map[string]any) *Result {
	name, ok := stringField(entry, fileKeys...)
	if !ok {
		return failed("no_entry", nil)
	}
	path, ok := localPath(r.workDir, name)
	if !ok {
		return failed("outside", clip(name))
	}
	info, err := r.root.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Result{Text: missing(r.root, path), Failed: true}
	case err != nil:
		return r.unreadable(path, err)
	case info.IsDir():
		return r.folder(path)
	case info.Size() > r.limits.FileBytes:
		return failed("too_large", map[string]any{"Path": path, "Size": info.Size(), "Max": r.limits.FileBytes, "Done": "read"})
	}
	data, err := readBounded(r.root, path, info, r.limits.FileBytes)
	if err != nil {
		return r.unreadable(path, err)
	}
	text, encoding, ok := decodeText(data)
	if !ok {
		return failed("binary", map[string]any{"Path": path, "Size": int64(len(data)), "Start": fmt.Sprintf("%q", data[:min(8, len(data))])})
	}
	doc := document{path: path, size: int64(len(data)), encoding: encoding, lines: splitLines(text)}
	return doc.show(entry, r.left)
}

func (r *fileReader) unreadable(path string, err error) *Result {
	return failed("unreadable", map[string]any{"Path": path, "Why": reason(err)})
}

// folder lists a folder with sizes.
func (r *fileReader) folder(path string) *Result {
	entries, err := readFolder(r.root, path)
	if err != nil {
		return r.unreadable(path, err)
	}
	lines := []string{message("folder", map[string]any{"Path": path, "Count": len(entries)})}
	used := len(lines[0])
	for i, e := range entries {
		line := displayName(e)
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			line += " (" + size(info.Size()) + ")"
		}
		if used += len(line) + 1; used > r.left {
			lines = append(lines, message("folder_cut", len(entries)-i))
			return &Result{Text: strings.Join(lines, "\n"), Truncated: true}
		}
		lines = append(lines, line)
	}
	return &Result{Text: strings.Join(lines, "\n")}
}

// document is a text file in memory. Its lines have no line ends.
type document struct {
	path     string
	size     int64
	encoding string
	lines    []string
}

func splitLines(text string) []string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// show renders what an entry asks for in at most limit bytes of file text.
func (d *document) show(entry map[string]any, limit int) *Result {
	if phrase, ok := stringField(entry, "find", "search", "extract", "query", "pattern"); ok && strings.TrimSpace(phrase) != "" {
		return d.around(strings.TrimSpace(phrase), limit)
	}
	written, ok := stringField(entry, "lines", "range", "line")
	if !ok || strings.TrimSpace(written) == "" {
		return d.section(1, len(d.lines), limit)
	}
	from, to, ok := parseRange(written, len(d.lines))
	if !ok {
		return failed("bad_range", map[string]any{"Path": d.path, "Lines": len(d.lines), "Range": clip(written)})
	}
	return d.section(from, to, limit)
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

// section shows the lines from..to, and says exactly what it leaves out.
func (d *document) section(from, to, limit int) *Result {
	var out strings.Builder
	out.WriteString(d.head(from, to))
	shown, used := from-1, 0
	for shown < to && used+len(d.lines[shown])+1 <= limit {
		used += len(d.lines[shown]) + 1
		out.WriteString("\n" + d.lines[shown])
		shown++
	}
	if shown >= to {
		return &Result{Text: out.String()}
	}
	if shown == from-1 { // not even one line fits: show its start
		line := d.lines[shown]
		head := cutHead(line, limit)
		out.WriteString("\n" + head + "\n" + message("line_left_out", map[string]any{"Line": from, "Bytes": len(line) - len(head)}))
		shown++
	}
	if shown < to {
		out.WriteString("\n" + message("left_out", map[string]any{
			"Lines": to - shown, "Bytes": byteCount(d.lines[shown:to]), "From": shown + 1, "To": to,
		}))
	}
	return &Result{Text: out.String(), Truncated: true}
}

// head is the line above the text: the whole file's numbers, or the range.
func (d *document) head(from, to int) string {
	data := map[string]any{"Path": d.path, "Lines": len(d.lines), "Size": d.size, "Encoding": d.encoding, "Range": ""}
	if from > 1 || to < len(d.lines) {
		data["Range"] = fmt.Sprintf("lines %d-%d", from, to)
	}
	return message("file_head", data)
}

func byteCount(lines []string) int {
	n := 0
	for _, line := range lines {
		n += len(line) + 1
	}
	return n
}

const (
	contextLines = 2  // shown before and after a match
	matchesMax   = 20 // shown of one file
)

// around shows the lines that contain the phrase, or else all of its words,
// with their neighbours and line numbers. When nothing matches it says so and
// shows the file itself.
func (d *document) around(phrase string, limit int) *Result {
	matches := d.matches([]string{phrase})
	if words := strings.Fields(phrase); len(matches) == 0 && len(words) > 1 {
		matches = d.matches(words)
	}
	if len(matches) == 0 {
		out := d.section(1, len(d.lines), limit)
		none := message("not_found", map[string]any{"Path": d.path, "Find": clip(phrase), "Lines": len(d.lines)})
		out.Text = none + "\n" + out.Text
		return out
	}
	out := &Result{}
	var text strings.Builder
	text.WriteString(message("file_head", map[string]any{"Path": d.path, "Lines": len(d.lines), "Size": d.size, "Encoding": d.encoding, "Range": ""}))
	shown, next := 0, 0
	for _, m := range matches {
		piece := d.numbered(max(m-contextLines, next), min(m+contextLines+1, len(d.lines)), next)
		if shown == matchesMax || shown > 0 && text.Len()+len(piece) > limit {
			break
		}
		text.WriteString(cutHead(piece, limit))
		shown, next = shown+1, max(next, min(m+contextLines+1, len(d.lines)))
	}
	if shown < len(matches) {
		text.WriteString("\n" + message("more_matches", map[string]any{"Matches": len(matches), "Shown": shown}))
		out.Truncated = true
	}
	out.Text = text.String()
	return out
}

// numbered renders the lines from..to (counted from 0, to excluded) with their
// numbers; a gap after the previous piece shows as "...".
func (d *document) numbered(from, to, previous int) string {
	var out strings.Builder
	if previous > 0 && from > previous {
		out.WriteString("\n...")
	}
	for i := from; i < to; i++ {
		fmt.Fprintf(&out, "\n%d: %s", i+1, d.lines[i])
	}
	return out.String()
}

// matches returns the lines that contain every word, case aside.
func (d *document) matches(words []string) []int {
	var out []int
lines:
	for i, line := range d.lines {
		lower := strings.ToLower(line)
		for _, w := range words {
			if !strings.Contains(lower, strings.ToLower(w)) {
				continue lines
			}
		}
		out = append(out, i)
	}
	return out
}
