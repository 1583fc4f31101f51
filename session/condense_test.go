package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/backend"
)

// longLog is over every limit, with one line in its middle that matters.
func longLog() string {
	var b strings.Builder
	for i := range 400 {
		if i == 200 {
			b.WriteString("payment 4711 was refused: card expired\n")
		}
		fmt.Fprintf(&b, "%d: all is well with payment number %d\n", i, 1000+i)
	}
	return b.String()
}

func TestLongResults(t *testing.T) {
	for _, tc := range []struct {
		name      string
		mode      LongResults
		condense  func(n int) (string, error)
		has, lack string
	}{
		{"cut", ResultsCut, nil, "these lines share words with the task or are unlike the others:\npayment 4711 was refused: card expired\n", "summary"},
		{"summary", ResultsSummary, func(n int) (string, error) {
			if n == 2 {
				return "- payment 4711: card expired", nil
			}
			return "Nothing.", nil
		}, "A summary of them by the model, which may be wrong:\n- payment 4711: card expired\n", "share words"},
		{"nothing matters", ResultsSummary, func(int) (string, error) { return "nothing", nil }, "A model found nothing in them", "share words"},
		{"a model that fails", ResultsSummary, func(int) (string, error) { return "", errors.New("no") }, "share words", "A model"},
		{"a model that talks on", ResultsSummary, func(int) (string, error) { return strings.Repeat("blah and more ", 500), nil }, "by the model", "share words"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newModel(t, true, readThenAnswer...)
			asked := 0
			m.condense = func(req *backend.Request) (string, error) {
				asked++
				assert.Contains(t, req.Messages[1].Content, "Task: Which payment was refused?")
				n, err := m.CountTokens(context.Background(), req.Messages)
				require.NoError(t, err)
				assert.Less(t, n, chunkTokensMax+300)
				return tc.condense(asked)
			}
			r := newRig(t, m, func(o *Options) { o.LongResults, o.SessionsDir = tc.mode, t.TempDir() })
			r.write(t, "b.txt", longLog())
			_, err := r.Run(context.Background(), "Which payment was refused?")
			require.NoError(t, err)
			told := r.lastUser(-1)
			assert.Contains(t, told, "0: all is well", "its head")
			assert.Contains(t, told, "399: all is well", "its tail")
			assert.Contains(t, told, tc.has)
			assert.NotContains(t, told, tc.lack)
			assert.Contains(t, told, "The whole is in the session file under step 1.")
			assert.Equal(t, tc.mode == ResultsSummary, asked > 0)
			assert.Less(t, r.speaker.count(context.Background(), told), 600)
			kept, err := os.ReadFile(r.Path())
			require.NoError(t, err)
			assert.Contains(t, string(kept), `77: all is well with payment number 1077\n78: all`, "the whole is kept")
		})
	}
}

// Whatever a command gives back, what is shown of it fits and is text.
func TestLongResultsFit(t *testing.T) {
	for _, mode := range []LongResults{ResultsCut, ResultsSummary} {
		m := newModel(t, true)
		m.condense = func(*backend.Request) (string, error) { return "- some line of it\n- and another", nil }
		r := newRig(t, m, func(o *Options) { o.LongResults = mode })
		r.talk.task = "find the needle 7 in line 70"
		for name, text := range map[string]string{
			"lines": longLog(), "one line": strings.Repeat("word ", 9000), "no spaces": strings.Repeat("äöü€", 9000),
			"invalid": strings.Repeat("\xff\xfe\n", 9000), "blank": strings.Repeat("\n", 9000), "numbers": strings.Repeat("7 70\n", 9000),
			"long lines": strings.Repeat(strings.Repeat("needle x ", 300)+"\n", 10),
		} {
			for _, limit := range []int{60, 500} {
				r.speaker.limits.ResultTokensMax = limit
				out, cut := shortened(r.Session, text)
				assert.True(t, cut, name)
				assert.LessOrEqual(t, r.speaker.count(context.Background(), out), limit, "%s %s", mode, name)
				assert.True(t, utf8.ValidString(out))
				assert.Contains(t, out, "left out here")
			}
		}
	}
	r := newRig(t, newModel(t, true), nil)
	out, cut := shortened(r.Session, "short")
	assert.False(t, cut)
	assert.Equal(t, "short", out)
	o := r.opts
	o.LongResults = "guess"
	_, err := New(o)
	assert.ErrorContains(t, err, `unknown way with long results "guess"`)
}
