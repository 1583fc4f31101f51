package session

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"agent/internal/legible"
	"agent/session/prose"
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
func RenderText(w io.Writer, ev Event, o RenderOptions) error {
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

func (o RenderOptions) render(data Payload) string {
	switch e := data.(type) {
	case *Started:
		resumed := ""
		if e.Resumed {
			resumed = ", resumed"
		}
		return o.style(o.Dim, fmt.Sprintf("session %s%s, model %s, in %s", e.ID, resumed, Visible(e.Model), Visible(e.WorkDir))) + "\n"
	case *Note:
		if o.Streamed || e.Text == "" {
			return ""
		}
		return o.style(o.Dim, fmt.Sprintf("%d. %s", e.Step, Visible(e.Text))) + "\n"
	case *CallMade:
		return o.call(e)
	case *Approval:
		if e.Allowed {
			return ""
		}
		return o.style(o.Bad, "  not allowed: "+Visible(e.Reason)) + "\n"
	case *CommandResult:
		return o.result(e)
	case *Delta:
		return Visible(e.Text)
	case *Warning:
		return o.style(o.Bad, "warning: "+Visible(e.Text)) + "\n"
	case *Commands:
		return o.commands(e)
	case *Result:
		return o.style(o.Dim, SummaryLine(e)) + "\n"
	}
	return ""
}

func (o RenderOptions) call(e *CallMade) string {
	var b strings.Builder
	b.WriteString(o.style(o.Strong, "→ "+Visible(e.Command)))
	if e.Final { // the answer is the program's output
		return b.String() + "\n"
	}
	for _, entry := range e.Content {
		for _, k := range slices.Sorted(maps.Keys(entry)) {
			value := fieldText(entry[k])
			if !strings.Contains(value, "\n") {
				fmt.Fprintf(&b, " %s: %s", Visible(k), Visible(prose.Cut(value, 200)))
				continue
			}
			fmt.Fprintf(&b, " %s:\n%s", Visible(k), indent(o.cut(Visible(value)), "    "))
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func (o RenderOptions) result(e *CommandResult) string {
	body := indent(o.diff(o.cut(Visible(strings.TrimRight(e.Text, "\n")))), "  ")
	if e.Failed {
		body = o.style(o.Bad, strings.TrimRight(body, "\n")) + "\n"
	}
	if len(e.Files) > 0 {
		body += o.style(o.Dim, "  changed: "+Visible(strings.Join(e.Files, ", "))) + "\n"
	}
	return body
}

// diff marks the lines that a unified diff in text adds and takes away.
func (o RenderOptions) diff(text string) string {
	lines := strings.Split(text, "\n")
	within := false
	for i, line := range lines {
		switch {
		case strings.HasPrefix(line, "@@ "):
			within = true
			lines[i] = o.style(o.Dim, line)
		case !within || line == "":
		case line[0] == '+':
			lines[i] = o.style(o.Added, line)
		case line[0] == '-':
			lines[i] = o.style(o.Removed, line)
		case line[0] != ' ' && line[0] != '\\':
			within = false
		}
	}
	return strings.Join(lines, "\n")
}

// SummaryLine is how a run ended and what it cost, in one line.
func SummaryLine(r *Result) string {
	wall := (time.Duration(r.WallMS) * time.Millisecond).Round(100 * time.Millisecond)
	line := fmt.Sprintf("%s after %d step%s in %s; prompt tokens: %d evaluated, %d reused; %d generated",
		r.Stop, r.Steps, prose.Plural(r.Steps), wall, r.Usage.EvaluatedTokens, r.Usage.CachedTokens, r.Usage.CompletionTokens)
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
	limit := o.LinesMax
	if limit == 0 {
		limit = defaultRenderLines
	}
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
