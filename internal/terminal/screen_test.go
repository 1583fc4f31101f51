package terminal

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// terminal understands just what a Screen writes.
type fakeTerminal struct {
	mu   sync.Mutex
	rows []string
	row  int
}

func (v *fakeTerminal) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	text := string(p)
	for text != "" {
		if len(v.rows) == 0 {
			v.rows = []string{""}
		}
		switch {
		case strings.HasPrefix(text, ansi.EraseScreenBelow):
			v.rows = append(v.rows[:v.row:v.row], "")
			text = text[len(ansi.EraseScreenBelow):]
		case strings.HasPrefix(text, "\x1b["):
			up := 1
			i := strings.IndexByte(text, 'A')
			if i > 2 {
				up = int(text[2] - '0')
			}
			v.row -= up
			text = text[i+1:]
		case text[0] == '\r':
			text = text[1:]
		case text[0] == '\n':
			v.row++
			if v.row == len(v.rows) {
				v.rows = append(v.rows, "")
			}
			text = text[1:]
		default:
			i := strings.IndexAny(text, "\r\n\x1b")
			if i < 0 {
				i = len(text)
			}
			v.rows[v.row] += text[:i]
			text = text[i:]
		}
	}
	return len(p), nil
}

func (v *fakeTerminal) String() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Join(v.rows, "\n")
}

func wide() int { return 40 }

// still is a Screen that draws only when the test says so.
func still(v *fakeTerminal, columns func() int, view View) *Screen {
	s := &Screen{w: v, columns: columns, view: view, stop: make(chan struct{}), stopped: make(chan struct{})}
	close(s.stopped)
	return s
}

func TestWhatStaysIsAboveWhatIsLive(t *testing.T) {
	v := &fakeTerminal{}
	lines := []string{"one", "two"}
	s := still(v, wide, func(int, int) []string { return lines })
	s.redraw()
	assert.Equal(t, "one\ntwo", v.String())
	_, err := s.Write([]byte("stays\n"))
	require.NoError(t, err)
	assert.Equal(t, "stays\n", v.String())
	s.redraw()
	lines = []string{"only"}
	s.redraw()
	assert.Equal(t, "stays\nonly", v.String())
	lines = nil
	s.redraw()
	lines = []string{"a", "b", "c"}
	s.redraw()
	s.redraw()
	assert.Equal(t, "stays\na\nb\nc", v.String())
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	assert.Equal(t, "stays\n", v.String())
	s.redraw()
	_, err = s.Write([]byte("after"))
	require.NoError(t, err)
	assert.Equal(t, "stays\nafter", v.String())
}

func TestAPromptIsLeftAlone(t *testing.T) {
	v := &fakeTerminal{}
	s := still(v, wide, func(int, int) []string { return []string{"live"} })
	s.redraw()
	_, err := s.Write([]byte("allow? "))
	require.NoError(t, err)
	s.redraw()
	assert.Equal(t, "allow? ", v.String())
	_, err = v.Write([]byte("y\n")) // as the terminal echoes it
	require.NoError(t, err)
	s.Resume()
	s.redraw()
	assert.Equal(t, "allow? y\nlive", v.String())
}

func TestLinesAreCutToTheWidth(t *testing.T) {
	v := &fakeTerminal{}
	s := still(v, func() int { return 8 }, func(columns, tick int) []string {
		assert.Equal(t, 8, columns)
		return []string{"0123456789", "漢字漢字漢字"}
	})
	s.redraw()
	assert.Equal(t, "012345…\n漢字漢…", v.String())
}

func TestItDrawsByItself(t *testing.T) {
	v := &fakeTerminal{}
	s := NewScreen(v, wide, func(_, tick int) []string { return []string{strings.Repeat(".", tick)} })
	defer s.Close()
	require.Eventually(t, func() bool { return strings.HasPrefix(v.String(), "..") }, 30*time.Second, time.Millisecond)
}

func TestTail(t *testing.T) {
	for _, c := range []struct {
		text          string
		columns, rows int
		want          []string
	}{
		{"", 10, 3, nil},
		{"short", 10, 3, []string{"short"}},
		{"a\nb\nc\nd", 10, 2, []string{"c", "d"}},
		{"0123456789abc", 10, 3, []string{"0123456789", "abc"}},
		{"x\n", 10, 3, []string{"x", ""}},
		{"\tx", 10, 1, []string{"    x"}},
		{strings.Repeat("é", 1000) + "end", 10, 2, []string{strings.Repeat("é", 10), "end"}},
		{"text", 0, 3, nil},
	} {
		got := Tail(c.text, c.columns, c.rows)
		assert.Equal(t, c.want, got, "%q", c.text)
	}
}

func TestRate(t *testing.T) {
	var r Rate
	now := time.Unix(0, 0)
	assert.Zero(t, r.PerSecond())
	for range 100 {
		r.Add(now, 2)
		now = now.Add(100 * time.Millisecond)
	}
	assert.InDelta(t, 20, r.PerSecond(), 0.01)
	assert.LessOrEqual(t, len(r.at), 32, "old ones are forgotten")
	r.Reset()
	assert.Zero(t, r.PerSecond())
}
