package compare

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
)

// pageText is the page. Everything that a model or a user wrote goes through
// html/template's escaping, and the page's own policy forbids scripts and
// everything from elsewhere.
//
//go:embed report.html.tmpl
var pageText string

// Limits of the page; the JSON has everything.
const (
	rowsMax      = 1000
	cellRunesMax = 600
)

// WriteHTML writes one page that needs nothing else: tables, and plots as SVG.
func (r *Report) WriteHTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{"cut": cut}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("compare: page: %w", err)
	}
	if err := t.Execute(w, r.page()); err != nil {
		return fmt.Errorf("compare: page: %w", err)
	}
	return nil
}

// page is what the template shows.
type page struct {
	*Report
	Seconds string
	Head    []string // of the table of models
	Table   [][]string
	Plots   []plot
	Matrix  [][]cell // agreement; row and column for each model
	Rows    []taskRow
	Left    int // tasks that have no row
}

type cell struct {
	Text  string
	Share float64 // for the shade: 0 to shadeMax
	Self  bool
}

type taskRow struct {
	ID, Question, Expected string
	Answers                []answerCell
}

// answerCell is one model's answer. Mark is a sign beside the colour, so that
// nobody has to tell colours apart.
type answerCell struct{ Class, Mark, Text, Note string }

func (r *Report) page() *page {
	p := &page{Report: r, Seconds: fmt.Sprintf("%.1f", float64(r.WallMS)/1000), Matrix: r.matrix(),
		Left: max(0, len(r.Tasks)-rowsMax)}
	p.Head, p.Table = r.Table()
	for _, plot := range []plot{r.accuracyPlot(), r.latencyPlot(), r.speedPlot(), r.costPlot()} {
		if plot.any() {
			p.Plots = append(p.Plots, plot)
		}
	}
	for i := range r.Tasks[:min(len(r.Tasks), rowsMax)] {
		p.Rows = append(p.Rows, r.row(i))
	}
	return p
}

func (r *Report) row(i int) taskRow {
	t := &r.Tasks[i]
	row := taskRow{ID: t.ID, Question: t.Question(), Expected: strings.Join(t.Expected, " | ")}
	for _, m := range r.Models {
		row.Answers = append(row.Answers, answerOf(m.Results[i]))
	}
	return row
}

func answerOf(r *Result) answerCell {
	switch {
	case r == nil:
		return answerCell{Class: "none", Mark: "–", Note: "not asked"}
	case r.Error != "":
		return answerCell{Class: "failed", Mark: "!", Text: r.Error, Note: "error"}
	}
	c := answerCell{Text: r.Answer, Note: fmt.Sprintf("%s, %s ms", r.Method,
		number(milliseconds(r.wall)))}
	if r.Probability != nil {
		c.Note = fmt.Sprintf("%.1f %%, %s", 100**r.Probability, c.Note)
	}
	switch {
	case r.Abstained:
		c.Class, c.Mark, c.Text = "none", "?", "abstained: "+r.Reason
	case r.Correct != nil && *r.Correct:
		c.Class, c.Mark = "right", "✓"
	case r.Correct != nil:
		c.Class, c.Mark = "wrong", "✗"
	}
	return c
}

// matrix is the agreement of each model with each other.
func (r *Report) matrix() [][]cell {
	out := make([][]cell, len(r.Models))
	for i := range out {
		out[i] = make([]cell, len(r.Models))
		out[i][i].Self = true
	}
	for _, a := range r.Agreement {
		c := cell{Text: agreementText(a)}
		if a.Share != nil {
			c.Share = shadeMax * *a.Share
		}
		out[a.A][a.B], out[a.B][a.A] = c, c
	}
	return out
}

// shadeMax keeps text legible on the darkest shade.
const shadeMax = 0.45

// cut shortens text for a cell.
func cut(s string) string {
	if runes := []rune(s); len(runes) > cellRunesMax {
		return string(runes[:cellRunesMax]) + " …"
	}
	return s
}

// plot is a chart with one lane for each model, in the units of its viewBox.
type plot struct {
	Title, Axis string
	Height      float64
	Ticks       []tick
	Lanes       []lane
}

type tick struct {
	X     float64
	Label string
}

// lane is one model: its name above, and below it a bar or dots. What a model
// has no number of is absent.
type lane struct {
	Name, Value string
	Y           float64
	HasValue    bool
	Bar         *bar
	Whisker     *span
	Dots        []dot
	Median, P90 *float64
}

type bar struct{ Width float64 }
type span struct{ Low, High float64 }
type dot struct{ X, Y float64 }

// The geometry of plots. The template draws axis and lanes around these.
const (
	plotLeft   = 10.0
	plotRight  = 570.0 // values are written to the right of it
	plotTop    = 10.0
	laneHeight = 50.0
)

// Total is the height with the axis below the lanes.
func (p plot) Total() float64 { return p.Height + 44 }

func (p *plot) any() bool {
	return slices.ContainsFunc(p.Lanes, func(l lane) bool { return l.HasValue })
}

// newPlot lays out a lane for each model.
func (r *Report) newPlot(title, axis string) plot {
	p := plot{Title: title, Axis: axis, Height: plotTop + laneHeight*float64(len(r.Models))}
	for i, m := range r.Models {
		p.Lanes = append(p.Lanes, lane{Name: m.Name, Value: "–", Y: plotTop + laneHeight*float64(i)})
	}
	return p
}

