package session

import (
	"fmt"
	"strings"
	"time"

	"agent/session/prose"
)

// ofPart writes an event of a part of the task, set in and marked with the
// part's number, since several parts tell theirs by turns. Streamed text is
// left out: pieces of several replies would make no sense.
func (o RenderOptions) ofPart(ev Event) string {
	o.Streamed = false // so that notes are shown instead
	text := ""
	switch e := ev.Data.(type) {
	case *SubtaskStarted:
		again := ""
		if e.Try > 1 {
			again = fmt.Sprintf(", try %d", e.Try)
		}
		text = o.style(o.Strong, fmt.Sprintf("part %d%s: ", e.Number, again)+Visible(prose.OneLine(e.Task, 200))) + "\n"
	case *SubtaskEnded:
		wall := (time.Duration(e.WallMS) * time.Millisecond).Round(100 * time.Millisecond)
		text = o.style(o.Dim, fmt.Sprintf("part %d: %s after %d step%s in %s", e.Number, e.Stop, e.Steps, prose.Plural(e.Steps), wall)) + "\n" +
			indent(o.cut(Visible(strings.TrimRight(e.Answer, "\n"))), "  ")
	case *Delta:
		return ""
	default:
		text = o.render(ev.Data)
	}
	if text == "" {
		return ""
	}
	return indent(strings.TrimRight(text, "\n"), partMark(ev.Session))
}

// partMark tells parts apart: the end of the child's id, which is its number.
func partMark(id string) string {
	number := id[strings.LastIndexByte(id, '.')+1:]
	return "  " + Visible(number) + "│ "
}
