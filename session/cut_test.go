package session

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An answer that a limit ended is told as cut off, not passed off as whole.
func TestAnAnswerThatIsCutSaysSo(t *testing.T) {
	var b strings.Builder
	for i := range 60 {
		fmt.Fprintf(&b, " so%d goes%d on%d", i, i*i, i*i*i)
	}
	long := b.String()
	t.Run("at its own limit", func(t *testing.T) {
		r := newRig(t, newModel(t, true, " I tell it", " answer", long), func(o *Options) { o.Limits.AnswerTokensMax = 10 })
		res, err := r.Run(context.Background(), "Tell me.")
		require.NoError(t, err)
		assert.Equal(t, StopAnswered, res.Stop)
		assert.True(t, res.Cut)
		assert.Regexp(t, "^so0 goes0 on0 so1 ", res.Answer)
		assert.Contains(t, r.types(), "warning")
	})
	t.Run("because nothing more may be spent", func(t *testing.T) {
		run := func(tokensMax int) *Result {
			r := newRig(t, newModel(t, true, " I tell it", " answer", long), func(o *Options) {
				o.Limits.TokensMax, o.Limits.AnswerTokensMax = tokensMax, 1<<16
			})
			res, err := r.Run(context.Background(), "Tell me.")
			require.NoError(t, err)
			return res
		}
		whole := run(0).Usage
		prompt := whole.EvaluatedTokens / 3 // of three requests, the last of which may not have been paid yet
		res := run(whole.Computed() - prompt - 60)
		assert.Equal(t, StopTokens, res.Stop)
		assert.NotEmpty(t, res.Answer, "what there is of it is shown")
		assert.True(t, res.Cut)
	})
	t.Run("not when it is whole", func(t *testing.T) {
		r := newRig(t, newModel(t, true, " I tell it", " answer", " It is 5."), nil)
		res, err := r.Run(context.Background(), "Tell me.")
		require.NoError(t, err)
		assert.False(t, res.Cut)
	})
	t.Run("in a reply of prose", func(t *testing.T) {
		r := newRig(t, newModel(t, false, long), func(o *Options) { o.Limits.ReplyTokensMax = 10 })
		res, err := r.Run(context.Background(), "Tell me.")
		require.NoError(t, err)
		assert.True(t, res.Cut)
	})
	t.Run("not when only words after the call were cut", func(t *testing.T) {
		r := newRig(t, newModel(t, false, answerCall("5")+long), func(o *Options) { o.Limits.ReplyTokensMax = 40 })
		res, err := r.Run(context.Background(), "Tell me.")
		require.NoError(t, err)
		assert.Equal(t, "5", res.Answer)
		assert.False(t, res.Cut)
	})
}

// Half a line is another line: it is not carried out.
func TestALineThatIsCutIsNotUsed(t *testing.T) {
	r := newRig(t, newModel(t, true,
		" I write", " writer", " "+strings.Repeat("much too long a name ", 9)+"\n",
		" Shorter", " writer", " a.txt\n", "x\n```\n", " It is there", " answer", " done",
	), func(o *Options) { o.Limits.LineTokensMax = 6 })
	res, err := r.Run(context.Background(), "Write x somewhere")
	require.NoError(t, err)
	assert.Equal(t, StopAnswered, res.Stop)
	files, err := os.ReadDir(r.opts.Env.WorkDir)
	require.NoError(t, err)
	require.Len(t, files, 1)
	assert.Equal(t, "a.txt", files[0].Name())
	assert.Equal(t, 1, res.Usage.InvalidReplies)
}

// A reply that a limit ended inside a call changes nothing, whatever form the
// call has: of JSON it is known where it ends, of tags and fences it is not.
func TestACallThatIsCutChangesNothing(t *testing.T) {
	numbers := strings.Repeat("one two three four five six seven eight nine ten ", 5)
	for name, reply := range map[string]string{
		"tags":    "<function=writer><parameter=path>b.txt</parameter><parameter=text>" + numbers,
		"fence":   "writer\n```\n{\"path\": \"b.txt\", \"text\": \"" + numbers,
		"a react": "Action: writer\nAction Input: {\"path\": \"b.txt\", \"text\": \"" + numbers,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newModel(t, false, reply, answerCall("I could not")), func(o *Options) { o.Limits.ReplyTokensMax = 26 })
			res, err := r.Run(context.Background(), "Write the numbers")
			require.NoError(t, err)
			assert.Equal(t, "I could not", res.Answer)
			assert.NoFileExists(t, r.opts.Env.WorkDir+"/b.txt")
			assert.Contains(t, r.lastUser(-1), "cut off before its end")
		})
	}
}
