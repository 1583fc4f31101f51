package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// answerBytesMax bounds what a person may answer.
const answerBytesMax = 4 << 10

// Confirm asks a question whose answer is no unless it is yes. The end of the
// input is no.
func (t *Terminal) Confirm(ctx context.Context, question string) (bool, error) {
	line, err := t.ask(ctx, question+" [y/N] ")
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", err
}

// ask prints a question and reads one line. On a terminal nothing counts that
// was typed before the question stood there. Elsewhere a read that a cancelled
// question left behind is waited for, so that no line is lost.
func (t *Terminal) ask(ctx context.Context, question string) (string, error) {
	if f, ok := t.In.(*os.File); ok && Is(f) {
		flushInput(f)
		select {
		case <-t.pending:
			t.pending = nil
		default:
		}
	}
	fmt.Fprint(t.Err, question)
	if t.pending == nil {
		lines := make(chan string, 1)
		t.pending = lines
		go func() {
			defer close(lines)
			if line, ok := readLine(t.In); ok {
				lines <- line
			}
		}()
	}
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case line, ok := <-t.pending:
		t.pending = nil
		if v, watched := t.Err.(*runView); watched {
			v.Resume()
		}
		if !ok {
			return "", io.EOF
		}
		return line, nil
	}
}

// readLine reads up to the end of a line, byte by byte, so that what follows
// stays for whoever reads it. What is too long for an answer is dropped.
func readLine(in io.Reader) (string, bool) {
	var line []byte
	one := make([]byte, 1)
	for {
		n, err := in.Read(one)
		switch {
		case n == 1 && one[0] == '\n':
			return strings.ToValidUTF8(string(line), "\uFFFD"), true
		case n == 1 && len(line) < answerBytesMax:
			line = append(line, one[0])
		}
		if err != nil {
			return "", false // a line without its end is no answer
		}
	}
}
