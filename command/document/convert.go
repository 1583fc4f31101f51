package document

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"time"

	"agent/command/sandbox"
	"agent/internal/legible"
)

// Limits bound the reading of one document. Zero fields mean the defaults of
// DefaultLimits.
type Limits struct {
	Wall        time.Duration
	MemoryBytes int64 // address space of the child process
	TextBytes   int   // text read of one document
}

// DefaultLimits allow a book of some hundred pages and stop a bomb.
func DefaultLimits() Limits {
	return Limits{Wall: 30 * time.Second, MemoryBytes: 2 << 30, TextBytes: 8 << 20}
}

func (l Limits) orDefaults() Limits {
	d := DefaultLimits()
	l.Wall = cmp.Or(max(l.Wall, 0), d.Wall)
	l.MemoryBytes = cmp.Or(max(l.MemoryBytes, 0), d.MemoryBytes)
	l.TextBytes = cmp.Or(max(l.TextBytes, 0), d.TextBytes)
	return l
}

// Source is a document and where it comes from.
type Source struct {
	Format      Format
	Data        []byte
	ContentType string // as a web server says it, if one did
	URL         string // to which relative links refer, if it has one
}

// Converter reads documents. The zero value is ready to use; its methods are
// safe for concurrent use.
type Converter struct{ sandbox sandbox.Sandbox }

// Error is a document that can't be read.
type Error struct {
	Format Format
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("%s can't be read: %s", e.Format, e.Reason) }

// Convert reads a document. An *[Error] is the document's fault; any other
// error is that of this system or of the context. HTML whose tree takes too much
// is read again as a flat stream.
func (c *Converter) Convert(ctx context.Context, src Source, limits Limits) (*Text, error) {
	limits = limits.orDefaults()
	text, err := c.convert(ctx, src, limits, false)
	var bad *Error
	if src.Format == HTML && errors.As(err, &bad) {
		if text, err := c.convert(ctx, src, limits, true); err == nil {
			return text, nil
		}
	}
	return text, err
}

func (c *Converter) convert(ctx context.Context, src Source, limits Limits, flat bool,
) (*Text, error) {
	out, err := c.run(ctx, src, limits, flat)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", src.Format, err)
	}
	told := collect(append(out.Head, out.Tail...))
	switch {
	case told.failure != "":
		return nil, &Error{src.Format, told.failure}
	case told.done:
	case len(told.text.Pages) == 0:
		return nil, &Error{src.Format, told.ending(out, limits)}
	default:
		told.text.Cut = told.ending(out, limits)
	}
	return &told.text, nil
}

// ending says why the child did not finish.
func (t *told) ending(out *sandbox.Outcome, limits Limits) string {
	switch {
	case t.stopped != "":
		return t.stopped
	case out.TimedOut || out.Signal == "SIGXCPU":
		return fmt.Sprintf("reading it takes longer than %s", limits.Wall)
	case strings.Contains(t.crash, "stack overflow") || strings.Contains(t.crash, "stack exceeds"):
		return "it is nested too deep"
	case strings.Contains(t.crash, "out of memory") || out.Signal == "SIGKILL":
		return tooMuchMemory(limits.MemoryBytes)
	}
	return "it is damaged in a way that stops the reader"
}

func tooMuchMemory(bytes int64) string {
	return fmt.Sprintf("reading it takes more than %d MiB of memory", bytes>>20)
}

// task is what the child is told on its command line.
type task struct {
	Format      Format
	ContentType string
	URL         string
	TextBytes   int
	MemoryBytes int64
	Flat        bool // no tree
}

// part is what the child tells, one JSON object on each line.
type part struct {
	Title string `json:",omitempty"`
	Page  int    `json:",omitempty"` // counted from 1; Text is this page's
	Pages int    `json:",omitempty"` // in all
	Text  string `json:",omitempty"`
	Error string `json:",omitempty"` // of this page, or of the document when Page is 0
	Cut   string `json:",omitempty"` // why there is no more
	Done  bool   `json:",omitempty"`
	Note  string `json:",omitempty"` // what of it is a guess

	// Codes of a page whose meaning the document does not tell: those that are shown
	// as what they may be, and those that are left out.
	Guessed, Lost int `json:",omitempty"`

	Stopped string `json:",omitempty"` // why the child stops before its end
}

// run starts this program again as the child that reads the document. It is
// confined where the system can confine it; elsewhere the limits must do, since
// the parsers are memory-safe and need no files and no network.
func (c *Converter) run(ctx context.Context, src Source, limits Limits, flat bool,
) (*sandbox.Outcome, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	order, err := json.Marshal(task{src.Format, src.ContentType, src.URL, limits.TextBytes,
		limits.MemoryBytes, flat})
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "agent-document-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return c.sandbox.Run(ctx, sandbox.Job{
		Path: exe, Args: []string{childName, string(order)}, Dir: dir, Stdin: src.Data,
		Env:      []string{"GOMAXPROCS=2"},
		ReadOnly: []string{exe},
		Limits: sandbox.Limits{
			Wall: limits.Wall, MemoryBytes: 2*limits.MemoryBytes + addressSpace, FileBytes: 1 << 20,
			OutputBytes: limits.TextBytes + replyBytesMax,
		},
		AllowUnconfined: true,
	})
}

// addressSpace is what Go's runtime reserves without using it. It counts where a
// limit is on addresses. That limit is only the second line: the child watches
// its memory itself.
const addressSpace = 4 << 30

