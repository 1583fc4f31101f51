// Package terminal is the person in front of the program: standard input and
// the two outputs, questions and their answers, and what is shown of a run
// while it goes on.
package terminal

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"agent/internal/legible"
)

// Terminal is the three standard streams. In and Err need not be a terminal:
// ask [Terminal.Attended].
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer
	Quiet    bool // no progress and no warnings on Err

	calls   *calls      // of the run that is shown; nil: none is
	pending chan string // the line of a read that a question left behind
}

// screenWriter is a person's screen. All that is written to it is shown as
// text: errors, lists, answers and warnings quote files, models and servers.
// What moves the cursor or colours is written to own.
type screenWriter struct {
	io.Writer // shows what is no text as escapes
	own       *os.File
}

// ToPerson is a standard stream as this program writes to it: a terminal gets
// text alone, a file or pipe every byte. Call end when all is written.
func ToPerson(f *os.File) (w io.Writer, end func()) {
	if !term.IsTerminal(int(f.Fd())) {
		return f, func() {}
	}
	shown := legible.NewWriter(f)
	return &screenWriter{Writer: shown, own: f}, func() { _ = shown.Close() }
}

// Output is standard output that remembers that writing to it failed, so that
// a full disk is an error of every command, wherever it printed.
type Output struct {
	io.Writer
	Err error
}

// Write writes, and remembers the first error.
func (o *Output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil && o.Err == nil {
		o.Err = fmt.Errorf("write standard output: %w", err)
	}
	return n, err
}

// file is the terminal behind a stream, for what this program itself draws; ok
// is false for anything else.
func file(stream any) (f *os.File, ok bool) {
	switch s := stream.(type) {
	case *Output:
		return file(s.Writer)
	case *screenWriter:
		return s.own, true
	case *os.File:
		return s, term.IsTerminal(int(s.Fd()))
	}
	return nil, false
}

// Is reports whether a stream is a person's screen or keyboard.
func Is(stream any) bool {
	_, ok := file(stream)
	return ok
}

// Attended reports that somebody can answer on standard input.
func (t *Terminal) Attended() bool { return Is(t.In) }

// Columns is the width of w, and whether it is a terminal.
func Columns(w io.Writer) (columns int, isTerminal bool) {
	f, ok := file(w)
	if !ok {
		return 0, false
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	return columns, err == nil
}

// Undisguised is w for text that holds this program's own colours and moves of
// the cursor, and of others only what [legible.Visible] or
// [session.RenderText] made of it.
func Undisguised(w io.Writer) io.Writer {
	if f, ok := file(w); ok {
		return f
	}
	return w
}

// canDraw: live lines and colours need a terminal that can move its cursor.
func canDraw(w io.Writer) bool { return Is(w) && os.Getenv("TERM") != "dumb" }

// Warn tells of something that is no error.
func (t *Terminal) Warn(msg string) {
	if !t.Quiet {
		fmt.Fprintf(t.Err, "agent: warning: %s\n", msg)
	}
}

// Note tells how things are.
func (t *Terminal) Note(msg string) {
	if !t.Quiet {
		fmt.Fprintf(t.Err, "agent: %s\n", msg)
	}
}
