package terminal

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/internal/terminal/terminaltest"
	"agent/session"
)

// printed is what was printed, and tells when a question stands there.
type printed struct {
	mu    sync.Mutex
	text  strings.Builder
	asked chan struct{}
}

func (s *printed) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.Contains(string(data), "allow?") {
		s.asked <- struct{}{}
	}
	return s.text.Write(data)
}

// What is typed before a question is no answer to it, whether it still waits or
// was read for a question that ended.
func TestTypedBeforeTheQuestion(t *testing.T) {
	person, terminal, err := terminaltest.Open()
	if err != nil {
		t.Skipf("needs pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { terminal.Close(); person.Close() })
	out := &printed{asked: make(chan struct{}, 8)}
	q := &approver{t: &Terminal{In: terminal, Err: out}, always: map[string]bool{}}
	type decided struct {
		d   session.Decision
		err error
	}
	ask := func(ctx context.Context) chan decided {
		done := make(chan decided, 1)
		go func() {
			d, err := q.decide(ctx, proposalOf("python", "1"))
			done <- decided{d, err}
		}()
		<-out.asked
		return done
	}
	say := func(text string) {
		_, err := person.WriteString(text)
		require.NoError(t, err)
	}

	say("y\ny\na\n")
	time.Sleep(50 * time.Millisecond)
	done := ask(context.Background())
	select {
	case got := <-done:
		t.Fatalf("decided by what was typed before: %+v", got)
	case <-time.After(300 * time.Millisecond):
	}
	say("n\ny\n")
	got := <-done
	require.NoError(t, got.err)
	assert.False(t, got.d.Allow)

	ctx, cancel := context.WithCancel(context.Background())
	time.Sleep(50 * time.Millisecond)
	done = ask(ctx) // the y of before is dropped, too
	cancel()
	require.ErrorIs(t, (<-done).err, context.Canceled)
	say("y\n") // is read for the question that ended
	time.Sleep(100 * time.Millisecond)
	done = ask(context.Background())
	say("no\n")
	got = <-done
	require.NoError(t, got.err)
	assert.False(t, got.d.Allow)

	time.Sleep(50 * time.Millisecond)
	done = ask(context.Background())
	say("y\n")
	got = <-done
	require.NoError(t, got.err)
	assert.True(t, got.d.Allow)
}
