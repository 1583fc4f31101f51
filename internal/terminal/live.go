package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"

	"agent/internal/legible"
	"agent/session"
)

const (
	liveRowsMax  = 6       // rows of the text that is being written
	liveBytesMax = 8 << 10 // what is kept of it
)

// spinner turns while the program works.
var spinner = [...]string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// runView is a run as a person watches it on a terminal: what has happened
// scrolls by, and below it stands the text that is being written, and what is
// going on now.
type runView struct {
	*Screen // is sent what is styled
	shown   io.Writer
	render  session.RenderOptions

	mu      sync.Mutex
	text    strings.Builder
	doing   string
	step    int
	started time.Time
	since   time.Time // of what is going on now
	rate    Rate

	calls *calls
}

// watchRun shows a run on the terminal w until it is closed.
func watchRun(w *os.File) *runView {
	v := &runView{render: styles(), started: time.Now(), since: time.Now(), doing: "starting"}
	v.Screen = NewScreen(colored(w), columnsOf(w), v.lines)
	v.shown = legible.NewWriter(v.Screen)
	v.calls = &calls{w: v.Screen, render: v.render}
	return v
}

// Write shows what is written beside the events as text alone.
func (v *runView) Write(p []byte) (int, error) { return v.shown.Write(p) }

// watchWait shows only that something is going on, and for how long.
func watchWait(w *os.File) *Screen {
	start, dim := time.Now(), styles().Dim
	return NewScreen(colored(w), columnsOf(w), func(_, tick int) []string {
		return []string{spinner[tick%len(spinner)] + " " +
			dim(time.Since(start).Round(time.Second).String())}
	})
}

func columnsOf(w *os.File) func() int {
	return func() int {
		n, ok := Columns(w)
		if !ok || n < 2 {
			return 80
		}
		return n
	}
}

// colored passes on as many colours as the terminal has: none with NO_COLOR.
func colored(w io.Writer) io.Writer { return colorprofile.NewWriter(w, os.Environ()) }

// styles are those of events on a terminal.
func styles() session.RenderOptions {
	paint := func(s lipgloss.Style) func(string) string {
		return func(text string) string { return s.Render(text) }
	}
	plain := lipgloss.NewStyle().TabWidth(lipgloss.NoTabConversion)
	return session.RenderOptions{
		Dim: paint(plain.Faint(true)), Strong: paint(plain.Bold(true)),
		Bad:   paint(plain.Foreground(lipgloss.Red)),
		Added: paint(plain.Foreground(lipgloss.Green)), Removed: paint(plain.Foreground(lipgloss.Red)),
	}
}

// event takes in what happened.
func (v *runView) event(ev session.Event) {
	v.note(ev)
	if _, live := ev.Data.(*session.Delta); !live {
		v.calls.event(ev)
	}
}

// calls shows events. Where a person may be asked, it holds a call back until
// that is settled: a question shows the whole call, which need not stand there
// twice.
type calls struct {
	w      io.Writer
	render session.RenderOptions
	asks   bool

	mu   sync.Mutex
	held *session.Event
}

// event shows what was held, and then the event or, of a call, nothing yet. The
// answer is the program's output and told at the end.
func (c *calls) event(ev session.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil {
		_ = session.RenderText(c.w, *c.held, c.render)
		c.held = nil
	}
	if _, made := ev.Data.(*session.CallMade); made && c.asks && ev.Session == "" {
		c.held = &ev
		return
	}
	if _, end := ev.Data.(*session.Result); !end {
		_ = session.RenderText(c.w, ev, c.render)
	}
}

// asked takes note that the held call is shown by a question.
func (c *calls) asked(command string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return
	}
	if made := c.held.Data.(*session.CallMade); made.Command == command {
		c.held = nil
	}
}

