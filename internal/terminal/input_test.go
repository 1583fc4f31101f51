package terminal

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/session"
)

// told is what was printed, safe to look at while more is.
type told struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *told) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *told) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// Input that does not end is told of, once; input that ends in time is not, and
// a program that is answered line by line is told of only before the first.
func TestInputThatDoesNotEnd(t *testing.T) {
	for name, c := range map[string]struct {
		quiet, lines bool
		write        string // before the long wait
		told         bool
	}{
		"nothing comes":             {told: true},
		"it does not end":           {write: "a line\n", told: true},
		"lines, of which none came": {lines: true, told: true},
		"lines":                     {lines: true, write: "a line\n"},
		"nobody wants to know":      {quiet: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, producer := io.Pipe()
			var out told
			term := &Terminal{In: in, Err: &out, Quiet: c.quiet}
			open := term.Input
			if c.lines {
				open = term.Lines
			}
			reader := open(context.Background())
			done := make(chan string)
			go func() {
				text, _ := io.ReadAll(reader)
				done <- string(text)
			}()
			if c.write != "" {
				_, err := io.WriteString(producer, c.write)
				require.NoError(t, err)
			}
			time.Sleep(patience / 2)
			assert.Empty(t, out.String(), "not at once")
			time.Sleep(patience)
			assert.Equal(t, c.told, strings.Contains(out.String(), "waiting for standard input to end; if nothing is to come from there, add </dev/null"))
			require.NoError(t, producer.Close())
			assert.Equal(t, c.write, <-done)
			assert.LessOrEqual(t, strings.Count(out.String(), "\n"), 1)
		})
	}
}

// A call that a person is asked about stands there once, in the question; one
// that nobody is asked about stands there as before.
func TestACallIsShownOnce(t *testing.T) {
	made := session.Event{Data: &session.CallMade{Command: "python", Content: []map[string]any{{"code": "print(6)\nprint(7)"}}}}
	result := session.Event{Data: &session.CommandResult{Command: "python", Text: "6\n7"}}
	for name, c := range map[string]struct{ asks, asked bool }{"asked": {true, true}, "allowed by a rule": {true, false}, "nobody is there": {false, false}} {
		t.Run(name, func(t *testing.T) {
			var out told
			term := &Terminal{In: strings.NewReader("y\n"), Err: &out}
			show := term.Events(false, c.asks)
			show(made)
			if c.asked {
				_, err := term.Approver()(context.Background(), &session.Proposal{Call: command.Call{Command: "python"}, Preview: "print(6)\nprint(7)"})
				require.NoError(t, err)
			}
			show(result)
			assert.Equal(t, 1, strings.Count(out.String(), "print(6)"), out.String())
			assert.Less(t, strings.Index(out.String(), "print(7)"), strings.LastIndex(out.String(), "7"), "before its result")
		})
	}
}

// Ctrl-C ends the wait for input that does not end.
func TestInputIsInterrupted(t *testing.T) {
	in, _ := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := (&Terminal{In: in, Err: io.Discard}).Piped(ctx)
	assert.ErrorIs(t, err, context.Canceled)
}
