// Package report shows a run to a person: [RenderText] an event as it happens,
// [ExportHTML] all of it as one page that loads nothing.
//
// Promise: what a model, a file or a task says becomes neither markup nor an
// escape of a terminal.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"agent/internal/legible"
	"agent/session/event"
	"agent/session/prose"
	"agent/session/redact"
)

// RenderOptions say how events look on a terminal. Colours are functions, so
// that this package knows none; nil leaves text as it is.
type RenderOptions struct {
	Dim    func(string) string // what is said beside the work
	Strong func(string) string // commands
	Bad    func(string) string // failures and warnings
	// Added and Removed are for the lines of a diff.
	Added, Removed func(string) string
	// LinesMax cuts each result and field; 0: defaultRenderLines, < 0: no cut.
	LinesMax int
	// Streamed says that deltas are shown, so that notes need not be.
	Streamed bool
}

const defaultRenderLines = 12

func (o RenderOptions) style(f func(string) string, text string) string {
	if f == nil {
		return text
	}
	return f(text)
}

// RenderText writes one event as a person reads it. The last event's answer
// is not written: it is the program's output, not its progress.
func RenderText(w io.Writer, ev event.Event, o RenderOptions) error {
	ev = redact.Each(ev, Visible)
	text := o.render(ev.Data)
	if ev.Session != "" {
		text = o.ofPart(ev)
	}
	if text == "" {
		return nil
	}
	_, err := io.WriteString(w, text)
	return err
}

func (o RenderOptions) render(data event.Payload) string {
	switch e := data.(type) {
	case *event.Started:
		resumed := ""
		if e.Resumed {
			resumed = ", resumed"
		}
		return o.style(o.Dim, fmt.Sprintf("session %s%s, model %s, in %s", e.ID, resumed, e.Model,
			e.WorkDir)) + "\n"
	case *event.Note:
		if o.Streamed || e.Text == "" {
			return ""
		}
		return o.style(o.Dim, fmt.Sprintf("%d. %s", e.Step, e.Text)) + "\n"
	case *event.CallMade:
		return o.call(e)
	case *event.Approval:
		if e.Allowed {
			return ""
		}
		return o.style(o.Bad, "  not allowed: "+e.Reason) + "\n"
	case *event.CommandResult:
		return o.result(e)
	case *event.Delta:
		return e.Text
	case *event.Warning:
		return o.style(o.Bad, "warning: "+e.Text) + "\n"
	case *event.Commands:
		return o.commands(e)
	case *event.Guides:
		return o.guides(e)
	case *event.Result:
		return o.style(o.Dim, SummaryLine(e)) + "\n"
	}
	return ""
}

