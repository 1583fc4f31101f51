package terminal

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// shownAfter is how long work may take before its progress is shown.
const shownAfter = 300 * time.Millisecond

// Progress is one line on a terminal that is written over. Its methods may be
// called from several goroutines.
type Progress struct {
	f     *os.File // nil: nothing is shown
	start time.Time
	after time.Duration

	mu    sync.Mutex
	shown bool
}

// Progress shows how far something is, where standard error is a terminal.
func (t *Terminal) Progress() *Progress {
	p := &Progress{start: time.Now()}
	if f, ok := file(t.Err); ok && !t.Quiet {
		p.f = f
	}
	return p
}

// Show puts text in the place of what stood there; "" clears the line.
func (p *Progress) Show(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f == nil || text == "" && !p.shown || time.Since(p.start) < p.after {
		return
	}
	p.shown = text != ""
	fmt.Fprintf(p.f, "\r\x1b[K%s", text)
}

// Loading shows how much of a model is loaded, when that takes noticeable time.
func (t *Terminal) Loading(what string) (update func(done float64), end func()) {
	p := t.Progress()
	p.after = shownAfter
	return func(done float64) { p.Show(fmt.Sprintf("%s: %3.0f %%", what, done*100)) },
		func() { p.Show("") }
}
