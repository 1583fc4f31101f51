package command

import (
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// Bounds of showing what changed.
const (
	diffBytesMax    = 1 << 20 // of each text; larger ones are only counted
	diffContext     = 2       // unchanged lines around a change
	diffLinesMax    = 40      // shown to a model
	diffShownMax    = 2000    // bytes of them
	diffLineMax     = 200     // bytes of one line
	previewLinesMax = 200     // shown to a person
	previewBytesMax = 20_000
)

// result tells what a change did, with its diff.
func (c *fileChange) result() *Result {
	added, removed := diffStat(c.old, c.text)
	out := &Result{Files: []string{c.path}, Text: message("changed", map[string]any{
		"Path": c.path, "Added": added, "Removed": removed, "Lines": lineCount(c.text),
		"Size": int64(len(c.text)), "Old": c.info.Size(), "Known": c.known && !c.binary,
	})}
	if c.quiet {
		return out
	}
	if diff, _ := boundedDiff(c.diff(false), diffLinesMax, diffShownMax); diff != "" {
		out.Text += "\n" + diff
	}
	return out
}

// diff is the unified diff of a change, empty when there is none to show. A
// model is told the file's name already, a person sees it in the head.
func (c *fileChange) diff(head bool) string {
	if c.info != nil && (!c.known || c.binary) || len(c.old) > diffBytesMax || len(c.text) > diffBytesMax {
		return ""
	}
	from, to := "a/"+c.path, "b/"+c.path
	if c.info == nil {
		from = "/dev/null"
	}
	text := strings.ToValidUTF8(c.text, "\uFFFD")
	diff, err := udiff.ToUnified(from, to, c.old, udiff.Lines(c.old, text), diffContext)
	if err != nil {
		return ""
	}
	if _, rest, ok := strings.Cut(diff, "\n@@"); ok && !head {
		diff = "@@" + rest
	}
	return diff
}

// boundedDiff shortens a diff and says by how much.
func boundedDiff(diff string, linesMax, bytesMax int) (text string, cut bool) {
	lines := splitLines(diff)
	var out strings.Builder
	for i, line := range lines {
		line = cutLine(line, diffLineMax)
		if i > 0 && (i == linesMax || out.Len()+len(line) > bytesMax) {
			out.WriteString(message("diff_cut", len(lines)-i))
			return out.String(), true
		}
		out.WriteString(line + "\n")
	}
	return strings.TrimSuffix(out.String(), "\n"), false
}

func lineCount(text string) int { return len(splitLines(text)) }

// diffStat counts the lines that only one of the texts has, wherever they
// stand; moved lines count as unchanged.
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