// replyBytesMax is what the child may write around the text.
const replyBytesMax = 4 << 20

// told is what the child told before it ended.
type told struct {
	text    Text
	done    bool   // it came to its end
	failure string // why there is no text
	stopped string // why it stopped itself, before its end
	crash   string // what its runtime said, if it crashed
}

// collect joins the output of the child. The last line may be torn.
func collect(output []byte) told {
	var t told
	var damaged []string
	guessed, lost := 0, 0
	for line := range bytes.Lines(output) {
		var p part
		if !bytes.HasPrefix(line, []byte("{")) || json.Unmarshal(line, &p) != nil {
			t.crash += string(line[:min(len(line), crashLineMax)])
			continue
		}
		switch {
		case p.Done:
			t.done = true
		case p.Stopped != "":
			t.stopped = p.Stopped
		case p.Cut != "":
			t.text.Cut = p.Cut
		case p.Note != "":
			t.note(p.Note)
		case p.Page == 0:
			t.failure = p.Error
		default:
			t.text.Title += p.Title
			t.text.PagesTotal = p.Pages
			t.text.Pages = append(t.text.Pages, p.Text)
			guessed, lost = guessed+p.Guessed, lost+p.Lost
			if p.Error != "" && len(damaged) < damagedShown {
				damaged = append(damaged, fmt.Sprintf("%d (%s)", p.Page, p.Error))
			}
		}
	}
	if guessed > 0 {
		t.note(fmt.Sprintf("%s of it guessed, since the file does not tell what they are",
			legible.Count(guessed, "character")))
	}
	if lost > 0 {
		t.note(fmt.Sprintf("%s left out, since the file does not tell what they are",
			legible.Count(lost, "character")))
	}
	if len(damaged) > 0 && t.text.Cut == "" {
		t.text.Cut = "damaged pages: " + strings.Join(damaged, ", ")
	}
	return t
}

// note adds what of the text is a guess.
func (t *told) note(text string) {
	if t.text.Note != "" {
		t.text.Note += "; "
	}
	t.text.Note += text
}

const (
	crashLineMax = 200 // bytes kept of a line that the runtime of the child wrote
	damagedShown = 5   // damaged pages that are named
)

// childName is the first argument of the child. Like the sandbox, it is
// recognised before main, so that any program that imports this package can
// read documents.
const childName = "agent-document-child"

func init() {
	if len(os.Args) == 3 && os.Args[1] == childName {
		os.Exit(childMain(os.Args[2]))
	}
}

// childStackMax is more than any parser needs that does not loop.
const childStackMax = 64 << 20

// childMain reads the document on standard input.
func childMain(order string) int {
	debug.SetMaxStack(childStackMax)
	var t task
	if err := json.Unmarshal([]byte(order), &t); err != nil {
		return 2
	}
	w := &partWriter{out: json.NewEncoder(os.Stdout), left: t.TextBytes}
	w.out.SetEscapeHTML(false)
	debug.SetMemoryLimit(t.MemoryBytes / 4 * 3) // from here on it cleans up more often
	go w.watchMemory(t.MemoryBytes)
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 2
	}
	if err := t.convert(data, w.emit); err != nil {
		w.emit(part{Error: err.Error()})
	}
	w.emit(part{Done: true})
	return 0
}

func (t task) convert(data []byte, emit func(part) bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	switch t.Format {
	case HTML:
		title, text, note, err := convertHTML(data, t.ContentType, t.URL, t.Flat)
		if err == nil {
			if note != "" {
				emit(part{Note: note})
			}
			emit(part{Title: title, Page: 1, Pages: 1, Text: text})
		}
		return err
	case PDF:
		return readPDF(data, emit)
	}
	return errors.New("unknown format")
}

// partWriter writes parts as long as there is room.
type partWriter struct {
	mu   sync.Mutex
	out  *json.Encoder
	left int // bytes of text
}

// watchMemory ends the child when it holds more memory than it may.
func (w *partWriter) watchMemory(bytesMax int64) {
	const look = 10 * time.Millisecond
	held := []metrics.Sample{{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"}}
	for range time.Tick(look) {
		metrics.Read(held)
		if int64(held[0].Value.Uint64()-held[1].Value.Uint64()) > bytesMax {
			w.emit(part{Stopped: tooMuchMemory(bytesMax)})
			os.Exit(0)
		}
	}
}

// emit writes a part, and reports whether more is wanted.
func (w *partWriter) emit(p part) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.Title, p.Error = clip(p.Title), clip(p.Error)
	size := encodedSize(p.Text)
	if size <= w.left {
		w.left -= size
		_ = w.out.Encode(p) // a parent that is gone needs nothing
		return true
	}
	p.Text = strings.ToValidUTF8(p.Text[:len(p.Text)*w.left/size], "")
	w.left = 0
	_ = w.out.Encode(p)
	_ = w.out.Encode(part{Cut: "it has more text than is read of one document"})
	return false
}

// clip shortens words of a document, so that they can't flood a message.
func clip(s string) string { return legible.Clip(legible.OneLine(s), clippedBytes) }

const clippedBytes = 200

// encodedSize is how many bytes text has at most as JSON.
func encodedSize(text string) int {
	return len(text) + strings.Count(text, "\n") + strings.Count(text, "\t") +
		strings.Count(text, `"`) + strings.Count(text, `\`)
}
