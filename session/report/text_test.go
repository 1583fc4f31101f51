package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command"
	"agent/session/event"
)

func TestRenderText(t *testing.T) {
	for _, tc := range []struct {
		name string
		data event.Payload
		want string
	}{
		{"note", &event.Note{Step: 2, Text: "think\x1b[2J"}, "2. think\\x1b[2J\n"},
		{"call", event.Made(1, &command.Call{Command: "python", Content: []map[string]any{{"code": "a\nb", "n": 1.0}}}, false, nil), "→ python code:\n    a\n    b\n n: 1\n"},
		{"result", &event.CommandResult{Text: "a\nb\n", Files: []string{"x"}}, "  a\n  b\n  changed: x\n"},
		{"refused", &event.Approval{Reason: "no"}, "  not allowed: no\n"},
		{"end", &event.Result{Stop: event.StopAnswered, Steps: 1, WallMS: 1234}, "answered after 1 step in 1.2s; prompt tokens: 0 evaluated, 0 reused; 0 generated\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, RenderText(&b, event.Event{Data: tc.data}, RenderOptions{}))
			assert.Equal(t, tc.want, b.String())
		})
	}
}

func TestRenderParts(t *testing.T) {
	show := func(data event.Payload) string {
		var b strings.Builder
		require.NoError(t, RenderText(&b, event.Event{Data: data, Session: "20260101-000000-abcdef.3-1f2e.2", Parent: "x"}, RenderOptions{Streamed: true}))
		return b.String()
	}
	assert.Equal(t, "  2│ part 2: count\\x1b[2J\n", show(&event.SubtaskStarted{Number: 2, Task: "count\x1b[2J", Try: 1}))
	assert.Equal(t, "  2│ part 2, try 2: count\n", show(&event.SubtaskStarted{Number: 2, Task: "count", Try: 2}))
	assert.Equal(t, "  2│ 1. I look\n", show(&event.Note{Step: 1, Text: "I look"}), "notes are shown, since")
	assert.Empty(t, show(&event.Delta{Text: "pieces"}), "streamed text is not")
	assert.Equal(t, "  2│ part 2: answered after 1 step in 1.2s\n  2│   42\n", show(&event.SubtaskEnded{Number: 2, Answer: "42", Stop: event.StopAnswered, Steps: 1, WallMS: 1234}))
	assert.Equal(t, "  2│   a\n  2│   b\n", show(&event.CommandResult{Text: "a\nb\n"}))
}

func TestRenderCommands(t *testing.T) {
	var b strings.Builder
	require.NoError(t, RenderText(&b, event.Event{Data: &event.Commands{Changes: []event.CommandChange{
		{Change: event.CommandAdded, Command: "a"}, {Change: event.CommandAdded, Command: "b"}, {Change: event.CommandRemoved, Command: "c"},
		{Change: event.CommandBroken, Command: "d", File: "d.py", Problem: "d.py:2: wr\x1bong", Kept: true, Hint: "mend it"},
	}}}, RenderOptions{}))
	assert.Equal(t, "commands added: a, b\ncommands removed: c\nwarning: d.py:2: wr\\x1bong; the version before stays\n  mend it\n", b.String())
}