// bars fills a plot with bars from 0 to the largest value, or to top. mark
// writes the numbers of the axis.
func (r *Report) bars(title, axis string, top float64, mark func(float64) string,
	value func(*Summary) *float64, text func(*Summary) string,
) plot {
	p := r.newPlot(title, axis)
	for _, m := range r.Models {
		if v := value(&m.Summary); v != nil && top < *v {
			top = *v
		}
	}
	scale := linear(top)
	p.Ticks = scale.ticks(mark)
	for i, m := range r.Models {
		if v := value(&m.Summary); v != nil {
			l := &p.Lanes[i]
			l.HasValue, l.Value, l.Bar = true, text(&m.Summary), &bar{scale.x(*v) - plotLeft}
		}
	}
	return p
}

func (r *Report) accuracyPlot() plot {
	p := r.bars("Accuracy", "right answers, %; the line is the 95 % confidence interval", 100, number,
		func(s *Summary) *float64 { return times(s.Accuracy, 100) },
		func(s *Summary) string { return fmt.Sprintf("%.1f %% (%d/%d)", 100**s.Accuracy, s.Right, s.Expected) })
	scale := linear(100)
	for i, m := range r.Models {
		if s := m.Summary; s.AccuracyLow != nil {
			p.Lanes[i].Whisker = &span{scale.x(100 * *s.AccuracyLow), scale.x(100 * *s.AccuracyHigh)}
		}
	}
	return p
}

func (r *Report) speedPlot() plot {
	return r.bars("Speed", "tokens of replies per second", 0, number,
		func(s *Summary) *float64 { return s.TokensPerSecond },
		func(s *Summary) string { return number(*s.TokensPerSecond) + " tokens/s" })
}

// costPlot is drawn only when all costs are in one currency.
func (r *Report) costPlot() plot {
	currency := ""
	for _, m := range r.Models {
		switch c := m.Summary.Currency; {
		case c == "":
		case currency != "" && c != currency:
			return plot{}
		default:
			currency = c
		}
	}
	return r.bars("Cost", "of all tasks, "+currency, 0, money,
		func(s *Summary) *float64 { return s.Cost },
		func(s *Summary) string { return money(*s.Cost) + " " + s.Currency })
}

// latencyPlot has a dot for each task, on a logarithmic axis, since models
// differ by powers of ten.
func (r *Report) latencyPlot() plot {
	p := r.newPlot("Latency",
		"ms for each task, logarithmic; the long line is the median, the dashed one the 90th percentile")
	scale := r.latencyScale()
	p.Ticks = scale.ticks(number)
	for i, m := range r.Models {
		s, l := m.Summary, &p.Lanes[i]
		if s.LatencyMedianMS == nil {
			continue
		}
		l.HasValue, l.Value = true, fmt.Sprintf("%s / %s ms", number(*s.LatencyMedianMS),
			number(*s.LatencyP90MS))
		l.Median, l.P90 = new(scale.x(*s.LatencyMedianMS)), new(scale.x(*s.LatencyP90MS))
		l.Dots = latencyDots(m.Results, scale, l.Y)
	}
	return p
}

// dotsMax bounds the dots of one lane; of more tasks every n-th is drawn.
const dotsMax = 500

func latencyDots(results []*Result, s scale, top float64) (out []dot) {
	step := 1 + len(results)/dotsMax
	for j := 0; j < len(results); j += step {
		if res := results[j]; res != nil && res.Error == "" {
			// Dots of like latency lie beside each other instead of on one another.
			out = append(out, dot{s.x(milliseconds(res.wall)), top + 26 + float64(j*7%13)})
		}
	}
	return out
}

func (r *Report) latencyScale() scale {
	low, high := math.Inf(1), 0.0
	for _, m := range r.Models {
		for _, res := range m.Results {
			if res != nil && res.Error == "" {
				low, high = min(low, milliseconds(res.wall)), max(high, milliseconds(res.wall))
			}
		}
	}
	return logarithmic(max(low, 0.01), max(high, 0.01))
}

// scale maps values to the width of a plot.
type scale struct {
	low, high float64
	log       bool
	marks     []float64
}

// linear goes from 0 to a round number at or above top.
func linear(top float64) scale {
	if top <= 0 {
		top = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(top)))
	for _, f := range []float64{0.1, 0.2, 0.25, 0.5, 1, 2} {
		if top/(step*f) <= 6 {
			step *= f
			break
		}
	}
	s := scale{high: step * math.Ceil(top/step-1e-9)}
	for i := 0; float64(i)*step <= s.high*(1+1e-9); i++ {
		s.marks = append(s.marks, float64(i)*step)
	}
	return s
}

// logarithmic goes from a round number below low to one above high.
func logarithmic(low, high float64) scale {
	s := scale{log: true}
	round := []float64{1, 2, 5}
	if high/low > 100 {
		round = []float64{1}
	}
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for _, f := range round {
			s.marks = append(s.marks, f*math.Pow(10, e))
		}
	}
	for len(s.marks) > 2 && s.marks[1] <= low {
		s.marks = s.marks[1:]
	}
	for n := len(s.marks); n > 2 && s.marks[n-2] >= high; n-- {
		s.marks = s.marks[:n-1]
	}
	s.low, s.high = s.marks[0], s.marks[len(s.marks)-1]
	return s
}

func (s scale) x(v float64) float64 {
	at := (v - s.low) / (s.high - s.low)
	if s.log {
		at = math.Log(v/s.low) / math.Log(s.high/s.low)
	}
	return math.Round(10*(plotLeft+min(1, max(0, at))*(plotRight-plotLeft))) / 10
}

func (s scale) ticks(label func(float64) string) (out []tick) {
	for _, v := range s.marks {
		out = append(out, tick{s.x(v), label(v)})
	}
	return out
}

func times(v *float64, by float64) *float64 {
	if v == nil {
		return nil
	}
	return new(*v * by)
}
