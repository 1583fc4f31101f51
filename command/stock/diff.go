package stock

import (
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"agent/command"
)

// Bounds of showing what changed.
const (
	diffBytesMax = 1 << 20 // of each text; larger ones are only counted
	diffContext  = 2       // unchanged lines around a change
	diffLinesMax = 40      // shown to a model
	diffShownMax = 2000    // bytes of them
	diffLineMax  = 200     // bytes of one line
)

// result says what a change did, and shows the diff.
func (c *fileChange) result() *command.Result {
	added, removed := diffStat(c.old, c.text)
	out := &command.Result{Files: []string{c.path}, Text: texts.Say("changed", map[string]any{
		"Path": c.path, "Added": added, "Removed": removed, "Lines": lineCount(c.text),
		"Size": int64(len(c.bytes())), "Old": c.info.Size(), "Known": c.known && !c.binary,
	})}
	if c.quiet {
		return out
	}
	if diff := boundedDiff(c.diff(false)); diff != "" {
		out.Text += "\n" + diff
	}
	return out
}

// diff is the unified diff of a change, or empty if there is none to show. The
// head names the file; a model has seen the name already.
func (c *fileChange) diff(head bool) string {
	if c.info != nil && (!c.known || c.binary) || len(c.old) > diffBytesMax ||
		len(c.text) > diffBytesMax {
		return ""
	}
	from, to := "a/"+c.path, "b/"+c.path
	if c.info == nil {
		from = "/dev/null"
	}
	text := strings.ToValidUTF8(c.text, "\uFFFD")
	old := strings.ToValidUTF8(c.old, "\uFFFD")
	diff, err := udiff.ToUnified(from, to, old, udiff.Lines(old, text), diffContext)
	if err != nil {
		return ""
	}
	if _, rest, ok := strings.Cut(diff, "\n@@"); ok && !head {
		diff = "@@" + rest
	}
	return diff
}

// preview is what a change would write, in full, for approval. It is empty if
// nothing would change.
func (c *fileChange) preview() string {
	if c.known && c.raw == c.bytes() {
		return ""
	}
	if diff := c.diff(true); diff != "" {
		return strings.TrimSuffix(diff, "\n")
	}
	return c.plainDiff()
}

// plainDiff is a simple diff for files that are too large, or binary, for a
// unified one: it shows everything between the first and the last line that
// differ.
func (c *fileChange) plainDiff() string {
	from := "a/" + c.path
	var old []string
	switch {
	case c.info == nil:
		from = "/dev/null"
	case !c.known || c.binary:
		from += " " + texts.Say("preview_unseen", c.info.Size())
	default:
		old = slices.Collect(strings.Lines(c.old))
	}
	out := []string{"--- " + from, "+++ b/" + c.path}
	now := slices.Collect(strings.Lines(c.text))
	start := 0
	for start < min(len(old), len(now)) && old[start] == now[start] {
		start++
	}
	end := 0
	for end < min(len(old), len(now))-start && old[len(old)-1-end] == now[len(now)-1-end] {
		end++
	}
	old, now = old[start:len(old)-end], now[start:len(now)-end]
	out = append(out, texts.Say("preview_place",
		map[string]int{"Line": start + 1, "Removed": len(old), "Added": len(now)}))
	for _, line := range old {
		out = append(out, "-"+strings.TrimSuffix(line, "\n"))
	}
	for _, line := range now {
		out = append(out, "+"+strings.TrimSuffix(line, "\n"))
	}
	return strings.Join(out, "\n")
}

// boundedDiff shortens a diff for a model and says how much is missing.
func boundedDiff(diff string) string {
	lines := splitLines(diff)
	var out strings.Builder
	for i, line := range lines {
		line = cutLine(line, diffLineMax)
		if i > 0 && (i == diffLinesMax || out.Len()+len(line) > diffShownMax) {
			out.WriteString(texts.Say("diff_cut", len(lines)-i))
			return out.String()
		}
		out.WriteString(line + "\n")
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func lineCount(text string) int { return len(splitLines(text)) }

// diffStat counts the lines that only one of the texts has. Moved lines count as
// unchanged.
func diffStat(old, new string) (added, removed int) {
	counts := map[string]int{}
	for _, line := range splitLines(old) {
		counts[line]++
	}
	for _, line := range splitLines(new) {
		if counts[line] > 0 {
			counts[line]--
		} else {
			added++
		}
	}
	for _, n := range counts {
		removed += n
	}
	return added, removed
}
