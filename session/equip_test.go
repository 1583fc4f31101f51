package session

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"agent/command/stock"
	"agent/session/journal"
)

// withStock are the commands as they are, for tests of what a session gives them.
func withStock(t *testing.T) func(*Options) {
	reg, err := stock.Standard()
	require.NoError(t, err)
	return func(o *Options) { o.Registry = reg }
}

// What the reader asks the model counts in the run's usage and budget, and
// holds no secret.
func TestCommandsAskTheRunsModel(t *testing.T) {
	script := []string{
		`{"command":"reader","content":[{"file":"b.txt","extract":"the price"}]}`,
		"It costs 3 euros.",
		`{"command":"answer","content":[{"text":"3 euros"}]}`,
	}
	r := newRig(t, newModel(t, false, script...), func(o *Options) {
		withStock(t)(o)
		o.Env.Metadata = map[string]string{"key": "hunter2secret"}
	})
	r.write(t, "b.txt", "The pear costs 3 euros. The key is hunter2secret.\n")
	res, err := r.Run(context.Background(), "What does the pear cost?")
	require.NoError(t, err)
	assert.Equal(t, "3 euros", res.Answer)
	asked := prompt(&r.model.requests[1])
	assert.Contains(t, asked, "The pear costs 3 euros.")
	assert.NotContains(t, asked, "hunter2secret")
	assert.Contains(t, r.lastUser(-1), "lines 1-1: It costs 3 euros.")
	assert.Greater(t, res.Usage.PromptTokens, 0)
	assert.Len(t, r.model.requests, 3)

	r.speaker.budget.tokensMax = 1
	_, err = r.opts.Env.Ask(context.Background(), "more?", 10)
	assert.ErrorIs(t, err, errTokensSpent)
}

// A result is shown as pages that meet, not with its middle cut out.
func TestReaderShowsWhatFits(t *testing.T) {
	r := newRig(t, newModel(t, false,
		`{"command":"reader","content":[{"file":"b.txt"}]}`, `{"command":"answer","content":[{"text":"done"}]}`,
	), func(o *Options) {
		withStock(t)(o)
		o.Limits.ResultTokensMax = 300
	})
	r.write(t, "b.txt", strings.Repeat("some words on a line\n", 300))
	_, err := r.Run(context.Background(), "read")
	require.NoError(t, err)
	assert.Regexp(t, `\[\d+ lines \(\d+ bytes\) left out; read lines \d+-300 for the rest\]`, r.lastUser(-1))
	assert.NotContains(t, r.lastUser(-1), "left out here")
}

// A call is decided about by what it does, not by what its command mostly does.
func TestEffectsOfCallsAreApproved(t *testing.T) {
	keep := `{"command":"reader","content":[{"file":"b.txt","save_as":"c.txt"}]}`
	fetch := `{"command":"reader","content":[{"url":"http://127.0.0.1:1/"}]}`
	for _, tt := range []struct {
		name    string
		mode    ApproveMode
		call    string
		refused bool
	}{
		{"reading", ApproveNever, `{"command":"reader","content":[{"file":"b.txt"}]}`, false},
		{"keeping", ApproveNever, keep, true},
		{"fetching", ApproveNever, fetch, true},
		{"keeping, nobody there", ApproveAsk, keep, true},
		{"keeping on a guessed name", ApproveAuto, strings.Replace(keep, "reader", "readar", 1), true},
		{"keeping, cut off", ApproveAuto, keep[:len(keep)-8], true},
		{"keeping, allowed", ApproveAuto, keep, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, newModel(t, false, tt.call, `{"command":"answer","content":[{"text":"done"}]}`, `{"command":"answer","content":[{"text":"done"}]}`), func(o *Options) {
				withStock(t)(o)
				o.Approve = tt.mode
			})
			r.write(t, "b.txt", "42\n")
			_, err := r.Run(context.Background(), "task")
			require.NoError(t, err)
			_, err = os.Stat(filepath.Join(r.dir, "c.txt"))
			assert.Equal(t, !tt.refused && strings.Contains(tt.call, "save_as"), err == nil)
			assert.Equal(t, tt.refused && tt.mode != ApproveAuto, strings.Contains(r.lastUser(-1), "not allowed"), r.lastUser(-1))
		})
	}
}

// A text that gets too long is written as far as it goes, and goes on in the
// next step.
func TestLongTextsContinue(t *testing.T) {
	var b strings.Builder
	for i := range 60 {
		fmt.Fprintf(&b, "this is the line with the number %d\n", i)
	}
	r := newRig(t, newModel(t, true,
		" I write the poem.\n", " writer", " poem.txt\n", b.String(), " none",
		" I go on.\n", " writer", " poem.txt\n", "the last line\n```\n", " append", " yes", " none",
		" Done.\n", " answer", " It is written.",
	), func(o *Options) {
		withStock(t)(o)
		o.Limits.FieldTokensMax = 60
	})
	res, err := r.Run(context.Background(), "Write a long poem into poem.txt.")
	require.NoError(t, err)
	assert.Equal(t, "It is written.", res.Answer)
	data, err := os.ReadFile(filepath.Join(r.dir, "poem.txt"))
	require.NoError(t, err)
	text := string(data)
	assert.True(t, strings.HasPrefix(text, "this is the line with the number 0\nthis is the line with the number 1\n"), text)
	assert.True(t, strings.HasSuffix(text, "\nthe last line\n"), text)
	assert.NotRegexp(t, `number\s*\n(this|the last)`, text, "cut where a line ends")
	told := false
	for i := range r.model.requests {
		told = told || strings.Contains(prompt(&r.model.requests[i]), "To go on, write what comes after it with append: yes.")
	}
	assert.True(t, told)
	assert.Zero(t, res.Usage.InvalidReplies)
}

// Addresses can be chosen where the web may be reached, and only those that
// stand in the conversation.
func TestSeenAddresses(t *testing.T) {
	r := newRig(t, newModel(t, true), withStock(t))
	r.talk.task = "Read https://example.org/a, please (or http://example.org/b)."
	r.talk.entries = []*journal.Entry{
		{Kind: journal.KindTurn, Text: "I made up https://evil.example/x"},
		{Kind: journal.KindResult, Text: "[one](https://example.org/c_d?e=1#f) **https://example.org/a**"},
	}
	assert.Equal(t, []string{"https://example.org/a", "http://example.org/b", "https://example.org/c_d?e=1#f"}, r.talk.seenAddresses())
	r.talk.task = strings.Repeat("http://example.org/x ", 10) + strings.Join(func() (out []string) {
		for i := range 50 {
			out = append(out, fmt.Sprintf("http://example.org/%d", i))
		}
		return out
	}(), " ")
	assert.Len(t, r.talk.seenAddresses(), 13, "of each text only the first are looked at")
}

// What commands keep lies beside the session file, or goes with the session.
func TestStateOfCommands(t *testing.T) {
	answer := `{"command":"answer","content":[{"text":"done"}]}`
	dir := t.TempDir()
	r := newRig(t, newModel(t, false, answer), func(o *Options) {
		withStock(t)(o)
		o.SessionsDir = dir
	})
	_, err := r.Run(context.Background(), "task")
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, r.ID()+".state"), r.opts.Env.StateDir)

	scratch := newRig(t, newModel(t, false, answer), withStock(t))
	_, err = scratch.Run(context.Background(), "task")
	require.NoError(t, err)
	info, err := os.Stat(scratch.opts.Env.StateDir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.NoError(t, scratch.Close())
	_, err = os.Stat(scratch.opts.Env.StateDir)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
