package hf

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"agent/backend"
)

// However a reply is cut into pieces, thought and answer are the same.
func TestSplitThought(t *testing.T) {
	for _, c := range []struct {
		text, thought, reply string
		opened               bool
	}{
		{text: "<think>\nhm, 4\n</think>\n\nIt is 4.", thought: "\nhm, 4\n", reply: "It is 4."},
		{text: "\n<think></think>4", reply: "4"},
		{text: "It is 4.", reply: "It is 4."},
		{text: "<thin ice", reply: "<thin ice"},
		{text: "Write </think> last, and <think> first.", reply: "Write </think> last, and <think> first."},
		{text: "<think>never done", thought: "never done"},
		{text: "<think>a</think>\n\nb </think> c", thought: "a", reply: "b </think> c"},
		{text: "", reply: ""},
		{text: "<th", reply: "<th"},

		{opened: true, text: "</think>\n\nParis", reply: "Paris"},
		{opened: true, text: "Paris</think>\n\nParis", reply: "ParisParis"},
		{opened: true, text: "Paris <think>or not</think>\nRome", thought: "or not", reply: "Paris Rome"},
		{opened: true, text: "Paris <b>x</b> <", reply: "Paris <b>x</b> <"},
	} {
		for size := 1; size <= max(1, len(c.text)); size++ {
			seq := func(yield func(backend.Delta, error) bool) {
				rest := c.text
				for len(rest) > size {
					if !yield(backend.Delta{Text: rest[:size], Count: 1}, nil) {
						return
					}
					rest = rest[size:]
				}
				yield(backend.Delta{Text: rest, Finish: backend.FinishStop, Usage: &backend.Usage{}}, nil)
			}
			th := &thoughts{open: "<think>", close: "</think>", opened: c.opened}
			var thought, reply strings.Builder
			for d := range th.splitThought(seq) {
				assert.False(t, d.Thought != "" && d.Text != "", "never both in one delta")
				thought.WriteString(d.Thought)
				reply.WriteString(d.Text)
			}
			assert.Equal(t, c.thought, thought.String(), "%q by %d", c.text, size)
			assert.Equal(t, c.reply, reply.String(), "%q by %d", c.text, size)
		}
	}
}

func TestThoughtsAreNotSentBack(t *testing.T) {
	plain, opened := &thoughts{open: "<think>", close: "</think>"}, &thoughts{open: "<think>", close: "</think>", opened: true}
	for _, th := range []*thoughts{plain, opened} {
		assert.Equal(t, "b", th.withoutThought("<think>a</think>\n\nb"))
		assert.Equal(t, "no tags", th.withoutThought("no tags"))
	}
	assert.Equal(t, "b", opened.withoutThought("a\n</think>\n\nb"), "its beginning stood in the prompt")
	assert.Equal(t, "a </think> b", plain.withoutThought("a </think> b"))
	assert.Equal(t, "<think>a</think>b", (&thoughts{}).withoutThought("<think>a</think>b"), "no marks of this model")
}
