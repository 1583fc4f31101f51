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

func TestLinesAbout(t *testing.T) {
	log := ""
	for i := range 200 {
		log += fmt.Sprintf("10:%02d order %d was shipped to a customer\n", i%60, i)
	}
	lines := strings.Split(log, "\n")
	lines[120] = "  11:01 order 120 was REFUSED: card expired "
	lines[40] = "10:40 the printer is out of paper"
	log = strings.Join(lines, "\n")
	counted := func(s string) int { return len(strings.Fields(s)) }
	odd := []string{"10:40 the printer is out of paper", "11:01 order 120 was REFUSED: card expired"}
	for _, tc := range []struct {
		name, query string
		max         int
		want        []string
	}{
		{"rare words", "Which orders were refused?", 50, odd},
		{"several, in their order", "refusal of paper", 50, odd},
		{"room for the best alone", "Which orders were refused?", 8, odd[1:]},
		{"the best where there is room for one", "paper printers, and what was refused", 9, []string{"10:40 the printer is out of paper"}},
		{"a number", "What happened to order 77?", 9, []string{"10:17 order 77 was shipped to a customer"}},
		{"words of every line say nothing", "order shipped customer", 50, odd},
		{"none: only what is unlike the others", "elephants", 50, odd},
		{"no room", "refused", 2, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, nilIfEmpty(linesAbout(tc.query, log, tc.max, counted)))
		})
	}
	assert.Empty(t, linesAbout("a", "one line about a", 50, counted))
	prose := "Rosa painted the gate green.\nNobody saw the old dog again.\nWinter came early that year.\nThen everything changed for them."
	assert.Empty(t, linesAbout("elephants", prose, 50, counted), "where all lines differ none is odd")
}

func TestFirstChunk(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		n          int
		want       string
	}{
		{"all", "ab\ncd", 10, "ab\ncd"},
		{"to a line's end", "abcd\nefgh\nij", 8, "abcd\n"},
		{"within a long line", "abcdefgh", 3, "abc"},
		{"a line's end too near", "a\nbcdefghij", 8, "a\nbcdefg"},
		{"whole runes", "äöüß", 2, "äö"},
	} {
		assert.Equal(t, tc.want, firstChunk(tc.text, tc.n), tc.name)
	}
}

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