func (o RenderOptions) call(e *event.CallMade) string {
	var b strings.Builder
	b.WriteString(o.style(o.Strong, "→ "+e.Command))
	if e.Final { // the answer is the program's output
		return b.String() + "\n"
	}
	for _, entry := range e.Content {
		for _, k := range slices.Sorted(maps.Keys(entry)) {
			value := fieldText(entry[k])
			if !strings.Contains(value, "\n") {
				fmt.Fprintf(&b, " %s: %s", k, prose.Cut(value, 200))
				continue
			}
			fmt.Fprintf(&b, " %s:\n%s", k, indent(o.cut(value), "    "))
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (o RenderOptions) result(e *event.CommandResult) string {
	body := indent(o.diff(o.cut(strings.TrimRight(e.Text, "\n"))), "  ")
	if e.Failed {
		body = o.style(o.Bad, strings.TrimRight(body, "\n")) + "\n"
	}
	if len(e.Files) > 0 {
		body += o.style(o.Dim, "  changed: "+strings.Join(e.Files, ", ")) + "\n"
	}
	return body
}

// diff marks the lines that a unified diff in text adds and takes away.
func (o RenderOptions) diff(text string) string {
	styles := map[string]func(string) string{"hunk": o.Dim, "added": o.Added, "removed": o.Removed}
	var out []string
	for _, line := range diffLines(strings.Split(text, "\n")) {
		out = append(out, o.style(styles[line.Class], line.Text))
	}
	return strings.Join(out, "\n")
}

// wall is a time for a person.
func wall(ms int64) time.Duration {
	return (time.Duration(ms) * time.Millisecond).Round(100 * time.Millisecond)
}

// SummaryLine is how a run ended and what it cost, in one line.
func SummaryLine(r *event.Result) string {
	line := fmt.Sprintf("%s after %d step%s in %s; prompt tokens: %d evaluated, %d reused; %d generated",
		r.Stop, r.Steps, prose.Plural(r.Steps), wall(r.WallMS), r.Usage.EvaluatedTokens,
		r.Usage.CachedTokens, r.Usage.CompletionTokens)
	if u := r.Usage; u.DecodeMS > 0 && u.CompletionTokens > 0 {
		line += fmt.Sprintf(" at %.0f tokens/s", float64(u.CompletionTokens)/u.DecodeMS*1000)
	}
	return line
}

// fieldText is a field as text; a string as it is, anything else as JSON.
func fieldText(v any) string {
	if text, ok := v.(string); ok {
		return strings.TrimRight(text, "\n")
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

func (o RenderOptions) cut(text string) string {
	limit := cmp.Or(o.LinesMax, defaultRenderLines)
	lines := strings.Split(text, "\n")
	if limit < 0 || len(lines) <= limit {
		return text
	}
	return strings.Join(lines[:limit], "\n") + fmt.Sprintf("\n… %d more lines", len(lines)-limit)
}

func indent(text, by string) string {
	if text == "" {
		return ""
	}
	return by + strings.ReplaceAll(text, "\n", "\n"+by) + "\n"
}

// Visible is text as [RenderText] shows it: what would move the cursor, recolour
// or retitle a terminal stands as an escape.
func Visible(text string) string { return legible.Visible(text) }

// commands writes changes for a person: what is there in a line, what is wrong
// in a line each.
func (o RenderOptions) commands(e *event.Commands) string {
	var b strings.Builder
	for _, change := range []string{event.CommandAdded, event.CommandChanged, event.CommandRemoved} {
		var names []string
		for _, c := range e.Changes {
			if c.Change == change {
				names = append(names, c.Command)
			}
		}
		if len(names) > 0 {
			b.WriteString(o.style(o.Dim, fmt.Sprintf("commands %s: %s", change, strings.Join(names, ", "))) +
				"\n")
		}
	}
	for _, c := range e.Changes {
		if c.Problem == "" {
			continue
		}
		text := "warning: " + c.Problem
		if c.Kept {
			text += "; the version before stays"
		}
		b.WriteString(o.style(o.Bad, text) + "\n")
		if c.Hint != "" {
			b.WriteString(o.style(o.Dim, "  "+c.Hint) + "\n")
		}
	}
	return b.String()
}

// guides names the files that joined a task.
func (o RenderOptions) guides(e *event.Guides) string {
	var parts []string
	for _, f := range e.Files {
		cut := ""
		if f.Cut {
			cut = ", cut"
		}
		parts = append(parts, fmt.Sprintf("%s (%d tokens%s)", f.Path, f.Tokens, cut))
	}
	if len(parts) == 0 {
		return ""
	}
	return o.style(o.Dim, "with "+strings.Join(parts, ", ")) + "\n"
}

// Fields is the content of a call, a field a line, long ones indented.
func Fields(content []map[string]any) string {
	var b strings.Builder
	for _, entry := range content {
		for _, k := range slices.Sorted(maps.Keys(entry)) {
			value := fieldText(entry[k])
			if strings.Contains(value, "\n") {
				value = "\n" + strings.TrimRight(indent(value, "  "), "\n")
			}
			fmt.Fprintf(&b, "%s: %s\n", k, value)
		}
	}
	return b.String()
}

// ofPart writes an event of a part of the task, marked with its number. Streamed
// text is left out: pieces of several replies would make no sense.
func (o RenderOptions) ofPart(ev event.Event) string {
	o.Streamed = false // so that notes are shown instead
	text := ""
	switch e := ev.Data.(type) {
	case *event.SubtaskStarted:
		again := ""
		if e.Try > 1 {
			again = fmt.Sprintf(", try %d", e.Try)
		}
		text = o.style(o.Strong, fmt.Sprintf("part %d%s: ", e.Number, again)+prose.OneLine(e.Task, 200)) +
			"\n"
	case *event.SubtaskEnded:
		end := fmt.Sprintf("part %d: %s after %d step%s in %s",
			e.Number, e.Stop, e.Steps, prose.Plural(e.Steps), wall(e.WallMS))
		text = o.style(o.Dim, end) + "\n" + indent(o.cut(strings.TrimRight(e.Answer, "\n")), "  ")
	case *event.Delta:
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
	return "  " + number + "│ "
}
