package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"agent/session/event"
	"agent/session/journal"
	"agent/session/prose"
	"agent/session/redact"
)

//go:embed page.html
var pageHTML string

// page is a run as its template shows it.
type page struct {
	Title, Answer, End string
	Facts              [][2]string
	Steps              []*step
}

type step struct {
	Title, Cost string
	Items       []*item
	number      int
}

// item is an event.
type item struct {
	Child, Title, Aside, Class string
	Choices                    []event.ChoiceMade
	Texts                      []block
}

// block is a text; the lines of a diff in it have a class.
type block struct {
	Name   string
	Lines  []line
	Folded bool
}

type line struct{ Class, Text string }

// linesMax lines of a text are shown unasked.
const linesMax = 40

// ExportHTML writes a run as one page that needs nothing else: steps with their
// cost, notes, calls with the probabilities of what was chosen, results, diffs,
// and the answer.
func ExportHTML(w io.Writer, run *journal.Show) error {
	percent := func(p float64) float64 { return min(max(100*p, 0), 100) }
	t, err := template.New("page").Funcs(template.FuncMap{"percent": percent}).Parse(pageHTML)
	if err == nil {
		// Files of version 1 have only known values hidden.
		clean := func(text string) string { return Visible(redact.HidePatterns(text)) }
		err = t.Execute(w, newPage(redact.Each(run, clean)))
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func newPage(run *journal.Show) *page {
	const cutOff = "cut off, or still at work"
	p := &page{Title: run.Task, Answer: run.Answer, End: cutOff, Steps: []*step{{Title: "Start"}}}
	if p.Title == "" {
		p.Title = run.ID
	}
	for _, ev := range run.Events {
		if ev.Session == "" {
			p.begin(stepOf(ev.Data), run.Costs)
			if r, ok := ev.Data.(*event.Result); ok {
				p.End = SummaryLine(r)
				continue
			}
		}
		if it := newItem(&ev); it != nil {
			last := p.Steps[len(p.Steps)-1]
			last.Items = append(last.Items, it)
		}
	}
	p.Steps = slices.DeleteFunc(p.Steps, func(s *step) bool { return len(s.Items) == 0 })
	stop := cmp.Or(string(run.Stop), cutOff)
	p.Facts = [][2]string{
		{"session", run.ID}, {"model", run.Model}, {"in", run.WorkDir}, {"ended", stop},
		{"steps", fmt.Sprint(run.Steps)},
	}
	if !run.Started.IsZero() {
		p.Facts = slices.Insert(p.Facts, 3,
			[2]string{"started", run.Started.Local().Format(time.DateTime + " MST")})
	}
	if run.Lost != nil {
		p.Facts = append(p.Facts, [2]string{"damage", run.Lost.String()})
	}
	return p
}

// begin begins the section of a step, unless it has begun.
func (p *page) begin(number int, costs []journal.StepCost) {
	if number == 0 || p.Steps[len(p.Steps)-1].number == number {
		return
	}
	s := &step{number: number, Title: fmt.Sprintf("Step %d", number)}
	for _, c := range costs {
		if c.Step == number {
			s.Cost = fmt.Sprintf("prompt tokens: %d evaluated, %d reused; %d generated", c.EvaluatedTokens,
				c.CachedTokens, c.Generated)
		}
	}
	p.Steps = append(p.Steps, s)
}

// stepOf is the step that an event is of, 0 if of none.
func stepOf(data event.Payload) int {
	switch e := data.(type) {
	case *event.Note:
		return e.Step
	case *event.CallMade:
		return e.Step
	case *event.Approval:
		return e.Step
	case *event.CommandResult:
		return e.Step
	case *event.Commands:
		return e.Step
	}
	return 0
}

// newItem shows an event; nil for one that is not worth it. Types that have no
// form of their own are shown as on a terminal.
func newItem(ev *event.Event) *item {
	it := &item{Child: ev.Session}
	switch e := ev.Data.(type) {
	case *event.Delta:
		return nil
	case *event.Started:
		it.head("label", "started", ev.Time.Local().Format(time.DateTime))
		if e.Resumed {
			it.Title = "resumed"
		}
		it.add("", e.Task)
	case *event.Note:
		it.Title = e.Text
	case *event.CallMade:
		it.call(e)
	case *event.Approval:
		it.head("good", "allowed", e.Mode)
		if !e.Allowed {
			it.head("bad", "not allowed: "+e.Reason, e.Mode)
		}
		if e.By != "" {
			it.Aside = "by " + strings.TrimSpace(e.By+" "+e.Rule)
		}
	case *event.CommandResult:
		it.head("label", "result", "")
		if e.Failed {
			it.head("bad", "failed", "")
		}
		if e.WallMS > 0 {
			it.Aside = (time.Duration(e.WallMS) * time.Millisecond).String()
		}
		it.add("", e.Text)
		it.add("changed", strings.Join(e.Files, "\n"))
	case *event.SubtaskStarted, *event.SubtaskEnded:
		it.part(ev.Data)
	case *event.Warning:
		it.head("bad", e.Text, "")
	default:
		if it.Title = strings.TrimSpace(RenderOptions{LinesMax: -1}.render(ev.Data)); it.Title == "" {
			return nil
		}
	}
	return it
}

func (it *item) head(class, title, aside string) {
	it.Class, it.Title, it.Aside = class, title,
		aside
}

// part shows how a part of the task began or ended.
func (it *item) part(data event.Payload) {
	switch e := data.(type) {
	case *event.SubtaskStarted:
		it.head("label", fmt.Sprintf("part %d", e.Number), "")
		if e.Try > 1 {
			it.Aside = fmt.Sprintf("try %d", e.Try)
		}
		it.add("", e.Task)
		it.add("files", strings.Join(e.Files, "\n"))
	case *event.SubtaskEnded:
		took := fmt.Sprintf("%d step%s in %s", e.Steps, prose.Plural(e.Steps), wall(e.WallMS))
		it.head("good", fmt.Sprintf("part %d: %s", e.Number, e.Stop), took)
		if e.Stop != event.StopAnswered {
			it.Class = "bad"
		}
		it.add("answer", e.Answer)
		it.add("error", e.Error)
	}
}

func (it *item) call(e *event.CallMade) {
	it.head("call", "→ "+e.Command, "")
	if e.Repaired {
		it.Aside = "repaired: " + strings.Join(e.Repairs, ", ")
	}
	it.Choices = e.Choices
	if e.Final { // the answer stands at the end
		return
	}
	for _, entry := range e.Content {
		for _, key := range slices.Sorted(maps.Keys(entry)) {
			it.add(key, fieldText(entry[key]))
		}
	}
}

// add shows a text, folded when it is long.
func (it *item) add(name, text string) {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return
	}
	lines := diffLines(strings.Split(text, "\n"))
	folded := len(lines) > linesMax
	if folded && name == "" {
		name = "text"
	}
	it.Texts = append(it.Texts, block{Name: name, Lines: lines, Folded: folded})
}

// diffLines marks the lines that a unified diff in a text adds and takes away.
func diffLines(lines []string) []line {
	out := make([]line, len(lines))
	within := false
	for i, text := range lines {
		out[i].Text = text
		switch {
		case strings.HasPrefix(text, "@@ "):
			within, out[i].Class = true, "hunk"
		case !within || text == "":
		case text[0] == '+':
			out[i].Class = "added"
		case text[0] == '-':
			out[i].Class = "removed"
		case text[0] != ' ' && text[0] != '\\':
			within = false
		}
	}
	return out
}
