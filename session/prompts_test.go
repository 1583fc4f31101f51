package session

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tiktoken-go/tokenizer"

	"agent/command"
)

// fixedPartTokensMax is what the part of the prompt that comes first may cost.
const fixedPartTokensMax = 800

// The count is that of a tokenizer of a hosted model; those of small local
// models differ by a few per cent.
func TestFixedPartIsSmall(t *testing.T) {
	reg, err := command.Standard()
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
		for _, name := range reg.Names() {
			assert.Contains(t, system, name+":")
		}
		t.Logf("%d tokens in form %q:\n%s", len(ids), r.mode, system)
	}
}

func TestFirstMessageIsBounded(t *testing.T) {
	r := newRig(t, newModel(t, true), nil)
	for i := range 300 {
		r.write(t, "some_longer_file_name_"+string(rune('a'+i%26))+string(rune('a'+i/26))+".txt", "line one is here\nline two\nline three\nline four\n")
	}
	r.write(t, "zz.bin", "\x00\x01")
	snap := takeSnapshot(r.dir, snapshot{})
	text := r.firstMessage("the task", snap)
	assert.Less(t, len(text), 4000)
	assert.Contains(t, text, "The folder holds 302 files")
	assert.Contains(t, text, "and 250 more")
	assert.NotContains(t, text, "template:")

	empty := newRig(t, newModel(t, true), nil)
	assert.Contains(t, empty.firstMessage("x", snapshot{}), "The folder is empty.")
}
