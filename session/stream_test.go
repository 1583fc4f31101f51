package session

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// streamed is what is told of a text that comes in pieces of so many bytes.
func streamed(s scrubber, text string, size int) (told string, tokens int) {
	st := newStream(s, "", func(d Delta) { told += d.Text; tokens += d.Tokens })
	for text != "" {
		n := min(size, len(text))
		for n < len(text) && text[n]&0xC0 == 0x80 { // pieces are whole characters
			n++
		}
		st.add(text[:n], 1)
		text = text[n:]
	}
	st.end()
	return told, tokens
}

// A secret that comes in pieces is hidden as one that comes at once.
func TestStreamsHideSecrets(t *testing.T) {
	byValue := newScrubber(map[string]string{"token": "correct horse battery staple", "other": "Grüße-42!"})
	forms := append(secretForms(),
		secretForm{"value of several words", "it is correct horse battery staple, see", "horse battery", false},
		secretForm{"value beyond ASCII", "say Grüße-42! and go", "Grüße-42", false},
	)
	for _, tc := range forms {
		if tc.told { // what makes it one stands in another line
			continue
		}
		for _, size := range []int{1, 3, 7} {
			told, tokens := streamed(byValue, tc.text, size)
			assert.NotContains(t, told, tc.secret, "%s in pieces of %d", tc.name, size)
			assert.Contains(t, told, "[secret", tc.name)
			if tokens > 0 { // a piece that came last may be a part of a word that was hidden
				assert.LessOrEqual(t, tokens, len(tc.text))
			}
		}
	}
}

// Text without secrets is told whole, and soon.
func TestStreamsTellEverything(t *testing.T) {
	s := newScrubber(map[string]string{"token": "correct horse battery staple"})
	for _, text := range []string{
		"", "a", "one two  three\n\nfour", "it is correct horse battery", "日本語の文章です。", "-----BEGIN of a long line\nand another",
		strings.Repeat("word ", 10_000), strings.Repeat("x", 3*streamBytesMax), "ends with a line\n",
	} {
		for _, size := range []int{1, 5, 1 << 20} {
			told, _ := streamed(s, text, size)
			assert.Equal(t, text, told)
		}
	}
	var told string
	st := newStream(s, "Note: it is", func(d Delta) { told += d.Text })
	st.add(" now", 1)
	st.add(" well", 1)
	assert.Equal(t, " now ", told, "a word later")
}

// What stands before a text belongs to it.
func TestStreamsGoOnWithALine(t *testing.T) {
	var told string
	st := newStream(scrubber{}, "x\napi_key: ", func(d Delta) { told += d.Text })
	st.add(random36+" is it", 1)
	st.end()
	assert.NotContains(t, told, random36)
	assert.Contains(t, told, "is it")
}

// A secret in the task itself reaches no model, file or event, also not by way
// of a summary.
func TestSecretOfTheTaskIsSeenByNobody(t *testing.T) {
	secret := made("ghp_", random36)
	r := newRig(t, newModelOf(t, 2000, true,
		" I write", " writer", " a.txt\n", strings.Repeat("words and words ", 60)+"\n```\n",
		" It is done", " answer", " done",
	), func(o *Options) {
		o.SessionsDir, o.Stream, o.Limits.FieldTokensMax, o.Limits.NoteTokensMax = t.TempDir(), true, 300, 20
		o.Env.Metadata = map[string]string{"pin": "  hunter2secret\n", "block": "first line of it\nsecond line of it\n"}
	})
	res, err := r.Run(context.Background(), "Store "+secret+" and hunter2secret, and 'second line of it', in a.txt")
	require.NoError(t, err)
	assert.NotEmpty(t, res.Stop)
	require.NoError(t, r.talk.compact(t.Context(), 10))
	for _, e := range r.talk.entries {
		for _, text := range []string{secret, "hunter2secret", "second line of it"} {
			assert.NotContains(t, e.Text+e.Digest, text)
		}
	}
	for i := range r.model.requests {
		for _, text := range []string{secret, "hunter2secret", "second line of it"} {
			assert.NotContains(t, prompt(&r.model.requests[i])+r.model.requests[i].Prefill, text)
		}
	}
	assert.NotContains(t, r.talk.task, secret)
}

// Names of files are options, which a service reads, too.
func TestSecretsInNamesOfFilesAreNoOptions(t *testing.T) {
	s := newScrubber(map[string]string{"token": "hunter2secret"})
	assert.Equal(t, []string{"a.txt", "[secret].txt", "[secret].txt (2)"}, s.distinct([]string{"a.txt", "hunter2secret.txt", "hunter2secret.txt"}))
	names := []string{" b.txt", " hunter2secret.txt"}
	r := newRig(t, newModel(t, true, " I read", " reader", " [secret].txt", " It is done", " answer", " done"), func(o *Options) {
		o.Env.Metadata = map[string]string{"token": "hunter2secret"}
	})
	for _, name := range names {
		r.write(t, strings.TrimSpace(name), "content of"+name)
	}
	_, err := r.Run(context.Background(), "Read it")
	require.NoError(t, err)
	assert.Contains(t, r.lastUser(-1), "content of [secret].txt", "the file itself was read")
}