// note brings the live part up to date.
func (v *runView) note(ev session.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if ev.Session != "" {
		v.notePart(ev)
		return
	}
	switch e := ev.Data.(type) {
	case *session.Delta:
		v.step = e.Step
		if !e.Fixed {
			v.now("writing")
		}
		if e.Tokens > 0 {
			v.rate.Add(ev.Time, e.Tokens)
		}
		v.add(e.Text)
	case *session.Note:
		v.text.Reset() // it stands above now
	case *session.CallMade:
		v.step = e.Step
		v.text.Reset()
		if !e.Final {
			v.now("running " + legible.OneLine(e.Command))
		}
	case *session.CommandResult:
		v.now("reading") // until the first of what is written about it
	case *session.Started:
		v.now("reading")
	}
}

// notePart shows only how fast the parts of a task are written: what is written
// by several at once can't be read.
func (v *runView) notePart(ev session.Event) {
	v.now("working on parts")
	if e, ok := ev.Data.(*session.Delta); ok && e.Tokens > 0 {
		v.rate.Add(ev.Time, e.Tokens)
	}
}

func (v *runView) now(doing string) {
	if v.doing != doing {
		v.doing, v.since = doing, time.Now()
		v.rate.Reset()
	}
}

// add keeps the end of what is written, from the start of a line.
func (v *runView) add(text string) {
	v.text.WriteString(session.Visible(text))
	if v.text.Len() <= liveBytesMax {
		return
	}
	kept := v.text.String()
	kept = kept[len(kept)-liveBytesMax/2:]
	_, kept, _ = strings.Cut(kept, "\n")
	v.text.Reset()
	v.text.WriteString(kept)
}

// lines draws the live part.
func (v *runView) lines(columns, tick int) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []string
	for _, line := range Tail(strings.TrimRight(v.text.String(), "\n"), columns-3, liveRowsMax) {
		out = append(out, "  "+v.render.Dim(line))
	}
	return append(out, v.status(tick))
}

// status is the last line: what goes on, how fast, for how long.
func (v *runView) status(tick int) string {
	parts := []string{v.doing}
	if v.step > 0 {
		parts = append([]string{fmt.Sprintf("step %d", v.step)}, parts...)
	}
	if rate := v.rate.PerSecond(); rate > 0 {
		parts = append(parts, fmt.Sprintf("%.0f tokens/s", rate))
	}
	parts = append(parts, time.Since(v.started).Round(time.Second).String(), "Ctrl-C stops")
	return spinner[tick%len(spinner)] + " " + v.render.Dim(strings.Join(parts, " · "))
}

// Waiting shows on a terminal that a reply is on its way, until it is closed.
func (t *Terminal) Waiting() io.Closer {
	f, ok := file(t.Err)
	if !ok || t.Quiet || !canDraw(f) || !t.Attended() {
		return io.NopCloser(nil)
	}
	return watchWait(f)
}

// Watch shows a run live where standard error is a terminal that can, until
// unwatch is called. What is written to Err meanwhile stands above the live
// lines. asks says that a person may be asked about calls.
func (t *Terminal) Watch(asks bool) (sink func(session.Event), unwatch func(), ok bool) {
	f, ok := file(t.Err)
	if !ok || t.Quiet || !canDraw(f) {
		return nil, nil, false
	}
	v, before := watchRun(f), t.Err
	t.Err, t.calls, v.calls.asks = v, v.calls, asks
	return v.event, func() {
		t.Err = before
		_ = v.Close()
	}, true
}

// Events shows a run as lines on standard error; streamed says that the
// model's text is shown as it is written, asks that a person may be asked about
// calls.
func (t *Terminal) Events(streamed, asks bool) func(session.Event) {
	if t.Quiet {
		return func(session.Event) {}
	}
	var o session.RenderOptions
	if canDraw(t.Err) && os.Getenv("NO_COLOR") == "" {
		o = styles()
	}
	o.Streamed = streamed
	t.calls = &calls{w: Undisguised(t.Err), render: o, asks: asks}
	return t.calls.event
}
