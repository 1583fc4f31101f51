package report

import (
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

// page is a run as its template shows it. All of it is text: what a model or a
// file says can't become markup, and the page loads nothing.
type page struct {
	Title  string
	Facts  []pageFact
	Steps  []*pageStep
	Answer string
	End    string
}

type pageFact struct{ Name, Value string }

type pageStep struct {
	Title string
	Cost  string
	Items []*pageItem

	number int
}

// pageItem is an event.
type pageItem struct {
	Child   string // the session that it is of, when that was delegated to
	Title   string
	Aside   string
	Class   string
	Choices []pageChoice
	Texts   []pageText
}

type pageChoice struct {
	Field   string
	Aside   string
	Options []pageOption
}

type pageOption struct {
	Text    string
	Percent string
	Width   float64
	Chosen  bool
}

// pageText is a block of lines; those of a diff have a class.
type pageText struct {
	Name   string
	Lines  []pageLine
	Count  int
	Folded bool
}

type pageLine struct{ Class, Text string }

// pageLinesMax lines of a text are shown unasked.
const pageLinesMax = 40

// ExportHTML writes a run as one page that needs nothing else: steps with their
// cost, notes, calls with the probabilities of what was chosen, results, diffs,
// and the answer.
func ExportHTML(w io.Writer, run *journal.Show) error {
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if err := t.Execute(w, newPage(run)); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func newPage(run *journal.Show) *page {
	p := &page{Title: Visible(redact.HidePatterns(run.Task)), Answer: Visible(redact.HidePatterns(run.Answer)), End: "cut off, or still at work"}
	if p.Title == "" {
		p.Title = run.ID
	}
	costs := map[int]journal.StepCost{}
	for _, c := range run.Costs {
		costs[c.Step] = c
	}
	p.step(0, costs)
	for _, ev := range run.Events {
		ev.Data = redact.Copy(redact.Scrubber{}, ev.Data) // files of version 1 have only known values hidden
		if ev.Session == "" {
			if n := stepOf(ev.Data); n > 0 {
				p.step(n, costs)
			}
			if r, ok := ev.Data.(*event.Result); ok {
				p.End = Visible(SummaryLine(r))
				continue
			}
		}
		if item := newItem(&ev); item != nil {
			last := p.Steps[len(p.Steps)-1]
			last.Items = append(last.Items, item)
		}
	}
	p.Steps = slices.DeleteFunc(p.Steps, func(s *pageStep) bool { return len(s.Items) == 0 })
	p.Facts = facts(run)
	return p
}

// step begins the section of a step, unless it has begun.
func (p *page) step(number int, costs map[int]journal.StepCost) {
	if n := len(p.Steps); n > 0 && p.Steps[n-1].number == number {
		return
	}
	s := &pageStep{number: number, Title: fmt.Sprintf("Step %d", number)}
	if number == 0 {
		s.Title = "Start"
	}
	if c, ok := costs[number]; ok {
		s.Cost = fmt.Sprintf("prompt tokens: %d evaluated, %d reused; %d generated", c.EvaluatedTokens, c.CachedTokens, c.Generated)
	}
	p.Steps = append(p.Steps, s)
}

func facts(run *journal.Show) []pageFact {
	out := []pageFact{{"session", run.ID}, {"model", run.Model}, {"in", run.WorkDir}}
	if !run.Started.IsZero() {
		out = append(out, pageFact{"started", run.Started.Local().Format(time.DateTime + " MST")})
	}
	stop := string(run.Stop)
	if stop == "" {
		stop = "cut off, or still at work"
	}
	out = append(out, pageFact{"ended", stop}, pageFact{"steps", fmt.Sprint(run.Steps)})
	if run.Lost != nil {
		out = append(out, pageFact{"damage", run.Lost.String()})
	}
	for i := range out {
		out[i].Value = Visible(out[i].Value)
	}
	return out
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
func newItem(ev *event.Event) *pageItem {
	item := &pageItem{Child: Visible(ev.Session)}
	switch e := ev.Data.(type) {
	case *event.Delta:
		return nil
	case *event.Started:
		item.Title, item.Class = "started", "label"
		if e.Resumed {
			item.Title = "resumed"
		}
		item.Aside = ev.Time.Local().Format(time.DateTime)
		item.add("", e.Task)
	case *event.Note:
		item.Title = Visible(e.Text)
	case *event.CallMade:
		item.call(e)
	case *event.Approval:
		item.approval(e)
	case *event.CommandResult:
		item.result(e)
	case *event.SubtaskStarted:
		item.Title, item.Class = fmt.Sprintf("part %d", e.Number), "label"
		if e.Try > 1 {
			item.Aside = fmt.Sprintf("try %d", e.Try)
		}
		item.add("", e.Task)
		item.add("files", strings.Join(e.Files, "\n"))
	case *event.SubtaskEnded:
		item.subtaskEnded(e)
	case *event.Warning:
		item.Title, item.Class = Visible(e.Text), "bad"
	default:
		item.Title = Visible(strings.TrimSpace(RenderOptions{LinesMax: -1}.render(ev.Data)))
		if item.Title == "" {
			return nil
		}
	}
	return item
}

func (item *pageItem) subtaskEnded(e *event.SubtaskEnded) {
	item.Title, item.Class = fmt.Sprintf("part %d: %s", e.Number, e.Stop), "good"
	if e.Stop != event.StopAnswered {
		item.Class = "bad"
	}
	item.Aside = fmt.Sprintf("%d step%s in %s", e.Steps, prose.Plural(e.Steps), wall(e.WallMS))
	item.add("answer", e.Answer)
	item.add("error", e.Error)
}

func (item *pageItem) call(e *event.CallMade) {
	item.Title, item.Class = "→ "+Visible(e.Command), "call"
	if e.Repaired {
		item.Aside = "repaired: " + Visible(strings.Join(e.Repairs, ", "))
	}
	for _, c := range e.Choices {
		item.Choices = append(item.Choices, newPageChoice(c))
	}
	if e.Final { // the answer stands at the end
		return
	}
	for _, entry := range e.Content {
		for _, key := range slices.Sorted(maps.Keys(entry)) {
			item.add(key, fieldText(entry[key]))
		}
	}
}

func newPageChoice(c event.ChoiceMade) pageChoice {
	p := pageChoice{Field: Visible(c.Field), Aside: "by " + Visible(c.Method)}
	if c.OutsideMass != nil {
		p.Aside += fmt.Sprintf("; %.1f %% on none of these", 100**c.OutsideMass)
	}
	if c.More > 0 {
		p.Aside += fmt.Sprintf("; %d more options", c.More)
	}
	for _, o := range c.Options {
		option := pageOption{Text: Visible(o.Text), Chosen: o.Chosen}
		if o.Probability != nil {
			option.Width = min(max(100**o.Probability, 0), 100)
			option.Percent = fmt.Sprintf("%.1f %%", option.Width)
		}
		p.Options = append(p.Options, option)
	}
	return p
}

func (item *pageItem) approval(e *event.Approval) {
	item.Title, item.Class = "allowed", "good"
	if !e.Allowed {
		item.Title, item.Class = "not allowed: "+Visible(e.Reason), "bad"
	}
	item.Aside = "by " + Visible(strings.TrimSpace(e.By+" "+e.Rule))
	if e.By == "" {
		item.Aside = Visible(e.Mode)
	}
}

func (item *pageItem) result(e *event.CommandResult) {
	item.Title, item.Class = "result", "label"
	if e.Failed {
		item.Title, item.Class = "failed", "bad"
	}
	if e.WallMS > 0 {
		item.Aside = (time.Duration(e.WallMS) * time.Millisecond).String()
	}
	item.add("", e.Text)
	if len(e.Files) > 0 {
		item.add("changed", strings.Join(e.Files, "\n"))
	}
}

// add shows a text, folded when it is long.
func (item *pageItem) add(name, text string) {
	text = strings.TrimRight(Visible(text), "\n")
	if text == "" {
		return
	}
	lines := diffLines(strings.Split(text, "\n"))
	folded := len(lines) > pageLinesMax
	if folded && name == "" {
		name = "text"
	}
	item.Texts = append(item.Texts, pageText{Name: Visible(name), Lines: lines, Count: len(lines), Folded: folded})
}

// diffLines marks the lines that a unified diff in a text adds and takes away.
func diffLines(lines []string) []pageLine {
	out := make([]pageLine, len(lines))
	within := false
	for i, line := range lines {
		out[i].Text = line
		switch {
		case strings.HasPrefix(line, "@@ "):
			within, out[i].Class = true, "hunk"
		case !within || line == "":
		case line[0] == '+':
			out[i].Class = "added"
		case line[0] == '-':
			out[i].Class = "removed"
		case line[0] != ' ' && line[0] != '\\':
			within = false
		}
	}
	return out
}
