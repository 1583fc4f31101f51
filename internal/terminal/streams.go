package main

import (
	"io"
	"os"

	"golang.org/x/term"

	"agent/internal/legible"
)

// terminal is a person's screen. All that is written to it is shown as text:
// errors, lists, answers and warnings quote files, models and servers. What
// moves the cursor or colours is written to own.
type terminal struct {
	io.Writer // shows what is no text as escapes
	own       *os.File
}

// toPerson is a standard stream as this program writes to it: a terminal gets
// text alone, a file or pipe every byte. Call end when all is written.
func toPerson(f *os.File) (w io.Writer, end func()) {
	if !term.IsTerminal(int(f.Fd())) {
		return f, func() {}
	}
	shown := legible.NewWriter(f)
	return &terminal{Writer: shown, own: f}, func() { _ = shown.Close() }
}

// terminalFile is the terminal behind a stream, for what this program itself
// draws; ok is false for anything else.
func terminalFile(stream any) (f *os.File, ok bool) {
	switch s := stream.(type) {
	case *output:
		return terminalFile(s.Writer)
	case *terminal:
		return s.own, true
	case *os.File:
		return s, term.IsTerminal(int(s.Fd()))
	}
	return nil, false
}

// isTerminal reports whether a stream is a person's screen or keyboard.
func isTerminal(stream any) bool {
	_, ok := terminalFile(stream)
	return ok
}

// undisguised is w for text that holds this program's own colours and moves of
// the cursor, and of others only what [legible.Visible] or
// [session.RenderText] made of it.
func undisguised(w io.Writer) io.Writer {
	if f, ok := terminalFile(w); ok {
		return f
	}
	return w
}
