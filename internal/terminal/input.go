package terminal

import (
	"agent/internal/bounded"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// patience is how long standard input may stay open and silent before a word
// is said about it.
const patience = 2 * time.Second

// InputBytesMax bounds what is read from standard input.
const InputBytesMax = 64 << 20

// Piped reads standard input when it is a pipe or a file. A closed or absent
// standard input, and a terminal, are empty.
func (t *Terminal) Piped(ctx context.Context) (string, error) {
	if f, ok := t.In.(*os.File); ok {
		st, err := f.Stat()
		if err != nil || st.Mode()&os.ModeCharDevice != 0 {
			return "", nil
		}
	}
	text, err := ReadBounded(t.Input(ctx), "standard input", InputBytesMax)
	text = strings.TrimRight(text, "\n")
	if err != nil {
		return "", err
	}
	return text, CheckText("standard input", text)
}

// ReadBounded reads all of r, which may have no more than so many bytes.
func ReadBounded(r io.Reader, name string, bytesMax int64) (string, error) {
	raw, err := bounded.Read(r, bytesMax)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return string(raw), nil
}

// Input is standard input to be read to its end. While the end does not come,
// a line on standard error says what is waited for. Reading ends with ctx.
func (t *Terminal) Input(ctx context.Context) io.Reader { return t.await(ctx, false) }

// Lines is standard input that is answered line by line: only the wait for the
// first of it needs a word.
func (t *Terminal) Lines(ctx context.Context) io.Reader { return t.await(ctx, true) }

func (t *Terminal) await(ctx context.Context, once bool) io.Reader {
	out, in := io.Pipe()
	context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	go func() {
		timer := time.AfterFunc(patience, t.tellWaiting)
		defer timer.Stop()
		buf := make([]byte, 1<<16)
		for {
			n, err := t.In.Read(buf)
			if err != nil || once && n > 0 {
				timer.Stop()
			}
			if _, gone := in.Write(buf[:n]); gone != nil {
				return
			}
			if err != nil {
				in.CloseWithError(err)
				return
			}
		}
	}()
	return out
}

func (t *Terminal) tellWaiting() {
	if t.Attended() {
		t.Note("reading standard input: type, and end it with Ctrl-D on a line of its own")
		return
	}
	t.Note("waiting for standard input to end; if nothing is to come from there, add </dev/null")
}

// textError is text from outside that no model can read.
type textError struct {
	what string
	at   int // the first byte that is wrong
}

func (e *textError) Error() string {
	return fmt.Sprintf("%s is not text: byte %d is not valid UTF-8", e.what, e.at)
}

// Hint says what a person can do about it.
func (e *textError) Hint() string {
	return "convert it to UTF-8 first (iconv -f LATIN1 -t UTF-8); binary files can't be read by a model"
}

// CheckText refuses what is not UTF-8, before a model is loaded for it.
func CheckText(what, text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	for at, r := range text {
		if _, size := utf8.DecodeRuneInString(text[at:]); r == utf8.RuneError && size == 1 {
			return &textError{what, at}
		}
	}
	return nil
}
