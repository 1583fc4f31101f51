package session

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tiktoken-go/tokenizer"

	"agent/command/stock"
	"agent/session/workdir"
)

// fixedPartTokensMax is what the part of the prompt that comes first may cost.
const fixedPartTokensMax = 900

// The count is that of a tokenizer of a hosted model; those of small local
// models differ by a few per cent.
func TestFixedPartIsSmall(t *testing.T) {
	reg, err := stock.Standard()
	require.NoError(t, err)
	enc, err := tokenizer.Get(tokenizer.Cl100kBase)
	require.NoError(t, err)
	for _, slots := range []bool{true, false} {
		r := newRig(t, newModel(t, slots), func(o *Options) { o.Registry = reg })
		system := r.systemPrompt()
		assert.NotContains(t, system, "template:")
		ids, _, err := enc.Encode(system)
		require.NoError(t, err)
		assert.Less(t, len(ids), fixedPartTokensMax*9/10)
		for _, spec := range reg.Specs() {
			assert.Equal(t, spec.For == nil, strings.Contains(system, spec.Name+":"), "%s: what is for one kind of task comes later", spec.Name)
		}
		t.Logf("%d tokens in form %q:\n%s", len(ids), r.opts.mode(), system)
	}
}

func TestFirstMessageIsBounded(t *testing.T) {
	r := newRig(t, newModel(t, true), nil)
	for i := range 300 {
		r.write(t, "some_longer_file_name_"+string(rune('a'+i%26))+string(rune('a'+i/26))+".txt", "line one is here\nline two\nline three\nline four\n")
	}
	r.write(t, "zz.bin", "\x00\x01")
	snap := workdir.Take(r.dir, workdir.Snapshot{})
	r.watch.now = snap
	text := r.firstMessage("the task")
	assert.Less(t, len(text), 4000)
	assert.Contains(t, text, "The folder holds 302 files")
	assert.Contains(t, text, "and 250 more")
	assert.NotContains(t, text, "template:")

	empty := newRig(t, newModel(t, true), nil)
	assert.Contains(t, empty.firstMessage("x"), "The folder is empty.")
}

// The list of files is as long as the context allows: what it leaves out is
// counted, and the task is always there.
func TestFirstMessageFitsSmallContexts(t *testing.T) {
	for _, tc := range []struct {
		contextLength int
		wanted        []string
		without       string
	}{
		{32_000, []string{"The folder holds 61 files:", "f10.csv, 755 bytes", "column 1", "Also: f11.csv", "and 9 more"}, ""},
		{2048, []string{"The folder holds 61 files:", "f01.csv, 755 bytes", "Also: f02.csv", "more"}, "f05.csv, 755 bytes"},
		{700, []string{"The folder holds 61 files", "more"}, "column 1"},
	} {
		r := newRig(t, newModelOf(t, tc.contextLength, false), nil)
		for i := range 60 {
			r.write(t, fmt.Sprintf("f%02d.csv", i), strings.Repeat(strings.Repeat("column 1, ", 15)+"\n", 5))
		}
		r.talk.system = r.systemPrompt()
		r.watch.look()
		text := r.firstMessage("Say what is here.")
		for _, part := range tc.wanted {
			assert.Contains(t, text, part, tc.contextLength)
		}
		if tc.without != "" {
			assert.NotContains(t, text, tc.without, tc.contextLength)
		}
		assert.Contains(t, text, "Task: Say what is here.")
		assert.LessOrEqual(t, r.talk.systemTokens(t.Context())+r.speaker.count(t.Context(), text), r.speaker.promptLimit(), tc.contextLength)
	}
}

// The task is restated where it is far back, and never right after it.
func TestTheTaskIsRestatedLate(t *testing.T) {
	var script []string
	for i := range restateAfter + 2 {
		script = append(script, writeCall("b.txt", fmt.Sprint("x", i)))
	}
	r := newRig(t, newModel(t, false, append(script, answerCall("done"))...), nil)
	_, err := r.Run(t.Context(), "Write and write.")
	require.NoError(t, err)
	for i := 1; i <= restateAfter+2; i++ {
		assert.Equal(t, i > restateAfter, strings.HasSuffix(r.lastUser(i), "Task: Write and write."), "result %d", i)
	}

	r = newRig(t, newModel(t, false, writeCall("b.txt", "x"), answerCall("done")), func(o *Options) { o.Limits.StepsMax = 3 })
	_, err = r.Run(t.Context(), "Write it.")
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(r.lastUser(-1), "\n\nSteps left: 2."), "few steps left are told at once")
}
