package session

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/session/journal"
)

func TestCallKey(t *testing.T) {
	call := func(name string, content ...map[string]any) *command.Call {
		return &command.Call{Command: name, Summary: fmt.Sprint(time.Now()), Content: content}
	}
	base := callKey(call("python", map[string]any{"code": "print(1)", "n": 2}))
	for _, tc := range []struct {
		name string
		call *command.Call
		same bool
	}{
		{"order of keys", call("python", map[string]any{"n": 2, "code": "print(1)"}), true},
		{"space around", call("python", map[string]any{"n": 2, "code": "\nprint(1) "}), true},
		{"other code", call("python", map[string]any{"n": 2, "code": "print(2)"}), false},
		{"other command", call("reader", map[string]any{"n": 2, "code": "print(1)"}), false},
		{"two entries", call("python", map[string]any{"n": 2, "code": "print(1)"}, map[string]any{}), false},
		{"not comparable", call("python", map[string]any{"f": func() {}}), false},
	} {
		t.Run(tc.name, func(t *testing.T) { assert.Equal(t, tc.same, callKey(tc.call) == base) })
	}
}

func TestCircles(t *testing.T) {
	c := newCircles()
	assert.Equal(t, 1, c.ask("a"))
	assert.Equal(t, 2, c.ask("a"))
	assert.Equal(t, 1, c.ask("b"))
	assert.Equal(t, 1, c.ask("a"), "not in a row")
	assert.Equal(t, 1, c.ask(""))
	assert.Equal(t, 1, c.ask(""), "calls that can't be compared are not the same")
	c.record(journal.Done{Key: "a", State: "s1", Step: 3})
	d, ok := c.earlier("a", "s1")
	assert.True(t, ok)
	assert.Equal(t, 3, d.Step)
	_, ok = c.earlier("a", "s2")
	assert.False(t, ok, "the work dir changed")
}

func TestPlanCompaction(t *testing.T) {
	kinds := func(es []*journal.Entry) (out string) {
		for _, e := range es {
			out += string(e.Kind[0])
		}
		return out
	}
	for _, tc := range []struct {
		name               string
		entries            string // t: task, T: turn, r: result, s: summary
		room               int    // each costs 10
		tasks, older, tail string
	}{
		{"nothing", "", 100, "", "", ""},
		{"all fits", "tTrTr", 100, "t", "", "TrTr"},
		{"last exchange", "tTrTrTr", 25, "t", "TrTr", "Tr"},
		{"no room: the newest is not seen yet", "tTrTr", 5, "t", "Tr", "Tr"},
		{"no room for the only one", "tTr", 0, "t", "", "Tr"},
		{"no room for two results", "tTrTrr", 5, "t", "Tr", "Trr"},
		{"no room, after a summary", "tsTr", 5, "t", "s", "Tr"},
		{"no room, no turn since the summary", "tTrsr", 5, "t", "Trs", "r"},
		{"no room, words of the user last", "tTrTrt", 5, "t", "Tr", "Trt"},
		{"nothing since the summary", "ts", 5, "t", "s", ""},
		{"tail begins with a turn", "tTrTr", 35, "t", "Tr", "Tr"},
		{"summary goes into the next", "tsTrTr", 100, "t", "s", "TrTr"},
		{"later words of the user stay", "tTrTtTr", 25, "tt", "TrT", "Tr"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var es []*journal.Entry
			var costs []int
			for _, c := range tc.entries {
				kind := map[rune]journal.Kind{'t': journal.KindTask, 'T': "Turn", 'r': journal.KindResult, 's': journal.KindSummary}[c]
				if kind == "Turn" {
					kind = journal.KindTurn
				}
				es, costs = append(es, &journal.Entry{Kind: kind}), append(costs, 10)
			}
			c := planCompaction(es, costs, tc.room)
			low := strings.ToLower
			assert.Equal(t, low(tc.tasks), kinds(c.tasks))
			assert.Equal(t, low(tc.older), kinds(c.older))
			assert.Equal(t, low(tc.tail), kinds(c.tail))
		})
	}
}

func TestDigestFits(t *testing.T) {
	r := newRig(t, newModel(t, true), nil)
	long := strings.TrimSuffix(strings.Repeat("one more line of it\n", 100), "\n")
	for _, most := range []int{20, 100} {
		out := r.talk.boundedDigest(context.Background(), long, most)
		assert.LessOrEqual(t, r.speaker.count(context.Background(), out), most)
		assert.True(t, strings.HasSuffix(out, "one more line of it"))
	}
	assert.Equal(t, "a\nb", r.talk.boundedDigest(context.Background(), "a\nb", 20))
}

func TestOffendingLine(t *testing.T) {
	code := "import csv\nx = 1\nprint(y)\n"
	for _, tc := range []struct {
		name, text string
		n          int
		line       string
	}{
		{"named", `File "main.py", line 3, in <module>`, 3, "print(y)"},
		{"shown already", "line 3\n    print(y)\nNameError", 0, ""},
		{"last one that is ours", `line 2, then File "csv.py", line 300`, 2, "x = 1"},
		{"none", "NameError", 0, ""},
		{"empty line", "line 4", 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n, line := offendingLine(code, tc.text)
			assert.Equal(t, tc.n, n)
			assert.Equal(t, tc.line, line)
		})
	}
}

func TestUnquoted(t *testing.T) {
	for in, want := range map[string]string{
		" a.txt":      "a.txt",
		"`a.txt`":     "a.txt",
		`"a b"`:       "a b",
		`"a" and "b"`: `"a" and "b"`,
		`"`:           `"`,
		"":            "",
	} {
		assert.Equal(t, want, unquoted(in))
	}
}

func TestEchoes(t *testing.T) {
	for _, tc := range []struct {
		answer, task string
		want         bool
	}{
		{"On which date?", "On which date?", true},
		{"on which  date", "On which date?", true},
		{"2026-01-05", "On which date?", false},
		{"", "?", false},
	} {
		assert.Equal(t, tc.want, echoes(tc.answer, tc.task), "%q %q", tc.answer, tc.task)
	}
}

// A final command with several fields answers with the same one each time.
func TestAnswerText(t *testing.T) {
	slots := func(names ...string) (spec command.Spec) {
		for _, name := range names {
			spec.Slots = append(spec.Slots, command.Slot{Name: name, Kind: command.SlotText})
		}
		return spec
	}
	fields := func(pairs ...string) map[string]any {
		out := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = pairs[i+1]
		}
		return out
	}
	for _, tc := range []struct {
		name    string
		spec    command.Spec
		content map[string]any
		want    string
	}{
		{"two texts", slots("reason", "text"), fields("reason", "why", "text", "42"), "42"},
		{"three, as declared and not by name", slots("c", "b", "a"), fields("a", "1", "b", "2", "c", "3"), "1"},
		{"the last is empty", slots("b", "a"), fields("a", "", "b", "2"), "2"},
		{"one that the command does not know", slots("text"), fields("text", "42", "zeal", "much"), "42"},
		{"only such", slots("text"), fields("b", "2", "a", "1"), "2"},
		{"no text", slots("text"), map[string]any{"text": 42.0}, "note"},
	} {
		for range 50 { // a map's order differs from call to call
			call := &command.Call{Summary: "note", Content: []map[string]any{tc.content}}
			require.Equal(t, tc.want, answerText(&command.Result{}, call, tc.spec), tc.name)
		}
	}
	assert.Equal(t, "said", answerText(&command.Result{Answer: "said"}, &command.Call{}, slots("text")))
}
