package terminal

import (
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// interval is the time between two drawings, a tenth of a second: fast enough
// for reading along, and nothing beside the work of a model.
const interval = 100 * time.Millisecond

// View draws lines without line breaks, which may be styled and are cut to the terminal's width.
// tick counts the drawings.
type View func(columns, tick int) []string

// Screen keeps a few lines at the bottom of a terminal up to date, below text
// that stays and scrolls away as usual.
//
// Make one with [NewScreen], write to it what stays, and close it: nothing of
// the live lines is left in the terminal's history. It reads no input and
// changes no mode of the terminal, so that Ctrl-C, suspending and prompts work
// as without it. Its methods may be called from several goroutines.
type Screen struct {
	mu      sync.Mutex
	w       io.Writer
	columns func() int
	view    View

	drawn   int  // live lines on the terminal
	inLine  bool // what stays ended within a line: a prompt, which must be left alone
	tick    int
	closed  bool
	stop    chan struct{}
	stopped chan struct{}
}

// NewScreen draws view on w until Close. columns is asked before each drawing.
func NewScreen(w io.Writer, columns func() int, view View) *Screen {
	s := &Screen{w: w, columns: columns, view: view, stop: make(chan struct{}),
		stopped: make(chan struct{})}
	go s.run()
	return s
}

func (s *Screen) run() {
	defer close(s.stopped)
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			s.redraw()
		case <-s.stop:
			return
		}
	}
}

// Write adds text that stays, above the live lines. While it ends within a line
// nothing is drawn, so that a person can answer there.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if _, err := io.WriteString(s.w, s.erasing()+string(p)); err != nil {
		return 0, err
	}
	s.inLine = p[len(p)-1] != '\n'
	return len(p), nil
}

// Resume draws again after a prompt, whose line a person has ended.
func (s *Screen) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inLine = false
}

func (s *Screen) redraw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.inLine {
		return
	}
	columns := s.columns()
	s.tick++
	lines := s.view(columns, s.tick)
	var b strings.Builder
	b.WriteString(s.erasing())
	for i, line := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		// The last column stays free: terminals differ in what they do after it.
		b.WriteString(ansi.Truncate(line, max(columns-1, 1), "…"))
	}
	s.drawn = len(lines)
	_, _ = io.WriteString(s.w, b.String()) // a terminal that is gone is noticed by what matters
}

// erasing takes the live lines away: to the start of the first, and what is
// below.
func (s *Screen) erasing() string {
	if s.drawn == 0 {
		return ""
	}
	n := s.drawn
	s.drawn = 0
	if n == 1 {
		return "\r" + ansi.EraseScreenBelow
	}
	return "\r" + ansi.CursorUp(n-1) + ansi.EraseScreenBelow
}

// Close takes the live lines away for good. What is written later is passed on.
func (s *Screen) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	_, err := io.WriteString(s.w, s.erasing())
	s.mu.Unlock()
	close(s.stop)
	<-s.stopped
	return err
}

// Tail is the end of text as at most rows lines of at most columns each.
func Tail(text string, columns, rows int) []string {
	if columns < 1 || rows < 1 || text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-rows):]
	text = strings.ReplaceAll(strings.Join(lines, "\n"), "\t", "    ")
	lines = strings.Split(ansi.Hardwrap(text, columns, true), "\n")
	return lines[max(0, len(lines)-rows):]
}
