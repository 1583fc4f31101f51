package hub

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"agent/internal/legible"
)

// Phase is what is being done to a file.
type Phase string

// The phases of getting a file.
const (
	PhaseDownload Phase = "download"
	PhaseVerify   Phase = "verify"
)

// Progress is how far one file is.
type Progress struct {
	Name           string
	Phase          Phase
	DoneBytes      int64
	TotalBytes     int64   // negative when unknown
	BytesPerSecond float64 // of the last moments; 0 when unknown
	Finished       bool    // the last report of this phase
}

const (
	progressEvery = 100 * time.Millisecond
	// rateWeight is how much the newest sample counts in the shown speed.
	rateWeight = 0.15
)

// meter turns written bytes into progress reports. It is an io.Writer.
type meter struct {
	mu       sync.Mutex
	report   func(Progress)
	now      Progress
	last     time.Time
	lastDone int64
}

func (s *Store) meter(name string, phase Phase, done, total int64) *meter {
	return &meter{
		report:   s.cfg.Progress,
		now:      Progress{Name: name, Phase: phase, DoneBytes: done, TotalBytes: total},
		last:     time.Now(),
		lastDone: done,
	}
}

func (m *meter) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.move(m.now.DoneBytes + int64(len(p)))
	return len(p), nil
}

// set moves to an absolute position: back to 0 after a restart.
func (m *meter) set(done int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if done < m.now.DoneBytes {
		m.lastDone = done
	}
	m.move(done)
}

func (m *meter) move(done int64) {
	m.now.DoneBytes = done
	elapsed := time.Since(m.last)
	if elapsed < progressEvery {
		return
	}
	rate := float64(done-m.lastDone) / elapsed.Seconds()
	if m.now.BytesPerSecond == 0 {
		m.now.BytesPerSecond = rate
	}
	m.now.BytesPerSecond += rateWeight * (rate - m.now.BytesPerSecond)
	m.last, m.lastDone = time.Now(), done
	m.report(m.now)
}

func (m *meter) setTotal(total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.TotalBytes = total
}

func (m *meter) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Finished = true
	m.report(m.now)
}

// Renderer shows progress to a person: one line that updates itself on a
// terminal, a line for each tenth elsewhere.
type Renderer struct {
	mu      sync.Mutex
	w       io.Writer
	tty     bool
	columns int
	current string // what the last lines were about
	tenth   int    // last tenth printed, off a terminal
	drawn   bool   // an unfinished line stands on the terminal
}

// NewRenderer writes to w; a terminal is sent nothing but text and the moves of
// its own line. columns is the terminal's width; 0 means 80.
func NewRenderer(w io.Writer, tty bool, columns int) *Renderer {
	if columns <= 0 {
		columns = 80
	}
	return &Renderer{w: w, tty: tty, columns: columns, tenth: -1}
}

// quietBytes is the size up to which a file is not worth a line.
const quietBytes = 4 << 20

// Show takes one report; give it to Config.Progress.
func (r *Renderer) Show(p Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.TotalBytes >= 0 && p.TotalBytes < quietBytes {
		return
	}
	if key := string(p.Phase) + p.Name; key != r.current {
		r.endLine()
		r.current, r.tenth = key, -1
	}
	if r.tty {
		r.redraw(p)
	} else {
		r.tenthLine(p)
	}
}

// Note prints a line between progress lines; give it to Config.Note.
func (r *Renderer) Note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLine()
	if r.tty {
		text = legible.Visible(text)
	}
	fmt.Fprintf(r.w, "%s\n", text)
}

// Close ends an unfinished line, as after an interrupt.
func (r *Renderer) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLine()
}

func (r *Renderer) endLine() {
	if r.drawn {
		fmt.Fprintln(r.w)
		r.drawn = false
	}
}

func (r *Renderer) redraw(p Progress) {
	p.Name = legible.OneLine(p.Name)
	line := progressLine(p)
	if over := len([]rune(line)) - (r.columns - 1); over > 0 { // the numbers matter more than the name
		p.Name = shorten(p.Name, over)
		runes := []rune(progressLine(p))
		line = string(runes[:min(len(runes), r.columns-1)])
	}
	fmt.Fprintf(r.w, "\r\x1b[K%s", line)
	r.drawn = true
	if p.Finished {
		r.endLine()
	}
}

// shorten takes n runes out of the middle of a name, as far as that is possible.
func shorten(name string, n int) string {
	runes := []rune(name)
	keep := max(len(runes)-n-1, 8)
	if keep+1 >= len(runes) {
		return name
	}
	return string(runes[:keep/2]) + "…" + string(runes[len(runes)-(keep-keep/2):])
}

func (r *Renderer) tenthLine(p Progress) {
	tenth := 0
	if p.TotalBytes > 0 {
		tenth = int(10 * p.DoneBytes / p.TotalBytes)
	}
	if tenth <= r.tenth || p.Phase == PhaseVerify && !p.Finished {
		return
	}
	r.tenth = tenth
	fmt.Fprintln(r.w, progressLine(p))
}

// progressLine is "downloading x.gguf  45%  44.1 of 98.4 MB  12.3 MB/s  4s left".
func progressLine(p Progress) string {
	verb := map[Phase]string{PhaseDownload: "downloading", PhaseVerify: "verifying"}[p.Phase]
	parts := []string{verb + " " + p.Name}
	if p.TotalBytes > 0 {
		parts = append(parts, fmt.Sprintf("%3d%%", 100*p.DoneBytes/p.TotalBytes),
			fmt.Sprintf("%s of %s", FormatBytes(p.DoneBytes), FormatBytes(p.TotalBytes)))
	} else {
		parts = append(parts, FormatBytes(p.DoneBytes))
	}
	if p.BytesPerSecond > 0 {
		parts = append(parts, FormatBytes(int64(p.BytesPerSecond))+"/s")
		if left := float64(p.TotalBytes-p.DoneBytes) / p.BytesPerSecond; left > 0 && left < 1e6 &&
			!p.Finished {
			parts = append(parts, time.Duration(left*float64(time.Second)).Round(time.Second).String()+" left")
		}
	}
	return strings.Join(parts, "  ")
}

// FormatBytes writes a size in decimal units, as disks and downloads have it.
func FormatBytes(n int64) string {
	switch f := float64(n); {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", f/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", f/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", f/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
